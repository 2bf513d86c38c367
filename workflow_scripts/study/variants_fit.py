"""Whether the graph of models can be made: parents, what goes with what in a variant, widths, names on the hub.

Takes the sections `base` and `variants`, and the graph made of them; raises StudyError with one line for the first thing
that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.graph import Graph
from workflow_scripts.study.names import LONGEST, NAME, RESERVED, nearest
from workflow_scripts.study.references import is_reference
from workflow_scripts.study.sections.base import Base
from workflow_scripts.study.sections.training import Training
from workflow_scripts.study.sections.variant import Variant


def check_variants(base: Base | None, variants: Mapping[str, Variant]) -> None:
    """Raises StudyError for a variant whose parent or whose keys do not fit."""
    for name, variant in variants.items():
        where = f"variants.{name}"
        if not NAME.match(name) or name in RESERVED:
            raise StudyError(
                f"{where}: {name!r} cannot name a variant; use letters, digits, '_', '-' and '.', at most {LONGEST}, and not {' or '.join(map(repr, RESERVED))}"
            )
        if variant.vectors is not None:
            _vectors_are_alone(where, variant)
            continue
        if variant.parent is None:
            raise StudyError(f"{where}.parent: missing; {Variant.model_fields['parent'].description}")
        if variant.parent == "base":
            if base is None:
                raise StudyError(f"{where}.parent: 'base' is meant, but the study has no `base: {{model: …}}`")
        elif variant.parent not in variants and not is_reference(variant.parent):
            known = ["base", *variants]
            raise StudyError(
                f"{where}.parent: {variant.parent!r} is not a variant, nor a model reference (org/name@revision or a path){nearest(variant.parent, known)}"
            )
        if (
            variant.parent != "base"
            and variant.parent not in variants
            and (variant.learns or variant.rotate or variant.width)
        ):
            raise StudyError(
                f"{where}.parent: {variant.parent!r} is a model reference, which is measured as it is: set `objective: none` and no rotate or width; a second variant can have {name!r} as its parent"
            )
        if variant.pooling is not None and (variant.parent == "base" or variant.parent in variants):
            said = "base" if variant.parent == "base" else f"variants.{variant.parent}"
            raise StudyError(
                f"{where}.pooling: its parent {variant.parent!r} pools for it; `pooling` is of a model that is fetched, so say it of that one, as `{said}.pooling`, or remove it"
            )
        if variant.declared_width is not None and (variant.parent == "base" or variant.parent in variants):
            raise StudyError(
                f"{where}.declared_width: its parent {variant.parent!r} states its own width; remove it, or say `width: {variant.declared_width}` to keep the first coordinates"
            )
        if variant.parent in variants:
            _only_adaptors_of_vectors(where, variant, variants)
        if variant.adaptor is not None:
            for key in ("rotate", "width", "steps"):
                if getattr(variant, key) is not None:
                    raise StudyError(
                        f"{where}.{key}: an adaptor starts at a rotation, keeps the width and takes its steps from `adaptor:`; remove it"
                    )
            if variant.objective == "none":
                raise StudyError(f"{where}.objective: 'none' learns nothing, but `adaptor` is set; remove one of them")
        elif variant.pairs is not None:
            raise StudyError(f"{where}.pairs: {variant.pairs} is for adaptors; set `adaptor: linear` or remove it")
        elif variant.nested and not variant.trains:
            raise StudyError(f"{where}.nested: true needs training, but `objective: none` is set; remove one of them")
        elif variant.steps is not None and not variant.trains:
            raise StudyError(
                f"{where}.steps: {variant.steps} needs training, but `objective: none` is set; remove one of them"
            )
    for name in variants:
        chain = [name]
        while (parent := variants[chain[-1]].parent) is not None and parent in variants:
            if parent in chain:
                raise StudyError(
                    f"variants.{name}.parent: circle of parents: {' -> '.join([*chain, parent])}; one of them must start from base"
                )
            chain.append(parent)


def check_widths(variants: Mapping[str, Variant], graph: Graph, dimensions: Sequence[int], training: Training) -> None:
    """Raises StudyError for a dimension, a width or a nesting that no model has."""
    widths = {name: graph.width_of(name) for name in graph.models}
    if not widths:
        raise StudyError("variants: there is nothing to measure; name a `base` or at least one variant")
    widest = max(widths.values())
    for dimension in dimensions:
        if dimension > widest:
            raise StudyError(
                f"dimensions: {dimension} is above the width {widest} of the widest model; use at most {widest}"
            )
    for name, variant in variants.items():
        if variant.width is not None and variant.width > (above := graph.width_above(name)):
            raise StudyError(
                f"variants.{name}.width: {variant.width} is above its parent's width {above}; use at most {above}"
            )
        graph.nesting_of(name)
    nesting, weights = training.nesting, training.nesting_weights
    if weights is not None and len(weights) != len(nesting or []):
        raise StudyError(
            f"training.nesting_weights: {len(weights)} weights for {len(nesting or [])} members of training.nesting; give one each"
        )


def check_hub_names(study: str, graph: Graph) -> None:
    """Raises StudyError where two models have one name on the hub, given or their own. mteb's results are kept by name and revision: two models of one name would be taken for each other."""
    named: dict[tuple[str, str], str] = {}
    for model in graph.models:
        where = f"{'base' if model == 'base' else f'variants.{model}'}.hub_name"
        name, revision = graph.hub_name_of(model) or (f"{study}/{model}", None)
        said = f"{name}@{revision}" if revision else name
        seeds = graph.seeds_of(model)
        if revision and len(seeds) > 1:
            raise StudyError(f"{where}: {said!r} names one commit, but several seeds are made; leave the commit out")
        for seed in seeds:
            known_by = (name, revision or f"s{seed}")
            if known_by in named:
                raise StudyError(f"{where}: {said!r} is the name of {named[known_by]} already; give each model its own")
            named[known_by] = model


def _only_adaptors_of_vectors(where: str, variant: Variant, variants: Mapping[str, Variant]) -> None:
    """Of vectors that have no model a matrix can be learned, and nothing be made from that again."""
    parent = variants[variant.parent or ""]
    if parent.vectors is not None and variant.adaptor is None:
        raise StudyError(
            f"{where}.parent: {variant.parent!r} is vectors without a model: all that is made from them is `adaptor: linear`, from pairs of their rows; a rotation of vectors is a transform: `codecs: {{transforms: [prefix, pca]}}`"
        )
    above = variants.get(parent.parent or "")
    if above is not None and above.vectors is not None:
        raise StudyError(
            f"{where}.parent: {variant.parent!r} is an adaptor of vectors without a model: nothing is made from it; its own parent is {parent.parent!r}"
        )


def _vectors_are_alone(where: str, variant: Variant) -> None:
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
