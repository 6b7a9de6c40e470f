"""The judge: no method can cheat, and the pipeline itself has the last word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from stablerank.attack import Attack
from stablerank.attack.judge import Judge
from stablerank.attack.points import PointAdversary

Cloud = NDArray[np.float64]


class Threshold:
    """Says whether a cloud's first point lies right of 0; counts what it is asked."""

    classes_ = np.array(["left", "right"])

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, X: Any) -> NDArray[Any]:
        self.asked += len(X)
        return self.classes_[[int(cloud[0, 0] > 0) for cloud in X]]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        self.asked += len(X)
        return np.array([cloud[0, 0] for cloud in X])


class Hand(Attack):
    """Hands in whatever it was given."""

    def __init__(self, move: Callable[[Judge, int], Any]) -> None:
        super().__init__(n_queries=3)
        self.move = move

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        clouds = judge.open()
        judge.evaluate(clouds, [self.move(judge, int(cloud)) for cloud in clouds])


POINT = [np.array([[-1.0, 0.0]])]


def test_a_candidate_that_is_too_long_is_shortened_and_fails() -> None:
    far = Hand(lambda judge, cloud: judge.studied[cloud].cloud + 100.0)
    result = far(Threshold(), POINT, ["left"], radius=0.5)
    assert result.success.tolist() == [False]
    assert result.displacement[0] <= 0.5
    # the very same candidate succeeds where it may
    assert far(Threshold(), POINT, ["left"], radius=200.0).success.tolist() == [True]


def test_shortening_a_candidate_may_still_succeed() -> None:
    right = Hand(lambda judge, cloud: judge.studied[cloud].cloud + np.array([100.0, 0.0]))
    result = right(Threshold(), POINT, ["left"], radius=1.01)
    assert result.success.tolist() == [True]
    assert result.prediction.tolist() == ["right"]
    assert 0 < result.inputs[0][0, 0] <= 0.01 + 1e-12


def test_an_adversary_that_measures_wrongly_gets_the_original() -> None:
    class Lax(PointAdversary):
        def shorten(self, studied: Any, candidate: Cloud, radius: float) -> Cloud:
            return candidate

    judge = Judge(Threshold(), POINT, np.array(["left"]), Lax(), np.array([0.5]), 5)
    assert np.array_equal(judge.shorten(0, np.array([[9.0, 9.0]])), POINT[0])


def test_candidates_that_are_not_finite_do_no_harm() -> None:
    broken = Hand(lambda judge, cloud: judge.studied[cloud].cloud * np.nan)
    result = broken(Threshold(), POINT, ["left"], radius=0.5)
    assert np.array_equal(result.inputs[0], POINT[0])
    assert result.displacement.tolist() == [0.0]


def test_scores_that_lie_do_not_count() -> None:
    class Liar(Threshold):
        def decision_function(self, X: Any) -> NDArray[np.float64]:
            return np.array([1.0 if cloud[0, 0] != -1 else -1.0 for cloud in X])

    moved = Hand(lambda judge, cloud: judge.studied[cloud].cloud + np.array([0.1, 0.0]))
    assert moved(Liar(), POINT, ["left"], radius=0.5).success.tolist() == [False]


def test_a_prediction_that_flips_counts_whatever_the_scores_say() -> None:
    class Wrong(Threshold):
        def decision_function(self, X: Any) -> NDArray[np.float64]:
            return np.full(len(X), np.nan)

    moved = Hand(lambda judge, cloud: judge.studied[cloud].cloud + np.array([1.1, 0.0]))
    assert moved(Wrong(), POINT, ["left"], radius=2.0).success.tolist() == [True]


def test_budgets_are_kept_and_counted() -> None:
    class Eager(Attack):
        def run(self, judge: Judge, rngs: list[Generator]) -> None:
            for _ in range(10):
                clouds = np.repeat(np.arange(len(judge.labels)), 4)
                judge.evaluate(clouds, [judge.best[cloud] for cloud in clouds])

    pipeline = Threshold()
    result = Eager(n_queries=7)(pipeline, POINT * 3, ["left"] * 3, radius=0.5)
    assert result.n_queries.tolist() == [7, 7, 7]
    # margins and predictions of the originals, 7 margins each, the final predictions
    assert pipeline.asked == 3 * (1 + 1 + 7 + 1)


def test_a_broken_cloud_is_not_touched_again() -> None:
    judge = Judge(Threshold(), POINT, np.array(["left"]), PointAdversary(), np.array([5.0]), 9)
    judge.evaluate(np.array([0]), [np.array([[0.5, 0.0]])])
    judge.evaluate(np.array([0]), [np.array([[3.0, 0.0]])])
    assert judge.broken.tolist() == [True]
    assert judge.best[0].tolist() == [[0.5, 0.0]]
    assert judge.open().size == 0


@pytest.mark.parametrize("name", ["decision_function", "predict_proba", "predict"])
def test_margins_come_from_the_best_that_there_is(name: str) -> None:
    class Scores:
        def __init__(self) -> None:
            self.classes_ = np.array([3, 7, 9])

        def predict(self, X: Any) -> NDArray[Any]:
            return self.classes_[self._table(X).argmax(axis=1)]

        def _table(self, X: Any) -> NDArray[np.float64]:
            return np.array([[0.2, c[0, 0], 0.7] for c in X])

    if name != "predict":
        setattr(Scores, name, Scores._table)
    X = [np.array([[0.5, 0.0]]), np.array([[1.0, 0.0]])]
    judge = Judge(Scores(), X, np.array([9, 7]), PointAdversary(), np.ones(2), 5)
    # 0.7 - 0.5 for class 9; 1.0 - 0.7 for class 7. Without scores: both are right.
    expected = [1.0, 1.0] if name == "predict" else [0.2, 0.3]
    np.testing.assert_allclose(judge.margin, expected, rtol=1e-12)


def test_of_two_classes_the_one_score_is_that_of_the_second() -> None:
    X = [np.array([[-1.0, 0.0]]), np.array([[0.25, 0.0]])]
    labels = np.array(["left", "right"])
    judge = Judge(Threshold(), X, labels, PointAdversary(), np.ones(2), 5)
    assert judge.margin.tolist() == [2.0, 0.5]
    assert judge.broken.tolist() == [False, False]


def test_labels_that_the_pipeline_does_not_know_are_misclassified() -> None:
    judge = Judge(Threshold(), POINT, np.array(["up"]), PointAdversary(), np.ones(1), 5)
    assert judge.broken.tolist() == [True]
    assert judge.open().size == 0
