"""Pairs as users have them: every layout is read right, or refused in one line that says what was found."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.pairs import TEXTS, Row, flat, prepared, row, write_jsonl
from workflow_scripts.command_line import InputError
from workflow_scripts.corpus.files import pairs_files

GOOD = [row(f"what is {i}?", f"it is {i}", f"it is not {i}") for i in range(5)]
BGE = [
    {"query": "how tall", "pos": ["300 m", "very"], "neg": ["old", "new", "red"]},
    {"query": "who", "pos": ["Eiffel"], "neg": ["Napoleon"]},
]
BGE_TRIPLES = [
    ("how tall", "300 m", "old"),
    ("how tall", "very", "new"),
    ("how tall", "300 m", "red"),
    ("who", "Eiffel", "Napoleon"),
]


def triples(pairs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(pair[name] for name in TEXTS) for pair in pairs]


def instructions(pairs: list[dict[str, Any]]) -> set[str]:
    return {pair[f"{name}_instruct"] for pair in pairs for name in TEXTS}


# ---- the small inputs beside the checkout


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_lists_of_texts_are_several_positives_and_negatives(layout: str, shared_pairs: Path, tmp_path: Path) -> None:
    path = shared_pairs / "lists_of_texts.jsonl"
    if layout == "parquet":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path = tmp_path / "lists_of_texts.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    manifest, pairs = prepared(path, tmp_path / "out")
    assert triples(pairs) == [
        ("how tall is it", "It is 300 m tall.", "It is old."),
        ("how tall is it", "Three hundred metres.", "Nobody knows."),
        ("who built it", "Eiffel's company.", "Napoleon."),
        ("who built it", "Gustave Eiffel's firm.", "Haussmann."),
        ("when was it built", "1889.", "1789."),
        ("when was it built", "In 1889.", "1989."),
    ]
    assert instructions(pairs) == {""}
    assert (manifest["rows_read"], manifest["rows_in"]) == (3, 6)


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_several_of_medis_lists_are_all_used(layout: str, shared_pairs: Path, tmp_path: Path) -> None:
    path = shared_pairs / "several_negatives.jsonl"
    if layout == "parquet":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path = tmp_path / "several.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    _, pairs = prepared(path, tmp_path / "out")
    assert triples(pairs) == [("a", "b", "x"), ("a", "b2", "y"), ("a", "b", "z"), ("c", "d", "w")]
    assert instructions(pairs) == {"i"}


def test_negatives_that_are_all_null_are_refused_by_name(shared_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"null_negatives\.jsonl: neg is null or empty in every one of its 2 rows"):
        prepared(shared_pairs / "null_negatives.jsonl", tmp_path)


def test_numbered_negatives_are_used(shared_pairs: Path, tmp_path: Path) -> None:
    _, pairs = prepared(shared_pairs / "numbered_negatives.jsonl", tmp_path)
    assert triples(pairs) == [("a", "b", "x"), ("a", "b", "y"), ("c", "d", "z"), ("c", "d", "w")]


def test_texts_that_look_equal_are_counted_as_equal(shared_pairs: Path, tmp_path: Path) -> None:
    manifest, pairs = prepared(shared_pairs / "near_equal.jsonl", tmp_path)
    assert {reason: sum(counts.values()) for reason, counts in manifest["drops"].items()} == {
        "negative equals positive": 1,
        "positive equals query": 1,
        "empty": 1,
    }
    assert triples(pairs) == [("is it shut", "no", "maybe")]


def test_the_task_of_a_partitioned_folder_is_its_folders(shared_pairs: Path, tmp_path: Path) -> None:
    manifest, pairs = prepared(shared_pairs / "hive_spark", tmp_path)
    assert {name: task["rows_out"] for name, task in manifest["tasks"].items()} == {"nli": 5, "qa": 5}
    assert {(pair["task_name"], pair["query"].split()[-1]) for pair in pairs} == {("nli", "nli"), ("qa", "qa")}


def test_string_views_in_lists_are_read(shared_pairs: Path, tmp_path: Path) -> None:
    _, pairs = prepared(shared_pairs / "view_in_list.parquet", tmp_path)
    assert triples(pairs)[0] == ("question number 0 about nli", "answer 0 of nli", "nothing 0 on nli")
    assert instructions(pairs) == {"R: "}
    assert len(pairs) == 10


def test_lists_of_three_are_refused_with_their_type(shared_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"fixed3\.parquet: query is not what is.*fixed_size_list<element: string>\[3\]"
    ):
        prepared(shared_pairs / "fixed3.parquet", tmp_path)


# ---- their neighbours


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.string(), 2),
        pa.list_(pa.binary()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
    ids=str,
)
def test_lists_of_texts_are_read_whatever_their_arrow_type(kind: pa.DataType, tmp_path: Path) -> None:
    columns = {"query": pa.array(["q"], pa.string_view())}
    for name, texts in (("pos", ["a", "b"]), ("neg", ["c", "d"])):
        columns[name] = pa.array([texts], kind)
    pq.write_table(pa.table(columns), tmp_path / "lists.parquet")
    _, pairs = prepared(tmp_path / "lists.parquet", tmp_path / "out")
    assert triples(pairs) == [("q", "a", "c"), ("q", "b", "d")]


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_bges_prompt_is_the_querys_instruction_and_scores_are_said_to_be_left_out(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**r, "prompt": "Find: ", "pos_scores": [1.0]} for r in BGE]
    path = write_jsonl(tmp_path / "bge.jsonl", rows)
    if layout == "parquet":
        path = tmp_path / "bge.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    with caplog.at_level("INFO", logger="matryoshka"):
        manifest, pairs = prepared(path, tmp_path / "out")
    assert triples(pairs) == BGE_TRIPLES
    assert {pair["query_instruct"] for pair in pairs} == {"Find: "}
    assert {pair["pos_instruct"] for pair in pairs} == {""}
    assert manifest["rows_read"] == 2
    assert f"bge.{layout}: not used: pos_scores" in caplog.text


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_a_list_that_holds_no_text_makes_its_row_malformed(layout: str, tmp_path: Path) -> None:
    bad = [{**BGE[0], "neg": []}, {**BGE[0], "neg": None}, {**BGE[0], "pos": ["a", None]}]
    path = write_jsonl(tmp_path / "bge.jsonl", [*BGE, *bad])
    if layout == "parquet":
        path = tmp_path / "bge.parquet"
        pq.write_table(pa.Table.from_pylist([*BGE, *bad]), path)
    manifest, pairs = prepared(path, tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"bge": 3}}
    assert triples(pairs) == BGE_TRIPLES


def test_further_negatives_may_be_missing_in_a_row_and_the_first_column_may_have_a_number_too(tmp_path: Path) -> None:
    rows = [
        {"query": "a", "pos": "b", "neg_1": "c", "neg_2": None, "neg_10": "e"},
        {"query": "f", "pos": "g", "neg_1": "h", "neg_2": "i", "neg_10": None},
    ]
    expected = [("a", "b", "c"), ("a", "b", "e"), ("f", "g", "h"), ("f", "g", "i")]
    for path in (tmp_path / "rows.jsonl", tmp_path / "rows.parquet"):
        if path.suffix == ".jsonl":
            write_jsonl(path, rows)
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        _, pairs = prepared(path, tmp_path / path.suffix[1:])
        assert triples(pairs) == expected


def test_integer_task_names_and_columns_of_nulls_are_read_in_parquet(tmp_path: Path) -> None:
    table = flat(GOOD).set_column(3, "task_name", pa.array([1, 1, 2, 2, None], pa.int64()))
    table = table.set_column(4, "query_instruct", pa.nulls(5))
    pq.write_table(table, tmp_path / "pairs.parquet")
    manifest, pairs = prepared(tmp_path / "pairs.parquet", tmp_path / "out")
    assert {name: task["rows_out"] for name, task in manifest["tasks"].items()} == {"1": 2, "2": 2, "(no task)": 0}
    assert {pair["query_instruct"] for pair in pairs} == {""}
    pq.write_table(table.set_column(3, "task_name", pa.nulls(5)), tmp_path / "mine.parquet")
    manifest, _ = prepared(tmp_path / "mine.parquet", tmp_path / "mine")
    assert list(manifest["tasks"]) == ["mine"]


@pytest.mark.parametrize("nulls", [pa.nulls(5), pa.nulls(5, pa.string()), pa.nulls(5, pa.list_(pa.string()))])
def test_a_column_of_texts_that_is_all_null_is_refused_by_name(nulls: pa.Array, tmp_path: Path) -> None:
    pq.write_table(flat(GOOD).set_column(2, "neg", nulls), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match=r"pairs\.parquet: neg is null .*; expected query, pos, neg"):
        prepared(tmp_path / "pairs.parquet", tmp_path / "out")


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


PARTS = {
    "spark": [f"part-0000{i}-0c2f6a6e-7b1d-4c58-9f0a-5a1b2c3d4e5f-c000.snappy.parquet" for i in range(2)],
    "spark 2": [f"part-0000{i}-0c2f6a6e-7b1d-4c58-9f0a-5a1b2c3d4e5f.c000.json.gz" for i in range(2)],
    "pyarrow": ["part-0.parquet", "part-10.parquet"],
    "pandas": ["0c2f6a6e7b1d4c589f0a5a1b2c3d4e5f-0.parquet"],
    "dask": ["part.0.parquet", "part.1.parquet"],
    "one": ["part-00000-of-00001.parquet"],
    "the hub's conversions": ["0000.parquet", "0001.parquet"],
}


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


def test_folders_above_the_source_name_no_task(tmp_path: Path) -> None:
    source = tmp_path / "dataset=medi" / "files"
    source.mkdir(parents=True)
    for name in ("nli.jsonl", "qqp.jsonl"):
        (source / name).touch()
    assert [file.task for file in pairs_files(source)] == ["nli", "qqp"]
    assert {file.task for file in pairs_files(source.parent)} == {"medi"}


def test_a_data_set_that_was_saved_to_disk_is_read(tmp_path: Path) -> None:
    rows = {"query": ["a", "b"], "pos": [["c"], ["d"]], "neg": [["e", "f"], ["g"]]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(tmp_path / "saved")
    manifest, pairs = prepared(tmp_path / "saved", tmp_path / "out")
    assert triples(pairs) == [("a", "c", "e"), ("a", "c", "f"), ("b", "d", "g")]
    assert list(manifest["tasks"]) == ["data"]


def test_a_file_that_a_saved_data_set_lacks_is_named(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({name: [f"{name} {n}" for n in range(6)] for name in TEXTS})
    rows.save_to_disk(tmp_path / "saved", num_shards=3)
    (tmp_path / "saved" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00001-of-00003\.arrow: not there, but state\.json beside it names it"):
        prepared(tmp_path / "saved", tmp_path / "out")


def test_a_split_that_lacks_parts_is_said_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 2):
        write_jsonl(
            tmp_path / "source" / f"train-0000{number}-of-00003.jsonl", [{"query": f"{number}", "pos": "p", "neg": "n"}]
        )
    with caplog.at_level("INFO", logger="matryoshka"):
        manifest, _ = prepared(tmp_path / "source", tmp_path / "out")
    assert manifest["rows_out"] == 2
    assert "source/train: 2 of its 3 parts are here; only these are read" in caplog.text


@pytest.mark.parametrize("key", ["subset", "source", "config_name", "Dataset"])
def test_a_partition_by_any_name_of_a_data_set_names_the_task(key: str, tmp_path: Path) -> None:
    for value in ("nli", "qa"):
        write_jsonl(tmp_path / "files" / f"{key}={value}" / "lang=en" / "part-0.jsonl", [])
    assert [file.task for file in pairs_files(tmp_path / "files")] == ["nli", "qa"]


def test_what_map_left_beside_a_saved_data_set_is_no_part_of_it(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"query": ["a"], "pos": ["b"], "neg": ["c"]}).save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(tmp_path / "saved")
    saved.map(lambda r: {"query": r["query"] + "!"})
    assert list((tmp_path / "saved").glob("cache-*.arrow"))
    _, pairs = prepared(tmp_path / "saved", tmp_path / "out")
    assert triples(pairs) == [("a", "b", "c")]


@pytest.mark.parametrize("rest", ["[1]", "{}", ']\n[{"query": "a"}]'])
def test_what_stands_behind_an_array_is_not_lost_without_a_word(rest: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD) + " \n" + rest)
    with pytest.raises(InputError, match=r"a\.json: behind the end of its array stands '.*; expected one array"):
        prepared(tmp_path / "a.json", tmp_path / "out")
    (tmp_path / "a.json").write_text(json.dumps(GOOD) + " \n\n")
    prepared(tmp_path / "a.json", tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "package.json", "state.json", "anything.json"])
def test_an_object_beside_the_pairs_is_left_out(name: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "source" / "pairs.jsonl", GOOD)
    (tmp_path / "source" / name).write_text(json.dumps({"name": "x", "files": [1, 2]}, indent=2))
    manifest, _ = prepared(tmp_path / "source", tmp_path / "out")
    assert manifest["rows_in"] == len(GOOD)


def test_an_object_that_is_named_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "x"}')
    with pytest.raises(InputError, match=r"config\.json, row 1: query is missing, found keys name"):
        prepared(tmp_path / "config.json", tmp_path / "out")


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_a_row_nested_too_deeply_is_one_malformed_row(layout: str, tmp_path: Path) -> None:
    deep = '{"query": ' + "[" * 200_000 + '"\\"]"' + "]" * 200_000 + "}"
    rows = [json.dumps(GOOD[0]), deep, *(json.dumps(r) for r in GOOD[1:])]
    (tmp_path / "pairs.json").write_text("\n".join(rows) if layout == "lines" else f"[{','.join(rows)}]")
    manifest, pairs = prepared(tmp_path / "pairs.json", tmp_path / "out")
    assert sum(manifest["drops"]["malformed"].values()) == 1
    assert [pair["query"] for pair in pairs] == [r["query"][1] for r in GOOD]


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_a_number_of_too_many_digits_spoils_its_row_alone(layout: str, tmp_path: Path) -> None:
    rows = [json.dumps(GOOD[0]), '{"query": "q", "score": ' + "9" * 5000 + "}", *(json.dumps(r) for r in GOOD[1:])]
    (tmp_path / "pairs.json").write_text("\n".join(rows) if layout == "lines" else f"[{','.join(rows)}]")
    manifest, pairs = prepared(tmp_path / "pairs.json", tmp_path / "out")
    assert sum(manifest["drops"]["malformed"].values()) == 1
    assert [pair["query"] for pair in pairs] == [r["query"][1] for r in GOOD]


def test_broken_bytes_in_a_list_spoil_their_row_alone(tmp_path: Path) -> None:
    values = pa.array([b"fine", b"bro\xffken", b"good"], pa.binary())
    texts = pa.StringArray.from_buffers(3, values.buffers()[1], values.buffers()[2])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    table = pa.table({"query": ["a", "b", "c"], "pos": lists, "neg": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    manifest, pairs = prepared(tmp_path / "pairs.parquet", tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"pairs": 1}}
    assert triples(pairs) == [("a", "fine", "x"), ("c", "good", "z")]


@pytest.mark.parametrize(
    ("query", "pos", "neg", "reason"),
    [
        ("q", "so\u00adft", "soft", "negative equals positive"),
        ("e\u0301", "\u00e9", "n", "positive equals query"),
        ("q", "a\u2003\u200bb", " a b\ufe0f", "negative equals positive"),
        ("q", "\u2060\ufeff", "n", "empty"),
        ("q", "Yes", "yes", None),
        ("q", "x\u00b2", "x2", None),
    ],
)
def test_what_nobody_sees_makes_no_difference_between_texts(
    query: str, pos: str, neg: str, reason: str | None, tmp_path: Path
) -> None:
    manifest, _ = prepared(write_jsonl(tmp_path / "pairs.jsonl", [*GOOD, row(query, pos, neg)]), tmp_path / "out")
    assert list(manifest["drops"]) == ([reason] if reason else [])


def test_rows_that_look_equal_are_exact_duplicates(tmp_path: Path) -> None:
    rows = [row("the  capital", "Paris", "Rome"), row("the capital", "Paris ", "Rome\u200b")]
    rows += [row("the capital", "paris", "Rome"), row("the capital", "Paris", "Rome", instruction="other")]
    manifest, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert manifest["drops"] == {"exact duplicate": {"a_task": 1}}
    assert [pair["query"] for pair in pairs] == ["the  capital", "the capital", "the capital"]


def test_a_pointer_in_place_of_a_file_of_pairs_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.parquet").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    )
    with pytest.raises(InputError, match=r"pairs\.parquet: a Git LFS pointer is there in place of the file"):
        prepared(tmp_path / "pairs.parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"query": "q", "pos": [{"text": "a"}], "neg": ["b"]}],
            "pos is not what is expected in every one of its 1 rows",
        ),
        ([{"query": "q", "pos": 1, "neg": "b"}] * 2, "pos is not what is expected in every one of its 2 rows"),
        ([{"query": "q", "pos": ["a"], "neg": []}] * 3, "neg is null or empty in every one of its 3 rows"),
        ([{"query": "q", "pos": "a"}], "row 1: neg is missing, found keys query, pos"),
        ([{"query": ["a", "b", "c"], "pos": ["d"], "neg": ["e"]}], "query is not what is expected in every one"),
        (["q", "r"], "none of its 2 rows is a pair"),
    ],
)
def test_rows_that_are_all_something_else_are_refused_with_the_column(
    rows: list[Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        prepared(write_jsonl(tmp_path / "pairs.jsonl", rows), tmp_path / "out")


def test_many_negatives_of_long_texts_come_in_chunks_of_a_bounded_size(tmp_path: Path) -> None:
    from workflow_scripts.corpus.files import PairsFile
    from workflow_scripts.corpus.read import chunks
    from workflow_scripts.corpus.streams import BYTES

    long = "word " * 2000
    rows = [
        {"query": f"{number} {long}", "pos": [long], "neg": [f"{n} {number}" for n in range(200)]}
        for number in range(40)
    ]
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    sizes = [chunk.table.nbytes for chunk in chunks(PairsFile(path, "pairs"))]
    assert sum(chunk.table.num_rows for chunk in chunks(PairsFile(path, "pairs"))) == 40 * 200
    assert max(sizes) < 1.5 * BYTES < sum(sizes)


@pytest.mark.parametrize("query", [[], ["one"], ["a", "b", "c"], ["a", None], 5, None])
@pytest.mark.parametrize("layout", ["lists of texts", "instruction and text"])
def test_a_first_row_without_a_query_does_not_decide_what_the_files_lists_are(
    query: Any, layout: str, tmp_path: Path
) -> None:
    rows = BGE if layout == "lists of texts" else GOOD
    broken = {"query": query, "pos": ["x", "y"], "neg": ["z", "w"]}
    manifest, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", [broken, *rows]), tmp_path / "out")
    expected = BGE_TRIPLES if rows is BGE else [(f"what is {i}?", f"it is {i}", f"it is not {i}") for i in range(5)]
    assert sorted(triples(pairs)) == sorted(expected)
    assert manifest["drops"] == {"malformed": {"a": 1}}


def test_a_text_for_a_query_where_others_have_an_instruction_makes_its_lists_malformed(tmp_path: Path) -> None:
    plain = {"query": "q", "pos": "p", "neg": "n"}
    manifest, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", [*GOOD, BGE[0], plain]), tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"a": 1}}
    assert ("q", "p", "n") in triples(pairs), "without a list there is no doubt"
    assert len(pairs) == len(GOOD) + 1


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_documents_of_other_lengths_than_two_are_lists_of_texts_beside_a_querys_instruction(
    layout: str, tmp_path: Path
) -> None:
    rows = [
        {"query": ["Find: ", f"q{n}"], "pos": [f"p{n}{k}" for k in range(pos)], "neg": [f"n{n}{k}" for k in range(neg)]}
        for n, (pos, neg) in enumerate([(2, 2), (1, 2), (3, 2), (2, 2)])
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if layout == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    manifest, pairs = prepared(path, tmp_path / "out")
    assert not manifest["drops"]
    assert {(pair["query_instruct"], pair["pos_instruct"], pair["neg_instruct"]) for pair in pairs} == {
        ("Find: ", "", "")
    }
    assert triples(pairs)[:4] == [
        ("q0", "p00", "n00"),
        ("q0", "p01", "n01"),
        ("q1", "p10", "n10"),
        ("q1", "p10", "n11"),
    ]
    assert len(pairs) == 2 + 2 + 3 + 2


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
@pytest.mark.parametrize("positives", [1, 2])
def test_lists_of_two_texts_that_share_no_beginning_hold_no_instruction(
    positives: int, layout: str, tmp_path: Path
) -> None:
    """Beside queries that share theirs: two negatives each, and two positives or one that is no list."""
    rows: list[Row] = [
        {
            "query": ["Find: ", f"q{n}"],
            "pos": [f"p{n}0", f"p{n}1"] if positives == 2 else f"p{n}0",
            "neg": [f"n{n}0", f"n{n}1"],
        }
        for n in range(4)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if layout == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    manifest, pairs = prepared(path, tmp_path / "out")
    assert not manifest["drops"]
    assert {(p["query_instruct"], p["pos_instruct"], p["neg_instruct"]) for p in pairs} == {("Find: ", "", "")}
    assert triples(pairs)[:2] == [("q0", "p00", "n00"), ("q0", f"p0{positives - 1}", "n01")]
    assert len(pairs) == 8


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
@pytest.mark.parametrize("negatives", ["lists", "texts"])
def test_instructions_of_documents_beside_plain_queries_are_no_positives(
    negatives: str, layout: str, tmp_path: Path
) -> None:
    rows: list[Row] = [
        {"query": f"q{n}", "pos": ["Read: ", f"p{n}"], "neg": ["Read: ", f"n{n}"] if negatives == "lists" else f"n{n}"}
        for n in range(4)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if layout == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match=r"documents are \[instruction, text\] \('Read: ' stands first .*plain texts"):
        prepared(path, tmp_path / "out")


def test_classes_that_many_rows_share_are_no_instructions(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "pos": ["AB"[n % 2]], "neg": ["AB"[1 - n % 2], "C"]} for n in range(8)]
    _, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert len(pairs) == 16


def test_lists_of_two_texts_in_every_row_are_medis(tmp_path: Path) -> None:
    rows = [{"query": ["Find: ", f"q{n}"], "pos": ["A: ", f"p{n}"], "neg": ["A: ", f"n{n}"]} for n in range(4)]
    broken = {**rows[0], "neg": ["A: ", "n", "m"]}
    manifest, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", [broken, *rows]), tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"a": 1}}
    assert {pair["pos_instruct"] for pair in pairs} == {"A: "}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = [pa.array([name]) for name in ("q", "p", "n", "m")]
    pq.write_table(pa.Table.from_arrays(columns, names=["query", "pos", "neg", "neg"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: 2 columns are called neg; give each a name of its own"):
        prepared(tmp_path / "a.parquet", tmp_path / "out")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_refused_and_loses_no_rows_without_a_word(encoding: str, tmp_path: Path) -> None:
    text = "\ufeff" * (encoding != "utf-16") + "".join(json.dumps(r) + "\n" for r in GOOD)
    (tmp_path / "a.jsonl").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"a\.jsonl: begins as UTF-16 does; expected UTF-8"):
        prepared(tmp_path / "a.jsonl", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_gzip_is_read_whatever_the_files_name(name: str, tmp_path: Path) -> None:
    text = json.dumps(GOOD) if name == "a.json" else "".join(json.dumps(r) + "\n" for r in GOOD)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    manifest, _ = prepared(tmp_path / name, tmp_path / "out")
    assert manifest["rows_out"] == len(GOOD)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PAR1", "parquet"),
        (b"ARROW1", "Arrow"),
        (b"PK\x03\x04", "a zip archive"),
        (bz2.compress(b"{}"), "bzip2"),
        (lzma.compress(b"{}"), "xz"),
        (b"(\xb5/\xfd", "Zstandard"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_another_kind_is_named_whatever_its_name_says(
    start: bytes, kind: str, packed: bool, tmp_path: Path
) -> None:
    content = start + b"\0" * 20
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=rf"a\.jsonl: begins as {kind} does; expected UTF-8 JSON"):
        prepared(tmp_path / "a.jsonl", tmp_path / "out")


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


def test_a_negative_that_is_the_query_is_dropped(tmp_path: Path) -> None:
    rows = [{"query": "soft", "pos": "hard", "neg": ["so\u00adft ", "x"]}]
    manifest, pairs = prepared(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert manifest["drops"] == {"negative equals query": {"a": 1}}
    assert triples(pairs) == [("soft", "hard", "x")]


def test_a_folder_with_an_object_alone_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pairs.json").write_text(json.dumps({"data": GOOD}))
    with pytest.raises(InputError, match=r"no pairs here; expected .*; pairs\.json is one object without a query"):
        prepared(tmp_path / "source", tmp_path / "out")
