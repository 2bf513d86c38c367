"""Which failures are tried again, and what is said of a job that runs anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts.launch.attempts import ends_with_a_mistake
from workflow_scripts.launch.reasons import changed_keys


@pytest.mark.parametrize(
    ("last", "mistake"),
    [
        ("12:00:00 error: pairs.jsonl: row 3: not a pair", True),
        ("12:00:00 error: [Errno 28] No space left on device", False),
        ("12:00:00 error: org/name@main: the hub answered with status 503; gave up", False),
        ("12:00:00 error: org/name@main: checksum is wrong; the bytes were thrown away, run again", False),
        ("RuntimeError: CUDA out of memory", False),
        ("12:00:00 step 17", False),
        ("", False),
    ],
)
def test_only_what_the_user_has_to_change_is_a_mistake(tmp_path: Path, last: str, mistake: bool) -> None:
    log = tmp_path / "job.log"
    log.write_text(f"11:59:59 loading\n{last}\n")
    assert ends_with_a_mistake([str(log)]) is mistake
    assert not ends_with_a_mistake([str(tmp_path / "none.log")])


def test_a_mistake_is_tried_once_and_anything_else_as_often_as_asked(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from workflow_scripts.launch.attempts import retry_no_mistakes

onstart:
    retry_no_mistakes(workflow)

rule all:
    input: "mistake", "passing"

rule fails:
    output: "{{name}}"
    log: "{{name}}.log"
    shell: "echo once >> {{wildcards.name}}.attempts; cp {{wildcards.name}}.said {{log}}; exit 1"
"""
    )
    (tmp_path / "mistake.said").write_text("12:00:00 error: tasks: 'label' is missing\n")
    (tmp_path / "passing.said").write_text("Killed\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--retries", "2", "--keep-going"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    assert len((tmp_path / "mistake.attempts").read_text().split()) == 1
    assert len((tmp_path / "passing.attempts").read_text().split()) == 3


def test_a_reason_names_the_settings_that_changed_and_no_other() -> None:
    before = """'{"model": "fixed", "training": {"batch": 16, "learning_rate": 5e-05, "warmup": 0.1}}'"""
    now = """'{"model": "fixed", "training": {"batch": 16, "learning_rate": 0.002, "decay": 0.5}}'"""
    said = changed_keys({before}, {now})
    assert said == (
        "training.learning_rate: 5e-05 -> 0.002, training.warmup: 0.1 -> not set, training.decay: not set -> 0.5"
    )


def test_a_reason_stays_short_however_much_changed() -> None:
    now = "'" + '{"text": "' + "x" * 5000 + '"' + "".join(f', "k{i}": {i}' for i in range(50)) + "}'"
    assert len(changed_keys(set(), {now})) < 400
    assert len(changed_keys({"not JSON" * 500}, set())) < 200
