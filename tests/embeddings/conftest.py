"""A task and a model on disk, as their rooms leave them, and the two command lines of the embeddings room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.conftest import ROOT


def write_task(folder: Path, texts: list[tuple[str, str]], task_type: str = "Retrieval") -> Path:
    """A task's folder with these (prompt type, text); return its digest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(texts, schema={"prompt_type": pl.String, "text": pl.String}, orient="row")
    frame.write_parquet(folder / "texts.parquet")
    (folder / "task.json").write_text(json.dumps({"type": task_type}))
    (folder / "task.sha256").write_text("task\n")
    return folder / "task.sha256"


def command(script: str, **arguments: object) -> list[str]:
    options = [part for name, value in arguments.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", f"workflow_scripts.embeddings.{script}", *options]


def run(script: str, **arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of the room as its rule does."""
    return subprocess.run(
        command(script, **arguments), cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, check=False, timeout=120
    )


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
