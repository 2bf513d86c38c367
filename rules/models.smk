# models: every model of the graph as a sentence-transformers folder.
#
# Takes: a model reference or a parent's folder, the training texts and their tokens.
# Leaves: models/<model>/s<seed>/ with the weights, model.json (cost, parents, hashes) and, where trained, training.parquet.


localrules:
    fetch,


def fetch_settings(wildcards):
    return settings(
        model=wildcards.model,
        reference=STUDY.reference_of(wildcards.model),
        width=STUDY.width_of(wildcards.model),
        prompts=STUDY.encoding.prompts,
    )


def made_settings(wildcards):
    """What decides a model that is made from a parent."""
    model = wildcards.model
    variant = STUDY.variants[model]
    values = dict(
        model=model,
        parent=STUDY.parent_of(model),
        seed=int(wildcards.seed),
        rotate=variant.rotate,
        width=STUDY.width_of(model),
        max_length=STUDY.training.max_length,
    )
    if STUDY.is_trained(model):
        values |= dict(
            steps=STUDY.steps_of(model),
            nesting=STUDY.nesting_of(model),
            nesting_weights=STUDY.nesting_weights_of(model),
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
    return f"{RESULTS}/corpus/tokens/{STUDY.root_of(wildcards.model)}/tokens.sha256"


rule fetch:
    input:
        code=code("models"),
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
    wildcard_constraints:
        model=either_of(FETCHED),
    params:
        settings=fetch_settings,
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    threads: 1
    retries: 2
    resources:
        mem_mb=growing(4000),
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "python -m workflow_scripts.models.fetch --settings {params.settings:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule transform:
    input:
        code=code("models"),
        parent=parent_digest,
        pairs=rules.pairs.output.digest,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
    wildcard_constraints:
        model=either_of(TRANSFORMED),
    params:
        settings=made_settings,
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=growing(30),
        gpu=1,
    conda:
        ENVIRONMENT
    shell:
        "export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.transform --settings {params.settings:q}"
        " --parent {input.parent:q} --pairs {input.pairs:q} --output {output.manifest:q} > {log:q} 2>&1"


rule train:
    input:
        code=code("models"),
        parent=parent_digest,
        pairs=rules.pairs.output.digest,
        tokens=tokens_digest,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        steps=f"{RESULTS}/models/{{model}}/s{{seed}}/training.parquet",
    wildcard_constraints:
        model=either_of(TRAINED),
    params:
        settings=made_settings,
        checkpoint_minutes=STUDY.training.checkpoint_minutes,
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    threads: 8
    retries: 2
    resources:
        mem_mb=growing(12000),
        runtime=growing(720),
        gpu=STUDY.training.gpus,
    conda:
        ENVIRONMENT
    shell:
        "export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.train --settings {params.settings:q}"
        " --checkpoint-minutes {params.checkpoint_minutes} --parent {input.parent:q} --pairs {input.pairs:q}"
        " --tokens {input.tokens:q} --output {output.manifest:q} > {log:q} 2>&1"
