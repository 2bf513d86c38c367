# What jobs ask for: a GPU, memory that grows with each attempt, and their turn. Time, threads and disk stand at each rule.
#
# Takes: the study (common.smk). The profile grants what is asked for: profiles/default one job with a GPU at a time,
# profiles/slurm the GPUs of its partition; of several in one machine (`--resources gpu=2`) each job takes free ones itself
# (encoder/gpus.py). No rule of its own.

from workflow_scripts.launch.machine import has_gpu

HAS_GPU = has_gpu()
EFFORTS = {model: GRAPH.effort(model) for model in GRAPH.models}
PRIORITIES = {
    model: sum(effort <= other for other in EFFORTS.values())
    for model, effort in EFFORTS.items()
}
# The priority of what all models wait for, and of the first report: above that of any model's jobs.
FIRST = 1 + len(GRAPH.models)


def on_this_machine():
    """Whether jobs run here, not on a cluster: by the executor, which Snakemake knows once it makes jobs. A dry run has an
    executor of its own; there by `--jobs`, which a cluster needs."""
    if workflow.dryrun:
        return workflow.resource_settings.nodes is None
    return workflow.local_exec and not workflow.remote_exec


def processors_alone():
    """Whether jobs that could use a GPU find none."""
    return on_this_machine() and not HAS_GPU


def gpu_limit():
    """The GPUs of all jobs that run at once; None where nobody says. The profile's goes with any `--resources`."""
    return getattr(workflow.global_resources.get("gpu"), "value", None)


def limit_gpus():
    """On this machine one GPU at a time, where nobody says how many."""
    if on_this_machine() and gpu_limit() is None:
        workflow.register_resource("gpu", 1)
        # Of what the scheduler was made without it would subtract nothing while a job runs.
        workflow.scheduler.global_resources["gpu"] = 1


def gpus(count):
    """A resource: GPUs of a job that computes with torch; none where it computes on the processor."""

    def resource(wildcards):
        if processors_alone():
            return 0
        return min(count, gpu_limit() or 1) if on_this_machine() else count

    return resource


def half_of_the_cores(wildcards):
    """Threads of a job that computes with torch. On processors alone two run side by side: while one of them imports, loads
    or writes, which takes one core, the other computes."""
    return min(8, (workflow.cores + 1) // 2) if processors_alone() else 8


def growing(amount):
    """A resource that doubles with each attempt."""

    def resource(wildcards, attempt):
        return amount * 2 ** (attempt - 1)

    return resource


def growing_with_texts(amount):
    """The same, and room for a large task's texts, in MB: what they take in Python, several times over."""

    def resource(wildcards, attempt):
        characters = CATALOGUE.get(wildcards.task, {}).get("characters") or 0
        return (amount + 4 * characters // 10**6) * 2 ** (attempt - 1)

    return resource


def cheapest_first(wildcards):
    """The priority of a model's job: the less training up to it, the higher. So the first report comes before any
    training, and a study that is stopped has finished models."""
    return PRIORITIES[wildcards.model]
