"""A recommendation as files to use it from: the model, all that was fitted, a README, and where vectors are searched an index.

Takes the choice (the report's own, or one of the study's), the scores' fitted state, the model and the store of a task;
leaves `<study>/deploy/<name>/`. What was fitted is what the scores were measured with, never fitted anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from safetensors.numpy import save_file

from workflow_scripts import command_line
from workflow_scripts.artefact import (
    atomic_folder,
    digest_of_file,
    exclusive_lock,
    log,
    read_json,
    versions,
    write_digests,
    write_json,
)
from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding import state
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.deploy import choice, faiss_index, model_folder
from workflow_scripts.deploy.check import adapted
from workflow_scripts.deploy.numpy_lines import ADAPTOR, array_key, stage_names
from workflow_scripts.deploy.readme import readme
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.search_grid import Search
from workflow_scripts.store import open_store
from workflow_scripts.study.references import portable_reference

CHECKED = 16  # vectors that stand in a bundle with their codes
MANIFEST, DIGEST = "codec.json", "codec.sha256"


class Settings(command_line.Settings):
    """`choice`, `model` and `seed`: null where the report recommends. `tasks`: the first of them is the one whose score is
    stated; `rescored`: whether the report's recommendation with re-scoring is meant."""

    study: str
    name: str
    task_type: str
    tasks: list[str]
    seeds: dict[str, int]
    widths: dict[str, int]
    choice: str | None
    model: str | None
    rescored: bool
    licence: str | None
    language: list[str]
    own_vectors: dict[str, tuple[str, int]]  # those of `seeds` that have no model: whose vectors they are given


def bundle(settings: Settings, results: Path, output: Path) -> None:
    """Write the bundle of `output` (its codec.json), replacing what was there. Raises InputError, one line."""
    chosen = _choice(settings, results)
    width, seed = settings.widths[chosen.variant], settings.seeds[chosen.variant]
    stages, final = choice.stages_of(chosen.name, width)
    codecs = [*(codec for codec, _ in stages), final]
    of_model = results / "scores" / chosen.variant / f"s{seed}"
    task = settings.tasks[0]
    fitted, fitted_on = state.load(of_model / f"{task}.fitted.safetensors", codecs)
    given, seed_given = settings.own_vectors.get(chosen.variant, (chosen.variant, seed))
    store = open_store(results / "embeddings" / given / f"s{seed_given}" / task)
    checked = np.array(store.vectors[:CHECKED], dtype=np.float32)
    folder = results / "models" / chosen.variant / f"s{seed}"
    own = chosen.variant in settings.own_vectors
    adaptor = last_dense(folder)[0].T if given != chosen.variant else None
    source = _source_of_vectors(store.folder) if own else _source_of_model(folder)
    with atomic_folder(output.parent) as part:
        arrays = arrays_of(fitted, codecs, checked, adaptor)
        save_file(arrays, part / "codec.safetensors")
        # else nothing is searched
        built = faiss_index.of_search(fitted, stages, final, adaptor) if fitted.unit else None
        if built is not None:
            faiss.write_index(built.index, str(part / "index.faiss"))
        coordinates = width if adaptor is not None else faiss_index.coordinates_read(codecs, width)
        oldest = None
        if not own and (folder / "modules.json").is_file():
            oldest = model_folder.export(folder, part / "model", coordinates)
            shutil.copyfile(
                results / "curves" / "cards" / chosen.variant / f"s{seed}" / "README.md", part / "model" / "README.md"
            )
        about = {
            "name": settings.name,
            "study": settings.study,
            "choice": chosen.name,
            "words": chosen.words,
            "task_type": chosen.task_type,
            "width": width,
            "coordinates": coordinates,
            "unit": fitted.unit,
            "bytes_in_memory": codecs[0].bytes,
            "stages": [
                _described(codec, stage, kept)
                for codec, stage, kept in zip(
                    codecs, stage_names(len(codecs)), [*(kept for _, kept in stages), None], strict=True
                )
            ],
            "fitted_on": {"texts": fitted_on["texts"], "digest": fitted_on["on"], "task": task, "held_out": own},
            "expected": {
                "kept": chosen.share.kept,
                "low": chosen.share.low,
                "high": chosen.share.high,
                "from": chosen.share.source,
            },
            "confidence": chosen.share.confidence,
            "measured": choice.score_of(of_model, task, Search(tuple(stages), final).name),
            "model": {
                "name": chosen.variant,
                "seed": seed,
                "folder": "model" if oldest else None,
                "sentence_transformers": oldest,
                "licence": settings.licence or source["licence"],
                "language": settings.language or source["language"],
                "reference": source["reference"],
                "digest": source["digest"],
                "adaptor": None if adaptor is None else _about_adaptor(folder),
            },
            "faiss": {"factory": built.factory, "version": faiss.__version__} if built else None,
            "arrays": {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays.items()},
            "versions": versions("faiss-cpu", "numpy", "safetensors", "sentence-transformers"),
        }
        (part / "README.md").write_text(
            readme(about, stages, final, _limit(fitted, codecs[0], adapted(checked, adaptor)), str(output.parent))
        )
        files = sorted(path for path in part.rglob("*") if path.is_file())
        for file in files:
            file.chmod(0o644)
        write_digests(part / DIGEST, files)
        write_json(part / MANIFEST, about)
        if output.parent.is_dir():
            shutil.rmtree(output.parent)
    log.info("%s: %s of %s, %d bytes a vector", output.parent, chosen.name, chosen.variant, codecs[0].bytes)


