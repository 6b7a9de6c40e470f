"""Stable ranks with few steps: the nearest ones in interleaving distance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.ranks.jumps import check_jumps

Array = NDArray[np.float64]


def simplify_ranks(X: Any, n_steps: int) -> tuple[Array, Array]:
    """The nearest stable ranks with at most `n_steps` steps, and how far they are.

    Parameters
    ----------
    X : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them.
    n_steps : int
        At how many different t > 0 a simplified rank may jump, by any number of bars.

    Returns
    -------
    jumps : ndarray of shape (n_ranks, n_jumps), float64
        Non-increasing rows, of at most `n_steps` different numbers above 0: each the jump points
        that a :class:`~stablerank.ranks.StableRankFunction` takes.
    errors : ndarray of shape (n_ranks,), float64
        The interleaving distance of each rank from its simplification, in the unit of the
        filtration: no rank of as few steps is nearer, but for rounding.

    Raises
    ------
    ValueError
        If `n_steps` is not an integer >= 1.
    ValueError, TypeError
        If a row is not the jump points of a stable rank; its index is named.

    Notes
    -----
    The interleaving distance is the sup norm on jump points, so t_0 >= t_1 >= … are to be replaced
    by few different numbers. Those that are replaced by one number may be taken to be neighbours,
    since a vector does not get farther from a sorted one when it is sorted; one number is best in
    the middle, at half the difference of the largest and the smallest; and 0, which is no jump, is
    free for what is at most ε. So ε suffices if and only if the greedy choice does: from the
    largest on, each number takes all that are less than 2ε away, until what is left is at most ε.
    The least ε is found among the float64 numbers by bisection; n log(2^63) steps, all ranks at a
    time.

    Two ranks at distance δ have simplifications at distance at most δ plus both errors, and no
    better: which jumps share a number can change at once.

    Examples
    --------
    Two steps for the jumps 9, 8, 5, 4, 1: {9, 8} and {5, 4} by their middles, and 1 is dropped.

    >>> simplify_ranks([[9, 8, 5, 4, 1]], n_steps=2)
    (array([[8.5, 8.5, 4.5, 4.5, 0. ]]), array([1.]))
    """
    whole = isinstance(n_steps, (int, np.integer)) and not isinstance(n_steps, bool)
    if not whole or n_steps < 1:
        raise ValueError(f"n_steps={n_steps!r}: expected an integer >= 1.")
    jumps = check_jumps(X)
    steps = min(int(n_steps), jumps.shape[1])
    padded = np.pad(jumps, ((0, 0), (0, 1)))
    # float64 numbers >= 0 are in the order of their bits
    low = np.zeros(len(jumps), dtype=np.int64)
    high = padded[:, 0].copy().view(np.int64)  # drops all
    while (low < high).any():
        middle = low + (high - low) // 2
        epsilon = middle.view(np.float64)
        left = _greedy(padded, epsilon, steps)[0]
        enough = left <= epsilon
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle + 1)
    _, simple = _greedy(padded, high.view(np.float64), steps)
    simple = simple[:, :-1]
    return simple, np.abs(jumps - simple).max(axis=1, initial=0.0)


def _greedy(padded: Array, epsilon: Array, n_steps: int) -> tuple[Array, Array]:
    """The largest jump that `n_steps` numbers leave over, and the jumps that they put in place."""
    rows, columns = np.arange(len(padded)), np.arange(padded.shape[1])
    first = np.zeros(len(padded), dtype=np.int64)
    simple = np.zeros_like(padded)
    for _ in range(n_steps):
        top = padded[rows, first]
        # halves of the differences: twice ε can overflow
        near = (top[:, None] - padded) / 2 <= epsilon[:, None]
        after = np.where(top > epsilon, near.sum(axis=1), first)  # rows are sorted
        bottom = padded[rows, np.maximum(after - 1, 0)]
        taken = (columns >= first[:, None]) & (columns < after[:, None])
        simple += np.where(taken, (top / 2 + bottom / 2)[:, None], 0.0)
        first = np.minimum(after, len(columns) - 1)
    return padded[rows, first], simple
