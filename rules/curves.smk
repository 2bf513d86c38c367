# curves: the answer. Degradation curves with intervals, figures, the report, and a card for each model.
#
# Takes: all scores of the study and every room's manifests. Leaves: curves/curves.parquet, curves.csv, frontier.parquet,
# budget.parquet, domains.parquet, agreement.parquet, differences.parquet, summary.json, speed.json, curves.svg, curves.png, report.html, cards/<model>/s<seed>/README.md.
# first/report.html comes before any training ends, from the models that need none.
# `snakemake partial_report` leaves partial/report.html, from the scores that are there already.


include: "functions/curves.smk"


localrules:
    curves,
    figures,
    report,
    first_report,
    partial_report,
    cards,


rule curves:
    input:
        code=code("curves"),
        scores=all_scores,
        values=all_values,
        searches=all_searches,
        models=model_manifests,
        tasks=task_manifests,
        pairs=pairs_manifest,
    output:
        curves=f"{RESULTS}/curves/curves.parquet",
        table=f"{RESULTS}/curves/curves.csv",
        differences=f"{RESULTS}/curves/differences.parquet",
        frontier=f"{RESULTS}/curves/frontier.parquet",
        budget=f"{RESULTS}/curves/budget.parquet",
        domains=f"{RESULTS}/curves/domains.parquet",
        agreement=f"{RESULTS}/curves/agreement.parquet",
        summary=f"{RESULTS}/curves/summary.json",
    log:
        f"{LOGS}/curves/curves.log",
    benchmark:
        f"{BENCHMARKS}/curves/curves.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        settings=curves_settings,
    shell:
        "python -m workflow_scripts.curves.curves --settings {params.settings:q}"
        f" --results {RESULTS}"
        " --output {output.curves:q} > {log:q} 2>&1"


rule speed:
    input:
        code=code("curves"),
    output:
        speed=f"{RESULTS}/curves/speed.json",
    log:
        f"{LOGS}/curves/speed.log",
    benchmark:
        f"{BENCHMARKS}/curves/speed.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        settings=speed_settings,
    shell:
        f"export {OFFLINE};"
        " export OMP_NUM_THREADS={threads};"
        " python -m workflow_scripts.curves.index_speed --settings {params.settings:q}"
        " --output {output.speed:q} > {log:q} 2>&1"


rule figures:
    input:
        code=code("curves"),
        curves=rules.curves.output.curves,
        frontier=rules.curves.output.frontier,
        budget=rules.curves.output.budget,
        domains=rules.curves.output.domains,
        summary=rules.curves.output.summary,
    output:
        svg=report(
            f"{RESULTS}/curves/curves.svg",
            caption="report/curves.rst",
            category="Curves",
            labels={"figure": "degradation curves", "format": "SVG"},
        ),
        png=report(
            f"{RESULTS}/curves/curves.png",
            caption="report/curves.rst",
            category="Curves",
            labels={"figure": "degradation curves", "format": "PNG"},
        ),
        drawn=f"{RESULTS}/curves/frontier.csv",
        training=training_figures(),
    log:
        f"{LOGS}/curves/figures.log",
    benchmark:
        f"{BENCHMARKS}/curves/figures.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    shell:
        "python -m workflow_scripts.curves.figures --curves {input.curves:q}"
        " --svg {output.svg:q} --png {output.png:q} > {log:q} 2>&1"


rule report:
    input:
        code=code("curves"),
        assets=page_assets(),
        curves=rules.curves.output.curves,
        differences=rules.curves.output.differences,
        frontier=rules.curves.output.frontier,
        budget=rules.curves.output.budget,
        domains=rules.curves.output.domains,
        agreement=rules.curves.output.agreement,
        summary=rules.curves.output.summary,
        speed=rules.speed.output.speed,
        searches=all_searches,
        training=training_logs,
        models=model_manifests,
        tasks=task_manifests,
        pairs=pairs_manifest,
        stores=store_manifests,
    output:
        page=report(
            f"{RESULTS}/curves/report.html",
            caption="report/page.rst",
            category="Curves",
            labels={"figure": "interactive report", "format": "HTML"},
        ),
    log:
        f"{LOGS}/curves/report.log",
    benchmark:
        f"{BENCHMARKS}/curves/report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        settings=curves_settings,
    shell:
        "python -m workflow_scripts.curves.report --settings {params.settings:q}"
        f" --results {RESULTS}"
        " --output {output.page:q} > {log:q} 2>&1"


# What the models that need no training keep, at once. Nothing hangs on it: `report` tells of all models.
rule first_report:
    input:
        code=code("curves"),
        assets=page_assets(),
        scores=scores_without_training,
    output:
        page=f"{RESULTS}/first/report.html",
    log:
        f"{LOGS}/curves/first_report.log",
    benchmark:
        f"{BENCHMARKS}/curves/first_report.tsv"
    priority: FIRST
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        settings=first_report_settings,
    shell:
        "(python -m workflow_scripts.curves.curves --settings {params.settings:q}"
        f" --results {RESULTS} --output {RESULTS}/first/curves.parquet"
        " && python -m workflow_scripts.curves.report --settings {params.settings:q}"
        f" --results {RESULTS}"
        " --output {output.page:q}) > {log:q} 2>&1"
        " && echo 'a first report, of the models that need no training: '{output.page:q}"


# Asked for by name, and made anew each time: it depends on no file, so that no missing score is made for it.
rule partial_report:
    log:
        f"{LOGS}/curves/partial_report.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        settings=curves_settings,
    shell:
        "(python -m workflow_scripts.curves.curves --settings {params.settings:q}"
        f" --results {RESULTS} --output {RESULTS}/partial/curves.parquet"
        " && python -m workflow_scripts.curves.report --settings {params.settings:q}"
        f" --results {RESULTS} --output {RESULTS}/partial/report.html"
        ") > {log:q} 2>&1"
        f" && echo {RESULTS}/partial/report.html"


# Each tells of the frontier of all models, so one job writes all.
rule cards:
    input:
        code=code("curves"),
        models=model_manifests,
        tasks=task_manifests,
        frontier=rules.curves.output.frontier,
        scores=all_scores,
    output:
        cards=model_cards(),
    log:
        f"{LOGS}/curves/cards.log",
    benchmark:
        f"{BENCHMARKS}/curves/cards.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        settings=curves_settings,
    shell:
        "python -m workflow_scripts.curves.cards --settings {params.settings:q}"
        f" --results {RESULTS}"
        f" --output {RESULTS}/curves/cards > {{log:q}} 2>&1"
