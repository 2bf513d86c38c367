"""The study's configuration, whole: all sections, and the checks across them.

Takes the YAML of all `--configfile` files, merged in their order; leaves a `Study`, or raises `StudyError` with one line that names the key that is
wrong and what would be right. Imports nothing heavy: every cluster job parses it again.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from workflow_scripts import search_grid
from workflow_scripts.codecs import Codec, grid
from workflow_scripts.study.bundles_fit import check_bundle
from workflow_scripts.study.catalogue import (
    known_names,
    prompt_names,
    prompts_read,
    spelled_out,
    task_catalogue,
    weights_of,
)
from workflow_scripts.study.codecs_fit import check_codecs
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.graph import Graph
from workflow_scripts.study.names import TRAINING_TEXTS, distinct, nearest, safe_name
from workflow_scripts.study.own_vectors import files_by_task, pairs_by_task, refuse_other_numbers
from workflow_scripts.study.paths import exists
from workflow_scripts.study.references import HUB_REFERENCE, refuse_wildcards
from workflow_scripts.study.renamed import RENAMED
from workflow_scripts.study.sections.adaptor import Adaptor
from workflow_scripts.study.sections.base import Base
from workflow_scripts.study.sections.budget import Budget
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.corpus import Corpus
from workflow_scripts.study.sections.deploy import Bundle, Deploy
from workflow_scripts.study.sections.encoding import Encoding
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.own_task import OwnTask, TaskEntry, is_path, name_of
from workflow_scripts.study.sections.search import Search
from workflow_scripts.study.sections.section import Section, Seed
from workflow_scripts.study.sections.training import Training
from workflow_scripts.study.sections.variant import Variant
from workflow_scripts.study.variants_fit import check_hub_names, check_variants, check_widths
from workflow_scripts.study.wording import expected, shown
from workflow_scripts.vector_headers import ONLY_VECTORS

SCORE_TABLES = ("values", "search")  # <task>.values.parquet and <task>.search.parquet, beside <task>.parquet


class Study(Section):
    """Everything that decides a result. What decides only where and how fast it runs is in `profiles/`."""

    study: str = Field(description="Name of the study: results go to `results/<study>/`.")
    base: Base | None = Field(
        None, description="The model that `parent: base` means; none for a study that only measures."
    )
    seeds: list[Seed] = Field([0], min_length=1, description="The whole graph is trained once per seed.")
    dimensions: list[int] = Field(
        min_length=1, description="Dimensions at which every model is scored; the full width is always added."
    )
    codecs: Codecs = Field(Codecs(), description="What vectors are stored as.")
    search: Search = Field(Search(), description="Search in stages.")
    tasks: list[TaskEntry] = Field(
        min_length=1,
        description="Evaluation tasks by their mteb names, whole benchmarks (`MTEB(eng, v2)`) or aggregate tasks (`CQADupstackRetrieval`), which a mean over tasks then weighs as mteb does, the embedded WordNet tasks, or data of your own: a path, or a mapping (`tasks: an entry`).",
    )
    in_domain: list[str] | None = Field(
        None,
        description="Those of the tasks whose data are like the training pairs', as you judge it before any score is seen; the others then count as out of domain. null: told by names, and by texts that the pairs held.",
    )
    variants: dict[str, Variant] = Field({}, description="The graph of models.")
    corpus: Corpus = Field(Corpus(), description="The training pairs.")
    training: Training = Field(Training(), description="The recipe shared by every trained variant.")
    adaptor: Adaptor = Field(Adaptor(), description="The recipe of every linear adaptor.")
    encoding: Encoding = Field(Encoding(), description="How evaluation texts are encoded.")
    intervals: Intervals = Field(Intervals(), description="Confidence intervals.")
    budget: Budget = Field(Budget(), description="What the study may cost.")
    deploy: Deploy = Field(Deploy(), description="What `snakemake deploy` exports.")

    # ---- checks, in the order in which a reader of the configuration meets the keys

    @field_validator("study")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        return safe_name(name, "a study")

    @field_validator("dimensions")
    @classmethod
    def _dimensions_are_distinct_and_positive(cls, dimensions: list[int]) -> list[int]:
        for dimension in dimensions:
            if dimension < 1:
                raise ValueError(f"{dimension} is not a dimension; use whole numbers from 1 up")
        distinct(dimensions)
        return sorted(dimensions)

    @field_validator("seeds")
    @classmethod
    def _aredistinct(cls, values: list[Any]) -> list[Any]:
        distinct(values)
        return values

    @field_validator("codecs", "search")
    @classmethod
    def _lists_aredistinct(cls, section: Codecs | Search, info: ValidationInfo) -> Codecs | Search:
        for key, values in section:
            if isinstance(values, list):
                _distinct_or(values, f"{info.field_name}.{key}")
        return section

    @field_validator("tasks")
    @classmethod
    def _tasks_are_known(cls, entries: list[TaskEntry]) -> list[TaskEntry]:
        distinct(entries)
        known = known_names()
        found = [_with_own(entry, known, "tasks") for entry in entries]
        for entry in found:
            if isinstance(entry, str) and entry not in known:
                raise ValueError(f"{entry!r} is not a known task or benchmark, nor a path{nearest(entry, known)}")
        own_names = [name_of(entry) for entry in found if isinstance(entry, OwnTask)]
        for name in own_names:
            if own_names.count(name) > 1:
                raise ValueError(f"two are called {name!r}; give each a `name` of its own")
            of_task, _, kind = name.rpartition(".")
            if kind in SCORE_TABLES and of_task in spelled_out(map(name_of, found)):
                raise ValueError(
                    f"{name!r} is what a table of the scores of {of_task!r} is called; give it another `name`"
                )
        return found

    @field_validator("in_domain")
    @classmethod
    def _in_domain_are_tasks(cls, names: list[str] | None, info: ValidationInfo) -> list[str] | None:
        tasks = spelled_out(map(name_of, info.data.get("tasks", [])))
        for name in names or []:
            if tasks and name not in tasks:
                raise ValueError(f"{name!r} is not a task of this study{nearest(name, tasks)}")
        return names

    @field_validator("encoding")
    @classmethod
    def _prompts_are_read(cls, encoding: Encoding, info: ValidationInfo) -> Encoding:
        own = [name_of(entry) for entry in info.data.get("tasks", []) if isinstance(entry, OwnTask)]
        known = prompt_names(own) if encoding.prompts else []
        for name in encoding.prompts:
            if name not in known:
                meant = {"passage": "document", "corpus": "document", "doc": "document"}.get(name.lower())
                perhaps = f"; did you mean {meant!r}?" if meant else nearest(name, known)
                raise StudyError(
                    f"encoding.prompts: {name!r} is read by no task; use 'query', 'document', a task, a task type, or one of these two with '-query' or '-document' behind it{perhaps}"
                )
        return encoding

    @field_validator("training")
    @classmethod
    def _recipe_is_sound(cls, training: Training) -> Training:
        if training.batch < training.gpus:
            raise StudyError(
                f"training.gpus: {training.gpus} share a training.batch of {training.batch}; use at most one for a triple"
            )
        _distinct_or(training.nesting or [], "training.nesting")
        return training

    @field_validator("corpus")
    @classmethod
    def _repository_is_pinned(cls, corpus: Corpus) -> Corpus:
        if not HUB_REFERENCE.match(corpus.repository):
            raise StudyError(f"corpus.repository: {corpus.repository!r}; expected org/name@revision")
        return corpus

    @field_validator("corpus")
    @classmethod
    def _decontamination_is_known(cls, corpus: Corpus, info: ValidationInfo) -> Corpus:
        key, of_study = "corpus.decontaminate", info.data.get("tasks", [])
        known = [*known_names(), *map(name_of, of_study)]
        found = {name_of(entry): entry for entry in of_study if isinstance(entry, OwnTask)}
        entries = [_with_own(entry, known_names(), key, found) for entry in corpus.decontaminate]
        for place, entry in enumerate(entries):
            name = name_of(entry)
            if isinstance(entry, OwnTask):
                entries[place] = first = found.setdefault(name, entry)
                if _resolved(first) != _resolved(entry):  # paths may be spelled differently
                    raise StudyError(f"{key}: two are called {name!r}; give each a `name` of its own")
            elif name not in known:
                raise StudyError(f"{key}: {name!r} is not a known task or benchmark, nor a path{nearest(name, known)}")
        return corpus.model_copy(update={"decontaminate": entries})

    @model_validator(mode="after")
    def _graph_is_sound(self, info: ValidationInfo) -> Study:
        if info.context and info.context["part"]:
            return self
        check_variants(self.base, self.variants)
        check_hub_names(self.study, self.graph)
        self._vectors_fit()
        check_widths(self.variants, self.graph, self.dimensions, self.training)
        check_codecs(self.codecs, self.search, self.graph, self.corpus.sample_texts)
        source = self.corpus.source
        if self.needs_pairs and source not in ("wordnet", "medi"):
            if not source or not exists(source):  # "" would be the working directory
                raise StudyError(f"corpus.source: {source!r} does not exist; use 'wordnet', 'medi' or a path to pairs")
            refuse_wildcards(source, "corpus.source")
        for name, bundle in self.deploy.bundles.items():
            check_bundle(name, bundle, self.graph, self.codecs, self.search, self.task_names, self.catalogue)
        return self

    def _vectors_fit(self) -> None:
        """Tasks without texts are scored on vectors alone, of which there is one for each row."""
        for name, entry in self.own_data.items():
            bare = next((path for path in entry.files().values() if path.suffix in ONLY_VECTORS), None)
            if self.encodes and bare:
                why = "which no model can encode; every variant needs `vectors`"
                if name not in self.own_tasks:
                    why = "which no training pair can be compared with; take it out, or give its texts"
                raise StudyError(f"{self.key_of(name)}: {name!r} has vectors in place of texts ({bare}), {why}")
        for task, entry in self.own_tasks.items():
            for name in self.graph.own:
                refuse_other_numbers(entry.files(), self.graph.files[name][task], f"variants.{name}.vectors.{task}")

    # ---- what follows from several sections

    @cached_property
    def graph(self) -> Graph:
        """The graph of models: parents, seeds, widths, dimensions."""
        vectors = {name: variant.vectors for name, variant in self.variants.items() if variant.vectors is not None}
        learned_from = {variant.parent for variant in self.variants.values() if variant.adaptor is not None}
        files = {
            name: files_by_task(given, self.task_names, f"variants.{name}.vectors") for name, given in vectors.items()
        }
        pairs = {
            name: pairs_by_task(given, files[name], f"variants.{name}.vectors")
            for name, given in vectors.items()
            if name in learned_from
        }
        return Graph(self.base, self.variants, tuple(self.seeds), tuple(self.dimensions), self.training, files, pairs)

    @cached_property
    def fits_on_training_texts(self) -> bool:
        """Whether a codec of a model is fitted, so that the sample of training texts is encoded like a task. Vectors of
        one's own, and adaptors of them, are fitted on documents that are held out."""
        return any(codec.is_fitted for model in self.graph.encoders for codec in self.codecs_of(model))

    @property
    def encodes(self) -> bool:
        """Whether any model encodes texts; else the tasks need none."""
        return bool(self.graph.encoders)

    @property
    def fits_on_held_out(self) -> bool:
        """Whether a codec of the user's own vectors is fitted, or an adaptor of them learned, which starts at axes of the same
        documents: so they are held out of every model's searches."""
        learned = any(model not in self.graph.own for model in self.graph.of_vectors)
        return learned or any(codec.is_fitted for model in self.graph.of_vectors for codec in self.codecs_of(model))

    def codecs_of(self, model: str) -> list[Codec]:
        """Every codec that the model is scored with, those of its searches included."""
        width = self.graph.width_of(model)
        searched = [codec for one in search_grid.grid(self.search, width) for codec in one.codecs]
        return list(dict.fromkeys([*grid(self.codecs, self.dimensions, width), *searched]))

    @property
    def needs_pairs(self) -> bool:
        """Whether anything is trained, adapted, rotated or fitted. Keeping the first coordinates needs no pairs."""
        made_of_pairs = (self.graph.trains_anywhere(m) or self.graph.is_rotated(m) for m in self.graph.encoders)
        return self.fits_on_training_texts or any(made_of_pairs)

    @cached_property
    def task_names(self) -> list[str]:
        """Every evaluation task by its name, in order, benchmarks spelled out."""
        return spelled_out(map(name_of, self.tasks))

    @property
    def task_weights(self) -> dict[str, float]:
        """By how much each evaluation task counts in a mean over tasks."""
        return weights_of(map(name_of, self.tasks))

    @cached_property
    def own_tasks(self) -> dict[str, OwnTask]:
        """The evaluation tasks over data of the user's own, by name."""
        return {name_of(entry): entry for entry in self.tasks if isinstance(entry, OwnTask)}

    @cached_property
    def own_data(self) -> dict[str, OwnTask]:
        """All data of the user's own by name: evaluation tasks, and what training pairs are cleaned against alone."""
        cleaned_against = [entry for entry in self.corpus.decontaminate if isinstance(entry, OwnTask)]
        return {name_of(entry): entry for entry in cleaned_against} | self.own_tasks

    def key_of(self, own: str) -> str:
        """Where the study names data of the user's own."""
        return "tasks" if own in self.own_tasks else "corpus.decontaminate"

    @cached_property
    def catalogue(self) -> dict[str, dict[str, Any]]:
        """What is known of each task that can be named, the study's own data among them."""
        return task_catalogue() | {name: entry.described() for name, entry in self.own_data.items()}

    def encoding_jobs(self, task: str) -> int:
        """How many jobs encode a task's texts for one model: one of the training texts, which are no task, and of data of the
        user's own, whose texts are counted when they are read."""
        rows = self.encoding.rows_per_job
        if not rows or task in self.own_tasks or task not in self.catalogue:
            return 1
        return math.ceil((self.catalogue[task]["texts"] or 1) / rows)

    def prompts_of(self, task: str) -> dict[str, str]:
        """Those of `encoding: prompts` that a task's texts may be given; none for the training texts, which are no task."""
        if not self.encoding.prompts or task == TRAINING_TEXTS:
            return {}
        own = self.own_tasks.get(task)
        types = own.types() if own else (self.catalogue[task]["type"],)
        read = set().union(*(prompts_read(task, kind) for kind in types))
        return {name: prompt for name, prompt in self.encoding.prompts.items() if name in read}

    @property
    def tasks_cleaned_against(self) -> list[str]:
        """The tasks whose texts are removed from the pairs: `corpus: decontaminate`, benchmarks spelled out."""
        return spelled_out(map(name_of, self.corpus.decontaminate))


