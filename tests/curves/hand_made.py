"""Helpers of this room's tests: the score files of a hand-made study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testing.made_study import EMBEDDED_GRAPH, TASKS, seeded, write_study
from workflow_scripts.curves.collect import Model
from workflow_scripts.study.sections.intervals import Intervals

FEW = Intervals(resamples=200)
DIMENSIONS = [8, 32, 128, 384]


def made(folder: Path, seeds: tuple[int, ...] = (0, 1), **kinds: Any) -> list[Model]:
    models = seeded(EMBEDDED_GRAPH, seeds)
    write_study(folder, models, kinds.pop("tasks", TASKS), kinds.pop("dimensions", DIMENSIONS), **kinds)
    return models
