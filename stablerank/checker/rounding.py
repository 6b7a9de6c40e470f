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


def sum_up(numbers: Array) -> float:
    """The exact sum of numbers, rounded up."""
    return math.nextafter(math.fsum(numbers.tolist()), math.inf)


def root_up(x: float) -> float:
    """The square root, rounded up."""
    root = math.sqrt(x)
    return root if root.is_integer() and root * root == x else math.nextafter(root, math.inf)
