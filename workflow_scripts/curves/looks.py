"""What the static figures share: colours, markers and dashes that stay apart, names that fit, one style.

Takes the place of a kind of models in the study; leaves how it is drawn, the same in every figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito (2008), told apart by colour-blind readers; the yellow is left out, being faint on white. Then two as far from these.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#882255", "#7F4F24"]
DASHES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2))]
# More than colours: what has a colour twice differs in its marker too.
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", "p", "*", "h"]
FAINT = "#9a9a9a"
ONE_SEED = "one seed alone"
ROW_OF_LEGEND = 0.25  # inches


def look(position: int) -> dict[str, Any]:
    """Colour, marker and dash of the kind at this position; dashes tell the second nine from the first."""
    return {
        "color": COLOURS[position % len(COLOURS)],
        "marker": MARKERS[position % len(MARKERS)],
        "linestyle": DASHES[position // len(COLOURS) % len(DASHES)],
    }


def looks_of(kinds: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each kind of models is drawn. `kinds`: those of the whole study, in its order."""
    return {kind: look(position) for position, kind in enumerate(kinds)}


def mixed_seeds(seeds: Iterable[int | None]) -> bool:
    """Whether some models have one training seed and some several, of these counts: then markers tell them apart."""
    known = {count for count in seeds if count is not None}
    return min(known, default=1) == 1 < max(known, default=1)


def hollow(one_seed: bool) -> dict[str, Any]:
    """How a model with one seed differs from its kind's look."""
    return {"markerfacecolor": "white"} if one_seed else {}


def shorten(name: str, limit: int = 40) -> str:
    """A name that fits a legend, on one line."""
    flat = " ".join(name.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def panels(rows: int, columns: int, height: float, legend: int, **shared: Any) -> tuple[Any, Any]:
    """A figure of this style with its axes `(rows, columns)`, so many inches high and, below, with room for so many rows of a
    legend. `shared`: the axes that its panels have in common, as matplotlib takes them. A dollar sign in a name is one."""
    plt.rcParams |= {"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "curves", "axes.axisbelow": True}
    plt.rcParams["text.parse_math"] = False
    size = (max(6.4, 5.2 * columns), height + ROW_OF_LEGEND * legend)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **shared)
    return figure, axes


def put_legend(figure: Any, axes: Any, most: int) -> None:
    """The legend of all panels below them, in at most so many columns and no wider than the figure, which has room for `most`
    and becomes as much longer as more rows need."""
    handles = dict(pair[::-1] for axis in axes.flat for pair in zip(*axis.get_legend_handles_labels(), strict=True))
    labels = [shorten(name) for name in handles]
    most = min(most, len(handles))
    for columns in range(most, 0, -1):
        legend = figure.legend(list(handles.values()), labels, loc="outside lower center", ncols=columns, frameon=False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            more = math.ceil(len(labels) / columns) - math.ceil(len(labels) / most)
            figure.set_figheight(figure.get_figheight() + ROW_OF_LEGEND * more)
            return
        legend.remove()
