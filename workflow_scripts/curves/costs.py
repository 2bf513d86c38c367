"""What each model cost to make, and the cost frontier: the models that more work makes better, with confidence.

Takes the models' manifests and the mean of each task type; leaves the summary's models and its cost frontier.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.artefact import read_json
from workflow_scripts.curves import intervals, resampling
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.kinds import devices_of
from workflow_scripts.curves.schemas import COSTS, number
from workflow_scripts.curves.summary import Amounts, Cost, CostStep, ModelEntry


def costs(results: Path, models: list[Model]) -> list[ModelEntry]:
    """What each model cost by itself and with all its ancestors, as means over seeds; null where not known."""
    totals: dict[str, dict[str, float | None]] = {}
    devices: dict[str, set[str]] = {}
    described = []
    for model in models:
        manifests = [
            read_json(path)
            for seed in model.seeds
            if (path := results / "models" / model.name / f"s{seed}" / "model.json").exists()
        ]
        given = [manifest.get("cost") or {} for manifest in manifests]
        own: dict[str, float | None] = {}
        total: dict[str, float | None] = {}
        for unit in COSTS:
            known = [cost[unit] for cost in given if cost.get(unit) is not None]
            # A fetched model exists already: fetching it is no part of making it smaller.
            own[unit] = 0.0 if model.parent is None else float(np.mean(known)) if known else None
            before = 0.0 if model.parent is None else totals[model.parent][unit]
            mine = own[unit]
            total[unit] = None if mine is None or before is None else mine + before
        totals[model.name] = total
        devices[model.name] = set() if model.parent is None else devices[model.parent] | devices_of_costs(given)
        described.append(
            ModelEntry(
                name=model.name,
                parent=model.parent,
                reference=next((manifest.get("reference") for manifest in manifests), model.vectors or None),
                nested=model.nested,
                rotated=model.rotated,
                trained=model.trained,
                adapted=model.adapted,
                width=model.width,
                steps=model.steps,
                seeds=list(model.seeds),
                cost=Cost(
                    own=Amounts.model_validate(own),
                    total=Amounts.model_validate(total),
                    devices=sorted(devices[model.name]),
                ),
                pooling=next((said for manifest in manifests if (said := manifest.get("pooling"))), None),
                vectors=bool(model.vectors),
            )
        )
    return described


def devices_of_costs(given: Iterable[dict[str, Any]]) -> set[str]:
    """The kinds of the devices in the `cost` of manifests, without the number of threads; of what took no computing, none."""
    computed = (cost for cost in given if cost.get("steps") != 0 or cost.get("flops") != 0)
    return {
        device.partition(",")[0] if device.startswith("cpu") else device
        for cost in computed
        if (device := cost.get("device"))
    }


def devices_note(models: list[ModelEntry]) -> list[str]:
    """That seconds do not compare, where models were made on several kinds of devices."""
    found = devices_of(models)
    if len(found) < 2:
        return []
    return [
        f"Models were made on several kinds of devices ({', '.join(found)}): their seconds do not compare with one another."
    ]


def comparable(group: Group) -> tuple[dict[int, str], list[str]]:
    """The widest model's prefix codecs by dimension, and the models that have a score, a finite one, at each of them."""
    curve = max((group.curve(model) for model in group.cells), key=lambda c: list(c)[-1:], default={})
    wanted = list(curve.values())
    able = [name for name in group.cells if wanted and set(wanted) <= set(group.cells[name])]
    return curve, [name for name in able if np.isfinite(group.pick(name, wanted).score).all()]


def cost_frontier(group: Group, models: list[ModelEntry], confidence: float) -> list[CostStep]:
    """From the cheapest model up, each with a larger area under the curve than the last one, with confidence.

    Cheap: by floating-point operations where all are known, as they do not depend on the machine; else by seconds or
    steps. Seconds are left out where the models were made on several kinds of devices. Larger: the area under score over log2(dimension) at every dimension, paired difference, p corrected for the
    number of models (Bonferroni). Of models that cost the same, the highest comes first. Empty where costs are not known.
    """
    curve, able = comparable(group)
    dims, codecs = list(curve), list(curve.values())
    total = {model.name: model.cost.total.model_dump() for model in models}

    def known(*units: str) -> str | None:
        return next((unit for unit in units if all(total[name][unit] is not None for name in able)), None)

    if len(devices_of(model for model in models if model.name in able)) > 1:
        order = unit = known("flops", "steps")
    else:
        order, unit = known("flops", "seconds", "steps"), known("seconds", "steps", "flops")
    if len(dims) < 2 or order is None or unit is None:
        return []
    areas = {name: intervals.level(resampling.area(group.pick(name, codecs), dims), confidence) for name in able}
    steps: list[CostStep] = []
    for name in sorted(able, key=lambda name: (total[name][order], -areas[name].value[0])):
        gain: dict[str, float | None] = {}
        if steps:
            pair = (name, steps[-1].variant)
            first, second = (resampling.area(group.pick(model, codecs), dims) for model in pair)
            found = intervals.difference(first, second, confidence)
            if not (found.value[0] > 0 and intervals.p_values(found)[0] * (len(able) - 1) < 1 - confidence):
                continue
            gain = {
                "gain": number(found.value[0]),
                "gain_low": number(found.low[0]),
                "gain_high": number(found.high[0]),
            }
        steps.append(
            CostStep(
                variant=name,
                task_type=group.task_type,
                order=order,
                unit=unit,
                cost=total[name][unit],
                from_dim=dims[0],
                to_dim=dims[-1],
                area=number(areas[name].value[0]),
                low=number(areas[name].low[0]),
                high=number(areas[name].high[0]),
                **gain,
            )
        )
    return steps
