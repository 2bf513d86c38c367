# What decides the jobs of ../tasks.smk: their inputs and settings.


def task_settings(wildcards):
    if wildcards.task in STUDY.own_data:
        own = STUDY.own_data[wildcards.task].model_dump()
        texts = {} if STUDY.encodes else {"texts": False}
        return settings(task=wildcards.task, own=own, **texts)
    return settings(task=wildcards.task)


def own_files(wildcards):
    """The files of a task that is the user's own data."""
    if wildcards.task not in STUDY.own_data:
        return []
    return list(map(str, STUDY.own_data[wildcards.task].files().values()))
