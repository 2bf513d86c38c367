"""Rule transform: a model made from its parent by one matrix, without training.

Takes the parent's folder and `corpus/sample.parquet`; leaves `models/<model>/s<seed>/`, whose last module is a
`Dense` without bias: the rotation onto principal axes (`rotate: pca`), the cut to the first `width` coordinates, or
both. What the matrix does to the parent's embeddings is all that was done to it, so the embeddings room multiplies
the parent's store by it instead of encoding again. No mean is subtracted when it is applied, so at full width no
cosine changes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow.parquet as pq
import torch

from workflow_scripts import artefact
from workflow_scripts.axes import principal_axes
from workflow_scripts.encoder.encoding import encode, resolve_precision
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.folder import (
    ModelError,
    Settings,
    cost,
    encoder_flops,
    export,
    parse_settings,
    read_digest,
    read_manifest,
    run,
    settings_as_recipe,
    versions,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class TransformSettings(Settings):
    model: str
    parent: str
    seed: int
    rotate: Literal["pca"] | None
    width: int
    max_length: int


def put_matrix(model: SentenceTransformer, matrix: np.ndarray) -> None:
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


def fit_matrix(
    model: SentenceTransformer, texts: list[str], rotate: str | None, width: int, precision: str = "fp32"
) -> tuple[np.ndarray, int, float]:
    """The matrix `(width, parent's width)`, the tokens that fitting it took, and its floating-point operations."""
    full = model.get_embedding_dimension()
    assert full is not None
    if width > full:
        raise ModelError(f"width: {width} is above the parent's width {full}; use at most {full}")
    if rotate is None:
        return np.eye(width, full, dtype=np.float32), 0, 0.0
    with artefact.Progress("encode training texts", len(texts), "texts") as progress:
        encoded = encode(
            model,
            texts,
            prompt="",
            precision=resolve_precision(precision, model.device),
            progress=progress.add,
        )
    mean_length = encoded.tokens / max(len(texts), 1)
    flops = encoder_flops(model, encoded.tokens, encoded.tokens * mean_length, backward=False)
    return principal_axes(encoded.vectors)[:width], encoded.tokens, flops


def read_sample(pairs_digest: Path) -> list[str]:
    """The texts of `sample.parquet` beside the corpus' digest."""
    path = pairs_digest.parent / "sample.parquet"
    if not path.is_file():
        raise ModelError(f"{path}: not there; expected the sample of training texts")
    table = pq.read_table(path)
    if "text" not in table.column_names:
        raise ModelError(f"{path}: columns {table.column_names}; expected `text`")
    texts: list[str] = table.column("text").to_pylist()
    return texts


def transform(settings: TransformSettings, parent: Path, pairs: Path, output: Path) -> None:
    """Make the model's folder. Raises ModelError with one line for what is wrong with the input."""
    started = time.monotonic()
    parent_manifest = read_manifest(parent)
    model = load_encoder(parent.parent)
    own_length = model.max_seq_length
    model.max_seq_length = min(own_length or settings.max_length, settings.max_length)
    texts = read_sample(pairs)
    matrix, tokens, flops = fit_matrix(model, texts, settings.rotate, settings.width)
    put_matrix(model, matrix)
    model.max_seq_length = own_length
    manifest: dict[str, Any] = {
        "model": settings.model,
        "seed": settings.seed,
        "kind": "transformed",
        "parents": [settings.parent, *parent_manifest["parents"]],
        "reference": parent_manifest["reference"],
        "revision": parent_manifest["revision"],
        "licence": parent_manifest["licence"],
        "width": settings.width,
        "recipe": settings_as_recipe(settings) | {"parent_digest": read_digest(parent), "texts": len(texts)},
        "cost": cost(steps=0, tokens=tokens, seconds=time.monotonic() - started, flops=flops, device=model.device),
        "pairs": read_digest(pairs),
        "tokens": None,
        "versions": versions(),
    }
    export(model, output, manifest)
    artefact.log.info("%s: %s by a matrix of %s", settings.model, settings.parent, " x ".join(map(str, matrix.shape)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Rotate or cut a model's output by one matrix, without training.")
    parser.add_argument("--settings", required=True, help="JSON: " + json.dumps(list(TransformSettings.model_fields)))
    parser.add_argument("--parent", required=True, type=Path, help="the parent's model.sha256")
    parser.add_argument("--pairs", required=True, type=Path, help="corpus.sha256, beside sample.parquet")
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = parse_settings(TransformSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output):
            transform(settings, arguments.parent, arguments.pairs, arguments.output)

    run(work)


if __name__ == "__main__":
    main()
