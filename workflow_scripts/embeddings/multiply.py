"""The store of a model that is its parent with one matrix more: the parent's store times that matrix.

Takes the parent's store and the model's folder, whose last Dense module is the rotation (or the cut) that the
models room put behind its parent. Leaves the same as `encode`: the store, `embeddings.json` and
`embeddings.sha256`. It exists because nothing needs to be encoded again for a rotation.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from workflow_scripts.artefact import Progress, digest_of_text, exclusive_lock, read_json
from workflow_scripts.command_line import start_log
from workflow_scripts.embeddings.manifest import (
    Settings,
    code_and_versions,
    model_name,
    read_settings,
    write_manifest,
)
from workflow_scripts.store import StoreWriter, open_store


def multiply_store(settings: Settings, model_digest: Path, parent_digest: Path, output: Path) -> None:
    """Make the store in the folder of `output`, the manifest."""
    folder = model_digest.parent
    weight, bias = last_dense(folder)
    parent = open_store(parent_digest.parent)
    if parent.width != weight.shape[1]:
        raise ValueError(
            f"{parent.folder}: its vectors have {parent.width} coordinates, expected {weight.shape[1]} as the last "
            f"Dense of {folder} takes: it is not the store of this model's parent"
        )
    above = read_json(parent_digest.with_name("embeddings.json"))
    dtype = settings.encoding.precision
    fingerprint = digest_of_text(model_digest.read_text() + parent_digest.read_text() + dtype + code_and_versions())
    writer = StoreWriter(output.parent, parent.keys, weight.shape[0], fingerprint, dtype)
    with Progress(f"multiply {settings.task}", len(parent), "texts") as progress:
        for shard in writer.missing():
            started = time.monotonic()
            start, stop = writer.ranges[shard]
            vectors = parent.vectors[start:stop].astype(np.float32) @ weight.T + bias
            writer.write(shard, vectors, seconds=time.monotonic() - started)
            progress.add(stop - start)
    seconds = round(writer.cost("seconds"), 3)
    content = {
        "texts": len(parent),
        "tokens": 0,
        "width": int(weight.shape[0]),
        "dtype": dtype,
        "seconds": seconds,
        "device": "cpu",
        "precision": above["precision"],
        "model": model_name(model_digest),
        "parent": above["model"],
        "texts_sha256": above["texts_sha256"],
    }
    write_manifest(output, writer.finish(), content)
    writer.remove_shards()


def last_dense(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Weight `(width, parent's width)` and bias `(width,)`, float32, of the module that ends the model.

    Raises `ValueError` where that module is no plain linear map.
    """
    modules = read_json(folder / "modules.json")
    last = max(modules, key=lambda module: int(module["idx"]))
    if last["type"].rpartition(".")[2] != "Dense":
        raise ValueError(f"{folder}/modules.json: the last module is {last['type']}, expected a Dense")
    path = folder / last["path"]
    activation = str(read_json(path / "config.json").get("activation_function"))
    if activation.rpartition(".")[2] != "Identity":
        raise ValueError(f"{path}/config.json: activation_function is {activation}, expected Identity")
    try:
        tensors = load_file(path / "model.safetensors")
    except SafetensorError as error:
        raise ValueError(f"{path}/model.safetensors: not readable ({error})") from None
    weight = tensors["linear.weight"].astype(np.float32)
    bias = tensors.get("linear.bias", np.zeros(weight.shape[0])).astype(np.float32)
    return weight, bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help='JSON: {"task": name, "encoding": {…}}')
    parser.add_argument("--model", type=Path, required=True, help="model.sha256 in the model's folder")
    parser.add_argument("--parent", type=Path, required=True, help="embeddings.sha256 of the parent's store")
    parser.add_argument("--output", type=Path, required=True, help="embeddings.json of the store to make")
    arguments = parser.parse_args()
    start_log()
    try:
        with exclusive_lock(arguments.output):
            settings = read_settings(arguments.settings)
            multiply_store(settings, arguments.model, arguments.parent, arguments.output)
    except (ValueError, KeyError, OSError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        sys.exit(f"embed_by_matrix: {reason}")


if __name__ == "__main__":
    main()
