"""The store of a user's own vectors: each text finds its vector, in the order of rows or by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testing.real_tasks import own_classification_task, own_retrieval_task, saved
from testing.vector_files import table, write_npy, write_parquet
from workflow_scripts.command_line import InputError
from workflow_scripts.embeddings.own import make_store
from workflow_scripts.store import Store, open_store

VECTORS = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
DOCUMENTS = {"id": ["d0", "d1", "d2", "d3", "d4"], "text": ["zero", "one", "two", "three", "four"]}
QUERIES = {"id": ["q0", "q1", "q2"], "text": ["first", "second", "third"]}


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = own_retrieval_task("Own", DOCUMENTS, QUERIES, {"q0": {"d1": 1}})
    plain = saved(made)
    monkeypatch.setattr(make_store, "load_for_own_vectors", lambda folder: plain)  # noqa: ARG005
    return made


def store_of(folder: Path, files: dict[str, Path], width: int = 6) -> Store:
    (folder / "task.json").write_text('{"texts_sha256": "0"}')
    settings = make_store.OwnSettings(
        task="Own", model="ours", files={what: str(path) for what, path in files.items()}, width=width
    )
    make_store.make_store(settings, folder / "task.sha256", folder / "store" / "embeddings.json")
    return open_store(folder / "store")


def in_order(folder: Path) -> dict[str, Path]:
    return {
        "documents": write_npy(folder / "documents.npy", VECTORS[:5]),
        "queries": write_npy(folder / "queries.npy", VECTORS[5:].astype(np.float16)),
    }


@pytest.mark.usefixtures("task")
def test_rows_are_the_tasks_in_its_order(tmp_path: Path) -> None:
    store = store_of(tmp_path, in_order(tmp_path))
    for prompt_type, texts, expected in (("document", DOCUMENTS, VECTORS[:5]), ("query", QUERIES, VECTORS[5:])):
        for text, vector in zip(texts["text"], expected, strict=True):
            found = store.vectors[store.rows_of([text], prompt_type)][0]
            np.testing.assert_allclose(found, vector, atol=1e-3 if prompt_type == "query" else 0)
    assert (store.folder / "embeddings.arrow").stat().st_size < 2000, "only keys are written; the vectors stay"


@pytest.mark.usefixtures("task")
def test_ids_of_a_column_go_before_the_order_of_rows(tmp_path: Path) -> None:
    turned = list(reversed(DOCUMENTS["id"]))
    files = in_order(tmp_path) | {"documents": write_parquet(tmp_path / "d.parquet", table(VECTORS[:5], turned))}
    store = store_of(tmp_path, files)
    np.testing.assert_array_equal(store.vectors[store.rows_of(["zero", "four"], "document")], VECTORS[[4, 0]])


@pytest.mark.usefixtures("task")
def test_the_manifest_and_digest_name_the_files_that_were_read(tmp_path: Path) -> None:
    store_of(tmp_path, in_order(tmp_path))
    manifest = json.loads((tmp_path / "store" / "embeddings.json").read_text())
    described = [(file["what"], file["rows"], file["precision"], file["mapped"]) for file in manifest["files"]]
    assert described == [("documents", 5, "float32", True), ("queries", 3, "float16", True)]
    digest = (tmp_path / "store" / "embeddings.sha256").read_text()
    before = digest
    assert "../documents.npy" in digest
    write_npy(tmp_path / "documents.npy", VECTORS[3:])
    store_of(tmp_path, {"documents": tmp_path / "documents.npy", "queries": tmp_path / "queries.npy"})
    assert (tmp_path / "store" / "embeddings.sha256").read_text() != before


@pytest.mark.usefixtures("task")
def test_vectors_that_are_not_the_tasks_are_refused(tmp_path: Path) -> None:
    files = in_order(tmp_path)
    few = write_npy(tmp_path / "few.npy", VECTORS[:4])
    with pytest.raises(InputError, match=r"few.npy: 4 vectors, but the task has 5 documents"):
        store_of(tmp_path, files | {"documents": few})
    ids = ["d0", "d1", "d2", "d3", "x"]
    strange = write_parquet(tmp_path / "d.parquet", table(VECTORS[:5], ids))
    with pytest.raises(InputError, match=r"d.parquet: row 4 has the id 'x', which none of the task's documents has"):
        store_of(tmp_path, files | {"documents": strange})
    with pytest.raises(InputError, match=r"documents.npy: 6 coordinates a row, the study has 7"):
        store_of(tmp_path, files, width=7)
    broken = VECTORS[5:].copy()
    broken[1] = np.nan
    with pytest.raises(InputError, match=r"broken.npy: row 1 is not finite"):
        store_of(tmp_path, files | {"queries": write_npy(tmp_path / "broken.npy", broken)})
    with pytest.raises(InputError, match="Own: needs vectors of documents and queries; found train and test"):
        store_of(tmp_path, {"train": few, "test": few})


def test_rows_of_labelled_texts_are_training_rows_and_test_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = own_classification_task("Own", [("a", 0), ("b", 1), ("c", 0), ("d", 1)], [("e", 0), ("f", 1)])
    plain = saved(made)
    monkeypatch.setattr(make_store, "load_for_own_vectors", lambda folder: plain)  # noqa: ARG005
    train, test = write_npy(tmp_path / "train.npy", VECTORS[:4]), write_npy(tmp_path / "test.npy", VECTORS[4:6])
    store = store_of(tmp_path, {"train": train, "test": test})
    np.testing.assert_array_equal(store.vectors[store.rows_of(list("abcdef"))], VECTORS[:6])
