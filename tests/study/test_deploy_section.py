"""The section `deploy`: an export that the study does not measure is refused in one line, before any job."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.names import NAME
from workflow_scripts.study.sections.deploy import bundle_name
from workflow_scripts.study.sections.own_task import NOT_JUDGED


def study(bundle: dict[str, Any], name: str = "small", tasks: list[str] | None = None) -> Study:
    return load_study(
        {
            "study": "own",
            "base": {"model": "org/model@main", "width": 384},
            "dimensions": [64, 128],
            "tasks": tasks or ["WordNetLexicographerFiles", "WordNetExamples"],
            "codecs": {"mteb": ["int8"]},
            "search": {"shortlist": ["prefix-full-binary"], "candidates": [100], "rescore": ["prefix-full-int8"]},
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


def test_what_is_recommended_of_a_type_of_task_has_a_folder_that_the_study_itself_could_name() -> None:
    assert bundle_name(NOT_JUDGED, rescored=True) == "Retrieval-without-judgements-rescored"
    assert NAME.match(bundle_name(NOT_JUDGED))


def test_a_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(StudyError, match=r"deploy.bundles.a/b: 'a/b' cannot name an export"):
        study({"choice": "pca-128-int8"}, name="a/b")
