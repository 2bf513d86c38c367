"""The report's tables of agreement with the ranking at full width.

Takes the answer and the table of agreement; leaves `Table`s: how well agreement tells which codec scores higher, and the
agreement of each codec.
"""

from __future__ import annotations

import polars as pl
from markupsafe import Markup

from workflow_scripts.curves.agreement import METRICS
from workflow_scripts.curves.formats import NOT_KNOWN, code, metric_name, number
from workflow_scripts.curves.page_tables import Cell, Table, table, words
from workflow_scripts.curves.summary import Answer, Correlation


def correlation_tables(answer: Answer) -> list[Table]:
    """A row per model and task with judgements; none where no agreement was measured."""
    by_row: dict[tuple[str, str], dict[str, Correlation]] = {}
    for found in answer.agreement:
        by_row.setdefault((found.variant, found.task), {})[found.metric] = found
    if not by_row:
        return []
    rows = [
        [
            Cell(code(variant)),
            words(task),
            words(metric_name(of_row[METRICS[0]].main)),
            str(of_row[METRICS[0]].codecs),
            *(_between(of_row[metric].spearman, of_row[metric].low, of_row[metric].high, 2) for metric in METRICS),
        ]
        for (variant, task), of_row in by_row.items()
    ]
    head = ["model", "task", "score", "codecs", *map(metric_name, METRICS)]
    caption = "Spearman's rank correlation over codecs between agreement and the score, with its interval over queries. 1: agreement orders the codecs as the score does."
    return [table(head, rows, caption)]


def codec_tables(agreement: pl.DataFrame) -> list[Table]:
    """A row per model, task and codec."""
    if agreement.is_empty():
        return []
    rows = []
    for (variant, task, codec), of_codec in agreement.group_by(["variant", "task", "codec"], maintain_order=True):
        by_metric = {row["metric"]: row for row in of_codec.iter_rows(named=True)}
        cells = [_between(row["agreement"], row["low"], row["high"], 3) for row in map(by_metric.get, METRICS) if row]
        rows.append([Cell(code(variant)), words(task), words(codec), *cells])
    caption = "Share of the best 10 and 100 documents that are those of the same model at full width in float32, and how often the first stays."
    return [table(["model", "task", "codec", *map(metric_name, METRICS)], rows, caption)]


def _between(value: float | None, low: float | None, high: float | None, digits: int) -> Cell:
    if value is None or low is None or high is None:
        return Cell(NOT_KNOWN if value is None else number(value, digits))
    return Cell(number(value, digits), (Markup("{} to {}").format(number(low, digits), number(high, digits)),))
