"""docs/study/README.md, and the answer in README.md, say no figure that the studies' tables do not hold.

A figure stands before a comment that names its place, such as `93.1% (92.0 to 94.2)<!-- budget.csv task_type=Retrieval bytes=64
variant=base_rotated -->`: a table in docs/study/crossover-local/ (or `../crossover-mpnet/frontier.csv`) and what its one row
is known by. In a table of the page a figure is bold where its row's verdict is better or worse, and nowhere else. Its two
tables of all verdicts are what `verdict_table` makes of the tables.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import ROOT
from tests.study.studies import study_of
from workflow_scripts.curves.parts import read_kept, refuse_other_settings

FOLDER = ROOT / "docs/study"
PAGE = FOLDER / "README.md"
STUDY = "crossover-local"
SECOND_BASE = "crossover-mpnet"
LATER = "crossover-cranfield"  # one collection more, by models that were trained anew
DOMAINS = ("mean in domain", "mean out of domain")
CITED = re.compile(r"<!-- (\S+\.csv)((?: \S+=(?:\"[^\"]*\"|\S+))*) -->")
FIGURE = re.compile(r"[+-]?\d+\.\d+%?|\d+%")
SHARES, DIFFERENCES = ("share", "share_low", "share_high"), ("difference", "low", "high")


def row_of(table: pl.DataFrame, named: str) -> dict[str, Any]:
    """The one row that `column=value …` names."""
    for word in shlex.split(named):
        column, _, value = word.partition("=")
        table = table.filter(pl.col(column).cast(pl.String) == pl.lit(value).cast(table.schema[column]).cast(pl.String))
    assert table.height == 1, f"{named.strip()}: names {table.height} rows"
    return table.row(0, named=True)


def words_of(row: dict[str, Any]) -> str:
    """A row's figure as the page has it, with its interval."""
    if "share" in row:
        value, low, high = (100 * row[name] for name in SHARES)
        return f"{value:.1f}% ({low:.1f} to {high:.1f})"
    value, low, high = (row[name] for name in DIFFERENCES)
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def faults(page: str, folder: Path) -> list[str]:
    """What the page's answer says that its tables do not."""
    found = []
    answer = page.split("\n## The answer", 1)[1].split("\n## ", 1)[0]
    rest, start = "", 0
    for cited in CITED.finditer(answer):
        before = answer[start : cited.start()]
        row = row_of(pl.read_csv(folder / cited[1]), cited[2])
        expected = words_of(row)
        if not before.endswith(expected):
            found.append(f"the table has {expected}, the page: …{before[-len(expected) - 8 :]}")
        line = answer[answer.rfind("\n", 0, cited.start()) + 1 :]
        bold = before.removesuffix(expected).endswith("**") and answer[cited.end() :].startswith("**")
        if line.startswith("|") and "verdict" in row and bold != (row["verdict"] in ("better", "worse")):
            found.append(f"{cited[2].strip()}: {row['verdict']}, {'bold' if bold else 'not bold'}")
        rest += before.removesuffix(expected)
        start = cited.end()
    found += [f"{figure} comes from no table" for figure in FIGURE.findall(rest + answer[start:])]
    return found


def verdict_table(folder: Path, task_types: Mapping[str, Sequence[str]]) -> list[str]:
    """Where each model with training is better or worse than what needs none: of each task type in bytes, and as floats in
    these means over tasks."""
    in_bytes = pl.read_csv(folder / "budget.csv").filter(pl.col("task") == "mean", pl.col("verdict").is_not_null())
    in_floats = pl.read_csv(folder / "domains.csv")
    lines = []
    for name in dict.fromkeys(in_bytes["variant"]):
        model = in_bytes.filter(variant=name)
        cells = [f"`{name}`", f"{model['steps'][0]:,}", str(model["seeds"][0])]
        for task_type, means in task_types.items():
            cells.append(where_decided(model.filter(task_type=task_type), "bytes"))
            floats = in_floats.filter(variant=name, task_type=task_type)
            cells += [where_decided(floats.filter(task=mean), "dim") for mean in means]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def where_decided(rows: pl.DataFrame, size: str) -> str:
    """`better at 48, 192; worse at 8`; `open` where no verdict is better or worse."""
    sizes = {
        verdict: [f"{value:g}" for value in rows.filter(verdict=verdict)[size].sort()]
        for verdict in ("better", "worse")
    }
    said = [f"{verdict} at {', '.join(found)}" for verdict, found in sizes.items() if found]
    return "; ".join(said) or "open"


