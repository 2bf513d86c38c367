"""Rule score: the tables and layouts that a run leaves, and the stores that it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import polars as pl
import pytest
from datasets import Dataset

from testing.real_tasks import (
    hashed,
    own_classification_task,
    own_retrieval_task,
    store_of,
)
from tests.conftest import ROOT
from tests.scores.conftest import prefix_scores, smaller_retrieval
from workflow_scripts.artefact import digest_of_file, write_digests, write_json
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.coding.state import load as load_state
from workflow_scripts.evaluation.mteb_tasks import rows_of_part
from workflow_scripts.evaluation.plain_tasks import load_plain
from workflow_scripts.evaluation.task_files import load_task
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.layout.mteb_results import Model, mteb_results
from workflow_scripts.scores.layout.mteb_results import Settings as MtebSettings
from workflow_scripts.scores.score import main
from workflow_scripts.scores.tables import SCORES, SEARCH, VALUES
from workflow_scripts.store import StoreError, open_store
from workflow_scripts.tasks.prepare import load
from workflow_scripts.tasks.save import save_task


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a small WordNetExamples and of a store of its texts; `training`, that of other texts, is beside."""
    folder = tmp_path_factory.mktemp("embedded")
    task = smaller_retrieval(load("WordNetExamples"), 60, 300)
    save_task(task, folder / "task")
    store_of(task, folder / "store", hashed)
    training = own_classification_task("Training", [(f"word{i} text{i % 9} a{i % 31}", i % 2) for i in range(99)], [])
    store_of(training, folder / "training", hashed)
    for name in ("store", "training"):
        write_digests(folder / name / "embeddings.sha256", [folder / name / "embeddings.arrow"])
    return folder / "task", folder / "store"


def run(
    monkeypatch: pytest.MonkeyPatch, task: Path, store: Path, output: Path, more: tuple[str, ...] = (), **changed: Any
) -> None:
    settings = {
        "study": "small",
        "model": "base",
        "seed": 0,
        "task": "WordNetExamples",
        "dimensions": [4, 16],
        "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32", "int8"], "mteb": ["int8"]},
        "search": {"shortlist": ["prefix-4-int8"], "candidates": [10], "rescore": ["prefix-full-float32"]},
    } | changed
    digest = str(store / "embeddings.sha256")
    words = ["score", "--settings", json.dumps(settings), "--task", str(task / "task.sha256"), "--embeddings", digest]
    training = str(task.with_name("training") / "embeddings.sha256")
    monkeypatch.setattr("sys.argv", [*words, "--training-texts", training, "--output", str(output), *more])
    main()


