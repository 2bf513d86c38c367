# corpus: the training pairs, cleaned, with an account of every row dropped; and their tokens.
#
# Takes: MEDI (or WordNet, or a file), the evaluation texts to stay clear of, and a tokenizer per fetched model.
# Leaves: corpus/pairs.parquet, corpus/sample.parquet, corpus.json, tokens/<root>/tokens.arrow.


include: "functions/corpus.smk"


localrules:
    download_pairs,


rule download_pairs:
    input:
        code=code("corpus"),
    output:
        manifest=f"{RESULTS}/corpus/source/source.json",
        digest=f"{RESULTS}/corpus/source/source.sha256",
    log:
        f"{LOGS}/corpus/download.log",
    benchmark:
        f"{BENCHMARKS}/corpus/download.tsv"
    priority: FIRST
    retries: 0  # what waiting mends is tried again inside
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    params:
        settings=download_settings,
    shell:
        "python -m workflow_scripts.corpus.download --settings {params.settings:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule pairs:
    input:
        code=code("corpus"),
        downloaded=downloaded_pairs,
        own=own_pairs,
        evaluation=evaluation_digests,
    output:
        pairs=f"{RESULTS}/corpus/pairs.parquet",
        sample=f"{RESULTS}/corpus/sample.parquet",
        manifest=f"{RESULTS}/corpus/corpus.json",
        digest=f"{RESULTS}/corpus/corpus.sha256",
        pairs_digest=f"{RESULTS}/corpus/pairs.sha256",
        sample_digest=f"{RESULTS}/corpus/sample.sha256",
    log:
        f"{LOGS}/corpus/pairs.log",
    benchmark:
        f"{BENCHMARKS}/corpus/pairs.tsv"
    priority: FIRST
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        settings=pairs_settings,
    shell:
        f"export {OFFLINE};"
        " export POLARS_MAX_THREADS={threads};"
        " python -m workflow_scripts.corpus.prepare --settings {params.settings:q} --threads {threads}"
        " --source {input.downloaded:q} --output {output.manifest:q} > {log:q} 2>&1"


rule tokens:
    input:
        code=code("corpus"),
        pairs=rules.pairs.output.pairs_digest,
        model=f"{RESULTS}/models/{{root}}/s{STUDY.seeds[0]}/model.sha256",
    output:
        manifest=f"{RESULTS}/corpus/tokens/{{root}}/tokens.json",
        digest=f"{RESULTS}/corpus/tokens/{{root}}/tokens.sha256",
    log:
        f"{LOGS}/corpus/tokens_{{root}}.log",
    benchmark:
        f"{BENCHMARKS}/corpus/tokens_{{root}}.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        settings=tokens_settings,
    shell:
        f"export {OFFLINE};"
        " python -m workflow_scripts.corpus.tokenise --settings {params.settings:q} --threads {threads}"
        " --pairs {input.pairs:q} --model {input.model:q} --output {output.manifest:q} > {log:q} 2>&1"
