"""Attention within the texts of a packed row, and, for bf16 on a processor, from plain matrix products.

Takes query, key and value of a row; leaves what transformers asks of an attention. The plain products are there because
torch's fused kernel for processors (2.13) is slow in bf16: `benchmarks/training.py --ablate` says by how much. They use one
private operator of torch, so they are compared with the fused kernel before they are used (`bf16_products_agree`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.artefact import log
from workflow_scripts.command_line import first_line
from workflow_scripts.encoder.unpadded import row_of_texts, texts_of_equal_length

PACKED = "matryoshka_packed"
LENGTH_KEPT = 64  # tokens; up to here attention weights take far less memory than the layer's other activations
BF16_ERROR = 0.03  # largest relative difference from the fused kernel, in output and gradients: a few roundings to bf16


def register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


class attention_of:  # noqa: N801 - reads as a statement: with attention_of(encoder, PACKED)
    """Within the block the encoder attends by the function registered under `name`."""

    def __init__(self, encoder: Any, name: str) -> None:
        self.config, self.name = encoder.config, name

    def __enter__(self) -> None:
        self.before = self.config._attn_implementation
        self.config._attn_implementation = self.name

    def __exit__(self, *_: object) -> None:
        self.config._attn_implementation = self.before


def packed_attention(
    module: nn.Module,  # noqa: ARG001 - the signature is transformers'
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    dropout: float = 0.0,
    scaling: float | None = None,
    text_lengths: Sequence[int] = (),
    sliding_window: int | None = None,
    bf16_products: bool = False,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed row; has the signature that transformers asks of an attention.

    query, key, value: `(1, heads, tokens, head width)`; `text_lengths` in tokens, equal ones side by side. Leaves
    `(1, tokens, heads, head width)`.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, window: Tensor | None) -> Tensor:
        if bf16_products and q.dtype is torch.bfloat16 and window is None and dropout == 0.0:
            output: Tensor = Bfloat16Attention.apply(q, k, v, scaling)  # type: ignore[no-untyped-call]
            return output
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=window, dropout_p=dropout, scale=scaling)

    runs = texts_of_equal_length(query, key, value, text_lengths, sliding_window)
    return row_of_texts(attend(*run) for run in runs), None


class Bfloat16Attention(torch.autograd.Function):
    """Softmax attention of texts of one length, from plain bf16 products: `(texts, heads, length, head width)` each.

    torch's fused kernel for processors (2.13) takes 5 to 12 times longer for the backward pass in bf16 than these
    products do. The weights of longer texts are computed again in the backward pass, so that no square of their length
    is kept.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        shape = query.shape
        query, key, value = (query * scale).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
        weights = _attention_weights(query, key)
        ctx.save_for_backward(query, key, value, weights if shape[2] <= LENGTH_KEPT else None)
        ctx.scale = scale
        return torch.bmm(weights, value).view(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, weights = ctx.saved_tensors
        shape = gradient.shape
        gradient = gradient.flatten(0, 1)
        if weights is None:
            weights = _attention_weights(query, key)
        of_value = torch.bmm(weights.transpose(1, 2), gradient)
        of_weights = torch.bmm(gradient, value.transpose(1, 2))
        of_products = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query = torch.bmm(of_products, key) * ctx.scale
        of_key = torch.bmm(of_products.transpose(1, 2), query)
        return of_query.view(shape), of_key.view(shape), of_value.view(shape), None


def _attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Attention weights `(texts x heads, length, length)`."""
    return torch.softmax(torch.bmm(query, key.transpose(1, 2)), dim=-1)


@functools.cache
@torch.inference_mode(False)
@torch.enable_grad()
def bf16_products_agree() -> bool:
    """Whether the plain products give the fused kernel's output and gradients; where not, the log says why."""
    generator = torch.Generator().manual_seed(0)
    for length in (5, LENGTH_KEPT + 3):  # with attention weights kept, and computed again
        tensors = [torch.randn(2, 3, length, 16, generator=generator).bfloat16().requires_grad_() for _ in range(3)]
        direction = torch.randn(2, 3, length, 16, generator=generator).bfloat16()

        def results(attend: Any, tensors: list[Tensor] = tensors, direction: Tensor = direction) -> list[Tensor]:
            output: Tensor = attend(*tensors)
            return [output.detach(), *torch.autograd.grad(output, tensors, direction)]

        try:
            pairs = zip(
                results(lambda q, k, v: Bfloat16Attention.apply(q, k, v, None)),  # type: ignore[no-untyped-call]
                results(functional.scaled_dot_product_attention),
                strict=True,
            )
        except (AttributeError, RuntimeError, TypeError) as error:
            log.info("attention: torch's own kernel in bf16 (%s)", first_line(error))
            return False
        apart = max(float((a - b).float().norm() / b.float().norm()) for a, b in pairs)
        if not apart < BF16_ERROR:
            log.info("attention: torch's own kernel in bf16 (plain products differ by %.3f)", apart)
            return False
    return True
