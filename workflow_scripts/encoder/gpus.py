"""Which GPUs a job computes on, where a machine has several and jobs run side by side.

Takes how many GPUs the job was granted; leaves CUDA_VISIBLE_DEVICES, so that it sees no others. Snakemake counts the GPUs of a
machine and names none, so each job would compute on the first. SLURM names those that it gives.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from itertools import islice
from pathlib import Path

import torch

from workflow_scripts.artefact import log, try_lock


def take_gpus(count: int) -> None:
    """Let this process see `count` GPUs that no other job of this user has taken on this machine. Call it before torch
    computes on a GPU: CUDA_VISIBLE_DEVICES is read once.

    Nothing changes where it sees no more than `count` (a machine with one, a SLURM job), or is one of torchrun's. Where fewer are
    free it takes those; where none is, or the temporary folder knows no locks, it shares the first, and the log says so.
    """
    seen = _visible()
    if len(seen) <= count or "WORLD_SIZE" in os.environ:
        return
    taken = list(islice(filter(_lock, seen), count))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken or seen[:1])
    if taken:
        log.info("GPU %s of %d", ", ".join(taken), len(seen))
    else:
        log.info("no GPU of %d can be taken: sharing the first", len(seen))


def _visible() -> list[str]:
    """The GPUs that torch would see, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()  # by the driver's library, which leaves CUDA as it is
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _lock(gpu: str) -> bool:
    """Take a GPU for the life of this process, by a lock on a file that stands for it; false where another has it."""
    name = f"matryoshka-curves-{os.getuid()}-gpu-{gpu.replace('/', '-')}.lock"
    try:
        handle = os.open(Path(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # nobody knows whether it is free
        return False
    if not try_lock(handle, fcntl.LOCK_EX):
        os.close(handle)
        return False
    os.set_inheritable(handle, True)  # torchrun, which takes this process's place, keeps it
    return True
