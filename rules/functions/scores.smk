# What decides the jobs of ../scores.smk: their inputs and settings.

from workflow_scripts.study.sections.own_task import NOT_JUDGED


def score_settings(wildcards):
    return settings(
        study=STUDY.study,
        model=wildcards.model,
        seed=int(wildcards.seed),
        task=wildcards.task,
        dimensions=GRAPH.dimensions_of(wildcards.model),
        codecs=STUDY.codecs.model_dump(),
        search=STUDY.search.model_dump(),
        **held_out(wildcards),
        **({"learned_from": found} if (found := pairs_not_searched(wildcards)) else {}),
    )


def held_out(wildcards):
    """What leaves every model's searches, in a study of own vectors, which are fitted on it."""
    if not STUDY.fits_on_held_out:
        return {}
    return dict(
        held_out=STUDY.corpus.sample_texts,
        held_out_seed=STUDY.corpus.seed,
        fit_on_held_out=wildcards.model in OF_VECTORS,
    )


def pairs_not_searched(wildcards):
    """The files of pairs whose queries leave every model's searches of a task without judgements: an adaptor has learned
    from them. With judgements these queries have none, and are not scored."""
    if CATALOGUE[wildcards.task]["type"] != NOT_JUDGED:
        return []
    files = [
        of_task[wildcards.task]
        for of_task in GRAPH.pairs.values()
        if wildcards.task in of_task
    ]
    return sorted({str(path) for path in files})


def score_threads(wildcards):
    """Small tasks spend their time in one-threaded regressions and imports; a search over a large corpus does not."""
    task = CATALOGUE[wildcards.task]
    large = task["dataset"] or wildcards.task in STUDY.own_tasks
    return 4 if task["type"].startswith("Retrieval") and large else 1


def stores_scored(wildcards):
    """The stores themselves, whose digests alone decide whether a score is made again."""
    texts = training_texts_store("embeddings.arrow")(wildcards)
    return [
        f"{STORE}/embeddings.arrow".format(**wildcards),
        *([texts] if texts else []),
    ]


def training_texts_store(file):
    """A function that names a file of the training texts' store; nothing where nothing is fitted on them."""

    def of_training_texts(wildcards):
        if wildcards.model in OF_VECTORS or not STUDY.fits_on_training_texts:
            return []
        return f"{RESULTS}/embeddings/{wildcards.model}/s{wildcards.seed}/{TRAINING_TEXTS}/{file}"

    return of_training_texts


def of_all_scores(ending, runs=MODELS):
    return [
        f"{RESULTS}/scores/{model}/s{seed}/{task}.{ending}"
        for model, seed in runs
        for task in STUDY.task_names
    ]


def mteb_results():
    """Scores in mteb's own layout; of own vectors, which are fitted on a part of each task, there are none."""
    return [] if STUDY.fits_on_held_out else rules.mteb_results.output


def all_mteb_files(wildcards):
    """What mteb reports of every score."""
    return of_all_scores("mteb.json")


def mteb_settings(wildcards):
    """What mteb's results call each model."""
    models = []
    for model, seed in MODELS:
        name, revision = GRAPH.hub_name_of(model) or (None, None)
        names = dict(
            name=name or f"{STUDY.study}/{model}", revision=revision or f"s{seed}"
        )
        models.append(dict(model=model, seed=seed, **names))
    return settings(models=models, tasks=list(STUDY.task_names))
