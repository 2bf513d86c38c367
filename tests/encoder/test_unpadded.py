"""A batch run without its padding gives what the model's own forward gives, or the model is run as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from workflow_scripts.encoder import unpadded as module
from workflow_scripts.encoder.unpadded import first_position, unpadded

FAMILIES: dict[str, tuple[dict[str, Any], int]] = {
    "bert": ({}, 0),
    "camembert": ({"pad_token_id": 1}, 2),
    "roberta": ({"pad_token_id": 1}, 2),
    "xlm-roberta": ({"pad_token_id": 1}, 2),
    "distilbert": ({"dim": 48, "n_heads": 4, "n_layers": 3, "hidden_dim": 96}, 0),
    "modernbert": ({"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0}, 0),
}
SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 200,
}


def small(family: str, **options: Any) -> Any:
    torch.manual_seed(0)
    make: Any = AutoModel.from_config
    return make(AutoConfig.for_model(family, **SIZES, **options)).eval()


def batch(pad: int = 1) -> dict[str, Tensor]:
    """Five texts padded on the right, two of equal length, one of one token."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 200, (5, 20)))
    mask = torch.ones_like(ids)
    mask[1:3, 13:] = mask[3, 5:] = mask[4, 1:] = 0
    return {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}


@torch.inference_mode()
def means(encoder: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Mean-pooled embeddings."""
    mask = inputs["attention_mask"][..., None]
    states: Tensor = encoder(**inputs).last_hidden_state * mask
    return states.sum(1) / mask.sum(1)


def calls_of_attention(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The shape of what every call of the attention without padding gets, from now on."""
    calls: list[Any] = []
    own = module.attention

    def attention(part: nn.Module, query: Tensor, *arguments: Any, **options: Any) -> Any:
        calls.append(tuple(query.shape))
        return own(part, query, *arguments, **options)

    monkeypatch.setattr(module, "attention", attention)
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_the_models_own_forward(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, start = FAMILIES[family]
    encoder, inputs = small(family, **options), batch(options.get("pad_token_id", 0))
    calls = calls_of_attention(monkeypatch)
    assert first_position(encoder, lambda: means(encoder, inputs)) == start
    expected = means(encoder, inputs)
    calls.clear()
    with unpadded(encoder, start):
        found = means(encoder, inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert calls == 3 * [(1, 4, 20 + 13 + 13 + 5 + 1, 12)], "each layer sees real tokens alone"
    assert torch.equal(means(encoder, inputs), expected), "the encoder is left as it was"


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mpnet", {}),  # positions relative to each other, made outside of transformers' attention
        ("bert", {"is_decoder": True}),  # causal
        ("albert", {"embedding_size": 48}),
    ],
)
def test_an_encoder_that_cannot_be_run_so_keeps_its_own_forward(family: str, options: dict[str, Any]) -> None:
    encoder, inputs = small(family, **options), batch()
    start = first_position(encoder, lambda: means(encoder, inputs))
    assert (start is None) == (family != "albert")
    expected = means(encoder, inputs)
    with unpadded(encoder, start):
        torch.testing.assert_close(means(encoder, inputs), expected, rtol=0, atol=1e-6)


def test_padding_on_the_left_that_moves_positions_is_kept() -> None:
    encoder, inputs = small("bert"), {name: x.flip(1) for name, x in batch(0).items()}
    assert first_position(encoder, lambda: means(encoder, inputs)) is None


def test_a_model_is_compared_once_and_a_hook_that_comes_later_is_seen() -> None:
    encoder, inputs = small("bert"), batch(0)
    compared: list[int] = []

    def embed() -> torch.Tensor:
        compared.append(1)
        return means(encoder, inputs)

    start = first_position(encoder, embed)
    assert start == first_position(encoder, embed) == 0
    assert len(compared) == 2, "with padding and without"
    encoder.encoder.layer[0].register_forward_hook(lambda *_: None)
    assert first_position(encoder, embed) is None


def test_a_hook_or_forward_of_somebody_elses_is_called() -> None:
    encoder, inputs = small("bert"), batch(0)
    encoder.encoder.layer[0].register_forward_hook(lambda *_: None)
    assert first_position(encoder, lambda: means(encoder, inputs)) is None


def test_an_argument_that_is_not_known_reaches_the_models_own_forward() -> None:
    encoder, inputs = small("bert"), batch(0)
    with unpadded(encoder, 0), torch.inference_mode():
        states = encoder(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == 4
    assert states[0].shape == (5, 20, 48)


def test_the_encoder_is_left_as_it_was_even_after_an_error() -> None:
    encoder = small("bert")
    before = encoder.config._attn_implementation
    with pytest.raises(IndexError), unpadded(encoder, 0):
        means(encoder, {**batch(0), "input_ids": batch(0)["input_ids"] + 1000})
    assert "forward" not in encoder.__dict__
    assert encoder.config._attn_implementation == before
