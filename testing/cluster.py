"""A real SLURM on this machine, for the tests: munged, slurmctld, two slurmd, and slurmdbd with MariaDB for sacct.

Takes a folder; leaves running daemons that keep everything (configuration, keys, state, logs) below it, speak over
127.0.0.1 on free ports, answer nobody without the cluster's own munge key, and touch no file of the system's own SLURM.
`cpu1` is a node without, `gpu1` one with GPUs, which SLURM allocates and counts like real ones, though only `/dev/null`
and `/dev/zero` stand behind them.

    python -m testing.cluster up --folder /tmp/cluster      # again: takes the old one down first
    export SLURM_CONF=/tmp/cluster/slurm.conf && sinfo
    python -m testing.cluster down --folder /tmp/cluster

`with Cluster(folder) as cluster:` does both, and a guard process takes it down if the caller is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from testing.cluster_files import MEMORY_PER_NODE, NODES, write_files

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = ["munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "sinfo", "squeue"]
ACCOUNTING_PROGRAMS = ["slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db"]
PACKAGES = "slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins munge mariadb-server"
MARK = "MATRYOSHKA_TEST_CLUSTER"  # in the environment of every daemon: what `down` may end
SECONDS_TO_START = 60.0


class ClusterError(RuntimeError):
    """The cluster could not be brought up; says which part, and what its log ends with."""


def missing_programs(accounting: bool = True) -> list[str]:
    """Programs that are not installed; empty where a cluster can be brought up."""
    wanted = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else [])
    return [name for name in wanted if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    """PATH with the folders of daemons, which a user's PATH often leaves out."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Cluster:
    """The daemons of one cluster and the folder that they live in."""

    def __init__(self, folder: str | Path, accounting: bool = True, memory_per_node: int = MEMORY_PER_NODE) -> None:
        self.folder = Path(folder).resolve()
        self.accounting = accounting
        self.memory_per_node = memory_per_node
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.host = socket.gethostname().split(".")[0]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))},
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{search_path()}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        self._guard: subprocess.Popen[bytes] | None = None

    # ---- up and down

    def __enter__(self) -> Cluster:
        try:
            self.up()
            guard = [sys.executable, "-m", "testing.cluster", "guard", "--folder", str(self.folder)]
            self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True, cwd=ROOT)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()

    def up(self) -> None:
        """Start every daemon and wait until both nodes are idle. Raises ClusterError."""
        if missing := missing_programs(self.accounting):
            raise ClusterError(f"not installed: {', '.join(missing)}; apt-get install {PACKAGES}")
        self.down()
        for name in ("state", "spool", "log", "database", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        who = (self.host, self.user, self.accounting, self.memory_per_node)
        self.database_port = write_files(self.folder, *who)
        self._wrap_srun()
        self.start("munged")
        self._until(lambda: (self.folder / "munge.socket").exists(), "munged")
        if self.accounting:
            self._start_accounting()
        self.start("slurmctld")
        self._until(lambda: self.run("scontrol", "ping", check=False).returncode == 0, "slurmctld")
        for node in NODES:
            self.start(node)
        self._until(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "slurmctld")

    def until_ready(self) -> None:
        """Wait until slurmctld answers and every node takes jobs. Raises ClusterError."""
        answer = {"idle", "mixed", "allocated", "completing"}
        self._until(
            lambda: len(states := self.node_states()) == len(NODES) and {*states.values()} <= answer, "slurmctld"
        )

    def down(self) -> None:
        """End every daemon and job of this folder, by the mark in its environment; nothing else is touched."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + (6 if sent == signal.SIGTERM else 3)
            mine = self._processes()
            if sent == signal.SIGTERM and mine and (self.folder / "slurm.conf").exists():
                with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                    self.run("scancel", "--full", f"--user={self.user}", check=False, timeout=5)
            for pid in mine:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
            while self._processes() and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.1)
        for name in ("state", "spool", "database"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    # ---- one daemon

    def start(self, name: str) -> None:
        """Start one daemon: munged, mariadbd, slurmdbd, slurmctld, or a node by its name."""
        command = {
            "munged": [
                "munged", "--foreground", "--force",
                f"--socket={self.folder / 'munge.socket'}", f"--key-file={self.folder / 'munge.key'}",
                f"--pid-file={self.folder / 'munged.pid'}", f"--seed-file={self.folder / 'munge.seed'}",
                f"--log-file={self.folder / 'log' / 'munged.log'}", "--num-threads=2",
            ],
            "mariadbd": ["mariadbd", f"--defaults-file={self.folder / 'database.cnf'}"],
            "slurmdbd": ["slurmdbd", "-D"],
            "slurmctld": ["slurmctld", "-D", "-f", str(self.folder / "slurm.conf")],
        }.get(name, ["slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf")])  # fmt: skip
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**self.environment, MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )
        (self.folder / f"{name}.process").write_text(str(process.pid))

    def stop(self, name: str, sent: signal.Signals = signal.SIGTERM) -> None:
        """End one daemon and wait until it is gone; its jobs' own processes stay."""
        pid = int((self.folder / f"{name}.process").read_text())
        if pid not in self._processes():
            return
        os.kill(pid, sent)
        self._until(lambda: pid not in self._processes(), name)

    def kill_node(self, name: str) -> None:
        """What a power cut does to a node: its slurmd is gone, and all that ran on it."""
        running, parents = [], set()
        for pid in self._processes():
            with contextlib.suppress(OSError):
                if f"SLURMD_NODENAME={name}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    running.append(pid)
                    parents.add(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]))
        self.stop(name, signal.SIGKILL)
        for pid in [*(parents - {1} - set(running)), *running]:  # slurmstepd first, or it would report their end
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def hurry(self) -> None:
        """Let jobs that were put back into the queue start at once; SLURM holds them back for two minutes."""
        for job in self.run("squeue", "--noheader", "--states=PENDING", "--format=%i", check=False).stdout.split():
            self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)

    # ---- questions

    def run(self, *command: str, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run one of SLURM's commands against this cluster."""
        return subprocess.run(
            command, env=self.environment, check=check, timeout=timeout, capture_output=True, text=True
        )

    def node_states(self) -> dict[str, str]:
        """{node: idle, mixed, allocated, down, ...}"""
        answer = self.run("sinfo", "--Node", "--noheader", "--format=%N %t", check=False).stdout
        names = {"mix": "mixed", "alloc": "allocated", "comp": "completing"}
        return {node: names.get(state, state) for node, state in (line.split() for line in answer.splitlines())}

    def accounted(self, *fields: str) -> list[dict[str, str]]:
        """What sacct says of every job so far, one dict of `fields` each, in order of submission."""
        answer = self.run(
            "sacct", "--allocations", "--parsable2", "--noheader", "--duplicates",
            "--starttime=now-1day", f"--format={','.join(fields)}",
        )  # fmt: skip
        return [dict(zip(fields, line.split("|"), strict=True)) for line in answer.stdout.splitlines()]

    def logs(
        self, names: Iterable[str] = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES), lines: int = 15
    ) -> str:
        """The last lines of the daemons' logs."""
        parts = []
        for name in names:
            for path in sorted((self.folder / "log").glob(f"{name}.*")):
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append(f"--- {path.name}\n" + "\n".join(tail))
        return "\n".join(parts)

    # ---- inside

    def _wrap_srun(self) -> None:
        """srun as it is, with this cluster's configuration: Snakemake's job step clears SLURM_CONF before it calls
        srun, which then looks for the system's configuration in /etc/slurm, where this cluster writes nothing."""
        srun = self.folder / "bin" / "srun"
        real = shutil.which("srun", path=search_path())
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={shlex.quote(self.environment["SLURM_CONF"])} exec {real} "$@"\n')
        srun.chmod(0o755)

    def _start_accounting(self) -> None:
        install = [
            "mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'database'}", f"--user={self.user}",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        ]  # fmt: skip
        done = subprocess.run(install, env=self.environment, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise ClusterError(f"mariadb-install-db: {(done.stderr or done.stdout).strip()[-500:]}")
        self.start("mariadbd")
        self._until(lambda: _answers(self.database_port), "mariadbd")
        self.start("slurmdbd")
        self._until(
            lambda: self.run("sacctmgr", "--noheader", "show", "cluster", check=False).returncode == 0, "slurmdbd"
        )

    def _until(self, true: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not true():
            self._reap()
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} is not ready after {SECONDS_TO_START:.0f} s\n{self.logs()}")
            time.sleep(0.1)

    def _processes(self) -> list[int]:
        """Every process that carries this cluster's mark, the guard apart, and this one never."""
        self._reap()
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    @staticmethod
    def _reap() -> None:
        """Take the exit status of children that have ended, so that they are gone and not zombies."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="A real SLURM on this machine, for tests.")
    parser.add_argument("what", choices=["up", "down", "guard"])
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--no-accounting", action="store_true", help="without slurmdbd: sacct answers nothing")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder, accounting=not arguments.no_accounting)
    if arguments.what == "guard":
        sys.stdin.buffer.read()
    if arguments.what != "up":
        cluster.down()
        return
    try:
        cluster.up()
    except ClusterError as error:
        cluster.down()
        raise SystemExit(f"cluster: {error}") from None
    sys.stdout.write(f"export SLURM_CONF={cluster.environment['SLURM_CONF']} PATH={cluster.folder / 'bin'}:$PATH\n")


if __name__ == "__main__":
    main()
