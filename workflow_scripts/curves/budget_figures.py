"""The figures of what training buys.

Takes the tables that budget.py makes; leaves budget.svg and domains.svg. What needs no training of the encoder is a horizontal line: a
budget pays where its line is above all of these.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workflow_scripts.curves.formats import byte_count, metric_name
from workflow_scripts.curves.kinds import kinds, largest
from workflow_scripts.curves.looks import (
    FAINT,
    ONE_SEED,
    hollow,
    looks_of,
    mixed_seeds,
    panels,
    put_legend,
    shorten,
)
from workflow_scripts.curves.schemas import MEAN, MEAN_INSIDE, MEAN_OUTSIDE
from workflow_scripts.curves.summary import Answer

DECIDED = "ring: better or worse than the untrained"
RINGED = ("better", "worse")  # verdicts
MARKER, RING = 25, 130  # square points
LEFT_END = 0.025  # of a panel's width: where the ring of a horizontal line stands


def draw_budget(table: pl.DataFrame, answer: Answer) -> Any:
    """A row per number of bytes, a column per task type. Where some models have several
    seeds, the markers of those with one are hollow: their intervals are shorter since they speak of one training. A ring: the
    corrected verdict beside the best without training is better or worse."""
    types = list(answer.reference) or ["no scores"]
    sizes = sorted(set(table["bytes"])) or [0.0]
    order = list(dict.fromkeys(table["kind"]))
    looks = looks_of(kinds(answer.models))
    figure, axes = panels(len(sizes), len(types), 2.9 * len(sizes), -(-len(order) // 3), sharex=True)
    table = table.filter(pl.col("task") == MEAN)
    budgets = sorted(set(table["steps"]) - {0})
    mixed = mixed_seeds(table.filter(pl.col("steps") > 0)["seeds"])
    one_reference = len(set(answer.reference.values())) <= 1
    for row, size in enumerate(sizes):
        for column, task_type in enumerate(types):
            axis = axes[row][column]
            panel = table.filter((pl.col("task_type") == task_type) & (pl.col("bytes") == size)).drop_nulls("share")
            for place, kind in enumerate(order):
                shift = 1.04 ** (place - (len(order) - 1) / 2)
                _draw_kind(axis, panel.filter(pl.col("kind") == kind).sort("steps"), looks[kind], shift, mixed)
            against = (
                "" if one_reference else f"\nshares of {shorten(answer.reference.get(task_type, 'nothing'), 32)}'s"
            )
            axis.set_title(f"{task_type}, at most {byte_count(size)} bytes{against}", fontsize=10.5)
            _dress(axis, budgets)
            if panel.height:  # of horizontal lines alone matplotlib would show all from 0 to 1
                axis.set_ylim(*_limits(panel))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 1):g}%"))
    for column in range(len(types)):
        axes[-1][column].set_xlabel("training steps, parents' included")
    whose = f"{shorten(next(iter(answer.reference.values()), 'nothing'), 16)}'s" if one_reference else "the"
    axes[len(sizes) // 2][0].set_ylabel(f"share of {whose} full width kept")
    _legend(figure, axes, mixed, table["verdict"])
    return figure


def draw_domains(table: pl.DataFrame, answer: Answer) -> Any:
    """A row per task type, a column in domain and one out of it; of each kind the model with the most steps. Rings and
    hollow markers as in `draw_budget`."""
    models = largest(answer.models, set(table["variant"]))
    table = table.filter(pl.col("variant").is_in(list(models)))
    mixed = mixed_seeds(table["seeds"])
    types = list(dict.fromkeys(table["task_type"])) or ["no differences"]
    sides = [side for side in (MEAN_INSIDE, MEAN_OUTSIDE, MEAN) if side in set(table["task"])] or [MEAN]
    order = list(dict.fromkeys(table["kind"]))
    looks = looks_of(kinds(answer.models))
    figure, axes = panels(len(types), len(sides), 3.1 * len(types), -(-len(order) // 3), sharex=True, sharey="row")
    for row, task_type in enumerate(types):
        for column, side in enumerate(sides):
            axis = axes[row][column]
            panel = table.filter((pl.col("task_type") == task_type) & (pl.col("task") == side))
            for place, kind in enumerate(order):
                points = panel.filter(pl.col("kind") == kind).sort("dim")
                shift = 1.035 ** (place - (len(order) - 1) / 2)
                x = [dim * shift for dim in points["dim"]]
                axis.vlines(x, points["low"], points["high"], color=looks[kind]["color"], alpha=0.55, linewidth=1.2)
                look = looks[kind] | hollow(mixed and 1 in points["seeds"])
                name = next(model for model, its_kind in models.items() if its_kind == kind)
                axis.plot(x, points["difference"], markersize=4.5, linewidth=1.4, label=name, **look)
                _ring(axis, points.with_columns(x=pl.Series(x, dtype=pl.Float64)), "difference")
            entry = answer.task_types.get(task_type)
            measure = metric_name(entry.metric) if entry else ""
            axis.axhline(0, color="#444444", linewidth=0.9, linestyle=(0, (2, 3)))
            axis.set_title(
                f"{task_type} ({measure}), {side.removeprefix('mean ') if side != MEAN else 'all tasks'}", fontsize=10.5
            )
            _dress(axis, sorted(set(panel["dim"])))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}" if round(value, 4) else "0"))
    for column in range(len(sides)):
        axes[-1][column].set_xlabel("dimensions, float32")
    wrapped = "\n" if len(types) == 1 else " "  # one panel is shorter than the line
    axes[len(types) // 2][0].set_ylabel(f"difference in score{wrapped}from the best untrained")
    _legend(figure, axes, mixed, table["verdict"])
    return figure


def _limits(panel: pl.DataFrame) -> tuple[float, float]:
    """Ends of the axis, around all shares and their intervals. An interval longer on a side than the range of all shares leaves
    the panel: it would make the rest flat."""
    shares, ends = panel["share"], pl.concat([panel["share_low"], panel["share_high"]]).drop_nulls()
    low, high = float(shares.min()), float(shares.max())  # type: ignore[arg-type]
    room = max(0.03, high - low)
    ends = ends.clip(low - room, high + room)
    return min([low, *ends]) - 0.01, max([high, *ends]) + 0.01


def _draw_kind(axis: Any, points: pl.DataFrame, style: dict[str, Any], shift: float, mixed: bool) -> None:
    """A line over budgets, with intervals, its steps times `shift` so that intervals lie side by side; a horizontal one of what has
    none, with its ring at the left end. `mixed`: a hollow marker where there is one seed."""
    if points.is_empty():
        return
    first = points.row(0, named=True)
    if first["steps"] == 0:
        axis.axhline(
            first["share"], linewidth=1.6, label=first["kind"], color=style["color"], linestyle=style["linestyle"]
        )
        if first["verdict"] in RINGED:
            left = points.with_columns(x=pl.lit(LEFT_END))
            _ring(axis, left, "share", transform=axis.get_yaxis_transform())
        return
    x = [steps * shift for steps in points["steps"]]
    band = points.with_columns(x=pl.Series(x)).drop_nulls(["share_low", "share_high"])
    axis.vlines(band["x"], band["share_low"], band["share_high"], color=style["color"], alpha=0.5, linewidth=1.2)
    axis.plot(x, points["share"], markersize=5, linewidth=1.5, label=first["kind"], **style)
    placed = points.with_columns(x=pl.Series(x))
    of_one = placed.filter(pl.lit(mixed) & (pl.col("seeds") == 1))
    style = {"marker": style["marker"], "edgecolor": style["color"]}
    axis.scatter(of_one["x"], of_one["share"], s=MARKER, facecolor="white", zorder=3, **style)
    _ring(axis, placed, "share")


def _ring(axis: Any, placed: pl.DataFrame, y: str, **how: Any) -> None:
    """A ring around each point whose corrected verdict is better or worse."""
    decided = placed.filter(pl.col("verdict").is_in(RINGED))
    axis.scatter(decided["x"], decided[y], s=RING, facecolor="none", edgecolor="black", linewidth=1.1, zorder=3, **how)


def _dress(axis: Any, ticks: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if ticks:
        axis.set_xlim(ticks[0] / 1.4, ticks[-1] * 1.4)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, axes: Any, mixed: bool, verdicts: pl.Series) -> None:
    """The models, and behind them what a hollow marker and a ring mean, where there are such."""
    if mixed:
        axes[-1][-1].scatter([], [], s=MARKER, facecolor="white", edgecolor=FAINT, label=ONE_SEED)
    if set(verdicts) & set(RINGED):
        axes[-1][-1].scatter([], [], s=RING, facecolor="none", edgecolor="black", label=DECIDED)
    put_legend(figure, axes, 3)
