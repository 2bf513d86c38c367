"""What the two ways to make a store share: their settings, and the manifest and digest they leave.

Takes what a store was made of and what it cost; leaves `embeddings.json` and `embeddings.sha256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow_scripts.artefact import read_json, versions, write_json, write_known_digests
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.fingerprint import PACKAGES
from workflow_scripts.study.sections.encoding import Encoding


class StoreSettings(Settings):
    """What of the configuration decides a store."""

    task: str
    encoding: Encoding = Encoding()


def write_manifest(output: Path, store: Path, digest: str, content: dict[str, Any]) -> None:
    """Write the manifest, then the digest of the store's file, its sha256, that later rules wait for."""
    write_json(output, content | {"versions": versions(*PACKAGES)})
    write_known_digests(output.with_name("embeddings.sha256"), {store: digest})


def model_name(model_digest: Path) -> str:
    """The model's name in the study, or its folder's where it has no manifest."""
    manifest = model_digest.with_name("model.json")
    return str(read_json(manifest)["model"]) if manifest.exists() else model_digest.parent.name
