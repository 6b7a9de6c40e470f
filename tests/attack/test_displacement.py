"""Displacements: rounded up, and pulled back so that exact arithmetic finds them short enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.attack.displacement import (
    differences_upper,
    norms_upper,
    pull_back,
    row_distances_upper,
)

Rows = NDArray[np.float64]
EXPONENTS = [1.0, 1.5, 2.0, 7.0, 300.0, math.inf]


def exact_norm(values: Rows, p: float) -> Decimal:
    """To 80 digits; a float is a finite decimal."""
    with localcontext() as context:
        context.prec = 80
        numbers = [Decimal(abs(float(v))) for v in values]
        if p == math.inf:
            return max(numbers)
        total = sum((v ** Decimal(p) for v in numbers if v), Decimal(0))
        return total ** (1 / Decimal(p)) if total else Decimal(0)


# Closed form.


def test_a_right_triangle() -> None:
    # (3, 4) has length 5, 7 and 4 in l2, l1 and l-infinity; differences are rounded up by one step.
    a, b = np.array([[3.0, 5.0]]), np.array([[0.0, 1.0]])
    assert 5 <= row_distances_upper(a, b, 2)[0] < 5 + 1e-13
    assert 7 <= row_distances_upper(a, b, 1)[0] < 7 + 1e-13
    assert row_distances_upper(a, b, math.inf)[0] == np.nextafter(4, 5)
    assert row_distances_upper(a, a, 2).tolist() == [0.0]


# The law: never below the exact value, and hardly above it.


def random_values(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=(40, 5)) * 10.0 ** rng.uniform(-3, 3, size=(40, 5))
    values[:4] *= 1e-300
    values[4:8] *= 1e290
    values[8:12, 2:] = 0
    values[12] = 0
    values[13] = 5e-324
    return values


def shortfall(norms: Callable[[Rows, float], Rows], p: float, values: Rows) -> float:
    """By how many relative 1e-17 the computed norms fall below the exact ones, at worst."""
    worst = Decimal(-1)
    for row, norm in zip(values, norms(values, p), strict=True):
        exact = exact_norm(row, p)
        if exact:
            worst = max(worst, (exact - Decimal(float(norm))) / exact)
        else:
            assert norm == 0
    return float(worst * Decimal(10) ** 17)


@pytest.mark.parametrize("p", EXPONENTS)
def test_norms_are_not_below_the_exact_ones(p: float, seed: int) -> None:
    assert shortfall(norms_upper, p, random_values(seed)) <= 0
    normal = random_values(seed)[14:]
    for row, norm in zip(normal, norms_upper(normal, p), strict=True):
        assert Decimal(float(norm)) <= exact_norm(row, p) * (1 + Decimal("1e-13"))


@pytest.mark.parametrize("p", [1.5, 2.0, 7.0])
def test_the_law_of_norms_can_fail(p: float, seed: int) -> None:
    def unsafe(values: Rows, p: float) -> Rows:
        return np.asarray(np.linalg.norm(values, ord=p, axis=1))

    values = random_values(seed)[14:]
    assert shortfall(lambda v, p: norms_upper(v, p) * (1 - 1e-13), p, values) > 0
    assert shortfall(unsafe, p, values) > 0


def test_differences_are_not_below_the_exact_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=300) * 10.0 ** rng.uniform(-12, 12, size=300)
    b = a + rng.normal(size=300) * 10.0 ** rng.uniform(-12, 12, size=300)
    exact = [abs(Fraction(x) - Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    upper = differences_upper(a, b).tolist()
    assert all(Fraction(u) >= e for u, e in zip(upper, exact, strict=True))
    # ... and plain subtraction would not do
    plain = np.abs(a - b).tolist()
    assert any(Fraction(u) < e for u, e in zip(plain, exact, strict=True))


# Pulling back.

SCALES = {
    "moderate": (1.0, 0.1),
    "far away": (1e6, 1e-3),
    "a few units in the last place": (1e6, 1e-9),
    "huge": (1e300, 1e298),
    "tiny": (1e-290, 1e-291),
}
PullBack = Callable[[Rows, Rows, float, float], Rows]


def exact_squares(moved: Rows, origin: Rows) -> list[Fraction]:
    return [
        sum(
            ((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(x, y, strict=True)),
            Fraction(0),
        )
        for x, y in zip(moved.tolist(), origin.tolist(), strict=True)
    ]


def too_long(pull: PullBack, scale: str, seed: int) -> int:
    """How many of 200 rows are farther from their origin than allowed, in exact arithmetic."""
    rng = np.random.default_rng(seed)
    size, radius = SCALES[scale]
    origin = size * rng.uniform(-1, 1, size=(200, 3))
    moved = origin + radius * rng.normal(size=(200, 3)) * rng.choice([0.1, 1, 100], size=(200, 1))
    limit = Fraction(radius) ** 2
    return sum(square > limit for square in exact_squares(pull(origin, moved, radius, 2), origin))


@pytest.mark.parametrize("scale", SCALES)
def test_no_row_is_longer_than_the_radius(scale: str, seed: int) -> None:
    assert too_long(pull_back, scale, seed) == 0


@pytest.mark.parametrize("scale", SCALES)
def test_the_law_of_pulling_back_can_fail(scale: str, seed: int) -> None:
    def plain(origin: Rows, moved: Rows, radius: float, p: float) -> Rows:
        lengths = np.array([[math.hypot(*step)] for step in (moved - origin).tolist()])
        return origin + (moved - origin) * np.minimum(1, radius / np.maximum(lengths, 1e-300))

    assert too_long(plain, scale, seed) > 0


def test_rows_reach_the_radius_where_there_is_room(seed: int) -> None:
    rng = np.random.default_rng(seed)
    origin = rng.uniform(-1, 1, size=(100, 2))
    pulled = pull_back(origin, origin + rng.normal(size=(100, 2)) * 9, 0.1, 2)
    assert np.linalg.norm(pulled - origin, axis=1).min() > 0.1 * (1 - 1e-12)
    near = origin + 0.01
    assert np.array_equal(pull_back(origin, near, 0.1, 2), near)  # what is near enough stays


def test_rows_that_have_no_room_stay_where_they_were() -> None:
    # The floats next to 2^53 are 1 below and 2 above.
    origin = np.array([[2.0**53, 0.0]])
    assert np.array_equal(pull_back(origin, origin + 8.0, 0.5, 2)[0, :1], origin[0, :1])


def test_what_is_not_finite_goes_back(seed: int) -> None:
    origin = np.random.default_rng(seed).normal(size=(3, 2))
    moved = origin + np.array([[np.nan, 0.0], [np.inf, 0.0], [0.05, 0.0]])
    pulled = pull_back(origin, moved, 0.1, 2)
    assert np.array_equal(pulled[:2], origin[:2])
    assert np.array_equal(pulled[2], moved[2])
    # ... and it is never measured as near
    with np.errstate(invalid="ignore"):
        assert not (row_distances_upper(moved, origin, 2)[:2] <= 1e300).any()


def test_tidied_rows_are_measured_as_they_end_up() -> None:
    origin = np.array([[0.05], [1.0]])
    pulled = pull_back(origin, origin - 0.3, 0.1, math.inf, lambda rows: np.maximum(rows, 0.0))
    assert pulled[0, 0] == 0.0
    assert Fraction(1) - Fraction(pulled[1, 0]) <= Fraction(0.1)


def test_inputs_are_not_overwritten() -> None:
    origin, moved = np.zeros((2, 2)), np.ones((2, 2))
    pull_back(origin, moved, 0.5, 2)
    assert (origin == 0).all()
    assert (moved == 1).all()
