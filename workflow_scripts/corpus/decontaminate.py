"""Find the texts that copy an evaluation text: exactly (case, punctuation and space aside), or nearly.

Takes the evaluation texts of each task; an `Index` of them then tells of any texts which ones are copies, and of what.
A near copy is a text of which at least `threshold` of the word 8-grams stand in one evaluation text. Everything
is a join of hashes over whole arrays of bytes. What makes it cheap is prefix filtering (Chaudhuri et al., ICDE 2006):
a text of n grams of which m must be found has one among its first n - m + 1, so the rest is read for candidates only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

WORDS = 8  # words in a gram
BLOCK = 2**20  # bytes hashed at once
MOST_BITS = 30  # of a gram, by which most are told to be new: 128 MiB

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_SPACE = np.uint8(32)
_APART = r"[^\p{L}\p{M}\p{N}]+"  # what is not part of a word
_OTHER, _ALPHANUMERIC, _CONTINUATION, _LEAD = range(4)


def _tables() -> tuple[Bytes, Bytes]:
    """For each byte: its class; and what becomes of it (lower case, or a space; bytes of other scripts stay)."""
    classes = np.zeros(256, np.uint8)
    fold = np.full(256, _SPACE, np.uint8)
    for byte in range(128):
        if chr(byte).isalnum():
            classes[byte] = _ALPHANUMERIC
            fold[byte] = ord(chr(byte).lower())
    classes[128:192] = _CONTINUATION
    classes[192:] = _LEAD
    fold[128:] = np.arange(128, 256)
    return classes, fold


_CLASSES, _FOLD = _tables()


@dataclass(frozen=True)
class Packed:
    """Texts end to end: text i is the UTF-8 `data[offsets[i]:offsets[i + 1]]`."""

    data: Bytes
    offsets: Places

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Places) -> Packed:
        texts = pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(self.offsets), pa.py_buffer(self.data))
        return packed(texts.take(pa.array(rows)))


def packed(texts: pa.LargeStringArray) -> Packed:
    """An Arrow array without nulls as it lies in memory, from its own first byte."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if data is None or not len(texts):
        return Packed(np.zeros(0, np.uint8), places - places[:1] if len(places) else np.zeros(1, np.int64))
    return Packed(np.frombuffer(data, np.uint8)[places[0] : places[-1]], places - places[0])


def _arrow(texts: Packed) -> pa.LargeStringArray:
    return pa.LargeStringArray.from_buffers(
        len(texts), pa.py_buffer(np.ascontiguousarray(texts.offsets)), pa.py_buffer(np.ascontiguousarray(texts.data))
    )


def normalise(texts: Packed) -> Packed:
    """Lower case; what is no letter, mark or number becomes a space; one space between words, none around."""
    foreign = np.unique(np.searchsorted(texts.offsets, np.flatnonzero(texts.data >= 128), side="right") - 1)
    if len(foreign):
        array = _arrow(texts)
        part = pl.Series("text", array.take(pa.array(foreign))).str.to_lowercase().str.replace_all(_APART, " ")
        mask = np.zeros(len(texts), bool)
        mask[foreign] = True
        texts = packed(pc.replace_with_mask(array, pa.array(mask), part.to_arrow().cast(pa.large_string())))
    data = _FOLD[texts.data]
    if not len(data):
        return texts
    space = data == _SPACE
    # A space stays where a word goes before it and the text goes on; the last of them may end the text.
    after = np.empty_like(space)
    after[0] = True
    after[1:] = space[:-1]
    starts = texts.offsets[:-1][np.diff(texts.offsets) > 0]
    after[starts] = True
    keep = ~(space & after)
    offsets = texts.offsets - np.searchsorted(np.flatnonzero(~keep), texts.offsets)
    data = data[keep]
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    last = ends[data[ends] == _SPACE]
    if len(last):
        keep = np.ones(len(data), bool)
        keep[last] = False
        shorter = np.searchsorted(last, offsets)
        offsets, data = offsets - shorter, data[keep]
    return Packed(data, offsets)


def heads(texts: Packed, threshold: float) -> Packed:
    """The first words of each text: enough for a gram that a near copy must share, or all of a text under WORDS words.

    Words are counted on bytes: from above for how many are needed, from below for how many there are.
    """
    if not len(texts.data):
        return texts
    classes = _CLASSES[texts.data]
    before = np.empty_like(classes)
    before[0] = _OTHER
    before[1:] = classes[:-1]
    starts = texts.offsets[:-1]
    before[starts[np.diff(texts.offsets) > 0]] = _OTHER
    alphanumeric = classes == _ALPHANUMERIC
    at_most = (alphanumeric & (before != _ALPHANUMERIC)) | (classes == _LEAD)
    count = np.diff(np.searchsorted(np.flatnonzero(at_most), texts.offsets))
    needed = ((1 - threshold) * np.maximum(count - WORDS + 1, 1) + 1e-9).astype(np.int64) + WORDS

    surely = np.flatnonzero(alphanumeric & (before == _OTHER))
    first = np.searchsorted(surely, texts.offsets)
    longer = np.flatnonzero(first[:-1] + needed < first[1:])
    ends = texts.offsets[1:].copy()
    ends[longer] = surely[first[longer] + needed[longer]]
    # What goes is from each of these ends to the text's own; they take turns, so a sum tells in from out.
    change = np.zeros(len(texts.data) + 1, np.int8)
    change[ends[longer]] = 1
    change[texts.offsets[longer + 1]] = -1
    keep = np.cumsum(change[:-1], dtype=np.int8) == 0
    return Packed(texts.data[keep], np.concatenate([[0], np.cumsum(ends - starts)]))


