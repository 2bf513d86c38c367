"""The frontier: for each number of bytes the best codec or search, of each model and of all models and trainings.

Takes the mean of each task type with its samples, and what the models cost; leaves the rows of frontier.parquet and the
fewest bytes that keep a share, for the first sentence of the report.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from workflow_scripts.curves import statistics
from workflow_scripts.curves.answer import ModelEntry, StorageAdvice
from workflow_scripts.curves.describe import Stored, codec_words, fitted_on_training_texts
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.recommendations import SHARES
from workflow_scripts.curves.schemas import ALL_MODELS, ANY, ENGINES, OWN, REFERENCE, RESCORING, number

RESOURCES = ("memory", "read")


class Winner(NamedTuple):
    """The chosen candidate (its place), its estimate as measured, and what it keeps once the choice is accounted for."""

    place: int
    value: float
    corrected: float
    low: float
    high: float


class Candidate(NamedTuple):
    """One codec or search of one model, and the size by which it is chosen: bytes in memory per vector, or read per query."""

    model: str
    cell: str
    size: float


def reference_of(group: Group, models: list[ModelEntry]) -> str | None:
    """The fetched model with the highest full-width score: what a study starts from."""
    fetched = [m.name for m in models if m.parent is None and m.name in group.cells]
    scores = {name: _full_score(group, name) for name in fetched}
    known = [name for name in fetched if np.isfinite(scores[name])]
    return max(known, key=lambda name: scores[name], default=None)


def frontier_rows(group: Group, models: list[ModelEntry], confidence: float) -> list[dict[str, Any]]:
    """Every point of every frontier of a task type: see FRONTIER_SCHEMA."""
    reference = reference_of(group, models)
    cost = {model.name: model.cost.total for model in models}
    rows = []
    for scope in [*group.cells, ALL_MODELS]:
        for of in (OWN, REFERENCE):
            base = reference if of == REFERENCE else scope
            if base is None or (scope, of) == (ALL_MODELS, OWN) or group.full_width(base) is None:
                continue
            members = list(group.cells) if scope == ALL_MODELS else [scope]
            for engine in (ANY, RESCORING):
                for resource in RESOURCES:
                    candidates = candidates_of(group, members, engine, resource)
                    for winner in frontier(group, candidates, base, confidence):
                        chosen = candidates[winner.place]
                        rows.append(
                            {
                                "task_type": group.task_type,
                                "scope": scope,
                                "of": of,
                                "engine": engine,
                                "resource": resource,
                                "bytes": chosen.size,
                                **described(group, chosen),
                                "score": number(float(group.pick(chosen.model, [chosen.cell]).score.mean())),
                                "share_measured": number(winner.value),
                                "share": number(winner.corrected),
                                "share_low": number(winner.low),
                                "share_high": number(winner.high),
                                "seconds": cost[chosen.model].seconds,
                                "flops": cost[chosen.model].flops,
                            }
                        )
    return rows


def storage_advice(group: Group, confidence: float) -> list[StorageAdvice]:
    """The fewest bytes in memory that keep each share of a model's own full width, by what the index takes."""
    advice = []
    for model in group.cells:
        full = group.full_width(model)
        if full is None:
            continue
        floats = candidates_of(group, [model], "floats", "memory")
        without = candidates_of(group, [model], ANY, "memory")
        for engine in ENGINES:
            candidates = candidates_of(group, [model], engine, "memory")
            if (engine not in ("floats", ANY) and candidates == floats) or (
                engine == RESCORING and candidates == without
            ):
                continue  # nothing was measured that this index takes and the one before does not
            winners = frontier(group, candidates, model, confidence)
            for wanted in SHARES:
                found = StorageAdvice(
                    task_type=group.task_type,
                    variant=model,
                    engine=engine,
                    share=wanted,
                    full_bytes=group.codecs[full].bytes,
                )
                if (winner := smallest(winners, wanted)) is not None:
                    chosen = candidates[winner.place]
                    about = described(group, chosen)
                    found = found.model_copy(
                        update={
                            "choice": chosen.cell,
                            "words": about["words"],
                            "fitted": fitted(group, chosen),
                            "bytes": about["bytes_in_memory"],
                            "bytes_read": about["bytes_read"],
                            "kept": number(winner.corrected),
                            "kept_low": number(winner.low),
                            "kept_high": number(winner.high),
                        }
                    )
                advice.append(found)
    return advice


