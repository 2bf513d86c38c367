"""SIGTERM and SIGINT during a training: noted, so that the loop ends its step, saves and stops.

Takes signals; leaves the number of the last one. SLURM sends SIGTERM before it kills a job, a user's Ctrl-C is SIGINT.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - not an error: a request to stop
    """The training stopped at a signal, after it saved a checkpoint."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number


@dataclass
class StopSignals:
    """Within the block, the signal that asked for the end: its number, 0 where none did."""

    received: int = 0
    _handlers: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
