"""Adversaries against diagrams: what they are charged is never below the distance."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from gudhi.hera import bottleneck_distance, wasserstein_distance
from numpy.typing import NDArray

from stablerank.attack.diagrams import DiagramAdversary, MovedDiagrams
from stablerank.diagrams.batch import DiagramBatch

Diagrams = dict[int, NDArray[np.float64]]
REFERENCED = [(math.inf, math.inf), (1.0, 1.0), (1.0, math.inf), (2.0, 2.0), (1.5, 3.0)]
METRICS = [*REFERENCED, (math.inf, 2.0)]  # no reference computes the last one


def random_diagrams(seed: int) -> Diagrams:
    rng = np.random.default_rng(seed)
    births = np.concatenate([np.zeros(9), rng.uniform(0, 2, size=7)])
    bars = np.column_stack([births, births + rng.exponential(size=16) ** 2])
    return {0: bars[:9], 1: bars[9:], 2: np.empty((0, 2))}


def candidates(
    adversary: DiagramAdversary, diagrams: Diagrams, radius: float, seed: int, n: int = 25
) -> Any:
    rng = np.random.default_rng(seed)
    (studied,) = adversary.check(DiagramBatch.from_diagrams([diagrams]))
    current = adversary.original(studied)
    for turn in range(n):
        yield (
            studied,
            adversary.shorten(studied, adversary.propose(studied, radius, turn, rng), radius),
        )
        changed = adversary.change(studied, current, radius, 0.5 * 0.05 ** (turn / n), rng)
        current = adversary.shorten(studied, changed, radius)
        yield studied, current


def exact_cost(studied: Diagrams, candidate: MovedDiagrams, p: float, q: float) -> Decimal:
    """Of the matching, to 60 digits: bars to where they went, new ones to the diagonal."""

    def norm(values: list[Decimal], exponent: float) -> Decimal:
        if exponent == math.inf:
            return max(values, default=Decimal(0))
        total = sum((v ** Decimal(exponent) for v in values if v), Decimal(0))
        return total ** (1 / Decimal(exponent)) if total else Decimal(0)

    with localcontext() as context:
        context.prec = 60
        costs = []
        for k, bars in studied.items():
            each = []
            for old, new in zip(bars.tolist(), candidate.moved[k].tolist(), strict=True):
                steps = [abs(Decimal(a) - Decimal(b)) for a, b in zip(old, new, strict=True)]
                each.append(norm(steps, q))
            for birth, death in candidate.added[k].tolist():
                half = (Decimal(death) - Decimal(birth)) / 2
                each.append(norm([half, half], q))
            costs.append(norm(each, p))
        return max(costs)


@pytest.mark.parametrize(("p", "q"), METRICS)
def test_matchings_cost_at_most_the_radius(p: float, q: float, seed: int) -> None:
    adversary = DiagramAdversary(p, q)
    diagrams = random_diagrams(seed)
    for radius in (0.2, 1e-10):
        for studied, moved in candidates(adversary, diagrams, radius, seed):
            exact = exact_cost(studied, moved, p, q)
            slack = Decimal("1e-50") * exact  # what 60 digits may be off
            assert exact - slack <= Decimal(radius)
            assert exact - slack <= Decimal(adversary.displacement(studied, moved))
            for bars in (*moved.moved.values(), *moved.added.values()):
                assert (bars[:, 0] <= bars[:, 1]).all()


def test_the_law_above_can_fail(seed: int) -> None:
    adversary, rng = DiagramAdversary(2.0, 2.0), np.random.default_rng(seed)
    studied = random_diagrams(seed)
    proposals = [adversary.propose(studied, 0.2, turn, rng) for turn in range(20)]
    assert max(exact_cost(studied, each, 2.0, 2.0) for each in proposals) > Decimal("0.2")


@pytest.mark.parametrize(("p", "q"), REFERENCED)
def test_the_distance_is_not_above_what_is_charged(p: float, q: float, seed: int) -> None:
    adversary = DiagramAdversary(p, q)
    for studied, moved in candidates(adversary, random_diagrams(seed), 0.3, seed, 10):
        (after,) = adversary.collect([moved])
        charged = adversary.displacement(studied, moved)
        for k, bars in studied.items():
            if p == math.inf:
                assert bottleneck_distance(bars, after[k], 0.0) <= charged * (1 + 1e-12)
            elif len(bars) or len(after[k]):
                ground = -1.0 if q == math.inf else q  # hera's name of the maximum norm
                distance = wasserstein_distance(
                    bars, after[k], order=p, internal_p=ground, delta=1e-4
                )
                assert distance <= charged * (1 + 2e-4)


@pytest.mark.parametrize(("p", "q"), METRICS)
def test_candidates_cost_all_that_they_may(p: float, q: float, seed: int) -> None:
    adversary = DiagramAdversary(p, q)
    costs = [
        adversary.displacement(studied, moved)
        for studied, moved in candidates(adversary, random_diagrams(seed), 0.2, seed)
    ]
    assert np.median(costs) > 0.2 * (1 - 1e-6)


def test_one_bar_by_hand() -> None:
    # (1, 5) to (0, 6) moves both ends by 1: 2, √2, 1 in l1, l2, l-infinity. A new bar of length 2
    # is 2, √2, 1 from the diagonal. W_1 adds them, W_2 adds squares, the bottleneck takes the max.
    studied = {0: np.array([[1.0, 5.0]])}
    moved = MovedDiagrams({0: np.array([[0.0, 6.0]])}, {0: np.array([[3.0, 5.0]])})
    for p, q, cost in [
        (1.0, 1.0, 4.0),
        (1.0, 2.0, 2 * math.sqrt(2)),
        (2.0, 1.0, math.sqrt(8)),
        (2.0, 2.0, 2.0),
        (math.inf, math.inf, 1.0),
        (1.0, math.inf, 2.0),
    ]:
        assert DiagramAdversary(p, q).displacement(studied, moved) == pytest.approx(cost, rel=1e-13)


def test_bars_are_removed_and_added(seed: int) -> None:
    studied = {1: np.array([[1.0, 1.2], [2.0, 5.0]])}
    counts = set()
    for _, moved in candidates(DiagramAdversary(), studied, 0.2, seed):
        (after,) = DiagramAdversary().collect([moved])
        counts.add(len(after[1]))
        assert len(after[1]) >= 1  # the bar of length 3 cannot go
    assert {1, 2} <= counts
    assert max(counts) > 2


def test_diagrams_without_bars(seed: int) -> None:
    empty = {0: np.empty((0, 2))}
    adversary = DiagramAdversary(2.0, 2.0)
    moves = [moved for _, moved in candidates(adversary, empty, 0.1, seed)]
    assert adversary.size(empty) == 1.0
    assert any(len(moved.added[0]) for moved in moves)


def test_clouds_are_refused() -> None:
    with pytest.raises(ValueError, match="X is a list: a threat against diagrams"):
        DiagramAdversary().check([np.zeros((3, 2))])
