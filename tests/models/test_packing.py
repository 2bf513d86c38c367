"""Packing changes no embedding, for every family of encoders; the exported model pools as it was trained."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.models.conftest import FAMILIES, MAX_LENGTH, tiny_model
from workflow_scripts.models import attention
from workflow_scripts.models.attention import bf16_products_agree
from workflow_scripts.models.batches import Text, Tokens, assemble
from workflow_scripts.models.folder import encoder_of
from workflow_scripts.models.packing import PADDED, Layout, choose_layout, compile_encoder, embed, longest_input


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_changes_no_embedding(family: str, minilm: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    model = tiny_model(family, minilm, tmp_path).eval()
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    texts = assemble(tokens, "snips_intent", tokens.rows_by_task()["snips_intent"][:12]).texts
    layout = choose_layout(model, texts)
    assert layout == Layout(packed=True, first_position=1 if family == "roberta" else 0, bf16_products=True)
    with torch.no_grad():
        packed, padded = embed(model, texts, layout), embed(model, texts, PADDED)
        alone = torch.cat([embed(model, [text], PADDED) for text in texts])
    assert float((packed - alone).abs().max()) < 1e-5
    assert float((padded - alone).abs().max()) < 1e-5


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_are_those_of_sentence_transformers_with_and_without_prompt(
    pooling: str, minilm: Path, tmp_path: Path
) -> None:
    model = tiny_model("bert", minilm, tmp_path).eval()
    pooled: Any = model[1]
    pooled.pooling_mode, pooled.include_prompt = pooling, pooling == "cls"  # as a training leaves them
    prompt = "Represent the question for retrieval: "
    questions = ["Who wrote Hamlet?", "How far is the moon?", "Why"]
    for given in ("", prompt):
        skip = len(model.tokenizer(given)["input_ids"]) - 1 if given else 0
        texts = [
            Text(np.array(model.tokenizer(given + q, truncation=True, max_length=MAX_LENGTH)["input_ids"]), skip)
            for q in questions
        ]
        texts.sort(key=lambda text: -len(text.ids))
        with torch.no_grad():
            ours = embed(model, texts, choose_layout(model, texts)).numpy()
        by_length = sorted(questions, key=lambda q: -len(model.tokenizer(q)["input_ids"]))
        theirs = model.encode(by_length, prompt=given, batch_size=1)
        assert float(np.abs(ours - theirs).max()) < 1e-5


def gradient(model: SentenceTransformer, texts: list[Text], layout: Layout, bf16: bool) -> torch.Tensor:
    """Of a loss that every coordinate of every embedding enters, in all of the encoder's parameters."""
    model.zero_grad()
    weights = torch.randn(len(texts), 32, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        embeddings = embed(model, texts, layout)
    torch.autograd.backward((embeddings * weights).sum())
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_packed_texts_are_those_of_padded_ones(
    family: str, minilm: Path, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """Exactly so in float32; in bf16 as near as bf16 is to float32 when padded."""
    model = tiny_model(family, minilm, tmp_path).eval()
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    texts = assemble(tokens, "snips_intent", tokens.rows_by_task()["snips_intent"][:12]).texts
    layout = choose_layout(model, texts)
    exact = gradient(model, texts, PADDED, bf16=False)

    def error(**how: Any) -> float:
        return float((gradient(model, texts, **how) - exact).norm() / exact.norm())

    assert error(layout=layout, bf16=False) < 1e-5
    rounded = error(layout=PADDED, bf16=True)
    assert 0 < error(layout=layout, bf16=True) < 1.5 * rounded


def test_attention_from_plain_products_is_used_only_where_it_agrees_with_torch_s_kernel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert bf16_products_agree()

    def gone(*_: Any) -> torch.Tensor:
        raise AttributeError("no such operator")

    def wrong(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.bmm(query, key.transpose(1, 2)) * 1.1, dim=-1)

    for other in (gone, wrong):
        bf16_products_agree.cache_clear()
        monkeypatch.setattr(attention, "_attention_weights", other)
        with caplog.at_level("INFO", logger="matryoshka"):
            assert not bf16_products_agree()
    assert "torch's own kernel in bf16 (no such operator)" in caplog.text
    assert "plain products differ by" in caplog.text
    bf16_products_agree.cache_clear()


def test_an_unknown_keyword_of_another_transformers_is_passed_over() -> None:
    query = torch.randn(1, 2, 6, 8)
    out, _ = attention.packed_attention(
        torch.nn.Identity(), query, query, query, None, text_lengths=[4, 2], some_new_argument=1
    )
    assert out.shape == (1, 6, 2, 8)


def test_a_step_leaves_no_tensor_behind(minilm: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """BERT's pooler is run and not trained: what it saved must go with it."""
    model = tiny_model("bert", minilm, tmp_path).eval()
    assert encoder_of(model).pooler is not None
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    texts = assemble(tokens, "snips_intent", tokens.rows_by_task()["snips_intent"][:8]).texts
    alive = []
    for _ in range(3):
        gradient(model, texts, PADDED, bf16=True)
        gc.collect()
        alive.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert alive[1] == alive[2]


def test_a_compiled_encoder_gives_the_same_gradients_at_any_length(
    minilm: Path, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """With the compiler's own arithmetic; the step to machine code behind it is torch's."""
    model = tiny_model("bert", minilm, tmp_path).eval()
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    texts = assemble(tokens, "snips_intent", tokens.rows_by_task()["snips_intent"][:12]).texts
    cuts = (texts[:5], texts[5:9], texts[9:])
    plain = [gradient(model, cut, PADDED, bf16=False) for cut in cuts]
    layout = compile_encoder(model, backend="aot_eager")
    for cut, expected in zip(cuts, plain, strict=True):
        found = gradient(model, cut, layout, bf16=False)
        assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(("family", "positions"), [("bert", 128), ("roberta", 139), ("distilbert", 128)])
def test_texts_are_cut_at_the_positions_that_a_model_has(
    family: str, positions: int, minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RoBERTa's begin behind the padding token's id."""
    model = tiny_model(family, minilm, tmp_path)
    with caplog.at_level("INFO", logger="matryoshka"):
        assert longest_input(model, 512) == positions
    assert f"the model has positions for {positions} tokens" in caplog.text
    assert longest_input(model, 48) == 48
    longest = Text(np.arange(1000, 1000 + positions), 0)
    with torch.no_grad():
        for layout in (PADDED, choose_layout(model, [longest])):
            assert bool(embed(model, [longest], layout).isfinite().all())
