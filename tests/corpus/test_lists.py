"""Lists in pairs: of texts, or an instruction and a text; what cannot be told apart is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.pairs import (
    BGE,
    BGE_TRIPLES,
    GOOD,
    Row,
    instructions,
    prepared,
    triples,
    write_jsonl,
)
from workflow_scripts.command_line import InputError


def in_layout(path: Path, layout: str, folder: Path) -> Path:
    """JSON lines as they are, or the same rows as parquet in the folder."""
    if layout == "jsonl":
        return path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{path.stem}.parquet")
    return folder / f"{path.stem}.parquet"


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_lists_of_texts_are_several_positives_and_negatives(layout: str, shared_pairs: Path, tmp_path: Path) -> None:
    path = in_layout(shared_pairs / "lists_of_texts.jsonl", layout, tmp_path)
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
    path = in_layout(shared_pairs / "several_negatives.jsonl", layout, tmp_path)
    _, pairs = prepared(path, tmp_path / "out")
    assert triples(pairs) == [("a", "b", "x"), ("a", "b2", "y"), ("a", "b", "z"), ("c", "d", "w")]
    assert instructions(pairs) == {"i"}


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
    path = in_layout(write_jsonl(tmp_path / "bge.jsonl", rows), layout, tmp_path)
    with caplog.at_level("INFO", logger="matryoshka"):
        manifest, pairs = prepared(path, tmp_path / "out")
    assert triples(pairs) == BGE_TRIPLES
    assert {pair["query_instruct"] for pair in pairs} == {"Find: "}
    assert {pair["pos_instruct"] for pair in pairs} == {""}
    assert manifest["rows_read"] == 2
    assert f"bge.{layout}: not used: pos_scores" in caplog.text


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_a_list_without_a_text_is_none_and_nulls_in_a_list_are_left_out(layout: str, tmp_path: Path) -> None:
    bad = [{**BGE[0], "neg": value} for value in ([], None, [None, None])] + [{**BGE[0], "pos": [None]}]
    filled_up = {"query": "q", "pos": ["p", None, None], "neg": [None, "n", "m"]}
    path = in_layout(write_jsonl(tmp_path / "bge.jsonl", [*BGE, *bad, filled_up]), layout, tmp_path)
    manifest, pairs = prepared(path, tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"bge": 1}, "no negative": {"bge": 3}}
    assert triples(pairs) == [*BGE_TRIPLES, ("q", "p", "n"), ("q", "p", "m")]


def test_broken_bytes_in_a_list_spoil_their_row_alone(tmp_path: Path) -> None:
    values = pa.array([b"fine", b"bro\xffken", b"good"], pa.binary())
    texts = pa.StringArray.from_buffers(3, values.buffers()[1], values.buffers()[2])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    table = pa.table({"query": ["a", "b", "c"], "pos": lists, "neg": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    manifest, pairs = prepared(tmp_path / "pairs.parquet", tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"pairs": 1}}
    assert triples(pairs) == [("a", "fine", "x"), ("c", "good", "z")]


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
    path = in_layout(write_jsonl(tmp_path / "a.jsonl", rows), layout, tmp_path)
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
    path = in_layout(write_jsonl(tmp_path / "a.jsonl", rows), layout, tmp_path)
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
    path = in_layout(write_jsonl(tmp_path / "a.jsonl", rows), layout, tmp_path)
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
