"""Layers on packed weights compute what the model's own forward does, and are rounded where they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from workflow_scripts.encoder import arithmetic as module
from workflow_scripts.encoder.arithmetic import Precision, arithmetic, is_bert_layer
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder

FAMILY = [
    (BertModel, BertConfig),
    (CamembertModel, CamembertConfig),
    (RobertaModel, RobertaConfig),
    (XLMRobertaModel, XLMRobertaConfig),
]
PACKS = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def packs_bf16() -> bool:
    """Whether this processor's oneDNN takes bf16 weights, which asks for AVX-512 or its like."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(8, 8, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError):
        return False
    return True


class Model(nn.Module):
    """A transformer in the place of a sentence-transformers model."""

    device = torch.device("cpu")

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer


def small(kind: type[Any], configuration: type[Any], **options: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    return kind(configuration(vocab_size=200, pad_token_id=1, **sizes, **options)).eval()


def batch(length: int = 20) -> dict[str, torch.Tensor]:
    """Four texts, three of them padded: on the right, on the left, and to one token."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(2, 200, (4, length)))
    mask = torch.ones_like(ids)
    mask[1, 13:] = mask[2, :5] = mask[3, 1:] = 0
    return {"input_ids": torch.where(mask == 1, ids, 1), "attention_mask": mask}


def hidden(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The last layer's outputs at real tokens."""
    with torch.inference_mode():
        states: torch.Tensor = model(**inputs).last_hidden_state
    return states[inputs["attention_mask"] == 1]


@pytest.mark.skipif(not PACKS, reason="this torch has no oneDNN products on packed weights")
@pytest.mark.parametrize(("kind", "configuration"), FAMILY)
@pytest.mark.parametrize("padded", [True, False])
def test_a_layer_of_the_bert_family_computes_what_its_own_forward_does(
    kind: type[Any], configuration: type[Any], padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = small(kind, configuration)
    inputs = batch()
    if not padded:
        inputs["attention_mask"].fill_(1)
    expected = hidden(transformer, inputs)
    calls = counted(monkeypatch, "bert_layer")
    with arithmetic(Model(transformer), "fp32"):
        found = hidden(transformer, inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert len(calls) == 3
    assert torch.equal(hidden(transformer, inputs), expected)


@pytest.mark.skipif(not packs_bf16(), reason="no oneDNN products in bf16 here")
@pytest.mark.parametrize("limit", [512, 8])
def test_rounded_layers_are_as_near_as_autocast_s(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any length: shares of all tokens at once up to `limit` tokens, torch's own attention beyond."""
    monkeypatch.setattr(module, "SHARES_AT_ONCE", limit)
    transformer, inputs = small(BertModel, BertConfig), batch()
    exact = hidden(transformer, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = hidden(transformer, inputs)
    monkeypatch.setattr(module, "computes_in_bf16", lambda _: True)
    calls = counted(monkeypatch, "bert_layer")
    with arithmetic(Model(transformer), "bf16"):
        ours = hidden(transformer, inputs)
    assert len(calls) == 3
    assert 0 < (ours - exact).norm() < 1.2 * (theirs - exact).norm()


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"is_decoder": True}, {"chunk_size_feed_forward": 4}],
)
def test_other_layers_run_their_own_forward(change: dict[str, Any]) -> None:
    transformer = small(BertModel, BertConfig, **change)
    assert not any(map(is_bert_layer, transformer.modules()))
    inputs = batch()
    expected = hidden(transformer, inputs)
    with arithmetic(Model(transformer), "fp32"):
        torch.testing.assert_close(hidden(transformer, inputs), expected, rtol=0, atol=2e-6)


def test_layers_that_train_or_attend_otherwise_run_their_own_forward() -> None:
    assert not any(map(is_bert_layer, small(BertModel, BertConfig).train().modules()))
    eager = small(BertModel, BertConfig)
    eager.set_attn_implementation("eager")
    assert not any(map(is_bert_layer, eager.modules()))


def test_what_others_have_put_on_a_model_is_called_and_stays() -> None:
    transformer = small(BertModel, BertConfig)
    inputs = batch()
    expected = hidden(transformer, inputs)
    first, second, _ = transformer.encoder.layer
    watched, replaced = first.attention.output, second.intermediate.dense
    seen: list[str] = []

    def own(x: torch.Tensor) -> torch.Tensor:
        seen.append("forward")
        return nn.functional.linear(x, replaced.weight, replaced.bias)

    watched.register_forward_hook(lambda *_: seen.append("hook"))
    replaced.forward = own
    with arithmetic(Model(transformer), "fp32"):
        torch.testing.assert_close(hidden(transformer, inputs), expected, rtol=0, atol=2e-6)
    assert seen == ["hook", "forward"]
    assert replaced.__dict__["forward"] is own


def test_a_layer_without_biases_runs_its_own_forward() -> None:
    transformer = small(BertModel, BertConfig)
    transformer.encoder.layer[0].attention.self.query.bias = None
    assert [is_bert_layer(layer) for layer in transformer.encoder.layer] == [False, True, True]
    with arithmetic(Model(transformer), "fp32"):
        assert hidden(transformer, batch()).isfinite().all()


@pytest.mark.parametrize("able", [True, False] if packs_bf16() else [False])
@pytest.mark.parametrize("packed", ["layers of the family", "linear layers alone"])
def test_mixed_is_nearer_than_bf16(
    model: Path, utterances: list[str], able: bool, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On processors with and without bf16 of their own, for models of the family and for others."""
    monkeypatch.setattr(module, "computes_in_bf16", lambda _: able)
    if packed == "linear layers alone":
        monkeypatch.setattr(module, "is_bert_layer", lambda _: False)
    encoder = load_encoder(model, device="cpu")
    texts = utterances[:40]
    exact = encode_texts(encoder, texts)

    def off(precision: Precision) -> float:
        return float(np.linalg.norm(encode_texts(encoder, texts, precision=precision) - exact, axis=1).mean())

    assert 0 < off("mixed") < 0.9 * off("bf16")


def test_the_model_is_left_as_it_was_even_after_an_error(model: Path) -> None:
    encoder: SentenceTransformer = load_encoder(model, device="cpu")
    changed: list[bool] = []

    def use() -> None:
        with arithmetic(encoder, "mixed"):
            changed.append(any("forward" in part.__dict__ for part in encoder.modules()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert changed == [True]
    assert not any("forward" in part.__dict__ for part in encoder.modules())


def counted(monkeypatch: pytest.MonkeyPatch, function: str) -> list[None]:
    """One entry per call of a function of the module from now on."""
    calls: list[None] = []
    own: Callable[..., Any] = getattr(module, function)

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return own(*arguments, **options)

    monkeypatch.setattr(module, function, call)
    return calls
