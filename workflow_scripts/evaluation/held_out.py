"""The part of a task that a user's own vectors are fitted on, and that is not searched: documents of codecs, queries of adaptors.

Takes a plain task; leaves the texts to fit on, and the task without them. A model's codecs are fitted on training texts;
vectors whose model is not here have only the task's own. Documents are drawn among those that no query is judged to need, so
that no answer leaves the corpus; what is fitted on is never ranked, as an index is fitted on a sample before the rest
arrives. Every model of the study searches the same remaining documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_pairs import read_pairs
from workflow_scripts.evaluation.plain_tasks import DOCUMENT, TRAIN, PlainTask, RetrievalTask, load_plain

LARGEST_SHARE = 4  # at most one document in so many is held out


class HeldOut(NamedTuple):
    """The task without what is held out, the texts to fit on, their prompt type, and the log's line about them."""

    task: PlainTask
    texts: list[str]
    prompt_type: str
    words: str


def load_for_own_vectors(folder: str | Path) -> PlainTask:
    """The task in `folder`. Raises InputError for one that own vectors are not read for."""
    task = load_plain(folder)
    if task is None:
        raise InputError(
            f"{Path(folder).name}: mteb scores this task in a way of its own; own vectors are read for retrieval that searches all documents, and for classification"
        )
    if len(task.parts) != 1:
        raise InputError(f"{task.name}: {len(task.parts)} subsets and splits; own vectors are read for a task of one")
    return task


def hold_out(task: PlainTask, wanted: int, seed: int) -> HeldOut:
    """Take `wanted` documents (at most a quarter) out of a retrieval task's corpus; of a classification task nothing leaves:
    its training rows are not scored, and `wanted` of them are fitted on. The task has one part.

    Raises InputError where every document is judged relevant.
    """
    rng = np.random.default_rng(seed)
    if not isinstance(task, RetrievalTask):
        texts = task.parts[0].train_texts()
        drawn = np.sort(rng.permutation(len(texts))[:wanted])
        words = f"fitted on {len(drawn):,} of {len(texts):,} training rows"
        return HeldOut(task, [texts[i] for i in drawn], TRAIN, words)
    (collection,) = task.parts
    ids = collection.document_ids()
    relevant = {document for scores in collection.judged.values() for document, score in scores.items() if score > 0}
    free = np.array([i for i, identifier in enumerate(ids) if identifier not in relevant], dtype=np.int64)
    drawn = np.sort(rng.permutation(free)[: min(wanted, len(ids) // LARGEST_SHARE)])
    if len(drawn) < 2:
        raise InputError(
            f"{task.name}: {len(drawn)} of {len(ids)} documents can be held out to fit on; expected 2 that no query is judged to need"
        )
    texts = collection.texts_at(drawn)
    words = f"fitted on {len(drawn):,} of {len(ids):,} documents, which are not searched"
    return HeldOut(replace(task, parts=(collection.without_documents(drawn),)), texts, DOCUMENT, words)


def leave_out_queries(task: RetrievalTask, files: Sequence[Path]) -> tuple[RetrievalTask, str]:
    """The task, of one part, without the queries that these files of pairs name; and the log's line. Raises
    InputError where none is left, or a query has judgements as well."""
    (collection,) = task.parts
    queries, documents = collection.query_ids, set(collection.document_ids())
    named = {pair.query for path in files for pair in read_pairs(path, set(queries), documents, collection.judged)}
    kept = [place for place, identifier in enumerate(queries) if identifier not in named]
    if not kept:
        raise InputError(f"{files[0]}: an adaptor learns from all {len(queries)} queries, so none is left to score")
    words = f"{len(queries) - len(kept):,} of {len(queries):,} queries are in pairs, and not searched"
    return replace(task, parts=(collection.with_queries(kept),)), words
