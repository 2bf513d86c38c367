"""mteb's own object of an evaluation task, from its folder.

Takes a task's folder, as `tasks/save.py` wrote it; leaves the same mteb task, with its data in it, offline: what a task that mteb
alone can score needs. `plain_tasks` reads the others without mteb.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workflow_scripts.artefact import digest_of_text
from workflow_scripts.evaluation.mteb_tasks import column, is_retrieval, new_task, rows_of_part
from workflow_scripts.evaluation.own_tasks import Described, own_task
from workflow_scripts.evaluation.plain_tasks import (
    CORPUS,
    DATA,
    LAYOUT,
    QUERIES,
    ROW_GROUP,
    ROWS,
    TOP_RANKED,
    RetrievalTask,
    batches_of,
    opened,
    read_judgements,
    read_parquet,
    read_written,
)

if TYPE_CHECKING:
    import mteb
    from datasets import Dataset


def load_task(folder: str | Path) -> mteb.AbsTask:
    """The mteb task that was saved in `folder`, its data loaded, fresh (its random state as mteb makes it).

    Raises InputError naming the file where something is missing or not readable.
    """
    data = Path(folder) / DATA
    layout = read_written(data / LAYOUT)
    task = own_task(Described(**layout["own"])) if "own" in layout else new_task(layout["name"])
    task.hf_subsets = list(layout["hf_subsets"])
    task.filter_eval_splits(list(layout["eval_splits"]))
    dataset: dict[str, Any] = {}
    for entry in layout["entries"]:
        place = data / entry["folder"]
        loaded = _read_retrieval(place) if is_retrieval(task) else _read_rows(place / ROWS)
        holder = dataset.setdefault(entry["subset"], {}) if entry["nested"] else dataset
        holder[entry["split"]] = loaded
    if is_retrieval(task):
        task.dataset = dataset
    else:
        from datasets import DatasetDict

        nested = any(entry["nested"] for entry in layout["entries"])
        task.dataset = {k: DatasetDict(v) for k, v in dataset.items()} if nested else DatasetDict(dataset)
    task.data_loaded = True
    return task


def as_mteb(task: RetrievalTask) -> mteb.AbsTask:
    """The mteb task of a plain one, with the queries and documents that are searched."""
    loaded = load_task(task.folder)
    for collection in task.parts:
        rows = rows_of_part(loaded, collection.part.subset, collection.part.split)
        if collection.searched is not None:
            rows["corpus"] = rows["corpus"].select(collection.searched.nonzero()[0])
        kept = set(collection.query_ids)
        rows["queries"] = rows["queries"].select([i for i, q in enumerate(column(rows["queries"], "id")) if q in kept])
    return loaded


def _read_rows(path: Path) -> Dataset:
    """The rows of a file: in memory, or, of more than a row group, mapped from an uncompressed copy without a name, which
    takes room in $TMPDIR for as long as they are used. The fingerprint is given: computing one fails where a column has over
    2 GiB of text."""
    from datasets import Dataset

    with opened(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
    if rows <= ROW_GROUP:
        return Dataset(read_parquet(path), fingerprint=digest_of_text(str(path.absolute())))
    with tempfile.NamedTemporaryFile(suffix=".arrow") as copy:
        with pa.ipc.new_stream(copy, schema) as writer:
            for some in batches_of(path, schema.names):
                writer.write_batch(some)
        copy.flush()
        return Dataset.from_file(copy.name)


def _read_retrieval(folder: Path) -> dict[str, Any]:
    ranked = None
    if (folder / TOP_RANKED).exists():
        table = read_parquet(folder / TOP_RANKED)
        ranked = dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))
    return {
        "corpus": _read_rows(folder / CORPUS),
        "queries": _read_rows(folder / QUERIES),
        "relevant_docs": read_judgements(folder),
        "top_ranked": ranked,
    }
