"""What a bundle keeps on one's own vectors: how many of the ten nearest by float32 it finds.

Takes a bundle and files of vectors of documents and queries as the model gives them, whole; prints the overlap at 10 and
how often the first stays, with their intervals over queries.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import faiss
import numpy as np

from workflow_scripts.artefact import read_json
from workflow_scripts.axes import Matrix
from workflow_scripts.coding.fit import normalised
from workflow_scripts.command_line import InputError, parser, run
from workflow_scripts.mapped import Vectors, blocks
from workflow_scripts.vector_files import check_rows, open_vectors

TOP = 10
AT_ONCE = 16384  # documents added at once
RESAMPLES = 2000


def read_vectors(path: Path, width: int, copies: Path) -> Vectors:
    """Vectors `(n, width)` of a file in any format that a study takes; what cannot be mapped is copied to `copies`.
    Raises InputError for another width, or naming the first row that no cosine can be taken with."""
    file = open_vectors(path, copies)
    if file.width != width:
        raise InputError(f"{path}: vectors of {file.width} coordinates; the bundle's model gives {width}")
    check_rows(file)
    return file.vectors()


def overlap(bundle: Path, documents: Vectors, queries: Vectors) -> Matrix:
    """Of each query: the share of its ten nearest documents by cosine in float32 that the bundle finds, and whether the
    first stays `(queries, 2)`."""
    index = faiss.read_index(str(bundle / "index.faiss"))
    exact = faiss.IndexFlatIP(documents.shape[1])
    for _, rows in blocks(documents, AT_ONCE):
        block = np.ascontiguousarray(rows, dtype=np.float32)
        index.add(np.ascontiguousarray(block[:, : index.d]))
        exact.add(normalised(block))
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    top = min(TOP, len(documents))
    found, nearest = index.search(np.ascontiguousarray(asked[:, : index.d]), top)[1], exact.search(asked, top)[1]
    shared = np.array([len(np.intersect1d(a, b)) / top for a, b in zip(found, nearest, strict=True)])
    return np.stack([shared, found[:, 0] == nearest[:, 0]], axis=1).astype(np.float32)


def interval(values: Matrix) -> tuple[float, float]:
    """The 95% interval of a mean over queries `(queries,)`, by the bootstrap."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", required=True, type=Path, help="<study>/deploy/<name>")
    arguments.add_argument("--documents", required=True, type=Path)
    arguments.add_argument("--queries", required=True, type=Path)
    given = arguments.parse_args()

    def work() -> None:
        if not (given.bundle / "codec.json").is_file():
            raise InputError(f"{given.bundle}: no codec.json there; expected a bundle, made by `snakemake deploy`")
        about = read_json(given.bundle / "codec.json")
        with tempfile.TemporaryDirectory() as copies:
            files = {"documents": given.documents, "queries": given.queries}
            documents, queries = (
                read_vectors(path, about["width"], Path(copies) / name) for name, path in files.items()
            )
            found = overlap(given.bundle, documents, queries)
        for name, values in (("overlap at 10", found[:, 0]), ("the first stays", found[:, 1])):
            low, high = interval(values)
            print(f"{name}: {values.mean():.3f} ({low:.3f} to {high:.3f}, 95% over {len(values)} queries)")

    run(work)


if __name__ == "__main__":
    main()
