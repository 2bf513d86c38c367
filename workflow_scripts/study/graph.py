"""The graph of models: who is made from whom, under which seeds, how wide, and over which dimensions.

Takes the sections of a study that name its models; leaves a `Graph` that answers for each model. Snakemake's jobs and
the plan come from these answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.own_vectors import rows_of_files, width_of_files
from workflow_scripts.study.references import parse_reference, reference_width
from workflow_scripts.study.sections.base import Base
from workflow_scripts.study.sections.training import Training
from workflow_scripts.study.sections.variant import Variant


@dataclass(frozen=True)
class Graph:
    """Every model of a study: `base`, where there is one, and the variants. `files`: of each variant that is vectors of the
    user's own, the files by task and by what they hold; `pairs`: of each of them that an adaptor is made from, the file of
    pairs of its rows by task."""

    base: Base | None
    variants: Mapping[str, Variant]
    seeds: tuple[int, ...]
    dimensions: tuple[int, ...]
    training: Training
    files: Mapping[str, Mapping[str, Mapping[str, Path]]] = field(default_factory=dict)
    pairs: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)

    # ---- parents

    @cached_property
    def models(self) -> list[str]:
        """All names, parents before children: `base` first, where there is one."""
        ordered: list[str] = ["base"] if self.base else []

        def add(name: str) -> None:
            parent = self.variants[name].parent
            if parent is not None and parent in self.variants and parent not in ordered:
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
        return parent if parent is not None and parent in self.models else None

    def root_of(self, model: str) -> str:
        """The model at the head of this one's line: a fetched one, whose tokenizer is the line's, or vectors of the user's."""
        while (parent := self.parent_of(model)) is not None:
            model = parent
        return model

    def reference_of(self, model: str) -> str:
        """The model reference that a fetched model stands for."""
        if model == "base":
            assert self.base is not None
            return self.base.model
        parent = self.variants[model].parent
        assert parent is not None
        return parent

    def hub_name_of(self, model: str) -> tuple[str, str | None] | None:
        """The name, and the revision where it is known, by which others know the model: what the study says, or the hub's
        own of a fetched model; None where it has none."""
        section = self.base if model == "base" else self.variants[model]
        if section is not None and section.hub_name is not None:
            name, _, revision = section.hub_name.partition("@")
            return name, revision or None
        if not self.is_fetched(model):
            return None
        kind, name, hub_revision = parse_reference(self.reference_of(model))
        return (name, hub_revision) if kind == "hub" else None

    # ---- how a model is made

    def is_fetched(self, model: str) -> bool:
        """Whether the model is one that exists already: `base`, or a variant whose parent is a reference."""
        return self.parent_of(model) is None and not self.is_own(model)

    def is_own(self, model: str) -> bool:
        """Whether there are vectors of the user's in place of a model."""
        return model != "base" and self.variants[model].vectors is not None

    def is_of_vectors(self, model: str) -> bool:
        """Whether the model is vectors of the user's, or an adaptor of them: no text is encoded for it."""
        return self.is_own(self.root_of(model))

    def is_trained(self, model: str) -> bool:
        """Whether this model (not only an ancestor) is trained."""
        return model != "base" and self.variants[model].trains

    def is_rotated(self, model: str) -> bool:
        """Whether this model starts with a rotation of its parent, which is fitted on training texts."""
        return model != "base" and self.variants[model].rotate is not None

    @cached_property
    def fetched(self) -> list[str]:
        """The models that exist already."""
        return [model for model in self.models if self.is_fetched(model)]

    @cached_property
    def own(self) -> list[str]:
        """The variants that are vectors of the user's own: nothing is fetched, trained or encoded for them."""
        return [model for model in self.models if self.is_own(model)]

    @cached_property
    def of_vectors(self) -> list[str]:
        """These, and the adaptors of them."""
        return [model for model in self.models if self.is_of_vectors(model)]

    @cached_property
    def encoders(self) -> list[str]:
        """All other models: they encode texts, or are made from one that does."""
        return [model for model in self.models if not self.is_of_vectors(model)]

    @cached_property
    def trained(self) -> list[str]:
        """The models that are trained."""
        return [model for model in self.models if self.is_trained(model)]

    @cached_property
    def transformed(self) -> list[str]:
        """The models made from their parent by a matrix or by keeping its first coordinates: nothing is encoded for them."""
        made = [model for model in self.models if self.parent_of(model) is not None]
        return [model for model in made if not self.is_trained(model)]

    @cached_property
    def adapted(self) -> list[str]:
        """Those of the transformed models whose matrix is learned: the adaptors."""
        return [model for model in self.transformed if self.variants[model].adaptor is not None]

    def steps_of(self, model: str) -> int:
        """Optimiser steps of the model's own training; 0 for one that is not trained."""
        if not self.is_trained(model):
            return 0
        steps = self.variants[model].steps
        if steps is None:
            return self.training.steps
        return steps if isinstance(steps, int) else max(1, round(steps * self.training.steps))

    def effort(self, model: str) -> tuple[int, bool]:
        """By what models are put in order: optimiser steps of the model and of all that it is made from; then whether it
        learns anything at all, as an adaptor does without a step of these."""
        steps, name = 0, model
        while (parent := self.parent_of(name)) is not None:
            steps, name = steps + self.steps_of(name), parent
        return steps, self.trains_anywhere(model)

    # ---- seeds

    @cached_property
    def runs(self) -> list[tuple[str, int]]:
        """(model, seed) of every model that is made."""
        return [(model, seed) for model in self.models for seed in self.seeds_of(model)]

    @property
    def partly_trained(self) -> bool:
        """Whether some models need training and others need none: these have a first report, before any training."""
        return {self.trains_anywhere(model) for model in self.models} == {True, False}

    def trains_anywhere(self, model: str) -> bool:
        """Whether the model or an ancestor is trained or adapted, so that seeds make a difference."""
        name: str | None = model
        while name is not None and name in self.variants:
            if self.variants[name].learns:
                return True
            name = self.variants[name].parent
        return False

    def seeds_of(self, model: str) -> list[int]:
        """All seeds for a model with training in its line; the first alone for one without."""
        return list(self.seeds if self.trains_anywhere(model) else self.seeds[:1])

    def seed_of_parent(self, model: str, seed: int) -> int:
        """The seed of the parent that a model of this seed is made from."""
        parent = self.parent_of(model)
        return seed if parent is not None and self.trains_anywhere(parent) else self.seeds[0]

    # ---- widths and dimensions

    def reference_width(self, model: str) -> int:
        """The width of the fetched model that `model` (base, or a variant with a reference as parent) starts from."""
        if model == "base":
            assert self.base is not None
            return reference_width(self.base.model, self.base.width, "base.model", "base.width")
        variant = self.variants[model]
        return reference_width(
            self.reference_of(model),
            variant.declared_width,
            f"variants.{model}.parent",
            f"variants.{model}.declared_width",
        )

    def width_of(self, model: str) -> int:
        """The model's embedding width, in coordinates."""
        if model == "base":
            return self.reference_width("base")
        if self.is_own(model):
            return self._own_widths[model]
        variant = self.variants[model]
        return self.width_above(model) if variant.width is None else variant.width

    @cached_property
    def _own_widths(self) -> dict[str, int]:
        return {
            name: width_of_files(
                self.files[name],
                self.variants[name].declared_width,
                f"variants.{name}.vectors",
                f"variants.{name}.declared_width",
            )
            for name in self.own
        }

    def own_rows(self, model: str, task: str) -> int:
        """How many vectors of a task the user's files hold, for a model that is these or an adaptor of them."""
        return self._own_rows[self.root_of(model)][task]

    @cached_property
    def _own_rows(self) -> dict[str, dict[str, int]]:
        return {
            name: {task: rows_of_files(files.values(), self.width_of(name)) for task, files in self.files[name].items()}
            for name in self.own
        }

    def width_above(self, model: str) -> int:
        """The width of what a variant is made from."""
        parent = self.parent_of(model)
        return self.width_of(parent) if parent is not None else self.reference_width(model)

    def dimensions_of(self, model: str) -> list[int]:
        """The dimensions at which the model is scored: those of the study that it has, and its full width."""
        width = self.width_of(model)
        return sorted({d for d in self.dimensions if d <= width} | {width})

    def nesting_of(self, model: str) -> list[int]:
        """The dimensions that training optimises together: one, the width, unless the variant is nested or an adaptor."""
        width = self.width_of(model)
        if not self._is_nested(model):
            return [width]
        nesting = self.training.nesting
        if nesting is None:
            return [*(d for d in (8 * 2**i for i in range(20)) if d < width), width]
        for dimension in nesting:
            if dimension > width and dimension > max(self.width_of(name) for name in self.models):
                raise StudyError(
                    f"training.nesting: {dimension} is above the width {width} of {model!r}; use at most {width}"
                )
        return sorted({d for d in nesting if d <= width} | {width})

    def _is_nested(self, model: str) -> bool:
        return self.variants[model].nested or self.variants[model].adaptor is not None

    def nesting_weights_of(self, model: str) -> list[float]:
        """A weight for each of `nesting_of`."""
        nesting = self.nesting_of(model)
        weights = self.training.nesting_weights
        if weights is None or not self._is_nested(model):
            return [1.0] * len(nesting)
        given = dict(zip(self.training.nesting or [], weights, strict=True))
        return [given.get(d, 1.0) for d in nesting]
