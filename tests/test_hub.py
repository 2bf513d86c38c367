"""The fetching itself, where a file names a path outside, or a hub stays busy: called directly, without waiting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.hub import Fault, small_hub

CALL = """
import json, sys
from workflow_scripts.hub import HubError, download_snapshot
name, revision, folder, waits = json.loads(sys.argv[1])
try:
    print(download_snapshot(name, revision, folder, "model", ["*.safetensors", "*.json"], waits).commit)
except HubError as error:
    print(error)
"""


def call(environment: dict[str, str], *arguments: object) -> str:
    import os

    result = subprocess.run(
        [sys.executable, "-c", CALL, json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_hub_that_stays_busy_is_given_up_on_after_the_last_wait(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        (hub.repository("models", "an/encoder", "main") / "config.json").write_text("{}")
        hub.faults.append(Fault("status", status=503, times=99))
        said = call(hub.environment(tmp_path / "home"), "an/encoder", "main", str(tmp_path / "out"), [0.01, 0.02])
        assert said == (
            "an/encoder@main: the hub answered with status 503, still after 2 new tries; "
            "run again later, what is complete is kept"
        )
        assert len(hub.requests) == 3
        assert not list(tmp_path.glob("out/**/*"))


def test_a_hub_that_asks_for_hours_is_given_up_on_at_once(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        hub.repository("models", "an/encoder", "main")
        hub.faults.append(Fault("status", status=429, retry_after=7200, times=99))
        said = call(hub.environment(tmp_path / "home"), "an/encoder", "main", str(tmp_path / "out"), [0.01, 0.02])
        assert "asks to be left alone for 7200 s" in said
        assert len(hub.requests) == 1
        assert not list(tmp_path.glob("out/**/*"))


def test_only_the_files_asked_for_are_fetched_and_small_ones_are_checked_too(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        repository = hub.repository("models", "an/encoder", "main")
        (repository / "config.json").write_text('{"hidden_size": 8}')
        (repository / "model.safetensors").write_bytes(bytes(1000))
        (repository / "pytorch_model.bin").write_bytes(b"a pickle, which is never read")
        hub.faults.append(Fault("wrong_bytes", "config.json"))
        arguments = ("an/encoder", "main", str(tmp_path / "out"), [0.01])
        assert "config.json: checksum is wrong: git " in call(hub.environment(tmp_path / "home"), *arguments)
        assert call(hub.environment(tmp_path / "home"), *arguments) == "main"
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
        assert hub.asked("pytorch_model.bin") == 0


def test_a_branch_is_fetched_as_the_commit_that_it_means_and_nothing_of_another_model_stays(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        (hub.repository("models", "an/encoder", "c" * 40) / "config.json").write_text("{}")
        (tmp_path / "out" / "1_Pooling").mkdir(parents=True)
        (tmp_path / "out" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
        said = call(hub.environment(tmp_path / "home"), "an/encoder", "main", str(tmp_path / "out"), [0.01])
        assert said == "c" * 40
        assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["config.json"]
        assert not hub.asked("/resolve/main/")


def test_where_no_hub_answers_the_connection_is_named(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        environment = hub.environment(tmp_path / "home")
    said = call(environment, "an/encoder", "main", str(tmp_path / "out"), [0.01])
    assert said.startswith("an/encoder@main: the connection failed (ConnectError")
