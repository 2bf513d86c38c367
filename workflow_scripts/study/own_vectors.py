"""The files of a variant's `vectors`: which of them hold what, for each task of the study.

Takes what the study says (a folder, or folders or files by task); leaves the files by what they hold, and the width that
their headers state. Looks at names and headers alone, so that a file of another type or width, or one cut short, is
refused before any job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workflow_scripts.command_line import InputError
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.names import names_in
from workflow_scripts.study.paths import is_folder
from workflow_scripts.study.references import refuse_wildcards
from workflow_scripts.study.sections.own_task import STEMS, SUFFIXES, existing_file, stem_of
from workflow_scripts.vector_headers import FORMATS, ONLY_VECTORS, Header, read_header

TOGETHER = (("documents", "queries"), ("train", "test"))
HELD = tuple(name for names in TOGETHER for name in names)
PAIRS = "pairs"  # beside documents and queries: what an adaptor is learned from
Given = str | Mapping[str, str | Mapping[str, str]]


def files_by_task(given: Given, tasks: Sequence[str], key: str) -> dict[str, dict[str, Path]]:
    """The files of each task by what they hold: `documents` and `queries`, or `train` and `test`. `key` is where the study
    says so. Raises StudyError for a task that has none, and for a folder or file that is not there."""
    by_task = _by_task(given, tasks, key)
    return {task: _files(by_task[task], f"{key}.{task}") for task in tasks}


def pairs_by_task(given: Given, files: Mapping[str, Mapping[str, Path]], key: str) -> dict[str, Path]:
    """The file of pairs of each task of retrieval that has one; `files`: as `files_by_task` found them. Raises StudyError
    where no task has one."""
    by_task = _by_task(given, list(files), key)
    found = {
        task: path
        for task, of_task in files.items()
        if "documents" in of_task and (path := _pairs(by_task[task], f"{key}.{task}"))
    }
    if not found:
        raise StudyError(
            f"{key}: no pairs of their rows, from which `adaptor: linear` learns; expected pairs.tsv (query-id, corpus-id) or qrels/train.tsv beside documents and queries"
        )
    return found


def _by_task(given: Given, tasks: Sequence[str], key: str) -> Mapping[str, str | Mapping[str, str]]:
    if isinstance(given, str) or set(given) & set(HELD):
        if len(tasks) != 1:
            raise StudyError(
                f"{key}: the vectors of one task, but the study has {len(tasks)} ({', '.join(tasks)}); give a folder for each: {{{tasks[0]}: path}}"
            )
        given = {tasks[0]: given}  # type: ignore[dict-item]
    for name in given:
        if name not in tasks:
            raise StudyError(f"{key}.{name}: is not a task of the study; its tasks are {', '.join(tasks)}")
    if missing := [task for task in tasks if task not in given]:
        raise StudyError(f"{key}: no vectors of {missing[0]!r}; give them, or take the task out of `tasks`")
    return given


def _files(given: str | Mapping[str, str], key: str) -> dict[str, Path]:
    if isinstance(given, str):
        found = _files_of_folder(Path(given), key)
    else:
        found = {name: Path(path) for name, path in given.items()}
        if sorted(found) not in [sorted(names) for names in (*TOGETHER, (*TOGETHER[0], PAIRS))]:
            raise StudyError(
                f"{key}: found {' and '.join(found) or 'nothing'}; expected documents and queries (and pairs), or train and test"
            )
        found.pop(PAIRS, None)
    for path in found.values():
        refuse_wildcards(str(path), key)
    return found


def _pairs(given: str | Mapping[str, str], key: str) -> Path | None:
    if isinstance(given, str):
        folder = Path(given)
        named = [*((path, PAIRS) for path in folder.iterdir()), *((path, "train") for path in folder.glob("qrels/*"))]
        files = sorted(path for path, stem in named if path.name.endswith(SUFFIXES) and stem_of(path) == stem)
    else:
        files = [existing_file(Path(given[PAIRS]), PAIRS)] if PAIRS in given else []
    if len(files) > 1:
        raise StudyError(f"{key}: both {files[0]} and {files[1]} hold {PAIRS}; keep one")
    for path in files:
        refuse_wildcards(str(path), key)
    return next(iter(files), None)


def _files_of_folder(folder: Path, key: str) -> dict[str, Path]:
    if not is_folder(folder):
        raise StudyError(
            f"{key}: {str(folder)!r} is no folder here; expected one with documents and queries, or train and test ({', '.join(FORMATS)})"
        )
    here = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS)
    found: dict[str, Path] = {}
    for name in HELD:
        files = [path for path in here if path.stem in STEMS[name]]
        if len(files) > 1:
            raise StudyError(f"{key}: both {files[0]} and {files[1]} hold {name}; keep one")
        found |= dict.fromkeys([name], files[0]) if files else {}
    for names in TOGETHER:
        if set(names) <= set(found):
            return {name: found[name] for name in names}
    raise StudyError(
        f"{key}: {folder} holds {names_in(folder)}; expected documents and queries, or train and test ({', '.join(FORMATS)})"
    )


def refuse_other_numbers(of_task: Mapping[str, Path], files: Mapping[str, Path], key: str) -> None:
    """Raises StudyError where the task's own documents or queries are vectors too, of another number than these."""
    for name, path in files.items():
        other = of_task.get(name)
        if other is None or other.suffix not in ONLY_VECTORS:
            continue
        here, there = _header(path, key), _header(other, "tasks")
        if here and there and here.rows != there.rows:
            raise StudyError(
                f"{key}: {path} has {here.rows:,} rows, the task's {other} has {there.rows:,}; one for each is expected"
            )


def width_of_files(files: Mapping[str, Mapping[str, Path]], declared: int | None, key: str, width_key: str) -> int:
    """The width that all files agree on. Raises StudyError where they do not, or where no header states one and none is
    declared (.parquet and .arrow say it only when they are read)."""
    widths: dict[Path, int] = {}
    for task, of_task in files.items():
        for path in of_task.values():
            if (header := _header(path, f"{key}.{task}")) is not None:
                widths[path] = header.width
    for path, width in widths.items():
        first, expected = next(iter(widths.items()))
        if width != expected:
            raise StudyError(
                f"{key}: {path} has {width} coordinates a row, {first} has {expected}; one model gives one width"
            )
        if declared not in (None, width):
            raise StudyError(f"{width_key}: {declared} was given, but {path} has {width} coordinates a row")
    found = next(iter(widths.values()), declared)
    if found is None:
        raise StudyError(f"{width_key}: missing; .parquet and .arrow state no width before they are read")
    return found


def rows_of_files(files: Iterable[Path], width: int) -> int:
    """How many vectors the files hold. Of .parquet and .arrow, which say it only when they are read: as many float32 vectors
    of that width as would fill them."""
    headers = {path: read_header(path) for path in files}
    return sum(header.rows if header else path.stat().st_size // (4 * width) for path, header in headers.items())


def _header(path: Path, key: str) -> Header | None:
    try:
        return read_header(path)
    except InputError as error:
        raise StudyError(f"{key}: {error}") from None