def _source_of_model(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / "model.json")
    return {
        "licence": manifest.get("licence"),
        "language": manifest.get("language"),
        "reference": portable_reference(manifest["reference"]),
        "digest": digest_of_file(folder / "model.sha256"),
    }


def _source_of_vectors(store: Path) -> dict[str, Any]:
    """The same of a user's own vectors: the names of their files."""
    files = read_json(store / "embeddings.json")["files"]
    names = ", ".join(Path(file["path"]).name for file in files)
    digest = digest_of_file(store / "embeddings.sha256")
    return {"licence": None, "language": None, "reference": names, "digest": digest}


def _about_adaptor(folder: Path) -> dict[str, Any]:
    """Of the matrix that vectors are multiplied with: from how many pairs it was learned, and its digest."""
    recipe = read_json(folder / "model.json")["recipe"]
    return {
        "pairs": recipe["pairs_used"],
        "is_a_rotation": recipe["fell_back_to_rotation"],
        "digest": digest_of_file(folder / "model.sha256"),
    }


def arrays_of(
    fitted: Fitted, codecs: list[Codec], given: Matrix, adaptor: Matrix | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that encoding needs, by stage, and a few vectors with their codes."""
    arrays: dict[str, np.ndarray[Any, Any]] = {"check": given}
    if adaptor is not None:
        arrays[ADAPTOR] = np.ascontiguousarray(adaptor)
    checked = adapted(given, adaptor)
    for codec, stage in zip(codecs, stage_names(len(codecs)), strict=True):
        of_codec: dict[str, np.ndarray[Any, Any]] = dict(fitted.arrays(codec))
        if codec.precision == "float8":
            of_codec["float8"] = faiss_index.float8_values()
        of_codec["check_codes"] = fitted.precision(codec).encode(fitted.kept(codec, fitted.full_width(codec, checked)))
        arrays |= {array_key(stage, name): np.ascontiguousarray(array) for name, array in of_codec.items()}
    return arrays


def _choice(settings: Settings, results: Path) -> choice.Choice:
    curves = results / "curves"
    if settings.choice is None:
        return choice.advised(curves / "summary.json", settings.task_type, settings.rescored)
    assert settings.model is not None
    stages, final = choice.stages_of(settings.choice, settings.widths[settings.model])
    return choice.named(curves / "curves.parquet", stages, final, settings.model, settings.task_type)


def _described(codec: Codec, stage: str, candidates: int | None) -> dict[str, Any]:
    return {
        "stage": stage or None,
        "codec": codec.name,
        "transform": codec.transform,
        "dim": codec.dim,
        "precision": codec.precision,
        "queries": codec.queries,
        "bytes": codec.bytes,
        "candidates": candidates,
    }


def _limit(fitted: Fitted, codec: Codec, checked: Matrix) -> float:
    """The greatest absolute value that a codec decodes to: of its ranges, where it has some."""
    arrays = fitted.precision(codec).arrays()
    if "step" in arrays:
        levels = 2 ** {"int8": 8, "int4": 4, "int2": 2}[codec.precision] - 1
        return float(max(np.abs(arrays["low"]).max(), np.abs(arrays["low"] + arrays["step"] * levels).max()))
    return float(np.abs(fitted.stored(codec, checked)).max()) or 1.0


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(Settings.model_fields))
    parser.add_argument("--results", required=True, type=Path, help="the study's results folder")
    parser.add_argument("--output", required=True, type=Path, help="<study>/deploy/<name>/codec.json")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(Settings, arguments.settings)
        with exclusive_lock(arguments.output.parent):
            bundle(settings, arguments.results, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
