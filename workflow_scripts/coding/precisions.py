"""The precisions: from the coordinates kept to the bytes that are stored, and back to numbers.

Takes the coordinates `(n, dim)` of training texts, as they are kept; leaves a `Precision`, whose `encode` gives what is
stored and whose `decode` gives the numbers that a search or a classifier sees. Codes of whole vectors are faiss's own.
What was fitted is a few arrays (`arrays`), from which `restored` makes the same precision again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import BITS, CENTROIDS, RABITQ_SCALARS, Codec
from workflow_scripts.command_line import InputError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Arrays = dict[str, np.ndarray[Any, Any]]
OPQ_ITERATIONS = 15  # faiss takes 50, which for 384 coordinates lasts minutes on one core and finds hardly less error


class Precision(ABC):
    """How the coordinates of a codec are stored."""

    @abstractmethod
    def encode(self, vectors: Matrix) -> Bytes:
        """What is stored of `(n, dim)` vectors: `(n, bytes)`."""

    @abstractmethod
    def decode(self, codes: Bytes) -> Matrix:
        """The numbers that stored `(n, bytes)` codes stand for: `(n, dim)` float32."""

    def round_trip(self, vectors: Matrix) -> Matrix:
        """`decode(encode(vectors))`, without the packing where there is a shorter way."""
        return self.decode(self.encode(vectors))

    def arrays(self) -> Arrays:
        """What was fitted, by name; empty where nothing was."""
        return {}

    def compared(self, vectors: Matrix) -> tuple[Matrix, Matrix | None]:
        """What a query is compared with once `(n, dim)` vectors are stored: the numbers whose inner product with it is
        taken `(n, dim)`, and what is added to each `(n,)`, where the code corrects it."""
        return self.round_trip(vectors), None


class Float(Precision):
    """Coordinates as IEEE float32 or float16."""

    def __init__(self, precision: str) -> None:
        self.dtype = np.dtype(precision)

    def encode(self, vectors: Matrix) -> Bytes:
        with np.errstate(over="ignore"):  # beyond float16 is infinite
            cast = np.ascontiguousarray(vectors, dtype=self.dtype)
        codes: Bytes = cast.view(np.uint8)
        return codes

    def decode(self, codes: Bytes) -> Matrix:
        decoded: Matrix = codes.view(self.dtype).astype(np.float32, copy=False)
        return decoded

    def round_trip(self, vectors: Matrix) -> Matrix:
        return vectors if self.dtype == np.float32 else super().round_trip(vectors)


class Float8(Precision):
    """Coordinates as float8 (e4m3, which holds up to 448). NumPy has none; torch is imported here alone, as it takes a second."""

    def encode(self, vectors: Matrix) -> Bytes:
        import torch

        cast = torch.from_numpy(np.ascontiguousarray(vectors)).to(torch.float8_e4m3fn)
        codes: Bytes = cast.view(torch.uint8).numpy()
        return codes

    def decode(self, codes: Bytes) -> Matrix:
        import torch

        decoded: Matrix = torch.from_numpy(codes).view(torch.float8_e4m3fn).float().numpy()
        return decoded


FLOATS: dict[str, Callable[[], Precision]] = {
    "float32": partial(Float, "float32"),
    "float16": partial(Float, "float16"),
    "float8": Float8,
}


class Steps(Precision):
    """Coordinates as whole numbers of `bits`: even steps `(dim,)` upwards from a lowest value of each `(dim,)`."""

    def __init__(self, bits: int, low: Matrix, step: Matrix) -> None:
        self.bits, self.low, self.step, self.most = bits, low, step, 2**bits - 1

    def arrays(self) -> Arrays:
        return {"low": self.low, "step": self.step}

    def _levels(self, vectors: Matrix) -> Matrix:
        levels = vectors - self.low
        levels /= self.step
        np.rint(levels, out=levels)
        np.clip(levels, 0, self.most, out=levels)
        return levels

    def _values(self, levels: Matrix) -> Matrix:
        levels *= self.step
        levels += self.low
        return levels

    def encode(self, vectors: Matrix) -> Bytes:
        levels = self._levels(vectors).astype(np.uint8)
        per_byte = 8 // self.bits
        padded = np.zeros((len(levels), -(-levels.shape[1] // per_byte) * per_byte), dtype=np.uint8)
        padded[:, : levels.shape[1]] = levels
        packed = padded[:, ::per_byte].copy()
        for place in range(1, per_byte):
            packed |= padded[:, place::per_byte] << np.uint8(place * self.bits)
        return packed

    def decode(self, codes: Bytes) -> Matrix:
        per_byte = 8 // self.bits
        levels = np.empty((len(codes), codes.shape[1] * per_byte), dtype=np.float32)
        for place in range(per_byte):
            levels[:, place::per_byte] = (codes >> np.uint8(place * self.bits)) & np.uint8(self.most)
        return self._values(levels[:, : len(self.low)])

    def round_trip(self, vectors: Matrix) -> Matrix:
        return self._values(self._levels(vectors))


class Signs(Precision):
    """One bit a coordinate: +1 above a threshold `(dim,)`, -1 at it or below."""

    def __init__(self, threshold: Matrix) -> None:
        self.threshold = threshold

    def arrays(self) -> Arrays:
        return {"threshold": self.threshold}

    def encode(self, vectors: Matrix) -> Bytes:
        return np.packbits(vectors > self.threshold, axis=1)

    def decode(self, codes: Bytes) -> Matrix:
        bits = np.unpackbits(codes, axis=1, count=len(self.threshold))
        return bits.astype(np.float32) * 2 - 1

    def round_trip(self, vectors: Matrix) -> Matrix:
        return np.where(vectors > self.threshold, np.float32(1), np.float32(-1))


class Faiss(Precision):
    """A code of the whole vector, by a trained index of faiss that is left empty."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def arrays(self) -> Arrays:
        """`centroids` (parts, 256, coordinates of a part) of the index, and the `rotation` (dim, dim) before it."""
        parts: Any = self.index
        found: Arrays = {}
        if not isinstance(self.index, faiss.IndexPQ):
            found, parts = {"code_rotation": _matrix_of(parts.chain.at(0))}, faiss.downcast_index(parts.index)
        shape = (parts.pq.M, CENTROIDS, parts.pq.dsub)
        return found | {"centroids": faiss.vector_to_array(parts.pq.centroids).reshape(shape)}

    def encode(self, vectors: Matrix) -> Bytes:
        codes: Bytes = self.index.sa_encode(np.ascontiguousarray(vectors))
        return codes

    def decode(self, codes: Bytes) -> Matrix:
        decoded: Matrix = self.index.sa_decode(codes)
        return decoded


