"""From what is known of an average over Gaussian noise to the distance at which it can tie.

Two worst cases: a function of which nothing is known jumps from 0 to 1 (Cohen, Rosenfeld, Kolter
2019); one that is Lipschitz rises from 0 to 1 as a ramp, and its average can fall only so fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

_ROUNDING = 2.0**-46  # of normal quantiles and distribution functions, relative to sigma
_SAFETY = 1 - 2.0**-40
_LEAST_SLOPE = 1e-9  # times sigma: flatter ramps would give radii that float64 cannot tell apart
_HALVINGS = 100


def label_radii(lower: ArrayLike, upper: ArrayLike, sigma: float) -> NDArray[np.float64]:
    """How far the most likely label keeps its lead, whatever the classifier is.

    Parameters
    ----------
    lower : array-like
        Lower bounds p_A of the probability of the first label under the noise.
    upper : array-like
        Upper bounds p_B of the probability of every other label.
    sigma : float
        The standard deviation of the noise of each coordinate.

    Returns
    -------
    ndarray of shape of `lower`
        ``σ/2 · (Φ⁻¹(p_A) − Φ⁻¹(p_B))``, rounded down; 0 where p_A <= p_B.

    Notes
    -----
    Theorem 1 of [1]_: Φ⁻¹ of an average over noise of any function with values in [0, 1] is
    1/σ-Lipschitz in ℓ2, one average falls by at most that, the other rises, and they meet halfway.

    References
    ----------
    .. [1] Cohen, Rosenfeld, Kolter (2019), "Certified adversarial robustness via randomized
       smoothing", ICML, arXiv:1902.02918.

    Examples
    --------
    >>> label_radii([0.9, 0.5], [0.1, 0.5], sigma=0.5).round(3)
    array([0.641, 0.   ])
    """
    quantiles = [special.ndtri(np.asarray(p, dtype=np.float64)) for p in (lower, upper)]
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is no radius
        radii = sigma / 2 * (quantiles[0] - quantiles[1])
        shrunk = (radii - sigma * _ROUNDING) * _SAFETY
    return np.where(np.isfinite(shrunk) & (shrunk > 0), shrunk, 0.0)


def score_radii(
    lower: ArrayLike, slope: ArrayLike, sigma: float, error: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """How far the average of a Lipschitz score stays above one half.

    Parameters
    ----------
    lower : array-like
        Lower bounds p of the average under the noise of a score with values in [0, 1].
    slope : array-like
        ℓ: scores at inputs that are r apart in ℓ2 differ by at most ℓ r.
    sigma : float
        The standard deviation of the noise of each coordinate.
    error : array-like, default=0.0
        By how much the averages of computed scores and of those that are Lipschitz differ at most,
        at every input within the radius.

    Returns
    -------
    ndarray of shape of `lower`
        The r with ``Q(r) = p``, rounded down, where ``Q(r) = E clip(½ + ℓ(r + σ Z), 0, 1)`` for a
        normal variable Z; with errors e, ``Q⁻¹(p − e) − Q⁻¹(½ + e)``. 0 where p − e <= ½ + e.

    Notes
    -----
    Let h be the score along a line through the input, in units of length, averaged over the noise
    in all other directions: it has values in [0, 1], slopes of at most ℓ, and mean p under N(0,
    σ²). Let w be the ramp clip(ℓ(x − a), 0, 1) with the same mean. Left of the ramp h − w >= 0,
    right of it h − w <= 0, and on it h − w does not rise, since w rises by ℓ: so h − w changes its
    sign once, at x₀ say, from + to −. Moving the input by −t multiplies the density by a factor
    g(x) that falls in x, so (h − w)(g − g(x₀)) >= 0 everywhere, and the mean of h − w under the
    moved density is at least g(x₀) times that under the old one, which is 0. So no score falls
    faster than the ramp's, whose mean is Q at the distance from where it is ½.

    For large ℓ, Q(r) is Φ(r/σ), the worst case without any constant. Since the slope of Q is at
    most ``ℓ erf(1/(2√2 ℓσ))``, the radius is never below that of the Lipschitz constant of the
    averaged score [1]_, and it is attained.

    References
    ----------
    .. [1] Delattre, Araujo, Barthélemy, Allauzen (2024), "The Lipschitz-variance-margin tradeoff
       for enhanced randomized smoothing", ICLR, arXiv:2309.16883.

    Examples
    --------
    With hardly any noise, a score of 0.7 falls to ½ within 0.2 by slopes of 1, within 0.1 by slopes
    of 2.

    >>> score_radii(0.7, [1.0, 2.0], sigma=1e-3).round(4)
    array([0.2, 0.1])

    Noise that is as wide as the ramp: it counts little more than a jump would, σ Φ⁻¹(0.7) = 0.524.

    >>> score_radii([0.7], 1.0, sigma=1.0).round(3)
    array([0.546])
    """
    p, e, slope = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (lower, error, slope))
    )
    steep = np.maximum(slope, _LEAST_SLOPE / sigma)
    low, _ = _inverse(p - e, steep, sigma)
    _, high = _inverse(0.5 + e, steep, sigma)
    ramp = low - high
    with np.errstate(invalid="ignore"):
        jump = sigma * (special.ndtri(p - e) - special.ndtri(0.5 + e)) - sigma * _ROUNDING
        radii = np.fmax(ramp, jump) * _SAFETY
        good = (p - e > 0.5 + e) & np.isfinite(radii) & (radii > 0)
    return np.where(good, radii, 0.0)


def _inverse(
    p: NDArray[np.float64], slope: NDArray[np.float64], sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances below and above Q⁻¹(p), for p >= ½; the other ones are NaN."""
    # what the difference of two numbers of the size of ℓσ rounds
    guard = (1.0 + slope * sigma) * _ROUNDING
    usable = (p >= 0.5) & (p + 2 * guard < 1)  # False for NaN
    safe, slope = np.where(usable, p, 0.5), np.where(usable, slope, 1.0)
    guard = np.where(usable, guard, 0.0)
    # the ramp is above the jump at its end
    top = 1 / (2 * slope) + sigma * (special.ndtri(safe + guard) + 1.0)
    ends = []
    for target in (safe - guard, safe + guard):
        low, high = np.full(p.shape, -sigma), top
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = _ramp_mean(middle, slope, sigma) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        ends.append((low, high))
    (lower, _), (_, upper) = ends
    return np.where(usable, lower, np.nan), np.where(usable, upper, np.nan)


def _ramp_mean(
    r: NDArray[np.float64], slope: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Q(r): E Y⁺ − E (Y − 1)⁺ of a normal variable Y of mean ½ + ℓr and deviation ℓσ."""
    mean, deviation = 0.5 + slope * r, slope * sigma
    return _positive_part(mean, deviation) - _positive_part(mean - 1.0, deviation)


def _positive_part(
    mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    u = mean / deviation
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(mean * special.ndtr(u) + deviation * density)
