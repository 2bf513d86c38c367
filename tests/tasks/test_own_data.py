"""Evaluation data of a user's own is the mteb task that the same rows make by hand, and its faults are one line each."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mteb.abstasks.sts import AbsTaskSTS

from testing.real_tasks import classification_task, retrieval_task
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.mteb_tasks import document_texts, rows_of_part
from workflow_scripts.evaluation.own_tasks import is_judged, type_of
from workflow_scripts.evaluation.task_files import load_task
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.tasks.own import described, load_own
from workflow_scripts.tasks.prepare import prepare, texts_of
from workflow_scripts.tasks.save import save_task

DOCUMENTS = [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "title": "", "text": "two"}]
QUERIES = [{"_id": "1", "text": "first"}, {"_id": "2", "text": "second"}]
JUDGEMENTS = [("1", "a", 1), ("2", "b", 2)]


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def write_csv(path: Path, names: list[str], rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([names, *rows])
    return path


def beir(folder: Path, documents: Any = DOCUMENTS, queries: Any = QUERIES, judgements: Any = JUDGEMENTS) -> Path:
    """A BEIR folder."""
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", queries)
    write_csv(folder / "qrels" / "test.tsv", ["query-id", "corpus-id", "score"], judgements)
    return folder


def loaded(**entry: Any) -> Any:
    own = OwnTask.model_validate(entry)
    return load_own(described(own, own.files()), own.files())


def as_beir(shared: Path, folder: Path) -> Path:
    """A collection of the shared data as a BEIR folder."""
    rows = {name: pq.read_table(shared / f"{name}.parquet").to_pylist() for name in ("corpus", "queries", "qrels")}
    return beir(folder, rows["corpus"], rows["queries"], [tuple(row.values()) for row in rows["qrels"]])


@pytest.mark.parametrize("name", ["cranfield", "cacm"])
def test_a_beir_folder_is_the_mteb_task_of_the_same_rows(name: str, shared_data: Path, tmp_path: Path) -> None:
    by_hand = retrieval_task(shared_data / "retrieval" / name)
    entry = OwnTask(path=str(as_beir(shared_data / "retrieval" / name, tmp_path / "my data")))
    prepare(str(entry.name), tmp_path / "task", entry)
    task: Any = load_task(tmp_path / "task")
    assert (task.metadata.name, task.metadata.type, task.metadata.main_score) == ("my_data", "Retrieval", "ndcg_at_10")
    found, expected = (rows_of_part(one, "default", "test") for one in (task, by_hand))
    assert found["relevant_docs"] == expected["relevant_docs"]
    assert (found["corpus"]["id"], document_texts(found["corpus"])) == (
        expected["corpus"]["id"],
        document_texts(expected["corpus"]),
    )
    assert found["queries"].to_dict() == expected["queries"].to_dict()
    assert list(texts_of(task)) == list(texts_of(by_hand))
    manifest = json.loads((tmp_path / "task" / "task.json").read_text())
    assert (manifest["dataset"], len(manifest["revision"])) == (entry.path, 64)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl.gz", ".parquet"])
def test_labelled_texts_are_the_mteb_task_of_the_same_rows(suffix: str, shared_data: Path, tmp_path: Path) -> None:
    by_hand: Any = classification_task(shared_data / "mteb_cls" / "trec_coarse", trains=500, tests=50)
    for split, rows in by_hand.dataset.items():
        pairs, path = list(zip(rows["text"], rows["label"], strict=True)), tmp_path / f"{split}{suffix}"
        if suffix == ".csv":
            write_csv(path, ["text", "label"], pairs)
        elif suffix == ".parquet":
            pq.write_table(pa.table({"text": rows["text"], "label": rows["label"]}), path)
        else:
            text = "".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in pairs)
            path.write_bytes(gzip.compress(text.encode()))
    task = loaded(path=str(tmp_path), name="Trec")
    assert {split: rows.to_dict() for split, rows in task.dataset.items()} == {
        split: rows.to_dict() for split, rows in by_hand.dataset.items()
    }
    assert list(texts_of(task)) == list(texts_of(by_hand))


def test_csv_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    """A byte order mark, lines that end in CR LF, quotes, commas and line breaks within quotes, letters of any script."""
    text = 'label,text\r\nyes,"a ""quoted"", text\r\nof two lines"\r\nno,naïve 文\r\nyes,three\r\nno,four\r\n'
    path = tmp_path / "tickets.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    task = loaded(path=str(path))
    rows = [row for split in ("train", "test") for row in zip(*task.dataset[split].to_dict().values(), strict=True)]
    assert sorted(rows) == [('a "quoted", text\r\nof two lines', 1), ("four", 0), ("naïve 文", 0), ("three", 1)]
    assert task.metadata.name == "tickets"
    assert [sorted(task.dataset[split]["label"]) for split in ("train", "test")] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("name", ["tickets.jsonl.csv", "tickets.tsv.csv", "tickets.jsonl.csv.gz", "csv.tsv.jsonl.gz"])
def test_the_last_suffix_says_the_format(name: str, tmp_path: Path) -> None:
    rows = [("one", "x"), ("two", "x"), ("three", "y"), ("four", "y")]
    path = write_csv(tmp_path / name, ["text", "label"], rows)
    if ".jsonl.gz" in name:
        write_lines(path, [{"text": text, "label": label} for text, label in rows])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    task = loaded(path=str(path), name="T")
    assert sorted([*task.dataset["train"]["text"], *task.dataset["test"]["text"]]) == ["four", "one", "three", "two"]


def test_pairs_with_scores_are_a_task_of_similarity(tmp_path: Path) -> None:
    rows = [("a b", "b", 1.5), ("c", "c d", 3), ("d e", "f", 5)]
    task = loaded(path=str(write_csv(tmp_path / "pairs.tsv", ["sentence1", "sentence2", "score"], rows)))
    assert AbsTaskSTS in type(task).__bases__
    assert task.dataset["test"]["score"] == [1.5, 3.0, 5.0]
    assert {text for _, text, _ in texts_of(task)} == {"a b", "b", "c", "c d", "d e", "f"}


def test_documents_and_queries_alone_are_a_task_without_judgements(tmp_path: Path) -> None:
    documents = write_lines(tmp_path / "documents.jsonl", [{"id": 7, "text": "one"}, {"id": 8, "text": "two"}])
    queries = write_csv(tmp_path / "q.csv", ["id", "text"], [("x", "first")])
    entry = OwnTask(documents=str(documents), queries=str(queries), name="Mine")
    prepare("Mine", tmp_path / "task", entry)
    task = load_task(tmp_path / "task")
    assert not is_judged(task)
    assert (task.metadata.type, task.metadata.main_score) == ("Retrieval", "overlap_at_10")
    texts = pl.read_parquet(tmp_path / "task" / "texts.parquet")
    assert list(texts.iter_rows()) == [("document", "one", False), ("document", "two", False), ("query", "first", True)]


def test_the_revision_is_that_of_the_files(tmp_path: Path) -> None:
    def revision() -> str:
        own = OwnTask(path=str(tmp_path))
        return described(own, own.files()).revision

    beir(tmp_path)
    first = revision()
    (tmp_path / "README.md").write_text("of no matter")
    write_csv(tmp_path / "qrels" / "train.tsv", ["query-id", "corpus-id", "score"], JUDGEMENTS)
    assert revision() == first
    beir(tmp_path, judgements=[("1", "b", 1)])
    assert revision() != first


def test_no_fingerprint_of_texts_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails where a column has more than 2 GiB of text, and takes time where it has less."""

    def refused(_: object) -> str:
        raise AssertionError("a fingerprint was computed")

    monkeypatch.setattr("datasets.arrow_dataset.generate_fingerprint", refused)
    labelled = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")]
    paths = [
        beir(tmp_path / "retrieval"),
        write_csv(tmp_path / "labelled.csv", ["text", "label"], labelled),
        write_csv(tmp_path / "pairs.csv", ["sentence1", "sentence2", "score"], [("a", "b", 1), ("c", "d", 2)]),
    ]
    for path in paths:
        entry = OwnTask(path=str(path))
        own = described(entry, entry.files())
        task, folder = load_own(own, entry.files()), tmp_path / str(entry.name)
        save_task(task, folder, own)
        again: Any = load_task(folder)
        for one in (task, again):
            rows = rows_of_part(one, "default", "test")
            assert len(rows["corpus"] if isinstance(rows, dict) else rows) == 2


