"""The static figure and the model cards."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from testing.made_study import EMBEDDED_GRAPH, TASKS, seeded, write_study
from tests.conftest import ROOT
from workflow_scripts.artefact import read_json
from workflow_scripts.curves import figures, looks
from workflow_scripts.curves.cards import card, read_scores, write_cards
from workflow_scripts.curves.curves import Found, answer
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.sections.deploy import Deploy
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.own_task import NOT_JUDGED

HOSTILE = 'a <b>&"$x^2$ ' + "long" * 75


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_study(folder, seeded(EMBEDDED_GRAPH, (0,)), TASKS, [8, 64, 384])
    return folder


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(yaml.safe_load((ROOT / "config.yaml").read_text()))


@pytest.fixture(scope="module")
def found(results: Path) -> Found:
    return answer(results, seeded(EMBEDDED_GRAPH, (0,)), list(TASKS), Intervals(resamples=100), "s")


def draw_svg(found: Found, path: Path) -> str:
    figures.draw(found.curves, found.frontier, found.summary).savefig(path, format="svg", metadata={"Date": None})
    return path.read_text()


def test_the_figure_has_a_column_per_task_type_and_a_frontier_per_model(found: Found, tmp_path: Path) -> None:
    figure = figures.draw(found.curves, found.frontier, found.summary)
    assert len(figure.axes) == 4
    labels = [{line.get_label() for line in axis.lines} for axis in figure.axes]
    names = {model.name for model in EMBEDDED_GRAPH}
    assert labels[2] & names == labels[3] & names == names
    first, second = (draw_svg(found, tmp_path / f"{i}.svg") for i in range(2))
    assert first == second


def test_the_figure_does_not_speak_of_trainings_where_some_models_have_no_score_yet(found: Found) -> None:
    some = found._replace(frontier=found.frontier.filter(pl.col("scope") != "matryoshka"))
    figure = figures.draw(some.curves, some.frontier, some.summary)
    assert [axis.get_title() for axis in figure.axes[2:]] == ["every model"] * 2


def test_the_figure_shows_any_name_as_text(found: Found, tmp_path: Path) -> None:
    models = [m.model_copy(update={"name": HOSTILE if m.name == "fixed" else m.name}) for m in found.summary.models]
    renamed = found._replace(
        frontier=found.frontier.with_columns(pl.col("scope", "variant").replace({"fixed": HOSTILE})),
        summary=found.summary.model_copy(update={"models": models}),
    )
    words = "".join(ElementTree.fromstring(draw_svg(renamed, tmp_path / "a.svg")).itertext())  # noqa: S314 (made here)
    assert looks.shorten(HOSTILE) in words


def test_the_figure_of_nothing_is_still_a_figure(tmp_path: Path) -> None:
    nothing = answer(tmp_path, seeded(EMBEDDED_GRAPH, (0,)), list(TASKS), Intervals(resamples=100), "s")
    assert "<svg" in draw_svg(nothing, tmp_path / "a.svg")


# How deuteranopia and protanopia see linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SIGHT = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


def linear(colour: str) -> Any:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def cielab(light: Any) -> Any:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(light, 1e-4, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def palettes() -> dict[str, tuple[list[str], str]]:
    css = (ROOT / "workflow_scripts/curves/report.css").read_text()
    themes = {
        name: re.findall(r"--(c\d|paper): (#\w{6})", css.split("}")[i]) for i, name in enumerate(("light", "dark"))
    }
    found = {n: ([c for k, c in t if k != "paper"], dict(t)["paper"]) for n, t in themes.items()}
    return found | {"figure": (looks.COLOURS, "")}


@pytest.mark.parametrize("name", ["light", "dark", "figure"])
def test_colour_blind_readers_tell_the_colours_apart(name: str) -> None:
    colours, paper = palettes()[name]
    assert len(colours) == (9 if name == "figure" else 7)
    for sight, matrix in SIGHT.items():
        seen = [cielab(np.array(matrix) @ linear(colour)) for colour in colours]
        nearest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
        assert nearest > 13, (sight, nearest)
    if paper:  # marks against the page, WCAG 2.2, 1.4.11
        bright = [float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in [paper, *colours]]
        assert all(max(b, bright[0]) / min(b, bright[0]) >= 2.95 for b in bright[1:])


@functools.cache
def frontier_of(results: Path) -> pl.DataFrame:
    return answer(results, seeded(EMBEDDED_GRAPH, (0,)), list(TASKS), Intervals(resamples=100), "s").frontier


def card_of(
    results: Path,
    study: Study,
    model: str,
    manifest_changes: dict[str, object] | None = None,
    splits: dict[str, list[str]] | None = None,
) -> str:
    manifest = read_json(results / f"models/{model}/s0/model.json") | (manifest_changes or {})
    files = [results / f"scores/{model}/s0/{task}.parquet" for task in TASKS]
    scores = pl.concat([read_scores(file) for file in files])
    return card(study, manifest, scores, splits or {}, frontier_of(results))


def test_every_model_and_seed_has_the_card_of_its_own_scores(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    study = load_study(config | {"seeds": [0, 1], "variants": config["variants"] | {"base_adapted": None}})
    models = seeded(EMBEDDED_GRAPH, (0, 1))
    write_study(tmp_path, models, TASKS, [8, 64, 384])
    (tmp_path / "curves").mkdir()
    answer(tmp_path, models, list(TASKS), Intervals(resamples=100), "s").frontier.write_parquet(
        tmp_path / "curves/frontier.parquet"
    )
    write_cards(study, tmp_path, tmp_path / "cards")
    written = {
        (path.parts[-3], int(path.parts[-2][1:])): path.read_text() for path in (tmp_path / "cards").rglob("README.md")
    }
    assert set(written) == set(study.graph.runs) == {(model.name, seed) for model in models for seed in model.seeds}
    for (model, seed), text in written.items():
        found = {entry["dataset"]["name"]: entry["metrics"][0]["value"] for entry in model_index(text)}
        for task in TASKS:
            scores = read_scores(tmp_path / f"scores/{model}/s{seed}/{task}.parquet")
            full = scores.filter(pl.col("dim") == 384)["score"].item()
            assert found[task] == pytest.approx(100 * full, abs=1e-5), (model, seed, task)


def model_index(text: str) -> list[dict[str, Any]]:
    """What a card's front matter says of each task."""
    found: list[dict[str, Any]] = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
    return found


