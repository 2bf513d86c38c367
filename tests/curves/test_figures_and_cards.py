"""The static figure and the model cards."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml

from tests.conftest import ROOT
from tests.curves.study_files import EMBEDDED_GRAPH, TASKS, seeded, write_study
from workflow_scripts.artefact import read_json
from workflow_scripts.curves import figures
from workflow_scripts.curves.card import card
from workflow_scripts.curves.curves import CURVES_SCHEMA, answer
from workflow_scripts.study import Intervals, Study, load_study

HOSTILE = 'a <b>&"$x^2$ ' + "long" * 75


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_study(folder, seeded(EMBEDDED_GRAPH, (0,)), TASKS, [8, 64, 384])
    return folder


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(yaml.safe_load((ROOT / "config.yaml").read_text()))


def draw_svg(curves: pl.DataFrame, path: Path) -> str:
    figures.draw(curves).savefig(path, format="svg", metadata={"Date": None})
    return path.read_text()


def test_the_figure_has_a_column_per_task_type_and_a_line_per_model(results: Path, tmp_path: Path) -> None:
    curves, _, _ = answer(results, seeded(EMBEDDED_GRAPH, (0,)), list(TASKS), Intervals(resamples=100), "s")
    figure = figures.draw(curves)
    assert len(figure.axes) == 4
    assert all(len(axis.lines) == 7 for axis in figure.axes)
    first, second = (draw_svg(curves, tmp_path / f"{i}.svg") for i in range(2))
    assert first == second


def test_the_figure_shows_any_name_as_text(results: Path, tmp_path: Path) -> None:
    curves, _, _ = answer(results, seeded(EMBEDDED_GRAPH, (0,)), list(TASKS), Intervals(resamples=100), "s")
    svg = draw_svg(curves.with_columns(pl.col("variant").replace({"fixed": HOSTILE})), tmp_path / "a.svg")
    words = "".join(ElementTree.fromstring(svg).itertext())  # noqa: S314 (made a line above)
    assert figures.shorten(HOSTILE) in words


def test_the_figure_of_nothing_is_still_a_figure(tmp_path: Path) -> None:
    assert "<svg" in draw_svg(pl.DataFrame(schema=CURVES_SCHEMA), tmp_path / "a.svg")


def card_of(results: Path, study: Study, model: str, manifest_changes: dict[str, object] | None = None) -> str:
    manifest = read_json(results / f"models/{model}/s0/model.json") | (manifest_changes or {})
    files = [results / f"scores/{model}/s0/{task}.parquet" for task in TASKS]
    return card(study, manifest, pl.concat([pl.read_parquet(file) for file in files]))


def test_a_card_opens_with_metadata_that_the_hub_reads(results: Path, study: Study) -> None:
    text = card_of(results, study, "matryoshka_from_fixed")
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["library_name"] == "sentence-transformers"
    assert meta["license"] == "apache-2.0"
    found = meta["model-index"][0]["results"]
    assert {r["dataset"]["name"] for r in found} == {f"MTEB {task}" for task in TASKS}
    full = pl.read_parquet(results / "scores/matryoshka_from_fixed/s0/WordNetExamples.parquet")
    expected = 100 * full.filter(pl.col("dim") == 384)["score"].item()
    metrics = next(r["metrics"] for r in found if r["dataset"]["name"] == "MTEB WordNetExamples")
    assert metrics[0]["value"] == pytest.approx(expected, abs=1e-6)
    assert "matryoshka\\_from\\_fixed ← fixed ← base" in body


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
