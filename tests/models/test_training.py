"""A training is the same however it is cut into micro-batches, processes and interrupted runs, and says when it breaks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from tests.conftest import ROOT
from tests.models.conftest import FAMILIES, Pair, first_batch, settings_of, tiny_model, weights_of
from workflow_scripts.artefact import write_digests
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models import train as training_script
from workflow_scripts.models.fetch import FetchSettings, fetch
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.health import check_health
from workflow_scripts.models.objective import Objective
from workflow_scripts.models.packing import PADDED
from workflow_scripts.models.parameters import learning_rate
from workflow_scripts.models.step import Step
from workflow_scripts.models.train import TrainSettings, train

Corpus = tuple[Path, Path]
WriteCorpus = Callable[[list[Pair], Path], Corpus]


def trained(folder: Path, bert: Path, corpus: Corpus, **changes: Any) -> Path:
    """Train in this process; gives the model.json."""
    output = folder / "m" / "s0" / "model.json"
    train(TrainSettings.model_validate(settings_of(**changes)), bert, *corpus, output, checkpoint_seconds=3600)
    return output


def command(folder: Path, bert: Path, corpus: Corpus, *more: str, **changes: Any) -> list[str]:
    return [
        *("-m", "workflow_scripts.models.train", "--settings", json.dumps(settings_of(**changes))),
        *("--parent", str(bert), "--pairs", str(corpus[0]), "--tokens", str(corpus[1])),
        *("--output", str(folder / "m" / "s0" / "model.json"), *more),
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, bert: Path, corpus: Corpus) -> Path:
    return trained(tmp_path_factory.mktemp("undisturbed"), bert, corpus)


def test_cached_gradients_give_the_same_weights_with_dropout_on(
    undisturbed: Path, tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    cached = trained(tmp_path, bert, corpus, training={"cached_gradients": True})
    assert_same_training(undisturbed, cached, bert)
    # The table's gradient is added up in another order, and AdamW turns its roundings near zero into steps.
    one, two = (load_file(path.with_name("model.safetensors")) for path in (undisturbed, cached))
    others = [name for name in one if "word_embeddings" not in name]
    assert len(others) == len(one) - 1
    assert max(float(np.abs(one[name] - two[name]).max()) for name in others) < 1e-6


def test_gradients_are_cached_from_the_first_batch_on_that_does_not_fit(
    undisturbed: Path,
    tmp_path: Path,
    bert: Path,
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = pl.read_parquet(undisturbed.with_name("training.parquet"))["tokens"].to_list()
    larger = next(step for step, count in enumerate(tokens, 1) if count > tokens[0])
    asked: list[float] = []

    def only_the_first_fits(needed: float, _: torch.device) -> bool:
        asked.append(needed)
        return len(asked) == 1

    monkeypatch.setattr("workflow_scripts.models.step.fits", only_the_first_fits)
    with caplog.at_level("INFO", logger="matryoshka"):
        switched = trained(tmp_path, bert, corpus)
    assert len(asked) == 2  # a batch no larger than one that fitted is not asked about, a switch is for good
    assert asked[1] / asked[0] == pytest.approx(tokens[larger - 1] / tokens[0])
    assert f"step {larger}: {tokens[larger - 1]} tokens do not fit in memory" in caplog.text
    recipes = [json.loads(path.read_text())["recipe"] for path in (undisturbed, switched)]
    assert [recipe["cached_gradients"] for recipe in recipes] == [False, True]
    assert_same_training(undisturbed, switched, bert)


def test_what_must_fit_in_memory_counts_the_padding(
    bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def fits(needed: float, _: torch.device) -> bool:
        asked.append(needed)
        return True

    monkeypatch.setattr("workflow_scripts.models.step.fits", fits)
    objective = Objective("mnr", (4, 32), (1.0, 1.0), 0.05)
    step = Step(load_encoder(bert.parent, "cpu"), objective, layout=PADDED, dtype="fp32")
    result = step.gradients(first_batch(corpus), 1)
    assert result.processed > result.tokens
    assert asked == [step.bytes_per_token * result.processed]


def test_micro_batches_of_any_size_give_the_same_weights(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    # plain descent would show rounding alone; AdamW turns a rounding near zero into a step, hence few and short ones
    options: dict[str, Any] = {"steps": 2}
    small, large = (
        trained(tmp_path / str(n), bert, corpus, training={"dropout": 0.0, "micro_tokens": n}, **options)
        for n in (50, 5000)
    )
    losses = [pl.read_parquet(p.with_name("training.parquet"))["loss"].to_numpy() for p in (small, large)]
    assert np.allclose(losses[0], losses[1], rtol=1e-5)


def assert_same_training(one: Path, two: Path, parent: Path) -> None:
    """Same but for rounding."""
    steps = [pl.read_parquet(path.with_name("training.parquet")) for path in (one, two)]
    assert np.allclose(steps[0]["loss"].to_numpy(), steps[1]["loss"].to_numpy(), rtol=1e-5)
    assert np.allclose(steps[0]["gradient_norm"].to_numpy(), steps[1]["gradient_norm"].to_numpy(), rtol=1e-4)
    assert steps[0]["tokens"].to_list() == steps[1]["tokens"].to_list()
    # AdamW turns a rounding near zero into a step, so weights are compared with how far they went
    apart, way = weights_of(two) - weights_of(one), weights_of(one) - weights_of(parent.with_name("model.json"))
    assert np.linalg.norm(apart) < 0.01 * np.linalg.norm(way)


def test_two_processes_equal_one_on_the_same_global_batch(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    options: dict[str, Any] = {"steps": 4, "training": {"dropout": 0.0}}
    one = trained(tmp_path / "one", bert, corpus, **options)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launcher, *command(tmp_path / "two", bert, corpus, **options)], check=True, env=environment()
    )
    two = tmp_path / "two" / "m" / "s0" / "model.json"
    assert_same_training(one, two, bert)
    assert json.loads(two.read_text())["recipe"]["processes"] == 2


@pytest.mark.parametrize(("granted", "taken"), [("1", 1), ("2", 2), ("0", 2), ("4", 2)])
def test_a_training_runs_on_the_gpus_that_it_was_granted(
    granted: str, taken: int, tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, int]] = []

    def launch(count: int) -> None:
        called.append(("launch", count))
        raise SystemExit

    monkeypatch.setattr(training_script, "take_gpus", lambda count: called.append(("take", count)))
    monkeypatch.setattr(training_script, "launch_processes", launch)
    call = command(tmp_path, bert, corpus, "--gpus", granted, training={"gpus": 2})
    monkeypatch.setattr(sys, "argv", ["train", *call[2:]])
    with pytest.raises(SystemExit):
        training_script.main()
    assert called == [("take", taken), ("launch", taken)]


def test_a_task_of_fewer_texts_than_processes_is_trained_on_as_by_one(
    tmp_path: Path, bert: Path, pairs: list[Pair], write_corpus: WriteCorpus
) -> None:
    alike = write_corpus([pairs[0], pairs[0]], tmp_path / "corpus")  # two rows of the same three texts
    options: dict[str, Any] = {"steps": 2, "training": {"dropout": 0.0, "batch": 4}}
    one = trained(tmp_path / "one", bert, alike, **options)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    subprocess.run(
        [sys.executable, *launcher, *command(tmp_path / "four", bert, alike, **options)], check=True, env=environment()
    )
    assert_same_training(one, tmp_path / "four" / "m" / "s0" / "model.json", bert)


def test_a_model_with_cls_pooling_is_trained_on_the_token_that_it_is_used_by(
    tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    parent = tmp_path / "parent" / "s0"
    shutil.copytree(bert.parent, parent)
    (parent / "1_Pooling" / "config.json").write_text(
        json.dumps({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True})
    )
    output = trained(tmp_path, parent / "model.sha256", corpus, steps=2)
    pooling: Any = SentenceTransformer(str(output.parent), device="cpu")[1]
    assert (pooling.pooling_mode, pooling.include_prompt) == ("cls", True)


# The training's command line in a process that ends itself: by SIGKILL once step 3 is saved, by SIGTERM in step 4.
INTERRUPTED = """
import os, signal
from workflow_scripts.models import checkpoints, train
from workflow_scripts.models.step import Step

