"""The report that people show each other: one HTML file that opens from disk and asks the network for nothing.

Takes curves.parquet, differences.parquet, frontier.parquet, budget.parquet, domains.parquet, summary.json, speed.json and the manifests of the study's
rooms; leaves report.html, made from the templates beside this script: the answer and its chart, then tables, then what
was run. Names from data are escaped by the templates, and in the page's JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import polars as pl
from markupsafe import Markup

from workflow_scripts.artefact import atomic_write, log, read_json
from workflow_scripts.command_line import parser, run
from workflow_scripts.curves import agreement_tables, page_tables, report_sentences, training_sentences
from workflow_scripts.curves.agreement import SCHEMA as AGREEMENT_SCHEMA
from workflow_scripts.curves.chart_data import chart_data, first_chart, json_text, training_curve
from workflow_scripts.curves.collect import SEARCH_COLUMNS, read_table, task_names
from workflow_scripts.curves.comparisons import MARGIN_OF_SCORE
from workflow_scripts.curves.curves import Found, study_of
from workflow_scripts.curves.describe import Names
from workflow_scripts.curves.formats import kept, number, percent, plain
from workflow_scripts.curves.page_tables import Speeds, Table, table, words
from workflow_scripts.curves.provenance import Provenance, what_was_run
from workflow_scripts.curves.schemas import (
    BUDGET_SCHEMA,
    CURVES_SCHEMA,
    DIFFERENCES_SCHEMA,
    DOMAINS_SCHEMA,
    FRONTIER_SCHEMA,
)
from workflow_scripts.curves.summary import Answer, read_answer

TEMPLATES = Path(__file__).with_name("templates")
SEARCHES_SCHEMA: dict[str, Any] = {
    "variant": pl.String,
    "task": pl.String,
    "search": pl.String,
    "staged": pl.Boolean,
    "metric": pl.String,
    "score": pl.Float64,
    "bytes_in_memory": pl.Float64,
    "bytes_read": pl.Float64,
    "multiply_adds": pl.Float64,
}


class Extra(NamedTuple):
    """What the rooms left beside scores: searches, losses by step (`model`, `seed`, `step`, `losses`), manifests; agreement with
    the full-width ranking by codec."""

    searches: pl.DataFrame
    training: list[dict[str, Any]]
    run: Provenance
    agreement: pl.DataFrame = pl.DataFrame(schema=AGREEMENT_SCHEMA)


def gather(results: Path, answer: Answer, study: dict[str, Any]) -> Extra:
    """Searches, training curves and the account of what was run, from the rooms' files."""
    seeds = [(model.name, seed) for model in answer.models for seed in model.seeds]
    tasks = task_names(study)
    found = [
        read_table(path, SEARCH_COLUMNS)
        for name, seed in seeds
        for task in tasks
        if (path := results / "scores" / name / f"s{seed}" / f"{task}.search.parquet").exists()
    ]
    training = []
    for name, seed in seeds:
        path = results / "models" / name / f"s{seed}" / "training.parquet"
        if path.exists():
            curve = training_curve(read_table(path, ["step", "loss"], more=True))
            training.append({"model": name, "seed": seed, **curve})
    return Extra(
        searches_of([frame for frame in found if not frame.is_empty()]),
        [run for run in training if run["losses"]],
        what_was_run(results, answer, study),
    )


def searches_of(found: list[pl.DataFrame]) -> pl.DataFrame:
    """The searches of all models and tasks, as means over seeds: SEARCHES_SCHEMA."""
    if not found:
        return pl.DataFrame(schema=SEARCHES_SCHEMA)
    keys = ["variant", "task", "search", "metric"]
    return (
        pl.concat(found, how="vertical_relaxed")
        .with_columns(staged=pl.col("stages").list.len() > 0)
        .group_by([*keys, "staged"], maintain_order=True)
        .agg(pl.col("score", "bytes_in_memory", "bytes_read", "multiply_adds").mean())
        .select(list(SEARCHES_SCHEMA))
    )


def page(found: Found, speeds: Speeds | None, extra: Extra, scripts: str) -> str:
    """The whole page; `scripts`: Vega's bundle."""
    answer, curves = found.summary, found.curves
    names = Names(answer)
    first = {kind: report_sentences.first_sentence(answer, curves, kind, names) for kind in answer.task_types}
    more = {
        kind: [
            *report_sentences.more(answer, kind, names),
            *report_sentences.compression(curves, kind, answer.reference.get(kind)),
        ]
        for kind in answer.task_types
    }
    data = chart_data(found, extra.searches, extra.training)
    here = Path(__file__)
    specs = {file.name.partition(".")[0]: file.read_text() for file in sorted((here.parent / "charts").glob("*.json"))}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        answer=answer,
        first=first,
        more=more,
        intervals=report_sentences.intervals_sentence(answer, curves),
        populations={kind: report_sentences.population(answer, kind) for kind in answer.task_types},
        parents=names.parents(),
        tables=tables_of(found, speeds, extra, data),
        domains=page_tables.domain_tables(answer, curves, speeds),
        cost_frontier=training_sentences.cost_frontier_list(answer, curves),
        cost_frontier_note=training_sentences.cost_frontier_note(answer),
        cost_unit=page_tables.cost_unit(answer),
        questions=training_sentences.what_is_cheapest(answer),
        run=extra.run,
        data=data,
        confidence=percent(answer.confidence),
        least_score=answer.margin / MARGIN_OF_SCORE,
        style=_verbatim((here.with_name("report.css")).read_text()),
        vega=_verbatim(scripts),
        script=_verbatim(here.with_name("report.js").read_text()),
        first_json=_verbatim(json_text(first_chart(answer, curves, found.frontier))),
        specs_json=_verbatim(f"{{{','.join(f'{json_text(name)}:{text}' for name, text in specs.items())}}}"),
        data_json=_verbatim(json_text(data)),
    )


