"""Rule adaptor: a linear adaptor, learned on frozen embeddings of training pairs.

    python -m workflow_scripts.models.adapt --settings JSON --parent P/model.sha256 --embeddings s0.pairs/s0/pairs.sha256 \
        --pairs pairs.sha256 --tokens tokens.sha256 --output M/s0/model.json

Takes a parent, the store of its training pairs and their tokens; leaves `models/<model>/s<seed>/`: the parent with one
`Dense` behind it, as a rotation leaves it, and `training.parquet`. Where no penalty gains on the rotation (learn_adaptor.py), the
rotation is what is left, and log and manifest say so.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from workflow_scripts import artefact, command_line
from workflow_scripts.artefact import log
from workflow_scripts.encoder.gpus import take_gpus
from workflow_scripts.encoder.loading import default_device, load_encoder
from workflow_scripts.models.adapted import AdaptorSettings, learned_from, recipe_of, write_losses
from workflow_scripts.models.batches import Tokens
from workflow_scripts.models.folder import (
    cost,
    descent,
    export,
    read_digest,
    read_manifest,
    versions,
)
from workflow_scripts.models.frozen import load_frozen_pairs
from workflow_scripts.models.projection import append_dense


def adapt(
    settings: AdaptorSettings, parent: Path, embeddings: Path, pairs: Path, tokens_digest: Path, output: Path
) -> None:
    """Learn the matrix and leave the model's folder. Raises ModelError with one line for what is wrong with the input."""
    started = time.monotonic()
    parent_manifest = read_manifest(parent)
    encoding = artefact.read_json(embeddings.with_name("pairs.json"))["cost"]

    tokens = Tokens(tokens_digest.with_name("tokens.arrow"))
    instructions = settings.adaptor.instructions
    frozen = load_frozen_pairs(tokens, embeddings.parent, settings.pairs, settings.seed, instructions, default_device())
    learned = learned_from(frozen, settings, "training tasks", "one training task")

    # ---- leave it
    model = load_encoder(parent.parent)
    append_dense(model, learned.matrix.cpu().numpy())
    manifest = {
        **descent("adapted", settings.model, settings.parent, settings.seed, settings.width, parent_manifest),
        "recipe": recipe_of(settings, frozen, learned)
        | {"parent_digest": read_digest(parent), "embeddings_digest": read_digest(embeddings)},
        "cost": cost(
            steps=learned.steps,
            tokens=encoding["tokens"],
            seconds=encoding["seconds"] + time.monotonic() - started,
            flops=encoding["flops"] + learned.flops,
            device=frozen.vectors.device,
        ),
        "pairs": read_digest(pairs),
        "tokens": read_digest(tokens_digest),
        "versions": versions(),
    }
    export(model, output, manifest, partial(write_losses, learned, settings.nesting))
    log.info("%s: learned in %.0f s, choice of the penalty included", settings.model, time.monotonic() - started)


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(AdaptorSettings.model_fields))
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument("--embeddings", required=True, type=Path, help="pairs.sha256, beside the store of the pairs")
    parser.add_argument("--pairs", required=True, type=Path, help="pairs.sha256")
    parser.add_argument("--tokens", required=True, type=Path, help="tokens.sha256, beside tokens.arrow")
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(AdaptorSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output.parent):
            take_gpus(1)
            adapt(
                settings,
                arguments.parent,
                arguments.embeddings,
                arguments.pairs,
                arguments.tokens,
                arguments.output,
            )

    command_line.run(work)


if __name__ == "__main__":
    main()
