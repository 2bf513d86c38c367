# What decides the jobs of ../parts.smk.

from snakemake.exceptions import WorkflowError

PARTS = f"docs/study/parts/{STUDY.study}"
PICTURES = f"docs/study/{STUDY.study}"


def remaining_scores(wildcards):
    """The scores that are not kept. Refuses to go on with parts that were made with other settings."""
    from workflow_scripts.curves.parts import refuse_other_settings

    try:
        refuse_other_settings(STUDY, Path(PARTS))
    except InputError as error:
        raise WorkflowError(str(error))
    return [
        score
        for score in of_all_scores("parquet")
        if not Path(PARTS, Path(score).relative_to(RESULTS)).exists()
    ]
