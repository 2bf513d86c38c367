"""A process's main memory: what is available to it, and giving back what nothing uses.

Takes what Linux says under /proc and /sys/fs/cgroup; leaves bytes. Shared by the rooms that compute with torch (models,
embeddings).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def release_freed_memory() -> None:
    """Give the system back what this process's allocator keeps and nothing uses."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def available_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes of main memory that this process can still take: what the machine has available, or what is left under the
    limit of a control group that it is in (a container's, a SLURM job's), whichever is less.

    What a group holds as page cache counts as available: the kernel drops it before it refuses memory.
    """
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, IndexError, ValueError, StopIteration):
        lines = (proc / "meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return max(0, min([available, *_left_in_groups(proc, cgroup)]))


def _left_in_groups(proc: Path, cgroup: Path) -> Iterator[int]:
    """Bytes left under the limit of each control group of this process, and of each group around it."""
    try:
        entries = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        entries = []
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers == "":  # version 2
            root, files = cgroup, ["memory.max", "memory.high"]
            usage, cached = "memory.current", ("active_file", "inactive_file")
        elif "memory" in controllers.split(","):  # version 1
            root, files = cgroup / "memory", ["memory.limit_in_bytes"]
            usage, cached = "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")
        else:
            continue
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            for limit in files:
                with contextlib.suppress(OSError, ValueError, IndexError):  # no such file; "max"; another format
                    yield int((folder / limit).read_text()) - _used(folder, usage, cached)
            if folder == root:
                break


def _used(folder: Path, usage: str, cached: tuple[str, ...]) -> int:
    """Bytes that a control group uses, page cache not counted."""
    used = int((folder / usage).read_text())
    stat = folder / "memory.stat"  # some kernels' v1 has none
    statistics = dict(line.split() for line in stat.read_text().splitlines()) if stat.is_file() else {}
    return used - sum(int(statistics.get(name, 0)) for name in cached)
