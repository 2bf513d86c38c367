"""Pairs in any published layout, read as a stream of one: seven columns of text.

Takes a file of pairs. Leaves `Chunk`s of a bounded size; a row that cannot be a pair (a null, a number for a text,
broken UTF-8) is counted in its chunk, not raised. Columns of plain text are read as columns; every other layout, of
parquet and JSON alike, row by row by `rows.RowReader`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.artefact import log
from workflow_scripts.command_line import InputError, first_line
from workflow_scripts.corpus.account import MALFORMED, NO_NEGATIVE
from workflow_scripts.corpus.files import PairsFile
from workflow_scripts.corpus.json_values import json_values
from workflow_scripts.corpus.rows import (
    COLUMNS,
    INSTRUCTIONS,
    KNOWN,
    NO_TASK,
    QUERY_PROMPT,
    SCHEMA,
    TEXTS,
    Dropped,
    RowReader,
    instruction_without_queries,
    missing,
    numbered,
    unused,
)
from workflow_scripts.corpus.streams import BYTES, ROWS, opened
from workflow_scripts.hub.client import POINTER, is_lfs_pointer

FIRST_ROWS = 1000  # that tell a file's layout


@dataclass
class Chunk:
    """Triples of one file, in its order: a table of COLUMNS, no nulls, valid UTF-8; how many rows of the file they come
    from; and how many of these gave none, by reason and task."""

    table: pa.Table
    rows: int
    drops: dict[str, Counter[str]] = field(default_factory=dict)


def chunks(file: PairsFile) -> Iterator[Chunk]:
    """Stream one file. Raises InputError for a file that is broken as a whole, or whose layout is not known."""
    path = file.path
    try:
        if is_lfs_pointer(path):
            raise InputError(f"{path}: {POINTER}; `git lfs pull` fetches it")
        if path.suffix == ".parquet":
            yield from _table_chunks(file, *_parquet(path))
        elif path.suffix == ".arrow":
            yield from _table_chunks(file, *_arrow(path))
        else:
            yield from _row_chunks(file, json_values(path))
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from None


# ---- columns


def _parquet(path: Path) -> tuple[pa.Schema, Iterator[pa.Table]]:
    file = opened(path)
    schema: pa.Schema = file.schema_arrow
    present = [name for name in schema.names if name not in unused(schema.names)]
    groups, rows = file.metadata.num_row_groups, file.metadata.num_rows
    width = file.metadata.row_group(0).total_byte_size / max(file.metadata.row_group(0).num_rows, 1) if groups else 0
    batches = file.iter_batches(batch_size=_rows_at_once(width), columns=present) if rows else iter(())
    return schema, (pa.Table.from_batches([batch]) for batch in batches)


def _arrow(path: Path) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """What `Dataset.save_to_disk` writes, a stream; or an Arrow file."""
    source = pa.memory_map(str(path))
    try:
        reader = pa.ipc.open_stream(source)
        batches = iter(reader)
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(source)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    return reader.schema, (table for batch in batches for table in _in_parts(batch))


def _in_parts(batch: pa.RecordBatch) -> Iterator[pa.Table]:
    at_once = _rows_at_once(batch.nbytes / max(batch.num_rows, 1))
    for start in range(0, batch.num_rows, at_once):
        yield pa.Table.from_batches([batch.slice(start, at_once)])


def _rows_at_once(bytes_per_row: float) -> int:
    return int(min(ROWS, max(BYTES // max(bytes_per_row, 1), 8)))


def _table_chunks(file: PairsFile, schema: pa.Schema, tables: Iterator[pa.Table]) -> Iterator[Chunk]:
    _check_columns(file.path, schema)
    _say_unused(file.path, schema.names)
    lists = any(not _is_text(schema.field(name).type) for name in schema.names if name in TEXTS)
    if lists or any(numbered(tuple(schema.names)).values()):
        yield from _row_chunks(file, _rows_of_tables(tables), schema)
        return
    needed = (_column_of_tasks(schema.names), *TEXTS)
    rows = pairs = 0
    nulls: Counter[str] = Counter()
    for table in tables:
        chunk = _text_columns(table, file.task)
        rows, pairs = rows + chunk.rows, pairs + chunk.table.num_rows
        nulls.update({name: table.column(name).null_count for name in needed if name in table.column_names})
        yield chunk
    if rows and not pairs:
        empty = [f"{name} is null in every row" for name in needed if nulls[name] == rows]
        raise InputError(f"{file.path}: {(empty or [f'none of its {rows} rows is a pair'])[0]}; {KNOWN}")


def _check_columns(path: Path, schema: pa.Schema) -> None:
    counts = Counter(name for name in schema.names if name not in unused(schema.names))
    for name, count in counts.items():
        if count > 1:
            raise InputError(f"{path}: {count} columns are called {name}; give each a name of its own")
    if lacking := missing(schema.names):
        raise InputError(f"{path}: {lacking[0]} is missing, found columns {', '.join(schema.names)}; {KNOWN}")
    further = numbered(tuple(schema.names))
    needed = (_column_of_tasks(schema.names), *TEXTS)
    for name in schema.names:
        kind = schema.field(name).type
        if name in needed and pa.types.is_null(kind) and not further.get(name):
            raise InputError(f"{path}: {name} is null in every row; {KNOWN}")
        if name in (*TEXTS, *further["pos"], *further["neg"]):
            fits = _is_text(_innermost(kind)) or pa.types.is_null(_innermost(kind))
        elif name in (*INSTRUCTIONS, QUERY_PROMPT):
            fits = _is_text(kind) or pa.types.is_null(kind)
        elif name in ("task_name", "task_id"):
            fits = _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
        else:
            fits = True
        if not fits:
            raise InputError(f"{path}: {name} is {kind}; {KNOWN}")


def _column_of_tasks(names: Collection[str]) -> str:
    return "task_name" if "task_name" in names else "task_id"


def _innermost(kind: pa.DataType) -> pa.DataType:
    """What a list, or a list of lists, holds."""
    for _ in range(2):
        kind = kind.value_type if _is_list(kind) else kind
    return kind


def _text_columns(table: pa.Table, default_task: str) -> Chunk:
    """Columns of text to COLUMNS; rows that do not fit are counted and left out."""
    names = table.column_names
    columns: dict[str, pa.Array] = {}
    good = others = None  # others: all but the negative
    for name in COLUMNS:
        given = [name]
        if name == "task_name":
            given = [_column_of_tasks(names)]
        elif name == "query_instruct":
            given = [name, QUERY_PROMPT]
        found = [_one_array(table.column(one)) for one in given if one in names]
        if len(found) > 1:  # the second where the first is null
            column = pc.coalesce(*(one.cast(pa.large_binary()) for one in found))
        elif found and not pa.types.is_null(found[0].type):
            [column] = found
        elif name == "task_name":
            column = pa.array([default_task] * table.num_rows, pa.large_string())
        else:
            column = pa.nulls(table.num_rows, pa.large_string())
        text, valid = _valid_text(column)
        if name in INSTRUCTIONS:  # none is as good as an empty one; a broken one is not
            valid = pc.or_(valid, pc.is_null(column))
            text = pc.fill_null(text, "")
        elif name == "task_name":  # a blank one is none
            valid = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(text), ""), False)
            text = pc.if_else(valid, text, None)
        columns[name] = text
        if name == "neg":
            null = pc.is_null(column)
        else:
            others = valid if others is None else pc.and_(others, valid)
        good = valid if good is None else pc.and_(good, valid)
    flat = pa.table({name: columns[name] for name in COLUMNS}, schema=SCHEMA)
    if pc.all(good).as_py() in (True, None):
        return Chunk(flat, table.num_rows)
    lacking = pc.and_(null, others)
    drops = {}
    for reason, rows in ((MALFORMED, pc.invert(pc.or_(good, lacking))), (NO_NEGATIVE, lacking)):
        drops[reason] = Counter(pc.fill_null(flat.filter(rows).column("task_name"), NO_TASK).to_pylist())
    return Chunk(flat.filter(good), table.num_rows, drops)


def _valid_text(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The column as large_string, null where it is not UTF-8, and where it holds a text."""
    if pa.types.is_integer(column.type):
        column = column.cast(pa.large_string())
    column = column.cast(pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(column), column.buffers(), column.null_count, column.offset)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        text = pa.array([_decoded(value) for value in column.to_pylist()], pa.large_string())
    return text, pc.is_valid(text)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


