"""Every codec and search of one model on one task, the fast way where there is one.

Takes a task, the store of its texts and the fitted codecs; leaves a `Scored` per codec, and of searches, of retrieval tasks
alone, a `SearchScored`. A task that mteb does not score by the protocol of its base classes is scored by mteb itself, on decoded vectors.
Each way is imported where it is taken: importing torch or mteb takes longer than scoring a small task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.plain_tasks import ClassificationTask, RetrievalTask
from workflow_scripts.scores.scored import Scored, SearchScored
from workflow_scripts.search_grid import Search
from workflow_scripts.store import Store


def score_all(task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    """The score of each codec, in any order. Raises InputError, one line, where the input does not fit."""
    return (one for one in score_task(task, store, fitted, codecs, []) if isinstance(one, Scored))


def score_task(
    task: Any, store: Store, fitted: Fitted, codecs: Sequence[Codec], wanted: Sequence[Search]
) -> Iterator[Scored | SearchScored]:
    """The score of each codec, in any order, then that of each search. `task`: a plain one, or mteb's own object.
    Raises InputError, one line, where the input does not fit."""
    if isinstance(task, ClassificationTask):
        from workflow_scripts.scores import classification

        yield from classification.score_codecs(task, store, fitted, codecs)
    elif isinstance(task, RetrievalTask):
        from workflow_scripts.scores import of_retrieval

        yield from of_retrieval.score_codecs_and_searches(task, store, fitted, codecs, wanted)
    else:
        from workflow_scripts.scores import stock

        yield from (stock.score_codec(task, store, fitted, codec) for codec in codecs)
