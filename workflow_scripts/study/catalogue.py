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


def groups_of(entry: dict[str, Any]) -> list[str]:
    """The benchmarks and the aggregate task, where there is one, that a task is a member of."""
    return [*entry["benchmarks"], *([entry["aggregate"]] if entry.get("aggregate") else [])]


def known_names() -> list[str]:
    """Every name that stands for one task or more: tasks, benchmarks, aggregate tasks."""
    catalogue = task_catalogue()
    return list(dict.fromkeys([*catalogue, *(group for entry in catalogue.values() for group in groups_of(entry))]))


def prompt_names(own: Iterable[str] = ()) -> list[str]:
    """Every name under which a prompt is looked for, as `embeddings/prompts.py` does: `query`, `document`, a task, a
    task type, and these two with `-query` or `-document` behind them. `own`: names of tasks over data of the user's own."""
    catalogue = task_catalogue()
    kinds = ["query", "document"]
    names = [*dict.fromkeys(entry["type"] for entry in catalogue.values()), *catalogue, *own]
    return [*kinds, *names, *(f"{name}-{kind}" for name in names for kind in kinds)]


def spelled_out(names: Iterable[str]) -> list[str]:
    """Task names in their order, each once; the name of a benchmark, or of a task that is the mean of others
    (CQADupstackRetrieval), is replaced by its members."""
    named: dict[str, None] = {}
    for name in names:
        members = [task for task, entry in task_catalogue().items() if name in groups_of(entry)]
        named.update(dict.fromkeys(members or [name]))
    return list(named)
