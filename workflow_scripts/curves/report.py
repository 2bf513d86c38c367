"""The report that people show each other: one HTML file that opens from disk and asks the network for nothing.

Takes curves.parquet, differences.parquet, summary.json, speed.json and the manifests of the study's rooms; leaves
report.html: the answer in words and a table, then charts (Vega-Lite, its scripts inlined) with tables beside them, then
what was run. Everything from data is escaped, in HTML and in the page's JSON.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.artefact import atomic_write, log, read_json
from workflow_scripts.command_line import start_log
from workflow_scripts.curves import words
from workflow_scripts.curves.collect import read_table
from workflow_scripts.curves.compare import MARGIN_OF_SCORE, QUESTIONS
from workflow_scripts.curves.curves import CURVES_SCHEMA, DIFFERENCES_SCHEMA, study_of
from workflow_scripts.curves.words import code, duration, number, quantity, storage, table, text
from workflow_scripts.study.errors import StudyError

# Points kept of a training run: the mean over equal stretches of steps.
TRAINING_POINTS = 150
VERDICTS = ["better", "worse", "same", "unclear"]
ADAPTIVE_COLUMNS = [
    "variant", "task", "shortlist_dims", "candidates", "rerank_dim", "metric", "score", "multiply_adds", "bytes_read",
]  # fmt: skip

# Published scores by dimension, as faint reference: model, source, task type (None: all), full width, points.
PUBLISHED: list[tuple[str, str, str | None, dict[int, float]]] = [
    (
        "nomic-embed-text-v1.5",
        "MTEB mean, Nussbaum et al. 2024 and its model card",
        None,
        {768: 62.28, 512: 61.96, 256: 61.04, 128: 59.34, 64: 56.10},
    ),
    (
        "jina-embeddings-v3",
        "MTEB retrieval nDCG@10, Sturua et al. 2024, arXiv 2409.10173",
        "Retrieval",
        {1024: 63.35, 512: 63.16, 256: 62.72, 128: 61.64, 64: 58.54, 32: 52.54},
    ),
]


def page(
    curves: pl.DataFrame,
    differences: pl.DataFrame,
    summary: dict[str, Any],
    speed: dict[str, Any] | None,
    extra: dict[str, Any],
    scripts: str,
) -> str:
    """The whole page. `extra`: adaptive (DataFrame), training, and what was run (HTML); `scripts`: Vega's bundle."""
    here = Path(__file__)
    speeds = (
        words.Speeds({point["dim"]: point["queries_per_second"] for point in speed["points"]}, speed["vectors"])
        if speed
        else None
    )
    measured = (
        f"Measured in one run on {text(speed['machine'])} ({speed['cores']} cores, {text(speed['threads'])} thread(s)): "
        f"one query after another over {speed['vectors']:,} float32 vectors, best ten."
        if speed
        else "Searches were not timed."
    )
    data = chart_data(curves, differences, summary, extra)
    notes = "".join(f"<li>{text(note)}</li>" for note in summary["notes"])
    sections = [
        f"<header><nav class=noprint><a href='#charts'>Curves</a><a href='#cost'>Cost</a><a href='#bytes'>Bytes</a>"
        f"{_link(data, 'adaptive')}{_link(data, 'differences')}{_link(data, 'training')}<a href='#run'>What was run</a>"
        f"<button id=theme type=button>Dark or light</button></nav><h1>What is kept of an embedding cut short: {text(summary['study'])}</h1></header>",
        "<main><section aria-label=Answer>",
        words.short_answer(summary, curves, speeds),
        f'<div class="note"><b>What this study cannot say</b><ul>{notes}</ul></div>' if notes else "",
        _answer_sections(summary, curves, speeds, measured) if summary["task_types"] else "",
        "</section>",
        _charts(data, curves, differences, summary),
        f"<section id=run><h2>What was run</h2>{extra['run']}</section></main>",
    ]
    return "".join(
        [
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            # No request leaves the page, whatever a chart library would like to fetch.
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
            "style-src 'unsafe-inline'; img-src data:\">",
            f"<title>{text(summary['study'])}: Matryoshka curves</title>",
            f"<style>{here.with_name('report.css').read_text()}</style></head>\n<body>",
            *sections,
            f'\n<script type="application/json" id="data">{json_text(data)}</script>',
            f"\n<script>{scripts}</script>",
            f"\n<script>{here.with_name('report.js').read_text()}</script></body></html>\n",
        ]
    )


