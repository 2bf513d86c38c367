"""Names and lists in a study: which names are safe, what was perhaps meant, what is listed twice.

Takes values of the configuration; leaves them as they are, or raises ValueError with the end of a line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LONGEST = 100  # characters of a name
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST - 1}}}\Z")
TRAINING_TEXTS = "training_texts"  # the sample of training texts, encoded like a task
RESERVED = ("base", "mteb")  # names in the results that are no variant's


def safe_name(name: str, what: str) -> str:
    """The name, which may stand in a path. Raises ValueError else."""
    if not NAME.match(name):
        raise ValueError(f"{name!r} cannot name {what}; use letters, digits, '_', '-' and '.', at most {LONGEST}")
    return name


def distinct(values: Sequence[Any]) -> None:
    """Raises ValueError for the first value that is listed twice."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} is listed twice; list it once")


def listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def names_in(folder: Path) -> str:
    """What is in a folder, the first eight, for a line that says what was expected in its place."""
    return ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:8]) or "nothing"


def nearest(name: str, known: Iterable[str]) -> str:
    """What was perhaps meant, as the end of a line; empty where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
