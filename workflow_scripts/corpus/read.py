"""Pairs in any published layout, read as a stream of one: seven columns of text.

Takes a folder or file (.parquet, .jsonl, .json, .gz behind either JSON). Leaves `Chunk`s of a bounded size; a row that
cannot be a pair (a null, a number for a text, broken UTF-8) is counted in its chunk, not raised. The layouts of MEDI:
strings with their instructions in columns of their own; `[instruction, text]` lists, in parquet, in JSON lines with
one file per task, and in one JSON array.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXTS = ("query", "pos", "neg")
INSTRUCTIONS = ("query_instruct", "pos_instruct", "neg_instruct")
COLUMNS = (*TEXTS, "task_name", *INSTRUCTIONS)
SCHEMA = pa.schema([(name, pa.large_string()) for name in COLUMNS])
NO_TASK = "(no task)"
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
NOT_PAIRS = ("source.json", "dataset_infos.json", "dataset_info.json")  # manifests beside pairs, ours or the hub's

ROWS = 16_384
BYTES = 32 * 2**20
LONGEST_ROW = 256 * 2**20
KNOWN = "expected query, pos, neg as texts (with query_instruct, …) or as [instruction, text], and task_name"
Item = TypeVar("Item")
Result = TypeVar("Result")


class InputError(ValueError):
    """The input cannot be read at all; the message is one line that names the file, and the row where there is one."""


@dataclass
class Chunk:
    """Rows of one file, in its order: a table of COLUMNS, no nulls, valid UTF-8; and how many rows were not pairs."""

    table: pa.Table
    malformed: Counter[str] = field(default_factory=Counter)


def files_of(source: Path) -> list[Path]:
    """The files that hold pairs: the file itself, or those in a folder and below, in the order of their names."""
    if source.is_file():
        found = [source]
    elif source.is_dir():
        found = sorted(
            path
            for path in source.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)
        )
    else:
        raise InputError(f"{source}: there is no such file or folder of pairs")
    pairs = [path for path in found if path.name.endswith(SUFFIXES)]
    if source.is_dir():
        pairs = [path for path in pairs if path.name not in NOT_PAIRS]
    if not pairs:
        raise InputError(f"{source}: no pairs here; expected {', '.join(SUFFIXES)}")
    return pairs


def chunks(path: Path) -> Iterator[Chunk]:
    """Stream one file. Raises InputError for a file that is broken as a whole or whose layout nobody knows."""
    try:
        yield from _parquet(path) if path.suffix == ".parquet" else _json(path)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({_first_line(error)})") from None


# ---- parquet


def _parquet(path: Path) -> Iterator[Chunk]:
    file = opened(path)
    schema = file.schema_arrow
    present = [name for name in schema.names if name in (*COLUMNS, "task_id")]
    _check_columns(path, schema)
    if file.metadata.num_rows == 0:
        return
    width = file.metadata.row_group(0).total_byte_size / max(file.metadata.row_group(0).num_rows, 1)
    rows = int(min(ROWS, max(BYTES // max(width, 1), 8)))
    for batch in file.iter_batches(batch_size=rows, columns=present):
        yield _flatten(pa.Table.from_batches([batch]), path)


def opened(path: Path) -> pq.ParquetFile:
    """A parquet file read page by page: its row groups may be larger than what memory is to hold."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with what the function makes of it, in order, while the pool has up to `count` of the next ones."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > count:
            first, made = waiting.popleft()
            yield first, made.result()
    while waiting:
        first, made = waiting.popleft()
        yield first, made.result()


def _check_columns(path: Path, schema: pa.Schema) -> None:
    for name in TEXTS:
        if name not in schema.names:
            raise InputError(f"{path}: {name} is missing, found columns {', '.join(schema.names)}; {KNOWN}")
    for name in (*TEXTS, *(n for n in (*INSTRUCTIONS, "task_name") if n in schema.names)):
        kind = schema.field(name).type
        inner = kind.value_type if _is_list(kind) else kind
        if not (_is_text(inner) or pa.types.is_null(inner)) or (_is_list(kind) and name not in TEXTS):
            raise InputError(f"{path}: {name} is {kind}; {KNOWN}")


def _flatten(table: pa.Table, path: Path) -> Chunk:
    """Any layout to COLUMNS; rows that do not fit are counted and left out."""
    columns: dict[str, pa.Array] = {}
    good = None
    for name in TEXTS:
        column = _one_array(table.column(name))
        if _is_list(column.type):
            fits = pc.fill_null(pc.equal(pc.list_value_length(column), 2), False)
            pairs = pc.if_else(fits, column, pa.scalar(["", None], column.type))
            flat = pc.list_flatten(pairs)
            places = pa.array(range(0, 2 * len(column), 2), pa.int64())
            columns[f"{name}_instruct"] = flat.take(places)
            columns[name] = flat.take(pc.add(places, 1))
        else:
            columns[name] = column
            instruct = f"{name}_instruct"
            if instruct in table.column_names:
                columns[instruct] = _one_array(table.column(instruct))
            else:
                columns[instruct] = pa.nulls(len(column), pa.large_string())
    if "task_name" in table.column_names:
        columns["task_name"] = _one_array(table.column("task_name"))
    elif "task_id" in table.column_names:
        columns["task_name"] = _one_array(table.column("task_id")).cast(pa.large_string())
    else:
        columns["task_name"] = pa.array([stem_of(path)] * table.num_rows, pa.large_string())

    for name in COLUMNS:
        text, valid = _valid_text(columns[name])
        if name in INSTRUCTIONS:  # none is as good as an empty one; a broken one is not
            valid = pc.or_(valid, pc.is_null(columns[name]))
            text = pc.fill_null(text, "")
        columns[name] = text
        good = valid if good is None else pc.and_(good, valid)
    flat_table = pa.table({name: columns[name] for name in COLUMNS}, schema=SCHEMA)
    if pc.all(good).as_py() in (True, None):
        return Chunk(flat_table)
    bad = pc.fill_null(flat_table.filter(pc.invert(good)).column("task_name"), NO_TASK)
    return Chunk(flat_table.filter(good), Counter(bad.to_pylist()))


