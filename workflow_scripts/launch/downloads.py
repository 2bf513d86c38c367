"""What a study downloads and how much disk it fills, before it does.

Takes a study; leaves the repositories with their sizes, as the hub states them where it can be asked, and the bytes that
the study's own files will take.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from workflow_scripts.launch.costs import jobs, store_bytes, tasks_prepared
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.references import parse_reference

# Where the hub cannot be asked.
REPOSITORY_BYTES = {"avsolatorio/medi-data": 1_230_000_000, "distilbert/distilroberta-base": 333_000_000}
ROWS = {"avsolatorio/medi-data": 1_435_000}
MODEL_FILES = ("*.safetensors", "*.json", "*.txt")
TASK_FILES = ("*.parquet", "*.jsonl", "*.json", "*.gz", "*.csv", "*.tsv")


def downloads(study: Study) -> tuple[list[tuple[str, float | None]], str]:
    """(what, bytes) of everything that comes from the hub, None where nobody knows; and what the sizes stand on."""
    from workflow_scripts.hub.client import Kind, list_files
    from workflow_scripts.hub.retries import HubError

    reachable = True

    def size(repository: str, revision: str, kind: Kind, patterns: tuple[str, ...]) -> float | None:
        nonlocal reachable
        if reachable:
            try:
                return float(
                    sum(file.size for file in list_files(repository, revision, kind, patterns, waits=()).files)
                )
            except HubError as error:
                reachable = "no such" in str(error) or "token" in str(error)
                print(f"  ({error})", file=sys.stderr)
        return REPOSITORY_BYTES.get(repository)

    found: list[tuple[str, float | None]] = []
    if "download_pairs" in jobs(study):
        _, name, revision = parse_reference(study.corpus.repository)
        found.append((study.corpus.repository, size(name, revision or "main", "dataset", TASK_FILES)))
    for model in study.graph.models:
        if study.graph.is_fetched(model):
            kind, name, revision = parse_reference(study.graph.reference_of(model))
            if kind == "hub":
                found.append((study.graph.reference_of(model), size(name, revision or "main", "model", MODEL_FILES)))
    catalogue = study.catalogue
    for task in tasks_prepared(study):
        entry = catalogue[task]
        if entry["dataset"] is not None:
            stated = size(entry["dataset"], entry["revision"], "dataset", TASK_FILES)
            found.append((f"{task} ({entry['dataset']})", stated or entry["characters"]))
    basis = "as the hub states" if reachable else "the hub could not be asked: from mteb's statistics, uncompressed"
    return found, basis


def human(size: float | None) -> str:
    """Bytes as a person reads them."""
    if size is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@dataclass(frozen=True)
class Limits:
    """How many jobs run at once, and how many bytes of stores they may hold together (Snakemake's resource `store_mb`)."""

    jobs: int
    store_bytes: float = math.inf


def _embeddings(study: Study, stores: list[float], limits: Limits | None) -> tuple[str, float]:
    """What the stores fill: all of them, or, where they leave the disk, the most at a time: each job makes or reads one,
    beside whose shards it stands while it is joined."""
    if study.encoding.keep == "all" or limits is None:
        return "embeddings", sum(stores)
    at_once = min(2 * sum(sorted(stores)[-limits.jobs :]), limits.store_bytes, sum(stores))
    return (
        f"embeddings, the most at a time, with {limits.jobs} jobs at once; over the whole study {human(sum(stores))}",
        at_once,
    )


def disk(
    study: Study, fetched: list[tuple[str, float | None]], per_triple: float, limits: Limits | None = None
) -> list[tuple[str, float]]:
    """(what, bytes) that the study fills, as far as it can be told beforehand; with `limits`, at a time where stores leave
    the disk."""
    counts = jobs(study)
    models = [model for model in study.graph.models if not study.graph.is_own(model)]
    stores = [
        store_bytes(study, model, task)
        for model in models
        for task in study.task_names
        for _ in study.graph.seeds_of(model)
    ]
    _, repository, _ = parse_reference(study.corpus.repository)
    rows = ROWS.get(repository, 0) if study.corpus.source == "medi" else 0
    rows = min(rows, (study.corpus.rows_per_task or rows) * 330) if rows else 0
    sizes = dict(fetched)
    weights = 0.0
    for model in study.graph.encoders:
        weights += len(study.graph.seeds_of(model)) * (
            sizes.get(study.graph.reference_of(study.graph.root_of(model))) or 0.0
        )
    found = [
        ("downloads, and as much again in the hub's and datasets' caches", 2 * sum(b or 0.0 for _, b in fetched)),
        ("training pairs and their tokens", rows * (4 * per_triple + 2 * per_triple) if "pairs" in counts else 0.0),
        ("models", weights),
        _embeddings(study, stores, limits),
    ]
    return [(what, size) for what, size in found if size]