# ---- rows


def _rows_of_tables(tables: Iterator[pa.Table]) -> Iterator[tuple[Any, int]]:
    """Each row as a dictionary, and its bytes; None for one that holds broken UTF-8."""
    for table in tables:
        size = table.nbytes // max(table.num_rows, 1) + 1
        try:
            rows: list[Any] = table.to_pylist()
        except UnicodeDecodeError:
            rows = [_row_of(table.slice(number, 1)) for number in range(table.num_rows)]
        yield from ((row, size) for row in rows)


def _row_of(table: pa.Table) -> Any:
    try:
        return table.to_pylist()[0]
    except UnicodeDecodeError:
        return None


def _row_chunks(file: PairsFile, rows: Iterator[tuple[Any, int]], schema: pa.Schema | None = None) -> Iterator[Chunk]:
    path, first = file.path, _first(rows)
    if (instruction := instruction_without_queries([row for row, _ in first])) is not None:
        raise InputError(
            f"{path}: documents are [instruction, text] ({instruction[:40]!r} stands first in most of them), but queries are "
            'plain texts; give each query as ["", text], or the instruction in pos_instruct and neg_instruct'
        )
    _refuse_without_texts(path, [row for row, _ in first])
    reader = RowReader(file.task, [row for row, _ in first])
    columns: list[list[str]] = [[] for _ in COLUMNS]
    drops: dict[str, Counter[str]] = {}
    size = count = before = 0
    recognised = False
    for row, length in chain(first, rows):
        count += 1
        triples = reader.triples(row)
        if isinstance(triples, Dropped):
            reason = NO_NEGATIVE if triples.no_negative else MALFORMED
            drops.setdefault(reason, Counter())[triples.task] += 1
        else:
            if not recognised and schema is None:
                _say_unused(path, row)
            recognised = True
            for triple in triples:
                for column, value in zip(columns, triple, strict=True):
                    column.append(value)
            length = max(length, sum(len(text) for triple in triples for text in triple))
        size += length
        if len(columns[0]) >= ROWS or size >= BYTES:
            yield _chunk(columns, count - before, drops)
            columns, drops, size, before = [[] for _ in COLUMNS], {}, 0, count
    if count and not recognised:
        types = "" if schema is None else f"; found {', '.join(f'{n}: {schema.field(n).type}' for n in schema.names)}"
        raise InputError(f"{path}: {reader.why_none(count)}{types}; {KNOWN}")
    if columns[0] or drops:
        yield _chunk(columns, count - before, drops)


def _refuse_without_texts(path: Path, first: list[Any]) -> None:
    """Raises InputError where a text's key is in none of the first rows; where some have it, the others are counted."""
    rows = [(number, row) for number, row in enumerate(first, 1) if isinstance(row, dict)]
    if rows and (lacking := missing(dict.fromkeys(key for _, row in rows for key in row))):
        number, row = rows[0]
        found = ", ".join(row) or "none"
        raise InputError(f"{path}, row {number}: {lacking[0]} is missing, found keys {found}; {KNOWN}")


def _first(rows: Iterator[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """The rows by which a file's layout is told, of a bounded size."""
    first: list[tuple[Any, int]] = []
    size = 0
    for row, length in rows:
        first.append((row, length))
        size += length
        if len(first) == FIRST_ROWS or size >= BYTES:
            break
    return first


def _chunk(columns: list[list[str]], rows: int, drops: dict[str, Counter[str]]) -> Chunk:
    table = pa.table([pa.array(column, pa.large_string()) for column in columns], schema=SCHEMA)
    return Chunk(table, rows, drops)


def _say_unused(path: Path, names: Any) -> None:
    if names := unused(names):
        log.info("%s: not used: %s", path.name, ", ".join(map(str, names)))
