"""The answer in words and tables, as HTML.

Takes the summary, the curves and the speeds; leaves HTML in which everything that comes from data is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from workflow_scripts.curves.compare import QUESTIONS, SHARES

Speeds = dict[int, float]


def text(value: object) -> str:
    """Anything from data as text in HTML."""
    return html.escape(" ".join(str(value).split()), quote=True)


def code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", sticky: int = 1) -> str:
    """A table of cells that are HTML already; the first `sticky` columns are row headers."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
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
    words = [text(value) for value in values]
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


def which_dimension(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds) -> str:
    """Which dimension to use and what is lost, per task type."""
    confidence = percent(summary["confidence"])
    items = [
        f"<li>{_which(summary, curves, speeds, task_type, confidence)}</li>" for task_type in summary["task_types"]
    ]
    return f'<ul class="answer">{"".join(items or ["<li>No scores yet: nothing can be said.</li>"])}</ul>'


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
        inner = "".join(f"<li>{comparison(c)}</li>" for c in found)
        items.append(f"<li><b>{sentence}</b> {_overall(found)}<ul>{inner}</ul></li>")
    return f'<ul class="answer">{"".join(items)}</ul>'


def _overall(found: list[dict[str, Any]]) -> str:
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
    else:
        lead = "It depends."
    said = [
        f"{words} in {counts[verdict]}"
        for verdict, words in (
            ("better", "better"),
            ("worse", "worse"),
            ("same", "within a point of score"),
            ("unclear", "undecided"),
        )
        if counts[verdict]
    ]
    return f"{lead} Of {total} comparisons (pair, task type, dimension): {', '.join(said)}."


def comparison(found: dict[str, Any]) -> str:
    """One pair on one task type, in a sentence: where which one is better, and where nothing can be said."""
    parts = []
    measured = sorted(d for verdict in ("better", "worse", "same", "unclear") for d in found[verdict])
    for verdict, words in (
        ("better", "better at"),
        ("worse", "worse at"),
        ("same", "within a point of score at"),
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


def recommendation_table(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds) -> str:
    """Per task type and model: the smallest dimension that keeps each share, and what it saves."""
    full: dict[tuple[str, str], dict[str, Any]] = {}
    for row in curves.filter((pl.col("task") == "mean") & (pl.col("reduction") == "prefix")).iter_rows(named=True):
        key = (row["variant"], row["task_type"])
        if key not in full or row["dim"] > full[key]["dim"]:
            full[key] = row
    by_key: dict[tuple[str, str], dict[float, dict[str, Any]]] = {}
    for row in summary["recommendations"]:
        by_key.setdefault((row["variant"], row["task_type"]), {})[row["share"]] = row
    rows = []
    for (variant, task_type), wanted in sorted(
        by_key.items(), key=lambda item: list(summary["task_types"]).index(item[0][1])
    ):
        best = full[variant, task_type]
        rows.append(
            [
                text(task_type),
                code(variant),
                f"<td>{number(best['score'])}<small>{best['dim']} dimensions</small></td>",
                *(_dimension_cell(wanted[share], speeds) for share in SHARES),
            ]
        )
    head = ["task type", "model", "full width", *(f"keeps {percent(share)} from" for share in SHARES)]
    caption = (
        f"The smallest dimension from which on the {percent(summary['confidence'])} interval stays at or above the share"
        " of the model's own full-width score. Small print: float32 storage for a million vectors"
        + (", and brute-force queries per second here" if speeds else "")
        + "; <i>perhaps</i>: the dimension by the estimate alone, where the interval is too wide to be sure."
    )
    return table(head, rows, caption, sticky=2).replace(
        '<div class="scroll"', '<div class="scroll" id="answer-table"', 1
    )


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
        for dim, size in sizes.items()
    ]
    head = ["dimension", "float32", "int8", "1 bit", "queries per second"]
    return table(head, rows, f"Storage of a million vectors, and exact searches per second. {measured}")


