# What decides the jobs of ../embeddings.smk: their inputs and settings.

from workflow_scripts.launch.costs import store_bytes
from workflow_scripts.study.sections.encoding import HOW

STORE = f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}"


def store_mb(stores):
    """A resource: MB of the task's stores that a job makes and reads, where they leave the disk again.

    `--resources store_mb=N` then bounds what is there at a time.
    """

    def resource(wildcards):
        parts = int(wildcards.get("parts", 1))
        size = store_bytes(STUDY, wildcards.model, wildcards.task)
        return math.ceil(stores * size / parts / 1e6)

    return 0 if STUDY.encoding.keep == "all" else resource


@cache
def place_of_store():
    """The number of each (model, seed, task)."""
    stores = [
        (model, str(seed), task) for model, seed in MODELS for task in STUDY.task_names
    ]
    return {store: number for number, store in enumerate(stores)}


def store_after_store(wildcards):
    """The priority of a part: all of one store before those of the next, so that few are half made."""
    places = place_of_store()
    place = places[wildcards.model, wildcards.seed, wildcards.task]
    return cheapest_first(wildcards) - place / len(places)


def reads_store(wildcards):
    """The priority of what reads a store: where it leaves the disk then, before all that makes others."""
    return cheapest_first(wildcards) + (FIRST if STUDY.encoding.keep == "scores" else 0)


def kept(store):
    """A store's file, or one that leaves the disk when all that reads it is done."""
    return temp(store) if STUDY.encoding.keep == "scores" else store


def parts_of_store(wildcards):
    """What says that a large task's parts are encoded; nothing for a task that one job encodes."""
    count = STUDY.encoding_jobs(wildcards.task)
    parts = [f"{STORE}/parts/{part}-of-{count}.json" for part in range(count)]
    return expand(parts, **wildcards) if count > 1 else []


def task_digest(wildcards):
    """The digest of the texts that a store is made of: a task's, or the training texts'."""
    if wildcards.task == TRAINING_TEXTS:
        return rules.pairs.output.sample_digest
    return f"{RESULTS}/tasks/{wildcards.task}/task.sha256"


def embed_settings(wildcards):
    encoding = STUDY.encoding.model_dump(exclude=HOW)
    encoding["prompts"] = STUDY.prompts_of(wildcards.task)
    return settings(task=wildcards.task, encoding=encoding)


def vector_files(wildcards):
    """The user's files of vectors of a task."""
    return [str(path) for path in GRAPH.files[wildcards.model][wildcards.task].values()]


def vectors_settings(wildcards):
    files = GRAPH.files[wildcards.model][wildcards.task]
    return settings(
        task=wildcards.task,
        model=wildcards.model,
        files={what: str(path) for what, path in files.items()},
        width=GRAPH.width_of(wildcards.model),
    )


def parent_store(file):
    """A function that names a file of the parent's store."""

    def of_parent(wildcards):
        parent = GRAPH.parent_of(wildcards.model)
        seed = GRAPH.seed_of_parent(wildcards.model, int(wildcards.seed))
        return f"{RESULTS}/embeddings/{parent}/s{seed}/{wildcards.task}/{file}"

    return of_parent
