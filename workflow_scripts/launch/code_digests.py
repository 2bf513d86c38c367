"""The code whose change re-runs a room: its own modules and every module of ours that they import.

Takes a room's name; leaves their paths, and one file with their digests, which is an input of each of the room's rules
(thirty files to each of a study's thousands of jobs would take Snakemake longer than all else). Read from the import
statements, so that no list has to be kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

from workflow_scripts.artefact import atomic_write

PACKAGE = Path(__file__).resolve().parents[1]
# An import of this package, anywhere in a module, with its parentheses where the names are on several lines.
IMPORT = re.compile(rf"^[ \t]*((?:from|import)\s+{PACKAGE.name}\b[^\n(]*(?:\([^)]*\))?)", re.MULTILINE)


def write_code_digest(room: str, digest: Path) -> None:
    """Write the digests of a room's code, where they are not those in the file already."""
    root = PACKAGE.parent
    lines = [f"{sha256(file.read_bytes()).hexdigest()}  {file.relative_to(root)}\n" for file in code_files(room)]
    text = "".join(lines)
    if not digest.is_file() or digest.read_text() != text:
        digest.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(digest) as part:
            part.write_text(text)


def code_files(room: str) -> list[Path]:
    """The modules of a room, and those that they import, directly or through another, sorted."""
    found: set[Path] = set()
    waiting = sorted((PACKAGE / room).glob("*.py"))
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported_files(file)
    return sorted(found)


@cache
def imported_files(file: Path) -> tuple[Path, ...]:
    """The files of this package that a module imports, anywhere in it."""
    names = set(_imported_names(file.read_text()))
    return tuple(sorted(path for name in names for path in _files_of(name)))


def _imported_names(source: str) -> Iterator[str]:
    for statement in IMPORT.findall(source):  # parsed alone: whole modules would take most of a second at every start
        (node,) = ast.parse(statement).body
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str) -> Iterator[Path]:
    """The file of a module of ours, with the `__init__.py` of the packages that it is in; nothing for any other name."""
    package, *parts = name.split(".")
    if package != PACKAGE.name:
        return
    path = PACKAGE
    for part in parts:
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        path /= part
    if path.with_suffix(".py").is_file():
        yield path.with_suffix(".py")
    elif (path / "__init__.py").is_file():
        yield path / "__init__.py"
