"""Principal axes: the rotation that a model is given (room `models`) and the transforms `pca` and `pca_centered` (rooms `scores` and `deploy`).

Takes embeddings of training texts; leaves an orthogonal matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float32]]


def principal_axes(embeddings: np.ndarray[Any, Any], centered: bool = True) -> Matrix:
    """The orthogonal matrix `(width, width)` whose rows are the principal axes of `(texts, width)` embeddings.

    Rows come by falling variance: eigenvectors of the covariance, or, not `centered`, of the second moments (whose
    first axis is near the mean; of all rotations cut short, these axes keep the inner products of the texts best). The
    embeddings themselves are not centred by either: the matrix alone keeps every cosine at full width. Signs are fixed
    (the largest entry of an axis is positive), so that the same texts give the same matrix. Raises ValueError for fewer
    than two texts or values that are not finite.
    """
    if len(embeddings) < 2:
        raise ValueError(f"sample of training texts: {len(embeddings)} texts; principal axes need at least 2")
    values = embeddings.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("sample of training texts: the model gives embeddings that are not finite numbers")
    if centered:
        values -= values.mean(axis=0)
    _, vectors = np.linalg.eigh(values.T @ values / len(values))
    axes = vectors.T[::-1]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.asarray(axes * np.sign(largest)[:, None], dtype=np.float32)
