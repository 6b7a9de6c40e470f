"""Projected gradients: optimal attacks that are known, balls, the contract, and refusals."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from stablerank import AlphaPersistence, RipsPersistence, StableRank, StableRankClassifier, certify
from stablerank.attack import (
    AttackResult,
    ProjectedGradient,
    RandomSearch,
    Search,
    attack,
    minimal_radius,
)
from stablerank.attack.balls import Ball, FrobeniusBall, PerCoordinateBall, PerPointBall
from stablerank.attack.judge import Judge
from stablerank.attack.points import PointAdversary
from stablerank.attack.projected_gradient import has_gradients

Cloud = NDArray[np.float64]


class Above(ClassifierMixin, BaseEstimator):
    """Whether the first coordinate of a vector is above a threshold."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def fit(self, X: Any, y: Any = None) -> Above:
        self.classes_ = np.array([False, True])
        self.network_ = torch.nn.Linear(1, 2).double().requires_grad_(False)
        self.network_.weight[:] = torch.tensor([[0.0], [1.0]])
        self.network_.bias[:] = torch.tensor([0.0, -self.threshold])
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        return X[:, 0] - self.threshold

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return self.decision_function(X) > 0


def longest_bar(filtration: Any, threshold: float, X: list[Cloud]) -> Pipeline:
    return make_pipeline(filtration, StableRank(n_ranks=1), Above(threshold)).fit(X)


# Closed form: the least displacement that changes the prediction.
#
# pair: two points 2 apart die at 1 as alpha radius, at 2 in Rips; threshold 10 % above. Each moves
#   by 0.1; in cubes along the diagonal by 0.1/√2 a coordinate; together by √2 · 0.1.
# polygon: its H1 bar is [sin(π/n), 1]. Shorter by 0.1 takes 0.05, since each end moves by at most
#   ε (D1). That is enough: three points 120° apart move inwards by ε, so that the circle through
#   them, the largest empty one, shrinks by ε; and two neighbours among the others move apart.


def polygon(n: int) -> Cloud:
    angles = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles), np.sin(angles)])


