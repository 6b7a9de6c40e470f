"""Sums over the nearest points of a cloud, from every vertex of a grid: the work of fact D5.

What a caller may rely on, bit for bit: a sum depends on the points alone, not on their order or on
other clouds; and it is monotone, so that a cloud whose sorted computed distances are all at least
as large as another's has sums at least as large. Bounds of such sums need no rounding for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def nearest_sums(
    clouds: list[NDArray[np.float64]],
    vertices: NDArray[np.float64],
    windows: NDArray[np.int64],
    *,
    periods: NDArray[np.float64] | None = None,
    squared: bool = True,
    beyond: float = np.inf,
) -> NDArray[np.float64]:
    """Sum the distances, or their squares, of the points that a window of ranks selects.

    With d(1) <= d(2) <= ... the distances from a vertex to all points of a cloud, the window
    (a, b) gives d(a + 1) + ... + d(b), added in this order.

    Parameters
    ----------
    clouds : list of ndarray of shape (n_points, d), float64
        Finite, and of a size whose squares neither overflow nor underflow.
    vertices : ndarray of shape (n_vertices, d), float64
        Where distances are measured from. Neighbours in this order should be near each other:
        what was nearest to one tells where to look from the next.
    windows : ndarray of shape (n_clouds, n_windows, 2), int64
        For each cloud the pairs (a, b), ``0 <= a <= b``.
    periods : ndarray of shape (d,), float64, optional
        Distances are then those of the flat torus of these sides; points and vertices must have
        coordinates between 0 and the period.
    squared : bool, default=True
        Sum squares of distances, rather than distances.
    beyond : float, default=inf
        The summand, a distance or a square, at ranks that a cloud has not; larger than all others.

    Returns
    -------
    ndarray of shape (n_clouds, n_windows, n_vertices), float64

    Notes
    -----
    In units of u = 2^-53 and to first order: a difference is off by 1, a square by 3, the sum of d
    of them by d + 2, a distance by d / 2 + 2, and the sum of m summands by m - 1 more. On the torus
    a difference is off by 2 u times the period instead.

    Examples
    --------
    >>> cloud = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    >>> nearest_sums([cloud], np.zeros((1, 2)), np.array([[[0, 1], [0, 2], [1, 3]]]))[0, :, 0]
    array([  1.,  26., 125.])
    """
    points = np.ascontiguousarray(np.concatenate(clouds).T)
    offsets = np.cumsum([0, *map(len, clouds)], dtype=np.int64)
    sums = np.empty((len(clouds), windows.shape[1], len(vertices)))
    if periods is None:
        periods = np.full(len(points), np.inf)  # the way around is never the shorter one
    _sums_kernel(points, offsets, vertices, periods, windows, squared, beyond, sums)
    return sums


def nearest_points(
    clouds: list[NDArray[np.float64]],
    owners: NDArray[np.int64],
    vertices: NDArray[np.float64],
    k: int,
    *,
    periods: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Which points are the k nearest to a vertex: those whose distances are summed.

    Parameters
    ----------
    clouds, periods
        As in :func:`nearest_sums`.
    owners : ndarray of shape (n_vertices,), int64
        For each vertex the cloud in which to look; it has at least k points.
    vertices : ndarray of shape (n_vertices, d), float64
        Best in an order in which neighbours have the same owner and are near each other.
    k : int
        How many, 1 or more.

    Returns
    -------
    ndarray of shape (n_vertices, k), int64
        Rows of all clouds' points, one cloud after the other; in no particular order. Of points
        that are equally far, any.

    Examples
    --------
    >>> cloud = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    >>> nearest_points([cloud, cloud], np.array([0, 1]), np.zeros((2, 2)), 2)
    array([[1, 0],
           [4, 3]])
    """
    points = np.ascontiguousarray(np.concatenate(clouds).T)
    offsets = np.cumsum([0, *map(len, clouds)], dtype=np.int64)
    if periods is None:
        periods = np.full(len(points), np.inf)
    found = np.empty((len(vertices), k), dtype=np.int64)
    _points_kernel(points, offsets, owners, vertices, periods, found)
    return found


