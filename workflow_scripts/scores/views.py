"""The reductions: which coordinates are kept, and at which precision.

Takes the configured cuts and precisions and the embeddings of training texts; leaves `View`s. A view changes a
full-width matrix so that **every dimension is a prefix of it**: `last` and `random` reorder the coordinates, `pca`
rotates them onto principal axes, and the precisions round each coordinate by itself. So one view serves all
dimensions. All that is fitted is fitted on training texts, never on the texts that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.axes import Matrix, principal_axes

BITS = {"float32": 32, "int8": 8, "binary": 1}


@dataclass(frozen=True)
class View:
    """`name` is the reduction as the score tables call it; `of` maps (n, width) to (n, width), float32 both."""

    name: str
    bits: int
    of: Callable[[Matrix], Matrix]


def views(
    cuts: Sequence[str], draws: int, precisions: Sequence[str], width: int, training: Matrix | None
) -> list[View]:
    """One view per cut (`random` gives `draws` of them) and precision.

    `training` is (texts, width), needed for `pca`, `int8` and `binary`. Raises ValueError where it is missing or of
    another width.
    """
    fitted = [name for name in (*cuts, *precisions) if name in ("pca", "int8", "binary")]
    if fitted and (training is None or len(training) < 2):
        raise ValueError(f"{fitted[0]}: needs the embeddings of training texts to fit on; found none")
    if training is not None and training.shape[1] != width:
        raise ValueError(
            f"training texts: the store is {training.shape[1]} wide, the task's is {width}; they are of two models"
        )
    made = []
    for name, cut in _cuts(cuts, draws, width, training):
        for precision in precisions:
            if precision == "float32":
                made.append(View(name, 32, cut))
            else:
                assert training is not None
                rounding = _rounding(precision, cut(training))
                made.append(View(f"{name}:{precision}", BITS[precision], _then(cut, rounding)))
    return made


def _cuts(
    cuts: Sequence[str], draws: int, width: int, training: Matrix | None
) -> list[tuple[str, Callable[[Matrix], Matrix]]]:
    made: list[tuple[str, Callable[[Matrix], Matrix]]] = []
    for cut in cuts:
        if cut == "prefix":
            made.append(("prefix", lambda vectors: vectors))
        elif cut == "last":
            made.append(("last", _taking(np.arange(width)[::-1])))
        elif cut == "random":
            made.extend((f"random-{i}", _taking(np.random.default_rng(i).permutation(width))) for i in range(draws))
        else:
            assert training is not None
            made.append(("pca", _times(principal_axes(training).T)))
    return made


def _rounding(precision: str, training: Matrix) -> Callable[[Matrix], Matrix]:
    """Round to what is stored and back to numbers, coordinate by coordinate.

    int8: 256 even steps between the least and the greatest value among training texts. binary: +1 above the median
    of training texts, -1 below.
    """
    if precision == "binary":
        middle = np.median(training, axis=0)
        return lambda vectors: np.where(vectors > middle, np.float32(1), np.float32(-1))
    low, high = training.min(axis=0), training.max(axis=0)
    step = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)

    def to_int8_and_back(vectors: Matrix) -> Matrix:
        codes = np.clip(np.rint((vectors - low) / step), 0, 255)
        rounded: Matrix = (low + codes * step).astype(np.float32)
        return rounded

    return to_int8_and_back


def _taking(columns: np.ndarray[Any, np.dtype[np.int64]]) -> Callable[[Matrix], Matrix]:
    return lambda vectors: vectors[:, columns]


def _times(matrix: Matrix) -> Callable[[Matrix], Matrix]:
    return lambda vectors: vectors @ matrix


def _then(first: Callable[[Matrix], Matrix], second: Callable[[Matrix], Matrix]) -> Callable[[Matrix], Matrix]:
    return lambda vectors: second(first(vectors))
