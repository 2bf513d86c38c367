"""What only a GPU does, on one: it gives what the processor gives. Skipped where there is none.

pytest tests/models/test_gpu.py
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.models.conftest import first_batch, weights_of
from tests.models.test_learn_adaptor import adapted, encoded, matrix_of
from tests.models.test_training import trained
from tests.study.studies import study_of
from workflow_scripts.encoder.encoding import encode_texts, resolve_precision
from workflow_scripts.encoder.loading import default_device, load_encoder
from workflow_scripts.launch import calibration
from workflow_scripts.models import checkpoints
from workflow_scripts.models.activations import fits
from workflow_scripts.models.health import WINDOW
from workflow_scripts.models.interruption import Interrupted
from workflow_scripts.models.objective import Objective
from workflow_scripts.models.packing import PADDED, choose_layout
from workflow_scripts.models.parameters import set_dropout
from workflow_scripts.models.step import Step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")

Corpus = tuple[Path, Path]


def on_the_processor(patch: pytest.MonkeyPatch) -> None:
    """Let everything that asks for the best device take the processor."""
    for module in ("encoder.loading", "models.train", "models.adapt"):
        patch.setattr(f"workflow_scripts.{module}.default_device", lambda: torch.device("cpu"), raising=False)


def test_the_gpu_is_taken_padded_and_in_bf16(bert: Path, corpus: Corpus) -> None:
    assert default_device().type == "cuda"
    model = load_encoder(bert.parent)
    assert model.device.type == "cuda"
    assert choose_layout(model, first_batch(corpus).texts) == PADDED
    major, _ = torch.cuda.get_device_capability()
    assert resolve_precision("auto", model.device) == ("bf16" if major >= 8 else "fp32")


@pytest.mark.parametrize(("dtype", "within"), [("fp32", 1e-3), ("bf16", 0.2)])
@pytest.mark.parametrize("cached", [False, True])
def test_a_step_has_the_processors_gradients(
    bert: Path, corpus: Corpus, cached: bool, dtype: str, within: float
) -> None:
    """Relative to the norm of all gradients; the processor computes in fp32."""
    batch = first_batch(corpus)
    found = []
    for device, precision in (("cpu", "fp32"), ("cuda", dtype)):
        model = load_encoder(bert.parent, device)
        set_dropout(model, 0.0)
        model.train()
        step = Step(
            model,
            Objective("mnr", (4, 8, 32), (1.0, 1.0, 1.0), 0.05),
            layout=PADDED,
            dtype=precision,
            micro_tokens=200,
            cached_gradients=cached,
        )
        step.gradients(batch, 1)
        given = [p.grad for p in model.parameters() if p.grad is not None]
        found.append(np.concatenate([gradient.float().cpu().numpy().ravel() for gradient in given]))
    assert np.linalg.norm(found[1] - found[0]) < within * np.linalg.norm(found[0])


def test_dropout_is_repeated_when_gradients_are_cached(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    # else a batch without cached gradients passes at once: other micro-batches, so another dropout
    monkeypatch.setattr("workflow_scripts.models.step.GPU_MICRO_TOKENS", 0)
    made = [
        trained(tmp_path / str(cached), bert, corpus, steps=3, training={"cached_gradients": cached})
        for cached in (False, True)
    ]
    losses = [pl.read_parquet(path.with_name("training.parquet"))["loss"].to_numpy() for path in made]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize("rotate", [None, "pca"])
def test_a_training_in_bf16_learns(tmp_path: Path, bert: Path, corpus: Corpus, rotate: str | None) -> None:
    """Behind the encoder all is fp32: the mean over tokens, and what follows it."""
    made = trained(tmp_path, bert, corpus, steps=40, rotate=rotate, training={"dtype": "bf16", "dropout": 0.0})
    losses = pl.read_parquet(made.with_name("training.parquet"))["loss"].to_numpy()
    assert losses[-10:].mean() < losses[:10].mean()


def test_a_training_follows_the_processors(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"training": {"dropout": 0.0}, "rotate": "pca"}
    on_gpu = trained(tmp_path / "gpu", bert, corpus, **options)
    with monkeypatch.context() as patch:
        on_the_processor(patch)
        on_processor = trained(tmp_path / "cpu", bert, corpus, **options)
    steps = [pl.read_parquet(path.with_name("training.parquet")) for path in (on_gpu, on_processor)]
    np.testing.assert_allclose(steps[0]["loss"].to_numpy(), steps[1]["loss"].to_numpy(), rtol=1e-2)
    assert steps[0]["tokens"].to_list() == steps[1]["tokens"].to_list()
    found, expected = weights_of(on_gpu), weights_of(on_processor)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    recipe, cost = (json.loads(on_gpu.read_text())[key] for key in ("recipe", "cost"))
    assert not recipe["packed"]
    assert cost["device"] == torch.cuda.get_device_name()


def test_an_interrupted_training_goes_on_where_it_was(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", bert, corpus, training={"dropout": 0.0})
    gradients = Step.gradients

    def stopped(self: Step, batch: Any, step: int) -> Any:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "gradients", stopped)
        with pytest.raises(Interrupted):
            trained(tmp_path / "cut", bert, corpus, training={"dropout": 0.0})
    output = tmp_path / "cut" / "m" / "s0" / "model.json"
    assert list(checkpoints.folder_of(output).iterdir())
    cut = trained(tmp_path / "cut", bert, corpus, training={"dropout": 0.0})
    losses = [pl.read_parquet(path.with_name("training.parquet"))["loss"].to_numpy() for path in (whole, cut)]
    assert len(losses[1]) == 12
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_losses_are_read_in_groups_and_none_is_lost(tmp_path: Path, bert: Path, corpus: Corpus) -> None:
    rows = pl.read_parquet(trained(tmp_path, bert, corpus, steps=WINDOW + 3).with_name("training.parquet"))
    assert rows["step"].to_list() == list(range(1, WINDOW + 4))
    assert rows["loss"].is_finite().all()


def test_no_shape_of_a_batch_needs_a_plan(bert: Path, utterances: list[str]) -> None:
    model = load_encoder(bert.parent)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        encode_texts(model, utterances[:64], batch_tokens=128, precision="bf16")
    called = {event.key for event in profiled.key_averages()}
    assert "aten::scaled_dot_product_attention" in called
    assert not [name for name in called if "cudnn_attention" in name]


def test_embeddings_are_the_processors(minilm: Path, utterances: list[str]) -> None:
    texts = [*utterances[:200], " ".join(utterances[:60]), ""]
    expected = encode_texts(load_encoder(minilm, "cpu"), texts)
    model = load_encoder(minilm)
    np.testing.assert_allclose(encode_texts(model, texts), expected, atol=1e-4, rtol=0)
    library = model.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(encode_texts(model, texts), library, atol=1e-4, rtol=0)
    rounded = encode_texts(model, texts, precision="bf16")
    assert (rounded * expected).sum(1).min() > 0.999
    assert np.abs(rounded - expected).max() > 2e-4, "computed in fp32"


def test_an_adaptor_is_the_processors(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for device in ("gpu", "cpu"):
        with monkeypatch.context() as patch:
            if device == "cpu":
                on_the_processor(patch)
            store = encoded(tmp_path / device, bert, corpus)
            made = adapted(tmp_path / device, bert, corpus, store)
        found.append(matrix_of(made))
    assert np.linalg.norm(found[0] - found[1]) < 0.05 * np.linalg.norm(found[1])


def test_memory_is_that_of_the_gpu() -> None:
    device = torch.device("cuda")
    total = torch.cuda.get_device_properties(device).total_memory
    assert fits(1e6, device)
    assert not fits(float(total), device)


def test_the_plan_measures_the_gpu(tmp_path: Path) -> None:
    rate, name = calibration.calibrate(study_of([]), tmp_path)
    assert name == torch.cuda.get_device_name()
    assert rate > 0
