"""Section `codecs`: what vectors are stored as."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section

Transform = Literal["prefix", "last", "random", "pca", "pca_centered", "random_rotation", "itq", "variance"]
Precision = Literal["float32", "float16", "float8", "int8", "int4", "int2", "binary", "binary_median"]
Compression = Literal["int8", "binary", "float8"]  # those that mteb has


class Codecs(Section):
    """What a vector is stored as: each transform at each dimension and precision. All that is fitted is fitted on training texts."""

    transforms: list[Transform] = Field(
        ["prefix", "pca"],
        min_length=1,
        description="Which coordinates are kept: `prefix`, the first; `last`; `random`; `variance`, those that vary most; `pca`, uncentred principal axes; `pca_centered`, with the mean removed first; and for few bits `random_rotation` and `itq`, which rotate within the first principal axes.",
    )
    precisions: list[Precision] = Field(
        ["float32", "int8", "int4", "int2", "binary"],
        min_length=1,
        description="Type of each coordinate kept. `float8` is e4m3; `int8`, `int4` and `int2` are even steps; `binary` is the sign, `binary_median` whether it is above the median.",
    )
    random_draws: Positive = Field(3, description="Draws of `random` coordinates.")
    clip: Annotated[float, Field(ge=0, lt=50)] = Field(
        2.5, description="Percentile at either end of each coordinate at which int4 and int2 are clipped."
    )
    queries: list[Literal["float32", "coded"]] = Field(
        ["float32"],
        min_length=1,
        description="Queries are compared as they are (`float32`), or rounded as documents are (`coded`), or both.",
    )
    pq: list[Positive] = Field(
        [], description="Bytes a vector by product quantisation, at the dimensions that they divide."
    )
    opq: list[Positive] = Field([], description="The same after a rotation learned for it (OPQ).")
    rabitq: bool = Field(False, description="RaBitQ: the signs after a random rotation, with two correction scalars.")
    mteb: list[Compression] = Field(
        [],
        description="Compressions of mteb's own CompressionWrapper, with its way of fitting, beside the first coordinates.",
    )
