"""The report at the full study's size: seconds and memory to build it, its size, seconds to its first chart.

    python benchmarks/report.py [--json FILE]

Makes the score files of 15 variants, 3 seeds, 17 tasks, 9 dimensions and 4 reductions; the limits, which a test holds,
are 30 s, 1 GB, 8 MB and 2 s. The first chart needs Debian's chromium (the best of three visits; null without it).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.curves import full_size


def first_chart(path: Path) -> float | None:
    program = shutil.which("chromium")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        seconds = [full_size.seconds_to_first_chart(browser.new_page(), path) for _ in range(3)]
        browser.close()
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        built = full_size.measured(Path(scratch))
        figures = {
            "build_seconds": round(built["seconds"], 1),
            "build_memory_gb": round(built["memory"] / 1e9, 3),
            "file_mb": round(built["bytes"] / 1e6, 2),
            "first_chart_seconds": first_chart(Path(scratch) / "report.html"),
        }
    for name, value in figures.items():
        print(f"{name}: {'not measured' if value is None else f'{value:.3g}'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
