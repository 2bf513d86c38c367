"""The report's tables of results: what each codec, dimension and model keeps, costs and differs by.

Takes the answer and the room's tables; leaves `Table`s, which a template turns into HTML and escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
from markupsafe import Markup

from workflow_scripts.curves.comparisons import QUESTIONS
from workflow_scripts.curves.formats import (
    MINUS,
    NOT_KNOWN,
    between,
    byte_count,
    code,
    count,
    duration,
    kept,
    lost,
    metric_name,
    number,
    percent,
    quantity,
    storage,
)
from workflow_scripts.curves.indexes import ENGINES
from workflow_scripts.curves.kinds import devices_of
from workflow_scripts.curves.recommendations import SHARES
from workflow_scripts.curves.schemas import MEAN, MEAN_INSIDE, MEAN_OUTSIDE, MEANS, PREFIX, is_prefix
from workflow_scripts.curves.summary import Answer, Recommendation, StorageAdvice

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """`text`, with lines of small print below; `words`: text rather than a number, at the left; `dim`: the number that
    the cell stands for, as a data attribute."""

    text: str | Markup = NOT_KNOWN
    small: tuple[str | Markup, ...] = ()
    words: bool = False
    strong: bool = False
    dim: str | None = None


class Section(NamedTuple):
    """Rows of cells, the first of each its header, under a heading (or none)."""

    rows: list[list[Cell]]
    heading: str | Markup = ""


class Table(NamedTuple):
    head: list[str]
    sections: list[Section]
    caption: str | Markup = ""

    @property
    def wordy(self) -> list[bool]:
        """Which columns hold words."""
        rows = [row for section in self.sections for row in section.rows]
        return [any(row[i].words for row in rows) for i in range(len(self.head))]


class Speeds(NamedTuple):
    """Exact searches per second by dimension, over this many vectors, and on what; and by kind of faiss index, each with
    its `index`, `dim`, `bytes` and `queries_per_second`."""

    rate: dict[int, float]
    vectors: int
    machine: str = ""
    indexes: tuple[Row, ...] = ()


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str | Markup = "") -> Table:
    """A table without headings between its rows; plain strings are cells."""
    cells = [
        [cell if isinstance(cell, Cell) else Cell(cell if isinstance(cell, Markup) else str(cell)) for cell in row]
        for row in rows
    ]
    return Table(list(head), [Section(cells)], caption)


def words(value: object) -> Cell:
    return Cell(str(value), words=True)


def engine_table(answer: Answer, task_type: str, variant: str) -> Table:
    """The fewest bytes that keep each share of one model's full width, by what the index takes."""
    found = {
        (row.engine, row.share): row for row in answer.storage if (row.task_type, row.variant) == (task_type, variant)
    }
    # with intervals the full width at least keeps all of itself
    known = any(row.choice is not None for row in found.values())
    rows = [
        [Cell(engine), *(_storage_cell(found.get((engine, share)), known) for share in SHARES)]
        for engine in ENGINES
        if any((engine, share) in found for share in SHARES)
    ]
    head = ["the index takes", *(f"keeps {percent(share)} in" for share in SHARES)]
    caption = Markup(
        "{}: the fewest bytes a vector of {} in memory with which it keeps that share of its full width, with {} confidence. An index"
        " that takes more has more to choose from, which is corrected for: it may need more to be sure."
    )
    return table(head, rows, caption.format(task_type, code(variant), percent(answer.confidence)))


def _storage_cell(row: StorageAdvice | None, known: bool) -> Cell:
    """`known`: whether there are intervals."""
    if row is None:
        return Cell(words=True)
    if not known:
        return Cell("no interval", words=True)
    if row.choice is None or row.bytes is None:
        return Cell("not sure of fewer than all", (f"{byte_count(row.full_bytes)} B",), words=True)
    interval = between(row.kept_low, row.kept_high)
    said = f"{kept(row.kept)}{f' ({interval})' if interval else ''}"
    return Cell(f"{byte_count(row.bytes)} B", (row.words, said), words=True, strong=True)


