"""What all adaptors share, of texts as of vectors: their settings, the learning, and what their folder says of it.

Takes frozen pairs and the settings; leaves the learned matrix, and the parts of `model.json` and `training.parquet` that
tell how it came about.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts.artefact import log
from workflow_scripts.command_line import Settings
from workflow_scripts.models.folder import STEPS, settings_as_recipe
from workflow_scripts.models.frozen import FrozenPairs
from workflow_scripts.models.learn_adaptor import Choice, Learned, learn
from workflow_scripts.models.objective import Objective, ObjectiveName
from workflow_scripts.study.sections.adaptor import Adaptor


class AdaptorSettings(Settings):
    model: str
    parent: str
    seed: int
    width: int
    pairs: int
    nesting: list[int]
    nesting_weights: list[float]
    objective: ObjectiveName
    adaptor: Adaptor


def learned_from(frozen: FrozenPairs, settings: AdaptorSettings, held_out: str, why_none: str) -> Learned:
    """The matrix. The log says what was chosen: `held_out`, on what; `why_none`, why on nothing where nothing could be."""
    recipe = settings.adaptor
    torch.manual_seed(settings.seed)
    objective = Objective(
        settings.objective,
        tuple(settings.nesting),
        tuple(settings.nesting_weights),
        recipe.temperature,
        spread_out=recipe.spread_out,
    )
    learned = learn(frozen, objective, recipe, settings.seed)
    if learned.chosen is None:
        log.warning(
            "%s: held-out %s gain nothing on the rotation; the rotation is what is left", settings.model, held_out
        )
        return learned
    if not learned.choices:
        log.warning("%s: %s: nothing can be held out, the penalty is the fixed one", settings.model, why_none)
    log.info("%s: %s, stop after step %d, held-out gain %+.4f", settings.model, *_said(learned.chosen))
    return learned


def recipe_of(settings: AdaptorSettings, frozen: FrozenPairs, learned: Learned) -> dict[str, Any]:
    """The settings, and how the matrix came about, for the manifest."""
    facts = settings_as_recipe(settings)
    facts["adaptor"].pop("pairs")  # said above it, for this adaptor
    return facts | {
        "pairs_used": int(frozen.places.shape[1]),
        "tasks": len(learned.tasks),
        "held_out": bool(learned.choices),
        "choices": [asdict(choice) for choice in learned.choices],
        "chosen": None if learned.chosen is None else asdict(learned.chosen),
        "fell_back_to_rotation": learned.chosen is None,
    }


def write_losses(learned: Learned, nesting: list[int], folder: Path) -> None:
    """The loss of each step, in all and per dimension: no row where the rotation is left."""
    columns = ["step", "loss", *(f"loss_{d}" for d in nesting)]
    rows = [dict(zip(columns, (step, sum(row), *row), strict=True)) for step, row in enumerate(learned.losses, start=1)]
    schema = pa.schema([(name, pa.int64() if name == "step" else pa.float64()) for name in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / STEPS)


def _said(choice: Choice) -> tuple[str, int, float]:
    penalties = ", ".join(f"{name} {value:g}" for name, value in asdict(choice.penalty).items() if value)
    return penalties or "no penalty", choice.steps, choice.gain
