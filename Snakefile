"""Matryoshka Curves: how much does a text embedding lose when it is cut short,
and what is the cheapest way to make it lose less?"""

from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:  # a study of one's own stands alone

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/tasks.smk"
include: "rules/corpus.smk"
include: "rules/models.smk"
include: "rules/embeddings.smk"
include: "rules/scores.smk"
include: "rules/curves.smk"
include: "rules/deploy.smk"
include: "rules/plan.smk"
include: "rules/parts.smk"


onstart:  # Snakemake keeps one of these, the last
    gc.enable()
    refuse_over_budget()
    limit_gpus()
    retry_no_mistakes(workflow)
    prepare(workflow, logger)


rule all:
    default_target: True
    input:
        rules.report.output.page,
        rules.figures.output.svg,
        all_scores,  # named, so that one that was deleted is made again
        mteb_results(),
        model_cards(),
        first_report(),
