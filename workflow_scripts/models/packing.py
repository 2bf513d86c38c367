"""The encoder over many texts at once without padding.

Takes an encoder and texts sorted by length; leaves one pooled embedding per text, with gradients. On a processor the
texts of a micro-batch are laid end to end as one row of tokens, so that every matrix product works on real tokens
alone; only attention sees the texts apart, in runs of equal length, each one a call of the fused kernel without a
mask. Whether an encoder can be run so is measured on it (`choose_layout`), not assumed; otherwise, and on a GPU,
micro-batches are padded, which costs little since they hold texts of nearly equal length.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.artefact import log
from workflow_scripts.models.batches import Text
from workflow_scripts.models.folder import ModelError, encoder_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKED = "matryoshka_packed"
SHARES_KEPT = 64  # tokens; up to here attention's shares take less memory than the layer's other activations by far
AGREEMENT = 1e-4  # largest difference of unit embeddings between the packed and the padded way


@dataclass(frozen=True)
class Layout:
    """How micro-batches are laid out: end to end with positions from `first_position`, or padded."""

    packed: bool
    first_position: int = 0


PADDED = Layout(packed=False)


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed row; has the signature that transformers asks of an attention.

    query, key, value: `(1, heads, tokens, head width)`; `text_lengths` in tokens, equal ones side by side. Leaves
    `(1, tokens, heads, head width)`.
    """
    runs = [(length, len(list(group))) for length, group in itertools.groupby(text_lengths)]
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(x[0].transpose(0, 1), sizes) for x in (query, key, value)), strict=True)
    outputs = []
    for (length, count), part in zip(runs, parts, strict=True):
        q, k, v = (x.unflatten(0, (count, length)).transpose(1, 2) for x in part)
        band = None
        if sliding_window is not None and length > sliding_window:
            places = torch.arange(length, device=q.device)
            band = (places[:, None] - places).abs() < sliding_window
        mixed: Tensor
        if q.dtype is torch.bfloat16 and band is None and dropout == 0.0:
            mixed = _Bfloat16Attention.apply(q, k, v, scaling)  # type: ignore[no-untyped-call]
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=band, dropout_p=dropout, scale=scaling)
        outputs.append(mixed.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None], None


class _Bfloat16Attention(torch.autograd.Function):
    """Softmax attention of texts of one length, from plain bf16 products: `(texts, heads, length, head width)` each.

    torch's fused kernel for processors (2.13) takes 5 to 12 times longer for the backward pass in bf16 than these
    products do. The shares of longer texts are computed again in the backward pass, so that no square of their length
    is kept.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        shape = query.shape
        query, key, value = (query * scale).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
        shares = _shares(query, key)
        ctx.save_for_backward(query, key, value, shares if shape[2] <= SHARES_KEPT else None)
        ctx.scale = scale
        return torch.bmm(shares, value).view(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, shares = ctx.saved_tensors
        shape = gradient.shape
        gradient = gradient.flatten(0, 1)
        if shares is None:
            shares = _shares(query, key)
        of_value = torch.bmm(shares.transpose(1, 2), gradient)
        of_shares = torch.bmm(gradient, value.transpose(1, 2))
        of_products = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_query = torch.bmm(of_products, key) * ctx.scale
        of_key = torch.bmm(of_products.transpose(1, 2), query)
        return of_query.view(shape), of_key.view(shape), of_value.view(shape), None


def _shares(query: Tensor, key: Tensor) -> Tensor:
    """How much of each value every query takes: `(texts x heads, length, length)`."""
    return torch.softmax(torch.bmm(query, key.transpose(1, 2)), dim=-1)


def token_ids(texts: Sequence[Text], device: torch.device) -> Tensor:
    """The texts' tokens, end to end."""
    return torch.from_numpy(np.concatenate([text.ids for text in texts]).astype(np.int64)).to(device)


def embed(model: SentenceTransformer, texts: Sequence[Text], layout: Layout, looked_up: Tensor | None = None) -> Tensor:
    """Embeddings `(texts, width)` float32, as the model's own modules give them.

    `looked_up`: the texts' token embeddings `(tokens, encoder width)`, end to end, where a packed run has them already.
    """
    if layout.packed:
        if looked_up is None:
            looked_up = encoder_of(model).get_input_embeddings()(token_ids(texts, model.device))
        pooled = _packed_means(model, texts, layout, looked_up)
    else:
        pooled = _padded_means(model, texts)
    features: dict[str, Tensor] = {"sentence_embedding": pooled}
    with torch.autocast(pooled.device.type, enabled=False):
        for module in list(model)[2:]:
            features = module(features)
    embeddings: Tensor = features["sentence_embedding"]
    return embeddings


def _packed_means(model: SentenceTransformer, texts: Sequence[Text], layout: Layout, looked_up: Tensor) -> Tensor:
    lengths = [len(text.ids) for text in texts]
    device = model.device
    positions = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]) + layout.first_position).to(device)
    encoder = encoder_of(model)
    with attention(encoder, PACKED):
        hidden: Tensor = encoder(
            inputs_embeds=looked_up[None], position_ids=positions[None], text_lengths=lengths
        ).last_hidden_state[0]
    owner = torch.from_numpy(np.repeat(np.arange(len(texts)), lengths)).to(device)
    share = np.concatenate([_pooling_weights(text, _mode(model)) for text in texts])
    weighted = hidden.float() * torch.from_numpy(share).to(device)[:, None]
    return hidden.new_zeros((len(texts), hidden.shape[1]), dtype=torch.float32).index_add(0, owner, weighted)


