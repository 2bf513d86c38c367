"""What is done once when `snakemake` starts on a SLURM cluster; no job imports this.

Takes the Snakemake workflow that is about to submit; leaves a way to learn how jobs end that never waits for ever,
no job left of a killed Snakemake, and a watch that cancels what can never start. Exists because each of these is a
case in which the SLURM executor (2.8.0) hangs, or runs a job twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from workflow_scripts.artefact import try_lock

Query = Callable[[str, Any], Awaitable[tuple[dict[str, str] | None, float | None]]]

SECONDS_BETWEEN_QUESTIONS = 5.0  # to a SLURM that does not answer
SECONDS_WITHOUT_ANSWER = 3600.0  # until the run gives up; a restart of slurmctld takes seconds, an upgrade minutes
POLLS_UNTIL_FINAL = 3  # a state that SLURM may still leave, or a job that is not listed, is believed at the third look
PASSING = {"PREEMPTED", "NODE_FAIL"}  # how a job ends that SLURM then puts back into the queue, where it does
SECONDS_TO_CHECKPOINT = 90.0  # what a job of a killed Snakemake gets between TERM and KILL
# squeue's reasons for which no amount of waiting helps (the others, as Resources or Priority, pass).
NEVER = re.compile(
    r"^(BadConstraints|PartitionNodeLimit|PartitionTimeLimit|AccountNotAllowed|QOSNotAllowed|InvalidAccount|InvalidQOS"
    r"|(Assoc|QOS|Association)\w*(Max|Min)\w*PerJob\w*|QOS\w*MaxWallDurationPerJobLimit|MaxMemPerLimit)"
)
# What sbatch says when it is worth asking again: the controller is away, or one's queue is full.
LATER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|temporarily unable|temporarily unavailable|Zero Bytes"
    r"|MaxSubmitJob|Connection (refused|timed out)",
    re.IGNORECASE,
)
LOWER = "lower its memory, threads, GPUs or runtime in the profile, or name another partition; not tried again"


def prepare(workflow: Any, log: Any) -> None:
    """Call from `onstart:`. Does nothing where the run submits to no SLURM. Raises WorkflowError."""
    settings = workflow.executor_settings
    if not type(settings).__module__.startswith("snakemake_executor_plugin_slurm"):
        return
    executor: Any = importlib.import_module("snakemake_executor_plugin_slurm")

    settings.status_command, why = status_command(settings.init_seconds_before_status_checks)
    log.info(f"SLURM: the state of jobs comes from {settings.status_command} ({why}).")
    if settings.status_command == "squeue":  # else, while slurmctld is away, the executor turns to a sacct that is off
        executor.query_job_status_sacct = executor.query_job_status_squeue
    executor.query_job_status = patient(executor.query_job_status)
    submitter = workflow.scheduler._executor
    longest = 2 * settings.init_seconds_before_status_checks
    submitter.sleep = lambda: asyncio.sleep(min(submitter.next_seconds_between_status_checks, longest))
    submitter._report_job_error_threadsafe = sober(submitter, log)
    submitted: dict[str, Any] = {}  # SLURM's id of a job: Snakemake's job
    remember(submitter, submitted)
    run = submitter.run_uuid  # the name of all its jobs
    runs = Path(workflow.workdir_init, ".snakemake", "slurm_runs")
    cancel_left_over(runs, log)
    _claim(runs / run)
    threading.Thread(target=_watch, args=(run, 2.0 * longest, submitted, log), daemon=True).start()


def status_command(seconds_between_checks: int) -> tuple[str, str]:
    """("sacct" or "squeue", why). sacct where SLURM keeps accounts and answers, or else squeue, if SLURM remembers
    ended jobs for long enough. Raises WorkflowError where neither can be relied on."""
    configuration = _slurm("scontrol", "show", "config").stdout
    if not configuration:
        raise WorkflowError("SLURM: `scontrol show config` does not answer; start where `sinfo` works, on a login node")
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", configuration, flags=re.MULTILINE))
    storage = values.get("AccountingStorageType", "accounting_storage/none")
    sacct = _slurm("sacct", "--allocations", "--noheader", "--starttime=now", "--format=JobIDRaw,State")
    if not storage.endswith("/none") and sacct.returncode == 0:
        return "sacct", f"this cluster keeps accounts in {storage}"
    trouble = "keeps no accounts" if storage.endswith("/none") else f"sacct fails: {sacct.stderr.strip()[:200]}"
    age = int(re.match(r"\d*", values.get("MinJobAge", ""))[0] or 0)  # type: ignore[index]
    if age < 3 * seconds_between_checks:
        raise WorkflowError(
            f"SLURM: this cluster {trouble}, and forgets ended jobs after MinJobAge={age} s, before Snakemake has "
            f"looked; set slurm-init-seconds-before-status-checks to at most {max(1, age // 3)} in the profile "
            f"(found {seconds_between_checks})"
        )
    return "squeue", f"this cluster {trouble}, and lists ended jobs for {age} s"


def patient(query: Query) -> Query:
    """The executor's own question for the states of its jobs, with an answer that always lets it go on.

    - No answer (slurmctld restarts): asked again, since the executor would forget its jobs.
    - "CANCELLED by 1000", as sacct says it: "CANCELLED", since the executor knows no other.
    - PREEMPTED, NODE_FAIL: waiting, since SLURM puts such a job back into the queue; three times in a row and not in the
      queue: ended, so that it is retried. The executor would wait for ever, and keep every later job off that node.
    - Seen before and three times not listed: ended likewise.
    """
    passing: Counter[str] = Counter()
    missing: Counter[str] = Counter()

    async def ask(command: str, log: Any) -> tuple[dict[str, str] | None, float | None]:
        asked = time.monotonic()
        while (answer := await query(command, log))[0] is None:
            if time.monotonic() - asked > SECONDS_WITHOUT_ANSWER:
                raise WorkflowError(f"SLURM: no answer for {SECONDS_WITHOUT_ANSWER / 60:.0f} minutes to `{command}`")
            log.warning(f"SLURM does not answer; asking again in {SECONDS_BETWEEN_QUESTIONS:.0f} s.")
            await asyncio.sleep(SECONDS_BETWEEN_QUESTIONS)
        states = {job: state.split(" ")[0].rstrip("+") for job, state in (answer[0] or {}).items()}
        for job, state in states.items():
            missing[job] = 0
            passing[job] = passing[job] + 1 if state in PASSING else 0
            if passing[job]:
                states[job] = "PENDING" if passing[job] < POLLS_UNTIL_FINAL or in_queue(job) else "CANCELLED"
        for job in missing.keys() - states.keys():
            missing[job] += 1
            if missing[job] >= POLLS_UNTIL_FINAL:
                states[job] = "FAILED"
        return states, answer[1]

    return ask


def sober(submitter: Any, log: Any) -> Callable[[Any, str], None]:
    """What to do when sbatch fails. SLURM away, or one's queue full: submitted again. Refused: one line, no retry,
    which would ask for more still."""
    report = submitter._report_job_error_threadsafe
    since: dict[Any, float] = {}

    def failed(info: Any, message: str) -> None:
        said = re.search(r"The error message was '(.*?)'\.\n", message, flags=re.DOTALL)
        if said is None:  # not sbatch's own failure
            report(info, message)
            return
        reason = "; ".join(line.removeprefix("sbatch: error: ").strip() for line in said[1].splitlines())
        asked = time.monotonic() - since.setdefault(info.job, time.monotonic())
        if LATER.search(reason) and asked < SECONDS_WITHOUT_ANSWER:
            log.warning(f"SLURM does not take {info.job} now ({reason}); again in {SECONDS_BETWEEN_QUESTIONS:.0f} s.")
            time.sleep(SECONDS_BETWEEN_QUESTIONS)
            with contextlib.suppress(RuntimeError):  # Snakemake ends: nothing more is submitted
                submitter._job_submission_executor.submit(submitter.run_job, info.job)
                return
        give_up(info.job)
        report(info, f"SLURM refuses this job: {reason}. It asks for {wanted(info.job)}: {LOWER}. ")

    return failed


def remember(submitter: Any, submitted: dict[str, Any]) -> None:
    """Note every job that is submitted under SLURM's id."""
    report = submitter.report_job_submission

    def noted(info: Any, *args: Any, **kwargs: Any) -> None:
        submitted[info.external_jobid] = info.job
        report(info, *args, **kwargs)

    submitter.report_job_submission = noted


