"""The tokens: those that the tokenizer gives for instruction + text, and the same left out as sentence-transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from tests.corpus.pairs import ROOT, TEXTS, prepared, real_rows, row, write_jsonl
from workflow_scripts.corpus.tokenise import tokenise

LONGEST = 48


@pytest.fixture(scope="module")
def pairs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("corpus")
    rows = real_rows(shared_data, "copa_choice", "boolq_passage", "snips_intent", most=60)
    rows += [row("no instruction", "at all", "here", task="bare", instruction="")]
    rows += [row("a very", "long", "instruction", task="long", instruction="Represent this: " * 40)]
    rows += [row("x" * 500, "words and " * 100, "a word " + "y" * 500 + " and" * 60, task="long")]
    rows += [row("; " * 200 + "few", " " * 600 + "few", "few " + " " * 600 + "words", task="long")]
    rows += [row("the same query", "one", "two", task="bare"), row("the same query", "three", "two", task="bare")]
    _, made = prepared(write_jsonl(folder / "rows.jsonl", rows), folder)
    return folder / "pairs.parquet", made


@pytest.fixture(scope="module")
def tokens(pairs: tuple[Path, list[dict[str, Any]]], minilm: Path) -> tuple[pa.Table, dict[str, Any]]:
    output = pairs[0].parent / "tokens" / "base" / "tokens.json"
    manifest = tokenise(pairs[0], minilm, LONGEST, output)
    with pa.memory_map(str(output.with_name("tokens.arrow"))) as source:
        return pa.ipc.open_file(source).read_all(), manifest


def test_the_tokens_are_the_tokenizers_own(
    pairs: tuple[Path, list[dict[str, Any]]], tokens: tuple[pa.Table, dict[str, Any]], minilm: Path
) -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(minilm)
    table, manifest = tokens
    total = 0
    for name in TEXTS:
        full = [p[f"{name}_instruct"] + p[name] for p in pairs[1]]
        expected = own(full, truncation=True, max_length=LONGEST)["input_ids"]
        assert table[f"{name}_ids"].to_pylist() == expected
        total += sum(map(len, expected))
    assert table.schema.field("pos_ids").type == pa.list_(pa.uint16())
    assert manifest["rows"] == len(pairs[1])
    assert manifest["tokens"] == total
    uncut = [
        len(ids) for name in TEXTS for ids in own([p[f"{name}_instruct"] + p[name] for p in pairs[1]])["input_ids"]
    ]
    assert manifest["truncated"] == sum(length > LONGEST for length in uncut) > 0


def test_a_text_that_just_fits_is_not_counted_as_cut(minilm: Path, tmp_path: Path) -> None:
    rows = [row("one two three four", "one two three four five", "one two three four five six", instruction="")]
    prepared(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    manifest = tokenise(tmp_path / "pairs.parquet", minilm, 7, tmp_path / "tokens" / "tokens.json")  # with [CLS], [SEP]
    assert (manifest["tokens"], manifest["truncated"]) == (6 + 7 + 7, 1)


def test_byte_level_pairs_keep_their_tokenizers_own_tokens(
    pairs: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """RoBERTa's kind of tokenizer: merges of bytes, a space before a word is part of its token."""
    from sentence_transformers.base.modules import Transformer
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel, RobertaTokenizer

    texts = [p[f"{name}{part}"] for p in pairs[1] for name in TEXTS for part in ("", "_instruct")]
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=600, special_tokens=special, show_progress=False)
    trained.save_model(str(tmp_path))
    files: Any = {"vocab": str(tmp_path / "vocab.json"), "merges": str(tmp_path / "merges.txt")}
    RobertaTokenizer(**files, model_max_length=LONGEST).save_pretrained(tmp_path / "model")
    sizes: Any = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    RobertaModel(RobertaConfig(vocab_size=600, **sizes)).save_pretrained(tmp_path / "model")

    rows = [*pairs[1][:3], *(p for p in pairs[1] if p["task_name"] in ("bare", "long"))]
    strange = row(" leading space", "naïve café — 漢字 🙂", "<s> a special one </s>", task="strange")
    source = [{**{n: [p[f"{n}_instruct"], p[n]] for n in TEXTS}, "task_name": p["task_name"]} for p in rows]
    _, made = prepared(write_jsonl(tmp_path / "rows.jsonl", [*source, strange]), tmp_path / "corpus")
    output = tmp_path / "tokens" / "tokens.json"
    tokenise(tmp_path / "corpus" / "pairs.parquet", tmp_path / "model", LONGEST, output)
    with pa.memory_map(str(output.with_name("tokens.arrow"))) as file:
        table = pa.ipc.open_file(file).read_all()
    own = AutoTokenizer.from_pretrained(tmp_path / "model")
    theirs: Any = Transformer(str(tmp_path / "model"), max_seq_length=LONGEST)
    for name in TEXTS:
        full = [p[f"{name}_instruct"] + p[name] for p in made]
        assert table[f"{name}_ids"].to_pylist() == own(full, truncation=True, max_length=LONGEST)["input_ids"]
        skips = [theirs._get_prompt_length(p[f"{name}_instruct"]) if p[f"{name}_instruct"] else 0 for p in made]
        assert table[f"{name}_skip"].to_pylist() == skips