def curve_tables(curves: pl.DataFrame) -> str:
    """Every point of the prefix curves, by task type and task: score with interval, share kept."""
    parts = []
    prefix = curves.filter(pl.col("reduction") == "prefix")
    for (task_type, task), part in prefix.group_by(["task_type", "task"], maintain_order=True):
        dims = sorted(part["dim"].unique().to_list())
        by_cell = {(row["variant"], row["dim"]): row for row in part.iter_rows(named=True)}
        rows = [
            [code(variant), *(_point_cell(by_cell.get((variant, dim))) for dim in dims)]
            for variant in dict.fromkeys(part["variant"])
        ]
        name = f"{text(task_type)}, " + ("mean over tasks" if task == "mean" else text(task))
        parts.append(table(["model", *(str(dim) for dim in dims)], rows, name))
    return "".join(parts)


def cost_table(summary: dict[str, Any], curves: pl.DataFrame) -> str:
    """Training cost (with parents) against score and share kept, at each dimension, by task type."""
    means = curves.filter((pl.col("task") == "mean") & (pl.col("reduction") == "prefix"))
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
    means = differences.filter(pl.col("task") == "mean")
    for (question,), asked in means.group_by(["question"], maintain_order=True):
        rows = [
            [
                f"{code(row['first'])} − {code(row['second'])}",  # noqa: RUF001
                text(row["task_type"]),
                str(row["dim"]),
                f"{row['difference']:+.4f}",
                "–" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}",  # noqa: RUF001
                "–" if row["p_corrected"] is None else f"{row['p_corrected']:.2g}",  # noqa: RUF001
                text(row["verdict"]),
            ]
            for row in asked.iter_rows(named=True)
        ]
        head = ["pair", "task type", "dimension", "difference", "interval", "p, corrected", "verdict"]
        parts.append(table(head, rows, text(QUESTIONS.get(str(question), question))))
    return "".join(parts)


def _which(summary: dict[str, Any], curves: pl.DataFrame, speeds: Speeds, task_type: str, confidence: str) -> str:
    """Which dimension to use for a task type, with the model whose curve is highest on the whole."""
    areas = [
        a for a in summary["areas"] if (a["task"], a["task_type"], a["reduction"]) == ("mean", task_type, "prefix")
    ]
    title = f"<b>{text(task_type)}: which dimension?</b> "
    if not areas or curves.filter(pl.col("task_type") == task_type)["dim"].n_unique() < 2:
        return title + "One dimension was measured, so nothing is known of cutting short."
    widest = max(a["to"] for a in areas)
    best = max((a for a in areas if a["to"] == widest), key=lambda a: a["area"] or 0)
    kept = {
        r["share"]: r
        for r in summary["recommendations"]
        if r["variant"] == best["variant"] and r["task_type"] == task_type
    }
    # One dimension often answers for several shares: it is named once, with the largest.
    said: dict[int, float] = {}
    for share in SHARES:
        if (dim := kept[share]["dim"]) is not None:
            said[dim] = max(share, said.get(dim, 0))
    width = kept[SHARES[0]]["full_width"]
    saving = [f"{percent(share)} from {dim} on" for dim, share in said.items() if dim < width]
    start = f"The curve of {code(best['variant'])} is the highest on the whole (mean score {number(best['area'], 3)}"
    start += f", {number(best['low'], 3)} to {number(best['high'], 3)}" if best["low"] is not None else ""
    start += f", over {best['from']} to {best['to']}). "
    if not saving:
        return (
            title
            + start
            + (
                f"With {confidence} confidence no dimension below its {width} is sure to keep even {percent(SHARES[-1])}:"
                " the data cannot tell, or the loss is larger."
            )
        )
    smallest = min(dim for dim in said if dim < width)
    row = next(r for r in kept.values() if r["dim"] == smallest)
    end = f"Of its own full-width score it keeps, with {confidence} confidence, {listed(saving)}, of {width}. "
    end += f"At {smallest}, a million vectors take {storage(row['bytes_per_million'])} instead of {storage(row['full_bytes_per_million'])}"
    if smallest in speeds and width in speeds:
        end += f", and this machine searches them {speeds[smallest] / speeds[width]:.1f} times as fast"
    return title + start + end + "."


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
