"""mteb's task objects: which one a name means, what its data consists of, and what it will ask an encoder for.

Takes names and loaded tasks; leaves mteb's tasks, their rows and texts. Which text stands for a document and which rows of a training split
an experiment draws is said here once: `tasks` lists these texts, and `scores` looks them up.

Nothing here touches `task.metadata.dataset`: mteb shares it between all instances of a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.plain_tasks import Part, texts_of_documents
from workflow_scripts.evaluation.wordnet_tasks import embedded_classes
from workflow_scripts.study.catalogue import task_catalogue

if TYPE_CHECKING:
    import mteb
    from datasets import Dataset

BENCHMARKS = ("MTEB(eng, v2)", "MTEB(eng, v1)", "NanoBEIR")
EMBEDDED = ("WordNetLexicographerFiles", "WordNetExamples")


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


def fresh_state(task: mteb.AbsTask) -> None:
    """Set the task's random state back to that of a new one. Clustering draws from it as it is evaluated, so a task
    evaluated a second time would score other draws."""
    from mteb._set_seed import _set_seed

    task.rng_state, task.np_rng = _set_seed(task.seed)


def is_retrieval(task: mteb.AbsTask) -> bool:
    """Whether the task's data is corpus, queries and judgements (so for reranking too)."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    return isinstance(task, AbsTaskRetrieval)


# ---- its data, and what it asks an encoder for


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
    """The text that stands for each document, as mteb makes it."""
    titles = column(corpus, "title") if "title" in corpus.column_names else None
    return texts_of_documents(column(corpus, "text"), titles)


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
