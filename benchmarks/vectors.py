"""A study of a user's own vectors at full size: minutes to the report, and memory above the file itself.

    python benchmarks/vectors.py [--rows 1000000] [--dim 1536] [--queries 500] [--json FILE] [--folder DIR [--only-vectors]]

Makes a .npy of vectors with the falling spectrum and the clusters that embeddings have, and queries near some of them, in
a folder of its own below $TMPDIR (6 GB at the default size; gone afterwards, unless `--folder` says where they stay, for a second
run in two pieces). Then runs `snakemake --cores 2` (or `--cores N`) in a copy of this project
on a study as `studies/vectors.yaml` is one, without judgements. Goals: 15 minutes; 4 GB of memory, the file's own pages
in the page cache not counted. `processor_seconds` are of all that Snakemake started: where others use the cores too, the
time that a machine of its own takes is between half of them and all.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from testing.memory import AnonymousMemory  # noqa: E402
from testing.project import copy_project  # noqa: E402

BLOCK = 20_000
CLUSTERS = 1_000
NOISE = 0.5  # of a query's distance from the document that it is near
DIMENSIONS = (96, 192, 384, 768, 1536)


def write_vectors(folder: Path, rows: int, dim: int, queries: int) -> None:
    """`documents.npy` and `queries.npy`, float32, of length 1."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    scale = (rng.permutation(dim) + 1.0).astype(np.float32) ** -0.5
    centres = rng.standard_normal((CLUSTERS, dim), dtype=np.float32) * scale
    documents = np.lib.format.open_memmap(folder / "documents.npy", "w+", np.float32, (rows, dim))
    for start in range(0, rows, BLOCK):
        block = rng.standard_normal((min(BLOCK, rows - start), dim), dtype=np.float32) * scale
        block += centres[rng.integers(CLUSTERS, size=len(block))]
        documents[start : start + len(block)] = _unit(block)
    documents.flush()
    near = np.sort(rng.choice(rows, queries, replace=False))
    moved = documents[near] + NOISE * _unit(rng.standard_normal((queries, dim), dtype=np.float32) * scale)
    np.save(folder / "queries.npy", _unit(moved))


def _unit(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    unit: np.ndarray[Any, np.dtype[np.float32]] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def study(folder: Path, dim: int) -> dict[str, Any]:
    dimensions = sorted({*(d for d in DIMENSIONS if d < dim), dim})
    return {
        "study": "vectors",
        "variants": {"own": {"vectors": str(folder)}},
        "dimensions": dimensions,
        "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32", "int8", "int4", "binary"]},
        "search": {
            "shortlist": ["prefix-full-binary", f"pca-{dimensions[-2]}-int4"],
            "candidates": [20, 100],
            "rescore": ["prefix-full-int8", "prefix-full-float32"],
        },
        "tasks": [{"name": "Own", "path": str(folder)}],
    }


def make(folder: Path, rows: int, dim: int, queries: int) -> None:
    """The vectors, where they are not there from an earlier run."""
    started = time.monotonic()
    if not (folder / "own" / "queries.npy").exists():
        write_vectors(folder / "own", rows, dim, queries)
    print(f"vectors made in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def measure(folder: Path, scratch: Path, cores: int, rows: int, dim: int, queries: int) -> dict[str, Any]:
    vectors = folder / "own"
    project = copy_project(scratch / "project")
    (project / "own.yaml").write_text(yaml.safe_dump(study(vectors, dim), sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", "own.yaml"]
    started = time.monotonic()
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
        with AnonymousMemory(process.pid) as memory:
            status = process.wait()
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = project / "results" / "vectors"
    if status:
        logs = [path.read_text()[-2000:] for path in sorted((results / "logs").glob("*/*.log"))]
        raise SystemExit("\n".join([(scratch / "log").read_text()[-2000:], *logs]))
    found = {
        "rows": rows,
        "dim": dim,
        "queries": queries,
        "cores": cores,
        "file_gb": round((vectors / "documents.npy").stat().st_size / 1e9, 2),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "memory_gb_above_the_file": round(memory.peak / 1e9, 2),
        "results_mb": round(sum(p.stat().st_size for p in results.rglob("*") if p.is_file()) / 1e6, 1),
    }
    for name, pattern in (("check", "embeddings/*"), ("score", "scores/*"), ("task", "tasks/*")):
        (line,) = [path.read_text().splitlines()[1] for path in (results / "benchmarks").glob(f"{pattern}.tsv")]
        found[f"{name}_seconds"] = round(float(line.split()[0]), 1)
        found[f"{name}_processor_seconds"] = round(float(line.split()[-1]), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="documents")
    parser.add_argument("--dim", type=int, default=1536, help="coordinates of each")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="make the vectors here, and leave them")
    parser.add_argument("--only-vectors", action="store_true", help="make the vectors and stop")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    sizes = (arguments.rows, arguments.dim, arguments.queries)
    with tempfile.TemporaryDirectory(prefix="matryoshka_vectors_") as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(exist_ok=True, parents=True)
        make(folder, *sizes)
        if arguments.only_vectors:
            return
        found = measure(folder, Path(scratch), arguments.cores, *sizes)
    for name, value in found.items():
        print(f"{name.replace('_', ' '):28} {value:,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
