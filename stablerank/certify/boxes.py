"""The local certificate: the largest ε whose box, carried through all stages, keeps the class (N4).

A box is not a product of constants: it knows which bars are short enough to vanish, which neurons
cannot switch, and how far this input is from the others. So it certifies at least about as much,
and networks that have no useful constant as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_GROWTH = 4.0
_STEADY_STEPS = 4  # then the growth is squared in every step: 10^300 is not far
_MOST_GROWTH_STEPS = 16
_MOST_BISECTIONS = 64
_LARGEST = 1e300  # times the constants of filtrations still finite
_SAFETY = 1 - 2.0**-40

Keeps = Callable[[NDArray[np.float64], NDArray[np.intp]], NDArray[np.bool_]]


def largest_sizes(
    keeps: Keeps, start: NDArray[np.float64], scale: NDArray[np.float64], steps: int = 12
) -> NDArray[np.float64]:
    """The largest ε of each input that a bisection verified.

    Parameters
    ----------
    keeps : callable
        From sizes of shape (m,) and the m rows that they belong to, to whether the box of that
        size keeps the class. NaN and doubt are False.
    start : ndarray of shape (n,), float64
        Where to begin: radii that are certified otherwise, or 0.
    scale : ndarray of shape (n,), float64
        Positive sizes to begin with where `start` is 0.
    steps : int, default=12
        Bisections after the ε has been enclosed within a factor of 4; on a logarithmic scale, so
        that 12 of them leave 0.04 percent. An ε far from the scale takes a few more.

    Returns
    -------
    ndarray of shape (n,), float64
        Verified, and shrunk by 2^-40 for whoever recomputes them; 0 where nothing was.

    Notes
    -----
    What `keeps` says at an ε holds for all that lies within ε, whether or not it says the same at
    smaller ones; so nothing is assumed of how it depends on ε.
    """
    n = len(start)
    everyone = np.arange(n)
    tried = np.where(start > 0, start, scale)
    verified, refuted = np.zeros(n), np.full(n, np.inf)
    # a scale may say nothing, as that of points that coincide, so it is no limit below 1e12
    least, most = 1e-12 * scale, 1e12 * np.clip(scale, 1.0, _LARGEST / 1e12)

    def ask(rows: NDArray[np.intp]) -> None:
        good = keeps(tried[rows], rows)
        verified[rows[good]] = np.maximum(verified[rows[good]], tried[rows[good]])
        refuted[rows[~good]] = np.minimum(refuted[rows[~good]], tried[rows[~good]])

    ask(everyone)
    growth = _GROWTH
    for step in range(_MOST_GROWTH_STEPS):  # upwards while it holds, downwards until it does
        up = np.isinf(refuted)
        rows = np.flatnonzero(np.where(up, tried < most, (verified == 0) & (tried > least)))
        if rows.size == 0:
            break
        with np.errstate(over="ignore"):  # cut at once
            larger = np.minimum(tried * growth, most)
        tried[rows] = np.where(up, larger, np.maximum(tried / growth, least))[rows]
        ask(rows)
        growth = growth if step < _STEADY_STEPS else min(growth**2, 1e150)
    enclosed = _GROWTH ** (2.0**-steps) * (1 + 1e-9)
    for _ in range(_MOST_BISECTIONS):
        rows = np.flatnonzero((verified > 0) & (refuted > verified * enclosed))
        rows = rows[np.isfinite(refuted[rows])]
        if rows.size == 0:
            break
        # two roots, since the product may be beyond all numbers, or 0
        tried[rows] = np.sqrt(verified[rows]) * np.sqrt(refuted[rows])
        ask(rows)
    return np.nextafter(verified * _SAFETY, 0.0) * (verified > 0)