save, gradients = checkpoints.save, Step.gradients

def save_then_die(folder, fingerprint, recipe, state, *more):
    path = save(folder, fingerprint, recipe, state, *more)
    if "{end}" == "SIGKILL" and state.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return path

def gradients_while_terminated(self, batch, step):
    if "{end}" == "SIGTERM" and step == 4:
        os.kill(os.getpid(), signal.SIGTERM)
    return gradients(self, batch, step)

checkpoints.save, Step.gradients = save_then_die, gradients_while_terminated
train.main()
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(
    end: str, undisturbed: Path, tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    seconds = "0" if end == "SIGKILL" else "3600"  # 0: a checkpoint after every step
    call = command(tmp_path, bert, corpus, "--checkpoint-seconds", seconds)
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED.format(end=end))
    result = subprocess.run([sys.executable, str(script), *call[2:]], env=environment(), check=False)
    assert result.returncode == (-signal.SIGKILL if end == "SIGKILL" else 128 + signal.SIGTERM)
    folder = tmp_path / "m" / "s0.checkpoints"
    steps = [int(path.name.split("-")[1]) for path in sorted(folder.glob("step-*"))]
    assert steps == ([2, 3] if end == "SIGKILL" else [4])
    assert not (tmp_path / "m" / "s0" / "model.json").exists()
    assert {file.suffix for file in folder.rglob("*.*") if file.is_file()} <= {
        ".safetensors",
        ".json",
        ".parquet",
        ".sha256",
    }
    again = trained(tmp_path, bert, corpus)
    assert np.array_equal(weights_of(again), weights_of(undisturbed))
    assert pl.read_parquet(again.with_name("training.parquet"))["step"].to_list() == list(range(1, 13))
    assert not folder.exists()


