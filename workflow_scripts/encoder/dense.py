"""The matrix that ends a model, as sentence-transformers stores it: a module `Dense` without a bias or an activation.

Takes a model's folder; leaves the matrix. And the other way: a matrix alone as the folder of a model that has nothing else,
where the vectors that it multiplies come from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from workflow_scripts.artefact import read_json, write_json
from workflow_scripts.command_line import InputError, users_file

IDENTITY = "torch.nn.modules.linear.Identity"
FOLDER = "0_Dense"


def last_dense(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Weight `(width, parent's width)` and bias `(width,)`, float32, of the module that ends the model.

    Raises `InputError` where that module is no plain linear map.
    """
    modules = read_json(folder / "modules.json")
    last = max(modules, key=lambda module: int(module["idx"]))
    if last["type"].rpartition(".")[2] != "Dense":
        raise InputError(f"{folder}/modules.json: the last module is {last['type']}, expected a Dense")
    path = folder / last["path"]
    activation = str(read_json(path / "config.json").get("activation_function"))
    if activation.rpartition(".")[2] != "Identity":
        raise InputError(f"{path}/config.json: activation_function is {activation}, expected Identity")
    with users_file(f"{path}/model.safetensors: not readable as a Dense module's weights"):
        tensors = load_file(path / "model.safetensors")
        weight = tensors["linear.weight"].astype(np.float32)
    bias = tensors.get("linear.bias", np.zeros(weight.shape[0])).astype(np.float32)
    return weight, bias


def write_dense(folder: Path, matrix: np.ndarray) -> None:
    """Write `vector -> matrix @ vector`, of a matrix `(width, parent's width)`, as the only module of the model in `folder`."""
    width_out, width_in = matrix.shape
    (folder / FOLDER).mkdir()
    write_json(
        folder / FOLDER / "config.json",
        {"in_features": width_in, "out_features": width_out, "bias": False, "activation_function": IDENTITY},
    )
    save_file({"linear.weight": np.ascontiguousarray(matrix, dtype=np.float32)}, folder / FOLDER / "model.safetensors")
    module = {"idx": 0, "name": "0", "path": FOLDER, "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", [module])
