"""Write `mteb_tasks.json`: every task that a study can name, as the installed mteb describes it.

Takes nothing but mteb; leaves the file that the Snakefile reads instead of importing mteb (three seconds).
Run `python -m workflow_scripts.tasks.catalogue` after a change of mteb's version; a test fails when it drifts.
"""

from __future__ import annotations

import json
from typing import Any

import mteb

from workflow_scripts.evaluation.mteb_tasks import BENCHMARKS, tasks_of
from workflow_scripts.study.catalogue import CATALOGUE

TYPES = {"Classification", "Retrieval", "STS", "PairClassification", "Clustering", "Reranking", "Summarization"}
OWN: dict[str, dict[str, Any]] = {
    "WordNetLexicographerFiles": {"type": "Classification", "metric": "accuracy", "texts": 2564, "characters": 139_460},
    "WordNetExamples": {"type": "Retrieval", "metric": "ndcg_at_10", "texts": 4100, "characters": 232_233},
}


def catalogue() -> dict[str, dict[str, Any]]:
    """Name -> type, main metric, data set, revision, benchmarks that hold it (itself, or through an aggregate task: its
    `aggregate`, with the benchmarks that hold it so), and how much text it has."""
    entries: dict[str, dict[str, Any]] = {
        name: {**entry, "dataset": None, "revision": None, "benchmarks": []} for name, entry in OWN.items()
    }
    tasks = {
        task.metadata.name: task
        for task in mteb.get_tasks(languages=["eng"], modalities=["text"], exclusive_modality_filter=True)
    }
    scored: dict[str, Any] = {}  # in the form in which `new_task` makes it: the first benchmark's subsets and splits
    members: dict[str, list[str]] = {}
    aggregates: dict[str, dict[str, Any]] = {}
    for benchmark in BENCHMARKS:
        for task, aggregate in tasks_of(benchmark):
            members.setdefault(task.metadata.name, []).append(benchmark)
            scored.setdefault(task.metadata.name, task)
            if aggregate is not None:
                through = aggregates.setdefault(task.metadata.name, {"name": aggregate, "benchmarks": []})
                through["benchmarks"] = sorted([*through["benchmarks"], benchmark])
    for name, task in sorted((tasks | scored).items()):
        metadata = task.metadata
        if metadata.type not in TYPES or task.is_aggregate:
            continue
        entries[name] = {
            "type": metadata.type,
            "metric": metadata.main_score,
            "dataset": metadata.dataset["path"],
            "revision": metadata.dataset["revision"],
            "benchmarks": sorted(members.get(name, [])),
            **({"aggregate": aggregates[name]} if name in aggregates else {}),
            **_size(metadata.descriptive_stats or {}, list(task.eval_splits), list(task.hf_subsets)),
        }
    return entries


def _size(statistics: dict[str, Any], splits: list[str], subsets: list[str]) -> dict[str, int | None]:
    """Texts and characters over the evaluated splits and subsets (English, of a task in several languages), from mteb's
    own descriptive statistics."""
    texts = characters = 0
    for found in (part for split in splits for part in _parts(statistics.get(split, {}), subsets)):
        texts += (found.get("num_samples") or 0) * (2 if found.get("text2_statistics") else 1)  # a pair has two
        for key in (
            "text_statistics",
            "documents_text_statistics",
            "queries_text_statistics",
            "text1_statistics",
            "text2_statistics",
            "human_summaries_statistics",
            "machine_summaries_statistics",
        ):
            characters += (found.get(key) or {}).get("total_text_length") or 0
    return {"texts": texts or None, "characters": characters or None}


def _parts(of_split: dict[str, Any], subsets: list[str]) -> list[dict[str, Any]]:
    """The statistics of each evaluated subset, where mteb states them apart; else those of the split."""
    apart = of_split.get("hf_subset_descriptive_stats") or {}
    return [apart[subset] for subset in subsets if subset in apart] or [of_split]


def main() -> None:
    CATALOGUE.write_text(json.dumps(catalogue(), indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
