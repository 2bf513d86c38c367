# What decides the jobs of ../models.smk: their inputs and settings.

from workflow_scripts.launch.costs import pairs_encoded, pairs_of_adaptor
from workflow_scripts.study.references import parse_reference

# Keys of `training` that are said per variant, or do not change the weights.
UNTRAINED_KEYS = {
    "steps",
    "nesting",
    "nesting_weights",
    "objective",
    "checkpoint_minutes",
}


def parent_digest(wildcards):
    """The digest of the parent's folder, for a model that is made from one."""
    parent = GRAPH.parent_of(wildcards.model)
    seed = GRAPH.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/models/{parent}/s{seed}/model.sha256"


def sample_of_rotation(wildcards):
    """The digest of the training texts that a rotation is fitted on; none where there is none."""
    rotated = GRAPH.is_rotated(wildcards.model)
    return rules.pairs.output.sample_digest if rotated else []


def own_model(wildcards):
    """The files of a model that is a folder of the user's; none for one that is pinned."""
    kind, name, _ = parse_reference(GRAPH.reference_of(wildcards.model))
    return files_of_user(name) if kind == "path" else []


def fetch_settings(wildcards):
    model = wildcards.model
    return settings(
        model=model,
        reference=GRAPH.reference_of(model),
        width=GRAPH.width_of(model),
        pooling=(STUDY.base if model == "base" else STUDY.variants[model]).pooling,
    )


def made_settings(wildcards):
    """What decides a model that is made from a parent."""
    model = wildcards.model
    variant = STUDY.variants[model]
    values = dict(
        model=model,
        parent=GRAPH.parent_of(model),
        seed=int(wildcards.seed),
        rotate=variant.rotate,
        width=GRAPH.width_of(model),
        max_length=STUDY.training.max_length,
    )
    if GRAPH.is_trained(model):
        values |= dict(
            steps=GRAPH.steps_of(model),
            nesting=GRAPH.nesting_of(model),
            nesting_weights=GRAPH.nesting_weights_of(model),
            objective=variant.objective or STUDY.training.objective,
            training=STUDY.training.model_dump(exclude=UNTRAINED_KEYS),
        )
    return settings(**values)


def encode_pairs_settings(wildcards):
    return settings(
        model=wildcards.model,
        pairs=pairs_encoded(STUDY, wildcards.model),
        seed=int(wildcards.pairs_seed),
        max_length=STUDY.training.max_length,
        instructions=STUDY.adaptor.instructions,
    )


def parent_pairs(wildcards):
    """The parent's store of the training pairs that the adaptor's seed draws."""
    parent = GRAPH.parent_of(wildcards.model)
    seed = GRAPH.seed_of_parent(wildcards.model, int(wildcards.seed))
    return f"{RESULTS}/models/{parent}/s{seed}.pairs/s{wildcards.seed}/pairs.sha256"


def adaptor_settings(wildcards):
    return settings(**recipe_of_adaptor(wildcards))


def recipe_of_adaptor(wildcards):
    """What decides an adaptor beside the pairs."""
    model = wildcards.model
    return dict(
        model=model,
        parent=GRAPH.parent_of(model),
        seed=int(wildcards.seed),
        width=GRAPH.width_of(model),
        pairs=pairs_of_adaptor(STUDY, model),
        nesting=GRAPH.nesting_of(model),
        nesting_weights=GRAPH.nesting_weights_of(model),
        objective=STUDY.variants[model].objective or STUDY.training.objective,
        adaptor=STUDY.adaptor.model_dump(exclude={"pairs"}),
    )


def tasks_with_pairs(model):
    """The tasks that have pairs for an adaptor of the user's vectors, with the files of them."""
    return dict(sorted(GRAPH.pairs[GRAPH.parent_of(model)].items()))


def files_of_pairs(wildcards):
    return list(map(str, tasks_with_pairs(wildcards.model).values()))


def of_tasks_with_pairs(path):
    """A function that names a file of each task with pairs; `parent`: the vectors that the adaptor is of."""

    def of_tasks(wildcards):
        parent = GRAPH.parent_of(wildcards.model)
        seed = GRAPH.seed_of_parent(wildcards.model, int(wildcards.seed))
        return expand(
            path, parent=parent, seed=seed, task=tasks_with_pairs(wildcards.model)
        )

    return of_tasks


def adaptor_of_vectors_settings(wildcards):
    files = tasks_with_pairs(wildcards.model)
    return settings(
        files={task: str(path) for task, path in files.items()},
        held_out=STUDY.corpus.sample_texts,
        held_out_seed=STUDY.corpus.seed,
        **recipe_of_adaptor(wildcards),
    )


def tokens_digest(wildcards):
    return f"{RESULTS}/corpus/tokens/{GRAPH.root_of(wildcards.model)}/tokens.sha256"
