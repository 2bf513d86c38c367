"""Every evaluation task that a study can name.

Takes mteb_tasks.json (written from the installed mteb by `tasks/catalogue.py`); leaves it as a dictionary.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).with_name("mteb_tasks.json")


@cache
def task_catalogue() -> dict[str, dict[str, Any]]:
    """Every evaluation task that can be named, with its type, metric, data set, revision and benchmarks."""
    catalogue: dict[str, dict[str, Any]] = json.loads(CATALOGUE.read_text())
    return catalogue