def test_of_vectors_number_and_ids_decide_the_revision(tmp_path: Path) -> None:
    def revision(ids: list[str] | None, value: float, rows: int = 2) -> str:
        vectors = pa.array([[value, 1.0]] * rows, pa.list_(pa.float32(), 2))
        table = pa.table({"vector": vectors} if ids is None else {"id": ids, "vector": vectors})
        files = {"documents": tmp_path / "documents.arrow", "queries": tmp_path / "queries.arrow"}
        for path in files.values():
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
        entry = OwnTask(**{what: str(path) for what, path in files.items()}, name="T")
        return described(entry, files, texts=False).revision

    assert revision(["a", "b"], 1) == revision(["a", "b"], 2)
    assert revision(None, 1) == revision(None, 2)
    different = [revision(["a", "b"], 1), revision(["b", "a"], 1), revision(None, 1), revision(None, 1, rows=3)]
    assert len(set(different)) == 4


# ---- what cannot be a task

MANY = [*DOCUMENTS, {"_id": "c", "text": "three"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": [*DOCUMENTS, DOCUMENTS[0]]}, "corpus.jsonl, line 3: the id 'a' is there already"),
        ({"queries": [*QUERIES, QUERIES[1]]}, "queries.jsonl, line 3: the id '2' is there already"),
        ({"judgements": [*JUDGEMENTS, ("2", "z", 1)]}, "test.tsv, line 4: there is no document 'z'"),
        ({"judgements": [*JUDGEMENTS, ("3", "a", 1)]}, "test.tsv, line 4: there is no query '3'"),
        ({"judgements": [("1", "a", 1), ("1", "a", 2)]}, "test.tsv, line 3: document 'a' is judged twice"),
        ({"judgements": [("1", "a", "much")]}, "test.tsv, line 2: 'score' is 'much', expected a number"),
        ({"judgements": [("1", "a", 3000000000)]}, "test.tsv, line 2: 'score' is '3000000000', expected at most"),
        ({"judgements": [("1", "a", "-1e300")]}, "test.tsv, line 2: 'score' is '-1e300', expected at most"),
        ({"judgements": [("1", "a", 0)]}, "test.tsv: no document is relevant to any query"),
        ({"queries": []}, "queries.jsonl: no rows in it"),
        ({"documents": [*DOCUMENTS, '{"_id": "c", "te']}, "corpus.jsonl, line 3: not JSON .* is the file cut short"),
        ({"queries": ['{"_id": ' + "[" * 100_000]}, "queries.jsonl, line 1: nested too deeply"),
        ({"documents": [*DOCUMENTS, "[1]"]}, "corpus.jsonl, line 3: found list, expected an object"),
        ({"queries": [*QUERIES, {"_id": "3", "text": " "}]}, "queries.jsonl, line 3: 'text' is empty"),
        ({"documents": [{"_id": "a", "text": ""}, {"_id": "b", "text": " "}]}, "corpus.jsonl: every document is empty"),
        ({"queries": [*QUERIES, {"_id": "3"}]}, "queries.jsonl, line 3: 'text' is missing"),
        ({"documents": [*DOCUMENTS, {"_id": 3, "text": "x"}]}, "line 3: '_id' is a number .3., but a text in .*line 1"),
        ({"documents": [*DOCUMENTS, {"_id": None, "text": "x"}]}, "corpus.jsonl, line 3: '_id' is missing"),
        (
            {"documents": [*DOCUMENTS, {"_id": "\ud83d", "text": "x"}]},
            "corpus.jsonl, line 3: '_id' holds half a character",
        ),
        (
            {"queries": [*QUERIES, {"_id": "\ud83d", "text": "x"}]},
            "queries.jsonl, line 3: '_id' holds half a character",
        ),
        ({"documents": [{"id": "a", "body": "x"}]}, "corpus.jsonl: column 'text' is missing; found 'id', 'body'"),
    ],
)
def test_a_fault_of_a_beir_folder_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    beir(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as raised:
        loaded(path=str(tmp_path), name="T")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "documents.jsonl: the id 'a' is there 2 times"),
        (["a", "b", " a"], "documents.jsonl: the ids 'a' and ' a' differ by white space at their ends alone"),
        (["b\t", "a", "b\u3000"], r"documents.jsonl: the ids 'b.t' and 'b.u3000' differ by white space"),
        (["a", "\ud83d"], "documents.jsonl, line 2: '_id' holds half a character"),
    ],
)
def test_an_id_that_cannot_stand_for_a_text_is_one_line(ids: list[str], message: str, tmp_path: Path) -> None:
    documents = write_lines(tmp_path / "documents.jsonl", [{"_id": identifier} for identifier in ids])
    files = {"documents": documents, "queries": write_lines(tmp_path / "queries.jsonl", QUERIES)}
    entry = OwnTask(**{what: str(path) for what, path in files.items()}, name="T")
    with pytest.raises(InputError, match=message) as raised:
        load_own(described(entry, files, texts=False), files, texts=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_rows_without_ids_are_called_by_their_numbers_where_vectors_stand_for_texts(
    suffix: str, tmp_path: Path
) -> None:
    files = {}
    for what, texts in (("documents", ["one", "two", "three"]), ("queries", ["first", "second"])):
        files[what] = tmp_path / f"{what}{suffix}"
        if suffix == ".jsonl":
            write_lines(files[what], [{"text": text} for text in texts])
        elif suffix == ".csv":
            write_csv(files[what], ["text"], [[text] for text in texts])
        else:
            pq.write_table(pa.table({"text": texts}), files[what])
    judgements = [("0", "2", 1), ("1", "0", 1)]
    files["judgements"] = write_csv(tmp_path / "qrels.csv", ["query-id", "corpus-id", "score"], judgements)
    entry = OwnTask(**{what: str(path) for what, path in files.items()}, name="T")
    task = load_own(described(entry, files, texts=False), files, texts=False)
    rows = rows_of_part(task, "default", "test")
    assert (rows["corpus"]["id"], rows["queries"]["id"]) == (["0", "1", "2"], ["0", "1"])
    assert rows["relevant_docs"] == {"0": {"2": 1}, "1": {"0": 1}}


def test_ids_of_some_rows_are_one_line(tmp_path: Path) -> None:
    documents = write_lines(tmp_path / "documents.jsonl", [{"text": "one"}, {"_id": "b", "text": "two"}])
    files = {"documents": documents, "queries": write_lines(tmp_path / "queries.jsonl", QUERIES)}
    entry = OwnTask(**{what: str(path) for what, path in files.items()}, name="T")
    with pytest.raises(InputError, match=r"documents.jsonl, line 2: '_id' is here, but not in the rows before"):
        load_own(described(entry, files, texts=False), files, texts=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\na,x\nb,x\nc,y\n", "rows.csv, line 4: the label 'y' occurs once"),
        (b"text,label\na,x\nb,x\n", "every text has the label 'x'"),
        (b"text,label\na,x\n,x\n", "rows.csv, line 3: 'text' is empty"),
        (b"text,label\na,x\nb,\n", "rows.csv, line 3: 'label' is '', expected"),
        (b"text,label\na,x\nb\n", "rows.csv, line 3: 1 fields, expected 2 .text, label."),
        (b'text,label\na,x\n"b,x\n', "rows.csv, line 3: unexpected end of data; is the file cut short"),
        (b"text,label\na,x\ncaf\xe9,x\n", "rows.csv, line 3: not UTF-8 .byte 0xe9"),
        (b"utterance,intent\na,x\n", "rows.csv: column 'text' is missing .*; found 'utterance', 'intent'"),
        (b"text,label\n", "rows.csv: no rows in it"),
        (b"", "rows.csv: no rows in it"),
        (b"text,label,text\na,b,c\n", "rows.csv: 2 columns have the name 'text'; found 'text', 'label', 'text'"),
        (b"sentence1,sentence2,score\na,b,1\nc,d,nan\n", "rows.csv, line 3: 'score' is 'nan', expected a number"),
        (b"sentence1,sentence2,score\na,b,1\nc,d,1\n", "rows.csv: every pair has the same score"),
    ],
)
def test_a_fault_of_a_single_file_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        loaded(path=str(tmp_path / "rows.csv"))


