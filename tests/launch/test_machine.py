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


@pytest.fixture(params=["", "0"], ids=["no GPU", "a GPU"])
def gpus(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What CUDA_VISIBLE_DEVICES says on a machine where a driver is installed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", request.param)
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return str(request.param)


@pytest.mark.parametrize("more", [(), ("--resources", "mem_mb=16000")], ids=["as it comes", "with --resources"])
def test_trainings_run_side_by_side_where_there_is_no_gpu(gpus: str, more: tuple[str, ...], project: Path) -> None:
    wanted = "results/embedded/models/fixed/s0/model.json"
    said = snakemake(project, "--dry-run", "--printshellcmds", "--cores", "4", *more, "--", wanted).stdout
    train = re.search(r"^rule train:\n(?:    .*\n)*", said, re.MULTILINE)
    assert train, said
    threads, asked = (4, 1) if gpus else (2, 0)  # one job has the GPU and all cores, or two share the cores
    assert f"threads: {threads}\n" in train[0]
    assert f"gpu={asked}," in train[0]
    assert f" --gpus {asked} " in said, "as many as were granted, not as the study would like"


# With each job that ends, Snakemake chooses again what to start.
JOBS = """
include: "Snakefile"

rule alone:
    output:
        touch("{model}.s{seed}.alone"),
    resources:
        gpu=gpus(2),
    shell:
        "mkdir running && sleep 1 && rmdir running"

rule short:
    output:
        touch("{number}.short"),
    shell:
        "sleep 0.{wildcards.number}"
"""


@pytest.mark.parametrize("gpus", ["0"], ids=["a GPU"], indirect=True)
@pytest.mark.usefixtures("gpus")
def test_jobs_take_turns_at_the_gpu_whatever_resources_are_given(project: Path) -> None:
    (project / "jobs.smk").write_text(JOBS)
    options = ("--snakefile", "jobs.smk", "--cores", "4", "--resources", "mem_mb=16000")
    said = snakemake(
        project, *options, "--", *(f"{name}.s0.alone" for name in ("base", "fixed", "matryoshka")), "2.short", "5.short"
    )
    assert said.returncode == 0, said.stderr
