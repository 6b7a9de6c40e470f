"""Distances between all pairs of stable ranks: interleaving, and L_q."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from stablerank.ranks.boxes import BATCH_BARS
from stablerank.ranks.jumps import check_jumps
from stablerank.ranks.stable_rank import check_exponent

Array = NDArray[np.float64]


def interleaving_distances(X: Any, Y: Any = None) -> Array:
    """The interleaving distance of every stable rank in X from every one in Y.

    The sup norm of the differences of jump points: see
    :meth:`~stablerank.ranks.StableRankFunction.interleaving_distance`.

    Parameters
    ----------
    X, Y : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them. Without
        `Y`, the distances within `X`.

    Returns
    -------
    ndarray of shape (n_X, n_Y), float64
        In the unit of the filtration.

    Raises
    ------
    ValueError, TypeError
        If a row is not the jump points of a stable rank; its index is named.

    Examples
    --------
    >>> interleaving_distances([[5, 3, 0], [4, 1, 1]])
    array([[0., 2.],
           [2., 0.]])
    """
    return cdist(*_of_one_width(X, Y), metric="chebyshev")


def lq_distances(X: Any, Y: Any = None, q: float = 1.0) -> Array:
    """``(∫ |f − g|^q dt)^{1/q}`` for every stable rank f in X and every g in Y.

    Parameters
    ----------
    X, Y : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them. Without
        `Y`, the distances within `X`.
    q : float, default=1.0
        Exponent, 1 <= q <= inf.

    Returns
    -------
    ndarray of shape (n_X, n_Y), float64
        For q < ∞ in the unit of the filtration to the power 1/q; for q = ∞ a number of bars.

    Raises
    ------
    ValueError, TypeError
        If q is below 1 or NaN, or a row is not the jump points of a stable rank; its index is
        named.

    Notes
    -----
    For q = 1 the area between two graphs is measured across: it is Σ_k |s_k − t_k| over the jump
    points. For other q the jump points of each pair are merged; all terms are >= 0, so there is no
    cancellation between ranks that nearly agree.

    Examples
    --------
    >>> lq_distances([[5, 3, 0], [4, 1, 1]], q=2)
    array([[0., 2.],
           [2., 0.]])
    """
    check_exponent(q, "q")
    if q == 1:
        return cdist(*_of_one_width(X, Y), metric="cityblock")

    def distance(widths: Array, f: Array, g: Array) -> Array:
        heights = np.abs(f - g) * (widths > 0)
        largest = heights.max(axis=1, initial=0.0)
        if q == math.inf:
            return largest
        shares = heights / np.where(largest > 0, largest, 1.0)[:, None]  # no power overflows
        return np.asarray(largest * np.einsum("ij,ij->i", shares**q, widths) ** (1 / q))

    return over_pairs(X, Y, distance)


def over_pairs(X: Any, Y: Any, value: Callable[[Array, Array, Array], Array]) -> Array:
    """A number for each pair of stable ranks, from the intervals on which both are constant.

    Parameters
    ----------
    X, Y : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        `Y` is None for the pairs within `X`, when `value` is taken to be symmetric.
    value : callable
        From arrays of shape (n_pairs, n_intervals), the widths of the intervals and the values of
        f and g there, to an array of shape (n_pairs,).

    Returns
    -------
    ndarray of shape (n_X, n_Y), float64
    """
    f = check_jumps(X)
    g = f if Y is None else check_jumps(Y, "Y")
    pairs = np.triu_indices(len(f)) if Y is None else np.divmod(np.arange(len(f) * len(g)), len(g))
    values = np.empty((len(f), len(g)))
    step = max(1, BATCH_BARS // max(1, f.shape[1] + g.shape[1]))
    for start in range(0, len(pairs[0]), step):
        i, j = (rows[start : start + step] for rows in pairs)
        values[i, j] = value(*_merged(f[i], g[j]))
        if Y is None:
            values[j, i] = values[i, j]
    return values


def _of_one_width(X: Any, Y: Any) -> tuple[Array, Array]:
    f = check_jumps(X)
    g = f if Y is None else check_jumps(Y, "Y")
    width = max(1, f.shape[1], g.shape[1])  # distances in no coordinates are no business of SciPy
    f, g = (np.pad(jumps, ((0, 0), (0, width - jumps.shape[1]))) for jumps in (f, g))
    return f, g


def _merged(f: Array, g: Array) -> tuple[Array, Array, Array]:
    """Widths of the intervals between jump points of either, and how many of each are not before.

    Intervals are in order, and end at a jump point each; those of width 0 are between equal ones.
    """
    ends = np.concatenate([f[:, ::-1], g[:, ::-1]], axis=1)
    order = np.argsort(ends, axis=1, kind="stable")  # which merges runs that are sorted
    ends = np.take_along_axis(ends, order, axis=1)
    of_f = order < f.shape[1]
    left, right = (
        np.cumsum(own[:, ::-1], axis=1)[:, ::-1].astype(np.float64) for own in (of_f, ~of_f)
    )
    return np.diff(ends, axis=1, prepend=0.0), left, right