def test_a_card_says_in_how_many_bytes_how_much_is_kept(tmp_path: Path, results: Path, study: Study) -> None:
    assert "Scores by bytes" not in card_of(results, study, "base"), "where float32 prefixes alone were measured"
    results = tmp_path
    write_study(results, seeded(EMBEDDED_GRAPH, (0,)), TASKS, [8, 64, 384], ("prefix", "prefix:int8"))
    table = card_of(results, study, "base").split("## Scores by bytes")[1].split("##")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    frontier = frontier_of(results).filter(scope="base", of="own full width", engine="any codec", resource="memory")
    assert {row[0].strip() for row in rows} == set(TASKS.values())
    for task_type, size, words, share, _ in ([cell.strip() for cell in row] for row in rows):
        found = frontier.filter(task_type=task_type, bytes=float(size.replace(",", ""))).row(0, named=True)
        assert found["words"] == words
        assert share == f"{100 * found['share']:.1f}%"
    assert any("8 bits" in row[2] for row in rows)


def test_a_card_opens_with_metadata_that_the_hub_reads(results: Path, study: Study) -> None:
    read = ModelCard(card_of(results, study, "matryoshka_from_fixed"))
    assert isinstance(read.data, ModelCardData)
    assert read.data.library_name == "sentence-transformers"
    assert read.data.license == "apache-2.0"
    found = read.data.eval_results or []
    assert {r.dataset_name for r in found} == set(TASKS), "the tasks made of WordNet are not MTEB's"
    full = pl.read_parquet(results / "scores/matryoshka_from_fixed/s0/WordNetExamples.parquet")
    expected = 100 * full.filter(pl.col("dim") == 384)["score"].item()
    values = {r.metric_type: r.metric_value for r in found if r.dataset_name == "WordNetExamples"}
    assert values == {"main_score": pytest.approx(expected, abs=1e-6), "ndcg_at_10": pytest.approx(expected, abs=1e-6)}
    assert "matryoshka\\_from\\_fixed ← fixed ← base" in read.text


