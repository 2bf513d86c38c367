"""Which parameters are trained, how they decay, at what rate, and with what dropout.

Takes a loaded model; leaves what the optimiser is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def freeze_projections(model: SentenceTransformer) -> None:
    """Hold fixed what `rotate` and `width` append to the encoder: Dense modules whose rows are orthonormal.

    They are the coordinates in which the model is trained and truncated; the encoder learns, the coordinates stay.
    """
    from sentence_transformers.base.modules import Dense

    for module in model:
        if isinstance(module, Dense) and not module.bias and isinstance(module.activation_function, torch.nn.Identity):
            weight = module.linear.weight.detach()
            identity = torch.eye(len(weight), device=weight.device)
            if torch.allclose(weight @ weight.T, identity, atol=1e-4):
                module.requires_grad_(False)


def set_dropout(model: SentenceTransformer, probability: float | None) -> None:
    """Set every dropout of the encoder; None keeps the model's own. The saved configuration is not touched."""
    if probability is None:
        return
    module: Any
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        for name in ("attention_dropout", "dropout"):  # probabilities that a module keeps as numbers
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)


def parameter_groups(model: SentenceTransformer, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear rise over `warmup` of the steps, then linear fall to 0; `step` counts from 1."""
    rising = math.ceil(steps * warmup)
    if step <= rising:
        return peak * step / rising
    return peak * (steps - step + 1) / (steps - rising + 1)