def odd_columns() -> dict[str, pa.Array]:
    """Columns that Python cannot hold, or not as a row: a time after the year 9999, a struct with two equal names, a text
    that is not UTF-8."""
    broken = pa.array([b"caf\xe9"] * 4)
    return {
        "made": pa.array([2**62] * 4, pa.timestamp("ms")),
        "twice": pa.StructArray.from_arrays([pa.array(range(4))] * 2, names=["a", "a"]),
        "latin": pa.Array.from_buffers(pa.string(), 4, broken.buffers()),
    }


@pytest.mark.parametrize("column", ["made", "twice", "latin"])
def test_columns_that_nobody_reads_do_no_harm(column: str, tmp_path: Path) -> None:
    path, odd = tmp_path / "rows.parquet", odd_columns()[column]
    rows = {"text": list("abcd"), "label": list("xyxy")}
    pq.write_table(pa.table({**rows, column: odd}), path)
    task = loaded(path=str(path))
    assert sorted([*task.dataset["train"]["text"], *task.dataset["test"]["text"]]) == list("abcd")
    pq.write_table(pa.table({**rows, "text": odd}), path)
    with pytest.raises(InputError, match=r"rows.parquet, (after row 0: cannot be read|row 1: 'text' is)") as raised:
        loaded(path=str(path))
    assert "\n" not in str(raised.value)