def loss_table(answer: Answer, curves: pl.DataFrame, shown: dict[str, list[str]]) -> Table:
    """What is lost at each dimension by the models `shown` of each task type."""
    means = curves.filter((pl.col("task") == MEAN) & is_prefix())
    dims = sorted(means["dim"].unique().to_list())
    points = {(r["task_type"], r["variant"], r["dim"]): r for r in means.iter_rows(named=True)}
    sections = []
    for task_type, names in shown.items():
        rows = [
            [Cell(code(name)), *(_loss_cell(points.get((task_type, name, dim))) for dim in dims)]
            for name in names
            if any((task_type, name, dim) in points for dim in dims)
        ]
        sections.append(Section(rows, task_type))
    chances = any(entry.chance is not None for entry in answer.task_types.values())
    caption = (
        f"Share of its own full-width score that each model loses, and the {percent(answer.confidence)} interval."
        + (" In brackets: the same once the score of guessing is taken off both." if chances else "")
    )
    return Table(["model", *map(str, dims)], sections, caption)


def recommendation_table(
    answer: Answer, curves: pl.DataFrame, speeds: Speeds | None, types: Iterable[str], task: str = MEAN
) -> Table:
    """Per task type and model: the smallest dimension that keeps each share, and what it saves."""
    types = list(types)
    full: dict[tuple[str, str], Row] = {}
    for row in curves.filter((pl.col("task") == task) & is_prefix()).sort("dim").iter_rows(named=True):
        full[row["variant"], row["task_type"]] = row
    by_key: dict[tuple[str, str], dict[float, Recommendation]] = {}
    for found in answer.recommendations:
        if found.task == task:
            by_key.setdefault((found.variant, found.task_type), {})[found.share] = found
    sections = []
    for task_type in types:
        rows = [
            [
                Cell(code(variant)),
                Cell(number(full[variant, kind]["score"]), (count(full[variant, kind]["dim"], "dimension"),)),
                *(_dimension_cell(wanted[share], speeds) for share in SHARES),
            ]
            for (variant, kind), wanted in by_key.items()
            if kind == task_type
        ]
        if rows:
            sections.append(Section(rows, task_type))
    head = ["model", "full width", *(f"keeps {percent(share)} from" for share in SHARES)]
    chances = any(answer.task_types[task_type].chance is not None for task_type in types)
    caption = (
        f"The smallest dimension from which on the {percent(answer.confidence)} interval stays at or above the share"
        " of the model's own full-width score. Small print: float32 storage for a million vectors"
        + (f", and exact searches per second here over {speeds.vectors:,} vectors" if speeds else "")
        + "; keeps: the share that the dimension keeps; perhaps: the dimension by the estimate alone, where the interval is too wide to be sure"
        + ("; above guessing: where it is another once the score of guessing is taken off" if chances else "")
        + "."
    )
    return Table(head, sections, caption)


def domain_tables(answer: Answer, curves: pl.DataFrame, speeds: Speeds | None) -> list[tuple[str, Table]]:
    """The recommended dimensions for tasks like the training pairs and for others, apart, with a title each."""
    found = []
    for task_type, entry in answer.task_types.items():
        for task, title, members in (
            (MEAN_INSIDE, "in domain", entry.in_domain),
            (MEAN_OUTSIDE, "out of domain", entry.out_of_domain),
        ):
            if members:
                shown = recommendation_table(answer, curves, speeds, [task_type], task)
                found.append((f"{task_type}, {title}: {', '.join(members)}", shown))
    return found


def speed_table(speeds: Speeds) -> Table:
    rows = [[str(dim), f"{rate:,.0f}"] for dim, rate in sorted(speeds.rate.items())]
    return table(
        ["dimension", "queries per second"],
        rows,
        f"Exact searches over {speeds.vectors:,} float32 vectors. {speeds.machine}",
    )


