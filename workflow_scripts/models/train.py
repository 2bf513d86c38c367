"""Rule train: contrastive training of a parent model, at one dimension or many, after a rotation where asked.

    python -m workflow_scripts.models.train --settings JSON --parent P/model.sha256 --pairs corpus.sha256 \
        --tokens tokens.sha256 --output M/s0/model.json
    torchrun --nproc-per-node 2 -m workflow_scripts.models.train ...   # done by itself where `gpus` says so

Takes the parent's folder, the training texts and their tokens; leaves `models/<model>/s<seed>/` with the weights,
`model.json` (cost, parents, digests) and `training.parquet` (one row per step). Ended by SIGTERM or SIGINT, it writes
a checkpoint and exits with 128 + the signal (143, 130); the same command then goes on from there, and ends, on the
processor, with the very weights of a training that was never interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor

from workflow_scripts import artefact
from workflow_scripts.artefact import log
from workflow_scripts.encoder.encoding import resolve_precision
from workflow_scripts.encoder.loading import default_device, load_encoder
from workflow_scripts.memory import give_freed_memory_back, keep_freed_memory, processor_memory
from workflow_scripts.models import checkpoints
from workflow_scripts.models.batches import (
    Batch,
    Order,
    Text,
    Tokens,
    account,
    assemble,
    micro_batches,
    training_order,
)
from workflow_scripts.models.folder import (
    STEPS,
    ModelError,
    Settings,
    cost,
    encoder_flops,
    encoder_of,
    export,
    parse_settings,
    read_digest,
    read_manifest,
    run,
    settings_as_recipe,
    versions,
)
from workflow_scripts.models.objective import Form, Rows, contrastive_loss
from workflow_scripts.models.packing import (
    Layout,
    Lean,
    check_modules,
    choose_layout,
    compile_encoder,
    embed,
    token_ids,
)
from workflow_scripts.models.transform import fit_matrix, put_matrix, read_sample
from workflow_scripts.scratch import staged_copy
from workflow_scripts.study.sections.training import Training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# On a processor a pass is fastest while its activations stay in the caches; the budget only matters below this.
PROCESSOR_MICRO_TOKENS = 4096
SECONDS_TO_SAVE = 540  # what a process has to end its step and save, a minute less than the profile's TERM leaves it
STEPS_BETWEEN_LOOKS = 20  # steps between looks at the loss, each of which waits for a GPU
# Keys of the study's section that the variant's own settings stand for, or that do not change the weights.
SAID_OUTSIDE = ("steps", "objective", "nesting", "nesting_weights", "checkpoint_minutes")


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
    objective: Form
    training: Training


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1


@dataclass
class Signals:
    """Which signal asked for the end, if one did."""

    received: int = 0
    before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number


@dataclass(frozen=True)
class StepResult:
    """What a step leaves for the log; tensors stay on the device until they are looked at."""

    loss: Tensor
    per_dimension: Tensor
    gradient_norm: Tensor
    tokens: int
    processed: int  # tokens, padding included
    squared_lengths: float


class Interrupted(Exception):  # noqa: N818 - not an error: a request to stop
    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


def train(
    settings: TrainSettings, parent: Path, pairs: Path, tokens_digest: Path, output: Path, checkpoint_seconds: float
) -> None:
    """Train and leave the model's folder. Raises ModelError with one line for what is wrong with the input."""
    recipe = settings.training
    ranks = Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if recipe.batch < ranks.count:
        raise ModelError(f"training.batch: {recipe.batch} is below the {ranks.count} processes that share it")

    # ---- setup: device, precision, what this run is
    device = default_device() if ranks.count == 1 or not torch.cuda.is_available() else local_gpu()
    precision = resolve_precision(recipe.dtype, device)
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    facts = settings_as_recipe(settings) | {
        "parent_digest": read_digest(parent),
        "tokens_digest": read_digest(tokens_digest),
        "precision": precision,
    }
    for key in SAID_OUTSIDE:
        facts["training"].pop(key)
    # Another torch or transformers may round otherwise or name its weights otherwise: no checkpoint crosses versions.
    fingerprint = artefact.digest_of_text(json.dumps(facts | {"versions": versions()}, sort_keys=True))
    parent_manifest = read_manifest(parent)

    # ---- data
    tokens = Tokens(tokens_digest.with_name("tokens.arrow"))
    rows_by_task = tokens.rows_by_task()
    accounting = account(rows_by_task, recipe.batch)
    for name in accounting.left_out:
        log.info("task %s has a single row: not trained on (counted in model.json)", name)
    order = training_order(rows_by_task, Order(recipe.batch, settings.seed, recipe.rows_cap))

    # ---- model
    model = load_encoder(parent.parent, device)
    check_modules(model)
    own_length = model.max_seq_length
    rotation_tokens, rotation_flops, rotation_seconds = 0, 0.0, 0.0
    full_width = model.get_embedding_dimension() or 0
    if settings.rotate is not None or settings.width != full_width:
        fitting = time.monotonic()
        model.max_seq_length = min(own_length or settings.max_length, settings.max_length)
        matrix, rotation_tokens, rotation_flops = fit_matrix(model, read_sample(pairs), settings.rotate, settings.width)
        put_matrix(model, matrix)
        model.max_seq_length = own_length
        rotation_seconds = time.monotonic() - fitting
    freeze_projections(model)
    set_dropout(model, recipe.dropout)
    if recipe.compile:
        layout = compile_encoder(model)
    else:
        layout = choose_layout(model, assemble(tokens, *next(training_order(rows_by_task, Order(8, 0)))).texts)
    model.train()

    # ---- optimiser
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=device.type in ("cpu", "cuda")
    )

    # ---- go on from a checkpoint
    folder = checkpoints.folder_of(output)
    state = checkpoints.load_last(folder, fingerprint, facts, model, optimizer)
    rows: list[dict[str, Any]] = state.rows if state else []
    done = state.step if state else 0
    # A checkpoint's seconds have the rotation in them already: fitted again here, it counts once.
    seconds_before = state.seconds if state else rotation_seconds
    stepper = Stepper(model, optimizer, parameters, settings, layout, precision, ranks)

    # ---- the loop
    started = last_checkpoint = step_started = time.monotonic()
    waiting: list[tuple[int, str, float, StepResult]] = []

    def checkpoint(step: int) -> Path:
        state = checkpoints.Checkpoint(step, seconds_before + time.monotonic() - started, rows)
        return checkpoints.save(folder, fingerprint, facts, state, model, optimizer)

    with Signals() as signals, artefact.Progress(f"train {settings.model}", settings.steps, "steps", done) as progress:
        log.info("%s: training starts at step %d of %d", settings.model, done + 1, settings.steps)
        for step, (task, chosen) in enumerate(itertools.islice(order, done, settings.steps), start=done + 1):
            batch = assemble(tokens, task, chosen)
            rate = learning_rate(step, settings.steps, recipe.learning_rate, recipe.warmup)
            waiting.append((step, task, rate, stepper.step(batch, step, rate)))

            now = time.monotonic()
            stopping = agree(signals.received, ranks)
            due = agree(int(now - last_checkpoint >= checkpoint_seconds), ranks)
            if stopping or due or step == settings.steps or len(waiting) >= look_every(device):
                seconds = (time.monotonic() - step_started) / len(waiting)
                for entry in waiting:
                    rows.append(row_of(*entry, seconds=seconds, nesting=settings.nesting))
                    check_health(rows, checkpoints.last(folder, fingerprint))
                progress.add(len(waiting), f"loss {rows[-1]['loss']:.3f}")
                waiting, step_started = [], time.monotonic()
            if (stopping or due) and step < settings.steps:
                if ranks.rank == 0:
                    path = checkpoint(step)
                    log.info("checkpoint after step %d: %s", step, path)
                last_checkpoint = time.monotonic()
                if stopping:
                    raise Interrupted(stopping)

    # ---- leave it
    if ranks.rank != 0:
        return
    pooling: Any = model[1]
    # As trained: a mean is of what stands behind the instruction, the first token has read it.
    pooling.include_prompt = pooling.pooling_mode == "cls"
    trained_tokens = sum(row["tokens"] for row in rows)
    squared = sum(row.pop("squared_lengths") for row in rows)
    flops = encoder_flops(model, trained_tokens, squared, backward=True) + rotation_flops
    seconds = seconds_before + time.monotonic() - started
    manifest: dict[str, Any] = {
        "model": settings.model,
        "seed": settings.seed,
        "kind": "trained",
        "parents": [settings.parent, *parent_manifest["parents"]],
        "reference": parent_manifest["reference"],
        "revision": parent_manifest["revision"],
        "licence": parent_manifest["licence"],
        "width": settings.width,
        "recipe": facts
        | {
            "tasks": accounting.tasks,
            "short_tasks": accounting.short_tasks,
            "tasks_left_out": accounting.left_out,
            "packed": layout.packed,
            "cached_gradients": stepper.cached,
            "processes": ranks.count,
        },
        "cost": cost(
            steps=settings.steps,
            tokens=trained_tokens + rotation_tokens,
            seconds=seconds,
            flops=flops,
            device=device,
        ),
        "pairs": read_digest(pairs),
        "tokens": facts["tokens_digest"],
        "versions": versions(),
    }
    export(model, output, manifest, lambda part: pq.write_table(pa.Table.from_pylist(rows), part / STEPS))
    shutil.rmtree(folder, ignore_errors=True)
    log.info("%s: %d steps in %.0f s, loss %.4f", settings.model, settings.steps, seconds, rows[-1]["loss"])


