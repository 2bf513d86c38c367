"""An evaluation task on disk, and back: what the rooms `tasks` and `scores` share.

Takes an mteb task whose data is loaded; leaves `data/` (parquet, and `layout.json` that says which file is which
subset and split) in the task's folder; `load_task` gives the same mteb task back with its data in it, offline.
Also here: what mteb will ask an encoder for (which text stands for a document,
which rows of a training split its ten experiments draw), since `tasks` lists those texts and `scores` looks them up.

Nothing here touches `task.metadata.dataset`: mteb shares it between all instances of a class.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.artefact import digest_of_text, read_json, write_json
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_tasks import Described, own_task
from workflow_scripts.evaluation.wordnet_tasks import embedded_classes
from workflow_scripts.study.catalogue import task_catalogue

if TYPE_CHECKING:
    import mteb
    from datasets import Dataset

BENCHMARKS = ("MTEB(eng, v2)", "MTEB(eng, v1)", "NanoBEIR")
EMBEDDED = ("WordNetLexicographerFiles", "WordNetExamples")
ROW_GROUP = 1 << 20  # rows of a parquet file that are in memory at once: what its writers take by default
ROWS_COPIED = 50_000
TRAIN = ""  # the prompt type of a text that is neither a query nor a document
QUERY, DOCUMENT = "query", "document"


@dataclass(frozen=True)
class Part:
    """One evaluated piece of a task: a subset and a split of it."""

    subset: str
    split: str


# ---- which task a name means


def new_task(name: str) -> mteb.AbsTask:
    """The mteb task of that name, without data: in the form in which an English benchmark holds it (its subsets and
    splits), or else its English subsets. Raises InputError for a name that is not in the catalogue."""
    import mteb

    if name in EMBEDDED:
        return embedded_classes()[name]()
    entry = task_catalogue().get(name)
    if entry is None:
        raise InputError(f"task {name!r} is not known; the names are in workflow_scripts/study/mteb_tasks.json")
    for benchmark in BENCHMARKS:
        if benchmark in entry["benchmarks"]:
            for task, _ in tasks_of(benchmark):
                if task.metadata.name == name:
                    fresh: mteb.AbsTask = type(task)()
                    fresh.hf_subsets = list(task.hf_subsets)
                    return fresh.filter_eval_splits(list(task.eval_splits))
    return mteb.get_task(name, languages=["eng"])


def tasks_of(benchmark: str) -> Iterator[tuple[Any, str | None]]:
    """The tasks that a benchmark evaluates, each with the aggregate task that it is a member of (CQADupstack's twelve
    forums), if any."""
    import mteb

    for task in mteb.get_benchmark(benchmark).tasks:
        if task.is_aggregate:
            metadata: Any = task.metadata
            yield from ((member, metadata.name) for member in metadata.tasks)
        else:
            yield task, None


# ---- writing and reading


def save_task(task: Any, folder: str | Path, own: Described | None = None) -> None:
    """Write the loaded data of `task` to `folder/data`: evaluated subsets and splits, and the split trained on. `own`: what
    there is to say of a task that mteb does not know.

    Raises InputError where there is nothing to evaluate.
    """
    data = Path(folder) / "data"
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
                _write_rows(splits[split], data / place / "rows.parquet")
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
    write_json(data / "layout.json", layout)


def load_task(folder: str | Path) -> mteb.AbsTask:
    """The mteb task that was saved in `folder`, its data loaded, fresh (its random state as mteb makes it).

    Raises InputError naming the file where something is missing or not readable.
    """
    data = Path(folder) / "data"
    layout_file = data / "layout.json"
    if not layout_file.is_file():
        raise InputError(f"{layout_file}: missing; make the task's folder again")
    layout = read_json(layout_file)
    task = own_task(Described(**layout["own"])) if "own" in layout else new_task(layout["name"])
    task.hf_subsets = list(layout["hf_subsets"])
    task.filter_eval_splits(list(layout["eval_splits"]))
    dataset: dict[str, Any] = {}
    for entry in layout["entries"]:
        place = data / entry["folder"]
        loaded = _read_retrieval(place) if is_retrieval(task) else _read_rows(place / "rows.parquet")
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


def fresh_state(task: mteb.AbsTask) -> None:
    """Set the task's random state back to that of a new one. Clustering draws from it as it is evaluated, so a task
    evaluated a second time would score other draws."""
    from mteb._set_seed import _set_seed

    task.rng_state, task.np_rng = _set_seed(task.seed)


def is_retrieval(task: mteb.AbsTask) -> bool:
    """Whether the task's data is corpus, queries and judgements (so for reranking too)."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    return isinstance(task, AbsTaskRetrieval)


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


def _training_splits(task: mteb.AbsTask) -> list[str]:
    split = getattr(task, "train_split", None)
    return [split] if isinstance(split, str) else []


