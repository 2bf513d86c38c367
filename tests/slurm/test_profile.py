"""The profile on a real SLURM: where jobs run, how they come back, and that nothing waits for ever."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.cluster import Cluster
from tests.slurm.conftest import Run, at_once

pytestmark = pytest.mark.slurm
Toy = Callable[..., Run]


def environment_of(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def test_every_job_runs_where_it_belongs_and_what_cannot_be_made_fails_alone_with_one_message(
    cluster: Cluster, toy: Toy
) -> None:
    before = len(cluster.accounted("JobIDRaw"))
    run = toy(cluster, *(f"score_{i}" for i in range(3)), "train_a", "hungry", "broken", "too_large", "never", gpus=2)
    output = run.wait()
    assert "the state of jobs comes from sacct" in output
    assert run.process.returncode == 1

    assert "SLURM_JOB_ID" not in environment_of(run.folder / "a.data")
    for i in range(3):
        embed = environment_of(run.folder / f"embed_{i}")
        assert embed["SLURMD_NODENAME"] == "gpu1"
        assert embed["CUDA_VISIBLE_DEVICES"] in ("0", "1")
        score = environment_of(run.folder / f"score_{i}")
        assert score["SLURMD_NODENAME"] == "cpu1"
        assert not score.get("CUDA_VISIBLE_DEVICES")
    assert environment_of(run.folder / "train_a")["CUDA_VISIBLE_DEVICES"] == "0,1"
    jobs = cluster.accounted("Comment", "Start", "End", "AllocTRES", "NNodes", "Timelimit", "ReqMem", "State")[before:]
    one = [job for job in jobs if "gres/gpu=1" in job["AllocTRES"]]
    both = [job for job in jobs if "gres/gpu=2" in job["AllocTRES"]]
    assert len(one) == 3
    assert at_once(one) <= 2
    assert [job["Comment"] for job in both] == ["rule_train_wildcards_a"]
    assert [job["NNodes"] for job in both] == ["1"]
    assert at_once([*one, *both, *both]) <= 2  # GPUs, not jobs

    # one that runs out of memory comes back with more
    assert run.events("hungry")[-1] == ("end", 50)
    hungry = [job for job in jobs if job["Comment"] == "rule_hungry"]
    assert [job["ReqMem"] for job in hungry] == ["700M", "1400M"]
    assert [job["Timelimit"] for job in hungry] == ["00:05:00", "00:10:00"]
    # one that fails for good shows its log
    assert "what broke it, in its own words" in output
    # one that asks for more than there is says so once, whether SLURM refuses it or would let it wait for ever
    assert output.count("SLURM refuses this job") == 1
    assert "mem_mb=90000000" in output
    assert output.count("can never start (PartitionTimeLimit): it asks for mem_mb=500, runtime=100000") == 1
    assert [job["State"].split()[0] for job in jobs if job["Comment"] == "rule_never"] == ["CANCELLED"]


def test_nothing_that_happens_to_slurm_or_to_a_node_loses_a_job_or_runs_it_twice(cluster: Cluster, toy: Toy) -> None:
    before = len(cluster.accounted("JobIDRaw"))
    run = toy(cluster, "train_a", "score_a", seconds=14, gpus=2)
    run.until(lambda: run.events("train_a"))

    def lived() -> list[str]:
        return [what for what, _ in run.events("train_a")]

    def started(times: int) -> bool:
        cluster.hurry()
        return lived().count("start") == times

    # the controller is restarted, the node daemon dies and comes back: the job runs on, and what is submitted meanwhile waits
    cluster.stop("slurmctld")
    cluster.stop("gpu1", signal.SIGKILL)
    time.sleep(2)
    cluster.start("slurmctld")
    cluster.start("gpu1")
    cluster.until_ready()
    assert lived() == ["start"]

    # a job that goes before takes the GPUs: back into the queue, and on from the checkpoint
    cluster.run("sbatch", "--partition=urgent", "--gpus=1", "--output=/dev/null", "--wrap=sleep 1")
    run.until(lambda: started(2))

    # the node itself dies, with all that runs on it
    cluster.kill_node("gpu1")
    run.until(lambda: cluster.node_states()["gpu1"].startswith("down"))
    cluster.start("gpu1")
    run.until(lambda: cluster.node_states()["gpu1"] == "idle")
    # The node first clears away what ran on it, which is why SLURM holds a job back for two minutes: put back at once,
    # the job is taken for its own predecessor and killed, or slurmctld (22.05.8) crashes on it.
    time.sleep(5)
    run.until(lambda: started(3))
    run.wait()
    assert run.process.returncode == 0
    events = run.events("train_a")
    assert lived() == ["start", "term", "saved", "start", "start", "end"]
    assert events[3][1] == events[2][1]
    assert events[4][1] >= events[3][1]
    assert events[5] == ("end", 140)
    jobs = [job for job in cluster.accounted("State", "Comment")[before:] if "train" in job["Comment"]]
    assert [job["State"] for job in jobs] == ["PREEMPTED", "NODE_FAIL", "COMPLETED"]


def test_a_cluster_without_accounts_is_asked_with_squeue_until_it_answers(
    cluster_without_accounts: Cluster, toy: Toy
) -> None:
    # where it would forget ended jobs before they are looked at, it is refused
    run = toy(cluster_without_accounts, "train_a", **{"slurm-init-seconds-before-status-checks": 120})
    assert "slurm-init-seconds-before-status-checks to at most 100" in run.wait()
    assert run.process.returncode == 1
    assert not run.events("train_a")

    run = toy(cluster_without_accounts, "train_a", seconds=5)
    run.until(lambda: run.events("train_a"))
    cluster_without_accounts.run("scancel", "--partition=gpu")
    run.until(lambda: run.events("train_a")[-1][0] == "start" and len(run.events("train_a")) > 1)
    cluster_without_accounts.stop("slurmctld")
    run.until(lambda: "SLURM does not answer" in run.log.read_text(), seconds=60)
    cluster_without_accounts.start("slurmctld")
    output = run.wait()
    assert "the state of jobs comes from squeue" in output
    assert run.process.returncode == 0
    assert run.events("train_a")[-1] == ("end", 50)
