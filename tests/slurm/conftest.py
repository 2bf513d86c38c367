"""A real SLURM for a session of tests, and Snakemake on its login node. See testing/cluster.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testing.cluster import MARK, PACKAGES, Cluster, missing_programs
from testing.project import ROOT, quick_profile

TOY = Path(__file__).resolve().parent / "toy"


def need_slurm() -> None:
    """Skip where SLURM is not installed; in CI, where it must be, fail."""
    if missing := missing_programs():
        reason = f"needs a real SLURM, and {', '.join(missing)} are not installed: apt-get install {PACKAGES}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that keeps accounts, so that sacct answers."""
    need_slurm()
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster_without_accounts(tmp_path: Path) -> Iterator[Cluster]:
    need_slurm()
    with Cluster(tmp_path / "cluster", accounting=False) as running:
        yield running


def at_once(jobs: list[dict[str, str]]) -> int:
    """How many of these jobs ran at the same time, at most."""
    spans = [(job["Start"], job["End"]) for job in jobs]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


@dataclass
class Run:
    """One Snakemake on the login node, in the background."""

    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, seconds: float = 240) -> str:
        """Its whole output, when it has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"Snakemake still runs after {seconds} s\n{self.log.read_text()[-4000:]}")
        return self.log.read_text()

    def until(self, true: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"it never came to that\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)

    def events(self, output: str) -> list[tuple[str, int]]:
        """(what, step) of the toy's job that makes `output`."""
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(w[2], int(w[3])) for line in lines if (w := line.split())[1] == output]


@pytest.fixture(scope="session")
def login_node() -> Iterator[Callable[..., Run]]:
    """Start Snakemake against a cluster: `login_node(cluster, folder, "--config", ...)`; none outlives the tests."""
    started: list[Run] = []

    def start(cluster: Cluster, folder: Path, *arguments: str) -> Run:
        log = folder / f"snakemake_{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *arguments],
                cwd=folder,
                # with the mark, it ends with the cluster, also when the tests are killed
                env=cluster.environment
                | {MARK: str(cluster.folder), "PATH": f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Run(folder, process, log))
        return started[-1]

    yield start
    for run in started:
        with contextlib.suppress(ProcessLookupError):
            run.process.kill()
        run.process.wait()


@pytest.fixture
def toy(tmp_path: Path, login_node: Callable[..., Run]) -> Callable[..., Run]:
    """Start the toy workflow on a cluster for the files named; a second call in a test goes on in the same folder."""
    folder = tmp_path / "toy"
    shutil.copytree(TOY, folder)

    def start(cluster: Cluster, *wanted: str, seconds: float = 4, gpus: int = 1, **profile: object) -> Run:
        settings = ["--config", f"root={ROOT}", f"wanted={','.join(wanted)}", f"seconds={seconds}", f"gpus={gpus}"]
        return login_node(cluster, folder, "--workflow-profile", str(quick_profile(tmp_path, profile)), *settings)

    return start
