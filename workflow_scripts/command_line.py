"""The one command line of all scripts: a user's mistake is one line, a programming error keeps its traceback.

A script declares a parser with `parser`, adds its own arguments, and gives its work to `run`. What a user gave and
cannot be used raises `InputError`: it ends the script with one line and status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

log = logging.getLogger("matryoshka")

SettingsType = TypeVar("SettingsType", bound=BaseModel)


class InputError(ValueError):
    """What a user gave cannot be used; the message is one line: what was found, what was expected, and where."""


class Settings(BaseModel):
    """Base of each script's `--settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def start_log() -> None:
    """Log lines to stderr (which a rule sends to its log file), with the time of day."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    for noisy in ("httpx", "httpx2", "sentence_transformers", "mteb", "datasets", "huggingface_hub", "transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def parser(description: str | None, settings: str | None = None) -> argparse.ArgumentParser:
    """A script's parser; with `settings`, what the JSON of its `--settings` holds."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if settings is not None:
        made.add_argument("--settings", required=True, help=f"JSON: {settings}")
    return made


def parse_settings(kind: type[SettingsType], text: str) -> SettingsType:
    """Check the `--settings` JSON. Raises InputError naming the first key that is wrong."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the JSON"
        raise InputError(f"--settings: {key}: {first['msg']}") from None


def run(work: Callable[[], object]) -> None:
    """Run a script's work. A user's mistake (`InputError`) or the system's refusal of a file (`OSError`) is one line
    and status 1; a programming error keeps its traceback. SIGTERM ends it as an exception does, so that no temporary file
    stays: with status 143."""
    start_log()
    gc.freeze()  # what is imported stays to the end, where Python would look through it once more, for a second
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        work()
    except (InputError, OSError) as error:
        log.error("error: %s", one_line(error))
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one interrupts no cleaning up
    sys.exit(128 + number)


def one_line(error: BaseException) -> str:
    """The error's message on one line; its type's name where it has no message."""
    return " ".join(_text(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of the error's message, and the next where it ends in a colon; its type's name where it has no
    message."""
    first, *rest = _text(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {rest[0].strip()}" if rest and first.endswith(":") else first


def _text(error: BaseException) -> str:
    """The error's message; a KeyError's is the bare key, which alone says nothing."""
    return f"KeyError: {error}" if isinstance(error, KeyError) else str(error)


@contextlib.contextmanager
def users_file(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads what a user gave into an `InputError` that begins with `what`.

    For blocks that only load or parse: around computation it would hide programming errors.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} ({first_line(error)})") from error
