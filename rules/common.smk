# What every room's rules share: the checked study, the graph of models, and the functions that
# give each rule its inputs and its one settings argument.
#
# Takes: the merged configuration. Leaves: names for the other rule files; no rule of its own.

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
from snakemake.exceptions import WorkflowError
from workflow_scripts.launch.code import code_files
from workflow_scripts.launch.plan import refusal
from workflow_scripts.launch.session import drop_stale_lock, use_this_python
from workflow_scripts.launch.slurm import prepare
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.references import parse_reference

try:
    STUDY = load_study(config)
except StudyError as error:
    raise SystemExit(f"configuration: {error}")

use_this_python()
if workflow.is_main_process:
    drop_stale_lock(Path.cwd())


RESULTS = f"results/{STUDY.study}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
ENVIRONMENT = "../envs/environment.yaml"
CATALOGUE = task_catalogue()
TRAINING_TEXTS = "training_texts"  # the sample of training texts, encoded like a task
MODELS = [
    (model, seed)
    for model in STUDY.graph.models
    for seed in STUDY.graph.seeds_of(model)
]
FETCHED = [model for model in STUDY.graph.models if STUDY.graph.is_fetched(model)]
TRAINED = [model for model in STUDY.graph.models if STUDY.graph.is_trained(model)]
TRANSFORMED = [m for m in STUDY.graph.models if m not in FETCHED and m not in TRAINED]
GPU_RULES = {"transform", "train", "embed"}
# What every job but the local ones exports: downloads happen on the login node, and nowhere else.
OFFLINE = "HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"
# A store that is its parent's times a matrix or cut short: nothing is encoded for it.
ENCODED = FETCHED + TRAINED


