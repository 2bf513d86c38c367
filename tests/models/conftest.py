"""A tiny encoder with a real tokenizer, and real pairs cut into tokens, small enough for tests of every path."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoConfig, AutoModel, AutoTokenizer

from workflow_scripts import artefact
from workflow_scripts.models.batches import Batch, Order, Tokens, assemble, training_order
from workflow_scripts.models.fetch import FetchSettings, fetch
from workflow_scripts.models.folder import export, versions

MAX_LENGTH = 48
TEXTS = ["How far is the moon?", "HELLO World", "naïve", "", "word " * 200]
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "pad_token_id": 0, "max_position_embeddings": 140},
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2, "pad_token_id": 0},
}
Pair = tuple[str, str, str, str, str, str, str]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def tiny_model(family: str, minilm: Path, folder: Path) -> SentenceTransformer:
    """A randomly initialised encoder of the family, 32 wide, 2 layers, with MiniLM's tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        **{
            "vocab_size": 30522,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 128,
        }
        | FAMILIES[family],
    )
    make: Any = AutoModel.from_config
    make(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
    encoder = Transformer(str(folder), max_seq_length=MAX_LENGTH)
    pooling = Pooling(encoder.get_embedding_dimension(), pooling_mode="mean", include_prompt=False)
    return SentenceTransformer(modules=[encoder, pooling], device="cpu")


@pytest.fixture(scope="session")
def bert(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `model.sha256` of a tiny BERT in a study's layout."""
    folder = tmp_path_factory.mktemp("parent")
    manifest = {
        "model": "base",
        "seed": 0,
        "kind": "fetched",
        "parents": [],
        "reference": "tiny",
        "revision": None,
        "licence": None,
        "width": 32,
        "versions": versions(),
    }
    output = folder / "models" / "base" / "s0" / "model.json"
    export(tiny_model("bert", minilm, folder / "raw"), output, manifest)
    return output.with_name("model.sha256")


@pytest.fixture(scope="session")
def pairs(shared_data: Path) -> list[Pair]:
    """Real triples of three tasks: 40, 30 and 5 rows."""
    chosen: list[Pair] = []
    for name, count in (("trec_question_type", 40), ("snips_intent", 30), ("super_ni_task363_sst2", 5)):
        with gzip.open(shared_data / "medi_like" / f"{name}.jsonl.gz", "rt") as file:
            for _, line in zip(range(count), file, strict=False):
                row = json.loads(line)
                chosen.append((name, *row["query"], *row["pos"], *row["neg"]))
    return chosen


@pytest.fixture(scope="session")
def write_corpus(minilm: Path) -> Callable[[list[Pair], Path], tuple[Path, Path]]:
    """Write corpus and tokens as docs/files.md says; gives (pairs.sha256, tokens.sha256)."""
    tokenizer = AutoTokenizer.from_pretrained(minilm)

    def write(pairs: list[Pair], folder: Path) -> tuple[Path, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        texts = sorted({text for pair in pairs for text in pair[2::2]})
        pq.write_table(pa.table({"text": texts}), folder / "sample.parquet")
        artefact.write_digests(folder / "pairs.sha256", [folder / "sample.parquet"])
        names = list(dict.fromkeys(pair[0] for pair in pairs))
        columns: dict[str, Any] = {"task": pa.array([names.index(pair[0]) for pair in pairs], pa.int32())}
        for column, place in (("query", 1), ("pos", 3), ("neg", 5)):
            whole = [pair[place] + pair[place + 1] for pair in pairs]
            ids = tokenizer(whole, truncation=True, max_length=MAX_LENGTH)["input_ids"]
            skips = [len(tokenizer(pair[place])["input_ids"]) - 1 if pair[place] else 0 for pair in pairs]
            columns[f"{column}_ids"] = pa.array(ids, pa.list_(pa.uint16()))
            columns[f"{column}_skip"] = pa.array(skips, pa.uint16())
            columns[f"{column}_key"] = pa.array([zlib.crc32(text.encode()) for text in whole], pa.uint64())
        table = pa.table(columns).replace_schema_metadata({"tasks": json.dumps(names)})
        tokens = folder / "tokens" / "base" / "tokens.arrow"
        tokens.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(tokens), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=16)  # several chunks, as a large file has
        artefact.write_digests(tokens.with_name("tokens.sha256"), [tokens])
        return folder / "pairs.sha256", tokens.with_name("tokens.sha256")

    return write


@pytest.fixture(scope="session")
def corpus(
    pairs: list[Pair],
    write_corpus: Callable[[list[Pair], Path], tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    return write_corpus(pairs, tmp_path_factory.mktemp("study") / "corpus")


def first_batch(corpus: tuple[Path, Path]) -> Batch:
    """Eight triples of one task."""
    tokens = Tokens(corpus[1].with_name("tokens.arrow"))
    return assemble(tokens, *next(training_order(tokens.rows_by_task(), Order(8, 0))))


def settings_of(**changes: Any) -> dict[str, Any]:
    """Settings of a training of the tiny model, nested, changed where said; `training` merges."""
    training = {
        "temperature": 0.05,
        "batch": 8,
        "learning_rate": 1e-3,
        "max_length": MAX_LENGTH,
        "dtype": "fp32",
        "dropout": 0.1,
        "micro_tokens": 200,
    } | changes.pop("training", {})
    return {
        "model": "m",
        "parent": "base",
        "seed": 0,
        "rotate": None,
        "width": 32,
        "max_length": MAX_LENGTH,
        "steps": 12,
        "nesting": [4, 8, 32],
        "nesting_weights": [1.0, 1.0, 1.0],
        "objective": "instructor",
        "training": training,
    } | changes


def weights_of(output: Path) -> np.ndarray:
    """All weights of an exported model, end to end."""
    from safetensors.numpy import load_file

    tensors = load_file(output.parent / "model.safetensors")
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


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
