"""The float32 regressions of codecs stop where scikit-learn's stop, and predict what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from testing.real_tasks import classification_task, hashed, saved, store_of
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.mteb_tasks import fresh_state
from workflow_scripts.scores import logistic
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.stock import lookup, stock_scores


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("scale", [0.05, 1.0, 8.0])
def test_the_coefficients_are_scikit_learns_after_as_many_steps(
    classes: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(classes)
    labels = np.arange(8 * classes) % classes
    centres = draw.standard_normal((classes, 24))
    vectors = np.asarray(scale * (centres[labels] + draw.standard_normal((len(labels), 24))), dtype=np.float32)
    theirs = LogisticRegression(max_iter=100).fit(vectors, labels)
    steps: list[int] = []
    search = logistic._search

    def counted(*given: Any, **named: Any) -> Any:
        steps.append(1)
        return search(*given, **named)

    monkeypatch.setattr(logistic, "_search", counted)
    ours = logistic.fit(vectors, labels, classes)
    expected = np.vstack([theirs.coef_.T, theirs.intercept_])
    assert len(steps) == theirs.n_iter_[0]
    assert ours == pytest.approx(expected, abs=2e-3 * float(np.abs(expected).max()))
    others = np.asarray(scale * draw.standard_normal((1000, 24)), dtype=np.float32)
    (alone,) = logistic.predict(others, [ours])
    assert np.mean(alone != theirs.predict(others)) <= 0.002
    for one in logistic.predict(others, [ours, ours]):
        np.testing.assert_array_equal(one, alone)


@pytest.mark.parametrize("name", ["amazon_counterfactual", "mtop_domain"])
def test_a_codec_scores_within_a_thousandth_of_mteb_on_decoded_vectors(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    task = classification_task(shared_data / "mteb_cls" / name, trains=1000, tests=600)
    store = store_of(task, tmp_path, hashed)
    fitted = Fitted(store.width, np.asarray(store.vectors[:500]))
    codecs = [Codec("prefix", 16, "int4"), Codec("pca", 8, "int8"), Codec("prefix", 32, "binary"), Codec("pca", 16)]
    for one in score_all(saved(task), store, fitted, codecs):
        fresh_state(task)
        theirs, values = stock_scores(task, lookup(store, fitted, one.codec), one.codec.dim)
        assert one.result is None
        assert one.score == pytest.approx(theirs.get_score(), abs=1e-3)
        for part, of_part in values.items():
            assert one.values[part] == pytest.approx(of_part, abs=4e-3)
            right = np.unpackbits(one.outcomes[part].bits, axis=1, count=one.outcomes[part].texts)
            assert right.mean(axis=1) == pytest.approx(list(one.values[part].values()))
