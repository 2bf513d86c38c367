"""What codecs were fitted to, as a file: the arrays of every codec of one model, each once.

Takes fitted codecs; leaves `<task>.fitted.safetensors`, and gives the same codecs back from it. So what is deployed is
what was measured, to the last bit, whatever machine fits it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from workflow_scripts.artefact import atomic_write
from workflow_scripts.codecs import MTEB_BITS, Codec
from workflow_scripts.coding.fit import ROTATION, Fitted
from workflow_scripts.coding.transforms import Transform
from workflow_scripts.command_line import InputError, users_file

ABOUT = "fitted"  # the one key of the file's metadata: several would come in any order
OF_TRANSFORM = [field.name for field in fields(Transform)]


def save(path: Path, fitted: Fitted, codecs: Iterable[Codec], fitted_on: str) -> None:
    """Write the arrays of these codecs; `fitted_on` says what they were fitted on (a digest, or nothing).

    mteb's own compression is left out: it fits nothing beforehand.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    kept = [codec for codec in codecs if codec.precision not in MTEB_BITS]
    for codec in kept:
        for name, array in fitted.arrays(codec).items():
            key = _key(codec, name)
            if key not in arrays:
                arrays[key] = np.ascontiguousarray(array)
    about = {
        "width": fitted.width,
        "unit": fitted.unit,
        "clip": fitted.clip,
        "on": fitted_on,
        "texts": 0 if fitted.training is None else len(fitted.training),
        "codecs": [codec.name for codec in kept],
    }
    with atomic_write(path) as part:
        save_file(arrays, part, {ABOUT: json.dumps(about, sort_keys=True)})


def load(path: Path, codecs: Iterable[Codec]) -> tuple[Fitted, dict[str, Any]]:
    """These codecs as they were fitted, and what they were fitted on (`on`, `texts`). Raises InputError for a file that
    is not whole or lacks one of them."""
    with users_file(f"{path}: not readable as fitted codecs"), safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[ABOUT])
        known = list(file.keys())
        fitted = Fitted(about["width"], clip=about["clip"], unit=about["unit"])
        for codec in codecs:
            if codec.name not in about["codecs"]:
                raise InputError(f"{path}: {codec.name} is not among its codecs")
            names = [(key, key.rpartition("/")[2]) for key in known]
            fitted.restore(codec, {name: file.get_tensor(key) for key, name in names if key == _key(codec, name)})
    return fitted, about


def _key(codec: Codec, name: str) -> str:
    """Where an array stands: with what it belongs to, so that codecs share it."""
    transform, dim, precision = codec.name.removesuffix("-coded").split("-")
    if name in OF_TRANSFORM:
        return f"{'pca' if codec.rotates_within else transform}/{name}"
    return f"{transform}-{dim}/{name}" if name == ROTATION else f"{transform}-{dim}-{precision}/{name}"
