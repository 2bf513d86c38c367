"""The data of a user's own evaluation task, checked row by row.

Takes an entry of `tasks` that names files; leaves an mteb task with its data, whose revision is the digest of these files.
Every fault of content is one line that names file and row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts.artefact import digest_of_file, digest_of_text, log
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_files import Row, columns_of, finite_number, rows_of, shown
from workflow_scripts.evaluation.own_pairs import judged_rows
from workflow_scripts.evaluation.own_tasks import Described, own_task, type_of
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.vector_files import ID_COLUMNS, count_and_ids
from workflow_scripts.vector_headers import ONLY_VECTORS, PARQUET

WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})\Z")
LARGEST_SCORE = 2**31 - 1  # a task's judgements are kept as int32
HELD_OUT = 0.5  # of a single file of labelled texts: the share that is predicted
SEED = 42  # mteb's


def described(entry: OwnTask, files: Mapping[str, Path], texts: bool = True) -> Described:
    """What there is to say of the task beside its data; without `texts`, vectors stand for them."""
    digests = "".join(f"{key} {_digest(path)}\n" for key, path in sorted(files.items()))
    return Described(
        name=str(entry.name),
        type=type_of(files, texts),
        dataset=entry.path or str(next(iter(files.values()))),
        revision=digest_of_text(digests),
        judged="documents" not in files or "judgements" in files,
    )


def _digest(path: Path) -> str:
    """Of vectors, their number and their ids alone decide the task."""
    if path.suffix not in ONLY_VECTORS:
        return digest_of_file(path)
    rows, ids = count_and_ids(path)
    return str(rows) if ids is None else f"{rows} {digest_of_text(json.dumps(ids))}"


def load_own(of_task: Described, files: Mapping[str, Path], texts: bool = True) -> Any:
    """The mteb task with its data; without `texts`, each document, query or row is called by its id, or its number.
    Raises InputError."""
    task: Any = own_task(of_task)
    if of_task.type == "Retrieval":
        task.dataset = {"default": {"test": _retrieval(of_task, files, texts)}}
    elif of_task.type == "Classification":
        task.dataset = _classification(of_task, files, texts)
    else:
        task.dataset = _pairs(of_task, files["rows"])
    task.data_loaded = True
    return task


def _data_set(of_task: Described, part: str, columns: Mapping[str, list[Any]]) -> Any:
    """The columns as a data set with a fingerprint of its own: computing one fails where a column has over 2 GiB of text."""
    from datasets import Dataset

    return Dataset(pa.table(columns), fingerprint=digest_of_text(f"{of_task.revision} {part}"))


# ---- values of a row


def _text(row: Row, name: str) -> str:
    value = row.values.get(name)
    if not isinstance(value, str):
        raise InputError(f"{row.place}: {name!r} is {shown(value)}, expected a text")
    _refuse_half_characters(row, name, value)
    return value


def _refuse_half_characters(row: Row, name: str, value: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{row.place}: {name!r} holds half a character (a lone surrogate)") from None


def _full_text(row: Row, name: str) -> str:
    text = _text(row, name)
    if not text.strip():
        raise InputError(f"{row.place}: {name!r} is empty; give a text or leave the row out")
    return text


class _Ids:
    """The ids of a column: texts or whole numbers, not both."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.first: tuple[type, str] | None = None

    def of(self, row: Row) -> str:
        name = next((name for name in self.names if name in row.values), self.names[0])
        value = row.values.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise InputError(f"{row.place}: {name!r} is {shown(value)}, expected an id (a text or a whole number)")
        if self.first is None:
            self.first = type(value), row.place
        elif type(value) is not self.first[0]:
            kinds = {str: "a text", int: "a number"}
            raise InputError(
                f"{row.place}: {name!r} is {kinds[type(value)]} ({shown(value)}), but {kinds[self.first[0]]} in {self.first[1]}; use one type of id"
            )
        _refuse_half_characters(row, name, str(value))
        return str(value)


# ---- retrieval


