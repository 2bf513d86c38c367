"""Texts to embeddings: what sentence-transformers computes, in batches that hold little padding.

Takes a sentence-transformers folder and texts; leaves a float32 array `(texts, width)` in the texts' order.
The model's own modules run, so pooling, dense layers, normalisation and prompts are sentence-transformers' own; what
differs is how batches are made: tokens ahead and in bulk, sorted by their true length, under a budget of tokens rather
than a number of texts; and, on a processor, run without their padding (`encoder/unpadded.py`). Shared by the rooms that
encode (embeddings, models).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from workflow_scripts.encoder.arithmetic import Precision, arithmetic, computes_in_bf16
from workflow_scripts.encoder.loading import EncoderError
from workflow_scripts.encoder.packed import PROCESSOR_BATCH_TOKENS
from workflow_scripts.encoder.unpadded import first_position, unpadded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Role = Literal["", "query", "document"]

TEXTS_TOKENISED_AT_ONCE = 16384
# The texts on which a run without padding is compared with one with it: the first so many tokens of this one, repeated. They are
# the same for every call, so that all shards of a store are encoded alike.
COMPARED_TEXT, COMPARED_LENGTHS = "A text that is long enough to be cut in several places.", (11, 6, 6, 3)


@dataclass(frozen=True)
class Encoded:
    """What encoding leaves."""

    vectors: np.ndarray  # (texts, width) float32
    tokens: int  # of all texts, special tokens and prompt included, padding not; 0 where the library's own loop encodes


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the device computes in it, fp32 elsewhere."""
    if precision == "auto":
        return "bf16" if computes_in_bf16(device) else "fp32"
    if precision not in ("fp32", "bf16"):
        raise EncoderError(f"precision: {precision!r} is not known; use 'auto', 'fp32' or 'bf16'")
    return "bf16" if precision == "bf16" else "fp32"


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    role: Role = "",
    batch_tokens: int = 8192,
    precision: Precision = "fp32",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Embeddings `(texts, width)` float32 in the texts' order; see `encode` for the arguments."""
    return encode(
        model, texts, prompt=prompt, role=role, batch_tokens=batch_tokens, precision=precision, progress=progress
    ).vectors


@torch.inference_mode()
def encode(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    role: Role = "",
    batch_tokens: int = 8192,
    precision: Precision = "fp32",
    progress: Callable[[int], None] | None = None,
) -> Encoded:
    """Encode texts as `SentenceTransformer.encode` (or `encode_query`, `encode_document`) does.

    `prompt` stands before every text; None means the model's own default for the role, "" none at all.
    `role` is what a query or document is encoded as. `batch_tokens` is the most tokens, padding included, per
    forward pass. `progress` is called with the number of texts just done. In fp32 the result differs from
    sentence-transformers' own by rounding alone (under 1e-6 for unit vectors).
    """
    model.eval()
    device = model.device
    prompt = resolve_prompt(model, prompt, role)
    width = model.get_embedding_dimension() or 0  # after the model's own truncate_dim, where it has one
    vectors = np.empty((len(texts), width), dtype=np.float32)
    if not len(texts):
        return Encoded(vectors, 0)
    if not _takes_plain_tokens(model, role):
        return _encode_by_the_library(model, texts, prompt, role, precision, progress)
    if device.type == "cpu":  # on a GPU the whole budget is used
        batch_tokens = min(batch_tokens, PROCESSOR_BATCH_TOKENS)
    rows = _tokenise(model, texts, prompt, role)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    order = np.argsort(-lengths, kind="stable")
    first: Any = model[0]
    prompt_length = first._get_prompt_length(prompt) if prompt else None

    def embed(rows: list[list[int]], prompt_length: int | None = None) -> torch.Tensor:
        features = _features(first.tokenizer, rows, prompt_length, device)
        output: torch.Tensor = model(features, **({"task": role} if role else {}))["sentence_embedding"]
        return output[:, :width].float()

    start = None
    # Where no text is longer than the shortest that is compared, nothing would be padded, and any position would do.
    if device.type == "cpu" and lengths.min() < lengths.max() > COMPARED_LENGTHS[-1]:
        compared = _tokenise(model, [COMPARED_TEXT], None, role)[0] * COMPARED_LENGTHS[0]
        start = first_position(first.model, lambda: embed([compared[:length] for length in COMPARED_LENGTHS]))
    with arithmetic(model, precision), unpadded(first.model, start):
        for batch in budgeted_batches(lengths[order], batch_tokens):
            members = order[batch]
            vectors[members] = embed([rows[i] for i in members], prompt_length).cpu().numpy()
            if progress is not None:
                progress(len(members))
    return Encoded(vectors, int(lengths.sum()))


