"""Which evaluation tasks resemble the training pairs, and whether the pairs were cleaned of their texts.

Takes corpus.json and the tasks' task.json; leaves, for each task, whether it is in domain, why, and what was cleaned.
Where the study does not say it, names and texts are all that is looked at: a task that neither gives away counts as out of
domain, and the report says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.artefact import read_json
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.kinds import of_vectors
from workflow_scripts.curves.summary import Domain

# What a task's name has beyond the name of its data.
ENDINGS = re.compile(
    r"(Classification|Retrieval|HardNegatives|Extraction|Domain|Intent|Scenario|\.?v\d+|20\d\d|s)+$", re.IGNORECASE
)
SHORTEST_NAME = 4
# So many training rows that held a task's texts, as a share of those texts, are no coincidence.
SHARE_OF_TEXTS = 0.01


def domains_of(
    results: Path, models: list[Model], tasks: list[str], said: Sequence[str] | None = None
) -> dict[str, Domain]:
    """Per task `in_domain`, `why` and `cleaned` ("yes", "held out", "no"); nothing where no model saw training pairs.
    `said`: the tasks that the study itself counts as in domain, and with them which are not; None where it does not say."""
    manifest = results / "corpus" / "corpus.json"
    bare = of_vectors(models)  # which saw no training pairs but their own
    if not manifest.exists() or not any((m.trained or m.rotated or m.adapted) and m.name not in bare for m in models):
        return {}
    corpus = read_json(manifest)
    found = {task: domain_of(task, _described(results, task), corpus) for task in tasks}
    if said is None:
        return found
    return {
        task: domain.model_copy(update={"in_domain": task in said, "why": "the study says so"})
        for task, domain in found.items()
    }


def domain_of(task: str, described: dict[str, Any], corpus: dict[str, Any]) -> Domain:
    """One task's place. In domain: the same source, training tasks of its name, or training rows with its texts."""
    pairs = corpus.get("tasks") or {}
    same_source = bool(described.get("dataset")) and described["dataset"] == corpus.get("source")
    rows = sum((entry.get("contaminated") or {}).get(task, 0) for entry in pairs.values())
    stem = _plain(ENDINGS.sub("", task))
    namesakes = [name for name in pairs if len(stem) >= SHORTEST_NAME and stem in _plain(name)]
    why = []
    if same_source:
        why.append(f"made from {corpus['source']}, as the pairs are")
    if namesakes:
        more = f" and {len(namesakes) - 3} more" if len(namesakes) > 3 else ""
        why.append(f"named like the training task{'s' * (len(namesakes) > 1)} {', '.join(namesakes[:3])}{more}")
    if rows and rows >= SHARE_OF_TEXTS * (described.get("texts") or 0):
        why.append(f"{rows:,} training rows held its texts")
    cleaned: Literal["yes", "held out", "no"] = "held out" if same_source else "no"
    if task in (corpus.get("decontaminated_against") or []):
        cleaned = "yes"
    return Domain(in_domain=bool(why), why="; ".join(why), cleaned=cleaned)


def _described(results: Path, task: str) -> dict[str, Any]:
    path = results / "tasks" / task / "task.json"
    description: dict[str, Any] = read_json(path) if path.exists() else {}
    return description


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
