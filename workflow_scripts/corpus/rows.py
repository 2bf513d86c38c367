"""One row of a file as triples of (query, positive, negative), in whatever layout its file has.

Takes a row as a dictionary. Leaves tuples of COLUMNS; a row with several positives or negatives gives several. The
layouts: texts, with their instructions in columns of their own or none; MEDI's `[instruction, text]`; lists of either
(BGE, hard-negative mining), also where the query alone has an instruction; further columns with a number (`neg_2`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import pyarrow as pa

TEXTS = ("query", "pos", "neg")
INSTRUCTIONS = ("query_instruct", "pos_instruct", "neg_instruct")
COLUMNS = (*TEXTS, "task_name", *INSTRUCTIONS)
SCHEMA = pa.schema([(name, pa.large_string()) for name in COLUMNS])
NO_TASK = "(no task)"
QUERY_PROMPT = "prompt"  # BGE's name for the query's instruction
KNOWN = (
    "expected query, pos, neg as texts (with query_instruct, …), as [instruction, text], or pos and neg as lists of "
    "these, and task_name"
)
NUMBERED = re.compile(r"(pos|neg)_?(\d+)\Z")

FEWEST_LISTS = 4  # that tell whether what stands first is an instruction

Member = tuple[str, str]  # instruction, text


class Dropped(NamedTuple):
    """A row that gives no triple, by its task."""

    task: str
    no_negative: bool = False  # it lacks nothing else


class RowReader:
    """The rows of one file. Whether a list of two texts is MEDI's `[instruction, text]` or two texts is decided once for
    the file: the first where its queries are such lists, for the first row whose query is either; but positives and
    negatives are lists of texts where `first_rows` have them of other lengths (`_lists_of_texts`)."""

    def __init__(self, default_task: str, first_rows: Sequence[Any] = ()) -> None:
        self.default_task = default_task
        self.instruction_first: bool | None = None  # in queries
        self.lists_of_texts = _lists_of_texts(first_rows)  # positives and negatives, whatever queries are
        self.unusable: Counter[str] = Counter()  # rows by the first of task_name and TEXTS that could not be used
        self.null: Counter[str] = Counter()  # those of them where it is null or an empty list

    def triples(self, row: Any) -> list[tuple[str, ...]] | Dropped:
        """The values of COLUMNS of each triple; or, for a row that gives none, what to count it under."""
        if not isinstance(row, dict):
            return Dropped(self.default_task)
        task = row.get("task_name", row.get("task_id", self.default_task))
        if isinstance(task, int) and not isinstance(task, bool):
            task = str(task)
        if not (task := as_text(task) or "").strip():  # null, no text, or blank
            self.unusable["task_name"] += 1
            self.null["task_name"] += row.get("task_name", row.get("task_id")) in (None, "")
            return Dropped(NO_TASK)
        if self.instruction_first is None:
            self.instruction_first = _instruction_first(row.get("query"))
        found: list[list[Member]] = []
        for name in TEXTS:
            members = self._members(row, name)
            if not members or (name == "query" and (len(members) > 1 or self.instruction_first is None)):
                self.unusable[name] += 1
                self.null[name] += not members and members is not None
                return Dropped(task, no_negative=name == "neg" and members is not None)
            found.append(members)
        [query], positives, negatives = found
        # The k-th positive stands with the k-th negative; the shorter list begins again.
        made = []
        for number in range(max(len(positives), len(negatives))):
            triple = (query, positives[number % len(positives)], negatives[number % len(negatives)])
            made.append((*(text for _, text in triple), task, *(instruction for instruction, _ in triple)))
        return made

    def _members(self, row: dict[str, Any], name: str) -> list[Member] | None:
        """The (instruction, text) of each text under `name` and its numbered columns, nulls left
        out; None where one is not a text."""
        instruction = row.get(f"{name}_instruct")
        if instruction is None and name == "query":
            instruction = row.get(QUERY_PROMPT)
        instruction = as_text("" if instruction is None else instruction)
        if instruction is None:
            return None
        values = [row.get(name), *(row[key] for key in numbered(tuple(row)).get(name, ()))]
        values = [value for value in values if value is not None and value != []]
        members: list[Member] = []
        instruction_first = self.instruction_first and (name == "query" or not self.lists_of_texts)
        for value in values:
            several = isinstance(value, list) and (
                not instruction_first or (bool(value) and isinstance(value[0], list))
            )
            if isinstance(value, list) and not several and not isinstance(row.get("query"), list):
                return None  # a query without the list that the file's others have: is this two texts, or one?
            for item in value if several else [value]:
                if item is None and name != "query":  # a list filled up to the length of others
                    continue
                if (member := _member(item, instruction)) is None:
                    return None
                members.append(member)
        return members

    def why_none(self, rows: int) -> str:
        """Why not one of a file's rows was a pair, as far as one column says it."""
        for name in ("task_name", *TEXTS):
            if self.unusable[name] == rows:
                what = "null or empty" if self.null[name] == rows else "not what is expected"
                return f"{name} is {what} in every one of its {rows} rows"
        return f"none of its {rows} rows is a pair"


