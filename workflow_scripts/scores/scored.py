"""What a score is: a codec or a search, its main score, the values that it is the mean of, and all of mteb's where it has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from workflow_scripts.codecs import Codec
from workflow_scripts.evaluation.plain_tasks import Part
from workflow_scripts.search_grid import Search

Values = dict[Part, dict[str, float]]  # per subset and split: unit (query, experiment) -> value of the main metric


class Outcomes(NamedTuple):
    """Right or wrong, a bit each: `bits` `(experiments, bytes)`, as numpy.packbits packs the `texts` test texts; `overlap`
    as in the split."""

    bits: np.ndarray[Any, np.dtype[np.uint8]]
    texts: int
    overlap: float


class MtebScores(NamedTuple):
    """What mteb reports of a task: its scores per subset and split, and the seconds that they took."""

    of_parts: dict[Part, dict[str, Any]]
    seconds: float

    def main_score(self) -> float:
        """The mean over subsets and splits, as mteb takes it."""
        return float(np.mean([scores["main_score"] for scores in self.of_parts.values()]))


@dataclass(frozen=True)
class Scored:
    """One codec's score on a task. `result` has all of mteb's metrics: for float32 prefixes, mteb's own compression, and
    every codec of a task that is neither retrieval nor classification; None otherwise. `outcomes`: per part, each test text's by experiment, where the
    score is their mean. `agreement`: per further metric, the values of how a ranking agrees with that at full width."""

    codec: Codec
    score: float
    values: Values
    result: MtebScores | None = None
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
