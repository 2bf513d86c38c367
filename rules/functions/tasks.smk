# What decides the jobs of ../tasks.smk: their inputs and settings.


def task_settings(wildcards):
    if wildcards.task in STUDY.own_tasks:
        own = STUDY.own_tasks[wildcards.task].model_dump()
        texts = {} if STUDY.encodes else {"texts": False}
        return settings(task=wildcards.task, own=own, **texts)
    return settings(task=wildcards.task)


def own_files(wildcards):
    """The files of a task that is the user's own data."""
    if wildcards.task not in STUDY.own_tasks:
        return []
    return list(map(str, STUDY.own_tasks[wildcards.task].files().values()))