def index_tables(speeds: Speeds) -> list[Table]:
    """Queries per second of each kind of faiss index, a column for each dimension, with the bytes a vector takes there."""
    by_cell = {(row["index"], row["dim"]): row for row in speeds.indexes}
    dims = sorted({dim for _, dim in by_cell})
    rows = [
        [Cell(index), *(_speed_cell(by_cell.get((index, dim))) for dim in dims)]
        for index in dict.fromkeys(row["index"] for row in speeds.indexes)
    ]
    caption = (
        f"Queries per second of faiss's own indexes over {speeds.vectors:,} vectors, by dimension; small print: bytes that a"
        f" vector takes in memory. {speeds.machine}"
    )
    return [table(["index", *map(str, dims)], rows, caption)] if rows else []


def _speed_cell(row: Row | None) -> Cell:
    return Cell() if row is None else Cell(f"{row['queries_per_second']:,.0f}", (f"{byte_count(row['bytes'])} B",))


def curve_tables(curves: pl.DataFrame, means: bool) -> list[Table]:
    """Every point of the prefix curves, of the means over tasks or of the tasks: score with interval, share kept."""
    found = []
    is_mean = pl.col("task").is_in(MEANS)
    prefix = curves.filter(is_prefix() & (is_mean if means else ~is_mean))
    for (task_type, task), part in prefix.group_by(["task_type", "task"], maintain_order=True):
        dims = sorted(part["dim"].unique().to_list())
        by_cell = {(row["variant"], row["dim"]): row for row in part.iter_rows(named=True)}
        rows = [
            [Cell(code(variant)), *(_point_cell(by_cell.get((variant, dim))) for dim in dims)]
            for variant in dict.fromkeys(part["variant"])
        ]
        over = f" over {count(int(part['tasks'][0]), 'task')}" if means else ""
        found.append(table(["model", *map(str, dims)], rows, f"{task_type}, {task}{over}"))
    return found


def codec_tables(curves: pl.DataFrame, variants: dict[str, str]) -> list[Table]:
    """Every codec of one model (`variants`: by task type), by the bytes that it takes."""
    found = []
    for task_type, variant in variants.items():
        part = curves.filter(
            (pl.col("task") == MEAN) & (pl.col("task_type") == task_type) & (pl.col("variant") == variant)
        ).sort("bytes", "share", descending=[False, True], nulls_last=True)
        rows = [
            [
                Cell(code(row["codec"])),
                byte_count(row["bytes"]),
                number(row["score"]),
                kept(row["share"]),
                between(row["share_low"], row["share_high"]) or NOT_KNOWN,
            ]
            for row in part.iter_rows(named=True)
        ]
        caption = Markup("{}: every way of storing the vectors of {} that was measured").format(
            task_type, code(variant)
        )
        found.append(table(["codec", "bytes a vector", "score", "share kept", "interval, %"], rows, caption))
    return found


def cost_unit(answer: Answer) -> str:
    """What models' costs are first compared in: seconds, or operations where the models were made on several kinds of devices."""
    return "seconds" if len(devices_of(answer.models)) < 2 else "flops"


def cost_tables(answer: Answer, curves: pl.DataFrame) -> list[Table]:
    """Training cost (with parents) against score and share kept, at each dimension, by task type."""
    means = curves.filter((pl.col("task") == MEAN) & is_prefix())
    cells = {(r["variant"], r["task_type"], r["dim"]): r for r in means.iter_rows(named=True)}
    unit = cost_unit(answer)
    found = []
    for task_type in answer.task_types:
        dims = sorted({dim for _, kind, dim in cells if kind == task_type})
        rows = [
            [
                Cell(code(model.name)),
                quantity(model.cost.total.steps),
                duration(model.cost.total.seconds),
                quantity(model.cost.total.flops),
                *(_point_cell(cells.get((model.name, task_type, dim))) for dim in dims),
            ]
            for model in sorted(answer.models, key=lambda model: getattr(model.cost.total, unit) or 0)
        ]
        head = ["model", "steps", "time", "FLOPs", *map(str, dims)]
        caption = f"{task_type}: cost with all parents, and score (share of own full width)"
        found.append(table(head, rows, caption))
    return found


