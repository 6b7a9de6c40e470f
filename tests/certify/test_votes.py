"""Votes of hashed sub-clouds: the rule against all that can happen, and the hash it rests on."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from stablerank import StabilityError, certify
from stablerank.attack import attack
from stablerank.certify import HashedVotes
from stablerank.certify.votes import certified_changes, hash_points

Cloud = NDArray[np.float64]
Rule = Callable[[NDArray[np.intp], str], NDArray[np.intp]]


class Worst(ClassifierMixin, BaseEstimator):
    """Votes rightly for what it was trained with, and wrongly for all else.

    Clouds of class c lie around x = 10 c, so it knows what is wrong: as bad as a model can be for
    whoever counts votes.
    """

    def fit(self, X: Any, y: Any) -> Worst:
        self.classes_ = np.unique(y)
        self.known_ = {part.tobytes() for part in X}
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        n_classes = len(self.classes_)
        right = [int(np.clip(np.rint(part[:, 0].mean() / 10), 0, n_classes - 1)) for part in X]
        known = [part.tobytes() in self.known_ for part in X]
        return self.classes_[
            [c if k else (c + 1) % n_classes for c, k in zip(right, known, strict=True)]
        ]


def some_clouds(seed: int, n_clouds: int = 12, n_classes: int = 2) -> list[Cloud]:
    """Of the classes in turn."""
    rng = np.random.default_rng([seed, 1])
    sizes = rng.integers(11, 16, size=n_clouds)
    return [
        rng.normal(size=(n, 2)) + np.array([10 * (i % n_classes), 0]) for i, n in enumerate(sizes)
    ]


def voters(
    clouds: list[Cloud], n_parts: int = 7, n_classes: int = 2, **settings: Any
) -> HashedVotes:
    """Fitted to these very clouds."""
    y = np.arange(len(clouds)) % n_classes
    return HashedVotes(Worst(), n_parts=n_parts, **settings).fit(clouds, y)


# Closed form: the rule.


@pytest.mark.parametrize(
    ("votes", "deletions", "changes"),
    [
        ([10, 0], 5, 2),  # 5 : 5 is won by the first
        ([0, 10], 4, 2),  # 5 : 5 is lost by the second, 4 changed votes leave 4 : 6
        ([9, 0], 4, 2),
        ([6, 5], 0, 0),  # 5 : 6
        ([5, 5], 0, 0),  # 4 : 6
        ([3, 8, 3], 2, 1),  # 5 : 6, the gap 5 less a tie that would be lost
        ([3, 3, 8], 2, 1),
        ([8, 3, 3], 2, 1),
        ([8, 4, 2], 2, 1),
        ([2, 8, 4], 2, 1),  # against class 2, which loses ties, 4 // 2; against class 0, 5 // 2
        ([4, 8, 2], 1, 0),  # against class 0, which wins ties, 3 // 2
    ],
)
def test_the_rule_by_hand(votes: list[int], deletions: int, changes: int) -> None:
    assert certified_changes(np.array([votes]), "deletion") == deletions
    assert certified_changes(np.array([votes]), "points") == changes


# The law, and that it is tight: all that changed votes can do.


def can_be_lost(votes: tuple[int, ...], n_changed: int) -> bool:
    """Whether some of `n_changed` votes, changed at will, leave another winner."""
    winner, reached = int(np.argmax(votes)), {votes}
    for _ in range(n_changed):
        reached |= {
            tuple(v - (i == a) + (i == b) for i, v in enumerate(state))
            for state in reached
            for a, b in itertools.permutations(range(len(votes)), 2)
            if state[a] > 0
        }
    return any(int(np.argmax(state)) != winner for state in reached)


SMALL = [
    state
    for n_classes in (2, 3)
    for state in itertools.product(range(7), repeat=n_classes)
    if sum(state) in (5, 6, 7)
]


@pytest.mark.parametrize(("threat", "each"), [("deletion", 1), ("points", 2)])
def test_the_rule_holds_and_is_tight(threat: str, each: int) -> None:
    certified = certified_changes(np.array([s + (0,) * (3 - len(s)) for s in SMALL]), threat)
    for state, k in zip(SMALL, certified, strict=True):
        full = state + (0,) * (3 - len(state))
        assert not can_be_lost(full, each * int(k))
        assert can_be_lost(full, each * (int(k) + 1))


def ties_forgotten(votes: NDArray[np.intp], threat: str) -> NDArray[np.intp]:
    top_two = np.sort(votes, axis=1)[:, -2:]
    return np.asarray((top_two[:, 1] - top_two[:, 0]) // {"deletion": 2, "points": 4}[threat])


def replacements_as_deletions(votes: NDArray[np.intp], threat: str) -> NDArray[np.intp]:
    return certified_changes(votes, "deletion")


def one_side_of_the_vote(votes: NDArray[np.intp], threat: str) -> NDArray[np.intp]:
    return 2 * certified_changes(votes, threat)


BROKEN: dict[str, tuple[Rule, str, int]] = {
    "ties forgotten": (ties_forgotten, "deletion", 1),
    "replacements as deletions": (replacements_as_deletions, "points", 2),
    "k <= gap": (one_side_of_the_vote, "deletion", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_of_the_rule_can_fail(name: str) -> None:
    rule, threat, each = BROKEN[name]
    states = [state for state in SMALL if len(state) == 2]
    certified = rule(np.array(states), threat)
    broken = [can_be_lost(state, each * int(k)) for state, k in zip(states, certified, strict=True)]
    assert any(broken)


# The law, through sub-clouds: all deletions of k points, and random changes.


def breaks(model: HashedVotes, clouds: list[Cloud], rule: Rule, rng: np.random.Generator) -> bool:
    """Whether any deletion, or some random change, within the rule's number changes a label."""
    votes = model.votes(clouds)
    before = votes.argmax(axis=1)
    for i, cloud in enumerate(clouds):
        n, candidates = len(cloud), []
        k = int(min(rule(votes, "deletion")[i], n - 1, 3))
        for deleted in itertools.combinations(range(n), k):
            candidates.append(np.delete(cloud, deleted, axis=0))
        k = int(rule(votes, "points")[i])
        for _ in range(200 if k else 0):
            deleted = rng.permutation(n)[: rng.integers(k + 1)]
            added = rng.normal(size=(rng.integers(k + 1), cloud.shape[1]))
            mixed = np.concatenate([np.delete(cloud, deleted, axis=0), added])
            candidates.append(rng.permutation(mixed))
        after = model.votes(candidates).argmax(axis=1)
        if (after != before[i]).any():
            return True
    return False


