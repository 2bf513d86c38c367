# models: every model of the graph as a sentence-transformers folder.
#
# Takes: a model reference or a parent's folder, the training texts and their tokens; or the user's own vectors and pairs of their rows.
# Leaves: models/<model>/s<seed>/ with the weights, model.json (cost, parents, hashes) and, where trained, training.parquet.


include: "functions/models.smk"


localrules:
    fetch,


rule fetch:
    input:
        code=code("models"),
        own=own_model,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    wildcard_constraints:
        model=either_of(FETCHED),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=fetch_settings,
    shell:
        "python -m workflow_scripts.models.fetch --settings {params.settings:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule transform:
    input:
        code=code("models"),
        parent=parent_digest,
        sample=sample_of_rotation,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    wildcard_constraints:
        model=either_of([m for m in TRANSFORMED if m not in ADAPTED]),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(6000),
        runtime=growing(30),
        gpu=gpus(1),
    params:
        settings=made_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.transform --settings {params.settings:q}"
        " --parent {input.parent:q} --sample {input.sample:q} --output {output.manifest:q} > {log:q} 2>&1"


rule encode_pairs:
    input:
        code=code("models"),
        model=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        tokens=tokens_digest,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}.pairs/s{{pairs_seed}}/pairs.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}.pairs/s{{pairs_seed}}/pairs.sha256",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}_pairs_s{{pairs_seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}_pairs_s{{pairs_seed}}.tsv"
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=gpus(1),
    params:
        settings=encode_pairs_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.encode_pairs --settings {params.settings:q}"
        " --model {input.model:q} --tokens {input.tokens:q} --output {output.manifest:q} > {log:q} 2>&1"


rule adaptor:
    input:
        code=code("models"),
        parent=parent_digest,
        embeddings=parent_pairs,
        pairs=rules.pairs.output.pairs_digest,
        tokens=tokens_digest,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        steps=f"{RESULTS}/models/{{model}}/s{{seed}}/training.parquet",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    wildcard_constraints:
        model=either_of([m for m in ADAPTED if m not in OF_VECTORS]),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=gpus(1),
    params:
        settings=adaptor_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.adapt --settings {params.settings:q} --parent {input.parent:q}"
        " --embeddings {input.embeddings:q} --pairs {input.pairs:q} --tokens {input.tokens:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule adaptor_of_vectors:
    input:
        code=code("models/own"),
        tasks=of_tasks_with_pairs(f"{RESULTS}/tasks/{{task}}/task.sha256"),
        protocols=of_tasks_with_pairs(f"{RESULTS}/tasks/{{task}}/protocol.sha256"),
        stores=of_tasks_with_pairs(
            f"{RESULTS}/embeddings/{{parent}}/s{{seed}}/{{task}}/embeddings.sha256"
        ),
        pairs=files_of_pairs,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        steps=f"{RESULTS}/models/{{model}}/s{{seed}}/training.parquet",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    wildcard_constraints:
        model=either_of([m for m in ADAPTED if m in OF_VECTORS]),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=adaptor_of_vectors_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.models.own.adapt_vectors --settings {params.settings:q}"
        " --tasks {input.tasks:q} --stores {input.stores:q} --output {output.manifest:q} > {log:q} 2>&1"


rule train:
    input:
        code=code("models"),
        parent=parent_digest,
        pairs=rules.pairs.output.pairs_digest,
        sample=sample_of_rotation,
        tokens=tokens_digest,
    output:
        manifest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.json",
        digest=f"{RESULTS}/models/{{model}}/s{{seed}}/model.sha256",
        steps=f"{RESULTS}/models/{{model}}/s{{seed}}/training.parquet",
    log:
        f"{LOGS}/models/{{model}}_s{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}_s{{seed}}.tsv"
    wildcard_constraints:
        model=either_of(TRAINED),
    priority: cheapest_first
    conda:
        ENVIRONMENT
    threads: half_of_the_cores
    resources:
        mem_mb=growing(12000),
        runtime=growing(720),
        gpu=gpus(STUDY.training.gpus),
        scratch=0,
        # as a resource, which trains nothing again when it changes
        checkpoint_seconds=round(60 * STUDY.training.checkpoint_minutes),
    params:
        settings=made_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        # in the shell's place: SLURM's TERM goes to all, and a shell that ended would take the training with it
        " exec python -m workflow_scripts.models.train --settings {params.settings:q}"
        " --gpus {resources.gpu} --checkpoint-seconds {resources.checkpoint_seconds} --parent {input.parent:q} --pairs {input.pairs:q}"
        " --tokens {input.tokens:q} --scratch {resources.scratch} --output {output.manifest:q} > {log:q} 2>&1"
