"""What was run: models, tasks, training pairs, encoding, from the manifests that the rooms left.

Takes the results folder and the answer; leaves tables and sentences. What has no manifest is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from workflow_scripts.artefact import read_json
from workflow_scripts.curves.collect import task_names
from workflow_scripts.curves.describe import what_was_done
from workflow_scripts.curves.formats import NOT_KNOWN, code, count, duration, listed, number, plain, quantity, storage
from workflow_scripts.curves.kinds import of_vectors
from workflow_scripts.curves.page_tables import Table, table, words
from workflow_scripts.curves.summary import Answer

OF_MODELS = ("base", "training", "adaptor", "encoding", "budget")  # sections
OF_ADAPTORS = ("objective", "nesting", "nesting_weights")  # keys of `training` that decide an adaptor too
OF_VECTORS = (
    "vectors",
    "parent",
    "adaptor",
    "pairs",
    "objective",
)  # keys of a variant that is vectors, or an adaptor of them
LARGEST = 4  # so many training tasks are named where most rows were dropped


class Corpus(NamedTuple):
    """The account of the training pairs."""

    sentence: Markup
    tables: list[Table]
    by_task: Table | None


class Provenance(NamedTuple):
    """What was run, for the template."""

    missing: Table | None
    models: Table
    tasks: Table
    corpus: Corpus | None
    encoding: Markup
    prompts: Table | None
    vectors: Table | None
    pairs: Table | None
    configuration: str


def what_was_run(results: Path, answer: Answer, study: dict[str, Any]) -> Provenance:
    seeds = [(model.name, seed) for model in answer.models for seed in model.seeds]
    tasks = task_names(study)
    bare = of_vectors(answer.models)
    stores = {
        (name, seed, task): read_json(path)
        for name, seed in seeds
        for task in tasks
        if (path := results / "embeddings" / name / f"s{seed}" / task / "embeddings.json").exists()
    }
    return Provenance(
        _missing(answer),
        _models(results, answer),
        _tasks(results, tasks, answer),
        _corpus(results, answer),
        _encoding({key: store for key, store in stores.items() if key[0] not in bare and not store.get("parent")}),
        _prompts(stores),
        _vectors(stores),
        _pairs_of_vectors(results, answer),
        yaml.safe_dump(_said(study, answer), sort_keys=False, allow_unicode=True),
    )


def _said(study: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """The configuration without what it says of models, where there is none."""
    if not answer.models or of_vectors(answer.models) < {model.name for model in answer.models}:
        return study
    kept = {key: value for key, value in study.items() if key not in OF_MODELS}
    if any(model.adapted for model in answer.models):
        kept |= {key: study[key] for key in ("adaptor",) if key in study}
        kept |= {"training": {key: value for key, value in study.get("training", {}).items() if key in OF_ADAPTORS}}
    variants = {
        name: {key: variant[key] for key in OF_VECTORS if variant.get(key) is not None}
        for name, variant in study.get("variants", {}).items()
    }
    corpus = {key: study["corpus"][key] for key in ("sample_texts", "seed")} if "corpus" in study else {}
    return kept | {"variants": variants, "corpus": corpus}


def _missing(answer: Answer) -> Table | None:
    rows = [[code(m.variant), str(m.seed), words(m.task)] for m in answer.missing]
    return table(["model", "seed", "task"], rows) if rows else None


def _models(results: Path, answer: Answer) -> Table:
    by_name = {model.name: model for model in answer.models}
    rows: list[list[object]] = []
    for model in answer.models:
        for seed in model.seeds:
            path = results / "models" / model.name / f"s{seed}" / "model.json"
            made = read_json(path) if path.exists() else None
            row: list[object] = [
                code(model.name),
                str(seed),
                code(model.parent) if model.parent else NOT_KNOWN,
                words(what_was_done(model.name, by_name)),
            ]
            if model.vectors:
                row += [words(plain(model.reference or "")), *[""] * 3, plain(model.width), *[""] * 5]
            elif made is None:
                row += [words("not made yet"), *[""] * 9]
            else:
                cost = made.get("cost") or {}
                memory = cost.get("peak_memory_bytes")
                row += [
                    words(plain(made.get("reference") or "")),
                    words(plain(made.get("revision") or "")[:12]),
                    words(plain(made.get("licence") or "")),
                    words(_pooling(made)),
                    plain(made.get("width", "")),
                    quantity(cost.get("steps")),
                    quantity(cost.get("tokens")),
                    duration(cost.get("seconds")),
                    storage(memory) if memory else NOT_KNOWN,
                    words(plain(cost.get("device") or "")),
                ]
            rows.append(row)
    head = [
        "model", "seed", "parent", "what was done", "reference", "revision", "licence", "pooling", "width", "steps",
        "tokens", "time", "memory", "device",
    ]  # fmt: skip
    return table(head, rows, "Each model's own cost, without its parents'.")


def _pooling(manifest: dict[str, Any]) -> str:
    """How token embeddings become one, and whether that was a guess, as of a checkpoint that does not say it."""
    pooling = plain(manifest.get("pooling") or "")
    return f"{pooling} (guessed)" if manifest.get("pooling_guessed") else pooling


def _tasks(results: Path, tasks: list[str], answer: Answer) -> Table:
    rows = []
    for name in tasks:
        path = results / "tasks" / name / "task.json"
        task = read_json(path) if path.exists() else {}
        row = [
            code(name),
            words(plain(task.get("type") or "not prepared")),
            words(plain(task.get("metric") or "")),
            number(task.get("chance")),
            words(plain(task.get("dataset") or "")),
            words(plain(task.get("revision") or "")[:12]),
            quantity(task.get("texts")),
        ]
        if answer.domains:
            domain = answer.domains.get(name)
            cleaned = domain.cleaned if domain else ""
            why = "not by name; texts were not compared" if cleaned == "no" else "not by name or texts"
            if domain and domain.why:
                why = f"{'yes' if domain.in_domain else 'no'}: {domain.why}"
            row += [words("NO" if cleaned == "no" else cleaned), words(why)]
        rows.append(row)
    head = ["task", "type", "metric", "chance", "data set", "revision", "texts"]
    caption = ""
    if answer.domains:
        head += ["pairs cleaned of its texts", "in domain"]
        caption = "Held out: made apart from the pairs, from the same source. In domain: data like the training pairs'."
    return table(head, rows, caption)


def _corpus(results: Path, answer: Answer) -> Corpus | None:
    """What became of the training pairs: rows dropped and why, in all and by training task; evaluation texts found."""
    path = results / "corpus" / "corpus.json"
    if not path.exists():
        return None
    corpus = read_json(path)
    reasons: dict[str, dict[str, int]] = corpus.get("drops") or {}
    tasks: dict[str, dict[str, Any]] = corpus.get("tasks") or {}
    drops = [
        [plain(reason), f"{sum(by_task.values()):,}", words(_largest(by_task))] for reason, by_task in reasons.items()
    ]
    found: dict[str, dict[str, int]] = {}
    for name, entry in tasks.items():
        for task, held in (entry.get("contaminated") or {}).items():
            found.setdefault(task, {})[name] = held
    against = corpus.get("decontaminated_against") or []
    cleaned = [
        [code(task), f"{sum(found.get(task, {}).values()):,}", words(_largest(found.get(task, {})))]
        for task in sorted(dict.fromkeys([*against, *found]), key=lambda task: -sum(found.get(task, {}).values()))
    ]
    by_task = [
        [
            code(name),
            f"{entry.get('rows_in', 0):,}",
            f"{entry.get('rows_out', 0):,}",
            *(f"{reasons[reason].get(name, 0):,}" for reason in reasons),
            words(", ".join(f"{plain(t)}: {n:,}" for t, n in (entry.get("contaminated") or {}).items())),
        ]
        for name, entry in sorted(
            tasks.items(), key=lambda item: item[1].get("rows_out", 0) - item[1].get("rows_in", 0)
        )
    ]
    revision = Markup(", revision {}").format(code(corpus["revision"])) if corpus.get("revision") else ""
    sentence = Markup("{}{}: {} rows in, {} kept, in {}.{}").format(
        plain(corpus.get("source")),
        revision,
        f"{corpus.get('rows_in', 0):,}",
        f"{corpus.get('rows_out', 0):,}",
        duration(corpus.get("seconds")),
        "" if against else " Not cleaned of any evaluation texts.",
    )
    bare = of_vectors(answer.models)
    if not any((model.trained or model.adapted) and model.name not in bare for model in answer.models):
        sentence += " No model was trained on them: axes, ranges and thresholds were fitted on a sample of their texts."
    tables = [table(["dropped because", "rows", "most of them in"], drops)] if drops else []
    if cleaned:
        caption = "A row that holds texts of several tasks counts for each."
        tables.append(table(["cleaned of the texts of", "rows dropped for it", "most of them in"], cleaned, caption))
    head = ["training task", "rows in", "kept", *map(plain, reasons), "held texts of"]
    return Corpus(sentence, tables, table(head, by_task) if by_task else None)


def _largest(by_task: dict[str, int]) -> str:
    most = sorted(by_task.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]
    return ", ".join(f"{plain(task)}: {rows:,}" for task, rows in most)


def _encoding(stores: dict[tuple[str, int, str], dict[str, Any]]) -> Markup:
    """What was encoded, by how many models, and how long all of it took. `stores`: those that an encoder made, not a matrix times
    another store."""
    if not stores:
        return Markup("")
    texts: dict[str, int] = {}
    for (_, _, task), store in stores.items():
        texts[task] = max(texts.get(task, 0), store.get("texts") or 0)
    runs = {(name, seed) for name, seed, _ in stores}
    seeds = " (each seed counts)" if len(runs) > len({name for name, _ in runs}) else ""
    seconds = sum(store.get("seconds") or 0 for store in stores.values())
    devices = dict.fromkeys(f"{store.get('device')} in {_arithmetic(store)}" for store in stores.values())
    return Markup("{}, encoded by {}{} in {}, on {}.").format(
        count(sum(texts.values()), "evaluation text"),
        count(len(runs), "model"),
        seeds,
        duration(seconds),
        listed(list(devices)),
    )


def _arithmetic(store: dict[str, Any]) -> str:
    """What the encoder computed in; the other of the two keys is how vectors are stored."""
    said = (plain(store.get(key) or "") for key in ("dtype", "precision"))
    return next((name for name in said if name and not name.startswith("float")), "unknown arithmetic")


def _vectors(stores: dict[tuple[str, int, str], dict[str, Any]]) -> Table | None:
    """The files of the user's own vectors, and how they were read."""
    rows = [
        [
            code(name),
            words(task),
            words(plain(file["what"])),
            words(plain(file["path"])),
            f"{file['rows']:,}",
            plain(store["width"]),
            words(plain(file["precision"])),
            storage(file["bytes"]),
            words("in place" if file["mapped"] else "from a copy"),
            words(plain(file["ids"])),
        ]
        for (name, _, task), store in stores.items()
        for file in store.get("files", [])
    ]
    head = ["model", "task", "what", "file", "rows", "coordinates", "type", "size", "read", "ids"]
    return table(head, rows, "Every row was looked at: each is finite, and none is all zeros.") if rows else None


