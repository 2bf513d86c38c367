"""What embeddings come from besides model, texts and settings: the code that computes them, packages and kind of device.

Takes a room's folder and the device; leaves a text that goes into the fingerprint of the shards, so that none outlives a
change of it.
"""

from __future__ import annotations

import json
from pathlib import Path

from workflow_scripts.artefact import digest_of_file, versions

PACKAGES = ("numpy", "pyarrow", "sentence-transformers", "torch", "transformers")


def computed_by(room: Path, device: str) -> str:
    """The digests of the encoder's modules and of the room's, the versions of the packages, and `device` (cpu or cuda)."""
    files = [path for folder in (Path(__file__).parent, room) for path in sorted(folder.glob("*.py"))]
    return json.dumps([*map(digest_of_file, files), versions(*PACKAGES), device])
