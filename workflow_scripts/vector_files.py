"""Files of vectors that a user gives: checked, and as pieces that are read by memory map.

Takes .npy, .safetensors, .fvecs, .parquet or .arrow (an IPC file, uncompressed to be mapped); leaves `VectorFile`s. What
cannot be mapped (parquet, compressed or nested arrow) is copied once, as .npy, in a folder that the caller names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from workflow_scripts.artefact import atomic_write
from workflow_scripts.command_line import InputError, users_file
from workflow_scripts.mapped import Array, Piece, Vectors, blocks, map_pieces
from workflow_scripts.vector_headers import ARROW, FVECS, PARQUET, format_of, read_header

ID_COLUMNS = ("_id", "id")
BLOCK = 16_384  # rows looked at or copied at once
FLOATS = {pa.float32(): "float32", pa.float16(): "float16", pa.float64(): "float32"}  # as what they are stored


class VectorFile(NamedTuple):
    """A user's file, open: where its rows are, and their ids where the file has a column `id` or `_id`."""

    path: Path
    pieces: list[Piece]
    ids: list[str] | None

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    @property
    def width(self) -> int:
        return self.pieces[0].width

    @property
    def dtype(self) -> str:
        return self.pieces[0].dtype

    def vectors(self) -> Vectors:
        """The rows `(rows, width)`, read where they are."""
        return map_pieces(self.pieces)


def count_and_ids(path: Path) -> tuple[int, list[str] | None]:
    """How many vectors a file has, and their ids where it has them; the vectors are not read. Raises InputError."""
    header = read_header(path)
    if header is not None:
        return header.rows, None
    with users_file(f"{path}: not readable"):
        if format_of(path) == PARQUET:
            file = pq.ParquetFile(path)
            rows, names = file.metadata.num_rows, file.schema_arrow.names
            columns = [name for name in ID_COLUMNS if name in names][:1]
            return rows, _ids(path, file.read(columns).column(0)) if columns else None
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return len(table), _ids_in(path, table)


def open_vectors(path: Path, copies: Path) -> VectorFile:
    """Open a file of vectors; what cannot be mapped is copied to `copies/<name>.npy`. Raises InputError."""
    header = read_header(path)
    if header is not None:
        return VectorFile(path, [Piece(str(path), *header)], None)
    with users_file(f"{path}: not readable"):
        if format_of(path) == ARROW and (pieces := _mapped_arrow(path)):
            with pa.memory_map(str(path)) as source:
                return VectorFile(path, pieces, _ids_in(path, pa.ipc.open_file(source).read_all()))
        _, ids = count_and_ids(path)
        return VectorFile(path, [_copied(path, copies / f"{path.name}.npy")], ids)


def check_rows(file: VectorFile) -> None:
    """Look at every row once. Raises InputError for rows whose length is not a finite number or is 0 (a cosine with them
    is not defined), naming the first and how many there are."""
    _refuse_other_widths(file)
    found: dict[str, list[int]] = {"not finite": [], "all zeros": []}
    for start, block in blocks(file.vectors(), BLOCK):
        values = block.astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", values, values)
        found["not finite"] += (start + np.flatnonzero(~np.isfinite(squares))).tolist()
        found["all zeros"] += (start + np.flatnonzero(squares == 0)).tolist()
    for what, rows in found.items():
        if rows:
            more = f" ({len(rows):,} rows are)" if len(rows) > 1 else ""
            raise InputError(
                f"{file.path}: row {rows[0]:,} is {what}{more}: no cosine with it; leave it out, with its id"
            )


def _refuse_other_widths(file: VectorFile) -> None:
    """Raises InputError for a row of .fvecs that says another width than the first: only then are all rows where they
    are looked for."""
    (piece, *_) = file.pieces
    if format_of(file.path) != FVECS:
        return
    widths = map_pieces([Piece(str(file.path), "int32", piece.rows, 1, piece.offset - 4, piece.stride)]).arrays[0][:, 0]
    other = np.flatnonzero(widths != piece.width)
    if len(other):
        raise InputError(f"{file.path}: row {other[0]:,} has {widths[other[0]]} coordinates, row 0 has {piece.width}")


