"""The store of vectors that a user brings: no model, nothing encoded, nothing copied that can be mapped.

Takes a task's folder and the files of its vectors (documents and queries, or training and test rows); leaves the
store, which only says where the vector of each text lies. It exists so that every codec is scored on vectors of an API
or of a model that is somebody else's. Vectors are matched with texts by their ids (a column `id`), or by the order of rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workflow_scripts.artefact import exclusive_lock, log, read_json, versions, write_digests, write_json
from workflow_scripts.command_line import InputError, Settings, parse_settings, parser, run
from workflow_scripts.evaluation.held_out import load_for_own_vectors
from workflow_scripts.evaluation.plain_tasks import DOCUMENT, QUERY, TRAIN, PlainTask, RetrievalTask
from workflow_scripts.store import keys_of, write_keys
from workflow_scripts.vector_files import VectorFile, check_rows, open_vectors


class OwnSettings(Settings):
    """`files` by what they hold; `width`: what the study takes them to be."""

    task: str
    model: str
    files: dict[str, str]
    width: int


class Rows(NamedTuple):
    """What the rows of one file are to be: the texts of one prompt type, with their ids."""

    what: str
    prompt_type: str
    ids: list[str]
    texts: list[str]


def rows_of_task(task: PlainTask) -> list[Rows]:
    """The texts of a task of one part that vectors are needed of, file by file."""
    if isinstance(task, RetrievalTask):
        (collection,) = task.parts
        texts = [text for some in collection.document_texts() for text in some]
        return [
            Rows("documents", DOCUMENT, collection.document_ids(), texts),
            Rows("queries", QUERY, collection.query_ids, collection.query_texts),
        ]
    (labelled,) = task.parts
    return [
        Rows(what, TRAIN, [str(i) for i in range(len(texts))], texts)
        for what, texts in (("train", labelled.train_texts()), ("test", labelled.test_texts()))
    ]


def keys_in_file(file: VectorFile, rows: Rows) -> np.ndarray:
    """The store's key of each row of the file `(rows,)`. Raises InputError where their number or their ids are others
    than the task's."""
    if file.rows != len(rows.texts):
        raise InputError(
            f"{file.path}: {file.rows:,} vectors, but the task has {len(rows.texts):,} {_words(rows.what)}; one for each is expected"
        )
    keys = keys_of(rows.texts, rows.prompt_type)
    if file.ids is None:
        return keys
    place = {identifier: row for row, identifier in enumerate(rows.ids)}
    order = np.array([place.get(identifier, -1) for identifier in file.ids])
    if (order < 0).any():
        row = int(np.argmax(order < 0))
        raise InputError(
            f"{file.path}: row {row:,} has the id {file.ids[row]!r}, which none of the task's {_words(rows.what)} has (its first is {rows.ids[0]!r})"
        )
    found: np.ndarray = keys[order]
    return found


def make_store(settings: OwnSettings, task_digest: Path, output: Path) -> None:
    """Make the store in the folder of `output`, the manifest. Raises InputError."""
    started = time.monotonic()
    wanted = rows_of_task(load_for_own_vectors(task_digest.parent))
    if sorted(settings.files) != sorted(rows.what for rows in wanted):
        raise InputError(
            f"{settings.task}: needs vectors of {' and '.join(r.what for r in wanted)}; found {' and '.join(settings.files)}"
        )
    files: list[VectorFile] = []
    keys: list[np.ndarray] = []
    for rows in wanted:
        file = open_vectors(Path(settings.files[rows.what]), output.parent / rows.what)
        if file.width != settings.width:
            raise InputError(f"{file.path}: {file.width} coordinates a row, the study has {settings.width}")
        keys.append(keys_in_file(file, rows))
        check_rows(file)
        files.append(file)
        log.info("%s: %s vectors of %d coordinates, %s", file.path, f"{file.rows:,}", file.width, file.dtype)
    all_keys = np.concatenate(keys)
    if repeated := len(all_keys) - len(np.unique(all_keys)):
        log.info("%d texts are there twice; each is scored by its first vector", repeated)
    store = write_keys(output.parent, all_keys, [piece for file in files for piece in file.pieces])
    content = {
        "texts": len(all_keys),
        "tokens": 0,
        "width": settings.width,
        "precision": _precision(files),
        "seconds": round(time.monotonic() - started, 3),
        "model": settings.model,
        "files": [_described(rows.what, file) for rows, file in zip(wanted, files, strict=True)],
        "texts_sha256": read_json(task_digest.with_name("task.json"))["texts_sha256"],
        "versions": versions("numpy", "pyarrow"),
    }
    write_json(output, content)
    held = sorted({Path(piece.path) for file in files for piece in file.pieces})
    write_digests(output.with_name("embeddings.sha256"), [store, *held])


def _precision(files: Sequence[VectorFile]) -> str:
    return "float16" if all(file.dtype == "float16" for file in files) else "float32"


def _described(what: str, file: VectorFile) -> dict[str, Any]:
    return {
        "what": what,
        "path": str(file.path),
        "rows": file.rows,
        "precision": file.dtype,
        "mapped": all(piece.path == str(file.path) for piece in file.pieces),
        "ids": "column" if file.ids is not None else "row order",
        "bytes": file.path.stat().st_size,
    }


def _words(what: str) -> str:
    return {"train": "training rows", "test": "test rows"}.get(what, what)


def main() -> None:
    arguments_of = parser(__doc__, "task, model, files, width")
    arguments_of.add_argument("--task", type=Path, required=True, help="task.sha256 in the task's folder")
    arguments_of.add_argument("--output", type=Path, required=True, help="embeddings.json of the store to make")
    arguments = arguments_of.parse_args()

    def work() -> None:
        settings = parse_settings(OwnSettings, arguments.settings)
        with exclusive_lock(arguments.output):
            make_store(settings, arguments.task, arguments.output)

    run(work)


if __name__ == "__main__":
    main()
