"""The manifest and the digest of a store, whichever way it was made.

Takes what a store was made of and what it cost; leaves `embeddings.json` and `embeddings.sha256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow_scripts.artefact import read_json, versions, write_digests, write_json


def write_manifest(output: Path, store: Path, content: dict[str, Any]) -> None:
    """Write the manifest, then the digest that later rules wait for."""
    write_json(
        output,
        content | {"versions": versions("numpy", "pyarrow", "sentence-transformers", "torch", "transformers")},
    )
    write_digests(output.with_name("embeddings.sha256"), [store])


def model_name(model_digest: Path) -> str:
    """The model's name in the study, or its folder's where it has no manifest."""
    manifest = model_digest.with_name("model.json")
    return str(read_json(manifest)["model"]) if manifest.exists() else model_digest.parent.name
