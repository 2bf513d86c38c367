"""Evaluation tasks over data of the user's own as ordinary mteb task objects.

Takes files by what they hold, or what a task's folder says of it; leaves the type of task that they make, and the mteb task
without data. Metric and way of scoring are those of mteb's own class; a task without judgements is a retrieval task whose
metric is `overlap_at_10`, agreement with the ranking at full width, which `scores` measures itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflow_scripts.command_line import InputError, Settings
from workflow_scripts.evaluation.own_files import columns_of
from workflow_scripts.evaluation.own_pairs import COLUMNS as JUDGEMENTS
from workflow_scripts.vector_headers import ONLY_VECTORS

if TYPE_CHECKING:
    import mteb

Type = Literal["Retrieval", "Classification", "STS"]
METRICS: dict[Type, str] = {"Retrieval": "ndcg_at_10", "Classification": "accuracy", "STS": "cosine_spearman"}
OVERLAP = "overlap_at_10"

TEXTS = ("_id", "text")
LABELLED = ("text", "label")
PAIRS = ("sentence1", "sentence2", "score")
BARE = ("_id", "text")  # not needed where vectors stand for texts: rows are then called by their numbers
COLUMNS = {"documents": TEXTS, "queries": TEXTS, "judgements": JUDGEMENTS, "train": LABELLED, "test": LABELLED}


class Described(Settings):
    """What there is to say of a task beside its data: `dataset`, the path as the study gives it; `revision`, the digest of
    its files; whether its documents are `judged`."""

    name: str
    type: Type
    dataset: str
    revision: str
    judged: bool = True


def type_of(files: Mapping[str, Path], texts: bool = True) -> Type:
    """The type of task that files make, by their columns; without `texts`, no column of them is needed. Raises InputError
    for a file without rows or a column that is missing."""
    for key, path in files.items():
        if path.suffix in ONLY_VECTORS:
            continue
        found = columns_of(path)
        if key == "rows":
            if set(PAIRS) <= set(found):
                return "STS"
            wanted: tuple[str, ...] = LABELLED
        else:
            wanted = COLUMNS[key]
        for name in wanted:
            if not texts and name in BARE:
                continue
            if name not in found and not (name == "_id" and "id" in found):
                other = f" (or {', '.join(map(repr, PAIRS))})" if key == "rows" else ""
                raise InputError(f"{path}: column {name!r} is missing{other}; found {', '.join(map(repr, found))}")
    return "Retrieval" if "documents" in files else "Classification"


def own_task(described: Described) -> mteb.AbsTask:
    """The mteb task, without data."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    bases: dict[Type, type[Any]] = {
        "Retrieval": AbsTaskRetrieval,
        "Classification": AbsTaskClassification,
        "STS": AbsTaskSTS,
    }
    metadata = TaskMetadata(
        name=described.name,
        description=f"Own data: {described.dataset}",
        dataset={"path": described.dataset, "revision": described.revision},
        type=described.type,
        eval_splits=["test"],
        eval_langs=["und-Zyyy"],  # undetermined
        main_score=METRICS[described.type] if described.judged else OVERLAP,
    )
    task: mteb.AbsTask = type(described.name, (bases[described.type],), {"metadata": metadata})()
    return task


def is_judged(task: mteb.AbsTask) -> bool:
    """Whether there is something to score a ranking by but the full-width ranking."""
    return task.metadata.main_score != OVERLAP
