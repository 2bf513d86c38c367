# What jobs ask for: a GPU, memory that grows with each attempt, and their turn. Time, threads and disk stand at each rule.
#
# Takes: the study (common.smk). The profile grants what is asked for: profiles/default one job with a GPU at a time,
# profiles/slurm the GPUs of its partition. No rule of its own.

from workflow_scripts.launch.machine import has_gpu

# Whether all jobs run on this machine, whose profile limits GPUs (a cluster's does not), and it has none.
LIMITED = getattr(workflow.global_resources.get("gpu"), "value", None) is not None
PROCESSORS_ALONE = LIMITED and not has_gpu()
# GPUs of a job that computes with torch; without one it computes on the processor. A training asks for `training: gpus`.
GPU = 0 if PROCESSORS_ALONE else 1
EFFORTS = {model: GRAPH.effort(model) for model in GRAPH.models}
PRIORITIES = {
    model: sum(effort <= other for other in EFFORTS.values())
    for model, effort in EFFORTS.items()
}
# The priority of what all models wait for, and of the first report: above that of any model's jobs.
FIRST = 1 + len(GRAPH.models)


def half_of_the_cores(wildcards):
    """Threads of a job that computes with torch. On processors alone two run side by side: while one of them imports, loads
    or writes, which takes one core, the other computes."""
    return min(8, (workflow.cores + 1) // 2) if PROCESSORS_ALONE else 8


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
