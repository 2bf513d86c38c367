"""A linear adaptor: learned from encoded pairs alone, chosen on tasks held out whole, a rotation where nothing is gained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.models.conftest import MAX_LENGTH, Pair
from workflow_scripts.encoder import fingerprint
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models import learn_adaptor
from workflow_scripts.models.adapt import adapt
from workflow_scripts.models.adapted import AdaptorSettings
from workflow_scripts.models.batches import Tokens, assemble
from workflow_scripts.models.encode_pairs import EncodePairsSettings, encode_pairs
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.frozen import FrozenPairs, load_frozen_pairs, rows_of_adaptors
from workflow_scripts.models.learn_adaptor import (
    FIXED,
    HELD_OUT_ROWS,
    PENALTIES,
    Choice,
    Learner,
    Penalty,
    choose,
    compared,
    folds_of,
    uncentred_axes,
)
from workflow_scripts.models.objective import Objective
from workflow_scripts.models.packing import choose_layout, embed
from workflow_scripts.store import StoreWriter, open_store
from workflow_scripts.study.sections.adaptor import Adaptor

Corpus = tuple[Path, Path]
WriteCorpus = Callable[[list[Pair], Path], Corpus]
RECIPE = {"steps": 12, "batch": 8, "learning_rate": 1e-2}


def encoded(
    folder: Path, bert: Path, corpus: Corpus, pairs: int = 1000, seed: int = 0, instructions: bool = False
) -> Path:
    """The parent's store of pairs; gives pairs.sha256."""
    output = folder / "base" / "s0.pairs" / f"s{seed}" / "pairs.json"
    settings = EncodePairsSettings(
        model="base", pairs=pairs, seed=seed, max_length=MAX_LENGTH, instructions=instructions
    )
    encode_pairs(settings, bert, corpus[1], output)
    return output.with_suffix(".sha256")


def adapted(folder: Path, bert: Path, corpus: Corpus, store: Path, pairs: int = 1000, **recipe: Any) -> Path:
    """An adaptor of the tiny model; gives its model.json."""
    output = folder / "a" / "s0" / "model.json"
    settings = {
        "model": "a",
        "parent": "base",
        "seed": 0,
        "width": 32,
        "pairs": pairs,
        "nesting": [4, 8, 32],
        "nesting_weights": [1.0, 1.0, 1.0],
        "objective": "mnr",
        "adaptor": RECIPE | recipe,
    }
    adapt(AdaptorSettings.model_validate(settings), bert, store, *corpus, output)
    return output


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, bert: Path, corpus: Corpus) -> Path:
    return encoded(tmp_path_factory.mktemp("pairs"), bert, corpus)


def matrix_of(output: Path) -> np.ndarray:
    module: Any = SentenceTransformer(str(output.parent), device="cpu")[-1]
    weight: np.ndarray = module.linear.weight.detach().numpy()
    return weight


def test_the_store_holds_texts_as_evaluation_encodes_them_without_instruction(
    store: Path, bert: Path, corpus: Corpus, pairs: list[Pair]
) -> None:
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    frozen = load_frozen_pairs(tokens, store.parent, 1000, 0, False, torch.device("cpu"))
    rows = frozen.rows_by_task["snips_intent"][:10]
    vectors, places = frozen.batch(rows)
    model = SentenceTransformer(str(bert.parent), device="cpu")
    chosen = [pairs[row] for row in rows_of_adaptors(tokens, 1000, 0)[rows]]
    for ours, column in ((places.query, 2), (places.positive, 4), (places.negative, 6)):
        expected = model.encode([pair[column] for pair in chosen])
        assert np.abs(vectors[ours].numpy() - expected).max() < 1e-5


