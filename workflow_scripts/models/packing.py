"""The encoder over many texts at once without padding.

Takes an encoder and texts sorted by length; leaves one pooled embedding per text, with gradients. On a processor the
texts of a micro-batch are laid end to end as one row of tokens, so that every matrix product works on real tokens
alone; only attention sees the texts apart, in runs of equal length, each one a call of the fused kernel without a
mask. Whether an encoder can be run so is measured on it (`choose_layout`), not assumed; otherwise, and on a GPU,
micro-batches are padded, which costs little since they hold texts of nearly equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workflow_scripts.artefact import log
from workflow_scripts.encoder.loading import known_positions
from workflow_scripts.models.attention import PACKED, attention_of, bf16_products_agree, register
from workflow_scripts.models.batches import Text
from workflow_scripts.models.folder import ModelError, encoder_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

AGREEMENT = 1e-4  # largest difference of unit embeddings between the packed and the padded way


@dataclass(frozen=True)
class Layout:
    """How micro-batches are laid out: end to end with positions from `first_position`, or padded.

    `bf16_products`: packed attention under bf16 runs on plain products (attention.py), not on torch's fused kernel.
    """

    packed: bool
    first_position: int = 0
    bf16_products: bool = False


PADDED = Layout(packed=False)


def embed(model: SentenceTransformer, texts: Sequence[Text], layout: Layout) -> Tensor:
    """Embeddings `(texts, width)` float32, as the model's own modules give them."""
    pooled = _packed_means(model, texts, layout) if layout.packed else _padded_means(model, texts)
    features: dict[str, Tensor] = {"sentence_embedding": pooled}
    with torch.autocast(pooled.device.type, enabled=False):
        for module in list(model)[2:]:
            features = module(features)
    embeddings: Tensor = features["sentence_embedding"]
    return embeddings


def _packed_means(model: SentenceTransformer, texts: Sequence[Text], layout: Layout) -> Tensor:
    lengths = [len(text.ids) for text in texts]
    device = model.device
    ids = torch.from_numpy(np.concatenate([text.ids for text in texts]).astype(np.int64)).to(device)
    positions = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]) + layout.first_position).to(device)
    encoder = encoder_of(model)
    with attention_of(encoder, PACKED):
        hidden: Tensor = encoder(
            input_ids=ids[None],
            position_ids=positions[None],
            text_lengths=lengths,
            bf16_products=layout.bf16_products,
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
    with torch.autocast(device.type, enabled=False):  # on a GPU it would take the mean in bf16
        pooled: Tensor = torch.einsum("nlh,nl->nh", hidden.float(), weights)
    return pooled


def _pooling_weights(text: Text, mode: str) -> np.ndarray:
    """The weight `(length,)` of each token in the text's embedding: the first token's all for `cls`, which has read the
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
    """Tokens per text: `wanted`, or fewer where the encoder has fewer positions, which the log then says."""
    positions = known_positions(model)
    if positions is None or wanted <= positions:
        return wanted
    log.info("training.max_length is %d, the model has positions for %d tokens: texts are cut there", wanted, positions)
    return positions


def compile_encoder(model: SentenceTransformer, backend: str = "inductor") -> Layout:
    """Compile the encoder in place, for any length, and give the layout that it is then run in."""
    encoder_of(model).compile(dynamic=True, backend=backend)
    return PADDED


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
            layout = Layout(True, first_position, bf16_products=bf16_products_agree())
            break
    model.train(was_training)
    if not layout.packed:
        log.info("packing: micro-batches are padded for %s", type(encoder_of(model)).__name__)
    return layout
