"""Scores through mteb itself, on vectors looked up instead of encoded: the way for every task type, and the
reference that the fast ways are tested against.

Takes a task (loaded, fresh) and a store or another lookup of vectors; leaves mteb's TaskResult and the value of each query or
experiment, or a `Scored`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mteb
import numpy as np
import torch
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.results import TaskResult

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.mteb_tasks import fresh_state, is_retrieval, parts
from workflow_scripts.evaluation.plain_tasks import QUERY, Part
from workflow_scripts.scores.compression import OUTPUT_DTYPES, check_finite, compress
from workflow_scripts.scores.scored import MtebScores, Scored, Values
from workflow_scripts.store import Store

OF_FORM = ("hf_subset", "languages", "mteb_version")  # what a TaskResult says beside scores
Lookup = Callable[[Sequence[str], str], Matrix | torch.Tensor]  # texts, prompt type -> (texts, at least dim)


def score_codec(task: Any, store: Store, fitted: Fitted, codec: Codec) -> Scored:
    """The score of a codec by mteb itself. Raises StoreError, and InputError for numbers that are not finite where mteb does not rank them."""
    fresh_state(task)
    looked_up = lookup(store, fitted, codec)
    if task.metadata.type != "Retrieval":
        looked_up = _all_finite(task, codec, looked_up)
    result, values = stock_scores(task, looked_up, codec.dim)
    found = MtebScores(scores_by_part(task, result), result.evaluation_time or 0.0)
    return Scored(codec, result.get_score(), values, found)


def scores_by_part(task: Any, result: TaskResult) -> dict[Part, dict[str, Any]]:
    """mteb's scores of each part, without what says whose they are."""
    return {
        part: {name: value for name, value in scores.items() if name not in OF_FORM}
        for part in parts(task)
        for scores in result.scores[part.split]
        if scores["hf_subset"] == part.subset
    }


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


def model_meta(name: str, revision: str, dim: int) -> ModelMeta:
    """How mteb calls a model cut to `dim`, which stands in the experiment too, so that no cache takes one dimension's
    score for another's."""
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "embed_dim": dim,
            "experiment_kwargs": {"embed_dim": dim},
            "similarity_fn_name": ScoringFunction.COSINE,
        }
    )


class LookupEncoder(AbsEncoder):
    """An mteb encoder that returns stored vectors, the first `dim` coordinates of each."""

    def __init__(self, lookup: Lookup, dim: int) -> None:
        self.lookup, self.dim = lookup, dim
        self.mteb_model_meta = model_meta("matryoshka-curves/lookup", "none", dim)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,  # noqa: ARG002
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> Matrix | torch.Tensor:
        texts = [text for batch in inputs for text in batch["text"]]
        kind = prompt_type.value if prompt_type is not None else ""
        vectors = self.lookup(texts, kind)[:, : self.dim]
        return vectors.contiguous() if isinstance(vectors, torch.Tensor) else np.ascontiguousarray(vectors)


def stock_scores(task: Any, lookup: Lookup, dim: int) -> tuple[TaskResult, Values]:
    """Evaluate `task` with mteb on vectors cut to `dim`; also the main metric's value per query or experiment."""
    encoder: Any = LookupEncoder(lookup, dim)
    per_query: list[dict[str, dict[str, float]]] = []
    if is_retrieval(task):
        original = task.task_specific_scores

        def keep(scores: dict[str, dict[str, float]], *rest: Any, **named: Any) -> Any:
            per_query.append(scores)
            return original(scores, *rest, **named)

        task.task_specific_scores = keep
    try:
        result = mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
    finally:
        if is_retrieval(task):
            del task.task_specific_scores
    metric = task.metadata.main_score
    values: Values = {}
    for i, part in enumerate(parts(task)):
        scores = next(s for s in result.scores[part.split] if s["hf_subset"] == part.subset)
        if is_retrieval(task) and (key := trec_name(metric)):
            values[part] = {query: found[key] for query, found in per_query[i].items()}
        elif "scores_per_experiment" in scores:
            values[part] = {str(n): found[metric] for n, found in enumerate(scores["scores_per_experiment"])}
        elif metric == "v_measure" and "v_measures" in scores:
            measures = scores["v_measures"]  # a list, or one per level of labels
            levels = measures.values() if isinstance(measures, dict) else [measures]
            flat = [value for level in levels for value in level]
            values[part] = {str(n): value for n, value in enumerate(flat)}
        else:
            values[part] = {"all": scores["main_score"]}
    return result, values


def trec_name(metric: str) -> str | None:
    """mteb's name of a retrieval metric (`ndcg_at_10`) as trec_eval calls it per query; None for those it lacks."""
    names = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
    kind, _, cut = metric.partition("_at_")
    return f"{names[kind]}_{cut}" if kind in names else None
