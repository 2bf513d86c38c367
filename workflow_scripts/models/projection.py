"""A matrix behind an encoder: fitted on training texts, appended as an ordinary Dense module.

Takes a loaded model and the corpus' sample of training texts; leaves the model with the matrix `(width, parent's width)`
of `rotate` and `width` behind it, and what fitting it cost. No mean is subtracted when it is applied, so a rotation changes no cosine at full width.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch

from workflow_scripts import artefact
from workflow_scripts.axes import principal_axes
from workflow_scripts.encoder.encoding import encode, resolve_precision
from workflow_scripts.encoder.loading import limited_length
from workflow_scripts.models.folder import ModelError, encoder_flops

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Fitting:
    """What fitting a matrix took: tokens encoded, floating-point operations, seconds."""

    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0


def append_dense(model: SentenceTransformer, matrix: np.ndarray) -> None:
    """Append `embedding -> matrix @ embedding` to the model, as an ordinary sentence-transformers Dense."""
    from sentence_transformers.base.modules import Dense

    width_out, width_in = matrix.shape
    dense = Dense(
        width_in,
        width_out,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32)),
    )
    model.append(dense.to(model.device))


def append_projection(
    model: SentenceTransformer, texts: list[str], *, rotate: str | None, width: int, max_length: int
) -> Fitting:
    """Append the first `width` principal axes of the texts' embeddings, or the first `width` coordinates as they are.

    Texts are cut at `max_length` tokens while they are encoded; the model's own lengths stay. Raises ModelError where
    `width` is above the model's.
    """
    started = time.monotonic()
    full = embedding_width(model)
    if width > full:
        raise ModelError(f"width: {width} is above the parent's width {full}; use at most {full}")
    if rotate is None:
        append_dense(model, np.eye(width, full, dtype=np.float32))
        return Fitting()
    with (
        limited_length(model, max_length),
        artefact.Progress("encode training texts", len(texts), "texts") as progress,
    ):
        encoded = encode(
            model, texts, prompt="", precision=resolve_precision("fp32", model.device), progress=progress.add
        )
    append_dense(model, principal_axes(encoded.vectors)[:width])
    squared_lengths = encoded.tokens**2 / max(len(texts), 1)  # as if all texts were equally long
    flops = encoder_flops(model, encoded.tokens, squared_lengths, backward=False)
    return Fitting(encoded.tokens, flops, time.monotonic() - started)


def embedding_width(model: SentenceTransformer) -> int:
    """Coordinates of the model's embeddings. Raises ModelError where the model does not say."""
    width = model.get_embedding_dimension()
    if width is None:
        raise ModelError("parent: its embedding width is unknown; expected a model whose last module has one")
    return int(width)


def sample_of(digest: Path) -> Path:
    """`sample.parquet` beside a digest of the corpus. Raises ModelError where it is not there."""
    path = digest.parent / "sample.parquet"
    if not path.is_file():
        raise ModelError(f"{path}: not there; expected the sample of training texts")
    return path


def read_sample(digest: Path) -> list[str]:
    """The texts of `sample.parquet` beside a digest of the corpus. Raises ModelError where they are not there."""
    path = sample_of(digest)
    table = pq.read_table(path)
    if "text" not in table.column_names:
        raise ModelError(f"{path}: columns {table.column_names}; expected `text`")
    texts: list[str] = table.column("text").to_pylist()
    return texts
