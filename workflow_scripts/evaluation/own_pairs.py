"""Queries and the documents that answer them, from a table of the user's own: judgements, and the pairs that an adaptor learns from.

Takes a file with the columns `query-id` and `corpus-id` and the ids of a task; leaves its rows, each with the place that an
error names. Pairs are no judgements: a query is learned from or scored, never both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_files import Row, columns_of, finite_number, rows_of

QUERY_ID, DOCUMENT_ID, SCORE = COLUMNS = ("query-id", "corpus-id", "score")


class Pair(NamedTuple):
    """A query and a document that answers it, by their ids; `place`: file and line, or row of a parquet file."""

    place: str
    query: str
    document: str


def judged_rows(path: Path, queries: Collection[str], documents: Collection[str]) -> Iterator[tuple[Row, str, str]]:
    """(row, query, document) of every row. Raises InputError for an id that is not among these."""
    for row in rows_of(path, COLUMNS):
        query, document = str(row.values.get(QUERY_ID)), str(row.values.get(DOCUMENT_ID))
        for kind, identifier, known in (("query", query, queries), ("document", document, documents)):
            if identifier not in known:
                raise InputError(
                    f"{row.place}: there is no {kind} {identifier!r}; leave the row out, or add the {kind}"
                )
        yield row, query, document


def read_pairs(
    path: Path, queries: Collection[str], documents: Collection[str], judged: Mapping[str, object]
) -> list[Pair]:
    """The distinct pairs of a file, in its order: a row whose `score` is 0 or less is none. `judged`: the task's judgements by
    query. Raises InputError, naming file and row, for a query that has some: what is scored is not learned from."""
    found = columns_of(path)
    if missing := [name for name in (QUERY_ID, DOCUMENT_ID) if name not in found]:
        raise InputError(f"{path}: column {missing[0]!r} is missing; found {', '.join(map(repr, found))}")
    pairs: dict[tuple[str, str], Pair] = {}
    for row, query, document in judged_rows(path, queries, documents):
        if query in judged:
            raise InputError(
                f"{row.place}: query {query!r} has judgements in the task: it is scored, so nothing may be learned from it; leave its pairs or its judgements out"
            )
        if SCORE not in row.values or finite_number(row, SCORE) > 0:
            pairs.setdefault((query, document), Pair(row.place, query, document))
    if not pairs:
        raise InputError(f"{path}: no pairs in it; expected a row with a score above 0, or without a score")
    return list(pairs.values())
