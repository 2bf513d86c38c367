"""A task on disk is the task that mteb loaded, and its texts are those that mteb asks an encoder for."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS

from testing.real_tasks import (
    classification_task,
    described,
    own_classification_task,
    own_retrieval_task,
    retrieval_task,
)
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation import plain_tasks, task_files
from workflow_scripts.evaluation.mteb_tasks import column, document_texts, new_task, rows_of_part, undersampled_rows
from workflow_scripts.evaluation.plain_tasks import load_plain
from workflow_scripts.evaluation.task_files import load_task
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.tasks import prepare as prepare_module
from workflow_scripts.tasks import save
from workflow_scripts.tasks.prepare import TEXTS, load, main, prepare, texts_of, write_texts
from workflow_scripts.tasks.recording import RecordingEncoder
from workflow_scripts.tasks.save import save_task


def asked_by_mteb(task: Any) -> set[tuple[str, str]]:
    """(prompt type, text) that mteb's own evaluation of the task hands to an encoder."""
    encoder: Any = RecordingEncoder()
    mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return set(encoder.texts)


def given_back(task: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task saved and loaded again; its class, which mteb does not know, stands in for the look-up by name."""
    save_task(task, folder)
    monkeypatch.setattr(task_files, "new_task", lambda _: type(task)())
    return load_task(folder)


def test_classification_texts_are_those_that_mteb_asks_for(shared_data: Path) -> None:
    task: Any = classification_task(shared_data / "mteb_cls" / "trec_coarse", trains=300, tests=100)
    texts = list(texts_of(task))
    assert {(prompt_type, text) for prompt_type, text, _ in texts} == asked_by_mteb(task)
    tests = set(column(task.dataset["test"], "text"))
    assert {text for _, text, evaluation in texts if evaluation} == tests
    assert len(texts) < 400, "training rows that no experiment draws are not encoded"


def test_retrieval_texts_are_those_that_mteb_asks_for_titles_and_empty_documents_too(shared_data: Path) -> None:
    task = retrieval_task(shared_data / "retrieval" / "cranfield")
    texts = list(texts_of(task))
    assert {(prompt_type, text) for prompt_type, text, _ in texts} == asked_by_mteb(task)
    assert ("document", "") in {(prompt_type, text) for prompt_type, text, _ in texts}
    relevant = sum(evaluation for prompt_type, _, evaluation in texts if prompt_type == "document")
    assert 0 < relevant < 1400
    assert all(evaluation for prompt_type, _, evaluation in texts if prompt_type == "query")


def test_a_text_that_stands_in_several_documents_is_of_evaluation_where_one_of_them_is_relevant() -> None:
    corpus = {"id": ["a", "b", "c", "d"], "text": ["x", "y", "x", "z"]}
    task = own_retrieval_task("Twice", corpus, {"id": ["1"], "text": ["x"]}, {"1": {"c": 1, "d": 0}})
    documents = [("document", "x", True), ("document", "y", False), ("document", "z", False)]
    assert list(texts_of(task)) == [*documents, ("query", "x", True)]


def test_texts_are_written_in_pieces_to_the_file_that_one_table_would_be(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflow_scripts.tasks.prepare.TEXTS_AT_ONCE", 100)
    texts = list(texts_of(retrieval_task(shared_data / "retrieval" / "cranfield")))
    assert write_texts(iter(texts), tmp_path / "pieces.parquet") == (len(texts), sum(flag for *_, flag in texts))
    columns = {field: [row[i] for row in texts] for i, field in enumerate(TEXTS.names)}
    pq.write_table(pa.table(columns, schema=TEXTS), tmp_path / "whole.parquet", compression="zstd")
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_texts_of_a_task_of_pairs_are_written_down_from_mtebs_own_evaluation() -> None:
    class Pairs(AbsTaskSTS):
        metadata = described("Pairs", "STS", "cosine_spearman")

    task: Any = Pairs()
    rows = {"sentence1": ["a b", "c", "d e"], "sentence2": ["b", "c d", "f"], "score": [1.0, 3.0, 5.0]}
    task.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
    task.data_loaded = True
    assert {text for _, text, _ in texts_of(task)} == {"a b", "c", "d e", "b", "c d", "f"}


def test_documents_are_joined_with_their_titles_as_mteb_joins_them(shared_data: Path) -> None:
    from mteb._create_dataloaders import _retrieval_texts
    from mteb.types import PromptType

    corpus = rows_of_part(retrieval_task(shared_data / "retrieval" / "cacm"), "default", "test")["corpus"]
    assert document_texts(corpus) == list(_retrieval_texts(corpus, PromptType.document))


def test_the_rows_drawn_are_those_that_mteb_draws(shared_data: Path) -> None:
    task: Any = classification_task(shared_data / "mteb_cls" / "banking77", trains=500, tests=10)
    train = task.dataset["train"]
    order, expected = None, []
    for experiment in range(3):
        _, order, rows = task._undersample_data(train, experiment, order)
        expected.append(rows)
    assert undersampled_rows(task, column(train, "label"))[:3] == expected


def test_a_retrieval_task_comes_back_as_it_was(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "cranfield")
    part = rows_of_part(task, "default", "test")
    part["top_ranked"] = {"1": ["184", "29"], "2": ["12"]}
    again = rows_of_part(given_back(task, tmp_path, monkeypatch), "default", "test")
    assert again["relevant_docs"] == part["relevant_docs"]
    assert again["top_ranked"] == part["top_ranked"]
    for rows in ("corpus", "queries"):
        assert again[rows].features == part[rows].features
        assert again[rows][:] == part[rows][:]


def test_a_task_of_several_subsets_comes_back_with_the_evaluated_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(new_task("AmazonCounterfactualClassification"))
    task: Any = kind()
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    splits = DatasetDict({"train": rows, "validation": rows, "test": rows})
    task.dataset = dict.fromkeys(task.hf_subsets, splits)
    task.hf_subsets = ["en"]
    task.filter_eval_splits(["test"])
    again = given_back(task, tmp_path, monkeypatch)
    assert list(again.dataset) == ["en"]
    assert set(again.dataset["en"]) == {"train", "test"}
    assert (again.hf_subsets, list(again.eval_splits)) == (["en"], ["test"])
    assert kind.metadata.eval_splits == new_task("AmazonCounterfactualClassification").metadata.eval_splits


def test_a_benchmarks_task_has_the_benchmarks_subsets_and_mtebs_metadata_stays_as_it_is() -> None:
    before = mteb.get_task("AmazonCounterfactualClassification").metadata.model_dump_json()
    task = new_task("AmazonCounterfactualClassification")
    assert task.hf_subsets == ["en"]
    assert mteb.get_task("AmazonCounterfactualClassification").metadata.model_dump_json() == before


def test_both_wordnet_tasks_are_what_the_catalogue_says(tmp_path: Path) -> None:
    for name in ("WordNetLexicographerFiles", "WordNetExamples"):
        prepare(name, tmp_path / name)
        task: Any = load_task(tmp_path / name)
        manifest = json.loads((tmp_path / name / "task.json").read_text())
        entry = task_catalogue()[name]
        assert (task.metadata.name, task.metadata.type, task.metadata.main_score) == (
            name,
            entry["type"],
            entry["metric"],
        )
        texts = pl.read_parquet(tmp_path / name / "texts.parquet")
        assert texts.columns == ["prompt_type", "text", "evaluation"]
        assert manifest["texts"] == len(texts) == len(texts.unique(["prompt_type", "text"]))
        if entry["type"] == "Classification":
            assert len(set(column(task.dataset["test"], "label"))) == 45
            assert manifest["chance"] == pytest.approx(1 / 45)
        else:
            assert rows_of_part(task, "default", "test")["relevant_docs"] == load_relevant(name)
            assert manifest["chance"] is None


def load_relevant(name: str) -> Any:
    return rows_of_part(load(name), "default", "test")["relevant_docs"]


def test_a_task_made_again_has_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for attempt in ("first", "second"):
        output = tmp_path / attempt / "task.json"
        settings = json.dumps({"task": "WordNetExamples"})
        monkeypatch.setattr("sys.argv", ["prepare", "--settings", settings, "--output", str(output)])
        main()
        digests.append(output.with_name("task.sha256").read_bytes())
    assert digests[0] == digests[1]


def test_a_large_corpus_is_written_and_mapped_a_row_group_at_a_time(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = retrieval_task(shared_data / "retrieval" / "cranfield")
    save_task(task, tmp_path / "whole")
    monkeypatch.setattr(task_files, "ROW_GROUP", 300)
    monkeypatch.setattr(plain_tasks, "ROWS_AT_ONCE", 70)
    monkeypatch.setattr(save, "ROW_GROUP", 300)
    monkeypatch.setattr(prepare_module, "ROW_GROUP", 300)
    loaded = given_back(task, tmp_path / "slices", monkeypatch)
    corpus, mapped = (one.dataset["default"]["test"]["corpus"] for one in (task, loaded))
    assert (len(mapped), mapped.features) == (1400, corpus.features)
    assert mapped.cache_files, "in a file, not in memory"
    assert mapped[:] == corpus[:]
    assert list(texts_of(loaded)) == list(texts_of(task))
    name = "data/default/test/corpus.parquet"
    assert pq.ParquetFile(tmp_path / "slices" / name).num_row_groups == 5
    assert pq.read_table(tmp_path / "slices" / name).equals(pq.read_table(tmp_path / "whole" / name))


def test_a_full_disk_is_not_taken_for_a_broken_file(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = retrieval_task(shared_data / "retrieval" / "cranfield")
    save_task(task, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(task_files, "ROW_GROUP", 300)
    monkeypatch.setattr(task_files, "new_task", lambda _: type(task)())
    monkeypatch.setattr("workflow_scripts.evaluation.task_files.pa.ipc.new_stream", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        load_task(tmp_path)
    assert not isinstance(raised.value, InputError)


def test_what_cannot_be_a_task_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(settings: str) -> None:
        output = str(tmp_path / "x" / "task.json")
        monkeypatch.setattr("sys.argv", ["prepare", "--settings", settings, "--output", output])
        main()

    with pytest.raises(InputError, match="task 'Nonsense' is not known"):
        run('{"task": "Nonsense"}')
    with pytest.raises(InputError, match="--settings: tusk: Extra inputs"):
        run('{"task": "WordNetExamples", "tusk": 1}')
    assert not (tmp_path / "x" / "task.sha256").exists()


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layout.json: missing; make the task's folder again"):
        load_task(tmp_path)
    prepare("WordNetExamples", tmp_path / "task")
    qrels = tmp_path / "task" / "data" / "default" / "test" / "qrels.parquet"
    qrels.write_bytes(qrels.read_bytes()[:50])
    for read in (load_task, load_plain):
        with pytest.raises(InputError, match=r"qrels\.parquet: not readable as parquet"):
            read(tmp_path / "task")
    (tmp_path / "task" / "protocol" / "facts.json").unlink()
    with pytest.raises(InputError, match=r"protocol/facts.json: missing; make the task's folder again"):
        load_plain(tmp_path / "task")


def test_a_text_that_is_missing_is_refused() -> None:
    corpus: Any = {"id": ["a", "b"], "text": ["x", "y"]}
    task = own_retrieval_task("Holes", corpus, {"id": ["1"], "text": ["q"]}, {"1": {"a": 1}})
    queries = Dataset.from_dict({"id": ["1"], "text": np.array([None], dtype=object).tolist()})
    rows_of_part(task, "default", "test")["queries"] = queries
    with pytest.raises(InputError, match=r"Holes, 'default' 'test': row 0: 'text' is missing \(null\)"):
        texts_of(task)


@pytest.mark.parametrize("name", ["text", "id"])
def test_a_document_without_text_or_id_is_refused(name: str) -> None:
    corpus: Any = {"id": ["a", "b"], "text": ["x", "y"]}
    corpus[name] = ["a", None]
    task = own_retrieval_task("Holes", corpus, {"id": ["1"], "text": ["q"]}, {"1": {"a": 1}})
    with pytest.raises(InputError, match=f"'default' 'test': row 1: '{name}' is missing"):
        texts_of(task)


def test_a_row_without_label_is_refused() -> None:
    holes: Any = [("a", 0), ("b", None)]
    task = own_classification_task("Holes", [("a", 0), ("b", 1)], holes)
    with pytest.raises(InputError, match="'default' 'test': row 1: 'label' is missing"):
        texts_of(task)


def test_a_task_that_loads_corpus_queries_and_judgements_apart_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Apart(AbsTaskRetrieval):
        metadata = described("Apart", "Retrieval", "ndcg_at_10")

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG002 mteb names it
            self.corpus = {"test": {"a": {"title": "T", "text": "x"}, "b": {"title": "", "text": "y"}}}
            self.queries = {"test": {"1": "q"}}
            self.relevant_docs = {"test": {"1": {"b": 1}}}
            self.data_loaded = True

    monkeypatch.setattr("workflow_scripts.tasks.prepare.new_task", lambda _: Apart())
    prepare("Apart", tmp_path / "task")
    texts = pl.read_parquet(tmp_path / "task" / "texts.parquet")
    assert set(texts.iter_rows()) == {("document", "T x", False), ("document", "y", True), ("query", "q", True)}


def test_a_split_with_a_dot_in_its_name_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dotted(AbsTaskSTS):
        metadata = described("Dotted", "STS", "cosine_spearman", eval_splits=["test.full"])

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG002 mteb names it
            rows = {"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": [1.0, 2.0, 3.0]}
            self.dataset = DatasetDict({"test.full": Dataset.from_dict(rows)})
            self.data_loaded = True

    monkeypatch.setattr("workflow_scripts.tasks.prepare.new_task", lambda _: Dotted())
    prepare("Dotted", tmp_path / "task")
    assert json.loads((tmp_path / "task" / "task.json").read_text())["texts"] == 6


@pytest.mark.parametrize("name", ["text", "label"])
def test_a_task_whose_data_lacks_a_column_is_one_line(name: str) -> None:
    task = own_classification_task("Holes", [("a", 0), ("b", 1)], [("a", 0), ("b", 1)])
    task.dataset["test"] = task.dataset["test"].rename_column(name, "other")
    with pytest.raises(InputError, match=f"Holes, 'default' 'test': column '{name}' is missing, found "):
        texts_of(task)


def test_data_that_mteb_cannot_load_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """mteb's own loading renames columns: one that is not there ends in a traceback of datasets."""

    def load_data(*_: Any, **__: Any) -> None:
        Dataset.from_dict({"text": ["a"]}).rename_column("sentence", "text")

    kind = type(new_task("Banking77Classification"))
    monkeypatch.setattr(kind, "load_data", load_data)
    monkeypatch.setattr("workflow_scripts.tasks.prepare.load_checked", lambda read, *_: read())
    with pytest.raises(InputError, match=r"Banking77Classification: the data in mteb/banking77@\w+ is not as mteb"):
        load("Banking77Classification")


def test_a_task_of_pairs_without_its_column_is_one_line() -> None:
    class Pairs(AbsTaskSTS):
        metadata = described("Pairs", "STS", "cosine_spearman")

    task: Any = Pairs()
    task.dataset = DatasetDict({"test": Dataset.from_dict({"sentence1": ["a", "b"], "score": [1.0, 3.0]})})
    task.data_loaded = True
    with pytest.raises(InputError, match=r"Pairs: the data in .* is not as mteb expects it .*sentence2"):
        texts_of(task)