def _answer_sections(summary: dict[str, Any], curves: pl.DataFrame, speeds: words.Speeds | None, measured: str) -> str:
    """The answer in full: what is lost, which dimension keeps what, and what made a model lose less."""
    domains = words.domain_tables(summary, curves, speeds)
    return "".join(
        [
            f"<h2>What do I lose?</h2>{words.loss_table(summary, curves)}",
            "<h2>Which dimension should I use?</h2><div id=answer-table>",
            f"{words.recommendation_table(summary, curves, speeds, summary['task_types'])}</div>",
            _details("in domain and out of domain", domains) if domains else "",
            _details("storage and searches by dimension", words.saving_table(summary, speeds, measured)),
            "<h2>What is the cheapest way to score higher when cut short?</h2>",
            words.ladder_list(summary, curves),
            words.what_is_cheapest(summary),
        ]
    )


def json_text(data: Any) -> str:
    """JSON that cannot end its script element, whatever names it holds."""
    return (
        json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def chart_data(
    curves: pl.DataFrame, differences: pl.DataFrame, summary: dict[str, Any], extra: dict[str, Any]
) -> dict[str, Any]:
    """What the charts draw, as columns; names stand once, in lists, and columns hold their places."""
    order = [model["name"] for model in summary["models"]]
    present = set(curves["variant"].to_list())
    variants = [name for name in order if name in present]
    variants += [name for name in dict.fromkeys(curves["variant"]) if name not in variants]
    groups = curves.select("task_type", "task", "metric", "tasks").unique(["task_type", "task"], maintain_order=True)
    reductions = list(dict.fromkeys(["prefix", *curves["reduction"].to_list()]))
    group_place = {(t, n): i for i, (t, n) in enumerate(zip(groups["task_type"], groups["task"], strict=True))}
    pairs = differences.select("question", "first", "second").unique(maintain_order=True)
    pair_place = {row: i for i, row in enumerate(pairs.iter_rows())}
    columns: dict[str, list[Any]] = {
        "v": [variants.index(v) for v in curves["variant"]],
        "g": [group_place[key] for key in zip(curves["task_type"], curves["task"], strict=True)],
        "r": [reductions.index(r) for r in curves["reduction"]],
        "d": curves["dim"].to_list(),
        "bytes": curves["bytes_per_vector"].to_list(),
    }
    for short, long in (("score", "score"), ("share", "share"), ("above", "share_above_chance")):
        for suffix in ("", "_low", "_high"):
            columns[short + suffix] = rounded(curves[long + suffix])
    keys = zip(differences["question"], differences["first"], differences["second"], strict=True)
    cost = {model["name"]: model["cost"]["total"] for model in summary["models"]}
    return {
        "confidence": words.percent(summary["confidence"]),
        "variants": variants,
        "reductions": reductions,
        "groups": [
            {"type": row["task_type"], "task": row["task"], "metric": row["metric"], "tasks": row["tasks"]}
            for row in groups.iter_rows(named=True)
        ],
        "curves": columns,
        "cost": {unit: [cost.get(v, {}).get(unit) for v in variants] for unit in ("seconds", "steps", "flops")},
        "pairs": [
            {"question": q, "text": QUESTIONS.get(q, q), "first": a, "second": b} for q, a, b in pairs.iter_rows()
        ],
        "verdicts": VERDICTS,
        "differences": {
            "p": [pair_place[key] for key in keys],
            "g": [group_place[key] for key in zip(differences["task_type"], differences["task"], strict=True)],
            "d": differences["dim"].to_list(),
            "value": rounded(differences["difference"]),
            "low": rounded(differences["low"]),
            "high": rounded(differences["high"]),
            "pc": rounded(differences["p_corrected"]),
            "verdict": [VERDICTS.index(v) for v in differences["verdict"]],
        },
        "adaptive": adaptive_data(extra["adaptive"], variants),
        "training": [t | {"v": variants.index(t["v"])} for t in extra["training"] if t["v"] in variants],
        "published": [
            {"model": model, "source": source, "type": kind, "dim": dim, "share": round(score / points[max(points)], 4)}
            for model, source, kind, points in PUBLISHED
            for dim, score in sorted(points.items())
        ],
    }


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Six digits: more than a chart shows, and half the size."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]


def adaptive_data(adaptive: pl.DataFrame, variants: list[str]) -> dict[str, Any]:
    """Adaptive searches and, in the same table, searches at a single dimension (no shortlist); means over seeds."""
    keys = ["variant", "task", "shortlist_dims", "candidates", "rerank_dim", "metric"]
    mean = (
        adaptive.group_by(keys, maintain_order=True)
        .agg(pl.col("score", "multiply_adds", "bytes_read").mean())
        .filter(pl.col("variant").is_in(variants))
    )
    metrics = dict(zip(mean["task"], mean["metric"], strict=True))
    tasks = list(metrics)
    how, single = [], []
    for dims, candidates, last in mean.select("shortlist_dims", "candidates", "rerank_dim").iter_rows():
        single.append(not dims)
        steps = " → ".join(f"{d} ({c} kept)" for d, c in zip(dims, candidates, strict=True))
        how.append(f"{steps} → {last}" if dims else f"{last} alone")
    return {
        "v": [variants.index(name) for name in mean["variant"]],
        "task": [tasks.index(name) for name in mean["task"]],
        **{name: rounded(mean[name]) for name in ("multiply_adds", "bytes_read", "score")},
        "how": how,
        "single": single,
        "tasks": tasks,
        "metrics": [words.metric_name(metric or "score") for metric in metrics.values()],
    }


def _link(data: dict[str, Any], section: str) -> str:
    titles = {"adaptive": "Adaptive", "differences": "Differences", "training": "Training"}
    return f"<a href='#{section}'>{titles[section]}</a>" if _has(data, section) else ""


def _has(data: dict[str, Any], section: str) -> bool:
    if section == "training":
        return bool(data["training"])
    return bool(data["adaptive"]["v"] if section == "adaptive" else data["pairs"])


def _charts(data: dict[str, Any], curves: pl.DataFrame, differences: pl.DataFrame, summary: dict[str, Any]) -> str:
    """Charts' places, their controls, and the table beside each."""
    above = any(value is not None for value in data["curves"]["above"])
    measures = "<option value=share>share of full width</option><option value=score>score</option>" + (
        "<option value=above>share of full width, above chance</option>" if above else ""
    )
    parts = [
        "<fieldset><legend>Models shown in all charts</legend><div class=toggles id=toggles>"
        "<button id=all-on type=button>all</button><button id=all-off type=button>none</button></div></fieldset>"
        "<section id=charts><h2>What each dimension keeps</h2>"
        "<p class=soft>Lines are models, bands their intervals. The dimension is on a logarithmic axis.</p>"
        f"<div class=controls><label>show <select id=measure>{measures}</select></label>"
        "<label>of <select id=group></select></label><label>cut <select id=reduction></select></label>"
        "<label><input type=checkbox id=published checked> published curves of known models, faint</label></div>"
        "<div class=panels id=curves-panels></div><noscript>Charts need scripts; the tables do not.</noscript>"
        f"{_details('every point of the prefix curves, means over tasks', words.curve_tables(curves, means=True))}"
        f"{_details('the same for each task', words.curve_tables(curves, means=False), printed=False)}</section>",
        "<section id=cost><h2>Cost against what is kept</h2><p class=soft>What it cost to make each model, its parents "
        "included; a rotation costs one encoding pass.</p><div class=controls>"
        "<label>cost in <select id=cost-unit><option>seconds</option><option>steps</option><option>flops</option></select></label>"
        "<label>at dimension <select id=cost-dim></select></label>"
        f"<label>show <select id=cost-measure>{measures.replace('value=score', 'value=score selected')}</select></label></div>"
        f"<div class=panels id=cost-panels></div>{_details('cost and what is kept', words.cost_table(summary, curves))}</section>",
        "<section id=bytes><h2>Score against bytes per vector</h2><div class=controls><label>reductions "
        "<select id=bytes-cuts><option value=prefix>first coordinates, every precision</option><option value=all>all</option>"
        "</select></label></div><div class=panels id=bytes-panels></div>"
        f"{_details('areas under the curves, every reduction', _area_table(summary))}</section>",
    ]
    if _has(data, "adaptive"):
        parts.append(
            "<section id=adaptive><h2>Adaptive retrieval against single dimensions</h2><p class=soft>Lines: search at one "
            "dimension. Open marks: a shortlist at few dimensions, re-ranked at more.</p><div class=controls>"
            "<label>task <select id=adaptive-task></select></label><label>cost <select id=adaptive-unit>"
            "<option value=multiply_adds>multiply-adds per query</option><option value=bytes_read>bytes read per query</option>"
            "</select></label></div><div class=panels id=adaptive-panels></div>"
            f"{_details('the searches', _adaptive_table(data), printed=False)}</section>"
        )
    if _has(data, "differences"):
        parts.append(
            "<section id=differences><h2>Paired differences</h2><p class=soft>The same queries and experiments, model against "
            "model. Better and worse hold after Holm's correction for all comparisons of the task type; "
            f"<i>same</i>: the whole interval within {summary['margin']:g} of score, which is said only where the higher score "
            f"is at least {summary['margin'] / MARGIN_OF_SCORE:g}; else the data cannot tell.</p><div class=controls>"
            "<label>pair <select id=pair></select></label><label>of <select id=difference-group></select></label></div>"
            f"<div class=panels id=difference-panels></div>{_details('all paired differences', words.difference_table(differences), printed=False)}</section>"
        )
    if _has(data, "training"):
        parts.append(
            "<section id=training><h2>Training</h2><div class=controls><label>model <select id=training-model></select></label>"
            "</div><div class=panels id=training-panels></div>"
            f"{_details('last losses', _training_table(data), printed=False)}</section>"
        )
    return "".join(parts) + _published_table(data)


def _details(title: str, inside: str, printed: bool = True) -> str:
    """A table to open; `printed`: on paper it is open, the others only where the reader opened them."""
    return f"<details{' class=print' * printed}><summary>Table: {title}</summary>{inside}</details>"


def _area_table(summary: dict[str, Any]) -> str:
    rows = [
        [
            code(a["variant"]),
            words.cell(a["task_type"]),
            words.cell(a["reduction"]),
            f"{a['from']} to {a['to']}",
            number(a["area"]),
            "–" if a["low"] is None else f"{a['low']:.4f} to {a['high']:.4f}",  # noqa: RUF001
        ]
        for a in summary["areas"]
        if a["task"] == "mean"
    ]
    return table(
        ["model", "task type", "reduction", "dimensions", "mean height", "interval"],
        rows,
        "Area under score over log2(dimension), divided by its range.",
    )


def _adaptive_table(data: dict[str, Any]) -> str:
    a = data["adaptive"]
    rows = [
        [
            code(data["variants"][a["v"][i]]),
            words.cell(a["tasks"][a["task"][i]]),
            words.cell(a["how"][i]),
            quantity(a["multiply_adds"][i]),
            storage(a["bytes_read"][i]),
            words.cell(a["metrics"][a["task"][i]]),
            number(a["score"][i]),
        ]
        for i in range(len(a["v"]))
    ]
    return table(["model", "task", "search", "multiply-adds", "read", "metric", "score"], rows)


def _training_table(data: dict[str, Any]) -> str:
    rows = [
        [code(data["variants"][t["v"]]), str(t["seed"]), text(name), str(t["step"][-1]), number(losses[-1])]
        for t in data["training"]
        for name, losses in t["losses"].items()
    ]
    return table(["model", "seed", "dimension", "step", "loss"], rows, "Mean loss over the last stretch of steps.")


def _published_table(data: dict[str, Any]) -> str:
    rows = [
        [text(p["model"]), str(p["dim"]), f"{100 * p['share']:.1f}%", words.cell(p["source"])]
        for p in data["published"]
    ]
    return (
        "<section><h2>Published curves</h2><p class=soft>Of other models, on other tasks: for orientation.</p>"
        f"{_details('published shares of full width', table(['model', 'dimension', 'share', 'source'], rows))}</section>"
    )


# ---- what the rooms left about what was run


def gather(results: Path, summary: dict[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    """Adaptive scores, training curves and the account of what was run, from the rooms' files."""
    models = [(model["name"], seed) for model in summary["models"] for seed in model["seeds"]]
    tasks: list[str] = study.get("tasks", [])
    adaptive = [
        read_table(path, ADAPTIVE_COLUMNS)
        for name, seed in models
        for task in tasks
        if (path := results / "scores" / name / f"s{seed}" / f"{task}.adaptive.parquet").exists()
    ]
    adaptive = [frame for frame in adaptive if not frame.is_empty()]
    training = []
    for name, seed in models:
        path = results / "models" / name / f"s{seed}" / "training.parquet"
        if path.exists():
            training.append({"v": name, "seed": seed, **training_curve(read_table(path, ["step", "loss"], more=True))})
    return {
        "adaptive": pl.concat(adaptive, how="diagonal_relaxed") if adaptive else _no_adaptive(),
        "training": [t for t in training if t["losses"]],
        "run": what_was_run(results, summary, models, study),
    }


def _no_adaptive() -> pl.DataFrame:
    names = ("variant", "task", "shortlist_dims", "candidates", "rerank_dim", "metric")
    numbers = ("score", "multiply_adds", "bytes_read")
    return pl.DataFrame(schema=[*((name, pl.String) for name in names), *((name, pl.Float64) for name in numbers)])


def training_curve(steps: pl.DataFrame) -> dict[str, Any]:
    """Losses by dimension over stretches of steps; the total where no dimension is told apart."""
    by_dim = sorted((c for c in steps.columns if c.startswith("loss_")), key=lambda c: (len(c), c))
    losses = {column.removeprefix("loss_"): column for column in by_dim} or {"total": "loss"}
    size = max(1, -(-steps.height // TRAINING_POINTS))
    binned = (
        steps.sort("step")
        .with_row_index("row")
        .group_by(pl.col("row") // size, maintain_order=True)
        .agg(pl.col("step").max(), *(pl.col(column).mean() for column in losses.values()))
    )
    if binned.is_empty():
        return {"step": [], "losses": {}}
    return {
        "step": binned["step"].to_list(),
        "losses": {name: rounded(binned[column]) for name, column in losses.items()},
    }


def what_was_run(results: Path, summary: dict[str, Any], models: list[tuple[str, int]], study: dict[str, Any]) -> str:
    """Models, tasks, corpus, machine and configuration, as HTML; what has no manifest is left out."""
    return "".join(
        [
            _missing(summary),
            _models(results, models, {model["name"]: model for model in summary["models"]}),
            _tasks(results, study.get("tasks", []), summary["domains"]),
            _corpus(results, used=any(model["trained"] or model["rotated"] for model in summary["models"])),
            _encoding(results, models, study.get("tasks", [])),
            f"<details><summary>The whole configuration</summary><pre tabindex=0>{html.escape(yaml.safe_dump(study, sort_keys=False, allow_unicode=True))}</pre></details>",
        ]
    )


def _missing(summary: dict[str, Any]) -> str:
    if not summary["missing"]:
        return "<p>No score is missing.</p>"
    rows = [[code(m["variant"]), text(m["seed"]), words.cell(m["task"])] for m in summary["missing"]]
    return f"<p>Missing scores: {len(rows)}.</p>{_details('missing scores', table(['model', 'seed', 'task'], rows))}"


def _models(results: Path, models: list[tuple[str, int]], by_name: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, seed in models:
        path = results / "models" / name / f"s{seed}" / "model.json"
        graph = by_name.get(name)
        origin = [
            code(graph["parent"]) if graph and graph["parent"] else "–",  # noqa: RUF001
            words.cell(words.what_was_done(name, by_name) if graph else ""),
        ]
        if not path.exists():
            rows.append([code(name), str(seed), *origin, words.cell("not made yet"), *[""] * 8])
            continue
        made = read_json(path)
        cost = made.get("cost") or {}
        memory = cost.get("peak_memory_bytes")
        rows.append(
            [
                code(name),
                str(seed),
                *origin,
                words.cell(made.get("reference") or ""),
                words.cell(str(made.get("revision") or "")[:12]),
                words.cell(made.get("licence") or ""),
                text(made.get("width", "")),
                quantity(cost.get("steps")),
                quantity(cost.get("tokens")),
                duration(cost.get("seconds")),
                storage(memory) if memory else "–",  # noqa: RUF001
                words.cell(cost.get("device") or ""),
            ]
        )
    head = [
        "model", "seed", "parent", "what was done", "reference", "revision", "licence", "width", "steps", "tokens", "time",
        "memory", "device",
    ]  # fmt: skip
    return "<h3>Models</h3>" + table(head, rows, "Each model's own cost, without its parents'.")


def _tasks(results: Path, tasks: list[str], domains: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name in tasks:
        path = results / "tasks" / name / "task.json"
        task = read_json(path) if path.exists() else {}
        row = [
            code(name),
            words.cell(task.get("type") or "not prepared"),
            words.cell(task.get("metric") or ""),
            number(task.get("chance")),
            words.cell(task.get("dataset") or ""),
            words.cell(str(task.get("revision") or "")[:12]),
            quantity(task.get("texts")),
        ]
        if domains:
            domain = domains.get(name, {"in_domain": False, "why": "", "cleaned": ""})
            compared = "not by name or texts" if domain["cleaned"] != "no" else "not by name; texts were not compared"
            why = f"yes: {domain['why']}" if domain["in_domain"] else compared
            row += [words.cell({"no": "NO"}.get(domain["cleaned"], domain["cleaned"])), words.cell(why)]
        rows.append(row)
    head = ["task", "type", "metric", "chance", "data set", "revision", "texts"]
    caption = ""
    if domains:
        head += ["pairs cleaned of its texts", "in domain"]
        caption = "Held out: made apart from the pairs, from the same source. In domain: data like the training pairs'."
    return "<h3>Tasks</h3>" + table(head, rows, caption)


def _corpus(results: Path, used: bool) -> str:
    """What became of the training pairs: rows dropped and why, in all and by training task; evaluation texts found."""
    path = results / "corpus" / "corpus.json"
    if not used or not path.exists():
        return "<h3>Training pairs</h3><p>None were needed, or none are there.</p>"
    corpus = read_json(path)
    reasons: dict[str, dict[str, int]] = corpus.get("drops") or {}
    tasks: dict[str, dict[str, Any]] = corpus.get("tasks") or {}
    rows_in = corpus.get("rows_in", 0)
    drops = [
        [text(reason), f"{sum(by_task.values()):,}", words.cell(", ".join(f"{t}: {n:,}" for t, n in _largest(by_task)))]
        for reason, by_task in reasons.items()
    ]
    found: dict[str, dict[str, int]] = {}
    for name, entry in tasks.items():
        for task, count in (entry.get("contaminated") or {}).items():
            found.setdefault(task, {})[name] = count
    against = corpus.get("decontaminated_against") or []
    held = [
        [
            code(task),
            f"{sum(found.get(task, {}).values()):,}",
            words.cell(", ".join(f"{t}: {n:,}" for t, n in _largest(found.get(task, {})))),
        ]
        for task in sorted(dict.fromkeys([*against, *found]), key=lambda task: -sum(found.get(task, {}).values()))
    ]
    by_task = [
        [
            code(name),
            f"{entry.get('rows_in', 0):,}",
            f"{entry.get('rows_out', 0):,}",
            *(f"{reasons[reason].get(name, 0):,}" for reason in reasons),
            words.cell(", ".join(f"{t}: {n:,}" for t, n in (entry.get("contaminated") or {}).items())),
        ]
        for name, entry in sorted(
            tasks.items(), key=lambda item: item[1].get("rows_out", 0) - item[1].get("rows_in", 0)
        )
    ]
    revision = f", revision {code(corpus['revision'])}" if corpus.get("revision") else ""
    per_task = ["training task", "rows in", "kept", *map(text, reasons), "held texts of"]
    return (
        f"<h3>Training pairs</h3><p>{text(corpus.get('source'))}{revision}: "
        f"{rows_in:,} rows in, {corpus.get('rows_out', 0):,} kept, in {duration(corpus.get('seconds'))}.</p>"
        + (table(["dropped because", "rows", "most of them in"], drops) if drops else "")
        + ("" if against else "<p>Not cleaned of any evaluation texts.</p>")
        + (
            table(
                ["cleaned of the texts of", "rows dropped for it", "most of them in"],
                held,
                "A row that holds texts of several tasks counts for each.",
            )
            if held
            else ""
        )
        + (_details("what each training task lost", table(per_task, by_task), printed=False) if by_task else "")
    )


def _largest(by_task: dict[str, int], most: int = 4) -> list[tuple[str, int]]:
    return sorted(by_task.items(), key=lambda item: (-item[1], item[0]))[:most]


def _encoding(results: Path, models: list[tuple[str, int]], tasks: list[str]) -> str:
    seconds = texts = 0.0
    devices: dict[str, None] = {}
    for name, seed in models:
        for task in tasks:
            path = results / "embeddings" / name / f"s{seed}" / task / "embeddings.json"
            if path.exists():
                made = read_json(path)
                seconds += made.get("seconds") or 0
                texts += made.get("texts") or 0
                devices[f"{made.get('device')} in {made.get('precision')}"] = None
    if not devices:
        return ""
    return f"<h3>Encoding</h3><p>{texts:,.0f} evaluation texts in {duration(seconds)}, on {words.listed(list(devices))}.</p>"


def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the package vl-convert-python."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", required=True, help="JSON: {study: the whole configuration}")
    parser.add_argument("--results", required=True, type=Path, help="the study's results folder")
    parser.add_argument("--output", required=True, type=Path, help="report.html, beside curves.parquet")
    arguments = parser.parse_args()
    start_log()
    try:
        study = study_of(arguments.settings)
        summary = read_json(arguments.output.with_name("summary.json"))
        speed = arguments.output.with_name("speed.json")
        log.info("gathering what was run")
        extra = gather(arguments.results, summary, study.model_dump())
        content = page(
            read_table(arguments.output.with_name("curves.parquet"), list(CURVES_SCHEMA)),
            read_table(arguments.output.with_name("differences.parquet"), list(DIFFERENCES_SCHEMA)),
            summary,
            read_json(speed) if speed.exists() else None,
            extra,
            vega_bundle(),
        )
    except (StudyError, ValueError, pl.exceptions.PolarsError) as error:
        sys.exit(f"report: {str(error).strip().splitlines()[0]}")
    with atomic_write(arguments.output) as part:
        part.write_text(content)
    log.info("%s: %.1f MB", arguments.output, len(content.encode()) / 1e6)


if __name__ == "__main__":
    main()
