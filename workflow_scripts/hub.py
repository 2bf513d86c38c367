"""Everything that is fetched from the Hugging Face Hub, by whichever room: whole, checked, and patiently.

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
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from workflow_scripts.artefact import Progress, log
from workflow_scripts.command_line import InputError

Kind = Literal["dataset", "model"]
Result = TypeVar("Result")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each new try
LONGEST_WAIT = 600.0  # seconds; a hub that asks for more is given up on
TIMEOUT = 30.0  # seconds without a byte
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class HubError(InputError):
    """The hub did not give what was asked for; the message is one line: what was asked, what came, what helps."""


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
    info = patiently(ask, what, waits)
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


def patiently(ask: Callable[[], Result], what: str, waits: Sequence[float] = WAITS) -> Result:
    """Call `ask`; while the hub is busy, limits the rate or cannot be reached, wait longer and longer and call again.

    The hub's own `Retry-After` counts where it is longer. Raises HubError, with one line, when the waits are used up
    and at once for what no waiting mends.
    """
    tries = iter(waits)
    while True:
        try:
            return ask()
        except HubError:
            raise
        except Exception as error:
            if not _is_transient(error):
                if (explanation := _explain(error, what)) is None:
                    raise
                raise HubError(explanation) from None
            asked = _retry_after(error)
            if asked > LONGEST_WAIT:
                raise HubError(
                    f"{what}: {_short(error)} and asks to be left alone for {asked:.0f} s; run again then, what is complete is kept"
                ) from None
            wait = next(tries, None)
            if wait is None:
                tried = f", still after {len(waits)} new tries" if waits else ""
                raise HubError(f"{what}: {_short(error)}{tried}; run again later, what is complete is kept") from None
            log.info("%s: %s; trying again in %.0f s", what, _short(error), max(wait, asked))
            time.sleep(max(wait, asked))


def load_checked(load: Callable[[], Result], repository: str, revision: str) -> Result:
    """Call `load`, by which mteb and datasets fetch a data set into the hub's cache, patiently; and check the bytes.

    huggingface_hub takes any bytes of the right size. Its cache names each file after the checksum that the hub
    stated, so what is wrong can be told, and is thrown away with all that datasets made of it. Raises HubError.
    """
    what = f"{repository}@{revision}"
    try:
        return patiently(load, what)
    finally:  # also where loading failed: bytes that are wrong say why better than a parser does
        _check_cache(repository, what)


def _check_cache(repository: str, what: str) -> None:
    from datasets.config import HF_DATASETS_CACHE
    from datasets.naming import camelcase_to_snakecase
    from huggingface_hub.constants import HF_HUB_CACHE

    organisation, name = repository.split("/")
    cached = Path(HF_HUB_CACHE) / f"datasets--{organisation}--{name}"
    wrong = [blob for blob in sorted(cached.glob("blobs/*")) if not _is_what_its_name_says(blob)]
    if not wrong:
        return
    names = {link.resolve().name: link.name for link in cached.glob("snapshots/*/**/*") if link.is_symlink()}
    shutil.rmtree(Path(HF_DATASETS_CACHE) / f"{organisation}___{camelcase_to_snakecase(name)}", ignore_errors=True)
    for blob in wrong:
        blob.unlink()
    shown = ", ".join(names.get(blob.name, blob.name) for blob in wrong)
    raise HubError(
        f"{what}: {shown}: checksum is wrong; the bytes were thrown away, run again to fetch them anew"
    ) from None


def _is_what_its_name_says(blob: Path) -> bool:
    """Whether a cached file's content has the sha256 (large files) or git id (small ones) that it is named after."""
    size = blob.stat().st_size
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return _problem_with(blob, HubFile(blob.name, size, blob.name, None)) is None
    if re.fullmatch(r"[0-9a-f]{40}", blob.name):
        return _problem_with(blob, HubFile(blob.name, size, None, blob.name)) is None
    return True  # being fetched by another process, or nothing that a hub stated


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
    if target.is_file() and target.stat().st_size == file.size and _problem_with(target, file) is None:
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
            patiently(lambda: _stream(repository, revision, file, part, kind, progress), what, waits)
        except HubError:
            if _size(part) <= before:  # else it moved: a slow line is not a dead one
                raise
        if part.exists() and _size(part) == before:
            break
    if problem := _problem_with(part, file):
        part.unlink()
        raise HubError(f"{what}: {problem}; the bytes were thrown away, run again to fetch them anew")
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


def _problem_with(path: Path, file: HubFile) -> str | None:
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


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those that it was raised from: datasets and mteb wrap the hub's."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _is_transient(error: BaseException) -> bool:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    causes = _causes(error)
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return False
    return any(isinstance(cause, httpx2.TransportError) or _status(cause) in TRANSIENT for cause in causes)


def _retry_after(error: BaseException) -> float:
    """Seconds that the hub asked to be left alone; 0 where it did not."""
    for cause in _causes(error):
        headers: Mapping[str, Any] = getattr(getattr(cause, "response", None), "headers", {})
        value = str(headers.get("Retry-After", ""))
        if value.isdigit():
            return float(value)
    return 0.0


def _explain(error: BaseException, what: str) -> str | None:
    """One line for an error of the hub's that waiting does not mend; None for one that is not the hub's."""
    from huggingface_hub import errors

    for cause in _causes(error):
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return f"{what}: needed from the hub, but HF_HUB_OFFLINE is set; unset it and run again"
        if isinstance(cause, errors.GatedRepoError) or _status(cause) == 403:
            return f"{what}: access must be granted (status {_status(cause)}); accept the terms on its hub page, then set HF_TOKEN to your token"
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{what}: the repository has no such revision; check the part after '@'"
        if _status(cause) == 401:
            return f"{what}: a token is needed, or the repository does not exist (status 401); set HF_TOKEN or check the name"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"{what}: no such repository on {os.environ.get('HF_ENDPOINT', 'the hub')}; check the name"
        if isinstance(cause, errors.EntryNotFoundError):
            return f"{what}: the repository has no such file"
        if isinstance(cause, errors.HFValidationError):
            return f"{what}: not a repository's name; expected org/name@revision"
        if isinstance(cause, errors.HfHubHTTPError):
            return f"{what}: the hub answered with status {_status(cause)}"
    return None


def _short(error: BaseException) -> str:
    for cause in _causes(error):
        if (status := _status(cause)) is not None:
            return f"the hub answered with status {status}"
    return f"the connection failed ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
