"""Lanes: on a processor, several threads that each take a share of a batch's texts through the encoder.

Takes the model and the number of lanes; leaves gradients summed in the order of the lanes, so that the same lanes give
the same weights. Threads inside an operation pay off in large products only, and most operations between the products
of a small encoder are short: two lanes of one thread each take about half as long as one lane of two threads.
Each lane runs a copy of the model that shares its weights and has gradients of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

MOST_LANES = 4  # each holds a set of gradients; further threads work inside the lanes' operations
LANE_TOKENS = 512  # below this share of a batch a lane's products get too small to pay

Model = TypeVar("Model", bound=nn.Module)
Work = TypeVar("Work")


def lane_count(device: torch.device) -> int:
    """How many lanes this process has threads for."""
    return min(torch.get_num_threads(), MOST_LANES) if device.type == "cpu" else 1


class Lanes(Generic[Model]):
    """`count` copies of a model over the same weights, and a thread for each where there are several."""

    def __init__(self, model: Model, count: int) -> None:
        self.models = [model, *(sharing_weights(model) for _ in range(count - 1))]
        self.pool: ThreadPoolExecutor | None = None
        if count > 1:
            threads = max(1, torch.get_num_threads() // count)
            self.pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,))

    def deal(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Each lane's texts, as places in `lengths`: turn by turn, so that shares of sorted lengths are alike."""
        count = min(len(self.models), max(1, int(lengths.sum()) // LANE_TOKENS))
        return [np.arange(len(lengths))[lane::count] for lane in range(count)]

    def run(self, function: Callable[[Work], None], works: Sequence[Work]) -> None:
        """Call the function on every lane's work, side by side; raises what the first lane that failed raised."""
        if self.pool is None or len(works) == 1:
            for work in works:
                function(work)
        else:
            for outcome in [self.pool.submit(function, work) for work in works]:
                outcome.result()

    def add_up_gradients(self) -> None:
        """Move the copies' gradients to the model's own, lane after lane."""
        for other in self.models[1:]:
            for own, theirs in zip(self.models[0].parameters(), other.parameters(), strict=True):
                if theirs.grad is not None:
                    own.grad = theirs.grad if own.grad is None else own.grad.add_(theirs.grad)
                    theirs.grad = None


def sharing_weights(model: Model) -> Model:
    """A copy of the model whose parameters are the same memory, with gradients of their own."""
    known = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, known)
