"""What is asked of SLURM and done with its answers, with answers written here: no SLURM is needed."""

from __future__ import annotations

import asyncio
import importlib.metadata
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from workflow_scripts.launch import slurm, slurm_queue
from workflow_scripts.launch.session import drop_stale_lock

PLUGIN = "snakemake_executor_plugin_slurm"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    warning = error = info


class Slurm:
    """Answers to SLURM's commands by their first words, and what was asked; `scancel` empties the queue."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked = answers, list[tuple[str, ...]]()

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        self.asked.append(command)
        if command[0] == "scancel":
            self.answers["squeue"] = ""
        answer = self.answers.get(command[0])
        return subprocess.CompletedProcess(command, int(answer is None), answer or "", "not there")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(**given: str) -> Slurm:
        found = Slurm(**given)
        for module in (slurm, slurm_queue):
            monkeypatch.setattr(module, "run_slurm", found)
        return found

    return give


def config(storage: str = "accounting_storage/slurmdbd", age: int = 300) -> str:
    return f"Configuration data\nAccountingStorageType   = {storage}\nMinJobAge               = {age} sec\n"


def test_states_come_from_sacct_where_accounts_are_kept_and_answered(answers: Any) -> None:
    answers(scontrol=config())
    assert slurm.status_command(40)[0] == "squeue", "an sacct that fails is not relied on"
    answers(scontrol=config(), sacct="1|COMPLETED")
    assert slurm.status_command(40)[0] == "sacct"


def test_a_cluster_that_forgets_jobs_before_they_are_looked_at_is_refused_with_the_setting(answers: Any) -> None:
    answers(scontrol=config("accounting_storage/none", age=60))
    assert slurm.status_command(20)[0] == "squeue"
    with pytest.raises(WorkflowError, match="slurm-init-seconds-before-status-checks to at most 20"):
        slurm.status_command(40)


def test_without_a_controller_the_run_is_refused(answers: Any) -> None:
    answers()
    with pytest.raises(WorkflowError, match="does not answer"):
        slurm.status_command(40)


def asked(states: list[dict[str, str] | None], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str] | None]:
    """What Snakemake is told, poll by poll, for what SLURM says."""
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_QUESTIONS", 0.0)
    answers = iter(states)

    async def query(_command: str, _log: Any) -> tuple[dict[str, str] | None, float | None]:
        return next(answers), 0.0

    ask = slurm.query_with_retries(query)

    async def poll() -> list[dict[str, str] | None]:
        return [(await ask("sacct", Log()))[0] for _ in range(sum(state is not None for state in states))]

    with ThreadPoolExecutor(1) as thread:  # a browser test of the same process may have left this thread a running loop
        return thread.submit(asyncio.run, poll()).result()


def test_no_answer_is_asked_again_and_states_are_those_that_the_executor_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asked([None, None, {"7": "CANCELLED by 1000"}], monkeypatch) == [{"7": "CANCELLED"}]


def test_a_preempted_job_waits_while_it_is_queued_again(monkeypatch: pytest.MonkeyPatch, answers: Any) -> None:
    answers(squeue="PENDING")
    assert asked([{"7": "PREEMPTED"}] * 4, monkeypatch) == [{"7": "PENDING"}] * 4


def test_a_job_on_a_dead_node_that_is_not_queued_again_ends_at_the_third_look(
    monkeypatch: pytest.MonkeyPatch, answers: Any
) -> None:
    answers(squeue="")
    monkeypatch.setattr(slurm, "in_queue", lambda _: False)
    told = asked([{"7": "NODE_FAIL"}] * 3, monkeypatch)
    assert told == [{"7": "PENDING"}, {"7": "PENDING"}, {"7": "CANCELLED"}]


def test_a_job_that_is_no_longer_listed_fails_at_the_third_look(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asked([{"7": "RUNNING"}, {}, {}, {}], monkeypatch)
    assert told == [{"7": "RUNNING"}, {}, {}, {"7": "FAILED"}]


class Job:
    """What is used of a Snakemake job."""

    def __init__(self, **resources: object) -> None:
        self.resources, self.threads, self.attempt, self.restart_times, self._attempt = resources, 2, 1, 3, 1


def test_a_job_that_can_never_start_is_cancelled_and_not_tried_again(answers: Any) -> None:
    found = answers(
        squeue="7|PENDING|PartitionTimeLimit|cpu|rule_train\n8|PENDING|Priority|cpu|rule_score\n", scancel=""
    )
    mine, log = Job(runtime=100000), Log()
    assert slurm_queue.cancel_hopeless("run", {"7": mine}, log) == ["7"]
    assert mine._attempt == 4
    assert "can never start (PartitionTimeLimit): it asks for runtime=100000, threads=2" in log.lines[0]
    assert ("scancel", "7") in found.asked
    assert ("scancel", "8") not in found.asked


class Submitter:
    def __init__(self) -> None:
        self.reported: list[str] = []
        self.submitted: list[Any] = []
        self._job_submission_executor = SimpleNamespace(submit=lambda _, job: self.submitted.append(job))

    def run_job(self, job: Any) -> None: ...

    def _report_job_error_threadsafe(self, _info: Any, message: str) -> None:
        self.reported.append(message)


def test_what_sbatch_refuses_is_one_line_and_not_tried_again() -> None:
    submitter, mine = Submitter(), Job(mem_mb=9)
    failed = slurm.handle_submit_error(submitter, Log())
    failed(
        SimpleNamespace(job=mine), "The error message was 'sbatch: error: Memory specification can not be satisfied'.\n"
    )
    assert submitter.reported[0].startswith(
        "SLURM refuses this job: Memory specification can not be satisfied. It asks"
    )
    assert mine._attempt == 4


def test_a_full_queue_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_QUESTIONS", 0.0)
    submitter, mine = Submitter(), Job()
    failed = slurm.handle_submit_error(submitter, Log())
    failed(SimpleNamespace(job=mine), "The error message was 'sbatch: error: QOSMaxSubmitJobPerUserLimit'.\n")
    assert submitter.submitted == [mine]
    assert mine._attempt == 1
    failed(SimpleNamespace(job=mine), "something that is not sbatch's")
    assert submitter.reported == ["something that is not sbatch's"]


def test_jobs_of_a_killed_run_are_ended_and_those_of_another_host_only_once_unlocked(
    tmp_path: Path, answers: Any
) -> None:
    runs = tmp_path / ".snakemake" / "slurm_runs"
    runs.mkdir(parents=True)
    (runs / "dead").write_text("")
    (runs / "elsewhere").write_text("login1 4711\n")
    answers(squeue="7|PENDING|Priority|cpu|rule_train\n", scancel="")
    with pytest.raises(WorkflowError, match=r"started on login1 \(process 4711\) are in the queue.*--unlock"):
        slurm_queue.cancel_left_over(runs, Log())
    drop_stale_lock(tmp_path, unlock=True)
    found = answers(squeue="7|PENDING|Priority|cpu|rule_train\n", scancel="")
    slurm_queue.cancel_left_over(runs, Log())
    assert ("scancel", "--state=PENDING", "7") in found.asked
    assert list(runs.glob("*")) == []


def test_a_plugin_of_another_shape_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin: Any = importlib.import_module(PLUGIN)

    whole = SimpleNamespace(**dict.fromkeys(slurm.OF_SUBMITTER))
    slurm.check_plugin(plugin, whole, log := Log())
    assert log.lines == []
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.0.0")
    slurm.check_plugin(plugin, whole, log)
    assert "is 3.0.0; this workflow was tried with 2.8.0" in log.lines[0]
    del whole.run_uuid
    with pytest.raises(
        WorkflowError, match=r"3\.0\.0 lacks run_uuid.*install snakemake-executor-plugin-slurm==2\.8\.0"
    ):
        slurm.check_plugin(plugin, whole, log)


def test_the_plugin_has_what_is_used_of_it() -> None:
    plugin: Any = importlib.import_module(PLUGIN)

    for name in slurm.OF_MODULE:
        assert hasattr(plugin, name)
    source = Path(plugin.__file__).read_text()
    for name in set(slurm.OF_SUBMITTER) - {"sleep", "run_job", "report_job_submission"}:
        assert name in source
    for name in ("sleep", "run_job", "report_job_submission"):
        assert hasattr(plugin.Executor, name)


@pytest.mark.parametrize(
    ("resources", "sent"),
    [
        ({"gpu": 2}, "--gpus=2"),
        ({"gpu": 2, "gpu_model": "a100"}, "--gpus=a100:2"),
        ({"gpu": 0, "gres": "gpu:a100:2"}, "--gres=gpu:a100:2"),
    ],
)
def test_gpus_are_asked_for_in_the_one_way_that_the_profile_says(resources: dict[str, object], sent: str) -> None:
    set_gres_string = importlib.import_module(f"{PLUGIN}.utils").set_gres_string

    class Resources(dict[str, object]):
        __getattr__ = dict.__getitem__

    assert set_gres_string(SimpleNamespace(resources=Resources(resources))).strip() == sent
