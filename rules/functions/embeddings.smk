# What decides the jobs of ../embeddings.smk: their inputs and settings.


def task_digest(wildcards):
    """The digest of the texts that a store is made of: a task's, or the training texts'."""
    if wildcards.task == TRAINING_TEXTS:
        return rules.pairs.output.digest
    return f"{RESULTS}/tasks/{wildcards.task}/task.sha256"


def embed_settings(wildcards):
    return settings(task=wildcards.task, encoding=STUDY.encoding.model_dump())


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


def parent_store(wildcards):
    parent = GRAPH.parent_of(wildcards.model)
    seed = GRAPH.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/embeddings/{parent}/s{seed}/{wildcards.task}/embeddings.sha256"