def candidates_of(group: Group, models: list[str], engine: str, resource: str) -> list[Candidate]:
    """What an engine can hold, of these models: by bytes in memory codecs and searches, by bytes read searches alone
    (one that reads every vector is among them)."""
    precisions = ENGINES[engine]
    found = []
    for model in models:
        for cell in group.cells[model]:
            if (codec := group.codecs.get(cell)) is not None:
                if resource == "memory" and (precisions is None or codec.precision in precisions):
                    found.append(Candidate(model, cell, codec.bytes))
            elif (search := group.searches[cell]).stages and engine == RESCORING:
                size = search.bytes_in_memory if resource == "memory" else search.bytes_read
                found.append(Candidate(model, cell, size))
            elif resource == "read" and not search.stages:
                found.append(Candidate(model, cell, search.bytes_read))
    return found


def frontier(group: Group, candidates: list[Candidate], base: str, confidence: float) -> list[Winner]:
    """The best candidate within each size, from the smallest up, each better than all that are no larger.

    The share is of the full width of the model `base`.
    """
    full_cell = group.full_width(base)
    if full_cell is None or not candidates:
        return []
    full = group.pick(base, [full_cell])
    value, low, high = (np.full(len(candidates), np.nan) for _ in range(3))
    for model in dict.fromkeys(candidate.model for candidate in candidates):
        places = [i for i, candidate in enumerate(candidates) if candidate.model == model]
        kept = statistics.share(group.pick(model, [candidates[i].cell for i in places]), full, 0.0, confidence)
        value[places], low[places], high[places] = kept.value, kept.low, kept.high
    best: list[Winner] = []
    for i in sorted(range(len(candidates)), key=lambda i: (candidates[i].size, -value[i])):
        if np.isfinite(value[i]) and (not best or value[i] > best[-1].value):
            best.append(Winner(i, float(value[i]), float(value[i]), float(low[i]), float(high[i])))
    return best


def smallest(winners: list[Winner], wanted: float) -> Winner | None:
    """The first point of a frontier from which on every larger one keeps at least `wanted` with confidence."""
    answer = None
    for winner in reversed(winners):
        if not winner.low >= wanted:
            break
        answer = winner
    return answer


def described(group: Group, chosen: Candidate) -> dict[str, Any]:
    """A candidate as columns: its model, its name, what it is in words, and its bytes."""
    full = group.full_width(chosen.model)
    width = group.codecs[full].dim if full else 0
    columns = {"variant": chosen.model, "choice": chosen.cell, "full_bytes": group.codecs[full].bytes if full else None}
    if (codec := group.codecs.get(chosen.cell)) is not None:
        stored = Stored(codec.transform, codec.dim, codec.precision, codec.queries, codec.bytes)
        return columns | {
            "words": codec_words(stored, width),
            "transform": codec.transform,
            "dim": codec.dim,
            "precision": codec.precision,
            "queries": codec.queries,
            "bytes_in_memory": codec.bytes,
            "bytes_read": None,
        }
    search = group.searches[chosen.cell]
    return columns | {
        "words": search_words(group, chosen.cell, width),
        "transform": None,
        "dim": None,
        "precision": None,
        "queries": None,
        "bytes_in_memory": search.bytes_in_memory,
        "bytes_read": search.bytes_read,
    }


def search_words(group: Group, name: str, width: int) -> str:
    """`all 384 dimensions at 1 bit, 20 candidates re-scored by all 384 dimensions at 8 bits`."""
    search = group.searches[name]

    def words(cell: str) -> str:
        codec = group.codecs.get(cell)
        if codec is None:
            return cell
        return codec_words(Stored(codec.transform, codec.dim, codec.precision, codec.queries, codec.bytes), width)

    said = words(search.stages[0][0]) if search.stages else words(search.rescore)
    for (_, candidates), following in zip(
        search.stages, [*(cell for cell, _ in search.stages[1:]), search.rescore], strict=True
    ):
        said += f", {candidates} candidates re-scored by {words(following)}"
    return said


def fitted(group: Group, chosen: Candidate) -> str:
    """What was fitted on training texts for this choice, in words; empty where nothing was."""
    search = group.searches.get(chosen.cell)
    cells = [chosen.cell] if search is None else [*(cell for cell, _ in search.stages), search.rescore]
    codecs = [group.codecs[cell] for cell in cells if cell in group.codecs]
    parts = [fitted_on_training_texts(codec.transform, codec.precision) for codec in codecs]
    return " and ".join(dict.fromkeys(part for part in parts if part))


def _full_score(group: Group, model: str) -> float:
    full = group.full_width(model)
    return float("nan") if full is None else float(group.pick(model, [full]).score.mean())
