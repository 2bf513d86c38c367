"""Which jobs are worth another attempt: a user's mistake fails alike each time.

Takes the running workflow; leaves executors that retry a job unless its log ends with a mistake of the user's
(`command_line.run` writes it as `error: …`). Memory, time, preemption and the hub's trouble are tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MISTAKE = re.compile(r"\d\d:\d\d:\d\d error: (?P<message>.*)")
# The system's refusals, and what the hub or the network may have mended by the next attempt.
PASSING = re.compile(r"\[Errno \d+\]|run again|the connection failed|the hub answered")


def retry_no_mistakes(workflow: Any) -> None:
    """Call from `onstart:`."""
    scheduler = workflow.scheduler
    for executor in {scheduler._executor, scheduler._local_executor} - {None}:
        _watch_failures(executor)


def _watch_failures(executor: Any) -> None:
    handle = executor.handle_job_error

    def handle_job_error(job: Any) -> None:
        handle(job)
        if ends_with_a_mistake(job.log):
            give_up(job)

    executor.handle_job_error = handle_job_error


def ends_with_a_mistake(logs: Iterable[str]) -> bool:
    """Whether one of the logs ends with a line that says what the user has to change."""
    for log in map(Path, logs):
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        found = MISTAKE.match(lines[-1]) if lines else None
        if found and not PASSING.search(found["message"]):
            return True
    return False


def give_up(job: Any) -> None:
    """Let Snakemake not try this job again: as if this was its last attempt."""
    job._attempt = max(job.attempt, job.restart_times + 1)
