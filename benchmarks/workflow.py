"""What Snakemake itself takes before any job runs: processor seconds of dry runs, with nothing made and with all.

    python benchmarks/workflow.py [--json FILE] [--repeats N]

Takes a copy of the project without results; prints one table and, with `--json`, the figures by name. Processor time, so
that a busy machine changes little; medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = {
    "dry_run_embedded": ["--configfile", "config.yaml"],
    "dry_run_medi": ["--configfile", "studies/medi.yaml"],
    "dry_run_measure": ["--configfile", "studies/measure.yaml"],
}


def processor_seconds(project: Path, *arguments: str) -> float:
    """User and system time of one Snakemake. Raises CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", *arguments]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pretend_to_be_done(project: Path, files: list[str]) -> None:
    """Leave an empty file for every output (a folder for what has no ending), marked as made with the study's settings."""
    command = [sys.executable, "-m", "snakemake", "--summary", *files]
    summary = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
    for line in summary.splitlines():
        name = line.split("\t")[0]
        path = project / name
        if name.startswith("results/") and path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif name.startswith("results/"):
            path.mkdir(parents=True, exist_ok=True)
    processor_seconds(project, "--touch", *files)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in [*RUNS, "nothing_to_be_done"]}
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, "project")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
        for _ in range(arguments.repeats):
            for name, files in RUNS.items():
                figures[name].append(processor_seconds(project, "--dry-run", *files))
        pretend_to_be_done(project, RUNS["dry_run_embedded"])
        for _ in range(arguments.repeats):
            figures["nothing_to_be_done"].append(processor_seconds(project, *RUNS["dry_run_embedded"]))
    medians = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    print("| Snakemake before any job | processor seconds |\n|---|---|")
    for name, seconds in medians.items():
        print(f"| {name.replace('_', ' ')} | {seconds:.1f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=1) + "\n")


if __name__ == "__main__":
    main()
