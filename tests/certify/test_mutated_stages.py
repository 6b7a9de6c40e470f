"""Planted twins find what is spoilt before the network, and in the counting of points and votes.

As in ``test_mutations.py``: before a mutation no certificate reaches the twin, and with it one
does. Radii that count points are attained, so that theirs are wrong from the distance itself on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from stablerank import (
    AlphaPersistence,
    DiagramBatch,
    DistanceContour,
    RipsPersistence,
    StableRank,
    certify,
    stages,
)
from stablerank.attack.displacement import pull_back
from stablerank.certify import HashedVotes, counts
from stablerank.certify.votes import hash_points
from stablerank.diagrams import (
    AnisotropicPersistence,
    DistanceToMeasurePersistence,
    anisotropic,
    filtration,
)
from stablerank.diagrams.deletion import deletion_distances
from stablerank.fields import CloudVectorizer, DistanceField, SortedNeighbourDistances
from stablerank.nn.linf import Standardize
from stablerank.ranks import (
    ExponentialContour,
    Landscapes,
    ShiftContour,
    StepDistanceContour,
    StepShiftContour,
)
from stablerank.ranks.contours import Contour, StandardContour
from stablerank.stability import PER_POINT, Bound, Parallel, conversion

Cloud = NDArray[np.float64]
MakeTwins = Callable[..., Any]
Patch = pytest.MonkeyPatch
PER_POINT_THREAT = {"threat": "per_point"}
FROBENIUS_THREAT = {"threat": "frobenius"}
TOGETHER = 0.2 * math.sqrt(2)  # two points that move by 0.2 each


def pair(apart: float, angle: float = 0.0) -> list[Cloud]:
    half = apart / 2 * np.array([math.cos(angle), math.sin(angle)])
    return [np.array([half, -half])]


def bars(*rows: tuple[float, float]) -> DiagramBatch:
    return DiagramBatch.from_diagrams([{0: np.array(rows).reshape(-1, 2)}])


def ranks(**settings: Any) -> StableRank:
    return StableRank(n_ranks=1, **settings).fit([{0: [[0, 1]] * 4}])


def line(*points: float) -> list[Cloud]:
    return [np.array(points)[:, None]]


def measure(k: int, X: list[Cloud], resolution: int = 3) -> DistanceToMeasurePersistence:
    return DistanceToMeasurePersistence(
        k, resolution=resolution, box=([-1.0], [1.0]), homology_dimensions=(0,)
    ).fit(X)


# Constants of filtrations and of fields.


def under_rips(make_twins: MakeTwins) -> Any:
    steps = [RipsPersistence((0,)).fit(pair(1.6)), ranks()]
    return make_twins(steps, pair(1.6), pair(2.0), 0.2, PER_POINT_THREAT)


def along_the_diagonal(make_twins: MakeTwins) -> Any:
    """Each point moves by 0.2, and each of its coordinates by 0.2/√2."""
    X, twin = pair(1.6, math.pi / 4), pair(2.0, math.pi / 4)
    steps = [AlphaPersistence((0,)).fit(X), ranks()]
    return make_twins(steps, X, twin, 0.2 / math.sqrt(2), {"threat": "per_coordinate"})


def images(kind: Any, threat: dict[str, str], distance: float, make_twins: MakeTwins) -> Any:
    """The images of two points move three times as far as the points."""
    stage = AnisotropicPersistence(kind((0,)), np.diag([3.0, 1.0])).fit(pair(1.6))
    return make_twins([stage, ranks()], pair(1.6), pair(2.0), distance, threat)


def images_under_alpha(make_twins: MakeTwins) -> Any:
    return images(AlphaPersistence, PER_POINT_THREAT, 0.2, make_twins)


def images_under_rips(make_twins: MakeTwins) -> Any:
    return images(RipsPersistence, {"threat": "hausdorff"}, 0.2, make_twins)


def images_in_frobenius_norm(make_twins: MakeTwins) -> Any:
    return images(AlphaPersistence, FROBENIUS_THREAT, TOGETHER, make_twins)


def images_under_measure(make_twins: MakeTwins) -> Any:
    """Vertices at -1, 0 and 1, images at -1.2 and 1.2: f is 0.2, 1.2, 0.2, its bar [0.2, 1.2].

    Images at ±1.5 have the bar [0.5, 1.5]. The length stays, and so a landscape is asked, at a
    position before the middle, where it rises as fast as the birth moves.
    """
    X, twin = line(-0.4, 0.4), line(-0.5, 0.5)
    inner = DistanceToMeasurePersistence(
        1, resolution=3, box=([-1.0], [1.0]), homology_dimensions=(0,)
    )
    stage = AnisotropicPersistence(inner, [[3.0]]).fit(X)
    landscape = Landscapes(positions=[0.55], n_levels=1).fit([{0: [[0, 1]]}])
    return make_twins([stage, landscape], X, twin, 0.1, PER_POINT_THREAT)


def in_a_field(field: CloudVectorizer, threat: dict[str, str], make_twins: MakeTwins) -> Any:
    """Two points move away from a vertex, or from each other, by 0.2 each."""
    X, twin = pair(1.6), pair(2.0)
    distance = TOGETHER if threat == FROBENIUS_THREAT else 0.2
    return make_twins([field.fit(X)], X, twin, distance, threat)


def nearest_distances(make_twins: MakeTwins) -> Any:
    """The first vertex is the origin."""
    field = DistanceField(resolution=2, box=([0.0, 0.0], [9.0, 9.0]))
    return in_a_field(field, {"threat": "hausdorff"}, make_twins)


def second_nearest_distances(make_twins: MakeTwins) -> Any:
    field = DistanceField(2, resolution=2, box=([0.0, 0.0], [9.0, 9.0]))
    return in_a_field(field, PER_POINT_THREAT, make_twins)


def mean_distances(make_twins: MakeTwins) -> Any:
    field = DistanceField(2, kind="measure", q=1, resolution=2, box=([0.0, 0.0], [9.0, 9.0]))
    return in_a_field(field, PER_POINT_THREAT, make_twins)


def mean_distances_in_frobenius_norm(make_twins: MakeTwins) -> Any:
    field = DistanceField(2, kind="measure", q=1, resolution=2, box=([0.0, 0.0], [9.0, 9.0]))
    return in_a_field(field, FROBENIUS_THREAT, make_twins)


def neighbours(make_twins: MakeTwins) -> Any:
    return in_a_field(SortedNeighbourDistances(blocks=1), PER_POINT_THREAT, make_twins)


def neighbours_in_frobenius_norm(make_twins: MakeTwins) -> Any:
    return in_a_field(SortedNeighbourDistances(blocks=1), FROBENIUS_THREAT, make_twins)


def halved(bound: Bound) -> Bound:
    constants = tuple(value / 2 for value in bound.constants or ())
    return replace(bound, constant=bound.constant / 2, constants=constants or None)


def rips_as_radii(patch: Patch) -> None:
    original = RipsPersistence.stability

    def broken(self: RipsPersistence, source: Any) -> Parallel:
        branches = original(self, source).branches
        return Parallel({k: halved(b) for k, b in branches.items() if isinstance(b, Bound)})

    patch.setattr(RipsPersistence, "stability", broken)


def coordinates_as_points(patch: Patch) -> None:
    original = conversion
    patch.setattr(
        stages, "conversion", lambda *s, dimension: replace(original(*s, dimension=1), constant=1.0)
    )


def images_as_points(patch: Patch) -> None:
    patch.setattr(anisotropic, "operator_norm", lambda matrix: 1.0)


def half_of_the_field(patch: Patch) -> None:
    for kind in (DistanceField, SortedNeighbourDistances):
        original = kind.stability
        patch.setattr(kind, "stability", lambda self, s, o=original: halved(o(self, s)))


CONSTANTS: list[tuple[Callable[[MakeTwins], Any], Callable[[Patch], None]]] = [
    (under_rips, rips_as_radii),
    (images_under_rips, rips_as_radii),
    (along_the_diagonal, coordinates_as_points),
    (images_under_alpha, images_as_points),
    (images_under_rips, images_as_points),
    (images_in_frobenius_norm, images_as_points),
    (images_under_measure, images_as_points),
    (nearest_distances, half_of_the_field),
    (second_nearest_distances, half_of_the_field),
    (mean_distances, half_of_the_field),
    (mean_distances_in_frobenius_norm, half_of_the_field),
    (neighbours, half_of_the_field),
    (neighbours_in_frobenius_norm, half_of_the_field),
]


@pytest.mark.parametrize("method", ["best", "global", "interval", "linear"])
@pytest.mark.parametrize(
    ("twins", "mutation"), CONSTANTS, ids=[f"{t.__name__}, {m.__name__}" for t, m in CONSTANTS]
)
def test_constants_that_are_too_small_are_found(
    twins: Callable[[MakeTwins], Any],
    mutation: Callable[[Patch], None],
    method: str,
    make_twins: MakeTwins,
    monkeypatch: Patch,
) -> None:
    honest = twins(make_twins)
    assert 0 < honest.share(method) < 1
    mutation(monkeypatch)
    assert honest.share(method) > 1


# The slope of contours: a bar [3, 4] appears, where each of them is as steep as it gets.


CONTOURS: dict[str, Contour] = {
    "standard": StandardContour(),
    "distance": DistanceContour([3.5], [20.0], [8.0], floor=0.5),
    "exponential": ExponentialContour(start=3.0, rate=0.25),
    "shift": ShiftContour([500.0], [1.0], [1.0], floor=0.5),
    "step distance": StepDistanceContour([2.0, 5.0], [0.25, 2.0, 0.5]),
    "step shift": StepShiftContour([1.0, 5.0], [2.0, 0.5, 1.0]),
}


def half_of_the_slope(kind: type[Contour], patch: Patch) -> None:
    constant, longest = kind.constant.fget, kind.longest  # type: ignore[attr-defined]
    patch.setattr(kind, "constant", property(lambda self: constant(self) / 2))
    patch.setattr(kind, "longest", lambda self, gap: longest(self, gap / 2))


@pytest.mark.parametrize("method", ["best", "global", "interval", "linear"])
@pytest.mark.parametrize("name", CONTOURS)
def test_half_of_the_slope_of_a_contour_is_found(
    name: str, method: str, make_twins: MakeTwins, monkeypatch: Patch
) -> None:
    contour = CONTOURS[name]
    threat = {"threat": "bottleneck"}
    honest = make_twins([ranks(contour=contour)], bars(), bars((3.0, 4.0)), 0.5, threat)
    assert 0.8 < honest.share(method) < 1
    half_of_the_slope(type(contour), monkeypatch)
    assert honest.share(method) > 1


# Counts of points: radius 1 is about one point, and the twin is one point away.


def a_point_joins(make_twins: MakeTwins) -> Any:
    """Between three points at -1 and three at 1: f at 0 falls from 1 to 1/√2, and so does a bar."""
    X, twin = line(-1, -1, -1, 1, 1, 1), line(-1, -1, -1, 1, 1, 1, 0)
    return make_twins([measure(2, X), ranks()], X, twin, 1, {"threat": "points"})


def a_point_leaves(make_twins: MakeTwins) -> Any:
    """f at -1, 0 and 1 was 0, 1, 0, with a bar, and is √2, 1, 0, without."""
    X, twin = line(-1, -1, 1, 1), line(-1, 1, 1)
    return make_twins([measure(2, X), ranks()], X, twin, 1, {"threat": "deletion"})


def one_of_two_points(kind: Any) -> Callable[[MakeTwins], Any]:
    """Without it there is no bar."""

    def twins(make_twins: MakeTwins) -> Any:
        steps = [kind((0,)).fit(pair(2.0)), ranks()]
        return make_twins(steps, pair(2.0), [pair(2.0)[0][:1]], 1, {"threat": "deletion"})

    return twins


def one_change_less(patch: Patch) -> None:
    original = DistanceToMeasurePersistence._changed_fields
    patch.setattr(
        DistanceToMeasurePersistence,
        "_changed_fields",
        lambda self, X, n_changes, threat: original(self, X, max(n_changes - 1, 0), threat),
    )


def one_neighbour_nearer(patch: Patch) -> None:
    original = deletion_distances

    def broken(cloud: Cloud, most: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.array([0.0, *original(cloud, most)])[:most]
        return found

    for module in (counts, filtration):
        patch.setattr(module, "deletion_distances", broken)


COUNTS: dict[str, tuple[Callable[[MakeTwins], Any], Callable[[Patch], None]]] = {
    "a point joins": (a_point_joins, one_change_less),
    "a point leaves": (a_point_leaves, one_change_less),
    "one of two points, alpha": (one_of_two_points(AlphaPersistence), one_neighbour_nearer),
    "one of two points, Rips": (one_of_two_points(RipsPersistence), one_neighbour_nearer),
}


@pytest.mark.parametrize("method", ["best", "global", "interval", "linear"])
@pytest.mark.parametrize("name", COUNTS)
def test_a_point_that_is_not_counted_is_found(
    name: str, method: str, make_twins: MakeTwins, monkeypatch: Patch
) -> None:
    twins, mutation = COUNTS[name]
    honest = twins(make_twins)
    assert honest.share(method) < 1
    mutation(monkeypatch)
    assert honest.share(method) >= 1


# Votes: three parts vote for 1 and the empty one for 0, which wins ties.


class AlwaysOne(BaseEstimator):
    def fit(self, X: Any, y: Any) -> AlwaysOne:
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        return np.ones(len(X), dtype=np.int64)


def test_a_tie_that_is_forgotten_is_found(monkeypatch: Patch) -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    parts = hash_points(points, 0) % np.uint64(4)
    cloud = np.array([points[parts == part][0] for part in range(3)])
    model = HashedVotes(AlwaysOne(), n_parts=4).fit([cloud, cloud], [0, 1])
    assert model.votes([cloud]).tolist() == [[1, 3]]
    assert model.predict([cloud]) != model.predict([cloud[1:]])  # 2 : 2
    assert certify(model, [cloud], threat="deletion").radius < 1

    def ties_forgotten(votes: NDArray[np.intp], threat: str) -> NDArray[np.intp]:
        top_two = np.sort(votes, axis=1)[:, -2:]
        return np.asarray((top_two[:, 1] - top_two[:, 0]) // 2)

    monkeypatch.setattr(counts, "certified_changes", ties_forgotten)
    assert certify(model, [cloud], threat="deletion").radius >= 1


# Statistics of the batch: with others beside it a cloud is certified to be what it is not, alone.


def test_a_live_batch_statistic_certifies_what_is_wrong(
    make_twins: MakeTwins, monkeypatch: Patch
) -> None:
    X, beside = bars((1.0, 2.0)), bars((1.0, 1.5))
    honest = make_twins([ranks()], X, bars((0.9, 2.1)), 0.1, {"threat": "bottleneck"})
    both = DiagramBatch.concatenate([X, beside])
    claims = certify(honest.pipeline, both, threat="bottleneck")
    assert claims.prediction[0] == honest.pipeline.predict(X)[0]
    original = Standardize.forward
    monkeypatch.setattr(
        Standardize, "forward", lambda self, x: original(self, x) - x.mean(dim=0) + 1.0
    )
    claims = certify(honest.pipeline, both, threat="bottleneck")
    assert claims.radius[0] > 0
    assert claims.prediction[0] != honest.pipeline.predict(X)[0]


# Rounding: among many twins at a distance that is not above ε, in exact arithmetic, some compute to
# a last place beyond what exact ones can be.


N_PAIRS, EPSILON = 4000, 1e-6


def moved_apart(X: list[Cloud], along: Any) -> list[Cloud]:
    """Both points of each pair by ε, no more, in opposite directions."""
    return [
        pull_back(cloud, cloud + EPSILON * np.array([u, -u]), EPSILON, 2)
        for cloud, u in zip(X, map(along, X), strict=True)
    ]


def from_the_other(cloud: Cloud) -> NDArray[np.float64]:
    way = cloud[0] - cloud[1]
    return np.asarray(way / np.linalg.norm(way))


SHEAR = np.array([[2.0, 1.1], [0.3, 0.7]])


def stretched_most(cloud: Cloud) -> NDArray[np.float64]:
    return np.asarray(np.linalg.svd(SHEAR)[2][0])


def outside(stage: Any, along: Any, *, turned: bool = False) -> int:
    """How many computed values of twins are above what the box says."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2, 2)) for _ in range(N_PAIRS)]
    if turned:  # the images of both lie on the line that is stretched most
        X = [np.outer([1.0, -1.0], rng.uniform(0.5, 1) * along(cloud)) for cloud in X]
        X = [cloud + rng.normal(size=2) for cloud in X]
    twins = moved_apart(X, along)
    stage.fit(X)
    if isinstance(stage, CloudVectorizer):
        upper, found = stage.bounds(X, EPSILON, source=PER_POINT)[1].numpy(), stage.transform(twins)
        return int((found > upper).sum())
    ball = stage.bounds(X, EPSILON)
    upper = ball.diagrams.padded(0)[:, 0, 1] + ball.reach[0]
    return int((stage.transform(twins).padded(0)[:, 0, 1] > upper).sum())


