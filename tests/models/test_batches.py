"""The order of training, and what a batch is made of."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.models.batches import Order, Tokens, account, assemble, micro_batches, training_order
from workflow_scripts.models.folder import ModelError

ROWS = {"long": np.arange(100), "short": np.arange(100, 105), "single": np.array([105])}


def first(count: int, order: Order) -> list[tuple[str, list[int]]]:
    return [(task, rows.tolist()) for task, rows in itertools.islice(training_order(ROWS, order), count)]


def test_order_hangs_on_seed_batch_and_cap_alone() -> None:
    assert first(40, Order(8, seed=1)) == first(60, Order(8, seed=1))[:40]
    assert first(40, Order(8, seed=1)) != first(40, Order(8, seed=2))


def test_every_batch_is_of_one_task_without_a_row_twice() -> None:
    for task, rows in first(200, Order(8, seed=0)):
        assert set(rows) <= set(ROWS[task].tolist())
        assert len(set(rows)) == len(rows) == (5 if task == "short" else 8)


def test_tasks_come_in_proportion_to_their_rows() -> None:
    counts = Counter(task for task, _ in first(4000, Order(8, seed=0)))
    assert counts["long"] / counts["short"] == pytest.approx(100 / 5, rel=0.15)
    capped = Counter(task for task, _ in first(4000, Order(8, seed=0, rows_cap=20)))
    assert capped["long"] / capped["short"] == pytest.approx(20 / 5, rel=0.15)


def test_every_row_of_a_task_comes_up_before_long() -> None:
    seen = {row for task, rows in first(60, Order(8, seed=0)) if task == "long" for row in rows}
    assert seen == set(range(100))


def test_short_tasks_and_single_rows_are_counted() -> None:
    accounting = account(ROWS, batch=8)
    assert accounting.short_tasks == {"short": 5}
    assert accounting.left_out == {"single": 1}
    assert all(task != "single" for task, _ in first(300, Order(8, seed=0)))


def test_tasks_whose_cap_is_below_the_batch_are_counted_as_short_with_the_rows_that_a_batch_has() -> None:
    assert account(ROWS, batch=8, rows_cap=6).short_tasks == {"long": 6, "short": 5}
    assert {(task, len(rows)) for task, rows in first(300, Order(8, seed=0, rows_cap=6))} == {("long", 6), ("short", 5)}
    assert account(ROWS, batch=8, rows_cap=8).short_tasks == {"short": 5}


def test_pairs_without_two_rows_in_a_task_are_refused() -> None:
    with pytest.raises(ModelError, match="no task has two rows"):
        account({"a": np.array([0]), "b": np.array([1])}, batch=8)


def test_identical_texts_of_a_batch_are_encoded_once_and_longest_first(corpus: tuple[Path, Path]) -> None:
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    rows = tokens.rows_by_task()["trec_question_type"][:20]
    rows = np.concatenate([rows, rows[:4]])  # the same texts again
    batch = assemble(tokens, "trec_question_type", rows)
    contents = [text.ids.tobytes() for text in batch.texts]
    assert len(set(contents)) == len(contents) <= 60
    assert (np.diff(batch.lengths) <= 0).all()
    for places, column in ((batch.query, "query"), (batch.positive, "pos"), (batch.negative, "neg")):
        for place, row in zip(places, rows, strict=True):
            assert batch.texts[place].ids.tolist() == tokens.ids(column, int(row)).tolist()


def test_micro_batches_keep_the_budget_and_every_text() -> None:
    lengths = np.array([90, 40, 40, 30, 20, 20, 10, 5, 5, 5])
    for padded in (False, True):
        cuts = micro_batches(lengths, 60, padded)
        assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(10))
        for cut in cuts:
            size = lengths[cut].max() * (cut.stop - cut.start) if padded else lengths[cut].sum()
            assert size <= 60 or cut.stop - cut.start == 1


def test_a_tokens_file_without_a_column_or_rows_is_one_clear_error(tmp_path: Path, corpus: tuple[Path, Path]) -> None:
    import pyarrow as pa

    path = tmp_path / "tokens.arrow"
    path.write_bytes(b"not arrow")
    with pytest.raises(ModelError, match="not readable as an Arrow file"):
        Tokens(path)
    table = pa.ipc.open_file(str(corpus[1].with_name("tokens.arrow"))).read_all()
    for broken, message in ((table.drop_columns("neg_ids"), "neg_ids"), (table.slice(0, 0), "no rows")):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, broken.schema) as writer:
            writer.write_table(broken)
        with pytest.raises(ModelError, match=message):
            Tokens(path)


def test_texts_longer_than_the_model_takes_keep_their_beginning_and_the_final_special_token(
    corpus: tuple[Path, Path],
) -> None:
    path = corpus[1].with_name("tokens.arrow")
    whole = Tokens(path)
    limit = int(np.median([len(whole.ids("pos", row)) for row in range(len(whole))]))
    cut, lengths = Tokens(path, max_length=limit), set()
    for row in range(len(whole)):
        ids = whole.ids("pos", row)
        expected = ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
        assert cut.ids("pos", row).tolist() == list(expected)
        lengths.add(len(ids) > limit)
    assert lengths == {True, False}
