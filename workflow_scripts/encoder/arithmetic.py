"""How an encoder computes while it embeds: what is rounded to bf16, and, on a processor, by which kernels.

Takes a loaded sentence-transformers model; leaves it as it was. Torch's own float32 product on a processor is MKL's,
which leaves half of the vector width of some processors that are not Intel's unused; its bf16 product packs the
weights again for every batch, and its fused bf16 attention is slower than the two products that it stands for. Here
weights are packed for oneDNN once, and the layers of the BERT family run as a whole on them. While a block runs, the
packed weights are held beside the model's own.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Precision = Literal["fp32", "bf16", "mixed"]

# The share of linear layers, counted from the last, that `mixed` leaves in float32: their rounding is the largest part
# of what bf16 adds to an embedding, since no later layer evens it out.
LEFT_EXACT = 1 / 3
SHARES_AT_ONCE = 512  # tokens; the shares of longer texts would take more memory than all else


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own, so that bf16 is faster than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@contextlib.contextmanager
def arithmetic(model: Any, precision: Precision) -> Iterator[None]:
    """Compute in `precision` while the block runs; the weights stay float32.

    `bf16` rounds what torch's autocast rounds; whole layers on packed weights round their products alone. `mixed` is the
    same with the last third of the linear layers in float32.
    """
    forwards = _forwards(model, precision)
    rounding: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if precision != "fp32":
        # One context around all batches: autocast then rounds each weight once.
        rounding = torch.autocast(model.device.type, dtype=torch.bfloat16)
    with rounding:
        try:
            for module, forward in forwards.items():
                # On the instance, for as long as the block runs: the class and the weights stay as they are.
                module.__dict__["forward"] = forward
            yield
        finally:
            for module in forwards:
                module.__dict__.pop("forward", None)


def _forwards(model: Any, precision: Precision) -> dict[nn.Module, Callable[..., Tensor]]:
    """What layers and linear layers run in place of their own forward; those without an entry keep it."""
    packs = model.device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    count = {"fp32": len(linears), "bf16": 0, "mixed": math.ceil(LEFT_EXACT * len(linears))}[precision]
    exact = set(linears[len(linears) - count :])
    types = [torch.float32, torch.bfloat16] if computes_in_bf16(model.device) else [torch.float32]
    forwards: dict[nn.Module, Callable[..., Tensor]] = {}
    within: set[nn.Module] = set()
    for module in model.modules():
        if "forward" in module.__dict__:
            continue  # somebody else's, for as long as they like
        if packs and is_bert_layer(module):
            dtype = torch.bfloat16 if exact.isdisjoint(module.modules()) else torch.float32
            if dtype in types:
                forwards[module] = functools.partial(bert_layer, parts=_packed_layer(module, dtype))
                within |= set(module.modules())
        elif type(module) is nn.Linear and module not in within:
            dtype = torch.float32 if module in exact else torch.bfloat16
            if packs and dtype in types:
                forwards[module] = functools.partial(_packed_linear, linear=_packed(module, dtype))
            elif precision == "mixed" and module in exact:
                forwards[module] = functools.partial(_plain_linear, linear=module)
    return forwards


# ---- linear layers


class PackedLinear(NamedTuple):
    """A weight in oneDNN's own layout, and the bias."""

    weight: Tensor
    bias: Tensor | None


def _packed(linear: Any, dtype: torch.dtype) -> PackedLinear:
    return _pack(linear.weight, linear.bias, dtype)


def _pack(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> PackedLinear:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype))
    return PackedLinear(packed, None if bias is None else bias.to(dtype))


def _packed_linear(x: Tensor, linear: PackedLinear, then: Literal["none", "gelu"] = "none") -> Tensor:
    """The layer's output in the weight's type, with the exact GELU upon it where that is asked for."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(linear.weight.dtype), *linear, then, [], "none")
    return product


def _plain_linear(x: Tensor, linear: nn.Linear) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return functional.linear(x.float(), linear.weight, linear.bias)


# ---- layers of the BERT family


class BertParts(NamedTuple):
    """What a layer computes with: packed weights, query, key and value as one, and its two norms."""

    query_key_value: PackedLinear
    attention_output: PackedLinear
    up: PackedLinear
    down: PackedLinear
    norms: tuple[nn.LayerNorm, nn.LayerNorm]
    heads: int


def is_bert_layer(module: nn.Module) -> bool:
    """Whether `bert_layer` computes what this module's own forward does."""
    from transformers.models.bert.modeling_bert import BertLayer
    from transformers.models.camembert.modeling_camembert import CamembertLayer
    from transformers.models.roberta.modeling_roberta import RobertaLayer
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

    if type(module) not in (BertLayer, CamembertLayer, RobertaLayer, XLMRobertaLayer) or module.training:
        return False
    layer: Any = module
    config = layer.attention.self.config
    return (
        config.hidden_act == "gelu"
        and config._attn_implementation == "sdpa"
        and not config.is_decoder
        and not config.chunk_size_feed_forward
        and all(type(part) is nn.Linear and part.bias is not None for part in _linears(layer))
        and not any(map(_is_watched, layer.modules()))
    )


def _is_watched(module: nn.Module) -> bool:
    """Whether somebody has put a hook on the module, or another forward on it: its own must be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)


def _linears(layer: Any) -> list[nn.Linear]:
    """Query, key, value, what mixes the heads, and the two of the feed-forward part."""
    attention = layer.attention.self
    inner = [attention.query, attention.key, attention.value, layer.attention.output.dense]
    return [*inner, layer.intermediate.dense, layer.output.dense]


def _packed_layer(layer: Any, dtype: torch.dtype) -> BertParts:
    *inner, attention_output, up, down = _linears(layer)
    return BertParts(
        query_key_value=_pack(torch.cat([x.weight for x in inner]), torch.cat([x.bias for x in inner]), dtype),
        attention_output=_packed(attention_output, dtype),
        up=_packed(up, dtype),
        down=_packed(down, dtype),
        norms=(layer.attention.output.LayerNorm, layer.output.LayerNorm),
        heads=layer.attention.self.num_attention_heads,
    )


def bert_layer(
    hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, parts: BertParts, **__: Any
) -> Tensor:
    """A layer's output `(texts, length, width)` float32 from its input; products are in the type of its parts.

    `attention_mask`: true where a token is attended to, `(texts, 1, length or 1, length)`, as transformers makes it
    for torch's attention. What lies between the layers is float32.
    """
    texts, length, width = hidden_states.shape
    with torch.autocast("cpu", enabled=False):
        x = hidden_states.float()
        inner = _packed_linear(x, parts.query_key_value).view(texts, length, 3, parts.heads, -1)
        query, key, value = inner.permute(2, 0, 3, 1, 4)
        attended = _attention(query, key, value, attention_mask).transpose(1, 2).reshape(texts, length, width)
        x = parts.norms[0](_packed_linear(attended, parts.attention_output).float().add_(x))
        raised = _packed_linear(x, parts.up, "gelu")
        return parts.norms[1](_packed_linear(raised, parts.down).float().add_(x))  # type: ignore[no-any-return]


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, `(texts, heads, length, head width)` each."""
    if query.dtype is torch.float32 or query.shape[2] > SHARES_AT_ONCE:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    products = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if mask is not None:
        products.masked_fill_(~mask, torch.finfo(products.dtype).min)
    return torch.matmul(products.softmax(-1), value)
