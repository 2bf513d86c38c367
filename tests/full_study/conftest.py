"""The small hub with all that studies/medi.yaml asks for, cut down in sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.full_study.repositories import (
    Row,
    add_classification,
    add_distilroberta,
    add_medi,
    add_retrieval,
    medi_rows,
)
from tests.hub import Hub, small_hub


@dataclass
class FullHub:
    """The hub, the rows of MEDI in it, and where each layout of them lies."""

    hub: Hub
    rows: list[Row]
    layouts: dict[str, str]


@pytest.fixture(scope="session")
def full_hub(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullHub]:
    rows = medi_rows(shared_data)
    with small_hub(tmp_path_factory.mktemp("hub")) as hub:
        layouts = add_medi(hub, rows)
        add_distilroberta(hub, rows)
        add_classification(hub, "Banking77Classification", shared_data / "mteb_cls" / "banking77", 8, 154)
        add_classification(
            hub,
            "TweetSentimentExtractionClassification",
            shared_data / "mteb_cls" / "tweet_sentiment_extraction",
            40,
            150,
        )
        add_retrieval(hub, "SciFact", shared_data / "retrieval" / "scifact", 30, 200)
        add_retrieval(hub, "NFCorpus", shared_data / "retrieval" / "nfcorpus_processed", 30, 200)
        yield FullHub(hub, rows, layouts)


@pytest.fixture
def sound_hub(full_hub: FullHub) -> Iterator[FullHub]:
    """The same hub, without faults before and after the test."""
    full_hub.hub.faults.clear()
    yield full_hub
    full_hub.hub.faults.clear()
