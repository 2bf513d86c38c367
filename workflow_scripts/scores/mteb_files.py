"""All that mteb reports of a model on a task, a file for each, so that a score needs no mteb.

Takes what was scored with all of mteb's metrics; leaves `<task>.mteb.json`: the task's `name` and `revision`, `mteb_version`, the model's `width`,
and per codec that mteb has a name for (`results`: `codec, dim, precision, seconds`) its `scores` by split, in the form of mteb's `TaskResult`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workflow_scripts.artefact import atomic_write, versions
from workflow_scripts.scores.compression import is_of_mteb
from workflow_scripts.scores.scored import MtebScores, Scored

ENDING = ".mteb.json"


class TaskFacts(NamedTuple):
    """A task's name, type, main metric, its data's revision, and its languages by subset."""

    name: str
    task_type: str
    main_score: str
    revision: str
    languages: Mapping[str, Sequence[str]]


def write_mteb_file(scored: Sequence[Scored], task: TaskFacts, width: int, path: Path) -> None:
    """`width`: of the model's vectors."""
    content = {
        "name": task.name,
        "revision": task.revision,
        "mteb_version": versions("mteb")["mteb"],
        "width": width,
        "results": [
            {
                "codec": one.codec.name,
                "dim": one.codec.dim,
                "precision": one.codec.precision,
                "seconds": one.result.seconds,
                "scores": _by_split(one.result, task.languages),
            }
            for one in scored
            if one.result is not None and is_of_mteb(one.codec)
        ],
    }
    with atomic_write(path) as part:  # mteb's numbers may be NaN, which its own files have too
        part.write_text(json.dumps(content, indent=1) + "\n")


def _by_split(result: MtebScores, languages: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    by_split: dict[str, list[dict[str, Any]]] = {}
    for part, scores in result.of_parts.items():
        of_subset = scores | {"hf_subset": part.subset, "languages": list(languages[part.subset])}
        by_split.setdefault(part.split, []).append(of_subset)
    return by_split
