"""One evaluation task, copied to this disk so that every later job runs offline.

Takes the task's name, or files of the user's own; leaves its folder: `data/`, `texts.parquet` (each distinct text that mteb will ask an encoder
for, and whether it is one that training must not have seen), `task.json` and `task.sha256`; and `protocol/` with `protocol.sha256`, on which scores
depend, and no encoding. The hub is asked for
the revision that mteb pins; WordNet's two tasks are made from the files that a package carries.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.artefact import (
    atomic_folder,
    digest_of_file,
    exclusive_lock,
    log,
    versions,
    write_digests,
    write_json,
)
from workflow_scripts.command_line import InputError, Settings, first_line, parse_settings, parser, run
from workflow_scripts.evaluation.mteb_tasks import (
    EMBEDDED,
    column,
    document_texts,
    is_retrieval,
    new_task,
    parts,
    query_texts,
    rows_of_part,
    slices,
    undersampled_rows,
)
from workflow_scripts.evaluation.own_tasks import Described, is_judged
from workflow_scripts.evaluation.plain_tasks import DATA, DOCUMENT, PROTOCOL, QUERY, ROW_GROUP, TRAIN, Part
from workflow_scripts.hub.cache import load_checked
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.tasks.own import described, load_own
from workflow_scripts.tasks.save import save_task

if TYPE_CHECKING:
    import mteb

Text = tuple[str, str, bool]  # prompt type, text, whether it is a text of evaluation
TEXTS = pa.schema([("prompt_type", pa.string()), ("text", pa.string()), ("evaluation", pa.bool_())])
TEXTS_AT_ONCE = 50_000  # texts that are Python objects at a time
DIGEST_BYTES = 16


class TaskSettings(Settings):
    task: str
    own: OwnTask | None = None
    texts: bool = True


def load(name: str) -> mteb.AbsTask:
    """The task with its data: from the hub at mteb's pinned revision, or from WordNet's files.

    Raises InputError.
    """
    task = new_task(name)
    if name in EMBEDDED:
        _fill_from_wordnet(task)
        return task
    dataset = task.metadata.dataset
    with _mteb_reads(task):
        load_checked(lambda: task.load_data(), dataset["path"], dataset["revision"])
        if is_retrieval(task):
            # Some tasks still load corpus, queries and judgements apart; mteb joins them when it evaluates.
            retrieval: Any = task
            retrieval.convert_v1_dataset_format_to_v2(num_proc=None)
    return task


@contextlib.contextmanager
def _mteb_reads(task: Any) -> Iterator[None]:
    """Turn what mteb and datasets raise over data that is not as they expect (a column or split that is missing, an
    unreadable file) into one line: no new try mends it."""
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        dataset = task.metadata.dataset
        where = f"{task.metadata.name}: the data in {dataset['path']}@{dataset['revision']}"
        raise InputError(f"{where} is not as mteb expects it ({type(error).__name__}: {first_line(error)})") from error


def _fill_from_wordnet(task: Any) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    from workflow_scripts.evaluation import wordnet

    if is_retrieval(task):
        documents, queries, judged = wordnet.retrieval_rows()
        test = {
            "corpus": Dataset.from_dict({"id": list(documents), "text": list(documents.values())}),
            "queries": Dataset.from_dict({"id": list(queries), "text": list(queries.values())}),
            "relevant_docs": judged,
            "top_ranked": None,
        }
        task.dataset = {"default": {"test": test}}
    else:
        rows = wordnet.classification_rows()
        names = sorted({label for split in rows.values() for _, label in split})
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        task.dataset = DatasetDict(
            {
                split: Dataset.from_dict(
                    {"text": [text for text, _ in pairs], "label": [names.index(label) for _, label in pairs]},
                    features=features,
                )
                for split, pairs in rows.items()
            }
        )
    task.data_loaded = True


def texts_of(task: Any) -> Iterator[Text]:
    """Each distinct (prompt type, text) that mteb will ask an encoder for, in order of appearance.

    A text is of evaluation when it is a test text, a query or a relevant document anywhere in the task. Documents are
    read twice, a slice at a time, and never all held: 17 bytes of each are kept in between.
    Raises InputError for a column or text that is missing (null), naming the subset and split.
    """
    from mteb.abstasks.classification import AbsTaskClassification

    read: Callable[[], Iterable[Text]]
    if is_retrieval(task):
        read = partial(_retrieval_texts, task)
    elif isinstance(task, AbsTaskClassification) and isinstance(task.input_column_name, str):
        read = partial(iter, list(_classification_texts(task)))
    else:
        read = partial(iter, _recorded_texts(task))
    digests, evaluations = bytearray(), bytearray()
    for prompt_type, text, evaluation in read():
        if not isinstance(text, str):
            raise InputError(f"{task.metadata.name}: found {text!r} for a {prompt_type or 'text'}, expected a string")
        content, kind = text.encode("utf-8", "surrogatepass"), prompt_type.encode()
        digests += blake2b(content, digest_size=DIGEST_BYTES, person=kind).digest()
        evaluations.append(evaluation)
    first, evaluated = _first_of_each(digests, evaluations)
    return (
        (prompt_type, text, bool(evaluation))
        for (prompt_type, text, _), is_first, evaluation in zip(read(), first, evaluated, strict=True)
        if is_first
    )


def _first_of_each(digests: bytearray, evaluations: bytearray) -> tuple[bytes, bytes]:
    """For each text, in its order, by the digests (16 bytes each) and flags of all: 1 where it appears for the first
    time, and there 1 where any appearance of it is of evaluation."""
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equal texts the first stays first
    first, evaluated = np.zeros((2, len(order)), dtype=np.uint8)
    if len(order):
        halves = halves[order]
        starts = np.flatnonzero(np.append(True, (halves[1:] != halves[:-1]).any(axis=1)))
        first[order[starts]] = 1
        evaluated[order[starts]] = np.maximum.reduceat(np.frombuffer(evaluations, dtype=np.uint8)[order], starts)
    return first.tobytes(), evaluated.tobytes()


def write_texts(texts: Iterator[Text], path: Path) -> tuple[int, int]:
    """Write `texts.parquet`, one row group in memory at a time; leaves the number of texts, and of those of evaluation."""
    count = evaluated = 0
    with pq.ParquetWriter(path, TEXTS, compression="zstd") as writer:
        while rows := _row_group(texts):
            writer.write_table(rows)
            count += len(rows)
            evaluated += pc.sum(rows.column("evaluation")).as_py()
    return count, evaluated


def _row_group(texts: Iterator[Text]) -> pa.Table:
    """The next rows of texts.parquet, at most as many as parquet puts into a row group."""
    tables = [TEXTS.empty_table()]
    left = ROW_GROUP
    while left and (some := list(islice(texts, min(TEXTS_AT_ONCE, left)))):
        columns = {field: [row[i] for row in some] for i, field in enumerate(TEXTS.names)}
        tables.append(pa.table(columns, schema=TEXTS))
        left -= len(some)
    return pa.concat_tables(tables).combine_chunks()


def _refuse_missing(task: Any, part: Part, rows: Any, *names: str) -> None:
    """Raises InputError for a column that is not there, or a value of it that is null."""
    where = f"{task.metadata.name}, {part.subset!r} {part.split!r}"
    for name in names:
        if name not in rows.column_names:
            raise InputError(f"{where}: column {name!r} is missing, found {', '.join(rows.column_names)}")
        first = 0
        for some in slices(rows.select_columns([name]), ROW_GROUP):
            values = some.with_format("arrow")[:].column(name)
            if values.null_count:
                row = first + pc.index(pc.is_null(values), True).as_py()
                raise InputError(f"{where}: row {row}: {name!r} is missing (null); expected a value")
            first += len(some)


def _retrieval_texts(task: Any) -> Iterable[Text]:
    for part in parts(task):
        rows = rows_of_part(task, part.subset, part.split)
        _refuse_missing(task, part, rows["corpus"], "id", "text")
        _refuse_missing(task, part, rows["queries"], "id", "text")
        judged = rows["relevant_docs"]
        relevant = {document for scores in judged.values() for document, score in scores.items() if score > 0}
        corpus = rows["corpus"]
        for documents in slices(corpus, TEXTS_AT_ONCE):
            for identifier, text in zip(column(documents, "id"), document_texts(documents), strict=True):
                yield DOCUMENT, text, identifier in relevant
        for identifier, text in zip(column(rows["queries"], "id"), query_texts(task, rows["queries"]), strict=True):
            if judged.get(identifier) or not is_judged(task):
                yield QUERY, text, True


def _classification_texts(task: Any) -> Iterable[Text]:
    for part in parts(task):
        train = rows_of_part(task, part.subset, task.train_split)
        test = rows_of_part(task, part.subset, part.split)
        for split, rows in ((task.train_split, train), (part.split, test)):
            _refuse_missing(task, Part(part.subset, split), rows, task.input_column_name, task.label_column_name)
        texts = column(train, task.input_column_name)
        if task.is_cross_validation:
            yield from ((TRAIN, text, True) for text in texts)
            continue
        drawn = undersampled_rows(task, column(train, task.label_column_name))
        yield from ((TRAIN, texts[row], False) for row in sorted(set().union(*drawn)))
        yield from ((TRAIN, text, True) for text in column(test, task.input_column_name))


def _recorded_texts(task: Any) -> list[Text]:
    """What mteb's own evaluation asks for, written down by an encoder that answers with small vectors."""
    import mteb

    from workflow_scripts.evaluation.mteb_tasks import fresh_state
    from workflow_scripts.tasks.recording import RecordingEncoder

    fresh_state(task)
    encoder: Any = RecordingEncoder()
    with _mteb_reads(task):
        mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False)
    fresh_state(task)
    return [(prompt_type, text, True) for prompt_type, text in encoder.texts]


