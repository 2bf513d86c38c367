"""What codecs were fitted to, as a file: the arrays of every codec of one model, each once.

Takes fitted codecs; leaves `<task>.fitted.safetensors`, and gives the same codecs back from it. So what is deployed is
what was measured, to the last bit, whatever machine fits it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from workflow_scripts.artefact import atomic_write
from workflow_scripts.codecs import MTEB_BITS, Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError, users_file

ABOUT = "fitted"  # the one key of the file's metadata: several would come in any order
OF_TRANSFORM, OF_ROTATION = ("columns", "mean", "matrix"), ("rotation",)


def save(path: Path, fitted: Fitted, codecs: Iterable[Codec], fitted_on: str) -> None:
    """Write the arrays of these codecs; `fitted_on` says what they were fitted on (a digest, or nothing).

    mteb's own compression is left out: it fits nothing beforehand.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for codec in codecs:
        if codec.precision not in MTEB_BITS:
            for name, array in fitted.arrays(codec).items():
                key = _key(codec, name)
                if key not in arrays:
                    arrays[key] = np.ascontiguousarray(array)
    texts = 0 if fitted.training is None else len(fitted.training)
    about = {"width": fitted.width, "unit": fitted.unit, "clip": fitted.clip, "on": fitted_on, "texts": texts}
    with atomic_write(path) as part:
        save_file(arrays, part, {ABOUT: json.dumps(about, sort_keys=True)})


def load(path: Path, codecs: Iterable[Codec]) -> tuple[Fitted, dict[str, Any]]:
    """These codecs as they were fitted, and what they were fitted on (`on`, `texts`). Raises InputError for a file that
    is not whole or lacks one of them."""
    with users_file(f"{path}: not readable as fitted codecs"), safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[ABOUT])
        known = set(file.keys())
        fitted = Fitted(about["width"], clip=about["clip"], unit=about["unit"])
        for codec in codecs:
            places = {name: _key(codec, name) for name in _names(codec)}
            if missing := sorted(set(places.values()) - known):
                raise InputError(f"{path}: {codec.name} is not among its codecs ({missing[0]} is missing)")
            fitted.restore(codec, {name: file.get_tensor(key) for name, key in places.items()})
    return fitted, about


def _names(codec: Codec) -> list[str]:
    """The names of a codec's arrays."""
    transform = {
        "prefix": [],
        "last": ["columns"],
        "random": ["columns"],
        "variance": ["columns"],
        "pca_centered": ["mean", "matrix"],
    }.get(codec.transform, ["matrix"])
    precision = {
        "int8": ["low", "step"],
        "int4": ["low", "step"],
        "int2": ["low", "step"],
        "binary": ["threshold"],
        "binary_median": ["threshold"],
        "pq": ["centroids"],
        "opq": ["code_rotation", "centroids"],
        "rabitq": ["code_rotation", "center"],
    }.get(codec.precision, [])
    return [*transform, *(["rotation"] if codec.rotates_within else []), *precision]


def _key(codec: Codec, name: str) -> str:
    """Where an array stands: with what it belongs to, so that codecs share it."""
    transform, dim, precision = codec.name.removesuffix("-coded").split("-")
    if name in OF_TRANSFORM:
        return f"{'pca' if codec.rotates_within else transform}/{name}"
    return f"{transform}-{dim}/{name}" if name in OF_ROTATION else f"{transform}-{dim}-{precision}/{name}"
