"""Rule train: contrastive training of a parent model, at one dimension or many, after a rotation where asked.

    python -m workflow_scripts.models.train --settings JSON --parent P/model.sha256 --pairs pairs.sha256 \
        --tokens tokens.sha256 --output M/s0/model.json
    torchrun --nproc-per-node 2 -m workflow_scripts.models.train ...   # done by itself where several GPUs are granted

Takes the parent's folder, the training texts and their tokens; leaves `models/<model>/s<seed>/` with the weights,
`model.json` (cost, parents, digests) and `training.parquet` (one row per step). Ended by SIGTERM or SIGINT, it writes
a checkpoint and exits with 128 + the signal (143, 130); the same command then goes on from there, and ends, on the
processor, with the very weights of a training that was never interrupted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts import artefact, command_line
from workflow_scripts.artefact import log
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.encoding import resolve_precision
from workflow_scripts.encoder.gpus import take_gpus
from workflow_scripts.encoder.loading import default_device, load_encoder
from workflow_scripts.models import checkpoints
from workflow_scripts.models.batches import Order, Tokens, account, assemble, training_order
from workflow_scripts.models.distributed import (
    all_reduce_gradients,
    all_reduce_max,
    launch_processes,
    local_gpu,
    process_group,
    ranks_of_environment,
)
from workflow_scripts.models.folder import (
    STEPS,
    ModelError,
    cost,
    descent,
    encoder_flops,
    export,
    read_digest,
    read_manifest,
    settings_as_recipe,
    versions,
)
from workflow_scripts.models.health import check_health, log_row, steps_between_reads
from workflow_scripts.models.interruption import Interrupted, StopSignals
from workflow_scripts.models.objective import Objective, ObjectiveName
from workflow_scripts.models.packing import check_modules, choose_layout, compile_encoder, longest_input
from workflow_scripts.models.parameters import freeze_projections, learning_rate, parameter_groups, set_dropout
from workflow_scripts.models.projection import Fitting, append_projection, embedding_width, read_sample, sample_of
from workflow_scripts.models.step import Step
from workflow_scripts.scratch import staged_copy
from workflow_scripts.study.sections.training import Training

# Keys of the study's section that the variant's own settings replace, or that do not change the weights.
NOT_IN_THE_RECIPE = ("steps", "objective", "nesting", "nesting_weights", "checkpoint_minutes")


class TrainSettings(Settings):
    model: str
    parent: str
    seed: int
    rotate: Literal["pca"] | None
    width: int
    max_length: int
    steps: int
    nesting: list[int]
    nesting_weights: list[float]
    objective: ObjectiveName
    training: Training


def train(
    settings: TrainSettings, parent: Path, pairs: Path, tokens_digest: Path, output: Path, checkpoint_seconds: float
) -> None:
    """Train and leave the model's folder. Raises ModelError with one line for what is wrong with the input."""
    recipe = settings.training
    ranks = ranks_of_environment()
    if recipe.batch < ranks.world_size:
        raise ModelError(f"training.batch: {recipe.batch} is below the {ranks.world_size} processes that share it")

    # ---- setup: device, dtype, and what identifies this training
    device = default_device() if ranks.world_size == 1 or not torch.cuda.is_available() else local_gpu()
    dtype = resolve_precision(recipe.dtype, device)
    torch.manual_seed(settings.seed)
    facts = settings_as_recipe(settings) | {
        "parent_digest": read_digest(parent),
        "tokens_digest": read_digest(tokens_digest),
        "dtype": dtype,
    }
    if settings.rotate is not None:  # a checkpoint holds the rotation
        facts["sample_digest"] = artefact.digest_of_file(sample_of(pairs))
    for key in NOT_IN_THE_RECIPE:
        facts["training"].pop(key)
    # Another torch or transformers may round otherwise or name its weights otherwise: no checkpoint crosses versions.
    fingerprint = artefact.digest_of_text(json.dumps(facts | {"versions": versions()}, sort_keys=True))
    parent_manifest = read_manifest(parent)

    # ---- model
    model = load_encoder(parent.parent, device)
    check_modules(model)
    projection = Fitting()
    if settings.rotate is not None or settings.width != embedding_width(model):
        texts = [] if settings.rotate is None else read_sample(pairs)
        projection = append_projection(
            model, texts, rotate=settings.rotate, width=settings.width, max_length=settings.max_length
        )
    freeze_projections(model)
    set_dropout(model, recipe.dropout)

    # ---- data
    max_length = longest_input(model, settings.max_length)
    tokens = Tokens(tokens_digest.with_name("tokens.arrow"), max_length)
    rows_by_task = tokens.rows_by_task()
    accounting = account(rows_by_task, recipe.batch, recipe.rows_cap)
    for name in accounting.left_out:
        log.info("task %s has a single row: not trained on (counted in model.json)", name)
    order = training_order(rows_by_task, Order(recipe.batch, settings.seed, recipe.rows_cap))

    # ---- optimiser, and what computes the gradient of a step
    sample = assemble(tokens, *next(training_order(rows_by_task, Order(8, 0)))).texts
    layout = compile_encoder(model) if recipe.compile else choose_layout(model, sample)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=device.type in ("cpu", "cuda")
    )
    step_of = Step(
        model,
        Objective(
            settings.objective,
            nesting=tuple(settings.nesting),
            weights=tuple(settings.nesting_weights),
            temperature=recipe.temperature,
            distillation=recipe.distillation,
            spread_out=recipe.spread_out,
        ),
        layout=layout,
        dtype=dtype,
        seed=settings.seed,
        micro_tokens=recipe.micro_tokens,
        cached_gradients=recipe.cached_gradients,
        ranks=ranks,
    )

    # ---- resume from a checkpoint
    folder = checkpoints.folder_of(output)
    state = checkpoints.load_last(folder, fingerprint, facts, model, optimizer)
    rows: list[dict[str, Any]] = state.rows if state else []
    done = state.step if state else 0
    # A checkpoint's seconds have the rotation in them already: fitted again here, it counts once.
    seconds_before = state.seconds if state else projection.seconds

    # ---- the loop
    started = last_checkpoint = read = time.monotonic()
    unread: list[tuple[Any, ...]] = []  # results of steps, still on the device
    progress_bar = artefact.Progress(f"train {settings.model}", settings.steps, "steps", done)
    with StopSignals() as signals, progress_bar as progress:
        log.info("%s: training starts at step %d of %d", settings.model, done + 1, settings.steps)
        for step, (task, chosen) in enumerate(itertools.islice(order, done, settings.steps), start=done + 1):
            result = step_of.gradients(assemble(tokens, task, chosen), step)
            all_reduce_gradients(parameters, ranks)
            norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.max_gradient_norm)
            rate = learning_rate(step, settings.steps, recipe.learning_rate, recipe.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            unread.append((step, task, rate, norm, result))

            stop = all_reduce_max(signals.received, ranks)
            due = all_reduce_max(int(time.monotonic() - last_checkpoint >= checkpoint_seconds), ranks)
            if stop or due or step == settings.steps or len(unread) >= steps_between_reads(device):
                seconds = (time.monotonic() - read) / len(unread)
                for entry in unread:
                    rows.append(log_row(*entry, seconds=seconds, nesting=settings.nesting))
                    check_health(rows, checkpoints.last(folder, fingerprint))
                progress.add(len(unread), f"loss {rows[-1]['loss']:.3f}")
                unread, read = [], time.monotonic()
            if (stop or due) and step < settings.steps:
                if ranks.rank == 0:
                    state = checkpoints.Checkpoint(step, seconds_before + time.monotonic() - started, rows)
                    path = checkpoints.save(folder, fingerprint, facts, state, model, optimizer)
                    log.info("checkpoint after step %d: %s", step, path)
                last_checkpoint = time.monotonic()
                if stop:
                    raise Interrupted(stop)

    # ---- leave the model, its manifest and its log
    if ranks.rank != 0:
        return
    pooling: Any = model[1]
    # As trained: the mean is over what follows the instruction; the first token (`cls`) has read it.
    pooling.include_prompt = pooling.pooling_mode == "cls"
    trained_tokens = sum(row["tokens"] for row in rows)
    squared = sum(row.pop("squared_lengths") for row in rows)
    seconds = seconds_before + time.monotonic() - started
    manifest = {
        **descent("trained", settings.model, settings.parent, settings.seed, settings.width, parent_manifest),
        "recipe": facts
        | {
            "max_length": max_length,
            "tasks": accounting.tasks,
            "short_tasks": accounting.short_tasks,
            "tasks_left_out": accounting.left_out,
            "packed": layout.packed,
            "cached_gradients": step_of.cached,
            "processes": ranks.world_size,
        },
        "cost": cost(
            steps=settings.steps,
            tokens=trained_tokens + projection.tokens,
            seconds=seconds,
            flops=encoder_flops(model, trained_tokens, squared, backward=True) + projection.flops,
            device=device,
        ),
        "pairs": read_digest(pairs),
        "tokens": facts["tokens_digest"],
        "versions": versions(),
    }
    export(model, output, manifest, lambda part: pq.write_table(pa.Table.from_pylist(rows), part / STEPS))
    shutil.rmtree(folder, ignore_errors=True)
    log.info("%s: %d steps in %.0f s, loss %.4f", settings.model, settings.steps, seconds, rows[-1]["loss"])


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(TrainSettings.model_fields))
    parser.add_argument("--gpus", type=int, default=0, help="GPUs granted, of `training.gpus`; 0: all of these")
    parser.add_argument("--checkpoint-seconds", type=float, default=300.0, help="seconds between checkpoints")
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument("--pairs", required=True, type=Path, help="pairs.sha256, beside sample.parquet")
    parser.add_argument("--tokens", required=True, type=Path, help="tokens.sha256, beside tokens.arrow")
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    parser.add_argument("--scratch", type=int, choices=[0, 1], default=0, help="1: read tokens from a copy in $TMPDIR")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(TrainSettings, arguments.settings)
        asked = settings.training.gpus
        granted = min(arguments.gpus or asked, asked)
        if granted < asked:
            log.warning(
                "training.gpus is %d, %d granted: `--resources gpu=%d` lets jobs have as many", asked, granted, asked
            )
        take_gpus(granted)
        launch_processes(granted)
        first = ranks_of_environment().rank == 0
        with (
            process_group(),
            artefact.exclusive_lock(arguments.output.parent) if first else contextlib.nullcontext(),
            staged_copy(arguments.tokens, "tokens.arrow", copy=bool(arguments.scratch)) as tokens,
        ):
            train(settings, arguments.parent, arguments.pairs, tokens, arguments.output, arguments.checkpoint_seconds)

    try:
        command_line.run(work)
    except Interrupted as interruption:
        log.info("stopped by signal %d; the same command resumes from the checkpoint", interruption.signal_number)
        sys.exit(128 + interruption.signal_number)


if __name__ == "__main__":
    main()
