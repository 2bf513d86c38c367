"""The figure that goes into a paper: share of full width kept against bytes per vector.

Takes curves.parquet, frontier.parquet and summary.json; leaves curves.svg and curves.png, a column per task type, and beside
them the frontiers that are drawn as frontier.csv. Above, the frontier of the model that the study starts from over all its
codecs; below, where there are several models, what each keeps more or less in as many bytes; of models that differ in their
training steps alone, the longest, hollow where it has one seed and others have several. Where models were trained, also
budget.svg and domains.svg, with their tables (budget.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl

mpl.use("Agg")
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workflow_scripts.artefact import atomic_write
from workflow_scripts.command_line import parser, run
from workflow_scripts.curves import budget, budget_figures
from workflow_scripts.curves.collect import read_table
from workflow_scripts.curves.formats import byte_count, count, metric_name
from workflow_scripts.curves.indexes import ANY, RESCORING
from workflow_scripts.curves.kinds import kinds, largest
from workflow_scripts.curves.looks import (
    COLOURS,
    DASHES,
    FAINT,
    ONE_SEED,
    hollow,
    looks_of,
    mixed_seeds,
    panels,
    put_legend,
    shorten,
)
from workflow_scripts.curves.report_sentences import advised
from workflow_scripts.curves.schemas import (
    ALL_MODELS,
    BUDGET_SCHEMA,
    CURVES_SCHEMA,
    DOMAINS_SCHEMA,
    FRONTIER_SCHEMA,
    MEAN,
    OWN,
    rising,
)
from workflow_scripts.curves.summary import Answer, read_answer

FRONTIER_COLUMNS = ["task_type", "scope", "bytes", "variant", "choice", "share", "share_low", "share_high"]
LEAST_SHARE = 0.5  # what keeps less would press everything of interest to the top


def draw(curves: pl.DataFrame, frontier: pl.DataFrame, answer: Answer) -> Any:
    """The figure of the means over each type's tasks."""
    scored = set(frontier["scope"])
    models, looks = largest(answer.models, scored), looks_of(kinds(answer.models))
    types = list(answer.reference) or ["no scores"]
    several = len(models) > 1 and bool(answer.reference)
    one_reference = len(set(answer.reference.values())) <= 1
    mixed = mixed_seeds(answer.seeds.get(model) for model in models)
    rows = -(-len(models) // 4) if several else 1
    figure, axes = panels(1 + several, len(types), 3.6 + 3.3 * several, rows)
    for column, task_type in enumerate(types):
        _draw_reference(axes[0][column], curves, frontier, answer, task_type)
        if several:
            _draw_models(axes[1][column], frontier, task_type, answer, models, looks, mixed)
            shorter = len(models) < sum(model.name in scored for model in answer.models)
            title = "each kind's longest training" if shorter else "every model"
            against = "" if one_reference else f", against {shorten(answer.reference[task_type], 24)}"
            axes[1][column].set_title(title + against, fontsize=10.5)
        axes[-1][column].set_xlabel("bytes a vector in memory")
        if column == 0:
            axes[0][0].set_ylabel("share of full width kept")
    if several and mixed:
        axes[1][0].plot([], [], marker="o", linestyle="none", color=FAINT, label=ONE_SEED, **hollow(True))
    if several:
        against = shorten(next(iter(answer.reference.values())), 16) if one_reference else "the model named above"
        axes[1][0].set_ylabel(f"percentage points against {against}")
    put_legend(figure, axes, 4)
    return figure


def _draw_reference(axis: Any, curves: pl.DataFrame, frontier: pl.DataFrame, answer: Answer, task_type: str) -> None:
    """The frontier of the model that the study starts from, over its codecs."""
    variant = answer.reference.get(task_type, "")
    codecs = curves.filter(
        (pl.col("task") == MEAN) & (pl.col("task_type") == task_type) & (pl.col("variant") == variant)
    ).drop_nulls("share")
    own = frontier.filter(
        (pl.col("task_type") == task_type)
        & (pl.col("scope") == variant)
        & (pl.col("of") == OWN)
        & (pl.col("resource") == "memory")
    )
    best, staged = (_worth(own.filter(pl.col("engine") == engine)) for engine in (ANY, RESCORING))
    if best.is_empty():
        _dress(axis, title_of(answer, task_type), best)
        return
    least = float(best["share"].to_numpy().min()) - 0.05
    seen = codecs.filter((pl.col("bytes") >= best["bytes"].min()) & (pl.col("share") >= least))
    axis.scatter(seen["bytes"], seen["share"], s=12, color=FAINT, alpha=0.55, linewidths=0, label="every codec")
    if staged.height and staged["choice"].to_list() != best["choice"].to_list():
        style = {"color": COLOURS[1], "marker": "D", "linestyle": DASHES[1]}
        axis.step(staged["bytes"], staged["share"], where="post", markersize=4, label="with re-scoring", **style)
    style = {"color": COLOURS[0], "marker": "o"}
    axis.step(best["bytes"], best["share"], where="post", markersize=5, linewidth=2, label="frontier", **style)
    band = best.drop_nulls(["share_low", "share_high"])
    axis.vlines(band["bytes"], band["share_low"], band["share_high"], color=COLOURS[0], alpha=0.6, linewidth=1.3)
    if (chosen := advised(answer, task_type, variant, ANY)) is not None and chosen.bytes is not None:
        style = {"color": "black", "marker": "*", "linestyle": "none"}
        axis.plot([chosen.bytes], [chosen.kept], markersize=9, zorder=3, label="recommended", **style)
        axis.annotate(
            f"{byte_count(chosen.bytes)} bytes",
            (chosen.bytes, chosen.kept),
            xytext=(7, -9),
            textcoords="offset points",
            ha="left",
            va="center",
            fontweight="bold",
        )
    _dress(axis, title_of(answer, task_type), best)


def _draw_models(
    axis: Any,
    frontier: pl.DataFrame,
    task_type: str,
    answer: Answer,
    models: dict[str, str],
    looks: dict[str, dict[str, Any]],
    mixed: bool,
) -> None:
    """What every model keeps more or less than the reference in as many bytes; where the reference keeps half and more."""
    reference = answer.reference[task_type]
    best = budget.frontiers_of_models(frontier).filter(
        (pl.col("task_type") == task_type) & (pl.col("scope") != ALL_MODELS)
    )
    own = _worth(best.filter(pl.col("scope") == reference))
    if own.is_empty():
        _dress(axis, "", own)
        return
    sizes = best.select("bytes").unique().filter(pl.col("bytes") >= own["bytes"].min()).sort("bytes")
    of_reference = _within(own, sizes)
    for model, kind in models.items():
        line = rising(best.filter(pl.col("scope") == model))
        if model == reference:
            axis.axhline(0, color=looks[kind]["color"], linewidth=2, label=model)
        elif line.height:
            points = 100 * (_within(line, sizes) - of_reference)
            style = looks[kind] | hollow(mixed and answer.seeds.get(model) == 1)
            axis.plot(sizes["bytes"], points, markersize=4.5, linewidth=1.2, label=model, **style)
    _dress(axis, "", best)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}" if round(value, 6) else "0"))


