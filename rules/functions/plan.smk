# What decides the jobs of ../plan.smk: their inputs and settings.

from snakemake.exceptions import WorkflowError


def refuse_over_budget():
    """End here, before any job, a study that its `budget: gpu_hours` does not allow."""
    jobs = [j for j in workflow.dag.needrun_jobs() if "gpu" in j.rule.resources]
    planned = {
        (w.model, int(w.seed), w.get("task", "")) for w in (j.wildcards for j in jobs)
    }
    if not jobs:
        return
    from workflow_scripts.launch.plan import refusal

    if reason := refusal(STUDY, Path(RESULTS), planned):
        raise WorkflowError(reason)


def plan_limits():
    """What bounds the jobs that run at once, and the stores that they hold."""
    jobs = workflow.resource_settings.nodes or workflow.resource_settings.cores
    # Where rules ask for a resource that nobody bounds, Snakemake knows it with the value None.
    bound = getattr(workflow.global_resources.get("store_mb"), "value", None)
    return f"--jobs {jobs}" + (f" --store-mb {bound}" if bound else "")


def plan_settings(wildcards):
    return settings(study=STUDY.model_dump())
