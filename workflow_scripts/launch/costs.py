"""What a study costs in jobs, tokens and GPU-hours: estimates, and each says what it stands on.

Takes a study and the folder of its results; leaves a `Cost` for each model and the number of jobs of each rule.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.artefact import read_json
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.names import TRAINING_TEXTS

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


# Model, seed, and what it encodes: a task's texts, or pairs (`pairs_of_seed`); "": the model itself is made.
Job = tuple[str, int, str]


def pairs_of_seed(seed: int) -> str:
    """What stands for a task where a model encodes the pairs that its adaptors of a seed learn from; no task is called so."""
    return f"pairs/s{seed}"


def costs(study: Study, results: Path, planned: Collection[Job] = ()) -> list[Cost]:
    """A `Cost` for every model of the graph, parents first. What is there is spent, and left again where it is
    `planned`: to be made anew, as its settings or inputs have changed. Pairs that several adaptors learn from are those of
    the first."""
    per_triple = tokens_per_triple(study, results)
    sharing = adaptors_by_pairs(study)
    of_pairs = {adaptor: job for job, adaptors in sharing.items() for adaptor in adaptors}
    found = []
    for model in study.graph.models:
        training = encoding = spent = 0.0
        trained = study.graph.is_trained(model)
        encoded = study.graph.is_fetched(model) or trained
        for seed in study.graph.seeds_of(model):
            if study.graph.is_of_vectors(model):
                continue
            made = model_manifest(results, model, seed)
            seconds = seconds_of(made)
            to_make = made is None or (model, seed, "") in planned
            if to_make and trained:
                training += study.graph.steps_of(model) * study.training.batch * per_triple
            elif job := of_pairs.get((model, seed)):
                pairs, of_pairs_alone = pairs_to_encode(study, results, job, sharing[job], planned)
                seconds = max(seconds - of_pairs_alone, 0.0)  # an adaptor's model.json has these in it
                if (model, seed) == sharing[job][0]:
                    encoding += pairs * per_triple
                    seconds += of_pairs_alone
            elif to_make and study.graph.is_rotated(model):  # its parent's sample is encoded once for the rotation
                encoding += study.corpus.sample_texts * per_triple / 3
            if not study.graph.is_fetched(model):
                used = (made or {}).get("recipe", {}).get("processes", 1)  # of a training, GPUs
                spent += seconds / 3600 * used
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


def adaptors_by_pairs(study: Study) -> dict[Job, list[tuple[str, int]]]:
    """The jobs that encode pairs, each with the adaptors (model, seed) that learn from them."""
    found: dict[Job, list[tuple[str, int]]] = {}
    for model in study.graph.adapted:
        parent = study.graph.parent_of(model)
        if parent is None or study.graph.is_of_vectors(model):
            continue
        for seed in study.graph.seeds_of(model):
            job = parent, study.graph.seed_of_parent(model, seed), pairs_of_seed(seed)
            found.setdefault(job, []).append((model, seed))
    return found


def pairs_encoded(study: Study, parent: str) -> int:
    """As many pairs as the largest adaptor of this parent uses: all adaptors of one seed share the store."""
    children = [model for model in study.graph.adapted if study.graph.parent_of(model) == parent]
    return max(pairs_of_adaptor(study, model) for model in children)


def pairs_of_adaptor(study: Study, model: str) -> int:
    """Training pairs that an adaptor uses."""
    return study.variants[model].pairs or study.adaptor.pairs


def pairs_to_encode(
    study: Study, results: Path, job: Job, adaptors: list[tuple[str, int]], planned: Collection[Job]
) -> tuple[int, float]:
    """(pairs left to encode, seconds that were spent on them) of a job and the adaptors that learn from it."""
    parent, seed, pairs = job
    made = finished_manifest(results / "models" / parent / f"s{seed}.{pairs}" / "pairs.json", "pairs.sha256")
    waiting = any(model_manifest(results, *adaptor) is None for adaptor in adaptors)
    left = job in planned or (made is None and waiting)
    return pairs_encoded(study, parent) if left else 0, seconds_of(made)


def gpu_hours(costs_of_models: list[Cost], tokens_per_second: float) -> tuple[float, float]:
    """(left, spent) GPU-hours of the whole study."""
    left = sum(sum(cost.hours(tokens_per_second)) for cost in costs_of_models)
    return left, sum(cost.spent_hours for cost in costs_of_models)


def tokens_per_triple(study: Study, results: Path) -> float:
    """Tokens of one training triple: counted where the pairs are tokenised, assumed where not."""
    for counted in sorted((results / "corpus" / "tokens").glob("*/tokens.json")):
        content = read_json(counted)
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
    """Bytes of the store of one model and one task's texts: by the user's files of vectors, or mteb's count of texts."""
    if study.graph.is_of_vectors(model):
        rows = study.graph.own_rows(model, name)
    elif name == TRAINING_TEXTS:
        rows = study.corpus.sample_texts
    else:
        rows = study.catalogue[name]["texts"] or TEXTS_UNKNOWN
    return float(rows * study.graph.width_of(model) * (2 if study.encoding.precision == "float16" else 4))


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
        "encode_pairs": len(adaptors_by_pairs(study)),
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
        "mteb_results": int(not study.fits_on_held_out),
        "curves": 1,
        "first_report": int(study.graph.partly_trained),
        "speed": 1,
        "figures": 1,
        "report": 1,
        "cards": int(bool(of_texts)),
    }
    return {rule: count for rule, count in counts.items() if count}


def tasks_prepared(study: Study) -> list[str]:
    """The tasks whose data are fetched: those scored, and those that the pairs are cleaned against."""
    return list(dict.fromkeys([*study.task_names, *(study.tasks_cleaned_against if study.needs_pairs else [])]))


def model_manifest(results: Path, model: str, seed: int) -> dict[str, Any] | None:
    """The manifest of a model that is made."""
    return finished_manifest(results / "models" / model / f"s{seed}" / "model.json", "model.sha256")


def seconds_of(manifest: dict[str, Any] | None) -> float:
    """What making a model, or encoding pairs, took; 0 for what is not made."""
    return float(((manifest or {}).get("cost") or {}).get("seconds", 0.0))


def finished_manifest(path: Path, digest: str) -> dict[str, Any] | None:
    """A manifest whose artefact is complete."""
    if not (path.is_file() and (path.parent / digest).is_file()):
        return None
    content: dict[str, Any] = read_json(path)
    return content
