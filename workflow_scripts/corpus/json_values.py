"""The values of a JSON file, one at a time: JSON lines, or the elements of one array, also behind gzip.

Takes a path; leaves each value with the bytes or characters that it took. Exists because MEDI is published as one
array of gigabytes, which no JSON library of the standard kind reads without holding it whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from workflow_scripts.command_line import InputError

LONGEST_ROW = 256 * 2**20
GZIP = b"\x1f\x8b"
# What a file begins with that is no JSON, whatever its name says.
OTHERS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PAR1": "parquet",
    b"ARROW1": "Arrow",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "Zstandard",
}
WHOLE_NUMBER = re.compile(r"-?\d+")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def json_values(path: Path) -> Iterator[tuple[Any, int]]:
    """Each row's value and its size; a row that is not JSON, or nested too deeply to be read, gives None.

    Raises InputError for a file of another kind, and where an array breaks in a way after which no row can be told from
    the next.
    """
    with _opened(path) as file:
        if kind := next((kind for magic, kind in OTHERS.items() if file.peek(8).startswith(magic)), None):
            raise InputError(f"{path}: begins as {kind} does; expected UTF-8 JSON (also behind gzip), convert it")
        start = file.read(1)
        while start and start in b" \t\r\n\xef\xbb\xbf":
            start = file.read(1)
        yield from _elements(path, file) if start == b"[" else _lines(start, file)


def _opened(path: Path) -> io.BufferedReader:
    """The file's bytes, unpacked where it is gzip by its name or by how it begins."""
    file: io.BufferedReader = io.BufferedReader(path.open("rb", buffering=0), 2**20)
    if path.suffix != ".gz" and not file.peek(2).startswith(GZIP):
        return file
    file.close()
    return io.BufferedReader(gzip.open(path), 2**20)


def _lines(start: bytes, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    line = start + file.readline(LONGEST_ROW)
    while line:
        if line.strip():
            try:
                yield json.loads(line), len(line)
            except (ValueError, RecursionError):
                yield None, len(line)
        line = file.readline(LONGEST_ROW)


def _elements(path: Path, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """Each element of one JSON array, whose opening bracket is read already, without holding the whole."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode  # a broken byte spoils its row alone
    parse = json.JSONDecoder().raw_decode
    text, place, row, ended = "", 0, 0, False
    wanted = 2**20
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place < len(text) and text[place] == "]":
            if rest := (text[place + 1 :].encode("utf-8", "surrogateescape") + file.read(2**20)).strip():
                found = rest[:40].decode(errors="replace")
                raise InputError(
                    f"{path}: behind the end of its array stands {found!r}; expected one array, or JSON lines"
                )
            return
        value, end = None, 0  # 0: more of the text is needed
        if place < len(text):
            try:
                value, end = parse(text, place)
            except json.JSONDecodeError:
                pass
            except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits: one malformed row
                end = _end_of_unreadable(text, place)
            if end == len(text) and not ended:  # a number could go on
                end = 0
        if not end:
            if ended or len(text) - place > LONGEST_ROW:
                raise InputError(
                    f"{path}, row {row + 1}: found {text[place : place + 40]!r}, expected a JSON object; "
                    + ("the file ends before its array does" if ended else "the row is not JSON")
                )
            more = file.read(wanted)
            ended = not more
            wanted = min(wanted * 2, 2**26) if place == 0 else 2**20
            text, place = text[place:] + decode(more, final=ended), 0
            continue
        yield value, end - place
        place, row = end, row + 1


def _end_of_unreadable(text: str, start: int) -> int:
    """Where the object, array or whole number that begins at `start` ends; 0 where the text ends before it."""
    if number := WHOLE_NUMBER.match(text, start):
        return number.end()
    depth = 0
    for token in TOKEN.finditer(text, start):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return 0