def test_no_certificate_breaks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n_classes in (2, 3):
        clouds = some_clouds(seed, n_classes=n_classes)
        model = voters(clouds, 6, n_classes)
        for threat in ("deletion", "points"):
            assert (certified_changes(model.votes(clouds), threat) > 0).mean() > 0.5
        assert not breaks(model, clouds, certified_changes, rng)


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_through_sub_clouds_can_fail(name: str, seed: int) -> None:
    rng, clouds = np.random.default_rng(seed), some_clouds(seed)
    assert breaks(voters(clouds, 6), clouds, BROKEN[name][0], rng)


class ByPlace(HashedVotes):
    """Points go to sub-clouds by their place in the list, which a deletion changes for all."""

    def _split(self, cloud: Cloud) -> list[Cloud]:
        return [cloud[i :: self.n_parts] for i in range(self.n_parts)]


def test_places_are_no_hash(seed: int) -> None:
    clouds = some_clouds(seed)
    model = ByPlace(Worst(), n_parts=6).fit(clouds, np.arange(len(clouds)) % 2)
    assert breaks(model, clouds, certified_changes, np.random.default_rng(seed))


def test_attacks_do_not_break_it_either(seed: int) -> None:
    clouds = some_clouds(seed)
    model = voters(clouds, 6)
    for threat in ("deletion", "points"):
        claims = certify(model, clouds, threat=threat)
        settings: dict[str, Any] = {"threat": threat, "random_state": seed, "n_queries": 30}
        within = attack(model, clouds, claims.prediction, radius=claims.radius, **settings)
        assert not within.success.any()
        beyond = attack(model, clouds, claims.prediction, radius=claims.radius + 1, **settings)
        assert beyond.success.mean() > 0.5


# The hash.


def test_a_point_changes_its_own_part_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, cloud = HashedVotes(Worst(), n_parts=11), rng.normal(size=(80, 2))
    parts = model._split(cloud)
    assert sum(map(len, parts)) == 80
    for i in range(80):
        fewer = model._split(np.delete(cloud, i, axis=0))
        changed = [not np.array_equal(a, b) for a, b in zip(parts, fewer, strict=True)]
        assert sum(changed) == 1
        assert (parts[changed.index(True)] == cloud[i]).all(axis=1).any()


def test_neither_order_nor_signs_of_zero_nor_types_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cloud = rng.integers(-1, 2, size=(50, 2)) * 0.5
    model = voters([cloud, cloud + np.array([10.0, 0.0])], 11)
    for same in (
        rng.permutation(cloud),
        np.where(cloud == 0, -0.0, cloud),
        cloud.astype(np.float32),
        cloud.tolist(),
    ):
        assert np.array_equal(model.votes([same]), model.votes([cloud]))
        split = model._split(np.asarray(same, dtype=np.float64))
        for part, expected in zip(split, model._split(cloud), strict=True):
            assert part.tobytes() == expected.tobytes()


def test_equal_points_lie_together() -> None:
    parts = HashedVotes(Worst(), n_parts=11)._split(np.repeat([[0.3, 0.7]], 40, axis=0))
    assert sorted(map(len, parts)) == [0] * 10 + [40]


