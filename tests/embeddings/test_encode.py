"""Encoding a task: each distinct text once, under mteb's prompts, and on from where a kill left it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import polars as pl
import pytest
import torch
from mteb.models.abs_encoder import get_prompt_name
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer

from tests.conftest import ROOT
from tests.embeddings.conftest import ONE_THREAD, command, run, write_task
from workflow_scripts.command_line import parse_settings
from workflow_scripts.embeddings import encode
from workflow_scripts.embeddings.encode import encode_rows, encode_task, precisions_for, read_texts
from workflow_scripts.embeddings.manifest import StoreSettings
from workflow_scripts.embeddings.prompts import prompt_for
from workflow_scripts.encoder import fingerprint
from workflow_scripts.store import StoreWriter, open_store


def settings(**encoding: object) -> str:
    return json.dumps({"task": "SomeTask", "encoding": encoding})


def test_each_distinct_text_is_encoded_once_under_its_prompt(
    model: Path, utterances: list[str], tmp_path: Path
) -> None:
    queries, documents = utterances[:20], utterances[15:40]
    texts = [("query", text) for text in queries * 2] + [("document", text) for text in documents]
    digest = write_task(tmp_path / "task", [*texts, texts[0]])
    prompts = {"query": "find: ", "SomeTask-document": "text: ", "document": "never used: "}
    output = tmp_path / "store" / "embeddings.json"
    done = run("encode", settings=settings(prompts=prompts), model=model / "model.sha256", texts=digest, output=output)
    assert done.returncode == 0, done.stderr

    store, manifest = open_store(output.parent), json.loads(output.read_text())
    encoder = SentenceTransformer(str(model), device="cpu")
    for prompt_type, prompt, some in (("query", "find: ", queries), ("document", "text: ", documents)):
        expected = encoder.encode(some, prompt=prompt, show_progress_bar=False)
        np.testing.assert_allclose(store.vectors[store.rows_of(some, prompt_type)], expected, rtol=0, atol=1e-6)
    encoded = [f"find: {text}" for text in queries] + [f"text: {text}" for text in documents]
    assert len(store) == manifest["texts"] == len(queries) + len(documents)
    assert manifest["tokens"] == sum(map(len, encoder.tokenizer(encoded)["input_ids"]))
    assert manifest["prompts"] == {"document": "text: ", "query": "find: "}
    assert (manifest["model"], manifest["width"], manifest["dtype"]) == ("base", 384, "fp32")
    digests = (output.parent / "embeddings.sha256").read_text()
    assert digests.endswith("  embeddings.arrow\n")
    subprocess.run(["sha256sum", "-c", "embeddings.sha256"], cwd=output.parent, check=True, capture_output=True)


def test_training_texts_are_a_store_too(model: Path, utterances: list[str], tmp_path: Path) -> None:
    pl.DataFrame({"text": utterances[:5]}).write_parquet(tmp_path / "sample.parquet")
    (tmp_path / "sample.sha256").write_text("corpus\n")
    output = tmp_path / "store" / "embeddings.json"
    half = json.dumps({"task": "training_texts", "encoding": {"precision": "float16"}})
    encode_task(parse_settings(StoreSettings, half), model / "model.sha256", tmp_path / "sample.sha256", output)
    store = open_store(output.parent)
    expected = SentenceTransformer(str(model), device="cpu").encode(utterances[:5], show_progress_bar=False)
    assert store.vectors.dtype == np.float16
    np.testing.assert_allclose(store.vectors[store.rows_of(utterances[:5])], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("setting", "task_type", "able", "queries", "others"),
    [
        ("auto", "Classification", True, "bf16", "bf16"),
        ("auto", "Classification", False, "fp32", "fp32"),
        ("auto", "Retrieval", True, "fp32", "fp32"),
        ("auto", None, True, "fp32", "fp32"),
        ("bf16", "Classification", False, "bf16", "bf16"),
        ("bf16", "Retrieval", False, "fp32", "mixed"),
        ("bf16", None, True, "fp32", "mixed"),
        ("fp32", "Classification", True, "fp32", "fp32"),
    ],
)
def test_rankings_are_rounded_little_or_not_at_all(
    setting: str, task_type: str | None, able: bool, queries: str, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflow_scripts.encoder.encoding.computes_in_bf16", lambda _: able)
    found = precisions_for(setting, task_type, torch.device("cpu"))
    assert found == {"query": queries, "document": others, "": others}


def test_bf16_leaves_the_queries_exact(model: Path, utterances: list[str], tmp_path: Path) -> None:
    texts = utterances[:10]
    digest = write_task(tmp_path / "task", [(kind, text) for kind in ("query", "document") for text in texts])
    stores = {}
    for precision in ("fp32", "bf16"):
        output = tmp_path / precision / "embeddings.json"
        encode_task(parse_settings(StoreSettings, settings(dtype=precision)), model / "model.sha256", digest, output)
        stores[precision] = open_store(output.parent)
    assert json.loads(output.read_text())["dtype"] == "fp32 and mixed"
    for kind, same in (("query", True), ("document", False)):
        exact, rounded = (store.vectors[store.rows_of(texts, kind)] for store in stores.values())
        assert np.array_equal(exact, rounded) == same
        np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.005)


def test_a_killed_encoding_goes_on_from_its_finished_shards(model: Path, utterances: list[str], tmp_path: Path) -> None:
    texts = utterances[:240]
    digest = write_task(tmp_path / "task", [("", text) for text in texts])
    output = tmp_path / "store" / "embeddings.json"
    arguments = {"model": model / "model.sha256", "texts": digest, "output": output, "rows_per_shard": 24}
    first = subprocess.Popen(
        command("encode", settings=settings(), **arguments), cwd=ROOT, env=ONE_THREAD, stderr=subprocess.DEVNULL
    )
    wait_for_shards(output.parent, 3, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = sorted(output.parent.rglob("[0-9]*.arrow"))
    assert 3 <= len(finished) < 10
    assert not (output.parent / "embeddings.arrow").exists()
    assert not output.exists()

    # A finished shard that is encoded again would lose the second shard's place in it.
    marked = mark(finished[0])
    second = run("encode", settings=settings(), **arguments)
    assert second.returncode == 0, second.stderr
    store = open_store(output.parent)
    expected = SentenceTransformer(str(model), device="cpu").encode(texts[24:], show_progress_bar=False)
    np.testing.assert_array_equal(store.vectors[store.rows_of(texts[:24])], marked)
    np.testing.assert_allclose(store.vectors[store.rows_of(texts[24:])], expected, rtol=0, atol=1e-6)
    left = {path.name for path in output.parent.iterdir()} - {".embeddings.json.lock"}
    assert left == {"embeddings.arrow", "embeddings.json", "embeddings.sha256"}


def test_parts_make_the_store_that_one_job_makes(
    model: Path, utterances: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [("query" if i % 3 else "document", text) for i, text in enumerate(utterances[:50])]
    digest = write_task(tmp_path / "task", [*texts, *texts[:5]])
    read = parse_settings(StoreSettings, settings())
    whole, parts = (tmp_path / name / "embeddings.json" for name in ("whole", "parts"))
    encode_task(read, model / "model.sha256", digest, whole, rows_per_shard=8)
    of_parts = [parts.parent / "parts" / f"{part}-of-3.json" for part in range(3)]
    for part in (2, 0, 1):
        encode_task(read, model / "model.sha256", digest, of_parts[part], 8, (part, 3))
    assert [json.loads(done.read_text())["texts"] for done in of_parts] == [16, 16, 18]
    assert len(list(parts.parent.rglob("*.arrow"))) == 7
    with monkeypatch.context() as only_joined:
        only_joined.setattr(encode, "encode_rows", None)
        encode_task(read, model / "model.sha256", digest, parts, rows_per_shard=8)
    for name in ("embeddings.arrow", "embeddings.sha256"):
        assert parts.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
    manifests = [json.loads(one.read_text()) | {"seconds": 0} for one in (whole, parts)]
    assert manifests[0] == manifests[1]


def test_a_part_leaves_anothers_shard_that_is_not_whole_to_the_other(
    model: Path, utterances: list[str], tmp_path: Path
) -> None:
    digest = write_task(tmp_path / "task", [("", text) for text in utterances[:16]])
    read = parse_settings(StoreSettings, settings())
    folder = tmp_path / "store" / "parts"
    for part in range(2):
        encode_task(read, model / "model.sha256", digest, folder / f"{part}-of-2.json", 8, (part, 2))
    of_first = next(tmp_path.rglob("00000.arrow"))
    of_first.write_bytes(of_first.read_bytes()[:100])
    encode_task(read, model / "model.sha256", digest, folder / "1-of-2.json", 8, (1, 2))
    assert of_first.exists()


def test_a_part_leaves_the_shards_of_a_part_that_computed_otherwise_and_the_joining_job_makes_them_again(
    model: Path, utterances: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dtype: auto` on two nodes, of which one computes in bf16."""
    texts = [("", text) for text in utterances[:30]]
    digest = write_task(tmp_path / "task", texts, "Classification")
    read = parse_settings(StoreSettings, settings(dtype="auto"))
    whole, parts = (tmp_path / name / "embeddings.json" for name in ("whole", "parts"))

    def on_a_node(able: bool, output: Path, part: tuple[int, int] | None = None) -> None:
        monkeypatch.setattr("workflow_scripts.encoder.encoding.computes_in_bf16", lambda _: able)
        encode_task(read, model / "model.sha256", digest, output, 8, part)

    on_a_node(False, parts.parent / "parts" / "0-of-2.json", (0, 2))
    on_a_node(True, parts.parent / "parts" / "1-of-2.json", (1, 2))
    assert len(list(parts.parent.rglob("0000[0-3].arrow"))) == 4
    encoded: list[int] = []

    def counted(*arguments: Any) -> tuple[np.ndarray, int]:
        encoded.append(len(arguments[1]))
        return encode_rows(*arguments)

    with monkeypatch.context() as counting:
        counting.setattr(encode, "encode_rows", counted)
        on_a_node(False, parts)
    assert encoded == [8, 6]
    on_a_node(False, whole)
    assert parts.with_name("embeddings.arrow").read_bytes() == whole.with_name("embeddings.arrow").read_bytes()
    assert not (parts.parent / "shards").exists()


