# What decides the jobs of ../corpus.smk: their inputs and settings.


def download_settings(wildcards):
    return settings(repository=STUDY.corpus.repository)


def downloaded_pairs(wildcards):
    return rules.download_pairs.output.digest if STUDY.corpus.source == "medi" else []


def own_pairs(wildcards):
    source = STUDY.corpus.source
    return [] if source in ("medi", "wordnet") else files_of_user(source)


def evaluation_digests(wildcards):
    return expand(f"{RESULTS}/tasks/{{task}}/task.sha256", task=clean_against())


def clean_against():
    """The tasks whose texts must not be in the pairs: `corpus: decontaminate`, benchmarks spelled out."""
    return STUDY.tasks_cleaned_against


def pairs_settings(wildcards):
    return settings(
        corpus=STUDY.corpus.model_dump(),
        evaluation=[f"{RESULTS}/tasks/{task}" for task in clean_against()],
    )


def tokens_settings(wildcards):
    return settings(max_length=STUDY.training.max_length)
