"""A configuration that cannot be run is one line that says which key is wrong and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, snakemake
from tests.study.studies import study_of
from workflow_scripts.study.errors import StudyError

TRAINED = [
    "fixed",
    "matryoshka",
    "matryoshka_from_fixed",
    "fixed_rotated",
    "rotated_matryoshka_from_fixed",
]
BAD = {
    "a dimension above the model's width": ({"dimensions": [8, 512]}, ["dimensions", "512", "384"]),
    "a dimension listed twice": ({"dimensions": [8, 16, 8]}, ["dimensions", "8 is listed twice"]),
    "a dimension of zero": ({"dimensions": [0, 8]}, ["dimensions", "0 is not a dimension"]),
    "a negative dimension": ({"dimensions": [-8]}, ["dimensions", "-8 is not a dimension"]),
    "a dimension that is no number": ({"dimensions": ["wide"]}, ["dimensions.0", "whole number", "'wide'"]),
    "a parent that does not exist": (
        {"variants": {"x": {"parent": "fixd"}}},
        ["variants.x.parent", "'fixd'", "did you mean 'fixed'?"],
    ),
    "a circle of parents": (
        {"variants": {"x": {"parent": "y"}, "y": {"parent": "x"}}},
        ["variants.x.parent", "circle", "x -> y -> x"],
    ),
    "an unknown key": ({"dimension": [8]}, ["dimension: unknown key", "did you mean 'dimensions'?"]),
    "an unknown key in a section": (
        {"training": {"learning_rat": 1}},
        ["training.learning_rat: unknown key", "did you mean 'learning_rate'?"],
    ),
    "an unknown key in a variant": (
        {"variants": {"x": {"parent": "base", "nestd": True}}},
        ["variants.x.nestd: unknown key", "did you mean 'nested'?"],
    ),
    "an unknown task": ({"tasks": ["SciFac"]}, ["tasks", "'SciFac'", "did you mean 'SciFact'?"]),
    "a key that has a new name": ({"training": {"precision": "bf16"}}, ["training.precision", "`training.dtype`"]),
    "a key whose name now means something else": (
        {"encoding": {"precision": "bf16"}},
        ["encoding.precision", "'bf16'", "`encoding.dtype`"],
    ),
    "a prompt that no task reads": ({"encoding": {"prompts": {"Query": "q: "}}}, ["encoding.prompts", "'query'?"]),
    "a prompt under another project's name": (
        {"encoding": {"prompts": {"passage": "p: "}}},
        ["encoding.prompts", "'passage'", "did you mean 'document'?"],
    ),
    "a prompt for a misspelt task": (
        {"encoding": {"prompts": {"SciFac-query": "q: "}}},
        ["encoding.prompts", "did you mean 'SciFact-query'?"],
    ),
    "a hub model without a revision": (
        {"base": {"model": "org/name", "width": 384}},
        ["base.model", "'org/name' is no folder here", "org/name@revision"],
    ),
    "a hub model by its page": (
        {"base": {"model": "https://huggingface.co/org/name/tree/v1.0", "width": 384}},
        ["base.model", "is a URL", "write org/name@v1.0"],
    ),
    "a revision that leaves its place": (
        {"base": {"model": "org/name@../x", "width": 384}},
        ["base.model", "'org/name@../x' is no folder here"],
    ),
    "an empty task list": ({"tasks": []}, ["tasks", "empty"]),
    "a base that is not a model": ({"base": {"model": "docs"}}, ["base.model", "'docs' is not a model folder"]),
    "a base that does not exist": ({"base": {"model": "no/such/folder"}}, ["base.model", "'no/such/folder'"]),
    "a base package that is not installed": (
        {"base": {"model": "pypi:no-such-package"}},
        ["base.model", "'no-such-package' is not installed"],
    ),
    "a hub model without a width": (
        {"base": {"model": "org/name@0123abc"}},
        ["base.width", "missing"],
    ),
    "a variant's name that is no file name": (
        {"variants": {"../x": {"parent": "base"}}},
        ["variants.../x", "letters, digits"],
    ),
    "a nested variant without training": (
        {"variants": {"x": {"parent": "base", "nested": True, "objective": "none"}}},
        ["variants.x.nested", "objective: none"],
    ),
    "steps above the whole budget": (
        {"variants": {"x": {"parent": "base", "steps": 1.5}}},
        ["variants.x.steps"],
    ),
    "a width above the parent's": (
        {"variants": {"x": {"parent": "base", "width": 1024}}},
        ["variants.x.width", "1024", "384"],
    ),
    "a corpus that does not exist": ({"corpus": {"source": "no.parquet"}}, ["corpus.source", "'no.parquet'"]),
    "an unknown benchmark to clean against": (
        {"corpus": {"decontaminate": ["MTEB(eng)"]}},
        ["corpus.decontaminate", "'MTEB(eng)'"],
    ),
    "a nesting member above the width": ({"training": {"nesting": [8, 999]}}, ["training.nesting", "999", "384"]),
    "a section that is a list": ({"training": [1]}, ["training"]),
    "a variant named as a section, with an unknown key": (
        {"variants": {"tasks": {"parnt": "base"}}},
        ["variants.tasks.parnt: unknown key", "did you mean 'parent'?"],
    ),
    "a variant named as what lies beside the variants' scores": (
        {"variants": {"mteb": {"parent": "base"}}},
        ["variants.mteb", "cannot name a variant"],
    ),
    "texts too short for a word": ({"training": {"max_length": 2}}, ["training.max_length", "8", "2"]),
    "more GPUs than triples": ({"training": {"batch": 2, "gpus": 4}}, ["training.gpus", "4", "2"]),
    "pairs on the hub without a revision": (
        {"corpus": {"source": "medi", "repository": "org/name"}},
        ["corpus.repository", "org/name@revision"],
    ),
    "a corpus that does not exist, needed for a rotation alone": (
        {
            "corpus": {"source": "no.parquet"},
            "variants": dict.fromkeys(TRAINED) | {"x": {"parent": "base", "rotate": "pca", "objective": "none"}},
        },
        ["corpus.source", "'no.parquet'"],
    ),
}


@pytest.fixture
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(BAD[request.param][0]))
    return str(tmp_path / "bad.yaml")


@pytest.mark.parametrize(("overlay", "case"), [(case, case) for case in BAD], indirect=["overlay"], ids=BAD)
def test_is_one_line_that_says_what_is_wrong_and_what_would_be_right(
    overlay: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(StudyError) as raised:
        study_of(["config.yaml", overlay])
    assert "\n" not in str(raised.value)
    for part in BAD[case][1]:
        assert part in str(raised.value)


# A key of a section, and what Snakemake itself has to merge with the other file first.
THROUGH_SNAKEMAKE = ["an unknown key in a section", "a section that is a list", "a variant's name that is no file name"]


@pytest.mark.parametrize(
    ("overlay", "case"), [(case, case) for case in THROUGH_SNAKEMAKE], indirect=["overlay"], ids=THROUGH_SNAKEMAKE
)
def test_ends_snakemake_with_that_line_and_nothing_is_written(overlay: str, case: str, project: Path) -> None:
    result = snakemake(project, "--cores", "1", "--configfile", "config.yaml", overlay)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("configuration: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.rstrip().endswith(lines[0])
    for part in BAD[case][1]:
        assert part in lines[0]
    assert not (project / "results" / "embedded").exists()
