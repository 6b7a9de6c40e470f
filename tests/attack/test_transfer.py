"""Gradients of a surrogate: known optima, queries, the contract, and surrogates that mislead."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from stablerank import AlphaPersistence, StableRank, StableRankClassifier
from stablerank.attack import ProjectedGradient, RandomSearch, attack, minimal_radius
from stablerank.attack.gradients import DifferentiablePipeline

Cloud = NDArray[np.float64]
Problem = tuple[Any, StableRankClassifier, list[Cloud], NDArray[Any]]


class Counting:
    """A pipeline that only predicts, and counts the clouds that it was asked about."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.asked = pipeline, 0

    def predict(self, X: Any) -> NDArray[Any]:
        self.asked += len(X)
        return self.pipeline.predict(X)


class Reversed:
    """A surrogate whose gradients lead the wrong way."""

    def __init__(self, pipeline: Any) -> None:
        self._own, self.classes_ = DifferentiablePipeline(pipeline), pipeline.classes_

    def differentiable_logits(self, points: Any, offsets: Any, shapes: Any = None) -> Any:
        return -self._own.logits(points, offsets, shapes)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Neighbours' votes on ranks, which have no gradient, and a network that was taught by them."""
    rng = np.random.default_rng(5)
    X = [rng.uniform(size=(20 + i % 3, 2)) * (1 + 0.2 * (i % 2)) for i in range(60)]
    votes = make_pipeline(AlphaPersistence(), StableRank(n_ranks=20), KNeighborsClassifier(5))
    votes.fit(X, np.arange(60) % 2)
    y = votes.predict(X)
    return votes, StableRankClassifier(random_state=0, max_epochs=20).fit(X, y), X, y


def test_they_break_more_than_trials_do(problem: Problem, seed: int) -> None:
    votes, surrogate, X, y = problem
    settings: dict[str, Any] = {"radius": 0.03, "random_state": seed}
    pipeline = Counting(votes)
    with_gradients = ProjectedGradient(steps=30, surrogate=surrogate)(pipeline, X, y, **settings)
    drawn = RandomSearch(n_queries=32)(Counting(votes), X, y, **settings)
    misled = ProjectedGradient(steps=30, surrogate=Reversed(surrogate))(votes, X, y, **settings)
    assert with_gradients.success.sum() > drawn.success.sum()
    assert with_gradients.success.sum() > misled.success.sum()
    # the pipeline alone decides, on what was handed in
    for result in (with_gradients, misled):
        assert np.array_equal(votes.predict(result.inputs) != y, result.success)
        assert (result.displacement <= result.radius).all()


def test_only_what_the_pipeline_was_asked_counts(problem: Problem) -> None:
    votes, surrogate, X, y = problem
    pipeline = Counting(votes)
    method = ProjectedGradient(steps=20, restarts=2, surrogate=surrogate)
    result = method(pipeline, X, y, radius=0.01, random_state=0)
    assert not result.success.all()
    assert (result.n_queries <= method.n_queries).all()
    # its score is asked by predict, and so is whether a refused one was misclassified; twice more
    # the originals, and once what is returned
    assert result.n_queries.sum() <= pipeline.asked - 3 * len(X) <= 2 * result.n_queries.sum()
    # checkpoints: at these the best place is shown where no margin is below 0, and at the end
    shown = method(Counting(votes), X, y, radius=1e-9, random_state=0).n_queries
    assert (shown > 2).all()
    assert (shown < 20).all()


def test_a_pipeline_is_its_own_best_surrogate(problem: Problem) -> None:
    _, model, X, _ = problem
    y = model.predict(X)
    settings: dict[str, Any] = {"radius": 0.01, "random_state": 0}
    own = ProjectedGradient(steps=15)(model, X, y, **settings)
    transferred = ProjectedGradient(steps=15, surrogate=model)(Counting(model), X, y, **settings)
    assert own.success.any()
    assert not own.success.all()
    assert np.array_equal(own.success, transferred.success)
    for i in np.flatnonzero(own.success):
        assert np.array_equal(own.inputs[i], transferred.inputs[i])


def test_the_search_for_the_least_radius_transfers(problem: Problem) -> None:
    votes, surrogate, X, y = problem
    method = ProjectedGradient(steps=10, surrogate=surrogate)
    settings: dict[str, Any] = {"largest": 0.1, "n_rounds": 6, "random_state": 0}
    found = minimal_radius(votes, X[:10], y[:10], method=method, **settings)
    least = found.breaking_displacement
    assert np.isfinite(least).sum() >= 8
    assert np.median(least) < 0.05  # rounds help: the first was at 0.1
    assert np.array_equal(votes.predict(found.inputs) != y[:10], np.isfinite(least))


def test_the_seed_decides_all(problem: Problem) -> None:
    votes, surrogate, X, y = problem
    method = ProjectedGradient(steps=5, restarts=2, surrogate=surrogate)
    first, again = (method(votes, X, y, radius=0.02, random_state=3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))


def test_a_surrogate_without_gradients_is_refused(problem: Problem) -> None:
    votes, _, X, y = problem
    message = 'KNeighborsClassifier has no network_: no gradient. Use method="search"'
    with pytest.raises(TypeError, match=re.escape(message)):
        attack(votes, X, y, radius=0.1, method=ProjectedGradient(surrogate=votes))


def test_a_surrogate_that_does_not_know_a_class_is_refused(problem: Problem) -> None:
    votes, surrogate, X, _ = problem

    class Renamed:
        def predict(self, X: Any) -> NDArray[Any]:
            return np.array(["left", "right"])[votes.predict(X)]

    message = "The label 'left' is none of the classes that gradients lead away from, [0, 1]: fit"
    with pytest.raises(ValueError, match=re.escape(message)):
        ProjectedGradient(surrogate=surrogate)(Renamed(), X, Renamed().predict(X), radius=0.1)
