# What decides the jobs of ../deploy.smk: the bundles of the study, their inputs and settings.

from workflow_scripts.study.bundles_fit import task_of
from workflow_scripts.study.sections.deploy import bundle_name

RETRIEVAL = "Retrieval"


@cache
def task_type(task):
    """The task's type, as its scores have it: of a single file of the user's own by its columns."""
    files = STUDY.own_tasks[task].files() if task in STUDY.own_tasks else {}
    return type_of(files, STUDY.encodes) if "rows" in files else CATALOGUE[task]["type"]


def own_bundle(choice):
    """A bundle of the study's own, its defaults filled in."""
    model = choice.model or GRAPH.models[0]
    task = task_of(choice, STUDY.task_names, CATALOGUE)
    seed = GRAPH.seeds_of(model)[0] if choice.seed is None else choice.seed
    return dict(
        choice=choice.choice,
        model=model,
        seeds={model: seed},
        tasks=[task],
        task_type=task_type(task),
        rescored=False,
    )


def recommended_bundle(type_, rescored):
    """What the report will recommend for a task type: of the fetched model or own vectors with the highest score, not known yet."""
    return dict(
        choice=None,
        model=None,
        seeds={model: GRAPH.seeds_of(model)[0] for model in FETCHED + OWN},
        tasks=[task for task in STUDY.task_names if task_type(task) == type_],
        task_type=type_,
        rescored=rescored,
    )


def all_bundles():
    """The study's own by name, or else what the report recommends: by task type."""
    if STUDY.deploy.bundles:
        return {name: own_bundle(one) for name, one in STUDY.deploy.bundles.items()}
    types = list(dict.fromkeys(map(task_type, STUDY.task_names)))
    found = {bundle_name(one): recommended_bundle(one, False) for one in types}
    for one in types if STUDY.search.shortlist else []:
        if one.startswith(RETRIEVAL):
            name = bundle_name(one, rescored=True)
            found[name] = recommended_bundle(one, True)
    return found


BUNDLES = all_bundles()


def of_bundle(wildcards, path, without=(), of=lambda model, seed: (model, seed)):
    """A path for each model that the bundle may be of; `of`: whose file it is, for a model and seed."""
    bundle = BUNDLES[wildcards.bundle]
    models = [
        of(model, seed)
        for model, seed in bundle["seeds"].items()
        if model not in without
    ]
    return [
        path.format(model=model, seed=seed, task=bundle["tasks"][0])
        for model, seed in models
    ]


def bundle_models(wildcards):
    return of_bundle(
        wildcards, f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256", without=OWN
    )


def bundle_manifests(wildcards):
    return of_bundle(
        wildcards, f"{RESULTS}/models/{{model}}/s{{seed}}/model.json", without=OWN
    )


def bundle_cards(wildcards):
    return of_bundle(
        wildcards,
        f"{RESULTS}/curves/cards/{{model}}/s{{seed}}/README.md",
        without=OF_VECTORS,
    )


def bundle_fitted(wildcards):
    return of_bundle(
        wildcards,
        f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.fitted.safetensors",
    )


def bundle_scores(wildcards):
    return [
        *of_bundle(wildcards, f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.parquet"),
        *of_bundle(
            wildcards, f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.search.parquet"
        ),
    ]


def given(model, seed):
    """The model and seed whose store holds what a bundle is given: of an adaptor of vectors, its parent's."""
    if model in OWN or model not in OF_VECTORS:
        return model, seed
    return GRAPH.parent_of(model), GRAPH.seed_of_parent(model, seed)


def bundle_digests(wildcards):
    return of_bundle(wildcards, f"{STORE}/embeddings.sha256", of=given)


def bundle_stores(wildcards):
    return of_bundle(wildcards, f"{STORE}/embeddings.arrow", of=given)


def bundle_settings(wildcards):
    bundle = BUNDLES[wildcards.bundle]
    return settings(
        study=STUDY.study,
        name=wildcards.bundle,
        widths={model: GRAPH.width_of(model) for model in bundle["seeds"]},
        licence=STUDY.deploy.licence,
        language=STUDY.deploy.language,
        own_vectors={
            model: given(model, seed)
            for model, seed in bundle["seeds"].items()
            if model in OF_VECTORS
        },
        **bundle,
    )
