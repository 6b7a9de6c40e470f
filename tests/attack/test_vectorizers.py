"""Gradients of fields and neighbours' distances: by hand, finite differences, and attacks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    DistanceToMeasurePersistence,
    HalfLengths,
    LipschitzClassifier,
    LipschitzUnion,
    StableRank,
    certify,
)
from stablerank.attack import ProjectedGradient, RandomSearch, attack, vectorizers
from stablerank.attack.fields import power_mean_gradients
from stablerank.attack.gradients import DifferentiablePipeline, flatten
from stablerank.attack.vectorizers import block_shares, vectors_with_gradients
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.fields.vectorizer import sorted_blocks

Array = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Array]]


def field(k: Any, d: int = 2, **settings: Any) -> DistanceField:
    box = (np.full(d, -1.0), np.full(d, 1.0))
    return DistanceField(k, **{"resolution": 5, "box": box, **settings})


STAGES: dict[str, tuple[Any, int]] = {
    **{
        f"{kind}, {values}, {'torus' if periodic else 'box'}": (
            field([1, 4], kind=kind, periodic=periodic, **settings),
            2,
        )
        for kind in ("distance", "measure")
        for values, settings in {
            "raw": {},
            "sorted": {"values": "sorted"},
            "blocks": {"values": "sorted", "blocks": 7},
        }.items()
        for periodic in (False, True)
    },
    "mean of three": (field(3, kind="measure", q=1), 2),
    "workers": (field(3, n_jobs=2), 2),
    "a line": (field(2, d=1, resolution=30), 1),
    "space": (field([2, 5], d=3, resolution=4, values="sorted", blocks=9), 3),
    "a box that is no cube": (
        field(2, box=((-1.2e6, -0.9), (1e6, 1.1)), periodic=True, kind="measure"),
        2,
    ),
    "neighbours": (SortedNeighbourDistances(blocks=5), 2),
    "neighbours, two": (SortedNeighbourDistances([3, 1], blocks=4), 2),
    "neighbours in space": (SortedNeighbourDistances(2, blocks=5), 3),
}


def random_clouds(stage: Any, d: int, seed: int) -> list[Array]:
    """Some points lie outside the box, where the torus wraps them."""
    rng = np.random.default_rng([seed, d])
    low, high = np.array(getattr(stage, "box", (np.full(d, -1.0), np.full(d, 1.0))))
    return [low + (high - low) * rng.uniform(-0.1, 1.1, size=(n, d)) for n in (40, 6, 25, 7)]


def gradient_of(stage: Any, cloud: Any, weights: Any) -> list[list[float]]:
    """Of a weighted sum of the vector's coordinates."""
    points = torch.tensor(cloud, dtype=torch.float64, requires_grad=True)
    vectors = vectors_with_gradients(stage.fit([cloud]), points, np.array([0, len(cloud)]))
    (found,) = torch.autograd.grad((vectors[0] * torch.tensor(weights)).sum(), points)
    gradient: list[list[float]] = found.tolist()
    return gradient


# Closed form.


def test_the_kth_nearest_is_pushed_away() -> None:
    # From the vertex 0 the points (3, 4) and (0, -10) are 5 and 10 away.
    settings: dict[str, Any] = {"resolution": 2, "box": ([0, 0], [1, 1])}
    cloud, first = [[3.0, 4.0], [0.0, -10.0]], [1.0, 0.0, 0.0, 0.0]
    expected = {
        DistanceField(1, **settings): [[0.6, 0.8], [0, 0]],
        DistanceField(2, **settings): [[0, 0], [0, -1]],
        DistanceField(2, kind="measure", q=1, **settings): [[0.3, 0.4], [0, -0.5]],
        # f² = 125/2, ∂f/∂x_i = (x_i − v)/(2f)
        DistanceField(2, kind="measure", **settings): (
            np.array(cloud) / (2 * math.sqrt(62.5))
        ).tolist(),
    }
    for stage, gradient in expected.items():
        assert gradient_of(stage, cloud, first) == pytest.approx(np.array(gradient))


