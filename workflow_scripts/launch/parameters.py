"""What the functions of the rules take, read once: Snakemake reads it several times for each job, which is an eighth of a
large study's dry run.

Takes Snakemake's `get_function_params`; leaves one that remembers, where Snakemake looks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

NAME = "get_function_params"


def read_parameters_once() -> None:
    """Let Snakemake remember what a function takes. Does nothing where it asks in another way."""
    common, rules = (importlib.import_module(f"snakemake.{name}") for name in ("common", "rules"))
    if getattr(rules, NAME, None) is None or getattr(common, NAME, None) is not getattr(rules, NAME):
        return
    read: Callable[[Any], Any] = getattr(common, NAME)
    known: dict[tuple[Any, bool], Any] = {}

    def remembered(function: Any) -> Any:
        if not isinstance(function, FunctionType | MethodType):
            return read(function)
        # A bound method is another object each time it is named, and takes what its function takes, less `self`.
        key = getattr(function, "__func__", function), isinstance(function, MethodType)
        if key not in known:
            known[key] = read(function)
        return known[key]

    for module in (common, rules):
        setattr(module, NAME, remembered)
