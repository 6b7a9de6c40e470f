"""Many stable ranks as one array of their jump points: what distances, means and kernels take."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.ranks.boxes import blocks, padded_bars
from stablerank.ranks.contours import Contour, check_contour
from stablerank.ranks.function import StableRankFunction
from stablerank.ranks.stable_rank import check_exponent, stable_ranks


def rank_jumps(
    diagrams: Any,
    dimension: int,
    p: float = math.inf,
    contour: Contour | Literal["standard"] = "standard",
) -> NDArray[np.float64]:
    """All jump points of the Wasserstein stable ranks of many diagrams.

    Parameters
    ----------
    diagrams : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
        The persistence diagrams.
    dimension : int
        Homology dimension.
    p : float, default=inf
        Exponent, 1 <= p <= inf.
    contour : "standard" or Contour, default="standard"
        How the length of a bar is measured.

    Returns
    -------
    ndarray of shape (n_diagrams, n_jumps), float64
        Row i has the jump points of diagram i, non-increasing, padded with zeros to the number of
        bars of the largest diagram. :class:`~stablerank.ranks.StableRank` gives the first few of
        them in each homology dimension.

    Raises
    ------
    ValueError
        For bad diagrams, parameters, and a homology dimension that is not there.

    Examples
    --------
    >>> rank_jumps([{1: [[0, 3], [1, 5]]}, {1: [[0, 1]]}], dimension=1, p=2)
    array([[5., 3.],
           [1., 0.]])
    """
    check_exponent(p)
    measure = check_contour(contour)
    batch = check_diagrams(diagrams, "diagrams")
    jumps = np.zeros((len(batch), int(batch.n_bars(dimension).max(initial=0))))
    for rows in blocks(batch, dimension):
        lengths = measure.lengths(*padded_bars(batch, dimension, rows))
        own = stable_ranks(lengths, p, lengths.shape[1]).numpy()
        jumps[rows, : own.shape[1]] = own
    return jumps


def check_jumps(X: Any, name: str = "X") -> NDArray[np.float64]:
    """The door for many stable ranks: functions, or rows of jump points.

    Parameters
    ----------
    X : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        At least one. In an array each row is non-increasing and padded with zeros, as
        :func:`rank_jumps` gives it, and :class:`~stablerank.ranks.StableRank` for one homology
        dimension.
    name : str, default="X"
        The argument's name, for messages.

    Returns
    -------
    ndarray of shape (n_ranks, n_jumps), float64

    Raises
    ------
    TypeError
        For diagrams, or numbers that are not real.
    ValueError
        If there is no rank, or a row is not the jump points of one; its index is named.

    Examples
    --------
    >>> check_jumps([StableRankFunction([5, 3]), StableRankFunction([1])])
    array([[5., 3.],
           [1., 0.]])
    """
    if isinstance(X, DiagramBatch):
        raise TypeError(
            f"{name} is a DiagramBatch: expected stable ranks. Take those of one homology "
            f"dimension first, by rank_jumps({name}, dimension)."
        )
    if len(X) == 0:
        raise ValueError(f"{name} is empty: expected at least one stable rank.")
    if all(isinstance(rank, StableRankFunction) for rank in X):
        jumps = np.zeros((len(X), max(len(rank.jumps) for rank in X)))
        for row, rank in zip(jumps, X, strict=True):
            row[: len(rank.jumps)] = rank.jumps
        return jumps
    try:
        array = np.asarray(X)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise TypeError(
            f"{name} is neither a sequence of StableRankFunction nor an array of real numbers of "
            f"shape (n_ranks, n_jumps)."
        )
    jumps = array.astype(np.float64)
    sound = np.isfinite(jumps).all(axis=1) & (jumps >= 0).all(axis=1)
    # no differences: those of infinite numbers warn
    sound &= (jumps[:, 1:] <= jumps[:, :-1]).all(axis=1)
    bad = np.flatnonzero(~sound)
    if bad.size:
        raise ValueError(
            f"{name}[{bad[0]}] is {jumps[bad[0]].tolist()}: expected the jump points of a stable "
            f"rank, finite numbers >= 0 that do not increase. Vectors of several homology "
            f"dimensions hold several ranks: take the columns of one."
        )
    return jumps
