"""No certificate of any method reaches a planted twin: an input at a known distance.

The twin's prediction is another one. Where the facts are tight for the pair at hand, certificates
come within one percent of that distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import AlphaPersistence, DiagramBatch, RipsPersistence, StableRank
from stablerank.diagrams import CubicalPersistence, DistanceToMeasurePersistence
from stablerank.ranks import HalfLengths, Landscapes
from stablerank.stages import LipschitzUnion

Cloud = NDArray[np.float64]
METHODS = ("best", "global", "interval", "linear")
MakeTwins = Callable[..., Any]
Case = tuple[Any, Any, Any, float, dict[str, Any], dict[str, Any]]


def pair(apart: float, angle: float = 0.3) -> list[Cloud]:
    """Two points at that distance."""
    half = apart / 2 * np.array([math.cos(angle), math.sin(angle)])
    return [np.array([1.0 + half, 1.0 - half])]


def polygon(n: int, radius: float) -> list[Cloud]:
    """A regular polygon: its bar in H1 is [radius sin(π/n), radius]."""
    angles = 2 * np.pi * np.arange(n) / n
    return [radius * np.column_stack([np.cos(angles), np.sin(angles)])]


def image(inner: float, ring: float) -> list[Cloud]:
    """A pixel in a ring of eight: a bar [ring, inner] in H1."""
    pixels = np.full((3, 3), ring)
    pixels[1, 1] = inner
    return [pixels]


def matrix(entry: float) -> list[Cloud]:
    return [np.array([[0.0, entry], [entry, 0.0]])]


def bars(*rows: tuple[float, float], dimension: int = 1) -> DiagramBatch:
    return DiagramBatch.from_diagrams([{dimension: np.array(rows).reshape(-1, 2)}])


def ranks(dimension: int, p: float = math.inf, n_ranks: int = 1, **settings: Any) -> StableRank:
    return StableRank(p=p, n_ranks=n_ranks, **settings).fit([{dimension: [[0, 1]] * 4}])


def alpha(dimension: int, X: Any) -> AlphaPersistence:
    return AlphaPersistence((dimension,)).fit(X)


def with_ranks(filtration: Any) -> list[Any]:
    return [filtration, ranks(*filtration.homology_dimensions)]


def polygon_seen_by(vectorizer: Any, threat: str) -> Case:
    steps = [alpha(1, polygon(7, 1.0)), vectorizer.fit([{1: [[0, 1]]}])]
    return steps, polygon(7, 1.0), polygon(7, 1.05), 0.05, {"threat": threat}, {}


def measure(X: Any) -> DistanceToMeasurePersistence:
    # vertices at -1, 0 and 1: the bar of two points there is [0, 1]
    return DistanceToMeasurePersistence(
        1, resolution=3, box=([-1.0], [1.0]), homology_dimensions=(0,)
    ).fit(X)


def union(X: Any) -> LipschitzUnion:
    branches = [
        ("alpha", make_pipeline(alpha(0, X), ranks(0))),
        ("rips", make_pipeline(RipsPersistence((0,)).fit(X), ranks(0))),
    ]
    return LipschitzUnion(branches)


def cases() -> dict[str, Case]:
    """Steps, input, twin, distance, threat, and settings of the network."""
    found: dict[str, Case] = {}
    two, apart = pair(1.6), pair(2.0)  # each point moves by 0.2
    for threat in ("per_point", "hausdorff"):
        found[f"two points, alpha, {threat}"] = (
            with_ranks(alpha(0, two)), two, apart, 0.2, {"threat": threat}, {},
        )  # fmt: skip
        found[f"two points come nearer, Rips, {threat}"] = (
            with_ranks(RipsPersistence((0,)).fit(two)), apart, two, 0.2, {"threat": threat}, {},
        )  # fmt: skip
    # D6: the two displacements of 0.2 are 0.2 √2 together
    for name, filtration in (("alpha", alpha(0, two)), ("Rips", RipsPersistence((0,)).fit(two))):
        threat_, far = {"threat": "frobenius"}, 0.2 * math.sqrt(2)
        found[f"two points, {name}, frobenius"] = (
            with_ranks(filtration), two, apart, far, threat_, {},
        )  # fmt: skip
    slanted = pair(1.6, math.pi / 4), pair(2.0, math.pi / 4)
    found["two points, per coordinate"] = (
        with_ranks(alpha(0, two)), *slanted, 0.2 / math.sqrt(2), {"threat": "per_coordinate"}, {},
    )  # fmt: skip
    found["dissimilarities"] = (
        with_ranks(RipsPersistence((0,), "precomputed").fit(matrix(1.0))),
        matrix(1.6), matrix(2.0), 0.4, {"threat": "sup"}, {},
    )  # fmt: skip
    found["an image, whose loop gets longer"] = (
        with_ranks(CubicalPersistence((1,)).fit(image(1.0, 0.0))),
        image(0.8, 0.2), image(0.9, 0.1), 0.1, {"threat": "sup"}, {},
    )  # fmt: skip
    # the death, which moves by 0.05, is nearer to the position than the birth
    for threat in ("per_point", "hausdorff"):
        found[f"a polygon in a landscape, {threat}"] = polygon_seen_by(
            Landscapes(positions=[0.9], n_levels=1), threat
        )
    # 0 is 1 away from the points, and 0.9 from those that moved: f falls by what they moved
    points = [np.array([[-1.0], [1.0]])], [np.array([[-0.9], [0.9]])]
    found["distance to measure"] = (
        [measure(points[0]), Landscapes(positions=[0.7], n_levels=1).fit([{0: [[0, 1]]}])],
        *points, 0.1, {"threat": "per_point"}, {},
    )  # fmt: skip
    found["a union, its second branch"] = (
        [union(two)], two, apart, 0.2, {"threat": "per_point"},
        {"weights": [0.0, 1.0], "scale": [4.0, 2.0]},
    )  # fmt: skip
    bottleneck = {"threat": "bottleneck"}
    found["two bars together"] = (
        [ranks(1, n_ranks=2)], bars((1, 2), (1, 2)), bars((0.9, 2.1), (0.9, 2.1)), 0.1, bottleneck,
        {"weights": [1.0, 1.0]},
    )  # fmt: skip
    # H0 too: nothing holds its births under threats against diagrams
    found["births of H0 move"] = (
        [ranks(0)], bars((0, 1), dimension=0), bars((-0.1, 1.1), dimension=0), 0.1, bottleneck, {},
    )  # fmt: skip
    found["a bar vanishes"] = ([ranks(1)], bars((1, 2)), bars(), 0.5, bottleneck, {})
    found["a bar appears"] = ([ranks(1)], bars(), bars((3, 4)), 0.5, bottleneck, {})
    found["a landscape's bar appears"] = (
        [Landscapes(positions=[3.5], n_levels=1).fit([{1: [[0, 1]]}])],
        bars(), bars((3, 4)), 0.5, bottleneck, {},
    )  # fmt: skip
    found["W_2 with l2"] = (
        [ranks(1)], bars((1, 2)), bars((0.9, 2.1)), 0.1 * math.sqrt(2),
        {"threat": "wasserstein", "p": 2.0, "q": 2.0}, {},
    )  # fmt: skip
    return found


def loose_cases() -> dict[str, Case]:
    """Where the facts leave room: a polygon grows on one side of a bar more than on the other."""
    return {
        f"a polygon, {type(vectorizer).__name__}, {threat}": polygon_seen_by(vectorizer, threat)
        for vectorizer in (StableRank(n_ranks=1), HalfLengths(n_levels=1))
        for threat in ("per_point", "hausdorff", "frobenius")
    }


TIGHT, LOOSE = cases(), loose_cases()
NOT_BY_ITS_BOX = {"W_2 with l2"}  # the ball of W_2 is taken for that of the bottleneck distance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*TIGHT, *LOOSE])
def test_no_certificate_reaches_the_twin(name: str, method: str, make_twins: MakeTwins) -> None:
    *case, settings = (TIGHT | LOOSE)[name]
    share = make_twins(*case, **settings).share(method)
    assert 0 < share < 1
    if name in TIGHT and (method in ("best", "global") or name not in NOT_BY_ITS_BOX):
        assert share > 0.99


@pytest.mark.parametrize("scale", [1e-100, 1e-9, 1.0, 1e9, 1e100])
@pytest.mark.parametrize("filtration", [AlphaPersistence((0,)), RipsPersistence((0,))])
def test_nor_in_l2(scale: float, filtration: Any, make_twins: MakeTwins) -> None:
    # D7, where two points part: the one edge by √2, as by D6
    X, twin = ([scale * length * pair(1.0)[0]] for length in (1.6, 2.0))
    X, twin = [X[0] - X[0].mean(axis=0)], [twin[0] - twin[0].mean(axis=0)]
    steps, far = with_ranks(filtration.fit(X)), 0.2 * math.sqrt(2) * scale
    twins = make_twins(steps, X, twin, far, {"threat": "frobenius"}, scale=[scale])
    assert 0.99 < twins.share("l2") < 1


@pytest.mark.parametrize("scale", [1e-100, 1e-9, 1e9, 1e100])
@pytest.mark.parametrize("method", METHODS)
def test_nor_at_another_scale(scale: float, method: str, make_twins: MakeTwins) -> None:
    X, twin = [1.6 * scale * pair(1.0)[0]], [2.0 * scale * pair(1.0)[0]]
    # the two points are moved apart around the origin, and not around where they are
    X, twin = [X[0] - X[0].mean(axis=0)], [twin[0] - twin[0].mean(axis=0)]
    twins = make_twins(
        with_ranks(alpha(0, X)), X, twin, 0.2 * scale, {"threat": "per_point"}, scale=[scale]
    )
    assert 0.99 < twins.share(method) < 1


@pytest.mark.parametrize("method", METHODS)
def test_coinciding_points_are_no_shelter(method: str, make_twins: MakeTwins) -> None:
    # Two points in one place have no bar, and part by 0.1 each.
    X = [np.array([[1.0, 2.0], [1.0, 2.0]])]
    twin = [np.array([[1.1, 2.0], [0.9, 2.0]])]
    twins = make_twins(with_ranks(alpha(0, X)), X, twin, 0.1, {"threat": "per_point"})
    # the search among boxes starts from the size of the cloud, which has none
    least = 0.99 if method in ("best", "global") else 0.0
    assert least < twins.share(method) < 1


@pytest.mark.parametrize("method", METHODS)
def test_one_point_may_become_two_in_hausdorff_distance(method: str, make_twins: MakeTwins) -> None:
    X, twin = [np.array([[1.0, 2.0]])], [np.array([[1.1, 2.0], [0.9, 2.0]])]
    twins = make_twins(with_ranks(alpha(0, X)), X, twin, 0.1, {"threat": "hausdorff"})
    # the search among boxes starts from the size of the cloud, which has none
    least = 0.99 if method in ("best", "global") else 0.0
    assert least < twins.share(method) < 1


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("method", METHODS)
def test_sizes_whose_squares_are_no_numbers(
    scale: float, method: str, make_twins: MakeTwins
) -> None:
    # The geometric mean of two sizes overflowed, or was 0, and the search stopped or warned.
    X, twin = (bars(tuple(scale * end for end in bar)) for bar in ((1.0, 2.0), (0.9, 2.1)))
    twins = make_twins([ranks(1)], X, twin, 0.1 * scale, {"threat": "bottleneck"}, scale=[scale])
    assert 0.99 < twins.share(method) < 1
