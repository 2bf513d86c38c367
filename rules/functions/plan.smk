# What decides the jobs of ../plan.smk: their inputs and settings.

from snakemake.exceptions import WorkflowError

from workflow_scripts.launch.costs import pairs_of_seed


def planned_job(wildcards):
    """(model, seed, what it encodes) of a job that asks for a GPU; see `launch.costs.Job`."""
    pairs_seed = wildcards.get("pairs_seed")
    encodes = (
        wildcards.get("task", "")
        if pairs_seed is None
        else pairs_of_seed(int(pairs_seed))
    )
    return wildcards.model, int(wildcards.seed), encodes


def refuse_over_budget():
    """End here, before any job, a study that its `budget: gpu_hours` does not allow."""
    jobs = [j for j in workflow.dag.needrun_jobs() if "gpu" in j.rule.resources]
    if not jobs:
        return
    from workflow_scripts.launch.plan import refusal

    planned = {planned_job(job.wildcards) for job in jobs}
    try:
        reason = refusal(STUDY, Path(RESULTS), planned)
    except InputError as error:
        raise WorkflowError(str(error))
    if reason:
        raise WorkflowError(reason)


def plan_limits():
    """What bounds the jobs that run at once, and the stores that they hold."""
    jobs = workflow.resource_settings.nodes or workflow.resource_settings.cores
    # Where rules ask for a resource that nobody bounds, Snakemake knows it with the value None.
    bound = getattr(workflow.global_resources.get("store_mb"), "value", None)
    return f"--jobs {jobs}" + (f" --store-mb {bound}" if bound else "")


def plan_settings(wildcards):
    """In the order of the configuration: the first model of the study is the one whose throughput is measured."""
    return json.dumps({"study": STUDY.model_dump()})
