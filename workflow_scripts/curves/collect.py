"""All scores of a study, gathered into arrays.

Takes `scores/<model>/s<seed>/<task>.parquet` with its values and searches, `tasks/<task>/task.json`, and the models that
the study names; leaves one `TaskScores` per task, with what is missing named rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workflow_scripts.artefact import read_json
from workflow_scripts.command_line import InputError, first_line
from workflow_scripts.curves.schemas import Codec, Search
from workflow_scripts.curves.summary import Missing
from workflow_scripts.study.catalogue import spelled_out
from workflow_scripts.study.configuration import Study

SCORE_COLUMNS = [
    *("variant", "seed", "task", "task_type", "codec", "transform", "dim", "precision", "queries", "bytes"),
    *("metric", "score"),
]
UNIT_COLUMNS = ["codec", "metric", "part", "unit"]
LAYOUT_COLUMNS = [*UNIT_COLUMNS, "texts", "overlap"]
VALUE_COLUMNS = [*UNIT_COLUMNS, "value", "outcomes", "texts", "overlap"]
SEARCH_COLUMNS = [
    *("variant", "seed", "task", "search", "stages", "rescore", "metric", "score"),
    *("bytes_in_memory", "bytes_read", "multiply_adds"),
]
DRAW = r"^random\.\d+-"


@dataclass(frozen=True)
class Model:
    """One model of the study's graph, with what the comparisons need to know of it."""

    name: str
    parent: str | None
    nested: bool = False
    rotated: bool = False
    trained: bool = False
    adapted: bool = False
    width: int = 0
    steps: int = 0
    seeds: tuple[int, ...] = (0,)
    vectors: str = ""  # of vectors of the user's own, where they are from; empty for a model


@dataclass(frozen=True)
class Layout:
    """What one model's outcomes on a classification task are of. Per part: the `shape` (rows, experiments, bytes) of a
    seed's bits; the number of test texts; `overlap`, the share of its pool that a draw of training examples takes. A row is a
    codec or one of its draws of coordinates; `cell` (rows,) is the codec's place."""

    shape: list[tuple[int, int, int]]
    texts: list[int]
    overlap: list[float]
    cell: npt.NDArray[np.int64]


@dataclass
class TaskScores:
    """One task's scores of every model, and where the values are that they are means of.

    `cells` names the first axis of `score` (cells, seeds) of each model by codec. `units` names part and unit of each value that
    all models have; `parts` (units,) numbers the subset and split that each is of: the score is the mean over parts of the
    mean over their units. `bytes_read` per query by codecs alone, which read every one of the `documents`, where searches
    were measured. `files`: each seed's values; `read_values` and `read_outcomes` read one model's at a time, since those of
    all models are too many to hold. `layouts` are there of all models or of none.
    """

    task: str
    task_type: str
    metric: str
    chance: float | None
    units: list[tuple[str, str]] = field(default_factory=list)
    codecs: dict[str, Codec] = field(default_factory=dict)
    searches: dict[str, Search] = field(default_factory=dict)
    bytes_read: dict[str, float] = field(default_factory=dict)
    documents: float | None = None
    cells: dict[str, list[str]] = field(default_factory=dict)
    seeds: dict[str, list[int]] = field(default_factory=dict)
    score: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    files: dict[str, dict[int, Path]] = field(default_factory=dict)
    parts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    layouts: dict[str, Layout] = field(default_factory=dict)


def graph_of(study: Study) -> list[Model]:
    """The study's models, parents before children."""
    models = []
    for name in study.graph.models:
        variant = study.variants.get(name)
        models.append(
            Model(
                name,
                study.graph.parent_of(name),
                nested=bool(variant and variant.nested),
                rotated=bool(variant and variant.rotate),
                trained=study.graph.is_trained(name),
                adapted=name in study.graph.adapted,
                width=study.graph.width_of(name),
                steps=study.graph.steps_of(name),
                seeds=tuple(study.graph.seeds_of(name)),
                vectors=_where(study.graph.files[name]) if study.graph.is_own(name) else "",
            )
        )
    return models


def task_names(study: dict[str, Any]) -> list[str]:
    """The tasks of a dumped configuration by name; an entry over data of the user's own is a mapping."""
    return spelled_out(entry if isinstance(entry, str) else entry["name"] for entry in study.get("tasks", []))


def _where(files: Mapping[str, Mapping[str, Path]]) -> str:
    """The folders that files of vectors are in."""
    return ", ".join(dict.fromkeys(str(path.parent) for of_task in files.values() for path in of_task.values()))


def score_file(results: Path, model: str, seed: int, task: str) -> Path:
    return results / "scores" / model / f"s{seed}" / f"{task}.parquet"


def missing_scores(results: Path, models: list[Model], tasks: list[str]) -> list[Missing]:
    """Every (variant, seed, task) that the study asks for and that has no score yet."""
    return [
        Missing(variant=model.name, seed=seed, task=task)
        for model in models
        for seed in model.seeds
        for task in tasks
        if not score_file(results, model.name, seed, task).exists()
    ]


