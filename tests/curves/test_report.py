"""The report: one file, no network, everything from data shown as text; drawn by a real Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from testing.made_study import EMBEDDED_GRAPH, MEDI_LIKE, TASKS, seeded, write_study
from tests.conftest import copy_project, snakemake
from workflow_scripts.command_line import InputError
from workflow_scripts.curves import chart_data, index_speed, provenance, report
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import answer
from workflow_scripts.curves.page_tables import Speeds
from workflow_scripts.curves.schemas import is_prefix
from workflow_scripts.curves.summary import Answer, Missing
from workflow_scripts.study.sections.intervals import Intervals

FEW = Intervals(resamples=200)
PATIENCE = 300_000  # milliseconds: how fast the page is, benchmarks/report.py measures
HOSTILE = "<script>window.hurt=1</script>\"'&<img src=x onerror=window.hurt=1>\n" + "long" * 75


@pytest.fixture(scope="session")
def bundle() -> str:
    return report.vega_bundle()


def build(results: Path, models: list[Model], tasks: dict[str, str], bundle: str, rename: str | None = None) -> Path:
    """report.html of these results; `rename` gives one model and one task a hostile name everywhere."""
    found = answer(results, models, list(tasks), FEW, "made")
    points = index_speed.measure([8, 384], vectors=500)
    rate = {point["dim"]: point["queries_per_second"] for point in points}
    indexes = tuple(index_speed.measure_indexes([8, 384], vectors=500))
    extra = report.gather(results, found.summary, {"study": "made", "tasks": list(tasks)})
    if rename:
        swap = {"matryoshka": rename, "WordNetExamples": rename, "base": rename + "base"}
        summary = Answer.model_validate(_renamed(found.summary.model_dump(), swap))
        summary.notes.append(rename)
        summary.missing.append(Missing(variant=rename, seed=0, task=rename))
        found = found._replace(
            curves=found.curves.with_columns(pl.col("variant", "task").replace(swap)),
            differences=found.differences.with_columns(pl.col("first", "second", "task").replace(swap)),
            frontier=found.frontier.with_columns(pl.col("scope", "variant").replace(swap), words=pl.lit(rename)),
            summary=summary,
        )
        extra = report.Extra(
            extra.searches.with_columns(pl.col("variant", "task").replace(swap)),
            [run | {"model": swap.get(run["model"], run["model"])} for run in extra.training],
            provenance.what_was_run(results, summary, {"tasks": [rename]}),
        )
    path = results / "curves" / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.page(found, Speeds(rate, 500, "here", indexes), extra, bundle))
    found.curves.write_parquet(path.with_name("curves.parquet"))
    return path


def _renamed(value: Any, swap: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {swap.get(key, key): _renamed(inner, swap) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, swap) for inner in value]
    return swap.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="session")
def small_report(tmp_path_factory: pytest.TempPathFactory, bundle: str) -> Path:
    folder = tmp_path_factory.mktemp("small")
    models = seeded(EMBEDDED_GRAPH, (0, 1))
    write_study(folder, models, TASKS, [8, 32, 128, 384], ("prefix", "prefix:int8", "prefix:binary"))
    return build(folder, models, TASKS, bundle)


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory, bundle: str) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    models = seeded(EMBEDDED_GRAPH, (0,))
    write_study(folder, models, TASKS, [8, 384])
    (folder / "corpus").mkdir()
    corpus = {"source": HOSTILE, "revision": HOSTILE, "rows_in": 5, "rows_out": 3, "drops": {HOSTILE: {HOSTILE: 2}}}
    corpus |= {"tasks": {HOSTILE: {"contaminated": {HOSTILE: 2}}}, "decontaminated_against": [HOSTILE], "seconds": 1}
    (folder / "corpus" / "corpus.json").write_text(json.dumps(corpus))
    return build(folder, models, TASKS, bundle, rename=HOSTILE)


def test_the_report_accounts_for_what_each_training_task_lost_and_what_was_not_cleaned(
    tmp_path: Path, bundle: str
) -> None:
    tasks = dict.fromkeys(["FEVER", "SciFact", "NFCorpus", "ArguAna"], "Retrieval")
    models = seeded(EMBEDDED_GRAPH, (0,))
    write_study(tmp_path, models, tasks, [8, 384], corpus=MEDI_LIKE)
    content = build(tmp_path, models, tasks, bundle).read_text()
    run = re.sub(r"<[^>]+>", "|", content[content.index("<h2>What was run") :].partition("<script type=")[0])
    cells = re.sub(r"\|+\s*\|*", "|", run)
    assert "|task1_|quoref|600|555|0|45|SciFact: 45, NFCorpus: 1|" in cells  # rows in, kept, by reason, texts of
    assert "|fever|400|385|10|5|FEVER: 5|" in cells
    assert "|contaminated, near|50|task1_quoref: 45, fever: 5|" in cells
    assert "|NFCorpus|1|task1_quoref: 1|" in cells
    assert re.search(
        r"\|ArguAna\|Retrieval\|ndcg_at_10\|[^|]*\|[^|]*\|[^|]*\|1,000\|NO\|not by name; texts were not compared\|",
        cells,
    )
    assert "were not cleaned of the texts of ArguAna:" in content
    assert "<h3>Retrieval, in domain: FEVER, SciFact</h3>" in content
    assert "Retrieval: here and in the comparisons, tasks in and out of domain are pooled." in content


def test_a_partial_report_is_made_of_the_scores_that_are_there(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    results = project / "results" / "embedded"
    models = seeded(EMBEDDED_GRAPH, (0,))
    write_study(results, models, TASKS, [8, 16, 32, 64, 128, 256, 384])
    (results / "scores/matryoshka/s0/WordNetExamples.parquet").unlink()
    (project / "few.yaml").write_text(
        "intervals: {resamples: 100}\nvariants: {base_adapted: null}"
    )  # not in the made study
    result = snakemake(project, "--cores", "1", "--configfile", "config.yaml", "few.yaml", "--", "partial_report")
    assert result.returncode == 0, result.stderr
    assert "results/embedded/partial/report.html" in result.stdout
    content = (results / "partial" / "report.html").read_text()
    assert "Missing scores: 1." in content
    missing = content[content.index("Table: missing scores") :]
    assert re.search(r"<code>matryoshka</code></th><td>0</td><td[^>]*>WordNetExamples</td>", missing)
    assert "Retrieval: no mean for matryoshka," in content
    assert not (results / "curves").exists()


class Elements(HTMLParser):
    """Counts elements, and keeps what scripts hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        assert not any(name in ("src", "href") and not (value or "").startswith("#") for name, value in attrs)


