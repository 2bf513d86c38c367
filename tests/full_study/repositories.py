"""The small hub's repositories: real rows under their real names, at the revisions that the study and mteb pin.

Takes the shared data; leaves folders for `tests.hub` to serve. Cut down in sizes only: MEDI in its four published
layouts, evaluation tasks as mteb expects to find them, and DistilRoBERTa's architecture in reduced widths.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tests.conftest import ROOT
from tests.hub import Hub
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.references import HUB_REFERENCE

WIDTH = 48
TASKS_OF_MEDI = (
    "super_ni_task1510_evalution",
    "super_ni_task363_sst2",
    "super_ni_task639_multi_woz",
    "copa_choice",
    "quora_duplicates",
    "commonsenseqa_choice",
    "nq_open_answer",
    "kilt_hotpotqa",
)
Row = dict[str, Any]


def study_reference(*keys: str) -> tuple[str, str]:
    """(repository, revision) that studies/medi.yaml pins at a key."""
    value: Any = yaml.safe_load((ROOT / "studies" / "medi.yaml").read_text())
    for key in keys:
        value = value[key]
    match = HUB_REFERENCE.match(value)
    assert match is not None
    return match["repo"], match["revision"]


def medi_rows(shared_data: Path, per_task: int = 60) -> list[Row]:
    """The first rows of a few tasks, `{query: [instruction, text], pos, neg, task_name}`."""
    rows: list[Row] = []
    for name in TASKS_OF_MEDI:
        with gzip.open(shared_data / "medi_like" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows += [json.loads(line) for line, _ in zip(file, range(per_task), strict=False)]
    return rows


def flat(row: Row) -> Row:
    """A row as avsolatorio/medi-data has it: six strings and the task's name."""
    texts = {name: row[name][1] for name in ("query", "pos", "neg")}
    instructions = {f"{name}_instruct": row[name][0] for name in ("query", "pos", "neg")}
    return {**texts, "task_name": row["task_name"], **instructions}


def add_medi(hub: Hub, rows: list[Row]) -> dict[str, str]:
    """MEDI in its four published layouts; layout -> `org/name@revision`."""
    name, revision = study_reference("corpus", "repository")
    shards = hub.repository("datasets", name, revision)
    (shards / "data").mkdir()
    flattened = pl.DataFrame([flat(row) for row in rows])
    half = len(rows) // 2
    flattened[:half].write_parquet(shards / "data" / "train-00000-of-00002.parquet")
    flattened[half:].write_parquet(shards / "data" / "train-00001-of-00002.parquet")
    (shards / "README.md").write_text("---\nlicense: mit\n---\n# MEDI data\n")

    lists = hub.repository("datasets", "maveriq/medi", "1" * 40)
    (lists / "data").mkdir()
    pl.DataFrame(rows).write_parquet(lists / "data" / "train-00000-of-00001.parquet")

    lines = hub.repository("datasets", "GritLM/MEDI", "2" * 40)
    for task in TASKS_OF_MEDI:
        text = "".join(json.dumps(row) + "\n" for row in rows if row["task_name"] == task)
        (lines / f"{task}.jsonl").write_text(text)

    array = hub.repository("datasets", "hkunlp/medi-data", "3" * 40)
    (array / "medi-data.json").write_text(json.dumps(rows))
    return {
        "flat parquet": f"{name}@{revision}",
        "lists in parquet": f"maveriq/medi@{'1' * 40}",
        "lines per task": f"GritLM/MEDI@{'2' * 40}",
        "one array": f"hkunlp/medi-data@{'3' * 40}",
    }


def add_classification(hub: Hub, task: str, source: Path, per_label: int, tests: int) -> None:
    """A classification task under its hub name, with so many training rows per label and so many test rows."""
    entry = task_catalogue()[task]
    repository = hub.repository("datasets", entry["dataset"], entry["revision"])
    train = pl.read_parquet(source / "train.parquet")
    train = train.filter(pl.int_range(pl.len()).over("label") < per_label)
    test = pl.read_parquet(source / "test.parquet")
    test = test.filter(pl.int_range(pl.len()).over("label") < max(1, tests // test["label"].n_unique()))
    for split, rows in (("train", train), ("test", test)):
        (repository / f"{split}.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.iter_rows(named=True))
        )
    configs = {"configs": [{"config_name": "default", "data_files": [_split("train"), _split("test")]}]}
    (repository / "README.md").write_text(f"---\n{yaml.safe_dump(configs)}---\n")


def _split(name: str) -> dict[str, str]:
    return {"split": name, "path": f"{name}.jsonl"}


def add_retrieval(hub: Hub, task: str, source: Path, queries: int, documents: int) -> None:
    """A retrieval task under its hub name: so many queries, their documents, and others up to `documents`."""
    entry = task_catalogue()[task]
    repository = hub.repository("datasets", entry["dataset"], entry["revision"])
    asked = pl.read_parquet(source / "queries.parquet")[:queries]
    judged = pl.read_parquet(source / "qrels.parquet").filter(pl.col("query-id").is_in(asked["_id"].implode()))
    judged = judged.group_by("query-id", maintain_order=True).head(5)
    corpus = pl.read_parquet(source / "corpus.parquet")
    needed = corpus["_id"].is_in(judged["corpus-id"].implode())
    corpus = pl.concat([corpus.filter(needed), corpus.filter(~needed)[:documents]])[:documents]
    configs = []
    for config, split, rows in (
        ("default", "test", judged),
        ("corpus", "corpus", corpus),
        ("queries", "queries", asked),
    ):
        folder = repository / config
        folder.mkdir()
        rows.write_parquet(folder / f"{split}-00000-of-00001.parquet")
        configs.append({"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"}]})
    (repository / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def add_distilroberta(hub: Hub, rows: list[Row]) -> str:
    """DistilRoBERTa in reduced widths with random weights, and a byte-level BPE tokenizer trained on the pairs."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    name, revision = study_reference("base", "model")
    repository = hub.repository("models", name, revision)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    texts = [text for row in rows for column in ("query", "pos", "neg") for text in row[column]]
    trained.train_from_iterator(texts, vocab_size=1500, min_frequency=2, special_tokens=special, show_progress=False)
    trained.save_model(str(repository))
    tokenizer = RobertaTokenizer(
        vocab=str(repository / "vocab.json"), merges=str(repository / "merges.txt"), model_max_length=512
    )
    tokenizer.save_pretrained(str(repository))
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(str(repository))
    (repository / "README.md").write_text("---\nlicense: apache-2.0\n---\n# DistilRoBERTa in small\n")
    return f"{name}@{revision}"
