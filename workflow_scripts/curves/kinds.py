"""Kinds of models: what is made the same way, from the same start, with more or fewer training steps.

Takes the models of a study as the summary has them; leaves their kind's name, their steps with those of their ancestors, and of
each kind the scored model with the most.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from typing import Protocol, TypeVar

from workflow_scripts.curves.summary import ModelEntry

NUMBER = re.compile(r"[-_.]?\d+(?![a-zA-Z0-9])")


class OfLine(Protocol):
    """A model with a parent, as the summary or the graph has it."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def steps(self) -> int: ...


M = TypeVar("M", bound=OfLine)


def lines(models: Sequence[M]) -> dict[str, list[M]]:
    """Each model with its ancestors, by its name: the fetched one first, the model itself last."""
    by_name = {model.name: model for model in models}

    def line(model: M) -> list[M]:
        above = by_name.get(model.parent or "")
        return [*(line(above) if above else []), model]

    return {model.name: line(model) for model in models}


def rankings_of(models: Sequence[ModelEntry]) -> dict[str, str]:
    """Each model with the one whose ranking it has at full width: a rotation that is not trained has its parent's."""
    found: dict[str, str] = {}
    for model in models:  # parents come first
        turned = model.rotated and not model.trained and not model.adapted and model.parent in found
        found[model.name] = found[str(model.parent)] if turned else model.name
    return found


def devices_of(models: Iterable[ModelEntry]) -> list[str]:
    """The kinds of devices that these models were made on; where there are several, their seconds do not compare."""
    return sorted({device for model in models for device in model.cost.devices})


class MaybeVectors(Protocol):
    """A model of which is known whether it is vectors of the user's own, without a model."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def vectors(self) -> object: ...


def of_vectors(models: Iterable[MaybeVectors]) -> set[str]:
    """The names of the user's own vectors, and of the adaptors of them: no text was encoded for these."""
    found: set[str] = set()
    for model in models:  # parents come first
        if model.vectors or model.parent in found:
            found.add(model.name)
    return found


def steps_of(models: Sequence[OfLine]) -> dict[str, int]:
    """Optimiser steps of the encoder's training, those of the ancestors included: none of an adaptor or a rotation."""
    return {name: sum(model.steps for model in line) for name, line in lines(models).items()}


def kinds(models: Sequence[ModelEntry]) -> dict[str, list[ModelEntry]]:
    """The models by kind, each with rising steps. A kind is called as its models are, without the numbers where these tell
    several apart: `matryoshka` of `matryoshka_60` and `matryoshka_250`; as its last model where another has that name."""
    names = {model.name for model in models}
    total, found = steps_of(models), dict[tuple[object, ...], list[ModelEntry]]()
    for line in lines(models).values():
        shape = tuple((m.nested, m.rotated, m.trained, m.adapted, m.width) for m in line)
        found.setdefault((line[0].name, *shape), []).append(line[-1])
    named: dict[str, list[ModelEntry]] = {}
    for members in found.values():
        rising = sorted(members, key=lambda model: total[model.name])
        budgets = [total[model.name] for model in rising]
        if len(set(budgets)) < len(budgets):  # what tells them apart is not their steps
            named |= {model.name: [model] for model in rising}
            continue
        without = {NUMBER.sub("", model.name) for model in rising} if len(rising) > 1 else {rising[0].name}
        taken = named.keys() | (names - {model.name for model in rising})
        named[without.pop() if len(without) == 1 and not without & taken else rising[-1].name] = rising
    return named


def largest(models: Sequence[ModelEntry], scored: Container[str]) -> dict[str, str]:
    """Of each kind the model with the most steps among those that are scored, and its kind; in the study's order."""
    chosen: dict[str, str] = {}
    for kind, members in kinds(models).items():
        chosen |= {model.name: kind for model in [m for m in members if m.name in scored][-1:]}
    return {model.name: chosen[model.name] for model in models if model.name in chosen}
