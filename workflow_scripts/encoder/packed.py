"""Products of linear layers, in fp32 or bf16, on weights that oneDNN has packed, which is to say laid out for its products.

Takes a linear layer on a processor; leaves a function that computes what it does, to rounding. The operators are those that
torch's own compiler calls for frozen weights; where torch has them no longer, layers compute as they are. A packed weight is a copy.

What it buys (all-MiniLM-L6-v2, two cores of a Zen 4, with and without it in turn): a sixth of the time of Banking77 and of SciFact; with AVX2
alone 9 and 2%. torch's own fp32 products are MKL's, which on AMD's processors makes little of AVX-512. In bf16, where torch's own
are oneDNN's too but packed anew for each batch, 3 to 8%.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MEASURED_ON = ("AVX2", "AVX512")  # kinds of processors, as torch calls them
LARGEST = 4 * 10**6  # coordinates of a weight; with larger ones the copies of a model would take gigabytes
# On a processor a forward pass is fastest while its activations stay in the caches. oneDNN packs for products of so many rows.
PROCESSOR_BATCH_TOKENS = 2048


def packed_product(linear: nn.Linear, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor] | None:
    """The layer's product in float32 or bfloat16, `(..., in)` to `(..., out)`, to which input, weight and bias are rounded;
    None for a layer that computes better as it is."""
    weight, bias = linear.weight, linear.bias
    if type(linear) is not nn.Linear or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if weight.numel() > LARGEST or not _is_here():
        return None
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), PROCESSOR_BATCH_TOKENS)
    added = None if bias is None else bias.detach().to(dtype)

    def product(x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), packed, added, "none", [], "")
        return found

    return product


def _is_here() -> bool:
    return torch.backends.cpu.get_cpu_capability() in MEASURED_ON and hasattr(torch.ops.mkldnn, "_linear_pointwise")
