"""The answer in words and tables, as HTML.

Takes the summary, the curves and the speeds; leaves HTML in which everything that comes from data is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from workflow_scripts.curves.compare import QUESTIONS, SHARES
from workflow_scripts.curves.curves import MEAN, MEAN_INSIDE, MEAN_OUTSIDE

Speeds = dict[int, float]
# What the answer asks of a dimension, and what it settles for where the data cannot promise that.
WANTED = (0.95, 0.90)


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
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if prefix == 'k' else size):.3g} {prefix}"
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


def short_answer(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds) -> str:
    """Per task type: which dimension to use, what is lost there, and what is the cheapest way to lose less."""
    items = [f"<li>{_answer(summary, curves, speeds, task_type)}</li>" for task_type in summary["task_types"]]
    return f'<ul class="answer lead">{"".join(items or ["<li>No scores yet: nothing can be said.</li>"])}</ul>'


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
        " Models: as fetched, and those that more work surely made better; all are in the tables below."
    )
    return grouped_table(["model", *map(str, dims)], sections, caption)


def ladder_list(summary: dict[str, Any]) -> str:
    """The cheapest way to lose less, rung by rung."""
    items = []
    for task_type in summary["task_types"]:
        rungs = [row for row in summary["ladder"] if row["task_type"] == task_type]
        if not rungs:
            items.append(f"<li><b>{text(task_type)}:</b> what the models cost is not known, or there is no curve.</li>")
            continue
        said = [_rung(row) for row in rungs]
        if len(rungs) == 1:
            end = (
                "Nothing that costs more is surely better."
                if len(summary["models"]) > 1
                else "No other model was measured."
            )
        else:
            end = "Nothing that costs more is surely better than the last."
        span = f"{rungs[0]['from']} to {rungs[0]['to']}"
        items.append(
            f"<li><b>{text(task_type)},</b> mean score over {span} dimensions: {'; then '.join(said)}. {end}</li>"
        )
    return f'<ul class="answer">{"".join(items)}</ul>'


def what_is_cheapest(summary: dict[str, Any]) -> str:
    """Whether training beat a rotation, where to start, and whether to rotate first: a verdict, then each pair."""
    items = []
    for question, sentence in (
        ("training_or_rotation", "Did Matryoshka training beat a rotation?"),
        ("start", "Was starting from the fixed model as good as starting from the base?"),
        ("rotate_first", "Did rotating first help Matryoshka training?"),
    ):
        found = [c for c in summary["comparisons"] if c["question"] == question]
        if not found:
            items.append(f"<li><b>{sentence}</b> Not asked: no two models of this study can tell.</li>")
            continue
        inner = "".join(f"<li>{comparison(c, summary['margin'])}</li>" for c in found)
        pairs = f"<details class=print><summary>Pair by pair</summary><ul>{inner}</ul></details>"
        items.append(f"<li><b>{sentence}</b> {_overall(found, summary['margin'])}{pairs}</li>")
    return f'<ul class="answer">{"".join(items)}</ul>'


def _overall(found: list[dict[str, Any]], margin: float) -> str:
    """The verdicts of one question counted over its pairs, task types and dimensions."""
    counts = {verdict: sum(len(c[verdict]) for c in found) for verdict in ("better", "worse", "same", "unclear")}
    total = sum(counts.values())
    if not total:
        return "No dimension in common."
    decided = [name for name in ("better", "worse", "same") if counts[name]]
    equal = "Yes" if found[0]["question"] == "start" else "No difference"
    short = {"better": "Yes", "worse": "No", "same": equal}
    if not decided:
        lead = "The data cannot tell."
    elif len(decided) == 1 and not counts["unclear"]:
        lead = f"{short[decided[0]]}, everywhere."
    elif len(decided) == 1:
        lead = f"{short[decided[0]]}, where the data can tell."
    elif max(counts["better"], counts["worse"]) >= 0.9 * (counts["better"] + counts["worse"]) > 0:
        lead = "Mostly yes." if counts["better"] > counts["worse"] else "Mostly no."
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
        cost = f" It took {percent(_round(ratio))} of the other's {unit}"
        cost += f" ({percent(_round(total))} with its parents')." if total is not None else "."
    pair = f"{code(found['first'])} against {code(found['second'])}"
    return f"{text(found['task_type'])}, {pair}: {'; '.join(parts) or 'no dimension in common'}.{cost}"


def recommendation_table(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds, task: str = MEAN) -> str:
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
    for task_type in summary["task_types"]:
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
        + (", and brute-force queries per second here" if speeds else "")
        + "; <i>perhaps</i>: the dimension by the estimate alone, where the interval is too wide to be sure."
    )
    return grouped_table(head, [part for part in sections if part[1]], caption)


def domain_tables(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds) -> str:
    """The recommendations for tasks like the training pairs and for others, apart; nothing where there is no split."""
    parts = []
    for task, title in ((MEAN_INSIDE, "In domain"), (MEAN_OUTSIDE, "Out of domain")):
        if any(row["task"] == task for row in summary["recommendations"]):
            inside = task == MEAN_INSIDE
            names = [name for name, entry in summary["domains"].items() if entry["in_domain"] == inside]
            parts.append(f"<h3>{title}: {listed(names)}</h3>{recommendation_table(summary, curves, speeds, task)}")
    return "".join(parts)


def saving_table(summary: dict[str, Any], speeds: Speeds, measured: str) -> str:
    """What each dimension costs to keep and to search."""
    sizes = {int(dim): size for dim, size in summary["bytes_per_million"].items()}
    rows = [
        [
            str(dim),
            storage(size),
            storage(size / 4),
            storage(-(-dim // 8) * 1e6),
            f"{speeds[dim]:,.0f}" if dim in speeds else "–",  # noqa: RUF001
        ]
        for dim, size in sorted(sizes.items())
    ]
    head = ["dimension", "float32", "int8", "1 bit", "queries per second"]
    return table(head, rows, f"Storage of a million vectors, and exact searches per second. {measured}")


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
                f"{row['difference']:+.4f}",
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


def _answer(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds, task_type: str) -> str:
    """One task type's answer: dimension, loss, cheapest improvement; and where the data cannot tell."""
    title = f"<b>{text(task_type)}.</b> "
    model = _recommended(summary, task_type)
    points = curves.filter(
        (pl.col("task_type") == task_type)
        & (pl.col("task") == MEAN)
        & (pl.col("reduction") == "prefix")
        & (pl.col("variant") == (model or ""))
    ).sort("dim")
    if model is None or points.height < 2:
        return title + "One dimension was measured, so nothing is known of cutting short."
    width = points["dim"][-1]
    recommended = [r for r in summary["recommendations"] if (r["variant"], r["task_type"]) == (model, task_type)]
    kept = {(r["task"], r["share"]): r for r in recommended}
    confidence = percent(summary["confidence"])
    chosen = next((kept[MEAN, s] for s in WANTED if (kept[MEAN, s]["dim"] or width) < width), None)
    if chosen is None:
        said = (
            f"Keep all {width} dimensions of {code(model)}: with {confidence} confidence no smaller"
            f" one measured is sure to keep even {percent(WANTED[-1])} of its full-width score. The data cannot tell, or the loss is larger."
        )
        shown = points["dim"].to_list()[:-1][-2:]
    else:
        dim, share = chosen["dim"], chosen["share"]
        said = (
            f"<b>Use {dim}</b> of the {width} dimensions of {code(model)}: with {confidence} confidence that keeps at least"
            f" {percent(share)} of its full-width score. A million vectors take {storage(chosen['bytes_per_million'])}"
            f" instead of {storage(chosen['full_bytes_per_million'])}"
        )
        if dim in speeds and width in speeds:
            said += f", and this machine searches them {speeds[dim] / speeds[width]:.1f} times as fast"
        said += ". " + _by_domain(kept, share, width)
        shown = [dim, *[d for d in points["dim"].to_list() if d < dim][-1:]]
    dims = dict.fromkeys([*shown, points["dim"][0]])
    losses = [_loss(points.filter(pl.col("dim") == dim).row(0, named=True)) for dim in sorted(dims, reverse=True)]
    if any(losses):
        said += f" <b>It loses</b> {listed_html([loss for loss in losses if loss])}."
    return title + said + _cheapest(summary, task_type)


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


