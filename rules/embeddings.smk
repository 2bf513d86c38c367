# embeddings: every distinct text of a task, encoded once per model at full width.
#
# Takes: a model's folder and a task's texts.parquet (or the sample of training texts); or a user's own files of vectors.
# Leaves: embeddings/<model>/s<seed>/<task>/ with the store and embeddings.json; the store for as long as `encoding: keep` says.


include: "functions/embeddings.smk"


rule embed:
    input:
        code=code("embeddings"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        texts=task_digest,
        parts=parts_of_store,
    output:
        manifest=f"{STORE}/embeddings.json",
        digest=f"{STORE}/embeddings.sha256",
        store=kept(f"{STORE}/embeddings.arrow"),
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        model=either_of(FETCHED + TRAINED),
        task=either_of(STUDY.task_names),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=gpus(1),
        store_mb=store_mb(2),  # with its shards, while they are joined
    params:
        settings=embed_settings,
        part="",
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.embeddings.encode --settings {params.settings:q} {params.part}"
        " --model {input.model:q} --texts {input.texts:q} --output {output.manifest:q} > {log:q} 2>&1"


# The training texts are few, and all scores of a model read them: their store stays.
use rule embed as embed_training_texts with:
    output:
        manifest=f"{STORE}/embeddings.json",
        digest=f"{STORE}/embeddings.sha256",
        store=f"{STORE}/embeddings.arrow",
    wildcard_constraints:
        model=either_of(FETCHED + TRAINED),
        task=TRAINING_TEXTS,


# A part of a large task, which has more texts than `rows_per_job`: shards of the store that `embed` joins.
use rule embed as embed_part with:
    input:
        code=code("embeddings"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        texts=task_digest,
    output:
        manifest=temp(f"{STORE}/parts/{{part}}-of-{{parts}}.json"),
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}_{{part}}-of-{{parts}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}_{{part}}-of-{{parts}}.tsv"
    priority: store_after_store
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=gpus(1),
        store_mb=store_mb(1),
    params:
        settings=embed_settings,
        part="--part {part} {parts}",


rule embed_by_matrix:
    input:
        code=code("embeddings"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        parent=parent_store("embeddings.sha256"),
        store=ancient(parent_store("embeddings.arrow")),
    output:
        manifest=f"{STORE}/embeddings.json",
        digest=f"{STORE}/embeddings.sha256",
        store=kept(f"{STORE}/embeddings.arrow"),
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        model=either_of(TRANSFORMED),
        task=either_of(STUDY.task_names),
    priority: reads_store
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        store_mb=store_mb(3),
    params:
        settings=embed_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.embeddings.multiply --settings {params.settings:q}"
        " --model {input.model:q} --parent {input.parent:q} --output {output.manifest:q} > {log:q} 2>&1"


use rule embed_by_matrix as training_texts_by_matrix with:
    output:
        manifest=f"{STORE}/embeddings.json",
        digest=f"{STORE}/embeddings.sha256",
        store=f"{STORE}/embeddings.arrow",
    wildcard_constraints:
        model=either_of(TRANSFORMED),
        task=TRAINING_TEXTS,


rule own_vectors:
    input:
        code=code("embeddings/own"),
        task=f"{RESULTS}/tasks/{{task}}/task.sha256",
        protocol=f"{RESULTS}/tasks/{{task}}/protocol.sha256",
        vectors=vector_files,
    output:
        manifest=f"{STORE}/embeddings.json",
        digest=f"{STORE}/embeddings.sha256",
        store=f"{STORE}/embeddings.arrow",
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        model=either_of(OWN),
        task=either_of(STUDY.task_names),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing_with_texts(4000),
        runtime=growing(60),
    params:
        settings=vectors_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.embeddings.own.make_store --settings {params.settings:q}"
        " --task {input.task:q} --output {output.manifest:q} > {log:q} 2>&1"
