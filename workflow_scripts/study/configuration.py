"""The study's configuration, whole: all sections, and the checks across them.

Takes the YAML of all `--configfile` files, merged in their order; leaves a `Study`, or raises `StudyError` with one line that names the key that is
wrong and what would be right. Imports nothing heavy: every cluster job parses it again.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, ValidationInfo, field_validator, model_validator

from workflow_scripts.codecs import MTEB_BITS, Codec, grid, parse, parse_search
from workflow_scripts.command_line import InputError
from workflow_scripts.study.catalogue import known_names, prompt_names, spelled_out, task_catalogue
from workflow_scripts.study.codecs_fit import check_codecs
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.graph import Graph
from workflow_scripts.study.own_vectors import files_by_task, refuse_other_numbers
from workflow_scripts.study.references import HUB_REFERENCE, exists, is_reference, refuse_wildcards
from workflow_scripts.study.renamed import RENAMED
from workflow_scripts.study.sections.adaptor import Adaptor
from workflow_scripts.study.sections.base import Base
from workflow_scripts.study.sections.budget import Budget
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.corpus import Corpus
from workflow_scripts.study.sections.deploy import Bundle, Deploy
from workflow_scripts.study.sections.encoding import Encoding
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.own_task import NOT_JUDGED, OwnTask, is_path
from workflow_scripts.study.sections.search import Search
from workflow_scripts.study.sections.section import Section, Seed
from workflow_scripts.study.sections.training import Training
from workflow_scripts.study.sections.variant import Variant
from workflow_scripts.study.wording import expected
from workflow_scripts.vector_headers import ONLY_VECTORS

RESERVED = ("base", "mteb")  # names in the results that are no variant's
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
TRAINING_TEXTS = "training_texts"  # stands for a task in the results


def _kind(entry: Any) -> Literal["tagged-name", "tagged-own"]:
    return "tagged-own" if isinstance(entry, Mapping | OwnTask) else "tagged-name"


TaskEntry = Annotated[Annotated[str, Tag("tagged-name")] | Annotated[OwnTask, Tag("tagged-own")], Discriminator(_kind)]


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
        description="Evaluation tasks by their mteb names, whole benchmarks (`MTEB(eng, v2)`), the embedded WordNet tasks, or data of your own: a path, or a mapping (`tasks: an entry`).",
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
        return _safe_name(name, "a study")

    @field_validator("dimensions")
    @classmethod
    def _dimensions_are_distinct_and_positive(cls, dimensions: list[int]) -> list[int]:
        for dimension in dimensions:
            if dimension < 1:
                raise ValueError(f"{dimension} is not a dimension; use whole numbers from 1 up")
        _distinct(dimensions)
        return sorted(dimensions)

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, values: list[Any]) -> list[Any]:
        _distinct(values)
        return values

    @field_validator("codecs", "search")
    @classmethod
    def _lists_are_distinct(cls, section: Codecs | Search, info: ValidationInfo) -> Codecs | Search:
        for key, values in section:
            if isinstance(values, list):
                _distinct_or(values, f"{info.field_name}.{key}")
        return section

    @field_validator("search")
    @classmethod
    def _codecs_are_known(cls, search: Search) -> Search:
        for key in ("shortlist", "rescore"):
            for name in getattr(search, key):
                try:
                    parse(name, width=0)
                except InputError as error:
                    raise StudyError(f"search.{key}: {error}") from None
        return search

    @field_validator("tasks")
    @classmethod
    def _tasks_are_known(cls, entries: list[TaskEntry]) -> list[TaskEntry]:
        _distinct(entries)
        known = known_names()
        found: list[TaskEntry] = []
        for entry in entries:
            own = OwnTask(path=entry) if isinstance(entry, str) and entry not in known and is_path(entry) else entry
            if isinstance(own, OwnTask):
                _own_is_sound(own, known)
                found.append(own)
            elif own in known:
                found += spelled_out([own])
            else:
                raise ValueError(f"{own!r} is not a known task or benchmark, nor a path{_nearest(own, known)}")
        own_names = [name_of(entry) for entry in found if isinstance(entry, OwnTask)]
        for name in own_names:
            if own_names.count(name) > 1:
                raise ValueError(f"two are called {name!r}; give each a `name` of its own")
        return list({name_of(entry): entry for entry in found}.values())

    @field_validator("encoding")
    @classmethod
    def _prompts_are_read(cls, encoding: Encoding, info: ValidationInfo) -> Encoding:
        own = [name_of(entry) for entry in info.data.get("tasks", []) if isinstance(entry, OwnTask)]
        known = prompt_names(own) if encoding.prompts else []
        for name in encoding.prompts:
            if name not in known:
                meant = {"passage": "document", "corpus": "document", "doc": "document"}.get(name.lower())
                nearest = f"; did you mean {meant!r}?" if meant else _nearest(name, known)
                raise StudyError(
                    f"encoding.prompts: {name!r} is read by no task; use 'query', 'document', a task, a task type, or one of these two with '-query' or '-document' behind it{nearest}"
                )
        return encoding

    @field_validator("training")
    @classmethod
    def _recipe_is_sound(cls, training: Training) -> Training:
        if training.batch < training.gpus:
            raise StudyError(
                f"training.gpus: {training.gpus} share a training.batch of {training.batch}; use at most one for a triple"
            )
        try:
            _distinct(training.nesting or [])
        except ValueError as error:
            raise StudyError(f"training.nesting: {error}") from None
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
        known = [*known_names(), *map(name_of, info.data.get("tasks", []))]
        for name in corpus.decontaminate:
            if name not in known:
                raise StudyError(
                    f"corpus.decontaminate: {name!r} is not a known task or benchmark{_nearest(name, known)}"
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
            if variant.vectors is not None:
                self._vectors_are_alone(where, variant)
                continue
            if variant.parent is None:
                raise StudyError(f"{where}.parent: missing; {Variant.model_fields['parent'].description}")
            if variant.parent == "base":
                if self.base is None:
                    raise StudyError(f"{where}.parent: 'base' is meant, but the study has no `base: {{model: …}}`")
            elif variant.parent not in self.variants and not is_reference(variant.parent):
                known = ["base", *self.variants]
                raise StudyError(
                    f"{where}.parent: {variant.parent!r} is not a variant, nor a model reference (org/name@revision or a path){_nearest(variant.parent, known)}"
                )
            if (
                variant.parent != "base"
                and variant.parent not in self.variants
                and (variant.learns or variant.rotate or variant.width)
            ):
                raise StudyError(
                    f"{where}.parent: {variant.parent!r} is a model reference, which is measured as it is: set `objective: none` and no rotate or width; a second variant can have {name!r} as its parent"
                )
            if variant.pooling is not None and (variant.parent == "base" or variant.parent in self.variants):
                said = "base" if variant.parent == "base" else f"variants.{variant.parent}"
                raise StudyError(
                    f"{where}.pooling: its parent {variant.parent!r} pools for it; `pooling` is of a model that is fetched, so say it of that one, as `{said}.pooling`, or remove it"
                )
            if variant.parent in self.variants and self.variants[variant.parent].vectors is not None:
                raise StudyError(
                    f"{where}.parent: {variant.parent!r} is vectors without a model: nothing can be made from it; a rotation of vectors is a transform: `codecs: {{transforms: [prefix, pca]}}`"
                )
            if variant.adaptor is not None:
                for key in ("rotate", "width", "steps"):
                    if getattr(variant, key) is not None:
                        raise StudyError(
                            f"{where}.{key}: an adaptor starts at a rotation, keeps the width and takes its steps from `adaptor:`; remove it"
                        )
                if variant.objective == "none":
                    raise StudyError(
                        f"{where}.objective: 'none' learns nothing, but `adaptor` is set; remove one of them"
                    )
            elif variant.pairs is not None:
                raise StudyError(f"{where}.pairs: {variant.pairs} is for adaptors; set `adaptor: linear` or remove it")
            elif variant.nested and not variant.trains:
                raise StudyError(
                    f"{where}.nested: true needs training, but `objective: none` is set; remove one of them"
                )
            elif variant.steps is not None and not variant.trains:
                raise StudyError(
                    f"{where}.steps: {variant.steps} needs training, but `objective: none` is set; remove one of them"
                )
        for name in self.variants:
            chain = [name]
            while (parent := self.variants[chain[-1]].parent) is not None and parent in self.variants:
                if parent in chain:
                    raise StudyError(
                        f"variants.{name}.parent: circle of parents: {' -> '.join([*chain, parent])}; one of them must start from base"
                    )
                chain.append(parent)
        self._hub_names_are_of_one_model()
        self._vectors_fit()
        self._widths_fit()
        check_codecs(self.codecs, self.search, self.graph, self.corpus.sample_texts)
        source = self.corpus.source
        if self.needs_pairs and source not in ("wordnet", "medi"):
            if not source or not exists(source):  # "" would be the working directory
                raise StudyError(f"corpus.source: {source!r} does not exist; use 'wordnet', 'medi' or a path to pairs")
            refuse_wildcards(source, "corpus.source")
        for name, bundle in self.deploy.bundles.items():
            self._bundle_is_measured(name, bundle)
        return self

    def _vectors_fit(self) -> None:
        """Tasks without texts are scored on vectors alone, of which there is one for each row."""
        for task, entry in self.own_tasks.items():
            of_task = entry.files()
            if self.encodes and (bare := next((p for p in of_task.values() if p.suffix in ONLY_VECTORS), None)):
                raise StudyError(
                    f"tasks: {task!r} has vectors in place of texts ({bare}), which no model can encode; every variant needs `vectors`"
                )
            for name in self.graph.own:
                refuse_other_numbers(of_task, self.graph.files[name][task], f"variants.{name}.vectors.{task}")

    def _vectors_are_alone(self, where: str, variant: Variant) -> None:
        """Nothing of a model is asked of vectors that have none."""
        for key in ("parent", "rotate", "adaptor", "pairs", "width", "steps", "pooling"):
            if getattr(variant, key) is not None:
                how = (
                    "; a rotation of vectors is a transform: `codecs: {transforms: [prefix, pca]}`"
                    if key in ("rotate", "adaptor")
                    else ""
                )
                raise StudyError(f"{where}.{key}: is of a model, and `vectors` have none; remove it{how}")
        if variant.nested or variant.objective not in (None, "none"):
            key = "nested" if variant.nested else "objective"
            raise StudyError(
                f"{where}.{key}: {getattr(variant, key)!r} trains, and `vectors` have no model to train; remove it"
            )

    def _hub_names_are_of_one_model(self) -> None:
        """mteb's results are kept by name and revision: two models of one name would be taken for each other."""
        named: dict[str, str] = {}
        sections: dict[str, Base | Variant] = {"base": self.base} if self.base else {}
        for model, section in (sections | dict(self.variants)).items():
            where = f"{'base' if model == 'base' else f'variants.{model}'}.hub_name"
            name = section.hub_name
            if name is None:
                continue
            if name in named:
                raise StudyError(f"{where}: {name!r} is the name of {named[name]} already; give each model its own")
            if "@" in name and len(self.graph.seeds_of(model)) > 1:
                raise StudyError(
                    f"{where}: {name!r} names one commit, but several seeds are made; leave the commit out"
                )
            named[name] = model

    def _bundle_is_measured(self, name: str, bundle: Bundle) -> None:
        """An export names what the study measures: a model, a seed and a task of its own, and a codec or search of these."""
        where = f"deploy.bundles.{name}"
        if not NAME.match(name):
            raise StudyError(f"{where}: {name!r} cannot name an export; use letters, digits, '_', '-' and '.'")
        model = bundle.model or self.graph.models[0]
        if model not in self.graph.models:
            raise StudyError(f"{where}.model: {model!r} is no model of the study{_nearest(model, self.graph.models)}")
        seeds = self.graph.seeds_of(model)
        if bundle.seed is not None and bundle.seed not in seeds:
            raise StudyError(f"{where}.seed: {bundle.seed} is no seed of {model!r}; its seeds: {_listed(seeds)}")
        if bundle.task is not None and bundle.task not in self.tasks:
            raise StudyError(
                f"{where}.task: {bundle.task!r} is no task of the study{_nearest(bundle.task, self.tasks)}"
            )
        width = self.graph.width_of(model)
        measured = list(dict.fromkeys(codec.name for codec in self.codecs_of(model)))
        searched = [*self.search.shortlist, *self.search.rescore]
        try:
            found = parse_search(bundle.choice, width)
        except InputError as error:
            raise StudyError(f"{where}.choice: {error}{_nearest(bundle.choice, measured)}") from None
        if found is None:
            raise StudyError(f"{where}.choice: {bundle.choice!r} has more dimensions than {model!r}, which has {width}")
        stages, final = found
        for codec in [*(codec for codec, _ in stages), final]:
            if codec.precision in MTEB_BITS:
                raise StudyError(
                    f"{where}.choice: {codec.name!r} takes its ranges from each call, which no index can; use {codec.name.split('-mteb_')[0]}-int8, -float8 or -binary"
                )
            of_searches = {one.name for name in searched if (one := parse(name, width))} if stages else None
            if codec.name not in (measured if of_searches is None else of_searches):
                known = measured if of_searches is None else sorted(of_searches)
                key = "codecs" if of_searches is None else "search"
                raise StudyError(
                    f"{where}.choice: {codec.name!r} is not measured by `{key}` of this study{_nearest(codec.name, known)}"
                )
        names = [*(codec for codec, _ in stages), final]
        for coarse, fine in itertools.pairwise(names):
            if fine.bytes <= coarse.bytes:
                raise StudyError(
                    f"{where}.choice: {fine.name} ({fine.bytes} bytes a vector) is not finer than {coarse.name} ({coarse.bytes}) before it"
                )
        known_types = {task: entry["type"] for task, entry in self.catalogue.items()}
        if stages and not any(
            known_types.get(task, "Retrieval") in ("Retrieval", NOT_JUDGED)
            for task in ([bundle.task] if bundle.task else self.task_names)
        ):
            raise StudyError(f"{where}.task: a search is measured on retrieval tasks; name one of them")
        for _, kept in stages:
            if kept not in self.search.candidates:
                raise StudyError(
                    f"{where}.choice: {kept} candidates are not measured; search.candidates: {_listed(self.search.candidates)}"
                )

    def _widths_fit(self) -> None:
        graph = self.graph
        widths = {name: graph.width_of(name) for name in graph.models}
        if not widths:
            raise StudyError("variants: there is nothing to measure; name a `base` or at least one variant")
        widest = max(widths.values())
        for dimension in self.dimensions:
            if dimension > widest:
                raise StudyError(
                    f"dimensions: {dimension} is above the width {widest} of the widest model; use at most {widest}"
                )
        for name, variant in self.variants.items():
            if variant.width is not None and variant.width > (above := graph.width_above(name)):
                raise StudyError(
                    f"variants.{name}.width: {variant.width} is above its parent's width {above}; use at most {above}"
                )
            if variant.nested:
                graph.nesting_of(name)
        nesting, weights = self.training.nesting, self.training.nesting_weights
        if weights is not None and len(weights) != len(nesting or []):
            raise StudyError(
                f"training.nesting_weights: {len(weights)} weights for {len(nesting or [])} members of training.nesting; give one each"
            )

    # ---- what follows from several sections

    @cached_property
    def graph(self) -> Graph:
        """The graph of models: parents, seeds, widths, dimensions."""
        files = {
            name: files_by_task(variant.vectors, self.task_names, f"variants.{name}.vectors")
            for name, variant in self.variants.items()
            if variant.vectors is not None
        }
        return Graph(self.base, self.variants, tuple(self.seeds), tuple(self.dimensions), self.training, files)

    @cached_property
    def fits_on_training_texts(self) -> bool:
        """Whether a codec of a model is fitted, so that the sample of training texts is encoded like a task. Vectors of
        one's own are fitted on documents that are held out."""
        models = [model for model in self.graph.models if not self.graph.is_own(model)]
        return any(codec.is_fitted for model in models for codec in self.codecs_of(model))

    @property
    def encodes(self) -> bool:
        """Whether any model encodes texts; else the tasks need none."""
        return len(self.graph.own) < len(self.graph.models)

    @property
    def fits_on_held_out(self) -> bool:
        """Whether a codec of the user's own vectors is fitted, so that documents are held out."""
        return any(codec.is_fitted for model in self.graph.own for codec in self.codecs_of(model))

    def codecs_of(self, model: str) -> list[Codec]:
        """Every codec that the model is scored with, those of its searches included."""
        width = self.graph.width_of(model)
        names = (*self.search.shortlist, *self.search.rescore) if self.search.shortlist else ()
        searched = [parse(name, width) for name in names]
        return [*grid(self.codecs, self.dimensions, width), *(codec for codec in searched if codec)]

    @property
    def needs_pairs(self) -> bool:
        """Whether anything is trained, rotated or cut by a matrix, or fitted."""
        return self.fits_on_training_texts or any(self.graph.parent_of(model) for model in self.graph.models)

    @cached_property
    def task_names(self) -> list[str]:
        """Every evaluation task by its name, in order."""
        return [name_of(entry) for entry in self.tasks]

    @cached_property
    def own_tasks(self) -> dict[str, OwnTask]:
        """The evaluation tasks over data of the user's own, by name."""
        return {name_of(entry): entry for entry in self.tasks if isinstance(entry, OwnTask)}

    @cached_property
    def catalogue(self) -> dict[str, dict[str, Any]]:
        """What is known of each task that can be named, the study's own data among them."""
        return task_catalogue() | {name: entry.described() for name, entry in self.own_tasks.items()}

    @property
    def tasks_cleaned_against(self) -> list[str]:
        """The tasks whose texts are removed from the pairs: `corpus: decontaminate`, benchmarks spelled out."""
        return spelled_out(self.corpus.decontaminate)


