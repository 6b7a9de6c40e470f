"""What changed points do: to fields and to Hausdorff distances (D5, D6), and to votes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone

from stablerank import (
    AlphaPersistence,
    AnisotropicPersistence,
    DistanceToMeasurePersistence,
    RipsPersistence,
    StableRank,
)
from stablerank.certify.votes import HashedVotes, hash_points
from stablerank.checker import grids, vectors
from stablerank.checker.claims import ClaimError
from stablerank.checker.diagrams import moved
from stablerank.checker.inputs import Input, deletion_distance
from stablerank.checker.votes import check_votes, parts_of
from stablerank.diagrams import squeeze
from stablerank.diagrams.deletion import deletion_distances

from .conftest import on_a_line, rings, stages_of

Array = NDArray[np.float64]

FIELDS: dict[str, dict[str, Any]] = {
    "mean square": {"k": 2},
    "mean": {"k": 2, "q": 1},
    "cut": {"k": 3, "cap": 0.9},
    "torus": {"k": 2, "periodic": True},
}


def with_cloud(seed: int, **parameters: Any) -> tuple[Any, Any, Array]:
    """A filtration in the package and for the checker, and a cloud of six points."""
    own = on_a_line(parameters.pop("k"), **parameters)
    cloud = np.random.default_rng(seed).uniform(-1.5, 1.5, size=(6, 1))
    own.fit([cloud])
    (stage,) = stages_of(own)
    return own, stage, cloud


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_the_package(name: str, seed: int) -> None:
    own, stage, cloud = with_cloud(seed, **FIELDS[name])
    found, error = grids.field(grids.read_grid(stage), cloud, stage)
    assert 0 < error < 1e-13
    assert np.abs(found - own.field([cloud])[0]).max() <= error + 1e-15


def beyond_changes(name: str, threat: str, seed: int, charged: int = 2) -> float:
    """How far fields of clouds with two changed points leave the bounds for so many at worst.

    New points lie on a vertex, or as far as can be: there the bounds of D5 are attained.
    """
    own, stage, cloud = with_cloud(seed, **FIELDS[name])
    lower, upper, error = grids.changed_fields(
        grids.read_grid(stage), cloud, stage, charged, threat
    )
    pairs = [[i, j] for i in range(6) for j in range(i)]
    clouds = [np.delete(cloud, deleted, axis=0) for deleted in ([], [0], *pairs)]
    if threat == "points":  # two of these and two of those are two that were replaced
        places = (-1.0, 0.0, 1.0, 40.0)
        clouds += [np.vstack([left, [[place]] * 2]) for left in clouds for place in places]
    fields = own.field(clouds)
    return float(max((lower - fields).max(), (fields - upper).max()) - error)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("threat", ["deletion", "points"])
def test_no_field_leaves_its_bounds(name: str, threat: str, seed: int) -> None:
    assert beyond_changes(name, threat, seed) <= 0
    assert beyond_changes(name, threat, seed, charged=1) > 1e-3  # so the law can fail


FILTRATIONS: dict[str, Any] = {
    "alpha": AlphaPersistence(),
    "rips": RipsPersistence(),
    "linear images": AnisotropicPersistence(AlphaPersistence(), squeeze(30, 0.3)),
    "distance to measure": DistanceToMeasurePersistence(4, resolution=8),
}


def outside_of_balls(name: str, seed: int, share: float = 1.0) -> float:
    """How far vectors of rings without some points leave the boxes of their balls at worst."""
    filtration, worst = clone(FILTRATIONS[name]), -math.inf
    rng = np.random.default_rng(seed)
    for _ in range(12):
        (cloud, *_), n_deleted = rings(int(rng.integers(2**31)), 9), int(rng.integers(1, 9))
        filtration.fit([cloud])
        vectorizer = StableRank(n_ranks=12).fit(filtration.transform([cloud]))
        stages, own = stages_of(filtration, vectorizer), Input(cloud, set())
        balls = own.after_changes(stages[0], n_deleted, "deletion")
        found = {k: moved(centre, share * reach) for k, (centre, reach) in balls.items()}
        lower, upper = vectors.box(stages, lambda f, found=found: found, own.field)
        for _ in range(6):
            # neighbours, for they leave a gap: all of a place and of that beside it
            nearest = np.argsort(np.linalg.norm(cloud - cloud[rng.integers(len(cloud))], axis=1))
            left = np.delete(cloud, nearest[:n_deleted], axis=0)
            (vector,) = vectorizer.transform(filtration.transform([left]))
            worst = max(worst, float(np.maximum(lower - vector, vector - upper).max()))
    return worst - 1e-12


@pytest.mark.parametrize("name", FILTRATIONS)
def test_no_deletion_leaves_its_ball(name: str, seed: int) -> None:
    assert outside_of_balls(name, seed) <= 0
    assert outside_of_balls(name, seed, share=0.1) > 0  # so the law can fail


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_deletion_moves_a_cloud_further(d: int, seed: int) -> None:
    """Whichever two of eight points are deleted; and two at the end of a line move it so far."""
    cloud = np.random.default_rng(seed).normal(size=(8, d))
    bound = deletion_distance(cloud, 2)
    for pair in ([i, j] for i in range(8) for j in range(i)):
        left = np.delete(cloud, pair, axis=0)
        away = np.linalg.norm(cloud[pair, None] - left[None], axis=2).min(axis=1)
        assert away.max() <= bound
    assert bound == pytest.approx(deletion_distances(cloud, 2)[1], rel=1e-13)
    line = np.array([[0.0], [1.0], [3.0]])
    assert deletion_distance(line, 2) == pytest.approx(3, rel=1e-13)
    assert deletion_distance(line, 1) == pytest.approx(2, rel=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n_parts", [1, 7, 50])
def test_points_go_to_the_same_sub_clouds(d: int, n_parts: int, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(40, d))
    cloud[0] = -0.0
    key = 2**63 + 12345
    expected = hash_points(cloud + 0.0, key) % np.uint64(n_parts)
    assert parts_of(cloud, n_parts, key) == expected.tolist()


def test_a_point_on_both_zeros_goes_to_one_sub_cloud() -> None:
    zeros = np.array([[0.0, 1.0], [-0.0, 1.0]])
    first, second = parts_of(zeros, 1000, 3)
    assert first == second
    sizes = [len(part) for part in HashedVotes(None, n_parts=1000, random_state=3)._split(zeros)]
    assert sizes[first] == 2


@pytest.mark.parametrize("votes", [[8, 3], [3, 8]])
@pytest.mark.parametrize(("threat", "most"), [("deletion", 2), ("points", 1)])
def test_votes(votes: list[int], threat: str, most: int) -> None:
    """Eight lead three by 5, or by 4 if ties go against them: 2k of it, or 4k, may be lost."""
    cloud = np.random.default_rng(0).normal(size=(400, 2))
    voters = {"n_parts": 11, "min_points": 1, "random_state": 0, "fixed_vote": 0}
    assert set(parts_of(cloud, 11, 0)) == set(range(11))

    def verdict(radius: float, margin: float = 5 / 11, top: int = int(np.argmax(votes))) -> str:
        order = iter(np.repeat([0, 1], votes).tolist())
        claim = {"prediction": "ab"[top], "radius": radius, "margin": margin}
        try:
            check_votes(claim, top, cloud, threat, voters, lambda part: [next(order)], 2)
        except ClaimError as error:
            return error.claim
        return "accepted"

    assert [verdict(k) for k in (0.0, most, most + 1, most + 0.5)] == [
        "accepted",
        "accepted",
        "radius",
        "radius",
    ]
    assert verdict(0.0, margin=4 / 11) == "margin"
    assert verdict(0.0, top=int(np.argmin(votes))) == "prediction"


def test_sub_clouds_on_which_classes_tie_vote_for_nobody() -> None:
    """Two of nine may vote for either: seven lead by 5 at least, and not by 9."""
    cloud = np.random.default_rng(0).normal(size=(400, 2))
    voters = {"n_parts": 9, "min_points": 1, "random_state": 0, "fixed_vote": 0}

    def check(radius: float) -> None:
        order = iter([[0]] * 7 + [[0, 1]] * 2)
        claim = {"prediction": "a", "radius": radius, "margin": 1.0}
        check_votes(claim, 0, cloud, "deletion", voters, lambda part: next(order), 2)

    check(2.0)
    with pytest.raises(ClaimError, match="radius: the votes give less"):
        check(3.0)
