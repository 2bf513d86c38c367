"""What a forward pass keeps for the backward pass: how much memory it takes, and whether a batch fits.

Takes a model and a dtype; leaves bytes per token, and the answer that decides whether gradients are cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from workflow_scripts.memory import available_memory, release_freed_memory
from workflow_scripts.models.folder import encoder_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHARE_USED = 0.8  # of the memory that is available now


def activation_bytes_per_token(model: SentenceTransformer, dtype: str) -> float:
    """About what one token leaves for the backward pass: an estimate on the high side, in values per
    unit of width and layer, from what a layer keeps (Korthikanti et al. 2022, arXiv 2205.05198, section 4.1)."""
    config = encoder_of(model).config
    dropping = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    values = 34 if dropping else 22
    return float(config.num_hidden_layers * config.hidden_size * values * (2 if dtype == "bf16" else 4))


def fits(needed: float, device: torch.device) -> bool:
    """Whether so many bytes of activations fit in the memory that is available now."""
    if device.type == "cuda":
        available, _ = torch.cuda.mem_get_info(device)
        available += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        release_freed_memory()  # else it would count as taken
        available = available_memory()
    return needed < SHARE_USED * available
