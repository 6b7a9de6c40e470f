"""Chains of constants from each threat, against numbers multiplied by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from stablerank import (
    AlphaPersistence,
    DiagramBatch,
    DistanceContour,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
)
from stablerank.certify import stability_chain, threat_space
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    LINF,
    PER_COORDINATE,
    PER_POINT,
    SUP,
    Bound,
    Space,
    StabilityError,
)
from stablerank.stages import chain_of_stages

MakeThreshold = Callable[..., LipschitzClassifier]
DIAGRAMS = DiagramBatch.from_diagrams([{0: [[0, 1], [0, 2]], 1: [[1, 2], [1, 3], [2, 3], [2, 4]]}])


def alpha(d: int = 2, dimensions: tuple[int, ...] = (0, 1)) -> AlphaPersistence:
    return AlphaPersistence(dimensions).fit([np.zeros((3, d))])


def rips(d: int = 2, metric: Any = "euclidean") -> RipsPersistence:
    return RipsPersistence(metric=metric).fit([np.zeros((3, d if metric == "euclidean" else 3))])


def ranks(p: float = math.inf, **settings: Any) -> StableRank:
    return StableRank(p=p, n_ranks={0: 2, 1: 3}, **settings).fit(DIAGRAMS)


def constants(stages: list[Any], source: Space) -> list[float]:
    """Those of the five coordinates of the vector: two of H0, three of H1."""
    chain = chain_of_stages(stages, source)
    assert chain.target == LINF
    found = chain.constants
    assert found is not None
    return found.tolist()


# Closed form: H0 of clouds by ordered deaths has constant K, H1 by the bottleneck distance 2K, each
# times the filtration's constant for the threat. K = 1 for the standard contour.

BY_HAND = {
    "alpha, Hausdorff": (alpha(), HAUSDORFF, 1.0),
    "alpha, per point": (alpha(), PER_POINT, 1.0),
    "alpha, per coordinate, plane": (alpha(), PER_COORDINATE, math.sqrt(2)),
    "alpha, per coordinate, space": (alpha(3), PER_COORDINATE, math.sqrt(3)),
    "Rips, Hausdorff": (rips(), HAUSDORFF, 2.0),
    "Rips, per point": (rips(5), PER_POINT, 2.0),
    "Rips, per coordinate, R^4": (rips(4), PER_COORDINATE, 4.0),
    "Rips, dissimilarities": (rips(metric="precomputed"), SUP, 1.0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_points_to_vectors(name: str) -> None:
    filtration, source, constant = BY_HAND[name]
    found = constants([filtration, ranks()], source)
    expected = np.array([constant, constant, 2 * constant, 2 * constant, 2 * constant])
    # rounded up, and exact where nothing has to be rounded
    assert (np.array(found) >= expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    if constant == 1.0:
        assert found == expected.tolist()


def test_each_dimension_and_coordinate_keeps_its_own_constant() -> None:
    # p = 2, and 2 bars in H0, 4 in H1: tails of 2, 1 and of 4, 3, 2 bars, by roots of their number.
    found = constants([alpha(), ranks(2.0)], HAUSDORFF)
    root2, root3 = math.sqrt(2), math.sqrt(3)
    np.testing.assert_allclose(found, [root2, 1, 4, 2 * root3, 2 * root2], rtol=1e-13)
    # p = 1: the numbers themselves
    assert constants([alpha(), ranks(1.0)], HAUSDORFF) == [2.0, 1.0, 8.0, 6.0, 4.0]


def test_the_contour_multiplies() -> None:
    # 2/√(2π) is the peak of two standard normal densities; 0.5 the floor.
    contour = DistanceContour([0.0], [1.0], [2.0], floor=0.5)
    K = 0.5 + 2 / math.sqrt(2 * math.pi)
    found = constants([alpha(), ranks(contour=contour)], HAUSDORFF)
    np.testing.assert_allclose(found, [K, K, 2 * K, 2 * K, 2 * K], rtol=1e-13)
    assert min(found[:2]) >= K


def test_from_the_bottleneck_distance_both_dimensions_pay_twice() -> None:
    assert constants([ranks()], BOTTLENECK) == [2.0] * 5


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 4.0, math.inf])
def test_from_wasserstein_distances(q: float) -> None:
    # R2: 2^(1 − 1/q), whatever r, as long as the rank's exponent is not below it.
    factor = 2 ** (1 - 1 / q)
    for p, r in ((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (math.inf, 1.0), (math.inf, math.inf)):
        found = constants([ranks(p)], Space("diagram", "wasserstein", r, q))
        np.testing.assert_allclose(found, [factor] * 5, rtol=1e-14)
        assert min(found) >= factor * (1 - 1e-15)


def test_a_rank_of_smaller_exponent_pays_by_its_number_of_bars() -> None:
    # B^(1/1 − 1/2) for the tails of 2, 1 and of 4, 3, 2 bars, with q = 1, where the factor is 1.
    found = constants([ranks(1.0)], Space("diagram", "wasserstein", 2.0, 1.0))
    np.testing.assert_allclose(found, np.sqrt([2, 1, 4, 3, 2]), rtol=1e-13)
    # as the bottleneck distance does with r = ∞ and q = ∞
    limit = Space("diagram", "wasserstein", math.inf, math.inf)
    assert constants([ranks(1.0)], limit) == constants([ranks(1.0)], BOTTLENECK)


def test_the_whole_pipeline(threshold: MakeThreshold) -> None:
    # Coordinate 2, the first of H1, by 2 · √2, is divided by 10; its logits have slope 1.
    network = threshold(5, 2, 0.0, scale=10.0)
    pipeline = Pipeline([("a", alpha()), ("b", ranks()), ("c", network)])
    chain = stability_chain(pipeline, threat="per_coordinate")
    assert chain.source == PER_COORDINATE
    assert chain.constant == pytest.approx(2 * math.sqrt(2) / 10, rel=1e-13)
    assert chain.constant >= 2 * math.sqrt(2) / 10 * (1 - 1e-14)
    text = str(chain)
    for fact in ("per-coordinate", "D6", "hausdorff", "D3", "D1", "R3", "N1"):
        assert fact in text
    # without the persistence
    assert stability_chain(pipeline, threat="bottleneck").constant == pytest.approx(0.2)


def test_spaces_and_units() -> None:
    assert threat_space("per_point")[0] == PER_POINT
    assert threat_space("hausdorff")[0] == HAUSDORFF
    assert threat_space("per_coordinate")[0] == PER_COORDINATE
    assert threat_space("sup")[0] == SUP
    assert threat_space("bottleneck")[0] == BOTTLENECK
    space, unit = threat_space("wasserstein", 2, math.inf)
    assert space == Space("diagram", "wasserstein", 2.0, math.inf)
    assert unit == "W_2 with ground norm ℓ∞ between diagrams, in the filtration's unit"
    assert threat_space("wasserstein", math.inf, 1.5)[1].startswith("W_∞ with ground norm ℓ1.5 ")


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("magic",), "threat='magic': expected one of ['per_point', 'hausdorff',"),
        (("wasserstein",), 'threat="wasserstein" names its exponent p and its ground norm q'),
        (("wasserstein", 1.0), 'threat="wasserstein" names its exponent p and its ground norm q'),
        (("per_point", 1.0, 2.0), "belong to threat=\"wasserstein\", not to threat='per_point'"),
        (("wasserstein", 0.5, 1.0), "p=0.5 is not the exponent of a norm"),
        (("wasserstein", 1.0, math.nan), "q=nan is not the exponent of a norm"),
    ],
)
def test_bad_threats(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        threat_space(*arguments)


REFUSED = {
    "squared radii of safe arithmetic": (
        [AlphaPersistence(precision="safe").fit([np.zeros((3, 2))])],
        HAUSDORFF,
        "AlphaPersistence(precision='safe') is not certified",
    ),
    "matrices for alpha": ([alpha()], SUP, "AlphaPersistence knows constants from"),
    "matrices for Euclidean Rips": ([rips()], SUP, "RipsPersistence(metric='euclidean') knows"),
    "points for matrices": (
        [rips(metric="precomputed")],
        PER_POINT,
        "(metric='precomputed') knows",
    ),
    "all points together, for matrices": (
        [rips(metric="precomputed")],
        FROBENIUS,
        "(metric='precomputed') knows",
    ),
    "points for ranks": ([ranks()], PER_POINT, "StableRank knows constants from ordered deaths"),
    "diagrams for alpha": ([alpha()], BOTTLENECK, "AlphaPersistence knows constants from"),
    "a scaler": ([alpha(), ranks(), StandardScaler()], HAUSDORFF, "StandardScaler has no stabil"),
    "ranks of H1 that do not come": (
        [alpha(dimensions=(0,)), ranks()],
        HAUSDORFF,
        "StableRank was fitted on H1, but",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_constant_is_refused(name: str) -> None:
    stages, source, message = REFUSED[name]
    with pytest.raises(StabilityError, match=re.escape(message)):
        chain_of_stages(stages, source)


def test_a_stage_that_is_not_fitted_has_no_dimension() -> None:
    with pytest.raises(StabilityError, match="costs the root of the dimension: give it"):
        chain_of_stages([AlphaPersistence()], PER_COORDINATE)
    with pytest.raises(NotFittedError, match="call fit"):
        stability_chain(StableRankClassifier())


def test_a_stage_of_ones_own_is_asked() -> None:
    class Doubling:
        def stability(self, source: Space) -> Bound:
            if source != HAUSDORFF:
                raise StabilityError(f"not from {source}")
            return Bound(HAUSDORFF, LINF, 2.0, "by hand", "doubling")

    chain = chain_of_stages([Doubling()], PER_POINT)
    assert [str(element.source) for element in chain] == ["points[per-point]", "points[hausdorff]"]
    assert chain.constant == 2.0
    assert chain_of_stages([Doubling()], FROBENIUS).constant == 2.0  # through per point
    with pytest.raises(StabilityError, match="not from matrix"):
        chain_of_stages([Doubling()], SUP)
