"""Encode every distinct text of a task once, at full width.

Takes a model's folder and a task's `texts.parquet` (or the corpus room's `sample.parquet`, as the task
`training_texts`). Leaves the store with `embeddings.json` and `embeddings.sha256`. It exists so that every
codec is scored from one encoding. Shards are written while it goes; started
again after a kill, it goes on from the finished ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from workflow_scripts.artefact import Progress, digest_of_file, digest_of_text, exclusive_lock, read_json, write_json
from workflow_scripts.command_line import InputError, parse_settings, parser, run, users_file
from workflow_scripts.embeddings.manifest import StoreSettings, model_name, write_manifest
from workflow_scripts.embeddings.prompts import names_of_prompts, prompt_for
from workflow_scripts.encoder.arithmetic import Precision
from workflow_scripts.encoder.encoding import Role, encode, resolve_precision, resolve_prompt
from workflow_scripts.encoder.fingerprint import computed_by
from workflow_scripts.encoder.gpus import take_gpus
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.store import ROWS_PER_SHARD, StoreError, StoreWriter, keys_of
from workflow_scripts.study.sections.encoding import HOW

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

TRAINING_TEXTS = "training_texts"
TEXTS_HELD = 1 << 20  # in memory at a time; the row groups of texts.parquet have so many
ROLES: dict[str, Role] = {"": "", "query": "query", "document": "document"}
PROMPT_TYPES = np.array(list(ROLES))


@dataclass(frozen=True)
class Texts:
    """Texts of a task, and the names under which a prompt may be given."""

    path: Path
    prompt_types: np.ndarray  # (texts,) of "", "query", "document"
    texts: list[str]
    task: str
    task_type: str | None

    def __len__(self) -> int:
        return len(self.texts)


class TextsFile:
    """A task's distinct texts in the store's order, of which only a block is held at a time.

    `keys` `(texts,)` uint64 are the store's, `places` `(texts,)` int64 the rows of the file, `codes` `(texts,)` uint8 the places
    of their prompt types in `PROMPT_TYPES`.
    """

    def __init__(self, path: Path, task: str, task_type: str | None) -> None:
        self.path, self.task, self.task_type = path, task, task_type
        keys, codes = _keys_of_file(path)
        _, first = np.unique(keys, return_index=True)
        self.places = np.sort(first)
        if len(first) < len(keys) and len(first) != _rows(path).unique().select(pl.len()).collect().item():
            raise StoreError(f"{path}: two texts have one key; expected another text in place of one of them")
        self.keys, self.codes = keys[self.places], codes[self.places]
        self.block, self.start = pl.Series(dtype=pl.String), 0  # texts from file row `start` on

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, start: int, stop: int) -> Texts:
        """The texts of a range of rows of the store."""
        places = self.places[start:stop]
        if len(places) and not self.start <= places[0] <= places[-1] < self.start + len(self.block):
            self.start = int(places[0])
            count = max(TEXTS_HELD, int(places[-1]) + 1 - self.start)
            self.block = self.block.clear()  # before the next one takes as much memory
            self.block = _rows(self.path).slice(self.start, count).collect()["text"]
        texts = self.block.gather(places - self.start).to_list()
        return Texts(self.path, PROMPT_TYPES[self.codes[start:stop]], texts, self.task, self.task_type)

    @property
    def kinds(self) -> list[str]:
        """The prompt types that its texts have."""
        found: list[str] = PROMPT_TYPES[np.unique(self.codes)].tolist()
        return found


def _rows(path: Path) -> pl.LazyFrame:
    """Prompt type and text of every row; training texts have no prompt type."""
    frame = pl.scan_parquet(path)
    if "prompt_type" not in frame.collect_schema():
        frame = frame.with_columns(pl.lit("").alias("prompt_type"))
    return frame.select("prompt_type", "text")


def _keys_of_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The store's key and the code of the prompt type of every row of the file; raises `InputError` as `read_texts` does."""
    of_blocks: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.uint64), np.empty(0, np.uint8))]
    for start in range(0, _rows(path).select(pl.len()).collect().item(), TEXTS_HELD):
        block = _rows(path).slice(start, TEXTS_HELD).collect()
        for column in ("prompt_type", "text"):
            if block[column].null_count():
                row = start + int(block[column].is_null().arg_max() or 0)
                raise InputError(f"{path}: row {row}: {column!r} is null, expected a string")
        if unknown := set(block["prompt_type"].unique()) - set(ROLES):
            raise InputError(f"{path}: prompt type {min(unknown)!r} is not known, expected one of {sorted(ROLES)}")
        codes = block["prompt_type"].cast(pl.Enum(PROMPT_TYPES.tolist())).to_physical().cast(pl.UInt8).to_numpy()
        keys = np.empty(len(block), dtype=np.uint64)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            keys[rows] = keys_of(block["text"].gather(rows), str(PROMPT_TYPES[code]))
        of_blocks.append((keys, codes))
        del block  # before the next one takes as much memory
    keys, codes = (np.concatenate(arrays) for arrays in zip(*of_blocks, strict=True))
    return keys, codes


