"""The fetching itself, where a hub is busy, a mirror or misread: called directly, without waiting."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.conftest import ROOT
from tests.hub import Fault, Hub, small_hub
from workflow_scripts.hub.retries import HubError, seconds_asked_for, with_retries

CALL = """
import json, sys
from workflow_scripts.hub.client import download_snapshot
from workflow_scripts.hub.retries import HubError
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
        hub.faults.append(Fault("status", status=429, headers={"Retry-After": "7200"}, times=99))
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


# ---- how long to wait


def busy(headers: dict[str, str], status: int = 429) -> HfHubHTTPError:
    return HfHubHTTPError(
        "busy", response=httpx2.Response(status, headers=headers, request=httpx2.Request("GET", "http://x"))
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "Thu, 26 Nov 2026 00:05:00 GMT", "Date": "Thu, 26 Nov 2026 00:00:00 GMT"}, 300),
        ({"Retry-After": "Thu, 26 Nov 2020 00:05:00 GMT", "Date": "Thu, 26 Nov 2026 00:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"RateLimit": '"resolvers";r=0;t=280', "RateLimit-Policy": '"fixed window";"resolvers";q=5000;w=300'}, 280),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit-Reset": "42"}, 42),
        ({"Retry-After": "3", "RateLimit": '"api";r=0;t=55'}, 3),
        ({"Retry-After": "0", "RateLimit": '"api";r=0;t=300'}, 300),
        ({"Retry-After": "soon", "RateLimit": '"api";r=0;t=250'}, 250),
        ({}, 0),
    ],
)
def test_a_hub_says_in_several_ways_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert seconds_asked_for(busy(headers)) == seconds


@pytest.mark.parametrize(
    "date", ["Thu Nov 26 00:05:00 2026", "Thursday, 26-Nov-26 00:05:00 GMT", "26 Nov 2026 00:05:00 -0000"]
)
def test_a_date_is_in_utc_wherever_this_machine_is(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        asked = seconds_asked_for(busy({"Retry-After": date, "Date": "Thu, 26 Nov 2026 00:00:00 GMT"}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked == 300


def test_a_window_of_a_rate_limit_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    answers = [busy({"RateLimit": '"api";r=0;t=280'}), busy({}, 503), None]

    def ask() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "here"

    assert with_retries(ask, "an/encoder@main") == "here"
    assert slept == [280, 2]


@pytest.mark.parametrize(
    "lost",
    [ConnectionResetError(104, "reset"), BrokenPipeError(), TimeoutError("timed out"), socket.gaierror(-3, "again")],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_lost_connection_is_tried_again_whoever_raises_it(
    lost: OSError, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    failures = [lost, lost]

    def ask() -> str:
        if not failures:
            return "here"
        error = failures.pop()
        if wrapped:  # as datasets and mteb do
            raise ValueError("the data set cannot be loaded") from error
        raise error

    assert with_retries(ask, "an/encoder@main") == "here"


def test_a_connection_that_stays_lost_is_one_line() -> None:
    def ask() -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(HubError) as raised:
        with_retries(ask, "an/encoder@main", waits=())
    assert str(raised.value) == (
        "an/encoder@main: the connection failed (ConnectionResetError: [Errno 104] Connection reset by peer); "
        "run again later, what is complete is kept"
    )


def test_an_error_that_is_not_the_hubs_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        with_retries(lambda: 1 // 0, "an/encoder@main")


# ---- which revision


@pytest.mark.parametrize("revision", ["v1.0+cpu", "refs/pr/3", "a-branch/of-mine"])
def test_any_name_of_a_revision_is_fetched(revision: str, tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        (hub.repository("models", "an/encoder", revision) / "config.json").write_text("{}")
        said = call(hub.environment(tmp_path / "home"), "an/encoder", revision, str(tmp_path / "out"), [])
        assert said == revision
        assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    ("repository", "revision", "said"),
    [
        ("an/encoder", "", "an/encoder@: not a repository at a revision; expected org/name@revision"),
        ("an/encoder", "v9", "an/encoder@v9: the repository has no such revision; check the part after '@'"),
        ("https://huggingface.co/an/encoder", "v1", "expected org/name@revision, so an/encoder@main"),
        ("https://huggingface.co/datasets/an/encoder/tree/v1", "main", "expected org/name@revision, so an/encoder@v1"),
        ("an/encoder/config.json", "v1", "not a repository at a revision; expected org/name@revision"),
    ],
)
def test_what_names_no_revision_is_one_line(repository: str, revision: str, said: str, tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        (hub.repository("models", "an/encoder", "v1") / "config.json").write_text("{}")
        answer = call(hub.environment(tmp_path / "home"), repository, revision, str(tmp_path / "out"), [])
    assert said in answer
    assert "\n" not in answer
    assert not (tmp_path / "out").exists()


# ---- what comes is not what was uploaded


def test_a_pointer_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90000000\n"
        (hub.repository("models", "an/encoder", "main") / "model.safetensors").write_text(pointer)
        said = call(hub.environment(tmp_path / "home"), "an/encoder", "main", str(tmp_path / "out"), [])
    assert said.startswith("an/encoder@main: model.safetensors: a Git LFS pointer is there in place of the file")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


LOAD = """
import sys
import datasets
from workflow_scripts.hub.cache import load_checked
from workflow_scripts.hub.retries import HubError
try:
    print(load_checked(lambda: datasets.load_dataset("an/dataset", revision=sys.argv[1]), "an/dataset", sys.argv[1])["train"][:])
except HubError as error:
    print(error)
"""


def load(hub: Hub, home: Path) -> str:
    import os

    command = [sys.executable, "-c", LOAD, "c" * 40]
    environment = {**os.environ, **hub.environment(home)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("own_etags", [False, True], ids=["the hub", "a mirror with ETags of its own"])
def test_right_bytes_are_kept_and_wrong_ones_thrown_away(own_etags: bool, tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        hub.own_etags = own_etags
        (hub.repository("datasets", "an/dataset", "c" * 40) / "train.jsonl").write_text('{"text": "abc"}\n' * 3)
        hub.faults.append(Fault("wrong_bytes", "train.jsonl"))
        assert "an/dataset@cccc" in (said := load(hub, tmp_path / "home"))
        assert "train.jsonl: checksum is wrong: sha256 " in said
        assert load(hub, tmp_path / "home") == "{'text': ['abc', 'abc', 'abc']}"
        before = hub.asked("/resolve/")
        assert load(hub, tmp_path / "home") == "{'text': ['abc', 'abc', 'abc']}"
        assert hub.asked("/resolve/") == before, "what is right stays in the cache"


def test_a_data_set_of_pointers_is_named(tmp_path: Path) -> None:
    with small_hub(tmp_path / "hub") as hub:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90000000\n"
        (hub.repository("datasets", "an/dataset", "c" * 40) / "train.parquet").write_text(pointer)
        said = load(hub, tmp_path / "home")
    assert f"an/dataset@{'c' * 40}: train.parquet: a Git LFS pointer is there in place of the file" in said


def test_data_that_came_from_elsewhere_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from workflow_scripts.hub import cache

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "list_files", lambda *_, **__: pytest.fail("the hub was asked"))
    assert cache.load_checked(lambda: "loaded", "an/dataset", "c" * 40) == "loaded"
