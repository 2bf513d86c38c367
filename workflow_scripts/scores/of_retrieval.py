"""Every codec and search of one model on a retrieval task.

Takes a retrieval task, the store of its texts and the fitted codecs; leaves a `Scored` per codec and a `SearchScored` per search.
Float32 prefixes and mteb's own compression are scored as mteb does, all metrics, to the last bit; other codecs by the
main metric alone; all by the agreement with the ranking at full width as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from workflow_scripts.artefact import log
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.own_tasks import OVERLAP
from workflow_scripts.evaluation.plain_tasks import Part, RetrievalTask
from workflow_scripts.scores import abstention, agreement, codec_search, retrieval, searches
from workflow_scripts.scores.compression import OUTPUT_DTYPES, compress, is_of_mteb
from workflow_scripts.scores.rankings import Ranking, Vectors, rankings
from workflow_scripts.scores.scored import MtebScores, Scored, SearchScored, Values
from workflow_scripts.search_grid import Search
from workflow_scripts.store import Store


def score_codecs_and_searches(
    task: RetrievalTask, store: Store, fitted: Fitted, codecs: Sequence[Codec], wanted: Sequence[Search]
) -> Iterator[Scored | SearchScored]:
    """The score of each codec, in any order, then that of each search. Raises StoreError and InputError."""
    splits = retrieval.gather(task, store)
    whole: dict[str, list[Codec]] = {"float32": []}  # those that mteb scores itself, by precision
    for codec in codecs:
        if is_of_mteb(codec):
            whole.setdefault(codec.precision, []).append(codec)
    references: list[retrieval.Integers] = []
    not_finite: list[tuple[Codec, list[Ranking]]] = []
    for precision, of_precision in whole.items():
        started = time.monotonic()
        dimensions = {codec.dim for codec in of_precision} | ({store.width} if precision == "float32" else set())
        ranked = [rankings(split, _vectors(store, precision), sorted(dimensions)) for split in splits]
        references = references or [of_split[store.width].best for of_split in ranked]
        seconds = (time.monotonic() - started) / len(dimensions)
        for codec in of_precision:
            rankings_of = [of_split[codec.dim] for of_split in ranked]
            if task.judged and not all(ranking.is_finite for ranking in rankings_of):
                not_finite.append((codec, rankings_of))
                continue
            yield _score_as_mteb(task, splits, rankings_of, references, codec, seconds)
    if not_finite:
        yield from _score_by_mteb(task, store, splits, references, not_finite)
    others = [codec for codec in codecs if not is_of_mteb(codec)]
    metric, depth = task.main_score, agreement.DEPTH + int(task.ignore_identical_ids)
    first = searches.first_stages(task, wanted)
    ranking_all = [*((codec, depth) for codec in others), *first]  # the documents are read once for codecs and searches
    found = [codec_search.search(split, store, fitted, ranking_all) for split in splits]
    for codec in others:
        best = [of_split[codec.name, depth] for of_split in found]
        agreed = _agreement(splits, best, references)
        if not task.judged:
            yield _agreed(codec, agreed)
            continue
        scores, values = [], {}
        for split, documents in zip(splits, best, strict=True):
            of_split, per_query = retrieval.score(task, split, retrieval.ranks_in(split, documents), [metric])
            scores.append(float(of_split[metric]))
            values[split.part] = _by_unit(split.query_ids, per_query[metric])
        yield Scored(codec, sum(scores) / len(scores), values, agreement=agreed)

    if wanted:
        of_first = [{codec.name: of_split[codec.name, kept] for codec, kept in first} for of_split in found]
        yield from _score_searches(task, splits, store, fitted, wanted, of_first, references)


def _score_searches(
    task: RetrievalTask,
    splits: Sequence[retrieval.Split],
    store: Store,
    fitted: Fitted,
    wanted: Sequence[Search],
    found: Sequence[Mapping[str, retrieval.Integers]],
    references: Sequence[retrieval.Integers],
) -> Iterator[SearchScored]:
    """Over several subsets or splits: means."""
    measured = [
        searches.measure(task, split, store, fitted, wanted, of_split, None if task.judged else reference)
        for split, of_split, reference in zip(splits, found, references, strict=True)
    ]
    documents = round(sum(len(split.documents) for split in splits) / len(splits))
    for i, one in enumerate(wanted):
        yield SearchScored(
            one,
            sum(of_split[i][0] for of_split in measured) / len(measured),
            {s.part: _by_unit(s.query_ids, of_split[i][1]) for s, of_split in zip(splits, measured, strict=True)},
            documents,
            store.width,
        )


def _vectors(store: Store, precision: str) -> Vectors:
    """What mteb compares of rows of the store, uncompressed or compressed by itself."""

    def vectors(rows: retrieval.Integers) -> torch.Tensor:
        stored = torch.from_numpy(np.asarray(store.vectors[rows], dtype=np.float32))
        return compress(precision, stored) if precision in OUTPUT_DTYPES else stored

    return vectors


def _score_as_mteb(
    task: RetrievalTask,
    splits: Sequence[retrieval.Split],
    ranked: Sequence[Ranking],
    references: Sequence[retrieval.Integers],
    codec: Codec,
    seconds: float,
) -> Scored:
    """All of mteb's metrics of a codec from its ranking of each split, which took `seconds`."""
    metric = task.main_score
    started = time.monotonic()
    agreed = _agreement(splits, [ranking.best for ranking in ranked], references)
    if not task.judged:
        return _agreed(codec, agreed)
    scores: dict[Part, dict[str, Any]] = {}
    values: Values = {}
    for split, ranking in zip(splits, ranked, strict=True):
        found, per_query = retrieval.score(task, split, ranking.rank)
        scores[split.part] = found | abstention.nauc(per_query, ranking.confidence)
        values[split.part] = _by_unit(split.query_ids, per_query[metric])
    result = MtebScores(scores, seconds + time.monotonic() - started)
    return Scored(codec, result.main_score(), values, result, agreement=agreed)


