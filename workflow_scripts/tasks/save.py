"""A task's folder: its data, and what scoring must know of it.

Takes an mteb task whose data is loaded; leaves `data/`: parquet, and `layout.json`, which says which file is which subset and split;
and `protocol/`, which says what mteb does with it. `evaluation/plain_tasks.py` and `evaluation/task_files.py` read both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.artefact import write_json
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.mteb_tasks import (
    column,
    is_retrieval,
    query_texts,
    rows_of_part,
    slices,
    undersampled_rows,
)
from workflow_scripts.evaluation.own_tasks import Described
from workflow_scripts.evaluation.plain_tasks import (
    CORPUS,
    DATA,
    DRAWS,
    FACTS,
    JUDGEMENTS,
    LAYOUT,
    PROTOCOL,
    QRELS,
    QUERIES,
    QUERY_TEXTS,
    ROW_GROUP,
    ROWS,
    TOP_RANKED,
)
from workflow_scripts.tasks.protocol import facts_of_protocol

if TYPE_CHECKING:
    import mteb
    from datasets import Dataset

_TOP_RANKED = pa.schema([("query-id", pa.string()), ("corpus-ids", pa.list_(pa.string()))])


def save_task(task: Any, folder: str | Path, own: Described | None = None) -> None:
    """Write the loaded data of `task` to `folder/data`: evaluated subsets and splits, and the split trained on; and its protocol
    to `folder/protocol`. `own`: what there is to say of a task that mteb does not know.

    Raises InputError where there is nothing to evaluate.
    """
    data = Path(folder) / DATA
    data.mkdir(parents=True, exist_ok=True)
    entries = []
    for subset, splits, nested in _subsets(task):
        wanted = list(dict.fromkeys([*_training_splits(task), *task.eval_splits]))
        for split in wanted:
            if split not in splits:
                raise InputError(f"{task.metadata.name}: split {split!r} is not in its data ({', '.join(splits)})")
            place = f"{quote(subset, safe='')}/{quote(split, safe='')}"
            (data / place).mkdir(parents=True, exist_ok=True)
            if is_retrieval(task):
                _write_retrieval(splits[split], data / place)
            else:
                _write_rows(splits[split], data / place / ROWS)
            entries.append({"subset": subset, "split": split, "folder": place, "nested": nested})
    if not entries:
        raise InputError(f"{task.metadata.name}: no data; expected at least one subset with one split")
    layout = {
        "name": task.metadata.name,
        "hf_subsets": list(task.hf_subsets),
        "eval_splits": list(task.eval_splits),
        "entries": entries,
    }
    if own is not None:
        layout["own"] = own.model_dump()
    write_json(data / LAYOUT, layout)
    facts = facts_of_protocol(task)
    write_json(Path(folder) / PROTOCOL / FACTS, facts)
    for entry in entries if facts is not None else []:
        _write_asked(task, entry["subset"], entry["split"], Path(folder) / PROTOCOL / entry["folder"])


def _subsets(task: mteb.AbsTask) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """(subset, its splits, whether the data is nested by subset), for each subset that is evaluated."""
    from datasets import Dataset

    dataset: Mapping[str, Any] = task.dataset or {}
    if dataset and all(isinstance(value, Dataset) for value in dataset.values()):
        yield "default", dataset, False
        return
    for subset in task.hf_subsets:
        if subset not in dataset:
            raise InputError(f"{task.metadata.name}: subset {subset!r} is not in its data ({', '.join(dataset)})")
        yield subset, dataset[subset], True


def _write_asked(task: Any, subset: str, split: str, folder: Path) -> None:
    """What mteb decides of a task that it scores by its base classes: texts of queries, rows that experiments draw."""
    rows = rows_of_part(task, subset, split)
    folder.mkdir(parents=True, exist_ok=True)
    if is_retrieval(task):
        pq.write_table(pa.table({"text": query_texts(task, rows["queries"])}), folder / QUERY_TEXTS, compression="zstd")
    elif split == task.train_split:
        drawn = undersampled_rows(task, column(rows, task.label_column_name))
        pq.write_table(pa.table({"rows": drawn}), folder / DRAWS, compression="zstd")


def _training_splits(task: mteb.AbsTask) -> list[str]:
    split = getattr(task, "train_split", None)
    return [split] if isinstance(split, str) else []


def _write_rows(rows: Dataset, path: Path) -> None:
    features = json.dumps({"info": {"features": rows.features.to_dict()}})
    schema = rows.features.arrow_schema.with_metadata({b"huggingface": features.encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for some in slices(rows, ROW_GROUP):
            writer.write_table(some.with_format("arrow")[:].cast(schema))


def _write_retrieval(part: Mapping[str, Any], folder: Path) -> None:
    _write_rows(part["corpus"], folder / CORPUS)
    _write_rows(part["queries"], folder / QUERIES)
    queries: list[str] = column(part["queries"], "id")
    judged: Mapping[str, Mapping[str, int]] = part["relevant_docs"]
    order = list(dict.fromkeys([*(q for q in queries if q in judged), *sorted(judged)]))
    rows = [(query, document, judged[query][document]) for query in order for document in sorted(judged[query])]
    table = {"query-id": [r[0] for r in rows], "corpus-id": [r[1] for r in rows], "score": [int(r[2]) for r in rows]}
    pq.write_table(pa.table(table, schema=QRELS), folder / JUDGEMENTS, compression="zstd")
    ranked: Mapping[str, Sequence[str]] | None = part.get("top_ranked")
    if ranked is not None:
        order = list(dict.fromkeys([*(q for q in queries if q in ranked), *sorted(ranked)]))
        lists = {"query-id": order, "corpus-ids": [list(ranked[query]) for query in order]}
        pq.write_table(pa.table(lists, schema=_TOP_RANKED), folder / TOP_RANKED, compression="zstd")