def read_texts(task: str, digest: Path) -> TextsFile:
    """The texts beside a task's `task.sha256`, or the training texts beside `sample.sha256`.

    Raises `InputError` where the file has other columns, a missing text or an unknown prompt type.
    """
    training = task == TRAINING_TEXTS
    path = digest.with_name("sample.parquet" if training else "texts.parquet")
    with users_file(f"{path}: not readable as parquet"):
        schema = pl.read_parquet_schema(path)
    for column in ("text",) if training else ("prompt_type", "text"):
        if schema.get(column) != pl.String:
            raise InputError(f"{path}: column {column!r} is {schema.get(column)}, expected String")
    task_type = None if training else str(read_json(digest.with_name("task.json"))["type"])
    with users_file(f"{path}: not readable as parquet"):
        return TextsFile(path, task, task_type)


def precisions_for(setting: str, task_type: str | None, device: torch.device) -> dict[str, Precision]:
    """The arithmetic of each prompt type of a task; `task_type` is mteb's name, None for training texts.

    Classification is patient with bf16, which moves its scores by 0.0012 at most (ten real tasks of 800 to 8,000
    texts, dimensions 8 to 384). A ranking is less so: two documents that swap places move one query's nDCG@10 by up to
    0.37, and bf16 moved the mean by up to 0.0036 (six real tasks). So `auto` takes bf16 for classification alone, and
    `bf16` leaves elsewhere the last third of the model in fp32 and, since they are few and each one's rounding moves
    its whole ranking, the queries.
    """
    if setting == "auto" and task_type != "Classification":
        setting = "fp32"
    precision = resolve_precision(setting, device)
    if precision == "fp32" or task_type == "Classification":
        return dict.fromkeys(ROLES, precision)
    return {prompt_type: "fp32" if prompt_type == "query" else "mixed" for prompt_type in ROLES}


def encode_task(
    settings: StoreSettings,
    model_digest: Path,
    texts_digest: Path,
    output: Path,
    rows_per_shard: int = ROWS_PER_SHARD,
    part: tuple[int, int] | None = None,
) -> None:
    """Make the store in the folder of `output`, the manifest; with `part` (number, of how many) only that part's shards,
    and `output` is a file in a folder of the store's, which says that they are there.

    Each shard is batched by itself, so that a store is the same to the last bit in however many parts it was made.
    """
    options = settings.encoding
    texts = read_texts(settings.task, texts_digest)
    model = load_encoder(model_digest.parent, max_length=options.max_length)
    prompts = given_prompts(options.prompts, texts)
    model.prompts = {**(model.prompts or {}), **prompts}
    precisions = precisions_for(options.dtype, texts.task_type, model.device)
    width = model.get_embedding_dimension()
    if width is None:
        raise InputError(f"{model_digest.parent}: the model does not say its width, expected one that embeds texts")
    texts_sha256 = digest_of_file(texts.path)
    decides = [
        model_digest.read_text(),
        texts_sha256,
        options.model_dump(exclude=HOW) | {"prompts": prompts},
        settings.task,
        texts.task_type,
        precisions,
        computed_by(Path(__file__).parent, model.device.type),
    ]
    fingerprint = digest_of_text(json.dumps(decides, sort_keys=True))
    folder = output.parent if part is None else output.parent.parent
    writer = StoreWriter(
        folder, texts.keys, width, fingerprint, options.precision, rows_per_shard, is_part=part is not None
    )
    wanted = shards_of_part(len(writer.ranges), *(part or (0, 1)))
    missing = writer.missing(wanted)
    count, left = (
        sum(stop - start for start, stop in map(writer.ranges.__getitem__, some)) for some in (wanted, missing)
    )
    with Progress(f"encode {settings.task}", count, "texts", count - left) as progress:
        for shard in missing:
            started = time.monotonic()
            rows = texts.rows(*writer.ranges[shard])
            vectors, tokens = encode_rows(model, rows, options.batch_tokens, precisions, progress.add)
            writer.write(shard, vectors, tokens=tokens, seconds=time.monotonic() - started)
    if part is not None:
        write_json(output, {"texts": count})
        return
    costs = {"tokens": int(writer.cost("tokens")), "seconds": round(writer.cost("seconds"), 3)}
    content = {
        "texts": len(texts),
        **costs,
        "width": width,
        "precision": options.precision,
        "device": str(model.device),
        "dtype": " and ".join(sorted({precisions[prompt_type] for prompt_type in texts.kinds})),
        "prompts": prompts_used(model, texts),
        "model": model_name(model_digest),
        "texts_sha256": texts_sha256,
    }
    write_manifest(output, *writer.finish(), content)
    writer.remove_shards()


