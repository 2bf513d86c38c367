"""A table of the user's own, row by row: parquet, CSV, tab-separated values or JSON lines, the last three also packed.

Takes a file; leaves its columns, and its rows, each with the place that an error names. It exists so that every fault of a
file (cut short, not UTF-8, a row of another length, a column that is missing) is one line that says where.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workflow_scripts.command_line import InputError, first_line

LONGEST = 2**30  # characters of a field of CSV


class Row(NamedTuple):
    """`place`: file and line, or row of a parquet file, from 1."""

    place: str
    values: dict[str, Any]


def finite_number(row: Row, name: str) -> float:
    """The finite number in a column. Raises InputError."""
    value = row.values.get(name)
    try:
        found = math.nan if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"{row.place}: {name!r} is {shown(value)}, expected a number")
    return found


def shown(value: Any) -> str:
    """A value as an error says it, cut where it is long."""
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def columns_of(path: Path) -> list[str]:
    """The columns of a file from its head alone: of JSON lines, the keys of the first. Raises InputError, for a file without
    rows as well."""
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            if not file.metadata.num_rows:
                raise InputError(f"{path}: no rows in it")
            names: list[str] = file.schema_arrow.names
            return names
    first = next(rows_of(path, ()), None)
    if first is None:
        raise InputError(f"{path}: no rows in it")
    return list(first.values)


def rows_of(path: Path, columns: Collection[str]) -> Iterator[Row]:
    """Every row of a file, in order, with those of `columns` that it has; of parquet no other is read. Raises InputError, also
    for one of these that is there twice."""
    if path.suffix == ".parquet":
        yield from _rows_of_parquet(path, columns)
    elif _suffix(path) == ".jsonl":
        yield from _rows_of_json(path)
    else:
        yield from _rows_of_csv(path, "\t" if _suffix(path) == ".tsv" else ",", columns)


def _suffix(path: Path) -> str:
    """The suffix that says the format: the last, or that before `.gz`."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def _refuse_twice(path: Path, names: list[str], columns: Collection[str]) -> None:
    if twice := [name for name in columns if names.count(name) > 1]:
        raise InputError(
            f"{path}: {names.count(twice[0])} columns have the name {twice[0]!r}; found {', '.join(map(repr, names))}"
        )


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, their ends included; a byte order mark is no part of the first."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(f"{path}, line {number}: not UTF-8 (byte 0x{byte:02x}); save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cut short or damaged after line {number} ({first_line(error)})") from None


def _rows_of_json(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place}: not JSON ({first_line(error)}); is the file cut short?") from None
        except RecursionError:
            raise InputError(f"{place}: nested too deeply; expected an object with a key for each column") from None
        if not isinstance(values, dict):
            raise InputError(f"{place}: found {type(values).__name__}, expected an object with a key for each column")
        yield Row(place, values)


def _rows_of_csv(path: Path, delimiter: str, columns: Collection[str]) -> Iterator[Row]:
    csv.field_size_limit(LONGEST)
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}, line {start}: {first_line(error)}; is the file cut short?") from None
        if fields is None:
            return
        if not fields:
            continue
        if not names:
            names = fields
            _refuse_twice(path, names, columns)
            continue
        if len(fields) != len(names):
            raise InputError(f"{path}, line {start}: {len(fields)} fields, expected {len(names)} ({', '.join(names)})")
        yield Row(f"{path}, line {start}", dict(zip(names, fields, strict=True)))


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not readable as parquet ({first_line(error)}); is the file cut short?") from None


def _rows_of_parquet(path: Path, columns: Collection[str]) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    with _parquet(path) as file:
        names = file.schema_arrow.names
        _refuse_twice(path, names, columns)
        try:
            for batch in file.iter_batches(batch_size=4096, columns=[name for name in columns if name in names]):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number}", values)
        # ValueError, OverflowError: values that Python has not
        except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(f"{path}, after row {number}: cannot be read ({first_line(error)})") from None
