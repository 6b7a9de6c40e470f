"""Euclidean minimum spanning trees of many clouds, in any dimension: all that H0 has to say.

Components of a union of balls merge along the edges of a minimum spanning tree, at half their
length for alpha and Čech, at their length for Rips (fact D3). No triangulation is needed for that,
and no matrix of distances: Prim's algorithm asks for each distance once and forgets it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.clouds import check_flat_clouds
from stablerank.diagrams.planar.compiling import digest_of_sources, inner, outer
from stablerank.diagrams.planar.sorting import sort_pairs

_BLOCK = 256  # points whose distances are in work at once: they stay in the nearest cache


@dataclass(frozen=True)
class SpanningTrees:
    """A minimum spanning tree of each cloud of a batch.

    The edges of cloud i are the rows ``offsets[i]:offsets[i + 1]``. Vertices are numbered as the
    points of their cloud, from 0; of equal points any one stands for all.

    Attributes
    ----------
    lengths : ndarray of shape (n_edges,), float64
        Positive, non-decreasing within a cloud, in the unit of the points.
    offsets : ndarray of shape (n_clouds + 1,), int64
    edges : ndarray of shape (n_edges, 2), int64
        The two points that each edge joins, ascending in each row.
    """

    lengths: NDArray[np.float64]
    offsets: NDArray[np.int64]
    edges: NDArray[np.int64]


def spanning_trees(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> SpanningTrees:
    """Compute a Euclidean minimum spanning tree of each cloud of a batch.

    O(n² d) time and O(n d) memory for a cloud of n points. Runs without the GIL on one core; call
    it from several threads for more.

    Parameters
    ----------
    points : ndarray of shape (n_points, d), float64
        All clouds, one after the other. Equal points give no edges.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``; it may be empty.

    Returns
    -------
    SpanningTrees
        The k-th longest edge is within a relative (d/2 + 2) 2^-53, to first order, of the one in
        exact arithmetic, down to 1e-140 times the largest coordinate of its cloud and to the
        subnormal numbers. Edges whose length rounds to zero are dropped.

    Raises
    ------
    ValueError
        If a coordinate is NaN or infinite, or a shape or the offsets do not fit.

    Notes
    -----
    A square of a difference is off by 3 roundings, the sum of d of them by d - 1 more, a root
    halves that and adds its own. The tree is the exact one of the computed distances, and the k-th
    longest edge of a minimum spanning tree is monotone in the distances and scales with them: if
    each is within a factor of the true one, so is each sorted edge. Clouds are scaled by a power
    of two such that no square overflows. Both the tree and its bits are those of the cloud alone.

    References
    ----------
    .. [1] Prim (1957), "Shortest connection networks and some generalizations", Bell System
       Technical Journal 36.

    Examples
    --------
    Three sides of a rectangle of 3 by 4 join its corners.

    >>> corners = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    >>> trees = spanning_trees(corners, np.array([0, 4]))
    >>> trees.lengths
    array([3., 3., 4.])
    """
    points, offsets = check_flat_clouds(points, offsets)
    lengths = np.empty(len(points))
    edges = np.empty((len(points), 2), dtype=np.int64)
    ends = np.zeros(len(offsets), dtype=np.int64)
    _kernel(points, offsets, lengths, ends, edges)
    return SpanningTrees(lengths[: ends[-1]].copy(), ends, edges[: ends[-1]].copy())


def _build_kernel(digest: str) -> Any:
    """Compile the loop over the clouds, or load it from numba's cache (see `digest_of_sources`)."""

    def kernel(
        points: NDArray[np.float64],
        offsets: NDArray[np.int64],
        lengths: NDArray[np.float64],
        ends: NDArray[np.int64],
        edges: NDArray[np.int64],
    ) -> None:
        _ = digest
        room = 0
        for i in range(offsets.size - 1):
            room = max(room, offsets[i + 1] - offsets[i])
        axes = np.empty((points.shape[1], room))
        nearest, sources = np.empty(room), np.empty(room, np.uint32)
        index = np.empty(room, np.uint32)
        heads, tails = np.empty(room, np.uint32), np.empty(room, np.uint32)
        keys, tags = np.empty(room), np.empty(room, np.uint32)
        sorted_keys, sorted_tags = np.empty(room), np.empty(room, np.uint32)
        slots, counts = np.empty(room, np.uint32), np.empty(2 * room, np.uint32)
        squares = np.empty(_BLOCK)
        written = 0
        for i in range(offsets.size - 1):
            start, stop = offsets[i], offsets[i + 1]
            if stop - start > 1:
                exponent = _scale(points, start, stop, axes)
                n_edges = _prim(
                    axes, stop - start, nearest, sources, index, keys, heads, tails, squares
                )
                for j in range(n_edges):
                    tags[j] = j
                sort_pairs(keys, tags, n_edges, sorted_keys, sorted_tags, slots, counts, True)
                for j in range(n_edges):
                    length = math.ldexp(math.sqrt(sorted_keys[j]), -exponent)
                    if length > 0.0:
                        edge = np.int64(sorted_tags[j])
                        u, v = np.int64(heads[edge]), np.int64(tails[edge])
                        lengths[written] = length
                        edges[written, 0], edges[written, 1] = min(u, v), max(u, v)
                        written += 1
            ends[i + 1] = written

    return outer(kernel)