def _score_by_mteb(
    task: RetrievalTask,
    store: Store,
    splits: Sequence[retrieval.Split],
    references: Sequence[retrieval.Integers],
    ranked: Sequence[tuple[Codec, list[Ranking]]],
) -> Iterator[Scored]:
    """By mteb itself: how it ranks similarities that are not numbers follows from its heap and its sorts."""
    from workflow_scripts.evaluation.task_files import as_mteb
    from workflow_scripts.scores.stock import score_codec

    loaded = as_mteb(task)
    for codec, rankings_of in ranked:
        log.warning(
            "%s: %s has similarities that are not numbers; mteb ranks such documents by id", task.name, codec.name
        )
        scored = score_codec(loaded, store, Fitted(store.width), codec)
        yield replace(scored, agreement=_agreement(splits, [ranking.best for ranking in rankings_of], references))


def _agreement(
    splits: Sequence[retrieval.Split], best: Sequence[retrieval.Integers], references: Sequence[retrieval.Integers]
) -> dict[str, Values]:
    """Per metric of agreement, each query's value."""
    of_splits = {
        split.part: agreement.agreement(split, documents, reference)
        for split, documents, reference in zip(splits, best, references, strict=True)
    }
    return {
        metric: {split.part: _by_unit(split.query_ids, of_splits[split.part][metric]) for split in splits}
        for metric in agreement.METRICS
    }


def _agreed(codec: Codec, agreed: dict[str, Values]) -> Scored:
    """The score of a codec on a task without judgements: the overlap of the best ten."""
    values = agreed[OVERLAP]
    means = [sum(of_part.values()) / len(of_part) for of_part in values.values()]
    others = {metric: found for metric, found in agreed.items() if metric != OVERLAP}
    return Scored(codec, sum(means) / len(means), values, agreement=others)


def _by_unit(units: Sequence[str], values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return dict(zip(units, values.tolist(), strict=True))
