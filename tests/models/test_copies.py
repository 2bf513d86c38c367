"""The saved copy of a model embeds as its source does, whatever the source is made of."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoTokenizer

from tests.models.conftest import TEXTS, fetched, rename, tiny_model
from tests.models.test_fetch_transform import unit
from workflow_scripts.command_line import InputError
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.fetch import find_source, open_model
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.transform import TransformSettings, transform
from workflow_scripts.study.references import reference_width


def test_lower_casing_that_only_sentence_transformers_configuration_asks_for_is_kept(
    minilm: Path, tmp_path: Path
) -> None:
    source = tmp_path / "cased"
    shutil.copytree(minilm, source)
    for name, keys in (
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("tokenizer_config.json", {"do_lower_case": False}),
    ):
        (source / name).write_text(json.dumps(json.loads((source / name).read_text()) | keys))
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    expected = SentenceTransformer(str(source), device="cpu").encode(TEXTS)
    output = fetched(tmp_path, source, width=384)
    found = SentenceTransformer(str(output.parent), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_models_own_truncation_is_one_width_everywhere(bert: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(bert.parent, source)
    path = source / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncate_dim": 8}))
    expected = SentenceTransformer(str(source), device="cpu").encode(TEXTS)
    output = fetched(tmp_path, source, width=8)
    model = SentenceTransformer(str(output.parent), device="cpu")
    assert model.get_embedding_dimension() == 8
    np.testing.assert_array_equal(model.encode(TEXTS), expected)
    settings = {"model": "t", "parent": "base", "seed": 0, "rotate": "pca", "width": 8, "max_length": 48}
    rotated = tmp_path / "t" / "s0" / "model.json"
    transform(TransformSettings.model_validate(settings), output.with_name("model.sha256"), corpus[0], rotated)
    assert SentenceTransformer(str(rotated.parent), device="cpu").encode(TEXTS).shape == (len(TEXTS), 8)


def test_a_truncation_above_the_width_cuts_nothing(minilm: Path, tmp_path: Path) -> None:
    static = StaticEmbedding(AutoTokenizer.from_pretrained(minilm).backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu", truncate_dim=32).save(str(tmp_path / "static"))
    source = SentenceTransformer(str(tmp_path / "static"), device="cpu")
    assert source.truncate_dim == 32
    width = reference_width(str(tmp_path / "static"), None, "base.model", "base.width")
    output = fetched(tmp_path, tmp_path / "static", width=width)
    copy = SentenceTransformer(str(output.parent), device="cpu")
    assert copy.get_embedding_dimension() == source.get_embedding_dimension() == width == 16
    np.testing.assert_allclose(copy.encode(TEXTS), source.encode(TEXTS), atol=1e-6)


def test_static_embeddings_are_fetched_and_rotated(minilm: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    static = StaticEmbedding(AutoTokenizer.from_pretrained(minilm).backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    expected = SentenceTransformer(str(tmp_path / "static"), device="cpu").encode(TEXTS)
    output = fetched(tmp_path, tmp_path / "static", width=16)
    np.testing.assert_allclose(SentenceTransformer(str(output.parent), device="cpu").encode(TEXTS), expected, atol=1e-6)
    settings = {"model": "t", "parent": "base", "seed": 0, "rotate": "pca", "width": 16, "max_length": 48}
    rotated = tmp_path / "t" / "s0" / "model.json"
    transform(TransformSettings.model_validate(settings), output.with_name("model.sha256"), corpus[0], rotated)
    assert SentenceTransformer(str(rotated.parent), device="cpu").encode(TEXTS).shape == (len(TEXTS), 16)


@pytest.mark.parametrize("left", ["1_Pooling", "config_sentence_transformers.json"])
def test_a_model_that_lost_its_modules_json_is_not_taken_for_a_bare_encoder(
    left: str, minilm: Path, tmp_path: Path
) -> None:
    others = {"1_Pooling", "2_Normalize", "config_sentence_transformers.json", "modules.json"} - {left}
    shutil.copytree(minilm, tmp_path / "lost", ignore=shutil.ignore_patterns(*others))
    with pytest.raises(ModelError, match=f"lost: {left} is there, but no modules.json"):
        fetched(tmp_path, tmp_path / "lost")


@pytest.mark.parametrize("pooling", ["mean", "cls", None])
def test_how_a_bare_encoder_pools_is_said_and_may_be_set(pooling: Any, minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    output = fetched(tmp_path, tmp_path / "raw", pooling=pooling)
    saved: Any = SentenceTransformer(str(output.parent), device="cpu")[1]
    assert saved.pooling_mode == json.loads(output.read_text())["pooling"] == (pooling or "mean")


def test_a_chat_template_is_kept_and_embeds_as_in_the_source(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    template = "{% for message in messages %}chat: {{ message['content'] }}{% endfor %}"
    (tmp_path / "raw" / "chat_template.jinja").write_text(template)
    output = fetched(tmp_path, tmp_path / "raw")
    assert AutoTokenizer.from_pretrained(output.parent).chat_template == template
    expected = open_model(tmp_path / "raw", "raw").encode(TEXTS)
    found = encode_texts(load_encoder(output.parent, device="cpu"), TEXTS)
    np.testing.assert_allclose(unit(found), unit(expected), rtol=0, atol=1e-5)


def test_a_chat_template_is_among_the_files_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(*_: Any, patterns: list[str], **__: Any) -> Any:
        asked.extend(patterns)
        return SimpleNamespace(commit="c" * 40)

    monkeypatch.setattr("workflow_scripts.models.fetch.download_snapshot", download)
    find_source("org/name@main", tmp_path)
    assert any(fnmatch("chat_template.jinja", pattern) for pattern in asked)


def test_a_router_is_fetched_and_rotated_and_its_encoder_is_checked(
    minilm: Path, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    query: Any = list(tiny_model("bert", minilm, tmp_path / "raw"))
    static = StaticEmbedding(AutoTokenizer.from_pretrained(minilm).backend_tokenizer, embedding_dim=32)
    router = Router.for_query_document(query_modules=query, document_modules=[static], default_route="document")
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "router"), create_model_card=False)
    source = SentenceTransformer(str(tmp_path / "router"), device="cpu")
    output = fetched(tmp_path, tmp_path / "router")
    model = SentenceTransformer(str(output.parent), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), source.encode_query(TEXTS), rtol=0, atol=1e-6)
    settings = {"model": "t", "parent": "base", "seed": 0, "rotate": "pca", "width": 32, "max_length": 48}
    rotated = tmp_path / "t" / "s0" / "model.json"
    transform(TransformSettings.model_validate(settings), output.with_name("model.sha256"), corpus[0], rotated)
    assert SentenceTransformer(str(rotated.parent), device="cpu").encode_query(TEXTS).shape == (len(TEXTS), 32)
    weights = next((tmp_path / "router").glob("query_0_*/model.safetensors"), None)
    weights = weights or next((tmp_path / "router").rglob("*Transformer/model.safetensors"))
    rename(lambda name: None if "layer.1." in name else name)(weights.parent)
    with pytest.raises(InputError, match="16 weights are not in its files"):
        fetched(tmp_path / "again", tmp_path / "router")


def test_a_length_of_queries_above_the_positions_is_cut_there(bert: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(bert.parent, source)
    (source / "sentence_bert_config.json").write_text('{"query_length": 500, "document_length": 9}')
    model = load_encoder(fetched(tmp_path, source).parent, device="cpu")
    found: Any = model[0]
    assert (found.query_length, found.document_length) == (128, 9)
    assert np.isfinite(encode_texts(model, ["word " * 500], role="query")).all()


def test_roberta_reads_as_many_tokens_as_it_has_positions_behind_the_padding(minilm: Path, tmp_path: Path) -> None:
    tiny_model("roberta", minilm, tmp_path / "raw")  # 140 positions, of which the padding token has the first
    output = fetched(tmp_path, tmp_path / "raw")
    model = SentenceTransformer(str(output.parent), device="cpu")
    manifest = json.loads(output.read_text())
    assert model.max_seq_length == manifest["max_length"] == manifest["positions"] == 139
    assert np.isfinite(model.encode("word " * 500)).all()


def test_texts_of_one_word_and_none_keep_robertas_positions(minilm: Path, tmp_path: Path) -> None:
    model = tiny_model("roberta", minilm, tmp_path / "raw")
    for texts in (["", "a"], ["", "a", "a b"], ["a"]):
        np.testing.assert_allclose(encode_texts(model, texts), model.encode(texts), rtol=0, atol=1e-6)