def chance(task: Any) -> float | None:
    """The score of guessing: for accuracy one over the number of classes that the classifier learns from and so guesses
    among, those of the training split (mean over subsets); else undefined."""
    if task.metadata.type != "Classification" or task.metadata.main_score != "accuracy":
        return None
    shares = []
    for part in parts(task):
        train = rows_of_part(task, part.subset, task.train_split)
        shares.append(1.0 / max(1, len(set(column(train, task.label_column_name)))))
    return sum(shares) / len(shares)


def prepare(name: str, folder: Path, entry: OwnTask | None = None, with_texts: bool = True) -> None:
    """Make the task's folder; `entry`: the files of a task of the user's own, `with_texts`: whether any model will encode
    its texts. Raises InputError."""
    started = time.monotonic()
    own: Described | None = None
    if entry is not None:
        files = entry.files()
        own = described(entry, files, with_texts)
    task = load(name) if own is None else load_own(own, files, with_texts)
    with atomic_folder(folder) as part:
        texts, evaluated = write_texts(texts_of(task), part / "texts.parquet")
        if not evaluated:
            raise InputError(f"{name}: nothing to evaluate, expected at least one test text or judged query")
        save_task(task, part, own)
        write_digests(
            part / "task.sha256",
            [*sorted(file for file in (part / DATA).rglob("*") if file.is_file()), part / "texts.parquet"],
        )
        write_digests(part / "protocol.sha256", sorted(f for f in (part / PROTOCOL).rglob("*") if f.is_file()))
        dataset = own.model_dump() if own is not None else task_catalogue().get(name, {})
        write_json(
            part / "task.json",
            {
                "name": name,
                "type": task.metadata.type,
                "metric": task.metadata.main_score,
                "chance": chance(task),
                "dataset": dataset.get("dataset") or "wordnet",
                "revision": dataset.get("revision") or "3.0",
                "splits": list(task.eval_splits),
                "subsets": list(task.hf_subsets),
                "texts": texts,
                "texts_sha256": digest_of_file(part / "texts.parquet"),
                "seconds": round(time.monotonic() - started, 3),
                "versions": versions("mteb", "datasets", "pyarrow"),
            },
        )
    log.info("%s: %d distinct texts, %.1f s", name, texts, time.monotonic() - started)


def main() -> None:
    command = parser(
        __doc__,
        '{"task": NAME, "own": the entry of `tasks` that names its files, "texts": whether any model encodes them}',
    )
    command.add_argument(
        "--output", required=True, type=Path, help="the task's manifest, <study>/tasks/<task>/task.json"
    )
    arguments = command.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    settings = parse_settings(TaskSettings, arguments.settings)
    with exclusive_lock(arguments.output.parent):
        prepare(settings.task, arguments.output.parent, settings.own, settings.texts)


if __name__ == "__main__":
    run(main)
