"""Activation recomputation: what a forward pass keeps for the backward pass, less what is cheap to compute again.

Takes an encoder; changes no value of its forward pass. A trick that knows PyTorch's saved tensors: it looks at nothing of
the model but its modules' types, and keeps what it does not recognise.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn


class RecomputedActivations:
    """Within the block, what an encoder's forward pass keeps for the backward pass is about a third less.

    The output of an activation (GELU) is not kept for the product behind it: it is computed again from the
    activation's input, which is kept anyway. Under autocast, query, key and value share one rounded copy of their
    input in place of one each. No value of the forward pass differs.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.outputs: dict[int, tuple[weakref.ref[Tensor], int, nn.Module, Tensor]] = {}

    def __enter__(self) -> None:
        self.handles = [
            module.register_forward_hook(self._note) for module in self.encoder.modules() if _is_activation(module)
        ]
        for module in self.encoder.modules():
            if sum(isinstance(child, nn.Linear) for child in module.children()) >= 3:
                self.handles.append(module.register_forward_pre_hook(_round_once, with_kwargs=True))
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
        self.hooks.__enter__()

    def __exit__(self, *_: object) -> None:
        self.hooks.__exit__()
        for handle in self.handles:
            handle.remove()
        self.outputs.clear()

    def _note(self, module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        self.outputs[output.data_ptr()] = (weakref.ref(output), output._version, module, arguments[0].detach())

    def _pack(self, saved: Tensor) -> Tensor | tuple[nn.Module, Tensor, torch.Size]:
        # Detached: an operation that nothing is sent back through (a pooler's) would else hold its own graph for good.
        known = self.outputs.get(saved.data_ptr())
        if known is None:
            return saved.detach()
        alive, version, module, before = known
        output = alive()
        # A dead or overwritten output's address may be another tensor's by now.
        if (
            output is None
            or output._version != version
            or saved.dtype != output.dtype
            or saved.numel() != output.numel()
            or not (saved.is_contiguous() and output.is_contiguous())
        ):
            return saved.detach()
        return module, before, saved.shape

    @staticmethod
    def _unpack(packed: Tensor | tuple[nn.Module, Tensor, torch.Size]) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        module, before, shape = packed
        with torch.no_grad():
            output: Tensor = module.forward(before)
        return output.view(shape)


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ in ("transformers.activations", "torch.nn.modules.activation") and not list(
        module.parameters()
    )


def _round_once(
    _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Round a module's input as autocast would in each of its linear layers."""
    first = arguments[0] if arguments else None
    if isinstance(first, Tensor) and torch.is_autocast_enabled(first.device.type) and first.dtype is torch.float32:
        arguments = (first.to(torch.get_autocast_dtype(first.device.type)), *arguments[1:])
    return arguments, named
