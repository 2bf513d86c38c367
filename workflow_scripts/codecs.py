"""The codecs: what is kept of a vector, how it is named, and how many bytes it takes.

Takes the section `codecs` of a study, the dimensions and a model's width; leaves the list of codecs to score. A codec is
a transform (which coordinates), a dimension (how many of them) and a precision (the type of each, or a code for all). What
a transform or a precision is fitted on is `fit.py`'s; this module only says what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from workflow_scripts.command_line import InputError
from workflow_scripts.study.sections.codecs import Codecs, Transform

FLOAT32, CODED = "float32", "coded"  # how queries are compared: as they are, or coded as the documents are
BITS = {"float32": 32, "float16": 16, "float8": 8, "int8": 8, "int4": 4, "int2": 2, "binary": 1, "binary_median": 1}
MTEB_BITS = {"mteb_int8": 8, "mteb_binary": 1, "mteb_float8": 8}
BY_BYTES = ("pq", "opq", "rabitq")  # precisions whose code is for the whole vector: their bytes are part of the name
CENTROIDS = 256  # of each part of a pq or opq code: one byte
RABITQ_SCALARS = 8  # bytes: the two correction scalars that RaBitQ stores with the signs of each vector
# Transforms that only rotate within the coordinates kept: what is not rounded coarsely is as `pca` has it.
WITHIN = ("random_rotation", "itq")
COARSE = ("int4", "int2", "binary", "binary_median")
NAME = re.compile(
    r"(?P<transform>[a-z_]+)(\.(?P<draw>\d+))?-(?P<dim>[1-9]\d*|full)-"
    rf"((?P<precision>{'|'.join([*BITS, *MTEB_BITS])})|(?P<by_bytes>{'|'.join(BY_BYTES)})(?P<length>[1-9]\d*))(?P<coded>-coded)?"
)


@dataclass(frozen=True)
class Codec:
    """One way to store a vector: `dim` coordinates of a transform, at a precision.

    `draw` numbers the draws of `random`; `code_bytes` is the length of a pq, opq or rabitq code.
    """

    transform: str
    dim: int
    precision: str = "float32"
    draw: int = 0
    queries: str = FLOAT32
    code_bytes: int = 0

    @property
    def name(self) -> str:
        """Unique among the codecs of a model: `prefix-384-int8`, `random.0-64-float32`, `pca-128-pq48`."""
        transform = f"{self.transform}.{self.draw}" if self.transform == "random" else self.transform
        length = str(self.code_bytes) if self.precision in BY_BYTES else ""
        return f"{transform}-{self.dim}-{self.precision}{length}" + ("-coded" if self.queries == CODED else "")

    @property
    def bytes(self) -> int:
        """Bytes that one stored vector takes, all that is stored with it included."""
        if self.precision in BY_BYTES:
            return self.code_bytes
        bits = BITS.get(self.precision) or MTEB_BITS[self.precision]
        return -(-self.dim * bits // 8)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds that comparing one stored vector with a query takes: a coordinate each, or a look-up per byte."""
        return self.code_bytes if self.precision in ("pq", "opq") else self.dim

    @property
    def rotates_within(self) -> bool:
        """Whether the coordinates kept are rotated once more, by a rotation of their own dimension."""
        return self.transform in WITHIN

    @property
    def axes(self) -> tuple[str, int]:
        """The transform and draw of all coordinates, before any is dropped: codecs that rotate what is kept start at `pca`."""
        return ("pca", 0) if self.rotates_within else (self.transform, self.draw)

    @property
    def query_key(self) -> tuple[str, int, int]:
        """Codecs with the same key compare the same query: it is transformed once for all of them."""
        own = self.precision in BY_BYTES or self.rotates_within
        return (f"{self.transform}-{self.precision}" if own else self.transform, self.draw, self.dim if own else 0)

    def query_multiply_adds(self, width: int) -> int:
        """Multiply-adds that making a query ready takes: onto the axes, a rotation, the table of a product quantiser."""
        axes = self.dim * width if self.transform not in ("prefix", "last", "random", "variance") else 0
        rotation = self.dim**2 if self.rotates_within or self.precision in ("opq", "rabitq") else 0
        table = CENTROIDS * self.dim if self.precision in ("pq", "opq") else 0
        return axes + rotation + table

    @property
    def is_fitted(self) -> bool:
        """Whether something is fitted on training texts."""
        plain = ("float32", "float16", "float8", "binary", *MTEB_BITS)
        return self.transform not in ("prefix", "last", "random") or self.precision not in plain


