"""Finished scores of a study, kept apart from `results/`, for a study that takes longer than a machine is at hand.

    python -m workflow_scripts.curves.parts --settings JSON --results results/S --parts docs/study/parts/S --commit ID

Takes results/<study>/ as far as it is finished; leaves, in the same layout, what the curves room reads of every score that is
there: so `--results` of this room's scripts may be either folder. Parts of several runs add up. Those of other settings,
pairs, evaluation data or weights are refused, for curves over both would compare nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.artefact import atomic_write, log, read_json, write_json
from workflow_scripts.command_line import InputError, parser, run
from workflow_scripts.curves.collect import SCORE_COLUMNS, VALUE_COLUMNS, read_table, score_file
from workflow_scripts.curves.curves import study_of
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.sections.encoding import HOW

# What every score of a study depends on, whichever models and tasks it has. How often a checkpoint is saved
# and how the work of encoding is cut decide nothing.
DECISIVE = ("study", "base", "dimensions", "codecs", "search", "corpus", "training", "adaptor", "encoding")
SETTINGS = "settings.json"
KEPT_SCHEMA: dict[str, Any] = {"variant": pl.String, "seed": pl.Int64, "task": pl.String, "commit": pl.String}
KEPT = "kept.csv"


def decisive_settings(study: Study, defaults: bool = True) -> dict[str, Any]:
    """The settings that every score depends on, and what each variant is; those that are not at their default alone, if told."""
    dumped = study.model_dump(
        exclude={"training": {"checkpoint_minutes"}, "encoding": HOW}, exclude_defaults=not defaults, mode="json"
    )
    return {key: dumped[key] for key in (*DECISIVE, "variants") if key in dumped}


def refuse_other_settings(study: Study, parts: Path) -> None:
    """Raises InputError, in one line, where the parts were made with other settings than the study's. Variants that only one
    of them has do no harm, nor does a key that came after the parts and is at its default."""
    path = parts / SETTINGS
    if not path.exists():
        return
    kept = read_json(path)
    then, now = dict(_flat(kept)), dict(_flat(decisive_settings(study)))
    said = dict(_flat(decisive_settings(study, defaults=False)))
    both = kept["variants"].keys() & study.variants.keys()
    for key in sorted(then.keys() | now.keys()):
        section, _, rest = key.partition(".")
        if section == "variants" and rest.split(".")[0] not in both:
            continue
        if then.get(key) != now.get(key) and (key in then or key in said):
            raise InputError(
                f"{parts}: made with {key}: {then.get(key)!r}, but the study has {now.get(key)!r}; give the study another name, or remove that folder"
            )


def keep(study: Study, results: Path, parts: Path, commit: str) -> int:
    """Copy what is finished and not kept yet; returns the number of scores that were added, those included that an interrupted
    run copied and did not note. `commit`: of the code that made them. Raises InputError for parts that do not go together."""
    refuse_other_settings(study, parts)
    found = [
        (model, seed, task)
        for model, seed in study.graph.runs
        for task in study.task_names
        if score_file(results, model, seed, task).exists()
    ]
    corpus = (results / "corpus/corpus.json", results / "corpus/corpus.sha256")
    known = [file for file in corpus if file.exists()]
    known += [results / "tasks" / task / name for _, _, task in found for name in ("task.json", "task.sha256")]
    for model, seed, _ in found:
        known += [
            results / "models" / name / f"s{at}" / file
            for name, at in _line(study, model, seed)
            for file in ("model.json", "model.sha256")
        ]
    known = list(dict.fromkeys(known))
    for path in known:
        _refuse_another(path, parts / path.relative_to(results))
    for path in known:
        _copy(path, parts / path.relative_to(results))
    for model, seed, task in found:
        source, target = (score_file(folder, model, seed, task) for folder in (results, parts))
        if not target.exists():
            _keep_score(source, target)
    before = read_kept(parts)
    noted = set(before.select("variant", "seed", "task").iter_rows())
    rows = [
        (model, seed, task, commit)
        for model, seed in study.graph.runs
        for task in study.task_names
        if (model, seed, task) not in noted and score_file(parts, model, seed, task).exists()
    ]
    with atomic_write(parts / KEPT) as part:
        pl.concat([before, pl.DataFrame(rows, schema=KEPT_SCHEMA, orient="row")]).write_csv(part)
    settings = decisive_settings(study)
    if (parts / SETTINGS).exists():
        settings["variants"] = read_json(parts / SETTINGS)["variants"] | settings["variants"]
    write_json(parts / SETTINGS, settings)
    return len(rows)


def read_kept(parts: Path) -> pl.DataFrame:
    """What is kept, a row per score, in the order in which it came: KEPT_SCHEMA."""
    path = parts / KEPT
    return pl.read_csv(path, schema=KEPT_SCHEMA) if path.exists() else pl.DataFrame(schema=KEPT_SCHEMA)


def _line(study: Study, model: str, seed: int) -> Iterator[tuple[str, int]]:
    """The model and all that it is made from, each with its seed: costs are told of the whole line."""
    yield model, seed
    while (parent := study.graph.parent_of(model)) is not None:
        model, seed = parent, study.graph.seed_of_parent(model, seed)
        yield model, seed


def _keep_score(source: Path, target: Path) -> None:
    """One score's tables, of the values those of the main metric alone; the scores last, by which a part counts as kept."""
    scores = read_table(source, SCORE_COLUMNS)
    values = read_table(source.with_name(f"{source.stem}.values.parquet"), VALUE_COLUMNS)
    searches = pl.read_parquet(source.with_name(f"{source.stem}.search.parquet"))
    of_main = values.filter(pl.col("metric").is_in(scores["metric"].unique().implode()))
    tables = {"values": of_main, "search": searches} if searches.height else {"values": of_main}
    for name, table in tables.items():
        with atomic_write(target.with_name(f"{target.stem}.{name}.parquet")) as part:
            table.write_parquet(part, compression="zstd", compression_level=19)
    with atomic_write(target) as part:
        scores.write_parquet(part, compression="zstd", compression_level=19)


def _refuse_another(path: Path, kept: Path) -> None:
    if path.suffix == ".sha256" and kept.exists() and kept.read_bytes() != path.read_bytes():
        raise InputError(
            f"{path}: is another than the one that {kept.parent} was made with; scores of both do not go together: remove those of {kept.parent}, or keep these elsewhere"
        )


def _copy(path: Path, target: Path) -> None:
    if not target.exists():
        with atomic_write(target) as part:
            shutil.copyfile(path, part)


def _flat(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def main() -> None:
    arguments = parser(__doc__, "{study: the whole configuration}")
    arguments.add_argument("--results", required=True, type=Path, help="the study's results folder")
    arguments.add_argument("--parts", required=True, type=Path, help="where its finished scores are kept")
    arguments.add_argument("--commit", required=True, help="of the code that made them")
    given = arguments.parse_args()

    def work() -> None:
        study = study_of(given.settings)
        added = keep(study, given.results, given.parts, given.commit)
        size = sum(file.stat().st_size for file in given.parts.rglob("*") if file.is_file())
        log.info(
            "%s: %d scores added, %d in all, %.1f MB", given.parts, added, read_kept(given.parts).height, size / 1e6
        )

    run(work)


if __name__ == "__main__":
    main()
