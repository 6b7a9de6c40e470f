"""Floating point, outward: what is above an exact result, and what is below."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
U = 2.0**-53
TINY = 1e-300


def up(x: Any) -> Any:
    """The next larger numbers; of the result of one operation, not below the exact one."""
    return np.nextafter(x, np.inf)


def down(x: Any) -> Any:
    """The next smaller numbers."""
    return np.nextafter(x, -np.inf)


def times_up(a: Any, b: Any) -> Any:
    """Products of non-negative numbers, rounded up; exact where one of them is 0 or 1."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        product = up(a * b)
    product = np.where(a == 1, b, np.where(b == 1, a, product))
    return np.where((a == 0) | (b == 0), 0.0, product)


def gamma(n: int) -> float:
    """The relative error of n roundings, n u / (1 − n u), with its own rounding."""
    return n * U / (1 - n * U) * (1 + 8 * U)


def power_up(base: Array, exponent: float) -> Array:
    """Powers of numbers from 0 to 10^9 by exponents from 0 to 1, rounded up; exact for 0 and 1.

    The exponent is rounded, which the logarithm of the base, at most 21, multiplies.
    """
    if exponent in (0.0, 1.0):
        return np.power(base, exponent)
    return np.asarray(np.power(base, exponent) * (1 + gamma(64)))


def sum_up(numbers: Array) -> float:
    """The exact sum of numbers, rounded up."""
    return math.nextafter(math.fsum(numbers.tolist()), math.inf)


def root_up(x: float) -> float:
    """The square root, rounded up."""
    root = math.sqrt(x)
    return root if root.is_integer() and root * root == x else math.nextafter(root, math.inf)


def inverse_root_up(k: int) -> float:
    """1/√k, rounded up; exact for 1."""
    root = math.sqrt(k)
    return 1.0 if root == 1 else math.nextafter(1 / root, math.inf) * (1 + 4 * U)
