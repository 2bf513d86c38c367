"""The encoder gives what sentence-transformers gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing

from workflow_scripts.encoder.encoding import budgeted_batches, encode, encode_texts
from workflow_scripts.encoder.loading import EncoderError, load_encoder


@pytest.fixture(scope="module")
def encoder(model: Path) -> SentenceTransformer:
    torch.set_num_threads(1)
    return load_encoder(model, device="cpu")


@pytest.fixture(scope="module")
def texts(utterances: list[str]) -> list[str]:
    """Short texts, one longer than the model's maximum, an empty one, and repeated ones."""
    long = " ".join(utterances[:60])
    return [*utterances[:30], long, "", utterances[0], "naïve 東京 🙂"]


def test_an_encoder_keeps_off_attention_that_plans_for_each_shape(model: Path) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_encoder(model, device="cpu")
    enabled: Any = torch.backends.cuda.cudnn_sdp_enabled
    assert not enabled()


@pytest.mark.parametrize("prompt", [None, "", "query: "])
def test_embeddings_equal_those_of_sentence_transformers(
    encoder: SentenceTransformer, texts: list[str], prompt: str | None
) -> None:
    expected = encoder.encode(texts, prompt=prompt, show_progress_bar=False)
    np.testing.assert_allclose(encode_texts(encoder, texts, prompt=prompt), expected, rtol=0, atol=1e-6)


def test_the_budget_changes_no_embedding(encoder: SentenceTransformer, texts: list[str]) -> None:
    small, large = (encode_texts(encoder, texts, batch_tokens=budget) for budget in (1, 900))
    np.testing.assert_allclose(small, large, rtol=0, atol=1e-6)


def test_the_models_own_prompts_are_used_for_queries_and_documents(
    model: Path, texts: list[str], tmp_path: Path
) -> None:
    folder = with_configuration(model, tmp_path, prompts={"query": "find: ", "passage": "text: ", "always": "say: "})
    encoder = load_encoder(folder, device="cpu")
    some = texts[:12]
    np.testing.assert_allclose(encode_texts(encoder, some, role="query"), encoder.encode_query(some), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        encode_texts(encoder, some, role="document"), encoder.encode_document(some), rtol=0, atol=1e-6
    )
    assert np.abs(encode_texts(encoder, some, role="query") - encode_texts(encoder, some, role="document")).max() > 0.01
    encoder.default_prompt_name = "always"
    np.testing.assert_allclose(encode_texts(encoder, some), encoder.encode(some), rtol=0, atol=1e-6)


def test_a_prompt_that_pooling_leaves_out_is_left_out(model: Path, texts: list[str]) -> None:
    encoder = load_encoder(model, device="cpu")
    encoder.set_pooling_include_prompt(False)
    expected = encoder.encode(texts[:12], prompt="Represent this question: ", show_progress_bar=False)
    found = encode_texts(encoder, texts[:12], prompt="Represent this question: ")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_bf16_stays_close_and_leaves_the_weights_alone(encoder: SentenceTransformer, texts: list[str]) -> None:
    exact = encode_texts(encoder, texts)
    rounded = encode_texts(encoder, texts, precision="bf16")
    assert ((exact * rounded).sum(axis=1) > 0.999).all()
    np.testing.assert_array_equal(encode_texts(encoder, texts), exact)
    assert all("forward" not in module.__dict__ for module in encoder.modules())


def test_it_counts_tokens_and_reports_progress(encoder: SentenceTransformer, texts: list[str]) -> None:
    done: list[int] = []
    encoded = encode(encoder, texts, progress=done.append)
    expected = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_seq_length)["input_ids"]
    assert encoded.tokens == sum(map(len, expected))
    assert sum(done) == len(texts)


def test_max_length_cuts_texts(model: Path, texts: list[str]) -> None:
    encoder = load_encoder(model, device="cpu", max_length=8)
    assert encode(encoder, texts).tokens <= 8 * len(texts)


def test_no_texts_give_no_rows(encoder: SentenceTransformer) -> None:
    assert encode_texts(encoder, []).shape == (0, 384)


def test_batches_keep_to_the_budget_with_padding() -> None:
    lengths = np.sort(np.random.default_rng(0).integers(1, 300, 500))[::-1]
    batches = list(budgeted_batches(lengths, 256))
    assert [i for batch in batches for i in range(len(lengths))[batch]] == list(range(len(lengths)))
    assert all(len(lengths[b]) == 1 or lengths[b].max() * len(lengths[b]) <= 256 for b in batches)


@pytest.mark.parametrize("broken", ["no modules.json", "truncated weights"])
def test_a_broken_folder_is_one_clear_line(model: Path, tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "model"
    if broken == "no modules.json":
        folder.mkdir()
    else:
        shutil.copytree(model, folder)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(EncoderError, match=str(folder)) as error:
        load_encoder(folder, device="cpu")
    assert "\n" not in str(error.value)


def with_configuration(model: Path, tmp_path: Path, **values: object) -> Path:
    """The model with other values in config_sentence_transformers.json."""
    folder = tmp_path / "configured"
    folder.mkdir()
    for file in model.iterdir():
        if file.name != "config_sentence_transformers.json":
            (folder / file.name).symlink_to(file)
    configuration = json.loads((model / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(json.dumps(configuration | values))
    return folder


def test_a_text_without_a_token_is_the_zero_vector_that_stock_gives(minilm: Path) -> None:
    """Alone or beside a long one, for a tokenizer that adds no special tokens."""
    encoder = load_encoder(minilm, device="cpu")
    encoder.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    assert encoder.tokenizer("")["input_ids"] == [], "the tokenizer adds nothing"
    texts = ["word " * 300, "", "a dog", ""]
    np.testing.assert_allclose(encode_texts(encoder, texts), encoder.encode(texts), rtol=0, atol=1e-6)
    assert not encode_texts(encoder, ["", ""]).any()


def test_a_maximum_above_the_positions_is_lowered_to_them(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    configuration = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration | {"model_max_length": 9999}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9999}))
    encoder = load_encoder(folder, device="cpu", max_length=2000)
    assert encoder.max_seq_length == 512
    assert np.isfinite(encode_texts(encoder, ["word " * 3000])).all()