def test_pooling_leaves_out_what_sentence_transformers_leaves_out(
    pairs: tuple[Path, list[dict[str, Any]]], tokens: tuple[pa.Table, dict[str, Any]], minilm: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(str(minilm), device="cpu")
    model.max_seq_length = LONGEST
    model[1].include_prompt = False
    for place, pair in enumerate(pairs[1]):
        if place % 20 and pair["task_name"] not in ("bare", "long"):
            continue
        ids = tokens[0]["pos_ids"][place].as_py()
        skip = tokens[0]["pos_skip"][place].as_py()
        given = model.preprocess([pair["pos"]], prompt=pair["pos_instruct"])
        assert given["input_ids"].tolist() == [ids]
        assert given.get("prompt_length", 0) == skip
        with torch.no_grad():
            inputs = torch.tensor([ids])
            hidden = model[0].auto_model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
        ours = torch.nn.functional.normalize(hidden[0, skip:].mean(0), dim=0)
        theirs = torch.tensor(model.encode(pair["pos"], prompt=pair["pos_instruct"] or None))
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_equal_texts_share_a_key_and_others_do_not(
    pairs: tuple[Path, list[dict[str, Any]]], tokens: tuple[pa.Table, dict[str, Any]]
) -> None:
    full = [" ".join(f"{p[f'{name}_instruct']}{p[name]}".split()) for name in TEXTS for p in pairs[1]]
    keys = [key for name in TEXTS for key in tokens[0][f"{name}_key"].to_pylist()]
    assert len(set(keys)) == len(set(full)) == len(set(zip(full, keys, strict=True))) < len(full)


def test_texts_that_look_equal_share_a_key(minilm: Path, tmp_path: Path) -> None:
    answers = ["Yes, it is", "Yes, it is\n", " Yes,  it is", "Yes, it is\u200b", "yes, it is"]
    rows = [row(f"question {number}", answer, "no") for number, answer in enumerate(answers)]
    prepared(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    tokenise(tmp_path / "pairs.parquet", minilm, LONGEST, tmp_path / "tokens" / "tokens.json")
    with pa.memory_map(str(tmp_path / "tokens" / "tokens.arrow")) as source:
        keys = pa.ipc.open_file(source).read_all()["pos_key"].to_pylist()
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]


def test_the_task_of_each_row_is_named_in_the_schema(
    pairs: tuple[Path, list[dict[str, Any]]], tokens: tuple[pa.Table, dict[str, Any]]
) -> None:
    names = json.loads(tokens[0].schema.metadata[b"tasks"])
    assert [names[n] for n in tokens[0]["task"].to_pylist()] == [p["task_name"] for p in pairs[1]]


def test_a_large_vocabulary_gets_wide_ids(
    pairs: tuple[Path, list[dict[str, Any]]], minilm: Path, tmp_path: Path
) -> None:
    shutil.copytree(minilm, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    content = json.loads((minilm / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary.update({f"extra{i}": len(vocabulary) + i for i in range(2**16 - len(vocabulary) + 1)})
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(content))
    tokenise(pairs[0], tmp_path / "model", LONGEST, tmp_path / "out" / "tokens.json")
    with pa.memory_map(str(tmp_path / "out" / "tokens.arrow")) as source:
        assert pa.ipc.open_file(source).schema.field("query_ids").type == pa.list_(pa.uint32())


def test_a_folder_without_a_fast_tokenizer_is_one_line(
    pairs: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "workflow_scripts.corpus.tokenise", "--settings", '{"max_length": 16}']
    command += ["--pairs", str(pairs[0].with_name("pairs.sha256")), "--model", str(tmp_path / "model.sha256")]
    command += ["--output", str(tmp_path / "tokens.json")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "no tokenizer.json; expected a model folder with a fast tokenizer" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_tokenizer_that_truncates_on_the_left_keeps_the_end(minilm: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(minilm, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    own = AutoTokenizer.from_pretrained(minilm)
    own.truncation_side = "left"
    own.save_pretrained(tmp_path / "model")
    long = " ".join(f"word{number}" for number in range(3000))
    rows = [row(long, "one two three four five six seven", "x" * 500 + " " + "y " * 90, instruction="Find: ")]
    _, made = prepared(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    manifest = tokenise(tmp_path / "pairs.parquet", tmp_path / "model", LONGEST, tmp_path / "tokens" / "tokens.json")
    with pa.memory_map(str(tmp_path / "tokens" / "tokens.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    own = AutoTokenizer.from_pretrained(tmp_path / "model")
    for name in TEXTS:
        expected = own(made[0][f"{name}_instruct"] + made[0][name], truncation=True, max_length=LONGEST)["input_ids"]
        assert table[f"{name}_ids"].to_pylist() == [expected]
    assert str(own.decode(table["query_ids"][0].as_py()[-4:-1])).endswith("9")
    assert manifest["truncated"] == 2


def test_no_more_tokens_are_made_than_the_model_has_positions_for(
    minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(minilm, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "model" / "model.json").write_text('{"positions": 16}')
    rows = [row("one two three", "word " * 40, "a " * 14, instruction="")]
    prepared(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    with caplog.at_level("INFO", logger="matryoshka"):
        manifest = tokenise(tmp_path / "pairs.parquet", tmp_path / "model", LONGEST, tmp_path / "out" / "tokens.json")
    assert (manifest["max_length"], manifest["tokens"], manifest["truncated"]) == (16, 5 + 16 + 16, 1)
    assert "max_length is 48, the model has positions for 16 tokens" in caplog.text
