"""The answer in words and tables, as HTML.

Takes the summary, the curves and the speeds; leaves HTML in which everything that comes from data is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from workflow_scripts.curves.compare import QUESTIONS, SHARES
from workflow_scripts.curves.curves import MEAN, MEAN_INSIDE, MEAN_OUTSIDE, bytes_per_vector

# What the answer asks of a dimension, and what it settles for where the data cannot promise that.
WANTED = (0.95, 0.90)
# The questions that are answered in one line, and the verdicts that mean yes; the other decided ones mean no.
ASKED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("training_or_rotation", "Did Matryoshka training beat a rotation?", ("better",)),
    ("start", "Was starting from the fixed model as good as starting from the base?", ("better", "same")),
    ("rotate_first", "Did rotating first help Matryoshka training?", ("better",)),
)
# How much of all comparisons is most of them, those that the data leave open included.
MOST = 2 / 3
METRICS = {"ndcg_at_10": "nDCG@10"}
ORDERS = {"flops": "floating-point operations", "seconds": "computing time", "steps": "training steps"}


class Speeds(NamedTuple):
    """Brute-force queries per second by dimension, over this many vectors."""

    rate: dict[int, float]
    vectors: int


class Names:
    """Names of models as HTML; each says in brackets what the model is where it stands for the first time."""

    def __init__(self, models: list[dict[str, Any]]) -> None:
        self.by_name = {model["name"]: model for model in models}
        self.explained: dict[str, None] = {}

    def first(self, name: str) -> str:
        if name in self.explained or name not in self.by_name:
            return code(name)
        self.explained[name] = None
        return f"{code(name)} ({what_it_is(name, self.by_name)})"

    def parents(self) -> str:
        """The models that the brackets name without having explained them, in a sentence."""
        said = []
        for name in list(self.explained):
            while (parent := self.by_name[name]["parent"]) in self.by_name and parent not in self.explained:
                self.explained[parent] = None
                said.append(f"{code(parent)} is {what_it_is(parent, self.by_name)}")
                name = parent
        return f"Here {'; '.join(said)}." if said else ""


def what_it_is(name: str, by_name: dict[str, dict[str, Any]]) -> str:
    """`fixed, its output rotated onto principal axes; no training`: the parent, and what was done to it."""
    model = by_name[name]
    from_where = model["parent"] or short_reference(model.get("reference"))
    return f"{code(from_where)}, {what_was_done(name, by_name)}"


def short_reference(reference: object) -> str:
    """A model reference without the hash of its revision."""
    return re.sub(r"@[0-9a-f]{40}$", "", str(reference or "a model"))


def what_was_done(name: str, by_name: dict[str, dict[str, Any]]) -> str:
    """What was done to a model's parent to make it, in words without names."""
    model = by_name[name]
    parent = by_name.get(model["parent"] or "")
    if model["parent"] is None:
        return "as it was fetched"
    cut = parent is not None and model["width"] < parent["width"]
    changes = ["rotated onto principal axes"] * model["rotated"] + [f"cut to {model['width']} dimensions"] * cut
    done = [f"its output {' and '.join(changes)}"] if changes else []
    if model["trained"]:
        how = "at several dimensions at once (Matryoshka)" if model["nested"] else "at its full width alone"
        done.append(f"{'then ' if done else ''}trained {how}, {model['steps']:,} steps")
        return ", ".join(done)
    line = parent
    while line is not None and not line["trained"]:
        line = by_name.get(line["parent"] or "")
    return f"{', '.join(done) or 'as it is'}; no {'further ' if line else ''}training"


def text(value: object) -> str:
    """Anything from data as text in HTML."""
    return html.escape(" ".join(str(value).split()), quote=True)


def code(value: object) -> str:
    """A name, which may break after its joints."""
    return "<code>" + re.sub("([_/.-])", r"\1<wbr>", text(value)) + "</code>"


