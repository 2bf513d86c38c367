"""What a large retrieval task costs, from its data to its scores: seconds and memory at several sizes.

    python benchmarks/scale.py --documents 100000 1000000 [--json FILE] [--folder FOLDER]

Takes real documents of ../shared/data, repeated under a number of their own until there are enough; embeddings are random,
384 wide. Prints and, with `--json`, writes for each size and stage the processor's seconds and the most memory beside files
that are memory-mapped, in GB. Stages: `prepare` (texts.parquet and the task's folder), `embed` (reading the texts, and
writing shards, all but the model), `join` (shards to store and digest), `score` (nine dimensions, eight codecs each).
The sizes take turns, as often as `--repeats` says; seconds are medians, memory is the most of all runs. `growth_max` is the
greatest growth of a stage's seconds from one size to the next over that of the documents; `prepare_gb` and `score_gb` are of
the largest size. A file that is there already is added to, runs of other sizes, stages and times alike.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
os.environ |= dict.fromkeys(QUIET, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from testing.memory import AnonymousMemory  # noqa: E402
from workflow_scripts.artefact import write_digests, write_json, write_known_digests  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "retrieval"
WIDTH = 384
QUERIES = 100
CHARACTERS = 350  # of a document at most: a passage of MS MARCO has 335
DIMENSIONS = [8, 16, 32, 64, 96, 128, 192, 256, 384]
TRANSFORMS = ["prefix", "pca"]
PRECISIONS = ["float32", "int8", "int4", "binary"]
FIT_TEXTS = 6000
MAPPED = "corpus.arrow"


def make_corpus(folder: Path, documents: int) -> None:
    """Documents as datasets keeps a downloaded corpus: an Arrow file that is memory-mapped."""
    names = ("scifact", "nfcorpus_processed", "vaswani")
    tables = [pq.read_table(DATA / name / "corpus.parquet", columns=["text"]) for name in names]
    real = [text[:CHARACTERS] for table in tables for text in table.column("text").to_pylist() if text.strip()]
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pa.OSFile(str(folder / MAPPED), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, documents, 10_000):
            numbers = range(start, min(start + 10_000, documents))
            rows = {"id": [f"d{i}" for i in numbers], "text": [f"{i} {real[i % len(real)]}" for i in numbers]}
            writer.write_table(pa.table(rows, schema=schema))


def own(documents: int) -> Any:
    from workflow_scripts.evaluation.own_tasks import Described

    return Described(name=f"Large{documents}", type="Retrieval", dataset="made", revision="0" * 40)


def prepare(folder: Path, documents: int) -> None:
    from datasets import Dataset

    from workflow_scripts.evaluation.own_tasks import own_task
    from workflow_scripts.tasks.prepare import texts_of, write_texts
    from workflow_scripts.tasks.save import save_task

    task: Any = own_task(own(documents))
    step = documents // QUERIES
    queries = {"id": [f"q{i}" for i in range(QUERIES)], "text": [f"what is number {i}?" for i in range(QUERIES)]}
    part = {"corpus": Dataset.from_file(str(folder / MAPPED)), "queries": Dataset.from_dict(queries)}
    part |= {"relevant_docs": {f"q{i}": {f"d{i * step}": 1} for i in range(QUERIES)}, "top_ranked": None}
    task.dataset, task.data_loaded = {"default": {"test": part}}, True
    write_texts(texts_of(task), folder / "texts.parquet")
    save_task(task, folder, own(documents))
    write_digests(folder / "task.sha256", [*sorted((folder / "data").rglob("*.*")), folder / "texts.parquet"])
    write_json(folder / "task.json", {"type": "Retrieval"})


def writer_of(folder: Path, keys: Any) -> Any:
    from workflow_scripts.store import StoreWriter

    return StoreWriter(folder / "store", keys, WIDTH, "made")


def embed(folder: Path, documents: int) -> None:
    from workflow_scripts.embeddings.encode import read_texts

    shutil.rmtree(folder / "store", ignore_errors=True)  # an earlier run's, whose shards would be used again
    texts = read_texts(f"Large{documents}", folder / "task.sha256")
    writer = writer_of(folder, texts.keys)
    np.save(folder / "keys.npy", texts.keys)
    draw = np.random.default_rng(0)
    for shard in writer.missing():
        rows = texts.rows(*writer.ranges[shard])
        writer.write(shard, draw.standard_normal((len(rows), WIDTH), dtype=np.float32))


def join(folder: Path, _documents: int) -> None:
    writer = writer_of(folder, np.load(folder / "keys.npy"))
    store, digest = writer.finish()
    write_known_digests(folder / "store" / "embeddings.sha256", {store: digest})
    writer.remove_shards()


def score(folder: Path, _documents: int) -> None:
    from workflow_scripts.codecs import grid
    from workflow_scripts.coding.fit import Fitted
    from workflow_scripts.evaluation.plain_tasks import load_plain
    from workflow_scripts.scores.by_task_type import score_all
    from workflow_scripts.store import open_store
    from workflow_scripts.study.sections.codecs import Codecs

    task = load_plain(folder)
    store = open_store(folder / "store")
    training = np.asarray(store.vectors[:FIT_TEXTS], dtype=np.float32)
    codecs = grid(Codecs(transforms=TRANSFORMS, precisions=PRECISIONS), DIMENSIONS, WIDTH)
    scored = list(score_all(task, store, Fitted(WIDTH, training, unit=True), codecs))
    assert len(scored) == len(DIMENSIONS) * len(TRANSFORMS) * len(PRECISIONS)


STAGES: dict[str, Callable[[Path, int], None]] = {"prepare": prepare, "embed": embed, "join": join, "score": score}
MODULES = {"prepare": "tasks.recording", "embed": "embeddings.encode", "join": "store", "score": "scores.score"}


def measure(stage: str, folder: Path, documents: int) -> dict[str, float]:
    """One stage in this process: the processor's seconds after its imports, and the most memory in GB."""
    importlib.import_module(f"workflow_scripts.{MODULES[stage]}")
    before = processor_seconds()
    memory = AnonymousMemory()
    with memory:
        STAGES[stage](folder, documents)
    return {"seconds": processor_seconds() - before, "gb": memory.peak / 1e9}


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def add_run(stages: dict[str, dict[str, Any]], stage: str, found: dict[str, float]) -> None:
    """Add one run's figures to those of a size."""
    known = stages.get(stage, {"runs": [], "gb": 0.0})
    runs = [*known["runs"], found["seconds"]]
    stages[stage] = {"runs": runs, "seconds": statistics.median(runs), "gb": max(known["gb"], found["gb"])}