def either_of(names):
    """A wildcard's pattern that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=either_of(STUDY.graph.models),
    seed=r"\d+",
    task=either_of([*CATALOGUE, TRAINING_TEXTS]),
    root=either_of(FETCHED),


def code(room):
    """The files whose change re-runs a room: its own modules and those that they import."""
    return [os.path.relpath(file) for file in code_files(room)]


def refuse_over_budget():
    """End here, before any job, a study that its `budget: gpu_hours` does not allow."""
    jobs = [j for j in workflow.dag.needrun_jobs() if j.rule.name in GPU_RULES]
    planned = {
        (w.model, int(w.seed), w.get("task", "")) for w in (j.wildcards for j in jobs)
    }
    if jobs and (reason := refusal(STUDY, Path(RESULTS), planned)):
        raise WorkflowError(reason)


def settings(**values):
    """The one argument that carries everything of the configuration that a rule depends on."""
    return json.dumps(values, sort_keys=True)


def growing(amount):
    """A resource that doubles with each attempt."""

    def resource(wildcards, attempt):
        return amount * 2 ** (attempt - 1)

    return resource


def growing_with_texts(amount):
    """The same, and room for a large task's texts, in MB: what they take in Python, several times over."""

    def resource(wildcards, attempt):
        characters = CATALOGUE.get(wildcards.task, {}).get("characters") or 0
        return (amount + 4 * characters // 10**6) * 2 ** (attempt - 1)

    return resource


def task_digest(wildcards):
    """The digest of the texts that a store is made of: a task's, or the training texts'."""
    if wildcards.task == TRAINING_TEXTS:
        return rules.pairs.output.digest
    return f"{RESULTS}/tasks/{wildcards.task}/task.sha256"


def parent_digest(wildcards):
    """The digest of the parent's folder, for a model that is made from one."""
    parent = STUDY.graph.parent_of(wildcards.model)
    seed = STUDY.graph.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/models/{parent}/s{seed}/model.sha256"


def files_of_user(path):
    """A file of the user's, or all in a folder of theirs but what is hidden: what an edit there makes again."""
    root = Path(path)
    if not root.is_dir():
        return [path]

    def hidden(path):
        return any(part.startswith(".") for part in path.relative_to(root).parts)

    return sorted(str(p) for p in root.rglob("*") if p.is_file() and not hidden(p))


def model_cards():
    """The README.md of every model of the study."""
    return [f"{RESULTS}/models/{model}/s{seed}/README.md" for model, seed in MODELS]


# ---- tasks


def task_settings(wildcards):
    return settings(task=wildcards.task)


# ---- corpus


def downloaded_pairs(wildcards):
    return rules.download_pairs.output.digest if STUDY.corpus.source == "medi" else []


def own_pairs(wildcards):
    source = STUDY.corpus.source
    return [] if source in ("medi", "wordnet") else files_of_user(source)


def evaluation_digests(wildcards):
    return expand(f"{RESULTS}/tasks/{{task}}/task.sha256", task=clean_against())


def clean_against():
    """The tasks whose texts must not be in the pairs: `corpus: decontaminate`, benchmarks spelled out."""
    return STUDY.tasks_cleaned_against


def pairs_settings(wildcards):
    return settings(
        corpus=STUDY.corpus.model_dump(),
        evaluation=[f"{RESULTS}/tasks/{task}" for task in clean_against()],
    )


def tokens_settings(wildcards):
    return settings(max_length=STUDY.training.max_length)


# ---- models


def own_model(wildcards):
    """The files of a model that is a folder of the user's; none for one that is pinned."""
    kind, name, _ = parse_reference(STUDY.graph.reference_of(wildcards.model))
    return files_of_user(name) if kind == "path" else []


def fetch_settings(wildcards):
    return settings(
        model=wildcards.model,
        reference=STUDY.graph.reference_of(wildcards.model),
        width=STUDY.graph.width_of(wildcards.model),
    )


def made_settings(wildcards):
    """What decides a model that is made from a parent."""
    model = wildcards.model
    variant = STUDY.variants[model]
    values = dict(
        model=model,
        parent=STUDY.graph.parent_of(model),
        seed=int(wildcards.seed),
        rotate=variant.rotate,
        width=STUDY.graph.width_of(model),
        max_length=STUDY.training.max_length,
    )
    if STUDY.graph.is_trained(model):
        values |= dict(
            steps=STUDY.graph.steps_of(model),
            nesting=STUDY.graph.nesting_of(model),
            nesting_weights=STUDY.graph.nesting_weights_of(model),
            objective=variant.objective or STUDY.training.objective,
            training=STUDY.training.model_dump(exclude=UNTRAINED_KEYS),
        )
    return settings(**values)


# Said per variant (above), or no matter for the weights.


UNTRAINED_KEYS = {
    "steps",
    "nesting",
    "nesting_weights",
    "objective",
    "checkpoint_minutes",
}


def tokens_digest(wildcards):
    return (
        f"{RESULTS}/corpus/tokens/{STUDY.graph.root_of(wildcards.model)}/tokens.sha256"
    )


# ---- embeddings


def embed_settings(wildcards):
    return settings(task=wildcards.task, encoding=STUDY.encoding.model_dump())


def parent_store(wildcards):
    parent = STUDY.graph.parent_of(wildcards.model)
    seed = STUDY.graph.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/embeddings/{parent}/s{seed}/{wildcards.task}/embeddings.sha256"


# ---- scores


def score_settings(wildcards):
    return settings(
        study=STUDY.study,
        model=wildcards.model,
        seed=int(wildcards.seed),
        task=wildcards.task,
        dimensions=STUDY.graph.dimensions_of(wildcards.model),
        cuts=STUDY.cuts,
        random_draws=STUDY.random_draws,
        precisions=STUDY.precisions,
        adaptive=STUDY.adaptive.model_dump(),
    )


def score_threads(wildcards):
    """Small tasks spend their time in one-threaded regressions and imports; a search over a large corpus does not."""
    task = CATALOGUE[wildcards.task]
    return 4 if task["type"] == "Retrieval" and task["dataset"] else 1


def training_texts_store(wildcards):
    if not STUDY.fits_on_training_texts:
        return []
    return f"{RESULTS}/embeddings/{wildcards.model}/s{wildcards.seed}/{TRAINING_TEXTS}/embeddings.sha256"


# ---- curves


def all_scores(wildcards):
    return of_all_scores("parquet")


def all_values(wildcards):
    """What the scores are means of: the intervals come from these."""
    return of_all_scores("values.parquet")


def all_adaptive(wildcards):
    return of_all_scores("adaptive.parquet")


def of_all_scores(ending):
    return [
        f"{RESULTS}/scores/{model}/s{seed}/{task}.{ending}"
        for model, seed in MODELS
        for task in STUDY.tasks
    ]


def model_manifests(wildcards):
    """What every model cost and came from."""
    return [f"{RESULTS}/models/{model}/s{seed}/model.json" for model, seed in MODELS]


def task_manifests(wildcards):
    return expand(f"{RESULTS}/tasks/{{task}}/task.json", task=STUDY.tasks)


def pairs_manifest(wildcards):
    """The account of the training pairs, where the study has any."""
    return rules.pairs.output.manifest if STUDY.needs_pairs else []


def store_manifests(wildcards):
    return [
        f"{RESULTS}/embeddings/{model}/s{seed}/{task}/embeddings.json"
        for model, seed in MODELS
        for task in STUDY.tasks
    ]


def training_logs(wildcards):
    """The losses of every trained model, step by step."""
    return [
        f"{RESULTS}/models/{model}/s{seed}/training.parquet"
        for model, seed in MODELS
        if model in TRAINED
    ]


def curves_settings(wildcards):
    """Everything, for the report says what was run; in the order of the configuration, which is that of the lines."""
    return json.dumps({"study": STUDY.model_dump()})


def page_assets():
    """The style and the script that the report carries inside."""
    room = Path(workflow.basedir, "workflow_scripts", "curves")
    return [os.path.relpath(room / name) for name in ("report.css", "report.js")]


def speed_settings(wildcards):
    """Every dimension at which some model is scored: searches are timed at these."""
    dimensions = {d for model, _ in MODELS for d in STUDY.graph.dimensions_of(model)}
    return settings(dimensions=sorted(dimensions))
