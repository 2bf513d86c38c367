"""The report's sentences: the first answer of each task type, what follows from it, and what its intervals cover.

Takes the answer and the curves; leaves `Markup` in which everything from data is escaped.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from workflow_scripts.curves.describe import Names
from workflow_scripts.curves.formats import (
    between,
    byte_count,
    kept,
    listed,
    metric_name,
    number,
    percent,
    storage,
)
from workflow_scripts.curves.indexes import ANY, RESCORING
from workflow_scripts.curves.schemas import CLASSIFICATION, MEAN, is_prefix
from workflow_scripts.curves.summary import Answer, StorageAdvice

# What the answer asks of a codec, and what it settles for where the data cannot promise that.
WANTED = (0.98, 0.95, 0.90)


# What stands beside mteb's compression, whose int8 takes its ranges from each call of the encoder, and its binary 0 or 1.
OWN_WAY = {
    "int8": "with the ranges of training texts",
    "binary": "with the signs as +1 and -1",
    "float8": "compared in float32",
}


def first_sentence(answer: Answer, curves: pl.DataFrame, task_type: str, names: Names) -> Markup:
    """What to store instead of the full width of the model that the study starts from, and what that keeps."""
    title = Markup("<b>{}.</b> ").format(task_type)
    variant = answer.reference.get(task_type)
    full = full_width(curves, task_type, variant)
    if variant is None or full is None:
        return title + "No score of a fetched model's full width is known, so nothing can be said of smaller vectors."
    entry = answer.task_types[task_type]
    metric = metric_name(entry.metric)
    if full["score"] is None or full["score"] <= (entry.chance or 0.0):
        guessing = f", no better than guessing ({entry.chance:.3f})" if entry.chance else ""
        return title + Markup("At its full width {} has {} {}{}: nothing can be said of smaller vectors.").format(
            names.first(variant), metric, number(full["score"], 3), guessing
        )
    smaller = curves.filter(
        (pl.col("task") == MEAN)
        & (pl.col("task_type") == task_type)
        & (pl.col("variant") == variant)
        & (pl.col("bytes") < full["bytes"])
    )
    if smaller.is_empty():
        return title + "Nothing smaller than the full width was measured, so nothing is known of smaller vectors."
    chosen = advised(answer, task_type, variant, ANY)
    if chosen is None or chosen.bytes is None:
        return title + _why_not(answer, smaller, full, metric, names.first(variant))
    return title + Markup(
        "Store <b>{} bytes</b> a vector instead of {}: {} of {} keep <b>{}</b>{} of the {} of its full width."
    ).format(
        byte_count(chosen.bytes),
        byte_count(chosen.full_bytes),
        chosen.words,
        names.first(variant),
        kept(chosen.kept),
        interval(chosen),
        metric,
    )


def _what_fitted(chosen: StorageAdvice, names: Names) -> str:
    """What the codec's axes, ranges and the like come from."""
    if names.by_name[chosen.variant].vectors:
        texts = "Training rows" if chosen.task_type in CLASSIFICATION else "Held-out documents"
        fitted = f" {texts} fitted its {chosen.fitted}" if chosen.fitted else " Nothing is fitted for it"
        return f"{fitted}; nothing was trained."
    if chosen.fitted:
        return f" Training texts fitted its {chosen.fitted}; nothing was trained."
    return " It needs no training texts."


def interval(chosen: StorageAdvice) -> str:
    """` (98.9 to 100.3%)`; empty where none is known."""
    ends = between(chosen.kept_low, chosen.kept_high)
    return f" ({ends}%)" if ends else ""


def advised(answer: Answer, task_type: str, variant: str, engine: str) -> StorageAdvice | None:
    """The fewest bytes that keep the largest share of `WANTED` that something smaller than the full width keeps."""
    for wanted in WANTED:
        asked = (task_type, variant, engine, wanted)
        for row in answer.storage:
            smaller = row.bytes is not None and row.bytes < row.full_bytes
            if smaller and (row.task_type, row.variant, row.engine, row.share) == asked:
                return row
    return None


