"""Substitute models: their scores and gradients, what they learn from, and the contract."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.surrogates import SurrogateClassifier, fit_surrogate
from stablerank import AlphaPersistence, RipsPersistence, StableRank
from stablerank.attack import ProjectedGradient, RandomSearch
from stablerank.attack.gradients import flatten

Cloud = NDArray[np.float64]
FILTRATIONS: dict[str, Any] = {"alpha": None, "Rips": RipsPersistence((0,))}


@pytest.fixture(scope="module")
def forest() -> tuple[Pipeline, list[Cloud]]:
    rng = np.random.default_rng(5)
    X = [rng.uniform(size=(20 + i % 3, 2)) * (1 + 0.2 * (i % 2)) for i in range(80)]
    y = np.array(["small", "wide"])[np.arange(80) % 2]
    model = RandomForestClassifier(50, max_depth=4, random_state=0)
    return make_pipeline(AlphaPersistence(), StableRank(n_ranks=20), model).fit(X, y), X


@pytest.mark.parametrize("name", FILTRATIONS)
def test_logits_are_scores_with_their_gradient(
    name: str, forest: tuple[Pipeline, list[Cloud]]
) -> None:
    pipeline, X = forest
    surrogate = fit_surrogate(pipeline, X, 0, FILTRATIONS[name])
    points, offsets = flatten(X[:6])
    tensor = torch.tensor(points, requires_grad=True)
    logits = surrogate.differentiable_logits(tensor, offsets)
    scores = surrogate.decision_function(X[:6])
    np.testing.assert_allclose(logits.detach().numpy(), scores, rtol=1e-12, atol=1e-12)
    assert np.array_equal(surrogate.classes_[scores.argmax(axis=1)], surrogate.predict(X[:6]))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), tensor)
    direction = np.random.default_rng(2).normal(size=points.shape)
    direction /= np.linalg.norm(direction)
    up, down = (
        surrogate.decision_function(np.split(points + s * 1e-7 * direction, offsets[1:-1]))
        for s in (1, -1)
    )
    quotient = (up - down)[:, 0].sum() / 2e-7
    size = float(gradient.norm())
    assert abs(float((gradient.numpy() * direction).sum()) - quotient) <= 1e-5 * size
    assert size > 0


def test_it_learns_what_the_pipeline_says_and_not_what_is_true(
    forest: tuple[Pipeline, list[Cloud]],
) -> None:
    pipeline, X = forest

    class Contrary:
        classes_ = np.array(["huge", "small", "wide"])

        def predict(self, X: Any) -> NDArray[Any]:
            return np.where(pipeline.predict(X) == "wide", "small", "wide")

    surrogate = fit_surrogate(Contrary(), X, 0)
    assert (surrogate.predict(X) == Contrary().predict(X)).mean() > 0.9
    assert surrogate.classes_.tolist() == ["huge", "small", "wide"]


def test_attacks_transfer(forest: tuple[Pipeline, list[Cloud]]) -> None:
    pipeline, X = forest

    class Only:
        predict = staticmethod(pipeline.predict)

    y, settings = pipeline.predict(X), {"radius": 0.03, "random_state": 0}
    surrogate = fit_surrogate(pipeline, X, 0)
    transfer = ProjectedGradient(steps=20, surrogate=surrogate)(Only(), X, y, **settings)
    drawn = RandomSearch(n_queries=22)(Only(), X, y, **settings)
    assert transfer.success.mean() > drawn.success.mean()
    # the test of the test: weights of chance lead nowhere in particular
    torch.nn.init.normal_(surrogate.network_[0].weight, generator=torch.Generator().manual_seed(0))
    astray = ProjectedGradient(steps=20, surrogate=surrogate)(Only(), X, y, **settings)
    assert transfer.success.mean() > astray.success.mean()


def test_the_contract(forest: tuple[Pipeline, list[Cloud]]) -> None:
    pipeline, X = forest
    state = torch.random.get_rng_state()
    surrogate = SurrogateClassifier(epochs=3, random_state=1)
    labels = pipeline.predict(X)
    scores = surrogate.fit(X, labels).decision_function(X)
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(clone(surrogate).fit(X, labels).decision_function(X), scores)
    assert np.array_equal(pickle.loads(pickle.dumps(surrogate)).decision_function(X), scores)
    other = SurrogateClassifier(epochs=3, random_state=2).fit(X, labels)
    assert not np.array_equal(other.decision_function(X), scores)
    weights = sum(w.numel() for w in surrogate.network_.parameters())
    assert surrogate.n_parameters_ == weights
    assert np.isfinite(surrogate.decision_function([np.zeros((1, 2))])).all()  # one point