def load_study(raw: Mapping[str, Any], part: bool = False) -> Study:
    """Check a configuration, whose files are merged. A variant that an overlay sets to null is removed. `part`: some models of
    a study that was checked whole, whose sections need not fit these models alone.

    Raises StudyError with one line for the first thing that is wrong.
    """
    cleaned = _without_nulls(raw)
    try:
        return Study.model_validate(cleaned, context={"part": part})
    except ValidationError as error:
        raise StudyError(_one_line(error)) from None


def _with_own(entry: TaskEntry, known: Sequence[str], key: str, named: Container[str] = ()) -> TaskEntry:
    """The entry of `key`, data of the user's own where it is a path and not a name that is `known` or `named`. Raises StudyError
    for own data that cannot be used."""
    if isinstance(entry, str) and entry not in known and entry not in named and is_path(entry):
        entry = OwnTask(path=entry)
    if isinstance(entry, OwnTask):
        _own_is_sound(entry, known, key)
    return entry


def _own_is_sound(own: OwnTask, known: Sequence[str], key: str) -> None:
    """Raises StudyError for a name that cannot be a task's, and for files that are not there."""
    name = safe_name(str(own.name), "a task")
    if name in known or name == TRAINING_TEXTS:
        raise StudyError(f"{key}: {name!r} is a task's name already; give your own data another with `name`")
    try:
        files = own.files()
    except StudyError as error:
        raise StudyError(f"{key}: {error}") from None
    for path in files.values():
        refuse_wildcards(str(path), key)


