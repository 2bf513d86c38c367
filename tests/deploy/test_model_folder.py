"""An exported model loads in sentence-transformers 5 and 6, and says nothing of the machine that made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from workflow_scripts.artefact import read_json
from workflow_scripts.deploy import model_folder

TEXTS = ["a text", "Another text, somewhat longer than the first."]


def test_an_exported_model_embeds_the_same_under_names_that_both_versions_have(fetched: Path, tmp_path: Path) -> None:
    source = fetched / "models" / "base" / "s0"
    oldest = model_folder.export(source, tmp_path / "model", truncate_dim=128)
    assert oldest == "5.0"
    names = [module["type"] for module in read_json(tmp_path / "model" / "modules.json")]
    assert names == [f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")]
    pooling = read_json(tmp_path / "model" / "1_Pooling" / "config.json")
    assert pooling["word_embedding_dimension"] == 384
    assert [mode for mode, value in pooling.items() if mode.startswith("pooling_mode") and value] == [
        "pooling_mode_mean_tokens"
    ]
    assert read_json(tmp_path / "model" / "sentence_bert_config.json")["max_seq_length"] == 256
    before = SentenceTransformer(str(source), device="cpu")
    after = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert (after.truncate_dim, after.max_seq_length) == (128, before.max_seq_length)
    np.testing.assert_array_equal(after.encode(TEXTS, truncate_dim=None)[:, :128], before.encode(TEXTS)[:, :128])


def test_an_exported_model_has_no_trace_of_the_machine(fetched: Path, tmp_path: Path) -> None:
    model_folder.export(fetched / "models" / "base" / "s0", tmp_path / "model", truncate_dim=None)
    assert not [path for path in (tmp_path / "model").rglob("*") if path.name.startswith(".") or path.suffix == ".lock"]
    for path in (tmp_path / "model").rglob("*"):
        if path.suffix in (".json", ".txt", ".md"):
            text = path.read_text()
            assert not [
                word for word in ("local_files_only", "is_local", str(fetched), str(Path.home()) + "/") if word in text
            ], path
