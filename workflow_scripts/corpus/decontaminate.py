"""Find the texts that copy an evaluation text: exactly (case, punctuation, space and Unicode form aside), or nearly.

Takes the evaluation texts of each task; an `Index` of them then tells of any texts which ones are copies, and of what.
A near copy is a text of which at least `threshold` of the word 8-grams stand in one evaluation text. What makes it
cheap is prefix filtering (Chaudhuri et al., ICDE 2006): a text of n grams of which m must be found has one among its
first n - m + 1, so the other grams are looked up for candidates only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from workflow_scripts.corpus.normalise import words_of

WORDS = 8  # words in a gram
MOST_BITS = 30  # of a gram, in the filter that tells most of them to be absent: 128 MiB
AT_ONCE = 2**20  # grams handled at once where a copy of all would be too large
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Kinds = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


def grams(words: pl.Series) -> tuple[Hashes, Numbers]:
    """The hash of every run of WORDS words, in order, and the number of the text it is of. `words` is a list per text."""
    counts = words.list.len().cast(pl.Int64).to_numpy()
    hashes = words.explode(empty_as_null=False).hash().to_numpy()
    owners = np.repeat(np.arange(len(words)), counts)
    found = np.zeros(max(len(hashes) - WORDS + 1, 0), np.uint64)
    for place in range(WORDS):  # a polynomial of the words' hashes, modulo 2^64
        found = found * MULTIPLIER + hashes[place : place + len(found)]
    whole = owners[: len(found)] == owners[WORDS - 1 :] if len(found) else np.zeros(0, bool)
    found = found[whole]
    found ^= found >> np.uint64(32)
    return found * MULTIPLIER, owners[: len(whole)][whole]


def heads(words: pl.Series, threshold: float) -> pl.Series:
    """The first words of each text: enough for a gram that a near copy must share, or all of a text under WORDS."""
    column = pl.col("words")
    total = (column.list.len().cast(pl.Int64) - WORDS + 1).clip(1)
    needed = ((1 - threshold) * total + 1e-9).cast(pl.Int64) + WORDS
    return words.to_frame("words").select(column.list.head(needed)).to_series()


@dataclass(frozen=True)
class Copies:
    """Of some texts: 0 where clean, 1 an exact copy, 2 a near one, shape (texts,); and each (text, task) copied from."""

    kinds: Kinds
    texts: Numbers
    tasks: Numbers


class Index:
    """The evaluation texts of some tasks, ready to be looked for."""

    def __init__(self, texts_by_task: Sequence[Iterable[pa.LargeStringArray]], threshold: float) -> None:
        """Each task's texts come in parts, of which one at a time is in memory; of a text stay 8 bytes a gram."""
        self.threshold = threshold
        numbers: dict[int, int] = {}  # the hash of a distinct text -> its number
        of_tasks = [np.zeros((0, 2), np.int64)]
        parts: list[tuple[Hashes, npt.NDArray[np.int32]]] = []
        for task, arrays in enumerate(texts_by_task):
            for array in arrays:
                words = words_of(pl.Series(array))
                words = words.filter(words.list.len() > 0)  # punctuation alone is nothing to look for
                known = len(numbers)
                of = np.array([numbers.setdefault(value, len(numbers)) for value in words.hash().to_list()], np.int64)
                of_tasks.append(np.stack([of, np.full_like(of, task)], axis=1))
                new = np.unique(np.where(of >= known, of, -1), return_index=True)
                rows = np.sort(new[1][new[0] >= 0])
                found, owners = grams(words.gather(rows))
                parts.append((found, of[rows][owners].astype(np.int32)))
        self.exact = pl.DataFrame({"hash": pl.Series(list(numbers), dtype=pl.UInt64), "of": range(len(numbers))})
        # Which tasks have a text: pairs (text, task), by text.
        pairs = np.unique(np.concatenate(of_tasks), axis=0)
        self.tasks = pairs[:, 1]
        self.tasks_from = np.searchsorted(pairs[:, 0], np.arange(len(numbers) + 1))
        self._pack(parts, len(numbers))

    def _pack(self, parts: list[tuple[Hashes, npt.NDArray[np.int32]]], texts: int) -> None:
        """A gram and its text become one number, the hash's highest bits and the text's number in place of the others;
        sorted, each once. Empties `parts`, for a second copy of all grams would be the largest thing in memory."""
        self.low = np.uint64(2 ** texts.bit_length() - 1)
        packs = np.empty(sum(len(found) for found, _ in parts), np.uint64)
        end = len(packs)
        while parts:
            found, of_text = parts.pop()
            packs[end - len(found) : end] = (found & ~self.low) | of_text.astype(np.uint64)
            end -= len(found)
        packs.sort()
        distinct = np.ones(len(packs), bool)
        distinct[1:] = packs[1:] != packs[:-1]
        end = 0
        for start in range(0, len(packs), AT_ONCE):
            kept = packs[start : start + AT_ONCE][distinct[start : start + AT_ONCE]]
            packs[end : end + len(kept)] = kept
            end += len(kept)
        self.grams = packs[:end]
        # One bit per value of a gram's highest bits: almost all grams that are absent stop at it.
        self.shift = np.uint64(64 - min(max(int(len(self.grams) * 32).bit_length(), 10), MOST_BITS))
        self.bits = np.zeros(2 ** (64 - int(self.shift) - 3), np.uint8)
        for start in range(0, len(self.grams), AT_ONCE):
            high = self.grams[start : start + AT_ONCE] >> self.shift
            np.bitwise_or.at(self.bits, high >> np.uint64(3), np.uint8(1) << (high & np.uint64(7)).astype(np.uint8))

    def look(self, texts: pa.LargeStringArray) -> Copies:
        """Which of the texts are copies."""
        words = words_of(pl.Series(texts))
        frame = pl.DataFrame({"text": np.arange(len(words)), "hash": words.hash()}).filter(words.list.len() > 0)
        exact = frame.join(self.exact, on="hash").select("text", "of")
        kinds = np.zeros(len(words), np.uint8)
        if self.threshold < 1:
            hashes, owners = grams(heads(words, self.threshold))
            rows = np.unique(owners[self._has(hashes)])
            near = self._near(words.gather(rows))
            near = near.with_columns(text=rows[near["text"].to_numpy()])
            kinds[near["text"].to_numpy()] = 2
        else:
            near = exact.clear()
        kinds[exact["text"].to_numpy()] = 1
        found = pl.concat([exact, near]).unique()
        text, of = found["text"].to_numpy(), found["of"].to_numpy()
        counts = self.tasks_from[of + 1] - self.tasks_from[of]
        tasks = self.tasks[_ranges(self.tasks_from[of], counts)]
        pairs = np.unique(np.stack([np.repeat(text, counts), tasks], axis=1), axis=0)
        return Copies(kinds, pairs[:, 0], pairs[:, 1])

    def _has(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether each gram is in any evaluation text."""
        high = hashes >> self.shift
        maybe = np.flatnonzero((self.bits[high >> np.uint64(3)] >> (high & np.uint64(7)).astype(np.uint8)) & 1)
        found = np.zeros(len(hashes), bool)
        if len(self.grams):
            wanted = hashes[maybe] & ~self.low
            at = np.minimum(np.searchsorted(self.grams, wanted), len(self.grams) - 1)
            found[maybe] = (self.grams[at] & ~self.low) == wanted
        return found

    def _near(self, words: pl.Series) -> pl.DataFrame:
        """Pairs (text, evaluation text) of which the second holds at least the threshold of the first's grams."""
        hashes, owners = grams(words)
        total = np.bincount(owners, minlength=len(words))
        start = np.searchsorted(self.grams, hashes & ~self.low, side="left")
        counts = np.searchsorted(self.grams, hashes | self.low, side="right") - start
        of = (self.grams[_ranges(start, counts)] & self.low).astype(np.int64)
        met = pl.DataFrame({"text": np.repeat(owners, counts), "of": of}).group_by("text", "of").len("met")
        enough = met["met"].to_numpy() >= self.threshold * total[met["text"].to_numpy()] - 1e-9
        return met.filter(pl.Series(enough)).select("text", "of")


def _ranges(starts: Numbers, counts: Numbers) -> Numbers:
    """start, start + 1, … of each range, end to end."""
    ends = np.cumsum(counts)
    return np.asarray(np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0))
