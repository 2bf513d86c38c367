"""A faiss index of a codec or a search: trained, empty, and given vectors as the model gives them.

Takes the fitted stages; leaves one index, in which the transform, the normalisation and the codes are faiss's own, and a
factory string that makes the same kind untrained. Codes that faiss has no kind for are products of smaller codebooks:
two coordinates at four levels each are one of 16 points, so int2, float8 and signs are product quantisers whose
centroids are known, and decode to the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import BITS, Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.coding.precisions import Signs, Steps
from workflow_scripts.coding.transforms import Columns

INNER = faiss.METRIC_INNER_PRODUCT
TOP = 10  # results that a search is measured at


class Built(NamedTuple):
    """An index, and the factory string that makes one of its kind, untrained."""

    index: Any
    factory: str


def coordinates_read(codecs: Sequence[Codec], width: int) -> int:
    """How many of a model's first coordinates these codecs read: that many an index takes, and a model has to give."""
    return max(codec.dim if codec.transform == "prefix" else width for codec in codecs)


def of_search(
    fitted: Fitted, stages: Sequence[tuple[Codec, int]], final: Codec, adaptor: Matrix | None = None
) -> Built:
    """The index of a search: each stage's within the next one's, which re-scores what it found. No stages: the codec's.
    It takes `coordinates_read` coordinates; with an `adaptor` `(width, width)`, which multiplies vectors first, all."""
    codecs = [codec for codec, _ in stages] + [final]
    width = coordinates_read(codecs, fitted.width) if adaptor is None else fitted.width
    candidates = [kept for _, kept in stages]
    built = of_codec(fitted, codecs[0], width, adaptor)
    index = built.index
    strings = [built.factory]
    for place, codec in enumerate(codecs[1:]):
        finer = of_codec(fitted, codec, width, adaptor)
        refined = faiss.IndexRefine(index, finer.index)
        following = candidates[place + 1] if place + 1 < len(candidates) else TOP
        refined.k_factor = candidates[place] / following
        refined.own_fields = refined.own_refine_index = True
        for owned in (index, finer.index):
            owned.this.disown()
        index = refined
        strings.append(finer.factory)
    return Built(index, ",Refine(".join(strings) + ")" * (len(strings) - 1))


def of_codec(fitted: Fitted, codec: Codec, width: int, adaptor: Matrix | None = None) -> Built:
    """The index of one codec, behind what is done to vectors of `width` coordinates before they are stored."""
    stored, kind = _of_precision(fitted, codec)
    chain = _transforms(fitted, codec, width, adaptor)
    if stored.d > codec.dim:  # whole bytes: the coordinates added are zeros
        chain.append(_taking(codec.dim, np.where(np.arange(stored.d) < codec.dim, np.arange(stored.d), -1)))
    index = faiss.IndexPreTransform(stored)
    for transform in reversed(chain):
        index.prepend_transform(transform)
        transform.this.disown()
    stored.this.disown()
    index.own_fields = True
    names = [_factory_of(transform) for transform in chain]
    return Built(index, ",".join([*names, kind]))


def _transforms(fitted: Fitted, codec: Codec, width: int, adaptor: Matrix | None) -> list[Any]:
    """From `width` coordinates to those that are stored; an adaptor and the transform behind it are one matrix."""
    transform = fitted.transform(codec)
    chain: list[Any] = []
    matrix: Matrix | None = None if transform.matrix is None else transform.matrix[:, : codec.dim]
    if codec.rotates_within and matrix is not None:
        matrix = matrix @ fitted.rotation_within(codec)
    shift = None if transform.mean is None or matrix is None else -transform.mean @ matrix
    if adaptor is not None:
        columns = np.arange(codec.dim) if transform.columns is None else transform.columns[: codec.dim]
        matrix = adaptor[:, columns] if matrix is None else adaptor @ matrix
    if matrix is not None:
        linear: Any = faiss.LinearTransform(width, codec.dim, shift is not None)
        faiss.copy_array_to_vector(np.ascontiguousarray(matrix.T).ravel(), linear.A)
        if shift is not None:
            faiss.copy_array_to_vector(np.ascontiguousarray(shift), linear.b)
        linear.is_trained = True
        chain.append(linear)
    elif transform.columns is not None:
        chain.append(_taking(width, transform.columns[: codec.dim]))
    elif codec.dim < width:
        chain.append(_taking(width, np.arange(codec.dim)))
    if fitted.unit:
        chain.append(faiss.NormalizationTransform(codec.dim, 2.0))
    return chain


