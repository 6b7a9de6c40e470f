"""Adversaries who count points: what they hand in, how it is counted, and what they find."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.attack import CoordinateSearch, RandomSearch, attack, minimal_radius
from stablerank.attack.changed_points import ChangedCloud, CountingAdversary

Cloud = NDArray[np.float64]
MakeClouds = Callable[[int, int], dict[str, Cloud]]


def changes(before: Cloud, after: Cloud) -> tuple[int, int]:
    """How many points are gone, and how many are new, as multisets."""
    old, new = (Counter(map(tuple, (cloud + 0.0).tolist())) for cloud in (before, after))
    return sum((old - new).values()), sum((new - old).values())


class Fewer:
    """Does a cloud have fewer than n points?"""

    def __init__(self, n: int) -> None:
        self.n = n

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return np.array([len(cloud) < self.n for cloud in X])


class Wide:
    """Is a cloud wider than 5?"""

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return np.array([np.ptp(cloud, axis=0).max() > 5 for cloud in X])


class Whim:
    """Scores by a hash of the coordinates, so that every candidate counts."""

    classes_ = np.array([0, 1])

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        return np.array([-2.0 - np.sin(1e4 * cloud).mean() for cloud in X])

    def predict(self, X: Any) -> NDArray[np.int64]:
        return (self.decision_function(X) > 0).astype(np.int64)


# Closed form.


@pytest.mark.parametrize("threat", ["deletion", "points"])
def test_the_smallest_number_of_deletions(threat: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(12, 2))
    for n, k in ((12, 1), (10, 3), (6, 7)):
        below = attack(Fewer(n), [cloud], [False], threat=threat, radius=k - 1, random_state=seed)
        at = attack(Fewer(n), [cloud], [False], threat=threat, radius=k, random_state=seed)
        assert below.success.tolist() == [False]
        assert at.success.tolist() == [True]
        assert at.displacement.tolist() == [k]
        assert len(at.inputs[0]) == 12 - k


def test_one_far_point_is_enough(seed: int) -> None:
    cloud = np.random.default_rng(seed).uniform(size=(12, 2))
    found = attack(Wide(), [cloud], [False], threat="points", radius=1, random_state=seed)
    assert found.success.tolist() == [True]
    assert not attack(
        Wide(), [cloud], [False], threat="deletion", radius=11, random_state=seed
    ).success.any()


def test_the_minimal_number(seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(12, 2))
    found = minimal_radius(Fewer(9), [cloud], [False], threat="deletion", random_state=seed)
    assert found.breaking_displacement.tolist() == [4.0]
    assert found.unit.startswith("deleted points")


# The law.


@pytest.mark.parametrize("threat", ["deletion", "points"])
@pytest.mark.parametrize("method", [RandomSearch(n_queries=30), CoordinateSearch(n_queries=30)])
def test_candidates_are_within_the_radius(
    threat: str, method: Any, make_clouds: MakeClouds, seed: int
) -> None:
    for d in (2, 3):
        clouds = [cloud for cloud in make_clouds(seed, d).values() if len(cloud) > 1]
        for radius in (1.0, 2.9, 6.0, 100.0):
            found = attack(
                Whim(),
                clouds,
                np.zeros(len(clouds), dtype=int),
                threat=threat,
                radius=radius,
                method=method,
                random_state=seed,
            )
            for cloud, changed, displacement in zip(
                clouds, found.inputs, found.displacement, strict=True
            ):
                gone, new = changes(cloud, changed)
                assert max(gone, new) <= displacement <= radius
                assert displacement == int(displacement)
                assert len(changed) >= 1
                assert new == 0 or threat == "points"
            assert (found.displacement > 0).any()


def test_all_kinds_come_in_turn(make_clouds: MakeClouds, seed: int) -> None:
    rng = np.random.default_rng(seed)
    adversary = CountingAdversary()
    (cloud,) = adversary.check([make_clouds(seed, 2)["random"]])
    studied = adversary.study(cloud)
    seen = {
        (len(candidate.deleted), len(candidate.added))
        for candidate in (adversary.propose(studied, 3, turn, rng) for turn in range(15))
    }
    assert seen == {(3, 0), (0, 3), (3, 3)}


# What does not count.


def test_what_the_threat_does_not_allow_is_infinitely_far() -> None:
    cloud = np.arange(8.0).reshape(4, 2)
    none, some = np.empty(0, dtype=np.intp), np.array([0, 2])
    nothing, new = np.empty((0, 2)), np.ones((3, 2))
    mixed, deletions = CountingAdversary(), CountingAdversary(deletions_only=True)
    studied = mixed.study(cloud)
    for adversary, deleted, added, expected in (
        (mixed, none, nothing, 0),
        (mixed, some, nothing, 2),
        (mixed, some, new, 3),
        (deletions, some, nothing, 2),
        (deletions, none, new, np.inf),
        (mixed, np.array([1, 1]), nothing, np.inf),
        (deletions, np.arange(4), nothing, np.inf),
        (mixed, np.arange(4), new, 4),
    ):
        assert adversary.displacement(studied, ChangedCloud(cloud, deleted, added)) == expected
    kept = mixed.shorten(studied, ChangedCloud(cloud, some, new * [[1.0], [np.nan], [2.0]]), 1.5)
    assert kept.deleted.tolist() == [0]
    assert kept.added.tolist() == [[1.0, 1.0]]
    assert kept.cloud.tolist() == [[2, 3], [4, 5], [6, 7], [1, 1]]


def test_originals_are_not_overwritten() -> None:
    cloud = np.random.default_rng(0).normal(size=(9, 2))
    cloud.flags.writeable = False
    found = attack(Whim(), [cloud], [0], threat="points", radius=3, random_state=0)
    again = attack(Whim(), [cloud], [0], threat="points", radius=3, random_state=0)
    assert np.array_equal(found.inputs[0], again.inputs[0])


def test_one_point_cannot_be_deleted() -> None:
    found = attack(Fewer(1), [np.zeros((1, 2))], [False], threat="deletion", radius=3)
    assert found.displacement.tolist() == [0.0]


def test_bad_clouds() -> None:
    with pytest.raises(ValueError, match=re.escape("X[0] has 1 of 1 points with NaN")):
        attack(Whim(), [np.array([[np.nan, 0.0]])], [0], threat="points", radius=1)
