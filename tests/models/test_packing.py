"""Packing changes no embedding, for every family of encoders; the exported model pools as it was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.conftest import FAMILIES, MAX_LENGTH, tiny_model
from workflow_scripts.models.batches import Text, Tokens, assemble
from workflow_scripts.models.packing import PADDED, Layout, choose_layout, embed


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_changes_no_embedding(family: str, minilm: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    model = tiny_model(family, minilm, tmp_path).eval()
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    texts = assemble(tokens, "snips_intent", tokens.rows_by_task()["snips_intent"][:12]).texts
    layout = choose_layout(model, texts)
    assert layout == Layout(packed=True, first_position=1 if family == "roberta" else 0)
    with torch.no_grad():
        packed, padded = embed(model, texts, layout), embed(model, texts, PADDED)
        alone = torch.cat([embed(model, [text], PADDED) for text in texts])
    assert float((packed - alone).abs().max()) < 1e-5
    assert float((padded - alone).abs().max()) < 1e-5


def test_embeddings_are_those_of_sentence_transformers_with_and_without_prompt(minilm: Path, tmp_path: Path) -> None:
    model = tiny_model("bert", minilm, tmp_path).eval()
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
