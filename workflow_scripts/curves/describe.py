"""What a model and a codec are, in words for somebody who has not read the configuration.

Takes the answer's models and a codec's parts; leaves short phrases.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from markupsafe import Markup

from workflow_scripts.curves.formats import code, plain
from workflow_scripts.curves.summary import Answer, ModelEntry

# What is fitted on training texts, or on documents that are held out: axes, means, ranges, thresholds, codebooks.
FITTED_TRANSFORMS = {
    "pca": "principal axes",
    "pca_centered": "principal axes and means",
    "itq": "principal axes and a rotation",
    "variance": "the order of the coordinates",
}
FITTED_PRECISIONS = {
    "int8": "ranges",
    "int4": "ranges",
    "int2": "ranges",
    "binary_median": "medians",
    "pq": "codebooks",
    "opq": "a rotation and codebooks",
    "rabitq": "a centre",
}
PRECISIONS = {
    "float32": "in float32",
    "float16": "in float16",
    "float8": "in float8",
    "int8": "at 8 bits",
    "int4": "at 4 bits",
    "int2": "at 2 bits",
    "binary": "at 1 bit",
    "binary_median": "at 1 bit (above the median or not)",
    "rabitq": "by RaBitQ",
    "mteb_int8": "by mteb's own int8",
    "mteb_binary": "by mteb's own binary",
    "mteb_float8": "by mteb's own float8",
}


class Stored(NamedTuple):
    """What of a codec its description needs; `bytes` per vector."""

    transform: str
    dim: int
    precision: str
    queries: str
    bytes: float


def codec_words(codec: Stored, width: int) -> str:
    """`all 384 dimensions at 4 bits`, `the first 128 of 384 dimensions at 8 bits`, `128 principal axes in float32`."""
    dim = codec.dim
    whole = f"all {width} dimensions"
    axes = f"all {width} principal axes" if dim == width else f"{dim} of {width} principal axes"
    dims = {
        "prefix": whole if dim == width else f"the first {dim} of {width} dimensions",
        "last": whole if dim == width else f"the last {dim} of {width} dimensions",
        "random": whole if dim == width else f"{dim} of {width} dimensions at random",
        "variance": whole if dim == width else f"the {dim} of {width} dimensions that vary most",
        "pca": axes,
        "pca_centered": f"{axes}, centred,",
        "random_rotation": f"{whole if dim == width else axes}, rotated at random,",
        "itq": f"{axes}, rotated by ITQ,",
    }.get(codec.transform, f"{dim} of {width} dimensions by {codec.transform}")
    coded = ", queries coded alike" if codec.queries == "coded" else ""
    if codec.precision in ("pq", "opq"):
        kind = "product quantisation" if codec.precision == "pq" else "optimised product quantisation"
        return f"{dims} by {kind}{coded}"
    return f"{dims} {PRECISIONS.get(codec.precision, f'as {codec.precision}')}{coded}"


def fitted_on_training_texts(transform: str, precision: str) -> str:
    """What of a codec was fitted on training texts, in words; empty where nothing was."""
    parts = [FITTED_TRANSFORMS.get(transform, ""), FITTED_PRECISIONS.get(precision, "")]
    return " and ".join(part for part in parts if part)


class Names:
    """Names of models as markup; each says in brackets what the model is where it stands for the first time."""

    def __init__(self, answer: Answer) -> None:
        self.by_name = {model.name: model for model in answer.models}
        self.explained: dict[str, None] = {}

    def first(self, name: str) -> Markup:
        if name in self.explained or name not in self.by_name:
            return code(name)
        self.explained[name] = None
        return Markup("{} ({})").format(code(name), what_it_is(name, self.by_name))

    def parents(self) -> Markup:
        """The models that the brackets name without having explained them, in a sentence."""
        said: list[Markup] = []
        for name in list(self.explained):
            while (parent := self.by_name[name].parent) in self.by_name and parent not in self.explained:
                assert parent is not None
                self.explained[parent] = None
                said.append(Markup("{} is {}").format(code(parent), what_it_is(parent, self.by_name)))
                name = parent
        return Markup("Here {}.").format(Markup("; ").join(said)) if said else Markup("")


def what_it_is(name: str, by_name: dict[str, ModelEntry]) -> Markup:
    """`fixed, its output rotated onto principal axes; no training`: the parent, and what was done to it."""
    model = by_name[name]
    from_where = model.parent or short_reference(model.reference)
    return Markup("{}, {}").format(code(from_where), what_was_done(name, by_name))


def short_reference(reference: object) -> str:
    """A model reference without the hash of its revision."""
    return re.sub(r"@[0-9a-f]{40}$", "", plain(reference or "a model"))


def what_was_done(name: str, by_name: dict[str, ModelEntry]) -> str:
    """What was done to a model's parent to make it, in words without names."""
    model = by_name[name]
    parent = by_name.get(model.parent or "")
    if model.vectors:
        return "vectors of your own"
    if model.parent is None:
        return "as it was fetched"
    narrower = parent is not None and model.width < parent.width
    changes = ["rotated onto principal axes"] * model.rotated
    changes += [f"cut to {model.width} dimensions"] * narrower
    done = [f"its output {' and '.join(changes)}"] if changes else []
    if model.adapted:
        of_what, pairs = ("its output", "frozen embeddings of training pairs")
        if parent is not None and parent.vectors:
            of_what, pairs = ("its vectors", "pairs of their rows")
        done.append(f"{of_what} times a matrix learned on {pairs} (a linear adaptor)")
    if model.trained:
        how = "at several dimensions at once (Matryoshka)" if model.nested else "at its full width alone"
        done.append(f"{'then ' if done else ''}trained {how}, {model.steps:,} steps")
        return ", ".join(done)
    ancestor = parent
    while ancestor is not None and not ancestor.trained:
        ancestor = by_name.get(ancestor.parent or "")
    return f"{', '.join(done) or 'as it is'}; no {'further ' if ancestor else ''}training"
