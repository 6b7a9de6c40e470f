"""How far something was moved, never below the exact distance, and how to pull it back.

A certificate is only broken by what truly lies within its radius, so lengths are rounded up here,
and what is too long is shortened until its length, rounded up, fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

UNIT_ROUNDOFF = 2.0**-53
_ATTEMPTS = 9


def differences_upper(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """``|a - b|`` elementwise, not below the exact one; 0 exactly where a equals b."""
    gaps = np.abs(a - b)
    return np.where(gaps == 0, 0.0, np.nextafter(gaps, np.inf))  # NaN stays NaN


def norms_upper(values: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """The p-norm along the last axis of numbers >= 0, rounded up.

    Parameters
    ----------
    values : ndarray of shape (..., k)
        Not below the exact ones.
    p : float
        Exponent, 1 <= p <= inf.

    Returns
    -------
    ndarray of shape (...)

    Notes
    -----
    With u = 2^-53 and values divided by the largest: quotients, powers and their sum are off by
    (k + 3 + p) u, what underflows by less than one u of the sum, and the root divides that by
    p >= 1; the root itself, whose exponent is rounded, and the product add (4 + log k) u. Twice
    (k + 16) u are charged.
    """
    k = values.shape[-1]
    largest = values.max(axis=-1, initial=0.0)
    if p == math.inf or k == 1:
        return np.asarray(largest)
    scale = np.where(largest == 0, 1.0, largest)
    sums = ((values / scale[..., None]) ** p).sum(axis=-1)
    norms = scale * sums ** (1 / p) * (1 + 2 * (k + 16) * UNIT_ROUNDOFF)
    return np.where(largest == 0, 0.0, np.nextafter(norms, np.inf))


def row_distances_upper(
    a: NDArray[np.float64], b: NDArray[np.float64], p: float
) -> NDArray[np.float64]:
    """The ℓp distance of each row of `a` to that of `b`, rounded up, shape (n_rows,)."""
    return norms_upper(differences_upper(a, b), p)


def pull_back(
    origin: NDArray[np.float64],
    moved: NDArray[np.float64],
    radius: float,
    p: float,
    tidy: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda rows: rows,
) -> NDArray[np.float64]:
    """Bring every row of `moved` within ℓp distance `radius` of that of `origin`.

    Parameters
    ----------
    origin, moved : ndarray of shape (n_rows, k)
        Rows that are near enough are left as they are.
    radius : float
        How far a row may be, in exact arithmetic too.
    p : float
        Norm on the rows.
    tidy : callable, optional
        Applied to rows before they are measured, for those that have to stay in a convex set, in
        which `origin` lies; it must not lengthen their distances by more than rounding.

    Returns
    -------
    ndarray of shape (n_rows, k)
        Rows that are not finite, and those that cannot be moved as little as that in floating
        point, are the rows of `origin`.
    """
    finite = np.isfinite(moved).all(axis=1, keepdims=True)
    moved = tidy(np.where(finite, moved, origin))
    for attempt in range(_ATTEMPTS):
        lengths = row_distances_upper(moved, origin, p)
        over = np.flatnonzero(lengths > radius)
        if over.size == 0:
            return moved
        # at first less than the lengths were rounded up, then what coordinates are rounded by
        factors = radius / lengths[over] * (1 - 2.0 ** (-45 + 5 * attempt))
        shorter = origin[over] + (moved[over] - origin[over]) * factors[:, None]
        moved[over] = tidy(np.nextafter(shorter, origin[over]) if attempt else shorter)
    over = np.flatnonzero(row_distances_upper(moved, origin, p) > radius)
    moved[over] = origin[over]
    return moved
