"""All scores of a study, gathered into arrays.

Takes `scores/<model>/s<seed>/<task>.parquet` with its values, `tasks/<task>/task.json`, and the models that the
study names; leaves one `TaskScores` per task, with what is missing named rather than guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workflow_scripts.artefact import read_json
from workflow_scripts.study.configuration import Study

SCORE_COLUMNS = ["variant", "seed", "task", "task_type", "reduction", "dim", "metric", "score"]
VALUE_COLUMNS = ["reduction", "dim", "part", "unit", "value"]
DRAW = re.compile(r"^random-\d+")


@dataclass(frozen=True)
class Model:
    """One model of the study's graph, with what the comparisons need to know of it."""

    name: str
    parent: str | None
    nested: bool = False
    rotated: bool = False
    trained: bool = False
    width: int = 0
    steps: int = 0
    seeds: tuple[int, ...] = (0,)


@dataclass
class TaskScores:
    """One task's scores of every model.

    `cells` names the first axis of `score` (cells, seeds) and `values` (cells, seeds, units) of each model;
    `values` is None where a score came without the values it is the mean of. `parts` (units,) numbers the subset and
    split that each unit is of: the score is the mean over parts of the mean over their units.
    """

    task: str
    task_type: str
    metric: str
    chance: float | None
    units: int
    cells: dict[str, list[tuple[str, int]]]
    seeds: dict[str, list[int]]
    score: dict[str, npt.NDArray[np.float64]]
    values: dict[str, npt.NDArray[np.float32] | None]
    parts: npt.NDArray[np.int64]


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
                width=study.graph.width_of(name),
                steps=study.graph.steps_of(name),
                seeds=tuple(study.graph.seeds_of(name)),
            )
        )
    return models


def score_file(results: Path, model: str, seed: int, task: str) -> Path:
    return results / "scores" / model / f"s{seed}" / f"{task}.parquet"


def missing_scores(results: Path, models: list[Model], tasks: list[str]) -> list[dict[str, Any]]:
    """Every (variant, seed, task) that the study asks for and that has no score yet."""
    return [
        {"variant": model.name, "seed": seed, "task": task}
        for model in models
        for seed in model.seeds
        for task in tasks
        if not score_file(results, model.name, seed, task).exists()
    ]


def read_task(results: Path, models: list[Model], task: str) -> TaskScores | None:
    """The scores of one task, or None where there are none. Random draws of coordinates become their mean.

    Raises ValueError, in one line, for a file that is not a table of scores.
    """
    description_file = results / "tasks" / task / "task.json"
    description = read_json(description_file) if description_file.exists() else {}
    found: TaskScores | None = None
    values_of: dict[str, dict[int, pl.DataFrame]] = {}
    for model in models:
        tables: dict[int, pl.DataFrame] = {}
        for seed in model.seeds:
            path = score_file(results, model.name, seed, task)
            if not path.exists():
                continue
            rows = read_table(path, SCORE_COLUMNS)
            if rows.is_empty():
                continue
            if found is None:
                found = TaskScores(
                    task,
                    rows["task_type"][0],
                    rows["metric"][0],
                    description.get("chance"),
                    0,
                    {},
                    {},
                    {},
                    {},
                    np.zeros(0, np.int64),
                )
            tables[seed] = merge_draws(rows, "score", ["reduction", "dim"])
            values = path.with_name(f"{task}.values.parquet")
            if values.exists():
                metric = rows["metric"][0]
                table = read_table(values, [*VALUE_COLUMNS, "metric"]).filter(pl.col("metric") == metric)
                values_of.setdefault(model.name, {})[seed] = merge_draws(table, "value", VALUE_COLUMNS[:-1])
        if tables and found is not None:
            _add_scores(found, model.name, tables)
    if found is not None:
        _add_values(found, values_of)
    return found


def read_table(path: Path, columns: list[str], more: bool = False) -> pl.DataFrame:
    """The named columns of a parquet file (`more`: and all others); one line says which file or column is wrong."""
    try:
        table = pl.read_parquet(path, columns=None if more else columns)
        table.select(columns)
        return table
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path}: not a table with the columns {', '.join(columns)} ({first}); delete it and run again"
        ) from None


def merge_draws(rows: pl.DataFrame, value: str, keys: list[str]) -> pl.DataFrame:
    """`random-0`, `random-1`, … become one reduction `random`, their mean."""
    named = rows.select(*keys, value)
    if not named["reduction"].str.starts_with("random-").any():
        return named
    merged = named.with_columns(pl.col("reduction").str.replace(DRAW.pattern, "random"))
    return merged.group_by(keys, maintain_order=True).agg(pl.col(value).mean())


def _add_scores(found: TaskScores, model: str, tables: dict[int, pl.DataFrame]) -> None:
    """Scores as (cells, seeds), of the cells that every seed of the model has."""
    per_seed = [dict(zip(zip(t["reduction"], t["dim"], strict=True), t["score"], strict=True)) for t in tables.values()]
    cells = sorted(cell for cell in per_seed[0] if all(cell in others for others in per_seed[1:]))
    found.cells[model] = cells
    found.seeds[model] = list(tables)
    found.score[model] = np.array([[scores[cell] for scores in per_seed] for cell in cells], np.float64).reshape(
        len(cells), len(per_seed)
    )


def _add_values(found: TaskScores, values_of: dict[str, dict[int, pl.DataFrame]]) -> None:
    """Values as (cells, seeds, units), units in one order for all models, so that they pair up."""
    common: set[tuple[str, str]] | None = None
    for tables in values_of.values():
        for table in tables.values():
            units = set(table.select("part", "unit").unique().iter_rows())
            common = units if common is None else common & units
    order = sorted(common or set())
    found.units = len(order)
    positions = pl.DataFrame(
        {"part": [part for part, _ in order], "unit": [unit for _, unit in order], "u": np.arange(len(order))},
        schema={"part": pl.String, "unit": pl.String, "u": pl.Int64},
    )
    found.parts = np.unique([part for part, _ in order], return_inverse=True)[1].astype(np.int64)
    for model, cells in found.cells.items():
        found.values[model] = None
        tables = values_of.get(model, {})
        if not order or any(seed not in tables for seed in found.seeds[model]):
            continue
        index = pl.DataFrame(
            {"reduction": [r for r, _ in cells], "dim": [d for _, d in cells], "c": np.arange(len(cells))},
            schema={"reduction": pl.String, "dim": pl.Int64, "c": pl.Int64},
        )
        array = np.full((len(cells), len(found.seeds[model]), len(order)), np.nan, np.float32)
        for s, seed in enumerate(found.seeds[model]):
            placed = (
                tables[seed].with_columns(pl.col("dim").cast(pl.Int64)).join(index, on=["reduction", "dim"])
            ).join(positions, on=["part", "unit"])
            array[placed["c"].to_numpy(), s, placed["u"].to_numpy()] = placed["value"].to_numpy()
        if not np.isnan(array).any():
            found.values[model] = array
