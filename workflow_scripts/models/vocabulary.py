"""Whether a model's tokenizer is the one that it was trained with, as far as files and weights tell.

Takes a loaded sentence-transformers model; raises `EncoderError` where its tokenizer and its embedding table do not belong
together. It exists because any tokenizer with few enough tokens gives ids that a table has rows for: nothing fails, and
every word is read as another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from workflow_scripts.encoder.loading import EncoderError
from workflow_scripts.models.checks import TEXTS, path_of, transformers_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Rows of an embedding table that no token has: tables are padded to a round number, the largest seen by 899 of 251,000.
UNUSED_ROWS = 1024
OWN = "expected the tokenizer that the model was trained with (tokenizer.json or vocabulary files beside the weights)"
FEWEST_PLURALS = 200  # of which chance gives between 39 and 61% (three standard deviations)
# Variance along the first principal axis over the mean variance: 1.2 for random rows (Marchenko and Pastur 1967, at most
# 256 columns of 12,800 rows), 16 for MiniLM's table.
TRAINED = 2.0

Matrix = npt.NDArray[np.float32]


class Table(NamedTuple):
    """The rows of an embedding table (tokens, width) and the vocabulary that they are of; its tokenizer, where it is one of
    transformers."""

    rows: Matrix
    vocabulary: Mapping[str, int]
    tokenizer: Any = None


def check_tokenizer(model: SentenceTransformer, folder: Path, reference: str) -> None:
    """Raises EncoderError where a tokenizer's vocabulary is not the embedding table's, or knows no word."""
    for name, module in transformers_of(model):
        if getattr(module.tokenizer, "pad_token_id", 0) is None:
            raise EncoderError(
                f"{reference}: its tokenizer has no padding token; name one in its tokenizer_config.json"
            )
        _check_padding(module, reference)
        _check_vocabulary_files(module.tokenizer, folder / path_of(folder, name), reference)
    for table in _tables(model):
        _check_size(table, reference)
        _check_words(table, reference)


def _tables(model: SentenceTransformer) -> Iterator[Table]:
    """The embedding tables that a tokenizer's ids are looked up in: of transformers and of static embeddings."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    for _, module in transformers_of(model):
        table, tokenizer = module.model.get_input_embeddings(), module.tokenizer
        if hasattr(tokenizer, "get_vocab") and getattr(table, "num_embeddings", None) is not None:
            yield Table(_numbers(table.weight), tokenizer.get_vocab(), tokenizer)
    for module in model.modules():
        if isinstance(module, StaticEmbedding):
            yield Table(_numbers(module.embedding.weight), module.tokenizer.get_vocab())


def _numbers(weight: torch.Tensor) -> Matrix:
    numbers: Matrix = weight.detach().float().cpu().numpy()
    return numbers


def _check_size(table: Table, reference: str) -> None:
    if not table.vocabulary:
        return
    rows, highest = len(table.rows), max(table.vocabulary.values())
    if highest >= rows or highest + 1 < rows - max(UNUSED_ROWS, rows // 50):
        raise EncoderError(
            f"{reference}: its tokenizer has {highest + 1} tokens, but its embedding table {rows} rows; {OWN}"
        )
    zero = int((~table.rows.any(axis=1)).sum())
    if zero > max(UNUSED_ROWS, rows // 10):
        raise EncoderError(
            f"{reference}: {zero} of the {rows} rows of its embedding table are zero; expected sound weights"
        )
    if table.tokenizer is None:
        return
    ids = table.tokenizer(list(TEXTS[:3]), add_special_tokens=False)["input_ids"]
    if all(token == table.tokenizer.unk_token_id for row in ids for token in row) or ids[0] == ids[1]:
        raise EncoderError(f"{reference}: its tokenizer knows no word of {TEXTS[0]!r}; expected the model's own")


def _check_padding(module: Any, reference: str) -> None:
    """The id that the configuration pads with must be a special token of the tokenizer: in a vocabulary that is shifted or in
    another order it is a word."""
    tokenizer, padding = module.tokenizer, getattr(module.model.config, "pad_token_id", None)
    if not isinstance(padding, int) or not hasattr(tokenizer, "all_special_ids") or not 0 <= padding < len(tokenizer):
        return
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = padding in tokenizer.all_special_ids or padding in added
    if not special:
        word = tokenizer.convert_ids_to_tokens(padding)
        raise EncoderError(
            f"{reference}: config.json pads with token {padding}, which is {word!r} in its tokenizer, where padding is "
            f"{tokenizer.pad_token_id}; {OWN}"
        )


def _check_vocabulary_files(tokenizer: Any, folder: Path, reference: str) -> None:
    """`vocab.txt` (a token a line) and `vocab.json` beside `tokenizer.json`: of the tokens that both have, most must have the
    same id."""
    if not (folder / "tokenizer.json").is_file() or not hasattr(tokenizer, "get_vocab"):
        return
    for name in ("vocab.txt", "vocab.json"):
        try:
            text = (folder / name).read_text(encoding="utf-8")
            ids = json.loads(text) if name == "vocab.json" else {line: i for i, line in enumerate(text.splitlines())}
            known = tokenizer.get_vocab()
            shared = [token for token in ids if token in known]
            differing = [token for token in shared if ids[token] != known[token]]
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        if 2 * len(differing) > len(shared):
            first = differing[0]
            raise EncoderError(
                f"{reference}: {name} and tokenizer.json are two vocabularies: {first!r} is token {ids[first]} in one and "
                f"{known[first]} in the other; {OWN}"
            )


def _check_words(table: Table, reference: str) -> None:
    """A trained table has like rows for a word and its plural. Where these are no more alike than any two words', while the
    table as a whole is not random, its rows are those of other tokens. Too few plurals, or random rows, tell nothing."""
    pairs = np.array(
        [
            (i, table.vocabulary[f"{t}s"])
            for t, i in sorted(table.vocabulary.items(), key=itemgetter(1))  # a tokenizer gives them in any order
            if len(t) > 3 and f"{t}s" in table.vocabulary
        ]
    ).reshape(-1, 2)
    if len(pairs) < FEWEST_PLURALS or not _looks_trained(table.rows):
        return
    rows = table.rows / np.maximum(np.linalg.norm(table.rows, axis=1, keepdims=True), 1e-12)
    word, plural = rows[pairs[:, 0]], rows[pairs[:, 1]]
    closer = float(((word * plural).sum(1) > (word * np.roll(plural, 1, axis=0)).sum(1)).mean())
    if (closer - 0.5) * 2 * np.sqrt(len(pairs)) < 3:
        raise EncoderError(
            f"{reference}: in its embedding table a word is closer to its plural than to any other word's in {closer:.0%} of "
            f"{len(pairs)} cases, as by chance, so its rows are another tokenizer's; {OWN}"
        )


def _looks_trained(rows: Matrix) -> bool:
    """Whether the rows vary along some axes more than random ones would."""
    columns = rows[:20_000, : min(256, len(rows) // 50)]
    centred = columns - columns.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    variances = np.linalg.eigvalsh(centred.T @ centred)
    return bool(variances[-1] > TRAINED * variances.mean())
