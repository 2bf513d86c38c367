# scores: MTEB's own scores at every dimension and reduction, from embeddings encoded once.
#
# Takes: a store of embeddings and the task it belongs to (and the training texts' store, to fit what is fitted).
# Leaves: scores/<model>/s<seed>/<task>.parquet, with the values per query or experiment beside it.


def score_settings(wildcards):
    return settings(
        study=STUDY.study,
        model=wildcards.model,
        seed=int(wildcards.seed),
        task=wildcards.task,
        dimensions=STUDY.dimensions_of(wildcards.model),
        cuts=STUDY.cuts,
        random_draws=STUDY.random_draws,
        precisions=STUDY.precisions,
        adaptive=STUDY.adaptive.model_dump(),
    )


def training_texts_store(wildcards):
    if not NEEDS_TRAINING_TEXTS:
        return []
    return f"{RESULTS}/embeddings/{wildcards.model}/s{wildcards.seed}/{TRAINING_TEXTS}/embeddings.sha256"


rule score:
    input:
        code=code("scores"),
        task=f"{RESULTS}/tasks/{{task}}/task.sha256",
        embeddings=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.sha256",
        training_texts=training_texts_store,
    output:
        scores=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.parquet",
        values=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.values.parquet",
        adaptive=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.adaptive.parquet",
    wildcard_constraints:
        task=either_of(STUDY.tasks),
    params:
        settings=score_settings,
    log:
        f"{LOGS}/scores/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/scores/{{model}}_s{{seed}}_{{task}}.tsv"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(240),
    conda:
        ENVIRONMENT
    shell:
        "export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.scores.score --settings {params.settings:q} --task {input.task:q}"
        " --embeddings {input.embeddings:q} --training-texts {input.training_texts:q}"
        " --output {output.scores:q} > {log:q} 2>&1"
