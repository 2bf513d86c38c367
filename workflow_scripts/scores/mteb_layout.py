"""The same scores in mteb's own results layout, which its loaders and its leaderboard's frames read.

Takes what was scored with all of mteb's metrics; leaves `results/<model>/<revision>/<task>.json` for the full width, and
`…/<revision>/experiments/<experiment>/<task>.json` for the rest, keyed as mteb keys it: `embed_dim` for float32 prefixes,
`output_dtypes` for its own compression. Beside each stand `model_meta.json` and `run_settings.jsonl`, by mteb's own
`save_to_cache`. Codecs that mteb has no key for are in the tables alone.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mteb.cache import ResultCache
from mteb.models.model_implementations import MODEL_REGISTRY
from mteb.models.model_meta import ModelMeta, ScoringFunction

from workflow_scripts.artefact import exclusive_lock
from workflow_scripts.codecs import Codec
from workflow_scripts.scores.compression import OUTPUT_DTYPES, is_of_mteb
from workflow_scripts.scores.scored import Scored


def meta_of(codec: Codec, width: int, model: str, revision: str) -> ModelMeta:
    """The model as mteb's results call it under a codec; what mteb knows of a model of this name stands in it."""
    experiment: dict[str, Any] = {}
    if codec.dim != width:
        experiment["embed_dim"] = codec.dim
    if codec.precision in OUTPUT_DTYPES:
        experiment["output_dtypes"] = OUTPUT_DTYPES[codec.precision]
    fields = {"name": model, "revision": revision, "embed_dim": codec.dim, "experiment_kwargs": experiment or None}
    if model in MODEL_REGISTRY:
        return MODEL_REGISTRY[model].model_copy(update=fields)
    return ModelMeta.create_empty(overwrites={**fields, "similarity_fn_name": ScoringFunction.COSINE})


def write_mteb_layout(scored: Sequence[Scored], width: int, model: str, revision: str, task: str, folder: Path) -> None:
    """Write the results under `folder`, read by `mteb.ResultCache(folder).load_results()`. The task's results of an
    earlier run with other codecs are removed: they may be another model's."""
    cache = ResultCache(folder)
    written: set[Path] = set()
    of_model = cache.get_task_result_path(task, model, revision).parent
    # The model's other tasks may be written at the same time, and mteb merges them into one run_settings.jsonl.
    with exclusive_lock(folder / of_model.parent.name):
        for one in scored:
            if one.result is None or not is_of_mteb(one.codec):
                continue
            meta = meta_of(one.codec, width, model, revision)
            cache.save_to_cache(one.result, meta)
            written.add(cache.get_task_result_path(task, meta))
        name = glob.escape(f"{task}.json")
        for old in {*of_model.glob(name), *of_model.glob(f"experiments/*/{name}")} - written:
            old.unlink()
