# plan: what the study will download, fill, run and cost, before it does. `snakemake plan` prints it.
#
# Takes: the study, and what of it is made already. Leaves: a page on the terminal.


include: "functions/plan.smk"


localrules:
    plan,


rule plan:
    log:
        f"{LOGS}/plan.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=plan_settings,
        limits=plan_limits(),
    shell:
        "python -m workflow_scripts.launch.plan --settings {params.settings:q}"
        f" --results {RESULTS}"
        " {params.limits}"
        " 2> {log:q}"
