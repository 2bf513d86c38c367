"""The real workflow, cut down, on a real SLURM: the same weights and scores as on one machine, whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from testing.cluster import Cluster
from testing.project import copy_project, quick_profile, snakemake
from testing.small_study import STEPS, TINY, logs, one_layer_model, write_study
from tests.slurm.conftest import Run, at_once

pytestmark = pytest.mark.slurm
MODEL = "results/tiny/models/fixed/s0"
STUDY = ("--configfile", "study.yaml")


@dataclass(frozen=True)
class Study:
    """The same study, finished on one machine (`here`) and on the cluster (`there`)."""

    here: Path
    there: Path
    jobs: list[dict[str, str]]


@pytest.fixture(scope="module")
def study(
    cluster: Cluster,
    login_node: Callable[..., Run],
    minilm: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Study:
    folder = tmp_path_factory.mktemp("study")
    model = one_layer_model(minilm, folder / "model")
    here, there = folder / "here", folder / "there"
    for project in (here, there):
        project.mkdir()
        write_study(copy_project(project) / "study.yaml", model, **TINY)

    alone = snakemake(here, "--cores", "4", *STUDY)  # two threads a job, as there: other weights come of another number
    assert alone.returncode == 0, alone.stderr[-3000:] + logs(here)

    before = len(cluster.accounted("JobIDRaw"))
    profile = quick_profile(folder, {}, threads=2)
    run = login_node(cluster, there, "--workflow-profile", str(profile), *STUDY)
    run.wait(400)
    assert run.process.returncode == 0, run.log.read_text()[-3000:] + logs(there)
    jobs = cluster.accounted("Comment", "NodeList", "AllocTRES", "State", "Start", "End")[before:]
    return Study(here, there, jobs)


def test_the_study_gives_the_same_weights_and_scores_as_on_one_machine(study: Study) -> None:
    digest = f"{MODEL}/model.sha256"
    assert weights(study.there / digest) == weights(study.here / digest)
    tables = sorted((study.here / "results/tiny/scores").glob("*/s0/*.parquet"))
    assert {table.parent.parent.name for table in tables} == {"base", "fixed"}
    for table in tables:
        assert_frame_equal(pl.read_parquet(table), pl.read_parquet(study.there / table.relative_to(study.here)))
    assert (study.there / "results/tiny/curves/report.html").exists()


def test_the_studys_gpu_rules_ran_on_the_gpu_node_with_a_gpu_and_nothing_else_did(study: Study) -> None:
    def rule(job: dict[str, str]) -> str:
        return job["Comment"].removeprefix("rule_").split("_wildcards")[0]

    on_gpu = [job for job in study.jobs if "gres/gpu=1" in job["AllocTRES"]]
    others = [job for job in study.jobs if "gres/gpu" not in job["AllocTRES"]]
    assert sorted(rule(job) for job in on_gpu) == ["embed", "embed", "train"]
    assert {rule(job) for job in others} >= {"pairs", "tokens", "score"}
    # downloads, and what takes seconds, never became a job: they ran where Snakemake did
    assert not {rule(job) for job in study.jobs} & {"task", "fetch", "download_pairs", "curves", "report", "cards"}
    assert {job["NodeList"] for job in on_gpu} == {"gpu1"}
    assert {job["NodeList"] for job in others} == {"cpu1"}
    assert at_once(on_gpu) <= 2
    assert {job["State"] for job in study.jobs} == {"COMPLETED"}


def test_training_ends_with_the_same_weights_however_often_it_was_disturbed(
    study: Study, cluster: Cluster, login_node: Callable[..., Run], tmp_path: Path
) -> None:
    there = study.there
    undisturbed = weights(there / MODEL / "model.sha256")
    log = there / "results/tiny/logs/models/fixed_s0.log"
    shutil.rmtree(there / MODEL)
    log.unlink()
    begun = [0]  # the step at which each attempt began
    attempts: list[str] = []

    def attempt(run: Run) -> str:
        """Wait until training has begun again, further on than before, in a job of its own; SLURM's id of that."""

        def begins() -> bool:
            found = re.search(r"training starts at step (\d+)", log.read_text() if log.exists() else "")
            if found and int(found[1]) > begun[-1]:
                begun.append(int(found[1]))
                return True
            return False

        run.until(begins, seconds=120)
        listed = cluster.run("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").stdout
        attempts.append(next(line.split()[0] for line in listed.splitlines() if "rule_train" in line))
        assert len(set(attempts)) == len(attempts), "begun again within a job, with no more memory or time"
        return attempts[-1]

    def start(**train: object) -> Run:
        profile = quick_profile(tmp_path, {}, threads=2, train=train)
        return login_node(cluster, there, f"{MODEL}/model.sha256", "--workflow-profile", str(profile), *STUDY)

    # an operator cancels it; an operator asks it to end; Snakemake is killed under it
    run = start()
    cluster.run("scancel", attempt(run))
    cluster.run("scancel", "--signal=TERM", attempt(run))
    attempt(run)
    with stalled(there) as told_to_end:
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()

        # started again, with a time limit of two minutes of which the job is told a minute before
        before = len(cluster.accounted("JobIDRaw"))
        run = start(runtime="2 if attempt == 1 else 60", slurm_extra="'--signal=TERM@60'")
        run.until(told_to_end, seconds=60)
    attempt(run)
    with stalled(there) as told_to_end:
        run.until(told_to_end, seconds=110)
    attempt(run)
    output = run.wait(120)
    assert run.process.returncode == 0, output[-3000:] + logs(there)
    assert "ending 1 jobs of an earlier run" in output
    states = [job["State"] for job in cluster.accounted("JobIDRaw", "State", "Timelimit")[before:]]
    assert states == ["FAILED", "COMPLETED"]

    assert begun[1] == 1
    assert len(begun) == 6, begun
    assert begun[-1] <= STEPS
    assert weights(there / MODEL / "model.sha256") == undisturbed


def weights(digests: Path) -> str:
    """The line of a model's digests that is its weights'."""
    (line,) = (line for line in digests.read_text().splitlines() if line.endswith(" model.safetensors"))
    return line


def training(project: Path) -> list[int]:
    """The processes of this project's training."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"workflow_scripts.models.train" in command and (entry / "cwd").resolve() == project:
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def stalled(project: Path) -> Iterator[Callable[[], bool]]:
    """Hold training where it is, as a node that swaps does, so that a limit of minutes ends a training of seconds. Gives
    a question: whether TERM has reached every process of it, which act on it when the block ends."""
    held = training(project)
    assert held
    for pid in held:
        os.kill(pid, signal.SIGSTOP)

    def told_to_end() -> bool:
        with contextlib.suppress(FileNotFoundError):  # SLURM woke it too, and it has ended already
            found = [re.search(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{p}/status").read_text(), re.MULTILINE) for p in held]
            return all(match and int(match[1], 16) >> (signal.SIGTERM - 1) & 1 for match in found)
        return True

    try:
        yield told_to_end
    finally:
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
