"""The model cards of a study.

    python -m workflow_scripts.curves.cards --settings JSON --results results/S --output results/S/curves/cards

Takes every model's manifest and scores, the frontier and the tasks' task.json; leaves a README.md of each model that embeds
texts, in the hub's form: YAML front matter with mteb results, what the model is made of, measured scores per dimension, what it keeps in how many
bytes, and how to use it cut short. Each tells of the frontier of all models, so one job writes all.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.artefact import Progress, atomic_write, read_json
from workflow_scripts.command_line import parser, run
from workflow_scripts.curves.collect import SCORE_COLUMNS, read_table, score_file, without_draws
from workflow_scripts.curves.curves import study_of
from workflow_scripts.curves.formats import between, byte_count, kept, percent
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.schemas import FRONTIER_SCHEMA, OWN, is_prefix, rising
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.references import portable_reference
from workflow_scripts.study.sections.own_task import NOT_JUDGED

LEAST_SHARE = 0.8  # of the full width: what keeps less is not on the card
# What Markdown would read as markup, and HTML as a tag.
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def plain(text: object) -> str:
    """Text from data as Markdown that shows it as it is, on one line."""
    return MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def front_matter(
    manifest: dict[str, Any], scores: pl.DataFrame, name: str, splits: dict[str, list[str]], nested: bool
) -> str:
    """The card's metadata: the full-width scores as mteb results, in the hub's model-index form.

    `splits`: the evaluated splits of each task, where they are known. Left out: a score that is no number, or is agreement with
    the model itself.
    """
    catalogue = task_catalogue()
    results = []
    of_mteb = False
    full = scores.filter(is_prefix())
    for (task,), part in full.group_by(["task"], maintain_order=True):
        best = part.sort("dim").tail(1).row(0, named=True)
        if not is_number(best["score"]) or best["task_type"] == NOT_JUDGED:  # which is 1 at full width, of any model
            continue
        entry = catalogue.get(str(task), {})
        of_mteb = of_mteb or bool(entry.get("dataset"))
        dataset = {
            "type": entry.get("dataset") or str(task),
            "name": f"MTEB {task}" if entry.get("dataset") else str(task),  # those made of WordNet are not MTEB's
        }
        if splits.get(str(task)):
            dataset["split"] = "+".join(splits[str(task)])
        if revision := entry.get("revision"):
            dataset["revision"] = revision
        metrics = [
            {"type": "main_score", "value": round(100 * best["score"], 6)},
            {"type": best["metric"], "value": round(100 * best["score"], 6)},
        ]
        results.append({"task": {"type": best["task_type"]}, "dataset": dataset, "metrics": metrics})
    meta: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [
            *("sentence-transformers", "sentence-similarity", "feature-extraction"),
            *["mteb"] * of_mteb,
            *["matryoshka"] * nested,
        ],
    }
    if language := manifest.get("language"):
        meta["language"] = language
    if licence := manifest.get("licence"):
        # On one line: a line of dashes in it would end the metadata.
        meta["license"] = " ".join(str(licence).split())
    reference = str(manifest.get("reference") or "")
    if re.fullmatch(r"[\w.-]+/[\w.-]+@[\w.-]+", reference):
        meta["base_model"] = reference.partition("@")[0]
    meta["model-index"] = [{"name": name, "results": results}]
    text: str = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    return text


def read_scores(path: Path) -> pl.DataFrame:
    """One task's scores of the model, by codec."""
    return without_draws(read_table(path, SCORE_COLUMNS))


