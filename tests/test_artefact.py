"""What every room does with files: whole or not at all, named by digests, one process at a time, with progress."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts import artefact
from workflow_scripts.artefact import Progress
from workflow_scripts.command_line import InputError, run


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _log_is_a_file_without_a_terminal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(artefact, "_terminal", io.StringIO)
    monkeypatch.setattr(artefact, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO, logger="matryoshka")


def after(progress: Progress, seconds: float) -> Progress:
    """The progress with a clock that stands at `seconds` after its start."""
    progress.bar._time = lambda: progress.bar.start_t + seconds
    return progress


def test_a_resumed_run_starts_at_what_is_done_without_counting_it_into_the_rate() -> None:
    with after(Progress("train", 1000, "steps", done=900), seconds=4.0) as progress:
        progress.add(20)
        assert "920/1000" in str(progress)
        assert "5.00 steps/s" in str(progress)
        assert "00:04<00:16" in str(progress), "the 80 steps that are left take 16 s at the rate of this run"


def test_what_an_earlier_run_left_can_be_counted_on_the_way() -> None:
    with after(Progress("download", 1000, "files"), seconds=2.0) as progress:
        progress.add(4)
        progress.skip(500)
        progress.skip(-100)
        assert "404/1000" in str(progress)
        assert "2.00 files/s" in str(progress)


def test_a_log_that_is_a_file_gets_lines_with_done_total_rate_and_note(caplog: pytest.LogCaptureFixture) -> None:
    with after(Progress("train", 10, "steps"), seconds=1.0) as progress:
        progress.add(2, "loss 0.5")
    assert caplog.messages[0] == "train:  20% 2/10 [00:01<00:04,  2.00 steps/s, loss 0.5]"


def test_nothing_says_done_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with Progress("train", 10, "steps") as progress:
            progress.add(2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [line.rsplit(" ", 1)[-1] for line in caplog.messages[1:]] == ["stopped"]
    assert not any("done" in line for line in caplog.messages)


def test_the_last_line_says_done_where_all_went_well(caplog: pytest.LogCaptureFixture) -> None:
    with Progress("train", 2, "steps") as progress:
        progress.add(2)
    assert caplog.messages[-1].startswith("train: 100% 2/2 ")
    assert caplog.messages[-1].endswith(" done")


def test_a_terminal_gets_a_bar_and_no_log_lines_through_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(artefact, "_terminal", lambda: terminal)
    with Progress("train", 10, "steps") as progress:
        progress.add(5)
        progress.bar.refresh()
        assert "50%|" in terminal.getvalue()
        assert caplog.messages == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    with artefact.atomic_write(target) as part:
        part.write_text("first")
        assert not target.exists()

    def fail() -> None:
        with artefact.atomic_write(target) as part:
            part.write_text("second")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


# Writes a file and a folder, says so, and waits for its end.
UNFINISHED = """
import sys, time
from pathlib import Path
from workflow_scripts.artefact import atomic_folder, atomic_write
from workflow_scripts.command_line import run

def work():
    with atomic_write(Path(sys.argv[1], "file")) as part, atomic_folder(Path(sys.argv[1], "s0")) as folder:
        part.write_text("half")
        (folder / "weights").write_text("half")
        print("ready", flush=True)
        time.sleep(60)

run(work)
"""


@pytest.fixture
def unfinished(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing `file` and `s0` below the test's folder."""
    call = [sys.executable, "-c", UNFINISHED, str(tmp_path)]
    with subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_process_that_is_told_to_end_leaves_no_temporary_file(
    tmp_path: Path, unfinished: subprocess.Popen[str]
) -> None:
    unfinished.terminate()
    assert unfinished.wait(timeout=30) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_writing_and_what_others_write_stays(
    tmp_path: Path, unfinished: subprocess.Popen[str]
) -> None:
    other = tmp_path / ".s0.pairs.abcdefgh.part"  # of another output
    other.touch()
    being_written = {*tmp_path.iterdir()}
    assert len(being_written) > 2

    def write_both() -> set[Path]:
        artefact.write_json(tmp_path / "file", {})
        with artefact.atomic_folder(tmp_path / "s0") as folder:
            (folder / "weights").touch()
        return {*tmp_path.iterdir()} - {tmp_path / "file", tmp_path / "s0"}

    assert write_both() == being_written
    unfinished.kill()
    unfinished.wait()
    assert write_both() == {other}