def cell(value: object) -> str:
    """A table cell of words, which stand at its left."""
    return f'<td class="words">{text(value)}</td>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", sticky: int = 1) -> str:
    """A table of cells that are HTML already; the first `sticky` columns are row headers."""
    rows = list(rows)
    wordy = [any(row[i].startswith('<td class="words"') for row in rows) for i in range(len(head))]
    top = "".join(f'<th scope="col"{" class=words" * w}>{title}</th>' for title, w in zip(head, wordy, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            (f'<th scope="row">{cell}</th>' if i < sticky else cell if cell.startswith("<td") else f"<td>{cell}</td>")
            for i, cell in enumerate(row)
        )
        + "</tr>\n"
        for row in rows
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def grouped_table(head: Sequence[str], sections: Sequence[tuple[str, list[list[str]]]], caption: str = "") -> str:
    """A table whose rows stand under headings: (heading, rows), all of it HTML already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    bodies = []
    for heading, rows in sections:
        body = "".join(
            f'<tr><th scope="row">{row[0]}</th>'
            + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row[1:])
            + "</tr>\n"
            for row in rows
        )
        title = f'<tr class="group"><th scope="rowgroup" colspan="{len(head)}">{heading}</th></tr>'
        bodies.append(f"<tbody>{title}{body}</tbody>")
    title = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{top}</tr></thead>{"".join(bodies)}</table></div>'
    )


def number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def quantity(value: float | None) -> str:
    """A count with a unit prefix, three digits."""
    if value is None:
        return "–"  # noqa: RUF001
    rounded = float(f"{value:.3g}")  # first, so that 999.7 G is 1 T
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(rounded) >= size:
            return f"{rounded / (1e3 if prefix == 'k' else size):.3g} {prefix}"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def storage(size: float) -> str:
    """Bytes in decimal units."""
    return f"{quantity(size)}{'' if quantity(size)[-1].isalpha() else ' '}B"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"  # noqa: RUF001
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def listed(values: Sequence[object], last: str = "and") -> str:
    return listed_html([text(value) for value in values], last)


def listed_html(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def runs(dims: Sequence[int], measured: Sequence[int]) -> list[str]:
    """Dimensions as words, three or more neighbours among those measured as `8 to 32`."""
    places = [measured.index(dim) for dim in sorted(dims)]
    said: list[str] = []
    start = 0
    for i in range(len(places)):
        if i + 1 < len(places) and places[i + 1] == places[i] + 1:
            continue
        stretch = [str(measured[place]) for place in places[start : i + 1]]
        said += [f"{stretch[0]} to {stretch[-1]}"] if len(stretch) > 2 else stretch
        start = i + 1
    return said


def percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def metric_name(metric: str) -> str:
    return METRICS.get(metric, metric)


def short_answer(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds | None) -> str:
    """Per task type: which dimension to use, what is lost there, and the cheapest way to score higher; what the
    intervals are."""
    names = Names(summary["models"])
    items = [f"<li>{_answer(summary, curves, speeds, task_type, names)}</li>" for task_type in summary["task_types"]]
    below = " ".join(sentence for sentence in (names.parents(), intervals_sentence(summary, curves)) if sentence)
    return (
        f'<ul class="answer lead">{"".join(items or ["<li>No scores yet: nothing can be said.</li>"])}</ul>'
        f"<p class=soft>{below}</p>"
    )


def intervals_sentence(summary: dict[str, Any], curves: pl.DataFrame) -> str:
    """What all intervals of this report are, and what they leave out."""
    known = curves.filter((pl.col("task") == MEAN) & pl.col("score_low").is_not_null())
    types = list(dict.fromkeys(known["task_type"]))
    if not types:
        return "No intervals are known." if summary["task_types"] else ""
    resampled = [f"{summary['task_types'][task_type]['values']} ({text(task_type)})" for task_type in types]
    counts = set(summary["seeds"].values())
    if not counts:
        seeds = "no training seeds are in them, since nothing was trained"
    elif counts == {1}:
        seeds = "training seeds are not in them, since one was measured"
    elif len(counts) == 1:
        seeds = f"the spread between {min(counts)} training seeds is in them"
    else:
        seeds = "the spread between training seeds is in them where a model has several"
    return (
        f"Intervals are {percent(summary['confidence'])} intervals from a paired bootstrap: {summary['resamples']:,}"
        f" resamples of the {listed_html(resampled)}, the same for every model; {seeds}; the tasks count as given."
    )


def loss_table(summary: dict[str, Any], curves: pl.DataFrame) -> str:
    """What is lost at each dimension: the models on the ladder of cost, and the fetched ones as they are."""
    means = curves.filter((pl.col("task") == MEAN) & (pl.col("reduction") == "prefix"))
    dims = sorted(means["dim"].unique().to_list())
    points = {(r["task_type"], r["variant"], r["dim"]): r for r in means.iter_rows(named=True)}
    sections = []
    for task_type in summary["task_types"]:
        named = [m["name"] for m in summary["models"] if m["parent"] is None]
        named += [row["variant"] for row in summary["ladder"] if row["task_type"] == task_type]
        named += [model for model in [_recommended(summary, task_type)] if model]
        rows = []
        for name in dict.fromkeys(named):
            cells = [_loss_cell(points.get((task_type, name, dim))) for dim in dims]
            if any("<td" in cell for cell in cells):
                rows.append([code(name), *cells])
        sections.append((text(task_type), rows))
    caption = (
        f"Share of its own full-width score that each model loses, and the {percent(summary['confidence'])} interval."
        + (
            " In brackets: the same once the score of guessing is taken off both."
            if _chances(summary, summary["task_types"])
            else ""
        )
        + " Models: as fetched, and those that more work surely made better; all are in the tables below."
    )
    return grouped_table(["model", *map(str, dims)], sections, caption)


def ladder_list(summary: dict[str, Any], curves: pl.DataFrame) -> str:
    """The cheapest way to score higher when cut short, rung by rung, and what each loses."""
    items = []
    for task_type in summary["task_types"]:
        rungs = [row for row in summary["ladder"] if row["task_type"] == task_type]
        left_out = summary["off_ladder"].get(task_type, [])
        without = (
            f" Left out, for want of a score at every dimension of the widest model: {listed_html([code(n) for n in left_out])}."
            if left_out
            else ""
        )
        if not rungs:
            said = "what the models cost is not known, or there is no curve."
            items.append(f"<li><b>{text(task_type)}:</b> {said}{without}</li>")
            continue
        at = _advice(summary, curves, task_type)[2]
        said = "; then ".join(_rung(row, _point(curves, task_type, row["variant"], at)) for row in rungs)
        start, end = "", f"Nothing that costs more is surely higher{' than the last' if len(rungs) > 1 else ''}."
        if len(summary["models"]) == 1:
            end = "No other model was measured."
        elif _costs_the_same(summary):
            start, end = "no model here costs more than another. The highest by ", ""
        span = f"{start}mean height from {rungs[0]['from']} to {rungs[0]['to']}"
        items.append(f"<li><b>{text(task_type)}:</b> {span}: {said}. {end}{without}</li>")
    pooled = [task_type for task_type, entry in summary["task_types"].items() if MEAN_INSIDE in entry]
    order = next((ORDERS[row["order"]] for row in summary["ladder"]), None)
    up = (
        f"From the cheapest model up{f' (by {order}, parents included)' if order else ''}, each that surely scores higher"
        " when cut short than the one before. "
    )
    return (
        f"<p class=soft>{'' if _costs_the_same(summary) else up}Mean height: the mean of the score over log2(dimension),"
        " so that each doubling of the dimension counts the same. What is lost is the share of the model's own full-width"
        " score."
        + (f" {listed(pooled)}: here and in the comparisons, tasks in and out of domain are pooled." if pooled else "")
        + f'</p><ul class="answer">{"".join(items)}</ul>'
    )


def what_is_cheapest(summary: dict[str, Any]) -> str:
    """Whether training beat a rotation, where to start, and whether to rotate first: a verdict, then each pair."""
    items = []
    for question, sentence, yes in ASKED:
        found = [c for c in summary["comparisons"] if c["question"] == question]
        if not found:
            items.append(f"<li><b>{sentence}</b> Not asked: no two models of this study can tell.</li>")
            continue
        inner = "".join(f"<li>{comparison(c, summary['margin'])}</li>" for c in found)
        pairs = f"<details class=print><summary>Pair by pair</summary><ul>{inner}</ul></details>"
        items.append(f"<li><b>{sentence}</b> {_overall(found, yes, summary['margin'])}{pairs}</li>")
    return f'<ul class="answer">{"".join(items)}</ul>'


def _overall(found: list[dict[str, Any]], yes: Sequence[str], margin: float) -> str:
    """The verdicts of one question counted over its pairs, task types and dimensions; `yes`: those that mean yes."""
    counts = {verdict: sum(len(c[verdict]) for c in found) for verdict in ("better", "worse", "same", "unclear")}
    total = sum(counts.values())
    if not total:
        return "No dimension in common."
    for_it = sum(counts[verdict] for verdict in yes)
    against = total - for_it - counts["unclear"]
    if 2 * counts["unclear"] >= total:
        lead = "The data cannot tell."
    elif total in (for_it, against):
        lead = "Yes, everywhere." if for_it else "No, nowhere."
    elif 0 in (for_it, against):
        lead = f"{'Yes' if for_it else 'No'}, where the data can tell."
    elif max(for_it, against) >= MOST * total:
        lead = "Mostly yes." if for_it > against else "Mostly no."
    else:
        lead = "It depends."
    said = [
        f"{words} in {counts[verdict]}"
        for verdict, words in (
            ("better", "better"),
            ("worse", "worse"),
            ("same", f"within {margin:g} of score"),
            ("unclear", "undecided"),
        )
        if counts[verdict]
    ]
    return f"{lead} Of {total} comparisons (pair, task type, dimension): {', '.join(said)}."


def comparison(found: dict[str, Any], margin: float) -> str:
    """One pair on one task type, in a sentence: where which one is better, and where nothing can be said."""
    parts = []
    measured = sorted(d for verdict in ("better", "worse", "same", "unclear") for d in found[verdict])
    for verdict, words in (
        ("better", "better at"),
        ("worse", "worse at"),
        ("same", f"within {margin:g} of score at"),
        ("unclear", "the data cannot tell at"),
    ):
        if dims := found[verdict]:
            parts.append(f"{words} {listed(runs(dims, measured))}")
    cost = ""
    ratio = found["own_seconds_ratio"] or found["own_steps_ratio"]
    if found["question"] == "start" and ratio is not None:
        unit = "training time" if found["own_seconds_ratio"] else "steps"
        total = found["total_seconds_ratio"] or found["total_steps_ratio"]
        cost = f" It took {_ratio(ratio)} of the other's {unit}"
        cost += f" ({_ratio(total)} with its parents')." if total is not None else "."
    pair = f"{code(found['first'])} against {code(found['second'])}"
    return f"{text(found['task_type'])}, {pair}: {'; '.join(parts) or 'no dimension in common'}.{cost}"


def recommendation_table(
    summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds | None, types: Collection[str], task: str = MEAN
) -> str:
    """Per task type and model: the smallest dimension that keeps each share, and what it saves."""
    full: dict[tuple[str, str], dict[str, Any]] = {}
    for row in curves.filter((pl.col("task") == task) & (pl.col("reduction") == "prefix")).iter_rows(named=True):
        key = (row["variant"], row["task_type"])
        if key not in full or row["dim"] > full[key]["dim"]:
            full[key] = row
    by_key: dict[tuple[str, str], dict[float, dict[str, Any]]] = {}
    for row in summary["recommendations"]:
        if row["task"] == task:
            by_key.setdefault((row["variant"], row["task_type"]), {})[row["share"]] = row
    sections = []
    for task_type in types:
        rows = [
            [
                code(variant),
                f"<td>{number(full[variant, kind]['score'])}<small>{full[variant, kind]['dim']} dimensions</small></td>",
                *(_dimension_cell(wanted[share], speeds) for share in SHARES),
            ]
            for (variant, kind), wanted in by_key.items()
            if kind == task_type
        ]
        sections.append((text(task_type), rows))
    head = ["model", "full width", *(f"keeps {percent(share)} from" for share in SHARES)]
    caption = (
        f"The smallest dimension from which on the {percent(summary['confidence'])} interval stays at or above the share"
        " of the model's own full-width score. Small print: float32 storage for a million vectors"
        + (f", and brute-force queries per second here over {speeds.vectors:,} vectors" if speeds else "")
        + "; <i>perhaps</i>: the dimension by the estimate alone, where the interval is too wide to be sure"
        + (
            "; <i>above guessing</i>: where it is another once the score of guessing is taken off"
            * _chances(summary, types)
        )
        + "."
    )
    return grouped_table(head, [part for part in sections if part[1]], caption)


def domain_tables(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds | None) -> str:
    """The recommendations for tasks like the training pairs and for others, apart, for the task types that have both."""
    parts = []
    for task_type, entry in summary["task_types"].items():
        for task, title in ((MEAN_INSIDE, "in domain"), (MEAN_OUTSIDE, "out of domain")):
            if task in entry:
                shown = recommendation_table(summary, curves, speeds, [task_type], task)
                parts.append(f"<h3>{text(task_type)}, {title}: {listed(entry[task])}</h3>{shown}")
    return "".join(parts)


def saving_table(summary: dict[str, Any], speeds: Speeds | None, measured: str) -> str:
    """What each dimension costs to keep and to search."""
    rates = speeds.rate if speeds else {}
    rows = [
        [
            str(dim),
            *(
                storage(bytes_per_vector(reduction, dim) * 1e6)
                for reduction in ("prefix", "prefix:int8", "prefix:binary")
            ),
            f"{rates[dim]:,.0f}" if dim in rates else "–",  # noqa: RUF001
        ]
        for dim in sorted(map(int, summary["bytes_per_million"]))
    ]
    over = f" over {speeds.vectors:,}" if speeds else ""
    head = ["dimension", "float32", "int8", "1 bit", "queries per second"]
    return table(head, rows, f"Storage of a million vectors, and exact searches per second{over}. {measured}")


def curve_tables(curves: pl.DataFrame, means: bool) -> str:
    """Every point of the prefix curves, of the means over tasks or of the tasks: score with interval, share kept."""
    parts = []
    is_mean = pl.col("task").is_in([MEAN, MEAN_INSIDE, MEAN_OUTSIDE])
    prefix = curves.filter((pl.col("reduction") == "prefix") & (is_mean if means else ~is_mean))
    for (task_type, task), part in prefix.group_by(["task_type", "task"], maintain_order=True):
        dims = sorted(part["dim"].unique().to_list())
        by_cell = {(row["variant"], row["dim"]): row for row in part.iter_rows(named=True)}
        rows = [
            [code(variant), *(_point_cell(by_cell.get((variant, dim))) for dim in dims)]
            for variant in dict.fromkeys(part["variant"])
        ]
        count = int(part["tasks"][0])
        over = f" over {count} task{'s' * (count > 1)}" if means else ""
        parts.append(table(["model", *(str(dim) for dim in dims)], rows, f"{text(task_type)}, {text(task)}{over}"))
    return "".join(parts)


def cost_table(summary: dict[str, Any], curves: pl.DataFrame) -> str:
    """Training cost (with parents) against score and share kept, at each dimension, by task type."""
    means = curves.filter((pl.col("task") == MEAN) & (pl.col("reduction") == "prefix"))
    cells = {(r["variant"], r["task_type"], r["dim"]): r for r in means.iter_rows(named=True)}
    parts = []
    for task_type in summary["task_types"]:
        dims = sorted({dim for _, kind, dim in cells if kind == task_type})
        rows = []
        for model in sorted(summary["models"], key=lambda m: m["cost"]["total"]["seconds"] or 0):
            cost = model["cost"]["total"]
            rows.append(
                [
                    code(model["name"]),
                    quantity(cost["steps"]),
                    duration(cost["seconds"]),
                    quantity(cost["flops"]),
                    *(_point_cell(cells.get((model["name"], task_type, dim))) for dim in dims),
                ]
            )
        head = ["model", "steps", "time", "FLOPs", *(str(dim) for dim in dims)]
        parts.append(
            table(head, rows, f"{text(task_type)}: cost with all parents, and score (share of own full width)")
        )
    return "".join(parts)


def difference_table(differences: pl.DataFrame) -> str:
    """Paired differences by task type, with the correction's verdict."""
    parts = []
    means = differences.filter(pl.col("task") == MEAN)
    for (asks,), asked in means.group_by(["question"], maintain_order=True):
        rows = [
            [
                f"{code(row['first'])} − {code(row['second'])}",  # noqa: RUF001
                cell(row["task_type"]),
                str(row["dim"]),
                "–" if row["difference"] is None else f"{row['difference']:+.4f}",  # noqa: RUF001
                "–" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}",  # noqa: RUF001
                "–" if row["p_corrected"] is None else f"{row['p_corrected']:.2g}",  # noqa: RUF001
                cell(row["verdict"]),
            ]
            for row in asked.iter_rows(named=True)
        ]
        head = ["pair", "task type", "dimension", "difference", "interval", "p, corrected", "verdict"]
        parts.append(table(head, rows, text(QUESTIONS.get(str(asks), str(asks)))))
    return "".join(parts)


