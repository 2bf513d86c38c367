"""What a person sees, and what is left on disk, when the hub gives MEDI, and when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hub import Fault, Hub, small_hub

REVISION = "0db897b54a91d6bfaa1aae83763a890872122a0b"
NAME = "avsolatorio/medi-data"
SHARD = "data/train-00000-of-00002.parquet"


@pytest.fixture(scope="module")
def module_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """MEDI's name, revision and file names; a shard's bytes need not be parquet to be fetched."""
    with small_hub(tmp_path_factory.mktemp("hub")) as hub:
        repository = hub.repository("datasets", NAME, REVISION)
        (repository / "data").mkdir()
        for shard in range(2):
            content = b"".join(index.to_bytes(4, "big") for index in range(shard, 60_000 + shard))
            (repository / "data" / f"train-0000{shard}-of-00002.parquet").write_bytes(content)
        (repository / "README.md").write_text("# MEDI data\n")
        yield hub


@pytest.fixture
def hub(module_hub: Hub) -> Hub:
    module_hub.faults.clear()
    module_hub.requests.clear()
    return module_hub


def command(folder: Path, repository: str) -> list[str]:
    settings = json.dumps({"repository": repository})
    module = "workflow_scripts.corpus.download"
    return [sys.executable, "-m", module, "--settings", settings, "--output", str(folder / "source.json")]


def environment_for(hub: Hub, folder: Path) -> dict[str, str]:
    return {**os.environ, **hub.environment(folder.parent / "home"), "HF_TOKEN": ""}


def download(
    hub: Hub, folder: Path, repository: str = f"{NAME}@{REVISION}", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, repository),
        cwd=ROOT,
        env={**environment_for(hub, folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def complete_files(folder: Path) -> list[str]:
    """Everything under `folder` that carries a final name."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def served(hub: Hub, name: str = SHARD) -> bytes:
    return (hub.folder / "datasets" / NAME / REVISION / name).read_bytes()


def test_the_pinned_revision_comes_whole_and_its_digests_can_be_checked(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    result = download(hub, folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "files" / SHARD).read_bytes() == served(hub)
    manifest = json.loads((folder / "source.json").read_text())
    assert (manifest["repository"], manifest["revision"]) == (NAME, REVISION)
    assert [file["path"] for file in manifest["files"]] == [
        "files/data/train-00000-of-00002.parquet",
        "files/data/train-00001-of-00002.parquet",
    ]
    subprocess.run(["sha256sum", "--check", "--quiet", "source.sha256"], cwd=folder, check=True)


def test_what_is_here_already_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    assert download(hub, tmp_path / "source").returncode == 0
    digest = (tmp_path / "source" / "source.sha256").read_text()
    before = hub.asked("resolve")
    assert download(hub, tmp_path / "source").returncode == 0
    assert hub.asked("resolve") == before
    assert (tmp_path / "source" / "source.sha256").read_text() == digest


def test_a_file_changed_on_this_disk_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    assert download(hub, folder).returncode == 0
    changed = folder / "files" / SHARD
    changed.write_bytes(bytes(len(served(hub))))
    assert download(hub, folder).returncode == 0
    assert changed.read_bytes() == served(hub)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("status", SHARD, times=2, status=503), "status 503; trying again in 2 s"),
        (Fault("status", "revision", status=429, headers={"Retry-After": "2"}), "status 429; trying again in 2 s"),
    ],
    ids=["503 on a file, twice", "429 on the listing, with Retry-After"],
)
def test_a_busy_hub_is_waited_for_and_longer_each_time(hub: Hub, tmp_path: Path, fault: Fault, said: str) -> None:
    hub.faults.append(fault)
    result = download(hub, tmp_path / "source")
    assert result.returncode == 0, result.stderr
    assert said in result.stderr
    assert (tmp_path / "source" / "files" / SHARD).read_bytes() == served(hub)


