"""All scores of one model on one task: every dimension and reduction, from embeddings encoded once.

Takes a task's folder, the store of its texts' embeddings and, where something is fitted, that of the training
texts. Leaves `<task>.parquet`, `<task>.values.parquet` (what each score is the mean of), `<task>.adaptive.parquet`,
and the same scores in mteb's own results layout under `<study>/scores/mteb/`. One process does all of it, since a
job that does one dimension spends most of its life importing.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mteb.cache import ResultCache
from mteb.results import TaskResult
from pydantic import BaseModel, ConfigDict, ValidationError

from workflow_scripts.artefact import Progress, atomic_write, exclusive_lock, log, read_json
from workflow_scripts.axes import Matrix
from workflow_scripts.command_line import start_log
from workflow_scripts.evaluation.task_files import Part, fresh_state, load_task, parts
from workflow_scripts.scores import abstention, adaptive, classification, retrieval
from workflow_scripts.scores.stock import Values, model_meta, stock_scores
from workflow_scripts.scores.views import View, views
from workflow_scripts.scratch import staged_copy
from workflow_scripts.store import FILE, Store, open_store
from workflow_scripts.study.sections.search import Adaptive

SCORES = pa.schema(
    [
        ("study", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("task_type", pa.string()),
        ("reduction", pa.string()),
        ("dim", pa.int64()),
        ("metric", pa.string()),
        ("score", pa.float64()),
    ]
)
VALUES = pa.schema(
    [
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("reduction", pa.string()),
        ("dim", pa.int64()),
        ("metric", pa.string()),
        ("part", pa.string()),
        ("unit", pa.string()),
        ("value", pa.float64()),
    ]
)
ADAPTIVE = pa.schema(
    [
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("shortlist_dims", pa.list_(pa.int64())),
        ("candidates", pa.list_(pa.int64())),
        ("rerank_dim", pa.int64()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("multiply_adds", pa.int64()),
        ("bytes_read", pa.int64()),
    ]
)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    model: str
    seed: int
    task: str
    dimensions: list[int]
    cuts: list[str]
    random_draws: int
    precisions: list[str]
    adaptive: Adaptive


@dataclass(frozen=True)
class Scored:
    """One score: a reduction (`prefix`, `pca:int8`, …) at a dimension."""

    reduction: str
    dim: int
    result: TaskResult
    values: Values


def score_all(task: Any, store: Store, made: Sequence[View], dimensions: Sequence[int]) -> Iterator[Scored]:
    """Every view at every dimension, the fast way where there is one. Raises ValueError or StoreError, one line,
    where the input does not fit."""
    if classification.is_plain(task):
        yield from _score_classification(task, store, made, dimensions)
    elif retrieval.is_plain(task):
        yield from _score_retrieval(task, store, made, dimensions)
    else:
        for view in made:
            for dim in dimensions:
                fresh_state(task)
                result, values = stock_scores(task, _lookup(store, view), dim)
                yield Scored(view.name, dim, result, values)


def _score_classification(task: Any, store: Store, made: Sequence[View], dimensions: Sequence[int]) -> Iterator[Scored]:
    metric = task.metadata.main_score
    pieces = classification.gather(task, store)
    for view in made:
        viewed = [classification.seen(piece, view) for piece in pieces]
        for dim in dimensions:
            started = time.monotonic()
            scores, values = {}, {}
            for piece in viewed:
                found = classification.score(task, piece, dim)
                scores[piece.part] = found
                values[piece.part] = {str(n): one[metric] for n, one in enumerate(found["scores_per_experiment"])}
            yield Scored(view.name, dim, _task_result(task, scores, time.monotonic() - started), values)


def _score_retrieval(task: Any, store: Store, made: Sequence[View], dimensions: Sequence[int]) -> Iterator[Scored]:
    metric = task.metadata.main_score
    pieces = retrieval.gather(task, store)
    for view in made:
        started = time.monotonic()
        ranked = {piece.part: retrieval.rankings(piece, store, view, list(dimensions)) for piece in pieces}
        shared = (time.monotonic() - started) / len(dimensions)
        for dim in dimensions:
            started = time.monotonic()
            scores, values = {}, {}
            for piece in pieces:
                ranking = ranked[piece.part][dim]
                found, per_query = retrieval.score(task, piece, ranking.rank)
                scores[piece.part] = found | abstention.nauc(per_query, ranking.sure)
                values[piece.part] = dict(zip(piece.query_ids, per_query[metric].tolist(), strict=True))
            yield Scored(view.name, dim, _task_result(task, scores, shared + time.monotonic() - started), values)


def adaptive_rows(
    task: Any, store: Store, view: View, dimensions: Sequence[int], settings: Settings
) -> list[dict[str, Any]]:
    """A row per way of adaptive retrieval, over float32 prefixes; none where the task is not retrieval by mteb's own
    full search, or where `adaptive: shortlist` is empty. Over several subsets or splits: means."""
    if not settings.adaptive.shortlist or not retrieval.is_plain(task):
        return []
    paths = adaptive.grid(settings.adaptive.shortlist, settings.adaptive.candidates, dimensions)
    pieces = retrieval.gather(task, store)
    scores = [adaptive.measure(task, piece, store, view, paths) for piece in pieces]
    documents = round(sum(len(piece.documents) for piece in pieces) / len(pieces))
    return [
        {
            "variant": settings.model,
            "seed": settings.seed,
            "task": settings.task,
            "shortlist_dims": [dim for dim, _ in path.stages],
            "candidates": [kept for _, kept in path.stages],
            "rerank_dim": path.rerank_dim,
            "metric": adaptive.METRIC,
            "score": sum(found[i] for found in scores) / len(scores),
            "multiply_adds": path.multiply_adds(documents),
            "bytes_read": path.multiply_adds(documents) * adaptive.BYTES,
        }
        for i, path in enumerate(paths)
    ]


def _task_result(task: Any, scores: dict[Part, dict[str, Any]], seconds: float) -> TaskResult:
    """The scores as mteb reports them. Its own `from_task_results` reads the package's metadata anew each time,
    which takes as long as a small task's dimension."""
    languages = task.metadata.hf_subsets_to_langscripts
    by_split: dict[str, list[Any]] = {}
    for part, found in scores.items():
        described = found | {"hf_subset": part.subset, "languages": languages[part.subset]}
        by_split.setdefault(part.split, []).append(described)
    return TaskResult(
        dataset_revision=task.metadata.revision,
        task_name=task.metadata.name,
        mteb_version=mteb.__version__,
        scores=by_split,
        evaluation_time=seconds,
        kg_co2_emissions=None,
    )


