"""What happens once, where `snakemake` is started, before any job runs; no job imports this.

Takes the running Snakemake's folder; leaves the interpreter on PATH and no stale lock. Exists because a killed
Snakemake leaves a lock that only `--unlock` removes, while the same command should simply go on.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

from workflow_scripts.artefact import try_lock

_held: list[int] = []


def use_this_python() -> None:
    """Jobs run the Python that runs Snakemake; `--sdm conda` puts its own in front of it."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def drop_stale_lock(folder: Path, unlock: bool = False) -> str | None:
    """Remove the lock that a killed Snakemake left in `folder`/.snakemake; leave that of a living one alone.

    Each living one shares the `flock` on `running`, which the kernel releases when the process ends, however it ends;
    who gets it alone is alone. Many file systems keep such locks within a host, so `running` also names the host and
    the process that wrote it last: a lock of another host stays, and Snakemake refuses to start. `unlock`
    (`snakemake --unlock`) forgets the hosts. On a file system without locks nothing is removed.

    Returns a warning, in one line, where a lock of another host stays.
    """
    state = folder / ".snakemake"
    state.mkdir(exist_ok=True)
    handle = os.open(state / "running", os.O_RDWR | os.O_CREAT, 0o644)
    _held.append(handle)  # open, and with it the lock held, until this process ends
    alone = try_lock(handle, fcntl.LOCK_EX)
    warning = None
    if unlock:
        for record in [state / "running", *(state / "slurm_runs").glob("*")]:
            record.write_text("")
    elif alone:
        other = other_host(state / "running")
        if other and any((state / "locks").glob("*")):
            warning = (
                f"another Snakemake was started here on {other}, and this host cannot see whether it lives; if it has "
                "ended: `snakemake --unlock`, then the same command again"
            )
        else:
            shutil.rmtree(state / "locks", ignore_errors=True)
            record_process(state / "running")
    if alone is not None:
        fcntl.flock(handle, fcntl.LOCK_SH)
    return warning


def record_process(path: Path) -> None:
    """Note this host and process in a file that this process holds a lock on."""
    path.write_text(f"{socket.gethostname()} {os.getpid()}\n")


def other_host(path: Path) -> str | None:
    """'host (process number)' of a record that was written on another host; None for this host's, and for one that is
    empty or broken (what a crash of the machine leaves)."""
    record = re.fullmatch(r"(\S+) (\d+)\n?", path.read_text(errors="replace"))
    return f"{record[1]} (process {record[2]})" if record and record[1] != socket.gethostname() else None


def copied_results(folder: Path, results: Path) -> str | None:
    """A warning, in one line, where finished outputs lie in `results` (within `folder`) and Snakemake has a record of none
    of them, of how they were made; what it has of other studies does not count."""
    copied = False
    for output in (folder / results).glob("*/**/*.sha256"):
        if _record_of(folder, output).is_file():
            return None
        copied = True
    if not copied:
        return None
    return (
        f"{results} was copied here without .snakemake, which knows what it was made with: all of it would be made "
        "again; where it is this study's, add --touch to the command once"
    )


def _record_of(folder: Path, output: Path) -> Path:
    """Where Snakemake keeps what it knows of an output: under the path in base64, in parts that a file's name may have."""
    records = folder / ".snakemake" / "metadata"
    name = urlsafe_b64encode(os.fsencode(output.relative_to(folder))).decode()
    longest = (os.pathconf(folder, "PC_NAME_MAX") or 255) - 1
    *parts, last = [name[start : start + longest] for start in range(0, len(name), longest)]
    return records.joinpath(*(f"@{part}" for part in parts), last)