def _recommended(summary: dict[str, Any], task_type: str) -> str | None:
    """The top of the ladder of cost: nothing is surely better. Without costs, the highest curve of the widest models."""
    rungs = [row["variant"] for row in summary["ladder"] if row["task_type"] == task_type]
    if rungs:
        return str(rungs[-1])
    areas = [a for a in summary["areas"] if (a["task"], a["task_type"], a["reduction"]) == (MEAN, task_type, "prefix")]
    widest = max((a["to"] for a in areas), default=None)
    best = max((a for a in areas if a["to"] == widest), key=lambda a: a["area"] or 0, default=None)
    return best and str(best["variant"])


def _advice(
    summary: dict[str, Any], curves: pl.DataFrame, task_type: str
) -> tuple[str | None, dict[str, Any] | None, int | None]:
    """The model that is recommended, the recommendation (None: no dimension below the full width is sure), and the
    dimension to speak of: the one recommended, or the next below the full width."""
    model = _recommended(summary, task_type)
    points = _points(curves, task_type, model)
    if model is None or len(points) < 2:
        return model, None, None
    *smaller, width = points
    kept = {
        row["share"]: row
        for row in summary["recommendations"]
        if (row["variant"], row["task_type"], row["task"]) == (model, task_type, MEAN)
    }
    chosen = next((kept[share] for share in WANTED if (kept[share]["dim"] or width) < width), None)
    return model, chosen, chosen["dim"] if chosen else smaller[-1]


