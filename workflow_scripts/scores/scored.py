"""What a score is: a codec or a search, its main score, the values that it is the mean of, and mteb's result where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

from mteb.results import TaskResult

from workflow_scripts.codecs import Codec
from workflow_scripts.evaluation.task_files import Part
from workflow_scripts.scores.classification import Outcomes
from workflow_scripts.search_grid import Search

Values = dict[Part, dict[str, float]]  # per subset and split: unit (query, experiment) -> value of the main metric


@dataclass(frozen=True)
class Scored:
    """One codec's score on a task. `result` has all of mteb's metrics: for float32 prefixes, mteb's own compression, and
    every codec of a task that is neither retrieval nor classification; None otherwise. `outcomes`: per part, each test text's by experiment, where the
    score is their mean. `agreement`: per further metric, the values of how a ranking agrees with that at full width."""

    codec: Codec
    score: float
    values: Values
    result: TaskResult | None = None
    outcomes: dict[Part, Outcomes] = field(default_factory=dict)
    agreement: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchScored:
    """One search's score on a retrieval task of `documents` documents, with a model of `width` coordinates."""

    search: Search
    score: float
    values: Values
    documents: int
    width: int
