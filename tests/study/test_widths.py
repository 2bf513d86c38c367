"""The width of a model folder is read from its files, whatever make it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError

MODULES = [{"idx": 0, "path": "0_Transformer"}, {"idx": 1, "path": "1_Pooling"}]
FOLDERS: dict[str, tuple[dict[str, Any], int]] = {
    "BERT": ({"config.json": {"hidden_size": 24}}, 24),
    "DistilBERT": ({"config.json": {"dim": 24}}, 24),
    "T5": ({"config.json": {"d_model": 24}}, 24),
    "an old layout": ({"modules.json": MODULES, "0_Transformer/config.json": {"hidden_size": 24}}, 24),
    "two means side by side": (
        {
            "modules.json": MODULES,
            "0_Transformer/config.json": {"hidden_size": 24},
            "1_Pooling/config.json": {
                "word_embedding_dimension": 24,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": True,
            },
        },
        48,
    ),
    "truncated by its own configuration": (
        {
            "modules.json": MODULES,
            "0_Transformer/config.json": {"hidden_size": 24},
            "1_Pooling/config.json": {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True},
            "config_sentence_transformers.json": {"truncate_dim": 8},
        },
        8,
    ),
    "truncated above its width": (
        {
            "modules.json": MODULES,
            "0_Transformer/config.json": {"hidden_size": 24},
            "config_sentence_transformers.json": {"truncate_dim": 99},
        },
        24,
    ),
    "a tenth Dense": (
        {
            "modules.json": [{"idx": 2, "path": "2_Dense"}, {"idx": 10, "path": "10_Dense"}],
            "2_Dense/config.json": {"out_features": 24},
            "10_Dense/config.json": {"out_features": 12},
        },
        12,
    ),
}


def width(folder: Path, files: dict[str, Any], **base: int) -> int:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    raw = {"study": "s", "base": {"model": str(folder), **base}, "dimensions": [8], "tasks": ["SciFact"]}
    return load_study(raw).graph.width_of("base")


@pytest.mark.parametrize("make", FOLDERS)
def test_of_each_make(make: str, tmp_path: Path) -> None:
    files, expected = FOLDERS[make]
    assert width(tmp_path, files) == expected


def test_that_no_file_states_may_be_given_and_is_asked_for(tmp_path: Path) -> None:
    unknown = {"config.json": {"channels": 24}}
    assert width(tmp_path, unknown, width=24) == 24
    with pytest.raises(StudyError, match=r"base\.width: missing; .* states no width that is known here"):
        width(tmp_path, unknown)


def test_that_no_file_states_is_not_a_truncation_that_may_be_above_it(tmp_path: Path) -> None:
    unknown = {"modules.json": MODULES, "config_sentence_transformers.json": {"truncate_dim": 99}}
    assert width(tmp_path, unknown, width=24) == 24
    with pytest.raises(StudyError, match=r"base\.width: missing; .* states no width that is known here"):
        width(tmp_path, unknown)


@pytest.mark.parametrize("name", ["embedding.weight", "embeddings"])
@pytest.mark.parametrize(("truncated", "expected"), [(None, 24), (8, 8), (24, 24), (99, 24)])
def test_of_static_embeddings_is_in_their_weights(
    name: str, truncated: int | None, expected: int, tmp_path: Path
) -> None:
    files = {
        "modules.json": [
            {"idx": 0, "path": "0", "type": "a.StaticEmbedding"},
            {"idx": 1, "path": "1", "type": "a.Normalize"},
        ],
        "config_sentence_transformers.json": {"truncate_dim": truncated},
    }
    (tmp_path / "0").mkdir()
    save_file({name: np.zeros((3, 24), dtype=np.float32)}, tmp_path / "0" / "model.safetensors")
    assert width(tmp_path, files) == expected
    with pytest.raises(StudyError, match=rf"base\.width: 7 was given, but the model is {expected} wide"):
        width(tmp_path, files, width=7)
    (tmp_path / "0" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(StudyError, match=r"base\.width: missing"):
        width(tmp_path, files)
