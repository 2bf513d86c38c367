"""What keeps two Snakemakes, or a job and its double, apart: locks that end with their process."""

from __future__ import annotations

import errno
import fcntl
import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from workflow_scripts import artefact
from workflow_scripts.launch.session import copied_results, drop_stale_lock

LIVING = "import sys; from pathlib import Path; from workflow_scripts.launch.session import drop_stale_lock;"
LIVING += "drop_stale_lock(Path(sys.argv[1])); print('here', flush=True); sys.stdin.read()"


def living(folder: Path) -> subprocess.Popen[str]:
    """A process that lives in `folder` as a Snakemake does, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", LIVING, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_a_lock_stays_while_any_snakemake_lives_and_goes_with_the_last(tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake" / "locks"
    first, second = living(tmp_path), living(tmp_path)
    locks.mkdir()
    first.communicate("")
    living(tmp_path).communicate("")
    assert locks.exists(), "the second lives on, though the first has ended and a third has come and gone"
    second.communicate("")
    living(tmp_path).communicate("")
    assert not locks.exists()


def test_where_the_file_system_knows_no_locks_work_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.INFO, "matryoshka"), artefact.exclusive_lock(tmp_path / "made.json"):
        pass
    assert "this file system knows no locks" in caplog.text
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    drop_stale_lock(tmp_path)
    assert locks.exists(), "nobody knows whose it is"


def test_a_lock_of_another_host_stays_until_it_is_unlocked(tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (tmp_path / ".snakemake" / "running").write_text("login1 4711\n")
    warning = drop_stale_lock(tmp_path)
    assert warning is not None
    assert "login1 (process 4711)" in warning
    assert "snakemake --unlock" in warning
    assert locks.exists()
    drop_stale_lock(tmp_path, unlock=True)
    (locks / "0.input.lock").unlink()  # as Snakemake does
    assert drop_stale_lock(tmp_path) is None


def test_a_host_whose_snakemake_ended_well_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake" / "running").write_text("login1 4711\n")
    assert drop_stale_lock(tmp_path) is None
    assert "login1" not in (tmp_path / ".snakemake" / "running").read_text()


@pytest.mark.parametrize("record", [b"", b"\0" * 20, b"\xff\xfe", b"login1"])
def test_a_record_that_a_crash_left_broken_keeps_nobody_out(record: bytes, tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (tmp_path / ".snakemake" / "running").write_bytes(record)
    assert drop_stale_lock(tmp_path) is None
    assert not locks.exists()


def test_results_without_snakemakes_records_are_told_of(tmp_path: Path) -> None:
    results = tmp_path / "results" / "mine"
    assert copied_results(tmp_path, results) is None
    (results / "tasks" / "SciFact").mkdir(parents=True)
    (results / "tasks" / "SciFact" / "task.sha256").touch()
    assert "--touch" in (copied_results(tmp_path, results) or "")
    record_made(tmp_path, "results/other/tasks/SciFact/task.sha256")
    assert "--touch" in (copied_results(tmp_path, results) or "")
    record_made(tmp_path, "results/mine/tasks/SciFact/task.sha256")
    assert copied_results(tmp_path, results) is None


@pytest.mark.parametrize("task", ["T", "Tâche?>" * 8, "T" * 170, "T" * 250])
def test_results_that_snakemake_has_records_of_were_made_here(task: str, tmp_path: Path) -> None:
    output = Path("results", "mine", "a folder", task, "task.sha256")
    (tmp_path / output).parent.mkdir(parents=True)
    (tmp_path / output).touch()
    assert copied_results(tmp_path, Path("results", "mine")) is not None
    record_made(tmp_path, str(output))
    assert copied_results(tmp_path, Path("results", "mine")) is None


def record_made(folder: Path, output: str) -> None:
    """A record where Snakemake itself would put it."""
    records = folder / ".snakemake" / "metadata"
    records.mkdir(parents=True, exist_ok=True)
    persistence: Any = importlib.import_module("snakemake.persistence.file")
    snakemake = SimpleNamespace(_fetch_max_len=lambda path: os.pathconf(path, "PC_NAME_MAX"))
    path = Path(persistence.FilePersistence._record_path(snakemake, str(records), output))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