def test_a_transfer_cut_in_the_middle_goes_on_from_where_it_was_cut(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault("cut", SHARD, after_bytes=100_000))
    result = download(hub, tmp_path / "source")
    assert result.returncode == 0, result.stderr
    assert "the connection failed" in result.stderr
    ranges = [how for _, path, how in hub.requests if SHARD in path]
    assert ranges == ["", "bytes=100000-"]
    assert (tmp_path / "source" / "files" / SHARD).read_bytes() == served(hub)


def test_a_killed_download_leaves_nothing_that_looks_complete_and_the_next_one_goes_on(
    hub: Hub, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    hub.faults.append(Fault("stall", SHARD, after_bytes=150_000))
    process = subprocess.Popen(command(folder, f"{NAME}@{REVISION}"), cwd=ROOT, env=environment_for(hub, folder))
    deadline = time.monotonic() + 30
    while sum(part.stat().st_size for part in folder.rglob("*.part")) < 150_000:
        assert time.monotonic() < deadline, "the first bytes did not come"
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert complete_files(folder) == []
    hub.requests.clear()
    assert download(hub, folder).returncode == 0
    assert [how for _, path, how in hub.requests if SHARD in path] == ["bytes=150000-"]
    assert (folder / "files" / SHARD).read_bytes() == served(hub)


def test_a_file_with_a_wrong_checksum_is_named_and_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault("wrong_bytes", SHARD))
    result = download(hub, tmp_path / "source")
    one_line(result, f"{SHARD}: checksum is wrong: sha256 ", "run again")
    assert complete_files(tmp_path / "source") == []
    assert list((tmp_path / "source").rglob("*.part")) == []
    assert download(hub, tmp_path / "source").returncode == 0


def test_a_revision_that_the_hub_lacks_is_named_and_an_older_download_no_longer_vouches(
    hub: Hub, tmp_path: Path
) -> None:
    assert download(hub, tmp_path / "source").returncode == 0
    result = download(hub, tmp_path / "source", f"{NAME}@{'b' * 40}")
    one_line(result, f"{NAME}@{'b' * 40}: the repository has no such revision")
    assert "source.sha256" not in complete_files(tmp_path / "source")


def test_another_revision_leaves_nothing_of_the_one_before(hub: Hub, tmp_path: Path) -> None:
    other = hub.repository("datasets", NAME, "c" * 40)
    (other / "medi-data.json").write_text("[]")
    assert download(hub, tmp_path / "source").returncode == 0
    assert download(hub, tmp_path / "source", f"{NAME}@{'c' * 40}").returncode == 0
    assert complete_files(tmp_path / "source") == ["files/medi-data.json", "source.json", "source.sha256"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("token", times=99), "a token is needed"),
        (Fault("gated", times=99), "access must be granted"),
    ],
    ids=["401", "gated"],
)
def test_a_hub_that_asks_for_a_token_gets_it_from_the_environment(
    hub: Hub, tmp_path: Path, fault: Fault, said: str
) -> None:
    hub.faults.append(fault)
    result = download(hub, tmp_path / "source")
    one_line(result, said, "HF_TOKEN")
    assert complete_files(tmp_path / "source") == []
    with_token = download(hub, tmp_path / "source", HF_TOKEN="hf_small_hub")  # noqa: S106 (no hub but the small one)
    assert with_token.returncode == 0, with_token.stderr


def test_a_repository_that_does_not_exist_is_named(hub: Hub, tmp_path: Path) -> None:
    one_line(download(hub, tmp_path / "source", "nobody/nothing@main"), "nobody/nothing@main: no such repository")


def test_a_repository_without_pairs_is_named(hub: Hub, tmp_path: Path) -> None:
    (hub.repository("datasets", "some/readme", "d" * 40) / "README.md").write_text("nothing else")
    one_line(download(hub, tmp_path / "source", f"some/readme@{'d' * 40}"), "no file there fits", "*.parquet")


def test_with_the_hub_offline_nothing_is_asked(hub: Hub, tmp_path: Path) -> None:
    one_line(download(hub, tmp_path / "source", HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set")
    assert hub.requests == []


def one_line(result: subprocess.CompletedProcess[str], *said: str) -> None:
    """The error is the last line, without a traceback, and says all this."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    for part in said:
        assert part in last
