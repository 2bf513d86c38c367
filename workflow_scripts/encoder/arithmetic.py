"""The dtype in which an encoder computes while it embeds.

Takes a loaded sentence-transformers model; leaves it as it was: the weights stay float32, torch's autocast rounds.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.encoder.packed import packed_product

Precision = Literal["fp32", "bf16", "mixed"]

# The share of linear layers, counted from the last, that `mixed` leaves in fp32: their rounding is the largest part
# of what bf16 adds to an embedding, since no later layer evens it out.
FP32_SHARE = 1 / 3


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own, so that bf16 is faster than fp32. A processor that is told to compute as
    one with AVX2 (ATEN_CPU_CAPABILITY=avx2) has none."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return bool(has_bf16) and torch.backends.cpu.get_cpu_capability() != "AVX2"
    return False


@contextlib.contextmanager
def arithmetic(model: Any, precision: Precision) -> Iterator[None]:
    """Compute in `precision` while the block runs: `bf16` is torch's autocast, `mixed` the same but for the last third
    of the linear layers, which compute in fp32. A processor computes on packed weights, in bf16 where it has that arithmetic."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    rounded = {"fp32": 0, "bf16": len(linears), "mixed": len(linears) - math.ceil(FP32_SHARE * len(linears))}[precision]
    in_bf16 = computes_in_bf16(model.device)
    changed = []
    for place, module in enumerate(linears):
        if "forward" in module.__dict__:
            continue
        if place < rounded:
            product = packed_product(module, torch.bfloat16) if in_bf16 else None
        else:
            product = packed_product(module)
            if product is None and precision == "mixed":
                product = functools.partial(_fp32_linear, module)
        if product is not None:
            module.__dict__["forward"] = product
            changed.append(module)
    # One context around all batches: autocast then rounds each weight that is not packed once.
    rounding = (
        torch.autocast(model.device.type, dtype=torch.bfloat16) if precision != "fp32" else contextlib.nullcontext()
    )
    try:
        with rounding:
            yield
    finally:
        for module in changed:
            del module.__dict__["forward"]


def _fp32_linear(linear: nn.Linear, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return functional.linear(x.float(), linear.weight, linear.bias)
