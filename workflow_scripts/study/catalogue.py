"""Every evaluation task that a study can name.

Takes mteb_tasks.json (written from the installed mteb by `tasks/catalogue.py`); leaves it as a dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).with_name("mteb_tasks.json")


@cache
def task_catalogue() -> dict[str, dict[str, Any]]:
    """Every evaluation task that can be named, with its type, metric, data set, revision and benchmarks."""
    catalogue: dict[str, dict[str, Any]] = json.loads(CATALOGUE.read_text())
    return catalogue


def spelled_out(names: Iterable[str]) -> list[str]:
    """Task names in their order, each once, with a benchmark's name replaced by its tasks."""
    named: dict[str, None] = {}
    for name in names:
        members = [task for task, entry in task_catalogue().items() if name in entry["benchmarks"]]
        named.update(dict.fromkeys(members or [name]))
    return list(named)