def test_parts_are_about_equal() -> None:
    # 20000 points in 50 parts: 400 each, with a deviation of 20; 120 is six of them.
    points = np.random.default_rng(0).integers(0, 200, size=(20000, 2)) / 8.0
    points = np.unique(points, axis=0)
    sizes = np.bincount((hash_points(points, 3) % np.uint64(50)).astype(int), minlength=50)
    mean = len(points) / 50
    assert np.abs(sizes - mean).max() < 6 * np.sqrt(mean)
    others = hash_points(points, 4) % np.uint64(50)
    assert (hash_points(points, 3) % np.uint64(50) == others).mean() < 0.1


def test_the_hash_is_the_same_everywhere() -> None:
    # SplitMix64 seeded with 0 gives 0xE220A8397B1DCDAF first: the finalizer of the golden gamma.
    assert hash_points(np.zeros((1, 1)), 0).tolist() == [0xE220A8397B1DCDAF]


# The contract.


def test_predictions_are_majorities() -> None:
    clouds = some_clouds(3)
    model = voters(clouds, 8)
    votes = model.votes(clouds)
    assert (votes.sum(axis=1) == 8).all()
    assert np.array_equal(model.predict(clouds), model.classes_[votes.argmax(axis=1)])
    np.testing.assert_array_equal(model.predict_proba(clouds), votes / 8)
    alone = np.concatenate([model.votes([cloud]) for cloud in clouds])
    assert np.array_equal(votes, alone)


def test_small_parts_have_one_fixed_vote() -> None:
    X = list(np.random.default_rng(0).normal(size=(3, 40, 2)))
    model = HashedVotes(Worst(), n_parts=50).fit(X, ["b", "a", "b"])
    assert model.classes_[model.fixed_vote_] == "b"
    votes = model.votes([np.zeros((1, 2))])[0]
    assert votes[1] >= 49  # the one point's part may vote otherwise
    strict = HashedVotes(Worst(), n_parts=50, min_points=41)
    with pytest.raises(ValueError, match=re.escape("Class 'a' has no sub-cloud of 41 points")):
        strict.fit(X, ["b", "a", "b"])
    strict = HashedVotes(Worst(), n_parts=2, min_points=10).fit(X, ["b", "a", "b"])
    assert strict.votes([np.zeros((9, 2))]).tolist() == [[0, 2]]


def test_at_least_one_point_is_left() -> None:
    model = voters(some_clouds(0), 50)
    claims = certify(model, [np.zeros((1, 2)), np.zeros((3, 2))], threat="deletion")
    assert claims.radius.tolist() == [0.0, 2.0]


def test_certificates() -> None:
    clouds = some_clouds(1)
    model = voters(clouds, 9)
    claims = certify(model, clouds, threat="points")
    assert claims.closed
    assert claims.threat == "points"
    assert set(claims.route) == {"votes"}
    assert np.array_equal(claims.prediction, model.predict(clouds))
    assert np.array_equal(claims.radius, certified_changes(model.votes(clouds)))
    through = certify(make_pipeline(model), clouds, threat="points")
    assert np.array_equal(through.radius, claims.radius)


def test_clone_and_pickle() -> None:
    clouds = some_clouds(0)
    model = voters(clouds, 9, random_state=5)
    thinned = [cloud[1:] for cloud in clouds]
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.votes(thinned), model.votes(thinned))
    assert clone(model).get_params()["random_state"] == 5
    other = voters(clouds, 9, random_state=6)
    assert not np.array_equal(other.votes(thinned), model.votes(thinned))


# Errors.


def test_other_threats_are_refused() -> None:
    with pytest.raises(StabilityError, match="a point that moves at all may move to another sub-c"):
        certify(voters(some_clouds(0)), some_clouds(0), threat="per_point")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_parts": 0}, "n_parts=0: expected an integer >= 1."),
        ({"min_points": 1.5}, "min_points=1.5: expected an integer >= 1."),
        ({"random_state": -1}, "random_state=-1: expected an integer from 0 to 2^64 - 1."),
    ],
)
def test_bad_parameters(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        HashedVotes(Worst(), **settings).fit([np.zeros((3, 2))] * 2, [0, 1])


def test_bad_inputs() -> None:
    with pytest.raises(NotFittedError):
        HashedVotes(Worst()).votes([np.zeros((3, 2))])
    with pytest.raises(ValueError, match=re.escape("y has shape (1,), but X has 2 clouds")):
        HashedVotes(Worst()).fit([np.zeros((3, 2))] * 2, [0])
    with pytest.raises(ValueError, match=re.escape("X[0] lies in R^3")):
        voters(some_clouds(0)).votes([np.zeros((3, 3))])


class Stranger(Worst):
    """Says what nobody asked."""

    def predict(self, X: Any) -> NDArray[Any]:
        return np.array(["neither"] * len(X))


def test_votes_for_nobody() -> None:
    X = [np.zeros((3, 2))] * 2
    with pytest.raises(ValueError, match=re.escape("Stranger predicts 'neither', which")):
        HashedVotes(Stranger(), n_parts=2).fit(X, ["a", "b"]).predict(X)
