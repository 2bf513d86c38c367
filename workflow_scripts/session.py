"""What happens once, where `snakemake` is started, before any job runs; no job imports this.

Takes the running Snakemake's folder; leaves the interpreter on PATH and no stale lock. Exists because a killed
Snakemake leaves a lock that only `--unlock` removes, while the same command should simply go on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

_held: list[int] = []


def use_this_python() -> None:
    """Jobs run the Python that runs Snakemake; `--sdm conda` puts its own in front of it."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def drop_stale_lock(folder: Path) -> None:
    """Remove the lock that a killed Snakemake left in `folder`/.snakemake; leave that of a living one alone.

    The living one holds `running` with flock, which the kernel releases when the process ends, however it ends.
    """
    state = folder / ".snakemake"
    state.mkdir(exist_ok=True)
    handle = os.open(state / "running", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return
    _held.append(handle)  # held until this process ends
    shutil.rmtree(state / "locks", ignore_errors=True)
