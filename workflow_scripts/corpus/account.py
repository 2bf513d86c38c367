"""What happened to the rows of the source: for each that is dropped the first reason that holds, counted by task.

Takes what the passes over the rows find. Leaves the counts, and which rows stay. Exists so that rows in = rows out +
drops holds for every reason and task, and so that what only all rows together tell (a repeated row, a cap) is decided
from a few bytes for each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workflow_scripts.study.sections.corpus import Corpus

MALFORMED = "malformed"
NO_NEGATIVE = "no negative"
EMPTY = "empty"
POSITIVE_IS_QUERY = "positive equals query"
NEGATIVE_IS_POSITIVE = "negative equals positive"
NEGATIVE_IS_QUERY = "negative equals query"
DUPLICATE = "exact duplicate"
CONTAMINATED_EXACT = "contaminated, exact"
CONTAMINATED_NEAR = "contaminated, near"
CAP = "cap"
# A row is dropped for the first of these that holds. 0 stands for a row that stays.
REASONS = (
    MALFORMED,
    NO_NEGATIVE,
    EMPTY,
    POSITIVE_IS_QUERY,
    NEGATIVE_IS_POSITIVE,
    NEGATIVE_IS_QUERY,
    DUPLICATE,
    CONTAMINATED_EXACT,
    CONTAMINATED_NEAR,
    CAP,
)
CODE = {reason: code for code, reason in enumerate(REASONS, start=1)}


@dataclass
class Account:
    """Counts by reason and task, and a few bytes for each row in the spool."""

    rows_read: int = 0  # of the source's files; each gives one triple, or one for each of several positives, negatives
    tasks: dict[str, int] = field(default_factory=dict)  # name -> number, in the order of appearance
    rows_in: Counter[str] = field(default_factory=Counter)  # triples, and rows that are none
    drops: dict[str, Counter[str]] = field(default_factory=lambda: {reason: Counter() for reason in REASONS})
    contaminated: dict[str, dict[str, int]] = field(default_factory=dict)  # task -> evaluation task -> rows
    rows: int = 0  # in the spool
    row_tasks: list[npt.NDArray[np.int32]] = field(default_factory=list)
    row_hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    row_copies: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    copied: list[npt.NDArray[np.int64]] = field(default_factory=list)  # pairs (row of the spool, evaluation task)
    batches: list[tuple[int, int]] = field(default_factory=list)  # (task, rows) of each batch of the spool


def decide(account: Account, corpus: Corpus, evaluation: list[str]) -> npt.NDArray[np.bool_]:
    """Which rows of the spool stay, shape (rows in the spool,); counts the others by reason and task."""
    if not account.rows:
        return np.zeros(0, bool)
    names = list(account.tasks)
    tasks = np.concatenate(account.row_tasks)
    copies = np.concatenate(account.row_copies)
    codes = np.zeros(len(tasks), np.uint8)
    codes[copies == 1] = CODE[CONTAMINATED_EXACT]
    codes[copies == 2] = CODE[CONTAMINATED_NEAR]
    _, first = np.unique(np.concatenate(account.row_hashes), return_index=True)
    repeated = np.ones(len(tasks), bool)
    repeated[first] = False
    codes[repeated] = CODE[DUPLICATE]
    rows, sources = np.concatenate(account.copied).T
    once = ~repeated[rows]
    for (task, source), count in Counter(zip(tasks[rows[once]].tolist(), sources[once].tolist(), strict=True)).items():
        account.contaminated.setdefault(names[task], {})[evaluation[source]] = count
    if corpus.rows_per_task is not None:
        for number, name in enumerate(names):
            left = np.flatnonzero((tasks == number) & (codes == 0))
            draw = np.random.default_rng([corpus.seed, *name.encode()]).permutation(left)
            codes[draw[corpus.rows_per_task :]] = CODE[CAP]
    for code in np.unique(codes[codes > 0]):
        account.drops[REASONS[code - 1]].update(count_by_task(tasks[codes == code], names))
    return np.asarray(codes == 0)


def count_by_task(tasks: npt.NDArray[np.int32], names: list[str]) -> Counter[str]:
    """How many rows each task has, by name; tasks without any are left out."""
    counts = np.bincount(tasks, minlength=len(names))
    return Counter({names[number]: int(counts[number]) for number in np.flatnonzero(counts)})
