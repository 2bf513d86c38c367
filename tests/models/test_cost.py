"""What a model cost holds all that was done to make it, and nothing twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import settings_of
from workflow_scripts.models import train as training
from workflow_scripts.models.transform import fit_matrix

Corpus = tuple[Path, Path]
PAUSE = 1.0


def test_the_seconds_of_a_rotation_before_training_count_once(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = training.check_health

    def slow_fit(*arguments: Any) -> Any:
        time.sleep(PAUSE)
        return fit_matrix(*arguments)

    def broken_health(rows: list[dict[str, Any]], checkpoint: Path | None) -> None:
        health(rows, checkpoint)
        if rows[-1]["step"] == 3:
            raise RuntimeError("stop here")

    def train() -> None:
        settings = training.TrainSettings.model_validate(settings_of(rotate="pca", steps=3))
        training.train(settings, bert, *corpus, output, checkpoint_seconds=0)

    output = tmp_path / "m" / "s0" / "model.json"
    monkeypatch.setattr(training, "fit_matrix", slow_fit)
    monkeypatch.setattr(training, "check_health", broken_health)
    with pytest.raises(RuntimeError, match="stop here"):
        train()
    (last,) = (tmp_path / "m" / "s0.checkpoints").glob("step-00000002-*")
    before = json.loads((last / "state.json").read_text())["seconds"]
    assert before >= PAUSE, "the rotation is in it"
    monkeypatch.setattr(training, "check_health", health)
    train()
    seconds = json.loads(output.read_text())["cost"]["seconds"]
    assert before <= seconds < before + PAUSE, "fitted again, it does not count again"
