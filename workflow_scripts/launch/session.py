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

from workflow_scripts.artefact import try_lock

_held: list[int] = []


def use_this_python() -> None:
    """Jobs run the Python that runs Snakemake; `--sdm conda` puts its own in front of it."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def drop_stale_lock(folder: Path) -> None:
    """Remove the lock that a killed Snakemake left in `folder`/.snakemake; leave that of a living one alone.

    Each living one shares the `flock` on `running`, which the kernel releases when the process ends, however it ends;
    who gets it alone is alone. On a file system without locks nothing is removed: `snakemake --unlock` does it.
    """
    state = folder / ".snakemake"
    state.mkdir(exist_ok=True)
    handle = os.open(state / "running", os.O_RDWR | os.O_CREAT, 0o644)
    _held.append(handle)  # open, and with it the lock held, until this process ends
    alone = try_lock(handle, fcntl.LOCK_EX)
    if alone:
        shutil.rmtree(state / "locks", ignore_errors=True)
    if alone is not None:
        fcntl.flock(handle, fcntl.LOCK_SH)
