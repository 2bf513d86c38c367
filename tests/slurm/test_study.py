"""The real workflow, cut down, on a real SLURM: the same weights and scores as on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.conftest import copy_project, snakemake
from tests.end_to_end.conftest import logs, one_layer_model, write_overlay
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Run, need_slurm, quick_profile

pytestmark = pytest.mark.slurm
TINY = {
    "study": "tiny",
    "variants": {
        "fixed": {"parent": "base"},
        **dict.fromkeys(
            [
                "matryoshka",
                "matryoshka_from_fixed",
                "base_rotated",
                "fixed_rotated",
                "rotated_matryoshka_from_fixed",
            ]
        ),
    },
    "tasks": ["WordNetLexicographerFiles"],
}


def project_with_overlay(folder: Path, model: Path) -> Path:
    folder.mkdir()
    project = copy_project(folder)
    write_overlay(project / "overlay.yaml", model, **TINY)
    return project


def test_the_cut_down_study_gives_the_same_weights_and_scores_as_on_one_machine_though_training_was_interrupted(
    cluster: Cluster, login_node: Callable[..., Run], minilm: Path, tmp_path: Path
) -> None:
    need_slurm()
    before = len(cluster.accounted("JobIDRaw"))
    model = one_layer_model(minilm, tmp_path / "model")
    here, there = (project_with_overlay(tmp_path / name, model) for name in ("here", "there"))
    started = time.monotonic()
    alone = snakemake(here, "--cores", "2", "--configfile", "overlay.yaml")
    seconds_here = time.monotonic() - started
    assert alone.returncode == 0, alone.stderr[-3000:] + logs(here)

    profile = quick_profile(tmp_path, {}, threads=2)
    started = time.monotonic()
    run = login_node(cluster, there, "--workflow-profile", str(profile), "--configfile", "overlay.yaml")

    def training() -> list[str]:
        listed = cluster.run("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").stdout
        return [line.split()[0] for line in listed.splitlines() if "rule_train" in line]

    run.until(training, seconds=240)
    time.sleep(6)  # into the training itself: what comes before is import
    cluster.run("scancel", "--signal=TERM", *training(), check=False)
    run.wait(240)
    seconds_there = time.monotonic() - started
    assert run.process.returncode == 0, run.log.read_text()[-3000:] + logs(there)

    models = sorted((here / "results/tiny/models").glob("*/s0/model.sha256"))
    assert len(models) == 2
    for digest in models:
        assert (there / digest.relative_to(here)).read_text() == digest.read_text()
    tables = sorted((here / "results/tiny/scores").glob("*/s0/*.parquet"))
    assert tables
    for table in tables:
        assert_frame_equal(pl.read_parquet(table), pl.read_parquet(there / table.relative_to(here)))
    jobs = cluster.accounted("Comment", "NodeList", "AllocTRES", "State")[before:]
    used_a_gpu = {job["Comment"].split("_wildcards")[0] for job in jobs if "gres/gpu=1" in job["AllocTRES"]}
    others = {job["Comment"].split("_wildcards")[0] for job in jobs if "gres/gpu" not in job["AllocTRES"]}
    if any(job["Comment"] for job in jobs):
        assert used_a_gpu == {"rule_train", "rule_embed"}
        assert others == {"rule_pairs", "rule_tokens", "rule_score"}
    assert {job["NodeList"] for job in jobs if "gres/gpu=1" in job["AllocTRES"]} == {"gpu1"}
    print(f"on one machine {seconds_here:.0f} s, on the cluster, training interrupted, {seconds_there:.0f} s")
