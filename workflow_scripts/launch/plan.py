"""A plan before the money: what a study will download, fill, run and cost, before it runs.

Takes the study's settings and what of it is made already; leaves a page on the terminal and, where it measured the
throughput, `results/<study>/plan.json`. The Snakefile asks `refusal` before any job: a study above its
`budget: gpu_hours` is not started. Estimates, and each says what it stands on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.references import parse_reference

TRAINING_TEXTS = "training_texts"
CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_TRIPLE = {"wordnet": 80.0}  # until tokens.json says
TOKENS_PER_MEDI_TRIPLE = 400.0  # 1.7 kB of text in a triple on average; also assumed for pairs of one's own
ROWS = {"avsolatorio/medi-data": 1_435_000}
# Where the hub cannot be asked.
REPOSITORY_BYTES = {"avsolatorio/medi-data": 1_230_000_000, "distilbert/distilroberta-base": 333_000_000}
CHARACTERS_UNKNOWN = 1_500_000  # of a task whose size mteb does not state
TEXTS_UNKNOWN = 20_000
FORWARD_SHARE = 1 / 3  # of a training token's work: the backward pass takes twice the forward's
CALIBRATION_SECONDS = 5.0
MODEL_FILES = ("*.safetensors", "*.json", "*.txt")
TASK_FILES = ("*.parquet", "*.jsonl", "*.json", "*.gz", "*.csv", "*.tsv")


@dataclass(frozen=True)
class Cost:
    """What one model costs over all its seeds: what is left to do, and what was spent on what is there."""

    model: str
    seeds: int
    steps: int  # of one seed
    training_tokens: float  # left
    encoding_tokens: float  # left
    spent_hours: float

    def hours(self, tokens_per_second: float) -> tuple[float, float]:
        """(training, encoding) GPU-hours left, at a training throughput of one GPU."""
        per_hour = tokens_per_second * 3600
        return self.training_tokens / per_hour, self.encoding_tokens * FORWARD_SHARE / per_hour


Job = tuple[str, int, str]  # model, seed, and the task whose texts are encoded ("": the model itself is made)


def costs(study: Study, results: Path, planned: Collection[Job] = ()) -> list[Cost]:
    """A `Cost` for every model of the graph, parents first. What is there is spent, and left again where it is
    `planned`: to be made anew, as its settings or inputs have changed."""
    per_triple = tokens_per_triple(study, results)
    found = []
    for model in study.graph.models:
        training = encoding = spent = 0.0
        encoded = study.graph.is_fetched(model) or study.graph.is_trained(model)
        for seed in study.graph.seeds_of(model):
            made = _manifest(results / "models" / model / f"s{seed}" / "model.json", "model.sha256")
            if made is not None:
                spent += (made.get("cost") or {}).get("seconds", 0.0) / 3600 * study.training.gpus
            to_make = made is None or (model, seed, "") in planned
            if to_make and study.graph.is_trained(model):
                training += study.graph.steps_of(model) * study.training.batch * per_triple
            elif to_make and model in study.graph.adapted:  # its parent's pairs are encoded once for all adaptors
                encoding += (study.variants[model].pairs or study.adaptor.pairs) * per_triple
            elif to_make and not study.graph.is_fetched(model):  # its parent's sample is encoded once for the rotation
                encoding += study.corpus.sample_texts * per_triple / 3
            if not encoded:
                continue
            for name in encoded_texts(study):
                store = results / "embeddings" / model / f"s{seed}" / name
                made = _manifest(store / "embeddings.json", "embeddings.sha256")
                if made is not None:
                    spent += made.get("seconds", 0.0) / 3600
                if made is None or (model, seed, name) in planned:
                    encoding += tokens_of(study, name, per_triple)
        found.append(
            Cost(model, len(study.graph.seeds_of(model)), study.graph.steps_of(model), training, encoding, spent)
        )
    return found


def gpu_hours(costs_of_models: list[Cost], tokens_per_second: float) -> tuple[float, float]:
    """(left, spent) GPU-hours of the whole study."""
    left = sum(sum(cost.hours(tokens_per_second)) for cost in costs_of_models)
    return left, sum(cost.spent_hours for cost in costs_of_models)


def refusal(study: Study, results: Path, planned: Collection[Job] = ()) -> str | None:
    """Why the study must not start, in one line; None where it may. `planned`: see `costs`."""
    limit = study.budget.gpu_hours
    if limit is None:
        return None
    of_models = costs(study, results, planned)
    if not any(cost.training_tokens or cost.encoding_tokens for cost in of_models):
        return None
    rate = study.budget.tokens_per_second or _measured_before(study, results)
    if rate is None:
        return (
            "budget.gpu_hours: is set, but no throughput is known for this base and recipe; give "
            "budget.tokens_per_second, or run the target `plan`, which measures it, where a GPU is"
        )
    left, spent = gpu_hours(of_models, rate)
    if left + spent <= limit:
        return None
    already = f" and {spent:.1f} are spent" if spent >= 0.05 else ""
    return (
        f"budget.gpu_hours: the study needs about {left:,.1f} GPU-hours at {rate:,.0f} tokens/s{already}, above the "
        f"{limit:g} allowed; raise it, or cut steps, seeds or variants (the target `plan` shows each one's share)"
    )


def tokens_per_triple(study: Study, results: Path) -> float:
    """Tokens of one training triple: counted where the pairs are tokenised, assumed where not."""
    for counted in sorted((results / "corpus" / "tokens").glob("*/tokens.json")):
        content = json.loads(counted.read_text())
        if content.get("rows"):
            return float(content["tokens"]) / float(content["rows"])
    return min(TOKENS_PER_TRIPLE.get(study.corpus.source, TOKENS_PER_MEDI_TRIPLE), 3.0 * study.training.max_length)


def encoded_texts(study: Study) -> list[str]:
    """What every encoded model encodes: the tasks' texts, and the training texts' sample where something is fitted."""
    return [*study.tasks, *([TRAINING_TEXTS] if study.fits_on_training_texts else [])]


def tokens_of(study: Study, name: str, per_triple: float) -> float:
    """Tokens of a task's texts, from mteb's statistics (all languages of a task that has several: at most)."""
    if name == TRAINING_TEXTS:
        return study.corpus.sample_texts * per_triple / 3
    return (task_catalogue()[name]["characters"] or CHARACTERS_UNKNOWN) / CHARACTERS_PER_TOKEN


def jobs(study: Study) -> dict[str, int]:
    """How many jobs each rule has when nothing is made yet."""
    pairs = [(model, seed) for model in study.graph.models for seed in study.graph.seeds_of(model)]
    fetched = [p for p in pairs if study.graph.is_fetched(p[0])]
    trained = [p for p in pairs if study.graph.is_trained(p[0])]
    transformed = [p for p in pairs if p not in fetched and p not in trained]
    texts = encoded_texts(study)
    counts = {
        "download_pairs": int(study.needs_pairs and study.corpus.source == "medi"),
        "task": len(tasks_prepared(study)),
        "pairs": int(study.needs_pairs),
        "tokens": len({study.graph.root_of(model) for model, _ in trained}),
        "fetch": len(fetched),
        "transform": len(transformed),
        "train": len(trained),
        "embed": len(texts) * (len(fetched) + len(trained)),
        "embed_by_matrix": len(texts) * len(transformed),
        "score": len(study.tasks) * len(pairs),
        "curves": 1,
        "speed": 1,
        "figures": 1,
        "report": 1,
        "card": len(pairs),
    }
    return {rule: count for rule, count in counts.items() if count}


def tasks_prepared(study: Study) -> list[str]:
    """The tasks whose data are fetched: those scored, and those that the pairs are cleaned against."""
    return list(dict.fromkeys([*study.tasks, *(study.tasks_cleaned_against if study.needs_pairs else [])]))


# ---- what the hub says, where it can be asked


def downloads(study: Study) -> tuple[list[tuple[str, float | None]], str]:
    """(what, bytes) of everything that comes from the hub, None where nobody knows; and what the sizes stand on."""
    from workflow_scripts.hub import Kind, list_files
    from workflow_scripts.hub_retries import HubError

    reachable = True

    def size(repository: str, revision: str, kind: Kind, patterns: tuple[str, ...]) -> float | None:
        nonlocal reachable
        if reachable:
            try:
                return float(
                    sum(file.size for file in list_files(repository, revision, kind, patterns, waits=()).files)
                )
            except HubError as error:
                reachable = "no such" in str(error) or "token" in str(error)
                print(f"  ({error})", file=sys.stderr)
        return REPOSITORY_BYTES.get(repository)

    found: list[tuple[str, float | None]] = []
    if "download_pairs" in jobs(study):
        _, name, revision = parse_reference(study.corpus.repository)
        found.append((study.corpus.repository, size(name, revision or "main", "dataset", TASK_FILES)))
    for model in study.graph.models:
        if study.graph.is_fetched(model):
            kind, name, revision = parse_reference(study.graph.reference_of(model))
            if kind == "hub":
                found.append((study.graph.reference_of(model), size(name, revision or "main", "model", MODEL_FILES)))
    catalogue = task_catalogue()
    for task in tasks_prepared(study):
        entry = catalogue[task]
        if entry["dataset"] is not None:
            stated = size(entry["dataset"], entry["revision"], "dataset", TASK_FILES)
            found.append((f"{task} ({entry['dataset']})", stated or entry["characters"]))
    basis = "as the hub states" if reachable else "the hub could not be asked: from mteb's statistics, uncompressed"
    return found, basis


def disk(study: Study, fetched: list[tuple[str, float | None]], per_triple: float) -> list[tuple[str, float]]:
    """(what, bytes) that the study fills, as far as it can be told beforehand."""
    counts = jobs(study)
    catalogue = task_catalogue()
    texts = sum(catalogue[task]["texts"] or TEXTS_UNKNOWN for task in study.tasks)
    stored = 2 if study.encoding.precision == "float16" else 4
    embeddings = sum(
        texts * study.graph.width_of(model) * stored * len(study.graph.seeds_of(model)) for model in study.graph.models
    )
    _, repository, _ = parse_reference(study.corpus.repository)
    rows = ROWS.get(repository, 0) if study.corpus.source == "medi" else 0
    rows = min(rows, (study.corpus.rows_per_task or rows) * 330) if rows else 0
    sizes = dict(fetched)
    weights = 0.0
    for model, seeds in ((m, len(study.graph.seeds_of(m))) for m in study.graph.models):
        weights += seeds * (sizes.get(study.graph.reference_of(study.graph.root_of(model))) or 0.0)
    found = [
        ("downloads, and as much again in the hub's and datasets' caches", 2 * sum(b or 0.0 for _, b in fetched)),
        ("training pairs and their tokens", rows * (4 * per_triple + 2 * per_triple) if "pairs" in counts else 0.0),
        ("models", weights),
        ("embeddings", float(embeddings)),
    ]
    return [(what, size) for what, size in found if size]


# ---- throughput


def calibrate(study: Study, results: Path) -> tuple[float, str | None]:
    """(tokens/s, the GPU's name, None on a processor): forward and backward passes of the base's architecture with
    random weights, for a few seconds, at the study's precision and mean text length. Raises StudyError where the
    architecture is not known here, or is not run by tokens alone.
    """
    try:
        return _calibrate(study, results)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(
            f"no throughput is given (budget: tokens_per_second) and the base cannot be run here to measure it ({reason})"
        ) from error


def _calibrate(study: Study, results: Path) -> tuple[float, str | None]:
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(_configuration(study, _measured_root(study), results), trust_remote_code=False)
    if (dropout := study.training.dropout) is not None:
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
            if hasattr(config, key):
                setattr(config, key, dropout)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModel.from_config(config).to(device).train()  # type: ignore[no-untyped-call]
    length = int(min(max(tokens_per_triple(study, results) / 3, 8), study.training.max_length))
    rows = max(1, min(study.training.micro_tokens, 2048 if device.type == "cpu" else 65536) // length)
    tokens = torch.randint(5, int(config.vocab_size), (rows, length), device=device)
    autocast = study.training.dtype != "fp32" and device.type == "cuda"
    done, started = 0, time.monotonic()
    for step in range(10_000):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = model(input_ids=tokens).last_hidden_state.float().square().mean()
        loss.backward()
        loss.item()  # waits for the device
        if step == 1:  # the first two steps warm up
            done, started = 0, time.monotonic()
        done += tokens.numel()
        if step > 2 and time.monotonic() - started > CALIBRATION_SECONDS:
            break
    rate = (done - tokens.numel()) / (time.monotonic() - started)
    return rate, torch.cuda.get_device_name() if device.type == "cuda" else None


def _configuration(study: Study, root: str, results: Path) -> str:
    """A folder with the architecture's config.json: the fetched model, the package's or path's, or the hub's."""
    from workflow_scripts.hub import download_snapshot
    from workflow_scripts.hub_retries import HubError
    from workflow_scripts.study.references import package_model_folder

    made = results / "models" / root / f"s{study.seeds[0]}"
    if (made / "config.json").is_file():
        return str(made)
    kind, name, revision = parse_reference(study.graph.reference_of(root))
    folder = package_model_folder(name) if kind == "pypi" else Path(name)
    if kind == "hub":
        folder = results / ".plan"
        try:
            download_snapshot(name, revision or "main", folder, "model", ("config.json",), waits=())
        except HubError as error:
            raise StudyError(
                f"no throughput is given (budget: tokens_per_second) and none can be measured here ({error})"
            ) from None
    assert folder is not None  # the study was checked
    return str(folder)


def _measured_root(study: Study) -> str:
    """The fetched model whose throughput stands for the study's: that of the first trained one."""
    trained = [model for model in study.graph.models if study.graph.is_trained(model)]
    return study.graph.root_of((trained or study.graph.models)[0])


def _measured_for(study: Study) -> dict[str, Any]:
    """What a throughput depends on."""
    recipe = {key: getattr(study.training, key) for key in ("max_length", "dtype", "dropout", "micro_tokens")}
    return {"model": study.graph.reference_of(_measured_root(study)), **recipe}


def _measured_before(study: Study, results: Path) -> float | None:
    """The throughput that `plan` measured on a GPU for this base and recipe; None where it has not."""
    measured = results / "plan.json"
    if not measured.is_file():
        return None
    content = json.loads(measured.read_text())
    fits = content.get("gpu") and content.get("measured_for") == _measured_for(study)
    return float(content["tokens_per_second"]) if fits else None


def _manifest(path: Path, digest: str) -> dict[str, Any] | None:
    """A manifest whose artefact is complete."""
    if not (path.is_file() and (path.parent / digest).is_file()):
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


# ---- the page


def page(study: Study, results: Path, rate: float | None, basis: str) -> str:
    """The plan as text."""
    per_triple = tokens_per_triple(study, results)
    fetched, sizes = downloads(study)
    counts = jobs(study)
    lines = [f"Plan of the study {study.study!r}", "", f"Downloads ({sizes})" if fetched else "Downloads"]
    lines += [f"  {_bytes(size):>10}  {what}" for what, size in fetched] or ["  nothing from the hub"]
    if fetched:
        lines.append(
            f"  {_bytes(sum(size or 0.0 for _, size in fetched)):>10}  in all (at most: some tasks hold more languages)"
        )
    fills = disk(study, fetched, per_triple)
    lines += ["", "Disk (about)", *(f"  {_bytes(size):>10}  {what}" for what, size in fills)]
    lines.append(f"  {_bytes(sum(size for _, size in fills)):>10}  in all")
    lines += ["", "Jobs", *(f"  {count:>10,}  {rule}" for rule, count in counts.items())]
    lines.append(f"  {sum(counts.values()):>10,}  in all")
    of_models = costs(study, results)
    width = max(len(cost.model) for cost in of_models)
    lines += ["", f"GPU-hours (about): {basis}; {per_triple:.0f} tokens a triple"]
    heads = ["seeds", " steps", "M tokens trained", "encoded"]
    heads += ["hours training", "encoding", "  in all"] if rate else []
    lines.append("  ".join([f"  {'variant':{width}}", *heads]))
    for cost in of_models:
        cells = [f"{cost.seeds:,}", f"{cost.steps:,}"]
        cells += [f"{cost.training_tokens / 1e6:,.1f}", f"{cost.encoding_tokens / 1e6:,.1f}"]
        if rate:
            cells += [f"{hours:,.2f}" for hours in (*cost.hours(rate), sum(cost.hours(rate)))]
        lines.append("  ".join([f"  {cost.model:{width}}", *map(str.rjust, cells, map(len, heads))]))
    if rate is None:
        return "\n".join(lines) + "\n"
    left, spent = gpu_hours(of_models, rate)
    lines.append(f"  {'in all':{width}}  " + f"{left:,.2f}".rjust(len("  ".join(heads))))
    if spent >= 0.005:
        lines.append(f"  spent on what is there already: {spent:,.2f}")
    if (limit := study.budget.gpu_hours) is not None:
        lines.append(
            f"  allowed (budget: gpu_hours): {limit:g}; " + ("enough" if left + spent <= limit else "NOT enough")
        )
    return "\n".join(lines) + "\n"


def _bytes(size: float | None) -> str:
    if size is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what a study will download, fill, run and cost.")
    parser.add_argument("--settings", required=True, help="JSON: the whole study")
    parser.add_argument("--results", required=True, type=Path, help="results/<study>")
    arguments = parser.parse_args()
    results: Path = arguments.results
    try:
        study = load_study(json.loads(arguments.settings)["study"])
        rate = study.budget.tokens_per_second
        basis = f"at {rate:,.0f} tokens/s in training (budget: tokens_per_second)" if rate else ""
        if rate is None:
            from workflow_scripts.artefact import write_json

            try:
                rate, gpu = calibrate(study, results)
            except StudyError as error:
                basis = f"unknown: {error}"
            else:
                where = gpu or "this machine's processor: no GPU was seen, and these are hours of the processor"
                basis = f"at {rate:,.0f} tokens/s in training, measured on {where}"
                measured = {"tokens_per_second": rate, "gpu": gpu, "measured_for": _measured_for(study)}
                write_json(results / "plan.json", measured)
        print(page(study, results, rate, basis), end="")
    except StudyError as error:
        sys.exit(f"configuration: {error}")


if __name__ == "__main__":
    main()
