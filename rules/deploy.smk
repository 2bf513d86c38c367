# deploy: a recommendation as a bundle that a vector index takes as it is. `snakemake deploy` makes them.
#
# Takes: what the report recommends, or the study's own choices; the scores' fitted codecs, the models, the stores.
# Leaves: deploy/<bundle>/ with the model, codec.safetensors, codec.json, index.faiss and a README.md.


include: "functions/deploy.smk"


localrules:
    deploy,


rule bundle:
    input:
        code=code("deploy"),
        curves=rules.curves.output.curves,
        frontier=rules.curves.output.frontier,
        summary=rules.curves.output.summary,
        models=bundle_models,
        manifests=bundle_manifests,
        cards=bundle_cards,
        fitted=bundle_fitted,
        scores=bundle_scores,
        digests=bundle_digests,
        stores=ancient(bundle_stores),
    output:
        manifest=f"{RESULTS}/deploy/{{bundle}}/codec.json",
        digest=f"{RESULTS}/deploy/{{bundle}}/codec.sha256",
    log:
        f"{LOGS}/deploy/{{bundle}}.log",
    benchmark:
        f"{BENCHMARKS}/deploy/{{bundle}}.tsv"
    wildcard_constraints:
        bundle=either_of(BUNDLES),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        settings=bundle_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.deploy.bundle --settings {params.settings:q}"
        f" --results {RESULTS}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule deploy:
    input:
        expand(f"{RESULTS}/deploy/{{bundle}}/codec.json", bundle=BUNDLES),