def _resolved(own: OwnTask) -> dict[str, Path]:
    """The files by what they hold, however their paths are spelled."""
    return {key: path.resolve() for key, path in own.files().items()}


def _distinct_or(values: list[Any], key: str) -> None:
    try:
        distinct(values)
    except ValueError as error:
        raise StudyError(f"{key}: {error}") from None


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
    several = _of_several_types(first["loc"])
    key = (
        ".".join(
            str(part) for part in several or first["loc"] if not str(part).startswith(("function-", "tagged-", "[key]"))
        )
        or "configuration"
    )
    if first["type"] == "extra_forbidden":
        if new := RENAMED.get(key):
            return f"{key}: is now called `{new}`"
        known = list(section_at(first["loc"][:-1]).model_fields)
        return f"{key}: unknown key{nearest(str(first['loc'][-1]), known) or '; known keys: ' + ', '.join(known)}"
    if isinstance(cause := first.get("ctx", {}).get("error"), StudyError):
        return str(cause)
    if first["type"] == "missing":
        overlay = (
            "" if len(first["loc"]) > 1 else " A file that overlays a study comes after it: --configfile STUDY OVERLAY."
        )
        return f"{key}: missing; {_description(first['loc'])}{overlay}"
    if first["type"] == "too_short":
        return f"{key}: empty; give at least one"
    found = first["input"]
    if several:
        return f"{key}: found {shown(found)}; expected: {_description(several)}"
    if key == "encoding.precision" and found in ("auto", "bf16", "fp32"):  # what the key meant before
        return f"{key}: {found!r} is an arithmetic: `encoding.dtype`; this key is the type of the stored embeddings"
    return f"{key}: {expected(first)}"


def _of_several_types(loc: tuple[int | str, ...]) -> tuple[int | str, ...] | None:
    """The place of a key that takes one of several types, of which its description tells, where the error is within one of
    them; what follows in `loc` is then the type's name."""
    for end in range(1, len(loc)):
        field = getattr(section_at(loc[: end - 1]), "model_fields", {}).get(str(loc[end - 1]))
        kind = field.annotation if field else None
        if get_origin(kind) in (Union, UnionType) and len({*get_args(kind)} - {NoneType}) > 1:
            return loc[:end]
    return None


def section_at(place: Sequence[int | str]) -> Any:
    """The section whose keys stand at this place of the configuration."""
    if not place:
        return Study
    if place[0] == "variants" and len(place) > 1:
        return Variant
    if len(place) > 2 and tuple(place[:2]) == ("deploy", "bundles"):
        return Bundle
    if (place[0] == "tasks" and len(place) > 1) or (len(place) > 2 and tuple(place[:2]) == ("corpus", "decontaminate")):
        return OwnTask
    return Base if place[0] == "base" else Study.model_fields[str(place[0])].annotation


def _description(loc: tuple[int | str, ...]) -> str:
    return section_at(loc[:-1]).model_fields[str(loc[-1])].description or "give a value"