def _build_kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    def sums_kernel(
        points: NDArray[np.float64],
        offsets: NDArray[np.int64],
        vertices: NDArray[np.float64],
        periods: NDArray[np.float64],
        windows: NDArray[np.int64],
        squared: bool,
        beyond: float,
        sums: NDArray[np.float64],
    ) -> None:
        d, n_vertices = len(points), len(vertices)
        for i in range(len(sums)):
            start, n = offsets[i], offsets[i + 1] - offsets[i]
            depth = min(n, windows[i, :, 1].max())
            squares, near = np.empty(n), np.empty(n)
            limit = np.inf  # no less than the square of the distance to the depth-th nearest
            for v in range(n_vertices):
                squares[:] = 0.0
                step = 0.0
                for axis in range(d):
                    x, period = vertices[v, axis], periods[axis]
                    coordinates = points[axis, start : start + n]
                    for j in range(n):
                        t = abs(coordinates[j] - x)
                        t = min(t, period - t)
                        squares[j] += t * t
                    if v > 0:
                        step += (x - vertices[v - 1, axis]) ** 2
                # The point that was depth-th nearest to the last vertex is at most a step further.
                limit = (np.sqrt(limit) + np.sqrt(step)) ** 2 * (1 + 1e-9)
                n_near = 0
                for j in range(n):
                    near[n_near] = squares[j]
                    n_near += squares[j] <= limit
                if n_near < depth:
                    near[:] = squares
                    n_near = n
                _select(near, n_near, depth)
                nearest = near[:depth]
                nearest.sort()
                limit = nearest[depth - 1] if depth > 0 else 0.0
                if not squared:
                    nearest[:] = np.sqrt(nearest)
                for w in range(windows.shape[1]):
                    total = 0.0
                    for rank in range(windows[i, w, 0], windows[i, w, 1]):
                        total += nearest[rank] if rank < depth else beyond
                    sums[i, w, v] = total

    def points_kernel(
        points: NDArray[np.float64],
        offsets: NDArray[np.int64],
        owners: NDArray[np.int64],
        vertices: NDArray[np.float64],
        periods: NDArray[np.float64],
        found: NDArray[np.int64],
    ) -> None:
        k, room = found.shape[1], points.shape[1]
        all_squares, near, rows = np.empty(room), np.empty(room), np.empty(room, np.int64)
        chosen = np.empty(room)
        limit = np.inf  # as above, where the last vertex was one of the same cloud
        for v in range(len(vertices)):
            start, n = offsets[owners[v]], offsets[owners[v] + 1] - offsets[owners[v]]
            squares = all_squares[:n]
            squares[:] = 0.0
            step = np.inf if v == 0 or owners[v] != owners[v - 1] else 0.0
            for axis in range(len(points)):
                x, period = vertices[v, axis], periods[axis]
                coordinates = points[axis, start : start + n]
                for j in range(n):
                    t = abs(coordinates[j] - x)
                    t = min(t, period - t)
                    squares[j] += t * t
                if v > 0:
                    step += (x - vertices[v - 1, axis]) ** 2
            limit = (np.sqrt(limit) + np.sqrt(step)) ** 2 * (1 + 1e-9)
            n_near = 0
            for j in range(n):
                near[n_near], rows[n_near] = squares[j], j
                n_near += squares[j] <= limit
            if n_near < k:
                near[:n], rows[:n] = squares, np.arange(n)
                n_near = n
            chosen[:n_near] = near[:n_near]
            _select(chosen, n_near, k)
            limit = chosen[:k].max()
            n_found = 0
            for equal in (False, True):
                for j in range(n_near):
                    takes = near[j] == limit if equal else near[j] < limit
                    if takes and n_found < k:
                        found[v, n_found] = start + rows[j]
                        n_found += 1

    try:
        compiled = njit(cache=True, nogil=True)
        return compiled(sums_kernel), compiled(points_kernel)
    except RuntimeError:  # numba found no folder to write to: compile in every process
        return njit(nogil=True)(sums_kernel), njit(nogil=True)(points_kernel)


@njit(nogil=True)
def _select(values: NDArray[np.float64], n: int, k: int) -> None:
    """Reorder the first n values so that the k smallest of them stand first (Hoare's find)."""
    low, high = 0, n - 1
    while low < high:
        first, middle, last = values[low], values[(low + high) >> 1], values[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


_sums_kernel: Any
_points_kernel: Any
_sums_kernel, _points_kernel = _build_kernels()