def read_task(results: Path, models: list[Model], task: str) -> TaskScores | None:
    """The scores of one task, or None where there are none. Random draws of coordinates become their mean.

    Raises InputError, in one line, for a file that is not a table of scores.
    """
    description_file = results / "tasks" / task / "task.json"
    description = read_json(description_file) if description_file.exists() else {}
    found: TaskScores | None = None
    units: set[tuple[str, str]] | None = None
    layouts: dict[str, Layout | None] = {}
    for model in models:
        tables: dict[int, pl.DataFrame] = {}
        of_outcomes: list[pl.DataFrame] = []
        for seed in model.seeds:
            path = score_file(results, model.name, seed, task)
            if not path.exists():
                continue
            rows = read_table(path, SCORE_COLUMNS)
            if rows.is_empty():
                continue
            metric = rows["metric"][0]
            if found is None:
                found = TaskScores(task, rows["task_type"][0], metric, description.get("chance"))
            tables[seed] = merge_draws(rows)
            searches = path.with_name(f"{task}.search.parquet")
            if searches.exists():
                tables[seed] = pl.concat([tables[seed], _read_searches(searches, found)], how="diagonal")
            values = path.with_name(f"{task}.values.parquet")
            if values.exists():
                found.files.setdefault(model.name, {})[seed] = values
                table = read_table(values, LAYOUT_COLUMNS).filter(pl.col("metric") == metric)
                of_seed = set(table.select("part", "unit").unique().iter_rows())
                units = of_seed if units is None else units & of_seed
                of_outcomes.append(table.filter(pl.col("texts").is_not_null()))
        if tables and found is not None:
            _add_scores(found, model.name, tables)
            layouts[model.name] = _layout_of_all(of_outcomes, found.cells[model.name], len(tables))
    if found is not None:
        found.units = sorted(units or set())
        found.parts = np.unique([part for part, _ in found.units], return_inverse=True)[1].astype(np.int64)
        known = {name: layout for name, layout in layouts.items() if layout is not None}
        if len(known) == len(layouts) and len({tuple(layout.texts) for layout in known.values()}) == 1:
            found.layouts = known
    return found


def read_table(path: Path, columns: list[str], more: bool = False) -> pl.DataFrame:
    """The named columns of a parquet file (`more`: and all others); one line says which file or column is wrong."""
    try:
        table = pl.read_parquet(path, columns=None if more else columns)
        table.select(columns)
        return table
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path}: not a table with the columns {', '.join(columns)} ({first_line(error)}); delete it and run again"
        ) from None


def merge_draws(rows: pl.DataFrame) -> pl.DataFrame:
    """The scores by codec; the draws of random coordinates become one codec, their mean."""
    keys = ["codec", "transform", "dim", "precision", "queries", "bytes"]
    return without_draws(rows).group_by(keys, maintain_order=True).agg(pl.col("score").mean())


def merge_value_draws(rows: pl.DataFrame) -> pl.DataFrame:
    """The values by codec, part and unit, the draws of random coordinates merged likewise."""
    named = rows.select("codec", "part", "unit", "value")
    if not named["codec"].str.contains(DRAW).any():
        return named
    return without_draws(named).group_by(["codec", "part", "unit"], maintain_order=True).agg(pl.col("value").mean())


def without_draws(rows: pl.DataFrame) -> pl.DataFrame:
    """Codecs by the name that their draws share: `random.0-64-float32` is `random-64-float32`."""
    return rows.with_columns(pl.col("codec").str.replace(DRAW, "random-"))


def _read_searches(path: Path, found: TaskScores) -> pl.DataFrame:
    """The scores of the searches in stages by name, and into `found` what they are, and how many documents there are: as
    many as a codec reads that the table has alone."""
    staged = pl.col("stages").list.len() > 0
    table = read_table(path, SEARCH_COLUMNS)
    alone = table.filter(~staged & (pl.col("bytes_in_memory") > 0)).head(1)
    found.documents = next(iter(alone["bytes_read"] / alone["bytes_in_memory"]), found.documents)
    rows = table.filter(staged)
    for row in rows.iter_rows(named=True):
        stages = tuple((stage["codec"], stage["candidates"]) for stage in row["stages"])
        costs = (row["bytes_in_memory"], row["bytes_read"], row["multiply_adds"])
        found.searches[row["search"]] = Search(row["search"], stages, row["rescore"], *costs)
    return rows.select(codec="search", score="score")


