"""Snakemake reads what a function of the rules takes once, and finds what it would find anyway."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from workflow_scripts.launch.parameters import read_parameters_once

COMMON, RULES = (importlib.import_module(f"snakemake.{name}") for name in ("common", "rules"))


class Named:
    def method(self, wildcards: object, attempt: int) -> None: ...


def of_wildcards(wildcards: object, threads: int = 1, **more: object) -> None: ...


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions that Snakemake's own code is asked about."""
    found: list[Any] = []
    read = COMMON.get_function_params

    def get_function_params(function: Any) -> Any:
        found.append(function)
        return read(function)

    for module in (COMMON, RULES):
        monkeypatch.setattr(module, "get_function_params", get_function_params)
    read_parameters_once()
    return found


@pytest.mark.usefixtures("asked")
def test_each_kind_of_function_is_read_as_before() -> None:
    functions: list[Callable[..., None]] = [
        of_wildcards,
        Named().method,
        Named.method,
        partial(of_wildcards, threads=2),
    ]
    for function in functions * 2:
        assert dict(RULES.get_function_params(function)) == dict(inspect.signature(function).parameters)


def test_a_function_is_read_once_and_so_is_a_method_of_many_objects(asked: list[Any]) -> None:
    for _ in range(3):
        assert COMMON.get_input_function_aux_params(of_wildcards, {"threads": 2}) == {"threads": 2}
        assert "attempt" in RULES.get_function_params(Named().method)
    assert len(asked) == 2


def test_nothing_is_replaced_where_snakemake_asks_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(RULES, "get_function_params")
    before = COMMON.get_function_params
    read_parameters_once()
    assert COMMON.get_function_params is before
