"""margin_radii: the distance to the next class, never overstated, with all rounding charged."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.certify.margins import margin_radii

Array = NDArray[np.float64]
Margin = Callable[[Array, Array, float, Callable[[Array], Array]], Array]
SAFETY = 2.0**-40


def exact_arithmetic(reach: Array) -> Array:
    return np.zeros_like(reach)


def pairwise(n_classes: int, value: float) -> Array:
    return value * (1 - np.eye(n_classes))


# Closed form.


def test_two_classes_by_hand() -> None:
    # 5 − 2 = 3; the difference of the logits moves by 2 · 0.5 for each unit: 3.
    radius = margin_radii(np.array([[5.0, 2.0]]), pairwise(2, 2.0), 0.5, exact_arithmetic)
    assert 3 * (1 - 2 * SAFETY) < radius[0] < 3


def test_the_nearest_class_is_not_always_the_second_largest() -> None:
    # Gaps 1 and 4, steepness 0.5 and 8: distances 2 and 1/2, so the third class is nearer.
    constants = np.array([[0.0, 0.5, 8.0], [0.5, 0.0, 1.0], [8.0, 1.0, 0.0]])
    radius = margin_radii(np.array([[5.0, 4.0, 1.0]]), constants, 1.0, exact_arithmetic)
    assert 0.5 * (1 - 2 * SAFETY) < radius[0] < 0.5


def test_each_row_takes_the_constants_of_its_own_class() -> None:
    constants = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    logits = np.array([[1.0, 0.0, -9.0], [-9.0, 1.0, 0.0], [1.0, -9.0, 0.0]])
    radius = margin_radii(logits, constants, 1.0, exact_arithmetic)
    np.testing.assert_allclose(radius, [1.0, 0.25, 0.5], rtol=1e-11)


def test_rounding_is_charged_four_times() -> None:
    # Without rounding the radius is 2/2 = 1; there the logits are off by e = 0.1, at both inputs
    # and in both logits: (2 − 0.4)/2 = 0.8.
    asked = []

    def rounding(reach: Array) -> Array:
        asked.append(reach.copy())
        return 0.1 * reach

    radius = margin_radii(np.array([[3.0, 1.0]]), pairwise(2, 2.0), 1.0, rounding)
    assert radius[0] == pytest.approx(0.8, rel=1e-11)
    # ... taken over the larger ball
    assert (np.concatenate(asked) >= 1 - 1e-12).all()


def test_where_rounding_is_larger_than_the_margin_nothing_is_certified() -> None:
    logits = np.array([[3.0, 1.0], [1.5, 1.0]])
    radius = margin_radii(logits, pairwise(2, 1.0), 1.0, lambda reach: np.full(len(reach), 0.2))
    assert radius[0] == pytest.approx(1.2, rel=1e-11)
    assert radius[1] == 0.0


@pytest.mark.parametrize(
    "row",
    [
        [1.0, 1.0, 0.0],  # a tie
        [np.nan, 1.0, 0.0],
        [2.0, np.nan, 0.0],
        [np.inf, 1.0, 0.0],
        [2.0, -np.inf, 0.0],
        [1e308, -1e308, 0.0],  # the difference overflows
    ],
)
def test_what_is_not_certified(row: list[float]) -> None:
    radius = margin_radii(np.array([row, [3.0, 1, 1]]), pairwise(3, 1.0), 1.0, exact_arithmetic)
    assert radius[0] == 0.0
    assert radius[1] > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_constants_that_are_no_numbers_certify_nothing(bad: float) -> None:
    logits = np.array([[3.0, 1.0]])
    assert margin_radii(logits, pairwise(2, 1.0), bad, exact_arithmetic)[0] == 0.0
    # NaN between two classes used to count as a constant of 0, and so as no limit at all
    steep = np.array([[0.0, bad], [bad, 0.0]])
    assert margin_radii(logits, steep, 1.0, exact_arithmetic)[0] == 0.0


def test_rounding_that_is_no_number_certifies_nothing() -> None:
    for bad in (np.nan, np.inf):
        radius = margin_radii(
            np.array([[3.0, 1.0]]), pairwise(2, 1.0), 1.0, lambda reach, bad=bad: reach + bad
        )
        assert radius[0] == 0.0


def test_two_equal_rows_of_the_head_are_never_confused() -> None:
    # z_0 − z_1 does not move at all; the third class decides: 4/2.
    constants = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
    radius = margin_radii(np.array([[5.0, 4.0, 1.0]]), constants, 1.0, exact_arithmetic)
    assert radius[0] == pytest.approx(2.0, rel=1e-11)
    # ... but a tie between them stays one
    assert margin_radii(np.array([[5.0, 5.0, 1.0]]), constants, 1.0, exact_arithmetic)[0] == 0.0


def test_a_classifier_that_does_not_move_has_a_finite_radius() -> None:
    radius = margin_radii(np.array([[5.0, 4.0]]), np.zeros((2, 2)), 1.0, exact_arithmetic)
    assert 1e6 <= radius[0] < np.inf
    asked = []
    still = margin_radii(
        np.array([[5.0, 4.0]]), np.zeros((2, 2)), 0.0, lambda r: asked.append(r) or 0 * r
    )
    assert 1e6 <= still[0] < np.inf
    assert np.isfinite(asked[0]).all()


def test_no_rows() -> None:
    assert margin_radii(np.empty((0, 3)), pairwise(3, 1.0), 1.0, exact_arithmetic).shape == (0,)


# The law: in exact arithmetic no logit overtakes within the radius.


def random_problem(seed: int, n: int = 60) -> tuple[Array, Array, float]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 10.0 ** rng.uniform(-8, 8, size=(n, 1))
    logits[:10] *= 1e-290  # gaps near the least normal number, and below
    logits[10:20] *= 1e290
    logits[20:25] = rng.integers(-2, 3, size=(5, 4))  # ties
    logits[25:30] = 5e-324 * rng.integers(-4, 5, size=(5, 4))
    logits[30:40, 1] = logits[30:40, 0] * (1 + 1e-15)
    constants = rng.exponential(size=(4, 4)) * rng.choice([1e-3, 1.0, 1e3])
    np.fill_diagonal(constants, 0)
    return logits, constants, float(10.0 ** rng.uniform(-4, 4))


def excess(margin: Margin, seed: int) -> Fraction:
    """The largest relative amount by which a radius is above the exact distance, −1 if none is."""
    worst = Fraction(-1)
    for trial in range(5):
        logits, constants, constant = random_problem(1000 * seed + trial)
        radii = margin(logits, constants, constant, exact_arithmetic)
        for row, radius in zip(logits.tolist(), radii.tolist(), strict=True):
            assert np.isfinite(radius)
            assert radius >= 0
            top = int(np.argmax(row))
            for j in set(range(4)) - {top}:
                gap = Fraction(row[top]) - Fraction(row[j])
                steepness = Fraction(constant) * max(
                    Fraction(constants[top, j]), Fraction(constants[j, top])
                )
                if radius > 0:  # where another logit is as large, any radius is too large
                    worst = max(
                        worst, Fraction(radius) * steepness / gap - 1 if gap else Fraction(1)
                    )
    return worst


def test_no_radius_is_above_the_exact_distance(seed: int) -> None:
    assert excess(margin_radii, seed) < 0


BROKEN: dict[str, Margin] = {
    "a little too large": lambda z, w, c, e: margin_radii(z, w, c, e) * (1 + 2 * SAFETY),
    "one direction of the pairs": lambda z, w, c, e: margin_radii(z, np.triu(w), c, e),
    "the least constant": lambda z, w, c, e: margin_radii(z, np.minimum(w, w.T), c, e),
    "half the constant": lambda z, w, c, e: margin_radii(z, w, c / 2, e),
    "only two classes": lambda z, w, c, e: margin_radii(z[:, :2], w[:2, :2], c, e),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_above_can_fail(broken: Margin, seed: int) -> None:
    assert excess(broken, seed) > 0


def test_radii_are_hardly_below_the_exact_distance(seed: int) -> None:
    logits, constants, constant = random_problem(seed)
    logits, constants = logits[40:], np.maximum(constants, constants.T)
    gaps = np.sort(logits.max(axis=1, keepdims=True) - logits, axis=1)
    radii = margin_radii(logits, constants, constant, exact_arithmetic)
    # never more than the largest gap by the least steepness
    steepest = constants.max() * constant
    assert (radii >= gaps[:, 1] / steepest * (1 - 1e-11)).all()


def test_products_that_underflow_still_limit_the_radius() -> None:
    # 1e-200 · 1e-200 is 0 in floats, and a radius without a limit used to follow.
    steep: Any = pairwise(2, 1e-200)
    radius = margin_radii(np.array([[1e-310, 0.0]]), steep, 1e-200, exact_arithmetic)[0]
    assert Fraction(radius) * Fraction(1e-200) ** 2 < Fraction(1e-310)