def _mapped_arrow(path: Path) -> list[Piece]:
    """The pieces of an Arrow IPC file whose vectors lie in it as they are, one for each record batch; none where they are
    compressed, or lists of any length."""
    pieces = []
    with pa.memory_map(str(path)) as source:
        first = source.read_buffer(source.size()).address
        reader = pa.ipc.open_file(source)
        name = _vector_column(path, reader.schema)
        kind = reader.schema.field(name).type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type == pa.float64():
            return []
        for number in range(reader.num_record_batches):
            column = reader.get_batch(number).column(name)
            if not len(column):
                continue
            if column.null_count or column.values.null_count:
                return []  # the copy says which row
            values, width = column.values, kind.list_size
            item = np.dtype(FLOATS[kind.value_type]).itemsize
            offset = values.buffers()[1].address + (values.offset + column.offset * width) * item - first
            if not 0 <= offset <= source.size() - len(column) * width * item:
                return []  # decompressed into memory
            pieces.append(Piece(str(path), FLOATS[kind.value_type], len(column), width, offset, width * item))
    return pieces


def _copied(path: Path, copy: Path) -> Piece:
    """The vectors of a parquet or arrow file, copied row group by row group into a .npy file."""
    if format_of(path) == PARQUET:
        file = pq.ParquetFile(path)
        name, rows = _vector_column(path, file.schema_arrow), file.metadata.num_rows
        batches: Iterator[Any] = (batch.column(0) for batch in file.iter_batches(BLOCK, columns=[name]))
        kind = file.schema_arrow.field(name).type
    else:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        name = _vector_column(path, reader.schema)
        rows = sum(len(reader.get_batch(number)) for number in range(reader.num_record_batches))
        batches = (reader.get_batch(number).column(name) for number in range(reader.num_record_batches))
        kind = reader.schema.field(name).type
    dtype = FLOATS[kind.value_type]
    if not rows:
        raise InputError(f"{path}: 0 vectors; expected at least one")
    with atomic_write(copy) as part:
        start, target = 0, None
        for column in filter(len, batches):
            block = _dense(path, column, start, dtype)
            if target is None:
                target = np.lib.format.open_memmap(part, "w+", dtype, (rows, block.shape[1]))
            if block.shape[1] != target.shape[1]:
                raise InputError(f"{path}: row {start:,} has {block.shape[1]} coordinates, row 0 has {target.shape[1]}")
            target[start : start + len(block)] = block
            start += len(block)
        if target is not None:
            target.flush()
    header = read_header(copy)
    assert header is not None
    return Piece(str(copy), *header)


def _dense(path: Path, column: Any, start: int, dtype: str) -> Array:
    """A column of lists as an array `(rows, width)`; `start` is the number of its first row."""
    if column.null_count:
        raise InputError(f"{path}: row {start + _first(column.is_null()):,} has no vector (null)")
    lengths = pa.compute.list_value_length(column)
    width = lengths[0].as_py()
    if (other := pa.compute.not_equal(lengths, width)).true_count:
        row = _first(other)
        raise InputError(f"{path}: row {start + row:,} has {lengths[row]} coordinates, row {start:,} has {width}")
    values = column.flatten()
    if values.null_count:
        raise InputError(f"{path}: row {start + _first(values.is_null()) // width:,} has a coordinate that is null")
    return np.asarray(values.to_numpy(zero_copy_only=False).reshape(len(column), width), dtype=dtype)


def _first(mask: Any) -> int:
    return int(pa.compute.index(mask, True).as_py())


def _vector_column(path: Path, schema: Any) -> str:
    """The one column of lists of floats."""
    lists = [
        field
        for field in schema
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type) or pa.types.is_fixed_size_list(field.type)
    ]
    found = [field.name for field in lists if field.type.value_type in FLOATS]
    if len(found) != 1:
        columns = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:6])
        raise InputError(f"{path}: {len(found)} columns of lists of floats, expected one; its columns: {columns}")
    name: str = found[0]
    return name


def _ids_in(path: Path, table: Any) -> list[str] | None:
    name = next((name for name in ID_COLUMNS if name in table.column_names), None)
    return _ids(path, table.column(name)) if name else None


def _ids(path: Path, column: Any) -> list[str]:
    """Ids as strings. Raises InputError for one that is missing or there twice."""
    ids = [None if value is None else str(value) for value in column.to_pylist()]
    seen: dict[str, int] = {}
    for row, identifier in enumerate(ids):
        if identifier is None:
            raise InputError(f"{path}: row {row:,} has no id (null)")
        if seen.setdefault(identifier, row) != row:
            raise InputError(f"{path}: rows {seen[identifier]:,} and {row:,} have the same id, {identifier!r}")
    return list(seen)
