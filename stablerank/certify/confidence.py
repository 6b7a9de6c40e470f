"""What a sample says of a probability or a mean, and with which probability it is wrong.

Every bound errs to the safe side: what is called lower is not above the exact bound, and what is
called upper not below it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

_SAFETY = 2.0**-30  # of probabilities from incomplete beta functions, which hold some 14 digits


def binomial_lower(successes: ArrayLike, n: int, alpha: float) -> NDArray[np.float64]:
    """The exact lower confidence bound of Clopper and Pearson for a probability.

    Parameters
    ----------
    successes : array-like of int, of any shape
        From 0 to n.
    n : int
        Independent trials.
    alpha : float
        How often, at most, the probability is below the bound.

    Returns
    -------
    ndarray of the shape of `successes`
        The p with P(Bin(n, p) >= k) = alpha, rounded down; 0 for k = 0.

    Notes
    -----
    It is the alpha-quantile of the beta distribution with parameters k and n − k + 1 [1]_.

    References
    ----------
    .. [1] Clopper, Pearson (1934), "The use of confidence or fiducial limits illustrated in the
       case of the binomial", Biometrika 26.

    Examples
    --------
    Ten successes of ten: p¹⁰ = 0.05.

    >>> binomial_lower([0, 10], 10, 0.05).round(4)
    array([0.    , 0.7411])
    """
    k = np.asarray(successes, dtype=np.float64)
    quantile = special.betaincinv(np.maximum(k, 1.0), n - k + 1.0, alpha)
    return np.where(k > 0, quantile * (1 - _SAFETY), 0.0)


def binomial_upper(successes: ArrayLike, n: int, alpha: float) -> NDArray[np.float64]:
    """The exact upper confidence bound of Clopper and Pearson for a probability.

    Parameters
    ----------
    successes, n, alpha
        As in :func:`binomial_lower`.

    Returns
    -------
    ndarray of the shape of `successes`
        The p with P(Bin(n, p) <= k) = alpha, rounded up; 1 for k = n.

    Examples
    --------
    No success of ten: (1 − p)¹⁰ = 0.05.

    >>> binomial_upper([0, 10], 10, 0.05).round(4)
    array([0.2589, 1.    ])
    """
    k = np.asarray(successes, dtype=np.float64)
    return np.asarray(1.0 - binomial_lower(n - k, n, alpha))


def majority_pvalue(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """The two-sided binomial test that two outcomes are equally likely.

    Parameters
    ----------
    first, second : array-like of int, of the same shape
        How often each of them came, the larger number first.

    Returns
    -------
    ndarray
        ``P(|Bin(m, ½) − m/2| >= first − m/2)`` with m = first + second, rounded up; 1 in a tie.

    Examples
    --------
    >>> majority_pvalue([10, 5], [0, 5]).round(6)
    array([0.001953, 1.      ])
    """
    k, m = np.asarray(first), np.asarray(first) + np.asarray(second)
    # P(Bin(m, ½) >= k), the incomplete beta function at ½
    tail = special.betainc(np.maximum(k, 1.0), m - k + 1.0, 0.5)
    return np.where(k > 0, np.minimum(2 * tail * (1 + _SAFETY), 1.0), 1.0)


def mean_lower(
    mean: ArrayLike, variance: ArrayLike, n: int, alpha: ArrayLike
) -> NDArray[np.float64]:
    """The empirical Bernstein bound for the mean of numbers between 0 and 1.

    Parameters
    ----------
    mean, variance : array-like of the same shape
        Of independent numbers in [0, 1] of one distribution; the variance with n − 1.
    n : int
        How many they are, at least 2.
    alpha : float
        How often, at most, the mean is below the bound.

    Returns
    -------
    ndarray
        ``mean − sqrt(2 v ln(2/α)/n) − 7 ln(2/α)/(3(n − 1))``; may be negative.

    Notes
    -----
    Theorem 4 of [1]_ for the numbers 1 − z. It has no free parameter, so nothing is searched over.
    What summing n numbers rounds is charged.

    References
    ----------
    .. [1] Maurer, Pontil (2009), "Empirical Bernstein bounds and sample variance penalization",
       COLT, arXiv:0907.3740.

    Examples
    --------
    Less variance, less doubt.

    >>> mean_lower([0.9, 0.9], [0.01, 0.0], 1000, 0.001).round(4)
    array([0.8699, 0.8822])
    """
    log = np.log(2.0 / np.asarray(alpha, dtype=np.float64))
    mean, variance = np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    rounding = 4.0 * n * 2.0**-53
    shift = np.sqrt(2 * (variance + rounding) * log / n) + 7 * log / (3 * (n - 1))
    return np.asarray(mean - (shift + rounding) * (1 + _SAFETY))
