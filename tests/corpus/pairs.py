"""Helpers of this room's tests: rows in each of MEDI's layouts, evaluation tasks, and a run of the script itself."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ("query", "pos", "neg")
COLUMNS = (*TEXTS, "task_name", "query_instruct", "pos_instruct", "neg_instruct")

Row = dict[str, Any]


def row(query: Any, pos: Any, neg: Any, task: Any = "a_task", instruction: Any = "Represent the text: ") -> Row:
    """One row as MEDI's JSON has it."""
    return {"query": [instruction, query], "pos": [instruction, pos], "neg": [instruction, neg], "task_name": task}


def real_rows(shared_data: Path, *tasks: str, most: int = 400) -> list[Row]:
    rows: list[Row] = []
    for task in tasks:
        with gzip.open(shared_data / "medi_like" / f"{task}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line, _ in zip(lines, range(most), strict=False)]
    return rows


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def flat(rows: Iterable[Row]) -> pa.Table:
    """The layout of strings, with instructions in columns of their own."""
    return pa.Table.from_pylist(
        [
            {
                **{name: r[name][1] for name in TEXTS},
                "task_name": r["task_name"],
                **{f"{name}_instruct": r[name][0] for name in TEXTS},
            }
            for r in rows
        ]
    )


def evaluation_task(folder: Path, texts: list[str], seen: list[str] | None = None) -> Path:
    """A task's folder with texts that training must not have seen, and texts that it may have."""
    folder.mkdir(parents=True)
    every = texts + (seen or [])
    flags = [True] * len(texts) + [False] * len(seen or [])
    pq.write_table(
        pa.table({"prompt_type": [""] * len(every), "text": every, "evaluation": flags}), folder / "texts.parquet"
    )
    return folder


def run_prepare(
    source: Path, output: Path, evaluation: Iterable[Path] = (), **corpus: Any
) -> subprocess.CompletedProcess[str]:
    settings = {"corpus": {"source": str(source), **corpus}, "evaluation": [str(folder) for folder in evaluation]}
    command = [sys.executable, "-m", "workflow_scripts.corpus.prepare", "--settings", json.dumps(settings)]
    command += ["--source", str(source), "--output", str(output / "corpus.json")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def prepared(source: Path, output: Path, evaluation: Iterable[Path] = (), **corpus: Any) -> tuple[Any, list[Row]]:
    """The manifest and the pairs of a run that must go well, made in this process."""
    from workflow_scripts.corpus.prepare import PairsSettings, prepare

    settings = PairsSettings.model_validate(
        {"corpus": {"source": str(source), **corpus}, "evaluation": [str(folder) for folder in evaluation]}
    )
    manifest = prepare(settings, str(source), output / "corpus.json")
    written = json.loads((output / "corpus.json").read_text())
    assert written == manifest
    dropped = sum(count for by_task in manifest["drops"].values() for count in by_task.values())
    assert manifest["rows_in"] == manifest["rows_out"] + dropped, "every row is accounted for"
    for name, task in manifest["tasks"].items():
        lost = sum(by_task.get(name, 0) for by_task in manifest["drops"].values())
        assert task["rows_in"] == task["rows_out"] + lost, name
    pairs = pq.read_table(output / "pairs.parquet").to_pylist()
    assert len(pairs) == manifest["rows_out"]
    return manifest, pairs


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