def give_up(job: Any) -> None:
    """Let Snakemake not try this job again: as if this was its last attempt."""
    job._attempt = max(job.attempt, job.restart_times + 1)


def wanted(job: Any) -> str:
    """What a job asks SLURM for."""
    names = ("mem_mb", "runtime", "gpu", "gpu_model", "slurm_partition")
    return ", ".join([*(f"{n}={job.resources[n]}" for n in names if job.resources.get(n)), f"threads={job.threads}"])


def cancel_left_over(runs: Path, log: Any) -> None:
    """End the jobs that killed Snakemakes left in the queue: with TERM first, so that training saves a checkpoint from
    which its new job goes on. `runs` has a file per run, named as its jobs are, which the run holds while it lives.

    Raises WorkflowError where they do not go.
    """
    dead = {path.name: handle for path in runs.glob("*") if (handle := _claim(path)) is not None}
    if jobs := queue(dead):
        log.info(f"SLURM: ending {len(jobs)} jobs of an earlier run that was killed: {' '.join(j['id'] for j in jobs)}")
        _slurm("scancel", "--state=PENDING", *(job["id"] for job in jobs))
        if running := [job["id"] for job in jobs if job["state"] != "PENDING"]:
            _slurm("scancel", "--signal=TERM", *running)
            _until(lambda: not queue(dead), SECONDS_TO_CHECKPOINT)
            _slurm("scancel", *running)
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
        _slurm("scancel", job["id"])
    return [job["id"] for job in hopeless]


def queue(runs: Iterable[str]) -> list[dict[str, str]]:
    """The jobs of these runs that are waiting, running or ending."""
    names = ",".join(runs)
    fields = {"id": "%i", "state": "%T", "reason": "%r", "partition": "%P", "comment": "%k"}
    if not names:
        return []
    answer = _slurm("squeue", f"--name={names}", "--noheader", f"--format={'|'.join(fields.values())}")
    if answer.returncode:
        raise WorkflowError(f"SLURM: squeue fails: {answer.stderr.strip()[:300]}")
    rows = [line.split("|", len(fields) - 1) for line in answer.stdout.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows]


def in_queue(job: str) -> bool:
    """Whether SLURM will still run this job, or is not done with it; also where it does not say."""
    answer = _slurm("squeue", f"--jobs={job}", "--noheader", "--format=%T")
    return bool(answer.stdout.strip()) or (answer.returncode != 0 and "Invalid job id" not in answer.stderr)


def _claim(path: Path) -> int | None:
    """Hold a run's file until this process ends, however it ends; None where another process holds it, or may."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if try_lock(handle, fcntl.LOCK_EX):
        return handle
    os.close(handle)
    return None


def _watch(run: str, seconds: float, submitted: Mapping[str, Any], log: Any) -> None:
    while True:
        time.sleep(seconds)
        with contextlib.suppress(WorkflowError):  # a SLURM that does not answer: looked at again
            cancel_hopeless(run, submitted, log)


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of SLURM's commands; a failure is in the return code, also where it is not there or never answers."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=str(error))
