"""Tokenise the pairs once for each tokenizer, ahead of every training that uses it.

Takes pairs.parquet and a model folder with a fast tokenizer. Leaves tokens.arrow, memory-mapped by training: for
each text the tokens of instruction + text, how many of them pooling leaves out, and a key that texts share which a
reader sees as equal.
It streams, row group by row group; the tokenizer's own threads run while the rows before are put into columns.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from workflow_scripts.artefact import (
    Progress,
    atomic_write,
    digest_of_file,
    exclusive_lock,
    log,
    read_json,
    versions,
    write_digests,
    write_json,
)
from workflow_scripts.command_line import InputError, Settings, parse_settings, parser, run, users_file
from workflow_scripts.corpus.normalise import visible
from workflow_scripts.corpus.rows import TEXTS
from workflow_scripts.corpus.streams import ahead, opened

KEY_SEED = 20
CHARACTERS_PER_TOKEN = 8  # more than most texts have, so that their beginning has tokens enough
ROWS = 2048  # at once: what the tokenizer returns takes some hundred bytes per token


class TokensSettings(Settings):
    """What decides the tokens, beside the pairs and the tokenizer."""

    max_length: int = Field(ge=3)


class BulkTokenizer:
    """A fast tokenizer set to cut at `max_length` and not to pad, as sentence-transformers would call it."""

    def __init__(self, folder: Path, max_length: int) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"{folder}: no tokenizer.json; expected a model folder with a fast tokenizer")
        with users_file(f"{folder}: its tokenizer cannot be loaded"):
            loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            self.tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
        self.special = set(loaded.all_special_ids)
        self.keeps_end = loaded.truncation_side == "left"
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length, direction=loaded.truncation_side)
        self.max_length = max_length
        self.vocabulary: int = self.tokenizer.get_vocab_size(with_added_tokens=True)
        self.type = np.dtype(np.uint16 if self.vocabulary <= 2**16 else np.uint32)
        self._skips: dict[str, int] = {"": 0}

    def ids(self, texts: list[str]) -> tuple[list[list[int]], npt.NDArray[np.bool_]]:
        """Each text's tokens, and whether it was cut (one that just fits is not).

        Of a long text the tokenizer sees first the part that is kept, cut at a space: the beginning, or the end where it
        truncates on the left. It sees the whole only where that gives too few tokens. A token takes a hundred bytes
        and more while it is made: a text of megabytes would take gigabytes.
        """
        enough = CHARACTERS_PER_TOKEN * self.max_length
        long = [number for number, text in enumerate(texts) if len(text) > enough]
        parts = list(texts)
        for number in long:
            parts[number] = _end(texts[number], enough) if self.keeps_end else _beginning(texts[number], enough)
        encodings = self.tokenizer.encode_batch_fast(parts)
        for number in long:
            if not encodings[number].overflowing:
                encodings[number] = self.tokenizer.encode(texts[number])
        ids = [encoding.ids for encoding in encodings]
        full = (number for number, tokens in enumerate(ids) if len(tokens) == self.max_length)
        cut = np.zeros(len(ids), bool)
        cut[[number for number in full if encodings[number].overflowing]] = True
        return ids, cut

    def skip(self, instruction: str) -> int:
        """Tokens that pooling leaves out: those of the instruction alone but for a final special one, which is how
        sentence-transformers counts a prompt (`Transformer._get_prompt_length`)."""
        if instruction not in self._skips:
            [ids], _ = self.ids([instruction])
            self._skips[instruction] = len(ids) - (bool(ids) and ids[-1] in self.special)
        return self._skips[instruction]


def _beginning(text: str, characters: int) -> str:
    return text[: max(text.rfind(" ", 0, characters), 0)]


def _end(text: str, characters: int) -> str:
    start = text.find(" ", len(text) - characters)
    return text[start:] if start >= 0 else ""


def tokenise(pairs: Path, model: Path, max_length: int, output: Path) -> dict[str, Any]:
    """Write tokens.arrow beside `output`, its manifest. Returns the manifest."""
    started = time.monotonic()
    positions = _positions(model)
    if positions is not None and positions < max_length:
        log.info("max_length is %d, the model has positions for %d tokens: texts are cut there", max_length, positions)
        max_length = positions
    tokenizer = BulkTokenizer(model, max_length)
    file = opened(pairs)
    tasks: dict[str, int] = {}
    for batch in file.iter_batches(columns=["task_name"], batch_size=2**16):
        for name in batch.column(0).unique().to_pylist():
            tasks.setdefault(name, len(tasks))
    schema = pa.schema([("task", pa.int32())], metadata={"tasks": json.dumps(list(tasks), ensure_ascii=False)})
    for name in TEXTS:
        schema = schema.append(pa.field(f"{name}_ids", pa.list_(pa.from_numpy_dtype(tokenizer.type))))
        schema = schema.append(pa.field(f"{name}_skip", pa.uint16()))
        schema = schema.append(pa.field(f"{name}_key", pa.uint64()))
    rows = tokens = truncated = 0
    arrow = output.parent / "tokens.arrow"
    with (
        atomic_write(arrow) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
        ThreadPoolExecutor(2) as pool,
        Progress("tokenise", file.metadata.num_rows, "rows") as progress,
    ):
        # While a batch becomes lists, then columns (Python, one thread), the tokenizer's threads have the next.
        for batch, (ids, cut) in ahead(pool, lambda b: tokenizer.ids(b.distinct), _batches(file, tokenizer, tasks), 2):
            columns, lengths = batch.columns(ids, tokenizer)
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += batch.rows
            tokens += int(lengths.sum())
            truncated += int(cut[batch.places].sum())
            progress.add(batch.rows)
    manifest = {
        "rows": rows,
        "tokens": tokens,
        "truncated": truncated,
        "max_length": max_length,
        "tokenizer": digest_of_file(model / "tokenizer.json"),
        "pairs": digest_of_file(pairs),
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("tokenizers", "transformers", "polars", "pyarrow"),
    }
    write_json(output, manifest)
    write_digests(output.with_suffix(".sha256"), [arrow])
    return manifest


def _positions(model: Path) -> int | None:
    """The tokens that a fetched model has positions for, as its manifest says; None where it does not say it."""
    manifest = model / "model.json"
    positions: int | None = read_json(manifest).get("positions") if manifest.is_file() else None
    return positions


class _Batch:
    """Some rows' texts, instruction in front, each distinct one once. `places` says which one each cell has."""

    def __init__(self, table: pa.RecordBatch, tokenizer: BulkTokenizer, tasks: dict[str, int]) -> None:
        frame = pl.DataFrame(table)
        self.rows = len(frame)
        self.tasks = np.array([tasks[name] for name in frame["task_name"].to_list()], np.int32)
        self.skips = {name: _skips(frame[f"{name}_instruct"], tokenizer) for name in TEXTS}
        full = pl.concat([frame.select(pl.concat_str(f"{name}_instruct", name).alias("text")) for name in TEXTS])[
            "text"
        ]
        self.keys: npt.NDArray[np.uint64] = visible(full).hash(KEY_SEED).to_numpy()
        _, first, places = np.unique(full.hash(KEY_SEED).to_numpy(), return_index=True, return_inverse=True)
        order = np.argsort(first)  # by first appearance, so that without repetition nothing is moved
        self.places = np.argsort(order)[places]
        self.distinct: list[str] = full.gather(first[order]).to_list()

    def columns(self, ids: list[list[int]], tokenizer: BulkTokenizer) -> tuple[list[pa.Array], npt.NDArray[np.int64]]:
        """The columns of tokens.arrow in their order, and the length of every cell, shape (3 * rows,)."""
        distinct_lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), tokenizer.type, int(distinct_lengths.sum()))
        starts = np.cumsum(distinct_lengths) - distinct_lengths
        columns: list[pa.Array] = [pa.array(self.tasks)]
        lengths = distinct_lengths[self.places]
        for number, name in enumerate(TEXTS):
            cells = slice(number * self.rows, (number + 1) * self.rows)
            offsets = np.concatenate([[0], np.cumsum(lengths[cells])])
            if len(ids) == len(self.places):
                start = starts[cells.start]
                values = flat[start : start + offsets[-1]]
            else:  # each token's place in `flat`: its text's start, plus how far into the text it is
                shifts = np.repeat(starts[self.places[cells]] - offsets[:-1], lengths[cells])
                values = flat[shifts + np.arange(offsets[-1])]
            columns.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values)))
            columns.append(pa.array(self.skips[name]))
            columns.append(pa.array(self.keys[cells]))
        return columns, lengths


