# What every room's rules share: the checked study, the graph of models, and the functions that
# give each rule its inputs and its one settings argument.
#
# Takes: the merged configuration. Leaves: names for the other rule files; no rule of its own.

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
from workflow_scripts.study import StudyError, load_study, task_catalogue

try:
    STUDY = load_study(config)
except StudyError as error:
    raise SystemExit(f"configuration: {error}")

# Jobs run the Python that runs Snakemake; `--sdm conda` puts its own in front of it.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

RESULTS = f"results/{STUDY.study}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
ENVIRONMENT = "../envs/environment.yaml"
CATALOGUE = task_catalogue()
TRAINING_TEXTS = "training_texts"  # the sample of training texts, encoded like a task
MODELS = [
    (model, seed) for model in STUDY.models for seed in STUDY.seeds_of(model)
]
FETCHED = [model for model in STUDY.models if STUDY.is_fetched(model)]
TRAINED = [model for model in STUDY.models if STUDY.is_trained(model)]
TRANSFORMED = [m for m in STUDY.models if m not in FETCHED and m not in TRAINED]
# A store that is its parent's times a matrix or cut short: nothing is encoded for it.
ENCODED = FETCHED + TRAINED
NEEDS_TRAINING_TEXTS = "pca" in STUDY.cuts or set(STUDY.precisions) != {"float32"}
NEEDS_PAIRS = bool(TRAINED or TRANSFORMED or NEEDS_TRAINING_TEXTS)


def either_of(names):
    """A wildcard's pattern that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=either_of(STUDY.models),
    seed=r"\d+",
    task=either_of([*CATALOGUE, TRAINING_TEXTS]),
    root=either_of(FETCHED),


def code(room):
    """The files whose change re-runs a room: its own modules and the shared ones."""
    scripts = Path(workflow.basedir, "workflow_scripts")
    files = [*scripts.glob("*.py"), *scripts.joinpath(room).glob("*.py")]
    return sorted(os.path.relpath(file) for file in files)


def settings(**values):
    """The one argument that carries everything of the configuration that a rule depends on."""
    return json.dumps(values, sort_keys=True)


def growing(amount):
    """A resource that doubles with each attempt."""

    def resource(wildcards, attempt):
        return amount * 2 ** (attempt - 1)

    return resource


def task_digest(wildcards):
    """The digest of the texts that a store is made of: a task's, or the training texts'."""
    if wildcards.task == TRAINING_TEXTS:
        return rules.pairs.output.digest
    return f"{RESULTS}/tasks/{wildcards.task}/task.sha256"


def parent_digest(wildcards):
    """The digest of the parent's folder, for a model that is made from one."""
    parent = STUDY.parent_of(wildcards.model)
    seed = STUDY.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/models/{parent}/s{seed}/model.sha256"


def model_cards():
    """The README.md of every model of the study."""
    return [f"{RESULTS}/models/{model}/s{seed}/README.md" for model, seed in MODELS]
