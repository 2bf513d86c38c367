"""The same scores in mteb's own results layout, which its loaders and its leaderboard's frames read.

Takes what was scored with all of mteb's metrics; leaves `results/<model>/<revision>/experiments/<experiment>/<task>.json`.
The experiment is keyed as mteb keys it: `embed_dim` for float32 prefixes, and `output_dtypes` beside it for its own
compression. Codecs that mteb has no key for are in the tables alone.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path

from mteb.cache import ResultCache

from workflow_scripts.artefact import atomic_write
from workflow_scripts.codecs import Codec
from workflow_scripts.scores.compression import OUTPUT_DTYPES
from workflow_scripts.scores.scored import Scored
from workflow_scripts.scores.stock import model_meta


def has_key(codec: Codec) -> bool:
    """Whether mteb's results have a key for the codec."""
    return (codec.transform, codec.precision) == ("prefix", "float32") or codec.precision in OUTPUT_DTYPES


def write_mteb_layout(scored: Sequence[Scored], model: str, revision: str, task: str, folder: Path) -> None:
    """Write the results under `folder`, read by `mteb.ResultCache(folder).load_results()`. The task's results of an
    earlier run with other codecs are removed: they may be another model's."""
    cache = ResultCache(folder)
    written: set[Path] = set()
    for one in scored:
        if one.result is None or not has_key(one.codec):
            continue
        meta = model_meta(model, revision, one.codec.dim, OUTPUT_DTYPES.get(one.codec.precision))
        path = cache.get_task_result_path(task, meta)
        path.parent.mkdir(parents=True, exist_ok=True)
        written.add(path)
        with atomic_write(path) as part:
            one.result.to_disk(part)
        with atomic_write(path.with_name("model_meta.json")) as part:
            part.write_text(json.dumps(meta.to_dict(), default=str, indent=1, sort_keys=True))
    for experiments in {path.parents[1] for path in written}:
        for old in set(experiments.glob(f"*/{glob.escape(task)}.json")) - written:
            old.unlink()
