"""What the model-making scripts share: how a finished model becomes a folder, and what it cost.

Takes a sentence-transformers model and the facts about its making; leaves `models/<model>/s<seed>/` with the
weights (safetensors), `model.json` and `model.sha256`, whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workflow_scripts import artefact
from workflow_scripts.command_line import InputError, Settings
from workflow_scripts.models.checks import check_copy, path_of, transformers_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MANIFEST = "model.json"
DIGEST = "model.sha256"
STEPS = "training.parquet"
NOT_IN_THE_DIGEST = {MANIFEST, DIGEST, STEPS, "README.md"}


class ModelError(InputError):
    """A model cannot be made from what was given; the message is one line: what was found, what was expected."""


def read_digest(path: str | Path) -> str:
    """The digest of a whole artefact: sha256 of its `*.sha256` file. Raises ModelError where it is missing."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: not there; expected the digest of the artefact beside it")
    return artefact.digest_of_file(path)


def read_manifest(digest: str | Path) -> dict[str, Any]:
    """The `model.json` beside a model's digest. Raises ModelError where the folder is broken."""
    path = Path(digest).parent / MANIFEST
    if not path.is_file():
        raise ModelError(f"{path}: not there; expected a model made by this workflow")
    content: dict[str, Any] = artefact.read_json(path)
    return content


def descent(kind: str, model: str, parent: str, seed: int, width: int, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the manifest of every model made from another says of where it comes from; `manifest`: the parent's."""
    return {
        "model": model,
        "seed": seed,
        "kind": kind,
        "parents": [parent, *manifest["parents"]],
        "reference": manifest["reference"],
        "revision": manifest["revision"],
        "licence": manifest["licence"],
        "language": manifest.get("language"),
        "width": width,
    }


def export(
    model: SentenceTransformer,
    output: str | Path,
    manifest: dict[str, Any],
    write_more: Callable[[Path], None] | None = None,
) -> None:
    """Save the model to the folder of `output` (its model.json), with manifest and digest, replacing what was there.

    `write_more` may put more files into the folder before it is renamed. Raises EncoderError where what was saved, loaded
    again, embeds a few texts otherwise than the model.
    """

    def write(part: Path) -> None:
        model.save(str(part), create_model_card=False, safe_serialization=True)
        weights = [str(p.relative_to(part)) for p in part.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pickle")]
        if weights:
            raise ModelError(
                f"{Path(output).parent}: saving would leave pickled weights ({', '.join(weights)}); expected safetensors"
            )
        _keep_lower_case(model, part)
        check_copy(model, part, manifest["model"])
        if write_more is not None:
            write_more(part)

    leave(output, manifest, write)


def leave(output: str | Path, manifest: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Make the folder of `output` (its model.json) of the files that `write` puts into it, with manifest and digest, whole
    or not at all, replacing what was there."""
    folder = Path(output).parent
    with artefact.atomic_folder(folder) as part:
        write(part)
        files = [p for p in part.rglob("*") if p.is_file() and str(p.relative_to(part)) not in NOT_IN_THE_DIGEST]
        digest = artefact.write_digests(part / DIGEST, files)
        artefact.write_json(part / MANIFEST, manifest | {"digest": digest})
        for file in files:
            file.chmod((part / MANIFEST).stat().st_mode)  # safetensors leaves its files to their owner alone
        _remove_old(folder)


def _keep_lower_case(model: SentenceTransformer, part: Path) -> None:
    """Write `do_lower_case` where an encoder has it, of any route: sentence-transformers reads it, but does not save it."""
    for name, module in transformers_of(model):
        path = part / path_of(part, name) / "sentence_bert_config.json"
        if getattr(module, "do_lower_case", False) and path.is_file():
            artefact.write_json(path, artefact.read_json(path) | {"do_lower_case": True})


def _remove_old(folder: Path) -> None:
    """Drop an earlier model's files, the digest first, so that no module of it survives among the new ones."""
    (folder / DIGEST).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("."):
            path.unlink()


def cost_of_nothing(seconds: float) -> dict[str, Any]:
    """The cost of a model that took no computing."""
    return cost(steps=0, tokens=0, seconds=seconds, flops=0.0, device=torch.device("cpu"))


def cost(*, steps: int, tokens: int, seconds: float, flops: float, device: torch.device) -> dict[str, Any]:
    """What this model alone took: real tokens, seconds, floating-point operations, peak memory in bytes."""
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        name = f"cpu, {torch.get_num_threads()} threads"
        peak = artefact.peak_memory_bytes()
    return {
        "steps": steps,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "flops": flops,
        "peak_memory_bytes": peak,
        "device": name,
    }


def encoder_of(model: SentenceTransformer) -> Any:
    """The transformers encoder inside a sentence-transformers model."""
    first: Any = model[0]
    return first.model


def encoder_flops(model: SentenceTransformer, tokens: int, squared_lengths: float, backward: bool) -> float:
    """Floating-point operations of the encoder's matrix products over real tokens.

    Two per weight and token forward (biases and embedding tables not counted), 4 x width per layer and pair of
    tokens in attention; three times that with the backward pass (Kaplan et al. 2020, arXiv 2001.08361, 2.1).
    `squared_lengths` is the sum over texts of their squared lengths. 0 for a model without such an encoder.
    """
    encoder = getattr(model[0], "model", None)
    if not isinstance(encoder, torch.nn.Module) or not hasattr(encoder, "config"):
        return 0.0
    config: Any = encoder.config
    if not hasattr(config, "num_hidden_layers"):
        return 0.0
    weights = sum(
        module.weight.numel()
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    forward = 2.0 * weights * tokens + 4.0 * config.num_hidden_layers * config.hidden_size * squared_lengths
    return float(forward * (3.0 if backward else 1.0))


def versions() -> dict[str, str]:
    return artefact.versions("torch", "transformers", "sentence-transformers")


def settings_as_recipe(settings: Settings) -> dict[str, Any]:
    """The settings as plain JSON values, for the manifest."""
    recipe: dict[str, Any] = json.loads(settings.model_dump_json())
    return recipe
