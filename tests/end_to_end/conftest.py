"""A finished small study: the embedded one on the first layer of its own base, fewer variants and steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.project import copy_project, snakemake
from testing.small_study import logs, one_layer_model, write_study


@pytest.fixture(scope="session")
def small_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_layer_model(minilm, tmp_path_factory.mktemp("model") / "one-layer")


@pytest.fixture(scope="session")
def finished(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose small study is done; `study.yaml` in it is the study's configuration. Tests leave it done."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    write_study(project / "study.yaml", small_model)
    result = snakemake(project, "--cores", "2", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(project)
    return project
