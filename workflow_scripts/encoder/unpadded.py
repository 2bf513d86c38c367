"""The encoder over a padded batch without its padding.

Takes a transformers encoder and a batch `(texts, length)` of ids and mask; leaves the hidden states that its own
forward gives at real tokens, zeros at padding. The texts are laid end to end as one row, and attention, which alone
has to tell them apart, runs on groups of texts of equal length without a mask. Whether an encoder can be run so is measured
on it (`first_position`).

What it buys, by `benchmarks/encoding.py --quick` (all-MiniLM-L6-v2, two cores of a Zen 4, fp32): 31, 27, 30 and 38% of the time of
Banking77, MTOPDomain, TweetSentiment and Vaswani; in bf16 28, 19, 28 and 35%. Nothing where most texts are cut at the
model's maximum (SciFact), which need no padding; of a handful of texts the comparison, once a model, costs more than it buys.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.artefact import log
from workflow_scripts.command_line import first_line

ATTENTION = "matryoshka_unpadded"  # the name under which transformers finds `attention`
AGREEMENT = 1e-5  # largest difference of unit embeddings, unpadded and padded
_MEASURED: WeakKeyDictionary[nn.Module, int | None] = WeakKeyDictionary()  # what `first_position` found


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the signature is transformers'
    scaling: float | None = None,
    text_lengths: Sequence[int] = (),
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a row of texts; has the signature that transformers asks of an attention.

    query, key, value: `(1, heads, tokens, head width)`; `text_lengths` in tokens, equal ones side by side. Leaves
    `(1, tokens, heads, head width)`. Raises ValueError for causal attention.
    """
    if getattr(module, "is_causal", False):
        raise ValueError("its attention is causal")
    runs = texts_of_equal_length(query, key, value, text_lengths, sliding_window)
    return row_of_texts(
        functional.scaled_dot_product_attention(q, k, v, attn_mask=window, scale=scaling) for q, k, v, window in runs
    ), None


def texts_of_equal_length(
    query: Tensor, key: Tensor, value: Tensor, text_lengths: Sequence[int], sliding_window: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Query, key and value `(texts, heads, length, head width)` of each run of texts of equal length in a row, and the mask
    `(length, length)` of the window where they are longer than it."""
    runs = [(length, len(list(group))) for length, group in itertools.groupby(text_lengths)]
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(x[0].transpose(0, 1), sizes) for x in (query, key, value)), strict=True)
    for (length, count), part in zip(runs, parts, strict=True):
        q, k, v = (x.unflatten(0, (count, length)).transpose(1, 2) for x in part)
        window = None
        if sliding_window is not None and length > sliding_window:
            places = torch.arange(length, device=q.device)
            window = (places[:, None] - places).abs() < sliding_window
        yield q, k, v, window


def row_of_texts(outputs: Iterable[Tensor]) -> Tensor:
    """The row `(1, tokens, heads, head width)` of its runs' attention `(texts, heads, length, head width)`."""
    rows = [output.transpose(1, 2).flatten(0, 1) for output in outputs]
    # Where all lengths are equal no token is copied.
    return (rows[0] if len(rows) == 1 else torch.cat(rows))[None]


@contextlib.contextmanager
def unpadded(encoder: Any, start: int | None) -> Iterator[None]:
    """Within the block, run `encoder` without padding, positions counted from `start`; with None, as it is."""
    if start is None:
        yield
        return
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attention)
    own: Callable[..., Any] = encoder.forward

    def forward(input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None, **options: Any) -> Any:
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids} | options
        given = {name: value for name, value in given.items() if value is not None}
        if (
            input_ids is None
            or attention_mask is None
            or options.keys() - {"return_dict"}
            or bool(attention_mask.all())
            or not bool(attention_mask.any(1).all())
        ):
            return own(**given)
        return _without_padding(encoder, own, given, start)

    encoder.__dict__["forward"] = forward  # on the instance, for as long as the block runs
    try:
        yield
    finally:
        del encoder.__dict__["forward"]


def _without_padding(encoder: Any, own: Callable[..., Any], given: dict[str, Any], start: int) -> Any:
    real = given.pop("attention_mask").bool()
    lengths: list[int] = real.sum(1).tolist()
    positions = torch.cat([torch.arange(length, device=real.device) for length in lengths]) + start
    rows = {name: x[real][None] if isinstance(x, Tensor) else x for name, x in given.items()}
    before = encoder.config._attn_implementation
    encoder.config._attn_implementation = ATTENTION
    try:
        output = own(**rows, position_ids=positions[None], text_lengths=lengths)
    finally:
        encoder.config._attn_implementation = before
    states = output.last_hidden_state
    padded = states.new_zeros((*real.shape, states.shape[-1]))
    padded[real] = states[0]
    return type(output)(last_hidden_state=padded)


def first_position(encoder: Any, embed: Callable[[], Tensor]) -> int | None:
    """Where this encoder counts a text's positions from if it can be run without padding, else None.

    `embed` gives the embeddings `(texts, width)` of a few texts of different lengths in one batch, always the same ones; they are
    compared with the model's own once an encoder. Under a hook or a forward of somebody else's the model runs as it is.
    """
    if any("forward" in module.__dict__ or _is_hooked(module) for module in encoder.modules()):
        return None
    if encoder not in _MEASURED:
        _MEASURED[encoder] = _measured_position(encoder, embed)
    return _MEASURED[encoder]


def _measured_position(encoder: Any, embed: Callable[[], Tensor]) -> int | None:
    expected = functional.normalize(embed())
    pad = getattr(encoder.config, "pad_token_id", None) or 0
    reason = "other embeddings"
    for start in dict.fromkeys([0, pad + 1]):  # BERT counts from 0, RoBERTa from behind the padding token's id
        try:
            with unpadded(encoder, start):
                found = functional.normalize(embed())
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = first_line(error)
            continue
        if float((found - expected).abs().max()) < AGREEMENT:
            return start
    log.info("%s is run with padding: without it, %s", type(encoder).__name__, reason)
    return None


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