def _write_rows(rows: Dataset, path: Path) -> None:
    features = json.dumps({"info": {"features": rows.features.to_dict()}})
    schema = rows.features.arrow_schema.with_metadata({b"huggingface": features.encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for some in slices(rows, ROW_GROUP):
            writer.write_table(some.with_format("arrow")[:].cast(schema))


def _read_rows(path: Path) -> Dataset:
    """The rows of a file: in memory, or, of more than a row group, mapped from an uncompressed copy without a name, which
    takes room in $TMPDIR for as long as they are used. The fingerprint is given: computing one fails where a column has over
    2 GiB of text."""
    from datasets import Dataset

    with _parquet(pq.ParquetFile, path) as file:
        if file.metadata.num_rows <= ROW_GROUP:
            return Dataset(_read_parquet(path), fingerprint=digest_of_text(str(path.absolute())))
        with tempfile.NamedTemporaryFile(suffix=".arrow") as copy:
            with pa.ipc.new_stream(copy, file.schema_arrow) as writer:
                for some in file.iter_batches(ROWS_COPIED):
                    writer.write_batch(some)
            copy.flush()
            return Dataset.from_file(copy.name)


def _read_parquet(path: Path) -> pa.Table:
    return _parquet(pq.read_table, path)


def _parquet(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not readable as parquet ({error}); make the task's folder again") from None


def _write_retrieval(part: Mapping[str, Any], folder: Path) -> None:
    _write_rows(part["corpus"], folder / "corpus.parquet")
    _write_rows(part["queries"], folder / "queries.parquet")
    queries: list[str] = column(part["queries"], "id")
    judged: Mapping[str, Mapping[str, int]] = part["relevant_docs"]
    order = list(dict.fromkeys([*(q for q in queries if q in judged), *sorted(judged)]))
    rows = [(query, document, judged[query][document]) for query in order for document in sorted(judged[query])]
    table = {"query-id": [r[0] for r in rows], "corpus-id": [r[1] for r in rows], "score": [int(r[2]) for r in rows]}
    pq.write_table(pa.table(table, schema=_QRELS), folder / "qrels.parquet", compression="zstd")
    ranked: Mapping[str, Sequence[str]] | None = part.get("top_ranked")
    if ranked is not None:
        order = list(dict.fromkeys([*(q for q in queries if q in ranked), *sorted(ranked)]))
        lists = {"query-id": order, "corpus-ids": [list(ranked[query]) for query in order]}
        pq.write_table(pa.table(lists, schema=_TOP_RANKED), folder / "top_ranked.parquet", compression="zstd")


_QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])
_TOP_RANKED = pa.schema([("query-id", pa.string()), ("corpus-ids", pa.list_(pa.string()))])


def _read_retrieval(folder: Path) -> dict[str, Any]:
    judged: dict[str, dict[str, int]] = {}
    columns = [_read_parquet(folder / "qrels.parquet").column(name).to_pylist() for name in _QRELS.names]
    for query, document, score in zip(*columns, strict=True):
        judged.setdefault(query, {})[document] = score
    ranked = None
    if (folder / "top_ranked.parquet").exists():
        table = _read_parquet(folder / "top_ranked.parquet")
        ranked = dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))
    return {
        "corpus": _read_rows(folder / "corpus.parquet"),
        "queries": _read_rows(folder / "queries.parquet"),
        "relevant_docs": judged,
        "top_ranked": ranked,
    }


# ---- what mteb asks an encoder for


def parts(task: mteb.AbsTask) -> list[Part]:
    """The evaluated subsets and splits, in mteb's order: splits outside, subsets inside."""
    return [Part(subset, split) for split in task.eval_splits for subset in task.hf_subsets]


def rows_of_part(task: mteb.AbsTask, subset: str, split: str) -> Any:
    """A Dataset, or for retrieval the mapping of corpus, queries, relevant_docs and top_ranked."""
    dataset: Any = task.dataset
    return dataset[split] if subset not in dataset and subset == "default" else dataset[subset][split]


def slices(rows: Dataset, size: int) -> Iterator[Dataset]:
    """The rows, so many at a time: a large corpus is never whole in memory."""
    return (rows.select(range(start, min(start + size, len(rows)))) for start in range(0, len(rows), size))


def column(rows: Dataset, name: str) -> list[Any]:
    """A column as a plain list. Indexing mteb's lazy columns row by row decodes them again each time."""
    values: list[Any] = rows.select_columns([name])[:][name]
    return values


def document_texts(corpus: Dataset) -> list[str]:
    """The text that stands for each document, as mteb makes it: title, space, text, without space at the ends."""
    texts = column(corpus, "text")
    if "title" not in corpus.column_names:
        return [text.strip() for text in texts]
    titles = column(corpus, "title")
    return [(title + " " + text).strip() if title else text.strip() for title, text in zip(titles, texts, strict=True)]


def query_texts(task: mteb.AbsTask, queries: Dataset) -> list[str]:
    """The text that stands for each query, instructions and conversations joined as mteb joins them."""
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    if len(queries) == 0:
        return []
    prepared: Any = create_dataloader(queries, task_metadata=task.metadata, prompt_type=PromptType.query).dataset
    return column(prepared, "text")


class _Labels:
    """What mteb's undersampling reads of a Dataset, over a plain list of labels."""

    def __init__(self, name: str, labels: list[Any]) -> None:
        self.name, self.labels = name, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, name: str) -> list[Any]:
        return self.labels

    def select(self, _rows: list[int]) -> None:
        return None


def undersampled_rows(task: Any, labels: list[Any]) -> list[list[int]]:
    """The rows of the training split that each experiment draws, by mteb's own draw, on plain labels."""
    stand_in = _Labels(task.label_column_name, labels)
    order = None
    drawn: list[list[int]] = []
    for experiment in range(task.n_experiments):
        _, order, rows = task._undersample_data(stand_in, experiment, order)
        drawn.append(rows)
    return drawn
