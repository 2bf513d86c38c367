"""The frontier: for each number of bytes the best codec or search, of each model and of all models and trainings.

Takes the mean of each task type with its samples, and what the models cost; leaves the rows of frontier.parquet and the
fewest bytes that keep a share, for the first sentence of the report.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from workflow_scripts.curves import winner
from workflow_scripts.curves.describe import Stored, codec_words, fitted_on_training_texts
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.indexes import ANY, ENGINES, RESCORING
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.recommendations import SHARES
from workflow_scripts.curves.schemas import ALL_MODELS, OWN, REFERENCE, number
from workflow_scripts.curves.summary import ModelEntry, StorageAdvice

RESOURCES = ("memory", "read")


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


class Shares:
    """The shares that every codec and search of a group keeps, computed once for each model and full width."""

    def __init__(self, group: Group, confidence: float) -> None:
        self.group, self.confidence = group, confidence
        self.known: dict[tuple[str, str], winner.Candidates] = {}

    def of(self, candidates: list[Candidate], base: str) -> winner.Candidates:
        """What these candidates keep of the full width of the model `base`, in their order; models one after another."""
        group = self.group
        full_cell = group.full_width(base)
        assert full_cell is not None, f"{base}: no full width"
        full = group.pick(base, [full_cell])
        parts = []
        for model in dict.fromkeys(candidate.model for candidate in candidates):
            if (model, base) not in self.known:
                self.known[model, base] = winner.of_share(group.samples[model], full, 0.0, self.confidence)
            where = {cell: place for place, cell in enumerate(group.cells[model])}
            places = [where[candidate.cell] for candidate in candidates if candidate.model == model]
            whole = self.known[model, base]
            estimate = Estimate(*(part[places] for part in whole.estimate))
            parts.append(whole._replace(estimate=estimate, loadings=whole.loadings[places]))
        return parts[0] if len(parts) == 1 else winner.join(parts)

    def frontier(self, candidates: list[Candidate], base: str) -> list[winner.Winner]:
        """The best candidate within each size, from the smallest up, corrected for the choice."""
        if not candidates:
            return []
        return winner.frontier(self.of(candidates, base), np.array([candidate.size for candidate in candidates]))

    def best(self, candidates: list[Candidate], base: str) -> tuple[Candidate, winner.Winner] | None:
        """The last point of the frontier as it is drawn (`rising`); None where there is none."""
        if not candidates:
            return None
        found = winner.best(self.of(candidates, base), np.array([candidate.size for candidate in candidates]))
        return None if found is None else (candidates[found.place], found)

    def fewest(self, candidates: list[Candidate], base: str, wanted: float) -> tuple[Candidate, winner.Winner] | None:
        """The first point of the frontier from which on all keep at least `wanted` with confidence."""
        if not candidates:
            return None
        sizes = np.array([candidate.size for candidate in candidates])
        found = winner.fewest(self.of(candidates, base), sizes, wanted)
        return None if found is None else (candidates[found.place], found)


def frontier_rows(
    group: Group, shares: Shares, reference: str | None, beside: Group, models: list[ModelEntry]
) -> list[dict[str, Any]]:
    """Every point of every frontier of a task type: see FRONTIER_SCHEMA. `beside`: the group with the models that can be set beside the
    reference."""
    cost = {model.name: model.cost.total for model in models}
    rows = []
    measured = [model for model in group.cells if group.full_width(model) is not None]
    for scope in [*measured, ALL_MODELS]:
        for of in (OWN, REFERENCE):
            base = reference if of == REFERENCE else scope
            if base is None or (scope, of) == (ALL_MODELS, OWN):
                continue
            members = [name for name in measured if name in beside.cells] if scope == ALL_MODELS else [scope]
            if of == REFERENCE and not set(members) <= set(beside.cells):
                continue
            for engine in (ANY, RESCORING):
                for resource in RESOURCES:
                    candidates = candidates_of(group, members, engine, resource)
                    if engine == RESCORING and not any(candidate.cell in group.searches for candidate in candidates):
                        continue  # the same as without searches
                    for point in shares.frontier(candidates, base):
                        chosen = candidates[point.place]
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
                                "share_measured": number(point.value),
                                "share": number(point.corrected),
                                "share_low": number(point.low),
                                "share_high": number(point.high),
                                "seconds": cost[chosen.model].seconds,
                                "flops": cost[chosen.model].flops,
                            }
                        )
    return rows


def storage_advice(group: Group, shares: Shares, reference: str | None) -> list[StorageAdvice]:
    """The fewest bytes in memory that keep each share of a model's own full width; of the reference by what the index
    takes, of the others in any index. An index that takes more has more to choose from, for which its interval is corrected: it may
    need more bytes to be sure. The fewest over all kinds of index would be one more choice, and twice as often false (simulated)."""
    advice = []
    for model in group.cells:
        full = group.full_width(model)
        if full is None:
            continue
        floats = candidates_of(group, [model], "floats", "memory")
        without = candidates_of(group, [model], ANY, "memory")
        for engine in ENGINES if model == reference else (ANY,):
            candidates = candidates_of(group, [model], engine, "memory")
            if (engine not in ("floats", ANY) and candidates == floats) or (
                engine == RESCORING and candidates == without
            ):
                continue  # nothing was measured that this index takes and the one before does not
            for wanted in SHARES:
                found: dict[str, Any] = {}
                if (best := shares.fewest(candidates, model, wanted)) is not None:
                    chosen, point = best
                    about = described(group, chosen)
                    found = {
                        "choice": chosen.cell,
                        "words": about["words"],
                        "fitted": fitted(group, chosen),
                        "bytes": about["bytes_in_memory"],
                        "bytes_read": about["bytes_read"],
                        "kept": number(point.corrected),
                        "kept_low": number(point.low),
                        "kept_high": number(point.high),
                    }
                advice.append(
                    StorageAdvice(
                        task_type=group.task_type,
                        variant=model,
                        engine=engine,
                        share=wanted,
                        full_bytes=group.codecs[full].bytes,
                        **found,
                    )
                )
    return advice


def candidates_of(group: Group, models: list[str], engine: str, resource: str) -> list[Candidate]:
    """What an engine can hold, of these models: codecs, and with re-scoring searches; by bytes read those alone whose
    reading is known."""
    precisions = ENGINES[engine]
    found = []
    for model in models:
        for cell in group.cells[model]:
            if (codec := group.codecs.get(cell)) is not None:
                size = codec.bytes if resource == "memory" else group.bytes_read.get(cell)
                if size is not None and (precisions is None or codec.precision in precisions):
                    found.append(Candidate(model, cell, size))
            elif engine == RESCORING:
                search = group.searches[cell]
                size = search.bytes_in_memory if resource == "memory" else search.bytes_read
                found.append(Candidate(model, cell, size))
    return found


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
            "bytes_read": group.bytes_read.get(chosen.cell),
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
