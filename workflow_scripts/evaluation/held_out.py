"""The part of a task that a user's own vectors are fitted on, and that is not searched: documents of codecs, queries of adaptors.

Takes a loaded task; leaves the texts to fit on, and the task without them. A model's codecs are fitted on training texts;
vectors whose model is not here have only the task's own. Documents are drawn among those that no query is judged to need, so
that no answer leaves the corpus; what is fitted on is never ranked, as an index is fitted on a sample before the rest
arrives. Every model of the study searches the same remaining documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_pairs import read_pairs
from workflow_scripts.evaluation.task_files import (
    DOCUMENT,
    TRAIN,
    column,
    document_texts,
    is_retrieval,
    parts,
    rows_of_part,
)

LARGEST_SHARE = 4  # at most one document in so many is held out


class HeldOut(NamedTuple):
    """The texts to fit on, their prompt type, and the log's line about them."""

    texts: list[str]
    prompt_type: str
    words: str


def hold_out(task: Any, wanted: int, seed: int) -> HeldOut:
    """Take `wanted` documents (at most a quarter) out of a retrieval task's corpus; of a classification task nothing leaves:
    its training rows are not scored, and `wanted` of them are fitted on.

    Raises InputError for another type of task, or where every document is judged relevant.
    """
    labelled = isinstance(getattr(task, "train_split", None), str)
    if len(parts(task)) != 1 or not (is_retrieval(task) or labelled):
        raise InputError(
            f"{task.metadata.name}: own vectors are read for retrieval and classification, of one subset and split"
        )
    (part,) = parts(task)
    rng = np.random.default_rng(seed)
    rows = rows_of_part(task, part.subset, part.split)
    if not is_retrieval(task):
        texts = column(rows_of_part(task, part.subset, task.train_split), task.input_column_name)
        drawn = np.sort(rng.permutation(len(texts))[:wanted])
        return HeldOut([texts[i] for i in drawn], TRAIN, f"fitted on {len(drawn):,} of {len(texts):,} training rows")
    corpus = rows["corpus"]
    relevant = {
        document for judged in rows["relevant_docs"].values() for document, score in judged.items() if score > 0
    }
    free = np.array(
        [i for i, identifier in enumerate(column(corpus, "id")) if identifier not in relevant], dtype=np.int64
    )
    drawn = np.sort(rng.permutation(free)[: min(wanted, len(corpus) // LARGEST_SHARE)])
    if len(drawn) < 2:
        raise InputError(
            f"{task.metadata.name}: {len(drawn)} of {len(corpus)} documents can be held out to fit on; expected 2 that no query is judged to need"
        )
    kept = np.ones(len(corpus), dtype=bool)
    kept[drawn] = False
    texts = document_texts(corpus.select(drawn))
    rows["corpus"] = corpus.select(np.flatnonzero(kept))
    return HeldOut(texts, DOCUMENT, f"fitted on {len(drawn):,} of {len(corpus):,} documents, which are not searched")


def leave_out_queries(task: Any, files: Sequence[Path]) -> str:
    """Take the queries of a retrieval task that these files of pairs name out of its searches; gives the log's line. Raises
    InputError where none is left, or a query has judgements as well."""
    (part,) = parts(task)
    rows = rows_of_part(task, part.subset, part.split)
    queries, documents = column(rows["queries"], "id"), set(column(rows["corpus"], "id"))
    named = {pair.query for path in files for pair in read_pairs(path, set(queries), documents, rows["relevant_docs"])}
    kept = [place for place, identifier in enumerate(queries) if identifier not in named]
    if not kept:
        raise InputError(f"{files[0]}: an adaptor learns from all {len(queries)} queries, so none is left to score")
    rows["queries"] = rows["queries"].select(kept)
    return f"{len(queries) - len(kept):,} of {len(queries):,} queries are in pairs, and not searched"