def _within(line: pl.DataFrame, sizes: pl.DataFrame) -> pl.Series:
    """The share that a frontier keeps in at most so many bytes, rising; null where it needs more."""
    return sizes.join_asof(line.select("bytes", "share").sort("bytes"), on="bytes", strategy="backward")["share"]


def _worth(points: pl.DataFrame) -> pl.DataFrame:
    """The points that keep half of the full width, where there are such, by rising bytes."""
    known = rising(points)
    above = known.filter(pl.col("share") >= LEAST_SHARE)
    return known if above.is_empty() else above


def title_of(answer: Answer, task_type: str) -> str:
    entry = answer.task_types.get(task_type)
    if entry is None:
        return f"{task_type} (nothing measured)"
    return f"{task_type} ({metric_name(entry.metric)}, {count(len(entry.tasks), 'task')})"


def _dress(axis: Any, title: str, points: pl.DataFrame) -> None:
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_count(value)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if points.is_empty():
        axis.set_xlim(1, 2048)
    axis.set_title(title, fontsize=10.5)


def save(figure: Any, svg: Path, png: Path) -> None:
    """The same figure leaves the same bytes."""
    with atomic_write(svg) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
    with atomic_write(png) as part:
        figure.savefig(part, format="png", dpi=160, metadata={"Software": None})


def drawn_frontiers(frontier: pl.DataFrame) -> pl.DataFrame:
    """The points that are drawn of every model, and of all together: FRONTIER_COLUMNS."""
    of_models = budget.frontiers_of_models(frontier).select(FRONTIER_COLUMNS)
    lines = [rising(line) for _, line in of_models.group_by(["task_type", "scope"], maintain_order=True)]
    return pl.concat(lines) if lines else of_models


def _write(table: pl.DataFrame, path: Path) -> None:
    with atomic_write(path) as part:
        table.write_csv(part, float_precision=6)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--curves", required=True, type=Path, help="curves.parquet; the others lie beside it")
    arguments.add_argument("--svg", required=True, type=Path)
    arguments.add_argument("--png", required=True, type=Path)
    given = arguments.parse_args()

    def work() -> None:
        beside = given.curves.with_name
        frontier = read_table(beside("frontier.parquet"), list(FRONTIER_SCHEMA))
        answer = read_answer(beside("summary.json"))
        figure = draw(read_table(given.curves, list(CURVES_SCHEMA)), frontier, answer)
        save(figure, given.svg, given.png)
        _write(drawn_frontiers(frontier), given.svg.with_name("frontier.csv"))
        if any(model.trained for model in answer.models):
            of_budget = read_table(beside("budget.parquet"), list(BUDGET_SCHEMA))
            of_domains = budget.sides_of(read_table(beside("domains.parquet"), list(DOMAINS_SCHEMA)))
            _write(of_budget, given.svg.with_name("budget.csv"))
            _write(of_domains, given.svg.with_name("domains.csv"))
            for name, drawn in (
                ("budget", budget_figures.draw_budget(of_budget, answer)),
                ("domains", budget_figures.draw_domains(of_domains, answer)),
            ):
                save(drawn, given.svg.with_name(f"{name}.svg"), given.png.with_name(f"{name}.png"))

    run(work)


if __name__ == "__main__":
    main()
