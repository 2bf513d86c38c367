"""Every evaluation task that a study can name.

Takes mteb_tasks.json (written from the installed mteb by `tasks/catalogue.py`); leaves it as a dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

# Types whose texts are encoded as queries and documents; of pair classification a single task's are (TERRa).
WITH_ROLES = ("Retrieval", "Reranking", "PairClassification")
CATALOGUE = Path(__file__).with_name("mteb_tasks.json")


@cache
def task_catalogue() -> dict[str, dict[str, Any]]:
    """Every evaluation task that can be named, with its type, metric, data set, revision and benchmarks."""
    catalogue: dict[str, dict[str, Any]] = json.loads(CATALOGUE.read_text())
    return catalogue


def groups_of(entry: dict[str, Any]) -> list[str]:
    """The benchmarks and the aggregate task, where there is one, that a task is a member of."""
    return [*entry["benchmarks"], *([entry["aggregate"]["name"]] if entry.get("aggregate") else [])]


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


def prompts_read(task: str, kind: str) -> set[str]:
    """The names of the prompts that texts of a task of type `kind` may be given."""
    roles = ("query", "document") if kind in WITH_ROLES else ()
    return {task, kind, *roles, *(f"{name}-{role}" for name in (task, kind) for role in roles)}


def unread_prompts(prompts: Iterable[str], types: Mapping[str, str]) -> str | None:
    """A line that names the prompts which no task of a study reads, given its tasks' types by name; None where there is none.

    Not a mistake in itself: study files overlay each other, and one may leave out the tasks of another.
    """
    read = {name for task, kind in types.items() for name in prompts_read(task, kind)}
    unread = [repr(name) for name in prompts if name not in read]
    if not unread:
        return None
    return f"encoding.prompts: no task of this study reads {' or '.join(unread)}, so no text is encoded with it"


def spelled_out(names: Iterable[str]) -> list[str]:
    """Task names in their order, each once; the name of a benchmark, or of a task that is the mean of others
    (CQADupstackRetrieval), is replaced by its members."""
    named: dict[str, None] = {}
    for name in names:
        members = [task for task, entry in task_catalogue().items() if name in groups_of(entry)]
        named.update(dict.fromkeys(members or [name]))
    return list(named)


def weights_of(names: Iterable[str]) -> dict[str, float]:
    """By how much each task of these names counts in a mean over tasks, as in mteb's tables: what a table has one column
    for counts 1, so each of the n members of an aggregate task 1 / n where it was named as a member (by the aggregate's
    name, or by that of a benchmark which holds the aggregate)."""
    columns: dict[str, dict[str, None]] = {}
    for name in names:
        for task in spelled_out([name]):
            aggregate = task_catalogue().get(task, {}).get("aggregate") or {"name": None, "benchmarks": []}
            as_member = name == aggregate["name"] or name in aggregate["benchmarks"]
            columns.setdefault(aggregate["name"] if as_member else task, {})[task] = None
    weights: dict[str, float] = {}
    for members in columns.values():
        for task in members:
            weights[task] = weights.get(task, 0.0) + 1 / len(members)
    return weights
