"""The curves room at a large study: seconds and memory of the answer and the report, and seconds to its first chart.

    python benchmarks/report.py [--json FILE]

Makes the score files of 15 variants, 3 seeds, 17 tasks, 9 dimensions and 4 kinds of codec (studies/medi.yaml has 23 variants and 180
codecs, and a task of 400,000 test texts), then runs the room's two steps in a process of its own. Goals: 60 s, 1.5 GB, 8 MB, and the first chart 2 s after the page was asked for. That needs
Debian's chromium (the best of three visits; null without it).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from testing.made_study import EMBEDDED_GRAPH, seeded, write_study  # noqa: E402
from workflow_scripts.artefact import peak_memory_bytes  # noqa: E402
from workflow_scripts.curves import curves, report  # noqa: E402
from workflow_scripts.study.sections.intervals import Intervals  # noqa: E402

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
QUERIES = 100
TEXTS = 3000  # test texts of a classification task, with ten outcomes each


def build(folder: Path) -> dict[str, Any]:
    """Answer the study whose files are in `folder`, and write its report.html there."""
    started = time.perf_counter()
    found = curves.answer(folder, MODELS, list(TASKS), Intervals(), "full")
    extra = report.gather(folder, found.summary, {"tasks": list(TASKS)})
    page = report.page(found, None, extra, report.vega_bundle())
    (folder / "report.html").write_text(page)
    return {
        "build_seconds": round(time.perf_counter() - started, 1),
        "build_memory_gb": round(peak_memory_bytes() / 1e9, 3),
        "file_mb": round(len(page.encode()) / 1e6, 2),
        "points": found.curves.height,
    }


def measured(folder: Path) -> dict[str, Any]:
    """Write the study's files into `folder` and build its report in a process of its own."""
    write_study(folder, MODELS, TASKS, DIMENSIONS, REDUCTIONS, queries=QUERIES, texts=TEXTS)
    command = [sys.executable, str(Path(__file__).resolve()), "--build", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def first_chart(path: Path) -> float | None:
    """Seconds from asking for the page to its first chart, the best of three visits."""
    program = shutil.which("chromium")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(3):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(path.as_uri(), timeout=120_000, wait_until="commit")
            page.wait_for_selector("#frontier-panels svg.marks", timeout=120_000)
            seconds.append(time.perf_counter() - started)
            page.close()
        browser.close()
    return round(min(seconds), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build(arguments.build)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        figures = measured(Path(scratch))
        figures["first_chart_seconds"] = first_chart(Path(scratch) / "report.html")
    for name, value in figures.items():
        print(f"{name}: {'not measured' if value is None else f'{value:.6g}'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
