"""The answer of a study, typed: what summary.json holds, for the report, for its script and for whoever reads it.

Takes what the room's modules found; leaves one `Answer`. Every number that is not known is null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workflow_scripts.artefact import write_json
from workflow_scripts.command_line import InputError


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amounts(Part):
    """What making a model took: optimiser steps, tokens, seconds, floating-point operations."""

    steps: float | None = None
    tokens: float | None = None
    seconds: float | None = None
    flops: float | None = None


class Cost(Part):
    """A model's cost by itself and with all that it was made from, as means over seeds. `devices`: the kinds of all devices
    that it took, over seeds and ancestors (`cpu`, or a GPU's name); seconds on different ones do not compare."""

    own: Amounts
    total: Amounts
    devices: list[str] = []


class ModelEntry(Part):
    """A model of the study's graph."""

    name: str
    parent: str | None
    reference: str | None
    nested: bool
    rotated: bool
    trained: bool
    adapted: bool = False
    width: int
    steps: int
    seeds: list[int]
    cost: Cost
    pooling: str | None = None
    vectors: bool = False  # the user's own, without a model


class TaskType(Part):
    """What a mean over tasks is over, and over what its intervals hold; of its tasks, those in and out of domain where the means tell them apart.
    `weights`: how much each counts, where they do not all count the same."""

    tasks: list[str]
    weights: dict[str, float] = {}
    metric: str
    chance: float | None
    values: str
    population: str
    units: int
    in_domain: list[str] = []
    out_of_domain: list[str] = []


class Domain(Part):
    """Whether a task is like the training pairs, why, and whether those were cleaned of its texts."""

    in_domain: bool
    why: str
    cleaned: Literal["yes", "held out", "no"]


class StorageAdvice(Part):
    """The fewest bytes per vector that keep a share of a model's own full-width score, with confidence.

    `engine`: what the index takes. `choice`: the codec's or search's name, `words` what it is; None where none keeps
    the share. `kept` is the estimate once the choice, made on the same data, is accounted for; with its interval.
    """

    task_type: str
    variant: str
    engine: str
    share: float
    full_bytes: float
    choice: str | None = None
    words: str = ""
    fitted: str = ""
    bytes: float | None = None
    bytes_read: float | None = None
    kept: float | None = None
    kept_low: float | None = None
    kept_high: float | None = None


class Recommendation(Part):
    """The smallest prefix dimension of a model that keeps a share of its full-width score.

    `dim`: with confidence; `dim_by_estimate`: by the estimate alone; `dim_above_chance`: with confidence, of the score
    above guessing. `kept`, with its interval: the share that `dim` keeps, as measured. None where none does or
    nothing is known.
    """

    variant: str
    task_type: str
    task: str
    share: float
    dim: int | None
    dim_by_estimate: int | None
    dim_above_chance: int | None
    full_width: int
    bytes: float | None
    full_bytes: float
    kept: float | None
    kept_low: float | None
    kept_high: float | None


class Comparison(Part):
    """One pair of models on one task type: the dimensions by verdict, and what either cost, `first` over `second`.

    `detectable`: the difference that 80% of studies like this one would find, at the worst of the dimensions that are
    unclear. `units_needed`, `seeds_needed`: how many units (queries, test texts) or seeds, each if only they grew, would
    let as many studies find a difference of the margin there; None where no number of them would. `caveats`: where the
    verdict does not hold, with the dimensions.
    """

    question: str
    first: str
    second: str
    task_type: str
    better: list[int]
    worse: list[int]
    same: list[int]
    unclear: list[int]
    detectable: float | None
    units_needed: float | None
    seeds_needed: float | None
    caveats: dict[str, list[int]]
    own_steps_ratio: float | None
    own_seconds_ratio: float | None
    total_steps_ratio: float | None
    total_seconds_ratio: float | None


class Area(Part):
    """Area under score over log2(dimension) of one family of codecs, divided by its range."""

    variant: str
    task: str
    task_type: str
    transform: str
    precision: str
    queries: str
    from_dim: int
    to_dim: int
    area: float | None
    low: float | None
    high: float | None


class CostStep(Part):
    """A model on the cost frontier: with confidence a larger area under the curve than any that costs less."""

    variant: str
    task_type: str
    order: str
    unit: str
    cost: float
    from_dim: int
    to_dim: int
    area: float | None
    low: float | None
    high: float | None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None


class Correlation(Part):
    """The rank correlation (Spearman) over a model's codecs, but full width itself, between agreement with the full-width ranking
    (`metric`) and a task's main score (`main`); its interval is over queries."""

    variant: str
    task: str
    metric: str
    main: str
    codecs: int
    spearman: float | None
    low: float | None
    high: float | None


class Missing(Part):
    """A score that the study asks for and that is not there."""

    variant: str
    seed: int
    task: str


class Answer(Part):
    """summary.json. `advised`: of `storage`, what the report's first sentences say of each task type's reference model, in
    any index, and with re-scoring."""

    study: str
    confidence: float
    resamples: int
    margin: float
    models: list[ModelEntry]
    seeds: dict[str, int]
    task_types: dict[str, TaskType]
    domains: dict[str, Domain]
    reference: dict[str, str]
    storage: list[StorageAdvice]
    advised: list[StorageAdvice] = []
    recommendations: list[Recommendation]
    comparisons: list[Comparison]
    areas: list[Area]
    cost_frontier: list[CostStep]
    off_cost_frontier: dict[str, list[str]]
    missing: list[Missing]
    notes: list[str]
    agreement: list[Correlation] = []

    def model(self, name: str) -> ModelEntry | None:
        return next((model for model in self.models if model.name == name), None)


def write_answer(path: Path, answer: Answer) -> None:
    write_json(path, answer.model_dump(mode="json"))


def read_answer(path: Path) -> Answer:
    """Raises InputError, one line, for a file that is not such an answer."""
    try:
        return Answer.model_validate_json(path.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the JSON"
        raise InputError(f"{path}: {where}: {first['msg']}; delete it and run again") from None
