# parts: a study in pieces. What is finished is kept where results/ may be gone before the study is done.
#
# Takes: what of the study is made. Leaves: docs/study/parts/<study>/, in the layout of results/<study>/ what curves are
# made from; and of all that is kept there, the report in results/<study>/kept/, tables and pictures in docs/study/<study>/.
#
#   snakemake remaining            makes the scores that are not kept, models with less training first; stop it when you like
#   snakemake --nolock keep        adds what is finished to the parts; `remaining` may be running
#   snakemake --nolock kept_report draws all that is kept


include: "functions/parts.smk"


localrules:
    remaining,
    keep,
    kept_report,


rule remaining:
    input:
        remaining_scores,


rule keep:
    log:
        f"{LOGS}/keep.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=30,
    params:
        settings=curves_settings,
    shell:
        # of the code: what stands in docs/ changes with each part that is kept
        "commit=$(git rev-parse --short HEAD 2> /dev/null || echo unknown);"
        " git diff --quiet HEAD -- . ':!docs' 2> /dev/null || [ $? -gt 1 ] || commit=$commit-dirty;"
        " python -m workflow_scripts.curves.parts --settings {params.settings:q}"
        f" --results {RESULTS} --parts {PARTS} --commit $commit > {{log:q}} 2>&1"
        " && tail -n 1 {log:q}"


rule kept_report:
    log:
        f"{LOGS}/kept_report.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=curves_settings,
    shell:
        "(python -m workflow_scripts.curves.curves --settings {params.settings:q}"
        f" --results {PARTS} --output {RESULTS}/kept/curves.parquet"
        f" && python -m workflow_scripts.curves.figures --curves {RESULTS}/kept/curves.parquet"
        f" --svg {PICTURES}/curves.svg --png {PICTURES}/curves.png"
        " && python -m workflow_scripts.curves.report --settings {params.settings:q}"
        f" --results {PARTS} --output {RESULTS}/kept/report.html"
        ") > {log:q} 2>&1"
        f" && echo {RESULTS}/kept/report.html"
