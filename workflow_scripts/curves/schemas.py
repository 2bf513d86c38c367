"""What several modules of this room share: names of means, verdicts, codecs and searches, and the columns of its tables.

Takes nothing; leaves names and types, so that no module spells one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

# What stands for a task in a row about several: all of a type, those like the training pairs, the others.
MEAN, MEAN_INSIDE, MEAN_OUTSIDE = "mean", "mean in domain", "mean out of domain"
MEANS = (MEAN, MEAN_INSIDE, MEAN_OUTSIDE)
VERDICTS = ("better", "worse", "same", "unclear")
# Task types whose score is a mean over experiments, each with other training examples; the others': over queries.
CLASSIFICATION = ("Classification", "MultilabelClassification")
COSTS = ("steps", "tokens", "seconds", "flops")


class Family(NamedTuple):
    """The codecs that differ in their number of dimensions alone: one curve of a model."""

    transform: str
    precision: str
    queries: str = "float32"

    def __str__(self) -> str:
        coded = ", queries coded" if self.queries == "coded" else ""
        return f"{self.transform}, {self.precision}{coded}"


PREFIX = Family("prefix", "float32")


@dataclass(frozen=True, order=True)
class Codec:
    """One way to store vectors: transform x dim x precision, by its unique name; `bytes` per vector, all included."""

    transform: str
    precision: str
    queries: str
    dim: int
    name: str
    bytes: float

    @property
    def family(self) -> Family:
        return Family(self.transform, self.precision, self.queries)


@dataclass(frozen=True)
class Search:
    """A search in stages of (codec, candidates), re-scored by another codec; bytes per vector and per query."""

    name: str
    stages: tuple[tuple[str, int], ...]
    rescore: str
    bytes_in_memory: float
    bytes_read: float
    multiply_adds: float


CURVES_SCHEMA: dict[str, Any] = {
    "variant": pl.String,
    "task": pl.String,
    "task_type": pl.String,
    "codec": pl.String,
    "transform": pl.String,
    "dim": pl.Int64,
    "precision": pl.String,
    "queries": pl.String,
    "bytes": pl.Float64,
    "metric": pl.String,
    "seeds": pl.Int64,
    "tasks": pl.Int64,
    "units": pl.Int64,
    "score": pl.Float64,
    "score_low": pl.Float64,
    "score_high": pl.Float64,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
    "few_units": pl.Boolean,
    "share_above_chance": pl.Float64,
    "share_above_chance_low": pl.Float64,
    "share_above_chance_high": pl.Float64,
}
# A paired difference with its interval, its p-value as it is and corrected, and what that allows one to say.
VERDICT_COLUMNS: dict[str, Any] = {
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_corrected": pl.Float64,
    "verdict": pl.String,
}
DIFFERENCES_SCHEMA: dict[str, Any] = {
    "question": pl.String,
    "first": pl.String,
    "second": pl.String,
    "task": pl.String,
    "task_type": pl.String,
    "dim": pl.Int64,
    **VERDICT_COLUMNS,
    "detectable": pl.Float64,
    "units_needed": pl.Float64,
    "seeds_needed": pl.Float64,
    "caveats": pl.List(pl.String),
}


# What the best choice within a number of bytes is: `scope` a model's name, or ALL_MODELS; shares are `of` the model's own
# full width or of the reference's, the fetched model with the highest score.
ALL_MODELS = "all models"
OWN, REFERENCE = "own full width", "reference"
FRONTIER_SCHEMA: dict[str, Any] = {
    "task_type": pl.String,
    "scope": pl.String,
    "of": pl.String,
    "engine": pl.String,
    "resource": pl.String,
    "bytes": pl.Float64,
    "variant": pl.String,
    "choice": pl.String,
    "words": pl.String,
    "transform": pl.String,
    "dim": pl.Int64,
    "precision": pl.String,
    "queries": pl.String,
    "bytes_in_memory": pl.Float64,
    "bytes_read": pl.Float64,
    "full_bytes": pl.Float64,
    "score": pl.Float64,
    "share_measured": pl.Float64,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
    "seconds": pl.Float64,
    "flops": pl.Float64,
}

# The best of each model within a number of bytes, as a share of the reference's full width, by training steps (parents'
# included); and of what is trained the paired difference to the best without training, `free`, corrected for the choice of
# both, with its verdict corrected for all models and numbers of bytes of the task or mean.
BUDGET_SCHEMA: dict[str, Any] = {
    "task_type": pl.String,
    "task": pl.String,
    "bytes": pl.Float64,
    "kind": pl.String,
    "variant": pl.String,
    "steps": pl.Int64,
    "seeds": pl.Int64,
    "choice": pl.String,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
    "free": pl.String,
    "free_choice": pl.String,
    **VERDICT_COLUMNS,
}

# At each number of first coordinates in float32, by how much a model with training scores more than the best without, `free`:
# columns as above, differences of scores.
DOMAINS_SCHEMA: dict[str, Any] = {
    "task_type": pl.String,
    "task": pl.String,
    "dim": pl.Int64,
    "kind": pl.String,
    "variant": pl.String,
    "steps": pl.Int64,
    "seeds": pl.Int64,
    "free": pl.String,
    **VERDICT_COLUMNS,
}


def is_prefix() -> pl.Expr:
    """The rows of a table of codecs that keep the first coordinates in float32: the plain curve of dimensions."""
    return (
        (pl.col("transform") == PREFIX.transform)
        & (pl.col("precision") == PREFIX.precision)
        & (pl.col("queries") == PREFIX.queries)
    )


def rising(frontier: pl.DataFrame) -> pl.DataFrame:
    """The points of one frontier as it is drawn, by rising bytes: without those that, once the choice is accounted for,
    keep less than a smaller one."""
    known = frontier.drop_nulls("share").sort("bytes")
    return known.filter(pl.col("share") >= pl.col("share").cum_max())


def number(value: float) -> float | None:
    """A plain float, or None where there is none; 12 digits, so that the last bit of a sum does not matter."""
    finite = value == value and abs(value) != float("inf")
    return float(f"{value:.12g}") if finite else None
