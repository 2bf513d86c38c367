"""Copies in node-local storage: whole while the block runs, gone after it, not made where there is no room."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from workflow_scripts.scratch import staged_copy


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tokens.sha256` beside `tokens.arrow`, and a $TMPDIR of the test's own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "tokens.sha256").write_text("digest")
    (tmp_path / "tokens.arrow").write_bytes(b"tokens" * 100)
    return tmp_path


def test_without_copy_the_files_are_read_where_they_are(files: Path) -> None:
    with staged_copy(files / "tokens.sha256", "tokens.arrow", copy=False) as path:
        assert path == files / "tokens.sha256"
        assert not list((files / "scratch").iterdir())


def test_both_files_are_copied_and_gone_after_the_block(files: Path) -> None:
    with staged_copy(files / "tokens.sha256", "tokens.arrow", copy=True) as path:
        assert path.parent.parent == files / "scratch"
        assert path.read_text() == "digest"
        assert path.with_name("tokens.arrow").read_bytes() == b"tokens" * 100
    assert not list((files / "scratch").iterdir())


def test_the_copies_of_a_killed_process_are_gone_after_the_next(files: Path) -> None:
    left = files / "scratch" / ".matryoshka.abcdefgh.part"
    left.touch()
    left.with_suffix(".folder.part").mkdir()
    with staged_copy(files / "tokens.sha256", "tokens.arrow", copy=True):
        assert not left.exists()
    assert not list((files / "scratch").iterdir())


def test_the_copies_are_gone_after_a_failure_too(files: Path) -> None:
    with pytest.raises(RuntimeError), staged_copy(files / "tokens.sha256", "tokens.arrow", copy=True):
        raise RuntimeError
    assert not list((files / "scratch").iterdir())


def test_where_there_is_no_room_the_files_are_read_in_place_and_the_log_says_so(
    files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 350, 650))  # 606 bytes fit, but not with a tenth
    with (
        caplog.at_level("INFO", logger="matryoshka"),
        staged_copy(files / "tokens.sha256", "tokens.arrow", copy=True) as path,
    ):
        assert path == files / "tokens.sha256"
    assert "read in place" in caplog.text


def test_a_missing_neighbour_is_an_error_that_names_it(files: Path) -> None:
    (files / "tokens.arrow").unlink()
    with (
        pytest.raises(FileNotFoundError, match=r"tokens\.arrow"),
        staged_copy(files / "tokens.sha256", "tokens.arrow", copy=True),
    ):
        pass