def _retrieval(of_task: Described, files: Mapping[str, Path], texts: bool) -> dict[str, Any]:
    documents = _texts(files["documents"], titles=True) if texts else _names(files["documents"])
    queries = _texts(files["queries"], titles=False) if texts else _names(files["queries"])
    judged: dict[str, dict[str, int]] = {}
    if "judgements" in files:
        judged = _judgements(files["judgements"], set(queries["id"]), set(documents["id"]))
        if len(judged) < len(queries["id"]):  # the others stay, as vectors may be in their order; they are not scored
            log.info("%s: %d of %d queries are judged", files["queries"], len(judged), len(queries["id"]))
    return {
        "corpus": _data_set(of_task, "documents", documents),
        "queries": _data_set(of_task, "queries", queries),
        "relevant_docs": judged,
        "top_ranked": None,
    }


def _names(path: Path) -> dict[str, list[str]]:
    """The columns `id` and `text` of a file without texts, or whose texts nobody reads: both are the id, or without ids
    the number of the row, from 0."""
    if path.suffix in ONLY_VECTORS or path.suffix == PARQUET:
        rows, found = count_and_ids(path)
        names = found or [str(row) for row in range(rows)]
    else:
        names = list(_ids_or_numbers(path))
    if not names:
        raise InputError(f"{path}: no rows in it")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{path}: the id {twice!r} is there {names.count(twice)} times; give each its own")
    bare: dict[str, str] = {}
    for name in names:
        if (other := bare.setdefault(name.strip(), name)) != name:
            raise InputError(
                f"{path}: the ids {other!r} and {name!r} differ by white space at their ends alone; give each its own"
            )
    return {"id": names, "text": names}


def _ids_or_numbers(path: Path) -> Iterator[str]:
    """The id of each row; where the first has none, the numbers of the rows. Raises InputError where some rows have one."""
    ids = _Ids(*ID_COLUMNS)
    without = not set(ID_COLUMNS) & set(columns_of(path))
    for number, row in enumerate(rows_of(path, ID_COLUMNS)):
        if without and (found := set(ID_COLUMNS) & set(row.values)):
            raise InputError(
                f"{row.place}: {found.pop()!r} is here, but not in the rows before; give each row one, or none"
            )
        yield str(number) if without else ids.of(row)


def _texts(path: Path, titles: bool) -> dict[str, list[str]]:
    """The columns `id`, `text` and, where they have `titles`, `title`. A document may be empty, as in BEIR's collections:
    mteb encodes it as it is. A query may not."""
    ids, seen = _Ids(*ID_COLUMNS), set()
    empty: list[str] = []
    columns: dict[str, list[str]] = {"id": [], "title": [], "text": []}
    for row in rows_of(path, (*ID_COLUMNS, "text", "title") if titles else (*ID_COLUMNS, "text")):
        identifier = ids.of(row)
        if identifier in seen:
            raise InputError(f"{row.place}: the id {identifier!r} is there already; give each its own")
        seen.add(identifier)
        title = _text(row, "title") if titles and row.values.get("title") is not None else ""
        columns["id"].append(identifier)
        columns["title"].append(title)
        columns["text"].append(_text(row, "text") if titles else _full_text(row, "text"))
        if not (title + columns["text"][-1]).strip():
            empty.append(row.place)
    if not seen:
        raise InputError(f"{path}: no rows in it")
    if len(empty) == len(seen):
        raise InputError(f"{path}: every document is empty")
    if empty:
        log.info("%s: empty, and so are %d after it; encoded as they are, as mteb does", empty[0], len(empty) - 1)
    if not any(columns["title"]):
        del columns["title"]
    return columns