@inner()
def _scale(points: NDArray[np.float64], start: int, stop: int, axes: NDArray[np.float64]) -> int:
    """Write a cloud, an axis a row, times ``2**exponent``: its largest coordinate is in [½, 1)."""
    largest = 0.0
    for i in range(start, stop):
        for k in range(points.shape[1]):
            largest = max(largest, abs(points[i, k]))
    # 2^1023 is the largest power of two: subnormal clouds are lifted as far as it goes.
    exponent = 0 if largest == 0.0 else min(-math.frexp(largest)[1], 1023)
    factor = math.ldexp(1.0, exponent)
    for i in range(start, stop):
        for k in range(points.shape[1]):
            axes[k, i - start] = points[i, k] * factor
    return exponent


@inner()
def _prim(
    axes: NDArray[np.float64],
    n: int,
    nearest: NDArray[np.float64],
    sources: NDArray[np.uint32],
    index: NDArray[np.uint32],
    keys: NDArray[np.float64],
    heads: NDArray[np.uint32],
    tails: NDArray[np.uint32],
    squares: NDArray[np.float64],
) -> int:
    """Grow a tree by the nearest point, n - 1 times; the number of edges that are not zero.

    Edge j has the squared length ``keys[j]`` and joins ``heads[j]`` to ``tails[j]``. The points
    outside the tree stay together at the front of `axes`, which is permuted; ``index`` says who
    they are, ``nearest`` and ``sources`` how far from the tree and from which of its points.
    """
    for i in range(n):
        index[i], nearest[i], sources[i] = i, np.inf, 0
    n_edges = 0
    for outside in range(n - 1, 0, -1):
        newest = index[outside]
        best, block = np.inf, 0
        for first in range(0, outside, _BLOCK):
            last = min(first + _BLOCK, outside)
            block_squares = squares[: last - first]
            block_squares[:] = 0.0
            for k in range(axes.shape[0]):
                _add_squares(axes[k, first:last], axes[k, outside], block_squares)
            lowest = _relax(block_squares, newest, nearest[first:last], sources[first:last])
            if lowest < best:
                best, block = lowest, first
        place = block
        while nearest[place] != best:
            place += 1
        keys[n_edges], heads[n_edges], tails[n_edges] = best, index[place], sources[place]
        n_edges += best > 0.0
        last = outside - 1
        for k in range(axes.shape[0]):
            axes[k, place], axes[k, last] = axes[k, last], axes[k, place]
        index[place], index[last] = index[last], index[place]
        nearest[place], sources[place] = nearest[last], sources[last]
    return n_edges


# The compiler takes four numbers at a time in these loops, because slices have no index below zero,
# everything is loaded before anything is selected, and non-negative floats are compared by their
# bits, as whole numbers. No sum is regrouped: results do not depend on the processor.
@inner()
def _add_squares(axis: NDArray[np.float64], x: float, squares: NDArray[np.float64]) -> None:
    for i in range(axis.size):
        difference = axis[i] - x
        squares[i] += difference * difference


@inner()
def _relax(
    squares: NDArray[np.float64],
    newest: int,
    nearest: NDArray[np.float64],
    sources: NDArray[np.uint32],
) -> float:
    """Let points nearer to the newest one than to the rest of the tree know; the least square."""
    for i in range(squares.size):
        square, before, source = squares[i], nearest[i], sources[i]
        nearest[i] = square if square < before else before
        sources[i] = newest if square < before else source
    bits = nearest.view(np.int64)
    lowest = bits[0]
    place = 0
    for i in range(bits.size):
        lowest = min(lowest, bits[i])
    while bits[place] != lowest:
        place += 1
    return nearest[place]


_kernel = _build_kernel(digest_of_sources())
