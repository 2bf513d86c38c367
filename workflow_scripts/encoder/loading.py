"""A sentence-transformers folder, loaded for inference.

Takes a folder on this machine; leaves the model, in float32. Safetensors alone, no code of the folder is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workflow_scripts.command_line import InputError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class EncoderError(InputError):
    """The model folder cannot be used; the message is one line that says what was found and expected."""


def load_encoder(
    folder: str | Path, device: str | torch.device | None = None, max_length: int | None = None
) -> SentenceTransformer:
    """Load a sentence-transformers folder for inference, in float32, on a GPU where there is one.

    Weights come from safetensors alone and no code from the folder is run. `max_length` (tokens) lowers the
    model's own maximum. Raises `EncoderError` where the folder holds no such model.
    """
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    folder = Path(folder)
    if not (folder / "modules.json").exists():
        raise EncoderError(f"{folder}: no modules.json there; expected a sentence-transformers folder")
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(device or default_device()),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except (OSError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise EncoderError(f"{folder}: not loadable as a sentence-transformers model ({first_line(error)})") from error
    if max_length is not None and (model.max_seq_length is None or max_length < model.max_seq_length):
        model.max_seq_length = max_length
    return model.eval()


def default_device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