def shards_of_part(shards: int, part: int, parts: int) -> range:
    """Which of so many shards are made by part `part` of `parts`."""
    return range(shards * part // parts, shards * (part + 1) // parts)


def given_prompts(prompts: Mapping[str, str], texts: TextsFile) -> dict[str, str]:
    """Those of the study's prompts that may stand before texts of the task: one for another task changes nothing here."""
    names = {name for kind in texts.kinds for name in names_of_prompts(texts.task, texts.task_type, kind)}
    return {name: prompt for name, prompt in prompts.items() if name in names}


def prompts_used(model: SentenceTransformer, texts: TextsFile) -> dict[str, str]:
    """The prompt that stands before the texts of each prompt type of the task; "" for none."""
    return {
        kind: resolve_prompt(model, prompt_for(model.prompts, texts.task, texts.task_type, kind), ROLES[kind]) or ""
        for kind in texts.kinds
    }


def encode_rows(
    model: SentenceTransformer,
    texts: Texts,
    batch_tokens: int,
    precisions: Mapping[str, Precision],
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, int]:
    """Vectors `(texts, width)`, each prompt type in its precision, and their tokens."""
    vectors = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    tokens = 0
    for prompt_type in np.unique(texts.prompt_types):
        rows = np.flatnonzero(texts.prompt_types == prompt_type)
        encoded = encode(
            model,
            [texts.texts[row] for row in rows],
            prompt=prompt_for(model.prompts, texts.task, texts.task_type, prompt_type),
            role=ROLES[prompt_type],
            batch_tokens=batch_tokens,
            precision=precisions[prompt_type],
            progress=progress,
        )
        vectors[rows] = encoded.vectors
        tokens += encoded.tokens
    return vectors, tokens


def main() -> None:
    arguments_of = parser(__doc__, "task, encoding")
    arguments_of.add_argument("--model", type=Path, required=True, help="model.sha256 in the model's folder")
    arguments_of.add_argument(
        "--texts", type=Path, required=True, help="task.sha256 beside texts.parquet, or sample.sha256"
    )
    arguments_of.add_argument("--output", type=Path, required=True, help="embeddings.json of the store to make")
    arguments_of.add_argument(
        "--rows-per-shard", type=int, default=ROWS_PER_SHARD, help="texts that a killed job may have to encode again"
    )
    arguments_of.add_argument(
        "--part",
        type=int,
        nargs=2,
        metavar=("NUMBER", "OF"),
        help="make this part's shards alone; --output is then a file that says so, in a folder of the store's",
    )
    arguments = arguments_of.parse_args()

    def work() -> None:
        settings = parse_settings(StoreSettings, arguments.settings)
        with exclusive_lock(arguments.output):
            take_gpus(1)
            part = tuple(arguments.part) if arguments.part else None
            encode_task(settings, arguments.model, arguments.texts, arguments.output, arguments.rows_per_shard, part)

    run(work)


if __name__ == "__main__":
    main()
