"""What a study downloads and how much disk it fills, before it does.

Takes a study; leaves the repositories with their sizes, as the hub states them where it can be asked, and the bytes that
the study's own files will take.
"""

from __future__ import annotations

import sys

from workflow_scripts.launch.costs import jobs, tasks_prepared
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.references import parse_reference

# Where the hub cannot be asked.
REPOSITORY_BYTES = {"avsolatorio/medi-data": 1_230_000_000, "distilbert/distilroberta-base": 333_000_000}
ROWS = {"avsolatorio/medi-data": 1_435_000}
TEXTS_UNKNOWN = 20_000
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


def disk(study: Study, fetched: list[tuple[str, float | None]], per_triple: float) -> list[tuple[str, float]]:
    """(what, bytes) that the study fills, as far as it can be told beforehand."""
    counts = jobs(study)
    catalogue = study.catalogue
    texts = sum(catalogue[task]["texts"] or TEXTS_UNKNOWN for task in study.task_names)
    stored = 2 if study.encoding.precision == "float16" else 4
    models = [model for model in study.graph.models if not study.graph.is_own(model)]
    embeddings = sum(
        texts * study.graph.width_of(model) * stored * len(study.graph.seeds_of(model)) for model in models
    )
    _, repository, _ = parse_reference(study.corpus.repository)
    rows = ROWS.get(repository, 0) if study.corpus.source == "medi" else 0
    rows = min(rows, (study.corpus.rows_per_task or rows) * 330) if rows else 0
    sizes = dict(fetched)
    weights = 0.0
    for model, seeds in ((m, len(study.graph.seeds_of(m))) for m in models):
        weights += seeds * (sizes.get(study.graph.reference_of(study.graph.root_of(model))) or 0.0)
    found = [
        ("downloads, and as much again in the hub's and datasets' caches", 2 * sum(b or 0.0 for _, b in fetched)),
        ("training pairs and their tokens", rows * (4 * per_triple + 2 * per_triple) if "pairs" in counts else 0.0),
        ("models", weights),
        ("embeddings", float(embeddings)),
    ]
    return [(what, size) for what, size in found if size]