def _points(curves: pl.DataFrame, task_type: str, model: str | None) -> dict[int, dict[str, Any]]:
    """The points of a model's prefix curve, the mean over the type's tasks, by rising dimension."""
    rows = curves.filter(
        (pl.col("task_type") == task_type)
        & (pl.col("task") == MEAN)
        & (pl.col("reduction") == "prefix")
        & (pl.col("variant") == (model or ""))
    ).sort("dim")
    return {row["dim"]: row for row in rows.iter_rows(named=True)}


def _point(curves: pl.DataFrame, task_type: str, model: str, dim: int | None) -> dict[str, Any] | None:
    return _points(curves, task_type, model).get(dim or 0)


def _answer(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds | None, task_type: str, names: Names) -> str:
    """One task type's answer: dimension, loss and cheapest improvement first; then what else follows from it."""
    title = f"<b>{text(task_type)}.</b> "
    model, chosen, dim = _advice(summary, curves, task_type)
    points = _points(curves, task_type, model)
    if model is None or dim is None:
        return title + "One dimension was measured, so nothing is known of cutting short."
    width = max(points)
    entry = summary["task_types"][task_type]
    metric = text(metric_name(entry["metric"]))
    score, chance = points[width]["score"], entry["chance"] or 0.0
    if score is None or score <= chance:
        guessing = f", no better than guessing ({chance:.3f})" if entry["chance"] else ""
        return (
            f"{title}At its full width {names.first(model)} has {metric} {number(score, 3)}{guessing}: nothing can be"
            " said of cutting it short."
        )
    if chosen is None:
        said = _why_not(points, width, metric, names.first(model))
    else:
        said = f"<b>Use {dim}</b> of the {width} dimensions of {names.first(model)}."
    if lost := _loss(points[dim], f" of its full-width {metric}", f"{percent(summary['confidence'])} interval "):
        said += f" <b>It loses</b> {lost}."
    if chosen is not None and (above := chosen["dim_above_chance"]) not in (None, dim):
        said += (
            f" Of what it scores above guessing ({chance:.3f}), {percent(chosen['share'])} is sure to be kept"
            f" {f'from {above} on' if above < width else 'only at full width'}."
        )
    first = f"<p>{title}{said}{_cheapest(summary, curves, task_type, dim, names)}</p>"
    return first + f"<p class=soft>{_more(summary, points, speeds, chosen, dim)}</p>"


