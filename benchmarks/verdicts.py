"""Do verdicts and intervals hold? Simulated studies with known truth, through the project's own intervals.

    python benchmarks/verdicts.py [--json FILE] [--studies 1500] [--only TEXT]

For each setting: the share of studies in which two models that do not differ are called different at a nominal 5%
(`false_verdicts`), and the share whose nominal 95% interval holds the truth (`coverage`), of a difference, of a share
kept and of the frontier's winner; how often 98% is said to be kept where it is not (`false_claims`); the power to find 0.02 of accuracy beside McNemar's test and a paired t test over
texts. Classification is a classifier (ridge regression, ten draws of a pool, as mteb draws) on made vectors whose noise
tells the models apart; retrieval is made values per query. A row takes from a second to two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workflow_scripts.curves import intervals, population, resampling, winner
from workflow_scripts.curves.resampling import Sample

Array = npt.NDArray[np.float64]
Outcomes = npt.NDArray[np.bool_]

RESAMPLES = 1000
EXPERIMENTS = 10
WIDTH = 32  # coordinates of the made vectors
DRAWN = 8  # training examples of a class in a draw
NOISE = 0.15  # of a model's vectors, beside a spread of 1 within a class


class Figure(NamedTuple):
    """`kind`: false_verdicts, false_claims, coverage or winner; `told`: the share of studies in which the report says that few units
    make up the difference, so that it does not hold."""

    kind: str
    name: str
    value: float
    told: float = 0.0


class Classes(NamedTuple):
    """A population of texts: class means `(classes, width)`; vectors spread around them."""

    means: npt.NDArray[np.float32]

    def vectors(self, rng: np.random.Generator, each: int) -> npt.NDArray[np.float32]:
        """`(classes, each, width)`"""
        spread = rng.standard_normal((len(self.means), each, WIDTH), dtype=np.float32) / np.sqrt(WIDTH)
        found: npt.NDArray[np.float32] = self.means[:, None] + spread.astype(np.float32)
        return found


def made_classes(classes: int) -> Classes:
    rng = np.random.default_rng(5)
    apart = 0.6 if classes == 2 else 1.0
    return Classes((apart * rng.standard_normal((classes, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32))


def predicted_right(train: npt.NDArray[np.float32], test: npt.NDArray[np.float32]) -> Outcomes:
    """Ridge regression on class indicators: `train` (experiments, classes, drawn, width), `test` (classes, texts, width);
    right or wrong (experiments, texts)."""
    experiments, classes, drawn, _ = train.shape
    x = train.reshape(experiments, classes * drawn, WIDTH)
    y = np.repeat(np.eye(classes, dtype=np.float32), drawn, axis=0) - np.float32(1 / classes)
    mean = x.mean(1, keepdims=True)
    x = x - mean
    weights = np.linalg.solve(x.transpose(0, 2, 1) @ x + np.eye(WIDTH, dtype=np.float32), x.transpose(0, 2, 1) @ y)
    flat = test.reshape(-1, WIDTH)
    scores = (flat[None] - mean) @ weights
    right: Outcomes = scores.argmax(-1) == np.repeat(np.arange(classes), test.shape[1])
    return right


def classification_study(
    classes: Classes, rng: np.random.Generator, texts: int, pool: int, noises: list[float]
) -> list[Outcomes]:
    """One study: test texts and a pool are drawn, each model adds noise of its own; outcomes (experiments, texts)."""
    test = classes.vectors(rng, texts // len(classes.means))
    train = classes.vectors(rng, pool)
    draws = np.argsort(rng.random((EXPERIMENTS, len(classes.means), pool)), axis=2)[:, :, :DRAWN]
    found = []
    for noise in noises:
        seen = [x + noise * rng.standard_normal(x.shape, dtype=np.float32) for x in (train, test)]
        drawn = seen[0][np.arange(len(classes.means))[None, :, None], draws]
        found.append(predicted_right(drawn, seen[1]))
    return found


def classification(
    studies: int, classes: int, texts: int, pool: int, models: list[list[float]], tasks: int = 1
) -> list[Sample]:
    """Samples of models (a cell a study), each with a list of seeds' noises; the mean over `tasks`."""
    texts -= texts % classes
    group = made_classes(classes)
    of_tasks: list[list[Sample]] = []
    for task in range(tasks):
        rng = np.random.default_rng([classes, texts, pool, task])
        bits = [np.empty((studies, len(seeds), EXPERIMENTS, -(-texts // 8)), np.uint8) for seeds in models]
        score = [np.empty((studies, len(seeds))) for seeds in models]
        for study in range(studies):
            found = iter(classification_study(group, rng, texts, pool, [n for seeds in models for n in seeds]))
            for model, seeds in enumerate(models):
                for seed in range(len(seeds)):
                    right = next(found)
                    bits[model][study, seed], score[model][study, seed] = np.packbits(right, axis=1), right.mean()
        of_tasks.append(
            [
                resampling.resample_outcomes(
                    [b], [texts], [DRAWN / pool], s, RESAMPLES, [0, task], tuple(range(len(n))), len(n) > 1
                )
                for b, s, n in zip(bits, score, models, strict=True)
            ]
        )
    return [resampling.mean_over_tasks(list(samples)) for samples in zip(*of_tasks, strict=True)]


def retrieval(
    studies: int, queries: int, scoring: float, spreads: tuple[float, float, float], seeds: tuple[int, int]
) -> tuple[Sample, Sample]:
    """Two models that keep the same of each query's score but for chance; only a share of queries scores at all.

    `spreads`: of what a model keeps of a query (its own, all seeds), of a seed, and of a query under a seed. The seeds
    of both are independent.
    """
    rng = np.random.default_rng([queries, int(100 * scoring), *seeds, int(1000 * sum(spreads))])
    hard = (rng.random((studies, 1, queries)) < scoring) * rng.random((studies, 1, queries))

    def model(place: int, count: int) -> Sample:
        own, of_seed, between = spreads
        kept = 1 + own * rng.standard_normal(hard.shape) + of_seed * rng.standard_normal((studies, count, 1))
        values = hard * (kept + between * rng.standard_normal((studies, count, queries)))
        numbers = tuple(range(10 * place, 10 * place + count))
        return resampling.resample(values.astype(np.float32), values.mean(2), RESAMPLES, [0], numbers, True)

    return model(0, seeds[0]), model(1, seeds[1])


def verdicts(name: str, first: Sample, second: Sample) -> Figure:
    """How often two models that do not differ are called different."""
    estimate = intervals.difference(first, second, 0.95)
    return Figure("false_verdicts", name, float(np.mean(intervals.p_values(estimate) < 0.05)), told(estimate))


def told(estimate: intervals.Estimate) -> float:
    return float(np.mean(population.few_units(estimate)))


def covered(name: str, estimate: intervals.Estimate, truth: float) -> Figure:
    held = (estimate.low <= truth) & (truth <= estimate.high)
    return Figure("coverage", name, float(np.mean(held)), told(estimate))


def coverage(name: str, full: Sample, cut: Sample, truth: tuple[float, float] | None = None) -> list[Figure]:
    """Of a difference and of a share kept. The truth where not given: the mean over all studies."""
    high, low = truth or (float(full.score.mean()), float(cut.score.mean()))
    return [
        covered(f"{name}, difference", intervals.difference(full, cut, 0.95), high - low),
        covered(f"{name}, share kept", intervals.share(cut, full, 0.0, 0.95), low / high),
    ]


def classification_figures(studies: int, classes: int, texts: int, pool: int, tasks: int = 1) -> list[Figure]:
    name = f"classification, {classes} classes, {texts} texts, pool of {pool} a class" + f", {tasks} tasks" * (
        tasks > 1
    )
    first, second, cut = classification(studies, classes, texts, pool, [[NOISE], [NOISE], [1.6 * NOISE]], tasks)
    return [verdicts(name, first, second), *coverage(name, first, cut)]


def seeds_figures(studies: int, counts: tuple[int, int]) -> list[Figure]:
    """Classification with training seeds: each is a model with noise of its own."""
    first, second = classification(studies, 10, 500, 100, [[NOISE] * count for count in counts])
    if 1 in counts:
        first, second = (
            s._replace(trained=True, seeds=tuple(range(10 * i, 10 * i + s.score.shape[1])))
            for i, s in enumerate((first, second))
        )
    name = f"classification, 10 classes, 500 texts, pool of 100 a class, {counts[0]} against {counts[1]} seeds"
    return [verdicts(name, first, second)]


def retrieval_figures(
    studies: int, queries: int, scoring: float, seeds: tuple[int, int], spreads: tuple[float, float, float]
) -> list[Figure]:
    name = f"retrieval, {queries} queries, {scoring:.0%} scoring"
    if seeds != (1, 1):
        name += f", {seeds[0]} against {seeds[1]} seeds, spread {spreads[1]:g} of a seed"
    return [verdicts(name, *retrieval(studies, queries, scoring, spreads, seeds))]


def cut_figures(studies: int, queries: int, scoring: float, seeds: int = 1) -> list[Figure]:
    """A cut that keeps 0, half, four fifths, all or 1.25 of a query's score."""
    rng = np.random.default_rng([queries, int(100 * scoring), seeds])
    kept, chances = (0, 0.5, 0.8, 1, 1.25), (0.1, 0.15, 0.2, 0.4, 0.15)
    full = (rng.random((studies, 1, queries)) < scoring) * rng.random((studies, 1, queries))
    cut = full * rng.choice(kept, size=full.shape, p=chances)
    if seeds > 1:
        luck = 1 + 0.05 * rng.standard_normal((studies, seeds, 1))
        noise = 1 + 0.2 * rng.standard_normal((2, studies, seeds, queries))
        full, cut = full * luck * noise[0], cut * luck * noise[1]
    numbers = tuple(range(seeds))
    samples = [
        resampling.resample(x.astype(np.float32), x.mean(2), RESAMPLES, [0], numbers, seeds > 1) for x in (full, cut)
    ]
    high = scoring / 2
    name = f"retrieval, {queries} queries, {scoring:.0%} scoring" + f", {seeds} seeds" * (seeds > 1)
    return coverage(name, samples[0], samples[1], (high, high * float(np.dot(kept, chances))))


def winner_figures(studies: int, candidates: int, queries: int, gap: float) -> list[Figure]:
    """The best of codecs of one size whose true shares lie within `gap` standard errors of one another."""
    rng = np.random.default_rng([candidates, queries, int(gap)])
    held = []
    for study in range(studies):
        full = (rng.random(queries) < 0.7) * (0.3 + 0.7 * rng.random(queries))
        error = 0.25 * np.sqrt(2 / queries)
        truth = 0.96 - gap * error * rng.random(candidates)
        noise = rng.standard_normal(queries) + rng.standard_normal((candidates, queries))
        values = np.vstack([full, full * (truth[:, None] + 0.25 / np.sqrt(2) * noise)])[:, None]
        sample = resampling.resample(values.astype(np.float32), values.mean(2), 500, [study])
        cells = resampling.take(sample, cells=list(range(1, candidates + 1)))
        kept = winner.of_share(cells, resampling.take(sample, cells=[0]), 0.0, 0.95)
        found = winner.best(kept, np.zeros(candidates))
        if found is not None:
            held.append(found.low <= truth[found.place] <= found.high)
    return [Figure("winner", f"best of {candidates}, {queries} queries, within {gap:g} errors", float(np.mean(held)))]


def fewest_figures(studies: int, correlation: float) -> list[Figure]:
    """The fewest bytes that are said to keep 98%, of seven codecs at each of five sizes that all keep 97.9% (standard error 0.6%,
    correlated so much) and the full width: the share of studies in which something smaller is said to keep it."""
    rng = np.random.default_rng([int(10 * correlation)])
    size, truth, error = np.append(np.repeat(2.0 ** np.arange(5), 7), 64.0), np.append(np.full(35, 0.979), 1.0), 0.006
    loadings = np.zeros((36, 35), np.float32)
    loadings[:35] = error * np.linalg.cholesky((1 - correlation) * np.eye(35) + correlation)
    errors = np.append(np.full(35, error), 0.0)
    reach, df = stats.norm.isf(0.025) * errors, np.full(36, np.inf)
    false = 0
    for _ in range(studies):
        value = truth + loadings @ rng.standard_normal(35)
        estimate = intervals.Estimate(value, value - reach, value + reach, errors, df, df)
        found = winner.fewest(winner.Candidates(estimate, loadings, 0), size, 0.98)
        false += found is not None and truth[found.place] < 0.98
    return [Figure("false_claims", f"35 codecs that keep 97.9%, correlated by {correlation:g}", false / studies)]


def winners_figures(studies: int, first: int, second: int) -> list[Figure]:
    """The best of some codecs of one model beside the best of some of another's, all of one size, which keep the same: how often the two are
    called different."""
    rng = np.random.default_rng([first, second])
    queries, false = 300, 0
    for study in range(studies):
        full = (rng.random(queries) < 0.7) * (0.3 + 0.7 * rng.random(queries))
        noise = rng.standard_normal(queries) + rng.standard_normal((first + second, queries))
        values = np.vstack([full, full * (0.96 + 0.25 / np.sqrt(2) * noise)])[:, None]
        sample = resampling.resample(values.astype(np.float32), values.mean(2), 500, [study])
        base = resampling.take(sample, cells=[0])
        both, picked = [], []
        for cells in (range(1, 1 + first), range(1 + first, 1 + first + second)):
            kept = winner.of_share(resampling.take(sample, cells=list(cells)), base, 0.0, 0.95)
            found = winner.best(kept, np.zeros(len(cells)))
            assert found is not None
            both.append(found)
            picked.append(resampling.take(sample, cells=[cells[found.place]]))
        estimate = winner.difference(both[0], both[1], (picked[0], picked[1]), float(base.score.mean()), 0.95)
        false += bool(intervals.p_values(estimate)[0] < 0.05)
    return [Figure("false_verdicts", f"best of {first} beside best of {second}, {queries} queries", false / studies)]


def power(studies: int) -> dict[str, float]:
    """The share of studies that find a true difference of about 0.02 in accuracy, at 3,000 texts."""
    group, rng = made_classes(10), np.random.default_rng(1)
    bits, score = np.empty((2, studies, 1, EXPERIMENTS, 375), np.uint8), np.empty((2, studies, 1))
    mcnemar, paired = [], []
    for study in range(studies):
        found = classification_study(group, rng, 3000, 400, [NOISE, 1.08 * NOISE])
        for model, right in enumerate(found):
            bits[model, study, 0], score[model, study] = np.packbits(right, axis=1), right.mean()
        one, other = (right[0] for right in found)
        only = int((one & ~other).sum()), int((other & ~one).sum())
        mcnemar.append(stats.binomtest(only[0], max(1, sum(only))).pvalue)
        paired.append(stats.ttest_rel(*(right.mean(0) for right in found)).pvalue)
    samples = [
        resampling.resample_outcomes([b], [3000], [DRAWN / 400], s, RESAMPLES, [0])
        for b, s in zip(bits, score, strict=True)
    ]
    return {
        "difference": float((score[0] - score[1]).mean()),
        "here": verdicts("", samples[0], samples[1]).value,
        "mcnemar": float(np.mean(np.array(mcnemar) < 0.05)),
        "paired_t": float(np.mean(np.array(paired) < 0.05)),
    }


def settings(studies: int) -> list[tuple[str, Callable[[], list[Figure]]]]:
    """Every row of the table by name."""
    rows: list[tuple[str, Callable[[], list[Figure]]]] = []

    def add(work: Callable[..., list[Figure]], *arguments: Any) -> None:
        rows.append((f"{work.__name__} {arguments}", lambda: work(studies, *arguments)))

    for classes, texts, pool in (
        (2, 250, 16),
        (2, 250, 400),
        (2, 1000, 40),
        (2, 3000, 16),
        (10, 250, 16),
        (10, 1000, 40),
        (10, 1000, 400),
        (10, 3000, 100),
    ):
        add(classification_figures, classes, texts, pool)
    add(classification_figures, 2, 250, 40, 5)
    add(classification_figures, 10, 1000, 100, 5)
    for counts in ((3, 3), (1, 3)):
        add(seeds_figures, counts)
    for queries in (50, 300, 1000):
        for scoring in (0.05, 0.3, 1.0):
            add(retrieval_figures, queries, scoring, (1, 1), (0.3, 0.0, 0.0))
            add(cut_figures, queries, scoring)
    for spread in (0.0, 0.02, 0.1):
        for counts in ((3, 3), (1, 3)):
            add(retrieval_figures, 300, 0.5, counts, (0.2, spread, 0.2))
    for queries in (50, 300):
        add(cut_figures, queries, 0.5, 3)
    for candidates in (5, 30):
        for gap in (0, 1, 4):
            add(winner_figures, candidates, 300, gap)
    for first, second in ((1, 24), (8, 16), (24, 48)):
        add(winners_figures, first, second)
    for correlation in (0.0, 0.5, 0.8):
        add(fewest_figures, correlation)
    return rows


def summary(figures: list[Figure]) -> dict[str, Any]:
    """The figures by name. What holds and what the report says does not (told in most studies) stand apart."""
    result: dict[str, Any] = {}
    kinds = ("false_verdicts", "false_claims", "coverage", "winner")
    for kind, key in zip(kinds, (*kinds[:3], "winner_coverage"), strict=True):
        of_kind = [figure for figure in figures if figure.kind == kind]
        result[key] = {figure.name: round(figure.value, 4) for figure in of_kind if figure.told <= 0.5}
        if excepted := {figure.name: round(figure.value, 4) for figure in of_kind if figure.told > 0.5}:
            result[f"{key}_told"] = excepted
    if values := list(result["false_verdicts"].values()):
        result["false_verdicts_min"], result["false_verdicts_max"] = min(values), max(values)
    if values := [*result["coverage"].values(), *result["winner_coverage"].values()]:
        result["coverage_min"], result["coverage_max"] = min(values), max(values)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    parser.add_argument("--studies", type=int, default=1500, help="simulated studies of each setting")
    parser.add_argument("--only", default="", help="run the settings whose names hold this text")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for name, work in settings(arguments.studies):
        if arguments.only in name:
            for figure in work():
                figures.append(figure)
                said = f" (few units: told in {figure.told:.0%} of studies)" if figure.told > 0.01 else ""
                print(f"{figure.kind:15} {100 * figure.value:5.1f}%  {figure.name}{said}", flush=True)
    result = summary(figures)
    if arguments.only in "power":
        found = power(min(arguments.studies, 500))
        result["power"] = found
        # Beside McNemar's test on one draw: a t test over texts takes the draws as given, and calls equals different.
        result["power_vs_paired_test"] = round(found["here"] / max(found["mcnemar"], 1e-9), 3)
    for key, value in result.items():
        if not isinstance(value, dict) or key == "power":
            print(f"{key}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
