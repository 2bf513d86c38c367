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
from workflow_scripts.command_line import InputError, users_file
from workflow_scripts.study.paths import files_below

# The split that a file or folder is of, by its name, as the hub tells them (`test-00000-of-00001`, `nli_dev`, `split=dev`).
SPLIT = re.compile(
    r"(?:split=|(.+)[-._])?(train|training|test|testing|validation|valid|val|dev|eval|evaluation)(?:[-._](.+))?",
    re.IGNORECASE,
)
SUFFIXES = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\Z")  # how datasets numbers the parts of one split
# The parts of one table, whose names say nothing else: Spark's `part-00000-<uuid>-c000.snappy`, pyarrow's `part-0` and
# `<32 hexadecimal digits>-0`, Dask's `part.0`, DuckDB's `data_0`, the hub's own conversions' `0000`.
PART = re.compile(
    r"(part([-._]?\d+([-_][0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?([-.]c\d+)?)?|[0-9a-f]{32}-\d+|data_\d+|0\d{3,})"
    r"(\.(snappy|gz|gzip|zstd|zst|lz4|lz4raw|br|brotli|lzo))?",
    re.IGNORECASE,
)
# Of a folder named KEY=VALUE (Hive's layout), the keys that name a task; others (`date=2020`) part one.
PARTITION_KEYS = (
    "task_name",
    "task_id",
    "task",
    "dataset_name",
    "dataset",
    "subset",
    "config_name",
    "config",
    "source",
)
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
        with users_file(f"{source}: not readable"):
            paths = files_below(source, hidden=(".", "_"))
    else:
        raise InputError(f"{source}: there is no such file or folder of pairs")
    candidates = paths = [path for path in paths if path.name.endswith(SUFFIXES)]
    alone = source.suffix != ".sha256" and source.is_file()
    if not alone:
        paths = [path for path in paths if not _is_manifest(path) and not _is_cached_copy(path)]
        paths = _for_training(paths, root)
    if not paths:
        others = f"; {candidates[0].name} is one object without a query" if candidates else ""
        raise InputError(f"{source}: no pairs here; expected {', '.join(SUFFIXES)}{others}")
    if not alone:
        _look_for_missing_parts(paths)
    return [PairsFile(path, task) for path, task in zip(paths, _tasks(paths, root, alone), strict=True)]


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


def _look_for_missing_parts(paths: list[Path]) -> None:
    """Raises InputError where a data set that was saved to disk lacks a file; where a split lacks some of its parts, which
    may be meant, the log says so."""
    for folder in dict.fromkeys(path.parent for path in paths):
        for name in _saved_files(folder) or []:
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder / name}: not there, but state.json beside it names it; copy the folder whole"
                )
    parts: dict[tuple[Path, str, int], set[int]] = {}
    for path in paths:
        if match := SHARD.search(_without_endings(path)):
            split = path.with_name(stem_of(path))
            parts.setdefault((split, path.suffix, int(match[2])), set()).add(int(match[1]))
    for (split, _, count), found in parts.items():
        if len(found) < count:
            log.info("%s: %d of its %d parts are here; only these are read", split, len(found), count)


def _saved_files(folder: Path) -> list[str] | None:
    """The names of the Arrow files that `state.json` of a data set saved to disk has; None where there is none."""
    try:
        files = json.loads((folder / "state.json").read_bytes())["_data_files"]
        return [str(file["filename"]) for file in files]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


def _is_cached_copy(path: Path) -> bool:
    """Whether an Arrow file is one that `map` or `filter` left beside the files of a data set that was saved to disk."""
    names = _saved_files(path.parent) if path.suffix == ".arrow" else None
    if names is None or path.name in names:
        return False
    log.info("%s: no file of the data set that state.json beside it describes, left out", path.name)
    return True


def _for_training(paths: list[Path], root: Path) -> list[Path]:
    """The files without those of other splits beside one for training, of the same data set: what it is tested on is not
    trained on. A split alone is read, whatever its name."""
    splits = [_splits(path, root) for path in paths]
    trained = {place for places in splits for place, split in places if split.startswith("train")}
    kept = []
    for path, places in zip(paths, splits, strict=True):
        others = [split for place, split in places if place in trained and not split.startswith("train")]
        if others:
            log.info("%s: of the split %s, beside one for training; left out", path.relative_to(root), others[0])
        else:
            kept.append(path)
    return kept


def _splits(path: Path, root: Path) -> list[tuple[tuple[object, ...], str]]:
    """The data sets of which the file's name, or a folder's above it and below the root, is a split, and which one."""
    names = [path, *(folder for folder in path.parents if root in folder.parents)]
    matches = [(name.parent, SPLIT.fullmatch(_without_endings(name))) for name in names]
    return [((folder, m[1], re.sub(r"\d+(-of-\d+)?", "", m[3] or "")), m[2].lower()) for folder, m in matches if m]


# ---- the task of a file


def _tasks(paths: list[Path], root: Path, alone: bool) -> list[str]:
    """The task of each file: its partition's; or its name, with its folder's where files of other folders share it. A
    folder of nothing but parts is one task, and counts as a file of the folder's name; a part given `alone` keeps its own.
    """
    root, paths = root.absolute(), [path.absolute() for path in paths]
    others = {path.parent for path in paths if not PART.fullmatch(stem_of(path))}
    tables = [path if alone or path.parent in others else _table(path.parent, root) for path in paths]
    named = [table.with_name(stem_of(table)) for table in tables]
    folders: dict[str, set[Path]] = {}
    for name in named:
        folders.setdefault(name.name, set()).add(name.parent)
    tasks = []
    for path, name in zip(paths, named, strict=True):
        shared = len(folders[name.name]) > 1 and root in name.parents and name.parent != root
        partition = _partition(path.parent, root)
        task = name.relative_to(root).as_posix() if shared else name.name
        tasks.append(task if partition is None else partition)
    return tasks


def _table(folder: Path, root: Path) -> Path:
    """The folder that a table is called after: that of its parts, or the one above its partitions (`date=2020`)."""
    while folder != root and "=" in folder.name:
        folder = folder.parent
    return folder


def _partition(folder: Path, root: Path) -> str | None:
    """The task in the names of the folders, as Spark and Hive write it: `task_name=nli/part-0.parquet`; None where they
    name none, or a blank one. Folders above the source count only where the source itself is a partition of them."""
    top = root
    while "=" in top.name:
        top = top.parent
    values = dict(part.split("=", 1) for part in folder.relative_to(top).parts if "=" in part)
    named = {key.lower(): unquote(value) for key, value in values.items() if value != NO_VALUE}
    return next((named[key] for key in PARTITION_KEYS if named.get(key, "").strip()), None)


def stem_of(path: Path) -> str:
    """The file's name without its endings and its number among the parts of a split; its folder's where none is left."""
    return SHARD.sub("", _without_endings(path)) or path.absolute().parent.name


def _without_endings(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name
