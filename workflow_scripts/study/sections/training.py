"""Section `training`: the recipe of every trained variant."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section, Share


class Training(Section):
    """The recipe shared by every trained variant. Defaults are INSTRUCTOR's unless said otherwise."""

    objective: Literal["instructor", "mnr"] = Field(
        "instructor",
        description="`instructor`: query to positive against all hard negatives, and back; `mnr`: MultipleNegativesRanking with hard negatives.",
    )
    temperature: Annotated[float, Field(gt=0)] = Field(0.01, description="Divides the cosine.")
    steps: Positive = Field(20000, description="Optimiser steps of the full budget.")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="Triples per step, all from one training task.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-5, description="Peak learning rate of AdamW.")
    warmup: Share = Field(0.1, description="Share of the steps over which the rate rises; it then falls linearly to 0.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="AdamW's decay.")
    max_gradient_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Gradients are clipped to this norm.")
    max_length: Annotated[int, Field(ge=8)] = Field(
        512, description="Tokens per text, special tokens included; the rest is cut."
    )
    dropout: Share | None = Field(
        0.0,
        description="Dropout probability everywhere in the encoder; null keeps the model's own (as INSTRUCTOR did), which benchmarks/dropout.py found slower and no better.",
    )
    dtype: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Arithmetic: fp32, or bf16 autocast; `auto`: bf16 where the device computes in it."
    )
    nesting: list[Positive] | None = Field(
        None,
        description="Dimensions trained together when `nested`; null: 8, 16, 32, … up to the width. Not taken from `dimensions`, so that scoring one more trains nothing.",
    )
    nesting_weights: list[Annotated[float, Field(ge=0)]] | None = Field(
        None, description="A weight per member of `nesting`; null: 1 each."
    )
    distillation: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of the term that pulls each prefix's similarities to the full width's; 0: none."
    )
    spread_out: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of the regulariser that spreads unrelated texts over all directions; 0: none."
    )
    rows_cap: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="A task counts as at most this many rows when batches are drawn in proportion to rows; below `batch`, its batches have so many. At least 2: a row alone has no in-batch negatives.",
    )
    micro_tokens: Positive = Field(
        8192,
        description="Most tokens (padding included) that go through the encoder at once. A processor takes at most 4,096, a GPU at least 32,768 while the batch fits in its memory.",
    )
    cached_gradients: bool | None = Field(
        None,
        description="Replay micro-batches (GradCache) so that memory does not grow with the batch; null: where the batch does not fit.",
    )
    compile: bool = Field(
        False,
        description="Run the encoder through torch.compile (padded micro-batches, dynamic lengths). Off until measured on a GPU; needs a C++ compiler, on a GPU Triton.",
    )
    checkpoint_minutes: Annotated[float, Field(ge=0)] = Field(5.0, description="Minutes between checkpoints.")
    gpus: Positive = Field(
        1,
        description="GPUs of one node that one training uses. Without SLURM, jobs have one together unless `--resources gpu=N` grants more.",
    )
