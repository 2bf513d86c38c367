# tasks: a local, offline copy of each evaluation task.
#
# Takes: task names (and the hub, or the WordNet files), or evaluation data of the user's own. Leaves: tasks/<task>/ with the task's data,
# texts.parquet (every distinct text that scoring will ask for) and task.json; protocol/, what mteb does with them, for scores.


include: "functions/tasks.smk"


localrules:
    task,


rule task:
    input:
        code=code("tasks"),
        own=own_files,
        catalogue="workflow_scripts/study/mteb_tasks.json",
    output:
        manifest=f"{RESULTS}/tasks/{{task}}/task.json",
        digest=f"{RESULTS}/tasks/{{task}}/task.sha256",
        protocol=f"{RESULTS}/tasks/{{task}}/protocol.sha256",
    log:
        f"{LOGS}/tasks/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/tasks/{{task}}.tsv"
    priority: FIRST
    retries: 0  # what waiting mends is tried again inside
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=120,
    params:
        settings=task_settings,
    shell:
        "python -m workflow_scripts.tasks.prepare --settings {params.settings:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"
