"""A copy of this project to run Snakemake in, and its SLURM profile with short waits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def copy_project(target: Path) -> Path:
    """A checkout of the project as it stands in the working tree, without its results."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a project as a person would; its output is kept, its status not checked."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def quick_profile(
    folder: Path, changes: Mapping[str, object], *, threads: int = 1, train: Mapping[str, object] | None = None
) -> Path:
    """The project's own profile with what a site changes: fewer cores, a short poll, `changes`, what `train` asks for."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    profile["set-threads"] = dict.fromkeys(profile["set-threads"], threads)
    profile["set-resources"]["train"] |= train or {}
    profile |= {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 10, **changes}
    target = folder / "profile"
    target.mkdir(exist_ok=True)
    (target / "profile.yaml").write_text(yaml.safe_dump(profile))
    return target
