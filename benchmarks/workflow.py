"""What Snakemake itself takes before any job runs: processor seconds of dry runs, with nothing made and with all; and what a
score job of each kind takes, alone and in one thread.

    python benchmarks/workflow.py [--json FILE] [--repeats N]

Takes the committed project without results, and, for the jobs, the results of `make study` where they are there; prints one table
and, with `--json`, the figures by name. Dry runs: processor time, so that a busy machine changes little; jobs: seconds from
start to end. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
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


def score_jobs(scratch: Path) -> dict[str, str]:
    """The shell command of a score job of each task of the embedded study, by the task's type; its output goes to `scratch`."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "--dry-run",
        "--printshellcmds",
        "--forcerun",
        "score",
    ]
    printed = subprocess.run(
        [*command, *RUNS["dry_run_embedded"]], cwd=ROOT, check=True, capture_output=True, text=True
    )
    jobs = {}
    for line in (printed.stdout + printed.stderr).splitlines():
        text, _, _ = line.removeprefix("Shell command: ").partition(" > ")
        for task, kind in {"WordNetExamples": "retrieval", "WordNetLexicographerFiles": "classification"}.items():
            output = f"results/embedded/scores/base/s0/{task}.parquet"
            if "workflow_scripts.scores.score" in text and text.endswith(f"--output {output}"):
                jobs[kind] = text.replace(f"--output {output}", f"--output {shlex.quote(str(scratch / output))}")
    return jobs


def seconds(command: str) -> float:
    """Of a rule's command, from its start to its end. Raises CalledProcessError."""
    started = time.perf_counter()
    subprocess.run(["bash", "-c", command], cwd=ROOT, env=with_python(), check=True, capture_output=True)
    return time.perf_counter() - started


def with_python() -> dict[str, str]:
    """The environment of a job: `python` is the one that runs this."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


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
        made = (ROOT / "results/embedded/curves/report.html").exists()
        jobs = score_jobs(Path(scratch)) if made else {}
        for _ in range(arguments.repeats):
            for kind, job in jobs.items():
                figures.setdefault(f"score_job_{kind}", []).append(seconds(job))
    medians = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    print("| | seconds |\n|---|---|")
    for name, median in medians.items():
        print(f"| {name.replace('_', ' ')} | {median:.1f} |")
    if not made:
        print("no results of `make study` here: its score jobs are not measured")
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=1) + "\n")


if __name__ == "__main__":
    main()