def _add_scores(found: TaskScores, model: str, tables: dict[int, pl.DataFrame]) -> None:
    """Scores as (cells, seeds), of the codecs that every seed of the model has."""
    per_seed = [dict(zip(t["codec"], t["score"], strict=True)) for t in tables.values()]
    first = next(iter(tables.values()))
    codecs = sorted(
        Codec(row["transform"], row["precision"], row["queries"], row["dim"], row["codec"], row["bytes"])
        for row in first.iter_rows(named=True)
        if row["transform"] is not None and all(row["codec"] in others for others in per_seed)
    )
    cells = [codec.name for codec in codecs]
    cells += [name for name in per_seed[0] if name in found.searches and all(name in others for others in per_seed)]
    found.codecs |= {codec.name: codec for codec in codecs}
    if found.documents is not None:
        found.bytes_read |= {codec.name: codec.bytes * found.documents for codec in codecs}
    found.cells[model] = cells
    found.seeds[model] = list(tables)
    found.score[model] = np.array([[scores[cell] for scores in per_seed] for cell in cells], np.float64).reshape(
        len(cells), len(per_seed)
    )


def read_values(scores: TaskScores, model: str) -> npt.NDArray[np.float32] | None:
    """A model's values as (cells, seeds, units), units in one order for all models, so that they pair up; None where a
    score came without the values it is the mean of."""
    cells, order, files = scores.cells[model], scores.units, scores.files.get(model, {})
    if not order or any(seed not in files for seed in scores.seeds[model]):
        return None
    positions = pl.DataFrame(
        {"part": [part for part, _ in order], "unit": [unit for _, unit in order], "u": np.arange(len(order))},
        schema={"part": pl.String, "unit": pl.String, "u": pl.Int64},
    )
    index = pl.DataFrame({"codec": cells, "c": np.arange(len(cells))}, schema={"codec": pl.String, "c": pl.Int64})
    array = np.full((len(cells), len(scores.seeds[model]), len(order)), np.nan, np.float32)
    for s, seed in enumerate(scores.seeds[model]):
        rows = read_table(files[seed], [*UNIT_COLUMNS, "value"]).filter(pl.col("metric") == scores.metric)
        placed = merge_value_draws(rows).join(index, on="codec").join(positions, on=["part", "unit"])
        array[placed["c"].to_numpy(), s, placed["u"].to_numpy()] = placed["value"].to_numpy()
    return None if np.isnan(array).any() else array


def read_outcomes(scores: TaskScores, model: str) -> list[npt.NDArray[np.uint8]]:
    """A model's outcomes on a task that has them. Per part: bits (rows, seeds, experiments, bytes), right or wrong as
    numpy.packbits packs the test texts."""
    layout, seeds = scores.layouts[model], scores.seeds[model]
    found = [np.empty((rows, len(seeds), draws, size), np.uint8) for rows, draws, size in layout.shape]
    for s, seed in enumerate(seeds):
        table = read_table(scores.files[model][seed], VALUE_COLUMNS)
        table = table.filter((pl.col("metric") == scores.metric) & pl.col("outcomes").is_not_null())
        for bits, (_, part) in zip(found, _by_part(table, scores.cells[model]), strict=True):
            for i, packed in enumerate(part["outcomes"]):
                bits[i // bits.shape[2], s, i % bits.shape[2]] = np.frombuffer(packed, np.uint8)
    return found


def _layout_of_all(tables: list[pl.DataFrame], cells: list[str], seeds: int) -> Layout | None:
    """The layout of a model's outcomes; None unless each of its seeds has the same."""
    layouts = [layout for table in tables if (layout := _layout(table, cells)) is not None]
    if len(layouts) < seeds or any(layout.shape != layouts[0].shape for layout in layouts):
        return None
    return layouts[0]


def _layout(table: pl.DataFrame, cells: list[str]) -> Layout | None:
    """The layout of one seed's outcomes; None unless every codec has as many."""
    shape, texts, overlap, of_cell = [], [], [], []
    for _, part in _by_part(table, cells):
        rows, experiments = part["codec"].n_unique(), part["n"].n_unique()
        if part.height != rows * experiments or part["texts"].n_unique() != 1:
            return None
        texts.append(int(part["texts"][0]))
        overlap.append(float(part["overlap"][0]))
        shape.append((rows, experiments, -(-texts[-1] // 8)))
        of_cell.append(part["cell"].to_numpy()[::experiments])
    if not of_cell or set(of_cell[0].tolist()) != set(range(len(cells))):
        return None
    if any(not np.array_equal(of_cell[0], other) for other in of_cell):
        return None
    return Layout(shape, texts, overlap, of_cell[0])


def _by_part(table: pl.DataFrame, cells: list[str]) -> Iterator[tuple[Any, pl.DataFrame]]:
    """The rows of these codecs, part by part, in the order of outcomes: by `cell`, the codec's place, draw and experiment `n`."""
    place = {cell: i for i, cell in enumerate(cells)}
    merged = without_draws(table)["codec"]
    table = table.with_columns(
        cell=merged.replace_strict(place, default=None, return_dtype=pl.Int64), n=pl.col("unit").cast(pl.Int64)
    )
    table = table.filter(pl.col("cell").is_not_null()).sort("part", "cell", "codec", "n")
    yield from table.group_by("part", maintain_order=True)
