"""A rotated or cut model's store, made without encoding, is what encoding with that model gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from testing.vector_files import write_npy
from tests.embeddings.conftest import run, write_task
from workflow_scripts.command_line import parse_settings
from workflow_scripts.embeddings.manifest import StoreSettings
from workflow_scripts.embeddings.multiply import multiply_store
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.mapped import Piece
from workflow_scripts.store import keys_of, open_store, write_keys
from workflow_scripts.vector_headers import read_header

SETTINGS = json.dumps({"task": "SomeTask"})
WIDTHS = [384, 64]


@pytest.fixture(scope="module")
def texts(utterances: list[str]) -> list[str]:
    return utterances[:30]


@pytest.fixture(scope="module")
def parent(model: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent's store."""
    folder = tmp_path_factory.mktemp("parent")
    digest = write_task(folder / "task", [("", text) for text in texts])
    output = folder / "store" / "embeddings.json"
    done = run("encode", settings=SETTINGS, model=model / "model.sha256", texts=digest, output=output)
    assert done.returncode == 0, done.stderr
    return output.parent


def turned(model: Path, folder: Path, width: int, activation: torch.nn.Module | None = None) -> Path:
    """The model with a random rotation behind it, of which `width` coordinates are kept."""
    encoder = SentenceTransformer(str(model), device="cpu")
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(384, 384, generator=generator))
    dense = Dense(384, width, bias=False, activation_function=activation or torch.nn.Identity())
    dense.linear.weight.data = axes[:width].contiguous()
    encoder.append(dense)
    encoder.save_pretrained(str(folder), create_model_card=False)
    (folder / "model.sha256").write_text(f"turned {width}\n")
    (folder / "model.json").write_text('{"model": "turned"}')
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_the_product_equals_encoding_with_the_turned_model(
    model: Path, parent: Path, texts: list[str], tmp_path: Path, width: int
) -> None:
    child = turned(model, tmp_path / "model", width)
    output = tmp_path / "store" / "embeddings.json"
    done = run(
        "multiply",
        settings=SETTINGS,
        model=child / "model.sha256",
        parent=parent / "embeddings.sha256",
        output=output,
    )
    assert done.returncode == 0, done.stderr
    store = open_store(output.parent, width=width)
    direct = encode_texts(load_encoder(child, device="cpu"), texts)
    np.testing.assert_allclose(store.vectors[store.rows_of(texts)], direct, rtol=0, atol=1e-6)
    manifest = json.loads(output.read_text())
    assert (manifest["model"], manifest["parent"], manifest["tokens"]) == ("turned", "base", 0)


def test_equal_texts_of_own_vectors_are_multiplied_once_by_the_first_vector(model: Path, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 384)).astype(np.float32)
    parent = tmp_path / "parent"
    parent.mkdir()
    piece = read_header(write_npy(tmp_path / "v.npy", vectors))
    assert piece is not None
    write_keys(parent, keys_of(["a", "b", "a", "c", "b"]), [Piece(str(tmp_path / "v.npy"), *piece)])
    (parent / "embeddings.json").write_text('{"model": "own", "texts_sha256": "0"}')
    (parent / "embeddings.sha256").write_text("own\n")
    child = turned(model, tmp_path / "model", 64)
    output = tmp_path / "store" / "embeddings.json"
    settings = parse_settings(StoreSettings, SETTINGS)
    multiply_store(settings, child / "model.sha256", parent / "embeddings.sha256", output)
    store, (weight, bias) = open_store(output.parent, width=64), last_dense(child)
    expected = vectors[[0, 1, 3]] @ weight.T + bias
    np.testing.assert_allclose(store.vectors[store.rows_of(["a", "b", "c"])], expected, rtol=0, atol=1e-5)
    assert len(store) == json.loads(output.read_text())["texts"] == 3


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no Dense", "the last module is .*Normalize, expected a Dense"),
        ("tanh", "activation_function is .*Tanh, expected Identity"),
        ("other parent", "coordinates, expected 64 as the last Dense"),
    ],
)
def test_what_is_no_rotation_of_the_parent_is_refused(
    model: Path, parent: Path, tmp_path: Path, case: str, message: str
) -> None:
    child = (
        model
        if case == "no Dense"
        else turned(model, tmp_path / "model", 64, torch.nn.Tanh() if case == "tanh" else None)
    )
    if case == "other parent":
        configuration = child / "3_Dense"
        encoder = SentenceTransformer(str(child), device="cpu")
        encoder.append(Dense(64, 64, bias=False, activation_function=torch.nn.Identity()))
        encoder.save_pretrained(str(child), create_model_card=False)
        assert configuration.exists()
    output = tmp_path / "store" / "embeddings.json"
    done = run(
        "multiply",
        settings=SETTINGS,
        model=child / "model.sha256",
        parent=parent / "embeddings.sha256",
        output=output,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert re.search(message, last), last
