"""Everything that is fetched from the Hugging Face Hub, by whichever room: whole, checked, and with retries.

Takes a repository, a revision and a folder; leaves the revision's files in it, each under its final name only once
its size and checksum are those that the hub stated, and returns what was fetched. Exists because huggingface_hub
2.4 starts a file again when a job was killed, takes any bytes of the right size for the file, and answers trouble
with a traceback. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and a token saved by `hf auth login` are honoured, since
addresses and headers are huggingface_hub's own. Only local rules call this; every other job runs offline.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workflow_scripts.artefact import Progress, log
from workflow_scripts.hub.retries import WAITS, HubError, with_retries

Kind = Literal["dataset", "model"]
TIMEOUT = 30.0  # seconds without a byte
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?\Z")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
POINTER = "a Git LFS pointer is there in place of the file; what was uploaded, or the mirror, lacks the content"
COMMIT = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a revision, as the hub describes it."""

    path: str
    size: int  # bytes
    sha256: str | None  # of the content, for a large file (LFS)
    git_sha1: str | None  # of the git blob, for a small one


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository at one commit, by path: the commit that a branch or tag meant when it was asked for."""

    commit: str
    files: list[HubFile]


def download_snapshot(
    repository: str,
    revision: str,
    folder: str | Path,
    kind: Kind = "dataset",
    patterns: Sequence[str] | None = None,
    waits: Sequence[float] = WAITS,
) -> Snapshot:
    """Fetch the files of `repository` at `revision` whose path fits one of `patterns` (all, by default) into `folder`,
    and remove all others from it: those of another revision would be read as part of this one.

    A file that is there already with the right checksum is kept; one cut in the middle goes on from where it was cut.
    Raises HubError, with one line, for all that waiting does not mend.
    """
    folder = Path(folder)
    snapshot = list_files(repository, revision, kind, patterns, waits)
    if not snapshot.files:
        raise HubError(f"{repository}@{revision}: no file there fits {', '.join(patterns or ['*'])}")
    with Progress(f"download {repository}", sum(file.size for file in snapshot.files), "bytes") as progress:
        for file in snapshot.files:
            _download_file(repository, snapshot.commit, file, folder, kind, waits, progress)
    wanted = {folder / file.path for file in snapshot.files}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    return snapshot


def list_files(
    repository: str,
    revision: str,
    kind: Kind = "dataset",
    patterns: Sequence[str] | None = None,
    waits: Sequence[float] = WAITS,
) -> Snapshot:
    """The files of a repository at a revision, with sizes and checksums. Raises HubError."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo, ModelInfo

    def ask() -> DatasetInfo | ModelInfo:
        api = HfApi()
        info = api.dataset_info if kind == "dataset" else api.model_info
        return info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT)

    what = f"{repository}@{revision}"
    if not REPOSITORY.match(repository) or not revision:
        raise HubError(f"{what}: not a repository at a revision; expected org/name@revision{_meant(repository)}")
    info = with_retries(ask, what, waits)
    if COMMIT.match(revision) and info.sha != revision:
        raise HubError(f"{what}: the hub answered with revision {info.sha}; check HF_ENDPOINT")
    files = []
    for sibling in info.siblings or []:
        path, size = sibling.rfilename, sibling.size
        if patterns is not None and not any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            continue
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise HubError(f"{what}: the hub names a file {path!r}, outside of the repository; nothing was fetched")
        if size is None:
            raise HubError(f"{what}: the hub states no size for {path}; check HF_ENDPOINT")
        sha256 = sibling.lfs.sha256 if sibling.lfs is not None else None
        files.append(HubFile(path, size, sha256, None if sha256 else sibling.blob_id))
    return Snapshot(info.sha or revision, sorted(files, key=lambda file: file.path))


def _meant(repository: str) -> str:
    """What an address in a browser would be as a reference."""
    match = re.search(
        r"https?://[^/]+/(?:datasets/)?([\w.-]+/[\w.-]+)(?:/(?:tree|blob|resolve|commit)/([^?#]+))?", repository
    )
    return f", so {match[1]}@{match[2] or 'main'}" if match else ""


def _download_file(
    repository: str,
    revision: str,
    file: HubFile,
    folder: Path,
    kind: Kind,
    waits: Sequence[float],
    progress: Progress,
) -> None:
    target = folder / file.path
    if target.is_file() and target.stat().st_size == file.size and problem_with(target, file) is None:
        progress.skip(file.size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Named after its content, so that bytes of another revision are never continued.
    part = target.with_name(f".{target.name}.{(file.sha256 or file.git_sha1 or 'unknown')[:16]}.part")
    if part.is_file():
        log.info("%s: going on after %d of %d bytes", file.path, part.stat().st_size, file.size)
        progress.skip(min(part.stat().st_size, file.size))
    what = f"{repository}@{revision}: {file.path}"
    while _size(part) < file.size or not part.exists():
        before = _size(part)
        try:
            with_retries(lambda: _stream(repository, revision, file, part, kind, progress), what, waits)
        except HubError:
            if _size(part) <= before:  # else it moved: a slow line is not a dead one
                raise
        if part.exists() and _size(part) == before:
            break
    if problem := problem_with(part, file):
        part.unlink()
        raise HubError(f"{what}: {problem}; the bytes were thrown away, run again to fetch them anew")
    if is_lfs_pointer(part):
        part.unlink()
        raise HubError(f"{what}: {POINTER}")
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(target)


def _stream(repository: str, revision: str, file: HubFile, part: Path, kind: Kind, progress: Progress) -> None:
    """Append to `part` what it lacks of the file. Raises what the HTTP client raises."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    if _size(part) > file.size:
        part.unlink()
    start = _size(part)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(repository, file.path, repo_type=kind, revision=revision)
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        if start and response.status_code == 416:
            return  # the hub's file ends here: shorter than stated
        hf_raise_for_status(response)
        continued = response.status_code == 206
        if start and not continued:
            progress.skip(-start)
        with part.open("ab" if continued else "wb") as handle:
            for chunk in response.iter_bytes():  # as they come, so that a cut loses none of them
                handle.write(chunk)
                progress.add(len(chunk), file.path)


def problem_with(path: Path, file: HubFile) -> str | None:
    """What keeps the bytes at `path` from being the file that the hub stated; None where nothing does."""
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes came, {file.size} were stated"
    if file.sha256 is not None:
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        return None if found == file.sha256 else f"checksum is wrong: sha256 {found} came, {file.sha256} was stated"
    if file.git_sha1 is not None:
        content = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        return None if found == file.git_sha1 else f"checksum is wrong: git {found} came, {file.git_sha1} was stated"
    return None


def is_lfs_pointer(path: Path) -> bool:
    """Whether a Git LFS pointer (three lines that name the content) lies at `path` in place of the content."""
    if path.stat().st_size > 1024:
        return False
    return path.read_bytes().startswith(LFS_POINTER)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