class _Powers:
    """Powers of an odd base modulo 2^64, and of its inverse, as far as they have been needed."""

    BASE = 0x9E3779B97F4A7C15

    def __init__(self) -> None:
        self.up = self.down = np.ones(1, np.uint64)
        self.grow(BLOCK)

    def grow(self, size: int) -> None:
        if size > len(self.up):
            self.up = self._powers(self.BASE, size)
            self.down = self._powers(pow(self.BASE, -1, 2**64), size)

    @staticmethod
    def _powers(base: int, size: int) -> Hashes:
        powers = np.full(size, base, np.uint64)
        powers[0] = 1
        return np.multiply.accumulate(powers)


_POWERS = _Powers()


def _span_hashes(data: Bytes, starts: Places, ends: Places) -> Hashes:
    """A polynomial hash modulo 2^64 of each span of the bytes, the same wherever the span lies, mixed at the end."""
    _POWERS.grow(len(data) + 1)
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data * _POWERS.up[: len(data)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * _POWERS.down[starts]
    hashes ^= hashes >> np.uint64(32)
    return np.asarray(hashes * np.uint64(0xD6E8FEB86659FD93))


def _blocks(texts: Packed) -> Iterator[tuple[int, Packed]]:
    """The texts in blocks of about BLOCK bytes, each with the number of its first text."""
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(texts.offsets, texts.offsets[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), len(texts))
        start, end = texts.offsets[first], texts.offsets[last]
        yield first, Packed(texts.data[start:end], texts.offsets[first : last + 1] - start)
        first = last


def text_hashes(texts: Packed) -> Hashes:
    """One hash per normalised text, shape (texts,)."""
    return np.concatenate(
        [_span_hashes(block.data, block.offsets[:-1], block.offsets[1:]) for _, block in _blocks(texts)]
        or [np.zeros(0, np.uint64)]
    )


def grams(texts: Packed) -> tuple[Hashes, Places]:
    """The hash of every word gram of normalised texts, in order, and the number of the text it is of."""
    hashes, owners = [], []
    for first, block in _blocks(texts):
        spaces = np.flatnonzero(block.data == _SPACE)
        filled = np.flatnonzero(np.diff(block.offsets) > 0)
        words = np.diff(np.searchsorted(spaces, block.offsets))[filled] + 1
        if words.sum() < WORDS:
            continue
        # Words start at their text or after a space, and end at a space or with their text.
        last = np.cumsum(words) - 1
        starts = np.empty(words.sum(), np.int64)
        ends = starts.copy()
        inner = np.ones(len(starts), bool)
        inner[last - words + 1] = False
        starts[inner], starts[~inner] = spaces + 1, block.offsets[filled]
        inner[:] = True
        inner[last] = False
        ends[inner], ends[~inner] = spaces, block.offsets[filled + 1]
        owner = np.repeat(filled, words)
        whole = owner[: len(owner) - WORDS + 1] == owner[WORDS - 1 :]
        starts, ends, owner = starts[: len(whole)][whole], ends[WORDS - 1 :][whole], owner[: len(whole)][whole]
        hashes.append(_span_hashes(block.data, starts, ends))
        owners.append(owner + first)
    if not hashes:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return np.concatenate(hashes), np.concatenate(owners)


@dataclass(frozen=True)
class Copies:
    """Of some texts: 0 where clean, 1 an exact copy, 2 a near one, shape (texts,); and each (text, task) copied from."""

    kinds: Bytes
    texts: Places
    tasks: Places


class Index:
    """The evaluation texts of some tasks, ready to be looked for."""

    def __init__(self, texts_by_task: Sequence[Iterable[pa.LargeStringArray]], threshold: float) -> None:
        """Each task's texts come in parts, of which one at a time is in memory; of a text stay 8 bytes a gram."""
        self.threshold = threshold
        self.near = threshold < 1
        numbers: dict[int, int] = {0: 0}  # hash -> number; 0 stands for what is punctuation alone: nothing to look for
        of_tasks: list[Places] = []
        parts: list[tuple[Hashes, npt.NDArray[np.int32]]] = []
        for task, arrays in enumerate(texts_by_task):
            for block in (block for array in arrays for _, block in _blocks(packed(array))):
                texts = normalise(block)
                hashes = text_hashes(texts)
                hashes[np.diff(texts.offsets) == 0] = 0
                known = len(numbers)
                of = np.array([numbers.setdefault(value, len(numbers)) for value in hashes.tolist()], np.int64)
                of_tasks.append(np.unique(np.stack([of, np.full_like(of, task)], axis=1), axis=0))
                new = np.flatnonzero(of >= known)
                new = new[np.unique(of[new], return_index=True)[1]]
                found, owners = grams(texts.take(new))
                parts.append((found, of[new][owners].astype(np.int32)))
        values = np.fromiter(numbers, np.uint64, len(numbers))
        self.exact_texts = np.argsort(values)
        self.exact = values[self.exact_texts]
        # Which tasks have a text: pairs (text, task), by text.
        pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *of_tasks]), axis=0)
        self.tasks = pairs[:, 1]
        self.tasks_from = np.searchsorted(pairs[:, 0], np.arange(len(numbers) + 1))

        # A gram and its text are one number: the hash's highest bits, and the text's number in place of the others.
        self.low = np.uint64(2 ** len(numbers).bit_length() - 1)
        packs = np.empty(sum(len(found) for found, _ in parts), np.uint64)
        end = len(packs)
        while parts:  # from the last, each part freed as soon as it is packed
            found, of_text = parts.pop()
            packs[end - len(found) : end] = (found & ~self.low) | of_text.astype(np.uint64)
            end -= len(found)
        packs.sort()
        distinct = np.ones(len(packs), bool)
        distinct[1:] = packs[1:] != packs[:-1]
        end = 0
        for start in range(0, len(packs), BLOCK):  # in place: a copy would be as large again
            kept = packs[start : start + BLOCK][distinct[start : start + BLOCK]]
            packs[end : end + len(kept)] = kept
            end += len(kept)
        self.grams = packs[:end]
        # One bit per value of a gram's highest bits: almost all grams that are not here stop at it.
        self.shift = np.uint64(64 - min(max(int(len(self.grams) * 32).bit_length(), 10), MOST_BITS))
        self.bits = np.zeros(2 ** (64 - int(self.shift) - 3), np.uint8)
        for start in range(0, len(self.grams), BLOCK):
            high = self.grams[start : start + BLOCK] >> self.shift
            np.bitwise_or.at(self.bits, high >> np.uint64(3), np.uint8(1) << (high & np.uint64(7)).astype(np.uint8))

    def look(self, texts: pa.LargeStringArray) -> Copies:
        """Which of the texts are copies."""
        whole = packed(texts)
        candidates = np.zeros(len(whole), bool)
        for first, block in _blocks(whole):
            head = normalise(heads(block, self.threshold))
            hashes, owners = grams(head)
            candidates[first + owners[self._has(hashes)]] = True
            few = np.flatnonzero(self._place(text_hashes(head)) >= 0)  # texts of few words are whole in their heads
            candidates[first + few] = True
        rows = np.flatnonzero(candidates)
        kinds = np.zeros(len(whole), np.uint8)
        if not len(rows):
            return Copies(kinds, np.zeros(0, np.int64), np.zeros(0, np.int64))

        suspects = normalise(whole.take(rows))
        place = self._place(text_hashes(suspects))
        exact = np.flatnonzero(place >= 0)
        kinds[rows[exact]] = 1
        sources, copied = [exact], [place[exact]]
        if self.near:
            near, of = self._near(suspects)
            kinds[rows[near]] = np.where(kinds[rows[near]] == 1, 1, 2)
            sources.append(near)
            copied.append(of)
        source, text = np.concatenate(sources), np.concatenate(copied)
        counts = self.tasks_from[text + 1] - self.tasks_from[text]
        tasks = self.tasks[_ranges(self.tasks_from[text], counts)]
        pairs = np.unique(np.stack([np.repeat(rows[source], counts), tasks], axis=1), axis=0)
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

    def _place(self, hashes: Hashes) -> Places:
        """The number of the evaluation text with each hash, or -1."""
        at = np.minimum(np.searchsorted(self.exact, hashes), len(self.exact) - 1)
        return np.where((self.exact[at] == hashes) & (hashes != 0), self.exact_texts[at], -1)

    def _near(self, texts: Packed) -> tuple[Places, Places]:
        """Pairs (text, evaluation text) of which the second holds at least the threshold of the first's grams."""
        hashes, owners = grams(texts)
        total = np.bincount(owners, minlength=len(texts))
        start = np.searchsorted(self.grams, hashes & ~self.low, side="left")
        counts = np.searchsorted(self.grams, hashes | self.low, side="right") - start
        of = (self.grams[_ranges(start, counts)] & self.low).astype(np.int64)
        pairs = pl.DataFrame({"text": np.repeat(owners, counts), "of": of})
        met = pairs.group_by("text", "of").len("met").sort("text", "of")
        text, of = met["text"].to_numpy(), met["of"].to_numpy()
        enough = met["met"].to_numpy() >= self.threshold * total[text] - 1e-9
        return text[enough], of[enough]


def _ranges(starts: Places, counts: Places) -> Places:
    """start, start + 1, … of each range, end to end."""
    ends = np.cumsum(counts)
    return np.asarray(np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0))