def test_texts_are_read_a_block_at_a_time_and_repeated_ones_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("document", f"text {i % 23}") for i in range(60)] + [("query", "text 1")]
    monkeypatch.setattr(encode, "TEXTS_HELD", 7)
    texts = read_texts("SomeTask", write_task(tmp_path, rows))
    assert len(texts) == 24
    for start, stop in ((0, 10), (5, 24), (20, 21), (24, 24)):
        read = texts.rows(start, stop)
        assert read.texts == [f"text {i}" for i in (*range(23), 1)][start:stop]
        assert read.prompt_types.tolist() == [*["document"] * 23, "query"][start:stop]


def test_a_prompt_that_the_task_does_not_read_changes_no_shard_and_no_text(
    model: Path, utterances: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = write_task(tmp_path / "task", [("query", text) for text in utterances[:10]])
    made: list[Path] = []
    monkeypatch.setattr(StoreWriter, "remove_shards", lambda writer: made.append(writer.shards))
    for prompts in ({}, {"OtherTask": "other: ", "document": "text: "}, {"query": "find: "}):
        read = parse_settings(StoreSettings, settings(prompts=prompts))
        encode_task(read, model / "model.sha256", digest, tmp_path / "store" / "embeddings.json")
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("what", ["settings", "code", "versions"])
def test_shards_of_other_settings_code_or_versions_are_not_taken(
    what: str, model: Path, utterances: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = write_task(tmp_path / "task", [("", text) for text in utterances[:10]])
    begun: list[Path] = []

    def stop_before_the_end(writer: StoreWriter) -> Path:
        begun.append(writer.shards)
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "finish", stop_before_the_end)

    def begin(**encoding: object) -> None:
        monkeypatch.setattr(StoreWriter, "cost", lambda *_: 0.0)
        read = parse_settings(StoreSettings, settings(**encoding))
        with pytest.raises(KeyboardInterrupt):
            encode_task(read, model / "model.sha256", digest, tmp_path / "store" / "embeddings.json")

    begin()
    begin()
    assert begun[0] == begun[1]
    if what == "versions":
        monkeypatch.setattr(fingerprint, "versions", lambda *_: {"torch": "another"})
    if what == "code":
        monkeypatch.setattr(fingerprint, "digest_of_file", lambda path: path.name)
    begin(**({"max_length": 16} if what == "settings" else {}))
    assert begun[2] != begun[0]


def wait_for_shards(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("[0-9]*.arrow"))) < count:
        assert process.poll() is None, "encoding ended before it could be killed"
        assert time.monotonic() < deadline, f"no {count} shards within a minute"
        time.sleep(0.02)