def test_with_instructions_the_store_holds_what_training_would_embed(
    tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    store = encoded(tmp_path, bert, corpus, instructions=True)
    frozen = load_frozen_pairs(tokens, store.parent, 1000, 0, True, torch.device("cpu"))
    rows = frozen.rows_by_task["snips_intent"][:10]
    vectors, places = frozen.batch(rows)
    model = load_encoder(bert.parent)
    batch = assemble(tokens, "snips_intent", rows_of_adaptors(tokens, 1000, 0)[rows])
    with torch.no_grad():
        expected = embed(model, batch.texts, choose_layout(model, batch.texts))
    for ours, theirs in (
        (places.query, batch.query),
        (places.positive, batch.positive),
        (places.negative, batch.negative),
    ):
        assert float((vectors[ours] - expected[torch.from_numpy(theirs)]).abs().max()) < 1e-5


def test_fewer_pairs_are_a_part_of_more_and_share_their_store(store: Path, corpus: Corpus) -> None:
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    assert rows_of_adaptors(tokens, 20, 3).tolist() == rows_of_adaptors(tokens, 60, 3)[:20].tolist()
    few = load_frozen_pairs(tokens, store.parent, 20, 0, False, torch.device("cpu"))
    assert few.places.shape == (3, 20)
    assert len(few.vectors) < len(load_frozen_pairs(tokens, store.parent, 1000, 0, False, torch.device("cpu")).vectors)


def test_each_seed_draws_its_own_pairs(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    drawn = [set(rows_of_adaptors(tokens, 20, seed).tolist()) for seed in (0, 1)]
    assert len(drawn[0]) == len(drawn[1]) == 20
    assert drawn[0] != drawn[1]
    of_another = encoded(tmp_path, bert, corpus, pairs=20, seed=1)
    load_frozen_pairs(tokens, of_another.parent, 20, 1, False, torch.device("cpu"))
    with pytest.raises(ModelError, match="were not encoded"):
        load_frozen_pairs(tokens, of_another.parent, 20, 0, False, torch.device("cpu"))


def test_more_pairs_than_were_encoded_are_one_line(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    few = encoded(tmp_path, bert, corpus, pairs=10)
    with pytest.raises(ModelError, match="were not encoded"):
        adapted(tmp_path, bert, corpus, few)


def test_the_exported_model_is_its_parent_times_the_matrix_and_accounts_for_itself(
    tmp_path: Path, bert: Path, corpus: Corpus, store: Path
) -> None:
    output = adapted(tmp_path, bert, corpus, store)
    texts = ["How far is the moon?", "A small dog."]
    parent = SentenceTransformer(str(bert.parent), device="cpu").encode(texts)
    assert (
        np.abs(parent @ matrix_of(output).T - SentenceTransformer(str(output.parent), device="cpu").encode(texts)).max()
        < 1e-5
    )
    manifest, pairs = json.loads(output.read_text()), json.loads(store.with_suffix(".json").read_text())
    assert manifest["cost"]["tokens"] == pairs["cost"]["tokens"] > 0
    assert manifest["cost"]["flops"] > pairs["cost"]["flops"]
    assert manifest["cost"]["steps"] >= 3 * len(PENALTIES) * RECIPE["steps"], "the choice is counted"
    assert manifest["parents"] == ["base"]
    recipe = manifest["recipe"]
    assert len(recipe["choices"]) == len(PENALTIES) * 4
    steps = pl.read_parquet(output.with_name("training.parquet"))
    assert len(steps) == (0 if recipe["fell_back_to_rotation"] else recipe["chosen"]["steps"])


def test_the_same_pairs_and_seed_give_the_same_weights(tmp_path: Path, bert: Path, corpus: Corpus, store: Path) -> None:
    one, two = (adapted(tmp_path / name, bert, corpus, store) for name in "ab")
    assert one.with_name("model.sha256").read_text() == two.with_name("model.sha256").read_text()


def test_where_held_out_tasks_gain_nothing_the_rotation_is_left_and_said(
    tmp_path: Path,
    bert: Path,
    corpus: Corpus,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(learn_adaptor, "compared", lambda *_: [Choice(penalty, 3, -0.01, 0.0) for penalty in PENALTIES])
    with caplog.at_level("INFO", logger="matryoshka"):
        output = adapted(tmp_path, bert, corpus, store)
    matrix = matrix_of(output)
    assert np.abs(matrix @ matrix.T - np.eye(32)).max() < 1e-5
    recipe = json.loads(output.read_text())["recipe"]
    assert (recipe["fell_back_to_rotation"], recipe["chosen"]) == (True, None)
    assert "the rotation is what is left" in caplog.text


def test_with_a_single_task_the_penalty_is_fixed_and_said(
    tmp_path: Path, bert: Path, pairs: list[Pair], write_corpus: WriteCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    one = write_corpus([pair for pair in pairs if pair[0] == "snips_intent"], tmp_path / "corpus")
    with caplog.at_level("INFO", logger="matryoshka"):
        output = adapted(tmp_path, bert, one, encoded(tmp_path, bert, one))
    recipe = json.loads(output.read_text())["recipe"]
    assert recipe["held_out"] is False
    assert recipe["chosen"]["penalty"] == {"distance": FIXED.distance, "orthogonality": FIXED.orthogonality}
    assert "nothing can be held out" in caplog.text


def test_fewer_pairs_than_the_width_still_leave_a_whole_matrix(
    tmp_path: Path, bert: Path, corpus: Corpus, store: Path
) -> None:
    matrix = matrix_of(adapted(tmp_path, bert, corpus, store, pairs=6))
    assert np.linalg.matrix_rank(matrix) == 32


def synthetic(noise: float = 1.5, rows: int = 96) -> FrozenPairs:
    """Two tasks in which query and positive agree in 4 coordinates, and 12 louder ones are noise."""
    generator = np.random.default_rng(0)
    total = 2 * rows
    meaning = generator.normal(size=(total, 4))
    texts = []
    for column in range(3):
        said = meaning if column < 2 else generator.normal(size=meaning.shape)
        texts.append(
            np.hstack([said + 0.1 * generator.normal(size=said.shape), noise * generator.normal(size=(total, 12))])
        )
    vectors = torch.from_numpy(np.concatenate(texts).astype(np.float32))
    return FrozenPairs(
        vectors, np.arange(3 * total).reshape(3, -1), {"a": np.arange(rows), "b": np.arange(rows, total)}
    )


def learner_of(frozen: FrozenPairs) -> Learner:
    recipe = Adaptor(steps=300, batch=32, learning_rate=3e-2)
    objective = Objective("mnr", (4, 16), (1.0, 1.0), 0.05)
    return Learner(frozen, objective, recipe, 0, uncentred_axes(frozen.vectors))


def test_the_matrix_finds_the_coordinates_that_tell_positives_from_others_on_a_task_it_never_saw() -> None:
    learner = learner_of(synthetic())
    *_, (_, matrix, _) = learner.train(["a"], Penalty())
    before, after = (learner.reciprocal_ranks(m, ["b"]).mean(0) for m in (learner.start, matrix))
    assert before[0] < 0.1
    assert after[0] > 0.5


def test_a_matrix_of_no_numbers_ranks_every_positive_last_and_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(synthetic())
    broken = torch.full_like(learner.start, torch.nan)
    candidates = 2 * min(HELD_OUT_ROWS, len(learner.frozen.rows_by_task["b"]))
    assert learner.reciprocal_ranks(broken, ["b"]).max() == pytest.approx(1 / (1 + candidates))
    steps = learner.recipe.steps
    monkeypatch.setattr(learner, "train", lambda *_: [(step, broken, torch.zeros(2)) for step in range(1, steps + 1)])
    assert choose(compared(learner, ["a", "b"]), 0.5) is None


def test_a_penalty_keeps_the_matrix_near_where_it_started_or_near_a_rotation() -> None:
    learner = learner_of(synthetic())

    def apart(penalty: Penalty) -> tuple[float, float]:
        *_, (_, matrix, _) = learner.train(["a"], penalty)
        deviation = (matrix @ matrix.T - torch.eye(16)).norm()
        return float((matrix - learner.start).norm()), float(deviation)

    free, near, orthogonal = (apart(p) for p in (Penalty(), Penalty(distance=1e4), Penalty(orthogonality=1e4)))
    assert near[0] < 0.05 * free[0]
    assert orthogonal[1] < 0.05 * free[1]


def test_a_careful_choice_is_preferred_to_one_that_gains_little_more_and_none_to_a_loss() -> None:
    careful, free = Choice(PENALTIES[0], 5, 0.097, 0.0), Choice(PENALTIES[-1], 5, 0.1, 0.0)
    assert choose([careful, free], 0.5) == careful
    assert choose([Choice(PENALTIES[0], 5, 0.05, 0.0), free], 0.5) == free
    assert choose([careful, Choice(PENALTIES[-1], 5, 0.5, -0.1)], 0.5) == careful, "it lost too much at full width"
    assert choose([Choice(PENALTIES[0], 5, 0.0, 0.0)], 0.5) is None


def test_of_stops_that_gain_as_much_the_last_is_taken() -> None:
    learner = learner_of(synthetic())
    learner.recipe = learner.recipe.model_copy(update={"steps": 8})
    choices = compared(learner, ["a", "b"])
    steps = [choice.steps for choice in choices if choice.penalty == PENALTIES[0]]
    assert steps == sorted(steps, reverse=True)
    assert choose([replace(choice, gain=0.1, gain_at_full_width=0.0) for choice in choices], 0.5) == replace(
        choices[0], gain=0.1, gain_at_full_width=0.0
    )
    assert choices[0].steps == 8


def test_every_task_is_held_out_once() -> None:
    sizes = {"a": 100, "b": 90, "c": 10, "d": 5}
    folds = folds_of(list(sizes), sizes)
    assert sorted(name for fold in folds for name in fold) == ["a", "b", "c", "d"]
    assert sorted(map(len, folds)) == [1, 1, 2]


def test_embeddings_that_are_all_alike_are_one_line(
    tmp_path: Path, bert: Path, corpus: Corpus, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflow_scripts.models import frozen

    def alike(folder: Path) -> Any:
        found = open_store(folder)
        found.vectors = np.ones_like(found.vectors)
        return found

    monkeypatch.setattr(frozen, "open_store", alike)
    with pytest.raises(ModelError, match="are alike"):
        adapted(tmp_path, bert, corpus, store)


@pytest.mark.parametrize("changed", [False, True], ids=["same code", "other code"])
def test_a_killed_encoding_of_pairs_resumes_with_the_shards_that_are_done_by_the_same_code(
    tmp_path: Path, bert: Path, corpus: Corpus, store: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    from workflow_scripts.models import encode_pairs as module

    class SmallShards(StoreWriter):
        def __init__(self, folder: Path, keys: np.ndarray, width: int, fingerprint: str) -> None:
            super().__init__(folder, keys, width, fingerprint, rows_per_shard=40)

    calls: list[int] = []

    def embedded(model: Any, texts: Any, layout: Any) -> torch.Tensor:
        calls.append(len(texts))
        if sum(calls) > 100 and "resumed" not in state:
            raise KeyboardInterrupt
        return embed(model, texts, layout)

    state: set[str] = set()
    monkeypatch.setattr(module, "StoreWriter", SmallShards)
    monkeypatch.setattr(module, "embed", embedded)
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, bert, corpus)
    state.add("resumed")
    calls.clear()
    if changed:
        monkeypatch.setattr(fingerprint, "digest_of_file", lambda path: f"an edit of {path}")
    again = encoded(tmp_path, bert, corpus)
    total = json.loads(store.with_suffix(".json").read_text())["texts"]
    assert sum(calls) == total if changed else sum(calls) < total - 40
    assert not (again.parent / "shards").exists()
    assert again.read_text() == store.read_text()