def elements(path: Path) -> list[str]:
    parser = Elements()
    parser.feed(path.read_text())
    return parser.tags


def test_hostile_names_make_no_element(small_report: Path, hostile_report: Path) -> None:
    tags = elements(hostile_report)
    assert tags.count("script") == elements(small_report).count("script") == 5
    assert "img" not in tags
    assert "<script>window.hurt" not in hostile_report.read_text()


def test_json_in_the_page_cannot_end_its_script() -> None:
    names = ["</script><script>", "<!--", "\u2028", 'quote " and \\']
    written = chart_data.json_text(names)
    assert "<" not in written
    assert "\u2028" not in written
    assert json.loads(written) == names


def test_a_long_training_is_shown_in_few_points() -> None:
    steps = pl.DataFrame({"step": range(1, 20001), "loss": [1.0] * 20000, "loss_8": [float(i) for i in range(20000)]})
    curve = chart_data.training_curve(steps)
    assert len(curve["step"]) <= chart_data.TRAINING_POINTS
    assert curve["step"][-1] == 20000
    assert list(curve["losses"]) == ["8"]


def test_the_models_table_says_what_each_was_made_from_and_how(small_report: Path) -> None:
    content = small_report.read_text()
    run = content[content.index("<h3>Models") : content.index("<h3>Tasks")]
    cells = re.sub(r"(\|\s*)+", "|", re.sub(r"<wbr>", "", run).replace("<", "|<").replace(">", ">|"))
    cells = re.sub(r"(\|\s*)+", "|", re.sub(r"<[^>]+>", "", cells))
    assert "|fixed_rotated|0|fixed|its output rotated onto principal axes; no further training|" in cells
    assert "|base|0|–|as it was fetched|" in cells  # noqa: RUF001


def test_the_table_of_searches_has_single_dimensions_too(small_report: Path) -> None:
    content = small_report.read_text()
    searches = content[content.index("Table: the searches") :]
    searches = searches[: searches.index("</table>")]
    assert "prefix-8-float32@100&gt;prefix-384-float32" in searches
    assert '"metrics":["nDCG@10"]' in content


