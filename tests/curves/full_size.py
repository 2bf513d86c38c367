"""The report at the full study's size: made, built and opened, for the test of its limits and for benchmarks/report.py.

15 variants, 3 seeds, 17 tasks, 9 dimensions, 4 reductions. `python -m tests.curves.full_size FOLDER` writes such a
study, builds its report in a process of its own and prints seconds, memory and size as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.curves.study_files import EMBEDDED_GRAPH, seeded, write_study
from workflow_scripts.artefact import peak_memory_bytes
from workflow_scripts.curves import curves, report
from workflow_scripts.study.sections.intervals import Intervals

DIMENSIONS = [8, 16, 32, 64, 128, 256, 512, 1024, 2048]
REDUCTIONS = ("prefix", "last", "prefix:int8", "prefix:binary")
TASKS = {f"Task{i}": "Classification" if i < 8 else "Retrieval" for i in range(17)}
MODELS = seeded(
    [
        *(replace(model, width=2048) for model in EMBEDDED_GRAPH),
        *(replace(EMBEDDED_GRAPH[2], name=f"budget_{i}", steps=10 * i, width=2048) for i in range(1, 9)),
    ],
    (0, 1, 2),
)
ROWS = len(MODELS) * (len(TASKS) + 2) * len(DIMENSIONS) * len(REDUCTIONS)  # a mean for each of two task types


def measured(folder: Path) -> dict[str, Any]:
    """Write the study's files into `folder`, build report.html there; seconds, bytes of memory, bytes of the page, rows."""
    write_study(folder, MODELS, TASKS, DIMENSIONS, REDUCTIONS, queries=100)
    command = [sys.executable, "-m", "tests.curves.full_size", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def build(folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    table, differences, summary = curves.answer(folder, MODELS, list(TASKS), Intervals(), "full")
    extra = report.gather(folder, summary, {"tasks": list(TASKS)})
    page = report.page(table, differences, summary, None, extra, report.vega_bundle())
    (folder / "report.html").write_text(page)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "memory": peak_memory_bytes(),
        "bytes": len(page.encode()),
        "rows": table.height,
    }


def seconds_to_first_chart(page: Any, path: Path) -> float:
    """How long an open browser page (playwright's) takes from asking for the file to its first chart."""
    started = time.perf_counter()
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_selector("#curves-panels svg.marks", timeout=120_000)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(build(Path(sys.argv[1]))))
