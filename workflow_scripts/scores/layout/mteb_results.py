"""The scores in mteb's own results layout, which its loaders and its leaderboard's frames read.

    python -m workflow_scripts.scores.layout.mteb_results --settings JSON --results results/S --output results/S/scores/mteb

Takes the `<task>.mteb.json` of all scores; leaves `results/<model>/<revision>/<task>.json` for the full width, and
`…/<revision>/experiments/<experiment>/<task>.json` for the rest, keyed as mteb keys it: `embed_dim` for float32 prefixes,
`output_dtypes` for its own compression. Beside each stand `model_meta.json` and `run_settings.jsonl`, by mteb's own
`save_to_cache`. Codecs that mteb has no key for are in the tables alone. One job writes all, since importing mteb takes longer
than a score.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mteb.cache import ResultCache
from mteb.models.model_implementations import MODEL_REGISTRY
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.results import TaskResult

from workflow_scripts import command_line
from workflow_scripts.artefact import Progress, exclusive_lock, read_json, temporary_folder
from workflow_scripts.scores.compression import OUTPUT_DTYPES
from workflow_scripts.scores.mteb_files import ENDING


class Model(command_line.Settings):
    """`name` and `revision`: what mteb's results call the model."""

    model: str
    seed: int
    name: str
    revision: str


class Settings(command_line.Settings):
    models: list[Model]
    tasks: list[str]


def meta_of(result: dict[str, Any], width: int, name: str, revision: str) -> ModelMeta:
    """The model as mteb's results call it under a codec; what mteb knows of a model of this name stands in it."""
    experiment: dict[str, Any] = {}
    if result["dim"] != width:
        experiment["embed_dim"] = result["dim"]
    if result["precision"] in OUTPUT_DTYPES:
        experiment["output_dtypes"] = OUTPUT_DTYPES[result["precision"]]
    fields = {"name": name, "revision": revision, "embed_dim": result["dim"], "experiment_kwargs": experiment or None}
    if name in MODEL_REGISTRY:
        return MODEL_REGISTRY[name].model_copy(update=fields)
    return ModelMeta.create_empty(overwrites={**fields, "similarity_fn_name": ScoringFunction.COSINE})


def write_results(content: dict[str, Any], name: str, revision: str, cache: ResultCache) -> None:
    """Add one model's results of one task, the content of its file, to `cache`."""
    for result in content["results"]:
        of_task = TaskResult(
            dataset_revision=content["revision"],
            task_name=content["name"],
            mteb_version=content["mteb_version"],
            scores=result["scores"],
            evaluation_time=result["seconds"],
            kg_co2_emissions=None,
        )
        cache.save_to_cache(of_task, meta_of(result, content["width"], name, revision))


def mteb_results(settings: Settings, results: Path, output: Path) -> None:
    """Write the folder anew: what an earlier study had more goes."""
    progress = Progress("mteb's results", len(settings.models), "models")
    with temporary_folder(output) as part, progress:
        cache = ResultCache(part / output.name)
        for of_model in settings.models:
            for task in settings.tasks:
                path = results / "scores" / of_model.model / f"s{of_model.seed}" / f"{task}{ENDING}"
                write_results(read_json(path), of_model.name, of_model.revision, cache)
            progress.add(1, of_model.model)
        shutil.rmtree(output, ignore_errors=True)
        cache.cache_path.rename(output)


def main() -> None:
    parser = command_line.parser(__doc__, "models (model, seed, name, revision), tasks")
    parser.add_argument("--results", required=True, type=Path, help="the study's folder")
    parser.add_argument("--output", required=True, type=Path, help="<study>/scores/mteb")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(Settings, arguments.settings)
        with exclusive_lock(arguments.output):
            mteb_results(settings, arguments.results, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
