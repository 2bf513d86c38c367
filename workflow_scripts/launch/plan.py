"""A plan before the money: what a study will download, fill, run and cost, before it runs.

Takes the study's settings and what of it is made already; leaves a page on the terminal and, where it measured the
throughput, `results/<study>/plan.json`. The Snakefile asks `refusal` before any job: a study above its
`budget: gpu_hours` is not started. Estimates, and each says what it stands on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path

from workflow_scripts.artefact import write_json
from workflow_scripts.command_line import parser, run
from workflow_scripts.launch.calibration import calibrate, measured_before, measured_for
from workflow_scripts.launch.costs import Job, costs, gpu_hours, jobs, tokens_per_triple
from workflow_scripts.launch.downloads import Limits, disk, downloads, human
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError


def refusal(study: Study, results: Path, planned: Collection[Job] = ()) -> str | None:
    """Why the study must not start, in one line; None where it may. `planned`: see `costs`."""
    limit = study.budget.gpu_hours
    if limit is None:
        return None
    of_models = costs(study, results, planned)
    if not any(cost.training_tokens or cost.encoding_tokens for cost in of_models):
        return None
    rate = study.budget.tokens_per_second or measured_before(study, results)
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


def page(study: Study, results: Path, rate: float | None, basis: str, limits: Limits | None = None) -> str:
    """The plan as text; `limits`: of the machines that it would run on."""
    per_triple = tokens_per_triple(study, results)
    fetched, sizes = downloads(study)
    counts = jobs(study)
    lines = [f"Plan of the study {study.study!r}", "", f"Downloads ({sizes})" if fetched else "Downloads"]
    lines += [f"  {human(size):>10}  {what}" for what, size in fetched] or ["  nothing from the hub"]
    if fetched:
        lines.append(
            f"  {human(sum(size or 0.0 for _, size in fetched)):>10}  in all (at most: some repositories hold more languages)"
        )
    fills = disk(study, fetched, per_triple, limits)
    lines += ["", "Disk (about)", *(f"  {human(size):>10}  {what}" for what, size in fills)]
    lines.append(f"  {human(sum(size for _, size in fills)):>10}  in all")
    lines += ["", "Jobs", *(f"  {count:>10,}  {rule}" for rule, count in counts.items())]
    lines.append(f"  {sum(counts.values()):>10,}  in all")
    if study.fits_on_held_out:
        lines += [
            "",
            f"Held out of every search: {study.corpus.sample_texts:,} documents of its task, a quarter at most; own vectors are fitted on them"
            " (of labelled rows: on training rows).",
        ]
    if not study.encodes:
        return "\n".join([*lines, "", "Nothing is encoded: no GPU is needed."]) + "\n"
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


def main() -> None:
    command = parser(__doc__, settings="the whole study, under `study`")
    command.add_argument("--results", required=True, type=Path, help="results/<study>")
    command.add_argument("--jobs", type=int, help="jobs that run at once")
    command.add_argument("--store-mb", type=int, help="stores that they may hold together (resource store_mb), in MB")
    arguments = command.parse_args()
    limits = None
    if arguments.jobs:
        limits = Limits(arguments.jobs, 1e6 * arguments.store_mb if arguments.store_mb else math.inf)
    run(lambda: plan(load_study(json.loads(arguments.settings)["study"]), arguments.results, limits))


def plan(study: Study, results: Path, limits: Limits | None = None) -> None:
    """Print the plan; measure the throughput first where the study gives none."""
    rate = study.budget.tokens_per_second
    basis = f"at {rate:,.0f} tokens/s in training (budget: tokens_per_second)" if rate else ""
    if rate is None and study.encodes:
        try:
            rate, gpu = calibrate(study, results)
        except StudyError as error:
            basis = f"unknown: {error}"
        else:
            where = gpu or "this machine's processor: no GPU was seen, and these are hours of the processor"
            basis = f"at {rate:,.0f} tokens/s in training, measured on {where}"
            measured = {"tokens_per_second": rate, "gpu": gpu, "measured_for": measured_for(study)}
            write_json(results / "plan.json", measured)
    print(page(study, results, rate, basis, limits), end="")


if __name__ == "__main__":
    main()
