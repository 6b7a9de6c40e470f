"""How far deleting any k points moves a cloud: by hand, against all subsets, and spoilt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from fractions import Fraction

import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import AlphaPersistence, RipsPersistence, StabilityError
from stablerank.diagrams import CubicalPersistence
from stablerank.diagrams.deletion import deletion_distances
from stablerank.stability import HAUSDORFF

Cloud = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Cloud]]


def squared_distance(a: Cloud, b: Cloud) -> Fraction:
    """Exactly."""
    return sum(((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(a, b, strict=True)), Fraction(0))


def worst_deletion(cloud: Cloud, k: int) -> Fraction:
    """The square of the largest Hausdorff distance to the cloud without k points, over all."""
    n = len(cloud)
    squares = [[squared_distance(a, b) for b in cloud] for a in cloud]
    worst = Fraction(0)
    for deleted in itertools.combinations(range(n), k):
        left = set(range(n)) - set(deleted)
        worst = max(worst, *(min(squares[i][j] for j in left) for i in deleted))
    return worst


# Closed form.


def test_a_regular_polygon() -> None:
    # The neighbours of a corner of the hexagon are at 1, 1, √3, √3, 2.
    angles = np.pi / 3 * np.arange(6)
    hexagon = np.column_stack([np.cos(angles), np.sin(angles)])
    expected = [1, 1, np.sqrt(3), np.sqrt(3), 2]
    np.testing.assert_allclose(deletion_distances(hexagon, 5), expected, rtol=1e-13)


def test_two_far_pairs() -> None:
    # One point of a pair leaves the other at 1; without both the next is at 10 from the outer one,
    # and without three the last at 11. All of it is attained.
    cloud = np.array([[0.0], [1.0], [10.0], [11.0]])
    np.testing.assert_allclose(deletion_distances(cloud, 3), [1, 10, 11], rtol=1e-14)
    assert [worst_deletion(cloud, k) for k in (1, 2, 3)] == [1, 100, 121]


def test_nothing_deleted_and_equal_points() -> None:
    assert deletion_distances(np.zeros((3, 2)), 0).shape == (0,)
    assert deletion_distances(np.zeros((1, 2)), 0).shape == (0,)
    assert (deletion_distances(np.zeros((5, 2)), 4) < 1e-300).all()
    # five equal points: a sixth, elsewhere, is lost with the first deletion
    cloud = np.vstack([np.ones((5, 2)), [[4.0, 5.0]]])
    np.testing.assert_allclose(deletion_distances(cloud, 5), 5.0, rtol=1e-14)


# The law.


def excess(bound: Callable[[Cloud, int], NDArray[np.float64]], cloud: Cloud) -> bool:
    """Whether any subset moves the cloud farther than the bound, in exact arithmetic."""
    bounds = bound(cloud, len(cloud) - 1)
    return any(
        worst_deletion(cloud, k) > Fraction(float(bounds[k - 1])) ** 2 for k in range(1, len(cloud))
    )


def small_clouds(seed: int) -> list[Cloud]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(7, 2)),
        rng.integers(0, 3, size=(8, 2)) / 2,
        np.repeat(rng.normal(size=(3, 3)), 2, axis=0) + rng.normal(scale=1e-9, size=(6, 3)),
        1e6 + rng.normal(scale=1e-3, size=(6, 2)),
        1e-200 * rng.normal(size=(6, 2)),
        1e250 * rng.normal(size=(6, 1)),
    ]


def test_no_subset_moves_a_cloud_farther(seed: int) -> None:
    for cloud in small_clouds(seed):
        assert not excess(deletion_distances, cloud)


def neighbours(cloud: Cloud, most: int) -> NDArray[np.float64]:
    """The distances to the nearest others, sorted, as NumPy computes them."""
    distances = np.linalg.norm(cloud[:, None] - cloud, axis=2)
    return np.asarray(np.sort(distances, axis=1)[:, 1 : most + 1])


BROKEN: dict[str, Callable[[Cloud, int], NDArray[np.float64]]] = {
    "one neighbour too few": lambda cloud, most: np.append(
        0.0, deletion_distances(cloud, most)[:-1]
    ),
    "the mean in place of the largest": lambda cloud, most: neighbours(cloud, most).mean(axis=0),
    "rounded to nearest": lambda cloud, most: neighbours(cloud, most).max(axis=0),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_can_fail(broken: Callable[[Cloud, int], NDArray[np.float64]], seed: int) -> None:
    clouds = [cloud for each in range(5) for cloud in small_clouds(100 * seed + each)]
    with np.errstate(over="ignore"):
        assert any(excess(broken, cloud) for cloud in clouds)


def test_bounds_do_not_decrease(make_clouds: MakeClouds, seed: int) -> None:
    for cloud in make_clouds(seed, 2).values():
        bounds = deletion_distances(cloud, len(cloud) - 1)
        assert (np.diff(bounds) >= 0).all()
        # what is asked for does not change with how much is asked for
        few = deletion_distances(cloud, min(3, len(cloud) - 1))
        np.testing.assert_allclose(few, bounds[: len(few)], rtol=1e-12)


# Filtrations.


@pytest.mark.parametrize("kind", [AlphaPersistence, RipsPersistence])
def test_filtrations_turn_them_into_balls(kind: type, seed: int) -> None:
    clouds = [np.random.default_rng([seed, n]).normal(size=(n, 2)) for n in (5, 9)]
    filtration = kind().fit(clouds)
    ball = filtration.bounds_points(clouds, 3, threat="deletion")
    sizes = [deletion_distances(cloud, 3)[-1] for cloud in clouds]
    expected = filtration.bounds(clouds, sizes, source=HAUSDORFF)
    assert np.array_equal(ball.reach[0], expected.reach[0])
    assert ball.diagrams.diagram(0, 0).tolist() == expected.diagrams.diagram(0, 0).tolist()
    # H1: half of it, around the same bars half of it later
    np.testing.assert_allclose(ball.reach[1], expected.reach[1] / 2, rtol=1e-12)
    later = expected.diagrams.padded(1) + ball.reach[1][:, None, None]
    some = expected.diagrams.padded(1)[:, :, 1] > 0
    np.testing.assert_allclose(ball.diagrams.padded(1)[some], later[some], rtol=1e-12)
    still = filtration.bounds_points(clouds, 0, threat="deletion")
    assert (still.reach[0] < 1e-12).all()
    assert filtration.fewest_points == 1


@pytest.mark.parametrize("kind", [AlphaPersistence, RipsPersistence])
def test_diagrams_without_some_points_lie_in_the_ball(kind: type, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(9, 2))
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True) * np.linspace(0.9, 1.1, 9)[:, None]
    filtration = kind((1,)).fit([cloud])
    for k in (1, 2):
        ball = filtration.bounds_points([cloud], k, threat="deletion")
        thinned = [
            np.delete(cloud, deleted, axis=0) for deleted in itertools.combinations(range(9), k)
        ]
        for bars in filtration.transform(thinned):
            distance = gudhi.hera.bottleneck_distance(ball.diagrams.diagram(0, 1), bars[1], 0.0)
            assert distance <= ball.reach[1][0]


def circle(n_points: int, radius: float) -> Cloud:
    angles = 2 * np.pi * np.arange(n_points) / n_points
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize("kind", [AlphaPersistence, RipsPersistence])
def test_half_the_size_needs_the_delay(kind: type) -> None:
    # A hexagon within a circle twice as large: without it the hole is 2 wide in place of 1, and
    # the sixth point nearest to a corner is 1.1 away. So the death moves by more than half of that.
    cloud = np.concatenate([circle(48, 2.0), circle(6, 1.0)])
    filtration = kind((1,)).fit([cloud])
    ball = filtration.bounds_points([cloud], 6, threat="deletion")
    own, left = (filtration.transform([each]).diagram(0, 1) for each in (cloud, cloud[:48]))
    later, reach = ball.diagrams.diagram(0, 1), ball.reach[1][0]
    assert gudhi.hera.bottleneck_distance(later, left, 0.0) <= reach
    assert gudhi.hera.bottleneck_distance(own, left, 0.0) > 1.2 * reach


# Errors.


def test_numbers_of_points() -> None:
    with pytest.raises(ValueError, match=re.escape("most=3: expected a number from 0 to 2, of 3")):
        deletion_distances(np.zeros((3, 2)), 3)
    with pytest.raises(ValueError, match="most=-1"):
        deletion_distances(np.zeros((3, 2)), -1)


def test_added_points_are_refused() -> None:
    filtration = AlphaPersistence().fit([np.zeros((3, 2))])
    with pytest.raises(StabilityError, match="a single one far away moves the cloud by any"):
        filtration.bounds_points([np.zeros((3, 2))], 1)


def test_images_have_no_points() -> None:
    filtration = CubicalPersistence().fit([np.zeros((3, 3))])
    with pytest.raises(StabilityError, match="knows constants from"):
        filtration.bounds_points([np.zeros((3, 3))], 1, threat="deletion")
