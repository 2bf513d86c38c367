"""The embedded study on the first layer of its own base, with fewer variants and steps: done in a minute."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "study": "small",
    "corpus": {"source": "wordnet", "sample_texts": 500},
    "training": {
        "objective": "mnr",
        "temperature": 0.05,
        "steps": 6,
        "batch": 16,
        "learning_rate": 5e-5,
        "max_length": 128,
        "nesting": [8, 64, 384],
    },
    "variants": {
        "fixed": {"parent": "base"},
        "matryoshka_from_fixed": {"parent": "fixed", "nested": True, "steps": 0.5},
        "fixed_rotated": {"parent": "fixed", "rotate": "pca", "objective": "none"},
    },
    "dimensions": [8, 64, 384],
    "codecs": {"transforms": ["prefix"], "precisions": ["float32"]},
    "search": {"shortlist": ["prefix-16-float32", "prefix-64-float32"], "candidates": [100, 200]},
    "intervals": {"resamples": 100},
    "tasks": ["WordNetLexicographerFiles", "WordNetExamples"],
}
STEPS = 60  # enough to be disturbed in
TINY = {
    "study": "tiny",
    "training": SMALL["training"] | {"steps": STEPS},
    "variants": {"fixed": {"parent": "base"}},
    "tasks": ["WordNetLexicographerFiles"],
}


def one_layer_model(minilm: Path, folder: Path) -> Path:
    """The real model's embeddings and first layer: same width, a sixth of the work."""
    import safetensors.torch

    shutil.copytree(minilm, folder)
    weights = safetensors.torch.load_file(minilm / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not re.search(r"encoder\.layer\.[1-9]", name)}
    safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    return folder


def write_study(path: Path, model: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(SMALL | {"base": {"model": str(model)}} | changes))
    return path


def logs(project: Path) -> str:
    """The last lines of every log, for a failed assertion."""
    files = sorted(project.glob("results/*/logs/**/*.log"))
    return "\n".join(f"--- {file}\n" + "\n".join(file.read_text().splitlines()[-8:]) for file in files)
