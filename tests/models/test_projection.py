"""Models without a transformer first: a rotation needs their embeddings only; training refuses them in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from workflow_scripts.encoder.loading import limited_length, load_encoder
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.packing import check_modules
from workflow_scripts.models.projection import append_projection

TEXTS = ["How far is the moon?", "A small dog.", "The capital of France is Paris, on the Seine."]


@pytest.fixture
def static(minilm: Path) -> SentenceTransformer:
    """Token embeddings that are averaged, 16 wide."""
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")


def test_training_a_model_without_a_transformer_is_refused_in_one_line(static: SentenceTransformer) -> None:
    with pytest.raises(ModelError, match="its modules are StaticEmbedding; training needs a Transformer") as caught:
        check_modules(static)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("width", [16, 4])
def test_its_embeddings_are_rotated_and_cut_all_the_same(static: SentenceTransformer, width: int) -> None:
    before, length = static.encode(TEXTS), static.max_seq_length
    fitting = append_projection(static, TEXTS * 20, rotate="pca", width=width, max_length=48)
    after = static.encode(TEXTS)
    assert after.shape == (3, width)
    if width == 16:
        assert np.abs(before @ before.T - after @ after.T).max() < 1e-4 * np.abs(before @ before.T).max()
    assert fitting.flops == 0.0
    assert static.max_seq_length == length


def test_a_model_that_reads_queries_and_documents_differently_keeps_all_its_lengths(bert: Path) -> None:
    model = load_encoder(bert.parent, device="cpu")
    first: Any = model[0]
    first.query_length, first.document_length = 24, 60
    own = (model.max_seq_length, 24, 60)
    append_projection(
        model, [f"{text} number {n}" for n in range(20) for text in TEXTS], rotate="pca", width=8, max_length=12
    )
    assert (model.max_seq_length, first.query_length, first.document_length) == own
    with limited_length(model, 12):
        assert (model.max_seq_length, first.query_length, first.document_length) == (12, 12, 12)
    assert (model.max_seq_length, first.query_length, first.document_length) == own


def test_a_width_above_the_parent_s_is_refused_in_one_line(static: SentenceTransformer) -> None:
    with pytest.raises(ModelError, match="width: 32 is above the parent's width 16"):
        append_projection(static, TEXTS, rotate=None, width=32, max_length=48)