def area_table(answer: Answer) -> Table:
    """Areas under the prefix curves."""
    rows = [
        [
            Cell(code(area.variant)),
            words(area.task_type),
            f"{area.from_dim} to {area.to_dim}",
            number(area.area),
            between(area.low, area.high, "{:.4f}", 1) or NOT_KNOWN,
        ]
        for area in answer.areas
        if area.task == MEAN and (area.transform, area.precision, area.queries) == PREFIX
    ]
    head = ["model", "task type", "dimensions", "area under the curve", "interval"]
    return table(head, rows, "Area under score over log2(dimension), divided by its range.")


def difference_tables(differences: pl.DataFrame) -> list[Table]:
    """Paired differences by question, with the verdict after the correction."""
    found = []
    means = differences.filter(pl.col("task") == MEAN)
    for (asks,), asked in means.group_by(["question"], maintain_order=True):
        rows = [
            [
                Cell(Markup("{} {} {}").format(code(row["first"]), MINUS, code(row["second"]))),
                words(row["task_type"]),
                str(row["dim"]),
                NOT_KNOWN if row["difference"] is None else f"{row['difference']:+.4f}",
                between(row["low"], row["high"], "{:+.4f}", 1) or NOT_KNOWN,
                NOT_KNOWN if row["p_corrected"] is None else f"{row['p_corrected']:.2g}",
                words(row["verdict"]),
                NOT_KNOWN if row["detectable"] is None else f"{row['detectable']:.4f}",
            ]
            for row in asked.iter_rows(named=True)
        ]
        head = ["pair", "task type", "dimension", "difference", "interval", "p, corrected", "verdict", "would be found"]
        found.append(table(head, rows, QUESTIONS.get(str(asks), str(asks))))
    return found


def search_table(searches: pl.DataFrame) -> Table:
    """Every search of every model, means over seeds."""
    rows = [
        [
            Cell(code(row["variant"])),
            words(row["task"]),
            words(row["search"]),
            storage(row["bytes_in_memory"]),
            storage(row["bytes_read"]),
            quantity(row["multiply_adds"]),
            words(metric_name(row["metric"])),
            number(row["score"]),
        ]
        for row in searches.iter_rows(named=True)
    ]
    head = ["model", "task", "search", "in memory, a vector", "read, a query", "multiply-adds", "metric", "score"]
    return table(head, rows)


def _dimension_cell(row: Recommendation, speeds: Speeds | None) -> Cell:
    likely, above = row.dim_by_estimate, row.dim_above_chance
    perhaps = [f"perhaps {likely}"] if likely is not None and likely != row.dim else []
    if (
        row.dim is None
    ):  # the full width keeps all of itself: where not even that is sure, there is no interval or no score
        return Cell("not known" if likely is None else "no interval", tuple(perhaps), dim="")
    notes = [storage((row.bytes or 0) * 1e6)]
    if speeds and row.dim in speeds.rate:
        notes[0] += f" · {speeds.rate[row.dim]:,.0f} q/s"
    share = [] if row.kept is None or row.dim == row.full_width else [f"keeps {kept(row.kept)}"]
    guessing = [f"above guessing {above}"] if above not in (None, row.dim) else []
    whole = " (all)" if row.dim == row.full_width else ""
    return Cell(f"{row.dim}{whole}", (*notes, *share, *perhaps, *guessing), strong=True, dim=str(row.dim))


def _loss_cell(point: Row | None) -> Cell:
    if point is None or point["share"] is None:
        return Cell()
    small = []
    if point["share_low"] is not None:
        small.append(f"{lost(point['share_high'])} to {lost(point['share_low'])}")
    if point["share_above_chance"] is not None:
        small.append(f"({lost(point['share_above_chance'])})")
    return Cell(lost(point["share"]), tuple(small))


def _point_cell(row: Row | None) -> Cell:
    if row is None or row["score"] is None:
        return Cell()
    small = [
        between(row["score_low"], row["score_high"], "{:.4f}", 1),
        "" if row["share"] is None else kept(row["share"]),
    ]
    return Cell(number(row["score"]), tuple(line for line in small if line))
