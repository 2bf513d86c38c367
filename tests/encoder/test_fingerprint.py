"""What shards come from besides model, texts and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow_scripts.encoder import fingerprint
from workflow_scripts.encoder.fingerprint import computed_by


def test_an_edit_of_the_room_another_device_and_another_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encode.py").write_text("one")
    before = computed_by(tmp_path, "cpu")
    assert computed_by(tmp_path, "cpu") == before
    found = {before, computed_by(tmp_path, "cuda")}
    (tmp_path / "encode.py").write_text("two")
    found.add(computed_by(tmp_path, "cpu"))
    monkeypatch.setattr(fingerprint, "versions", lambda *names: dict.fromkeys(names, "1"))
    found.add(computed_by(tmp_path, "cpu"))
    assert len(found) == 4
