"""The files whose change re-runs a room: its own modules and every module of ours that they import.

Takes a room's name; leaves paths. Read from the import statements, so that no list has to be kept.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


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
    names = set(_imported_names(ast.parse(file.read_text())))
    return tuple(sorted(path for name in names for path in _files_of(name)))


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
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