def full_width(curves: pl.DataFrame, task_type: str, variant: str | None) -> dict[str, Any] | None:
    """The point of a model's full width on the mean over a type's tasks."""
    points = prefix_points(curves, task_type, variant)
    return points[max(points)] if points else None


def prefix_points(curves: pl.DataFrame, task_type: str, variant: str | None) -> dict[int, dict[str, Any]]:
    """The points of a model's prefix curve, the mean over the type's tasks, by rising dimension."""
    rows = curves.filter(
        (pl.col("task_type") == task_type)
        & (pl.col("task") == MEAN)
        & is_prefix()
        & (pl.col("variant") == (variant or ""))
    ).sort("dim")
    return {row["dim"]: row for row in rows.iter_rows(named=True)}


def _why_not(answer: Answer, smaller: pl.DataFrame, full: dict[str, Any], metric: str, name: Markup) -> Markup:
    """Why nothing below the full width is recommended: no interval, a loss that is certain, or neither is."""
    if smaller["share_low"].null_count() == smaller.height:
        return Markup("No interval is known for {}, so nothing is recommended.").format(name)
    keep = Markup("<b>Keep all {} bytes</b> of {}: ").format(byte_count(full["bytes"]), name)
    least, sure = percent(WANTED[-1]), percent(answer.confidence)
    if (smaller["share_high"].fill_null(1.0) < WANTED[-1]).all():
        return (
            keep
            + f"with {sure} confidence everything smaller that was measured keeps less than {least} of its {metric}."
        )
    return keep + f"the data cannot tell whether anything smaller keeps {least} of its {metric}."


def more(answer: Answer, task_type: str, names: Names) -> list[Markup]:
    """What stands below the first answer of a task type: what is certain, what was fitted, re-scoring, dimensions."""
    variant = answer.reference.get(task_type)
    if variant is None:
        return []
    said = []
    chosen = advised(answer, task_type, variant, ANY)
    if chosen is not None and chosen.bytes is not None:
        said.append(
            Markup("With {} confidence it keeps at least {}. A million vectors take {} instead of {}.{}").format(
                percent(answer.confidence),
                percent(chosen.share),
                storage(1e6 * chosen.bytes),
                storage(1e6 * chosen.full_bytes),
                _what_fitted(chosen, names),
            )
        )
    staged = advised(answer, task_type, variant, RESCORING)
    fewer = staged is not None and (chosen is None or (staged.bytes or 0) < (chosen.bytes or 0))
    if staged is not None and staged.bytes is not None and fewer:
        said.append(
            Markup("<b>With re-scoring,</b> {} bytes a vector in memory{}: {} keep {}{}.").format(
                byte_count(staged.bytes),
                f", and {storage(staged.bytes_read)} read a query" if staged.bytes_read else "",
                staged.words,
                kept(staged.kept),
                interval(staged),
            )
        )
    floats = advised(answer, task_type, variant, "floats")
    if floats is not None and floats.bytes is not None and (chosen is None or floats.choice != chosen.choice):
        said.append(
            Markup("<b>Where an index takes floats alone,</b> {} bytes: {} keep {}{}.").format(
                byte_count(floats.bytes), floats.words, kept(floats.kept), interval(floats)
            )
        )
    if best := _other_model(answer, task_type, chosen, names):
        said.append(best)
    return said