def grid(section: Codecs, dimensions: Sequence[int], width: int) -> list[Codec]:
    """Every codec of the section at each dimension. Float32 prefixes are always among them: shares are taken of these."""
    dims = sorted({*(dim for dim in dimensions if dim <= width), width})
    found = {codec.name: codec for codec in prefixes(dims)}
    for transform in section.transforms:
        for draw in range(section.random_draws if transform == "random" else 1):
            for dim in dims:
                for precision, code_bytes in _precisions(section, dim):
                    if transform in WITHIN and precision not in (*COARSE, *BY_BYTES):
                        continue
                    for queries in section.queries:
                        if precision == "float32" and queries == CODED:
                            continue
                        codec = Codec(transform, dim, precision, draw, queries, code_bytes)
                        found.setdefault(codec.name, codec)
    for name in section.mteb:
        for dim in dims:
            codec = Codec("prefix", dim, f"mteb_{name}", queries=CODED)
            found.setdefault(codec.name, codec)
    return list(found.values())


def prefixes(dimensions: Sequence[int]) -> list[Codec]:
    """The first coordinates as they are, in float32: what mteb scores."""
    return [Codec("prefix", dim) for dim in dimensions]


def _precisions(section: Codecs, dim: int) -> Iterator[tuple[str, int]]:
    """Each precision with the bytes of its code (0: they follow from the dimension)."""
    yield from ((precision, 0) for precision in section.precisions)
    for name, lengths in (("pq", section.pq), ("opq", section.opq)):
        yield from ((name, length) for length in lengths if dim % length == 0)
    if section.rabitq:
        yield "rabitq", rabitq_bytes(dim)


def parse(name: str, width: int) -> Codec | None:
    """The codec of this name for a model of `width` coordinates (`full` stands for it); None where the model is too
    narrow; at width 0 only the name is looked at. Raises InputError for a name that is no codec's, or of a code length that its dimension cannot have."""
    parts = NAME.fullmatch(name)
    if parts is None or parts["transform"] not in get_args(Transform):
        raise InputError(
            f"{name!r} is not a codec; expected <transform>-<dimension or full>-<precision>, such as pca-128-int8"
        )
    codec = Codec(
        parts["transform"],
        width if parts["dim"] == "full" else int(parts["dim"]),
        parts["precision"] or parts["by_bytes"],
        int(parts["draw"] or 0),
        CODED if parts["coded"] else FLOAT32,
        int(parts["length"] or 0),
    )
    if not 0 < codec.dim <= width:
        return None
    if codec.precision == "rabitq" and codec.code_bytes != (length := rabitq_bytes(codec.dim)):
        raise InputError(f"{name!r} has {codec.code_bytes} bytes; RaBitQ of {codec.dim} dimensions has {length}")
    if codec.precision in ("pq", "opq") and codec.dim % codec.code_bytes:
        fitting = ", ".join(str(n) for n in range(1, codec.dim + 1) if codec.dim % n == 0)
        raise InputError(
            f"{name!r}: {codec.code_bytes} bytes do not divide {codec.dim} dimensions; these do: {fitting}"
        )
    return codec


def rabitq_bytes(dim: int) -> int:
    """Bytes of a RaBitQ code: a bit a coordinate, and two scalars."""
    return -(-dim // 8) + RABITQ_SCALARS


def parse_search(name: str, width: int) -> tuple[list[tuple[Codec, int]], Codec] | None:
    """The stages (codec, candidates) and the final codec of a search's name, `prefix-64-binary@100>prefix-full-int8`; of
    a codec's, no stages. None where the model is too narrow. Raises InputError for a name that is neither."""
    *before, last = name.split(">")
    stages = []
    for stage in before:
        codec, _, kept = stage.partition("@")
        if not kept.isdecimal() or int(kept) < 1:
            raise InputError(f"{name!r} is not a search; expected <codec>@<candidates>><codec>, found {stage!r}")
        stages.append((parse(codec, width), int(kept)))
    final = parse(last, width)
    found = [(codec, kept) for codec, kept in stages if codec is not None]
    return (found, final) if final is not None and len(found) == len(stages) else None