def test_a_page_is_made_of_scores_that_are_no_numbers(tmp_path: Path) -> None:
    models = EMBEDDED_GRAPH[:3]
    write_study(tmp_path, models, TASKS, [8, 32, 384])
    for path in tmp_path.glob("scores/*/s0/WordNetExamples*.parquet"):
        spoilt = pl.read_parquet(path)
        name = "value" if "value" in spoilt.columns else "score"
        spoilt.with_columns(
            pl.lit(None if "search" in path.name else float("nan"), pl.Float64).alias(name)
        ).write_parquet(path)
    content = build(tmp_path, models, TASKS, "").read_text()
    assert "WordNetExamples: some scores of base, fixed, matryoshka are no numbers." in content
    assert "NaN" not in content


def test_a_broken_file_of_another_room_is_one_clear_line(tmp_path: Path) -> None:
    models = EMBEDDED_GRAPH[:3]
    write_study(tmp_path, models, TASKS, [8, 384])
    summary = answer(tmp_path, models, list(TASKS), FEW, "made").summary
    study = {"study": "made", "tasks": list(TASKS)}
    for name in ("scores/base/s0/WordNetExamples.search.parquet", "models/fixed/s0/training.parquet"):
        good = (tmp_path / name).read_bytes()
        for bad in (b"not parquet", None):
            if bad is None:
                pl.DataFrame({"other": [1]}).write_parquet(tmp_path / name)
            else:
                (tmp_path / name).write_bytes(bad)
            with pytest.raises(InputError, match=rf"{name}: not a table with the columns"):
                report.gather(tmp_path, summary, study)
        (tmp_path / name).write_bytes(good)


def test_a_study_without_scores_still_makes_a_page(tmp_path: Path) -> None:
    models = seeded(EMBEDDED_GRAPH, (0,))
    content = build(tmp_path, models, TASKS, "").read_text()
    assert "nothing can be said" in content
    assert "Missing scores: 14." in content


# ---- in a real browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        reason = "needs Debian's chromium (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page with all its charts drawn, what it complained of and what it asked for."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | how))
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(path.as_uri(), timeout=PATIENCE)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")

    def lines(self) -> int:
        count: int = self.page.locator("#curves-panels .panel:first-child .mark-line path").count()
        return count


@pytest.mark.browser
def test_charts_are_drawn_without_complaint_and_without_network(chromium: Any, small_report: Path) -> None:
    visit = Visit(chromium, small_report)
    for box in ("frontier", "trainings", "budget", "floats", "curves", "cost", "search", "difference", "training"):
        assert visit.page.locator(f"#{box}-panels svg.marks path").count() > 0, box
    for select in ("measure", "group", "family", "budget-bytes", "cost-unit", "pair", "training-run", "search-unit"):
        values = visit.page.locator(f"#{select} option").evaluate_all("all => all.map(o => o.value)")
        for value in values[:3]:
            visit.page.select_option(f"#{select}", value)
            visit.settle()
    assert visit.complaints == []
    assert visit.requests == [small_report.as_uri()]
    visit.context.close()


@pytest.mark.browser
def test_no_two_models_look_the_same_in_charts_of_points(chromium: Any, tmp_path: Path, bundle: str) -> None:
    models = [*EMBEDDED_GRAPH, *(replace(EMBEDDED_GRAPH[4], name=f"rotated_{i}") for i in range(3))]
    write_study(tmp_path, models, TASKS, [8, 32, 384])
    visit = Visit(chromium, build(tmp_path, models, TASKS, bundle))
    script = "all => all.filter(p => p.getAttribute('opacity') !== '0').map(p => ['fill', 'stroke', 'd'].map(k => p.getAttribute(k)))"

    def marks(place: str) -> set[tuple[str, ...]]:
        return {tuple(mark) for mark in visit.page.locator(place).evaluate_all(script)}

    assert len(marks("#cost-panels .panel:first-child .mark-symbol path")) == len(models)
    marked = marks("#search-panels .mark-symbol path")
    assert len(marked) == 2 * len(models), "of each model a filled mark and an open one"
    visit.context.close()