def load_study(raw: Mapping[str, Any]) -> Study:
    """Check a configuration, whose files are merged. A variant that an overlay sets to null is removed.

    Raises StudyError with one line for the first thing that is wrong.
    """
    cleaned = _without_nulls(raw)
    try:
        return Study.model_validate(cleaned)
    except ValidationError as error:
        raise StudyError(_one_line(error)) from None


def name_of(entry: TaskEntry) -> str:
    """The name of an entry of `tasks`."""
    return entry if isinstance(entry, str) else str(entry.name)


def _own_is_sound(own: OwnTask, known: Sequence[str]) -> None:
    """Raises StudyError for a name that cannot be a task's, and for files that are not there."""
    name = _safe_name(str(own.name), "a task")
    if name in known or name == TRAINING_TEXTS:
        raise StudyError(f"tasks: {name!r} is a task's name already; give your own data another with `name`")
    try:
        files = own.files()
    except StudyError as error:
        raise StudyError(f"tasks: {error}") from None
    for path in files.values():
        refuse_wildcards(str(path), "tasks")


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


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


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
        ".".join(
            str(part)
            for part in first["loc"]
            if not str(part).startswith(("constrained-", "function-", "tagged-", "[key]"))
        )
        or "configuration"
    )
    if first["type"] == "extra_forbidden":
        if new := RENAMED.get(key):
            return f"{key}: is now called `{new}`"
        known = list(section_at(first["loc"][:-1]).model_fields)
        return f"{key}: unknown key{_nearest(str(first['loc'][-1]), known) or '; known keys: ' + ', '.join(known)}"
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
    if key == "encoding.precision" and found in ("auto", "bf16", "fp32"):  # what the key meant before
        return f"{key}: {found!r} is an arithmetic: `encoding.dtype`; this key is the type of the stored embeddings"
    if str(first["loc"][-1]).startswith("constrained-"):  # one of several types, of which its description tells
        return f"{key}: found {found!r}; expected: {_description(first['loc'][:-1])}"
    return f"{key}: {expected(first)}"


def section_at(place: Sequence[int | str]) -> Any:
    """The section whose keys stand at this place of the configuration."""
    if not place:
        return Study
    if place[0] == "variants" and len(place) > 1:
        return Variant
    if len(place) > 2 and tuple(place[:2]) == ("deploy", "bundles"):
        return Bundle
    if place[0] == "tasks" and len(place) > 1:
        return OwnTask
    return Base if place[0] == "base" else Study.model_fields[str(place[0])].annotation


def _description(loc: tuple[int | str, ...]) -> str:
    return section_at(loc[:-1]).model_fields[str(loc[-1])].description or "give a value"