def test_a_folders_files_are_on_the_disk_before_the_first_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace
    monkeypatch.setattr("os.fsync", lambda _: done.append("fsync"))

    def noted(self: Path, target: str | Path) -> Path:
        done.append("replace")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    with artefact.atomic_folder(tmp_path / "folder") as part:
        for name in ("a", "b"):
            (part / name).touch()
    assert done == ["fsync", "fsync", "replace", "replace"]


def test_a_written_file_has_the_permissions_of_an_ordinary_one(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with artefact.atomic_write(tmp_path / "written") as part:
        part.write_text("")
    assert stat.S_IMODE((tmp_path / "written").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_a_folder_comes_whole_and_a_failed_one_leaves_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with artefact.atomic_folder(folder) as part:
        (part / "deep").mkdir()
        (part / "deep" / "file").write_text("first")

    def fail() -> None:
        with artefact.atomic_folder(folder) as part:
            (part / "other").write_text("second")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "folder",
        "folder/deep",
        "folder/deep/file",
    ]


def test_a_folders_manifest_is_moved_after_the_files_it_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: str | Path) -> Path:
        moved.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    with artefact.atomic_folder(tmp_path / "folder") as part:
        for name in ("a.json", "a.sha256", "z.parquet", "b.parquet"):
            (part / name).touch()
    assert moved == ["b.parquet", "z.parquet", "a.json", "a.sha256"]


def test_the_same_content_is_the_same_json_and_the_same_digest(tmp_path: Path) -> None:
    artefact.write_json(tmp_path / "first.json", {"b": 1, "a": "é"})
    artefact.write_json(tmp_path / "second.json", {"a": "é", "b": 1})
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    assert artefact.digest_of_file(tmp_path / "first.json") == artefact.digest_of_file(tmp_path / "second.json")


def test_json_that_is_cut_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"a": 1')
    with pytest.raises(InputError, match=r"cut\.json: not readable as JSON .*; delete it and run again"):
        artefact.read_json(tmp_path / "cut.json")


def test_json_that_is_cut_is_one_line_and_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model.json").write_bytes(b'{"a": "\xff')
    with pytest.raises(SystemExit) as stopped, caplog.at_level("ERROR", logger="matryoshka"):
        run(lambda: artefact.read_json(tmp_path / "model.json"))
    assert stopped.value.code == 1


def test_digests_are_read_by_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("b", "folder/a"):
        (tmp_path / name).write_text(name)
    digest = artefact.write_digests(tmp_path / "all.sha256", [tmp_path / "folder/a", tmp_path / "b"])
    subprocess.run(["sha256sum", "-c", "all.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert artefact.digest_of_file(tmp_path / "all.sha256") == digest


def test_a_second_process_waits_for_the_lock_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "output"
    calls: list[int] = []

    def held_at_first(_handle: int, how: int) -> None:
        calls.append(how)
        if how & fcntl.LOCK_NB:
            raise BlockingIOError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", held_at_first)
        with artefact.exclusive_lock(output):
            pass
    assert calls == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    assert caplog.messages == [f"waiting for another process that is making {output}"]


def test_two_processes_do_not_hold_the_same_lock(tmp_path: Path) -> None:
    with artefact.exclusive_lock(tmp_path / "output"), (tmp_path / ".output.lock").open("w") as other:
        assert artefact.try_lock(other.fileno(), fcntl.LOCK_EX) is False
    with (tmp_path / ".output.lock").open("w") as other:
        assert artefact.try_lock(other.fileno(), fcntl.LOCK_EX) is True


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: int) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    with artefact.exclusive_lock(tmp_path / "output"):
        assert "knows no locks" in caplog.text


def test_versions_name_python_and_the_packages_asked_for() -> None:
    assert set(artefact.versions("numpy")) == {"python", "numpy"}
    json.dumps(artefact.versions("numpy"))