def compression(curves: pl.DataFrame, task_type: str, variant: str | None) -> list[Markup]:
    """What mteb's way of fitting its own compression costs: beside the same precision fitted on training texts, at full
    width, queries coded alike where that was measured. Nothing where no model is known."""
    if variant is None:
        return []
    of_model = curves.filter(pl.col("task") == MEAN, pl.col("task_type") == task_type, pl.col("variant") == variant)
    said = []
    for row in of_model.filter(pl.col("precision").str.starts_with("mteb_")).sort("dim").iter_rows(named=True):
        if row["dim"] != of_model["dim"].max() or row["share"] is None:
            continue
        precision = row["precision"].removeprefix("mteb_")
        ours = of_model.filter(
            pl.col("precision") == precision, pl.col("transform") == row["transform"], pl.col("dim") == row["dim"]
        ).sort(pl.col("queries") == row["queries"], descending=True)
        if ours.is_empty() or ours["share"][0] is None:
            continue
        best = ours.row(0, named=True)
        otherwise = "" if best["queries"] == row["queries"] else ", queries in float32,"
        said.append(
            Markup("mteb's own {} keeps {}{} in {} bytes; {}{} it is {}{}.").format(
                precision,
                kept(row["share"]),
                _within(row),
                byte_count(row["bytes"]),
                OWN_WAY[precision],
                otherwise,
                kept(best["share"]),
                _within(best),
            )
        )
    return said


def _within(row: dict[str, Any]) -> str:
    known = between(row["share_low"], row["share_high"])
    return f" ({known})" if known else ""


def _other_model(answer: Answer, task_type: str, chosen: StorageAdvice | None, names: Names) -> Markup | None:
    """The model whose own full width is kept in the fewest bytes, of several the one that keeps the most for certain, where
    that is not the one that the study starts from. Each is certain by itself alone, which is said."""
    if chosen is None or (size := chosen.bytes) is None:
        return None
    others = [
        row
        for row in answer.storage
        if (row.task_type, row.engine, row.share) == (task_type, ANY, chosen.share) and row.variant != chosen.variant
    ]
    better = [row for row in others if row.bytes is not None and row.bytes < size]
    if not better:
        return None
    least = min(better, key=lambda row: (row.bytes or 0, -(row.kept_low or 0)))
    among = ""
    if len(others) > 1:
        sure = percent(answer.confidence)
        among = f" Each model by itself keeps that with {sure} confidence; the choice among {len(others)} is not corrected for."
    return Markup(
        "<b>Of other models</b> fewer bytes keep as large a share of their own full width: {} of {}, {}, keep {}{}.{}"
    ).format(
        byte_count(least.bytes or 0),
        names.first(least.variant),
        least.words,
        kept(least.kept),
        interval(least),
        among,
    )


def intervals_sentence(answer: Answer, curves: pl.DataFrame) -> Markup:
    """What all intervals of this report are, and what they leave out."""
    known = curves.filter((pl.col("task") == MEAN) & pl.col("score_low").is_not_null())
    types = list(dict.fromkeys(known["task_type"]))
    if not types:
        return Markup("No intervals are known.") if answer.task_types else Markup("")
    resampled = [f"{answer.task_types[task_type].values} ({task_type})" for task_type in types]
    counts = set(answer.seeds.values())
    if not counts:
        made = any(model.trained or model.adapted for model in answer.models)
        why = "no trained model has a score yet" if made else "nothing was trained"
        seeds = f"no training seeds are in them, since {why}"
    elif counts == {1}:
        seeds = "training seeds are not in them, since one was measured"
    elif len(counts) == 1:
        seeds = f"the spread between {min(counts)} training seeds is in them"
    else:
        seeds = "the spread between training seeds is in them where a model has several"
    return Markup(
        "In brackets: {} intervals from a paired bootstrap, {} resamples of the {}, the same for every model; {}; the tasks"
        " count as given."
    ).format(percent(answer.confidence), f"{answer.resamples:,}", listed(resampled), seeds)


def population(answer: Answer, task_type: str) -> str:
    """What an interval of this task type speaks of, in one phrase."""
    entry = answer.task_types[task_type]
    return f"{entry.population}, on {'this task' if len(entry.tasks) == 1 else 'these tasks'}"
