"""The log of a training, one row per step, and when a training is broken.

Takes what a step leaves; leaves rows of training.parquet, or a ModelError that names step, task and checkpoint.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.step import StepResult

WINDOW = 20  # steps over which losses are averaged, and after which a GPU's results are read


def steps_between_reads(device: torch.device) -> int:
    """Steps whose results are read together: each read waits for a GPU."""
    return 1 if device.type == "cpu" else WINDOW


def log_row(
    step: int,
    task: str,
    learning_rate: float,
    gradient_norm: torch.Tensor,
    result: StepResult,
    *,
    seconds: float,
    nesting: list[int],
) -> dict[str, Any]:
    """A row of training.parquet. `seconds` is what the step took."""
    per_dimension = result.per_dimension.tolist()
    return {
        "step": step,
        "task_name": task,
        "loss": float(result.loss),
        **{f"loss_{d}": value for d, value in zip(nesting, per_dimension, strict=True)},
        "learning_rate": learning_rate,
        "gradient_norm": float(gradient_norm),
        "tokens": result.tokens,
        "tokens_per_second": result.tokens / max(seconds, 1e-9),
        "padding_share": 1 - result.tokens / result.processed,
        "squared_lengths": result.squared_lengths,
    }


def check_health(rows: list[dict[str, Any]], checkpoint: Path | None) -> None:
    """Raises ModelError where the last row's loss or gradient is not finite, or where the loss diverges.

    It diverges where its mean over the last 20 steps is above three times its mean over the first 20.
    """
    row = rows[-1]
    trouble = ""
    if not math.isfinite(row["loss"]) or not math.isfinite(row["gradient_norm"]):
        trouble = f"loss {row['loss']}, gradient norm {row['gradient_norm']}"
    elif len(rows) >= 2 * WINDOW:
        first = sum(r["loss"] for r in rows[:WINDOW]) / WINDOW
        recent = sum(r["loss"] for r in rows[-WINDOW:]) / WINDOW
        if recent > 3 * first + 1:
            trouble = f"mean loss {recent:.3f} over the last {WINDOW} steps, {first:.3f} over the first"
    if trouble:
        where = f"last good checkpoint: {checkpoint}" if checkpoint else "no checkpoint was written yet"
        raise ModelError(
            f"training broke at step {row['step']} (task {row['task_name']}): {trouble}; {where}; "
            "lower training.learning_rate or raise training.temperature"
        )
