"""The pairs: every row that came in is written or counted, whatever layout it came in."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.corpus.pairs import COLUMNS, ROOT, TEXTS, flat, prepared, real_rows, row, run_prepare, write_jsonl
from workflow_scripts.artefact import write_digests
from workflow_scripts.corpus.group import Sample

TASKS = ("copa_choice", "rte_entailment", "snips_intent")
GOOD = [row(f"what is {i}?", f"it is {i}", f"it is not {i}") for i in range(5)]


@pytest.fixture
def rows(shared_data: Path) -> list[dict[str, object]]:
    return real_rows(shared_data, *TASKS)


def test_the_four_layouts_give_the_same_pairs(rows: list[dict[str, object]], tmp_path: Path) -> None:
    half = len(rows) // 2
    (tmp_path / "flat").mkdir()
    pq.write_table(flat(rows[:half]), tmp_path / "flat" / "train-00000-of-00002.parquet")
    pq.write_table(flat(rows[half:]), tmp_path / "flat" / "train-00001-of-00002.parquet")
    (tmp_path / "lists").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "lists" / "train.parquet")
    for task, members in groupby(rows, key=lambda r: str(r["task_name"])):
        bare = [{name: r[name] for name in TEXTS} for r in members]  # the file's name says the task
        write_jsonl(tmp_path / "lines" / f"{task}.jsonl", bare)
    original = [{**{name: r[name] for name in TEXTS}, "task_id": r["task_name"]} for r in rows]
    (tmp_path / "array").mkdir()
    with gzip.open(tmp_path / "array" / "medi-data.json.gz", "wt", encoding="utf-8") as file:
        json.dump(original, file, indent=1)
    (tmp_path / "array" / "README.md").write_text("not pairs")

    digests = set()
    for layout in ("flat", "lists", "lines", "array"):
        manifest, pairs = prepared(tmp_path / layout, tmp_path / f"{layout}_out")
        assert manifest["rows_in"] == len(rows)
        digests.add((tmp_path / f"{layout}_out" / "corpus.sha256").read_text())
    assert len(digests) == 1, "the files are the same to the byte"
    expected = [{**{n: r[n] for n in COLUMNS}} for r in flat(rows).to_pylist()]
    assert {tuple(p[n] for n in COLUMNS) for p in pairs} <= {tuple(e[n] for n in COLUMNS) for e in expected}


def test_another_sample_of_texts_leaves_the_digest_of_the_pairs(rows: list[dict[str, object]], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    for size in (5, 9):
        prepared(source, tmp_path / f"of_{size}", sample_texts=size)
    few, more = ({path.name: path.read_text() for path in tmp_path.glob(f"of_{size}/*.sha256")} for size in (5, 9))
    assert {name for name in few if few[name] != more[name]} == {"sample.sha256", "corpus.sha256"}
    assert "pairs.sha256" in few


def test_rows_of_a_task_lie_together_in_their_order(tmp_path: Path) -> None:
    mixed = [row(f"query {i}", f"positive {i}", f"negative {i}", task=f"task {i % 3}") for i in range(30)]
    _, pairs = prepared(write_jsonl(tmp_path / "mixed.jsonl", mixed), tmp_path / "out")
    assert [task for task, _ in groupby(pairs, key=lambda p: p["task_name"])] == ["task 0", "task 1", "task 2"]
    assert [p["query"] for p in pairs if p["task_name"] == "task 1"] == [f"query {i}" for i in range(1, 30, 3)]


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("empty", row("a question", " \t\u3000", "no")),
        ("positive equals query", row("the same", "the same", "no")),
        ("negative equals positive", row("a question", "yes", "yes")),
        ("exact duplicate", GOOD[2]),
        ("malformed", row("a question", None, "no")),
        ("no negative", {**GOOD[0], "neg": None}),
        ("no negative", {**GOOD[0], "neg": []}),
        ("malformed", {**GOOD[0], "neg": 7}),
        ("malformed", row("a question", 7, "no")),
        ("malformed", row("a question", "yes", "no", task=None)),
        ("malformed", {**GOOD[0], "pos": ["an instruction", "a text", "and one more"]}),
        ("malformed", ["no", "object"]),
    ],
)
def test_a_bad_row_is_dropped_and_counted_under_its_reason(reason: str, bad: object, tmp_path: Path) -> None:
    manifest, pairs = prepared(write_jsonl(tmp_path / "pairs.jsonl", [*GOOD, bad]), tmp_path / "out")
    assert {name: sum(counts.values()) for name, counts in manifest["drops"].items()} == {reason: 1}
    assert [p["query"] for p in pairs] == [good["query"][1] for good in GOOD]


@pytest.mark.parametrize(
    "line",
    [
        b'{"query": ["", "bro\xffken"], "pos": ["", "yes"], "neg": ["", "no"], "task_name": "a_task"}',
        b'{"query": ["", "lone \\ud800 surrogate"], "pos": ["", "yes"], "neg": ["", "no"], "task_name": "a_task"}',
        b'{"query": ["", "cut sho',
    ],
    ids=["invalid UTF-8", "lone surrogate", "no JSON"],
)
@pytest.mark.parametrize("layout", ["lines", "array"])
def test_text_that_cannot_be_text_is_counted(line: bytes, layout: str, tmp_path: Path) -> None:
    good = [json.dumps(r).encode() for r in GOOD]
    path = tmp_path / "pairs.json"
    if layout == "lines":
        path.write_bytes(b"\n".join([*good, line, b""]))
    else:
        path.write_bytes(b"[" + b",\n".join([*good[:2], line, *good[2:]]) + b"]")
    if layout == "array" and b"cut" in line:  # nothing after it can be told apart
        result = run_prepare(path, tmp_path / "out")
        assert result.returncode == 1
        assert f"{path}, row 3: " in result.stderr.splitlines()[-1]
        assert not list((tmp_path / "out").glob("*.parquet"))
        return
    manifest, pairs = prepared(path, tmp_path / "out")
    assert sum(manifest["drops"]["malformed"].values()) == 1
    assert len(pairs) == len(GOOD)


def test_null_invalid_utf8_and_a_lone_surrogate_in_parquet_are_counted(tmp_path: Path) -> None:
    table = flat(GOOD)
    texts = pa.array([b"fine", b"bro\xffken", b"lone \xed\xa0\x80", None, b"good"], pa.binary())
    broken = pa.StringArray.from_buffers(5, texts.buffers()[1], texts.buffers()[2], texts.buffers()[0])
    pq.write_table(table.set_column(1, "pos", broken), tmp_path / "pairs.parquet")
    manifest, pairs = prepared(tmp_path / "pairs.parquet", tmp_path / "out")
    assert manifest["drops"] == {"malformed": {"a_task": 3}}
    assert [p["pos"] for p in pairs] == ["fine", "good"]
    pq.write_table(table.set_column(2, "neg", broken), tmp_path / "pairs.parquet")
    manifest, _ = prepared(tmp_path / "pairs.parquet", tmp_path / "negatives")
    assert manifest["drops"] == {"malformed": {"a_task": 2}, "no negative": {"a_task": 1}}


def test_a_cap_keeps_a_seeded_draw_of_each_task(rows: list[dict[str, object]], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pairs.jsonl", rows)
    manifest, pairs = prepared(source, tmp_path / "one", rows_per_task=100)
    assert {name: task["rows_out"] for name, task in manifest["tasks"].items()} == dict.fromkeys(TASKS, 100)
    assert set(manifest["drops"]["cap"]) == set(TASKS)
    _, again = prepared(source, tmp_path / "two", rows_per_task=100)
    _, other = prepared(source, tmp_path / "three", rows_per_task=100, seed=1)
    assert pairs == again
    assert pairs != other


def test_the_sample_is_distinct_training_texts(rows: list[dict[str, object]], tmp_path: Path) -> None:
    _, pairs = prepared(write_jsonl(tmp_path / "pairs.jsonl", rows), tmp_path / "out", sample_texts=300)
    sample = pq.read_table(tmp_path / "out" / "sample.parquet")["text"].to_pylist()
    assert len(sample) == len(set(sample)) == 300
    assert set(sample) <= {p[name] for p in pairs for name in TEXTS}


def test_the_sample_holds_what_is_drawn_and_not_the_tables_it_was_drawn_from() -> None:
    sample = Sample(20, seed=0)
    for number in range(50):
        texts = [f"{number} {row} " + "word " * 200 for row in range(100)]
        sample.add(pa.table({name: pa.array(texts, pa.large_string()) for name in TEXTS}))
    assert len(set(sample.texts().to_pylist())) == 20
    assert sample.drawn.get_total_buffer_size() < 50_000, "20 texts of 1 kB"


def test_an_empty_shard_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "shards"
    source.mkdir()
    pq.write_table(flat(GOOD).slice(0, 0), source / "a.parquet")
    pq.write_table(flat(GOOD), source / "b.parquet")
    (source / "c.jsonl").touch()
    manifest, _ = prepared(source, tmp_path / "out")
    assert manifest["rows_in"] == manifest["rows_out"] == len(GOOD)


def test_a_task_in_two_files_is_one_task(tmp_path: Path) -> None:
    source = tmp_path / "shards"
    write_jsonl(source / "a.jsonl", GOOD[:2])
    write_jsonl(source / "b.jsonl", [row("else", "other", "third", task="b_task"), *GOOD[2:]])
    manifest, pairs = prepared(source, tmp_path / "out")
    assert manifest["tasks"]["a_task"]["rows_out"] == len(GOOD)
    assert [task for task, _ in groupby(pairs, key=lambda p: p["task_name"])] == ["a_task", "b_task"]


def test_a_text_of_10_megabytes_goes_through(tmp_path: Path) -> None:
    long = "a long story " * 800_000
    _, pairs = prepared(write_jsonl(tmp_path / "pairs.jsonl", [*GOOD, row("story?", long, "no")]), tmp_path / "out")
    assert pairs[-1]["pos"] == long


def test_own_pairs_need_no_instructions_and_no_task(tmp_path: Path) -> None:
    pq.write_table(pa.table({name: [f"{name} text"] for name in TEXTS}), tmp_path / "mine.parquet")
    _, pairs = prepared(tmp_path / "mine.parquet", tmp_path / "out")
    texts = {name: f"{name} text" for name in TEXTS}
    assert pairs == [{**texts, "task_name": "mine", **{f"{name}_instruct": "" for name in TEXTS}}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("columns.parquet", {"text": ["a"], "label": ["b"]}, "query is missing, found columns text, label"),
        ("numbers.parquet", {"query": [1], "pos": ["b"], "neg": ["c"]}, "query is int64; expected query, pos, neg"),
        (
            "keys.jsonl",
            [{"anchor": "a", "positive": "b"}],
            "row 1: query is missing, found keys anchor, positive; expected query, pos, neg",
        ),
        ("keys.json", None, "row 2: found 'oops"),
        ("torn.parquet", b"PAR1 and then nothing", "cannot be read"),
        ("torn.jsonl.gz", b"no gzip at all", "cannot be read"),
        ("empty.jsonl", b"", "no pair is left of 0 rows"),
        ("nothing.txt", b"", "expected .parquet, .arrow, .jsonl"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(
    name: str, content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir()
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    elif isinstance(content, list):
        write_jsonl(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(f"[{json.dumps(GOOD[0])}, oops]")
    result = run_prepare(path.parent, tmp_path / "out")
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert message in last
    assert (str(path) if path.suffix != ".txt" and content else str(path.parent)) in last
    assert not [p for p in (tmp_path / "out").glob("*") if not p.name.startswith(".")]


def test_a_downloads_manifests_are_not_read_as_pairs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "files" / "pairs.jsonl", GOOD)
    for name in ("source.json", "dataset_infos.json"):
        (tmp_path / "files" / name).write_text('{"default": {"features": {}}}')
    files = sorted((tmp_path / "files").iterdir())
    write_digests(tmp_path / "source.sha256", files)
    manifest, _ = prepared(tmp_path / "source.sha256", tmp_path / "out")
    assert manifest["rows_in"] == len(GOOD)


def test_memory_does_not_grow_with_the_input(shared_data: Path, tmp_path: Path) -> None:
    """Three times the text, and of what came to it less than half at the peak; the first fills what is in flight."""
    table = flat(real_rows(shared_data, "super_ni_task002_quoref", most=1000))
    script = (
        "import sys; from pathlib import Path; from workflow_scripts.artefact import peak_memory_bytes;"
        "from workflow_scripts.corpus.prepare import PairsSettings, prepare;"
        "prepare(PairsSettings.model_validate({'corpus': {'source': sys.argv[1]}, 'evaluation': []}),"
        " sys.argv[1], Path(sys.argv[2])); print(peak_memory_bytes())"
    )
    peaks = []
    for copies in (60, 180):
        source = tmp_path / f"{copies}.parquet"
        with pq.ParquetWriter(source, table.schema) as writer:
            for number in range(copies):
                queries = pc.binary_join_element_wise(str(number), table["query"], " ")
                writer.write_table(table.set_column(0, "query", queries))
        command = [sys.executable, "-c", script, str(source), str(tmp_path / str(copies) / "corpus.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 2**20)
    added = 120 * table.nbytes / 2**20
    assert peaks[1] - peaks[0] < 0.5 * added, f"peaks of {peaks} MiB, {added:.0f} MiB of text between them"
