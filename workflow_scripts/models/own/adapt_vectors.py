"""Rule adaptor_of_vectors: a linear adaptor of a user's own vectors, learned on pairs of their rows.

    python -m workflow_scripts.models.own.adapt_vectors --settings JSON --output M/s0/model.json \
        --tasks T/task.sha256 ... --stores E/T/embeddings.sha256 ...

Takes the stores of the vectors, the tasks that they are of and the user's files of pairs; leaves `models/<model>/s<seed>/`: a
`Dense` alone, which multiplies vectors that are stored already, and `training.parquet`. Where no penalty gains on the rotation
(learn_adaptor.py), the rotation is what is left, and log and manifest say so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from workflow_scripts import artefact, command_line
from workflow_scripts.artefact import log
from workflow_scripts.encoder.dense import write_dense
from workflow_scripts.models.adapted import AdaptorSettings, learned_from, recipe_of, write_losses
from workflow_scripts.models.folder import cost, descent, leave, read_digest, versions
from workflow_scripts.models.own.frozen_rows import Draw, Source, frozen_rows, read_rows


class VectorsSettings(AdaptorSettings):
    """`files`: the user's pairs, by task."""

    files: dict[str, str]
    held_out: int
    held_out_seed: int


def adapt_vectors(settings: VectorsSettings, tasks: list[Path], stores: list[Path], output: Path) -> None:
    """Learn the matrix and leave its folder; `tasks` and `stores`: digests, in the order of `settings.files`. Raises
    InputError with one line for what is wrong with the input."""
    started = time.monotonic()
    batch = settings.adaptor.batch
    draw = Draw(settings.pairs, settings.seed, settings.held_out, settings.held_out_seed, batch)
    of_tasks = {
        name: read_rows(Source(task.parent, store.parent, Path(pairs)), draw)
        for (name, pairs), task, store in zip(settings.files.items(), tasks, stores, strict=True)
    }
    for name, rows in of_tasks.items():
        if rows.answered_by_pairs:
            words = "%s: of %d scored queries %d have an answer that pairs name too, where an adaptor gains most"
            log.info(words, name, rows.scored, rows.answered_by_pairs)
    frozen = frozen_rows(of_tasks, draw, torch.device("cpu"))  # the rule asks for no GPU, so others may hold them
    learned = learned_from(frozen, settings, "queries", f"too few pairs for three parts of {batch}")
    described = [artefact.read_json(store.with_name("embeddings.json"))["files"] for store in stores]
    vectors: dict[str, Any] = {
        "parents": [],
        "reference": ", ".join(dict.fromkeys(str(Path(f["path"]).parent) for files in described for f in files)),
        "revision": None,
        "licence": None,
    }
    manifest = {
        **descent("adapted", settings.model, settings.parent, settings.seed, settings.width, vectors),
        "recipe": recipe_of(settings, frozen, learned)
        | {
            "embeddings_digests": {name: read_digest(store) for name, store in zip(of_tasks, stores, strict=True)},
            "pairs_digests": {name: artefact.digest_of_file(rows.file) for name, rows in of_tasks.items()},
            "scored": {name: rows.scored for name, rows in of_tasks.items()},
            "answered_by_pairs": {name: rows.answered_by_pairs for name, rows in of_tasks.items()},
        },
        "cost": cost(
            steps=learned.steps,
            tokens=0,
            seconds=time.monotonic() - started,
            flops=learned.flops,
            device=frozen.vectors.device,
        ),
        "versions": versions(),
    }

    def write(part: Path) -> None:
        write_dense(part, learned.matrix.cpu().numpy())
        write_losses(learned, settings.nesting, part)

    leave(output, manifest, write)
    log.info("%s: learned in %.0f s, choice of the penalty included", settings.model, time.monotonic() - started)


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(VectorsSettings.model_fields))
    parser.add_argument("--tasks", required=True, nargs="+", type=Path, help="task.sha256 of each task with pairs")
    parser.add_argument(
        "--stores", required=True, nargs="+", type=Path, help="embeddings.sha256 of each, in that order"
    )
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(VectorsSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output.parent):
            adapt_vectors(settings, arguments.tasks, arguments.stores, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
