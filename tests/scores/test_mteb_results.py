"""mteb's own tools read the results: its loaders by default the full width, and the table of a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import mteb
import pytest
from mteb.cli.generate_model_card import generate_model_card

from testing.real_tasks import hashed, own_classification_task, saved, store_of
from workflow_scripts.artefact import read_json
from workflow_scripts.codecs import Codec, prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.layout.mteb_results import Model, Settings, mteb_results
from workflow_scripts.scores.mteb_files import write_mteb_file
from workflow_scripts.scores.score import facts_of
from workflow_scripts.scores.stock import lookup, stock_scores


def test_mtebs_own_table_has_a_row_for_a_registered_model_and_for_each_codec_it_knows(tmp_path: Path) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    known = mteb.get_model_meta(name)
    real = mteb.get_task("Banking77Classification")
    rows = [(f"text{i} word{i % 3} a{i % 5}", i % 3) for i in range(120)]
    task = own_classification_task("Banking77Classification", rows[:60], rows[60:])
    task.metadata = task.metadata.model_copy(update={"dataset": real.metadata.dataset})
    store = store_of(task, tmp_path / "store", hashed)
    codecs = [*prefixes([8, 32]), Codec("prefix", 32, "mteb_int8", queries="coded"), Codec("prefix", 8, "binary")]
    plain = saved(task)
    scored = list(score_all(plain, store, Fitted(32), codecs))
    assert known.revision is not None
    path = tmp_path / "scores" / "base" / "s0" / "Banking77Classification.mteb.json"
    path.parent.mkdir(parents=True)
    write_mteb_file(scored, facts_of(plain), 32, path)
    models = [Model(model="base", seed=0, name=name, revision=known.revision)]
    stale = tmp_path / "mteb" / "of an earlier run.json"
    stale.parent.mkdir()
    stale.touch()
    mteb_results(Settings(models=models, tasks=["Banking77Classification"]), tmp_path, tmp_path / "mteb")
    assert not stale.exists()
    cache = mteb.ResultCache(tmp_path / "mteb")
    benchmark = mteb.Benchmark(name="One task", tasks=[real])
    of_codec = {one.codec.name: one.score for one in scored}
    table = cache.load_results(tasks=benchmark).get_benchmark_result()
    assert len(table) == 1, "the full width, by default"
    assert table.iloc[0]["Model"] == name
    read = cache.load_results(tasks=benchmark, load_experiments="match_name")
    found = {model.experiment_name: model.task_results[0].get_score() for model in read.model_results}
    expected = {
        None: of_codec["prefix-32-float32"],
        "embed_dim_8": of_codec["prefix-8-float32"],
        "output_dtypes_int8": of_codec["prefix-32-mteb_int8-coded"],
    }
    assert found == {name: pytest.approx(score, abs=1e-6) for name, score in expected.items()}, "six digits on disk"
    assert set(read.get_benchmark_result()["Mean (Task)"]) == set(found.values())
    generate_model_card(name, tasks=[real], results_cache=cache, output_path=tmp_path / "card.md")
    assert "mteb" in (tmp_path / "card.md").read_text()
    whole = stock_scores(task, lookup(store, Fitted(32), Codec("prefix", 32)), 32)[0].model_dump()
    files = list((tmp_path / "mteb").rglob("Banking77Classification.json"))
    (of_full_width,) = (read_json(file) for file in files if "experiments" not in file.parts)
    for key in ("languages", "hf_subset", "mteb_version"):
        assert of_full_width["scores"]["test"][0].get(key) == whole["scores"]["test"][0].get(key)
    assert of_full_width["dataset_revision"] == real.metadata.revision
    for file in files:
        settings = json.loads((file.parent / "run_settings.jsonl").read_text())
        assert (settings["task"], settings["splits"]) == ("Banking77Classification", ["test"])
        assert json.loads((file.parent / "model_meta.json").read_text())["revision"] == known.revision