def _verbatim(trusted: str) -> Markup:
    """This repository's own style, scripts and escaped JSON, which a template must not escape again."""
    return Markup(trusted)  # noqa: S704 (nothing from data but what json_text escaped)


def tables_of(found: Found, speeds: Speeds | None, extra: Extra, data: dict[str, Any]) -> dict[str, list[Table]]:
    """Every table of the page but those of what was run, by the place that it stands at."""
    answer, curves = found.summary, found.curves
    named: dict[str, list[str]] = {}
    for task_type in answer.task_types:
        fetched = [model.name for model in answer.models if model.parent is None]
        steps = [step.variant for step in answer.cost_frontier if step.task_type == task_type]
        named[task_type] = list(dict.fromkeys([*fetched, *steps]))
    losses = [
        [
            page_tables.Cell(data["models"][run["model"]]),
            str(run["seed"]),
            plain(dim),
            str(run["step"][-1]),
            number(loss[-1]),
        ]
        for run in data["training"]
        for dim, loss in run["losses"].items()
    ]
    published = [[p["model"], str(p["dim"]), kept(p["share"]), words(p["source"])] for p in data["published"]]
    return {
        "engines": [page_tables.engine_table(answer, kind, name) for kind, name in answer.reference.items()],
        "codecs": page_tables.codec_tables(curves, answer.reference),
        "losses": [page_tables.loss_table(answer, curves, named)],
        "recommendations": [page_tables.recommendation_table(answer, curves, speeds, answer.task_types)],
        "speeds": [page_tables.speed_table(speeds)] if speeds else [],
        "indexes": page_tables.index_tables(speeds) if speeds else [],
        "points": page_tables.curve_tables(curves, means=True),
        "task_points": page_tables.curve_tables(curves, means=False),
        "costs": page_tables.cost_tables(answer, curves),
        "areas": [page_tables.area_table(answer)],
        "correlations": agreement_tables.correlation_tables(answer),
        "agreement": agreement_tables.codec_tables(extra.agreement),
        "searches": [page_tables.search_table(extra.searches)],
        "differences": page_tables.difference_tables(found.differences),
        "training": [
            table(["model", "seed", "dimension", "step", "loss"], losses, "Mean loss over the last stretch of steps.")
        ],
        "published": [table(["model", "dimension", "share", "source"], published)],
    }


def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the package vl-convert-python."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def read_speeds(path: Path) -> Speeds | None:
    """speed.json, where there is one."""
    if not path.exists():
        return None
    speed = read_json(path)
    rate = {point["dim"]: point["queries_per_second"] for point in speed["points"]}
    machine = (
        f"{speed['machine']}, {speed['cores']} cores, {speed['threads']} thread(s), one query after another, best ten."
    )
    return Speeds(rate, speed["vectors"], plain(machine), tuple(speed["indexes"]))


def main() -> None:
    arguments = parser(__doc__, "{study: the whole configuration}")
    arguments.add_argument("--results", required=True, type=Path, help="the study's results folder")
    arguments.add_argument("--output", required=True, type=Path, help="report.html, beside curves.parquet")
    given = arguments.parse_args()

    def work() -> None:
        study = study_of(given.settings)
        beside = given.output.with_name
        found = Found(
            read_table(beside("curves.parquet"), list(CURVES_SCHEMA)),
            read_table(beside("differences.parquet"), list(DIFFERENCES_SCHEMA)),
            read_table(beside("frontier.parquet"), list(FRONTIER_SCHEMA)),
            read_table(beside("budget.parquet"), list(BUDGET_SCHEMA)),
            read_table(beside("domains.parquet"), list(DOMAINS_SCHEMA)),
            read_answer(beside("summary.json")),
        )
        log.info("gathering what was run")
        extra = gather(given.results, found.summary, study.model_dump())
        extra = extra._replace(agreement=read_table(beside("agreement.parquet"), list(AGREEMENT_SCHEMA)))
        content = page(found, read_speeds(beside("speed.json")), extra, vega_bundle())
        with atomic_write(given.output) as part:
            part.write_text(content)
        log.info("%s: %.1f MB", given.output, len(content.encode()) / 1e6)

    run(work)


if __name__ == "__main__":
    main()
