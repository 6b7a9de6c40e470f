"""Alpha persistence of many planar clouds in one call: the public entry of the kernel.

What a caller may rely on: radii, never squared; each cloud's bars are the same bits alone or in any
batch, in any thread; a cloud for which the kernel cannot vouch is reported, not guessed.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.clouds import check_flat_clouds
from stablerank.diagrams.planar.compiling import digest_of_sources, inner, outer
from stablerank.diagrams.planar.delaunay import OVER_BUDGET, scaling_exponent, sort_points, sweep
from stablerank.diagrams.planar.persistence import NO_TREE, gabriel_edges, persistence
from stablerank.diagrams.planar.sorting import sort_pairs


@dataclass(frozen=True)
class PlanarAlphaBatch:
    """Diagrams of a batch of planar clouds with the simplices that begin and end each bar.

    The bars of cloud i are the rows ``h0_offsets[i]:h0_offsets[i + 1]`` of the ``h0_`` arrays and
    likewise of the ``h1_`` arrays. Vertices are numbered as the points of their cloud, from 0, in
    the order of the input (of equal points the first one stands for all), ascending in each row.

    Attributes
    ----------
    h0_deaths : ndarray of shape (n_bars_0,), float64
        Radii, positive; births are 0. Non-decreasing within a cloud. The infinite bar is not here.
    h0_offsets : ndarray of shape (n_clouds + 1,), int64
    h0_edges : ndarray of shape (n_bars_0, 2), int64
        The edge that ends the bar, at half its length. Together they are a minimum spanning tree.
    h1_births, h1_deaths : ndarray of shape (n_bars_1,), float64
        Radii, ``0 < births < deaths``. Births are non-increasing within a cloud.
    h1_offsets : ndarray of shape (n_clouds + 1,), int64
    h1_edges : ndarray of shape (n_bars_1, 2), int64
        The edge that begins the bar, at half its length.
    h1_triangles : ndarray of shape (n_bars_1, 3), int64
        The triangle that ends the bar, at its circumradius; acute or right.
    gave_up : ndarray of shape (n_clouds,), bool
        True where the kernel has no answer and wrote no bars: its sweep was too slow along both
        axes, or the coordinates span more orders of magnitude than exact signs can (about 120).
    """

    h0_deaths: NDArray[np.float64]
    h0_offsets: NDArray[np.int64]
    h0_edges: NDArray[np.int64]
    h1_births: NDArray[np.float64]
    h1_deaths: NDArray[np.float64]
    h1_offsets: NDArray[np.int64]
    h1_edges: NDArray[np.int64]
    h1_triangles: NDArray[np.int64]
    gave_up: NDArray[np.bool_]


def planar_alpha(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> PlanarAlphaBatch:
    """Compute H0 and H1 of the alpha filtration (radii) of each cloud of a batch.

    Runs without the GIL on one core; call it from several threads for more.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2), float64
        All clouds, one after the other. Duplicate points are allowed and give no bars.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``; it may be empty.

    Returns
    -------
    PlanarAlphaBatch
        Values within about 1e-15, relatively, of those in exact arithmetic. Bars of length zero
        are dropped, and bars of H1 with death^2 <= birth^2 (1 + 1.8e-15): rounding noise of points
        on one circle. Clouds with ``gave_up`` have no bars and need another method.

    Raises
    ------
    ValueError
        If a coordinate is NaN or infinite, or a shape or the offsets do not fit.

    Examples
    --------
    A rectangle of 3 by 4: three edges join the corners, the fourth closes a cycle, and the
    triangles of hypotenuse 5 fill it.

    >>> corners = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    >>> bars = planar_alpha(corners, np.array([0, 4]))
    >>> bars.h0_deaths
    array([1.5, 1.5, 2. ])
    >>> bars.h1_births, bars.h1_deaths
    (array([2.]), array([2.5]))
    """
    points, offsets = _check_batch(points, offsets)
    n_points, n_clouds = len(points), len(offsets) - 1
    # A cloud of n points has at most n - 1 bars in H0 and, by Euler's formula, 2n - 5 in H1. Pages
    # that are never written cost nothing.
    h0_deaths = np.empty(n_points)
    h0_edges = np.empty((n_points, 2), dtype=np.int64)
    h1_births = np.empty(2 * n_points)
    h1_deaths = np.empty(2 * n_points)
    h1_edges = np.empty((2 * n_points, 2), dtype=np.int64)
    h1_triangles = np.empty((2 * n_points, 3), dtype=np.int64)
    h0_offsets = np.zeros(n_clouds + 1, dtype=np.int64)
    h1_offsets = np.zeros(n_clouds + 1, dtype=np.int64)
    gave_up = np.zeros(n_clouds, dtype=np.bool_)
    _kernel(
        points,
        offsets,
        h0_deaths,
        h0_offsets,
        h0_edges,
        h1_births,
        h1_deaths,
        h1_offsets,
        h1_edges,
        h1_triangles,
        gave_up,
    )
    n_bars_0, n_bars_1 = h0_offsets[-1], h1_offsets[-1]
    return PlanarAlphaBatch(
        h0_deaths[:n_bars_0].copy(),
        h0_offsets,
        h0_edges[:n_bars_0].copy(),
        h1_births[:n_bars_1].copy(),
        h1_deaths[:n_bars_1].copy(),
        h1_offsets,
        h1_edges[:n_bars_1].copy(),
        h1_triangles[:n_bars_1].copy(),
        gave_up,
    )


def _check_batch(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Refuse what compiled code, which checks no bounds, must not see."""
    points = np.ascontiguousarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"points has shape {points.shape}: expected (n_points, 2). This kernel is for the "
            f"plane only; use another alpha complex in other dimensions."
        )
    return check_flat_clouds(points, offsets)


