"""Real evaluation tasks made from the shared data, and stores of their texts, for the tests and the benchmarks."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from workflow_scripts.evaluation.own_tasks import METRICS, Described, is_judged
from workflow_scripts.evaluation.plain_tasks import load_plain
from workflow_scripts.store import Store, StoreWriter, keys_of, open_store
from workflow_scripts.tasks.prepare import texts_of
from workflow_scripts.tasks.save import save_task


def described(name: str, kind: str, metric: str, **more: Any) -> TaskMetadata:
    fields: dict[str, Any] = {
        "name": name,
        "description": name,
        "dataset": {"path": f"org/{name}", "revision": "0" * 40},
        "type": kind,
        "eval_langs": ["eng-Latn"],
        "main_score": metric,
    }
    return TaskMetadata(**(fields | more))


def classification_task(
    folder: Path, per_label: int = 8, trains: int | None = None, tests: int | None = None
) -> AbsTaskClassification:
    """A classification task from a folder of the shared data, its data loaded; of `trains` and `tests` rows drawn
    with a seed, where given."""

    class Task(AbsTaskClassification):
        metadata = described(f"Shared{folder.name.title().replace('_', '')}", "Classification", "accuracy")
        samples_per_label = per_label

    task = Task()
    splits = {}
    for split, count in (("train", trains), ("test", tests)):
        rows = pq.read_table(folder / f"{split}.parquet").to_pydict()
        order = np.random.default_rng(0).permutation(len(rows["text"]))
        chosen = range(len(order)) if count is None else sorted(order[:count].tolist())
        splits[split] = Dataset.from_dict({key: [rows[key][i] for i in chosen] for key in ("text", "label")})
    task.dataset = DatasetDict(splits)
    task.data_loaded = True
    return task


def retrieval_task(folder: Path, ignore_same: bool = False) -> AbsTaskRetrieval:
    """A retrieval task from a folder of the shared data, its data loaded."""
    corpus = pq.read_table(folder / "corpus.parquet").to_pydict()
    queries = pq.read_table(folder / "queries.parquet").to_pydict()
    judged: dict[str, dict[str, int]] = {}
    for row in pq.read_table(folder / "qrels.parquet").to_pylist():
        judged.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    return own_retrieval_task(
        f"Shared{folder.name.title().replace('_', '')}",
        {"id": corpus["_id"], "title": corpus["title"], "text": corpus["text"]},
        {"id": queries["_id"], "text": queries["text"]},
        judged,
        ignore_same,
    )


def own_classification_task(name: str, train: list[tuple[str, int]], test: list[tuple[str, int]]) -> Any:
    class Task(AbsTaskClassification):
        metadata = described(name, "Classification", "accuracy")

    task = Task()
    splits = {"train": train, "test": test}
    task.dataset = DatasetDict(
        {
            split: Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
            for split, rows in splits.items()
        }
    )
    task.data_loaded = True
    return task


def own_retrieval_task(
    name: str,
    corpus: dict[str, list[str]],
    queries: dict[str, list[str]],
    judged: dict[str, dict[str, int]],
    ignore_same: bool = False,
) -> AbsTaskRetrieval:
    class Task(AbsTaskRetrieval):
        metadata = described(name, "Retrieval", "ndcg_at_10")
        ignore_identical_ids = ignore_same

    task = Task()
    part: Any = {
        "corpus": Dataset.from_dict(corpus),
        "queries": Dataset.from_dict(queries),
        "relevant_docs": judged,
        "top_ranked": None,
    }
    task.dataset = {"default": {"test": part}}
    task.data_loaded = True
    return task


def saved(task: Any) -> Any:
    """The task as scoring reads it, from a folder that is gone when Python ends: a plain one, or the very object where mteb alone can
    score it."""
    folder = Path(tempfile.mkdtemp(prefix="task-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    metadata = task.metadata
    own = None
    if metadata.type in METRICS:  # so that mteb's object can be made again
        facts = {"name": metadata.name, "type": metadata.type, "dataset": "test", "revision": metadata.revision}
        own = Described(**facts, judged=is_judged(task))
    save_task(task, folder, own)
    return load_plain(folder) or task


def store_of(task: Any, folder: Path, encode: Any) -> Store:
    """A store of every text of the task; `encode` maps a list of texts to (texts, width) float32."""
    texts = list(texts_of(task))
    keys = np.array([keys_of([text], prompt_type)[0] for prompt_type, text, _ in texts], dtype=np.uint64)
    vectors = np.asarray(encode([text for _, text, _ in texts]), dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    writer = StoreWriter(folder, keys, vectors.shape[1], "test")
    for shard, (start, stop) in enumerate(writer.ranges):
        writer.write(shard, vectors[start:stop])
    writer.finish()
    return open_store(folder)


def hashed(texts: list[str], width: int = 32) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of hashed words: cheap, the same for the same text, and near for texts that share words."""
    vectors = np.zeros((len(texts), width), dtype=np.float32)
    table = np.random.default_rng(0).standard_normal((4099, width)).astype(np.float32)
    for row, text in enumerate(texts):
        words = text.lower().split()
        if words:
            vectors[row] = table[(keys_of(words) % np.uint64(len(table))).astype(np.int64)].sum(axis=0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, np.float32(1e-12))
    return vectors
