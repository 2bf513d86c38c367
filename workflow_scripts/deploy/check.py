"""What a bundle keeps on one's own vectors: of a ranking its ten nearest, of a classifier its accuracy.

Takes a bundle and files of vectors as the model gives them, whole. Of documents and queries it prints how many of the ten nearest by
float32 (of an adaptor, times its matrix) the bundle finds and how often the first stays; of training and test rows with labels the accuracy of a classifier on
what codes decode to, and its share of that on float32. Each with its interval over queries or test rows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from workflow_scripts.artefact import read_json
from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import parse
from workflow_scripts.coding.fit import Fitted, normalised
from workflow_scripts.command_line import InputError, parser, run
from workflow_scripts.deploy.numpy_lines import ADAPTOR
from workflow_scripts.evaluation.own_files import columns_of, rows_of
from workflow_scripts.mapped import Vectors, blocks
from workflow_scripts.vector_files import check_rows, open_vectors

TOP = 10
AT_ONCE = 16384  # documents added at once
RESAMPLES = 2000
LABEL = "label"


def read_adaptor(bundle: Path) -> Matrix | None:
    """The matrix `(width, width)` that multiplies vectors before all else; None where the bundle has none."""
    found: Matrix | None = load_file(bundle / "codec.safetensors").get(ADAPTOR)
    return found


def adapted(vectors: Matrix, adaptor: Matrix | None) -> Matrix:
    """Vectors as they are encoded: times the adaptor, where there is one."""
    return vectors if adaptor is None else vectors @ adaptor


def read_vectors(path: Path, width: int, copies: Path) -> Vectors:
    """Vectors `(n, width)` of a file in any format that a study takes; what cannot be mapped is copied to `copies`.
    Raises InputError for another width, or naming the first row that no cosine can be taken with."""
    file = open_vectors(path, copies)
    if file.width != width:
        raise InputError(f"{path}: vectors of {file.width} coordinates; the bundle's model gives {width}")
    check_rows(file)
    return file.vectors()


def read_labels(path: Path, rows: int) -> list[str]:
    """The column `label` of a table. Raises InputError for another number of rows than there are vectors."""
    if LABEL not in (found := columns_of(path)):
        raise InputError(f"{path}: column {LABEL!r} is missing; found {', '.join(map(repr, found))}")
    labels = [str(row.values[LABEL]) for row in rows_of(path, [LABEL])]
    if len(labels) != rows:
        raise InputError(f"{path}: {len(labels):,} labels for {rows:,} vectors; expected one for each, in their order")
    return labels


def overlap(bundle: Path, documents: Vectors, queries: Vectors) -> Matrix:
    """Of each query: the share of its ten nearest documents by cosine in float32 that the bundle finds, and whether the
    first stays `(queries, 2)`."""
    import faiss

    index, adaptor = faiss.read_index(str(bundle / "index.faiss")), read_adaptor(bundle)
    exact = faiss.IndexFlatIP(documents.shape[1])
    for _, rows in blocks(documents, AT_ONCE):
        block = np.ascontiguousarray(rows, dtype=np.float32)
        index.add(np.ascontiguousarray(block[:, : index.d]))
        exact.add(normalised(adapted(block, adaptor)))
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    top = min(TOP, len(documents))
    found = index.search(np.ascontiguousarray(asked[:, : index.d]), top)[1]
    nearest = exact.search(adapted(asked, adaptor), top)[1]
    shared = np.array([len(np.intersect1d(a, b)) / top for a, b in zip(found, nearest, strict=True)])
    return np.stack([shared, found[:, 0] == nearest[:, 0]], axis=1).astype(np.float32)


def right(
    bundle: Path, about: dict[str, Any], train: Matrix, labels: list[str], test: Matrix, truth: list[str]
) -> Matrix:
    """Of each test row: whether a logistic regression on what the bundle's codes decode to gives it its label, and whether
    one on float32 vectors of the full width does `(tests, 2)`."""
    from sklearn.linear_model import LogisticRegression

    (stage,) = about["stages"]
    codec = parse(stage["codec"], about["width"])
    assert codec is not None
    fitted = Fitted(about["width"], unit=about["unit"])
    fitted.restore(codec, load_file(bundle / "codec.safetensors"))
    adaptor = read_adaptor(bundle)
    train, test = adapted(train, adaptor), adapted(test, adaptor)
    found = []
    for of_train, of_test in ((fitted.stored(codec, train), fitted.stored(codec, test)), (train, test)):
        found.append(LogisticRegression().fit(of_train, labels).predict(of_test) == np.asarray(truth))
    return np.stack(found, axis=1).astype(np.float32)


def interval(values: Matrix) -> tuple[float, float]:
    """The 95% interval of a mean over units `(units,)`, or of the ratio of two means `(units, 2)`, by the bootstrap."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    means = values[drawn].mean(axis=1)
    if values.ndim == 2:
        means = means[:, 0] / np.maximum(means[:, 1], 1 / len(values))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _check_ranking(bundle: Path, width: int, files: dict[str, Path], copies: Path) -> None:
    documents, queries = (read_vectors(path, width, copies / name) for name, path in files.items())
    found = overlap(bundle, documents, queries)
    for name, values in (("overlap at 10", found[:, 0]), ("the first stays", found[:, 1])):
        low, high = interval(values)
        print(f"{name}: {values.mean():.3f} ({low:.3f} to {high:.3f}, 95% over {len(values)} queries)")