def budgeted_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[slice]:
    """Cut rows, sorted from long to short, into batches of at most `batch_tokens` tokens with padding.

    A row longer than the budget is a batch of its own.
    """
    start = 0
    while start < len(lengths):
        stop = start + max(1, batch_tokens // max(1, int(lengths[start])))
        yield slice(start, min(stop, len(lengths)))
        start = stop


def resolve_prompt(model: SentenceTransformer, prompt: str | None, role: Role) -> str | None:
    """The prompt that sentence-transformers would use: the one given, else the model's own for the role."""
    if prompt is not None:
        return prompt
    candidates = {"query": ["query"], "document": ["document", "passage", "corpus"], "": []}[role]
    name = next((name for name in candidates if name in model.prompts), model.default_prompt_name)
    return model.prompts.get(name) if name is not None else None


def _takes_plain_tokens(model: SentenceTransformer, role: Role) -> bool:
    """Whether the model's input is a fast tokenizer's ids and nothing else, so that they can be made ahead."""
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedTokenizerFast

    first: Any = model[0]
    return (
        isinstance(first, Transformer)
        and first.backend == "torch"
        and isinstance(first.processor, PreTrainedTokenizerFast)
        and "text" in first.modality_config
        and "message" not in first.modality_config
        and not first.can_flatten_inputs
        and not first.processing_kwargs
        and not (role == "query" and first.query_expansion is not None)
    )


def _encode_by_the_library(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str | None,
    role: Role,
    precision: Precision,
    progress: Callable[[int], None] | None,
) -> Encoded:
    """For models of another make (static embeddings, routers, chat templates): the library's own loop."""
    with arithmetic(model, precision):
        options: dict[str, Any] = {"task": role} if role else {}
        vectors = model.encode(list(texts), prompt=prompt or "", show_progress_bar=False, **options)
    if progress is not None:
        progress(len(texts))
    return Encoded(np.asarray(vectors, dtype=np.float32), 0)


def _tokenise(model: SentenceTransformer, texts: Sequence[str], prompt: str | None, role: Role) -> list[list[int]]:
    """Token ids of each text, special tokens included, cut at the model's maximum, without padding."""
    first: Any = model[0]
    options: dict[str, Any] = {"truncation": "longest_first"}
    limit = {"query": first.query_length, "document": first.document_length}.get(role)
    if limit is not None:
        options["max_length"] = limit
    rows: list[list[int]] = []
    for start in range(0, len(texts), TEXTS_TOKENISED_AT_ONCE):
        chunk = [(prompt or "") + text for text in texts[start : start + TEXTS_TOKENISED_AT_ONCE]]
        rows += first.tokenizer(
            chunk, padding=False, return_attention_mask=False, return_token_type_ids=False, **options
        )["input_ids"]
    return rows


def _features(tokenizer: Any, rows: list[list[int]], prompt_length: int | None, device: torch.device) -> dict[str, Any]:
    """One batch as the model's modules take it: ids and mask `(rows, longest)`, padded on the tokenizer's side."""
    longest = max(1, *map(len, rows))  # a text without a token is all padding, as beside a longer text
    ids = np.full((len(rows), longest), tokenizer.pad_token_id or 0, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    left = tokenizer.padding_side == "left"
    for i, row in enumerate(rows):
        at = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, at] = row
        mask[i, at] = 1
    features: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
        "modality": "text",
    }
    if "token_type_ids" in tokenizer.model_input_names:
        features["token_type_ids"] = torch.zeros_like(features["input_ids"])
    if prompt_length is not None:
        features["prompt_length"] = prompt_length
    return features
