"""The store of a model that is its parent with one matrix more: the parent's store times that matrix.

Takes the parent's store and the model's folder, whose last Dense module is the rotation (or the cut) that the
models room put behind its parent. Leaves the same as `encode`: the store, `embeddings.json` and
`embeddings.sha256`. It exists because nothing needs to be encoded again for a rotation.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from workflow_scripts.artefact import Progress, digest_of_text, exclusive_lock, read_json
from workflow_scripts.command_line import InputError, parse_settings, parser, run
from workflow_scripts.embeddings.manifest import StoreSettings, model_name, write_manifest
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.encoder.fingerprint import computed_by
from workflow_scripts.store import StoreWriter, open_store


def multiply_store(settings: StoreSettings, model_digest: Path, parent_digest: Path, output: Path) -> None:
    """Make the store in the folder of `output`, the manifest."""
    folder = model_digest.parent
    weight, bias = last_dense(folder)
    parent = open_store(parent_digest.parent)
    if parent.width != weight.shape[1]:
        raise InputError(
            f"{parent.folder}: its vectors have {parent.width} coordinates, expected {weight.shape[1]} as the last "
            f"Dense of {folder} takes: it is not the store of this model's parent"
        )
    _, first = np.unique(parent.keys, return_index=True)
    rows = np.sort(first)  # equal texts of a user's vectors: each is found by its first row
    above = read_json(parent_digest.with_name("embeddings.json"))
    precision = settings.encoding.precision
    decides = model_digest.read_text(), parent_digest.read_text(), precision, computed_by(Path(__file__).parent, "cpu")
    writer = StoreWriter(output.parent, parent.keys[rows], weight.shape[0], digest_of_text("".join(decides)), precision)
    with Progress(f"multiply {settings.task}", len(rows), "texts") as progress:
        for shard in writer.missing():
            started = time.monotonic()
            start, stop = writer.ranges[shard]
            vectors = parent.vectors[rows[start:stop]].astype(np.float32) @ weight.T + bias
            writer.write(shard, vectors, seconds=time.monotonic() - started)
            progress.add(stop - start)
    seconds = round(writer.cost("seconds"), 3)
    content = {
        "texts": len(rows),
        "tokens": 0,
        "width": int(weight.shape[0]),
        "precision": precision,
        "seconds": seconds,
        "device": "cpu",
        "dtype": above.get("dtype"),  # of an encoder; vectors of the user's have none
        "prompts": above.get("prompts", {}),
        "model": model_name(model_digest),
        "parent": above["model"],
        "texts_sha256": above["texts_sha256"],
    }
    write_manifest(output, *writer.finish(), content)
    writer.remove_shards()


def main() -> None:
    arguments_of = parser(__doc__, "task, encoding")
    arguments_of.add_argument("--model", type=Path, required=True, help="model.sha256 in the model's folder")
    arguments_of.add_argument("--parent", type=Path, required=True, help="embeddings.sha256 of the parent's store")
    arguments_of.add_argument("--output", type=Path, required=True, help="embeddings.json of the store to make")
    arguments = arguments_of.parse_args()

    def work() -> None:
        settings = parse_settings(StoreSettings, arguments.settings)
        with exclusive_lock(arguments.output):
            multiply_store(settings, arguments.model, arguments.parent, arguments.output)

    run(work)


if __name__ == "__main__":
    main()
