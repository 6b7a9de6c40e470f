"""From margins and constants to radii, with every rounding charged (facts N3 and N5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stablerank.stability import multiply_up

_SAFETY = 1 - 2.0**-40
_FARTHEST = 1e6
_LARGEST = 1e300  # the rounding beyond it is not worth the name


def margin_radii(
    logits: NDArray[np.float64],
    pairwise: NDArray[np.float64],
    constant: float,
    rounding: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """The distance from each input within which its largest logit stays the largest.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
        As computed.
    pairwise : ndarray of shape (n_classes, n_classes)
        ``pairwise[i, j]`` bounds how far z_i − z_j moves when the features move by 1.
    constant : float
        How far the features move when the adversary moves by 1.
    rounding : callable
        From radii of shape (n,) to a bound on how far computed logits are from exact ones for
        everything within that radius.

    Returns
    -------
    ndarray of shape (n,), float64
        ``min_j (z_t − z_j − 4 e) / (constant · pairwise[t, j])``, t the largest logit, rounded
        down and shrunk by 2^-40 for whoever recomputes it; 0 for ties and for NaN.

    Notes
    -----
    Let ẑ be computed logits, z exact ones, e the rounding bound, x′ within r of x. Then
    ẑ_t(x′) − ẑ_j(x′) >= z_t(x′) − z_j(x′) − 2e >= z_t(x) − z_j(x) − constant·pairwise[t, j]·r − 2e
    >= ẑ_t(x) − ẑ_j(x) − constant·pairwise[t, j]·r − 4e, which is positive for smaller r. The bound
    e is taken over the ball of the radius that the same formula gives without it, which is larger.
    """
    n, n_classes = logits.shape
    top = logits.argmax(axis=1)
    rows = np.arange(n)
    others = np.ones((n, n_classes), dtype=bool)
    others[rows, top] = False
    # rounded up: a product that underflows would certify without end
    steepness = np.asarray(multiply_up(np.maximum(pairwise, pairwise.T)[top], constant))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gaps = logits[rows, top][:, None] - logits
        first = _least(gaps, steepness, others)
        # a classifier that hardly depends on its input could be certified without end
        scale = 1.0 + np.abs(logits).max(axis=1, initial=0.0) / max(constant, 1e-300)
        first = np.minimum(first, np.minimum(_FARTHEST * scale, _LARGEST))
        error = rounding(np.where(np.isfinite(first), np.maximum(first, 0.0), 0.0))
        # the differences of logits are rounded too
        slack = 4 * error + 4 * 2.0**-53 * np.abs(gaps).max(axis=1, initial=0.0)
        radii = np.minimum(_least(gaps - slack[:, None], steepness, others), first)
        certified = np.isfinite(radii) & (radii > 0) & np.isfinite(logits).all(axis=1)
        # one step more, since the shrinking itself is rounded away among subnormal numbers
        return np.asarray(np.where(certified, np.nextafter(radii * _SAFETY, 0.0), 0.0))


def _least(
    gaps: NDArray[np.float64], steepness: NDArray[np.float64], others: NDArray[np.bool_]
) -> NDArray[np.float64]:
    # compared with 0, so that a steepness that is NaN gives NaN, and no radius
    quotients = np.where(steepness != 0, gaps / steepness, np.where(gaps > 0, np.inf, -np.inf))
    return np.asarray(np.where(others, quotients, np.inf).min(axis=1))
