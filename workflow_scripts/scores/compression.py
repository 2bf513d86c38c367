"""mteb's own compression, as `mteb.models.compression_wrappers.CompressionWrapper` does it, to the last bit.

Takes the vectors of one `encode()` call of mteb's; leaves its compressed numbers. Its int8 takes each coordinate's least
and greatest value from that very call, so queries, and each chunk of documents, are rounded on scales of their own;
nothing is fitted beforehand. Each coordinate is by itself, so what it makes of a prefix is a prefix of what it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.codecs import Codec
from workflow_scripts.command_line import InputError

if TYPE_CHECKING:
    import torch

# A codec's precision, and what mteb's results call it (`mteb.types.OutputDType`).
OUTPUT_DTYPES = {"mteb_int8": "int8", "mteb_binary": "binary", "mteb_float8": "float8_e4m3fn"}


def is_of_mteb(codec: Codec) -> bool:
    """Whether mteb's results have a key for the codec: a float32 prefix, or a prefix in mteb's own compression."""
    return (codec.transform, codec.precision) == ("prefix", "float32") or codec.precision in OUTPUT_DTYPES


def compress(precision: str, vectors: torch.Tensor) -> torch.Tensor:
    """The compressed numbers `(n, width)` of float32 vectors: float32, and float16 for float8. NaN where mteb's are: in
    int8 where a coordinate is the same in all vectors, which leaves it no range."""
    import torch

    if precision == "mteb_binary":
        return torch.where(vectors > 0, 1.0, 0.0)
    if precision == "mteb_float8":
        return vectors.to(torch.float8_e4m3fn).to(torch.float16)
    low, high = vectors.min(dim=0).values, vectors.max(dim=0).values
    steps = (high - low) / (2**8 - 1)
    return torch.floor((vectors - low) / steps) - 2**7


def check_finite(task: str, codec: Codec, compressed: torch.Tensor) -> None:
    """Raise InputError where a compressed number `(n, dim)` is not finite: no classifier or correlation takes it."""
    import torch

    finite = torch.isfinite(compressed).all(dim=0)
    if not finite.all():
        raise InputError(
            f"{task}: {codec.name} has numbers that are not finite: coordinate {int(finite.int().argmin())} is the same in all texts,"
            " by whose range mteb's int8 divides; leave `int8` out of `codecs: mteb`"
        )
