"""What this workflow asks of SLURM's queue, and cancels there; no job imports this.

Takes the names of runs (SLURM's names of their jobs); leaves no job of a killed Snakemake, and none that waits for what
the cluster does not have.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from workflow_scripts.artefact import try_lock
from workflow_scripts.launch.attempts import give_up
from workflow_scripts.launch.session import other_host

SECONDS_TO_CHECKPOINT = 90.0  # what a job of a killed Snakemake gets between TERM and KILL
# squeue's reasons for which no amount of waiting helps (the others, as Resources or Priority, pass).
NEVER = re.compile(
    r"^(BadConstraints|PartitionNodeLimit|PartitionTimeLimit|AccountNotAllowed|QOSNotAllowed|InvalidAccount|InvalidQOS"
    r"|(Assoc|QOS|Association)\w*(Max|Min)\w*PerJob\w*|QOS\w*MaxWallDurationPerJobLimit|MaxMemPerLimit)"
)

LOWER = "lower its memory, threads, GPUs or runtime in the profile, or name another partition; not tried again"


def cancel_left_over(runs: Path, log: Any) -> None:
    """End the jobs that killed Snakemakes left in the queue: with TERM first, so that training saves a checkpoint from
    which its new job goes on. `runs` has a file per run, named as its jobs are, which the run holds while it lives, and
    which says on what host.

    Raises WorkflowError where they do not go, and where a run with jobs in the queue was started on another host, from
    which no lock may reach this one: `snakemake --unlock` says that it has ended.
    """
    dead = {path.name: handle for path in runs.glob("*") if (handle := claim(path)) is not None}
    for name in dead:
        if (other := other_host(runs / name)) and queue([name]):
            for handle in dead.values():
                os.close(handle)
            raise WorkflowError(
                f"SLURM: jobs of a Snakemake that was started on {other} are in the queue, and this host cannot see "
                "whether it lives; if it has ended: `snakemake --unlock`, then the same command again, which ends them"
            )
    if jobs := queue(dead):
        log.info(f"SLURM: ending {len(jobs)} jobs of an earlier run that was killed: {' '.join(j['id'] for j in jobs)}")
        run_slurm("scancel", "--state=PENDING", *(job["id"] for job in jobs))
        if running := [job["id"] for job in jobs if job["state"] != "PENDING"]:
            run_slurm("scancel", "--signal=TERM", *running)
            _until(lambda: not queue(dead), SECONDS_TO_CHECKPOINT)
            run_slurm("scancel", *running)
        if not _until(lambda: not queue(dead), SECONDS_TO_CHECKPOINT):
            left = " ".join(job["id"] for job in queue(dead))
            raise WorkflowError(f"SLURM: jobs of an earlier run do not end: {left}; see `squeue -j`, then try again")
    for name, handle in dead.items():
        (runs / name).unlink()
        os.close(handle)


def cancel_hopeless(run: str, submitted: Mapping[str, Any], log: Any) -> list[str]:
    """Cancel the jobs of this run that wait for what the cluster does not have, and say so, once each; their ids."""
    hopeless = [job for job in queue([run]) if job["state"] == "PENDING" and NEVER.match(job["reason"])]
    for job in hopeless:
        mine = submitted.get(job["id"])
        asks = f"asks for {wanted(mine)}" if mine else f"asks for more than partition {job['partition']} allows"
        log.error(f"SLURM: job {job['id']} ({job['comment']}) can never start ({job['reason']}): it {asks}; {LOWER}.")
        if mine:
            give_up(mine)
        run_slurm("scancel", job["id"])
    return [job["id"] for job in hopeless]


def queue(runs: Iterable[str]) -> list[dict[str, str]]:
    """The jobs of these runs that are waiting, running or ending."""
    names = ",".join(runs)
    fields = {"id": "%i", "state": "%T", "reason": "%r", "partition": "%P", "comment": "%k"}
    if not names:
        return []
    answer = run_slurm("squeue", f"--name={names}", "--noheader", f"--format={'|'.join(fields.values())}")
    if answer.returncode:
        raise WorkflowError(f"SLURM: squeue fails: {answer.stderr.strip()[:300]}")
    rows = [line.split("|", len(fields) - 1) for line in answer.stdout.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows]


def in_queue(job: str) -> bool:
    """Whether SLURM will still run this job, or is not done with it; also where it does not say."""
    answer = run_slurm("squeue", f"--jobs={job}", "--noheader", "--format=%T")
    return bool(answer.stdout.strip()) or (answer.returncode != 0 and "Invalid job id" not in answer.stderr)


def wanted(job: Any) -> str:
    """What a job asks SLURM for."""
    names = ("mem_mb", "runtime", "gpu", "gpu_model", "slurm_partition")
    return ", ".join([*(f"{n}={job.resources[n]}" for n in names if job.resources.get(n)), f"threads={job.threads}"])


def claim(path: Path) -> int | None:
    """Lock a run's file until this process ends, however it ends; None where another process holds it, or may."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if try_lock(handle, fcntl.LOCK_EX):
        return handle
    os.close(handle)
    return None


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def run_slurm(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of SLURM's commands; a failure is in the return code, also where it is not there or never answers."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=str(error))