def _valid_text(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The column as large_string, null where it is not UTF-8, and where it holds a text."""
    if pa.types.is_null(column.type):
        column = pa.nulls(len(column), pa.large_string())
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


# ---- JSON


def _json(path: Path) -> Iterator[Chunk]:
    with _opened(path) as file:
        start = file.read(1)
        while start and start in b" \t\r\n\xef\xbb\xbf":
            start = file.read(1)
        rows = _array_rows(path, file) if start == b"[" else _line_rows(start, file)
        yield from _chunks_of_rows(path, rows)


def _opened(path: Path) -> IO[bytes]:
    return io.BufferedReader(gzip.open(path), 2**20) if path.suffix == ".gz" else path.open("rb", 2**20)


def _line_rows(start: bytes, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """Each line's value and its bytes; a line that is not JSON gives None."""
    first = start + file.readline(LONGEST_ROW)
    line = first
    while line:
        if line.strip():
            try:
                yield json.loads(line), len(line)
            except ValueError:
                yield None, len(line)
        line = file.readline(LONGEST_ROW)


def _array_rows(path: Path, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """Each element of one JSON array, whose opening bracket is read already, without holding the whole."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode  # a broken byte spoils its row alone
    parse = json.JSONDecoder().raw_decode
    text, place, row, ended = "", 0, 0, False
    wanted = 2**20
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place < len(text) and text[place] == "]":
            return
        try:
            if place >= len(text):
                raise ValueError
            value, end = parse(text, place)
            if end == len(text) and not ended:  # a number could go on
                raise ValueError
        except ValueError:
            if ended or len(text) - place > LONGEST_ROW:
                raise InputError(
                    f"{path}, row {row + 1}: found {text[place : place + 40]!r}, expected a JSON object; "
                    + ("the file ends before its array does" if ended else "the row is not JSON")
                ) from None
            more = file.read(wanted)
            ended = not more
            wanted = min(wanted * 2, 2**26) if place == 0 else 2**20
            text, place = text[place:] + decode(more, final=ended), 0
            continue
        yield value, end - place
        place, row = end, row + 1


def _chunks_of_rows(path: Path, rows: Iterator[tuple[Any, int]]) -> Iterator[Chunk]:
    default = stem_of(path)
    columns: list[list[str]] = [[] for _ in COLUMNS]
    malformed: Counter[str] = Counter()
    size = count = 0
    recognised = False
    for row, length in rows:
        count += 1
        pair = _pair(row, default)
        if isinstance(pair, str):
            malformed[pair] += 1
            if not recognised and isinstance(row, dict) and not all(name in row for name in TEXTS):
                raise InputError(f"{path}, row {count}: found keys {', '.join(map(str, row)) or 'none'}; {KNOWN}")
        else:
            recognised = True
            for column, value in zip(columns, pair, strict=True):
                column.append(value)
        size += length
        if len(columns[0]) == ROWS or size >= BYTES:
            yield _chunk(columns, malformed)
            columns, malformed, size = [[] for _ in COLUMNS], Counter(), 0
    if count and not recognised:
        raise InputError(f"{path}: none of its {count} rows is a pair; {KNOWN}")
    if columns[0] or malformed:
        yield _chunk(columns, malformed)


def _chunk(columns: list[list[str]], malformed: Counter[str]) -> Chunk:
    return Chunk(pa.table([pa.array(c, pa.large_string()) for c in columns], schema=SCHEMA), malformed)


def _pair(row: Any, default_task: str) -> tuple[str, ...] | str:
    """The values of COLUMNS; or, for a row that is not a pair, the task to count it under."""
    if not isinstance(row, dict):
        return default_task
    task = row.get("task_name", row.get("task_id", default_task))
    if isinstance(task, int) and not isinstance(task, bool):
        task = str(task)
    if not _is_clean(task):
        return NO_TASK
    texts: list[str] = []
    instructions: list[str] = []
    for name in TEXTS:
        value = row.get(name)
        if isinstance(value, list) and value and isinstance(value[0], list):
            value = value[0]  # JSON lines may list several positives or negatives: the first is the pair's
        if isinstance(value, list):
            instruction, text = value if len(value) == 2 else (None, None)
        else:
            instruction, text = row.get(f"{name}_instruct", ""), value
            instruction = "" if instruction is None else instruction
        if not (_is_clean(instruction) and _is_clean(text)):
            return str(task)
        instructions.append(str(instruction))
        texts.append(str(text))
    return (*texts, str(task), *instructions)


def _is_clean(value: Any) -> bool:
    """A text that UTF-8 can hold: no lone surrogate, whether escaped in the JSON or left by a broken byte."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- small things


def stem_of(path: Path) -> str:
    """The task's name where the rows carry none: the file's name without its endings."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_dictionary(kind)
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
