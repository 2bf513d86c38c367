"""What a machine without a GPU gives to jobs that could use one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import snakemake
from workflow_scripts.launch import machine


def test_a_gpu_is_there_where_its_driver_is_and_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda _: None)
    (tmp_path / "nvidiactl").touch()
    assert not machine.has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert machine.has_gpu(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not machine.has_gpu(tmp_path), "it is hidden from torch as well"


@pytest.mark.parametrize(
    ("gpus", "threads", "asked"),
    [("", 2, 0), ("0", 4, 1)],
    ids=["two jobs share the processor's cores", "one job has the GPU and all cores"],
)
def test_trainings_run_side_by_side_where_there_is_no_gpu(
    gpus: str, threads: int, asked: int, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    said = snakemake(project, "--dry-run", "--cores", "4", "results/embedded/models/fixed/s0/model.json").stdout
    train = re.search(r"^rule train:\n(?:    .*\n)*", said, re.MULTILINE)
    assert train, said
    assert f"threads: {threads}\n" in train[0]
    assert f"gpu={asked}," in train[0]
