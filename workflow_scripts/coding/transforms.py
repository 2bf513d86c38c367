"""The transforms: which coordinates of a vector are kept, or which axes it is rotated onto.

Takes embeddings of training texts; leaves functions of full-width vectors whose first `dim` coordinates are what a codec
keeps. So one product serves every dimension; `random_rotation` and `itq` alone are another rotation at each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from workflow_scripts.axes import Matrix, principal_axes

Function = Callable[[Matrix], Matrix]


def full_width(transform: str, draw: int, width: int, training: Matrix | None) -> Function:
    """The function from vectors `(n, width)` to `(n, width)` of which a codec keeps the first coordinates.

    `training` is (texts, width), needed for all but prefix, last and random.
    """
    if transform == "prefix":
        return lambda vectors: vectors
    if transform == "last":
        return _taking(np.arange(width)[::-1])
    if transform == "random":
        return _taking(np.random.default_rng(draw).permutation(width))
    assert training is not None
    if transform == "variance":
        return _taking(np.argsort(-training.var(axis=0), kind="stable"))
    centered = transform == "pca_centered"
    matrix = np.ascontiguousarray(principal_axes(training, centered=centered).T)
    if not centered:
        return lambda vectors: vectors @ matrix
    mean = training.mean(axis=0)
    return lambda vectors: (vectors - mean) @ matrix


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


def _taking(columns: np.ndarray[Any, np.dtype[np.int64]]) -> Function:
    return lambda vectors: vectors[:, columns]