def _why_not(points: dict[int, dict[str, Any]], width: int, metric: str, name: str) -> str:
    """Why no dimension below the full width is recommended: no interval, a loss that is sure, or neither is."""
    *smaller, _ = points.values()
    if all(point["share_low"] is None for point in smaller):
        return f"No interval is known for {name}, so no dimension is recommended."
    keep = f"<b>Keep all {width}</b> dimensions of {name}: "
    least = percent(WANTED[-1])
    if all(point["share_high"] is not None and point["share_high"] < WANTED[-1] for point in smaller):
        return keep + f"each smaller one measured surely keeps less than {least} of its full-width {metric}."
    return keep + f"the data cannot tell whether a smaller one keeps {least} of its full-width {metric}."


def _more(
    summary: dict[str, Any],
    points: dict[int, dict[str, Any]],
    speeds: Speeds | None,
    chosen: dict[str, Any] | None,
    dim: int,
) -> str:
    """What is sure of the dimension, what is lost below it, what it saves, and what it is in and out of domain."""
    width = max(points)
    said = ""
    if chosen is not None:
        said = (
            f"With {percent(summary['confidence'])} confidence, {dim} and every larger dimension measured keep at least"
            f" {percent(chosen['share'])} of the full-width score. "
        )
    below = sorted((d for d in points if d < dim), reverse=True)
    losses = [_loss(points[d]) for d in dict.fromkeys([*below[:1], *below[-1:]])]
    if any(losses):
        said += f"Below it, the loss is {listed_html([loss for loss in losses if loss])}. "
    if chosen is None:
        return said
    said += (
        f"A million vectors take {storage(chosen['bytes_per_million'])} instead of"
        f" {storage(chosen['full_bytes_per_million'])}"
    )
    if speeds and dim in speeds.rate and width in speeds.rate:
        times = speeds.rate[dim] / speeds.rate[width]
        said += f", and this machine searches {speeds.vectors:,} of them {times:.1f} times as fast"
    kept = {
        (row["task"], row["share"]): row
        for row in summary["recommendations"]
        if (row["variant"], row["task_type"]) == (chosen["variant"], chosen["task_type"])
    }
    return f"{said}. {_by_domain(kept, chosen['share'], width)}"