def is_number(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def card(
    study: Study,
    manifest: dict[str, Any],
    scores: pl.DataFrame,
    splits: dict[str, list[str]],
    frontier: pl.DataFrame,
) -> str:
    """The whole card, in Markdown; `splits`: the evaluated splits of each task; `frontier`: FRONTIER_SCHEMA."""
    manifest = manifest | {
        "licence": study.deploy.licence or manifest.get("licence"),
        "language": study.deploy.language or manifest.get("language"),
    }
    model, seed = str(manifest["model"]), int(manifest["seed"])
    name = f"{study.study}-{model}-s{seed}"
    dims = sorted(scores.filter(is_prefix())["dim"].unique().to_list())
    middle = dims[len(dims) // 2] if dims else study.graph.width_of(model)
    nested = model in study.variants and study.variants[model].nested
    lines = ["---", front_matter(manifest, scores, name, splits, nested).rstrip(), "---", "", f"# {plain(name)}", ""]
    lines += [*_origin(study, manifest), "", "## Scores by dimension", ""]
    lines += [*_score_table(scores, dims), ""]
    if stored := _bytes_table(frontier, model, study.intervals.confidence):
        lines += ["## Scores by bytes", "", *stored, ""]
    lines += ["## Use", ""]
    lines += [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("path/to/this/folder", truncate_dim={middle})',
        'embeddings = model.encode(["a text", "another text"])',
        f"print(embeddings.shape)  # (2, {middle})",
        "```",
        "",
        "Embeddings cut short are not of unit length: compare them by cosine, or normalise them first.",
        "",
        "As the study saves it, the folder needs sentence-transformers 6.0 or newer. The copy that `snakemake deploy` leaves loads",
        "in 5.0 too, and has no trace of the machine that made it.",
        "",
        "`model-index` above is for the model's page on the hub. MTEB's leaderboards no longer read it: their scores come from",
        "the results repository.",
        "",
        "## Recipe and cost",
        "",
    ]
    lines += _facts({**_flat(manifest.get("recipe") or {}), **_flat(manifest.get("cost") or {}, "cost: ")})
    return "\n".join(lines) + "\n"


def _origin(study: Study, manifest: dict[str, Any]) -> list[str]:
    model = str(manifest["model"])
    chain = [model]
    while (parent := study.graph.parent_of(chain[-1])) is not None:
        chain.append(parent)
    facts: dict[str, Any] = {
        "made from": " ← ".join(chain),
        "base": portable_reference(study.graph.reference_of(chain[-1])),
        "width": manifest.get("width"),
        "seed": manifest.get("seed"),
        "licence": manifest.get("licence") or "not stated by the base model; `deploy: licence:` of the study sets it",
        "language": ", ".join(manifest.get("language") or []) or None,
    }
    if study.graph.trains_anywhere(model):
        corpus = study.corpus
        facts["training pairs"] = corpus.repository if corpus.source == "medi" else corpus.source
        facts["pairs' digest"] = manifest.get("pairs")
    return [
        f"A model of the study `{study.study}`: what is kept of an embedding when it is cut short.",
        "",
        *_facts(facts),
    ]


def _score_table(scores: pl.DataFrame, dims: list[int]) -> list[str]:
    prefix = scores.filter(is_prefix())
    lines = [
        "| task | metric | " + " | ".join(str(d) for d in dims) + " |",
        "|---|---|" + "---:|" * len(dims),
    ]
    for (task,), part in prefix.group_by(["task"], maintain_order=True):
        by_dim = dict(zip(part["dim"], part["score"], strict=True))
        cells = [f"{100 * by_dim[d]:.2f}" if is_number(by_dim.get(d)) else "-" for d in dims]
        lines.append(f"| {plain(task)} | {plain(part['metric'][0])} | " + " | ".join(cells) + " |")
    return [*lines, "", "Scores times 100, as MTEB computes them, from the first coordinates of the embedding."]


def _bytes_table(frontier: pl.DataFrame, model: str, confidence: float) -> list[str]:
    """The best way to store the model's vectors within each number of bytes, from LEAST_SHARE up; empty where nothing but
    float32 prefixes was measured."""
    own = frontier.filter(scope=model, of=OWN, engine=ANY, resource="memory")
    if own.filter(~is_prefix()).is_empty():
        return []
    lines = ["| task type | bytes a vector | stored as | share kept | interval |", "|---|---:|---|---:|---|"]
    for (task_type,), part in own.group_by(["task_type"], maintain_order=True):
        for row in rising(part).filter(pl.col("share") >= LEAST_SHARE).iter_rows(named=True):
            cells = [
                plain(task_type),
                byte_count(row["bytes"]),
                plain(row["words"]),
                kept(row["share"]),
                between(row["share_low"], row["share_high"]) or "-",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    about = (
        f"Share of this model's own full width in float32, with its {percent(confidence)} interval; means over tasks."
    )
    return [*lines, "", f"{about} What is fitted for a codec (axes, ranges, thresholds) is fitted on training texts."]


def _facts(facts: dict[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {plain(k)} | {plain(v)} |" for k, v in facts.items() if v is not None)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def write_cards(study: Study, results: Path, output: Path) -> None:
    """Write the card of every model that embeds texts: `<model>/s<seed>/README.md` under `output`."""
    tasks = [read_json(results / "tasks" / name / "task.json") for name in study.task_names]
    splits = {task["name"]: task["splits"] for task in tasks}
    frontier = read_table(results / "curves" / "frontier.parquet", list(FRONTIER_SCHEMA))
    models = [(model, seed) for model, seed in study.graph.runs if model not in study.graph.of_vectors]
    with Progress("cards", len(models), "models") as progress:
        for model, seed in models:
            manifest = read_json(results / "models" / model / f"s{seed}" / "model.json")
            paths = [score_file(results, model, seed, name) for name in study.task_names]
            scores = pl.concat([read_scores(path) for path in paths], how="vertical_relaxed")
            path = output / model / f"s{seed}" / "README.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                part.write_text(card(study, manifest, scores, splits, frontier))
            progress.add(1, model)


def main() -> None:
    arguments = parser(__doc__, "{study: the whole configuration}")
    arguments.add_argument("--results", required=True, type=Path, help="the study's results/<study>")
    arguments.add_argument("--output", required=True, type=Path, help="the folder of the cards")
    given = arguments.parse_args()
    run(lambda: write_cards(study_of(given.settings), given.results, given.output))


if __name__ == "__main__":
    main()