def test_the_shortest_way_around_a_torus() -> None:
    # Circumference 8, vertices 0, 2, 4, 6: the point at 7 is 1 to the left of the vertex 0.
    stage = DistanceField(resolution=4, box=([0], [8]), periodic=True)
    assert gradient_of(stage, [[7.0]], [1.0, 0, 0, 0]) == [[-1.0]]
    assert gradient_of(stage, [[7.0]], [0, 1.0, 0, 0]) == [[-1.0]]  # 3 to the left of 2
    assert gradient_of(stage, [[7.0]], [0, 0, 1.0, 0]) == [[1.0]]


def test_sorted_values_and_blocks() -> None:
    # From -1, 0, 1 the point ¼ is 5/4, 1/4, 3/4 away: the largest is that of -1, then that of 1.
    stage = DistanceField(resolution=3, box=([-1], [1]), values="sorted")
    for weights, slope in (([1.0, 0, 0], 1.0), ([0, 1.0, 0], -1.0), ([0, 0, 1.0], 1.0)):
        assert gradient_of(stage, [[0.25]], weights) == [[slope]]
    in_blocks = clone(stage).set_params(blocks=2)  # the second has the last two ranks
    assert gradient_of(in_blocks, [[0.25]], [4.0, 0.0]) == [[4.0]]
    assert gradient_of(in_blocks, [[0.25]], [0.0, 4.0]) == [[0.0]]


def test_both_ends_of_a_distance() -> None:
    # The neighbours of 0, 1 and 5 are 1, 0 and 1, at 1, 1 and 4; halves.
    stage, cloud = SortedNeighbourDistances(blocks=3), [[0.0], [1.0], [5.0]]
    assert gradient_of(stage, cloud, [1.0, 0, 0]) == [[0], [-0.5], [0.5]]
    assert gradient_of(stage, cloud, [0, 1.0, 1.0]) == [[-1], [1], [0]]


def test_distances_of_zero_have_no_gradient() -> None:
    for stage, cloud in (
        (SortedNeighbourDistances(2, blocks=3), np.ones((4, 2))),
        (DistanceField([1, 2], resolution=2, box=([1, 1], [2, 2])), np.ones((4, 2))),
    ):
        only = np.zeros(stage.fit([cloud]).n_features_out_)
        only[0] = 1.0
        assert not np.any(gradient_of(stage, cloud, only))


