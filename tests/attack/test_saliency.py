"""Saliency: known least numbers of points, the law that certificates hold, and what breaks it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline

from stablerank import (
    AlphaPersistence,
    DistanceToMeasurePersistence,
    LipschitzClassifier,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.attack import RandomSearch, SaliencyAttack, Search, attack, saliency
from stablerank.attack.saliency import removal_effects

Cloud = NDArray[np.float64]
Problem = tuple[StableRankClassifier, list[Cloud], NDArray[Any]]


class Above(ClassifierMixin, BaseEstimator):
    """Whether the first coordinate of a vector is above a threshold."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def fit(self, X: Any, y: Any = None) -> Above:
        self.classes_ = np.array([False, True])
        self.network_ = torch.nn.Linear(1, 2).double().requires_grad_(False)
        self.network_.weight[:] = torch.tensor([[0.0], [1.0]])
        self.network_.bias[:] = torch.tensor([0.0, -self.threshold], dtype=torch.float64)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        return X[:, 0] - self.threshold

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return self.decision_function(X) > 0


def longest_bar(k: int, threshold: float, X: list[Cloud]) -> Pipeline:
    return make_pipeline(AlphaPersistence((k,)), StableRank(n_ranks=1), Above(threshold)).fit(X)


# Closed form.
#
# Thirty points on a line, gaps 1 and one of 1.5: the longest bar of H0 is half the longest gap.
# Deleting m points makes it (1.5 + m)/2 at most, which takes those next to the long gap, of 28
# points that may be deleted inside: so three are needed for more than (1.5 + 2.5)/2.


def line(seed: int) -> Cloud:
    gaps = np.ones(29)
    gaps[np.random.default_rng(seed).integers(5, 24)] = 1.5
    return np.column_stack([np.cumsum([0.0, *gaps]), np.zeros(30)])


def test_the_least_number_of_deletions_is_found(seed: int) -> None:
    X = [line(seed)]
    pipeline = longest_bar(0, 2.0, X)
    for k, solved in ((2, False), (3, True)):
        settings: dict[str, Any] = {"threat": "deletion", "radius": k, "random_state": seed}
        result = SaliencyAttack(n_queries=40)(pipeline, X, [False], **settings)
        assert result.success.tolist() == [solved]
        assert len(result.inputs[0]) == 30 - k
    # a point far away does it with one, if points may be added
    settings = {"threat": "points", "radius": 1, "random_state": seed}
    assert SaliencyAttack(n_queries=60)(pipeline, X, [False], **settings).success.all()


def test_deletions_need_fewer_queries_than_at_random() -> None:
    clouds = [line(seed) for seed in range(20)]
    pipeline = longest_bar(0, 2.0, clouds)
    settings: dict[str, Any] = {"threat": "deletion", "radius": 3, "random_state": 0}
    labels = np.zeros(20, dtype=bool)
    found = SaliencyAttack(n_queries=6)(pipeline, clouds, labels, **settings)
    drawn = RandomSearch(n_queries=6)(pipeline, clouds, labels, **settings)
    assert found.success.all()
    assert drawn.success.mean() < 0.7


def test_an_added_point_fills_a_hole(seed: int) -> None:
    # The hole of a regular polygon dies at 1. With one more point at distance s from the centre the
    # largest empty circle within has a radius of about (1 + s)/2, at worst 1 where s is 1: a point
    # that comes in by 0.4 lowers the death to 0.8, and the birth stays.
    angles = 2 * np.pi * np.arange(40) / 40
    X = [np.column_stack([np.cos(angles), np.sin(angles)])]
    pipeline = longest_bar(1, 0.8, X)
    assert pipeline.predict(X).tolist() == [True]
    settings: dict[str, Any] = {"threat": "points", "radius": 1, "random_state": seed}
    result = SaliencyAttack(n_queries=60)(pipeline, X, [True], **settings)
    assert result.success.tolist() == [True]
    assert result.displacement.tolist() == [1.0]


