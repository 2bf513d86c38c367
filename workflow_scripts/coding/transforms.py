"""The transforms: which coordinates of a vector are kept, or which axes it is rotated onto.

Takes embeddings of training texts; leaves a `Transform` of full-width vectors, whose first `dim` coordinates are what a codec
keeps. So one product serves every dimension; `random_rotation` and `itq` alone are another rotation at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from workflow_scripts.axes import Matrix, principal_axes

Columns = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Transform:
    """From vectors `(n, width)` to `(n, width)`, of which a codec keeps the first coordinates: the columns `(width,)` are
    taken, or the mean `(width,)` is removed and the rest multiplied by the matrix `(width, width)`; nothing where none is set."""

    columns: Columns | None = None
    mean: Matrix | None = None
    matrix: Matrix | None = None

    def __call__(self, vectors: Matrix) -> Matrix:
        if self.columns is not None:
            return vectors[:, self.columns]
        if self.mean is not None:
            vectors = vectors - self.mean
        return vectors if self.matrix is None else vectors @ self.matrix


def full_width(transform: str, draw: int, width: int, training: Matrix | None) -> Transform:
    """The transform of a codec, fitted.

    `training` is (texts, width), needed for all but prefix, last and random.
    """
    if transform == "prefix":
        return Transform()
    if transform == "last":
        return Transform(columns=np.arange(width)[::-1])
    if transform == "random":
        return Transform(columns=np.random.default_rng(draw).permutation(width))
    assert training is not None
    if transform == "variance":
        return Transform(columns=np.argsort(-training.var(axis=0), kind="stable"))
    centered = transform == "pca_centered"
    matrix = np.ascontiguousarray(principal_axes(training, centered=centered).T)
    return Transform(mean=training.mean(axis=0) if centered else None, matrix=matrix)


def rotation_within(transform: str, training: Matrix) -> Matrix:
    """The rotation `(dim, dim)` of what was kept, from training texts `(texts, dim)` as kept.

    `random_rotation`: uniformly random, always the same one of a dimension. `itq`: iterative quantisation (Gong and
    Lazebnik 2011), which turns the coordinates so that their signs lose least; by faiss.
    """
    dim = training.shape[1]
    if transform == "random_rotation":
        draw = np.random.default_rng(dim).standard_normal((dim, dim))
        rotation, upper = np.linalg.qr(draw)
        return np.asarray(rotation * np.sign(np.diag(upper)), dtype=np.float32)
    fitted = faiss.ITQMatrix(dim)
    fitted.train(np.ascontiguousarray(training))
    matrix: Matrix = faiss.vector_to_array(fitted.A).reshape(dim, dim).T.copy()
    return matrix
