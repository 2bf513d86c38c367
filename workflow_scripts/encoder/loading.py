"""A sentence-transformers folder, loaded for inference.

Takes a folder on this machine; leaves the model, in float32. Safetensors alone, no code of the folder is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workflow_scripts.artefact import log
from workflow_scripts.command_line import InputError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LFS_POINTER = b"version https://git-lfs"


class EncoderError(InputError):
    """The model folder cannot be used; the message is one line that says what was found and expected."""


def load_encoder(
    folder: str | Path, device: str | torch.device | None = None, max_length: int | None = None
) -> SentenceTransformer:
    """Load a sentence-transformers folder for inference, in float32, on a GPU where there is one.

    Weights come from safetensors alone and no code from the folder is run. `max_length` (tokens) lowers the
    model's own maximum, which is never above the positions that it has. Raises `EncoderError` where the folder holds no
    such model, whatever the libraries raise.
    """
    from sentence_transformers import SentenceTransformer

    folder = Path(folder)
    if not (folder / "modules.json").exists():
        raise EncoderError(f"{folder}: no modules.json there; expected a sentence-transformers folder")
    check_files(folder, str(folder))
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(device or default_device()),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except Exception as error:
        raise EncoderError(f"{folder}: not loadable as a sentence-transformers model ({first_line(error)})") from error
    limit_length(model, max_length)
    return model.eval()


def check_files(folder: Path, name: str) -> None:
    """Raises `EncoderError` for weights that are only a pointer of Git LFS, and for an adapter without its model."""
    for weights in folder.rglob("*.safetensors"):
        with weights.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise EncoderError(
                    f"{name}: {weights.relative_to(folder)} is a pointer of Git LFS, not weights; run `git lfs pull` there"
                )
    for adapter in folder.rglob("adapter_config.json"):
        raise EncoderError(
            f"{name}: {adapter.relative_to(folder)} is there, so its weights are an adapter's; expected a whole model: "
            "merge the adapter (peft's merge_and_unload) and save the result"
        )


def limit_length(model: SentenceTransformer, max_length: int | None) -> None:
    """Cut texts at `max_length` tokens, where given, and at the positions that the model has; what is cut is logged.

    A model without a length of its own (static embeddings) is left as it is.
    """
    own = model.max_seq_length
    positions = positions_of(model)
    if own is not None and positions is not None and own > positions:
        log.info(
            "the model's own maximum is %s tokens, but it has positions for %d: texts are cut there", own, positions
        )
    limits = [limit for limit in (own, positions, max_length) if limit is not None]
    if max_length is not None and limits and min(limits) < max_length:
        log.info("max_length is %d tokens, the model reads %s: texts are cut there", max_length, min(limits))
    if limits and (own is None or min(limits) < own):
        try:
            model.max_seq_length = int(min(limits))
        except AttributeError:
            log.info("the model has no maximum length: texts are encoded whole")


def positions_of(model: SentenceTransformer) -> int | None:
    """Tokens that the encoder has learned positions for, None where it has no such table.

    RoBERTa's positions begin behind the padding token's id: of 514, 512 are for tokens.
    """
    first: Any = model[0]
    encoder = getattr(first, "model", None)
    if not isinstance(encoder, torch.nn.Module):
        return None
    tables = [m for name, m in encoder.named_modules() if name.rpartition(".")[2] == "position_embeddings"]
    counts = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, torch.nn.Embedding)
    ]
    return min(counts, default=None)


def default_device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