def _lookup(store: Store, view: View) -> Any:
    def vectors_of(texts: Sequence[str], prompt_type: str) -> Matrix:
        return view.of(np.asarray(store.vectors[store.rows_of(texts, prompt_type)], dtype=np.float32))

    return vectors_of


def write_results(
    scored: Sequence[Scored], funnels: list[dict[str, Any]], task: Any, settings: Settings, output: Path
) -> None:
    """Write the tables beside `output` and mteb's layout under the study's `scores/mteb`."""
    metric = task.metadata.main_score
    several = len(parts(task)) > 1
    scores: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    for one in scored:
        common = {"variant": settings.model, "seed": settings.seed, "task": settings.task}
        at = {"reduction": one.reduction, "dim": one.dim, "metric": metric}
        scores.append(
            {"study": settings.study, "task_type": task.metadata.type, "score": one.result.get_score()} | common | at
        )
        for part, units in one.values.items():
            where = f"{part.subset}/{part.split}" if several else ""
            values.extend(common | at | {"part": where, "unit": unit, "value": value} for unit, value in units.items())
    write_mteb_layout(scored, settings, output.parents[2] / "mteb")
    stem = output.name.removesuffix(".parquet")
    _write(values, VALUES, output.with_name(f"{stem}.values.parquet"))
    _write(funnels, ADAPTIVE, output.with_name(f"{stem}.adaptive.parquet"))
    _write(scores, SCORES, output)