def test_a_card_states_licence_and_language_of_the_study_or_else_of_the_source(results: Path, study: Study) -> None:
    stated: dict[str, object] = {"licence": "apache-2.0", "language": ["en"]}
    asked = Deploy(licence="mit", language=["de"])
    cases: list[tuple[Deploy, dict[str, object], tuple[str, list[str]]]] = [
        (asked, {"licence": None}, ("mit", ["de"])),
        (asked, stated, ("mit", ["de"])),
        (Deploy(), stated, ("apache-2.0", ["en"])),
    ]
    for deploy, changes, expected in cases:
        own = study.model_copy(update={"deploy": deploy})
        front = yaml.safe_load(card_of(results, own, "fixed", changes).split("---\n")[1])
        assert (front["license"], front["language"]) == expected
    text = card_of(results, study, "fixed", {"licence": None})
    front = yaml.safe_load(text.split("---\n")[1])
    assert not {"license", "language"} & set(front)
    assert "sets it" in text
    assert "no longer read it" in text


def test_a_card_tells_mtebs_tasks_their_splits_and_nested_models_apart(results: Path, study: Study) -> None:
    splits = {"WordNetExamples": ["validation"], "SciFact": ["dev", "test"]}
    nested = yaml.safe_load(card_of(results, study, "matryoshka", splits=splits).split("---\n")[1])
    fixed = yaml.safe_load(card_of(results, study, "fixed").split("---\n")[1])
    assert ("matryoshka" in nested["tags"], "matryoshka" in fixed["tags"]) == (True, False)
    assert "mteb" not in nested["tags"]
    found = {r["dataset"]["name"]: r["dataset"].get("split") for r in nested["model-index"][0]["results"]}
    assert found == {"WordNetExamples": "validation", "WordNetLexicographerFiles": None}
    scores = read_scores(results / "scores/base/s0/WordNetExamples.parquet").with_columns(task=pl.lit("SciFact"))
    manifest = read_json(results / "models/base/s0/model.json")
    front = yaml.safe_load(card(study, manifest, scores, splits, frontier_of(results)).split("---\n")[1])
    assert "mteb" in front["tags"]
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "MTEB SciFact"
    assert front["model-index"][0]["results"][0]["dataset"]["split"] == "dev+test"


def test_a_cards_results_leave_out_what_is_no_number_or_agreement_with_itself(results: Path, study: Study) -> None:
    scores = read_scores(results / "scores/base/s0/WordNetExamples.parquet").with_columns(score=None)
    text = card(study, read_json(results / "models/base/s0/model.json"), scores, {}, frontier_of(results))
    assert "| WordNetExamples | ndcg\\_at\\_10 | - | - | - |" in text
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"] == []
    agreed = read_scores(results / "scores/base/s0/WordNetExamples.parquet").with_columns(task_type=pl.lit(NOT_JUDGED))
    text = card(study, read_json(results / "models/base/s0/model.json"), agreed, {}, frontier_of(results))
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"] == []


def test_a_cards_table_holds_the_measured_scores(results: Path, study: Study) -> None:
    text = card_of(results, study, "matryoshka")
    scores = pl.read_parquet(results / "scores/matryoshka/s0/WordNetExamples.parquet").sort("dim")["score"]
    cells = " | ".join(f"{100 * score:.2f}" for score in scores)
    assert f"| WordNetExamples | ndcg\\_at\\_10 | {cells} |" in text
    assert "truncate_dim=64" in text


def test_a_cards_facts_cannot_become_markup(results: Path, study: Study) -> None:
    text = card_of(results, study, "base", {"licence": "x\n---\n<script>|`", "recipe": {"<b>": "](http://x)"}})
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "x --- <script>|`"
    body = text.split("## Scores")[1]
    assert "<b>" not in body.replace("\\<b\\>", "")


@pytest.mark.parametrize(("names", "rows"), [(3, 1), (14, 7)])
def test_a_legend_is_no_wider_than_its_figure_which_grows_with_its_rows(names: int, rows: int) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 3), squeeze=False, layout="constrained")
    for n in range(names):
        axes[0][0].plot([], [], label=f"a model {n}" if names < 4 else f"rotated_matryoshka_from_fixed_{n}")
    looks.put_legend(figure, axes, 4)
    (legend,) = figure.legends
    assert 0 < legend.get_window_extent().width <= figure.bbox.width
    assert figure.get_figheight() == pytest.approx(3 + looks.ROW_OF_LEGEND * (rows - -(-names // 4)))
    plt.close(figure)