class RaBitQ(Faiss):
    """Signs after a random rotation, with two scalars (Gao and Long 2024): one is the length along the signs, the other
    gives the vector's exact inner product with the centroid, by which the estimate is corrected."""

    def __init__(self, index: Any) -> None:
        super().__init__(index)
        signs: Any = faiss.downcast_index(index.index)
        center = faiss.vector_to_array(signs.center).astype(np.float32)
        self.center_norm = float(center @ center)
        self.center: Matrix = index.chain.at(0).reverse_transform(center[None])[0]

    def arrays(self) -> Arrays:
        """The `code_rotation` (dim, dim), and the `center` (dim,) in its coordinates."""
        signs: Any = faiss.downcast_index(self.index.index)
        return {"code_rotation": _matrix_of(self.index.chain.at(0)), "center": faiss.vector_to_array(signs.center)}

    def compared(self, vectors: Matrix) -> tuple[Matrix, Matrix | None]:
        codes = self.encode(vectors)
        decoded = self.decode(codes)
        scalars = np.ascontiguousarray(codes[:, -RABITQ_SCALARS:]).view(np.float32)
        # faiss stores |x - c|^2 - |x|^2, which is |c|^2 - 2 x.c
        with_center: Matrix = (np.float32(self.center_norm) - scalars[:, 0]) / np.float32(2)
        return decoded, with_center - decoded @ self.center


