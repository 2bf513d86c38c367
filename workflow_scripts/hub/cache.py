"""What mteb and datasets fetch into the hub's cache, checked against the checksums that the hub states.

Takes a call that loads a data set, and its repository at a revision. Leaves what the call gives, or raises HubError.
Exists because huggingface_hub takes any bytes of the right size for the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from workflow_scripts.artefact import log
from workflow_scripts.hub.client import POINTER, is_lfs_pointer, list_files, problem_with
from workflow_scripts.hub.retries import WAITS, HubError, with_retries

FEW_WAITS = WAITS[:4]  # for the check alone: what is in the cache can be used without it
Result = TypeVar("Result")


def load_checked(load: Callable[[], Result], repository: str, revision: str) -> Result:
    """Call `load`, with retries, and check the bytes that came for it. Raises HubError.

    Wrong bytes are thrown away with all that datasets made of them, so that the next run fetches them anew. The
    checksums are those that the hub states for the revision: an ETag, after which the cache names its files, is a
    mirror's own affair.
    """
    what = f"{repository}@{revision}"
    try:
        loaded = with_retries(load, what)
    except HubError:
        raise
    except Exception:
        _check(repository, revision, what)  # bytes that are wrong say why better than a parser does
        raise
    _check(repository, revision, what)
    return loaded


def _check(repository: str, revision: str, what: str) -> None:
    if not _cached_repository(repository).is_dir():  # the data came from elsewhere
        return
    try:
        snapshot = list_files(repository, revision, waits=FEW_WAITS)
    except HubError as error:
        log.info("%s; what is in the cache was not checked", error)
        return
    wrong: dict[str, str] = {}
    for stated in snapshot.files:
        path = _cached_repository(repository) / "snapshots" / snapshot.commit / stated.path
        if not path.is_file():
            continue
        if is_lfs_pointer(path):
            raise HubError(f"{what}: {stated.path}: {POINTER}")
        if problem := problem_with(path, stated):
            wrong[stated.path] = problem
            path.resolve().unlink()
    if wrong:
        _forget_what_was_made(repository)
        named = "; ".join(f"{path}: {problem}" for path, problem in wrong.items())
        raise HubError(f"{what}: {named}; the bytes were thrown away, run again to fetch them anew")


def _cached_repository(repository: str) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}"


def _forget_what_was_made(repository: str) -> None:
    """Remove the tables that datasets made of a repository's files."""
    from datasets.config import HF_DATASETS_CACHE
    from datasets.naming import camelcase_to_snakecase

    organisation, name = repository.split("/")
    shutil.rmtree(Path(HF_DATASETS_CACHE) / f"{organisation}___{camelcase_to_snakecase(name)}", ignore_errors=True)
