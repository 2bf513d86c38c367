"""worker.py OUTPUT SECONDS [MEGABYTES]: works in steps of 0.1 s, saves where it is on SIGTERM, goes on from there.

Appends what it lived through to `events`: time, output, what, step. Leaves its environment as the output.
"""

import os
import signal
import sys
import time
from pathlib import Path

output, seconds = Path(sys.argv[1]), float(sys.argv[2])
checkpoint = Path(f"{output}.checkpoint")
step = int(checkpoint.read_text()) if checkpoint.exists() else 0


def say(what: str) -> None:
    with Path("events").open("a") as file:
        file.write(f"{time.time():.2f} {output} {what} {step}\n")


def save_and_stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM may say it twice
    say("term")
    time.sleep(1.5)  # a large checkpoint takes a while
    checkpoint.write_text(str(step))
    say("saved")
    sys.exit(143)


signal.signal(signal.SIGTERM, save_and_stop)
say("start")
memory = b"x" * (int(sys.argv[3]) * 1_000_000 if len(sys.argv) > 3 else 0)
while step < seconds * 10:
    time.sleep(0.1)
    step += 1
    if step % 20 == 0:
        checkpoint.write_text(str(step))
output.write_text("\n".join(f"{name}={value}" for name, value in os.environ.items()))
say("end")