def _by_domain(kept: dict[tuple[str, float], dict[str, Any]], share: float, width: int) -> str:
    """Where that share is kept in domain and out of it."""
    said = []
    for task, words in ((MEAN_INSIDE, "in domain"), (MEAN_OUTSIDE, "out of domain")):
        if (row := kept.get((task, share))) is not None:
            dim = row["dim"]
            said.append(
                f"{words} from {dim}" if dim and dim < width else f"{words} only at full width, as far as is sure"
            )
    return f"That share is kept {' and '.join(said)}." if said else ""


def _loss(point: dict[str, Any], of_what: str = "", interval: str = "") -> str:
    """`3.6% at 64 (2.5% to 4.7%)`; nothing where no share is known. `interval`: the interval's name, before it."""
    if point["share"] is None:
        return ""
    between = ", no interval known"
    if point["share_low"] is not None:
        between = f" ({interval}{_lost(point['share_high'])} to {_lost(point['share_low'])})"
    return f"{_lost_or_nothing(point['share'])}{of_what} at {point['dim']}{between}"


def _lost_or_nothing(share: float) -> str:
    return "nothing" if share >= 1 else _lost(share)


def _lost(share: float) -> str:
    """The share that is lost; a minus where more than the full width was kept."""
    lost = 100 * (1 - share)
    return f"{'−' if lost < -0.05 else ''}{abs(lost):.1f}%"  # noqa: RUF001