def figures_of(sizes: dict[str, dict[str, dict[str, Any]]]) -> dict[str, float]:
    """`growth_max`, `prepare_gb` and `score_gb` of what was measured: size -> stage -> figures."""
    ordered = sorted(sizes, key=int)
    largest = sizes[ordered[-1]]
    found = {f"{stage}_gb": largest[stage]["gb"] for stage in ("prepare", "score") if stage in largest}
    growth = [
        sizes[more][stage]["seconds"] / sizes[fewer][stage]["seconds"] * int(fewer) / int(more)
        for fewer, more in itertools.pairwise(ordered)
        for stage in STAGES
        if stage in sizes[fewer] and stage in sizes[more]
    ]
    return found | ({"growth_max": max(growth)} if growth else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="*", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES), help="those before must be done")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file, or add them to it")
    parser.add_argument("--folder", type=Path, help="keep the files here (13 GB for 5,000,000)")
    parser.add_argument("--measure", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.repeats > 1 and "join" in arguments.stages and "embed" not in arguments.stages:
        parser.error("--repeats: join takes the shards that embed makes; give both")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder, arguments.documents[0])))
        return
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    sizes = known.get("sizes", {})
    with tempfile.TemporaryDirectory() as place:
        for documents in arguments.documents * arguments.repeats:
            folder = (arguments.folder or Path(place)) / str(documents)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / MAPPED).exists():
                make_corpus(folder, documents)
            for stage in arguments.stages:
                command = [sys.executable, __file__, "--measure", stage, "--documents", str(documents)]
                done = subprocess.run([*command, "--folder", folder], stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                add_run(sizes.setdefault(str(documents), {}), stage, found)
                print(f"{documents:>10,} {stage:8} {found['seconds']:9.1f} s {found['gb']:7.2f} GB", flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps({"sizes": sizes} | figures_of(sizes), indent=1) + "\n")
    for size, stages in sizes.items():
        for stage, of_stage in stages.items():
            runs = f"median of {len(of_stage['runs'])}"
            print(f"{int(size):>10,} {stage:8} {of_stage['seconds']:9.1f} s {of_stage['gb']:7.2f} GB  {runs}")
    for key, value in figures_of(sizes).items():
        print(f"{key:12}{value:10.4g}")


if __name__ == "__main__":
    main()