def test_two_columns_of_one_name_are_refused_where_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    columns = [pa.array(list(values)) for values in ("abcd", "xyxy", "efgh")]
    pq.write_table(pa.Table.from_arrays(columns, names=["text", "label", "text"]), path)
    with pytest.raises(
        InputError, match=r"rows.parquet: 2 columns have the name 'text'; found 'text', 'label', 'text'"
    ):
        loaded(path=str(path))
    columns.append(columns[0])
    pq.write_table(pa.Table.from_arrays(columns, names=["text", "label", "note", "note"]), path)
    write_csv(tmp_path / "rows.csv", ["text", "label", "", ""], [("a", "x", 1, 2)] * 2 + [("b", "y", 3, 4)] * 2)
    for name in ("rows.parquet", "rows.csv"):
        assert len(loaded(path=str(tmp_path / name)).dataset["test"]) == 2


@pytest.mark.parametrize("column", ["text", "label"])
def test_half_a_character_is_one_line(column: str, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in ("ax", "bx", "cy", "dy")]
    path = write_lines(tmp_path / "rows.jsonl", [*rows, rows[0] | {column: "\ud83d"}])
    with pytest.raises(InputError, match=rf"rows.jsonl, line 5: '{column}' holds half a character"):
        loaded(path=str(path))