def test_shares_are_those_of_the_blocks(seed: int) -> None:
    # the gradient of a linear function of means, by one value at a time
    rng = np.random.default_rng(seed)
    counts = np.array([7, 4, 12])
    values, given = rng.uniform(size=23), rng.normal(size=(3, 4))
    shares = block_shares(given, values, counts)
    for i, part in enumerate(np.split(np.arange(23), [7, 11])):
        order = part[np.argsort(-values[part])]
        cuts = [j * len(part) // 4 for j in (1, 2, 3)]
        for block, members in enumerate(np.split(order, cuts)):
            assert (shares[members] == given[i, block] / len(members)).all()
        assert sorted_blocks(values[part], 4) == pytest.approx(
            [values[members].mean() for members in np.split(order, cuts)]
        )


# The law: directional derivatives, away from ties, against finite differences of transform.


def excess(name: str, seed: int) -> float:
    """How far gradients are beside central differences, less 1e-6, over weights and directions."""
    stage, d = STAGES[name]
    clouds, rng = random_clouds(stage, d, seed), np.random.default_rng(seed)
    stage = clone(stage).fit(clouds)
    points, offsets = flatten(clouds)
    tensor = torch.tensor(points, requires_grad=True)
    vectors = vectors_with_gradients(stage, tensor, offsets)
    weights = rng.normal(size=vectors.shape) / math.sqrt(vectors.numel())
    (gradient,) = torch.autograd.grad((vectors * torch.from_numpy(weights)).sum(), tensor)

    def value(moved: Array) -> float:
        return float((stage.transform(np.split(moved, offsets[1:-1])) * weights).sum())

    worst, h = -math.inf, 1e-7
    sides = np.ptp(np.array(getattr(stage, "box", ((-1.0,) * d, (1.0,) * d))), axis=0) / 2
    for _ in range(8):
        direction = rng.normal(size=points.shape)
        direction *= sides / np.linalg.norm(direction)
        slope = (value(points + h * direction) - value(points - h * direction)) / (2 * h)
        found = float((gradient.numpy() * direction).sum())
        worst = max(worst, abs(slope - found) / sides.max() - 1e-6)
    return worst


@pytest.mark.parametrize("name", STAGES)
def test_gradients_are_those_of_finite_differences(name: str, seed: int) -> None:
    assert excess(name, seed) <= 0


BROKEN: dict[str, tuple[str, Callable[..., Any], Callable[[str], bool]]] = {
    "a hundredth too steep": (
        "power_mean_gradients",
        lambda ways, q: 1.01 * power_mean_gradients(ways, q),
        lambda name: True,
    ),
    "towards the place": (
        "power_mean_gradients",
        lambda ways, q: -power_mean_gradients(ways, q),
        lambda name: True,
    ),
    "any of the k nearest": (
        "_farthest",
        lambda rows, ways: (rows[:, :1], ways[:, :1]),
        lambda name: name.startswith(("distance", "neighbours", "space")),
    ),
    "blocks of the first values": (
        "block_shares",
        lambda given, values, counts: block_shares(given, np.arange(len(values)), counts),
        lambda name: "sorted" in name or "blocks" in name or "neighbours" in name,
    ),
    "sums instead of means": (
        "block_shares",
        lambda given, values, counts: 2 * block_shares(given, values, counts),
        lambda name: "blocks" in name or "neighbours" in name,
    ),
}


@pytest.mark.parametrize(
    ("name", "broken"),
    [(name, broken) for name in STAGES for broken, (*_, on) in BROKEN.items() if on(name)],
)
def test_the_law_above_can_fail(
    name: str, broken: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attribute, function, _ = BROKEN[broken]
    monkeypatch.setattr(vectorizers, attribute, function)
    assert excess(name, seed) > 0


def test_portions_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("distance, blocks, box", "measure, raw, torus", "neighbours, two"):
        monkeypatch.setattr(vectorizers, "_DISTANCES_AT_ONCE", 10)
        assert excess(name, seed) <= 0


# The slow reference: transform itself.


@pytest.mark.parametrize("name", STAGES)
def test_vectors_are_those_of_transform_to_the_last_bit(
    name: str, make_clouds: MakeClouds, seed: int
) -> None:
    stage, d = STAGES[name]
    clouds = [c[:, :d] for c in make_clouds(seed, max(d, 2)).values() if len(c) >= 5]
    stage = clone(stage).fit(clouds)
    points, offsets = flatten(clouds)
    points.flags.writeable = False
    tensor = torch.tensor(points, requires_grad=True)
    vectors = vectors_with_gradients(stage, tensor, offsets)
    assert np.array_equal(vectors.detach().numpy(), stage.transform(clouds))
    (gradient,) = torch.autograd.grad(vectors.sum(), tensor)  # ties: finite all the same
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())
    assert np.array_equal(tensor.detach().numpy(), points)


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_gradients_have_no_unit(scale: float) -> None:
    cloud = random_clouds(STAGES["neighbours"][0], 2, 0)[1]
    for stage in (SortedNeighbourDistances(2, blocks=3), field([1, 3], resolution=3)):
        weights = np.random.default_rng(0).normal(size=stage.fit([cloud]).n_features_out_)
        expected = gradient_of(stage, cloud, weights)
        if isinstance(stage, DistanceField):
            stage.set_params(box=np.array(stage.box) * scale)
        assert gradient_of(stage, cloud * scale, weights) == pytest.approx(np.array(expected))


# Pipelines.


def union() -> LipschitzUnion:
    box = ((0.0, 0.0), (1.0, 1.0))
    measure = DistanceToMeasurePersistence(4, resolution=10, box=box, periodic=True)
    return LipschitzUnion(
        [
            ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=4))),
            ("near", DistanceField([1, 3], resolution=5, box=box)),
            ("measure", make_pipeline(measure, HalfLengths(4))),
            ("neighbours", SortedNeighbourDistances([1, 2], blocks=6)),
        ]
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "raw": lambda: DistanceField(3, resolution=5, box=((0, 0), (1, 1))),
    "sorted": lambda: DistanceField(
        4, kind="measure", resolution=6, box=((0, 0), (1, 1)), values="sorted", blocks=12
    ),
    "neighbours": lambda: SortedNeighbourDistances([1, 3], blocks=8),
    "union": union,
}
Problem = tuple[Any, list[Array], NDArray[Any]]