def test_effects_of_removals() -> None:
    # On a line, the function is the last coordinate: moved to the neighbour at 1 it falls by 2, to
    # the centre (the median, 1) by 2 as well, and that is weighed by the distance 2.
    cloud, gradient = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [0.0], [1.0]])
    found = [removal_effects(cloud, gradient, kind) for kind in range(3)]
    nearest, centre, length = (effects / effects[2] for effects in found)
    assert [effects[2] < 0 for effects in found] == [True] * 3
    for effects in (nearest, centre, length):
        assert effects.tolist() == [0.0, 0.0, 1.0]
    # of coinciding points neither matters
    twice = np.array([[1.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert removal_effects(twice, np.ones((3, 2)), 0)[:2].tolist() == [0.0, 0.0]
    assert removal_effects(twice[:1], np.ones((1, 2)), 0).tolist() == [0.0]


# The law, on a trained model.


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(5)
    X = [rng.uniform(size=(40 + i % 3, 2)) * (1 + 0.3 * (i % 2)) for i in range(40)]
    model = StableRankClassifier(random_state=0, max_epochs=20).fit(X, np.arange(40) % 2)
    return model, X, model.predict(X)


FILTRATIONS: dict[str, Any] = {
    "deletion": AlphaPersistence(),
    "points": DistanceToMeasurePersistence(40, box=([0, 0], [1.5, 1.5]), resolution=12),
}


@pytest.mark.parametrize("threat", FILTRATIONS)
def test_it_never_wins_within_certificates(threat: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = [
        np.repeat(rng.uniform(size=(25, 2)) * (1 + 0.5 * (i % 2)), 4, axis=0)
        + rng.normal(scale=1e-4, size=(100, 2))
        for i in range(40)
    ]
    network = LipschitzClassifier(hidden=(16,), max_epochs=40, random_state=0)
    model = make_pipeline(FILTRATIONS[threat], StableRank(n_ranks=20), network)
    y = model.fit(X, np.arange(40) % 2).predict(X)
    certified = certify(model, X, threat=threat).radius
    if threat == "deletion":
        assert certified.max() >= 1
    for k in (1, 30):
        settings: dict[str, Any] = {"threat": threat, "radius": k, "random_state": seed}
        result = SaliencyAttack(n_queries=40)(model, X, y, **settings)
        assert not (result.success & (certified >= k)).any()
        assert (result.displacement <= k).all()
        assert np.array_equal(model.predict(result.inputs) != y, result.success)
        assert (result.n_queries <= 40).all()
    assert result.success.any()


def test_the_default_search_follows_saliency(problem: Problem, seed: int) -> None:
    model, X, y = problem
    calls = []

    class Spy(SaliencyAttack):
        def run(self, judge: Any, rngs: Any) -> None:
            calls.append(self.n_queries)
            super().run(judge, rngs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stablerank.attack.pipeline.SaliencyAttack", Spy)
        settings: dict[str, Any] = {"radius": 2, "random_state": seed}
        Search(n_queries=30)(model, X, y, threat="deletion", **settings)
        Search(n_queries=30)(model, X, y, threat="points", **settings)
        Search(n_queries=30)(model, X, y, threat="per_point", radius=0.01)
        Search(n_queries=30)(_Opaque(model), X, y, threat="deletion", **settings)
    assert calls == [10, 10]


class _Opaque:
    def __init__(self, model: Any) -> None:
        self.predict = model.predict


# The test of the test: with effects of the other sign, least effects and no motion, less is found.


def test_signs_matter_for_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = [line(seed) for seed in range(20)]
    pipeline = longest_bar(0, 2.0, clouds)
    backwards = lambda cloud, gradient, _: -removal_effects(cloud, gradient, 0)  # noqa: E731
    monkeypatch.setattr(saliency, "removal_effects", backwards)
    settings: dict[str, Any] = {"threat": "deletion", "radius": 3, "random_state": 0}
    labels = np.zeros(20, dtype=bool)
    broken = SaliencyAttack(n_queries=6)(pipeline, clouds, labels, **settings)
    assert not broken.success.any()


def test_directions_matter_for_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    directions = saliency._directions
    monkeypatch.setattr(saliency, "_directions", lambda g: (-directions(g)[0], directions(g)[1]))
    monkeypatch.setattr(saliency, "_MODES", (saliency._ADD,))  # nothing that is drawn
    angles = 2 * np.pi * np.arange(40) / 40
    X = [np.column_stack([np.cos(angles), np.sin(angles)])]
    pipeline = longest_bar(1, 0.8, X)
    settings: dict[str, Any] = {"threat": "points", "radius": 1, "random_state": 0}
    assert not SaliencyAttack(n_queries=60)(pipeline, X, [True], **settings).success.any()
    monkeypatch.setattr(saliency, "_directions", directions)
    assert SaliencyAttack(n_queries=60)(pipeline, X, [True], **settings).success.all()


# The contract.


@pytest.mark.parametrize("threat", ["deletion", "points"])
def test_the_seed_decides_all_and_inputs_stay(threat: str, problem: Problem) -> None:
    model, X, y = problem
    copies = [cloud.copy() for cloud in X]
    for cloud in copies:
        cloud.flags.writeable = False
    settings: dict[str, Any] = {"threat": threat, "radius": 3, "method": "saliency"}
    first, again = (
        attack(model, copies, y, n_queries=30, random_state=3, **settings) for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(X, copies, strict=True))


@pytest.mark.parametrize("threat", ["deletion", "points"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_points_and_more_changes_than_there_are(threat: str, n: int) -> None:
    X = [np.random.default_rng(n).uniform(size=(n, 2)), np.zeros((n, 2))]
    pipeline = longest_bar(0, 10.0, X)
    for radius in (0, 0.5, 1, 2, 99):
        result = SaliencyAttack(n_queries=12)(
            pipeline, X, [False, False], threat=threat, radius=radius
        )
        assert (result.displacement <= radius).all()
        assert all(len(cloud) >= 1 and np.isfinite(cloud).all() for cloud in result.inputs)
        assert (result.n_queries <= 12).all()


def test_scales_do_not_matter(seed: int) -> None:
    for scale in (2.0**-500, 2.0**500):
        X = [scale * line(seed)]
        pipeline = longest_bar(0, 2.0 * scale, X)
        settings: dict[str, Any] = {"threat": "deletion", "radius": 3, "random_state": seed}
        assert SaliencyAttack(n_queries=40)(pipeline, X, [False], **settings).success.all()


def test_its_repr() -> None:
    assert repr(SaliencyAttack(rounds=4)) == "SaliencyAttack(n_queries=200, rounds=4)"


# Errors.


def test_other_threats_are_refused(problem: Problem) -> None:
    model, X, y = problem
    message = 'which PointAdversary does not: use threat="deletion" or "points", or method='
    with pytest.raises(TypeError, match=re.escape(message)):
        attack(model, X, y, radius=0.1, method="saliency")


def test_pipelines_without_gradients_are_refused(problem: Problem) -> None:
    model, X, y = problem
    with pytest.raises(TypeError, match=re.escape('Use method="search"')):
        attack(_Opaque(model), X, y, threat="deletion", radius=1, method="saliency")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_queries": 2}, "n_queries=2: expected an integer >= 3"),
        ({"n_queries": 2.5}, "n_queries=2.5: expected an integer >= 1"),
        ({"rounds": 0}, "rounds=0: expected an integer >= 1."),
        ({"rounds": True}, "rounds=True: expected an integer >= 1."),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SaliencyAttack(**settings)
