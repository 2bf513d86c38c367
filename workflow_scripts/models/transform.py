"""Rule transform: a model made from its parent by one matrix, without training.

    python -m workflow_scripts.models.transform --settings JSON --parent P/model.sha256 \
        --sample sample.sha256 --output M/s0/model.json

Takes the parent's folder and, for a rotation, `corpus/sample.parquet`; leaves `models/<model>/s<seed>/`, whose last module is a
`Dense` without bias: the rotation onto principal axes (`rotate: pca`), the first `width` coordinates, or both. Nothing
else differs from the parent, so the embeddings room multiplies the parent's store by it instead of encoding again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from workflow_scripts import artefact, command_line
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.gpus import take_gpus
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.folder import (
    ModelError,
    cost,
    descent,
    export,
    read_digest,
    read_manifest,
    settings_as_recipe,
    versions,
)
from workflow_scripts.models.projection import append_projection, read_sample


class TransformSettings(Settings):
    model: str
    parent: str
    seed: int
    rotate: Literal["pca"] | None
    width: int
    max_length: int


def transform(settings: TransformSettings, parent: Path, sample: Path | None, output: Path) -> None:
    """Make the model's folder; `sample`: the digest of the training texts, which a rotation alone reads. Raises ModelError with one line for what is wrong with the input."""
    started = time.monotonic()
    parent_manifest = read_manifest(parent)
    model = load_encoder(parent.parent)
    if settings.rotate is None:
        sample = None
    elif sample is None:
        raise ModelError(f"{settings.model}: a rotation is fitted on training texts; give --sample")
    texts = read_sample(sample) if sample else []
    fitting = append_projection(
        model, texts, rotate=settings.rotate, width=settings.width, max_length=settings.max_length
    )
    manifest = {
        **descent("transformed", settings.model, settings.parent, settings.seed, settings.width, parent_manifest),
        "recipe": settings_as_recipe(settings) | {"parent_digest": read_digest(parent), "texts": len(texts)},
        "cost": cost(
            steps=0,
            tokens=fitting.tokens,
            seconds=time.monotonic() - started,
            flops=fitting.flops,
            device=model.device,
        ),
        "pairs": parent_manifest.get("pairs"),  # that its parent was trained on
        "sample": read_digest(sample) if sample else None,
        "tokens": None,
        "versions": versions(),
    }
    export(model, output, manifest)
    artefact.log.info("%s: %s times a matrix, %d coordinates left", settings.model, settings.parent, settings.width)


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(TransformSettings.model_fields))
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument(
        "--sample",
        nargs="?",
        default="",
        const="",
        help="sample.sha256, beside sample.parquet; empty: nothing is rotated",
    )
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(TransformSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output.parent):
            take_gpus(1)
            sample = Path(arguments.sample) if arguments.sample else None
            transform(settings, arguments.parent, sample, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
