"""A process's main memory: what is free, and whether what torch frees is kept for its next step.

Shared by the rooms that compute with torch (models, embeddings).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from pathlib import Path


def keep_freed_memory() -> None:
    """Let this process keep the memory that torch frees on a processor, for its next step.

    glibc gives large blocks back at once, and the system clears every page of them again when they are asked for:
    a tenth to a quarter of a training step, a twentieth to a tenth of encoding. The most memory held does not change.
    No effect with another allocator.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # names of mallopt's parameters, from malloc.h
        libc = ctypes.CDLL(None)
        if not libc.mallopt(mmap_threshold, 2**31 - 1):
            libc.mallopt(mmap_threshold, 2**25)  # the most that glibc took before 2.35
        libc.mallopt(trim_threshold, -1)  # never


def give_freed_memory_back() -> None:
    """Give the system back what `keep_freed_memory` kept and nothing uses."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def processor_memory() -> int:
    """Bytes of main memory that are free, or reclaimable, under the container's limit too."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, IndexError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = min(available, limit - used)
    return available
