# What decides the jobs of ../tasks.smk: their inputs and settings.


def task_settings(wildcards):
    return settings(task=wildcards.task)