def _taking(width: int, columns: Columns) -> Any:
    """The transform that takes these columns of `(n, width)`; zeros where a column is -1."""
    kind: Any = faiss.RemapDimensionsTransform
    taking = kind(width, len(columns), False)
    faiss.copy_array_to_vector(columns.astype(np.int32), taking.map)
    return taking


def _factory_of(transform: Any) -> str:
    if isinstance(transform, faiss.NormalizationTransform):
        return "L2norm"
    return f"{'PCA' if isinstance(transform, faiss.LinearTransform) else 'Pad'}{transform.d_out}"


def _of_precision(fitted: Fitted, codec: Codec) -> tuple[Any, str]:
    """The index of the coordinates as they are kept, and its factory string."""
    precision, dim = codec.precision, codec.dim
    fit = fitted.precision(codec)
    if precision == "float32":
        return faiss.IndexFlat(dim, INNER), "Flat"
    if precision == "float16":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, INNER), "SQfp16"
    if precision in ("int8", "int4"):
        assert isinstance(fit, Steps)
        kind = {"int8": faiss.ScalarQuantizer.QT_8bit, "int4": faiss.ScalarQuantizer.QT_4bit}[precision]
        index: Any = faiss.IndexScalarQuantizer(dim, kind, INNER)
        # faiss rounds down and decodes to the middle of a step: its range begins half a step below ours.
        ranges = np.concatenate([fit.low - fit.step / 2, fit.step * fit.most])
        index.train(np.eye(dim, dtype=np.float32))
        faiss.copy_array_to_vector(np.asarray(ranges, dtype=np.float32), index.sq.trained)
        return index, f"SQ{BITS[precision]}"
    if precision == "float8":
        return _products(float8_values()[None, :, None].repeat(dim, axis=0))
    if precision == "int2":
        assert isinstance(fit, Steps)
        return _products(_grid(fit.low, fit.step, 4))
    if precision in ("binary", "binary_median"):
        assert isinstance(fit, Signs)
        return _products(_grid(fit.threshold - 1, np.full(dim, 2, dtype=np.float32), 8, first_is_highest_bit=True))
    index = faiss.clone_index(fit.index)  # type: ignore[attr-defined]
    if precision == "rabitq":
        signs: Any = faiss.downcast_index(index.index)
        signs.qb = 0  # queries stay float32, as they are measured
        return index, f"RR{dim},RaBitQ"
    return index, (f"OPQ{codec.code_bytes}," if precision == "opq" else "") + f"PQ{codec.code_bytes}x8"


def _grid(low: Matrix, step: Matrix, per_byte: int, first_is_highest_bit: bool = False) -> Matrix:
    """The centroids `(bytes, 256, per_byte)` of a code that packs `per_byte` coordinates in a byte, each at even steps."""
    bits = 8 // per_byte
    places = np.arange(per_byte)[:: -1 if first_is_highest_bit else 1] * bits
    levels = (np.arange(256)[:, None] >> places) & (2**bits - 1)  # (256, per_byte)
    short = -len(low) % per_byte
    low, step = np.pad(low, (0, short)), np.pad(step, (0, short))
    parts = low.reshape(-1, 1, per_byte) + step.reshape(-1, 1, per_byte) * levels
    return np.asarray(parts, dtype=np.float32)


def float8_values() -> Matrix:
    """The 256 values of e4m3; its two NaN as its greatest value, which is never nearer."""
    values: Matrix = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    return np.asarray(np.nan_to_num(values, nan=448.0), dtype=np.float32)


def _products(centroids: Matrix) -> tuple[Any, str]:
    """A product quantiser with these centroids `(parts, 256, coordinates of a part)`."""
    parts, _, size = centroids.shape
    index: Any = faiss.IndexPQ(parts * size, parts, 8, INNER)
    faiss.copy_array_to_vector(centroids.ravel(), index.pq.centroids)
    index.is_trained = True
    return index, f"PQ{parts}x8"