@pytest.fixture(scope="module", params=PIPELINES)
def problem(request: pytest.FixtureRequest) -> Problem:
    """Uniform clouds against those with a gap in the middle."""
    rng, X = np.random.default_rng(3), []
    for i in range(40):
        cloud = rng.uniform(size=(300, 2))
        outside = np.linalg.norm(cloud - 0.5, axis=1) > 0.25 * (i % 2)
        X.append(cloud[outside][: 60 + i % 3])
    network = LipschitzClassifier(hidden=(8,), max_epochs=30, random_state=0)
    pipeline = make_pipeline(PIPELINES[request.param](), network).fit(X, np.arange(40) % 2)
    return pipeline, X, pipeline.predict(X)


def test_logits_and_their_gradients(problem: Problem) -> None:
    pipeline, X, _ = problem
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


@pytest.mark.parametrize("threat", ["per_point", "frobenius"])
def test_gradients_beat_random_search_and_break_no_certificate(
    threat: str, problem: Problem, seed: int
) -> None:
    pipeline, X, y = problem
    X, y = X[:12], y[:12]
    radii = certify(pipeline, X, threat=threat).radius
    assert (radii > 0).all()
    settings: dict[str, Any] = {"threat": threat, "random_state": seed}
    steps = ProjectedGradient(steps=28)
    within = attack(pipeline, X, y, method=steps, radius=0.999 * radii, **settings)
    assert not within.success.any()
    for factor in (2, 4, 8, 16):  # until descents succeed here and there
        settings["radius"] = factor * radii
        descent = attack(pipeline, X, y, method=steps, **settings)
        assert (descent.displacement <= descent.radius).all()
        assert np.array_equal(pipeline.predict(descent.inputs) != y, descent.success)
        if descent.success.sum() > 3:
            break
    drawn = attack(pipeline, X, y, method=RandomSearch(n_queries=30), **settings)
    assert descent.success.sum() > drawn.success.sum()


def test_the_default_attack_descends(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, X, y = problem
    descents: list[int] = []
    original = ProjectedGradient.run

    def counted(self: ProjectedGradient, judge: Any, rngs: Any) -> None:
        descents.append(self.steps)
        original(self, judge, rngs)

    monkeypatch.setattr(ProjectedGradient, "run", counted)
    attack(pipeline, X[:2], y[:2], radius=1e-3, n_queries=30, random_state=0)
    assert descents == [8]


# Errors.


def test_other_vectorizers_have_no_gradient() -> None:
    message = "or stage with differentiable_vectors, found Strange. Use method="

    class Strange:
        """Makes vectors of clouds, in its own way."""

    with pytest.raises(TypeError, match=re.escape(message)):
        DifferentiablePipeline(make_pipeline(Strange(), LipschitzClassifier()))
