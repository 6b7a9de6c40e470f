"""Adversaries against clouds: what they propose lies within the radius, in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from stablerank.attack.points import FrobeniusAdversary, HausdorffAdversary, PointAdversary

Cloud = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Cloud]]
ADVERSARIES: dict[str, Callable[[], PointAdversary]] = {
    "per_point": PointAdversary,
    "per_coordinate": lambda: PointAdversary(math.inf),
    "frobenius": FrobeniusAdversary,
    "hausdorff": HausdorffAdversary,
}
_ONE = 2**1074  # every float is an integer multiple of 1/_ONE


def as_integers(cloud: Cloud) -> NDArray[Any]:
    """The coordinates times 2^1074, exactly."""
    ratios = [value.as_integer_ratio() for value in cloud.ravel().tolist()]
    return np.array([a * (_ONE // b) for a, b in ratios], dtype=object).reshape(cloud.shape)


def exact_displacement(threat: str, cloud: Cloud, moved: Cloud) -> int:
    """Times 2^1074, and squared unless per coordinate."""
    a, b = as_integers(cloud), as_integers(moved)
    if threat == "per_coordinate":
        return int(abs(b - a).max())
    if threat == "per_point":
        return int(((b - a) ** 2).sum(axis=1).max())
    if threat == "frobenius":
        return int(((b - a) ** 2).sum())
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    return int(max(squares.min(axis=0).max(), squares.min(axis=1).max()))


def exact_limit(threat: str, radius: float) -> int:
    (value,) = as_integers(np.array([radius]))
    return int(value if threat == "per_coordinate" else value**2)


def candidates(adversary: PointAdversary, cloud: Cloud, radius: float, seed: int, n: int) -> Any:
    """Proposals and chains of changes, shortened: pairs with the studied cloud."""
    rng = np.random.default_rng([seed, len(cloud)])
    (checked,) = adversary.check([cloud])
    studied = adversary.study(checked)
    current = adversary.original(studied)
    for turn in range(n):
        yield (
            studied,
            adversary.shorten(studied, adversary.propose(studied, radius, turn, rng), radius),
        )
        share = 0.5 * 0.01 ** (turn / n)
        changed = adversary.change(studied, current, radius, share, rng)
        current = adversary.shorten(studied, changed, radius)
        yield studied, current


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("threat", ADVERSARIES)
def test_candidates_lie_within_the_radius(
    threat: str, d: int, make_clouds: MakeClouds, seed: int
) -> None:
    adversary = ADVERSARIES[threat]()
    for name, cloud in make_clouds(seed, d).items():
        for radius in (0.03, 1e-9):
            for studied, moved in candidates(adversary, cloud, radius, seed, 14):
                exact = exact_displacement(threat, cloud, moved)
                measured = adversary.displacement(studied, moved)
                assert exact <= exact_limit(threat, radius), name
                assert exact <= exact_limit(threat, measured), name
                assert np.isfinite(moved).all()
                assert len(moved) >= 1
                if threat != "hausdorff":
                    assert moved.shape == cloud.shape


def test_the_law_above_can_fail(make_clouds: MakeClouds, seed: int) -> None:
    # Without shortening, a part of the proposals is longer than allowed: by rounding alone.
    adversary, rng = PointAdversary(), np.random.default_rng(seed)
    studied = adversary.study(make_clouds(seed, 2)["random"])
    moved = [adversary.propose(studied, 0.03, turn, rng) for turn in range(40)]
    lengths = [exact_displacement("per_point", studied.cloud, each) for each in moved]
    assert max(lengths) > exact_limit("per_point", 0.03)


@pytest.mark.parametrize("threat", ADVERSARIES)
def test_measured_displacements_are_hardly_above_exact_ones(threat: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(30, 2))
    adversary = ADVERSARIES[threat]()
    for studied, moved in candidates(adversary, cloud, 0.1, seed, 10):
        measured = adversary.displacement(studied, moved)
        exact = exact_displacement(threat, cloud, moved)
        limit = exact_limit(threat, measured * (1 - 1e-12))
        assert exact >= limit
        if threat == "hausdorff":  # a slow reference
            distances = cdist(cloud, moved)
            slow = max(distances.min(axis=0).max(), distances.min(axis=1).max())
            assert measured == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("threat", ADVERSARIES)
def test_proposals_use_the_whole_radius(threat: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(30, 2))
    adversary = ADVERSARIES[threat]()
    lengths = [adversary.displacement(s, m) for s, m in candidates(adversary, cloud, 0.1, seed, 20)]
    assert np.median(lengths) > 0.1 * (1 - 1e-9)


def test_a_cube_is_used_to_its_corners(seed: int) -> None:
    # A ball of radius 0.1 would end there; the cube reaches 0.141.
    cloud = np.random.default_rng(seed).normal(size=(30, 2))
    steps = [m - cloud for _, m in candidates(PointAdversary(math.inf), cloud, 0.1, seed, 20)]
    assert max(np.linalg.norm(step, axis=1).max() for step in steps) > 0.14


def test_all_displacements_together_are_charged() -> None:
    # Four points by 1 each: norm 2, though no point moves by more than 1.
    cloud = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    adversary = FrobeniusAdversary()
    studied = adversary.study(cloud)
    assert adversary.displacement(studied, cloud + np.array([1.0, 0.0])) == pytest.approx(
        2, rel=1e-12
    )
    shortened = adversary.shorten(studied, cloud + np.array([1.0, 0.0]), 1.0)
    assert shortened - cloud == pytest.approx(np.tile([0.5, 0.0], (4, 1)))


def test_hausdorff_adversaries_add_and_leave_out_points(seed: int) -> None:
    # Pairs 0.01 apart: one of each may go when the distance may be 0.05.
    cloud = np.repeat(np.random.default_rng(seed).uniform(0, 10, size=(15, 2)), 2, axis=0)
    cloud[1::2] += 0.01
    sizes = [len(m) for _, m in candidates(HausdorffAdversary(), cloud, 0.05, seed, 20)]
    assert min(sizes) <= 15
    assert max(sizes) > 30


def test_a_point_that_nothing_replaces_is_put_back() -> None:
    cloud = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    adversary = HausdorffAdversary()
    studied = adversary.study(cloud)
    moved = adversary.shorten(studied, np.array([[0.3, 0.0]]), 0.1)
    # the point goes back to within 0.1 of the nearest original, the other two return
    assert sorted(np.round(moved[:, 0], 6).tolist()) == [0.1, 1.0, 5.0]


# What is studied.


def test_neighbours_are_the_nearest_other_points(seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 3))
    distances = cdist(cloud, cloud)
    np.fill_diagonal(distances, np.inf)
    expected = np.argsort(distances, axis=1)[:, :6]
    assert np.array_equal(PointAdversary().study(cloud).neighbours, expected)


def test_equal_points_are_neighbours_but_not_of_themselves() -> None:
    neighbours = PointAdversary().study(np.zeros((9, 2))).neighbours
    assert neighbours.shape == (9, 6)
    assert not (neighbours == np.arange(9)[:, None]).any()


def test_splits_are_where_clusters_merge_last() -> None:
    # Gaps 1, 5 and 2 on a line: they merge last at 5, then at 2, then at 1.
    cloud = np.array([[0.0, 0], [1, 0], [6, 0], [8, 0]])
    splits = PointAdversary().study(cloud).splits
    members = [{frozenset(left.tolist()), frozenset(right.tolist())} for left, right, _ in splits]
    assert members == [
        {frozenset({0, 1}), frozenset({2, 3})},
        {frozenset({2}), frozenset({3})},
        {frozenset({0}), frozenset({1})},
    ]
    assert all(abs(direction[0]) == 1 for _, _, direction in splits)


def test_the_hole_of_a_ring_is_found() -> None:
    angles = 2 * np.pi * np.arange(40) / 40
    ring = 3 + np.column_stack([np.cos(angles), np.sin(angles)])
    centre, radius = PointAdversary().study(ring).holes[0]
    # a hill climb, not an optimiser: near the centre is enough
    assert np.linalg.norm(centre - 3) < 0.2
    assert 0.8 < radius <= 1 + 1e-12


def test_huge_and_tiny_clouds_are_studied(make_clouds: MakeClouds, seed: int) -> None:
    for scale in (1e-250, 1e250):
        cloud = make_clouds(seed, 2)["random"] * scale
        for studied, moved in candidates(HausdorffAdversary(), cloud, 0.01 * scale, seed, 8):
            assert HausdorffAdversary().displacement(studied, moved) <= 0.01 * scale
            assert len(studied.holes) > 0


def test_size_is_not_below_the_diameter(make_clouds: MakeClouds, seed: int) -> None:
    for cloud in make_clouds(seed, 3).values():
        adversary = PointAdversary()
        assert adversary.size(adversary.study(cloud)) >= cdist(cloud, cloud).max() * (1 - 1e-12)
