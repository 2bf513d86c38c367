"""Jobs that run side by side on a machine with several GPUs compute on different ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from workflow_scripts.encoder.gpus import take_gpus

# A job on a machine of three GPUs: it says what it sees, and runs until its input ends, where asked as another program.
JOB = """
import os, sys, torch
from workflow_scripts.encoder.gpus import take_gpus
torch.cuda.device_count = lambda: 3
take_gpus(int(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if "exec" in sys.argv:
    os.execv(sys.executable, [sys.executable, "-c", "print('replaced', flush=True); input()"])
input()
"""
Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a job, and gives it with what it said that it sees."""
    jobs: list[subprocess.Popen[str]] = []

    def started(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=clean | {"TMPDIR": str(tmp_path)} | environment,
        )
        jobs.append(job)
        assert job.stdout is not None
        return job, job.stdout.readline().strip()

    yield started
    for job in jobs:
        job.kill()
        job.communicate()


def test_jobs_take_gpus_that_are_free_until_they_end_however_they_do(start: Start) -> None:
    first, seen = start("1")
    assert seen == "0"
    assert start("4")[1] == "None", "all, as it was granted all"
    assert start("2")[1] == "1,2"
    assert start("2")[1] == "0", "none is free: it shares the first"
    first.kill()
    first.wait()
    assert start("2")[1] == "0", "as many as are free"


def test_a_program_that_takes_the_jobs_place_keeps_its_gpu(start: Start) -> None:
    job, seen = start("1", "exec")
    assert seen == "0"
    assert job.stdout is not None
    assert job.stdout.readline() == "replaced\n"
    assert start("1")[1] == "1"


def test_of_gpus_that_are_given_by_name_a_job_takes_those(start: Start) -> None:
    named = "4,GPU-a/1,6"
    assert start("1", CUDA_VISIBLE_DEVICES=named)[1] == "4"
    assert start("2", CUDA_VISIBLE_DEVICES=named)[1] == "GPU-a/1,6"


@pytest.mark.parametrize(
    ("named", "count", "torchrun"),
    [(None, 1, False), ("3", 1, False), ("0,1", 2, False), (None, 2, True), (None, 0, False)],
)
def test_nothing_changes_with_one_gpu_with_those_of_a_cluster_and_in_a_training_process(
    named: str | None, count: int, torchrun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    if torchrun:
        monkeypatch.setenv("WORLD_SIZE", "2")
    take_gpus(1 if torchrun else max(count, 1))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == named
    assert list(tmp_path.iterdir()) == []