def _judgements(path: Path, queries: set[str], documents: set[str]) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    for row, query, document in judged_rows(path, queries, documents):
        score = finite_number(row, "score")
        if score != int(score):
            raise InputError(f"{row.place}: 'score' is {shown(row.values['score'])}, expected a whole number")
        if abs(score) > LARGEST_SCORE:
            raise InputError(
                f"{row.place}: 'score' is {shown(row.values['score'])}, expected at most {LARGEST_SCORE:,}"
            )
        if judged.setdefault(query, {}).setdefault(document, int(score)) != score:
            raise InputError(f"{row.place}: document {document!r} is judged twice for query {query!r}, and differently")
    if not any(score > 0 for scores in judged.values() for score in scores.values()):
        raise InputError(f"{path}: no document is relevant to any query; expected a score above 0")
    return judged


# ---- labelled texts


def _classification(of_task: Described, files: Mapping[str, Path], texts: bool) -> Any:
    """Training and test split; a single file is divided, half of each label's texts to either."""
    from datasets import DatasetDict

    if "rows" in files:
        rows = list(_labelled(files["rows"], "rows", texts))
        _several_labels(rows)
        _no_label_once(rows)
        splits = _halves(rows)
    else:
        splits = {split: list(_labelled(files[split], split, texts)) for split in ("train", "test")}
        _several_labels(splits["train"])
        known = {label for _, _, label in splits["train"]}
        for place, _, label in splits["test"]:
            if label not in known:
                raise InputError(f"{place}: no training text has the label {label!r}, so it cannot be predicted")
    numbers = _label_numbers({label for rows in splits.values() for _, _, label in rows})
    return DatasetDict({split: _data_set(of_task, split, _columns(rows, numbers)) for split, rows in splits.items()})


Labelled = tuple[str, str, str]  # place, text, label


def _labelled(path: Path, split: str, texts: bool) -> Iterator[Labelled]:
    for number, row in enumerate(rows_of(path, ("label", "text") if texts else ("label",))):
        label = row.values.get("label")
        if not isinstance(label, str | int) or label == "":
            raise InputError(f"{row.place}: 'label' is {shown(label)}, expected a text or a whole number")
        _refuse_half_characters(row, "label", str(label))
        yield row.place, _full_text(row, "text") if texts else f"{split} {number}", str(label)


def _several_labels(rows: list[Labelled]) -> None:
    if len({label for _, _, label in rows}) < 2:
        raise InputError(f"{rows[0][0]}: every text has the label {rows[0][2]!r}; expected two labels or more")


def _no_label_once(rows: list[Labelled]) -> None:
    """Of one text no half can go to training and another to the test."""
    once: dict[str, str] = {}
    often: set[str] = set()
    for place, _, label in rows:
        if label in once:
            often.add(label)
        once[label] = place
    for label, place in once.items():
        if label not in often:
            raise InputError(f"{place}: the label {label!r} occurs once; expected two texts or more of each label")


def _halves(rows: list[Labelled]) -> dict[str, list[Labelled]]:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        list(range(len(rows))), test_size=HELD_OUT, random_state=SEED, stratify=[label for _, _, label in rows]
    )
    return {"train": [rows[i] for i in sorted(train)], "test": [rows[i] for i in sorted(test)]}


def _label_numbers(labels: set[str]) -> dict[str, int]:
    """Each label's number: itself where all are whole numbers, else its place in alphabetical order."""
    if all(WHOLE_NUMBER.match(label) for label in labels):
        return {label: int(label) for label in labels}
    return {label: number for number, label in enumerate(sorted(labels))}


def _columns(rows: list[Labelled], numbers: Mapping[str, int]) -> dict[str, list[Any]]:
    return {"text": [text for _, text, _ in rows], "label": [numbers[label] for _, _, label in rows]}


# ---- pairs with scores


def _pairs(of_task: Described, path: Path) -> Any:
    from datasets import DatasetDict

    columns: dict[str, list[Any]] = {"sentence1": [], "sentence2": [], "score": []}
    for row in rows_of(path, tuple(columns)):
        for name in ("sentence1", "sentence2"):
            columns[name].append(_full_text(row, name))
        columns["score"].append(finite_number(row, "score"))
    if len(set(columns["score"])) < 2:
        raise InputError(f"{path}: every pair has the same score, so that nothing correlates with it")
    return DatasetDict({"test": _data_set(of_task, "test", columns)})