def test_a_run_leaves_every_table_and_what_mtebs_own_loader_reads(
    embedded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "small" / "scores" / "base" / "s0" / "WordNetExamples.parquet"
    run(monkeypatch, *embedded, output)
    scores = pl.read_parquet(output)
    values = pl.read_parquet(output.with_name("WordNetExamples.values.parquet"))
    found = pl.read_parquet(output.with_name("WordNetExamples.search.parquet"))
    assert (scores.columns, values.columns, found.columns) == (SCORES.names, VALUES.names, SEARCH.names)
    assert set(scores["dim"]) == {4, 16, 32}, "the full width is scored though it was not asked for"
    assert set(scores["transform"]) == {"prefix", "pca"}
    assert set(scores["precision"]) == {"float32", "int8", "mteb_int8"}
    assert scores["codec"].n_unique() == scores.height == 15
    assert scores.filter(codec="prefix-16-int8")["bytes"].item() == 16
    means = values.filter(metric="ndcg_at_10").group_by("codec").agg(pl.col("value").mean())
    together = scores.join(means, on="codec")
    assert together.height == scores.height
    assert together["value"].to_list() == pytest.approx(together["score"].to_list(), abs=1e-5)
    alone = found.filter(search="prefix-32-float32")
    full = scores.filter(codec="prefix-32-float32")["score"].item()
    assert alone["score"].item() == pytest.approx(full, abs=1e-4)
    documents = len(rows_of_part(load_task(embedded[0]), "default", "test")["corpus"])
    assert alone.select("multiply_adds", "bytes_read").row(0) == (documents * 32, documents * 32 * 4)
    rescored = found.filter(search="prefix-4-int8@10>prefix-32-float32")
    assert rescored.select("bytes_in_memory", "bytes_read").row(0) == (4, documents * 4 + 10 * 128)
    assert rescored["stages"].item().to_list() == [{"codec": "prefix-4-int8", "candidates": 10}]
    path = output.with_name("WordNetExamples.fitted.safetensors")
    of_search, about = load_state(path, [Codec("pca", 16, "int8"), Codec("prefix", 4, "int8"), Codec("prefix", 32)])
    digest = digest_of_file(embedded[0].with_name("training") / "embeddings.sha256")
    assert (of_search.unit, about["on"], about["texts"]) == (
        True,
        digest,
        len(open_store(embedded[0].with_name("training"))),
    )
    assert values.filter(codec=rescored["search"].item())["value"].mean() == pytest.approx(
        rescored["score"].item(), abs=1e-5
    )
    fitted = Fitted(32, np.asarray(open_store(embedded[0].with_name("training")).vectors), unit=True)
    (alike,) = score_all(load_plain(embedded[0]), open_store(embedded[1]), fitted, [Codec("pca", 4)])
    written = scores.filter(codec="pca-4-float32")["score"].item()
    assert written == alike.score, "what is fitted is fitted on the training texts"
    results = MtebSettings(
        models=[Model(model="base", seed=0, name="small/base", revision="s0")], tasks=["WordNetExamples"]
    )
    mteb_results(results, tmp_path / "small", tmp_path / "small" / "scores" / "mteb")
    cache = mteb.ResultCache(tmp_path / "small" / "scores" / "mteb")
    named: dict[str, Any] = {"models": ["small/base"], "tasks": ["WordNetExamples"]}
    for dim, experiment in ((32, None), (16, {"embed_dim": 16}), (4, {"embed_dim": 4})):
        read = cache.load_results(**named, experiment_kwargs=experiment)
        (result,) = [model.task_results[0] for model in read.model_results]
        assert result.get_score() == scores.filter(codec=f"prefix-{dim}-float32")["score"].item()
    read = cache.load_results(
        models=["small/base"],
        tasks=["WordNetExamples"],
        experiment_kwargs={"embed_dim": 4, "output_dtypes": "int8"},
        validate_and_filter=False,
    )
    (result,) = [model.task_results[0] for model in read.model_results]
    assert result.get_score() == scores.filter(codec="prefix-4-mteb_int8-coded")["score"].item()


def test_a_store_of_another_models_width_is_refused_in_one_line(
    embedded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *embedded, tmp_path / "a" / "b" / "c" / "x.parquet", dimensions=[8, 64])
    assert re.search(r"error: dimension 64 does not fit .*: its vectors are 32 wide", capsys.readouterr().err)


def test_a_store_of_another_model_is_refused_whatever_its_width(
    embedded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, store = embedded
    shutil.copytree(store, tmp_path / "store")
    write_json(tmp_path / "store" / "embeddings.json", {"model": "fixed"})
    with pytest.raises(SystemExit):
        run(monkeypatch, task, tmp_path / "store", tmp_path / "a" / "b" / "c" / "x.parquet")
    assert "the store of model 'fixed', expected that of 'base'" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # read from a copy
        run(monkeypatch, task, tmp_path / "store", tmp_path / "a" / "b" / "c" / "x.parquet", ("--scratch", "1"))
    assert "the store of model 'fixed', expected that of 'base'" in capsys.readouterr().err


def test_a_truncated_store_and_one_without_the_tasks_texts_are_refused(
    embedded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, store = embedded
    cut = tmp_path / "cut"
    cut.mkdir()
    whole = (store / "embeddings.arrow").read_bytes()
    (cut / "embeddings.arrow").write_bytes(whole[: len(whole) // 2])
    write_digests(cut / "embeddings.sha256", [cut / "embeddings.arrow"])
    with pytest.raises(SystemExit):
        run(monkeypatch, task, cut, tmp_path / "a" / "b" / "c" / "x.parquet")
    assert re.search(r"error: .*embeddings.arrow: not a whole store file", capsys.readouterr().err)
    other = own_retrieval_task("Other", {"id": ["a"], "text": ["x"]}, {"id": ["1"], "text": ["y"]}, {"1": {"a": 1}})
    corpus = Dataset.from_dict({"id": ["a"], "text": ["never encoded"]})
    rows_of_part(other, "default", "test")["corpus"] = corpus
    with pytest.raises(StoreError, match="were not encoded"):
        prefix_scores(other, open_store(store), [32])


@pytest.mark.parametrize(
    ("kind", "unneeded"), [("retrieval", {"mteb", "datasets"}), ("classification", {"mteb", "datasets", "torch"})]
)
def test_a_job_imports_no_more_than_it_needs(kind: str, unneeded: set[str], tmp_path: Path) -> None:
    """Importing mteb, datasets and torch takes longer than a small task's scores."""
    texts = [f"word{i} text{i % 7}" for i in range(60)]
    task: Any = own_classification_task(
        "Own", [(text, i % 2) for i, text in enumerate(texts)], [(t, 1) for t in texts[:9]]
    )
    if kind == "retrieval":
        queries = {"id": ["q"], "text": ["word3"]}
        task = own_retrieval_task("Own", {"id": texts, "text": texts}, queries, {"q": {texts[3]: 1}})
    save_task(task, tmp_path / "task")
    store_of(task, tmp_path / "store", hashed)
    settings = {"study": "s", "model": "m", "seed": 0, "task": "Own", "dimensions": [8, 32], "search": {}}
    settings["codecs"] = {"transforms": ["prefix"], "precisions": ["float32", "binary"]}
    (tmp_path / "scores").mkdir()
    command = ["--settings", json.dumps(settings), "--task", str(tmp_path / "task" / "task.sha256")]
    command += [
        "--embeddings",
        str(tmp_path / "store" / "embeddings.sha256"),
        "--output",
        str(tmp_path / "scores" / "Own.parquet"),
    ]
    lines = (
        "import sys; from workflow_scripts.scores.score import main; main();"
        f"print(sorted({unneeded} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", lines, *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr
    assert pl.read_parquet(tmp_path / "scores" / "Own.parquet").height == 4
