"""Every codec and search of one model on one task, the fast way where there is one.

Takes a loaded task, the store of its texts and the fitted codecs; leaves a `Scored` per codec. Float32 prefixes and
mteb's own compression are scored as mteb does, all metrics, to the last bit; other codecs of a retrieval or classification
task by the main metric alone, retrieval also by the agreement with the ranking at full width; whatever is neither plain
retrieval nor plain classification by mteb itself, on decoded vectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import mteb
import numpy as np
import torch
from mteb.results import TaskResult

from workflow_scripts.artefact import log
from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.own_tasks import OVERLAP, is_judged
from workflow_scripts.evaluation.task_files import QUERY, Part, fresh_state
from workflow_scripts.scores import abstention, agreement, classification, codec_search, retrieval, searches
from workflow_scripts.scores.compression import OUTPUT_DTYPES, check_finite, compress, is_of_mteb
from workflow_scripts.scores.rankings import Ranking, Vectors, rankings
from workflow_scripts.scores.scored import Scored, SearchScored, Values
from workflow_scripts.scores.stock import Lookup, stock_scores
from workflow_scripts.search_grid import Search
from workflow_scripts.store import Store


def score_all(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    """The score of each codec, in any order. Raises InputError, one line, where the input does not fit."""
    return (one for one in score_task(task, store, fitted, codecs, []) if isinstance(one, Scored))


def score_task(
    task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec], wanted: Sequence[Search]
) -> Iterator[Scored | SearchScored]:
    """The score of each codec, in any order, then that of each search; of no search where the task is not retrieval by
    mteb's own full search. Raises InputError, one line, where the input does not fit."""
    if classification.is_plain(task):
        yield from _score_classification(task, store, fitted, codecs)
    elif retrieval.is_plain(task):
        yield from _score_retrieval(task, store, fitted, codecs, wanted)
    else:
        for codec in codecs:
            fresh_state(task)
            looked_up = lookup(store, fitted, codec)
            if task.metadata.type != "Retrieval":  # else mteb ranks what is not finite
                looked_up = _all_finite(task, codec, looked_up)
            result, values = stock_scores(task, looked_up, codec.dim)
            yield Scored(codec, result.get_score(), values, result)


def lookup(store: Store, fitted: Fitted, codec: Codec) -> Lookup:
    """What mteb's `encode()` would return for texts of a prompt type: decoded vectors, or queries as they are compared."""

    def vectors_of(texts: Sequence[str], prompt_type: str) -> Matrix | torch.Tensor:
        vectors = np.asarray(store.vectors[store.rows_of(texts, prompt_type)], dtype=np.float32)
        if codec.precision in OUTPUT_DTYPES:
            return compress(codec.precision, torch.from_numpy(vectors[:, : codec.dim]))
        return (fitted.query if prompt_type == QUERY else fitted.stored)(codec, vectors)

    return vectors_of


def _all_finite(task: Any, codec: Codec, looked_up: Lookup) -> Lookup:
    """The lookup, which raises InputError for numbers that are not finite."""

    def vectors_of(texts: Sequence[str], prompt_type: str) -> Matrix | torch.Tensor:
        vectors = looked_up(texts, prompt_type)
        check_finite(task.metadata.name, codec, torch.as_tensor(vectors))
        return vectors

    return vectors_of


