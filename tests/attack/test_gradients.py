"""Gradients through persistence: closed forms, finite differences, and the bars of transform."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from stablerank import AlphaPersistence, LipschitzClassifier, RipsPersistence, StableRank
from stablerank.attack import ProjectedGradient, gradients
from stablerank.attack.circumradius import circumradius_gradients
from stablerank.attack.gradients import (
    DifferentiablePipeline,
    bars_of_inputs,
    bars_with_gradients,
    flatten,
)
from stablerank.ranks.contours import DistanceContour
from stablerank.stages import LipschitzUnion

Cloud = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Cloud]]
FILTRATIONS: dict[str, tuple[Any, int]] = {
    "alpha in the plane": (AlphaPersistence(), 2),
    "alpha by GUDHI": (AlphaPersistence(engine="gudhi"), 2),
    "alpha, H1 alone": (AlphaPersistence((1,)), 2),
    "alpha in space": (AlphaPersistence((0, 1, 2)), 3),
    "Rips in the plane": (RipsPersistence(), 2),
    "Rips in space": (RipsPersistence((0, 1, 2)), 3),
}
# The kernel gives up on 200 orders of magnitude, and GUDHI answers.
SPREAD = np.array([[0.0, 0.0], [1.0, 0.0], [1e-200, 1.2]])


def random_clouds(d: int, seed: int) -> list[Cloud]:
    rng = np.random.default_rng([seed, d])
    sizes = (25, 1, 2, 14, 3)
    return [rng.uniform(-1, 1, size=(n, d)) for n in sizes]


# Closed form.


def test_triangles() -> None:
    # Base 6, height 4: sides 5, 5, 6, R = 5·5·6/(4·12) = 25/8, centre at height 4 − 25/8 = 7/8. The
    # centre is Σ λ_i p_i with λ = 7/32 at the apex, 25/64 at each end of the base. Equilateral: ⅓.
    triangle = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    shares = np.array([25 / 64, 25 / 64, 7 / 32])
    expected = shares[:, None] * (triangle - [0, 7 / 8]) / (25 / 8)
    assert circumradius_gradients(triangle[None])[0] == pytest.approx(expected, rel=1e-14)
    for scale in (1e-160, 1e160):  # without unit; squares would over- and underflow
        scaled = circumradius_gradients(scale * triangle[None])[0]
        assert scaled == pytest.approx(expected, rel=1e-12)


def test_edges_and_regular_tetrahedra() -> None:
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    found = circumradius_gradients(corners[None])[0]
    assert found == pytest.approx(corners / (4 * math.sqrt(3)))  # λ = ¼, u = corner / √3
    edge = circumradius_gradients(np.array([[[0.0, 0.0], [3.0, 4.0]]]))[0]
    assert edge == pytest.approx(np.array([[-0.3, -0.4], [0.3, 0.4]]))


def test_degenerate_simplices_have_no_gradient() -> None:
    line = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    for simplex in (line, np.zeros((3, 2)), np.zeros((2, 2))):
        assert not circumradius_gradients(simplex[None]).any()


def test_a_rectangle() -> None:
    # 3 by 4: the hole begins with a side of length 4, whose two ends move it by ½ each.
    corners = torch.tensor([[0.0, 0], [3, 0.01], [3, 4], [0, 4]], dtype=torch.float64)
    corners.requires_grad_()
    births, _ = bars_with_gradients(AlphaPersistence(), corners, np.array([0, 4]))[1]
    births.sum().backward()
    assert corners.grad is not None
    # sides of 4 and 3.99: the first one closes the loop
    expected = [[0.0, -0.5], [0, 0], [0, 0], [0, 0.5]]
    assert corners.grad.numpy() == pytest.approx(np.array(expected))


# The law: directional derivatives, away from ties, against finite differences of transform.


def excess(name: str, seed: int) -> float:
    """How far gradients are beside central differences, less 1e-6, over weights and directions."""
    filtration, d = FILTRATIONS[name]
    clouds, rng = random_clouds(d, seed), np.random.default_rng(seed)
    points, offsets = flatten(clouds)
    tensor = torch.tensor(points, requires_grad=True)
    bars = bars_with_gradients(filtration.fit(clouds), tensor, offsets)
    weights = {k: rng.normal(size=(*births.shape, 2)) for k, (births, _) in bars.items()}
    total = sum(
        (torch.stack(ends, dim=-1) * torch.from_numpy(weights[k])).sum() for k, ends in bars.items()
    )
    (gradient,) = torch.autograd.grad(total, tensor)

    def value(moved: Cloud) -> float:
        diagrams = filtration.transform(np.split(moved, offsets[1:-1]))
        return sum(float((diagrams.padded(k) * w).sum()) for k, w in weights.items())

    worst, h = -np.inf, 1e-7
    for _ in range(8):
        direction = rng.normal(size=points.shape)
        direction /= np.linalg.norm(direction)
        slope = (value(points + h * direction) - value(points - h * direction)) / (2 * h)
        worst = max(worst, abs(slope - float((gradient.numpy() * direction).sum())) - 1e-6)
    return worst


@pytest.mark.parametrize("name", FILTRATIONS)
def test_gradients_are_those_of_finite_differences(name: str, seed: int) -> None:
    assert excess(name, seed) <= 0


BROKEN: dict[str, Callable[[Cloud], Cloud]] = {
    "one percent too steep": lambda simplices: 1.01 * circumradius_gradients(simplices),
    "every vertex alike": lambda simplices: (
        circumradius_gradients(simplices).mean(axis=1, keepdims=True) + 0 * simplices
    ),
    "the first vertex stays": lambda simplices: (
        circumradius_gradients(simplices) * (np.arange(simplices.shape[1]) > 0)[:, None]
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", FILTRATIONS)
def test_the_law_above_can_fail(
    name: str, broken: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "circumradius_gradients", BROKEN[broken])
    assert excess(name, seed) > 0


def test_where_the_kernel_gave_up(seed: int) -> None:
    # Deaths ½ and 0.6, of the edges to the first point.
    clouds = [SPREAD, *random_clouds(2, seed)[:2], SPREAD]
    filtration = AlphaPersistence().fit(clouds)
    points, offsets = flatten(clouds)
    tensor = torch.tensor(points, requires_grad=True)
    bars = bars_with_gradients(filtration, tensor, offsets)
    assert_bars(bars, filtration.transform(clouds))
    (gradient,) = torch.autograd.grad(bars[0][1][[0, 3]].sum(), tensor)
    expected = np.array([[-0.5, -0.5], [0.5, 0.0], [0.0, 0.5]])
    assert gradient.numpy()[:3] == pytest.approx(expected)
    assert gradient.numpy()[-3:] == pytest.approx(expected)
    assert not gradient.numpy()[3:-3].any()


# The slow reference: transform itself.


def assert_bars(bars: gradients.Bars, diagrams: Any) -> None:
    assert tuple(bars) == diagrams.homology_dimensions
    for k, ends in bars.items():
        found = torch.stack(ends, dim=-1).detach().numpy()
        assert np.array_equal(found, diagrams.padded(k))


@pytest.mark.parametrize("name", FILTRATIONS)
def test_bars_are_those_of_transform_to_the_last_bit(
    name: str, make_clouds: MakeClouds, seed: int
) -> None:
    filtration, d = FILTRATIONS[name]
    clouds = list(make_clouds(seed, d).values())
    points, offsets = flatten(clouds)
    tensor = torch.tensor(points, requires_grad=True)
    bars = bars_with_gradients(filtration.fit(clouds), tensor, offsets)
    assert_bars(bars, filtration.transform(clouds))
    for births, deaths in bars.values():  # ties and coinciding points: finite all the same
        (gradient,) = torch.autograd.grad((deaths - births).sum(), tensor)
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_workers_change_nothing(n_jobs: int, seed: int) -> None:
    clouds = random_clouds(2, seed) * 3
    tensor = torch.tensor(flatten(clouds)[0], requires_grad=True)
    filtration = AlphaPersistence(n_jobs=n_jobs).fit(clouds)
    bars = bars_with_gradients(filtration, tensor, flatten(clouds)[1])
    assert_bars(bars, AlphaPersistence().fit_transform(clouds))


def fitted(*stages: Any, d: int = 2) -> tuple[Any, list[Cloud]]:
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(12, d)) * (1 + i % 2) for i in range(20)]
    network = LipschitzClassifier(hidden=(8,), max_epochs=2, random_state=0)
    return make_pipeline(*stages, network).fit(X, np.arange(20) % 2), X


PIPELINES: dict[str, Callable[[], tuple[Any, list[Cloud]]]] = {
    "alpha": lambda: fitted(AlphaPersistence(), StableRank(n_ranks=5)),
    "alpha, p = 2": lambda: fitted(AlphaPersistence(), StableRank(p=2, n_ranks=5)),
    "contour": lambda: fitted(
        AlphaPersistence(), StableRank(n_ranks=5, contour=DistanceContour([0.5], [0.3], [0.2]))
    ),
    "space": lambda: fitted(AlphaPersistence((0, 2)), StableRank(n_ranks=4), d=3),
    "Rips": lambda: fitted(RipsPersistence(), StableRank(n_ranks={0: 9, 1: 2})),
    "union of filtrations": lambda: fitted(
        LipschitzUnion(
            [
                ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=3))),
                ("Rips", make_pipeline(RipsPersistence((0,)), StableRank(n_ranks=3))),
            ]
        )
    ),
    "union of ranks": lambda: fitted(
        AlphaPersistence(),
        LipschitzUnion([("long", StableRank(n_ranks=3)), ("all", StableRank(p=1, n_ranks=3))]),
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_logits_and_their_gradients(name: str) -> None:
    pipeline, X = PIPELINES[name]()
    points, offsets = flatten(X)
    tensor = torch.tensor(points, requires_grad=True)
    logits = DifferentiablePipeline(pipeline).logits(tensor, offsets)
    scores = pipeline.decision_function(X)
    differences = logits[:, 1] - logits[:, 0]
    assert differences.detach().numpy() == pytest.approx(scores, rel=1e-12, abs=1e-12)
    (gradient,) = torch.autograd.grad(differences.sum(), tensor)
    direction = np.random.default_rng(2).normal(size=points.shape)
    direction /= np.linalg.norm(direction)
    h = 1e-7
    up, down = (
        pipeline.decision_function(np.split(points + s * h * direction, offsets[1:-1])).sum()
        for s in (1, -1)
    )
    slope = float((gradient.numpy() * direction).sum())
    assert slope != 0
    assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-6 * np.abs(scores).max())


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
def test_vectors_from_bars_are_those_of_transform(p: float, seed: int) -> None:
    clouds = random_clouds(2, seed)
    diagrams = AlphaPersistence().fit_transform(clouds)
    ranks = StableRank(p=p, n_ranks=6).fit(diagrams)
    bars = {k: tuple(diagrams.to_tensor(k).unbind(-1)) for k in diagrams.homology_dimensions}
    assert np.array_equal(ranks.from_bars(bars).numpy(), ranks.transform(diagrams))


def test_points_are_not_overwritten() -> None:
    clouds = random_clouds(2, 0)
    points, offsets = flatten(clouds)
    points.flags.writeable = False
    copy = points.copy()
    tensor = torch.tensor(points, requires_grad=True)
    deaths = bars_with_gradients(AlphaPersistence(), tensor, offsets)[0][1]
    deaths.sum().backward()
    assert np.array_equal(tensor.detach().numpy(), copy)


# What the package does not know, and says itself how it follows.


class Doubled(AlphaPersistence):
    """Alpha persistence of clouds twice as large."""

    def transform(self, X: Any) -> Any:
        return super().transform([2 * np.asarray(cloud) for cloud in X])

    def differentiable_bars(self, inputs: list[torch.Tensor]) -> gradients.Bars:
        plain = AlphaPersistence(self.homology_dimensions)
        return bars_of_inputs(plain, [2 * cloud for cloud in inputs])


class Means(TransformerMixin, BaseEstimator):
    """The mean of every coordinate."""

    def fit(self, X: Any, y: Any = None) -> Means:
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        return np.stack([np.mean(cloud, axis=0) for cloud in X])

    def differentiable_vectors(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([cloud.mean(dim=0) for cloud in inputs])


class Foreign:
    """A pipeline that is no scikit-learn pipeline; `sign` -1 has it lie about its scores."""

    def __init__(self, pipeline: Any, sign: float = 1.0) -> None:
        self.predict, self.classes_ = pipeline.predict, pipeline.classes_
        self._own, self._sign = DifferentiablePipeline(pipeline), sign

    def differentiable_logits(self, points: Any, offsets: Any, shapes: Any = None) -> torch.Tensor:
        return self._sign * self._own.logits(points, offsets, shapes)


PROTOCOLS: dict[str, Callable[[], tuple[Any, list[Cloud]]]] = {
    "bars": lambda: fitted(Doubled(), StableRank(n_ranks=5)),
    "vectors": lambda: fitted(Means()),
    "bars and vectors in a union": lambda: fitted(
        LipschitzUnion([("a", make_pipeline(Doubled(), StableRank(n_ranks=4))), ("b", Means())])
    ),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_stages_that_say_themselves_how_they_follow(name: str) -> None:
    pipeline, X = PROTOCOLS[name]()
    points, offsets = flatten(X)
    tensor = torch.tensor(points, requires_grad=True)
    logits = DifferentiablePipeline(pipeline).logits(tensor, offsets)
    differences = logits[:, 1] - logits[:, 0]
    scores = pipeline.decision_function(X)
    assert differences.detach().numpy() == pytest.approx(scores, rel=1e-12, abs=1e-12)
    (gradient,) = torch.autograd.grad(differences.sum(), tensor)
    direction = np.random.default_rng(2).normal(size=points.shape)
    direction /= np.linalg.norm(direction)
    up, down = (
        pipeline.decision_function(np.split(points + s * 1e-7 * direction, offsets[1:-1])).sum()
        for s in (1, -1)
    )
    slope = float((gradient.numpy() * direction).sum())
    assert slope != 0
    assert (up - down) / 2e-7 == pytest.approx(slope, rel=1e-5, abs=1e-6 * np.abs(scores).max())


def test_what_a_filtration_says_itself_comes_before_what_is_known_of_its_kind() -> None:
    pair = torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64, requires_grad=True)
    deaths = bars_with_gradients(Doubled((0,)), pair, np.array([0, 2]))[0][1]
    (gradient,) = torch.autograd.grad(deaths.sum(), pair)
    assert deaths.tolist() == [[4.0]]
    assert gradient.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_inputs_keep_their_own_shapes() -> None:
    seen: list[tuple[int, ...]] = []

    class Shapes(Means):
        def differentiable_vectors(self, inputs: list[torch.Tensor]) -> torch.Tensor:
            seen.extend(tuple(item.shape) for item in inputs)
            return torch.stack([item.reshape(-1)[:2] for item in inputs])

    pipeline, _ = fitted(Shapes())
    pixels, offsets = torch.zeros(10, 1, dtype=torch.float64), np.array([0, 6, 10])
    DifferentiablePipeline(pipeline).logits(pixels, offsets, [(2, 3), (4, 1)])
    DifferentiablePipeline(pipeline).logits(pixels, offsets)
    assert seen == [(2, 3), (4, 1), (6, 1), (4, 1)]


def test_other_peoples_pipelines_are_attacked_as_ours() -> None:
    pipeline, X = fitted(AlphaPersistence(), StableRank(n_ranks=5))
    y = pipeline.predict(X)
    method = ProjectedGradient(steps=10)
    settings: dict[str, Any] = {"radius": 0.3, "random_state": 0}
    ours = method(pipeline, X, y, **settings)
    theirs = method(Foreign(pipeline), X, y, **settings)
    assert ours.success.any()
    assert np.array_equal(ours.success, theirs.success)
    for a, b in zip(ours.inputs, theirs.inputs, strict=True):
        assert np.array_equal(a, b)
    # the gradient is theirs indeed, and a wrong one does not make a success of a failure
    lies = method(Foreign(pipeline, sign=-1.0), X, y, **settings)
    assert lies.success.sum() < ours.success.sum()
    assert np.array_equal(pipeline.predict(lies.inputs) != y, lies.success)


# Errors.


def test_logits_of_another_shape_are_refused() -> None:
    pipeline, X = fitted(Means())
    foreign = Foreign(pipeline)
    foreign.classes_ = np.arange(3)
    points, offsets = flatten(X)
    message = "Foreign.differentiable_logits returned shape (20, 2): expected (n_clouds, n_classes)"
    with pytest.raises(ValueError, match=re.escape(message)):
        DifferentiablePipeline(foreign).logits(torch.from_numpy(points), offsets)


class WithoutClasses:
    """Logits, and nobody knows of what."""

    def differentiable_logits(self, points: Any, offsets: Any, shapes: Any = None) -> torch.Tensor:
        return points


class OnlyTransforms:
    """A vectorizer of somebody else."""


MISSING: dict[str, tuple[Callable[[], Any], str]] = {
    "classifier": (
        lambda: make_pipeline(AlphaPersistence(), StableRank(), KNeighborsClassifier()),
        'KNeighborsClassifier has no network_: no gradient. Use method="search"',
    ),
    "vectorizer": (
        lambda: make_pipeline(AlphaPersistence(), OnlyTransforms(), LipschitzClassifier()),
        'OnlyTransforms has no from_bars: no gradient. Use method="search"',
    ),
    "matrices": (
        lambda: make_pipeline(
            RipsPersistence(metric="precomputed"), StableRank(), LipschitzClassifier()
        ),
        'RipsPersistence gives no gradient: expected AlphaPersistence, RipsPersistence(metric="',
    ),
    "stages": (
        lambda: make_pipeline(StableRank(), LipschitzClassifier()),
        "need a filtration and a vectorizer before LipschitzClassifier, or a DistanceField, "
        "SortedNeighbourDistances or stage with differentiable_vectors, found StableRank. Use",
    ),
    "a single thing": (
        lambda: KNeighborsClassifier(),
        "need a filtration and a vectorizer before KNeighborsClassifier, or a DistanceField, "
        "SortedNeighbourDistances or stage with differentiable_vectors, found nothing. Use",
    ),
    "classes": (WithoutClasses, "WithoutClasses has no classes_: no gradient."),
    "weights": (
        lambda: make_pipeline(
            AlphaPersistence(),
            LipschitzUnion([("a", StableRank())], transformer_weights={"a": 2.0}),
            LipschitzClassifier(),
        ),
        "LipschitzUnion has transformer_weights: no gradient.",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named(name: str) -> None:
    make, message = MISSING[name]
    with pytest.raises(TypeError, match=re.escape(message)):
        DifferentiablePipeline(make())


def test_other_filtrations_have_no_bars_with_gradients() -> None:
    with pytest.raises(TypeError, match="StableRank gives no gradient: expected AlphaPersistence"):
        bars_with_gradients(StableRank(), torch.zeros(1, 2), np.array([0, 1]))
