"""How much memory a block of a benchmark takes."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class AnonymousMemory:
    """The greatest memory, in bytes, that is not a file's, while a block runs: of this process, looked at every 10 ms; or of
    another `process` and all that it started together, every 200 ms."""

    def __init__(self, process: int | None = None) -> None:
        self.process, self.peak = process, 0

    def __enter__(self) -> AnonymousMemory:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.over.wait(0.01 if self.process is None else 0.2):
            held = [os.getpid()] if self.process is None else _family(self.process)
            self.peak = max(self.peak, sum(map(_anonymous, held)))


def _family(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for one in found:
        try:
            children = [path.read_text().split() for path in Path(f"/proc/{one}/task").glob("*/children")]
        except OSError:
            continue
        found += [int(child) for of_thread in children for child in of_thread]
    return found


def _anonymous(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
