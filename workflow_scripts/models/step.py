"""The gradient of one training step: forward, loss over all embeddings, backward, one micro-batch at a time.

Takes a batch; leaves the gradient in the parameters, and what the log says of the step. The loss is computed on the
embeddings alone and its gradient is then sent back through the encoder. Where the batch fits in memory, each micro-batch
keeps its graph in between; where it does not, gradients are cached (GradCache: Gao et al. 2021, arXiv 2101.06983): the
forward pass runs without a graph, and again with one, with the same dropout, when its gradient is known.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.artefact import log
from workflow_scripts.models.activations import activation_bytes_per_token, fits
from workflow_scripts.models.batches import Batch, Text, micro_batches
from workflow_scripts.models.distributed import Ranks, all_reduce_embeddings, all_reduce_sum
from workflow_scripts.models.objective import Objective, Rows, contrastive_loss
from workflow_scripts.models.packing import Layout, embed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# On a processor a pass is fastest while its activations stay in the caches; the budget only matters below this.
PROCESSOR_MICRO_TOKENS = 4096
# On a GPU a pass takes as long as its kernels are many; where all graphs are kept anyway, fewer passes cost no memory but padding.
GPU_MICRO_TOKENS = 32768


@dataclass(frozen=True)
class StepResult:
    """What a step leaves for the log; tensors stay on the device until they are read."""

    loss: Tensor
    per_dimension: Tensor  # (len(nesting),)
    tokens: int
    processed: int  # tokens, padding included
    squared_lengths: float


@dataclass
class MicroBatch:
    """Texts that pass the encoder together, which are those at `places` in the batch."""

    texts: list[Text]
    places: np.ndarray
    seed: int


class Step:
    """Computes the gradients of the batches of one training; `cached` says whether they are cached by now."""

    def __init__(
        self,
        model: SentenceTransformer,
        objective: Objective,
        *,
        layout: Layout,
        dtype: str,
        seed: int = 0,
        micro_tokens: int = 8192,
        cached_gradients: bool | None = None,
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    ) -> None:
        """`dtype`: `fp32`, or `bf16` for autocast. `cached_gradients`: None caches from the first batch on that does
        not fit in memory."""
        self.model, self.objective, self.layout, self.dtype = model, objective, layout, dtype
        self.seed, self.ranks = seed, ranks
        self.device = model.device
        self.micro_tokens = micro_tokens
        self.cached = bool(cached_gradients)
        self.decides_caching = cached_gradients is None
        self.bytes_per_token = activation_bytes_per_token(model, dtype)
        self.most_tokens = 0

    def gradients(self, batch: Batch, step: int) -> StepResult:
        """Put the gradient of the batch's loss into the parameters: of this process's texts, where there are several."""
        own = np.arange(len(batch.texts))[self.ranks.rank :: self.ranks.world_size]
        idle = not len(own)  # a small task may have fewer texts than there are processes
        if idle:
            own = np.zeros(
                1, dtype=np.int64
            )  # a zero gradient through another's text, so that all have gradients to sum
        lengths = batch.lengths[own]
        cuts = self._cuts(lengths)
        if self.decides_caching and not self.cached:
            self._decide_caching(tokens_with_padding(lengths, cuts, self.layout), step)
            if self.cached:
                cuts = self._cuts(lengths)
        micros = [
            MicroBatch([batch.texts[i] for i in own[cut]], own[cut], seed=self._dropout_seed(step, place))
            for place, cut in enumerate(cuts)
        ]
        with self._autocast():  # one context around all micro-batches: each weight is then rounded once
            outputs = [self._embed(micro, keep_graph=not self.cached) for micro in micros]
        embeddings = self._gathered(micros, outputs, len(batch.texts), idle).requires_grad_()
        loss, per_dimension = contrastive_loss(embeddings, rows_of(batch, self.device), self.objective)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        if idle:
            gradient = gradient * 0
        for micro in micros:
            output = outputs.pop(0)
            if self.cached:
                with self._autocast():
                    output = self._embed(micro, keep_graph=True)
            torch.autograd.backward(output, gradient[micro.places])
            del output  # and with it the graph

        processed = tokens_with_padding(lengths, cuts, self.layout)
        return StepResult(
            loss=loss.detach(),
            per_dimension=per_dimension,
            tokens=int(batch.lengths.sum()),
            processed=all_reduce_sum(processed, self.ranks),
            squared_lengths=float((batch.lengths.astype(np.float64) ** 2).sum()),
        )

    def _cuts(self, lengths: np.ndarray) -> list[slice]:
        """The texts, sorted from long to short, of each micro-batch."""
        budget = self.micro_tokens
        if self.device.type == "cpu":
            budget = min(budget, PROCESSOR_MICRO_TOKENS)
        elif not self.cached:
            budget = max(budget, GPU_MICRO_TOKENS)
        return micro_batches(lengths, budget, padded=not self.layout.packed)

    def _dropout_seed(self, step: int, place: int) -> int:
        return hash((self.seed, step, self.ranks.rank, place)) & 0x7FFFFFFF

    def _decide_caching(self, tokens: int, step: int) -> None:
        if tokens <= self.most_tokens:
            return
        self.most_tokens = tokens
        self.cached = not fits(self.bytes_per_token * tokens, self.device)
        if self.cached:
            log.info("step %d: %d tokens do not fit in memory; gradients are cached from here on", step, tokens)

    def _embed(self, micro: MicroBatch, keep_graph: bool) -> Tensor:
        """Embeddings `(texts, width)` of one micro-batch. Dropout depends on its seed, so a second pass repeats it."""
        torch.manual_seed(micro.seed)
        with torch.set_grad_enabled(keep_graph):
            return embed(self.model, micro.texts, self.layout)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.dtype == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _gathered(self, micros: list[MicroBatch], outputs: list[Tensor], count: int, idle: bool) -> Tensor:
        """The batch's embeddings `(count, width)`, detached, those of the other processes included."""
        parts = [output.detach() for output in outputs]
        everything = parts[0].new_zeros(count, parts[0].shape[1])
        if not idle:
            places = torch.from_numpy(np.concatenate([micro.places for micro in micros]))
            everything[places.to(everything.device)] = torch.cat(parts)
        all_reduce_embeddings(everything, self.ranks)
        return everything


def rows_of(batch: Batch, device: torch.device) -> Rows:
    """The batch's rows on the device."""

    def moved(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(device, non_blocking=True)

    query, positive, negative = (torch.from_numpy(a).to(device) for a in (batch.query, batch.positive, batch.negative))
    masks = moved(batch.query_false_negatives), moved(batch.positive_false_negatives)
    return Rows(query, positive, negative, *masks)


def tokens_with_padding(lengths: np.ndarray, cuts: list[slice], layout: Layout) -> int:
    """Tokens that micro-batches put through the encoder, padding included."""
    if layout.packed:
        return int(lengths.sum())
    return sum(int(lengths[cut].max()) * len(lengths[cut]) for cut in cuts)