def test_a_checkpoint_of_another_configuration_is_left_alone_and_named(
    tmp_path: Path, bert: Path, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m" / "s0.checkpoints" / "step-00000003-000000000000"
    folder.mkdir(parents=True)
    recipe = settings_of() | {"seed": 7}
    (folder / "state.json").write_text(json.dumps({"step": 3, "seconds": 1.0, "recipe": recipe}))
    with caplog.at_level("INFO", logger="matryoshka"):
        output = trained(tmp_path, bert, corpus, steps=2)
    assert "of another configuration" in caplog.text
    assert "seed: 7 there, 0 now" in caplog.text
    assert len(pl.read_parquet(output.with_name("training.parquet"))) == 2


def test_a_rotated_training_does_not_resume_with_the_rotation_of_another_sample(
    tmp_path: Path, bert: Path, pairs: list[Pair], write_corpus: WriteCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(pairs, tmp_path / "corpus")
    recipe: dict[str, Any] = {"rotate": "pca", "steps": 2}

    def resample(rows: slice) -> None:
        texts = sorted({text for pair in pairs for text in pair[2::2]})[rows]
        pq.write_table(pa.table({"text": texts}), corpus[0].with_name("sample.parquet"))
        write_digests(corpus[0], [corpus[0].with_name("sample.parquet")])

    def killed_in_the_second_step(rows: list[dict[str, Any]], _: Path | None) -> None:
        if len(rows) == 2:
            raise KeyboardInterrupt

    output = tmp_path / "killed" / "m" / "s0" / "model.json"
    monkeypatch.setattr("workflow_scripts.models.train.check_health", killed_in_the_second_step)
    with pytest.raises(KeyboardInterrupt):
        train(TrainSettings.model_validate(settings_of(**recipe)), bert, *corpus, output, checkpoint_seconds=0)
    assert list(output.parent.with_name("s0.checkpoints").glob("step-*"))
    monkeypatch.undo()
    resample(slice(0, 40))
    again = trained(tmp_path / "killed", bert, corpus, **recipe)
    assert np.array_equal(weights_of(again), weights_of(trained(tmp_path / "fresh", bert, corpus, **recipe)))


def test_fixed_and_nested_variants_see_the_same_batches(
    undisturbed: Path, tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    fixed = trained(tmp_path, bert, corpus, nesting=[32], nesting_weights=[1.0], rotate="pca", steps=6)
    columns = ["step", "task_name", "tokens"]
    nested = pl.read_parquet(undisturbed.with_name("training.parquet"))
    assert pl.read_parquet(fixed.with_name("training.parquet"))[columns].equals(nested[columns][:6])


def test_training_lowers_the_loss_and_accounts_for_itself(undisturbed: Path) -> None:
    steps = pl.read_parquet(undisturbed.with_name("training.parquet"))
    assert steps["loss"][-3:].mean() < steps["loss"][:3].mean()  # type: ignore[operator]
    summed = steps["loss_4"] + steps["loss_8"] + steps["loss_32"]
    assert np.allclose(steps["loss"].to_numpy(), summed.to_numpy(), rtol=1e-5)
    manifest = json.loads(undisturbed.read_text())
    assert manifest["cost"]["tokens"] == steps["tokens"].sum()
    assert manifest["cost"]["flops"] > 6 * manifest["cost"]["tokens"] * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert manifest["parents"] == ["base"]
    assert manifest["recipe"]["short_tasks"] == {"super_ni_task363_sst2": 5}


def test_tasks_that_a_cap_makes_short_are_accounted_for(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    manifest = json.loads(trained(tmp_path, bert, corpus, steps=1, training={"rows_cap": 6}).read_text())
    short = {"super_ni_task363_sst2": 5, "snips_intent": 6, "trec_question_type": 6}
    assert manifest["recipe"]["short_tasks"] == short


def test_the_exported_model_cuts_anywhere_and_leaves_the_prompt_out_of_the_pooling(
    tmp_path: Path, bert: Path, corpus: Corpus
) -> None:
    output = trained(tmp_path, bert, corpus, rotate="pca", steps=2, training={"dtype": "auto"})
    model = SentenceTransformer(str(output.parent), device="cpu")
    text, prompt = ["How tall is it?"], "Represent the question: "
    assert model.encode(text).shape == (1, 32)
    cut = SentenceTransformer(str(output.parent), device="cpu", truncate_dim=8)
    assert np.array_equal(cut.encode(text), model.encode(text)[:, :8])
    pooling: Any = model[1]
    assert pooling.include_prompt is False
    prompted = model.encode(text, prompt=prompt)
    tokens = model.encode([prompt + text[0]], output_value="token_embeddings")[0]
    skip = len(model.tokenizer(prompt)["input_ids"]) - 1
    matrix: Any = model[-1]
    by_hand = matrix.linear(tokens[skip:].mean(0))
    assert np.abs(prompted[0] - by_hand.detach().numpy()).max() < 1e-5


def test_a_single_row_is_left_out_and_counted(
    tmp_path: Path, bert: Path, pairs: list[Pair], write_corpus: Callable[[list[Pair], Path], Corpus]
) -> None:
    few = [pair for pair in pairs if pair[0] == "snips_intent"] + [("lonely", *pairs[0][1:])]
    output = trained(tmp_path, bert, write_corpus(few, tmp_path / "corpus"), steps=2)
    assert json.loads(output.read_text())["recipe"]["tasks_left_out"] == {"lonely": 1}


def test_texts_longer_than_the_models_positions_are_cut_in_training(
    minilm: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "bert", {"max_position_embeddings": 16})
    tiny_model("bert", minilm, tmp_path / "raw")
    base = tmp_path / "base" / "s0" / "model.json"
    fetch(FetchSettings(model="base", reference=str(tmp_path / "raw"), width=32), base)
    lengths = pa.ipc.open_file(corpus[1].with_name("tokens.arrow")).read_all()["query_ids"].combine_chunks()
    assert max(len(ids) for ids in lengths) > 16
    output = trained(tmp_path, base.with_name("model.sha256"), corpus, steps=3, training={"max_length": 48})
    steps = pl.read_parquet(output.with_name("training.parquet"))
    assert steps.height == 3
    assert steps["loss"].is_finite().all()
    assert SentenceTransformer(str(output.parent), device="cpu").max_seq_length == 16


def test_a_broken_loss_names_step_task_and_checkpoint(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    with pytest.raises(ModelError, match=r"broke at step \d+ \(task \w+\): loss .*no checkpoint was written"):
        trained(tmp_path, bert, corpus, steps=30, training={"learning_rate": 1e30})
    rows = [{"step": i, "task_name": "t", "loss": 1.0 if i < 30 else 40.0, "gradient_norm": 1.0} for i in range(60)]
    check_health(rows[:30], None)
    with pytest.raises(ModelError, match=r"broke at step 59 .*mean loss 40.000 over the last 20 steps"):
        check_health(rows, None)


def test_a_broken_parent_is_one_clear_line_and_status_1(tmp_path: Path, corpus: Corpus) -> None:
    parent = tmp_path / "p" / "model.sha256"
    parent.parent.mkdir()
    parent.write_text("")
    (parent.parent / "model.json").write_text(json.dumps({"parents": []}))
    call = [sys.executable, *command(tmp_path, parent, corpus)]
    result = subprocess.run(call, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "no modules.json there; expected a sentence-transformers folder" in result.stderr
    assert "Traceback" not in result.stderr
    unknown = [*call]
    unknown[unknown.index("--settings") + 1] = json.dumps(settings_of() | {"stps": 3})
    result = subprocess.run(unknown, env=environment(), capture_output=True, text=True, check=False)
    assert (result.returncode, "stps" in result.stderr, "Traceback" in result.stderr) == (1, True, False)


def test_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(1, 101)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_a_broken_pooling_is_refused(minilm: Path) -> None:
    from workflow_scripts.models.packing import check_modules

    model = SentenceTransformer(str(minilm), device="cpu")
    pooling: Any = model[1]
    pooling.pooling_mode = "max"
    with pytest.raises(ModelError, match="pooling is 'max'"):
        check_modules(model)
    assert torch.get_num_threads() == 1
