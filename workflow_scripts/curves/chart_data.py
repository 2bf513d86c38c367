"""What the page's charts draw, by name: the rows of the first chart, then columns of all curves, differences and losses.

Takes the room's tables and the summary; leaves plain lists for the page's JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from workflow_scripts.curves.budget import sides_of
from workflow_scripts.curves.comparisons import QUESTIONS
from workflow_scripts.curves.curves import Found
from workflow_scripts.curves.describe import Stored, codec_words
from workflow_scripts.curves.formats import between, metric_name, percent
from workflow_scripts.curves.indexes import ANY, RESCORING
from workflow_scripts.curves.kinds import kinds, largest
from workflow_scripts.curves.report_sentences import advised
from workflow_scripts.curves.schemas import ALL_MODELS, MEAN, OWN, PREFIX, REFERENCE, VERDICTS, Family, rising
from workflow_scripts.curves.summary import Answer, StorageAdvice

# Points kept of a training run: the mean over equal stretches of steps.
TRAINING_POINTS = 150

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


def json_text(data: Any) -> str:
    """JSON that cannot end its script element, whatever names it holds."""
    return (
        json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Six digits: more than a chart shows, and half the size."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]


def first_chart(answer: Answer, curves: pl.DataFrame, frontier: pl.DataFrame) -> list[dict[str, Any]]:
    """A panel per task type: share kept against bytes in memory, of the model that the study starts from. Its codecs,
    its frontier, its frontier with re-scoring, and the point that the first sentence names."""
    panels = []
    for task_type, variant in answer.reference.items():
        of_model = curves.filter(
            (pl.col("task") == MEAN) & (pl.col("task_type") == task_type) & (pl.col("variant") == variant)
        )
        width = max(of_model["dim"].to_list(), default=0)
        codecs = [
            {
                "what": codec_words(Stored(r["transform"], r["dim"], r["precision"], r["queries"], r["bytes"]), width),
                "bytes": r["bytes"],
                "share": share,
            }
            for r, share in zip(of_model.iter_rows(named=True), rounded(of_model["share"]), strict=True)
            if share is not None
        ]
        own = frontier.filter(
            (pl.col("task_type") == task_type)
            & (pl.col("scope") == variant)
            & (pl.col("of") == OWN)
            & (pl.col("resource") == "memory")
        )
        best = frontier_points(own.filter(pl.col("engine") == ANY))
        chosen = advised(answer, task_type, variant, ANY)
        panels.append(
            {
                "task_type": task_type,
                "model": variant,
                "metric": metric_name(answer.task_types[task_type].metric),
                "codecs": codecs,
                "frontier": best,
                "rescoring": frontier_points(own.filter(pl.col("engine") == RESCORING)),
                "chosen": [_chosen(chosen, best)] if chosen is not None else [],
            }
        )
    return panels


def _chosen(chosen: StorageAdvice, frontier: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the first sentence's choice stands: on the frontier where it is there, else at what it keeps."""
    on_it = next((point["share"] for point in frontier if point["bytes"] == chosen.bytes), chosen.kept)
    return {"bytes": chosen.bytes, "share": on_it}


