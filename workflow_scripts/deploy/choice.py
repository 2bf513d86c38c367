"""What is exported: a codec or a search of one model, and what it is expected to keep.

Takes what the report recommends (`summary.json`), or a choice that the study names; leaves the stages, and the expected
share with its interval from the tables of the room `curves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from workflow_scripts.artefact import read_json
from workflow_scripts.codecs import MTEB_BITS, Codec, parse_search
from workflow_scripts.command_line import InputError, users_file
from workflow_scripts.search_grid import Search

ANY, RESCORING = "any codec", "any codec, then re-scoring"


class Share(NamedTuple):
    """The share of the full width's score that is expected, and the interval where one is known."""

    kept: float | None
    low: float | None
    high: float | None
    confidence: float
    source: str


class Choice(NamedTuple):
    """A codec or search by name, of one model, for one task type."""

    name: str
    variant: str
    task_type: str
    share: Share
    words: str


def advised(summary: Path, task_type: str, rescored: bool) -> Choice:
    """What the report recommends for a task type. Raises InputError where it recommends nothing smaller."""
    answer = read_json(summary)
    engine = RESCORING if rescored else ANY
    for row in answer["advised"]:
        if row["task_type"] == task_type and row["engine"] == engine and row["choice"]:
            share = Share(row["kept"], row["kept_low"], row["kept_high"], answer["confidence"], "summary.json")
            return Choice(row["choice"], row["variant"], task_type, share, row["words"])
    with_searches = ", with re-scoring" * rescored
    raise InputError(
        f"{summary}: the report recommends nothing smaller than the full width for {task_type}{with_searches}; "
        "name what to export in `deploy: bundles:` of the study"
    )


def named(curves: Path, stages: Sequence[tuple[Codec, int]], final: Codec, variant: str, task_type: str) -> Choice:
    """A choice of the study's own, with what the curves' tables say of it. Nothing is corrected for: it was not chosen on
    the data by this study."""
    name = Search(tuple(stages), final).name
    # the curves' codecs are means of draws
    of_draws = name if stages else name.replace(f"random.{final.draw}-", "random-")
    confidence = read_json(curves.with_name("summary.json"))["confidence"]
    with users_file(f"{curves}: not readable as the curves' table"):
        rows = pl.read_parquet(curves).filter(
            (pl.col("variant") == variant)
            & (pl.col("task_type") == task_type)
            & (pl.col("task") == "mean")
            & (pl.col("codec") == of_draws)
        )
    if rows.height:
        row = rows.row(0, named=True)
        share = Share(row["share"], row["share_low"], row["share_high"], confidence, "curves.parquet")
        return Choice(name, variant, task_type, share, "")
    table = pl.read_parquet(curves.with_name("frontier.parquet")).filter(
        (pl.col("variant") == variant)
        & (pl.col("task_type") == task_type)
        & (pl.col("choice") == of_draws)
        & (pl.col("of") == "own full width")
    )
    if table.height:
        row = table.row(0, named=True)
        measured, low, high = row["share_measured"], row["share_low"], row["share_high"]
        if None not in (low, high):  # the frontier's, which are corrected for having chosen it
            low, high = (end + measured - row["share"] for end in (low, high))
        share = Share(measured, low, high, confidence, "frontier.parquet")
        return Choice(name, variant, task_type, share, row["words"])
    return Choice(name, variant, task_type, Share(None, None, None, confidence, ""), "")


def stages_of(name: str, width: int) -> tuple[list[tuple[Codec, int]], Codec]:
    """The stages of a choice. Raises InputError for mteb's own compression, which no index can hold."""
    found = parse_search(name, width)
    if found is None:
        raise InputError(f"{name!r} has more dimensions than the model, which has {width}")
    for codec in [*(codec for codec, _ in found[0]), found[1]]:
        if codec.precision in MTEB_BITS:
            raise InputError(
                f"{codec.name!r} takes its ranges from each call, which no index can; name another codec in `deploy: bundles:`"
            )
    return found


def score_of(folder: Path, task: str, name: str) -> dict[str, Any]:
    """What the scores room measured: the metric, the score of the choice, and that of the full width in float32."""
    scores = pl.read_parquet(folder / f"{task}.parquet")
    full = (
        scores.filter((pl.col("transform") == "prefix") & (pl.col("precision") == "float32"))
        .sort("dim")
        .row(-1, named=True)
    )
    rows = scores.filter(pl.col("codec") == name)
    if rows.height == 0:
        rows = pl.read_parquet(folder / f"{task}.search.parquet").filter(pl.col("search") == name)
    if rows.height == 0:
        raise InputError(f"{folder / task}: {name!r} was not scored")
    return {"task": task, "metric": full["metric"], "score": rows["score"][0], "full_width": full["score"]}