@dataclass
class MicroBatch:
    """Texts that go through the encoder together, which are those at `places` in the batch."""

    texts: list[Text]
    places: np.ndarray
    seed: int
    ids: Tensor | None = None  # where `tokens` were looked up
    tokens: Tensor | None = None  # looked up before, `(tokens, encoder width)`; None: the encoder does it
    embeddings: Tensor | None = None


class Stepper:
    """One optimiser step: embed, lose, send the gradient back, update.

    The loss is taken on the embeddings alone, and its gradient is then sent back through the encoder one micro-batch
    at a time. Where the batch fits, each micro-batch keeps its graph in between; where it does not
    (`cached`, after GradCache: Gao et al. 2021, arXiv 2101.06983), it is run again, with the same dropout.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        optimizer: torch.optim.Optimizer,
        parameters: list[torch.nn.Parameter],
        settings: TrainSettings,
        layout: Layout,
        precision: str,
        ranks: Ranks,
    ) -> None:
        self.model, self.optimizer, self.parameters = model, optimizer, parameters
        self.settings, self.layout, self.precision, self.ranks = settings, layout, precision, ranks
        self.padded = not layout.packed
        self.device = model.device
        budget = settings.training.micro_tokens
        self.micro_tokens = min(budget, PROCESSOR_MICRO_TOKENS) if self.device.type == "cpu" else budget
        self.cached = bool(settings.training.cached_gradients)
        self.bytes_per_token = activation_bytes_per_token(model, precision)
        self.most_tokens = 0
        self.table: torch.nn.Embedding = encoder_of(model).get_input_embeddings()
        self.table_gradient: Tensor | None = None

    def step(self, batch: Batch, step: int, rate: float) -> StepResult:
        own = np.arange(len(batch.texts))[self.ranks.rank :: self.ranks.count]
        idle = not len(own)  # of a small task there may be fewer texts than processes
        if idle:
            own = np.zeros(1, dtype=np.int64)  # another's text, at no weight, so that all have gradients to add up
        all_lengths = batch.lengths
        lengths = all_lengths[own]
        if self.settings.training.cached_gradients is None and not self.cached and lengths.sum() > self.most_tokens:
            self.most_tokens = int(lengths.sum())
            self.cached = not fits(self.bytes_per_token * self.most_tokens, self.device)
            if self.cached:
                self.table_gradient = None
                log.info(
                    "step %d: %d tokens do not fit in memory; gradients are cached and replayed", step, lengths.sum()
                )
        micros = [
            MicroBatch(
                [batch.texts[i] for i in own[cut]],
                own[cut],
                seed=hash((self.settings.seed, step, self.ranks.rank, place)) & 0x7FFFFFFF,
            )
            for place, cut in enumerate(micro_batches(lengths, self.micro_tokens, padded=self.padded))
        ]
        looked_up = not self.cached and not self.padded
        if looked_up:
            self._look_up(micros)

        # The forward passes; then the loss on all embeddings, those of the other processes included.
        self._forward(micros)
        embeddings = gather(micros, len(batch.texts), self.ranks, idle)
        embeddings.requires_grad_()
        loss, per_dimension = contrastive_loss(
            embeddings,
            rows_of(batch, self.device),
            form=self.settings.objective,
            nesting=self.settings.nesting,
            weights=self.settings.nesting_weights,
            temperature=self.settings.training.temperature,
            distillation=self.settings.training.distillation,
        )
        (gradient,) = torch.autograd.grad(loss, embeddings)

        # Back through the encoder, one micro-batch at a time.
        self._backward(micros, gradient * 0 if idle else gradient)
        if looked_up:
            self._table_gradient(micros)
        norm = self._update(rate)
        processed = sum(padded_tokens(all_lengths[micro.places], self.layout) for micro in micros)
        return StepResult(
            loss=loss.detach(),
            per_dimension=per_dimension,
            gradient_norm=norm,
            tokens=int(all_lengths.sum()),
            processed=total(processed, self.ranks),
            squared_lengths=float((all_lengths.astype(np.float64) ** 2).sum()),
        )

    def _look_up(self, micros: list[MicroBatch]) -> None:
        """Give each micro-batch its token embeddings as leaves, so that their gradient is at hand for the table."""
        for micro in micros:
            micro.ids = token_ids(micro.texts, self.device)
            micro.tokens = self.table(micro.ids).detach().requires_grad_(self.table.weight.requires_grad)

    def _table_gradient(self, micros: list[MicroBatch]) -> None:
        """Add the tokens' gradients up in one gradient of the table, whose memory serves every step.

        The table is most of a small encoder: a new gradient for each step, all of it zero but some rows, costs more
        than the sum.
        """
        table = self.table.weight
        if not table.requires_grad:
            return
        if self.table_gradient is None:
            self.table_gradient = torch.empty_like(table)
        self.table_gradient.zero_()
        for micro in micros:
            assert micro.ids is not None
            assert micro.tokens is not None
            assert micro.tokens.grad is not None
            self.table_gradient.index_add_(0, micro.ids, micro.tokens.grad)
            micro.tokens = None
        table.grad = self.table_gradient

    def _forward(self, micros: list[MicroBatch]) -> None:
        with self._arithmetic():
            for micro in micros:
                micro.embeddings = self._embed(micro, keep=not self.cached)

    def _backward(self, micros: list[MicroBatch], gradient: Tensor) -> None:
        for micro in micros:
            if self.cached:
                with self._arithmetic():
                    micro.embeddings = self._embed(micro, keep=True)
            assert micro.embeddings is not None
            torch.autograd.backward(micro.embeddings, gradient[micro.places])
            micro.embeddings = None  # and with it the graph

    def _embed(self, micro: MicroBatch, keep: bool) -> Tensor:
        """Embeddings `(texts, width)` of one micro-batch. Dropout hangs on its seed, so a replay repeats it."""
        torch.manual_seed(micro.seed)
        # A pass without gradients keeps nothing, and a compiled encoder chooses itself what it keeps.
        leaves_a_choice = keep and not self.settings.training.compile
        lean = Lean(encoder_of(self.model)) if leaves_a_choice else contextlib.nullcontext()
        with torch.set_grad_enabled(keep), lean:
            return embed(self.model, micro.texts, self.layout, micro.tokens)

    def _update(self, rate: float) -> Tensor:
        add_up_gradients(self.parameters, self.ranks)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.training.max_gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


# ---- the model's parts


def freeze_projections(model: SentenceTransformer) -> None:
    """Hold fixed what `rotate` and `width` put behind the encoder: Dense modules whose rows are orthonormal.

    They are the coordinates in which the model is trained and cut; the encoder learns, the coordinates stay.
    """
    from sentence_transformers.base.modules import Dense

    for module in model:
        if isinstance(module, Dense) and not module.bias and isinstance(module.activation_function, torch.nn.Identity):
            weight = module.linear.weight.detach()
            identity = torch.eye(len(weight), device=weight.device)
            if torch.allclose(weight @ weight.T, identity, atol=1e-4):
                module.requires_grad_(False)


def set_dropout(model: SentenceTransformer, probability: float | None) -> None:
    """Set every dropout of the encoder; None keeps the model's own. The saved configuration is not touched."""
    if probability is None:
        return
    module: Any
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        for name in ("attention_dropout", "dropout"):  # probabilities that a module keeps as numbers
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)


