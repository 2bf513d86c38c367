"""What the codecs of a model are fitted on and fitted to: axes, means, rotations, ranges, thresholds, codebooks.

Takes the embeddings of training texts; leaves, for any codec, what is stored of a vector and what a query is compared
as. Nothing is ever fitted on the texts that are scored. Each thing is fitted when it is first asked for, once.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import CODED, FLOAT32, Codec
from workflow_scripts.coding import precisions, transforms
from workflow_scripts.command_line import InputError

ROTATION = "rotation"  # the name of the array of a codec that rotates what it keeps


class Fitted:
    """The codecs of one model, fitted.

    `training` is (texts, width), None where nothing is fitted. `unit`: vectors are normalised at the dimension kept
    before they are stored, as an index of inner products wants them (retrieval); a classifier sees them as they are,
    which is mteb's protocol. Raises InputError where training texts are missing or of another width.
    """

    def __init__(self, width: int, training: Matrix | None = None, clip: float = 2.5, unit: bool = False) -> None:
        if training is not None and training.shape[1] != width:
            raise InputError(
                f"training texts: the store is {training.shape[1]} wide, the task's is {width}; they are of two models"
            )
        self.width, self.training, self.clip, self.unit = width, training, clip, unit
        self._full_width: dict[tuple[str, int], transforms.Transform] = {}
        self._within: dict[tuple[str, int], Matrix] = {}
        self._precisions: dict[str, precisions.Precision] = {}
        self._last_training: tuple[tuple[str, int], Matrix] | None = None

    def full_width(self, codec: Codec, vectors: Matrix) -> Matrix:
        """Vectors `(n, width)` after the codec's transform, before any coordinate is dropped."""
        return self.transform(codec)(vectors)

    def transform(self, codec: Codec) -> transforms.Transform:
        """What is done to vectors before any coordinate is dropped."""
        if codec.axes not in self._full_width:
            needs = codec.transform not in ("prefix", "last", "random")
            training = self._training_for(codec) if needs else None
            self._full_width[codec.axes] = transforms.full_width(*codec.axes, self.width, training)
        return self._full_width[codec.axes]

    def kept(self, codec: Codec, transformed: Matrix) -> Matrix:
        """The coordinates `(n, dim)` that the codec keeps of what `full_width` gave."""
        kept = np.ascontiguousarray(transformed[:, : codec.dim])
        if codec.rotates_within:
            kept = kept @ self.rotation_within(codec)
        return normalised(kept) if self.unit else kept

    def rotation_within(self, codec: Codec) -> Matrix:
        """The rotation `(dim, dim)` of the coordinates kept, of a codec that has one."""
        key = (codec.transform, codec.dim)
        if key not in self._within:
            training = self._transformed_training(codec)[:, : codec.dim]
            self._within[key] = transforms.rotation_within(codec.transform, training)
        return self._within[key]

    def precision(self, codec: Codec) -> precisions.Precision:
        """How the coordinates that the codec keeps are stored."""
        name = _stored_name(codec)
        if name not in self._precisions:
            training = None
            if codec.precision not in ("float32", "float16", "float8", "binary"):
                training = self.kept(codec, self._transformed_training(codec))
            self._precisions[name] = precisions.fit(codec, training, self.clip)
        return self._precisions[name]

    def arrays(self, codec: Codec) -> precisions.Arrays:
        """What was fitted for a codec, by name: of its transform, of its rotation, of its precision."""
        found = {name: array for name, array in vars(self.transform(codec)).items() if array is not None}
        if codec.rotates_within:
            found[ROTATION] = self.rotation_within(codec)
        return found | self.precision(codec).arrays()

    def restore(self, codec: Codec, arrays: precisions.Arrays) -> None:
        """Take the `arrays` of a codec instead of fitting it."""
        self._full_width[codec.axes] = transforms.Transform(
            arrays.get("columns"), arrays.get("mean"), arrays.get("matrix")
        )
        if codec.rotates_within:
            self._within[codec.transform, codec.dim] = arrays[ROTATION]
        self._precisions[_stored_name(codec)] = precisions.restored(codec, arrays)

    def stored(self, codec: Codec, vectors: Matrix) -> Matrix:
        """Vectors `(n, width)` as a search or a classifier sees them once they are stored: `(n, dim)` float32."""
        return self.precision(codec).round_trip(self.kept(codec, self.full_width(codec, vectors)))

    def query(self, codec: Codec, vectors: Matrix) -> Matrix:
        """Queries `(n, width)` as they are compared with what is stored: `(n, dim)` float32."""
        if codec.queries == CODED:
            return self.stored(codec, vectors)
        return self.kept(codec, self.full_width(codec, vectors))

    def similarities(self, codec: Codec, queries: Matrix, vectors: Matrix) -> Matrix:
        """How the codec ranks stored `(n, width)` vectors for `(q, width)` queries: `(q, n)`, greater is nearer."""
        compared, added = self.precision(codec).compared(self.kept(codec, self.full_width(codec, vectors)))
        products: Matrix = self.query(codec, queries) @ compared.T
        return products if added is None else products + added

    def _transformed_training(self, codec: Codec) -> Matrix:
        """The training texts after the codec's transform; kept for the codecs of the same transform that follow."""
        if self._last_training is None or self._last_training[0] != codec.axes:
            self._last_training = None  # no two at once
            self._last_training = codec.axes, self.full_width(codec, self._training_for(codec))
        return self._last_training[1]

    def _training_for(self, codec: Codec) -> Matrix:
        if self.training is None or len(self.training) < 2:
            raise InputError(f"{codec.name}: needs the embeddings of training texts to fit on; found none")
        return self.training


def _stored_name(codec: Codec) -> str:
    """Codecs that differ in their queries alone store the same."""
    return dataclasses.replace(codec, queries=FLOAT32).name


def normalised(vectors: Matrix) -> Matrix:
    """Each vector of `(n, dim)` at length 1; zeros stay zeros."""
    unit: Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit
