"""Fixtures of this room's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus.pairs import ROOT


@pytest.fixture(scope="session")
def shared_pairs() -> Path:
    """Small files of pairs beside the checkout, in layouts that users have; skipped without them, except in CI."""
    folder = ROOT.parent / "shared" / "cases" / "pairs"
    if not folder.is_dir():
        reason = f"needs the small inputs in {folder}, which are not there"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