def _instruction_first(query: Any) -> bool | None:
    """Whether a query is `[instruction, text]`; None for one that is no query, which says nothing about its file."""
    if isinstance(query, list):
        pair = query[0] if len(query) == 1 and isinstance(query[0], list) else query
        return True if len(pair) == 2 and None not in map(as_text, pair) else None
    return None if as_text(query) is None else False


def _lists_of_texts(rows: Sequence[Any]) -> bool:
    """Whether positives and negatives are lists of texts beside queries that are `[instruction, text]`: a quarter of such
    rows has one of another length than two, or a text alone (fewer are broken rows of MEDI's); or what stands first in
    lists of two is hardly ever the same, where queries share instructions."""
    rows = [
        row for row in rows if isinstance(row, dict) and _is_list_of_texts(row.get("query")) and len(row["query"]) == 2
    ]
    lengths = [
        {len(value) if isinstance(value, list) else 1 for value in _documents(row) if _is_texts(value)} for row in rows
    ]
    if 4 * sum(bool(found - {2}) for found in lengths) >= max(len(lengths), 1):
        return True
    firsts = [value[0] for row in rows for value in _documents(row) if _is_list_of_texts(value)]
    enough = len(firsts) >= FEWEST_LISTS and 2 * len({row["query"][0] for row in rows}) <= len(rows)
    return enough and 10 * len(set(firsts)) > 9 * len(firsts)


def instruction_without_queries(rows: Sequence[Any]) -> str | None:
    """A text that documents have as an instruction, `[instruction, text]`, in a file whose queries are plain texts: it
    stands first in at least half of the lists of two, and what stands second is seldom the same. None where none does, or
    where there are too few lists to tell."""
    lists = [
        value
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("query"), str)
        for value in _documents(row)
        if _is_list_of_texts(value) and len(value) == 2
    ]
    if len(lists) < FEWEST_LISTS:
        return None
    [(first, count)] = Counter(value[0] for value in lists).most_common(1)
    others = {value[1] for value in lists}
    return str(first) if 2 * count >= len(lists) and 2 * len(others) > len(lists) else None


def _documents(row: dict[str, Any]) -> tuple[Any, Any]:
    return row.get("pos"), row.get("neg")


def _is_texts(value: Any) -> bool:
    return _is_list_of_texts(value) or as_text(value) is not None


def _is_list_of_texts(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and None not in map(as_text, value)


def _member(value: Any, instruction: str) -> Member | None:
    if isinstance(value, list):
        if len(value) != 2:
            return None
        own, text = as_text(value[0]), as_text(value[1])
        return None if own is None or text is None else (own, text)
    text = as_text(value)
    return None if text is None else (instruction, text)


def as_text(value: Any) -> str | None:
    """A text that UTF-8 can hold: no lone surrogate, whether escaped in the JSON or left by a broken byte."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if not isinstance(value, str):
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return None
    return value


@lru_cache
def numbered(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Further columns of positives and negatives (`neg_2`, `neg3`), in the order of their numbers."""
    found = [(match[1], int(match[2]), name) for name in names if (match := NUMBERED.match(name))]
    return {kind: [name for _, _, name in sorted(f for f in found if f[0] == kind)] for kind in ("pos", "neg")}


def missing(names: Iterable[str]) -> list[str]:
    """Which of TEXTS a row or table with these names lacks."""
    names = tuple(names)
    return [name for name in TEXTS if name not in names and not numbered(names).get(name)]


def unused(names: Iterable[str]) -> list[str]:
    """Names that stand for nothing here."""
    known = {*COLUMNS, "task_id", QUERY_PROMPT}
    return [name for name in names if name not in known and not NUMBERED.match(name)]