def _check_classifier(bundle: Path, about: dict[str, Any], files: dict[str, list[Path]], copies: Path) -> None:
    given: list[Any] = []
    for name, (vectors, labels) in files.items():
        rows = np.asarray(read_vectors(vectors, about["width"], copies / name), dtype=np.float32)
        given += [rows, read_labels(labels, len(rows))]
    if len(set(given[1])) < 2:
        raise InputError(f"{files['train'][1]}: every row has the label {given[1][0]!r}; expected two labels or more")
    found = right(bundle, about, *given)
    kept, whole = found.mean(axis=0)
    if not whole:
        raise InputError(
            f"{files['test'][1]}: no label is predicted from float32 vectors; are they in the vectors' order?"
        )
    low, high = interval(found)
    print(f"accuracy: {kept:.3f}; float32 at full width: {whole:.3f}")
    print(f"share kept: {kept / whole:.3f} ({low:.3f} to {high:.3f}, 95% over {len(found)} test rows)")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", required=True, type=Path, help="<study>/deploy/<name>")
    arguments.add_argument("--documents", type=Path, help="vectors, with --queries, of a bundle that is searched")
    arguments.add_argument("--queries", type=Path)
    pair: Any = {"type": Path, "nargs": 2, "metavar": ("VECTORS", "LABELS")}
    arguments.add_argument(
        "--train", **pair, help="vectors and a table of labels, with --test, of one for classification"
    )
    arguments.add_argument("--test", **pair)
    given = arguments.parse_args()

    def work() -> None:
        if not (given.bundle / "codec.json").is_file():
            raise InputError(f"{given.bundle}: no codec.json there; expected a bundle, made by `snakemake deploy`")
        about = read_json(given.bundle / "codec.json")
        if not about["faiss"] and about["task_type"] != "Classification":
            raise InputError(f"{given.bundle}: {about['task_type']} is checked as a task of a study (docs/own_data.md)")
        wanted = ("documents", "queries") if about["faiss"] else ("train", "test")
        files = {name: getattr(given, name) for name in wanted}
        if None in files.values():
            raise InputError(f"{given.bundle}: a bundle for {about['task_type']}; give --{wanted[0]} and --{wanted[1]}")
        with tempfile.TemporaryDirectory() as copies:
            if about["faiss"]:
                _check_ranking(given.bundle, about["width"], files, Path(copies))
            else:
                _check_classifier(given.bundle, about, files, Path(copies))

    run(work)


if __name__ == "__main__":
    main()