def no_rounding(kind: Any) -> Callable[[Patch], None]:
    name = "_relative_rounding" if issubclass(kind, CloudVectorizer) else "relative_rounding"
    return lambda patch: patch.setattr(kind, name, lambda self: 0.0)


def images_without_rounding(patch: Patch) -> None:
    no_rounding(AlphaPersistence)(patch)
    patch.setattr(anisotropic, "_gamma", lambda matrix: 0.0)


ROUNDING: dict[str, tuple[Any, Any, Callable[[Patch], None], dict[str, bool]]] = {
    "alpha": (AlphaPersistence((0,)), from_the_other, no_rounding(AlphaPersistence), {}),
    "Rips": (RipsPersistence((0,)), from_the_other, no_rounding(RipsPersistence), {}),
    "images": (
        AnisotropicPersistence(AlphaPersistence((0,)), SHEAR),
        stretched_most,
        images_without_rounding,
        {"turned": True},
    ),
    "neighbours": (
        SortedNeighbourDistances(blocks=1),
        from_the_other,
        no_rounding(SortedNeighbourDistances),
        {},
    ),
    "distances": (
        DistanceField(resolution=2, box=([0.0, 0.0], [9.0, 9.0])),
        lambda cloud: cloud[0] / np.linalg.norm(cloud[0]),  # where the first is nearest to 0
        no_rounding(DistanceField),
        {},
    ),
}


@pytest.mark.parametrize("name", ROUNDING)
def test_boxes_that_are_not_rounded_outward_are_found(name: str, monkeypatch: Patch) -> None:
    stage, along, mutation, settings = ROUNDING[name]
    assert outside(stage, along, **settings) == 0
    mutation(monkeypatch)
    assert outside(stage, along, **settings) > 0
