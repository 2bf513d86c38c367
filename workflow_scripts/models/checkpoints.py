"""Checkpoints of a training: whole, the last two kept, safetensors, JSON and parquet only.

Takes weights, optimiser and what was logged; leaves `../s<seed>.checkpoints/step-<n>-<configuration>/`. A checkpoint
carries the digest of the configuration that it belongs to: one of another configuration is never resumed from; the log
names it, and it stays until the training is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workflow_scripts import artefact
from workflow_scripts.command_line import one_line

KEPT = 2
FILES = ("state.json", "rows.parquet", "weights.safetensors", "optimizer.safetensors")
DIGESTS = "checkpoint.sha256"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood: steps done, seconds and tokens so far, and the rows of training.parquet."""

    step: int
    seconds: float
    rows: list[dict[str, Any]]


def folder_of(output: Path) -> Path:
    """`models/M/sN/model.json` -> `models/M/sN.checkpoints`."""
    return output.parent.with_name(f"{output.parent.name}.checkpoints")


def save(
    folder: Path, fingerprint: str, recipe: dict[str, Any], state: Checkpoint, model: nn.Module, optimizer: Any
) -> Path:
    """Write a checkpoint under a temporary name, rename it, and drop all but the last two of this configuration."""
    target = folder / f"step-{state.step:08d}-{fingerprint[:12]}"
    with artefact.temporary_folder(folder / "step") as part:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in model.named_parameters()},
            part / "weights.safetensors",
        )
        save_file(dict(_moments(model, optimizer)), part / "optimizer.safetensors")
        pq.write_table(pa.Table.from_pylist(state.rows), part / "rows.parquet")
        artefact.write_json(
            part / "state.json",
            {"step": state.step, "seconds": state.seconds, "fingerprint": fingerprint, "recipe": recipe},
        )
        artefact.write_digests(part / DIGESTS, [part / name for name in FILES])
        for file in part.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    for old in _of(folder, fingerprint)[:-KEPT]:
        shutil.rmtree(old)
    return target


def load_last(
    folder: Path, fingerprint: str, recipe: dict[str, Any], model: nn.Module, optimizer: Any
) -> Checkpoint | None:
    """Put the last checkpoint of this configuration into model and optimiser; None where there is none.

    One that is not whole, or whose content is no longer that of its digests (a full disk, a fault of the file system), is
    named in the log and the one before it is taken.
    Where none is whole, the log says that training starts over.
    """
    for foreign in _foreign(folder, fingerprint):
        artefact.log.info(
            "checkpoint %s is of another configuration (%s): left alone", foreign, _difference(foreign, recipe)
        )
    found = _of(folder, fingerprint)
    parameters = dict(model.named_parameters())
    for path in reversed(found):
        try:
            state, weights, moments = _read(path, parameters)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError, pa.ArrowException) as error:
            artefact.log.info("checkpoint %s is not whole (%s); trying the one before it", path, one_line(error))
            continue
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(value)
        for name, parameter in parameters.items():
            if f"{name}:exp_avg" in moments:
                optimizer.state[parameter] = {
                    moment: moments[f"{name}:{moment}"].to(
                        parameter.device if moment != "step" or parameter.is_cuda else "cpu"
                    )
                    for moment in MOMENTS
                }
        artefact.log.info("resuming from %s", path)
        return state
    if found:
        artefact.log.info("no checkpoint in %s is whole: training starts over", folder)
    return None


def _read(path: Path, parameters: dict[str, nn.Parameter]) -> tuple[Checkpoint, dict[str, Tensor], dict[str, Tensor]]:
    """A checkpoint's state, weights and moments, all checked before any of it is used.

    Raises what reading the files raises, InputError where they are not what was written, and ValueError where they do not
    belong together.
    """
    artefact.check_digests(path / DIGESTS, [path / name for name in FILES])
    state = artefact.read_json(path / "state.json")
    rows = pq.read_table(path / "rows.parquet").to_pylist()
    if len(rows) != state["step"]:
        raise ValueError(f"rows.parquet has {len(rows)} rows, expected one for each of {state['step']} steps")
    weights = load_file(path / "weights.safetensors")
    moments = load_file(path / "optimizer.safetensors")
    if {name: value.shape for name, value in weights.items()} != {n: p.shape for n, p in parameters.items()}:
        raise ValueError("weights.safetensors holds other parameters than the model")
    begun = [name for name in parameters if f"{name}:exp_avg" in moments]
    if missing := [f"{name}:{moment}" for name in begun for moment in MOMENTS if f"{name}:{moment}" not in moments]:
        raise ValueError(f"optimizer.safetensors lacks {missing[0]}")
    for name in begun:
        if any(moments[f"{name}:{moment}"].shape != parameters[name].shape for moment in MOMENTS[:2]):
            raise ValueError(f"optimizer.safetensors holds moments of another shape than {name}")
    if not begun:
        raise ValueError("optimizer.safetensors holds no moments")
    return Checkpoint(int(state["step"]), float(state["seconds"]), rows), weights, moments


def last(folder: Path, fingerprint: str) -> Path | None:
    """The last checkpoint of this configuration."""
    found = _of(folder, fingerprint)
    return found[-1] if found else None


def _of(folder: Path, fingerprint: str) -> list[Path]:
    return sorted(folder.glob(f"step-*-{fingerprint[:12]}"))


def _foreign(folder: Path, fingerprint: str) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if not path.name.endswith(fingerprint[:12]))


def _difference(path: Path, recipe: dict[str, Any]) -> str:
    """The keys in which a checkpoint's configuration differs, with both values."""
    try:
        found = artefact.read_json(path / "state.json")["recipe"]
    except (OSError, ValueError, KeyError):
        return "unreadable"
    flat_found, flat_wanted = dict(_flat(found)), dict(_flat(recipe))
    keys = [key for key in sorted({*flat_found, *flat_wanted}) if flat_found.get(key) != flat_wanted.get(key)]
    return ", ".join(f"{key}: {flat_found.get(key)} there, {flat_wanted.get(key)} now" for key in keys)


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _moments(model: nn.Module, optimizer: Any) -> Iterable[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            if moment in MOMENTS:
                yield f"{name}:{moment}", torch.as_tensor(value).detach().cpu().contiguous()
