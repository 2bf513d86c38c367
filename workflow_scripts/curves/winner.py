"""What a codec that was chosen on the data truly keeps: estimate and interval corrected for the choice.

Takes the shares (or scores) of candidates with how they vary together; leaves, for the best of them within a number of
bytes, an estimate that the choice does not flatter, and the fewest bytes that surely keep enough.

The best of thirty candidates that are equally good looks one to two standard errors better than it is, and its own
interval covers what it keeps in 45 to 88% of studies instead of 95% (simulated, errors independent or correlated by
0.8). The correction: choose on one half of the queries or test texts, see by how much less the choice is worth on the
other half, both ways and over all ways to halve. Half of the data is noisier by the root of 2, so the flattery on all of
them is that difference over the root of 2; it is taken off. No units need be split for that: with X the values and Z
noise of the covariance of X, the two halves are distributed as X + Z and X - Z (Rasines and Young 2023, "Splitting
strategies for post-selection inference", Biometrika 110), so Z is drawn from what resampling already tells, training
draws and seeds included. The interval keeps the winner's own width around the corrected value: simulated, it covers
92 to 98% (see docs/statistics.md).

What was tried and left: estimating on the other half alone covers 85 to 91%, as one choice per half is noisy, and what
is estimated is partly another candidate than the one recommended. Conditioning on the choice (Lee, Sun, Sun and Taylor
2016; the hybrid of Andrews, Kitagawa and McCloskey 2024, "Inference on winners") covers 94 to 97%, but two
candidates that tie by chance get an estimate four standard errors below what either measured. No library that this
study uses has any of them.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workflow_scripts.curves import intervals
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.resampling import Array, Sample

Places = npt.NDArray[np.int64]

HALVINGS = 400  # pairs of halves drawn: the correction is then known to 0.03 standard errors


class Candidates(NamedTuple):
    """What one chooses among: `estimate` of each, with its own interval; `loadings` (candidates, columns), whose products
    are the covariances of the values (`loadings @ loadings.T`), the last `own_columns` of which no other model's
    candidates share (training seeds)."""

    estimate: Estimate
    loadings: npt.NDArray[np.float32]
    own_columns: int


class Winner(NamedTuple):
    """The chosen candidate (its place), its estimate as measured, and what it keeps once the choice is accounted for."""

    place: int
    value: float
    corrected: float
    low: float
    high: float


def of_share(sample: Sample, full: Sample, chance: float, confidence: float) -> Candidates:
    """The cells of one model by the share that they keep: (score - chance) / (full - chance); see intervals.share.

    `full` holds one cell, of the same model or of any other with the same resamples (say, the study's base).
    """
    estimate = intervals.share(sample, full, chance, confidence)
    kept = intervals.combine(sample, full, -np.nan_to_num(estimate.value))
    return _candidates(estimate, kept, float(full.score.mean()) - chance, confidence)


def join(parts: list[Candidates]) -> Candidates:
    """Candidates of several models as one list, in order: they share test texts and queries, and no training seeds."""
    own = sum(part.own_columns for part in parts)
    # Columns of training draws may be missing where a model has no outcomes: zeros in their place.
    width = max(part.loadings.shape[1] - part.own_columns for part in parts)
    rows, start = [], 0
    for part in parts:
        shared, mine = np.split(part.loadings, [part.loadings.shape[1] - part.own_columns], axis=1)
        behind = own - start - part.own_columns
        rows.append(
            np.hstack([np.pad(shared, ((0, 0), (0, width - shared.shape[1]))), np.pad(mine, ((0, 0), (start, behind)))])
        )
        start += part.own_columns
    estimate = Estimate(*(np.concatenate(arrays) for arrays in zip(*(part.estimate for part in parts), strict=True)))
    return Candidates(estimate, np.concatenate(rows), own)


def best(candidates: Candidates, size: Array) -> Winner | None:
    """The point of the frontier (see there) that keeps the most once the choice is accounted for, the last of equals: where the
    line that is drawn ends. None where nothing has a value."""
    return max(reversed(frontier(candidates, size)), key=lambda point: point.corrected, default=None)


def frontier(candidates: Candidates, size: Array) -> list[Winner]:
    """The best candidate within each size (bytes), from the smallest size up: those that nothing as small or smaller
    beats. `size`: (candidates,), in any unit."""
    places = np.flatnonzero(np.isfinite(candidates.estimate.value))
    places = places[np.argsort(size[places], kind="stable")]
    if not len(places):
        return []
    value, noise = candidates.estimate.value[places], _noise(candidates, places)
    chosen = _running_argmax(value[:, None])[:, 0]
    # (candidates, halvings): the noise of what would have been chosen on that half, of all up to this size
    flattery = np.sqrt(2) * np.take_along_axis(noise, _running_argmax(value[:, None] + noise), 0).mean(1)
    lasts = np.flatnonzero(np.diff(size[places], append=np.inf) > 0)
    rows, before = [], -1
    for last in lasts:
        if (place := int(chosen[last])) != before:
            rows.append(_winner(candidates, int(places[place]), float(flattery[last])))
        before = place
    return rows


def difference(
    first: Winner, second: Winner, samples: tuple[Sample, Sample], over: float, confidence: float
) -> Estimate:
    """By how much one winner scores higher than the other, paired, one cell: corrected for both choices.

    The winners are shares of the score `over`; `samples`: the scores of both, a cell each, with the same resamples.
    """
    paired = intervals.difference(*samples, confidence)
    flattery = over * ((first.value - first.corrected) - (second.value - second.corrected))
    value, low, high = (part - flattery for part in paired[:3])
    return paired._replace(value=value, low=low, high=high)


def fewest(candidates: Candidates, size: Array, wanted: float) -> Winner | None:
    """The first point of the frontier (see there) from which on all keep at least `wanted` with their corrected lower ends;
    None where the last does not.

    Sizes are tried from the largest down to the first that fails, so their number needs no correction: a false claim needs the
    first size that keeps too little to pass (fixed-sequence testing; Maurer, Hothorn and Lehmacher 1995).
    """
    found = None
    for point in reversed(frontier(candidates, size)):
        if not point.low >= wanted:
            break
        found = point
    return found


def _candidates(estimate: Estimate, sample: Sample, over: float, confidence: float) -> Candidates:
    shared, own = intervals.loadings(sample, confidence)
    return Candidates(estimate, (np.hstack([shared, own]) / over).astype(np.float32), own.shape[1])


def _noise(candidates: Candidates, places: Places) -> Array:
    """By how much one half's values differ from all: (candidates, halvings), each halving with its two halves."""
    loadings = np.nan_to_num(candidates.loadings[places])
    one = (loadings @ _columns(loadings.shape[1])).astype(np.float64)
    return np.hstack([one, -one])


@functools.lru_cache(maxsize=4)
def _columns(count: int) -> npt.NDArray[np.float32]:
    """Standard normal noise (columns, halvings), the same for every frontier."""
    return np.random.default_rng(0).standard_normal((count, HALVINGS), dtype=np.float32)


def _running_argmax(value: Array) -> Places:
    """The place of the highest value so far, along the first axis; the first of equals."""
    highest = np.maximum.accumulate(value)
    new = np.vstack([np.ones((1, value.shape[1]), bool), value[1:] > highest[:-1]])
    found: Places = np.maximum.accumulate(np.where(new, np.arange(len(value))[:, None], 0))
    return found


def _winner(candidates: Candidates, place: int, flattery: float) -> Winner:
    value, low, high = (float(part[place]) for part in candidates.estimate[:3])
    if low == high:  # it does not vary at all, as the full width's share of itself: no luck made it look better
        flattery = 0.0
    return Winner(place, value, value - flattery, low - flattery, high - flattery)