PAIR = [np.array([[-1.0, 0.0], [1.0, 0.0]])]
SLANTED = [PAIR[0] @ np.array([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)]
SPATIAL = [np.array([[-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]) / math.sqrt(3)]
KNOWN: dict[str, tuple[Any, float, list[Cloud], str, float]] = {
    "pair": (AlphaPersistence((0,)), 1.1, PAIR, "per_point", 0.1),
    "pair, Hausdorff": (AlphaPersistence((0,)), 1.1, PAIR, "hausdorff", 0.1),
    "pair, cubes": (AlphaPersistence((0,)), 1.1, SLANTED, "per_coordinate", 0.1 / math.sqrt(2)),
    "pair, Frobenius": (AlphaPersistence((0,)), 1.1, PAIR, "frobenius", 0.1 * math.sqrt(2)),
    "pair, Rips": (RipsPersistence((0,)), 2.2, PAIR, "per_point", 0.1),
    "pair, Rips, cubes": (RipsPersistence((0,)), 2.2, SLANTED, "per_coordinate", 0.1 / 2**0.5),
    "pair, Rips, Frobenius": (RipsPersistence((0,)), 2.2, PAIR, "frobenius", 0.1 * 2**0.5),
    "pair in space, cubes": (AlphaPersistence((0,)), 1.1, SPATIAL, "per_coordinate", 0.1 / 3**0.5),
    **{
        f"polygon of {n}": (
            AlphaPersistence((1,)),
            1 - math.sin(math.pi / n) - 0.1,
            [polygon(n)],
            "per_point",
            0.05,
        )
        for n in (9, 12, 40)
    },
}


@pytest.mark.parametrize("name", KNOWN)
def test_optimal_attacks_are_found_within_one_percent(name: str, seed: int) -> None:
    filtration, threshold, X, threat, least = KNOWN[name]
    pipeline = longest_bar(filtration, threshold, X)
    y = pipeline.predict(X)
    method = ProjectedGradient(restarts=4)
    for factor, solved in ((0.9999, False), (1.01, True)):
        settings: dict[str, Any] = {"radius": factor * least, "random_state": seed}
        result = attack(pipeline, X, y, threat=threat, method=method, **settings)
        assert result.success.tolist() == [solved]
        assert result.displacement[0] <= factor * least
        assert (pipeline.predict(result.inputs) != y).tolist() == [solved]


# The polygon in other norms, where the optimum is known up to a little. It has vertices at 45°, ….
#
# cubes: a point moves by √2 ε at most, so each end of the bar does, and less than 0.05/√2 is not
#   enough. The four vertices on the diagonals, moved in by √2 ε, lower the death by that much: for
#   every centre one of them lies within 45° of its direction, and so is no further away. Two
#   neighbours, not among them, part along a diagonal: the nearest pair of 40 is 13.5° off, which
#   raises the birth by √2 ε cos 13.5°. So 0.1/(√2 (1 + cos 13.5°)) is enough to first order.
# Frobenius: each end moves by at most ρ/√2 (D6), so less than 0.05 √2 is not enough. Two opposite
#   vertices that come in by s make the hole die at 1 − s + s²/2: its centre escapes by c across,
#   where 1 − c² − … = the distance to the circle, 1 − c. Two neighbours that part by s each raise
#   the birth by s. All four together are 2 s, and 2 s − s²/2 = 0.1 asks for s a little over 0.05.
NEARLY: dict[str, tuple[str, float, float]] = {
    "cubes": ("per_coordinate", 0.05 / 2**0.5, 0.1 / (2**0.5 * (1 + math.cos(math.radians(13.5))))),
    "Frobenius": ("frobenius", 0.05 * 2**0.5, 2 * (2 - math.sqrt(4 - 0.2))),
}


def planted(name: str, radius: float) -> Cloud:
    """The polygon of 40, moved as is said above."""
    moved = polygon(40)
    part = np.sign if name == "cubes" else lambda way: way / np.linalg.norm(way)
    opposite, a, b = ((5, 15, 25, 35), 3, 4) if name == "cubes" else ((0, 20), 5, 6)
    step = radius if name == "cubes" else radius / 2
    for i in opposite:
        moved[i] -= step * part(moved[i])
    way = part(moved[b] - moved[a])
    moved[a] -= step * way
    moved[b] += step * way
    return moved


@pytest.mark.parametrize("name", NEARLY)
def test_polygons_in_other_norms_are_solved_within_twelve_percent(name: str, seed: int) -> None:
    threat, too_little, enough = NEARLY[name]
    X = [polygon(40)]
    pipeline = longest_bar(AlphaPersistence((1,)), 0.9 - math.sin(math.pi / 40), X)
    assert pipeline.predict([*X, planted(name, 0.99 * enough)]).all()
    assert not pipeline.predict([planted(name, 1.002 * enough)]).any()
    method = ProjectedGradient(restarts=4)
    for radius, solved in ((0.9999 * too_little, False), (1.12 * enough, True)):
        settings: dict[str, Any] = {"radius": radius, "random_state": seed}
        result = attack(pipeline, X, [True], threat=threat, method=method, **settings)
        assert result.success.tolist() == [solved]


@pytest.mark.parametrize("threat", ["per_point", "frobenius"])
def test_least_radii_are_found(threat: str, seed: int) -> None:
    _, threshold, X, _, least = KNOWN["pair, Frobenius" if threat == "frobenius" else "pair"]
    pipeline = longest_bar(AlphaPersistence((0,)), threshold, X)
    found = minimal_radius(
        pipeline, X, [False], threat=threat, method="gradient", random_state=seed
    )
    assert 1 <= found.breaking_displacement[0] / least <= 1.01


@pytest.mark.parametrize("method", ["random", "coordinate", "search"])
def test_frobenius_attacks_without_gradients(method: str, seed: int) -> None:
    _, threshold, X, _, least = KNOWN["pair, Frobenius"]
    pipeline = longest_bar(AlphaPersistence((0,)), threshold, X)
    for factor, solved in ((0.9999, False), (1.1, True)):
        settings: dict[str, Any] = {"radius": factor * least, "method": method}
        result = attack(pipeline, X, [False], threat="frobenius", random_state=seed, **settings)
        assert result.success.tolist() == [solved]


# Balls: projections and directions, on flat arrays of clouds of different sizes.

BALLS: dict[str, Ball] = {
    "per_point": PerPointBall(),
    "per_coordinate": PerCoordinateBall(),
    "frobenius": FrobeniusBall(),
}
OFFSETS = np.array([0, 1, 8, 12])


def norms(name: str, field: Cloud) -> NDArray[np.float64]:
    """The size of each cloud's displacement in its threat's norm."""
    parts = np.split(field, OFFSETS[1:-1])
    if name == "frobenius":
        return np.array([np.linalg.norm(part) for part in parts])
    order = 2 if name == "per_point" else np.inf
    return np.array([np.linalg.norm(part, ord=order, axis=1).max() for part in parts])


@pytest.mark.parametrize("name", BALLS)
def test_projections_are_the_nearest_displacements(name: str, seed: int) -> None:
    # p is the point of a convex set that is nearest to x if and only if ⟨x − p, q − p⟩ <= 0 for
    # all q of the set.
    rng, ball = np.random.default_rng(seed), BALLS[name]
    radius = np.array([0.5, 1.5, 100.0])
    field = rng.normal(size=(12, 2))
    projected = ball.project(field, radius, OFFSETS)
    assert (norms(name, projected) <= radius * (1 + 1e-12)).all()
    assert np.array_equal(projected[8:], field[8:])
    for _ in range(50):
        drawn = [ball.draw((n, 2), rng) * r for n, r in zip(np.diff(OFFSETS), radius, strict=True)]
        other = np.concatenate(drawn)
        assert (norms(name, other) <= radius * (1 + 1e-12)).all()
        for a, b in itertools.pairwise(OFFSETS):
            product = ((field - projected)[a:b] * (other - projected)[a:b]).sum()
            assert product <= 1e-12


@pytest.mark.parametrize("name", BALLS)
def test_directions_are_the_steepest(name: str, seed: int) -> None:
    rng, ball = np.random.default_rng(seed), BALLS[name]
    for scale in (1e-200, 1.0, 1e200):
        gradient = rng.normal(size=(12, 2))
        gradient[3] = 0.0
        direction = ball.direction(scale * gradient, OFFSETS)
        assert norms(name, direction) == pytest.approx(np.ones(3))
        assert not direction[3].any()
        for _ in range(50):
            other = np.concatenate([ball.draw((n, 2), rng) for n in np.diff(OFFSETS)])
            gain, others = (
                np.add.reduceat((gradient * f).sum(axis=1), OFFSETS[:-1])
                for f in (direction, other)
            )
            assert (gain >= others - 1e-12).all()
    assert not ball.direction(np.zeros((12, 2)), OFFSETS).any()


# The contract.


@pytest.fixture(scope="module")
def problem() -> tuple[StableRankClassifier, list[Cloud], NDArray[Any]]:
    rng = np.random.default_rng(5)
    X = [rng.uniform(size=(20 + i % 3, 2)) * (1 + 0.2 * (i % 2)) for i in range(40)]
    model = StableRankClassifier(random_state=0, max_epochs=20).fit(X, np.arange(40) % 2)
    return model, X, model.predict(X)


def same(a: AttackResult, b: AttackResult, n: int) -> bool:
    pairs = zip(list(a.inputs)[:n], list(b.inputs)[:n], strict=True)
    return all(np.array_equal(x, y) for x, y in pairs) and np.array_equal(
        a.n_queries[:n], b.n_queries[:n]
    )


Problem = tuple[StableRankClassifier, list[Cloud], NDArray[Any]]


@pytest.mark.parametrize("threat", ["per_point", "per_coordinate", "frobenius", "hausdorff"])
def test_it_wins_where_random_search_does_and_never_within_certificates(
    threat: str, problem: Problem, seed: int
) -> None:
    model, X, y = problem
    radii = certify(model, X, threat=threat).radius
    within = attack(model, X, y, threat=threat, radius=0.999 * radii, method="gradient")
    assert not within.success.any()
    factor = 20 if threat == "frobenius" else 4
    beyond: dict[str, Any] = {"threat": threat, "radius": factor * radii, "random_state": seed}
    descent = attack(model, X, y, method=ProjectedGradient(steps=30), **beyond)
    assert (descent.displacement <= descent.radius).all()
    drawn = attack(model, X, y, method=RandomSearch(n_queries=32), **beyond)
    assert descent.success.mean() >= drawn.success.mean()
    assert descent.success.any()
    assert np.array_equal(model.predict(descent.inputs) != y, descent.success)


def test_the_default_search_follows_gradients_where_there_are_some(problem: Problem) -> None:
    # Nine queries by gradients break clouds that 27 at random do not.
    model, X, y = problem
    settings: dict[str, Any] = {"radius": 4 * certify(model, X).radius, "random_state": 0}
    found = Search(n_queries=27)(model, X, y, **settings)
    without = Search(n_queries=27)(_Opaque(model), X, y, **settings)
    assert found.success.sum() > without.success.sum()
    assert has_gradients(_judge(model, X[:1], y[:1]))
    assert not has_gradients(_judge(_Opaque(model), X[:1], y[:1]))


class _Opaque:
    """The model without what gradients need."""

    def __init__(self, model: Any) -> None:
        self.predict, self.decision_function = model.predict, model.decision_function
        self.classes_ = model.classes_


def _judge(pipeline: Any, X: list[Cloud], y: NDArray[Any]) -> Judge:
    return Judge(pipeline, X, y, PointAdversary(), np.ones(len(X)), 10)


@pytest.mark.parametrize("loss", ["margin", "cross-entropy"])
def test_the_seed_decides_all(loss: Any, problem: Problem) -> None:
    model, X, y = problem
    method = ProjectedGradient(steps=12, restarts=2, loss=loss)
    first = method(model, X, y, radius=0.01, random_state=3)
    assert same(first, method(model, X, y, radius=0.01, random_state=3), 40)
    assert not same(first, method(model, X, y, radius=0.01, random_state=4), 40)


def test_clouds_beside_change_a_descent_by_rounding_only(problem: Problem) -> None:
    # The network's matrix products round differently for batches of other sizes.
    model, X, y = problem
    method = ProjectedGradient(steps=3, restarts=2)
    whole = method(model, X, y, radius=0.01, random_state=3)
    part = method(model, X[:7], y[:7], radius=0.01, random_state=3)
    for a, b in zip(whole.inputs[:7], part.inputs, strict=True):
        assert a == pytest.approx(b, abs=1e-10)


def test_queries_are_counted(problem: Problem) -> None:
    # The original, one after each step, and one by the judge; clouds that are broken leave early.
    model, X, y = problem
    result = attack(model, X, y, radius=1e-7, method=ProjectedGradient(steps=7, restarts=2))
    assert (result.n_queries[~result.success] == 2 * 9).all()
    assert not result.success.any()
    result = attack(model, X, y, radius=1.0, method="gradient", n_queries=40)
    assert result.success.any()
    assert (result.n_queries <= 40).all()
    assert result.n_queries[result.success].max() < 40


def test_radius_zero_and_what_is_misclassified_are_left_alone(problem: Problem) -> None:
    model, X, y = problem
    labels = y.copy()
    labels[1] = 1 - labels[1]
    radius = np.full(40, 0.02)
    radius[0] = 0.0
    result = attack(model, X, labels, radius=radius, method="gradient", n_queries=20)
    assert np.array_equal(result.inputs[0], X[0])
    assert np.array_equal(result.inputs[1], X[1])
    assert result.displacement[:2].tolist() == [0.0, 0.0]
    assert result.n_queries[:2].tolist() == [0, 0]


def test_read_only_inputs_are_not_overwritten(problem: Problem) -> None:
    model, X, y = problem
    copies = [cloud.copy() for cloud in X]
    for cloud in copies:
        cloud.flags.writeable = False
    result = attack(model, copies, y, radius=0.02, method="gradient", n_queries=20)
    assert all(np.array_equal(a, b) for a, b in zip(X, copies, strict=True))
    assert same(result, attack(model, X, y, radius=0.02, method="gradient", n_queries=20), 40)


def test_more_radius_is_no_harder(problem: Problem) -> None:
    model, X, y = problem
    accuracies = [
        attack(model, X, y, radius=radius, method="gradient", n_queries=30).accuracy
        for radius in (0.0, 0.01, 0.05, 0.5)
    ]
    assert accuracies[0] == 1.0
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == 0.0


def test_attacks_are_told_apart_by_their_repr() -> None:
    assert repr(ProjectedGradient(restarts=2)) == (
        "ProjectedGradient(steps=100, restarts=2, step_size=1.0, loss='margin', surrogate=None)"
    )


# Errors.


def test_pipelines_without_gradients_are_told_what_they_lack() -> None:
    pipeline = make_pipeline(AlphaPersistence(), StableRank(n_ranks=1), KNeighborsClassifier(1))
    X = [PAIR[0], 2 * PAIR[0]]
    pipeline.fit(X, [0, 1])
    message = 'KNeighborsClassifier has no network_: no gradient. Use method="search"'
    with pytest.raises(TypeError, match=re.escape(message)):
        attack(pipeline, X, [0, 1], radius=0.1, method="gradient")


def test_threats_that_do_not_move_points_are_refused(problem: Problem) -> None:
    model, X, y = problem
    diagrams = model.pipeline_[0].transform(X)
    with pytest.raises(TypeError, match=re.escape('Use method="search"')):
        attack(model, diagrams, y, threat="bottleneck", radius=0.1, method="gradient")
    rips = make_pipeline(RipsPersistence(metric="precomputed"), StableRank(n_ranks=1), Above(1.0))
    matrices = [cdist(cloud, cloud) for cloud in PAIR]
    with pytest.raises(TypeError, match="RipsPersistence gives no gradient"):
        attack(rips.fit(matrices), matrices, [True], threat="sup", radius=0.1, method="gradient")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0: expected an integer >= 1."),
        ({"restarts": 1.5}, "restarts=1.5: expected an integer >= 1."),
        ({"step_size": math.inf}, "step_size=inf: expected a positive finite number."),
        ({"loss": "hinge"}, 'loss=\'hinge\': expected "margin" or "cross-entropy".'),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ProjectedGradient(**settings)


@pytest.mark.parametrize("n_queries", [2, 5.5, True])
def test_budgets_are_checked(n_queries: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"n_queries={n_queries!r}: expected an")):
        attack(None, [], [], radius=1.0, method="gradient", n_queries=n_queries)
