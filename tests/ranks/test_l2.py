"""Stable ranks from ordered deaths in ℓ2 (D7): constants of coordinates, and of all together."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import DistanceContour, Landscapes, StableRank
from stablerank.diagrams import DiagramBatch
from stablerank.ranks.contours import Contour
from stablerank.stability import (
    BOTTLENECK,
    L2,
    ORDERED_DEATHS_L2,
    Bound,
    Space,
    StabilityChain,
    StabilityError,
)

STEEP = DistanceContour([0.5], [0.5], [2.0], floor=0.5)
EXPONENTS = (1.0, 1.5, 2.0, 3.0, math.inf)
N_RANKS, MAX_BARS = 6, 9


def of_deaths(deaths: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
    positive = deaths[deaths > 0]
    return {0: np.column_stack([np.zeros_like(positive), positive])}


def fitted(p: float, contour: Contour | str = "standard") -> StableRank:
    some = DiagramBatch.from_diagrams([of_deaths(np.ones(3))])
    max_bars = None if p == math.inf else MAX_BARS
    ranks: StableRank = StableRank(p, contour, n_ranks=N_RANKS, max_bars=max_bars).fit(some)
    return ranks


def excess(ranks: StableRank, seed: int, factor: float = 1.0) -> tuple[float, float]:
    """How far vectors moved beyond the constants, and the largest share of the one of all."""
    bound = ranks.stability(Space.product({"H0": ORDERED_DEATHS_L2})).branches["H0"]
    assert isinstance(bound, Bound)
    assert bound.constants is not None
    rng, worst, share = np.random.default_rng(seed), -math.inf, 0.0
    for trial in range(300):
        n = int(rng.integers(1, 14))
        before = rng.exponential(size=n) * (rng.uniform(size=n) < 0.8)
        after = np.abs(before + rng.normal(scale=rng.choice([1e-3, 1.0]), size=n))
        if trial % 3 == 0:  # all lengths grow alike, or one of them alone
            before = np.full(n, 1.0) + 1e-6 * rng.uniform(size=n)
            after = before + (1e-3 if trial % 2 else 1e-3 * np.eye(n)[0])
        vectors = ranks.transform([of_deaths(before), of_deaths(after)])
        moved = float(np.linalg.norm(np.sort(before) - np.sort(after)))
        change = np.abs(vectors[0] - vectors[1])
        rounding = 1e-13 * float(before.sum() + after.sum() + 1)
        each = change - factor * np.array(bound.constants) * moved
        together = float(np.linalg.norm(change)) - factor * bound.constant * moved
        worst = max(worst, float(each.max()) - rounding, together - rounding)
        share = max(share, float(np.linalg.norm(change)) / (bound.constant * moved))
    return worst, share


@pytest.mark.parametrize("p", EXPONENTS)
def test_vectors_move_at_most_as_deaths_do_together(p: float, seed: int) -> None:
    for contour in ("standard", STEEP):
        worst, share = excess(fitted(p, contour), seed)
        assert worst <= 0
        assert share > (0.8 if p in (1.0, math.inf) and contour == "standard" else 0.3)


@pytest.mark.parametrize("p", EXPONENTS)
def test_the_law_above_can_fail(p: float, seed: int) -> None:
    assert excess(fitted(p), seed, factor=0.5)[0] > 0


def test_constants_by_hand() -> None:
    def found(p: float, contour: Contour | str = "standard") -> Bound:
        bound = fitted(p, contour).stability(ORDERED_DEATHS_L2).branches["H0"]
        assert isinstance(bound, Bound)
        assert bound.target == L2
        return bound

    assert found(math.inf).constant == 1.0
    assert found(math.inf).constants == (1.0,) * 6
    assert found(math.inf, STEEP).constant == STEEP.constant
    # p >= 2: a tail's p-norm is at most its 2-norm, and six tails move
    assert found(2.0).constants == found(5.0).constants == (1.0,) * 6
    assert found(2.0).constant == pytest.approx(math.sqrt(6), rel=1e-14)
    # p = 1: tails of 9, 8, …, 4 bars, by the roots of their numbers
    roots = np.sqrt([9, 8, 7, 6, 5, 4])
    np.testing.assert_allclose(found(1.0).constants, roots, rtol=1e-14)
    assert found(1.0).constant == pytest.approx(math.sqrt(39), rel=1e-14)
    assert (np.array(found(1.0).constants) >= roots).all()


def test_other_dimensions_are_joined_in_l2() -> None:
    diagrams = DiagramBatch.from_diagrams([{0: [[0, 1]], 1: [[1, 2]]}])
    ranks = StableRank(n_ranks={0: 4, 1: 9}).fit(diagrams)
    source = Space.product({"H0": ORDERED_DEATHS_L2, "H1": BOTTLENECK})
    joined = ranks.stability(source)
    assert joined.target == L2
    # nine lengths with the constant 2 each: √(9 · 4)
    assert [branch.constant for branch in joined.branches.values()] == pytest.approx([1.0, 6.0])
    blocks = StabilityChain(joined).blocks
    assert blocks is not None
    assert [block.each.tolist() for block in blocks] == [[1.0] * 4, [2.0] * 9]
    assert StabilityChain(joined).constant == pytest.approx(math.sqrt(37), rel=1e-14)


def test_landscapes_know_none() -> None:
    landscapes = Landscapes(positions=[0.5], n_levels=1).fit([of_deaths(np.ones(2))])
    with pytest.raises(StabilityError, match=re.escape("ordered deaths l2")):
        landscapes.stability(ORDERED_DEATHS_L2)
