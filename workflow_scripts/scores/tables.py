"""The tables of scores: their columns, and how they are written.

Takes what `score.py` found; leaves `<task>.parquet`, `<task>.values.parquet` and `<task>.search.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.artefact import atomic_write
from workflow_scripts.evaluation.plain_tasks import Part
from workflow_scripts.scores.scored import Outcomes, Scored, SearchScored, Values

SCORES = pa.schema(
    [
        ("study", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("task_type", pa.string()),
        ("codec", pa.string()),
        ("transform", pa.string()),
        ("draw", pa.int64()),
        ("dim", pa.int64()),
        ("precision", pa.string()),
        ("queries", pa.string()),
        ("bytes", pa.float64()),
        ("metric", pa.string()),
        ("score", pa.float64()),
    ]
)
VALUES = pa.schema(
    [
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("codec", pa.string()),
        ("metric", pa.string()),
        ("part", pa.string()),
        ("unit", pa.string()),
        ("value", pa.float64()),
        ("outcomes", pa.binary()),
        ("texts", pa.int64()),
        ("overlap", pa.float64()),
    ]
)
SEARCH = pa.schema(
    [
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("search", pa.string()),
        ("stages", pa.list_(pa.struct([("codec", pa.string()), ("candidates", pa.int64())]))),
        ("rescore", pa.string()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("bytes_in_memory", pa.float64()),
        ("bytes_read", pa.float64()),
        ("multiply_adds", pa.float64()),
    ]
)


def write_tables(
    scored: Sequence[Scored], searched: Sequence[SearchScored], described: dict[str, Any], output: Path
) -> None:
    """Write all tables; `described` holds what is the same in every row: study, variant, seed, task, task_type, metric.
    `output`, `<task>.parquet`, is written last."""
    shared = {name: described[name] for name in ("variant", "seed", "task", "metric")}
    values = [row for one in scored for row in _value_rows(shared, one.codec.name, one.values, one.outcomes)]
    values += [
        row for one in searched if one.search.stages for row in _value_rows(shared, one.search.name, one.values, {})
    ]
    searches = [
        shared
        | {
            "search": one.search.name,
            "stages": [{"codec": codec.name, "candidates": kept} for codec, kept in one.search.stages],
            "rescore": one.search.rescore.name,
            "score": one.score,
            "bytes_in_memory": one.search.bytes_in_memory,
            "bytes_read": one.search.bytes_read(one.documents),
            "multiply_adds": one.search.multiply_adds(one.documents, one.width),
        }
        for one in searched
    ]
    rows = [
        described
        | {
            "codec": one.codec.name,
            "transform": one.codec.transform,
            "draw": one.codec.draw,
            "dim": one.codec.dim,
            "precision": one.codec.precision,
            "queries": one.codec.queries,
            "bytes": one.codec.bytes,
            "score": one.score,
        }
        for one in scored
    ]
    agreement = [
        _constant(shared | {"metric": metric}, one.codec.name, _part_name(of_metric, part), of_part)
        for one in scored
        for metric, of_metric in one.agreement.items()
        for part, of_part in of_metric.items()
    ]
    table = pa.concat_tables([pa.Table.from_pylist(values, schema=VALUES), *agreement])
    _write(table, output.with_name(f"{described['task']}.values.parquet"))
    _write(pa.Table.from_pylist(searches, SEARCH), output.with_name(f"{described['task']}.search.parquet"))
    _write(pa.Table.from_pylist(rows, SCORES), output)


def _value_rows(
    shared: dict[str, Any], codec: str, values: Values, outcomes: dict[Part, Outcomes]
) -> Iterator[dict[str, Any]]:
    """What a score is the mean of, a row each; `part` is empty where a task has one."""
    for part, of_part in values.items():
        name = _part_name(values, part)
        right = outcomes.get(part)
        for place, (unit, value) in enumerate(of_part.items()):
            row = shared | {"codec": codec, "part": name, "unit": unit, "value": value}
            if right is not None:
                row |= {"outcomes": right.bits[place].tobytes(), "texts": right.texts, "overlap": right.overlap}
            yield row


def _part_name(values: Values, part: Part) -> str:
    return "" if len(values) == 1 else f"{part.subset}/{part.split}"


def _constant(shared: dict[str, Any], codec: str, part: str, values: dict[str, float]) -> pa.Table:
    """The rows of one codec and metric, of which a large task has too many to make each by itself."""
    same = shared | {"codec": codec, "part": part}
    columns = [
        list(values)
        if field.name == "unit"
        else list(values.values())
        if field.name == "value"
        else pa.repeat(pa.scalar(same.get(field.name), field.type), len(values))
        for field in VALUES
    ]
    return pa.table(columns, schema=VALUES)


def _write(table: pa.Table, path: Path) -> None:
    with atomic_write(path) as part:
        pq.write_table(table, part, compression="zstd")
