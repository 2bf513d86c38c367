"""The sections `codecs` and `search`: what cannot be scored is refused in one line, before any job."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_scripts.search_grid import grid
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError


def study(**changes: Any) -> Study:
    plain = {
        "study": "own",
        "base": {"model": "org/model@main", "width": 384},
        "dimensions": [64, 100],
        "tasks": ["WordNetExamples"],
    }
    return load_study(plain | changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"codecs": {"pq": [7]}},
            r"codecs.pq: 7 bytes divide none of the dimensions 64, 100, 384; these do: 1, 2, 3, 4, 5",
        ),
        (
            {"codecs": {"opq": [8]}, "corpus": {"sample_texts": 200}},
            "corpus.sample_texts: 200 training texts are fewer than the 256 centroids",
        ),
        ({"codecs": {"precisions": ["int8", "int8"]}}, r"codecs.precisions: 'int8' is listed twice"),
        ({"codecs": {"precisions": ["int5"]}}, r"codecs.precisions.0: expected 'float32', 'float16'"),
        ({"codecs": {"clip": 50}}, "codecs.clip: expected a number less than 50"),
        ({"search": {"shortlist": ["int8 of all"]}}, "search.shortlist: 'int8 of all' is not a codec; expected"),
        (
            {"search": {"shortlist": ["prefix-64-float32"], "rescore": ["prefix-full-binary"]}},
            r"search.rescore: prefix-384-binary \(48 bytes a vector\) is not finer than the shortlist's prefix-64-float32 \(256\)",
        ),
        (
            {"search": {"shortlist": ["prefix-full-pq7"]}},
            r"search.shortlist: 'prefix-full-pq7': 7 bytes do not divide 384 dimensions; these do: 1, 2, 3, 4, 6, 8",
        ),
        (
            {"search": {"shortlist": ["prefix-64-rabitq10"]}},
            "search.shortlist: 'prefix-64-rabitq10' has 10 bytes; RaBitQ of 64 dimensions has 16",
        ),
        (
            {"search": {"shortlist": ["prefix-64-pq8"]}, "corpus": {"sample_texts": 200}},
            "corpus.sample_texts: 200 training texts are fewer than the 256 centroids of prefix-64-pq8",
        ),
        ({"search": {"shortlist": ["prefix-64-mteb_int8"]}}, "search.shortlist: 'prefix-64-mteb_int8' is mteb's own"),
        ({"search": {"shortlist": ["prefix-0-int8"]}}, "search.shortlist: 'prefix-0-int8' is not a codec"),
        ({"search": {"shortlist": ["prefix-full-pq0"]}}, "search.shortlist: 'prefix-full-pq0' is not a codec"),
        ({"search": {"rescore": ["pca-64-opq0"]}}, "search.rescore: 'pca-64-opq0' is not a codec"),
        (
            {"search": {"shortlist": ["prefix-5000-binary"]}},
            "search.shortlist: 'prefix-5000-binary' is above the width 384 of the widest model; use at most 384",
        ),
        (
            {"search": {"shortlist": ["prefix-full-binary"], "rescore": ["prefix-500-int8"]}},
            "search.rescore: 'prefix-500-int8' is above the width 384",
        ),
        (
            {"base": {"model": "org/name@main", "width": 384, "hub_name": "no organisation"}},
            "base.hub_name: [sS]tring should match",
        ),
        ({"cuts": ["prefix"]}, "cuts: is now called `codecs.transforms`"),
        ({"precisions": ["int8"]}, "precisions: is now called `codecs.precisions`"),
        ({"random_draws": 2}, "random_draws: is now called `codecs.random_draws`"),
        ({"adaptive": {"shortlist": [8]}}, "adaptive: is now called `search`"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(StudyError, match=line) as caught:
        study(**changes)
    assert "\n" not in str(caught.value)


def test_a_search_that_refines_for_one_model_is_measured_for_that_one() -> None:
    search = {"shortlist": ["prefix-64-float32"], "rescore": ["prefix-full-int8"]}
    found = study(search=search, variants={"narrow": {"parent": "base", "objective": "none", "width": 64}})
    assert "prefix-64-float32@20>prefix-384-int8" in [one.name for one in grid(found.search, 384)]
    assert [one.name for one in grid(found.search, 64)] == ["prefix-64-float32", "prefix-64-int8"]
    with pytest.raises(StudyError, match="is not finer than the shortlist's prefix-64-float32"):
        study(
            search=search | {"shortlist": ["prefix-64-float32", "prefix-full-float32"], "rescore": ["prefix-64-int8"]}
        )


def test_training_texts_are_encoded_where_a_codec_is_fitted_on_them_alone() -> None:
    assert study().fits_on_training_texts, "the default grid has principal axes and ranges"
    plain = {"transforms": ["prefix", "random"], "precisions": ["float32", "float8", "binary"], "mteb": ["int8"]}
    assert not study(codecs=plain).fits_on_training_texts
    assert study(codecs=plain | {"rabitq": True}).fits_on_training_texts
    assert study(codecs=plain, search={"shortlist": ["pca-64-binary"]}).fits_on_training_texts


def test_the_default_grid_has_sixty_codecs_and_one_that_all_shares_are_of() -> None:
    names = [codec.name for codec in study(dimensions=[8, 16, 32, 64, 128, 256, 384]).codecs_of("base")]
    assert len(names) >= 60
    assert "prefix-384-float32" in names
