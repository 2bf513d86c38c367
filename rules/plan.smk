# plan: what the study will download, fill, run and cost, before it does. `snakemake plan` prints it.
#
# Takes: the study, and what of it is made already. Leaves: a page on the terminal; a study that its
# `budget: gpu_hours` does not allow is refused here, before any job.

from snakemake.exceptions import WorkflowError
from workflow_scripts.plan import refusal


localrules:
    plan,


GPU_RULES = {"transform", "train", "embed"}


onstart:
    if GPU_RULES & {job.rule.name for job in workflow.dag.needrun_jobs()}:
        if reason := refusal(STUDY, Path(RESULTS)):
            raise WorkflowError(reason)


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
        settings=settings(study=STUDY.model_dump()),
        results=RESULTS,
    shell:
        "python -m workflow_scripts.plan --settings {params.settings:q} --results {params.results:q}"
        " 2> {log:q}"
