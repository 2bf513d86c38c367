# What decides the jobs of ../curves.smk: their inputs and settings.

TRAINING_FIGURES = {
    "budget": ("svg", "png", "csv"),
    "domains": ("svg", "png", "csv"),
}


def all_scores(wildcards):
    return of_all_scores("parquet")


def all_values(wildcards):
    """What the scores are means of: the intervals come from these."""
    return of_all_scores("values.parquet")


def all_searches(wildcards):
    return of_all_scores("search.parquet")


def scores_without_training(wildcards):
    """All scores of the models that need no training."""
    runs = [run for run in MODELS if not GRAPH.trains_anywhere(run[0])]
    endings = ("parquet", "values.parquet", "search.parquet")
    return [path for ending in endings for path in of_all_scores(ending, runs)]


def first_report():
    """A report before training: where the study trains, and has models that need none."""
    return rules.first_report.output.page if GRAPH.partly_trained else []


def model_manifests(wildcards):
    """What every model cost and came from."""
    return [
        f"{RESULTS}/models/{model}/s{seed}/model.json"
        for model, seed in MODELS
        if model not in OWN
    ]


def task_manifests(wildcards):
    return expand(f"{RESULTS}/tasks/{{task}}/task.json", task=STUDY.task_names)


def pairs_manifest(wildcards):
    """The account of the training pairs, where the study has any."""
    return rules.pairs.output.manifest if STUDY.needs_pairs else []


def store_manifests(wildcards):
    return [
        f"{RESULTS}/embeddings/{model}/s{seed}/{task}/embeddings.json"
        for model, seed in MODELS
        for task in STUDY.task_names
    ]


def training_logs(wildcards):
    """The losses of every trained model, step by step."""
    return [
        f"{RESULTS}/models/{model}/s{seed}/training.parquet"
        for model, seed in MODELS
        if model in TRAINED
    ]


def curves_settings(wildcards):
    """Everything but what is exported of it, for the report says what was run; in the order of the configuration, which is that of the lines."""
    return json.dumps(
        {"study": STUDY.model_dump(exclude={"deploy": {"bundles"}, "encoding": HOW})}
    )


def first_report_settings(wildcards):
    """The same without what training alone depends on, a change of which draws the first report no second time."""
    study = STUDY.model_dump(
        exclude={"adaptor": True, "budget": True, "deploy": True, "encoding": HOW}
    )
    study["variants"] = {
        name: variant
        for name, variant in study["variants"].items()
        if not GRAPH.trains_anywhere(name)
    }
    study["training"] = {"max_length": STUDY.training.max_length}
    study["seeds"] = study["seeds"][:1]
    return json.dumps(
        {
            "study": study,
            "before_training": True,
            "held_out": STUDY.fits_on_held_out,
        }
    )


def page_assets():
    """The report's templates, charts, style and script."""
    room = Path(workflow.basedir, "workflow_scripts", "curves")
    kinds = ("*.css", "*.js", "templates/*.j2", "charts/*.json")
    return sorted(os.path.relpath(file) for kind in kinds for file in room.glob(kind))


def speed_settings(wildcards):
    """Every dimension at which some model is scored: searches are timed at these."""
    dimensions = {d for model, _ in MODELS for d in GRAPH.dimensions_of(model)}
    return settings(dimensions=sorted(dimensions))


def training_figures():
    """What training buys, of a study that trains: the figures beside curves.svg, with their tables."""
    return [
        f"{RESULTS}/curves/{name}.{ending}"
        for name, endings in TRAINING_FIGURES.items()
        for ending in endings
        if TRAINED
    ]


def model_cards():
    """The README.md of every model that embeds texts."""
    return [
        f"{RESULTS}/curves/cards/{model}/s{seed}/README.md"
        for model, seed in MODELS
        if model not in OF_VECTORS
    ]
