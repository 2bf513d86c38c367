"""Which files of a source hold pairs, and the task of those whose rows name none.

Takes a file, a folder, or the list of digests of a download. Leaves the files in the order of their names. Exists
because a folder of pairs has other files in it: manifests, a model's configuration, what `save_to_disk` writes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from workflow_scripts.artefact import log
from workflow_scripts.command_line import InputError

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
SHARD = re.compile(r"-\d{5}-of-\d{5}\Z")  # how datasets numbers the parts of one split
PARTITION_KEYS = ("task_name", "task_id", "task", "dataset")  # of a folder named KEY=VALUE (Hive's layout)
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
LONGEST_MANIFEST = 64 * 2**20  # bytes; a larger JSON file is taken for rows


@dataclass(frozen=True)
class PairsFile:
    """A file of pairs, and the task of its rows where they name none."""

    path: Path
    task: str


def pairs_files(source: Path) -> list[PairsFile]:
    """The files that hold pairs: the file itself; those in a folder and below; or those that `*.sha256` lists.

    Raises InputError where there are none.
    """
    if source.suffix == ".sha256":
        root, paths = source.parent, _listed(source)
    elif source.is_file():
        root, paths = source.parent, [source]
    elif source.is_dir():
        root = source
        paths = sorted(path for path in source.rglob("*") if path.is_file() and not _is_hidden(path, source))
    else:
        raise InputError(f"{source}: there is no such file or folder of pairs")
    candidates = paths = [path for path in paths if path.name.endswith(SUFFIXES)]
    if source != root / source.name or not source.is_file() or source.suffix == ".sha256":
        paths = [path for path in paths if not _is_manifest(path) and not _is_cached_copy(path)]
    if not paths:
        others = f"; {candidates[0].name} is one object without a query" if candidates else ""
        raise InputError(f"{source}: no pairs here; expected {', '.join(SUFFIXES)}{others}")
    return [PairsFile(path, task) for path, task in zip(paths, _tasks(paths, root), strict=True)]


def _listed(digests: Path) -> list[Path]:
    try:
        names = [line.split("  ", 1)[1] for line in digests.read_text().splitlines() if line]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{digests}: not a list of digests ({error}); run the download again") from None
    paths = [digests.parent / name for name in names]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file of pairs; run the download again")
    return paths


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _is_manifest(path: Path) -> bool:
    """Whether a JSON file among others is one object that says something else: not rows, and not a row."""
    if path.suffix != ".json" or not 0 < path.stat().st_size <= LONGEST_MANIFEST:
        return False
    with path.open("rb") as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return False
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False  # several lines of rows, or broken: reading it says which
    if "query" in content:
        return False
    log.info("%s: no pairs in it, left out", path.name)
    return True


def _is_cached_copy(path: Path) -> bool:
    """Whether an Arrow file is one that `map` or `filter` left beside the files of a data set that was saved to disk."""
    state = path.with_name("state.json")
    if path.suffix != ".arrow" or not state.is_file():
        return False
    try:
        names = [file["filename"] for file in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, RecursionError, LookupError, TypeError):
        return False
    if path.name in names:
        return False
    log.info("%s: no file of the data set that state.json beside it describes, left out", path.name)
    return True


# ---- the task of a file


def _tasks(paths: list[Path], root: Path) -> list[str]:
    """The task of each file: its partition's; or its name, with its folder's where files of other folders share it."""
    folders: dict[str, set[Path]] = {}
    for path in paths:
        folders.setdefault(stem_of(path), set()).add(path.parent)
    tasks = []
    for path in paths:
        stem = stem_of(path)
        below = path.parent.relative_to(root)
        partition = _partition(path.parent)
        shared = len(folders[stem]) > 1 and below != Path()
        tasks.append(partition if partition is not None else f"{below.as_posix()}/{stem}" if shared else stem)
    return tasks


def _partition(folder: Path) -> str | None:
    """The task in the names of the folders, as Spark and Hive write it: `task_name=nli/part-0.parquet`; None where they
    name none, or a blank one."""
    values = dict(part.split("=", 1) for part in folder.parts if "=" in part)
    named = {key.lower(): unquote(value) for key, value in values.items() if value != NO_VALUE}
    return next((named[key] for key in PARTITION_KEYS if named.get(key, "").strip()), None)


def stem_of(path: Path) -> str:
    """The file's name without its endings and its number among the parts of a split."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return SHARD.sub("", name)