def _skips(instructions: pl.Series, tokenizer: BulkTokenizer) -> npt.NDArray[np.uint16]:
    table = {text: tokenizer.skip(text) for text in instructions.unique().to_list()}
    return np.array([table[text] for text in instructions.to_list()], np.uint16)


def _batches(file: pq.ParquetFile, tokenizer: BulkTokenizer, tasks: dict[str, int]) -> Iterator[_Batch]:
    for batch in file.iter_batches(batch_size=ROWS):
        if batch.num_rows:
            yield _Batch(batch, tokenizer, tasks)


def main() -> None:
    command = parser(__doc__, "max_length")
    command.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of the tokenizer")
    command.add_argument("--pairs", required=True, type=Path, help="pairs.sha256; pairs.parquet lies beside it")
    command.add_argument("--model", required=True, type=Path, help="model.sha256 of the folder with the tokenizer")
    command.add_argument(
        "--output", required=True, type=Path, help="the manifest, tokens.json; the rest lies beside it"
    )
    arguments = command.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    settings = parse_settings(TokensSettings, arguments.settings)
    pairs, model = arguments.pairs.parent / "pairs.parquet", arguments.model.parent
    with exclusive_lock(arguments.output):
        manifest = tokenise(pairs, model, settings.max_length, arguments.output)
    log.info("%d rows, %d tokens, %d texts cut", manifest["rows"], manifest["tokens"], manifest["truncated"])


if __name__ == "__main__":
    run(main)