def parameter_groups(model: SentenceTransformer, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear rise over `warmup` of the steps, then linear fall to 0; `step` counts from 1."""
    rising = math.ceil(steps * warmup)
    if step <= rising:
        return peak * step / rising
    return peak * (steps - step + 1) / (steps - rising + 1)


def rows_of(batch: Batch, device: torch.device) -> Rows:
    def put(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(device, non_blocking=True)

    query, positive, negative = (torch.from_numpy(a).to(device) for a in (batch.query, batch.positive, batch.negative))
    return Rows(query, positive, negative, put(batch.not_for_query), put(batch.not_for_positive))


def padded_tokens(lengths: np.ndarray, layout: Layout) -> int:
    """Tokens that a micro-batch puts through the encoder, padding included."""
    return int(lengths.sum() if layout.packed else lengths.max() * len(lengths))


# ---- memory


def activation_bytes_per_token(model: SentenceTransformer, precision: str) -> float:
    """About what one token leaves for the backward pass: an estimate on the high side, in values per
    unit of width and layer, from what a layer keeps (Korthikanti et al. 2022, arXiv 2205.05198, section 4.1)."""
    config = encoder_of(model).config
    dropping = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    values = 34 if dropping else 22
    return float(config.num_hidden_layers * config.hidden_size * values * (2 if precision == "bf16" else 4))


def fits(needed: float, device: torch.device) -> bool:
    """Whether a batch's activations fit in four fifths of the memory that is free now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        give_freed_memory_back()  # else it would count as taken
        free = processor_memory()
    return needed < 0.8 * free


# ---- several processes


def local_gpu() -> torch.device:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started; nothing without it."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(micros: list[MicroBatch], count: int, ranks: Ranks, idle: bool = False) -> Tensor:
    """The batch's embeddings `(count, width)`, detached: those of these micro-batches (none of an idle process) and of
    the other processes'."""
    parts = [micro.embeddings.detach() for micro in micros if micro.embeddings is not None]
    places = torch.from_numpy(np.concatenate([micro.places for micro in micros]))
    everything = parts[0].new_zeros(count, parts[0].shape[1])
    if not idle:
        everything[places.to(everything.device)] = torch.cat(parts)
    if ranks.count > 1:
        dist.all_reduce(everything)
    return everything


def add_up_gradients(parameters: list[torch.nn.Parameter], ranks: Ranks) -> None:
    """Each process holds the gradient through its own texts; their sum is the batch's."""
    if ranks.count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def agree(number: int, ranks: Ranks) -> int:
    """The largest of what the processes say, through main memory, so that no GPU waits."""
    if ranks.count == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def total(number: int, ranks: Ranks) -> int:
    if ranks.count == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value)
    return int(value)


