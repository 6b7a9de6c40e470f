"""Gradients of images and of the distance to measure: by hand, finite differences, and attacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    CubicalPersistence,
    DistanceToMeasurePersistence,
    HalfLengths,
    Landscapes,
    LipschitzClassifier,
    LipschitzUnion,
    StableRank,
    Windows,
    certify,
)
from stablerank.attack import ProjectedGradient, RandomSearch, attack, fields
from stablerank.attack.fields import power_mean_gradients
from stablerank.attack.gradients import Bars, DifferentiablePipeline, bars_with_gradients, flatten
from stablerank.diagrams.clouds import power_of_two_scale
from stablerank.diagrams.cubical import sublevel_diagrams, sublevel_vertices
from stablerank.diagrams.nearest import nearest_points

Array = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Array]]


def dtm(k: int, d: int = 2, **settings: Any) -> DistanceToMeasurePersistence:
    box = (np.full(d, -1.0), np.full(d, 1.0))
    return DistanceToMeasurePersistence(k, **{"resolution": 7, "box": box, **settings})


FIELDS: dict[str, tuple[DistanceToMeasurePersistence, int]] = {
    **{
        f"q = {q}, k = {k}, {'torus' if periodic else 'box'}": (dtm(k, q=q, periodic=periodic), 2)
        for q in (1, 2)
        for k in (1, 2, 5)
        for periodic in (False, True)
    },
    "H1 alone": (dtm(2, resolution=14, homology_dimensions=(1,)), 2),
    "cap": (dtm(3, cap=0.4), 2),
    "workers": (dtm(3, n_jobs=2), 2),
    "a line": (dtm(2, d=1, resolution=30, homology_dimensions=(0,)), 1),
    "space": (dtm(2, d=3, homology_dimensions=(0, 1, 2)), 3),
    "a torus in space": (dtm(2, d=3, periodic=True, homology_dimensions=(0, 1, 2)), 3),
    "a box that is no cube": (
        dtm(2, box=((-1.2e6, -0.9), (1e6, 1.1)), periodic=True, q=1, resolution=6),
        2,
    ),
}
IMAGES: dict[str, tuple[CubicalPersistence, list[tuple[int, ...]]]] = {
    "plane": (CubicalPersistence(), [(6, 7), (5, 5), (1, 1), (1, 4)]),
    "H1 alone": (CubicalPersistence((1,)), [(9, 10), (2, 2), (8, 8)]),
    "cylinder": (CubicalPersistence(periodic=(False, True)), [(6, 7), (5, 3)]),
    "torus": (CubicalPersistence(periodic=(True, True)), [(6, 7), (2, 1)]),
    "space": (CubicalPersistence((0, 1, 2)), [(4, 5, 6), (2, 3, 4)]),
    "glued in space": (CubicalPersistence((0, 2), periodic=(True, False, True)), [(4, 5, 6)]),
}


def random_clouds(filtration: DistanceToMeasurePersistence, d: int, seed: int) -> list[Array]:
    """Some points lie outside the box, where the torus wraps them."""
    rng = np.random.default_rng([seed, d])
    low, high = np.array(filtration.box)
    sizes = (40, 5, 25, 6)
    return [low + (high - low) * rng.uniform(-0.1, 1.1, size=(n, d)) for n in sizes]


def random_images(shapes: list[tuple[int, ...]], seed: int) -> list[Array]:
    rng = np.random.default_rng([seed, 7])
    return [rng.normal(size=shape) for shape in shapes]


# Closed form.


def test_power_means() -> None:
    # Distances 5 and 10 in directions (3, 4)/5 and (0, 1): f² = 125/2, ∂f/∂x_i = d_i u_i / (2 f).
    ways = np.array([[[3.0, 4.0], [0.0, 10.0]]])
    f = math.sqrt(125 / 2)
    assert power_mean_gradients(ways, 2)[0] == pytest.approx(ways[0] / (2 * f))
    assert power_mean_gradients(ways, 1)[0] == pytest.approx(np.array([[0.3, 0.4], [0.0, 0.5]]))
    for q in (1, 2):
        assert not power_mean_gradients(np.zeros((2, 3, 2)), q).any()


def test_a_death_between_two_points() -> None:
    # Vertices −1, 0, 1; points −1 and 1 + 2^-20: f is 0, 1, 2^-20. The bar begins at the vertex 1
    # beside the second point, and ends at the vertex 0, which is nearer to the first.
    line: dict[str, Any] = {"d": 1, "resolution": 3, "homology_dimensions": (0,)}
    model = dtm(1, **line).fit([[[0.0]]])
    pair = torch.tensor([[-1.0], [1.0 + 2**-20]], dtype=torch.float64, requires_grad=True)
    births, deaths = bars_with_gradients(model, pair, np.array([0, 2]))[0]
    assert (births.tolist(), deaths.tolist()) == ([[2**-20]], [[1.0]])
    (moves,) = torch.autograd.grad(deaths.sum(), pair, retain_graph=True)
    assert moves.tolist() == [[-1.0], [0.0]]
    (moves,) = torch.autograd.grad(births.sum(), pair)
    assert moves.tolist() == [[0.0], [1.0]]
    # Cut at ½ the death moves no more.
    births, deaths = bars_with_gradients(
        dtm(1, cap=0.5, **line).fit([[[0.0]]]), pair, np.array([0, 2])
    )[0]
    assert (births.tolist(), deaths.tolist()) == ([[2**-20]], [[0.5]])
    (moves,) = torch.autograd.grad((births + 3 * deaths).sum(), pair)
    assert moves.tolist() == [[0.0], [1.0]]
    # The nearest two are −1 and 1 for every vertex, and f is largest at the ends: no bar.
    both = bars_with_gradients(dtm(2, **line).fit([[[0.0]] * 2]), pair, np.array([0, 2]))[0]
    assert [end.shape for end in both] == [(1, 0), (1, 0)]
    (moves,) = torch.autograd.grad(both[1].sum(), pair)
    assert not moves.any()  # there used to be none to ask for


def test_the_shortest_way_around_a_torus() -> None:
    # Circumference 8, vertices 0, 2, 4, 6: the point at 7 is 1 to the left of the vertex 0.
    model = dtm(1, box=([0], [8]), resolution=4, periodic=True, homology_dimensions=(0,))
    grid = model.fit([[[0.0]]])._grid(model.box_)
    found, ways = grid.nearest([np.array([[3.0], [7.0]])], np.array([0]), np.array([0]), 1)
    assert found.tolist() == [[1]]
    assert (ways / power_of_two_scale(model.box_)).tolist() == [[[-1.0]]]


def test_pixels_of_a_ring() -> None:
    # Wells 1 and 2 on a ring that closes at 4.5, around 9; the wells meet at 4.3.
    image = np.array([[1.0, 4.0, 4.5], [4.1, 9.0, 4.4], [4.2, 4.3, 2.0]])
    pixels = torch.tensor(image.reshape(-1, 1), requires_grad=True)
    bars = bars_with_gradients(CubicalPersistence(), pixels, np.array([0, 9]), [(3, 3)])
    expected = {0: ((2, 2), (2, 1)), 1: ((0, 2), (1, 1))}
    for k, pair in expected.items():
        for end, place in zip(bars[k], pair, strict=True):
            (gradient,) = torch.autograd.grad(end.sum(), pixels, retain_graph=True)
            one_hot = np.zeros((3, 3))
            one_hot[place] = 1.0
            assert np.array_equal(gradient.numpy().reshape(3, 3), one_hot)


# The law: directional derivatives, away from ties, against finite differences of transform.


def excess(
    filtration: Any, inputs: list[Array], unit: Array | float, seed: int, bars_of: Any
) -> float:
    """How far gradients are beside central differences, less 1e-6, over weights and directions."""
    rng = np.random.default_rng(seed)
    shapes = [x.shape for x in inputs]
    rows, offsets = flatten([x.reshape(-1, x.shape[1] if np.ndim(unit) else 1) for x in inputs])
    tensor = torch.tensor(rows, requires_grad=True)
    bars = bars_of(filtration.fit(inputs), tensor, offsets, shapes)
    weights = {k: rng.normal(size=(*births.shape, 2)) for k, (births, _) in bars.items()}
    total = sum(
        (torch.stack(ends, dim=-1) * torch.from_numpy(weights[k])).sum() for k, ends in bars.items()
    )
    (gradient,) = torch.autograd.grad(total, tensor)

    def value(moved: Array) -> float:
        parts = np.split(moved, offsets[1:-1])
        diagrams = filtration.transform([p.reshape(s) for p, s in zip(parts, shapes, strict=True)])
        return sum(float((diagrams.padded(k) * w).sum()) for k, w in weights.items())

    worst, h = -np.inf, 1e-7
    size = float(np.max(unit))
    for _ in range(8):
        direction = rng.normal(size=rows.shape)
        direction *= unit / np.linalg.norm(direction)
        slope = (value(rows + h * direction) - value(rows - h * direction)) / (2 * h)
        found = float((gradient.numpy() * direction).sum())
        worst = max(worst, abs(slope - found) / size - 1e-6)
    return worst


def excess_of_field(name: str, seed: int) -> float:
    filtration, d = FIELDS[name]
    sides = np.ptp(np.array(filtration.box), axis=0) / 2
    return excess(filtration, random_clouds(filtration, d, seed), sides, seed, bars_with_gradients)


@pytest.mark.parametrize("name", FIELDS)
def test_gradients_of_fields_are_those_of_finite_differences(name: str, seed: int) -> None:
    assert excess_of_field(name, seed) <= 0


@pytest.mark.parametrize("name", IMAGES)
def test_gradients_of_images_are_those_of_finite_differences(name: str, seed: int) -> None:
    filtration, shapes = IMAGES[name]
    assert excess(filtration, random_images(shapes, seed), 1.0, seed, bars_with_gradients) <= 0


BROKEN: dict[str, Callable[[Array, int], Array]] = {
    "a thousandth too steep": lambda ways, q: 1.001 * power_mean_gradients(ways, q),
    "towards the vertex": lambda ways, q: -power_mean_gradients(ways, q),
    "the other exponent": lambda ways, q: power_mean_gradients(ways, 3 - q),
    "one point too few": lambda ways, q: (
        power_mean_gradients(ways, q) * (np.arange(ways.shape[1]) > 0)[:, None]
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", [name for name in FIELDS if "k = 1" not in name])
def test_the_law_above_can_fail(
    name: str, broken: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "power_mean_gradients", BROKEN[broken])
    assert excess_of_field(name, seed) > 0


def test_ways_that_do_not_wrap_are_noticed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "rint", np.zeros_like)
    assert excess_of_field("q = 2, k = 5, torus", seed) > 0


@pytest.mark.parametrize("name", IMAGES)
def test_vertices_in_the_other_order_are_noticed(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filtration, shapes = IMAGES[name]
    images = random_images(shapes, seed)

    def transposed(values: Array, periodic: Any, dimensions: Any) -> dict[int, NDArray[np.int64]]:
        found = sublevel_vertices(values, periodic, dimensions)
        places = {k: np.unravel_index(v, values.shape) for k, v in found.items()}
        return {k: np.ravel_multi_index(p, values.shape, order="F") for k, p in places.items()}

    monkeypatch.setattr(fields, "sublevel_vertices", transposed)
    with pytest.raises((AssertionError, ValueError)):
        assert excess(filtration, images, 1.0, seed, bars_with_gradients) <= 0


# The slow reference: transform itself, and a tree of the points.


def assert_bars(bars: Bars, diagrams: Any) -> None:
    assert tuple(bars) == diagrams.homology_dimensions
    for k, ends in bars.items():
        assert np.array_equal(torch.stack(ends, dim=-1).detach().numpy(), diagrams.padded(k))


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("periodic", [False, True])
def test_bars_of_fields_are_those_of_transform_to_the_last_bit(
    q: int, d: int, periodic: bool, make_clouds: MakeClouds, seed: int
) -> None:
    clouds = [c[:, :1] for c in make_clouds(seed, 2).values()] if d == 1 else None
    clouds = clouds or list(make_clouds(seed, d).values())
    model = dtm(1, d=d, q=q, periodic=periodic, homology_dimensions=tuple(range(d))).fit(clouds)
    points, offsets = flatten(clouds)
    tensor = torch.tensor(points, requires_grad=True)
    bars = bars_with_gradients(model, tensor, offsets)
    assert_bars(bars, model.transform(clouds))
    total = sum((deaths - 2 * births).sum() for births, deaths in bars.values())
    (gradient,) = torch.autograd.grad(total, tensor)  # ties and coinciding points: finite
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", ["any", "few values", "constant"])
def test_bars_of_images_are_those_of_transform_to_the_last_bit(
    name: str, kind: str, seed: int
) -> None:
    filtration, shapes = IMAGES[name]
    images = random_images(shapes, seed)
    if kind != "any":
        images = [np.round(image * (kind == "few values")) for image in images]
    pixels, offsets = flatten([image.reshape(-1, 1) for image in images])
    bars = bars_with_gradients(filtration, torch.tensor(pixels), offsets, shapes)
    assert_bars(bars, filtration.fit_transform(images))


def test_vertices_of_bars_in_any_memory_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for d in (1, 2, 3):
        for periodic in ((False,) * d, (True,) * d):
            image = np.asfortranarray(rng.normal(size=rng.integers(2, 6, size=d)))
            vertices = sublevel_vertices(image, periodic, range(d))
            for k, bars in sublevel_diagrams(image, periodic, range(d)).items():
                found = image.reshape(-1)[vertices[k]]
                found = found[found[:, 1] > found[:, 0]]
                bars = bars[bars[:, 1] > bars[:, 0]]
                assert sorted(found.tolist()) == sorted(bars.tolist())


@pytest.mark.parametrize("periods", [None, np.array([1.0, 2.0])])
def test_nearest_points_are_those_of_a_tree(periods: Array | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform(size=(n, 2)) for n in (9, 40, 300)]
    owners = rng.integers(3, size=50)
    vertices = rng.uniform(size=(50, 2))
    starts = np.cumsum([0, *map(len, clouds)])
    for k in (1, 4, 9):
        found = nearest_points(clouds, owners, vertices, k, periods=periods)
        for owner, vertex, rows in zip(owners, vertices, found, strict=True):
            _, index = cKDTree(clouds[owner], boxsize=periods).query(vertex, k=range(1, k + 1))
            assert sorted(rows.tolist()) == sorted((index + starts[owner]).tolist())


def test_equal_points_are_taken_once_each() -> None:
    cloud = np.array([[1.0], [2.0], [1.0], [-1.0], [1.0]])
    for k in range(1, 6):
        found = nearest_points([cloud], np.array([0]), np.zeros((1, 1)), k)[0]
        assert len(set(found.tolist())) == k
        assert (1 in found) == (k == 5)


def test_no_bars_have_gradient_zero() -> None:
    pixels = torch.zeros(12, 1, dtype=torch.float64, requires_grad=True)
    shapes = [(2, 2), (2, 4)]
    bars = bars_with_gradients(CubicalPersistence(), pixels, np.array([0, 4, 12]), shapes)
    total = sum((births + deaths).sum() for births, deaths in bars.values())
    (gradient,) = torch.autograd.grad(total, pixels)
    assert not gradient.any()


# Pipelines.


def small_dtm(k: int, **settings: Any) -> DistanceToMeasurePersistence:
    box = ((0.0, 0.0), (1.0, 1.0))
    return DistanceToMeasurePersistence(
        k, **{"resolution": 12, "box": box, "periodic": True, **settings}
    )


def union() -> LipschitzUnion:
    return LipschitzUnion(
        [
            (
                "alpha",
                make_pipeline(
                    AlphaPersistence(),
                    LipschitzUnion([("ranks", StableRank(n_ranks=4)), ("l", Landscapes(2))]),
                ),
            ),
            (
                "near",
                make_pipeline(
                    small_dtm(2),
                    LipschitzUnion([("half", HalfLengths(4)), ("l", Landscapes(2))]),
                ),
            ),
            ("far", make_pipeline(small_dtm(6, q=1, cap=0.3), Windows(2))),
        ]
    )


def fitted(*stages: Any) -> tuple[Any, list[Array], NDArray[Any]]:
    """Uniform clouds against those with a gap that a hole of H1 surrounds."""
    rng = np.random.default_rng(3)
    X = []
    for i in range(40):
        cloud = rng.uniform(size=(400, 2))
        hole = np.linalg.norm(cloud - 0.5, axis=1) > 0.25 * (i % 2)
        X.append(cloud[hole][:80])
    network = LipschitzClassifier(hidden=(8,), max_epochs=30, random_state=0)
    pipeline = make_pipeline(*stages, network).fit(X, np.arange(40) % 2)
    return pipeline, X, pipeline.predict(X)


PIPELINES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "dtm": lambda: (small_dtm(4), HalfLengths(6)),
    "union": lambda: (union(),),
}


@pytest.fixture(scope="module")
def problems() -> dict[str, tuple[Any, list[Array], NDArray[Any]]]:
    return {name: fitted(*make()) for name, make in PIPELINES.items()}


Problems = dict[str, tuple[Any, list[Array], NDArray[Any]]]


@pytest.mark.parametrize("name", PIPELINES)
def test_logits_and_their_gradients(name: str, problems: Problems) -> None:
    pipeline, X, _ = problems[name]
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


@pytest.mark.parametrize(
    ("name", "threat"),
    [("dtm", "per_point"), ("dtm", "per_coordinate"), ("dtm", "frobenius"), ("union", "per_point")],
)
def test_gradients_beat_random_search_and_break_no_certificate(
    name: str, threat: str, problems: Problems, seed: int
) -> None:
    pipeline, X, y = problems[name]
    certificates = certify(pipeline, X, threat=threat)
    radii = certificates.radius
    assert (radii > 0).all()
    within = attack(pipeline, X, y, threat=threat, radius=0.999 * radii, method="gradient")
    assert not within.success.any()
    factor = 12 if threat == "frobenius" else 2.5
    beyond: dict[str, Any] = {"threat": threat, "radius": factor * radii, "random_state": seed}
    descent = attack(pipeline, X, y, method=ProjectedGradient(steps=28), **beyond)
    drawn = attack(pipeline, X, y, method=RandomSearch(n_queries=30), **beyond)
    assert descent.success.sum() > drawn.success.sum()
    assert (descent.displacement <= descent.radius).all()
    assert np.array_equal(pipeline.predict(descent.inputs) != y, descent.success)


@pytest.mark.parametrize("periodic", [None, (True, False)])
def test_images_are_attacked_by_signs(periodic: tuple[bool, bool] | None, seed: int) -> None:
    rng = np.random.default_rng(11)
    images = [
        rng.uniform(size=(7 + i % 3, 8)) * (0.6 + 0.4 * (i % 2)) for i in range(40)
    ]  # of several sizes
    pipeline = make_pipeline(
        CubicalPersistence(periodic=periodic),
        LipschitzUnion([("half", HalfLengths(6)), ("landscapes", Landscapes(2))]),
        LipschitzClassifier(hidden=(8,), max_epochs=30, random_state=0),
    ).fit(images, np.arange(40) % 2)
    y = pipeline.predict(images)
    radii = certify(pipeline, images, threat="sup").radius
    assert (radii > 0).all()
    within = attack(pipeline, images, y, threat="sup", radius=0.999 * radii, method="gradient")
    assert not within.success.any()
    beyond: dict[str, Any] = {"threat": "sup", "radius": 2 * radii, "random_state": seed}
    descent = attack(pipeline, images, y, method=ProjectedGradient(steps=28), **beyond)
    drawn = attack(pipeline, images, y, method=RandomSearch(n_queries=30), **beyond)
    assert descent.success.sum() > drawn.success.sum()
    assert [x.shape for x in descent.inputs] == [x.shape for x in images]
    assert (descent.displacement <= descent.radius).all()


# Errors.


def test_images_need_their_shapes() -> None:
    with pytest.raises(ValueError, match="shapes=None: expected the shape of each image"):
        bars_with_gradients(CubicalPersistence(), torch.zeros(4, 1), np.array([0, 4]))
