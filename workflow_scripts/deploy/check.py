"""What a bundle keeps on one's own vectors: how many of the ten nearest by float32 it finds.

Takes a bundle and vectors of documents and queries as the model gives them, whole (`.npy`, float32 or float16); prints
the overlap at 10 and how often the first stays, with their intervals over queries.
"""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

from workflow_scripts.artefact import read_json
from workflow_scripts.axes import Matrix
from workflow_scripts.coding.fit import normalised
from workflow_scripts.command_line import InputError, parser, run, users_file

TOP = 10
AT_ONCE = 16384  # documents added at once
RESAMPLES = 2000


def read_vectors(path: Path, width: int) -> Matrix:
    """Vectors `(n, width)`, mapped into memory. Raises InputError, naming the first row that cannot be used."""
    with users_file(f"{path}: not readable as .npy"):
        vectors: Matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.ndim != 2 or vectors.shape[1] != width or not len(vectors):
        raise InputError(
            f"{path}: an array of shape {vectors.shape}; expected (vectors, {width}), as the model gives them"
        )
    for start in range(0, len(vectors), AT_ONCE):
        block = np.asarray(vectors[start : start + AT_ONCE])
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise InputError(f"{path}: row {row} has a number that is not finite")
    return vectors


def overlap(bundle: Path, documents: Matrix, queries: Matrix) -> Matrix:
    """Of each query: the share of its ten nearest documents by cosine in float32 that the bundle finds, and whether the
    first stays `(queries, 2)`."""
    index = faiss.read_index(str(bundle / "index.faiss"))
    exact = faiss.IndexFlatIP(documents.shape[1])
    for start in range(0, len(documents), AT_ONCE):
        block = np.ascontiguousarray(documents[start : start + AT_ONCE], dtype=np.float32)
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
        found = overlap(
            given.bundle, *(read_vectors(path, about["width"]) for path in (given.documents, given.queries))
        )
        for name, values in (("overlap at 10", found[:, 0]), ("the first stays", found[:, 1])):
            low, high = interval(values)
            print(f"{name}: {values.mean():.3f} ({low:.3f} to {high:.3f}, 95% over {len(values)} queries)")

    run(work)


if __name__ == "__main__":
    main()