def _compressed(task: Any, codec: Codec, vectors: Matrix) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As a classifier sees mteb's compressed numbers: scikit-learn takes a torch tensor, which they are, as float64.
    Raises InputError for numbers that are not finite."""
    compressed = compress(codec.precision, torch.from_numpy(vectors[:, : codec.dim]))
    check_finite(task.metadata.name, codec, compressed)
    doubles: np.ndarray[Any, np.dtype[np.float64]] = compressed.double().numpy()
    return doubles


def _score_classification(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    metric = task.metadata.main_score
    splits = classification.gather(task, store)
    for codec in filter(is_of_mteb, codecs):
        started = time.monotonic()
        decode: Callable[[Codec, Matrix], np.ndarray[Any, Any]] = (
            partial(_compressed, task) if codec.precision in OUTPUT_DTYPES else fitted.stored
        )
        scores: dict[Part, dict[str, Any]] = {}
        values: Values = {}
        outcomes: dict[Part, classification.Outcomes] = {}
        for split in splits:
            train, test = (np.ascontiguousarray(decode(codec, vectors)) for vectors in (split.train, split.test))
            found, outcomes[split.part] = classification.score(task, split, train, test)
            scores[split.part] = found
            values[split.part] = {str(n): one[metric] for n, one in enumerate(found["scores_per_experiment"])}
        result = _task_result(task, scores, time.monotonic() - started)
        yield Scored(codec, result.get_score(), values, result, outcomes if metric == "accuracy" else {})
    by_transform: dict[tuple[str, int], list[Codec]] = {}
    for codec in codecs:
        if not is_of_mteb(codec):
            by_transform.setdefault((codec.transform, codec.draw), []).append(codec)
    for group in by_transform.values():
        transformed = [
            [fitted.full_width(group[0], vectors) for vectors in (split.train, split.test)] for split in splits
        ]
        for codec in group:
            values, outcomes = {}, {}
            for split, pair in zip(splits, transformed, strict=True):
                precision = fitted.precision(codec)
                train, test = (
                    np.ascontiguousarray(precision.round_trip(fitted.kept(codec, vectors))) for vectors in pair
                )
                of_split, outcomes[split.part] = classification.main_scores(task, split, train, test)
                values[split.part] = {str(n): value for n, value in enumerate(of_split)}
            score = float(np.mean([np.mean(list(of_split.values())) for of_split in values.values()]))
            yield Scored(codec, score, values, outcomes=outcomes if metric == "accuracy" else {})


def _score_retrieval(
    task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec], wanted: Sequence[Search]
) -> Iterator[Scored | SearchScored]:
    splits = retrieval.gather(task, store)
    whole: dict[str, list[Codec]] = {"float32": []}  # those that mteb scores itself, by precision
    for codec in codecs:
        if is_of_mteb(codec):
            whole.setdefault(codec.precision, []).append(codec)
    references: list[retrieval.Integers] = []
    for precision, of_precision in whole.items():
        started = time.monotonic()
        dimensions = {codec.dim for codec in of_precision} | ({store.width} if precision == "float32" else set())
        ranked = [rankings(split, _vectors(store, precision), sorted(dimensions)) for split in splits]
        references = references or [of_split[store.width].best for of_split in ranked]
        seconds = (time.monotonic() - started) / len(dimensions)
        for codec in of_precision:
            rankings_of = [of_split[codec.dim] for of_split in ranked]
            if is_judged(task) and not all(ranking.is_finite for ranking in rankings_of):
                yield _score_by_mteb(task, store, splits, rankings_of, references, codec)
                continue
            yield _score_as_mteb(task, splits, rankings_of, references, codec, seconds)
    others = [codec for codec in codecs if not is_of_mteb(codec)]
    metric, depth = task.metadata.main_score, agreement.DEPTH + int(task.ignore_identical_ids)
    first = searches.first_stages(task, wanted)
    ranking_all = [*((codec, depth) for codec in others), *first]  # the documents are read once for codecs and searches
    found = [codec_search.search(split, store, fitted, ranking_all) for split in splits]
    for codec in others:
        best = [of_split[codec.name, depth] for of_split in found]
        agreed = _agreement(splits, best, references)
        if not is_judged(task):
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
    task: Any,
    splits: Sequence[retrieval.Split],
    store: Store,
    fitted: Fitted,
    wanted: Sequence[Search],
    found: Sequence[Mapping[str, retrieval.Integers]],
    references: Sequence[retrieval.Integers],
) -> Iterator[SearchScored]:
    """Over several subsets or splits: means."""
    measured = [
        searches.measure(task, split, store, fitted, wanted, of_split, None if is_judged(task) else reference)
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
    task: Any,
    splits: Sequence[retrieval.Split],
    ranked: Sequence[Ranking],
    references: Sequence[retrieval.Integers],
    codec: Codec,
    seconds: float,
) -> Scored:
    """All of mteb's metrics of a codec from its ranking of each split, which took `seconds`."""
    metric = task.metadata.main_score
    started = time.monotonic()
    agreed = _agreement(splits, [ranking.best for ranking in ranked], references)
    if not is_judged(task):
        return _agreed(codec, agreed)
    scores: dict[Part, dict[str, Any]] = {}
    values: Values = {}
    for split, ranking in zip(splits, ranked, strict=True):
        found, per_query = retrieval.score(task, split, ranking.rank)
        scores[split.part] = found | abstention.nauc(per_query, ranking.confidence)
        values[split.part] = _by_unit(split.query_ids, per_query[metric])
    result = _task_result(task, scores, seconds + time.monotonic() - started)
    return Scored(codec, result.get_score(), values, result, agreement=agreed)


def _score_by_mteb(
    task: Any,
    store: Store,
    splits: Sequence[retrieval.Split],
    ranked: Sequence[Ranking],
    references: Sequence[retrieval.Integers],
    codec: Codec,
) -> Scored:
    """By mteb itself: how it ranks similarities that are not numbers follows from its heap and its sorts."""
    log.warning(
        "%s: %s has similarities that are not numbers; mteb ranks such documents by id", task.metadata.name, codec.name
    )
    fresh_state(task)
    result, values = stock_scores(task, lookup(store, Fitted(store.width), codec), codec.dim)
    agreed = _agreement(splits, [ranking.best for ranking in ranked], references)
    return Scored(codec, result.get_score(), values, result, agreement=agreed)


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


def _task_result(task: Any, scores: dict[Part, dict[str, Any]], seconds: float) -> TaskResult:
    """The scores as mteb reports them. Its own `from_task_results` reads the package's metadata anew each time,
    which takes as long as a small task's dimension."""
    languages = task.metadata.hf_subsets_to_langscripts
    by_split: dict[str, list[Any]] = {}
    for part, found in scores.items():
        described = found | {"hf_subset": part.subset, "languages": languages[part.subset]}
        by_split.setdefault(part.split, []).append(described)
    return TaskResult(
        dataset_revision=task.metadata.revision,
        task_name=task.metadata.name,
        mteb_version=mteb.__version__,
        scores=by_split,
        evaluation_time=seconds,
        kg_co2_emissions=None,
    )