def _loss_cell(point: dict[str, Any] | None) -> str:
    if point is None or point["share"] is None:
        return "–"  # noqa: RUF001
    small = ""
    if point["share_low"] is not None:
        small = f"<small>{_lost(point['share_high'])} to {_lost(point['share_low'])}</small>"
    if point["share_above_chance"] is not None:
        small += f"<small>({_lost(point['share_above_chance'])})</small>"
    return f"<td>{_lost(point['share'])}{small}</td>"


def _chances(summary: dict[str, Any], types: Iterable[str]) -> bool:
    """Whether the score of guessing is known for some of these task types."""
    return any(summary["task_types"][task_type]["chance"] is not None for task_type in types)


def _costs_the_same(summary: dict[str, Any]) -> bool:
    """Whether there are several models and they all cost the same: those of a study that only measures, nothing."""
    costs = [tuple(model["cost"]["total"][unit] for unit in ORDERS) for model in summary["models"]]
    return len(costs) > 1 and len(set(costs)) == 1


def _cheapest(summary: dict[str, Any], curves: pl.DataFrame, task_type: str, dim: int, names: Names) -> str:
    """The first rung of the ladder above what is there already, at the dimension that is spoken of."""
    rungs = [row for row in summary["ladder"] if row["task_type"] == task_type]
    if not rungs:
        return " What it would cost to score higher is not known."
    if len(summary["models"]) == 1:
        return ""
    if _costs_the_same(summary):
        return " No model here costs more than another; by the estimates this one scores highest when cut short."
    if len(rungs) == 1:
        return " Nothing measured here that costs more is sure to score higher when cut short."
    first, second = (_at(_point(curves, task_type, row["variant"], dim), row) for row in rungs[:2])
    return (
        f" <b>The cheapest way to score higher when cut short</b> is {names.first(rungs[1]['variant'])}:"
        f" for {_cost(rungs[1])}, at {dim} dimensions it {second}, where {names.first(rungs[0]['variant'])} {first}."
    )