def fit(codec: Codec, training: Matrix | None, clip: float) -> Precision:
    """The codec's precision, fitted on the coordinates of training texts `(texts, dim)`, as the codec keeps them.

    `clip`: the percentile at either end beyond which int4 and int2 do not reach; int8 reaches from the least value to
    the greatest. Raises InputError for fewer texts than a code has centroids.
    """
    precision = codec.precision
    if precision in FLOATS:
        return FLOATS[precision]()
    if precision == "binary":
        return Signs(np.zeros(codec.dim, dtype=np.float32))
    assert training is not None
    if precision == "binary_median":
        return Signs(np.asarray(np.median(training, axis=0), dtype=np.float32))
    if precision in ("int8", "int4", "int2"):
        if precision == "int8":
            low, high = training.min(axis=0), training.max(axis=0)
        else:
            low, high = np.percentile(training, [clip, 100 - clip], axis=0).astype(np.float32)
        most = np.float32(2 ** BITS[precision] - 1)
        return Steps(BITS[precision], low, np.maximum((high - low) / most, np.finfo(np.float32).tiny))
    if precision in ("pq", "opq") and len(training) < CENTROIDS:
        raise InputError(
            f"{codec.name}: {len(training)} training texts are fewer than its {CENTROIDS} centroids; use at least {CENTROIDS}"
        )
    index = _empty_index(codec)
    index.train(np.ascontiguousarray(training))
    return RaBitQ(index) if precision == "rabitq" else Faiss(index)


def restored(codec: Codec, arrays: Arrays) -> Precision:
    """The precision whose `arrays` these are."""
    precision = codec.precision
    if precision in FLOATS:
        return FLOATS[precision]()
    if precision in ("binary", "binary_median"):
        return Signs(arrays["threshold"])
    if precision in ("int8", "int4", "int2"):
        return Steps(BITS[precision], arrays["low"], arrays["step"])
    index = _empty_index(codec)
    codes = index
    if precision != "pq":
        rotation: Any = faiss.downcast_VectorTransform(index.chain.at(0))
        faiss.copy_array_to_vector(arrays["code_rotation"].ravel(), rotation.A)
        rotation.is_trained = True
        rotation.is_orthonormal = True
        codes = faiss.downcast_index(index.index)
    if precision == "rabitq":
        faiss.copy_array_to_vector(arrays["center"], codes.center)
    else:
        faiss.copy_array_to_vector(arrays["centroids"].ravel(), codes.pq.centroids)
    codes.is_trained = index.is_trained = True
    return RaBitQ(index) if precision == "rabitq" else Faiss(index)


def _empty_index(codec: Codec) -> Any:
    """The index that is trained: its codes are the codec's, its inner products those that rank."""
    dim, inner = codec.dim, faiss.METRIC_INNER_PRODUCT
    if codec.precision == "rabitq":
        random_rotation = faiss.RandomRotationMatrix(dim, dim)
        random_rotation.init(dim)
        return faiss.IndexPreTransform(random_rotation, faiss.IndexRaBitQ(dim, inner))
    parts: Any = faiss.IndexPQ(dim, codec.code_bytes, 8, inner)
    parts.pq.cp.min_points_per_centroid = 1  # else faiss warns once for each part of the code
    if codec.precision == "pq":
        return parts
    rotation: Any = faiss.OPQMatrix(dim, codec.code_bytes)
    rotation.niter = OPQ_ITERATIONS
    quantiser: Any = faiss.ProductQuantizer(dim, codec.code_bytes, 8)
    quantiser.cp.min_points_per_centroid = 1
    rotation.pq = quantiser
    return faiss.IndexPreTransform(rotation, parts)


def _matrix_of(rotation: Any) -> Matrix:
    """The matrix `(dim, dim)` of faiss's rotation: rotated = vectors @ matrix.T."""
    rotation = faiss.downcast_VectorTransform(rotation)
    matrix: Matrix = faiss.vector_to_array(rotation.A).reshape(rotation.d_out, rotation.d_in)
    return matrix
