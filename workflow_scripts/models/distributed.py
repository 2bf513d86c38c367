"""Training in several processes: how they start, how they find one another, and what they exchange.

Takes what torchrun puts into the environment; leaves sums and maxima over all processes. Without torchrun there is one
process, and every function gives its argument back.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from workflow_scripts.artefact import log

SECONDS_TO_SAVE = 540  # what a process has to end its step and save, a minute less than the profile's TERM leaves it


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1


def ranks_of_environment() -> Ranks:
    """What torchrun says; one process without it."""
    return Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def local_gpu() -> torch.device:
    """The GPU of this process among those of its node."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started; nothing without it."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def all_reduce_max(number: int, ranks: Ranks) -> int:
    """The largest of the processes' numbers, through main memory, so that no GPU waits."""
    return _all_reduce(number, ranks, dist.ReduceOp.MAX)


def all_reduce_sum(number: int, ranks: Ranks) -> int:
    """The sum of the processes' numbers, through main memory."""
    return _all_reduce(number, ranks, dist.ReduceOp.SUM)


def _all_reduce(number: int, ranks: Ranks, operation: dist.ReduceOp.RedOpType) -> int:
    if ranks.world_size == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, operation)
    return int(value)


def all_reduce_embeddings(embeddings: Tensor, ranks: Ranks) -> None:
    """Fill in the other processes' rows of `(texts, width)`, in place: each process holds zeros where they are."""
    if ranks.world_size > 1:
        dist.all_reduce(embeddings)


def all_reduce_gradients(parameters: Iterable[torch.nn.Parameter], ranks: Ranks) -> None:
    """Sum the processes' gradients in place: each holds the gradient through its own texts, the sum is the batch's."""
    if ranks.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def torchrun_command(gpus: int, available: int, arguments: list[str]) -> list[str] | None:
    """torchrun with one process for each of the GPUs granted that are available; None where one process does."""
    count = min(gpus, available)
    if count < gpus:
        log.info("%d GPUs are granted, %d are available: training with %d process(es)", gpus, count, max(count, 1))
    if count <= 1:
        return None
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    # --standalone would have the processes meet at the host's name, and wait for ever where it does not resolve.
    launcher += ["--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    launcher += ["--local-addr", "127.0.0.1"]
    launcher += ["--shutdown-timeout", str(SECONDS_TO_SAVE)]  # else it kills after 30 s what is saving a checkpoint
    return [*launcher, "-m", "workflow_scripts.models.train", *arguments]


def launch_processes(gpus: int) -> None:
    """Replace this process by torchrun with one process per GPU, where several are granted and available."""
    if gpus == 1 or "WORLD_SIZE" in os.environ:
        return
    if command := torchrun_command(gpus, torch.cuda.device_count(), sys.argv[1:]):
        os.execv(sys.executable, command)  # noqa: S606
