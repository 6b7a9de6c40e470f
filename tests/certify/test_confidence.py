"""Confidence bounds: exact ones against exact arithmetic, and how often each of them is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stablerank.certify.confidence import (
    binomial_lower,
    binomial_upper,
    majority_pvalue,
    mean_lower,
)

Bound = Callable[[NDArray[Any], int, float], NDArray[np.float64]]
PROBABILITIES = np.concatenate([np.linspace(0.001, 0.999, 97), [1e-9, 1 - 1e-9]])


def test_bounds_by_hand() -> None:
    # p^n = α for n of n; 1 − (1 − p)^n = α for one of n at least
    n, alpha = 7, 0.01
    assert binomial_lower(n, n, alpha) == pytest.approx(alpha ** (1 / n), rel=1e-8)
    assert binomial_lower(1, n, alpha) == pytest.approx(1 - (1 - alpha) ** (1 / n), rel=1e-8)
    assert binomial_upper(0, n, alpha) == pytest.approx(1 - alpha ** (1 / n), rel=1e-8)
    assert binomial_lower(0, n, alpha) == 0
    assert binomial_upper(n, n, alpha) == 1


@pytest.mark.parametrize("n", [1, 2, 9, 40])
@pytest.mark.parametrize("alpha", [0.3, 0.05, 1e-6])
def test_bounds_of_scipy(n: int, alpha: float) -> None:
    lower, upper = (bound(np.arange(n + 1), n, alpha) for bound in (binomial_lower, binomial_upper))
    for k in range(n + 1):
        found = stats.binomtest(k, n).proportion_ci(1 - 2 * alpha, method="exact")
        assert lower[k] == pytest.approx(found.low, rel=1e-8, abs=1e-12)
        assert upper[k] == pytest.approx(found.high, abs=2e-9)


def tail(k: int, n: int, p: Any) -> Any:
    """P(Bin(n, p) >= k), term by term."""
    term = mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k)
    total = mpmath.mpf(0)
    for i in range(k, n + 1):
        total += term
        term *= p / (1 - p) * (n - i) / (i + 1)
    return total


@pytest.mark.parametrize("n", [1, 10, 100, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.001, 1e-9])
def test_the_lower_bound_in_fifty_digits(n: int, alpha: float) -> None:
    """P(Bin(n, p) >= k) is at most α at the bound, and above it just beyond."""
    for k in {1, n // 2 + 1, n - 1, n} - {0}:
        p = float(binomial_lower(k, n, alpha))
        with mpmath.workdps(50):
            beyond = mpmath.mpf(p) * (1 + mpmath.mpf(2) ** -28)
            assert tail(k, n, mpmath.mpf(p)) <= alpha < tail(k, n, beyond)


def how_often_wrong(bound: Bound, n: int, alpha: float) -> float:
    """The largest probability, over p, that the lower bound of a sample is above p."""
    k = np.arange(n + 1)
    above = bound(k, n, alpha)[:, None] > PROBABILITIES
    return float((above * stats.binom.pmf(k[:, None], n, PROBABILITIES)).sum(axis=0).max())


def bernstein(k: NDArray[Any], n: int, alpha: float) -> NDArray[np.float64]:
    """The bound for means, of numbers that are 0 or 1."""
    return mean_lower(k / n, k * (n - k) / (n * (n - 1)), n, alpha)


BOUNDS: dict[str, Bound] = {
    "binomial": binomial_lower,
    "mirrored": lambda k, n, alpha: 1 - binomial_upper(n - k, n, alpha),
    "mean": bernstein,
}
BROKEN: dict[str, Bound] = {
    "swapped": binomial_upper,
    "the share itself": lambda k, n, alpha: k / n,
    "twice the level": lambda k, n, alpha: binomial_lower(k, n, 2 * alpha),
    "no deviation": lambda k, n, alpha: mean_lower(k / n, 0 * k, n, alpha),
}


@pytest.mark.parametrize("n", [2, 11, 300])
@pytest.mark.parametrize("alpha", [0.2, 0.01])
@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_no_bound_is_wrong_more_often_than_it_says(bound: Bound, alpha: float, n: int) -> None:
    assert how_often_wrong(bound, n, alpha) <= alpha


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_above_can_fail(broken: Bound) -> None:
    assert how_often_wrong(broken, 300, 0.01) > 0.01


def test_the_bound_of_a_mean_by_hand() -> None:
    # ln(2/α) = 2 for α = 2 e^-2: 0.5 − sqrt(2·0.04·2/100) − 7·2/(3·99)
    alpha = 2 * np.exp(-2.0)
    by_hand = 0.5 - 0.04 - 14 / 297
    assert mean_lower(0.5, 0.04, 100, alpha) == pytest.approx(by_hand, rel=1e-8)
    assert mean_lower(0.5, 0.04, 100, alpha) < by_hand


@pytest.mark.parametrize("m", [0, 1, 2, 17, 60])
def test_the_test_of_two_labels_is_that_of_scipy(m: int) -> None:
    first = np.arange((m + 1) // 2, m + 1)
    found = majority_pvalue(first, m - first)
    expected = [stats.binomtest(int(k), m).pvalue if m else 1.0 for k in first]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert (found >= np.array(expected) * (1 - 1e-14)).all()
    if m % 2 == 0:
        assert found[0] == 1  # a tie