def _loss(point: dict[str, Any]) -> str:
    """`3.6% at 64 (2.5% to 4.7%)`; nothing where no share is known."""
    if point["share"] is None:
        return ""
    between = ""
    if point["share_low"] is not None:
        between = f" ({_lost(point['share_high'])} to {_lost(point['share_low'])})"
    lost = "nothing" if point["share"] >= 1 else _lost(point["share"])
    return f"{lost} at {point['dim']}{between}"


def _lost(share: float) -> str:
    """The share that is lost; a minus where more than the full width was kept."""
    lost = 100 * (1 - share)
    return f"{'−' if lost < -0.05 else ''}{abs(lost):.1f}%"  # noqa: RUF001


def _loss_cell(point: dict[str, Any] | None) -> str:
    if point is None or point["share"] is None:
        return "–"  # noqa: RUF001
    between = ""
    if point["share_low"] is not None:
        between = f"<small>{_lost(point['share_high'])} to {_lost(point['share_low'])}</small>"
    return f"<td>{_lost(point['share'])}{between}</td>"


def _cheapest(summary: dict[str, Any], task_type: str) -> str:
    """The first rung of the ladder above what is there already."""
    rungs = [row for row in summary["ladder"] if row["task_type"] == task_type]
    if not rungs:
        return " What it would cost to lose less is not known."
    if len(rungs) == 1:
        others = len(summary["models"]) > 1
        return " <b>To lose less:</b> nothing measured here that costs more is surely better." if others else ""
    first, next_one = rungs[0], rungs[1]
    said = (
        f" <b>The cheapest way to lose less</b> is {code(next_one['variant'])}: for {_cost(next_one)} it lifts the mean"
        f" score over {first['from']} to {first['to']} dimensions from {first['area']:.3f} ({code(first['variant'])}) to {next_one['area']:.3f}"
    )
    if len(rungs) > 2:
        said += f"; {code(rungs[-1]['variant'])}, for {_cost(rungs[-1])}, to {rungs[-1]['area']:.3f}"
    return said + "."


