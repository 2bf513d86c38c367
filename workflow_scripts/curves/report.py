"""The report that people show each other: one HTML file, no network.

Takes curves.parquet and summary.json; leaves report.html.
"""

from __future__ import annotations

import argparse
import html
import sys
from pathlib import Path

import polars as pl

from workflow_scripts.artefact import read_json, start_log, whole_file
from workflow_scripts.curves.curves import study_of
from workflow_scripts.study import StudyError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", required=True)
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    start_log()
    try:
        study = study_of(arguments.settings)
    except (StudyError, ValueError) as error:
        sys.exit(f"report: {error}")
    curves = pl.read_parquet(arguments.output.with_name("curves.parquet"))
    summary = read_json(arguments.output.with_name("summary.json"))
    rows = "".join(
        f"<tr><td>{html.escape(r['variant'])}</td><td>{html.escape(r['task_type'])}</td><td>{r['share']:.0%}</td>"
        f"<td>{r['dim'] or 'cannot tell'}</td></tr>"
        for r in summary["recommendations"]
    )
    page = (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(study.study)}</title>"
        f"<h1>{html.escape(study.study)}</h1><p>{curves.height} points.</p><table>{rows}</table>"
    )
    with whole_file(arguments.output) as part:
        part.write_text(page)


if __name__ == "__main__":
    main()