def test_a_number_of_400_digits_is_one_line(tmp_path: Path) -> None:
    row = {"sentence1": "a", "sentence2": "b", "score": 10**400}
    path = write_lines(tmp_path / "pairs.jsonl", [row])
    with pytest.raises(InputError, match=r"pairs.jsonl, line 1: 'score' is 1000.*, expected a number"):
        loaded(path=str(path))


def test_a_label_may_have_one_training_text_where_training_has_a_file_apart(tmp_path: Path) -> None:
    rows = [("a", "x"), ("b", "y"), ("c", "x")]  # as some intents of MTOP
    for split in ("train", "test"):
        write_csv(tmp_path / f"{split}.csv", ["text", "label"], rows)
    task = loaded(path=str(tmp_path), name="T")
    assert list(task.dataset["train"]["label"]) == [0, 1, 0]
    write_csv(tmp_path / "train.csv", ["text", "label"], [row for row in rows if row[1] == "x"])
    with pytest.raises(InputError, match=r"train.csv, line 2: every text has the label 'x'"):
        loaded(path=str(tmp_path), name="T")


def test_a_label_that_no_training_text_has_is_one_line(tmp_path: Path) -> None:
    rows = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")]
    write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    write_csv(tmp_path / "test.csv", ["text", "label"], [*rows, ("e", "z")])
    with pytest.raises(InputError, match=r"test.csv, line 6: no training text has the label 'z'"):
        loaded(path=str(tmp_path), name="T")


def test_a_parquet_or_packed_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 500, "label": ["x", "y"] * 500}), whole)
    (tmp_path / "half.parquet").write_bytes(whole.read_bytes()[:400])
    with pytest.raises(InputError, match=r"half.parquet: not readable as parquet .*is the file cut short"):
        loaded(path=str(tmp_path / "half.parquet"))
    lines = "".join(json.dumps({"text": f"text {i}", "label": i % 2}) + "\n" for i in range(20_000))
    (tmp_path / "half.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:40_000])
    with pytest.raises(InputError, match=r"half.jsonl.gz: cut short or damaged after line \d{3,}"):
        loaded(path=str(tmp_path / "half.jsonl.gz"))


def test_a_folder_says_what_it_lacks(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", DOCUMENTS)
    with pytest.raises(InputError, match=r"holds no task; found corpus.jsonl; expected corpus and queries"):
        OwnTask(path=str(tmp_path)).files()
    write_lines(tmp_path / "queries.jsonl", QUERIES)
    write_csv(tmp_path / "qrels" / "dev.tsv", ["query-id", "corpus-id", "score"], JUDGEMENTS)
    with pytest.raises(InputError, match=r"qrels: no files of split 'test'; found dev.tsv; name one with `split`"):
        OwnTask(path=str(tmp_path)).files()
    assert set(OwnTask(path=str(tmp_path), split="dev").files()) == {"documents", "queries", "judgements"}
    write_lines(tmp_path / "documents.jsonl", DOCUMENTS)
    with pytest.raises(InputError, match=r"both corpus.jsonl and documents.jsonl hold documents"):
        OwnTask(path=str(tmp_path), split="dev").files()


def test_the_type_is_told_by_columns_alone(tmp_path: Path) -> None:
    assert type_of(OwnTask(path=str(beir(tmp_path))).files()) == "Retrieval"
    assert (
        type_of({"rows": write_csv(tmp_path / "r.csv", ["label", "id", "text"], [("x", 1, "a")])}) == "Classification"
    )
