"""The distance to measure: by hand, its law from every threat, and the exact interval of D5."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import gudhi.hera
import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from stablerank.diagrams import DiagramBatch, DistanceToMeasurePersistence
from stablerank.diagrams.nearest import nearest_sums
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    SUP,
    Bound,
    Space,
    StabilityError,
)

Array = NDArray[np.float64]
Clouds = Callable[[int, int], dict[str, Array]]
UNIT_ROUNDOFF = 2.0**-53
SQUARE = ((-1.0, -1.0), (1.0, 1.0))


def dtm(k: int, **settings: Any) -> DistanceToMeasurePersistence:
    return DistanceToMeasurePersistence(k, **{"resolution": 6, "box": SQUARE, **settings})


def fitted(k: int, **settings: Any) -> DistanceToMeasurePersistence:
    model = dtm(k, **settings)
    return model.fit([np.zeros((k, np.shape(model.box)[1]))])


# Closed form.


def test_the_field_on_a_line() -> None:
    # Points 0, 3, 4 from the vertices 0, 2, 4: the two nearest are 0, 3 away; 1, 2; 0, 1.
    cloud = [[3.0], [0.0], [4.0]]
    line: dict[str, Any] = {"resolution": 3, "box": ([0], [4]), "homology_dimensions": (0,)}
    assert dtm(2, q=1, **line).fit([cloud]).field([cloud]).tolist() == [[1.5, 1.5, 0.5]]
    expected = [math.sqrt(9 / 2), math.sqrt(5 / 2), math.sqrt(1 / 2)]
    assert dtm(2, q=2, **line).fit([cloud]).field([cloud]).tolist() == [expected]


def test_the_field_on_a_circle() -> None:
    # Of circumference 8, vertices at 0, 2, 4, 6; points at 7 and 1: 1, 1 away; 1, 3; 3, 3; 1, 3.
    model = fitted(2, q=1, resolution=4, box=([0], [8]), periodic=True, homology_dimensions=(0,))
    assert model.field([[[7.0], [1.0]]]).tolist() == [[1, 2, 3, 2]]
    # -1 is 7, 17 is 1; a box may begin anywhere.
    assert model.field([[[-1.0], [17.0]]]).tolist() == [[1, 2, 3, 2]]
    model.set_params(box=([2], [10])).fit([np.zeros((2, 1))])
    assert model.field([[[7.0], [1.0]]]).tolist() == [[2, 3, 2, 1]]


def test_axis_i_of_the_field_is_coordinate_i() -> None:
    field = fitted(1, resolution=3, box=((0, 0), (2, 20))).field([[[2.0, 10.0]]])[0]
    assert field.shape == (3, 3)
    assert field[2, 1] == 0
    assert field[2, 2] == 10
    assert field[0, 1] == 2


def test_two_points_merge_where_their_fields_meet() -> None:
    # On the vertices -1, 0, 1 the field of {-1, 1} is 0, 1, 0: born at 0, merged at 1.
    line: dict[str, Any] = {"resolution": 3, "box": ([-1], [1]), "homology_dimensions": (0,)}
    diagrams = dtm(1, **line).fit_transform([[[-1.0], [1.0]]])
    assert diagrams.diagram(0, 0).tolist() == [[0, 1]]
    # With k = 2 and q = 1 it is (0 + 2) / 2 = 1 everywhere, and there is nothing to see.
    assert dtm(2, q=1, **line).fit_transform([[[-1.0], [1.0]]]).n_bars(0).tolist() == [0]


def test_a_ring_has_a_hole() -> None:
    # On the 3 x 3 grid the eight vertices of the border are points, and the centre is 1 away.
    ring = [p for p in itertools.product((-1.0, 0.0, 1.0), repeat=2) if p != (0, 0)]
    diagrams = dtm(1, resolution=3).fit_transform([ring])
    assert diagrams.diagram(0, 0).tolist() == []
    assert diagrams.diagram(0, 1).tolist() == [[0, 1]]


def test_classes_that_never_die_are_dropped() -> None:
    # One point on a torus of 4 x 4 vertices: a ball grows and wraps, no class is born and dies.
    diagrams = dtm(1, resolution=4, periodic=True).fit_transform([[[-1.0, -1.0]]])
    assert diagrams.n_bars(0).tolist() == [0]
    assert diagrams.n_bars(1).tolist() == [0]


def test_an_outlier_hardly_moves_the_field(make_clouds: Clouds) -> None:
    # What it is for: with k = 5 one point more changes one of five squares, never much.
    cloud = make_clouds(0, 2)["random"]
    before, after = fitted(5).field([cloud, np.vstack([cloud, [[0.9, 0.9]]])])
    lower, upper = fitted(5).field_bounds([cloud], 1)
    assert ((lower[0] <= after) & (after <= before) & (before <= upper[0])).all()


# The law.

MODELS: dict[str, DistanceToMeasurePersistence] = {
    "q = 1": dtm(3, q=1),
    "q = 2": dtm(3, q=2),
    "the nearest": dtm(1),
    "q = 1 on a torus": dtm(4, q=1, periodic=True),
    "q = 2 on a torus": dtm(4, q=2, periodic=True),
    "in space": dtm(2, resolution=5, box=((-1,) * 3, (1,) * 3), homology_dimensions=(0, 1, 2)),
    "on a line": dtm(2, resolution=30, box=((-1,), (1,)), homology_dimensions=(0,)),
}
BRANCHES = [
    (name, space, k)
    for name, model in MODELS.items()
    for space in (PER_POINT, FROBENIUS)
    for k in model.homology_dimensions
]


def constant(name: str, space: Space, k: int) -> float:
    """What `stability` says: every constant of this file is read here."""
    bound = MODELS[name].stability(space).branches[f"H{k}"]
    assert isinstance(bound, Bound)
    assert bound.target == BOTTLENECK
    return bound.constant


def bottleneck(a: Array, b: Array) -> float:
    return float(gudhi.hera.bottleneck_distance(a, b, 0.0))


SIZES = {
    PER_POINT: lambda steps: float(np.linalg.norm(steps, axis=1).max()),
    FROBENIUS: lambda steps: float(np.linalg.norm(steps)),
}


def changed_clouds(
    model: DistanceToMeasurePersistence, clouds: dict[str, Array], rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    d, k = np.shape(model.box)[1], model.k
    for cloud in clouds.values():
        cloud = np.resize(cloud[:, :d], (max(len(cloud), k), d))
        for epsilon in (1e-9, 1e-2, 0.3):
            for size in (SIZES[PER_POINT], SIZES[FROBENIUS]):
                steps = rng.normal(size=cloud.shape)
                yield cloud, cloud + epsilon * steps / size(steps)
            first = np.zeros(cloud.shape)
            first[: k + 1] = epsilon * rng.normal(size=d)  # few points, and all the same way
            yield cloud, cloud + first
    for j in model.homology_dimensions:
        for epsilon in (1e-3, 1e-2):
            yield sphere(model, j), sphere(model, j, epsilon)
            yield sphere(model, j, epsilon), sphere(model, j, 2 * epsilon)


def sphere(model: DistanceToMeasurePersistence, j: int, moved: float = 0.0) -> Array:
    """k points on each of the 3^(j+1) - 1 vertices around one, which they enclose.

    f is 0 on the sphere and the step h of the grid in the middle, so there is a bar [0, h] in H_j.
    If the points of the first vertex move by epsilon, f there, and the birth, become epsilon; if
    they started at that vertex, this is as far as the constants allow.
    """
    low, high = np.asarray(model.box, dtype=float)
    step = (high - low) / (model.resolution if model.periodic else model.resolution - 1)
    around = [p for p in itertools.product((-1, 0, 1), repeat=j + 1) if any(p)]
    offsets = np.zeros((len(around), len(low)))
    offsets[:, : j + 1] = around
    points = np.repeat(low + (offsets + 2) * step, model.k, axis=0)
    points[: model.k, -1] -= moved
    return points


# Wrong code, for the test of the test.

BROKEN: dict[str, Callable[[DiagramBatch], DiagramBatch]] = {
    "squared values": lambda batch: DiagramBatch(
        {k: (2 * bars) ** 2 for k, bars in batch.bars.items()}, batch.offsets
    ),
    "float32": lambda batch: DiagramBatch(
        {k: bars.astype(np.float32).astype(float) for k, bars in batch.bars.items()}, batch.offsets
    ),
}


@functools.cache
def movements(
    name: str, seed: int, make_clouds: Clouds, broken: str | None = None
) -> dict[int, list[tuple[float, dict[Space, float], float]]]:
    """For each dimension and change: how far diagrams and points moved, and the largest value."""
    model = clone(MODELS[name])
    rng = np.random.default_rng(seed)
    d = np.shape(model.box)[1]
    pairs = list(changed_clouds(model, make_clouds(seed, max(d, 2)), rng))
    flat = [cloud for pair in pairs for cloud in pair]
    batch = model.fit_transform(flat)
    largest = model.largest_values(flat)
    if broken is not None:
        batch = BROKEN[broken](batch)
    sizes = [{space: size(b - a) for space, size in SIZES.items()} for a, b in pairs]
    result = {}
    for k in batch.homology_dimensions:
        bars = [batch.diagram(i, k) for i in range(len(batch))]
        result[k] = [
            (bottleneck(bars[i], bars[i + 1]), sizes[i // 2], float(largest[i] + largest[i + 1]))
            for i in range(0, len(bars), 2)
        ]
    return result


def excess(
    factor: float,
    name: str,
    space: Space,
    k: int,
    seed: int,
    clouds: Clouds,
    broken: str | None = None,
) -> float:
    """How far diagrams moved at worst beyond what the constant allows, rounding granted.

    Of both diagrams as the filtration states it, and of how far the points moved: a difference,
    and a norm of n d squares.
    """
    model = clone(MODELS[name]).fit([np.zeros((9, np.shape(MODELS[name].box)[1]))])
    allowed = factor * constant(name, space, k)
    worst = -np.inf
    for moved, sizes, values in movements(name, seed, clouds, broken)[k]:
        rounding = model.relative_rounding() * values + 200 * UNIT_ROUNDOFF * allowed * sizes[space]
        worst = max(worst, moved - allowed * sizes[space] - rounding)
    return worst


@pytest.mark.parametrize(("name", "space", "k"), BRANCHES)
def test_diagrams_never_move_further_than_the_constant(
    name: str, space: Space, k: int, make_clouds: Clouds, seed: int
) -> None:
    assert excess(1.0, name, space, k, seed, make_clouds) <= 0


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize(("name", "space", "k"), BRANCHES)
def test_the_law_fails_for_smaller_constants(
    name: str, space: Space, k: int, share: float, make_clouds: Clouds, seed: int
) -> None:
    assert excess(share, name, space, k, seed, make_clouds) > 0


@pytest.mark.parametrize(("name", "space", "k"), BRANCHES)
def test_every_constant_is_attained(name: str, space: Space, k: int) -> None:
    model = clone(MODELS[name])
    before, after = sphere(model, k), sphere(model, k, 0.01)
    batch = model.fit_transform([before, after])
    moved = bottleneck(batch.diagram(0, k), batch.diagram(1, k))
    allowed = constant(name, space, k) * SIZES[space](after - before)
    assert moved == pytest.approx(allowed, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 10, 10**9 + 7])
def test_the_frobenius_constant_is_one_over_the_root_rounded_up(k: int) -> None:
    found = DistanceToMeasurePersistence(k).stability(FROBENIUS).branches["H0"]
    assert isinstance(found, Bound)
    assert Fraction(found.constant) ** 2 * k >= 1
    assert Fraction(math.nextafter(found.constant, 0)) ** 2 * k < 1


@pytest.mark.parametrize("broken", BROKEN)
def test_the_law_fails_for_wrong_diagrams(broken: str, make_clouds: Clouds, seed: int) -> None:
    assert excess(1.0, "q = 2", PER_POINT, 0, seed, make_clouds, broken) > 0


def test_hausdorff_distance_bounds_nothing() -> None:
    # {0, 10} and {0, 0, 10} are the same set. With k = 2, f(0) is √50 for one and 0 for the other.
    model = fitted(2, resolution=3, box=([0], [10]), homology_dimensions=(0,))
    once, twice = model.field([[[0.0], [10.0]], [[0.0], [0.0], [10.0]]])
    assert once[0] == math.sqrt(50)
    assert twice[0] == 0
    with pytest.raises(StabilityError, match=re.escape("{0, 10} and {0, 0, 10} are the same set")):
        model.stability(HAUSDORFF)
    with pytest.raises(StabilityError, match=re.escape("is not stable from points[hausdorff]")):
        model.bounds([[[0.0], [10.0]]], 0.1)
    with pytest.raises(StabilityError, match=re.escape("and points[frobenius], not from matrix")):
        model.stability(SUP)


# Points that are added, deleted and replaced.


def adversary(
    model: DistanceToMeasurePersistence, cloud: Array, r: int, threat: str, rng: np.random.Generator
) -> Iterator[Array]:
    """Clouds within r changes: all kinds of mixtures, and the two extremes at every vertex."""
    d, n = cloud.shape[1], len(cloud)
    box = np.asarray(model.box, dtype=float)
    if threat == "deletion":
        for vertex in rng.uniform(*box, size=(20, d)):
            distances = np.linalg.norm(cloud - vertex, axis=1)
            yield cloud[np.sort(np.argsort(distances)[min(r, n - model.k) :])]
            yield cloud[rng.permutation(n)[: n - rng.integers(0, min(r, n - model.k) + 1)]]
        return
    for _ in range(20):
        deleted, replaced, added = rng.multinomial(r, np.full(3, 1 / 3))
        kept = rng.permutation(n)[max(0, deleted + replaced) :]
        new = rng.choice([0.5, 3.0]) * rng.normal(size=(replaced + added, d))
        changed = np.concatenate([cloud[kept], new])
        if len(changed) >= model.k:
            yield changed
    for vertex in vertices(model)[:: max(1, model.resolution - 1)]:
        yield np.concatenate([cloud, np.tile(vertex, (r, 1))])  # the lowest value there
        nearest = np.argsort(torus_distances(model, cloud, vertex))
        far = vertex + ((box[1] - box[0]) / 2 if model.periodic else 1e6)
        replaced = np.concatenate([cloud[nearest[r:]], np.tile(far, (r, 1))])
        if len(replaced) >= model.k:
            yield replaced  # the highest


def vertices(model: DistanceToMeasurePersistence) -> Array:
    """The formula of the docstring, in row-major order."""
    low, high = np.asarray(model.box, dtype=float)
    m = model.resolution if model.periodic else model.resolution - 1
    axes = [a + np.arange(model.resolution) * (b - a) / m for a, b in zip(low, high, strict=True)]
    return np.array(list(itertools.product(*axes)))


def torus_distances(model: DistanceToMeasurePersistence, cloud: Array, vertex: Array) -> Array:
    difference = cloud - vertex
    if model.periodic:
        period = np.subtract(*np.asarray(model.box, dtype=float)[::-1])
        difference -= period * np.round(difference / period)
    return np.linalg.norm(difference, axis=1)


def all_changes(
    name: str, threat: str, seed: int, make_clouds: Clouds
) -> Iterator[tuple[DistanceToMeasurePersistence, Array, int, list[Array]]]:
    model = clone(MODELS[name])
    rng = np.random.default_rng(seed)
    d = np.shape(model.box)[1]
    for kind in ("random", "gridded", "clustered", "far away"):
        cloud = make_clouds(seed, max(d, 2))[kind][:, :d]
        cloud = cloud[: rng.integers(model.k + 1, len(cloud) + 1)]
        model.fit([cloud])
        for r in (1, 2, 5):
            yield model, cloud, r, list(adversary(model, cloud, r, threat, rng))


@pytest.mark.parametrize("threat", ["points", "deletion"])
@pytest.mark.parametrize("name", MODELS)
def test_the_field_stays_within_its_bounds_to_the_last_bit(
    name: str, threat: Any, make_clouds: Clouds, seed: int
) -> None:
    for model, cloud, r, changed in all_changes(name, threat, seed, make_clouds):
        lower, upper = (end[0] for end in model.field_bounds([cloud], r, threat=threat))
        fields = model.field(changed)
        assert (lower <= fields).all()
        assert (fields <= upper).all()


@pytest.mark.parametrize("threat", ["points", "deletion"])
@pytest.mark.parametrize("name", MODELS)
def test_bounds_for_one_change_less_are_left(
    name: str, threat: Any, make_clouds: Clouds, seed: int
) -> None:
    # The test of the test: an interval one rank too narrow does not pass the one above.
    below, above = 0, 0
    for model, cloud, r, changed in all_changes(name, threat, seed, make_clouds):
        lower, upper = (end[0] for end in model.field_bounds([cloud], r - 1, threat=threat))
        fields = model.field(changed)
        below += int((fields < lower).sum())
        above += int((fields > upper).sum())
    assert above > 0
    assert (below > 0) == (threat == "points")  # deletion brings no point nearer


def test_the_interval_by_hand() -> None:
    # From the vertex 0 the points are 1, 2, 4, 8 away; k = 2, q = 1, one change.
    model = fitted(2, q=1, resolution=2, box=([0], [8]), homology_dimensions=(0,))
    cloud = [[1.0], [2.0], [4.0], [8.0]]
    lower, upper = model.field_bounds([cloud], 1)
    assert lower[0, 0] == (0 + 1) / 2  # a new point on the vertex
    assert upper[0, 0] == (2 + 4) / 2  # without the first
    lower, upper = model.field_bounds([cloud], 2)
    assert (lower[0, 0], upper[0, 0]) == (0, (4 + 8) / 2)
    assert model.field_bounds([cloud], 3)[1][0, 0] == np.inf  # k + 3 points are needed
    lower, upper = model.field_bounds([cloud], 3, threat="deletion")
    assert lower[0, 0] == (1 + 2) / 2
    assert upper[0, 0] == (4 + 8) / 2  # of fewer than 2 points there is no f
    assert [end.tolist() for end in model.field_bounds([cloud], 0)] == [
        model.field([cloud]).tolist()
    ] * 2


def test_on_a_torus_nothing_is_far_away() -> None:
    # A circle of circumference 8: of two points one is replaced by one opposite the vertex.
    model = fitted(2, q=1, resolution=4, box=([0], [8]), periodic=True, homology_dimensions=(0,))
    lower, upper = model.field_bounds([[[1.0], [7.0]]], 1)
    assert lower[0, 0] == (0 + 1) / 2
    assert upper[0, 0] == (1 + 4) / 2
    assert model.field_bounds([[[1.0], [7.0]]], 9)[1][0, 0] == 4


@pytest.mark.parametrize("threat", ["points", "deletion"])
@pytest.mark.parametrize("name", MODELS)
def test_balls_hold_what_changed_points_bring_about(
    name: str, threat: Any, make_clouds: Clouds, seed: int
) -> None:
    share = dict.fromkeys(MODELS[name].homology_dimensions, 0.0)
    for model, cloud, r, changed in all_changes(name, threat, seed, make_clouds):
        if threat == "points" and not model.periodic and len(cloud) < model.k + r:
            continue
        ball = model.bounds_points([cloud], r, threat=threat)
        assert ball.lowest == 0
        moved = model.transform(changed)
        for k in share:
            assert ball.metrics[k] == BOTTLENECK
            for i in range(len(changed)):
                distance = bottleneck(ball.diagrams.diagram(0, k), moved.diagram(i, k))
                assert distance <= ball.reach[k][0]
                if distance > 0:
                    share[k] = max(share[k], distance / ball.reach[k][0])
    assert max(share.values()) > 0.1  # not won by being enormous


def test_a_ball_of_points_is_attained() -> None:
    # On the vertices 0, ..., 10, with k = 2 and q = 1: f(0) = f(10) = 0, and f(5) = (4 + 4) / 2, so
    # the bar is [0, 4]. One change makes f(0) at most (0 + 1) / 2, and f(5) something between
    # (0 + 4) / 2 = 2 and (4 + 5) / 2 = 4.5: halfway are 0.25 and 3.25, and nowhere it is farther
    # than 1.25 to the ends. A point added at 5 makes f(4) = (1 + 3) / 2 = 2 and f(3) = (2 + 2) / 2
    # = 2 as well: the bar becomes [0, 2].
    cloud = np.array([[0.0], [0.0], [1.0], [9.0], [10.0], [10.0]])
    model = fitted(2, q=1, resolution=11, box=([0], [10]), homology_dimensions=(0,))
    ball = model.bounds_points([cloud], 1)
    moved = model.transform([np.vstack([cloud, [[5.0]]])])
    assert ball.diagrams.diagram(0, 0)[0].tolist() == [0.25, 3.25]
    assert moved.diagram(0, 0)[0].tolist() == [0, 2]
    assert bottleneck(ball.diagrams.diagram(0, 0), moved.diagram(0, 0)) == 1.25
    assert ball.reach[0].tolist() == [math.nextafter(1.25, 2)]


def test_values_are_cut_at_a_cap() -> None:
    # As above, but f and its bounds are cut at 3: at 5 f is between 2 and 3, halfway is 2.5. At 3 f
    # is between (0 + 2) / 2 and (3 + 3) / 2, which is now the widest: the reach falls to 1.
    cloud = np.array([[0.0], [0.0], [1.0], [9.0], [10.0], [10.0]])
    settings: dict[str, Any] = {"resolution": 11, "box": ([0], [10]), "homology_dimensions": (0,)}
    model, whole = fitted(2, q=1, cap=3.0, **settings), fitted(2, q=1, **settings)
    assert np.array_equal(model.field([cloud]), np.minimum(whole.field([cloud]), 3.0))
    for own, other in zip(
        model.field_bounds([cloud], 1), whole.field_bounds([cloud], 1), strict=True
    ):
        assert np.array_equal(own, np.minimum(other, 3.0))
    assert model.transform([cloud]).diagram(0, 0).tolist() == [[0, 3]]
    ball = model.bounds_points([cloud], 1)
    assert ball.reach[0].tolist() == [math.nextafter(1, 2)]
    moved = model.transform([np.vstack([cloud, [[5.0]]])]).diagram(0, 0)
    assert bottleneck(ball.diagrams.diagram(0, 0), moved) <= 1


def test_a_ball_needs_enough_points() -> None:
    model = fitted(3)
    clouds = [np.ones((n, 2)) for n in (9, 4, 3)]
    assert len(model.bounds_points(clouds[:2], 1)) == 2
    with pytest.raises(StabilityError, match=re.escape("X[2] has 3 points: when 1 of them are")):
        model.bounds_points(clouds, 1)
    assert len(model.bounds_points(clouds, 5, threat="deletion")) == 3
    still = model.bounds_points(clouds, 0)
    assert still.reach[0].tolist() == [0, 0, 0]


def test_bounds_per_point_are_those_of_stability() -> None:
    model = fitted(3)
    cloud = np.random.default_rng(0).normal(size=(9, 2))
    ball = model.bounds([cloud], 0.1, source=PER_POINT)
    assert 0.1 <= ball.reach[1][0] <= 0.1 + 1e-13
    assert 0.05 <= model.bounds([cloud], 0.05 * 3**0.5, source=FROBENIUS).reach[0][0] < 0.0500001
    assert ball.metrics == {0: BOTTLENECK, 1: BOTTLENECK}


# Rounding, scales and slow references.


def exact_field(model: DistanceToMeasurePersistence, cloud: Array) -> Array:
    """Squares of f (f itself for q = 1) from the definition, in fractions where that is possible.

    Vertices are those of the code, in floating point; they are part of the definition.
    """
    low, high = np.asarray(model.box, dtype=float)
    values = []
    for vertex in itertools.product(range(model.resolution), repeat=len(low)):
        squares = []
        for point in cloud.tolist():
            square = Fraction(0)
            for x, j, a, b in zip(point, vertex, low.tolist(), high.tolist(), strict=True):
                if model.periodic:
                    period = Fraction(b - a)
                    t = (Fraction(x) - Fraction(a) - Fraction((b - a) * j / model.resolution)) % (
                        period
                    )
                    t = min(t, period - t)
                else:
                    t = Fraction(x) - Fraction(float(np.linspace(a, b, model.resolution)[j]))
                square += t * t
            squares.append(square)
        unit = Fraction(float(high[0] - low[0]))  # or roots of tiny fractions underflow
        nearest = [square / unit**2 for square in sorted(squares)[: model.k]]
        if model.q == 2:
            values.append(float(unit) * math.sqrt(sum(nearest) / model.k))
        else:
            values.append(float(unit) * math.fsum(map(math.sqrt, nearest)) / model.k)
    return np.array(values)


@pytest.mark.parametrize(
    ("q", "periodic", "box"),
    [
        (q, periodic, box)
        for q in (1, 2)
        for periodic in (False, True)
        for box in (SQUARE, ((1e6, -1e-3), (1e6 + 1, 1e-3)), ((1e-200, 0), (2e-200, 3e-200)))
    ],
)
def test_rounding_is_as_small_as_stated(q: Any, periodic: bool, box: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = np.array(box)
    model, seen = dtm(3, q=q, periodic=periodic, box=box, resolution=5), 0.0
    for size, spread in ((3, 1.0), (20, 1.0), (20, 40.0), (40, 0.001)):
        cloud = (low + high) / 2 + (high - low) * spread * rng.uniform(-0.5, 0.5, size=(size, 2))
        model.fit([cloud])
        error = np.abs(model.field([cloud])[0].ravel() - exact_field(model, cloud))
        # the reference rounds its own roots and its mean
        own = 4 * UNIT_ROUNDOFF * model.field([cloud]).max()
        assert error.max() <= model.relative_rounding() * model.largest_values([cloud])[0] + own
        assert model.field([cloud]).max() <= model.largest_values([cloud])[0]
        seen = max(seen, error.max() / own)
    assert seen > 0.01  # rounding there is, so the test sees it


@pytest.mark.parametrize("name", MODELS)
def test_the_definition_word_by_word(name: str, make_clouds: Clouds, seed: int) -> None:
    model = clone(MODELS[name])
    d = np.shape(model.box)[1]
    for cloud in make_clouds(seed, max(d, 2)).values():
        cloud = np.resize(cloud[:, :d], (max(len(cloud), model.k), d))
        field = model.fit([cloud]).field([cloud])[0].ravel()
        for vertex, value in zip(vertices(model), field, strict=True):
            nearest = np.sort(torus_distances(model, cloud, vertex))[: model.k]
            expected = np.mean(nearest**model.q) ** (1 / model.q)
            assert value == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("exponent", [-980, -300, -61, 61, 300, 980])
def test_powers_of_two_scale_every_bit(exponent: int, periodic: bool, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 2))
    plain = dtm(3, periodic=periodic).fit([cloud])
    scaled = dtm(3, periodic=periodic, box=np.ldexp(SQUARE, exponent))
    scaled.fit([np.ldexp(cloud, exponent)])
    expected = np.ldexp(plain.field([cloud]), exponent)
    assert scaled.field([np.ldexp(cloud, exponent)]).tolist() == expected.tolist()
    bars = scaled.transform([np.ldexp(cloud, exponent)]).diagram(0, 1)
    assert bars.tolist() == np.ldexp(plain.transform([cloud]).diagram(0, 1), exponent).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_points_changes_no_bit(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = clone(MODELS[name])
    cloud = rng.normal(size=(40, np.shape(model.box)[1]))
    fields = model.fit([cloud]).field([cloud, cloud[::-1], rng.permutation(cloud)])
    assert (fields == fields[0]).all()


def test_sums_of_nearest_distances(seed: int) -> None:
    """Against a sort of all distances, with ties, equal points and few points."""
    rng = np.random.default_rng(seed)
    clouds = [rng.integers(0, 3, size=(n, 2)) / 2 for n in (1, 2, 5, 50, 300)]
    clouds += [rng.normal(size=(n, 2)) for n in (1, 7, 300)] + [np.zeros((40, 2))]
    windows = np.array([[[0, 0], [0, 1], [0, 4], [3, 9], [40, 41], [2, 400]]] * len(clouds))
    grid = rng.permutation(list(itertools.product(np.linspace(-1, 1, 7), repeat=2)))
    for squared in (True, False):
        sums = nearest_sums(clouds, grid, windows, squared=squared, beyond=100.0)
        for i, cloud in enumerate(clouds):
            distances = np.linalg.norm(cloud - grid[:, None], axis=-1)
            sorted_ = np.sort(distances**2 if squared else distances, axis=1)
            sorted_ = np.pad(sorted_, ((0, 0), (0, 400)), constant_values=100.0)
            for w, (a, b) in enumerate(windows[i]):
                np.testing.assert_allclose(sums[i, w], sorted_[:, a:b].sum(axis=1), rtol=1e-12)


# The contract.


def test_the_box_is_fixed_by_fit() -> None:
    X = [np.array([[0.0, 1.0], [2.0, 5.0]]), np.array([[-1.0, 3.0]])]
    model = dtm(1, box=None).fit(X)
    assert model.box_.tolist() == [[-1, 1], [2, 5]]
    far = [np.array([[100.0, 100.0]])]
    assert model.transform(far).n_bars(0).tolist() == [0]
    assert model.box_.tolist() == [[-1, 1], [2, 5]]
    assert model.fit([np.array([[0.0, 0.0], [1.0, 1.0]])]).box_.tolist() == [[0, 0], [1, 1]]


def test_clones_pickles_and_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in (20, 3, 9, 30) * 5]
    model = dtm(3).fit(X)
    diagrams, fields = model.transform(X), model.field(X)
    assert diagrams == DiagramBatch.concatenate([model.transform([cloud]) for cloud in X])
    assert fields.shape == (20, 6, 6)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.transform(X) == diagrams
    assert clone(model).fit_transform(X) == diagrams
    with joblib.parallel_config(backend="threading"):
        model.set_params(n_jobs=2)
        assert model.transform(X) == diagrams
        assert (model.field(X) == fields).all()
        assert model.bounds_points(X, 0).diagrams == diagrams


def test_inputs_are_read_only_and_may_be_float32() -> None:
    X = [np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)]
    X[0].flags.writeable = False
    model = dtm(3, periodic=True)
    assert model.fit_transform(X) == model.transform([X[0].astype(float)])
    assert model.transform([X[0].tolist()]) == model.transform(X)


def test_fit_comes_first() -> None:
    X = [np.zeros((3, 2))]
    for call in (
        lambda: dtm(3).transform(X),
        lambda: dtm(3).field(X),
        lambda: dtm(3).field_bounds(X, 1),
        lambda: dtm(3).bounds_points(X, 1),
        lambda: dtm(3).largest_values(X),
        lambda: dtm(3).relative_rounding(),
    ):
        with pytest.raises(NotFittedError):
            call()


# Errors.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k=0: expected a number of points, 1 or more"),
        ({"k": 0.1}, "k=0.1: expected a number of points"),
        ({"k": 5}, "X[1] has 4 points, fewer than k=5 that are to be averaged"),
        ({"q": 3}, "q=3: expected 1 or 2"),
        ({"cap": 0.0}, "cap=0.0: expected a finite number above 0, or None."),
        ({"cap": np.nan}, "cap=nan: expected a finite number above 0, or None."),
        ({"q": "2"}, "q='2': expected 1 or 2"),
        ({"resolution": 1}, "resolution=1: expected an integer, 2 or more"),
        ({"resolution": 10**4}, "resolution=10000 makes a grid of 10000^2 vertices in R^2"),
        ({"periodic": 1}, "periodic=1: expected True or False"),
        ({"periodic": True, "box": None}, "periodic=True needs a box"),
        ({"box": 3}, "box=3: expected two corners (lowest, highest)"),
        ({"box": ((0, 0),)}, "expected two corners"),
        ({"box": ((0, 0), (1,))}, "expected two corners"),
        ({"box": ((0,), (1,))}, "box has corners in R^1, but X[0] lies in R^2"),
        ({"box": ((0, 0), (1, 0))}, "expected finite corners within 2^1000, each coordinate"),
        ({"box": ((0, 0), (1, np.nan))}, "expected finite corners"),
        ({"box": ((0, 0), (1, np.inf))}, "expected finite corners"),
        ({"homology_dimensions": (0, 2)}, "grids with 2 axes have no bars in dimension 2"),
        ({"n_jobs": 0}, "n_jobs=0: expected a number of workers"),
    ],
)
def test_bad_parameters_are_refused(settings: dict[str, Any], message: str) -> None:
    X = [np.zeros((6, 2)), np.ones((4, 2))]
    with pytest.raises(ValueError, match=re.escape(message)):
        dtm(**{"k": 1, **settings}).fit(X)


def test_bad_clouds_are_refused() -> None:
    model = fitted(2)
    good = np.zeros((3, 2))
    for X, message in (
        ([good, good[:1]], "X[1] has 1 points, fewer than k=2"),
        ([good, good[:, :1]], "X[1] lies in R^1, but the dimension that was fitted is 2"),
        ([good, good + np.nan], "X[1] has 3 of 3 points with NaN"),
        ([good, good + 1e200], "X[1] has coordinates beyond 2^450 times the box"),
    ):
        for door in (model.transform, model.field, model.largest_values):
            with pytest.raises(ValueError, match=re.escape(message)):
                door(X)
    assert len(fitted(2, periodic=True).transform([good + 1e200])) == 1  # wrapped
    with pytest.raises(ValueError, match=re.escape("All points have the same coordinate 1: their")):
        dtm(1, box=None).fit([np.array([[0.0, 1.0], [2.0, 1.0]])])


@pytest.mark.parametrize(
    ("n_changes", "threat", "message"),
    [
        (-1, "points", "n_changes=-1: expected a number of points, 0 or more"),
        (0.5, "points", "n_changes=0.5: expected"),
        (1, "hausdorff", 'threat=\'hausdorff\': expected "points" or "deletion"'),
    ],
)
def test_bad_threats_are_refused(n_changes: Any, threat: Any, message: str) -> None:
    for method in (fitted(2).field_bounds, fitted(2).bounds_points):
        with pytest.raises(ValueError, match=re.escape(message)):
            method([np.zeros((3, 2))], n_changes, threat=threat)
