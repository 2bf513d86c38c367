"""Rule encode_pairs: the texts of training pairs, encoded once by a model that stays as it is.

    python -m workflow_scripts.models.encode_pairs --settings JSON --model P/model.sha256 --tokens tokens.sha256 \
        --output P/s0.pairs/s0/pairs.json

Takes a model's folder and the tokens of the pairs; leaves a store (`embeddings.arrow`) of the distinct texts of the first
`pairs` rows of the seed's order, which all adaptors of that model and seed share. Encoded as training does: the instruction is
read and left out of a mean pooling. It resumes after a kill with the shards that are done.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts import artefact, command_line
from workflow_scripts.command_line import Settings
from workflow_scripts.encoder.arithmetic import Precision, arithmetic
from workflow_scripts.encoder.fingerprint import computed_by
from workflow_scripts.encoder.gpus import take_gpus
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.models.batches import COLUMNS, Text, Tokens, micro_batches
from workflow_scripts.models.folder import cost, encoder_flops, read_digest, versions
from workflow_scripts.models.frozen import rows_of_adaptors, text_keys
from workflow_scripts.models.packing import check_modules, choose_layout, embed, longest_input
from workflow_scripts.models.projection import embedding_width
from workflow_scripts.models.step import GPU_MICRO_TOKENS, PROCESSOR_MICRO_TOKENS
from workflow_scripts.store import StoreWriter

MANIFEST = "pairs.json"
DTYPE: Precision = "fp32"


class EncodePairsSettings(Settings):
    model: str
    pairs: int
    seed: int  # by which the pairs are drawn
    max_length: int
    instructions: bool


@torch.inference_mode()
def encode_pairs(settings: EncodePairsSettings, model_digest: Path, tokens_digest: Path, output: Path) -> None:
    """Make the store, its manifest and its digest."""
    started = time.monotonic()
    model = load_encoder(model_digest.parent)
    check_modules(model)
    tokens = Tokens(tokens_digest.with_name("tokens.arrow"), longest_input(model, settings.max_length))
    rows = rows_of_adaptors(tokens, settings.pairs, settings.seed)
    uncut = Tokens(tokens_digest.with_name("tokens.arrow"))
    keys, first = np.unique(text_keys(uncut, rows, settings.instructions), return_index=True)
    special = set(model.tokenizer.all_special_ids)
    width = embedding_width(model)
    facts: dict[str, Any] = {
        "settings": json.loads(settings.model_dump_json()),
        "parent_digest": read_digest(model_digest),
        "tokens_digest": read_digest(tokens_digest),
        "versions": versions(),
    }
    decides = [facts, computed_by(Path(__file__).parent, model.device.type)]
    writer = StoreWriter(output.parent, keys, width, artefact.digest_of_text(json.dumps(decides, sort_keys=True)))

    def text(place: int) -> Text:
        column, row = COLUMNS[place // len(rows)], rows[place % len(rows)]
        ids = tokens.ids(column, int(row))
        [skip] = tokens.skips(column, np.array([row]))
        text = Text(ids, min(int(skip), len(ids) - 1))
        return text if settings.instructions else without_instruction(text, special)

    layout = choose_layout(model, [text(place) for place in first[:8]])
    budget = PROCESSOR_MICRO_TOKENS // 4 if model.device.type == "cpu" else GPU_MICRO_TOKENS
    missing = writer.missing()
    done = len(keys) - sum(stop - start for start, stop in (writer.ranges[shard] for shard in missing))
    with (
        arithmetic(model, DTYPE),
        artefact.Progress(f"encode pairs for {settings.model}", len(keys), "texts", done) as progress,
    ):
        for shard in missing:
            shard_started = time.monotonic()
            start, stop = writer.ranges[shard]
            texts = [text(place) for place in first[start:stop]]
            lengths = np.array([len(t.ids) for t in texts])
            order = np.argsort(-lengths, kind="stable")
            vectors = np.empty((len(texts), width), dtype=np.float32)
            for cut in micro_batches(lengths[order], budget, padded=not layout.packed):
                chosen = order[cut]
                vectors[chosen] = embed(model, [texts[i] for i in chosen], layout).float().cpu().numpy()
                progress.add(len(chosen))
            spent = time.monotonic() - shard_started
            squared = float((lengths.astype(np.float64) ** 2).sum())
            writer.write(shard, vectors, tokens=float(lengths.sum()), squared_lengths=squared, seconds=spent)
    store, digest = writer.finish()
    seconds, encoded = writer.cost("seconds"), int(writer.cost("tokens"))
    flops = encoder_flops(model, encoded, writer.cost("squared_lengths"), backward=False)
    manifest = {
        "model": settings.model,
        "pairs": len(rows),
        "texts": len(keys),
        "width": width,
        "dtype": DTYPE,
        "cost": cost(steps=0, tokens=encoded, seconds=seconds, flops=flops, device=model.device),
        **facts,
    }
    artefact.write_json(output, manifest)
    artefact.write_known_digests(output.with_suffix(".sha256"), {store: digest})
    writer.remove_shards()
    artefact.log.info("%d texts of %d pairs encoded in %.0f s", len(keys), len(rows), time.monotonic() - started)


def without_instruction(text: Text, special: set[int]) -> Text:
    """The text as it is without its instruction; a leading special token stays, and is pooled as in an evaluation text."""
    start = text.ids[:1] if text.ids[0] in special else text.ids[:0]
    return Text(np.append(start, text.ids[text.skip :]), 0) if text.skip else text


def main() -> None:
    parser = command_line.parser(__doc__, ", ".join(EncodePairsSettings.model_fields))
    parser.add_argument("--model", required=True, type=Path, help="the model's model.sha256")
    parser.add_argument("--tokens", required=True, type=Path, help="tokens.sha256, beside tokens.arrow")
    parser.add_argument("--output", required=True, type=Path, help="the pairs.json to make, beside the store")
    arguments = parser.parse_args()

    def work() -> None:
        settings = command_line.parse_settings(EncodePairsSettings, arguments.settings)
        with artefact.exclusive_lock(arguments.output):
            take_gpus(1)
            encode_pairs(settings, arguments.model, arguments.tokens, arguments.output)

    command_line.run(work)


if __name__ == "__main__":
    main()