def mark(shard: Path) -> np.ndarray:
    """Turn the signs of a shard's vectors round, in place in its file; return them as they are now."""
    import pyarrow as pa

    reader = pa.ipc.open_file(shard.read_bytes())
    batch = reader.get_batch(0)
    turned = -batch.column("embedding").flatten().to_numpy()
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(turned), 384)
    with pa.OSFile(str(shard), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([batch.column("key"), embedding], schema=reader.schema))
    return np.asarray(turned).reshape(-1, 384)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt_type": ["", ""], "text": ["a", None]}, "row 1: 'text' is null, expected a string"),
        ({"prompt_type": ["passage"], "text": ["a"]}, "prompt type 'passage' is not known"),
        ({"prompt_type": [""]}, "column 'text' is None, expected String"),
    ],
)
def test_bad_texts_are_named(tmp_path: Path, columns: dict[str, list[str]], message: str) -> None:
    digest = write_task(tmp_path, [])
    pl.DataFrame(columns).write_parquet(tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match=message):
        read_texts("SomeTask", digest)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [({"batch": 3}, "encoding.batch: Extra inputs are not permitted"), ({}, "no modules.json there")],
)
def test_bad_input_is_one_line(tmp_path: Path, encoding: dict[str, object], message: str) -> None:
    digest = write_task(tmp_path / "task", [("", "a")])
    output = tmp_path / "store" / "embeddings.json"
    done = run("encode", settings=settings(**encoding), model=tmp_path / "model.sha256", texts=digest, output=output)
    assert done.returncode == 1
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not output.exists()


def test_prompts_are_chosen_as_mteb_chooses_them() -> None:
    names = ["SciFact-query", "SciFact", "Retrieval-query", "Retrieval", "query", "document"]
    metadata = mteb.get_task("SciFact").metadata
    for present in itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(len(names) + 1)):
        prompts = {name: f"{name}: " for name in present}
        for prompt_type in ("", "query", "document"):
            name = get_prompt_name(prompts, metadata, PromptType(prompt_type) if prompt_type else None)
            assert prompt_for(prompts, "SciFact", "Retrieval", prompt_type) == (prompts[name] if name else None)