def _build_kernel(digest: str) -> Any:
    """Compile the loop over the clouds, or load it from numba's cache.

    `digest` is in the closure for the sake of that cache (see `digest_of_sources`).
    """

    def kernel(
        points: NDArray[np.float64],
        offsets: NDArray[np.int64],
        h0_deaths: NDArray[np.float64],
        h0_offsets: NDArray[np.int64],
        h0_edges: NDArray[np.int64],
        h1_births: NDArray[np.float64],
        h1_deaths: NDArray[np.float64],
        h1_offsets: NDArray[np.int64],
        h1_edges: NDArray[np.int64],
        h1_triangles: NDArray[np.int64],
        gave_up: NDArray[np.bool_],
    ) -> None:
        _ = digest
        n_clouds = offsets.size - 1
        room = 0
        for i in range(n_clouds):
            room = max(room, offsets[i + 1] - offsets[i])
        xs, ys, index = np.empty(room), np.empty(room), np.empty(room, np.uint32)
        mesh = np.empty(16 * room, np.uint32)
        after, before = np.empty(room, np.uint32), np.empty(room, np.uint32)
        hull = np.empty(room, np.uint32)
        radii2, faces = np.empty(2 * room + 1), np.empty(2 * room + 1, np.uint32)
        keys, tags = np.empty(3 * room), np.empty(3 * room, np.uint32)
        sorted_keys, sorted_tags = np.empty(3 * room), np.empty(3 * room, np.uint32)
        slots, counts = np.empty(3 * room, np.uint32), np.empty(6 * room, np.uint32)
        m0, m1 = 0, 0
        for i in range(n_clouds):
            start, stop = offsets[i], offsets[i + 1]
            h0_offsets[i + 1], h1_offsets[i + 1] = m0, m1
            if start == stop:
                continue
            gave_up[i] = True
            exponent, possible = scaling_exponent(points, start, stop)
            if not possible:
                continue
            for axis in range(2):
                n = sort_points(
                    points, start, stop, axis, exponent, xs, ys, index, keys, tags, slots, counts
                )
                n_triangles = sweep(xs, ys, n, mesh, after, before, hull)
                if n_triangles == OVER_BUDGET:
                    continue  # along the other axis the order may be a better one
                n_edges = gabriel_edges(xs, ys, n, n_triangles, mesh, radii2, faces, keys, tags)
                sort_pairs(keys, tags, n_edges, sorted_keys, sorted_tags, slots, counts, True)
                n_bars = persistence(
                    n,
                    index,
                    n_triangles,
                    mesh,
                    radii2,
                    faces,
                    after,
                    sorted_keys,
                    sorted_tags,
                    n_edges,
                    keys,
                    tags,
                    h0_deaths[m0:],
                    h0_edges[m0:],
                    h1_births[m1:],
                    h1_deaths[m1:],
                    h1_edges[m1:],
                    h1_triangles[m1:],
                )
                if n_bars == NO_TREE:
                    break
                gave_up[i] = False
                stop0, stop1 = m0 + n - 1, m1 + n_bars
                if exponent != 0:
                    stop0 = _unscale_h0(h0_deaths, h0_edges, m0, stop0, exponent)
                    stop1 = _unscale_h1(
                        h1_births, h1_deaths, h1_edges, h1_triangles, m1, stop1, exponent
                    )
                m0, m1 = stop0, stop1
                h0_offsets[i + 1], h1_offsets[i + 1] = m0, m1
                break

    return outer(kernel)


@inner()
def _unscale_h0(
    deaths: NDArray[np.float64],
    edges: NDArray[np.int64],
    start: int,
    stop: int,
    exponent: int,
) -> int:
    """Undo the scaling in place; drop what rounds to zero (below 5e-324). The new end."""
    kept = start
    for i in range(start, stop):
        death = math.ldexp(deaths[i], -exponent)
        if death > 0.0:
            deaths[kept] = death
            edges[kept] = edges[i]
            kept += 1
    return kept


@inner()
def _unscale_h1(
    births: NDArray[np.float64],
    deaths: NDArray[np.float64],
    edges: NDArray[np.int64],
    triangles: NDArray[np.int64],
    start: int,
    stop: int,
    exponent: int,
) -> int:
    """Undo the scaling in place; drop bars whose ends round together. The new end."""
    kept = start
    for i in range(start, stop):
        birth = math.ldexp(births[i], -exponent)
        death = math.ldexp(deaths[i], -exponent)
        if death > birth:
            births[kept] = birth
            deaths[kept] = death
            edges[kept] = edges[i]
            triangles[kept] = triangles[i]
            kept += 1
    return kept


_kernel = _build_kernel(digest_of_sources())