@pytest.mark.browser
def test_a_toggle_hides_its_line_by_mouse_and_by_keyboard(chromium: Any, small_report: Path) -> None:
    visit = Visit(chromium, small_report)
    visit.page.uncheck("#published")
    visit.settle()
    assert visit.lines() == 7
    visit.page.uncheck("[data-model='2']")
    visit.settle()
    assert visit.lines() == 6
    visit.page.focus("[data-model='3']")
    visit.page.keyboard.press("Space")
    visit.settle()
    assert visit.lines() == 5
    visit.page.click("#all-on")
    visit.settle()
    assert visit.lines() == 7
    visit.context.close()


@pytest.mark.browser
def test_values_stand_under_the_pointer(chromium: Any, small_report: Path) -> None:
    visit = Visit(chromium, small_report)
    visit.page.locator("#curves-panels .panel:first-child .mark-symbol path").last.hover(force=True)
    visit.page.wait_for_selector("#vg-tooltip-element.visible")
    words = visit.page.inner_text("#vg-tooltip-element")
    assert "dimension" in words
    assert "%" in words
    visit.context.close()


@pytest.mark.browser
def test_the_answer_tables_numbers_are_those_of_curves_parquet(chromium: Any, small_report: Path) -> None:
    visit = Visit(chromium, small_report)
    curves = pl.read_parquet(small_report.with_name("curves.parquet")).filter(is_prefix(), task="mean")
    bodies = visit.page.locator("#answer-table tbody").evaluate_all(
        "all => all.map(b => [...b.rows].map(r => [...r.cells].map(c => [c.innerText, c.dataset.dim ?? null])))"
    )
    assert [body[0][0][0].strip() for body in bodies] == ["Classification", "Retrieval"]
    for body in bodies:
        task_type = body[0][0][0].strip()
        assert len(body) == 1 + 7
        for cells in body[1:]:
            points = curves.filter(variant=cells[0][0].strip(), task_type=task_type).sort("dim")
            assert cells[1][0].split()[0] == f"{points['score'][-1]:.4f}"
            for (_, dim), wanted in zip(cells[2:], (0.99, 0.98, 0.95, 0.9), strict=True):
                assert (points.filter(pl.col("dim") >= int(dim))["share_low"] >= wanted).all()
                smaller = points.filter(pl.col("dim") < int(dim))["share_low"]
                assert smaller.is_empty() or smaller[-1] < wanted
    visit.context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height", "charts"), [(1280, 800, 2), (390, 844, 1)])
def test_the_first_screen_holds_a_sentence_per_task_type_and_the_curves(
    chromium: Any, small_report: Path, width: int, height: int, charts: int
) -> None:
    visit = Visit(chromium, small_report, viewport={"width": width, "height": height}, is_mobile=width < 500)
    ends = "all => all.map(e => e.getBoundingClientRect().bottom)"
    sentences = visit.page.locator(".lead li")
    assert [text.partition(".")[0] for text in sentences.all_inner_texts()] == ["Classification", "Retrieval"]
    assert all(
        " Store " in text and " bytes a vector instead of 1,536: " in text for text in sentences.all_inner_texts()
    )
    assert max(sentences.evaluate_all(ends)) < height / 2
    assert sum(end <= height for end in visit.page.locator("#frontier-panels svg.marks").evaluate_all(ends)) >= charts
    visit.context.close()


@pytest.mark.browser
def test_a_wide_screen_is_used(chromium: Any, small_report: Path) -> None:
    visit = Visit(chromium, small_report, viewport={"width": 1920, "height": 1000})
    assert visit.page.evaluate("document.querySelector('main').getBoundingClientRect().width") > 1700
    visit.context.close()


@pytest.mark.browser
def test_hostile_names_are_shown_as_text(chromium: Any, hostile_report: Path) -> None:
    visit = Visit(chromium, hostile_report)
    assert visit.page.evaluate("window.hurt") is None
    label = visit.page.locator(".toggles label").nth(2).inner_text()
    assert re.sub(r"\s+", " ", label).strip() == re.sub(r"\s+", " ", HOSTILE).strip()
    visit.page.locator("#curves-panels .panel:first-child .mark-symbol path").last.hover(force=True)
    assert visit.page.evaluate("window.hurt") is None
    assert visit.complaints == []
    visit.context.close()


@pytest.mark.browser
def test_a_phone_scrolls_no_page_sideways_and_dark_is_dark(chromium: Any, small_report: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "color_scheme": "dark"}
    visit = Visit(chromium, small_report, **phone)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 26)"
    size = visit.page.evaluate("parseFloat(getComputedStyle(document.querySelector('.lead li')).fontSize)")
    assert size >= 16
    visit.context.close()
