# embeddings: every distinct text of a task, encoded once per model at full width.
#
# Takes: a model's folder and a task's texts.parquet (or the sample of training texts); or a user's own files of vectors.
# Leaves: embeddings/<model>/s<seed>/<task>/ with the store and embeddings.json.


include: "functions/embeddings.smk"


rule embed:
    input:
        code=code("embeddings"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        texts=task_digest,
    output:
        manifest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.json",
        digest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.sha256",
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        model=either_of(FETCHED + TRAINED),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=growing_with_texts(8000),
        runtime=growing(240),
        gpu=GPU,
    params:
        settings=embed_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.embeddings.encode --settings {params.settings:q}"
        " --model {input.model:q} --texts {input.texts:q} --output {output.manifest:q} > {log:q} 2>&1"


rule embed_by_matrix:
    input:
        code=code("embeddings"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        parent=parent_store,
    output:
        manifest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.json",
        digest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.sha256",
    log:
        f"{LOGS}/embeddings/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/embeddings/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        model=either_of(TRANSFORMED),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=embed_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.embeddings.multiply --settings {params.settings:q}"
        " --model {input.model:q} --parent {input.parent:q} --output {output.manifest:q} > {log:q} 2>&1"


rule own_vectors:
    input:
        code=code("embeddings/own"),
        task=f"{RESULTS}/tasks/{{task}}/task.sha256",
        vectors=vector_files,
    output:
        manifest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.json",
        digest=f"{RESULTS}/embeddings/{{model}}/s{{seed}}/{{task}}/embeddings.sha256",
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
