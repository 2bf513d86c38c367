"""Training pairs as frozen embeddings: which rows an adaptor sees, and its batches, which are those of the models.

Takes the tokens of the pairs and a store of their texts (rule `encode_pairs`); leaves, step by step, the embeddings of a
batch's distinct texts and its rows. No encoder is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.models.batches import COLUMNS, Order, Tokens, false_negative_masks, training_order
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.objective import Rows
from workflow_scripts.store import open_store

ALIKE = 1e-6  # largest difference in a coordinate up to which embeddings are alike


def rows_of_adaptors(tokens: Tokens, pairs: int, seed: int) -> np.ndarray:
    """Row numbers `(at most pairs,)`: the head of the seed's random order, so that fewer pairs are a part of more.

    Another seed draws other pairs: with the same ones, intervals over seeds would not hold what the draw does.
    """
    return np.random.default_rng(seed).permutation(len(tokens))[:pairs]


def text_keys(tokens: Tokens, rows: np.ndarray, instructions: bool) -> np.ndarray:
    """A key `(3, rows)` uint64 for each text of these rows, by column: equal texts, equal keys.

    With `instructions`, equal texts with equal instructions; without, a hash of the tokens behind the instruction.
    `tokens` are uncut, so that the keys do not hang on the encoder that reads them.
    """
    skips = np.stack([tokens.skips(column, rows) for column in COLUMNS])
    if instructions:
        keys = np.stack([tokens.keys(column, rows) for column in COLUMNS])
        return np.asarray(keys ^ (skips.astype(np.uint64) << np.uint64(48)))
    hashes = b"".join(
        hashlib.blake2b(tokens.ids(column, row)[skip:].tobytes(), digest_size=8).digest()
        for column, skipped in zip(COLUMNS, skips.tolist(), strict=True)
        for row, skip in zip(rows.tolist(), skipped, strict=True)
    )
    return np.frombuffer(hashes, dtype="<u8").reshape(3, len(rows))


def refuse_alike(vectors: np.ndarray, store: Path) -> None:
    """Raises ModelError for vectors `(texts, width)` that are all alike."""
    if float(np.ptp(vectors, axis=0).max()) < ALIKE:
        raise ModelError(f"{store}: all {len(vectors)} embeddings are alike; there is nothing to learn from them")


@dataclass(frozen=True)
class FrozenPairs:
    """Pairs whose texts are encoded.

    `vectors (texts, width)` float32 on the device; `places (3, rows)` int64: which of them are query, positive and
    negative of each row; `rows_by_task`: row numbers, counted from 0 among the rows used.
    """

    vectors: Tensor
    places: np.ndarray
    rows_by_task: dict[str, np.ndarray]

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Rows]:
        """The embeddings `(texts, width)` of these rows' distinct texts, and the rows in terms of them."""
        used, places = np.unique(self.places[:, rows], return_inverse=True)
        query, positive, negative = places.reshape(3, -1)
        masks = false_negative_masks(query, positive, negative)
        device = self.vectors.device
        tensors = [torch.from_numpy(array).to(device) for array in (query, positive, negative)]
        moved = [None if mask is None else torch.from_numpy(mask).to(device) for mask in masks]
        return self.vectors[torch.from_numpy(used).to(device)], Rows(*tensors, *moved)

    def batches(self, tasks: list[str], size: int, seed: int) -> Iterator[tuple[Tensor, Rows]]:
        """Without end: batches of one of these tasks each, in the order in which models are trained."""
        rows_by_task = {name: self.rows_by_task[name] for name in tasks}
        for _, rows in training_order(rows_by_task, Order(size, seed)):
            yield self.batch(rows)


def load_frozen_pairs(
    tokens: Tokens, store: Path, pairs: int, seed: int, instructions: bool, device: torch.device
) -> FrozenPairs:
    """The first `pairs` rows of the seed's order, with their embeddings from the store in that folder.

    Raises ModelError where the store lacks a text of them, or where the embeddings cannot be learned from.
    """
    rows = rows_of_adaptors(tokens, pairs, seed)
    found = open_store(store)
    keys = text_keys(tokens, rows, instructions)
    order = np.argsort(found.keys, kind="stable")
    places = order[np.minimum(np.searchsorted(found.keys[order], keys), len(found) - 1)]
    if not np.array_equal(found.keys[places], keys):
        raise ModelError(f"{store}: texts of these pairs were not encoded; encode the pairs again")
    used, places = np.unique(places, return_inverse=True)
    vectors = np.array(found.vectors[used], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{store}: embeddings that are not finite numbers; the parent is broken")
    refuse_alike(vectors, store)
    task = tokens.task[rows]
    rows_by_task = {name: np.flatnonzero(task == number) for number, name in enumerate(tokens.task_names)}
    return FrozenPairs(
        torch.from_numpy(vectors).to(device),
        places.reshape(3, -1),
        {name: chosen for name, chosen in sorted(rows_by_task.items()) if len(chosen)},
    )