def _at(point: dict[str, Any] | None, row: dict[str, Any]) -> str:
    """`scores 0.319 (18.0% lost)`; the mean height where the model has no score there."""
    if point is None or point["score"] is None:
        return f"has a mean height of {row['area']:.3f}"
    lost = "" if point["share"] is None else f" ({_lost_or_nothing(point['share'])} lost)"
    return f"scores {point['score']:.3f}{lost}"


def _rung(row: dict[str, Any], point: dict[str, Any] | None) -> str:
    gain = ""
    if "gain" in row:
        gain = f" (+{row['gain']:.3f}, {row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
    lost = f", losing {loss}" if point and (loss := _loss(point)) else ""
    cost = f"for {_cost(row)}" if row["cost"] else "for nothing"
    return f"{code(row['variant'])}, {cost}, {row['area']:.3f}{gain}{lost}"


def _cost(row: dict[str, Any]) -> str:
    if row["unit"] != "seconds":
        return f"{quantity(row['cost'])} {ORDERS[row['unit']]}"
    return f"{duration(row['cost'])} of computing"


def _dimension_cell(row: dict[str, Any], speeds: Speeds | None) -> str:
    sure, likely, above = row["dim"], row["dim_by_estimate"], row["dim_above_chance"]
    perhaps = f"<small>perhaps {likely}</small>" if likely is not None and likely != sure else ""
    if (
        sure is None
    ):  # the full width keeps all of itself: where not even that is sure, there is no interval or no score
        return f'<td data-dim="">{"not known" if likely is None else "no interval"}{perhaps}</td>'
    note = storage(row["bytes_per_million"]) + (
        f" · {speeds.rate[sure]:,.0f} q/s" if speeds and sure in speeds.rate else ""
    )
    whole = " (all)" if sure == row["full_width"] else ""
    guessing = f"<small>above guessing {above}</small>" if above not in (None, sure) else ""
    return f'<td data-dim="{sure}"><b>{sure}</b>{whole}<small>{note}</small>{perhaps}{guessing}</td>'


def _point_cell(row: dict[str, Any] | None) -> str:
    if row is None or row["score"] is None:
        return "–"  # noqa: RUF001
    between = "" if row["score_low"] is None else f"{row['score_low']:.4f} to {row['score_high']:.4f}"
    share = "" if row["share"] is None else f"{100 * row['share']:.1f}%"
    return f"<td>{row['score']:.4f}<small>{between}</small><small>{share}</small></td>"


def _ratio(ratio: float) -> str:
    return f"{100 * ratio:,.0f}%" if ratio >= 0.1 else f"{100 * ratio:.2g}%"
