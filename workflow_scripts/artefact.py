"""What every room does with files: write them whole or not at all, say what they are, and show progress.

A room's artefact is a set of files, a manifest `<name>.json` (counts, versions, seconds, device, inputs)
and `<name>.sha256` (a content digest per file, in the format of `sha256sum -c`). Downstream rules depend
on the `.sha256` alone: made again with the same content, it runs nothing again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from workflow_scripts.command_line import InputError

log = logging.getLogger("matryoshka")

SECONDS_BETWEEN_LINES = 15.0


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well, remove it when not."""
    path = Path(path)
    with _part_of(path) as part:
        yield part
        part.chmod(0o666 & ~_umask())
        _sync(part)
        part.replace(path)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; when the block ends well, its files move into `folder` one
    by one, manifests (`*.json`, then `*.sha256` at the top) last, so a manifest never precedes its files."""
    folder = Path(folder)
    with temporary_folder(folder) as part:
        yield part
        files = [p for p in part.rglob("*") if p.is_file()]
        files.sort(key=lambda p: (p.parent == part, p.suffix == ".sha256", p.suffix == ".json", str(p)))
        for file in files:
            _sync(file)
        for file in files:
            target = folder / file.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


@contextlib.contextmanager
def temporary_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, with a temporary name; remove it when the block ends."""
    with _part_of(Path(path)) as part:
        folder = _folder_of(part)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """Make a file `.<name>.<8 characters>.part` beside `path`, and hold a lock on it while the block runs, which ends with
    the process: one that nobody holds was left by a kill, and is removed here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        if try_lock(handle, fcntl.LOCK_EX) is not False and part.exists():
            break
        os.close(handle)  # another process took it for a leftover before it was locked
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(handle)


def _folder_of(part: Path) -> Path:
    """The temporary folder that a locked file stands for."""
    return part.with_suffix(".folder.part")


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files and folders of `path` that killed processes left. Where the file system knows no locks,
    none is removed."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.part")
    for part in [found for found in path.parent.iterdir() if name.fullmatch(found.name)]:
        with (
            contextlib.suppress(OSError),
            part.open("r+b") as file,
        ):  # one of another user, or that another process removes
            if try_lock(file.fileno(), fcntl.LOCK_EX):
                shutil.rmtree(_folder_of(part), ignore_errors=True)
                part.unlink()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON whole, keys sorted, so that the same content is the same bytes."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises InputError where it is cut or no JSON: a file of results that a full disk or a
    copy broke is nothing that a traceback explains."""
    try:
        return json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of too many digits, nested too deeply
        raise InputError(f"{path}: not readable as JSON ({error}); delete it and run again") from None


def digest_of_file(path: str | Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(path: str | Path, files: Iterable[str | Path]) -> str:
    """Write `path` (`*.sha256`) with one line per file, relative to its folder; return the digest of it all."""
    return write_known_digests(path, {file: digest_of_file(file) for file in files})


def write_known_digests(path: str | Path, digests: Mapping[str | Path, str]) -> str:
    """The same, where each file's digest is known already."""
    path = Path(path)
    lines = sorted(f"{digest}  {os.path.relpath(file, path.parent)}" for file, digest in digests.items())
    text = "\n".join(lines) + "\n"
    with atomic_write(path) as part:
        part.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def check_digests(path: str | Path, files: Iterable[str | Path]) -> None:
    """Raises InputError that names the first of `files` whose digest is not the one in `path`, as `write_digests` wrote it,
    and OSError where one is not there."""
    path = Path(path)
    written = {name: digest for digest, _, name in (line.partition("  ") for line in path.read_text().splitlines())}
    for file in files:
        name = os.path.relpath(file, path.parent)
        if digest_of_file(file) != written.get(name):
            raise InputError(f"{name} is not what was written: its sha256 differs")


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages named, for a manifest."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def try_lock(handle: int, how: int) -> bool | None:
    """Take `flock` on an open file without waiting: True, or False where another process holds it, or None where the
    file system knows no locks (a Lustre mounted without them)."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
        raise
    return True


@contextlib.contextmanager
def exclusive_lock(path: str | Path) -> Iterator[None]:
    """Take an exclusive lock on the output `path` while the block runs; wait, saying so, while another process holds it.

    The lock ends with the process, so nothing stale is left by a kill. It keeps a job that outlived its
    killed Snakemake and the same job started again from running at once. Where the file system knows no locks, the log
    says so and nothing keeps them apart.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as file:
        held = try_lock(file.fileno(), fcntl.LOCK_EX)
        if held is None:
            log.info("%s: this file system knows no locks; see that only one Snakemake runs here", path.parent)
        elif not held:
            log.info("waiting for another process that is making %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Progress:
    """How much of a work is done: a tqdm bar on the terminal, and log lines where the log is a file.

    `done` was finished by an earlier run; neither it nor what `skip` counts enters the rate. The last line says "done"
    only where the block ended well.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        from tqdm import tqdm

        self.label = label
        self.log_is_file = not sys.stderr.isatty()
        self.terminal = _terminal()
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            unit_scale=unit == "bytes",
            file=self.terminal,
            leave=False,
            dynamic_ncols=True,
        )
        self.last_line = time.monotonic()

    def add(self, count: int, note: str = "") -> None:
        """Count `count` units as done just now."""
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(count)
        now = time.monotonic()
        if self.log_is_file and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            log.info("%s", self)

    def skip(self, count: int) -> None:
        """Count `count` units that an earlier run finished (below 0: that have to be done again after all)."""
        self.bar.initial += count
        self.bar.n += count
        self.bar.last_print_n += count

    def __str__(self) -> str:
        """Label, share, done and total, time passed and left, mean rate of this run, note: as tqdm writes them."""
        return str(self.bar.format_meter(**{**self.bar.format_dict, "ncols": 0, "rate": None}))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        last = str(self)
        self.bar.close()
        if self.terminal is not sys.stderr:
            self.terminal.close()
        log.info("%s %s", last, "done" if kind is None else "stopped")


def _terminal() -> TextIO:
    """Where a bar is drawn: stderr; the controlling terminal where stderr is a log file; nowhere without a terminal."""
    if sys.stderr.isatty():
        return sys.stderr
    try:
        return os.fdopen(os.open("/dev/tty", os.O_WRONLY), "w")
    except OSError:
        return Path(os.devnull).open("w")


def peak_memory_bytes() -> int:
    """Most memory that this process ever held, in bytes (on Linux; elsewhere what getrusage says).

    Linux's `ru_maxrss` outlives exec, and so counts the process that started this one; `VmHWM` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
