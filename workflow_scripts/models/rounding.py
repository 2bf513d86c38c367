"""One rounding to bf16 for the linear layers that share an input (query, key, value), in place of one for each.

Takes an encoder that runs under autocast; changes no value of its forward pass. The three gradients are added up before they
are rounded back, so this is part of what the weights of a bf16 training are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SHARING = 3  # linear layers among a module's children from which they are query, key and value


class SharedRounding:
    """Within the block, the inputs of an encoder's attention modules are rounded before its linear layers do so."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder

    def __enter__(self) -> None:
        self.handles = [
            module.register_forward_pre_hook(_round_once, with_kwargs=True)
            for module in self.encoder.modules()
            if sum(isinstance(child, nn.Linear) for child in module.children()) >= SHARING
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def _round_once(
    _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Round a module's input as autocast would in each of its linear layers."""
    first = arguments[0] if arguments else None
    if isinstance(first, Tensor) and torch.is_autocast_enabled(first.device.type) and first.dtype is torch.float32:
        arguments = (first.to(torch.get_autocast_dtype(first.device.type)), *arguments[1:])
    return arguments, named
