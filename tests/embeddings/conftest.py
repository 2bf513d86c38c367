"""A task and a model on disk, as their rooms leave them, and the two command lines of the embeddings room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session")
def model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all-MiniLM-L6-v2 with the digest that the models room leaves there."""
    folder = tmp_path_factory.mktemp("model")
    for file in minilm.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "model.sha256").write_text("all-MiniLM-L6-v2\n")
    (folder / "model.json").write_text('{"model": "base"}')
    return folder


@pytest.fixture(scope="session")
def utterances(shared_data: Path) -> list[str]:
    """Distinct texts of Banking77, of all lengths."""
    frame = pl.read_parquet(shared_data / "mteb_cls" / "banking77" / "test.parquet")
    return frame["text"].unique(maintain_order=True).to_list()


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
