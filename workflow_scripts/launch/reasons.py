"""Why a job runs again, in one line: which settings changed, not the whole configuration twice.

Takes Snakemake's `ParamsChange`, which holds a rule's `settings` (JSON) before and now; leaves it with a short text.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

SHOWN = 5  # changed keys, and characters of a value x 10


def shorten_reasons() -> None:
    """Let Snakemake print changed settings key by key. Does nothing where its class has another shape."""
    persistence = importlib.import_module("snakemake.persistence")
    change = getattr(persistence, "ParamsChange", None)
    if change is not None and {"only_old", "only_new"} <= set(getattr(change, "__dataclass_fields__", {})):
        change.__str__ = lambda self: changed_keys(self.only_old, self.only_new)


def changed_keys(before: Iterable[str], now: Iterable[str]) -> str:
    """`key: old -> new` of each setting that differs; the arguments are Snakemake's: `repr` of JSON texts."""
    old, new = (dict(_flattened(_settings(values))) for values in (before, now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    shown = [f"{key}: {_short(old.get(key, 'not set'))} -> {_short(new.get(key, 'not set'))}" for key in keys[:SHOWN]]
    return ", ".join(shown) + (f", and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _settings(values: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        try:
            found |= json.loads(ast.literal_eval(value))
        except (ValueError, SyntaxError, TypeError):
            found["params"] = value
    return found


def _flattened(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 10 * SHOWN else text[: 10 * SHOWN] + "…"
