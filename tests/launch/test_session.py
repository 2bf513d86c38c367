"""What keeps two Snakemakes, or a job and its double, apart: locks that end with their process."""

from __future__ import annotations

import errno
import fcntl
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts import artefact
from workflow_scripts.launch.session import drop_stale_lock

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
