"""Every codec and search of one model on one task, the fast way where there is one.

Takes a loaded task, the store of its texts and the fitted codecs; leaves a `Scored` per codec. Float32 prefixes and
mteb's own compression are scored as mteb does, all metrics, to the last bit; other codecs of a retrieval task by the main
metric alone; whatever is neither plain retrieval nor plain classification by mteb itself, on decoded vectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mteb
import numpy as np
import torch
from mteb.results import TaskResult

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.task_files import QUERY, Part, fresh_state
from workflow_scripts.scores import abstention, classification, codec_search, retrieval, searches
from workflow_scripts.scores.compression import OUTPUT_DTYPES, compress
from workflow_scripts.scores.rankings import rankings
from workflow_scripts.scores.scored import Scored, SearchScored, Values
from workflow_scripts.scores.searches import Search
from workflow_scripts.scores.stock import Lookup, stock_scores
from workflow_scripts.store import Store


def score_all(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    """The score of each codec, in any order. Raises InputError, one line, where the input does not fit."""
    if classification.is_plain(task):
        yield from _score_classification(task, store, fitted, codecs)
    elif retrieval.is_plain(task):
        yield from _score_retrieval(task, store, fitted, codecs)
    else:
        for codec in codecs:
            fresh_state(task)
            result, values = stock_scores(task, lookup(store, fitted, codec), codec.dim)
            yield Scored(codec, result.get_score(), values, result)


def score_searches(task: Any, store: Store, fitted: Fitted, wanted: Sequence[Search]) -> list[SearchScored]:
    """The score of each search; none where the task is not retrieval by mteb's own full search. Over several subsets or
    splits: means."""
    if not wanted or not retrieval.is_plain(task):
        return []
    splits = retrieval.gather(task, store)
    found = [searches.measure(task, split, store, fitted, wanted) for split in splits]
    documents = round(sum(len(split.documents) for split in splits) / len(splits))
    return [
        SearchScored(
            one,
            sum(of_split[i][0] for of_split in found) / len(found),
            {s.part: _by_unit(s.query_ids, of_split[i][1]) for s, of_split in zip(splits, found, strict=True)},
            documents,
            store.width,
        )
        for i, one in enumerate(wanted)
    ]


def lookup(store: Store, fitted: Fitted, codec: Codec) -> Lookup:
    """What mteb's `encode()` would return for texts of a prompt type: decoded vectors, or queries as they are compared."""

    def vectors_of(texts: Sequence[str], prompt_type: str) -> Matrix | torch.Tensor:
        vectors = np.asarray(store.vectors[store.rows_of(texts, prompt_type)], dtype=np.float32)
        if codec.precision in OUTPUT_DTYPES:
            return compress(codec.precision, torch.from_numpy(vectors[:, : codec.dim]))
        return (fitted.query if prompt_type == QUERY else fitted.stored)(codec, vectors)

    return vectors_of


def _compressed(codec: Codec, vectors: Matrix) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As a classifier sees mteb's compressed numbers: scikit-learn takes a torch tensor, which they are, as float64."""
    compressed = compress(codec.precision, torch.from_numpy(vectors[:, : codec.dim]))
    doubles: np.ndarray[Any, np.dtype[np.float64]] = compressed.double().numpy()
    return doubles


def _score_classification(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    metric = task.metadata.main_score
    splits = classification.gather(task, store)
    for codec in codecs:
        started = time.monotonic()
        decode: Callable[[Codec, Matrix], np.ndarray[Any, Any]] = (
            _compressed if codec.precision in OUTPUT_DTYPES else fitted.stored
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


def _score_retrieval(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    splits = retrieval.gather(task, store)
    whole: dict[str, list[Codec]] = {}  # those that mteb scores itself, by precision
    for codec in codecs:
        if (codec.transform, codec.precision) == ("prefix", "float32") or codec.precision in OUTPUT_DTYPES:
            whole.setdefault(codec.precision, []).append(codec)
    for precision, of_precision in whole.items():
        yield from _score_as_mteb(task, store, splits, precision, of_precision)
    others = [codec for codec in codecs if codec not in whole.get(codec.precision, [])]
    if not others:
        return
    metric = task.metadata.main_score
    depth = searches.depth_of(metric) + int(task.ignore_identical_ids)
    found = [codec_search.search(split, store, fitted, others, depth) for split in splits]
    for codec in others:
        scores, values = [], {}
        for split, best in zip(splits, found, strict=True):
            ranks = retrieval.ranks_in(split, best[codec.name].sorted()[1])
            of_split, per_query = retrieval.score(task, split, ranks, [metric])
            scores.append(float(of_split[metric]))
            values[split.part] = _by_unit(split.query_ids, per_query[metric])
        yield Scored(codec, sum(scores) / len(scores), values)


def _score_as_mteb(
    task: Any, store: Store, splits: Sequence[retrieval.Split], precision: str, codecs: Sequence[Codec]
) -> Iterator[Scored]:
    """All of mteb's metrics of these codecs, which are prefixes of one matrix."""

    def vectors(rows: retrieval.Integers) -> torch.Tensor:
        stored = torch.from_numpy(np.array(store.vectors[rows], dtype=np.float32))
        return compress(precision, stored) if precision in OUTPUT_DTYPES else stored

    metric = task.metadata.main_score
    started = time.monotonic()
    dimensions = [codec.dim for codec in codecs]
    ranked = [rankings(split, vectors, dimensions) for split in splits]
    shared = (time.monotonic() - started) / len(codecs)
    for codec in codecs:
        started = time.monotonic()
        scores: dict[Part, dict[str, Any]] = {}
        values: Values = {}
        for split, of_split in zip(splits, ranked, strict=True):
            ranking = of_split[codec.dim]
            found, per_query = retrieval.score(task, split, ranking.rank)
            scores[split.part] = found | abstention.nauc(per_query, ranking.confidence)
            values[split.part] = _by_unit(split.query_ids, per_query[metric])
        result = _task_result(task, scores, shared + time.monotonic() - started)
        yield Scored(codec, result.get_score(), values, result)


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
