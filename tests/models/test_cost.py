"""What a model cost holds all that was done to make it, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import settings_of
from workflow_scripts.models import train as training
from workflow_scripts.models.health import check_health
from workflow_scripts.models.projection import Fitting, append_projection

Corpus = tuple[Path, Path]
HOUR = 3600.0


def test_the_seconds_of_a_rotation_before_training_count_once(
    tmp_path: Path, bert: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def an_hour_of_fitting(*arguments: Any, **options: Any) -> Fitting:
        fitting = append_projection(*arguments, **options)
        return Fitting(fitting.tokens, fitting.flops, HOUR)

    def broken_health(rows: list[dict[str, Any]], checkpoint: Path | None) -> None:
        check_health(rows, checkpoint)
        if rows[-1]["step"] == 3:
            raise RuntimeError("stop here")

    def train() -> None:
        settings = training.TrainSettings.model_validate(settings_of(rotate="pca", steps=3))
        training.train(settings, bert, *corpus, output, checkpoint_seconds=0)

    output = tmp_path / "m" / "s0" / "model.json"
    monkeypatch.setattr(training, "append_projection", an_hour_of_fitting)
    monkeypatch.setattr(training, "check_health", broken_health)
    with pytest.raises(RuntimeError, match="stop here"):
        train()
    (last,) = (tmp_path / "m" / "s0.checkpoints").glob("step-00000002-*")
    assert json.loads((last / "state.json").read_text())["seconds"] >= HOUR, "the rotation is in it"
    monkeypatch.setattr(training, "check_health", check_health)
    train()
    assert HOUR <= json.loads(output.read_text())["cost"]["seconds"] < 2 * HOUR, "fitted again, it does not count again"
