"""An adaptor of a user's own vectors: which rows its pairs are, what is held out of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from testing.vector_files import table, write_npy, write_parquet
from workflow_scripts.command_line import InputError
from workflow_scripts.embeddings.own.make_store import OwnSettings, make_store
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.models import learn_adaptor
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.frozen import FrozenPairs
from workflow_scripts.models.learn_adaptor import FIXED, PENALTIES, Choice, folds_of, uncentred_axes
from workflow_scripts.models.own.adapt_vectors import VectorsSettings, adapt_vectors
from workflow_scripts.models.own.frozen_rows import Draw, Source, frozen_rows, parts_by_query, read_rows
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.tasks.prepare import prepare

DOCUMENTS, QUERIES, SCORED, WIDTH = 200, 40, 10, 12
# (query, document) by row numbers: two documents of each query that is not scored, of which some are shared
PAIRS = [(query, (7 * query + more) % 150) for query in range(SCORED, QUERIES) for more in (0, 50)]
NAMES = [f"q{number}" for number in range(QUERIES)]


def lines(pairs: list[tuple[int, int]]) -> str:
    return "query-id\tcorpus-id\n" + "".join(f"q{query}\t{document}\n" for query, document in pairs)


def own_source(folder: Path, pairs: str, documents: np.ndarray | None = None) -> Source:
    """A task without texts, the store of its vectors (documents by row number, queries by id) and a file of pairs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    found = rng.standard_normal((DOCUMENTS, WIDTH)).astype(np.float32) if documents is None else documents
    queries = rng.standard_normal((QUERIES, WIDTH)).astype(np.float32) if documents is None else documents[:QUERIES]
    files = {
        "documents": write_npy(folder / "documents.npy", found),
        "queries": write_parquet(folder / "queries.parquet", table(queries, NAMES)),
    }
    judged = "".join(f"q{query}\t{query}\t1\n" for query in range(SCORED))
    (folder / "judgements.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    (folder / "pairs.tsv").write_text(pairs)
    given = {"documents": str(files["documents"]), "queries": str(files["queries"])}
    entry = OwnTask(name="Own", judgements=str(folder / "judgements.tsv"), **given)
    prepare("Own", folder / "task", entry, with_texts=False)
    make_store(
        OwnSettings(task="Own", model="ours", files=given, width=WIDTH),
        folder / "task" / "task.sha256",
        folder / "store" / "embeddings.json",
    )
    return Source(folder / "task", folder / "store", folder / "pairs.tsv")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return own_source(tmp_path_factory.mktemp("own") / "data", lines(PAIRS))


def frozen(*sources: Source, pairs: int = 1000, seed: int = 0, batch: int = 8) -> FrozenPairs:
    draw = Draw(pairs, seed, 1000, 0, batch)
    named = {f"task {number}": read_rows(one, draw) for number, one in enumerate(sources)}
    return frozen_rows(named, draw, torch.device("cpu"))


def rows_of(found: FrozenPairs, source: Source) -> np.ndarray:
    """The rows `(3, pairs)` of the user's files that query, positive and negative of each pair are, by their vectors."""
    queries = pl.read_parquet(source.pairs.with_name("queries.parquet"))["vector"].to_numpy()
    documents = np.load(source.pairs.with_name("documents.npy"))
    vectors = found.vectors.numpy()[found.places]
    return np.stack(
        [
            (vectors[column][:, None] == given[None]).all(axis=2).argmax(axis=1)
            for column, given in enumerate((queries, documents, documents))
        ]
    )


def test_pairs_are_the_rows_that_the_ids_name_and_negatives_are_other_documents(source: Source) -> None:
    query, positive, negative = rows_of(frozen(source), source)
    assert sorted(zip(query.tolist(), positive.tolist(), strict=True)) == sorted(PAIRS)
    assert not set(zip(query.tolist(), negative.tolist(), strict=True)) & set(PAIRS)
    assert len(set(negative.tolist())) > len(PAIRS) / 2, "of the whole collection"


def test_all_pairs_of_a_query_are_held_out_together_and_every_part_has_a_batch(source: Source) -> None:
    found = frozen(source)
    parts = list(found.rows_by_task.values())
    assert [len(part) for part in parts] == [20, 20, 20]
    assert sorted(np.concatenate(parts)) == list(range(len(PAIRS)))
    queries = [set(found.places[0, part].tolist()) for part in parts]
    assert not queries[0] & queries[1] | queries[0] & queries[2] | queries[1] & queries[2]
    assert list(frozen(source, batch=21).rows_by_task) == ["task 0"], "a third would have less than a batch"
    assert parts_by_query(np.zeros(90, dtype=np.int64), 8).max() == 0, "one query"


def test_of_several_tasks_each_fold_holds_out_some_queries_of_each(source: Source) -> None:
    found = frozen(source, source)
    assert found.places.shape == (3, 2 * len(PAIRS))
    sizes = {name: len(rows) for name, rows in found.rows_by_task.items()}
    assert sorted(np.concatenate(list(found.rows_by_task.values()))) == list(range(2 * len(PAIRS)))
    for fold in folds_of(list(sizes), sizes):
        assert sorted(name[:6] for name in fold) == ["task 0", "task 1"]


def test_the_seed_draws_the_pairs_and_fewer_are_a_part_of_more(source: Source) -> None:
    def drawn(pairs: int, seed: int) -> set[tuple[int, int]]:
        query, positive, _ = rows_of(frozen(source, pairs=pairs, seed=seed), source)
        return set(zip(query.tolist(), positive.tolist(), strict=True))

    assert drawn(20, 0) < drawn(40, 0)
    assert drawn(20, 0) != drawn(20, 1)


def test_the_matrix_starts_at_axes_of_all_held_out_documents_too_whether_pairs_name_them_or_not(source: Source) -> None:
    found = frozen(source)
    apart = found.vectors.numpy()[found.places.max() + 1 :]
    documents = np.load(source.pairs.with_name("documents.npy"))
    rows = [int((documents == vector).all(axis=1).argmax()) for vector in apart]
    assert len(rows) == DOCUMENTS // 4
    assert not set(rows) & set(range(SCORED)), "no answer to what is scored is held out"
    assert set(rows) & {document for _, document in PAIRS}, "a document that pairs name may be"
    assert set(rows) - {document for _, document in PAIRS}
    assert not torch.allclose(uncentred_axes(found.vectors), uncentred_axes(found.vectors[: found.places.max() + 1]))


def adapted(folder: Path, source: Source, **recipe: Any) -> Path:
    output = folder / "ours_adapted" / "s0" / "model.json"
    settings = {
        "model": "ours_adapted",
        "parent": "ours",
        "seed": 0,
        "width": WIDTH,
        "pairs": 1000,
        "nesting": [4, WIDTH],
        "nesting_weights": [1.0, 1.0],
        "objective": "mnr",
        "adaptor": {"steps": 12, "batch": 8} | recipe,
        "files": {"Own": str(source.pairs)},
        "held_out": 1000,
        "held_out_seed": 0,
    }
    tasks, stores = [source.task / "task.sha256"], [source.store / "embeddings.sha256"]
    adapt_vectors(VectorsSettings.model_validate(settings), tasks, stores, output)
    return output


def test_the_folder_is_a_matrix_alone_and_accounts_for_itself(tmp_path: Path, source: Source) -> None:
    output = adapted(tmp_path, source)
    weight, bias = last_dense(output.parent)
    assert weight.shape == (WIDTH, WIDTH)
    assert not bias.any()
    from sentence_transformers.base.modules import Dense

    module = Dense.load(str(output.parent / "0_Dense"))
    np.testing.assert_array_equal(module.linear.weight.detach().numpy(), weight)
    manifest = json.loads(output.read_text())
    assert (manifest["kind"], manifest["parents"]) == ("adapted", ["ours"])
    assert manifest["reference"] == str(source.pairs.parent)
    assert manifest["cost"]["tokens"] == 0
    assert manifest["cost"]["steps"] >= 3 * len(PENALTIES) * 12, "the choice is counted"
    recipe = manifest["recipe"]
    assert (recipe["pairs_used"], recipe["held_out"], recipe["tasks"]) == (len(PAIRS), True, 3)
    of_pairs = {document for _, document in PAIRS}
    assert recipe["scored"] == {"Own": SCORED}
    assert recipe["answered_by_pairs"] == {"Own": sum(query in of_pairs for query in range(SCORED))}
    assert 0 < recipe["answered_by_pairs"]["Own"] < SCORED
    steps = pl.read_parquet(output.with_name("training.parquet"))
    assert len(steps) == (0 if recipe["fell_back_to_rotation"] else recipe["chosen"]["steps"])
    assert "modules.json" in output.with_name("model.sha256").read_text()


def test_where_a_gpu_is_visible_it_is_learned_on_the_processor_all_the_same(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    def frozen_on(of_tasks: Any, draw: Draw, device: torch.device) -> FrozenPairs:
        devices.append(device.type)
        return frozen_rows(of_tasks, draw, torch.device("cpu"))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("workflow_scripts.models.own.adapt_vectors.frozen_rows", frozen_on)
    output = adapted(tmp_path, source, batch=32)  # a penalty that is fixed: one training
    assert devices == ["cpu"]
    assert json.loads(output.read_text())["cost"]["device"].startswith("cpu")


def test_where_held_out_queries_gain_nothing_the_rotation_is_left_and_said(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(learn_adaptor, "compared", lambda *_: [Choice(penalty, 3, -0.01, 0.0) for penalty in PENALTIES])
    with caplog.at_level("INFO", logger="matryoshka"):
        output = adapted(tmp_path, source)
    np.testing.assert_array_equal(last_dense(output.parent)[0], uncentred_axes(frozen(source).vectors).numpy())
    assert json.loads(output.read_text())["recipe"]["fell_back_to_rotation"] is True
    assert "held-out queries gain nothing on the rotation; the rotation is what is left" in caplog.text


def test_with_too_few_pairs_to_hold_some_out_the_penalty_is_fixed_and_said(
    tmp_path: Path, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="matryoshka"):
        output = adapted(tmp_path, source, batch=32)
    recipe = json.loads(output.read_text())["recipe"]
    assert recipe["held_out"] is False
    assert recipe["chosen"]["penalty"] == {"distance": FIXED.distance, "orthogonality": FIXED.orthogonality}
    assert "too few pairs for three parts of 32: nothing can be held out" in caplog.text


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (lines([*PAIRS, (3, 5)]), r"pairs.tsv, line 62: query 'q3' has judgements in the task: it is scored"),
        (lines([*PAIRS, (99, 5)]), r"pairs.tsv, line 62: there is no query 'q99'"),
        (lines([(20, 999)]), r"pairs.tsv, line 2: there is no document '999'"),
        ("query-id\tdocument\nq20\t1\n", r"pairs.tsv: column 'corpus-id' is missing; found 'query-id', 'document'"),
        ("query-id\tcorpus-id\n", r"pairs.tsv: no rows in it"),
        (
            "query-id\tcorpus-id\tscore\nq20\t1\t0\nq20\t2\t-1\n",
            r"pairs.tsv: no pairs in it; expected a row with a score",
        ),
        ("query-id\tcorpus-id\tscore\nq20\t1\tyes\n", r"pairs.tsv, line 2: 'score' is 'yes', expected a number"),
        (lines(PAIRS[:7]), r"pairs.tsv: 7 pairs, fewer than the 8 of a batch; give more, or set `adaptor: batch`"),
    ],
)
def test_pairs_that_cannot_be_learned_from_are_one_line(tmp_path: Path, pairs: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        frozen(own_source(tmp_path / "own", pairs))
    assert "\n" not in str(caught.value)


def test_a_row_without_a_score_above_0_is_no_pair_and_one_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    rows = [f"q{query}\t{document}\t{1 + place % 2}\n" for place, (query, document) in enumerate(PAIRS)]
    text = "query-id\tcorpus-id\tscore\n" + "".join([*rows, "q20\t199\t0\n", rows[0]])
    source = own_source(tmp_path / "own", text)
    query, positive, _ = rows_of(frozen(source), source)
    assert sorted(zip(query.tolist(), positive.tolist(), strict=True)) == sorted(PAIRS)


def test_vectors_that_are_all_alike_are_one_line(tmp_path: Path) -> None:
    alike = np.ones((DOCUMENTS, WIDTH), dtype=np.float32)
    with pytest.raises(ModelError, match="embeddings are alike; there is nothing to learn from them"):
        frozen(own_source(tmp_path / "own", lines(PAIRS), alike))


def test_a_query_that_every_document_answers_has_no_negative(tmp_path: Path) -> None:
    pairs = [(20, document) for document in range(DOCUMENTS)]
    with pytest.raises(ModelError, match="pairs name all 200 documents for one query"):
        frozen(own_source(tmp_path / "own", lines(pairs)))