def _pairs_of_vectors(results: Path, answer: Answer) -> Table | None:
    """The user's files of pairs, of which adaptors of vectors were learned."""
    bare = of_vectors(answer.models)
    rows = []
    for model in answer.models:
        for seed in model.seeds if model.adapted and model.name in bare else []:
            path = results / "models" / model.name / f"s{seed}" / "model.json"
            recipe = read_json(path)["recipe"] if path.exists() else {}
            chosen = recipe.get("chosen") or {}
            penalty = [f"{name} {value:g}" for name, value in (chosen.get("penalty") or {}).items() if value]
            how = f"{', '.join(penalty) or 'no penalty'}, {chosen['steps']} steps" if chosen else "the rotation"
            rows += [
                [code(model.name), str(seed), words(task), words(plain(file)), f"{recipe['pairs_used']:,}", words(how)]
                for task, file in recipe.get("files", {}).items()
            ]
    head = ["model", "seed", "task", "pairs", "used, of all tasks", "chosen"]
    caption = "Their queries are not scored; their documents are searched as all others are."
    return table(head, rows, caption) if rows else None


def _prompts(stores: dict[tuple[str, int, str], dict[str, Any]]) -> Table | None:
    """The prompts that texts were encoded with, where the stores' manifests say them."""
    rows: dict[tuple[str, str, str, str], None] = {}
    for (name, _, task), store in stores.items():
        prompts = store.get("prompts")
        for kind, prompt in prompts.items() if isinstance(prompts, dict) else ():
            if prompt:
                rows[name, task, plain(kind) or "every text", plain(prompt)] = None
    if not rows:
        return None
    return table(
        ["model", "task", "texts", "prompt"],
        [[code(name), words(task), words(kind), words(prompt)] for name, task, kind, prompt in rows],
        "What stood before each text.",
    )