# ---- the log, and when to stop


def look_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else STEPS_BETWEEN_LOOKS


def row_of(
    step: int, task: str, rate: float, result: StepResult, *, seconds: float, nesting: list[int]
) -> dict[str, Any]:
    """A row of training.parquet."""
    per_dimension = result.per_dimension.tolist()
    return {
        "step": step,
        "task_name": task,
        "loss": float(result.loss),
        **{f"loss_{d}": value for d, value in zip(nesting, per_dimension, strict=True)},
        "learning_rate": rate,
        "gradient_norm": float(result.gradient_norm),
        "tokens": result.tokens,
        "tokens_per_second": result.tokens / max(seconds, 1e-9),
        "padding_share": 1 - result.tokens / result.processed,
        "squared_lengths": result.squared_lengths,
    }


def check_health(rows: list[dict[str, Any]], checkpoint: Path | None) -> None:
    """Raises ModelError at a loss or gradient that is not a number, or a loss that has run away.

    Run away: over the last 20 steps three times what it was over the first 20, when those are past.
    """
    row = rows[-1]
    window = STEPS_BETWEEN_LOOKS
    trouble = ""
    if not math.isfinite(row["loss"]) or not math.isfinite(row["gradient_norm"]):
        trouble = f"loss {row['loss']}, gradient norm {row['gradient_norm']}"
    elif len(rows) >= 2 * window:
        first = sum(r["loss"] for r in rows[:window]) / window
        recent = sum(r["loss"] for r in rows[-window:]) / window
        if recent > 3 * first + 1:
            trouble = f"mean loss {recent:.3f} over the last {window} steps, {first:.3f} over the first"
    if trouble:
        where = f"last good checkpoint: {checkpoint}" if checkpoint else "no checkpoint was written yet"
        raise ModelError(
            f"training broke at step {row['step']} (task {row['task_name']}): {trouble}; {where}; "
            "lower training.learning_rate or raise training.temperature"
        )


