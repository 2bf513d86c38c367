"""What is done once when `snakemake` starts on a SLURM cluster; no job imports this.

Takes the Snakemake workflow that is about to submit; leaves a way to learn how jobs end that never waits for ever,
no job left of a killed Snakemake, and a watch that cancels what can never start. Exists because each of these is a
case in which the SLURM executor (2.8.0) hangs, or runs a job twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import re
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from workflow_scripts.launch.attempts import give_up
from workflow_scripts.launch.session import record_process
from workflow_scripts.launch.slurm_queue import (
    LOWER,
    cancel_hopeless,
    cancel_left_over,
    claim,
    in_queue,
    run_slurm,
    wanted,
)

Query = Callable[[str, Any], Awaitable[tuple[dict[str, str] | None, float | None]]]

PLUGIN = "snakemake-executor-plugin-slurm"
PLUGIN_VERSION = "2.8.0"
# What `prepare` replaces or calls; most of it is private to the plugin.
OF_MODULE = ("query_job_status", "query_job_status_sacct", "query_job_status_squeue")
OF_SUBMITTER = (
    "_job_submission_executor",
    "_report_job_error_threadsafe",
    "next_seconds_between_status_checks",
    "report_job_submission",
    "run_job",
    "run_uuid",
    "sleep",
)
SECONDS_BETWEEN_QUESTIONS = 5.0  # to a SLURM that does not answer
SECONDS_WITHOUT_ANSWER = 3600.0  # until the run gives up; a restart of slurmctld takes seconds, an upgrade minutes
POLLS_UNTIL_FINAL = 3  # a state that SLURM may still leave, or a job that is not listed, is believed at the third look
PASSING = {"PREEMPTED", "NODE_FAIL"}  # how a job ends that SLURM then puts back into the queue, where it does
# What sbatch says when it is worth asking again: the controller is away, or one's queue is full.
LATER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|temporarily unable|temporarily unavailable|Zero Bytes"
    r"|MaxSubmitJob|Connection (refused|timed out)",
    re.IGNORECASE,
)


def prepare(workflow: Any, log: Any) -> None:
    """Call from `onstart:`. Does nothing where the run submits to no SLURM. Raises WorkflowError."""
    settings = workflow.executor_settings
    if not type(settings).__module__.startswith("snakemake_executor_plugin_slurm"):
        return
    executor: Any = importlib.import_module("snakemake_executor_plugin_slurm")
    submitter = workflow.scheduler._executor
    check_plugin(executor, submitter, log)

    settings.status_command, why = status_command(settings.init_seconds_before_status_checks)
    log.info(f"SLURM: the state of jobs comes from {settings.status_command} ({why}).")
    if settings.status_command == "squeue":  # else, while slurmctld is away, the executor turns to a sacct that is off
        executor.query_job_status_sacct = executor.query_job_status_squeue
    executor.query_job_status = query_with_retries(executor.query_job_status)
    longest = 2 * settings.init_seconds_before_status_checks
    submitter.sleep = lambda: asyncio.sleep(min(submitter.next_seconds_between_status_checks, longest))
    submitter._report_job_error_threadsafe = handle_submit_error(submitter, log)
    submitted: dict[str, Any] = {}  # SLURM's id of a job: Snakemake's job
    note_submissions(submitter, submitted)
    run = submitter.run_uuid  # the name of all its jobs
    runs = Path(workflow.workdir_init, ".snakemake", "slurm_runs")
    cancel_left_over(runs, log)
    claim(runs / run)
    record_process(runs / run)
    threading.Thread(target=_watch, args=(run, 2.0 * longest, submitted, log), daemon=True).start()


def check_plugin(executor: Any, submitter: Any, log: Any) -> None:
    """Raise WorkflowError, in one line, where the executor lacks what `prepare` replaces or calls; warn where its
    version is another than the one that this was tried with."""
    found = importlib.metadata.version(PLUGIN)
    missing = [name for name in OF_MODULE if not hasattr(executor, name)]
    missing += [name for name in OF_SUBMITTER if not hasattr(submitter, name)]
    if missing:
        raise WorkflowError(
            f"SLURM: {PLUGIN} {found} lacks {', '.join(missing)}, which this workflow uses of {PLUGIN_VERSION}; "
            f"install {PLUGIN}=={PLUGIN_VERSION}"
        )
    if found != PLUGIN_VERSION:
        log.warning(f"SLURM: {PLUGIN} is {found}; this workflow was tried with {PLUGIN_VERSION}.")


def status_command(seconds_between_checks: int) -> tuple[str, str]:
    """("sacct" or "squeue", why). sacct where SLURM keeps accounts and answers, or else squeue, if SLURM remembers
    ended jobs for long enough. Raises WorkflowError where neither can be relied on."""
    configuration = run_slurm("scontrol", "show", "config").stdout
    if not configuration:
        raise WorkflowError("SLURM: `scontrol show config` does not answer; start where `sinfo` works, on a login node")
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", configuration, flags=re.MULTILINE))
    storage = values.get("AccountingStorageType", "accounting_storage/none")
    sacct = run_slurm("sacct", "--allocations", "--noheader", "--starttime=now", "--format=JobIDRaw,State")
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


def query_with_retries(query: Query) -> Query:
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


def handle_submit_error(submitter: Any, log: Any) -> Callable[[Any, str], None]:
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


def note_submissions(submitter: Any, submitted: dict[str, Any]) -> None:
    """Note every job that is submitted under SLURM's id."""
    report = submitter.report_job_submission

    def noted(info: Any, *args: Any, **kwargs: Any) -> None:
        submitted[info.external_jobid] = info.job
        report(info, *args, **kwargs)

    submitter.report_job_submission = noted


def _watch(run: str, seconds: float, submitted: Mapping[str, Any], log: Any) -> None:
    while True:
        time.sleep(seconds)
        with contextlib.suppress(WorkflowError):  # a SLURM that does not answer: looked at again
            cancel_hopeless(run, submitted, log)
