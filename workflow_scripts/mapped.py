"""Vectors that lie in files of a user's, read where they are: by memory map, whatever the file's own layout.

Takes `Piece`s (which bytes of which file are rows); leaves arrays that no memory is spent on, and `Stacked`, several of
them under each other. It exists so that a million vectors of 1,536 coordinates are searched without a copy of 6 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from workflow_scripts.command_line import InputError

Array = np.ndarray[Any, Any]


class Piece(NamedTuple):
    """`rows` vectors of `width` coordinates in a file: the first at byte `offset`, the next ones `stride` bytes apart."""

    path: str
    dtype: str
    rows: int
    width: int
    offset: int
    stride: int


class Vectors(Protocol):
    """What is read of an array of vectors `(rows, width)`, one in memory or one that lies in several files."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...

    def __array__(self) -> Array: ...


def map_pieces(pieces: Sequence[Piece]) -> Stacked:
    """The pieces under each other, as read-only views of their files. Raises InputError where a file is no longer there
    or is shorter than it was."""
    files: dict[str, Array] = {}
    return Stacked([_view(piece, files) for piece in pieces])


def _view(piece: Piece, files: dict[str, Array]) -> Array:
    item = np.dtype(piece.dtype).itemsize
    end = piece.offset + (piece.rows - 1) * piece.stride + piece.width * item
    path = Path(piece.path)
    if not path.is_file() or path.stat().st_size < end:
        raise InputError(f"{path}: gone, or shorter than when it was read first; put it back, or run again from it")
    if piece.path not in files:
        files[piece.path] = np.memmap(path, dtype=np.uint8, mode="r")
    shape = (piece.rows, piece.width)
    return np.ndarray(shape, piece.dtype, files[piece.path].data, piece.offset, (piece.stride, item))


class Stacked:
    """Arrays `(rows, width)` of one width under each other, rows gathered from where they are."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = list(arrays)
        self.starts = np.cumsum([0, *(len(array) for array in self.arrays)])
        self.dtype = np.result_type(*self.arrays)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.starts[-1]), int(self.arrays[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """The vectors of a slice or of `(n,)` row numbers, as an array `(n, width)`."""
        wanted = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        place = np.searchsorted(self.starts, wanted, side="right") - 1
        if len(wanted) and (first := int(place[0])) == place[-1] and (place == first).all():
            found: Array = self.arrays[first][wanted - self.starts[first]]
            return found
        gathered = np.empty((len(wanted), self.shape[1]), self.dtype)
        for number in np.unique(place):
            here = place == number
            gathered[here] = self.arrays[number][wanted[here] - self.starts[number]]
        return gathered

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = np.concatenate(self.arrays)
        return whole if dtype is None else whole.astype(dtype, copy=False)


def blocks(vectors: Vectors, rows: int) -> Iterator[tuple[int, Array]]:
    """The vectors in blocks of so many `rows`, each with the number of its first row."""
    for start in range(0, len(vectors), rows):
        yield start, np.asarray(vectors[start : start + rows])
