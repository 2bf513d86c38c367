"""What the full study would submit, from a dry run with the profile; needs no SLURM."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT, copy_project, snakemake
from workflow_scripts.models.distributed import torchrun_command


def test_the_full_study_submits_one_embedding_and_one_score_job_per_model_and_task_and_asks_one_node_for_all_gpus(
    tmp_path: Path,
) -> None:
    project = copy_project(tmp_path)
    (project / "several.yaml").write_text("training: {gpus: 4}")
    files = ["studies/medi.yaml", "tests/full_study/sizes.yaml", "several.yaml"]
    profile = ("--executor", "dryrun", "--workflow-profile", "profiles/slurm")
    result = snakemake(project, "--dry-run", "--printshellcmds", *profile, "--configfile", *files)
    assert result.returncode == 0, result.stderr[-2000:]
    jobs = re.findall(
        r"^rule (\w+):$.*?^    wildcards: (.*?)$.*?^    resources: (.*?)$",
        result.stdout + result.stderr,
        re.MULTILINE | re.DOTALL,
    )
    per_pair = Counter(("embed" if rule.startswith("embed") else rule, wildcards) for rule, wildcards, _ in jobs)
    assert {rule for rule, _ in per_pair} >= {"embed", "score", "train"}
    assert set(per_pair.values()) == {1}
    trained = [resources for rule, _, resources in jobs if rule == "train"]
    assert trained
    for resources in trained:
        assert {"gpu=4", "nodes=1", "runtime=720", "mem_mb=12000"} <= set(resources.split(", "))
    # No shell in between: SLURM sends TERM to all processes of a job, and where it tracks them by cgroup, a shell that
    # ends on it ends the training before its checkpoint is written. The tests' own SLURM cannot show that.
    trainings = re.findall(r"^.*workflow_scripts\.models\.train .*$", result.stdout + result.stderr, re.MULTILINE)
    assert trainings
    assert all("; exec python -m workflow_scripts.models.train " in command for command in trainings)


def test_training_on_several_gpus_starts_one_process_for_each() -> None:
    assert torchrun_command(1, 8, []) is None
    assert torchrun_command(4, 0, []) is None
    command = torchrun_command(4, 8, ["--output", "model.json"])
    assert command is not None
    assert command[1:] == [
        "-m", "torch.distributed.run", "--nproc-per-node", "4", "--nnodes", "1", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1", "--shutdown-timeout", "540",
        "-m", "workflow_scripts.models.train", "--output", "model.json",
    ]  # fmt: skip
    fewer = torchrun_command(4, 2, [])
    assert fewer is not None
    assert fewer[4] == "2"


def test_what_is_submitted_is_retried_by_the_profile_alone() -> None:
    """A rule's own `retries` count within its SLURM job too: begun again there, with the same memory and time."""
    lines = [line.strip() for file in (ROOT / "rules").glob("*.smk") for line in file.read_text().splitlines()]
    assert {line.partition(" #")[0].rstrip() for line in lines if line.startswith("retries:")} == {"retries: 0"}