@pytest.mark.parametrize(
    ("study", "heading", "task_types"),
    [
        (STUDY, "## The answer", {"Classification": DOMAINS, "Retrieval": DOMAINS}),
        (LATER, "### One collection more", {"Retrieval": ["mean"]}),
    ],
    ids=[STUDY, LATER],
)
def test_a_table_has_every_verdict(study: str, heading: str, task_types: Mapping[str, Sequence[str]]) -> None:
    section = PAGE.read_text().split(f"\n{heading}", 1)[1]
    table = section[section.index("\n| | steps |") :].split("\n\n", 1)[0]
    assert table.splitlines()[3:] == verdict_table(FOLDER / study, task_types)


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=["the study's page", "README"])
def test_every_figure_of_the_answer_is_in_the_tables(page: Path) -> None:
    assert faults(page.read_text(), FOLDER / STUDY) == []


def test_a_figure_that_is_not_in_the_tables_is_found(tmp_path: Path) -> None:
    (tmp_path / "budget.csv").write_text(
        "task_type,bytes,variant,share,share_low,share_high\n"
        "Retrieval,64.000000,base,0.93114,0.92,0.94\nRetrieval,32.000000,base,0.8,0.7,0.9\n"
    )
    (tmp_path / "domains.csv").write_text(
        'task,dim,variant,difference,low,high,verdict\n"mean in domain",32,a,0.01,-0.004,0.02,unclear\n'
        '"mean in domain",32,b,0.03,0.01,0.05,better\n'
    )
    right = (
        "\n## The answer\nBase keeps 93.1% (92.0 to 94.0)<!-- budget.csv task_type=Retrieval bytes=64 -->;\n"
        "+0.010 (-0.004 to +0.020)<!-- domains.csv dim=32 variant=a -->.\n"
        "| **+0.030 (+0.010 to +0.050)<!-- domains.csv dim=32 variant=b -->** |.\n## Next\n12.3%"
    )
    assert faults(right, tmp_path) == []
    wrong = faults(right.replace("93.1", "93.2"), tmp_path)
    assert wrong[0] == "the table has 93.1% (92.0 to 94.0), the page: …e keeps 93.2% (92.0 to 94.0)"
    assert faults(right.replace(".\n##", ". It is 4.5% less.\n##"), tmp_path) == ["4.5% comes from no table"]
    assert faults(right.replace("**", ""), tmp_path) == ["dim=32 variant=b: better, not bold"]
    with pytest.raises(AssertionError, match="names 2 rows"):
        faults(right.replace(" bytes=64", ""), tmp_path)


@pytest.mark.parametrize("study", [STUDY, SECOND_BASE, LATER])
def test_the_page_names_every_commit_that_made_a_score(study: str) -> None:
    kept = pl.read_csv(FOLDER / f"parts/{study}/kept.csv", schema_overrides={"commit": pl.String})
    assert kept.height
    for commit in set(kept["commit"]):
        assert f"`{commit}`" in PAGE.read_text()


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("overlays", [[STUDY], [STUDY, LATER]], ids=[STUDY, LATER])
def test_the_study_goes_on_with_the_parts_that_are_kept(overlays: list[str]) -> None:
    study = study_of(["studies/crossover.yaml", *(f"studies/{overlay}.yaml" for overlay in overlays)])
    refuse_other_settings(study, FOLDER / "parts" / study.study)  # raises where it does not
    assert read_kept(FOLDER / "parts" / study.study).height > 0
