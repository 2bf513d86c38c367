# scores: MTEB's own scores of every codec and search, from embeddings encoded once.
#
# Takes: a store of embeddings and the task it belongs to (and the training texts' store, to fit what is fitted).
# Leaves: scores/<model>/s<seed>/<task>.parquet, with the values per query or experiment beside it,
# what its codecs were fitted to, and all that mteb reports; of all scores, scores/mteb/ in mteb's own results layout.


include: "functions/scores.smk"


localrules:
    mteb_results,


rule score:
    input:
        code=code("scores"),
        task=f"{RESULTS}/tasks/{{task}}/task.sha256",
        protocol=f"{RESULTS}/tasks/{{task}}/protocol.sha256",
        embeddings=f"{STORE}/embeddings.sha256",
        training_texts=training_texts_store("embeddings.sha256"),
        stores=ancient(stores_scored),
        learned_from=pairs_not_searched,
    output:
        scores=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.parquet",
        values=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.values.parquet",
        searches=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.search.parquet",
        fitted=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.fitted.safetensors",
        mteb=f"{RESULTS}/scores/{{model}}/s{{seed}}/{{task}}.mteb.json",
    log:
        f"{LOGS}/scores/{{model}}_s{{seed}}_{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/scores/{{model}}_s{{seed}}_{{task}}.tsv"
    wildcard_constraints:
        task=either_of(STUDY.task_names),
    priority: reads_store
    conda:
        ENVIRONMENT
    threads: score_threads
    resources:
        mem_mb=growing_with_texts(6000),
        runtime=growing(240),
        scratch=0,
        store_mb=store_mb(1),
    params:
        settings=score_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.scores.score --settings {params.settings:q} --task {input.task:q}"
        " --embeddings {input.embeddings:q} --training-texts {input.training_texts:q}"
        " --scratch {resources.scratch} --output {output.scores:q} > {log:q} 2>&1"


rule mteb_results:
    input:
        code=code("scores/layout"),
        scores=all_mteb_files,
    output:
        directory(f"{RESULTS}/scores/mteb"),
    log:
        f"{LOGS}/scores/mteb_results.log",
    benchmark:
        f"{BENCHMARKS}/scores/mteb_results.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=60,
    params:
        settings=mteb_settings,
    shell:
        "python -m workflow_scripts.scores.layout.mteb_results --settings {params.settings:q}"
        f" --results {RESULTS}"
        " --output {output:q} > {log:q} 2>&1"
