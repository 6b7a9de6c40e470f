"""Fields of clouds in which some points are changed: intervals by hand, their law, radii (D5)."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone

from stablerank import (
    DistanceToMeasurePersistence,
    StabilityError,
)
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.fields.vectorizer import sorted_blocks

Array = NDArray[np.float64]
Threat = Any

BOX = ([-1.0, -1.0], [1.0, 1.0])
FIELDS: dict[str, DistanceField] = {
    "nearest": DistanceField(resolution=4, box=BOX),
    "third and first": DistanceField([3, 1], resolution=4, box=BOX),
    "third, torus": DistanceField(3, resolution=4, box=BOX, periodic=True),
    "second, sorted": DistanceField(2, resolution=4, box=BOX, values="sorted"),
    "second, in blocks": DistanceField(2, resolution=4, box=BOX, values="sorted", blocks=5),
    "measure": DistanceField([4, 2], kind="measure", resolution=4, box=BOX),
    "measure, torus, q = 1": DistanceField(
        3, kind="measure", q=1, resolution=4, box=BOX, periodic=True
    ),
    "measure, in blocks": DistanceField(
        3, kind="measure", resolution=4, box=BOX, values="sorted", blocks=5
    ),
}
THREATS = ["points", "deletion"]


def on_a_line(k: Any, cloud: Any, **settings: Any) -> DistanceField:
    return DistanceField(k, resolution=2, box=([0], [8]), **settings).fit([cloud])


def ends_of(model: DistanceField, cloud: Any, r: int, threat: Threat = "points") -> Any:
    """Lower and upper end at the vertex 0, for each k."""
    ends = model.bounds_points([cloud], r, threat=threat)
    return tuple(end.numpy().reshape(len(model._ks), -1)[:, 0].tolist() for end in ends)


# Closed form.


def test_intervals_by_hand() -> None:
    # From the vertex 0 the points are 1, 2, 4, 8 away.
    cloud = [[1.0], [2.0], [4.0], [8.0]]
    nearest = on_a_line([2, 3], cloud)
    assert ends_of(nearest, cloud, 0) == ([2, 4], [2, 4])
    assert ends_of(nearest, cloud, 1) == ([1, 2], [4, 8])  # a rank down, and a rank up
    assert ends_of(nearest, cloud, 1, "deletion") == ([2, 4], [4, 8])
    # three points are left at least, so that no second point can be deleted
    assert ends_of(nearest, cloud, 2, "deletion") == ([2, 4], [4, 8])
    assert ends_of(on_a_line(2, cloud), cloud, 2) == ([0], [8])  # two new points on the vertex
    mean = on_a_line(2, cloud, kind="measure", q=1)
    assert ends_of(mean, cloud, 1) == ([(0 + 1) / 2], [(2 + 4) / 2])
    assert ends_of(mean, cloud, 2, "deletion") == ([(1 + 2) / 2], [(4 + 8) / 2])


def test_on_a_torus_nothing_is_far_away() -> None:
    # A circle of circumference 8: of two points one is replaced by one opposite the vertex.
    cloud = [[1.0], [7.0]]
    field = DistanceField(2, resolution=4, box=([0], [8]), periodic=True).fit([cloud])
    lower, upper = field.bounds_points([cloud], 1)
    assert (lower[0, 0], upper[0, 0]) == (1, 4)
    lower, upper = field.bounds_points([cloud], 9)
    assert (lower == 0).all()
    assert (upper == 4).all()


def test_sorted_ends_by_hand() -> None:
    # Both vertices, 0 and 8, see the points at distances 1, 4 and 7, the second being 4. One
    # change makes that 1 at least, and 7 at most, at both of them; and so their mean.
    cloud = [[1.0], [4.0], [7.0]]
    field = on_a_line(2, cloud, values="sorted", blocks=1)
    lower, upper = field.bounds_points([cloud], 1)
    assert (lower.item(), field.transform([cloud]).item(), upper.item()) == (1, 4, 7)


# The slow reference: the same bounds of the filtration.


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("q", [1, 2])
def test_bounds_of_the_measure_are_those_of_its_filtration(
    q: Any, periodic: bool, threat: Threat, seed: int
) -> None:
    cloud = np.random.default_rng(seed).uniform(-1.3, 1.3, (12, 2))
    settings: dict[str, Any] = {"q": q, "resolution": 5, "box": BOX, "periodic": periodic}
    field = DistanceField(4, kind="measure", **settings).fit([cloud])
    filtration = DistanceToMeasurePersistence(4, **settings).fit([cloud])
    for r in (0, 1, 3, 8):
        ends = field.bounds_points([cloud], r, threat=threat)
        expected = filtration.field_bounds([cloud], r, threat=threat)
        for end, other in zip(ends, expected, strict=True):
            assert (end.numpy()[0] == other[0].ravel()).all()
    assert (field.field([cloud])[0, 0] == filtration.field([cloud])[0]).all()


# The law: vectors as computed stay inside, to the last bit.


def changes(model: DistanceField, cloud: Array, r: int, threat: Threat, seed: int) -> Iterator[Any]:
    """Clouds within r changes: mixtures, and the extremes at every vertex."""
    rng, n = np.random.default_rng(seed), len(cloud)
    removable = min(r, n - model.fewest_points)
    low, high = np.array(BOX)
    m = model.resolution
    axis = np.linspace(-1, 1, m) if not model.periodic else -1 + 2 * np.arange(m) / m
    for vertex in itertools.product(axis, axis):
        ways = cloud - vertex
        if model.periodic:
            ways -= 2 * np.rint(ways / 2)
        order = np.argsort(np.linalg.norm(ways, axis=1))
        if threat == "deletion":
            yield cloud[order[removable:]]
            continue
        yield np.concatenate([cloud, np.tile(vertex, (r, 1))])
        far = np.array(vertex) + (1.0 if model.periodic else 1e6)
        yield np.concatenate([cloud[order[removable:]], np.full((removable, 2), far)])
    for _ in range(40):
        kept = cloud[rng.permutation(n)[rng.integers(0, removable + 1) :]]
        new = rng.uniform(1.5 * low, 1.5 * high, (int(rng.integers(r + 1)), 2))
        yield kept if threat == "deletion" else np.concatenate([kept, new])


def excess(model: Any, threat: Threat, fewer: int, seed: int) -> tuple[float, float, float]:
    """How far changed vectors get below and above the bounds of some changes fewer.

    And how far from an end all of them stay, at worst.
    """
    below, above, idle = -math.inf, -math.inf, -math.inf
    rng = np.random.default_rng(seed)
    for n, r in ((9, 1), (9, 2), (14, 5), (5, 1)):
        cloud = rng.uniform(-1.2, 1.2, (n, 2))
        cloud[: n // 3] = rng.choice([-1.0, 1 / 3], (n // 3, 2))
        model = clone(model).fit([cloud])
        lower, upper = model.bounds_points([cloud], r - fewer, threat=threat)
        vectors = model.transform(list(changes(model, cloud, r, threat, seed)))
        below = max(below, float((lower.numpy() - vectors).max()))
        above = max(above, float((vectors - upper.numpy()).max()))
        gaps = np.stack([vectors.min(axis=0) - lower.numpy(), upper.numpy() - vectors.max(axis=0)])
        idle = max(idle, float(gaps.max()))
    return below, above, idle


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", FIELDS)
def test_changed_vectors_stay_inside_to_the_last_bit(name: str, threat: Threat, seed: int) -> None:
    below, above, idle = excess(FIELDS[name], threat, 0, seed)
    assert below <= 0
    assert above <= 0
    if FIELDS[name].values == "raw":
        assert idle <= 1e-12 * FIELDS[name].periodic  # every end is attained


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", FIELDS)
def test_bounds_of_one_change_less_are_left(name: str, threat: Threat, seed: int) -> None:
    below, above, _ = excess(FIELDS[name], threat, 1, seed)
    assert above > 0
    # deletion brings no point nearer; means over blocks of ranks move less than their bounds
    if threat == "points" and FIELDS[name].values == "raw":
        assert below > 0


def test_means_of_the_largest_numbers() -> None:
    # their sum overflows, and Python's fsum used to say so by OverflowError
    huge = 2.0**1003 * np.array([1.0, 3.0, 2.0**-900, 0.0])
    many = np.tile(huge, 2**20)
    assert sorted_blocks(many, 4).tolist() == [2.0**1003 * v for v in (3.0, 1.0, 2.0**-900, 0.0)]
    assert sorted_blocks(many, 1).item() == 2.0**1003
    assert sorted_blocks(np.array([np.inf, 1.0]), 1).item() == np.inf
    rng = np.random.default_rng(0)
    values = rng.uniform(size=100)
    assert (sorted_blocks(values * 2.0**1003, 7) == sorted_blocks(values, 7) * 2.0**1003).all()


# Errors.


def test_small_clouds_and_bad_arguments() -> None:
    clouds = [np.ones((n, 2)) for n in (9, 4, 3)]
    model = DistanceField(3, resolution=3, box=BOX).fit(clouds)
    assert len(model.bounds_points(clouds[:2], 1)[0]) == 2
    with pytest.raises(StabilityError, match=re.escape("X[2] has 3 points: when 1 of them are")):
        model.bounds_points(clouds, 1)
    assert len(model.bounds_points(clouds, 5, threat="deletion")[0]) == 3
    with pytest.raises(ValueError, match="n_changes=-1: expected a number of points, 0 or more"):
        model.bounds_points(clouds, -1)
    with pytest.raises(ValueError, match='threat=\'moves\': expected "points" or "deletion"'):
        model.bounds_points(clouds, 1, threat="moves")  # type: ignore[arg-type]


def test_neighbours_say_why_not() -> None:
    # one far away puts any distance at the head of the list
    cloud = np.arange(6.0)[:, None]
    model = SortedNeighbourDistances(blocks=3).fit([cloud])
    far = model.transform([np.append(cloud, [[5.0 + size]], axis=0) for size in (1e3, 1e6)])
    assert far[1, 0] > 100 * far[0, 0] > 1000
    for threat in THREATS:
        with pytest.raises(StabilityError, match="one far away puts any distance at the head of"):
            model.bounds_points([cloud], 1, threat=threat)
