"""Rule adaptor: a linear adaptor, learned on frozen embeddings of training pairs.

    python -m workflow_scripts.models.adapt --settings JSON --parent P/model.sha256 --embeddings s0.pairs/s0/pairs.sha256 \
        --pairs corpus.sha256 --tokens tokens.sha256 --output M/s0/model.json

Takes a parent, the store of its training pairs and their tokens; leaves `models/<model>/s<seed>/`: the parent with one
`Dense` behind it, as a rotation leaves it, and `training.parquet`. Where no penalty gains on the rotation (learn_adaptor.py), the
rotation is what is left, and log and manifest say so.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts import artefact, command_line
from workflow_scripts.artefact import log
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.loading import default_device, load_encoder
from workflow_scripts.models.batches import Tokens
from workflow_scripts.models.folder import (
    STEPS,
    cost,
    descent,
    export,
    read_digest,
    read_manifest,
    settings_as_recipe,
    versions,
)
from workflow_scripts.models.frozen import load_frozen_pairs
from workflow_scripts.models.learn_adaptor import Choice, learn
from workflow_scripts.models.objective import Objective, ObjectiveName
from workflow_scripts.models.projection import append_dense
from workflow_scripts.study.sections.adaptor import Adaptor


class AdaptorSettings(Settings):
    model: str
    parent: str
    seed: int
    width: int
    pairs: int
    nesting: list[int]
    nesting_weights: list[float]
    objective: ObjectiveName
    adaptor: Adaptor


def adapt(
    settings: AdaptorSettings, parent: Path, embeddings: Path, pairs: Path, tokens_digest: Path, output: Path
) -> None:
    """Learn the matrix and leave the model's folder. Raises ModelError with one line for what is wrong with the input."""
    started = time.monotonic()
    recipe = settings.adaptor
    torch.manual_seed(settings.seed)
    parent_manifest = read_manifest(parent)
    facts = settings_as_recipe(settings)
    facts["adaptor"].pop("pairs")  # said above it, for this adaptor
    encoding = artefact.read_json(embeddings.with_name("pairs.json"))["cost"]

    tokens = Tokens(tokens_digest.with_name("tokens.arrow"))
    frozen = load_frozen_pairs(
        tokens, embeddings.parent, settings.pairs, settings.seed, recipe.instructions, default_device()
    )
    objective = Objective(
        settings.objective,
        tuple(settings.nesting),
        tuple(settings.nesting_weights),
        recipe.temperature,
        spread_out=recipe.spread_out,
    )
    learned = learn(frozen, objective, recipe, settings.seed)
    chosen = learned.chosen
    if chosen is None:
        log.warning("%s: held-out tasks gain nothing on the rotation; the rotation is what is left", settings.model)
    else:
        if not learned.choices:
            log.warning("%s: one training task: nothing can be held out, the penalty is the fixed one", settings.model)
        log.info("%s: %s, stop after step %d, held-out gain %+.4f", settings.model, *_said(chosen))

    # ---- leave it
    model = load_encoder(parent.parent)
    append_dense(model, learned.matrix.cpu().numpy())
    manifest = {
        **descent("adapted", settings.model, settings.parent, settings.seed, settings.width, parent_manifest),
        "recipe": facts
        | {
            "parent_digest": read_digest(parent),
            "embeddings_digest": read_digest(embeddings),
            "pairs_used": int(frozen.places.shape[1]),
            "tasks": len(learned.tasks),
            "held_out": bool(learned.choices),
            "choices": [asdict(choice) for choice in learned.choices],
            "chosen": None if chosen is None else asdict(chosen),
            "fell_back_to_rotation": chosen is None,
        },
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
    columns = ["step", "loss", *(f"loss_{d}" for d in settings.nesting)]
    rows = [dict(zip(columns, (step, sum(row), *row), strict=True)) for step, row in enumerate(learned.losses, start=1)]
    schema = pa.schema([(name, pa.int64() if name == "step" else pa.float64()) for name in columns])
    table = pa.Table.from_pylist(rows, schema=schema)  # without a row where the rotation is left
    export(model, output, manifest, lambda part: pq.write_table(table, part / STEPS))
    log.info("%s: learned in %.0f s, choice of the penalty included", settings.model, time.monotonic() - started)


def _said(choice: Choice) -> tuple[str, int, float]:
    penalties = ", ".join(f"{name} {value:g}" for name, value in asdict(choice.penalty).items() if value)
    return penalties or "no penalty", choice.steps, choice.gain


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(AdaptorSettings.model_fields))
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument("--embeddings", required=True, type=Path, help="pairs.sha256, beside the store of the pairs")
    parser.add_argument("--pairs", required=True, type=Path, help="corpus.sha256")
    parser.add_argument("--tokens", required=True, type=Path, help="tokens.sha256, beside tokens.arrow")
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(AdaptorSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output.parent):
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
