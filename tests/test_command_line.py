"""The one command line: a user's mistake is one line, a programming error keeps its traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from workflow_scripts.command_line import (
    InputError,
    Settings,
    first_line,
    one_line,
    parse_settings,
    parser,
    run,
    users_file,
)


class Example(Settings):
    steps: int
    names: dict[str, int] = Field(default={})


@pytest.fixture(autouse=True)
def _root_logger_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` starts the log, which replaces the handlers that pytest reads from."""
    monkeypatch.setattr("workflow_scripts.command_line.start_log", lambda: None)


def ends_with(work: Callable[[], object], caplog: pytest.LogCaptureFixture) -> str:
    """The one log line with which `run` ends a script of status 1."""
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        run(work)
    assert ended.value.code == 1
    (line,) = caplog.messages
    return line


def test_a_users_mistake_is_one_line_and_status_1(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise InputError("pairs.jsonl: row 3 has no `pos`,\n  expected a text")

    assert ends_with(work, caplog) == "error: pairs.jsonl: row 3 has no `pos`, expected a text"


def test_a_kind_of_input_error_is_one_line_as_well(caplog: pytest.LogCaptureFixture) -> None:
    class TaskError(InputError):
        pass

    def work() -> None:
        raise TaskError("no such task")

    assert ends_with(work, caplog) == "error: no such task"


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = ends_with(lambda: (tmp_path / "missing").read_text(), caplog)
    assert "missing" in line
    assert "No such file" in line


def test_an_error_without_text_says_its_type(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise InputError

    assert ends_with(work, caplog) == "error: InputError"
    assert first_line(ValueError()) == one_line(ValueError("  \n ")) == "ValueError"


def test_a_missing_key_is_called_one() -> None:
    assert first_line(KeyError("config")) == "KeyError: 'config'"


def test_the_first_line_of_an_error_of_several_is_taken() -> None:
    assert first_line(ValueError("\nfirst\nsecond")) == "first"
    assert first_line(ValueError("in loading:\n\tkey `a` is missing\nmore")) == "in loading: key `a` is missing"
    assert one_line(ValueError("\nfirst\n  second")) == "first second"


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: np.zeros(2) + np.zeros(3),
        lambda: {"other": 1}["key"],
        lambda: [].pop(),
        lambda: int("x"),
    ],
    ids=["shapes", "key", "index", "value"],
)
def test_a_programming_error_keeps_its_traceback(
    mistake: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((ValueError, KeyError, IndexError)) as raised:
        run(mistake)
    assert not isinstance(raised.value, InputError)
    assert caplog.messages == []


def test_what_a_library_raises_at_a_users_file_becomes_one_line_with_the_file_in_front() -> None:
    with (
        pytest.raises(InputError, match=r"^model/: not readable as a model \(AttributeError\)$"),
        users_file("model/: not readable as a model"),
    ):
        raise AttributeError
    with pytest.raises(InputError, match=r"^row 3 is empty$"), users_file("model/: not readable as a model"):
        raise InputError("row 3 is empty")


def test_settings_that_are_wrong_name_the_first_key() -> None:
    assert parse_settings(Example, '{"steps": 3}') == Example(steps=3)
    for text, message in {
        '{"steps": "many"}': "--settings: steps: Input should be a valid integer",
        '{"steps": 3, "names": {"a": "b"}}': "--settings: names.a: Input should be a valid integer",
        '{"steps": 3, "width": 4}': "--settings: width: Extra inputs are not permitted",
        "{}": "--settings: steps: Field required",
        "{": "--settings: the JSON: Invalid JSON",
    }.items():
        with pytest.raises(InputError) as raised:
            parse_settings(Example, text)
        assert str(raised.value).startswith(message)


def test_a_script_takes_settings_where_it_says_so() -> None:
    assert parser("doc", "Example").parse_args(["--settings", "{}"]).settings == "{}"
    assert vars(parser("doc").parse_args([])) == {}
