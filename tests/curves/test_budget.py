"""What training buys: models of one kind are one line over budgets, and the tables hold what frontier and differences say."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from matplotlib.collections import PathCollection

from testing.made_study import MEDI_LIKE, write_study
from tests.study.studies import STUDIES, study_of
from workflow_scripts.curves import budget, budget_figures, chart_data, figures, looks
from workflow_scripts.curves.collect import Model, graph_of
from workflow_scripts.curves.costs import costs
from workflow_scripts.curves.curves import Found, answer
from workflow_scripts.curves.kinds import kinds, largest, steps_of
from workflow_scripts.curves.report import searches_of
from workflow_scripts.study.sections.intervals import Intervals

MODELS = [
    Model("base", None, width=384),
    Model("base_rotated", "base", rotated=True, width=384),
    Model("fixed_10", "base", trained=True, width=384, steps=10),
    Model("fixed_40", "base", trained=True, width=384, steps=40),
    Model("matryoshka_10", "base", nested=True, trained=True, width=384, steps=10),
    Model("matryoshka_40", "base", nested=True, trained=True, width=384, steps=40),
    Model("from_fixed_40", "fixed_40", nested=True, trained=True, width=384, steps=20),
]
TASKS = dict.fromkeys(["FEVER", "SciFact", "NFCorpus", "ArguAna"], "Retrieval")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("results")
    precisions = ("prefix", "prefix:int8", "prefix:binary")
    write_study(folder, MODELS, TASKS, [8, 32, 128, 384], precisions, corpus=MEDI_LIKE)
    return answer(folder, MODELS, list(TASKS), Intervals(resamples=100), "s", in_domain=["FEVER", "SciFact"])


def kinds_of(found: Found) -> list[str]:
    return list(kinds(found.summary.models))


def test_models_that_differ_in_their_steps_alone_are_one_kind(tmp_path: Path) -> None:
    models = costs(tmp_path, graph_of(study_of(STUDIES["crossover"])))
    of_kind = {kind: [model.name for model in members] for kind, members in kinds(models).items()}
    assert of_kind["base"] == ["base"]
    assert of_kind["fixed"] == ["fixed_60", "fixed_250", "fixed_1000"]
    assert of_kind["fixed_rotated"] == ["fixed_60_rotated", "fixed_250_rotated", "fixed_1000_rotated"]
    assert of_kind["matryoshka_adapted"][0] == "matryoshka_60_adapted"
    assert sum(map(len, of_kind.values())) == len(models), "no model is in two kinds, or in none"
    assert steps_of(models)["rotated_matryoshka_from_fixed_250"] == 375
    longest = list(largest(models, [model.name for model in models]))
    assert longest[:3] == ["base", "base_rotated", "base_adapted"]
    assert all(name.split("_adapted")[0].split("_rotated")[0].endswith("_1000") for name in longest[3:])
    so_far = largest(models, ["base", "fixed_60", "fixed_250", "matryoshka_60"])
    assert so_far == {"base": "base", "fixed_250": "fixed", "matryoshka_60": "matryoshka"}


def test_models_that_their_steps_do_not_tell_apart_keep_their_names() -> None:
    models = costs(Path("nowhere"), graph_of(study_of(STUDIES["medi"])))
    of_kind = {kind: [model.name for model in members] for kind, members in kinds(models).items()}
    assert of_kind["matryoshka_from_fixed"] == ["retrofit_1", "retrofit_5", "retrofit_20", "matryoshka_from_fixed"]
    assert of_kind["fixed_adapted_1k"] == ["fixed_adapted_1k"], (
        "adaptors of other numbers of pairs are no budgets of one"
    )


def test_the_table_of_budgets_has_the_best_within_so_many_bytes(found: Found) -> None:
    table = found.budget.filter(task="mean")
    assert sorted(set(table["bytes"])) == [8, 48, 192]
    assert table.filter(variant="from_fixed_40")["steps"].unique().to_list() == [60]
    for row in table.iter_rows(named=True):
        within = found.frontier.filter(
            scope=row["variant"], of="reference", engine="any codec", resource="memory"
        ).filter(pl.col("bytes") <= row["bytes"])
        assert row["share"] == within["share"].max()
        assert row["share_low"] < row["share"] < row["share_high"]
    lines = [line.get_label() for line in budget_figures.draw_budget(table, found.summary).axes[0].lines]
    assert [str(label) for label in lines] == ["base", "base_rotated", "fixed", "matryoshka", "from_fixed_40"]


def test_where_some_models_have_several_seeds_those_with_one_are_hollow(found: Found) -> None:
    table = found.budget.filter(task="mean").with_columns(verdict=pl.lit("unclear"))

    def hollow(seeds: dict[str, int]) -> tuple[int, bool]:
        counted = table.with_columns(seeds=pl.col("variant").replace_strict(seeds, default=3, return_dtype=pl.Int64))
        figure = budget_figures.draw_budget(counted, found.summary)
        clouds = [drawn for drawn in figure.axes[0].collections if isinstance(drawn, PathCollection)]
        plt.close(figure)
        points = sum(len(np.asarray(cloud.get_offsets())) for cloud in clouds)
        return points, looks.ONE_SEED in [text.get_text() for text in figure.legends[0].get_texts()]

    assert hollow({}) == (0, False)
    assert hollow(dict.fromkeys(table["variant"], 1)) == (0, False)
    assert hollow({"matryoshka_40": 1}) == (1, True)


def test_the_frontiers_picture_explains_hollow_markers_where_it_draws_some(found: Found) -> None:
    def hollow(seeds: dict[str, int]) -> tuple[int, bool]:
        counted = dict.fromkeys([model.name for model in MODELS if model.trained], 3) | seeds
        figure = figures.draw(found.curves, found.frontier, found.summary.model_copy(update={"seeds": counted}))
        lines = [line for line in figure.axes[-1].lines if len(np.asarray(line.get_xdata()))]
        plt.close(figure)
        explained = looks.ONE_SEED in [text.get_text() for text in figure.legends[0].get_texts()]
        return sum(line.get_markerfacecolor() == "white" for line in lines), explained

    assert hollow({}) == hollow({"matryoshka_10": 1}) == (0, False), "the longest training of each kind alone is drawn"
    assert hollow({"matryoshka_40": 1}) == (1, True)


def test_a_kind_keeps_its_models_whatever_another_model_is_called(tmp_path: Path) -> None:
    models = [
        Model("base", None, width=384),
        *(Model(f"rotated_{steps}", "base", rotated=True, trained=True, width=384, steps=steps) for steps in (60, 250)),
        Model("rotated", "base", rotated=True, width=384),
    ]
    of_kind = {kind: [model.name for model in members] for kind, members in kinds(costs(tmp_path, models)).items()}
    assert of_kind == {"base": ["base"], "rotated_250": ["rotated_60", "rotated_250"], "rotated": ["rotated"]}


def test_a_model_that_lacks_a_task_is_drawn_where_it_has_a_mean(found: Found) -> None:
    def without_mean(table: pl.DataFrame) -> pl.DataFrame:
        return table.filter((pl.col("kind") != "matryoshka") | (pl.col("task") != "mean"))

    less = found._replace(budget=without_mean(found.budget), domains=without_mean(found.domains))
    data = chart_data.chart_data(less, searches_of([]), [])
    matryoshka = data["kinds"].index("matryoshka")
    assert matryoshka not in {point["kind"] for point in data["budget"]}
    assert matryoshka in {point["kind"] for point in data["floats"]}
    assert budget_figures.draw_budget(less.budget, less.summary).axes
    assert budget_figures.draw_domains(budget.sides_of(less.domains), less.summary).axes


def test_each_task_types_reference_is_named_where_they_differ(found: Found) -> None:
    axes = budget_figures.draw_budget(found.budget, found.summary).axes
    assert "base's full width" in axes[1].get_ylabel()
    both = {"Retrieval": "base", "Classification": "fixed_10"}
    axes = budget_figures.draw_budget(found.budget, found.summary.model_copy(update={"reference": both})).axes
    assert [axis.get_title().endswith(f"{name}'s") for axis, name in zip(axes, both.values(), strict=False)] == [
        True
    ] * 2


def test_the_same_is_a_matter_of_scores_in_bytes_as_in_floats(tmp_path: Path) -> None:
    write_study(tmp_path, MODELS, TASKS, [8, 32, 128, 384], ("prefix", "prefix:int8", "prefix:binary"))
    found = answer(tmp_path, MODELS, list(TASKS), Intervals(resamples=100, confidence=0.99, margin=0.01), "s")
    full = found.curves.filter(variant="base", codec="prefix-384-float32", task="mean")["score"][0]
    undecided = found.budget.drop_nulls("verdict").filter(~pl.col("verdict").is_in(["better", "worse"]))
    ends = pl.max_horizontal(pl.col("low").abs(), pl.col("high").abs())
    assert undecided.filter(ends > 0.01, ends * full <= 0.01)["verdict"].to_list() == ["same"] * 3


def test_what_is_trained_is_set_beside_the_best_without_training(found: Found) -> None:
    untrained = found.budget.filter(pl.col("steps") == 0)
    assert set(untrained["variant"]) == {"base", "base_rotated"}
    assert untrained["verdict"].null_count() == untrained.height
    trained = found.budget.filter(pl.col("steps") > 0)
    assert trained["verdict"].null_count() == 0
    assert set(trained["task"]) == {"mean", "mean in domain", "mean out of domain"}
    full = found.curves.filter(variant="base", codec="prefix-384-float32").select("task", full="score")
    score = found.curves.select("variant", "codec", "task", "score")
    sides = (
        trained.join(full, on="task")
        .join(score, left_on=["variant", "choice", "task"], right_on=["variant", "codec", "task"])
        .join(score, left_on=["free", "free_choice", "task"], right_on=["variant", "codec", "task"], suffix="_free")
    )
    assert sides.height == trained.height
    measured = (sides["score"] - sides["score_free"]) / sides["full"]
    # Which side is more flattered by its choice hangs on how many codecs it was chosen among, and how alike they are.
    assert float((measured - sides["difference"]).abs().max()) < 0.02  # type: ignore[arg-type]
    decided = trained.filter(pl.col("verdict").is_in(["better", "worse"]))
    assert decided.height
    assert ((decided["difference"] > 0) == (decided["verdict"] == "better")).all()
    assert (decided["p_corrected"] < 0.05).all()


def test_a_ring_says_that_a_model_is_told_apart_from_the_best_without_training(found: Found) -> None:
    table = found.budget.filter(task="mean").with_columns(
        verdict=pl.when(pl.col("variant") == "fixed_40").then(pl.lit("better")).otherwise(pl.lit("unclear"))
    )
    figure = budget_figures.draw_budget(table, found.summary)
    for axis in figure.axes:
        points = sum(len(np.asarray(c.get_offsets())) for c in axis.collections if isinstance(c, PathCollection))
        assert points == 1
    assert budget_figures.DECIDED in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_horizontal_line_has_its_ring_at_its_left_end(found: Found) -> None:
    table = found.budget.filter(task="mean").with_columns(
        verdict=pl.when(pl.col("variant") == "base_rotated").then(pl.lit("better")).otherwise(pl.lit("unclear"))
    )
    figure = budget_figures.draw_budget(table, found.summary)
    figure.canvas.draw()
    axis = figure.axes[0]
    share = table.filter(variant="base_rotated", bytes=8)["share"].item()
    (ring,) = (c for c in axis.collections if isinstance(c, PathCollection) and len(np.asarray(c.get_offsets())))
    ((x, y),) = np.asarray(ring.get_offsets())
    assert (x, y) == (budget_figures.LEFT_END, share)
    low, high = axis.get_ylim()
    assert low < y < high
    chart = json.loads(Path(budget_figures.__file__).with_name("charts").joinpath("budget.json").read_text())
    free = [layer for layer in chart["layer"] if layer.get("data") == {"name": "free"}]
    assert [layer["mark"]["type"] for layer in free] == ["rule", "point"]
    assert free[1]["encoding"]["x"] == {"value": 10}
    assert "beside" in [shown["field"] for shown in free[0]["encoding"]["tooltip"]]


def test_the_frontiers_that_are_drawn_and_written_never_fall(found: Found) -> None:
    drawn = figures.drawn_frontiers(found.frontier)
    for _, line in drawn.group_by(["task_type", "scope"]):
        assert line.sort("bytes")["share"].is_sorted()
    assert drawn.height <= budget.frontiers_of_models(found.frontier).height


def test_no_interval_makes_a_panel_flat(found: Found) -> None:
    table = found.budget.filter(task="mean")
    wide = table.with_columns(
        share_high=pl.when(pl.col("variant") == "matryoshka_40").then(30.0).otherwise("share_high")
    )
    low, high = budget_figures.draw_budget(wide, found.summary).axes[0].get_ylim()
    assert high - low < 3


def test_the_table_of_domains_has_every_model_on_either_side_and_the_figure_each_kinds_longest(found: Found) -> None:
    table = budget.sides_of(found.domains)
    assert set(table["task"]) == {"mean in domain", "mean out of domain"}
    assert set(table["variant"]) == {"fixed_10", "fixed_40", "from_fixed_40", "matryoshka_10", "matryoshka_40"}
    assert dict(table.select("variant", "steps").unique().iter_rows())["from_fixed_40"] == 60
    for row in table.iter_rows(named=True):
        at = found.curves.filter(task=row["task"], codec=f"prefix-{row['dim']}-float32")
        score = dict(at.select("variant", "score").iter_rows())
        assert row["free"] == max(("base", "base_rotated"), key=lambda name: score[name])
        # The better of two is flattered by that choice; no more than by half of what either may vary.
        gain = row["difference"] - (score[row["variant"]] - score[row["free"]])
        assert -1e-9 <= gain <= (row["high"] - row["low"]) / 4
        assert (row["verdict"] in ("better", "worse")) == (row["p_corrected"] < 0.05)
    axes = budget_figures.draw_domains(table, found.summary).axes
    assert len(axes) == 2
    longest = table.filter(task="mean in domain", variant="fixed_40").sort("dim")["difference"].to_list()
    (line,) = [line for line in axes[0].lines if line.get_label() == "fixed_40"]
    assert list(line.get_ydata()) == longest


def test_a_study_without_scores_has_empty_tables_and_figures(tmp_path: Path) -> None:
    nothing = answer(tmp_path, MODELS, list(TASKS), Intervals(resamples=100), "s")
    tables = (nothing.budget, nothing.domains)
    assert all(table.is_empty() for table in tables)
    assert budget_figures.draw_budget(tables[0], nothing.summary).axes
    assert budget_figures.draw_domains(tables[1], nothing.summary).axes


def test_a_kind_has_one_colour_and_marker_in_all_figures(found: Found) -> None:
    of_budget = found.budget
    of_domains = budget.sides_of(found.domains)
    named = largest(found.summary.models, set(found.frontier["scope"]))
    main = figures.draw(found.curves, found.frontier, found.summary)
    drawn = {
        figure: {named.get(line.get_label(), line.get_label()): line for axis in axes for line in axis.lines}
        for figure, axes in {
            "main": main.axes[len(main.axes) // 2 :],
            "budget": budget_figures.draw_budget(of_budget, found.summary).axes,
            "domains": budget_figures.draw_domains(of_domains, found.summary).axes,
        }.items()
    }
    for kind in kinds_of(found):
        assert len({lines[kind].get_color() for lines in drawn.values() if kind in lines}) == 1, kind
    for kind in ("fixed", "matryoshka"):
        assert len({lines[kind].get_marker() for lines in drawn.values()}) == 1, kind
    assert len({drawn["main"][kind].get_color() for kind in kinds_of(found)}) == len(kinds_of(found))


def test_the_figure_sets_each_model_against_the_base_in_as_many_bytes(found: Found) -> None:
    lower = figures.draw(found.curves, found.frontier, found.summary).axes[-1]
    lines = {line.get_label(): line for line in lower.lines}
    assert set(lines["base"].get_ydata()) == {0}
    best = budget.frontiers_of_models(found.frontier)

    def kept(model: str, size: float) -> float:
        within = best.filter((pl.col("scope") == model) & (pl.col("bytes") <= size))["share"].drop_nulls()
        return float(within.max()) if len(within) else float("nan")  # type: ignore[arg-type]

    x, y = lines["fixed_40"].get_data()
    assert len(x) > 3
    expected = [100 * (kept("fixed_40", size) - kept("base", size)) for size in x]
    np.testing.assert_allclose(np.asarray(y, dtype=float), expected, atol=1e-9)
