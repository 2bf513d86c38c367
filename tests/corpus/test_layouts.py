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

from tests.corpus.pairs import (
    GOOD,
    TEXTS,
    flat,
    prepared,
    row,
    triples,
    write_jsonl,
)
from workflow_scripts.command_line import InputError

# ---- the small inputs beside the checkout


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


# ---- their neighbours


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


@pytest.mark.parametrize("nulls", [pa.nulls(5), pa.nulls(5, pa.string()), pa.nulls(5, pa.list_(pa.string()))])
def test_a_column_of_texts_that_is_all_null_is_refused_by_name(nulls: pa.Array, tmp_path: Path) -> None:
    pq.write_table(flat(GOOD).set_column(2, "neg", nulls), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match=r"pairs\.parquet: neg is null .*; expected query, pos, neg"):
        prepared(tmp_path / "pairs.parquet", tmp_path / "out")


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


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 3_000_000])
def test_a_bare_number_of_too_many_digits_is_one_malformed_row(number: str, tmp_path: Path) -> None:
    rows = [json.dumps(GOOD[0]), number, *(json.dumps(r) for r in GOOD[1:])]
    (tmp_path / "pairs.json").write_text(f"[{', '.join(rows)}]")
    manifest, pairs = prepared(tmp_path / "pairs.json", tmp_path / "out")
    assert sum(manifest["drops"]["malformed"].values()) == 1
    assert [pair["query"] for pair in pairs] == [r["query"][1] for r in GOOD]
    (tmp_path / "pairs.json").write_text(f"[{rows[0]}, {number}")
    with pytest.raises(InputError, match="the file ends before its array does"):
        prepared(tmp_path / "pairs.json", tmp_path / "out")


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


def test_a_row_without_a_negative_is_counted_wherever_it_stands(tmp_path: Path) -> None:
    whole = [{"query": f"q{i}", "pos": f"p{i}", "neg": f"n{i}"} for i in range(3)]
    for place in range(4):
        rows = [*whole[:place], {"query": "q", "pos": "p"}, *whole[place:]]
        folder = tmp_path / str(place)
        manifest, pairs = prepared(write_jsonl(folder / "a.jsonl", rows), folder)
        assert manifest["drops"] == {"no negative": {"a": 1}}
        assert len(pairs) == 3


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.null()])
def test_a_row_is_read_alike_from_columns_and_lines(kind: pa.DataType, tmp_path: Path) -> None:
    """Each row's own instruction of the query; else its prompt; nulls in every column but the texts' and the task's."""
    instructions = [None] * 4 if pa.types.is_null(kind) else [None, "", "own", None]
    rows = [
        {**{name: f"{name} {i}" for name in TEXTS}, "task_name": f"t{i % 2}", "query_instruct": own, "prompt": prompt}
        for i, (own, prompt) in enumerate(zip(instructions, ["prompt", "prompt", "prompt", None], strict=True))
    ]
    rows += [rows[0] | {name: None} for name in (*TEXTS, "task_name")]
    table = pa.Table.from_pylist(rows)
    table = table.set_column(4, "query_instruct", table.column("query_instruct").cast(kind))
    pq.write_table(table, tmp_path / "a.parquet")
    of_columns, of_lines = (
        prepared(path, tmp_path / path.suffix[1:])
        for path in (tmp_path / "a.parquet", write_jsonl(tmp_path / "a.jsonl", rows))
    )
    assert of_columns[1] == of_lines[1]
    assert of_columns[0]["drops"] == of_lines[0]["drops"]
    found = [pair["query_instruct"] for pair in sorted(of_columns[1], key=lambda pair: str(pair["query"]))]
    assert found == [*("prompt" if own is None else own for own in instructions[:3]), ""]


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
