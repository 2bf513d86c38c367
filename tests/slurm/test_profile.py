"""The profile on a real SLURM: where jobs run, how they come back, and that nothing waits for ever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Run

pytestmark = pytest.mark.slurm
Toy = Callable[..., Run]


def environment_of(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def test_gpu_rules_get_a_gpu_and_processor_rules_do_not_and_downloads_stay_on_the_login_node(
    cluster: Cluster, toy: Toy
) -> None:
    before = len(cluster.accounted("JobIDRaw"))
    run = toy(cluster, *(f"score_{i}" for i in range(4)), "hungry", "too_large", "never")
    output = run.wait()
    assert "the state of jobs comes from sacct" in output
    assert "SLURM_JOB_ID" not in environment_of(run.folder / "a.data")
    for i in range(4):
        embed = environment_of(run.folder / f"embed_{i}")
        assert embed["SLURMD_NODENAME"] == "gpu1"
        assert embed["CUDA_VISIBLE_DEVICES"] in ("0", "1")
        score = environment_of(run.folder / f"score_{i}")
        assert score["SLURMD_NODENAME"] == "cpu1"
        assert not score.get("CUDA_VISIBLE_DEVICES")
    jobs = cluster.accounted("JobIDRaw", "Start", "End", "AllocTRES", "Comment")[before:]
    on_gpu = [(job["Start"], job["End"]) for job in jobs if "gres/gpu=1" in job["AllocTRES"]]
    assert len(on_gpu) == 4
    assert max(sum(start <= moment < end for start, end in on_gpu) for moment, _ in on_gpu) <= 2

    # one that runs out of memory comes back with more
    assert run.events("hungry")[-1] == ("end", 50)
    assert [what for what, _ in run.events("hungry")].count("start") == 2
    # one that asks for more than there is says so, whether SLURM refuses it or would let it wait for ever
    assert "Memory specification can not be satisfied" in output or "Requested node configuration" in output
    assert "can never start (PartitionTimeLimit)" in output
    assert run.process.returncode == 1


def test_a_job_that_gets_term_or_is_cancelled_goes_on_from_its_checkpoint(cluster: Cluster, toy: Toy) -> None:
    run = toy(cluster, "train_a", "train_b", seconds=6)
    run.until(lambda: run.events("train_a") and run.events("train_b"))
    jobs = {
        line.split()[1][-1]: line.split()[0]
        for line in cluster.run("squeue", "--noheader", "--partition=gpu", "--format=%i %k").stdout.splitlines()
    }
    cluster.run("scancel", "--signal=TERM", jobs["a"])
    cluster.run("scancel", jobs["b"])
    run.wait()
    assert run.process.returncode == 0
    for name in ("train_a", "train_b"):
        events = run.events(name)
        assert [what for what, _ in events] == ["start", "term", "saved", "start", "end"]
        assert events[3][1] == events[2][1]
        assert events[4] == ("end", 60)


def test_a_killed_snakemake_started_again_goes_on_and_runs_no_job_twice_at_once(cluster: Cluster, toy: Toy) -> None:
    killed = toy(cluster, "train_a", seconds=6)
    killed.until(lambda: killed.events("train_a"))
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    again = toy(cluster, "train_a", seconds=6)
    output = again.wait()
    assert again.process.returncode == 0
    assert "ending 1 jobs of an earlier run" in output
    assert [what for what, _ in again.events("train_a")] == ["start", "term", "saved", "start", "end"]


def test_restarts_of_slurms_own_daemons_disturb_nothing(cluster: Cluster, toy: Toy) -> None:
    run = toy(cluster, "train_a", "score_a", seconds=12)
    run.until(lambda: run.events("train_a"))
    cluster.stop("slurmctld", signal.SIGKILL)
    cluster.stop("gpu1", signal.SIGKILL)
    time.sleep(4)
    cluster.start("slurmctld")
    cluster.start("gpu1")
    run.wait()
    assert run.process.returncode == 0
    assert [what for what, _ in run.events("train_a")] == ["start", "end"]


def test_a_cluster_without_accounts_is_asked_with_squeue_until_it_answers(
    cluster_without_accounts: Cluster, toy: Toy
) -> None:
    run = toy(cluster_without_accounts, "train_a", seconds=4)
    run.until(lambda: run.events("train_a"))
    cluster_without_accounts.run("scancel", "--partition=gpu")
    cluster_without_accounts.stop("slurmctld")
    run.until(lambda: "SLURM does not answer" in run.log.read_text(), seconds=60)
    cluster_without_accounts.start("slurmctld")
    output = run.wait()
    assert "the state of jobs comes from squeue" in output
    assert run.process.returncode == 0
    assert run.events("train_a")[-1] == ("end", 40)


def test_a_cluster_whose_jobs_ends_nobody_remembers_is_refused(cluster_without_accounts: Cluster, toy: Toy) -> None:
    run = toy(cluster_without_accounts, "train_a", **{"slurm-init-seconds-before-status-checks": 120})
    output = run.wait()
    assert run.process.returncode == 1
    assert "slurm-init-seconds-before-status-checks to at most 100" in output
