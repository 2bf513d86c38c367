"""Which task a row of pairs belongs to: by its own column, its file or its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.pairs import (
    GOOD,
    TEXTS,
    flat,
    prepared,
    row,
    write_jsonl,
)
from workflow_scripts.command_line import InputError
from workflow_scripts.corpus.files import pairs_files
from workflow_scripts.study.references import files_of_user

PARTS = {
    "spark": [f"part-0000{i}-0c2f6a6e-7b1d-4c58-9f0a-5a1b2c3d4e5f-c000.snappy.parquet" for i in range(2)],
    "spark 2": [f"part-0000{i}-0c2f6a6e-7b1d-4c58-9f0a-5a1b2c3d4e5f.c000.json.gz" for i in range(2)],
    "pyarrow": ["part-0.parquet", "part-10.parquet"],
    "pandas": ["0c2f6a6e7b1d4c589f0a5a1b2c3d4e5f-0.parquet"],
    "dask": ["part.0.parquet", "part.1.parquet"],
    "one": ["part-00000-of-00001.parquet"],
    "the hub's conversions": ["0000.parquet", "0001.parquet"],
}


def test_the_task_of_a_partitioned_folder_is_its_folders(shared_pairs: Path, tmp_path: Path) -> None:
    manifest, pairs = prepared(shared_pairs / "hive_spark", tmp_path)
    assert {name: task["rows_out"] for name, task in manifest["tasks"].items()} == {"nli": 5, "qa": 5}
    assert {(pair["task_name"], pair["query"].split()[-1]) for pair in pairs} == {("nli", "nli"), ("qa", "qa")}


def test_integer_task_names_and_columns_of_nulls_are_read_in_parquet(tmp_path: Path) -> None:
    table = flat(GOOD).set_column(3, "task_name", pa.array([1, 1, 2, 2, None], pa.int64()))
    table = table.set_column(4, "query_instruct", pa.nulls(5))
    pq.write_table(table, tmp_path / "pairs.parquet")
    manifest, pairs = prepared(tmp_path / "pairs.parquet", tmp_path / "out")
    assert {name: task["rows_out"] for name, task in manifest["tasks"].items()} == {"1": 2, "2": 2, "(no task)": 0}
    assert {pair["query_instruct"] for pair in pairs} == {""}


def test_files_of_one_name_in_several_folders_are_several_tasks_and_shards_are_one(tmp_path: Path) -> None:
    bare = [{name: r[name] for name in TEXTS} for r in GOOD]
    write_jsonl(tmp_path / "source" / "nli" / "part-0.jsonl", bare[:1])
    write_jsonl(tmp_path / "source" / "qa" / "part-0.jsonl", bare[1:2])
    write_jsonl(tmp_path / "source" / "train-00000-of-00002.jsonl", bare[2:3])
    write_jsonl(tmp_path / "source" / "train-00001-of-00002.jsonl", bare[3:])
    write_jsonl(tmp_path / "source" / "task_name=a%20b" / "part-1.jsonl", [{**bare[0], "query": ["", "other"]}])
    manifest, _ = prepared(tmp_path / "source", tmp_path / "out")
    tasks = {name: task["rows_out"] for name, task in manifest["tasks"].items()}
    assert tasks == {"nli": 1, "qa": 1, "train": 3, "a b": 1}


@pytest.mark.parametrize("names", PARTS.values(), ids=PARTS)
def test_a_folder_of_parts_is_one_task_named_after_the_folder(names: list[str], tmp_path: Path) -> None:
    for folder in (
        "source/nli",
        "source/deep/qa.parquet/year=2020",
        "source/deep/qa.parquet/year=2021",
        "source/a/nli",
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in [*names, "_SUCCESS", "_metadata", f".{names[0]}.crc"]:
            (tmp_path / folder / name).touch()
    found = [(file.task, file.path.name) for file in pairs_files(tmp_path / "source")]
    assert set(found) == {(task, name) for task in ("nli", "a/nli", "qa") for name in names}
    assert len(found) == 4 * len(names)
    assert {file.task for file in pairs_files(tmp_path / "source" / "nli")} == {"nli"}
    assert [file.task for file in pairs_files(tmp_path / "source" / "nli" / names[0])] != ["nli"]


def test_parts_beside_other_files_keep_their_names(tmp_path: Path) -> None:
    for name in ("part-0.jsonl", "nli.jsonl"):
        (tmp_path / name).touch()
    assert [file.task for file in pairs_files(tmp_path)] == ["nli", "part-0"]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    for path in (source / "v2" / "nli.jsonl", elsewhere / "qa.jsonl", source / ".hidden" / "cached" / "qqp.jsonl"):
        path.parent.mkdir(parents=True)
        path.touch()
    (source / "linked").symlink_to(elsewhere)
    (source / "again").symlink_to(elsewhere)  # each folder is read once
    (source / "cached").symlink_to(source / ".hidden" / "cached")
    (source / "latest").symlink_to("v2")  # what lies in the source is read by its own name
    (source / "v2" / "loop").symlink_to(source)
    (elsewhere / "loop").symlink_to(tmp_path)
    found = {str(file.path.relative_to(source)): file.task for file in pairs_files(source)}
    assert found == {"v2/nli.jsonl": "nli", "again/qa.jsonl": "qa", "cached/qqp.jsonl": "qqp"}
    assert files_of_user(str(source)) == sorted(str(source / name) for name in found)


@pytest.mark.parametrize("name", [".jsonl", "-00000-of-00002.jsonl"])
def test_a_file_of_nothing_but_endings_is_called_after_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / name).touch()
    assert [file.task for file in pairs_files(tmp_path / "nli" / name)] == ["nli"]
    if not name.startswith("."):
        assert [file.task for file in pairs_files(tmp_path / "nli")] == ["nli"]


def test_folders_above_the_source_name_no_task(tmp_path: Path) -> None:
    source = tmp_path / "dataset=medi" / "files"
    source.mkdir(parents=True)
    for name in ("nli.jsonl", "qqp.jsonl"):
        (source / name).touch()
    assert [file.task for file in pairs_files(source)] == ["nli", "qqp"]
    assert {file.task for file in pairs_files(source.parent)} == {"medi"}


@pytest.mark.parametrize("key", ["subset", "source", "config_name", "Dataset"])
def test_a_partition_by_any_name_of_a_data_set_names_the_task(key: str, tmp_path: Path) -> None:
    for value in ("nli", "qa"):
        write_jsonl(tmp_path / "files" / f"{key}={value}" / "lang=en" / "part-0.jsonl", [])
    assert [file.task for file in pairs_files(tmp_path / "files")] == ["nli", "qa"]


@pytest.mark.parametrize("value", ["", "%20", "__HIVE_DEFAULT_PARTITION__"])
def test_a_partition_without_a_value_names_no_task(value: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / f"task_name={value}" / "mine.jsonl", [{name: r[name][1] for name in TEXTS} for r in GOOD])
    manifest, _ = prepared(tmp_path, tmp_path / "out")
    assert list(manifest["tasks"]) == ["mine"]


@pytest.mark.parametrize("source", [".", "part-0.jsonl"])
@pytest.mark.parametrize("folder", ["task_name=nli", "TASK_NAME=nli"])
def test_one_partition_given_by_itself_keeps_its_task(folder: str, source: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / folder / "part-0.jsonl", [{name: r[name][1] for name in TEXTS} for r in GOOD])
    manifest, _ = prepared(tmp_path / folder / source, tmp_path / "out")
    assert list(manifest["tasks"]) == ["nli"]


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_a_blank_task_name_is_none(layout: str, tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "pos": f"p{i}", "neg": "n", "task_name": name} for i, name in enumerate(["", " ", "a"])]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if layout == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    manifest, _ = prepared(path, tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"(no task)": 2}}


@pytest.mark.parametrize(
    ("task", "said"), [("", "null or empty"), (None, "null or empty"), (True, "not what is expected")]
)
def test_rows_without_a_task_are_refused_by_that_column(task: Any, said: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"query": "q", "pos": "p", "neg": "n", "task_name": task}] * 2)
    with pytest.raises(InputError, match=rf"a\.jsonl: task_name is {said} in every one of its 2 rows"):
        prepared(tmp_path / "a.jsonl", tmp_path / "out")


@pytest.mark.parametrize("name", ["task_name", "task_id"])
@pytest.mark.parametrize("kind", [pa.null(), pa.string()])
def test_a_column_of_tasks_that_is_all_null_is_refused_in_parquet_too(
    kind: pa.DataType, name: str, tmp_path: Path
) -> None:
    rows = {text: [text] * 2 for text in TEXTS}
    pq.write_table(pa.table({**rows, name: pa.nulls(2, kind)}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: (task_name|task_id) is null in every row"):
        prepared(tmp_path / "a.parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "dev"], [0, 1]),
        (["train/data-00000-of-00001", "validation/data-00000-of-00001"], [0]),
        (["task=nli/split=train/part-0", "task=nli/split=test/part-0", "task=qa/split=test/part-0"], [0, 2]),
        (["nli_train", "nli_dev", "snli_dev", "latest", "train-timetable", "test-taking"], [0, 2, 3, 4, 5]),
        (["test", "dev"], [0, 1]),
    ],
)
def test_other_splits_beside_one_for_training_are_left_out(names: list[str], kept: list[int], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(tmp_path / f"{name}.jsonl", [row("q", "p", "n")])
    assert {file.path for file in pairs_files(tmp_path)} == {tmp_path / f"{names[number]}.jsonl" for number in kept}