def _rung(row: dict[str, Any]) -> str:
    gain = ""
    if "gain" in row:
        gain = f" (+{row['gain']:.3f}, {row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
    return f"{code(row['variant'])}, {'for ' + _cost(row) if row['cost'] else 'for nothing'}, {row['area']:.3f}{gain}"


def _cost(row: dict[str, Any]) -> str:
    if row["unit"] == "steps":
        return f"{quantity(row['cost'])} training steps"
    return f"{duration(row['cost'])} of computing"


def _dimension_cell(row: dict[str, Any], speeds: Speeds) -> str:
    sure, likely = row["dim"], row["dim_by_estimate"]
    perhaps = f"<small>perhaps {likely}</small>" if likely is not None and likely != sure else ""
    if sure is None:
        return f'<td data-dim="">cannot tell{perhaps}</td>'
    note = storage(row["bytes_per_million"]) + (f" · {speeds[sure]:,.0f} q/s" if sure in speeds else "")
    whole = " (all)" if sure == row["full_width"] else ""
    return f'<td data-dim="{sure}"><b>{sure}</b>{whole}<small>{note}</small>{perhaps}</td>'


def _point_cell(row: dict[str, Any] | None) -> str:
    if row is None or row["score"] is None:
        return "–"  # noqa: RUF001
    between = "" if row["score_low"] is None else f"{row['score_low']:.4f} to {row['score_high']:.4f}"
    share = "" if row["share"] is None else f"{100 * row['share']:.1f}%"
    return f"<td>{row['score']:.4f}<small>{between}</small><small>{share}</small></td>"


def _round(ratio: float) -> float:
    return float(f"{ratio:.2g}")
