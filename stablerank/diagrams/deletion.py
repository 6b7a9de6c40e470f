"""How far a cloud moves in Hausdorff distance when any of its points are deleted (fact D6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stablerank.diagrams.clouds import Cloud, power_of_two_scale

_UNIT_ROUNDOFF = 2.0**-53
_SMALLEST = 1e-120  # of the largest coordinate: squares of what is shorter may underflow


def deletion_distances(cloud: Cloud, most: int) -> NDArray[np.float64]:
    """Upper bounds of the Hausdorff distance to the cloud without any k of its points.

    Parameters
    ----------
    cloud : ndarray of shape (n_points, d), float64
        Checked.
    most : int
        The largest k, below n_points.

    Returns
    -------
    ndarray of shape (most,), float64
        Entry ``k - 1`` is h_k, the largest distance from a point to its k-th nearest other point,
        rounded up. Non-decreasing, in the unit of the points.

    Raises
    ------
    ValueError
        If `most` is negative or not below the number of points.

    Notes
    -----
    D6. Let S be any k < n points of X (by place, so that equal points are several), and X′ the
    others. As X′ lies in X, d_H(X, X′) is the largest distance from a p in S to X′. Of the k points
    nearest to p, itself not counted, at most k − 1 are in S with it; so one of them is in X′, no
    farther than the k-th. With k − 1 in place of k this fails: the k − 1 nearest may all be
    deleted. Nothing is asked of k′ < k deletions, as h does not fall with k.

    Any k others bound the distance to the k-th nearest, so how the search tree rounds is of no
    matter. Their distances are off, in units of u = 2^-53 and to first order, by d/2 + 3 (a
    difference 1, a square 3, the sum d − 1 more, a root half of that and 1), for which 2 (d + 4)
    are charged.

    Examples
    --------
    Three points in a row. Of any one that is deleted, a neighbour survives within 2; of any two,
    another within 3, which is how far the last is from the first.

    >>> deletion_distances(np.array([[0.0], [1.0], [3.0]]), 2).round(12)
    array([2., 3.])
    """
    n, d = cloud.shape
    if not 0 <= most < n:
        raise ValueError(f"most={most!r}: expected a number from 0 to {n - 1}, of {n} points.")
    if most == 0:
        return np.empty(0)
    scale = power_of_two_scale(cloud)
    scaled = cloud * scale
    indices = cKDTree(scaled).query(scaled, k=most + 1)[1]
    own = indices == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True  # more equal points than were asked for
    others = indices[~own].reshape(n, most)
    squares = ((scaled[others] - scaled[:, None]) ** 2).sum(axis=2)
    distances = np.sqrt(squares.max(axis=0)) * (1 + 2 * (d + 4) * _UNIT_ROUNDOFF) / scale
    smallest = _SMALLEST * float(np.abs(cloud).max())
    return np.asarray(np.nextafter(np.maximum.accumulate(distances) + smallest, np.inf))
