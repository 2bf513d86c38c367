"""The store: every distinct text of a task, encoded once by one model at full width, found by its text.

A store is a folder with `embeddings.arrow`, an uncompressed Arrow IPC file of one record batch, one row per
distinct (prompt type, text): `key` (uint64, a hash of both) and `embedding` (fixed-size list of float32 or
float16). It is read by memory map: opening costs no memory and no copy. A store of a user's own vectors has the column
`key` alone, and in the schema's metadata `pieces`: where in which files the vectors of its rows lie. While a store is being made, its rows
are shards (the same layout, a contiguous range of rows each, written whole) under `shards/<fingerprint>/`, so
that what a killed job finished is used again, and only where model, texts and settings are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from workflow_scripts.artefact import atomic_write, digest_of_file, log
from workflow_scripts.command_line import InputError, first_line
from workflow_scripts.mapped import Piece, Vectors, map_pieces

FILE = "embeddings.arrow"
SHARDS = "shards"
ROWS_PER_SHARD = 8192
DTYPES = {"float32": pa.float32(), "float16": pa.float16()}


class StoreError(InputError):
    """A store cannot be used as asked; the message is one line: file, what was found, what was expected."""


class Store:
    """An open store.

    `vectors` is `(rows, width)` in the stored type, a read-only view of the file; `keys` is `(rows,)` uint64. Of rows with
    the same key the first is found.
    """

    def __init__(self, folder: Path, keys: np.ndarray, vectors: Vectors) -> None:
        self.folder, self.keys, self.vectors = folder, keys, vectors

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    def rows_of(self, texts: Sequence[str], prompt_type: str = "") -> np.ndarray:
        """The row of each text `(texts,)` int64. Raises `StoreError` for a text that was never encoded."""
        wanted = keys_of(texts, prompt_type)
        if not len(wanted):
            return np.empty(0, dtype=np.int64)
        place = np.searchsorted(self._sorted_keys, wanted)
        found = (
            self._sorted_keys[np.minimum(place, len(self) - 1)] == wanted if len(self) else np.zeros(len(wanted), bool)
        )
        if not found.all():
            missing = np.flatnonzero(~found)
            raise StoreError(
                f"{self.folder}: {len(missing)} of {len(texts)} texts (prompt type {prompt_type!r}) were not encoded, "
                f"the first is {texts[missing[0]][:60]!r}; expected every text in the task's texts.parquet"
            )
        rows: np.ndarray = self._order[place]
        return rows

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.keys, kind="stable")

    @cached_property
    def _sorted_keys(self) -> np.ndarray:
        ordered: np.ndarray = self.keys[self._order]
        return ordered


def open_store(folder: str | Path, width: int | None = None) -> Store:
    """Open the store in `folder`; with `width`, check that its vectors have that many coordinates."""
    folder = Path(folder)
    rows = _read(folder / FILE)
    if width is not None and rows.vectors.shape[1] != width:
        raise StoreError(
            f"{folder / FILE}: its vectors have {rows.vectors.shape[1]} coordinates, expected {width}: "
            "it is the store of another model"
        )
    return Store(folder, rows.keys, rows.vectors)


def keys_of(texts: Iterable[str], prompt_type: str = "") -> np.ndarray:
    """A 64-bit key for each text under its prompt type `(texts,)` uint64, the same on every machine."""
    # The prompt type goes in as BLAKE2's personalisation, so no text can imitate another type's.
    person = prompt_type.encode()
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=person).digest() for text in texts
    )
    return np.frombuffer(digests, dtype="<u8")


class StoreWriter:
    """Makes a store shard by shard.

    `fingerprint` stands for all that decides the vectors; shards of any other are removed, unless this is one of several
    jobs (`is_part`): another one's node may compute otherwise. `finish` joins the shards into the store. Rows are 0 to `len(keys)`, and shard `i` holds rows `i * rows_per_shard` on.
    """

    def __init__(
        self,
        folder: str | Path,
        keys: np.ndarray,
        width: int,
        fingerprint: str,
        dtype: str = "float32",
        rows_per_shard: int = ROWS_PER_SHARD,
        is_part: bool = False,
    ) -> None:
        ordered = np.sort(keys)  # np.unique takes ten times as long
        if repeated := int((ordered[1:] == ordered[:-1]).sum()):
            raise StoreError(f"{folder}: {repeated} texts have another's key; expected distinct texts")
        self.folder, self.keys, self.width, self.dtype = Path(folder), keys, width, dtype
        self.rows_per_shard = rows_per_shard
        self.shards = self.folder / SHARDS / fingerprint[:16]
        for other in self.shards.parent.glob("*"):
            if other != self.shards and not is_part:
                log.info("%s: shards of other settings, model or texts; removed", other)
                shutil.rmtree(other)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The first row and the row behind the last, for each shard."""
        step = self.rows_per_shard
        return [(start, min(start + step, len(self.keys))) for start in range(0, len(self.keys), step)]

    def missing(self, wanted: Iterable[int] | None = None) -> list[int]:
        """Of the `wanted` shards, all if None, those still to be made; one that is not whole is removed, and is one of them.
        No other is looked at: its own job may be writing it."""
        return [shard for shard in (range(len(self.ranges)) if wanted is None else wanted) if not self._is_whole(shard)]

    def write(self, shard: int, vectors: np.ndarray, **costs: float) -> None:
        """Write one shard's vectors `(rows, width)`, and with them what they cost (tokens, seconds)."""
        start, stop = self.ranges[shard]
        if vectors.shape != (stop - start, self.width):
            raise StoreError(
                f"{self._path(shard)}: vectors of shape {vectors.shape}, expected {(stop - start, self.width)}"
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(self.dtype)
        if not np.isfinite(stored).all():
            row = start + int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
            broken = not np.isfinite(vectors[row - start]).all()
            reason = (
                "the model is broken" if broken else f"too large for {self.dtype}; set `encoding: precision: float32`"
            )
            raise StoreError(f"{self._path(shard)}: the vector of row {row} is not finite: {reason}")
        with atomic_write(self._path(shard)) as part:
            _write(part, self.keys[start:stop], stored, costs)

    def cost(self, name: str) -> float:
        """The sum over all shards, whoever made them, of a cost given to `write`."""
        return sum(_read(self._path(shard)).costs.get(name, 0.0) for shard in range(len(self.ranges)))

    def finish(self) -> tuple[Path, str]:
        """Join the shards into the store's one file; return it and its sha256. They stay until `remove_shards`: whoever is
        killed before the digest is written has not encoded for nothing."""
        path = self.folder / FILE
        shards = map(self._path, range(len(self.ranges)))
        with atomic_write(path) as part:
            digest = _join(part, self.keys, (len(self.keys), self.width), self.dtype, shards)
        return path, digest

    def remove_shards(self) -> None:
        shutil.rmtree(self.folder / SHARDS, ignore_errors=True)

    def _path(self, shard: int) -> Path:
        return self.shards / f"{shard:05d}.arrow"

    def _is_whole(self, shard: int) -> bool:
        path = self._path(shard)
        if not path.exists():
            return False
        start, stop = self.ranges[shard]
        try:
            rows = _read(path)
        except StoreError as error:
            log.info("%s; it is made again", error)
        else:
            if rows.vectors.shape == (stop - start, self.width) and np.array_equal(rows.keys, self.keys[start:stop]):
                return True
            log.info("%s: rows of other texts; it is made again", path)
        path.unlink(missing_ok=True)
        return False


def write_keys(folder: Path, keys: np.ndarray, pieces: Sequence[Piece]) -> Path:
    """Make a store of vectors that stay where they are: the `pieces`, under each other, are the rows of `keys` `(rows,)`.
    Returns its file."""
    schema = pa.schema([("key", pa.uint64())], metadata={"pieces": json.dumps([list(piece) for piece in pieces])})
    with (
        atomic_write(folder / FILE) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array(keys, type=pa.uint64())], schema=schema))
    return folder / FILE


