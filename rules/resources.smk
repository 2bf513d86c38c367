# What jobs ask for: a GPU, memory that grows with each attempt, and their turn. Time, threads and disk stand at each rule.
#
# Takes: the study (common.smk). The profile grants what is asked for: profiles/default one job with a GPU at a time,
# profiles/slurm the GPUs of its partition. No rule of its own.

# GPUs of a job that computes with torch; without one it computes on the processor. A training asks for `training: gpus`.
GPU = 1
EFFORTS = {model: GRAPH.effort(model) for model in GRAPH.models}
PRIORITIES = {
    model: sum(effort <= other for other in EFFORTS.values())
    for model, effort in EFFORTS.items()
}
# The priority of what all models wait for, and of the first report: above that of any model's jobs.
FIRST = 1 + len(GRAPH.models)


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
