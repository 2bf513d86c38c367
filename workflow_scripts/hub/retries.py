"""What to do when the hub does not answer as asked: wait and ask again, or say in one line what helps.

Takes a call of huggingface_hub, datasets or mteb; leaves its result, or raises HubError. Exists because these libraries
give up within seconds, or wait without end, and end in tracebacks.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from workflow_scripts.artefact import log
from workflow_scripts.command_line import InputError

Result = TypeVar("Result")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)  # seconds before each new try
LONGEST_WAIT = 600.0  # seconds; a hub that asks for more is given up on
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class HubError(InputError):
    """The hub did not give what was asked for; the message is one line: what was asked, what came, what helps."""


def with_retries(ask: Callable[[], Result], what: str, waits: Sequence[float] = WAITS) -> Result:
    """Call `ask`; while the hub is busy, limits the rate or cannot be reached, wait longer and longer and call again.

    What the hub itself asks for (`Retry-After`, `RateLimit`) counts where it is longer. Raises HubError when the waits
    are used up, and at once for what waiting does not mend.
    """

    def wait(state: RetryCallState) -> float:
        planned = waits[state.attempt_number - 1] if state.attempt_number <= len(waits) else 0.0  # asked once too often
        return max(planned, seconds_asked_for(_failure(state)))

    def say(state: RetryCallState) -> None:
        log.info("%s: %s; trying again in %.0f s", what, _short(_failure(state)), state.upcoming_sleep)

    def worth_waiting_for(error: BaseException) -> bool:
        return not isinstance(error, HubError) and _is_transient(error) and seconds_asked_for(error) <= LONGEST_WAIT

    retrying = Retrying(
        retry=retry_if_exception(worth_waiting_for),
        stop=stop_after_attempt(len(waits) + 1),
        wait=wait,
        before_sleep=say,
        sleep=time.sleep,
        reraise=True,
    )
    try:
        return retrying(ask)
    except HubError:
        raise
    except Exception as error:
        if (explanation := _explain(error, waits)) is None:
            raise
        raise HubError(f"{what}: {explanation}") from None


def _failure(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None  # it is asked for after a failure only
    return error


def seconds_asked_for(error: BaseException) -> float:
    """How long the hub asked to be left alone; 0 where it did not: `Retry-After`, in seconds or as a date; where that
    asks for nothing, the `RateLimit` header of a 429."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    for cause in _causes(error):
        headers: Mapping[str, str] = getattr(getattr(cause, "response", None), "headers", None) or {}
        asked = _seconds(headers.get("Retry-After", ""), headers.get("Date"))
        if not asked and _status(cause) == 429:
            if limit := parse_ratelimit_headers(headers):
                asked = float(limit.reset_in_seconds)
            else:
                reset = headers.get("RateLimit-Reset") or headers.get("X-RateLimit-Reset") or ""
                asked = _seconds(reset, None)
        if asked:
            return asked
    return 0.0


def _seconds(value: str, now: str | None) -> float:
    """A header's seconds; a date is counted from the server's own clock where it states it."""
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < 10**8 else 0.0  # more is a moment, not a span
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, _moment(value) - (_moment(now) if now else time.time()))
    return 0.0


def _moment(date: str) -> float:
    """Seconds since 1970 of a header's date, which is in UTC also where it does not say so (RFC 9110, 5.6.7)."""
    parsed = email.utils.parsedate_to_datetime(date)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


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
    lost = (httpx2.TransportError, ConnectionError, TimeoutError, socket.gaierror)
    return any(isinstance(cause, lost) or _status(cause) in TRANSIENT for cause in causes)


def _explain(error: BaseException, waits: Sequence[float]) -> str | None:
    """One line for an error of the hub's; None for one that is not the hub's."""
    from huggingface_hub import errors

    if _is_transient(error):
        if (asked := seconds_asked_for(error)) > LONGEST_WAIT:
            return (
                f"{_short(error)} and asks to be left alone for {asked:.0f} s; run again then, what is complete is kept"
            )
        tried = f", still after {len(waits)} new tries" if waits else ""
        return f"{_short(error)}{tried}; run again later, what is complete is kept"
    for cause in _causes(error):
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return "needed from the hub, but HF_HUB_OFFLINE is set; unset it and run again"
        if isinstance(cause, errors.GatedRepoError) or _status(cause) == 403:
            return f"access must be granted (status {_status(cause)}); accept the terms on its hub page, then set HF_TOKEN to your token"
        if isinstance(cause, errors.RevisionNotFoundError):
            return "the repository has no such revision; check the part after '@'"
        if _status(cause) == 401:
            return "a token is needed, or the repository does not exist (status 401); set HF_TOKEN or check the name"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"no such repository on {os.environ.get('HF_ENDPOINT', 'the hub')}; check the name"
        if isinstance(cause, errors.EntryNotFoundError):
            return "the repository has no such file"
        if isinstance(cause, errors.HFValidationError):
            return "not a repository's name; expected org/name@revision"
        if isinstance(cause, errors.HfHubHTTPError):
            return f"the hub answered with status {_status(cause)}"
    return None


def _short(error: BaseException) -> str:
    for cause in _causes(error):
        if (status := _status(cause)) is not None:
            return f"the hub answered with status {status}"
    return f"the connection failed ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