def frontier_points(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Points of one frontier by rising bytes; see `rising`."""
    shown = rising(rows).select(
        "variant", "bytes", "share", pl.col("words").alias("what"), low="share_low", high="share_high"
    )
    return [
        row | {name: rounded([row[name]])[0] for name in ("share", "low", "high")}
        for row in shown.iter_rows(named=True)
    ]


def chart_data(found: Found, searches: pl.DataFrame, training: list[dict[str, Any]]) -> dict[str, Any]:
    """What the charts below the first draw. Names stand once, in lists, and columns hold their places."""
    answer, curves, differences = found.summary, found.curves, found.differences
    present = set(curves["variant"].to_list())
    models = [model.name for model in answer.models if model.name in present]
    models += [name for name in dict.fromkeys(curves["variant"]) if name not in models]
    groups = curves.select("task_type", "task", "metric", "tasks").unique(["task_type", "task"], maintain_order=True)
    group_place = {key: i for i, key in enumerate(zip(groups["task_type"], groups["task"], strict=True))}
    family_of = [Family(*key) for key in curves.select("transform", "precision", "queries").iter_rows()]
    families = sorted(
        dict.fromkeys(family_of), key=lambda family: (family != PREFIX, family.transform != "prefix", str(family))
    )
    pairs = differences.select("question", "first", "second").unique(maintain_order=True)
    of_kinds = list(kinds(answer.models))
    cost = {model.name: model.cost.total for model in answer.models}
    return {
        "confidence": percent(answer.confidence),
        "models": models,
        "families": [str(family) for family in families],
        "groups": [
            {
                "task_type": row["task_type"],
                "task": row["task"],
                "metric": metric_name(row["metric"]),
                "tasks": row["tasks"],
            }
            for row in groups.iter_rows(named=True)
        ],
        "curves": {
            "model": places(curves["variant"], models),
            "group": [group_place[key] for key in zip(curves["task_type"], curves["task"], strict=True)],
            "family": places(family_of, families),
            "dim": curves["dim"].to_list(),
            **_intervals(curves, "score"),
            **_intervals(curves, "share"),
            **_intervals(curves, "share_above_chance"),
        },
        "cost": {
            unit: [getattr(cost[m], unit) if m in cost else None for m in models]
            for unit in ("seconds", "steps", "flops")
        },
        "trainings": _trainings(answer, found.frontier, models),
        "kinds": of_kinds,
        "budget": _budget(found.budget, models, of_kinds),
        "floats": _floats(found, models, of_kinds),
        "pairs": [
            {"question": QUESTIONS.get(question, question), "first": first, "second": second}
            for question, first, second in pairs.iter_rows()
        ],
        "verdicts": list(VERDICTS),
        "differences": _differences(differences, list(pairs.iter_rows()), group_place),
        "searches": _searches(searches, models),
        "training": [run | {"model": models.index(run["model"])} for run in training if run["model"] in models],
        "published": [
            {
                "model": model,
                "source": source,
                "task_type": kind,
                "dim": dim,
                "share": round(score / points[max(points)], 4),
            }
            for model, source, kind, points in PUBLISHED
            for dim, score in sorted(points.items())
        ],
    }


def places(values: Iterable[Any], names: Sequence[Any]) -> list[int]:
    where = {name: i for i, name in enumerate(names)}
    return [where[value] for value in values]


def _intervals(table: pl.DataFrame, name: str) -> dict[str, list[float | None]]:
    return {name + end: rounded(table[name + end]) for end in ("", "_low", "_high")}


def _trainings(answer: Answer, frontier: pl.DataFrame, models: list[str]) -> list[dict[str, Any]]:
    """Each model's frontier as a share of the reference's full width, by task type; and that of all of them."""
    shown = frontier.filter((pl.col("of") == REFERENCE) & (pl.col("engine") == ANY) & (pl.col("resource") == "memory"))
    panels = []
    for task_type, reference in answer.reference.items():
        part = shown.filter(pl.col("task_type") == task_type)
        points = []
        for scope in dict.fromkeys(part["scope"]):
            for point in frontier_points(part.filter(pl.col("scope") == scope)):
                place = models.index(point["variant"]) if point["variant"] in models else 0
                points.append(point | {"model": place, "best": scope == ALL_MODELS})
        panels.append({"task_type": task_type, "reference": reference, "points": points})
    return panels


def _budget(budget: pl.DataFrame, models: list[str], of_kinds: list[str]) -> list[dict[str, Any]]:
    """The share that each model keeps within some numbers of bytes, by the training steps up to it, and how that stands beside the best
    without training; nothing where nothing was trained."""
    table = budget.filter((pl.col("task") == MEAN) & pl.col("variant").is_in(models)).drop_nulls("share")
    points = [
        {
            "kind": of_kinds.index(row["kind"]),
            "model": models.index(row["variant"]),
            "what": row["choice"],
            **{name: row[name] for name in ("task_type", "bytes", "steps")},
            "share": rounded([row["share"]])[0],
            "low": rounded([row["share_low"]])[0],
            "high": rounded([row["share_high"]])[0],
            "verdict": row["verdict"],
            "beside": _beside(row, 100, "{:+.1f}", " points"),
        }
        for row in table.iter_rows(named=True)
    ]
    return points if table["steps"].sum() else []


def _floats(found: Found, models: list[str], of_kinds: list[str]) -> list[dict[str, Any]]:
    """By how much the first coordinates of each kind's most trained model score more, in float32, than the best without training."""
    shown = largest(found.summary.models, set(found.domains["variant"]))
    table = sides_of(found.domains).filter(pl.col("variant").is_in([name for name in shown if name in models]))
    return [
        {
            "kind": of_kinds.index(row["kind"]),
            "model": models.index(row["variant"]),
            **{name: row[name] for name in ("task_type", "task", "dim", "steps", "verdict")},
            "value": rounded([row["difference"]])[0],
            "low": rounded([row["low"]])[0],
            "high": rounded([row["high"]])[0],
            "beside": _beside(row, 1, "{:+.4f}", ""),
        }
        for row in table.iter_rows(named=True)
    ]


def _beside(row: dict[str, Any], times: float, form: str, unit: str) -> str:
    """`+1.2 points (+0.4 to +2.0), better than base`: a model beside the best without training, its difference `times` so much."""
    if row["difference"] is None:
        return "not compared"
    ends = between(row["low"], row["high"], form, times)
    said = {"better": "better than", "worse": "worse than", "same": "the same as", "unclear": "not told apart from"}
    value = form.format(times * row["difference"])
    return f"{value}{unit}{f' ({ends})' if ends else ''}, {said[row['verdict']]} {row['free']}"


def _differences(
    differences: pl.DataFrame, pairs: list[tuple[Any, ...]], group_place: dict[tuple[str, str], int]
) -> dict[str, Any]:
    keys = differences.select("question", "first", "second").iter_rows()
    return {
        "pair": places(keys, pairs),
        "group": [group_place[key] for key in zip(differences["task_type"], differences["task"], strict=True)],
        "dim": differences["dim"].to_list(),
        "value": rounded(differences["difference"]),
        "low": rounded(differences["low"]),
        "high": rounded(differences["high"]),
        "p_corrected": rounded(differences["p_corrected"]),
        "verdict": places(differences["verdict"], VERDICTS),
    }


def _searches(searches: pl.DataFrame, models: list[str]) -> dict[str, Any]:
    """Searches in stages and searches without a short list, as means over seeds."""
    shown = searches.filter(pl.col("variant").is_in(models))
    metrics = dict(zip(shown["task"], shown["metric"], strict=True))
    tasks = list(metrics)
    return {
        "model": places(shown["variant"], models),
        "task": places(shown["task"], tasks),
        "search": shown["search"].to_list(),
        "staged": shown["staged"].to_list(),
        **{name: rounded(shown[name]) for name in ("multiply_adds", "bytes_read", "bytes_in_memory", "score")},
        "tasks": tasks,
        "metrics": [metric_name(metric or "score") for metric in metrics.values()],
    }


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