def _padded_means(model: SentenceTransformer, texts: Sequence[Text]) -> Tensor:
    longest = max(len(text.ids) for text in texts)
    pad: int = model.tokenizer.pad_token_id or 0
    ids = np.full((len(texts), longest), pad, dtype=np.int64)
    mask = np.zeros((len(texts), longest), dtype=np.int64)
    share = np.zeros((len(texts), longest), dtype=np.float32)
    for i, text in enumerate(texts):
        ids[i, : len(text.ids)] = text.ids
        mask[i, : len(text.ids)] = 1
        share[i, : len(text.ids)] = _pooling_weights(text, _mode(model))
    device = model.device
    encoder = encoder_of(model)
    hidden = encoder(
        input_ids=torch.from_numpy(ids).to(device, non_blocking=True),
        attention_mask=torch.from_numpy(mask).to(device, non_blocking=True),
    ).last_hidden_state
    weights = torch.from_numpy(share).to(device, non_blocking=True)
    pooled: Tensor = torch.einsum("nlh,nl->nh", hidden.float(), weights)
    return pooled


def _pooling_weights(text: Text, mode: str) -> np.ndarray:
    """The share `(length,)` of each token in the text's embedding: the first token's all for `cls`, which has read the
    instruction with the rest; an even one behind the instruction for `mean`."""
    weights = np.zeros(len(text.ids), dtype=np.float32)
    if mode == "cls":
        weights[0] = 1.0
    else:
        weights[text.skip :] = 1.0 / (len(text.ids) - text.skip)
    return weights


def _mode(model: SentenceTransformer) -> str:
    pooling: Any = model[1]
    return str(pooling.pooling_mode)


def check_modules(model: SentenceTransformer) -> None:
    """Raises ModelError for a model that is not an encoder with mean or CLS pooling."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    names = [type(module).__name__ for module in model]
    if len(names) < 2 or not isinstance(model[0], Transformer) or not isinstance(model[1], Pooling):
        raise ModelError(
            f"parent: its modules are {', '.join(names)}; training needs a Transformer and a Pooling first"
        )
    if _mode(model) not in ("mean", "cls"):
        raise ModelError(f"parent: its pooling is {_mode(model)!r}; training knows 'mean' and 'cls'")


def longest_input(model: SentenceTransformer, wanted: int) -> int:
    """Tokens per text: `wanted`, or fewer where the encoder has fewer positions, which the log then says.

    RoBERTa's positions begin behind the padding token's id: of 514, 512 are for tokens.
    """
    encoder = encoder_of(model)
    table = next((m for name, m in encoder.named_modules() if name.endswith("position_embeddings")), None)
    positions = getattr(encoder.config, "max_position_embeddings", None)
    if isinstance(table, nn.Embedding):
        positions = table.num_embeddings
        if table.padding_idx is not None:
            positions -= table.padding_idx + 1
    if positions is None or wanted <= positions:
        return wanted
    log.info("training.max_length is %d, the model has positions for %d tokens: texts are cut there", wanted, positions)
    return int(positions)


class attention:  # noqa: N801 - reads as a statement: with attention(encoder, PACKED)
    """Within the block the encoder attends by the function registered under `name`."""

    def __init__(self, encoder: Any, name: str) -> None:
        self.config, self.name = encoder.config, name

    def __enter__(self) -> None:
        self.before = self.config._attn_implementation
        self.config._attn_implementation = self.name

    def __exit__(self, *_: object) -> None:
        self.config._attn_implementation = self.before


def compile_encoder(model: SentenceTransformer, backend: str = "inductor") -> Layout:
    """Compile the encoder in place, for any length, and give the layout that it is then run in."""
    encoder_of(model).compile(dynamic=True, backend=backend)
    return PADDED


def register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


@torch.no_grad()
def choose_layout(model: SentenceTransformer, texts: Sequence[Text]) -> Layout:
    """Packed, where that is faster (a processor) and gives the padded way's embeddings of `texts`; else padded."""
    if model.device.type != "cpu":
        return PADDED
    register()
    was_training = model.training
    model.eval()
    texts = sorted(texts, key=lambda text: -len(text.ids))
    padded = functional.normalize(embed(model, texts, PADDED))
    layout = PADDED
    pad = getattr(encoder_of(model).config, "pad_token_id", None) or 0
    for first_position in dict.fromkeys([0, pad + 1]):  # BERT counts positions from 0, RoBERTa from behind the pad's id
        try:
            packed = functional.normalize(embed(model, texts, Layout(True, first_position)))
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            log.info("packing: %s cannot be run packed (%s)", type(encoder_of(model)).__name__, error)
            continue
        if float((packed - padded).abs().max()) < AGREEMENT:
            layout = Layout(True, first_position)
            break
    model.train(was_training)
    if not layout.packed:
        log.info("packing: micro-batches are padded for %s", type(encoder_of(model)).__name__)
    return layout