def write_mteb_layout(scored: Sequence[Scored], settings: Settings, folder: Path) -> None:
    """mteb's results folder: `results/<model>/<revision>/experiments/embed_dim_<d>/<task>.json`, read by
    `mteb.ResultCache(folder).load_results()`. The task's scores of an earlier run at other dimensions or reductions
    go: they may be another model's."""
    cache = ResultCache(folder)
    written: set[Path] = set()
    for one in scored:
        meta = model_meta(f"{settings.study}/{settings.model}", f"s{settings.seed}", one.dim, one.reduction)
        path = cache.get_task_result_path(settings.task, meta)
        path.parent.mkdir(parents=True, exist_ok=True)
        written.add(path)
        with atomic_write(path) as part:
            one.result.to_disk(part)
        with atomic_write(path.with_name("model_meta.json")) as part:
            part.write_text(json.dumps(meta.to_dict(), default=str, indent=1, sort_keys=True))
    for experiments in {path.parents[1] for path in written}:
        for old in set(experiments.glob(f"*/{glob.escape(settings.task)}.json")) - written:
            old.unlink()


def _write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with atomic_write(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part, compression="zstd")


def score(settings: Settings, task_folder: Path, embeddings: Path, training_texts: Path | None, output: Path) -> None:
    started = time.monotonic()
    task = load_task(task_folder)
    store = open_store(embeddings)
    manifest = embeddings / "embeddings.json"
    if manifest.exists() and (model := read_json(manifest)["model"]) != settings.model:
        raise ValueError(f"{embeddings}: the store of model {model!r}, expected that of {settings.model!r}")
    for dim in settings.dimensions:
        if not 1 <= dim <= store.width:
            raise ValueError(
                f"dimension {dim} does not fit {embeddings}: its vectors are {store.width} wide; it is another model's store"
            )
    training = None
    if training_texts is not None:
        training = np.asarray(open_store(training_texts).vectors, dtype=np.float32)
    dimensions = sorted({*settings.dimensions, store.width})
    made = views(settings.cuts, settings.random_draws, settings.precisions, store.width, training)
    scored = []
    with Progress(f"score {settings.task}", len(made) * len(dimensions), "scores") as progress:
        for one in score_all(task, store, made, dimensions):
            scored.append(one)
            progress.add(1, f"{one.reduction} {one.dim}: {one.result.get_score():.4f}")
    prefix = views(["prefix"], 1, ["float32"], store.width, None)[0]
    funnels = adaptive_rows(task, store, prefix, dimensions, settings)
    write_results(scored, funnels, task, settings, output)
    log.info("%s: %d scores in %.1f s", settings.task, len(scored), time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score one model on one task, at every dimension and reduction.")
    parser.add_argument("--settings", required=True, help="JSON: study, model, seed, task, dimensions, cuts, …")
    parser.add_argument("--task", required=True, type=Path, help="task.sha256 in the task's folder")
    parser.add_argument("--embeddings", required=True, type=Path, help="embeddings.sha256 in the store's folder")
    parser.add_argument(
        "--training-texts", nargs="?", default="", const="", help="the same of the training texts' store; empty: none"
    )
    parser.add_argument("--output", required=True, type=Path, help="<study>/scores/<model>/s<seed>/<task>.parquet")
    parser.add_argument(
        "--scratch", type=int, choices=[0, 1], default=0, help="1: read the store from a copy in $TMPDIR"
    )
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    start_log()
    try:
        settings = Settings.model_validate_json(arguments.settings)
    except ValidationError as error:
        first = error.errors()[0]
        sys.exit(f"--settings: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    training = Path(arguments.training_texts).parent if arguments.training_texts else None
    try:
        with (
            exclusive_lock(arguments.output),
            staged_copy(arguments.embeddings, FILE, copy=bool(arguments.scratch)) as embeddings,
        ):
            score(settings, arguments.task.parent, embeddings.parent, training, arguments.output)
    except (KeyError, ValueError, OSError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else (str(error).splitlines() or [""])[0]
        sys.exit(f"score: {reason}")


if __name__ == "__main__":
    main()
