"""The figure that goes into a paper: score and share of full width against dimension.

Takes curves.parquet; leaves curves.svg and curves.png, a column per task type, a line per variant with its interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

from workflow_scripts.artefact import atomic_write
from workflow_scripts.command_line import start_log

# Okabe and Ito (2008), told apart by colour-blind readers; the yellow is left out, being faint on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]
DASHES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]


def look(position: int) -> dict[str, Any]:
    """Colour, marker and dash of the variant at this position; dashes tell the second seven from the first."""
    return {
        "color": COLOURS[position % len(COLOURS)],
        "marker": MARKERS[position % len(MARKERS)],
        "linestyle": DASHES[position // len(COLOURS) % len(DASHES)],
    }


def draw(curves: pl.DataFrame) -> Any:
    """The figure of the means over each type's tasks at every prefix dimension."""
    shown = curves.filter((pl.col("task") == "mean") & (pl.col("reduction") == "prefix"))
    variants = list(dict.fromkeys(shown["variant"]))
    types = list(dict.fromkeys(shown["task_type"])) or ["no scores"]
    plt.rcParams |= {"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "curves", "axes.axisbelow": True}
    # A dollar sign in a name is a dollar sign.
    plt.rcParams["text.parse_math"] = False
    rows = -(-max(1, len(variants)) // 4)
    figure, axes = plt.subplots(
        2,
        len(types),
        figsize=(max(6.4, 4.4 * len(types)), 6.6 + 0.25 * rows),
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for column, task_type in enumerate(types):
        part = shown.filter(pl.col("task_type") == task_type)
        for row, (value, label) in enumerate((("score", "score"), ("share", "share of full width"))):
            axis = axes[row][column]
            for position, variant in enumerate(variants):
                line = part.filter(pl.col("variant") == variant).sort("dim").drop_nulls(value)
                if line.is_empty():
                    continue
                style = look(position)
                axis.plot(line["dim"], line[value], label=variant, markersize=4, linewidth=1.5, **style)
                band = line.drop_nulls([f"{value}_low", f"{value}_high"])
                axis.fill_between(
                    band["dim"], band[f"{value}_low"], band[f"{value}_high"], color=style["color"], alpha=0.13, lw=0
                )
            _dress(axis, part, row, column, label, task_type)
    handles = dict(pair[::-1] for axis in axes.flat for pair in zip(*axis.get_legend_handles_labels(), strict=True))
    if handles:
        figure.legend(
            list(handles.values()),
            [shorten(name) for name in handles],
            loc="outside lower center",
            ncols=min(4, len(handles)),
            frameon=False,
        )
    return figure


def shorten(name: str, limit: int = 40) -> str:
    """A name that fits a legend, on one line."""
    flat = " ".join(name.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _dress(axis: Any, part: pl.DataFrame, row: int, column: int, label: str, task_type: str) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(part["dim"].unique().to_list()))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: str(round(value))))
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if row == 0:
        metric = ", ".join(part["metric"].unique(maintain_order=True).to_list())
        tasks = max(part["tasks"].to_list(), default=0)
        note = f"{tasks} task{'' if tasks == 1 else 's'}" if tasks else "nothing measured"
        axis.set_title(f"{task_type} ({metric + ', ' if metric else ''}{note})", fontsize=10.5)
    else:
        axis.set_xlabel("dimension")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    if column == 0:
        axis.set_ylabel(label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", required=True, type=Path)
    parser.add_argument("--svg", required=True, type=Path)
    parser.add_argument("--png", required=True, type=Path)
    arguments = parser.parse_args()
    start_log()
    figure = draw(pl.read_parquet(arguments.curves))
    with atomic_write(arguments.svg) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
    with atomic_write(arguments.png) as part:
        figure.savefig(part, format="png", dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