# ---- the command line


def launch_command(gpus: int, here: int, arguments: list[str]) -> list[str] | None:
    """torchrun with one process for each of the GPUs asked for that are here; None where one process does."""
    count = min(gpus, here)
    if count < gpus:
        log.info("training.gpus is %d, %d are here: training with %d process(es)", gpus, count, max(count, 1))
    if count <= 1:
        return None
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    launcher += ["--shutdown-timeout", str(SECONDS_TO_SAVE)]  # else it kills after 30 s what is saving a checkpoint
    return [*launcher, "-m", "workflow_scripts.models.train", *arguments]


def launch_processes(gpus: int) -> None:
    """Replace this process by torchrun with one process per GPU, where several are asked for and there."""
    if gpus == 1 or "WORLD_SIZE" in os.environ:
        return
    if command := launch_command(gpus, torch.cuda.device_count(), sys.argv[1:]):
        os.execv(sys.executable, command)  # noqa: S606


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model from its parent.")
    parser.add_argument("--settings", required=True, help="JSON: " + json.dumps(list(TrainSettings.model_fields)))
    parser.add_argument("--checkpoint-seconds", type=float, default=300.0, help="seconds between checkpoints")
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument("--pairs", required=True, type=Path, help="corpus.sha256, beside sample.parquet")
    parser.add_argument("--tokens", required=True, type=Path, help="tokens.sha256, beside tokens.arrow")
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    parser.add_argument("--scratch", type=int, choices=[0, 1], default=0, help="1: read tokens from a copy in $TMPDIR")
    arguments = parser.parse_args()

    def work() -> None:
        settings = parse_settings(TrainSettings, arguments.settings)
        launch_processes(settings.training.gpus)
        alone = int(os.environ.get("RANK", 0)) == 0
        with (
            process_group(),
            artefact.exclusive_lock(arguments.output) if alone else contextlib.nullcontext(),
            staged_copy(arguments.tokens, "tokens.arrow", copy=bool(arguments.scratch)) as tokens,
        ):
            train(
                settings,
                arguments.parent,
                arguments.pairs,
                tokens,
                arguments.output,
                arguments.checkpoint_seconds,
            )

    try:
        run(work)
    except Interrupted as interruption:
        log.info("stopped by signal %d; the same command goes on from the checkpoint", interruption.signal_number)
        sys.exit(128 + interruption.signal_number)


if __name__ == "__main__":
    main()
