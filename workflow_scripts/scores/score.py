"""All scores of one model on one task: every codec and search, from embeddings encoded once.

Takes a task's folder, the store of its texts' embeddings and, where something is fitted, that of the training
texts. Leaves `<task>.parquet`, `<task>.values.parquet` (what each score is the mean of), `<task>.search.parquet`,
`<task>.fitted.safetensors` (what the codecs were fitted to), and `<task>.mteb.json` (all that mteb reports of the codecs
that it has a name for, which `mteb_results` puts into its layout). One process does all of it, since a job that does one
dimension spends most of its life importing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts import command_line, search_grid
from workflow_scripts.artefact import Progress, digest_of_file, exclusive_lock, log, read_json
from workflow_scripts.codecs import grid
from workflow_scripts.coding import state
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.held_out import hold_out, leave_out_queries, load_for_own_vectors
from workflow_scripts.evaluation.plain_tasks import PlainTask, RetrievalTask, load_plain
from workflow_scripts.scores.by_task_type import score_task
from workflow_scripts.scores.mteb_files import ENDING, TaskFacts, write_mteb_file
from workflow_scripts.scores.scored import Scored, SearchScored
from workflow_scripts.scores.tables import write_tables
from workflow_scripts.scratch import staged_copy
from workflow_scripts.store import FILE, open_store
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.own_task import NOT_JUDGED
from workflow_scripts.study.sections.search import Search

DIGEST = "embeddings.sha256"


class Settings(command_line.Settings):
    study: str
    model: str
    seed: int
    task: str
    dimensions: list[int]
    codecs: Codecs
    search: Search
    held_out: int = 0
    held_out_seed: int = 0
    fit_on_held_out: bool = False
    learned_from: tuple[str, ...] = ()  # files of pairs, whose queries are not searched


def score(settings: Settings, task_folder: Path, embeddings: Path, training_texts: Path | None, output: Path) -> None:
    started = time.monotonic()
    store = open_store(embeddings)
    for dim in settings.dimensions:
        if not 1 <= dim <= store.width:
            raise InputError(
                f"dimension {dim} does not fit {embeddings}: its vectors are {store.width} wide; it is another model's store"
            )
    training = None
    of_part = bool(settings.held_out or settings.learned_from)  # of the task
    task: Any = load_for_own_vectors(task_folder) if of_part else load(task_folder)
    if settings.learned_from:
        task, words = leave_out_queries(task, [Path(path) for path in settings.learned_from])
        log.info("%s: %s", settings.task, words)
    if settings.held_out:
        held = hold_out(task, settings.held_out, settings.held_out_seed)
        task = held.task
        log.info("%s: %s", settings.task, held.words)
        if settings.fit_on_held_out:
            training = np.asarray(store.vectors[store.rows_of(held.texts, held.prompt_type)], dtype=np.float32)
    if training_texts is not None:
        training = np.asarray(open_store(training_texts).vectors, dtype=np.float32)
    fitted = Fitted(store.width, training, settings.codecs.clip, unit=isinstance(task, RetrievalTask))
    codecs = grid(settings.codecs, settings.dimensions, store.width)
    wanted = search_grid.grid(settings.search, store.width)
    scored: list[Scored] = []
    searched: list[SearchScored] = []
    with Progress(f"score {settings.task}", len(codecs), "codecs") as progress:
        for one in score_task(task, store, fitted, codecs, wanted):
            if isinstance(one, SearchScored):
                searched.append(one)
                continue
            scored.append(one)
            progress.add(1, f"{one.codec.name}: {one.score:.4f}")
    facts = facts_of(task)
    described = {
        "study": settings.study,
        "variant": settings.model,
        "seed": settings.seed,
        "task": settings.task,
        "task_type": facts.task_type,
        "metric": facts.main_score,
    }
    # scores of a part of a task are not mteb's
    write_mteb_file([] if of_part else scored, facts, store.width, output.with_suffix(ENDING))
    write_tables(scored, searched, described, output)
    of_searches = [codec for one in wanted if searched for codec in one.codecs]
    on = "" if training_texts is None else digest_of_file(training_texts / DIGEST)
    state.save(output.with_suffix(".fitted.safetensors"), fitted, [*codecs, *of_searches], on)
    log.info(
        "%s: %d codecs and %d searches in %.1f s",
        settings.task,
        len(scored),
        len(searched),
        time.monotonic() - started,
    )


def load(folder: Path) -> Any:
    """The task in `folder`: a plain one, or mteb's own object where mteb alone can score it. Raises InputError."""
    if (plain := load_plain(folder)) is not None:
        return plain
    from workflow_scripts.evaluation.task_files import load_task

    return load_task(folder)


def facts_of(task: Any) -> TaskFacts:
    """What the tables and mteb's results say of a task, plain or mteb's own."""
    if isinstance(task, PlainTask):
        judged = not isinstance(task, RetrievalTask) or task.judged
        return TaskFacts(task.name, task.type if judged else NOT_JUDGED, task.main_score, task.revision, task.languages)
    metadata = task.metadata
    return TaskFacts(
        metadata.name, metadata.type, metadata.main_score, metadata.revision, metadata.hf_subsets_to_langscripts
    )


def check_model(settings: Settings, folder: Path) -> None:
    """Raises InputError where the store in `folder` is another model's; a copy of a store has no manifest that says so."""
    manifest = folder / "embeddings.json"
    if manifest.exists() and (model := read_json(manifest)["model"]) != settings.model:
        raise InputError(f"{folder}: the store of model {model!r}, expected that of {settings.model!r}")


def main() -> None:
    parser = command_line.parser(
        __doc__,
        "study, model, seed, task, dimensions, codecs, search, and what is held out to fit own vectors",
    )
    parser.add_argument("--task", required=True, type=Path, help="task.sha256 in the task's folder")
    parser.add_argument("--embeddings", required=True, type=Path, help="embeddings.sha256 in the store's folder")
    parser.add_argument(
        "--training-texts", nargs="?", default="", const="", help="the same of the training texts' store; empty: none"
    )
    parser.add_argument("--output", required=True, type=Path, help="<study>/scores/<model>/s<seed>/<task>.parquet")
    parser.add_argument(
        "--scratch", type=int, choices=[0, 1], default=0, help="1: read the store from a copy in $TMPDIR"
    )
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"

    def work() -> None:
        settings = command_line.parse_settings(Settings, arguments.settings)
        check_model(settings, arguments.embeddings.parent)
        training = Path(arguments.training_texts).parent if arguments.training_texts else None
        with (
            exclusive_lock(arguments.output),
            staged_copy(arguments.embeddings, FILE, copy=bool(arguments.scratch)) as embeddings,
        ):
            score(settings, arguments.task.parent, embeddings.parent, training, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
