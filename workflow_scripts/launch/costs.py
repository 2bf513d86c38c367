"""What a study costs in jobs, tokens and GPU-hours: estimates, and each says what it stands on.

Takes a study and the folder of its results; leaves a `Cost` for each model and the number of jobs of each rule.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.study.configuration import Study

TRAINING_TEXTS = "training_texts"
CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_TRIPLE = {"wordnet": 80.0}  # until tokens.json says
TOKENS_PER_MEDI_TRIPLE = 400.0  # 1.7 kB of text in a triple on average; also assumed for pairs of one's own
TEXTS_UNKNOWN = 20_000
CHARACTERS_UNKNOWN = 1_500_000  # of a task whose size mteb does not state
FORWARD_SHARE = 1 / 3  # of a training token's work: the backward pass takes twice the forward's


@dataclass(frozen=True)
class Cost:
    """What one model costs over all its seeds: what is left to do, and what was spent on what is there."""

    model: str
    seeds: int
    steps: int  # of one seed
    training_tokens: float  # left
    encoding_tokens: float  # left
    spent_hours: float

    def hours(self, tokens_per_second: float) -> tuple[float, float]:
        """(training, encoding) GPU-hours left, at a training throughput of one GPU."""
        per_hour = tokens_per_second * 3600
        return self.training_tokens / per_hour, self.encoding_tokens * FORWARD_SHARE / per_hour


Job = tuple[str, int, str]  # model, seed, and the task whose texts are encoded ("": the model itself is made)


def costs(study: Study, results: Path, planned: Collection[Job] = ()) -> list[Cost]:
    """A `Cost` for every model of the graph, parents first. What is there is spent, and left again where it is
    `planned`: to be made anew, as its settings or inputs have changed."""
    per_triple = tokens_per_triple(study, results)
    found = []
    for model in study.graph.models:
        training = encoding = spent = 0.0
        encoded = study.graph.is_fetched(model) or study.graph.is_trained(model)
        for seed in study.graph.seeds_of(model):
            made = finished_manifest(results / "models" / model / f"s{seed}" / "model.json", "model.sha256")
            if made is not None:
                spent += (made.get("cost") or {}).get("seconds", 0.0) / 3600 * study.training.gpus
            to_make = made is None or (model, seed, "") in planned
            if to_make and study.graph.is_trained(model):
                training += study.graph.steps_of(model) * study.training.batch * per_triple
            elif study.graph.is_of_vectors(model):
                continue
            elif to_make and model in study.graph.adapted:  # its parent's pairs are encoded once for all adaptors
                encoding += (study.variants[model].pairs or study.adaptor.pairs) * per_triple
            elif to_make and study.graph.parent_of(model):  # its parent's sample is encoded once for the rotation
                encoding += study.corpus.sample_texts * per_triple / 3
            if not encoded:
                continue
            for name in encoded_texts(study):
                store = results / "embeddings" / model / f"s{seed}" / name
                made = finished_manifest(store / "embeddings.json", "embeddings.sha256")
                if made is not None:
                    spent += made.get("seconds", 0.0) / 3600
                if made is None or (model, seed, name) in planned:
                    encoding += tokens_of(study, name, per_triple)
        found.append(
            Cost(model, len(study.graph.seeds_of(model)), study.graph.steps_of(model), training, encoding, spent)
        )
    return found


def gpu_hours(costs_of_models: list[Cost], tokens_per_second: float) -> tuple[float, float]:
    """(left, spent) GPU-hours of the whole study."""
    left = sum(sum(cost.hours(tokens_per_second)) for cost in costs_of_models)
    return left, sum(cost.spent_hours for cost in costs_of_models)


def tokens_per_triple(study: Study, results: Path) -> float:
    """Tokens of one training triple: counted where the pairs are tokenised, assumed where not."""
    for counted in sorted((results / "corpus" / "tokens").glob("*/tokens.json")):
        content = json.loads(counted.read_text())
        if content.get("rows"):
            return float(content["tokens"]) / float(content["rows"])
    return min(TOKENS_PER_TRIPLE.get(study.corpus.source, TOKENS_PER_MEDI_TRIPLE), 3.0 * study.training.max_length)


def encoded_texts(study: Study) -> list[str]:
    """What every encoded model encodes: the tasks' texts, and the training texts' sample where something is fitted."""
    return [*study.task_names, *([TRAINING_TEXTS] if study.fits_on_training_texts else [])]


def tokens_of(study: Study, name: str, per_triple: float) -> float:
    """Tokens of a task's texts, from mteb's statistics (all languages of a task that has several: at most)."""
    if name == TRAINING_TEXTS:
        return study.corpus.sample_texts * per_triple / 3
    return (study.catalogue[name]["characters"] or CHARACTERS_UNKNOWN) / CHARACTERS_PER_TOKEN


def store_bytes(study: Study, model: str, name: str) -> float:
    """Bytes of the store of one model and one task's texts, by mteb's count of them."""
    texts = study.corpus.sample_texts if name == TRAINING_TEXTS else study.catalogue[name]["texts"] or TEXTS_UNKNOWN
    return float(texts * study.graph.width_of(model) * (2 if study.encoding.precision == "float16" else 4))


def jobs(study: Study) -> dict[str, int]:
    """How many jobs each rule has when nothing is made yet."""
    pairs = [(model, seed) for model in study.graph.models for seed in study.graph.seeds_of(model)]
    fetched = [p for p in pairs if study.graph.is_fetched(p[0])]
    trained = [p for p in pairs if study.graph.is_trained(p[0])]
    own = [p for p in pairs if study.graph.is_own(p[0])]
    transformed = [p for p in pairs if p not in fetched + trained + own]
    of_texts = [p for p in pairs if p[0] in study.graph.encoders]
    adapted = [p for p in of_texts if p[0] in study.graph.adapted]
    of_vectors = [p for p in pairs if p not in own + of_texts]
    tasks, texts = study.task_names, int(study.fits_on_training_texts)
    encoded = len(fetched) + len(trained)
    counts = {
        "download_pairs": int(study.needs_pairs and study.corpus.source == "medi"),
        "task": len(tasks_prepared(study)),
        "pairs": int(study.needs_pairs),
        "tokens": len({study.graph.root_of(model) for model, _ in trained + adapted}),
        "fetch": len(fetched),
        "transform": len(transformed) - len(adapted) - len(of_vectors),
        "encode_pairs": len(
            {(study.graph.parent_of(m), study.graph.seed_of_parent(m, seed), seed) for m, seed in adapted}
        ),
        "adaptor": len(adapted),
        "adaptor_of_vectors": len(of_vectors),
        "train": len(trained),
        "embed_part": sum(n for n in map(study.encoding_jobs, tasks) if n > 1) * encoded,
        "embed": len(tasks) * encoded,
        "embed_training_texts": texts * encoded,
        "own_vectors": len(tasks) * len(own),
        "embed_by_matrix": len(tasks) * len(transformed),
        "training_texts_by_matrix": texts * (len(transformed) - len(of_vectors)),
        "score": len(tasks) * len(pairs),
        "curves": 1,
        "first_report": int(study.graph.partly_trained),
        "speed": 1,
        "figures": 1,
        "report": 1,
        "card": len(of_texts),
    }
    return {rule: count for rule, count in counts.items() if count}


def tasks_prepared(study: Study) -> list[str]:
    """The tasks whose data are fetched: those scored, and those that the pairs are cleaned against."""
    return list(dict.fromkeys([*study.task_names, *(study.tasks_cleaned_against if study.needs_pairs else [])]))


def finished_manifest(path: Path, digest: str) -> dict[str, Any] | None:
    """A manifest whose artefact is complete."""
    if not (path.is_file() and (path.parent / digest).is_file()):
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content