class _Rows(NamedTuple):
    keys: np.ndarray  # (rows,) uint64
    vectors: Vectors  # (rows, width)
    costs: dict[str, float]


def _batch(keys: np.ndarray, vectors: np.ndarray, costs: dict[str, float]) -> pa.RecordBatch:
    """One record batch: `key` and `embedding` of every row."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), type=DTYPES[vectors.dtype.name])
    embeddings = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.RecordBatch.from_arrays(
        [pa.array(keys, type=pa.uint64()), embeddings],
        names=["key", "embedding"],
        metadata={"costs": json.dumps(costs, sort_keys=True)},
    )


def _write(path: Path, keys: np.ndarray, vectors: np.ndarray, costs: dict[str, float]) -> None:
    batch = _batch(keys, vectors, costs)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _join(path: Path, keys: np.ndarray, shape: tuple[int, int], dtype: str, shards: Iterable[Path]) -> str:
    """Write the file that `_write` makes of all shards' vectors under each other, each copied once and none held. Returns
    its sha256."""
    if not shape[0]:
        _write(path, keys, np.empty(shape, dtype), {})
        return digest_of_file(path)
    with tempfile.TemporaryFile() as hole, path.open("wb") as file:
        hole.truncate(shape[0] * shape[1] * np.dtype(dtype).itemsize)  # takes no disk, and is never read
        place = np.memmap(hole, dtype=dtype, mode="r", shape=shape)
        batch = _batch(keys, place, {})
        into = _InPlaceOf(place.ctypes.data, shards, file)
        with pa.ipc.new_file(pa.PythonFile(into, mode="w"), batch.schema) as writer:
            writer.write_batch(batch)
    if not into.replaced:  # as where Arrow copies a buffer before it writes it
        raise StoreError(
            f"{path}: Arrow {pa.__version__} wrote other vectors than the shards'; expected the locked version"
        )
    return into.sha256.hexdigest()


class _InPlaceOf(io.RawIOBase):
    """What Arrow writes a file to: all but the buffer at `address`, in whose place the shards' vectors are written."""

    def __init__(self, address: int, shards: Iterable[Path], file: BinaryIO) -> None:
        self.address, self.shards, self.file = address, shards, file
        self.replaced = False
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def write(self, content: Any, /) -> int:
        if getattr(content, "address", None) != self.address:
            self.sha256.update(content)
            return self.file.write(content)
        self.replaced = True
        return sum(map(self._write_vectors, self.shards))

    def _write_vectors(self, shard: Path) -> int:
        vectors = np.asarray(_read(shard, mapped=False).vectors).data.cast("B")
        self.sha256.update(vectors)
        count = self.file.write(vectors)
        _forget(shard)
        return count


def _forget(path: Path) -> None:
    """Give the memory back in which the system keeps what was read of a file, where it knows how."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(path: Path, mapped: bool = True) -> _Rows:
    """A store's file or shard, as views of its memory map, or (not `mapped`) of memory that it is read into."""
    if not path.exists():
        raise StoreError(f"{path}: no such file; expected a store of embeddings")
    try:
        with pa.memory_map(str(path)) if mapped else pa.OSFile(str(path)) as source:
            reader = pa.ipc.open_file(source)
            batch = reader.get_batch(0)
        batch.validate(full=False)
        keys = batch.column("key")
        if pieces := reader.schema.metadata.get(b"pieces"):
            return _Rows(keys.to_numpy(), map_pieces([Piece(*piece) for piece in json.loads(pieces)]), {})
        embeddings = batch.column("embedding")
        vectors = embeddings.flatten().to_numpy(zero_copy_only=True).reshape(len(keys), embeddings.type.list_size)
        costs = json.loads(reader.schema.metadata[b"costs"])
    except (pa.ArrowException, OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a whole store file ({first_line(error)}); delete it and run again") from None
    return _Rows(keys.to_numpy(), vectors, costs)
