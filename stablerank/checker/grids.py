"""The distance to measure on a grid, and between what it stays when points are changed (D5).

At a vertex v it is (Σ_{i<=k} d_i^q / k)^{1/q}, with d_1 <= d_2 <= … the distances from v to the
points: here of all of them, without a search tree. On a torus distances are modulo the periods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U

_MOST_VERTICES = 2**22
_MOST_AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class Grid:
    """Vertices low + j (high − low)/m along each axis, and what is computed there.

    Attributes
    ----------
    box : ndarray of shape (2, d)
        low and high.
    resolution : int
        How many vertices an axis has: m of them on a torus, and m + 1 otherwise.
    periodic : bool
        Whether opposite sides are glued.
    """

    box: Array
    resolution: int
    periodic: bool

    @property
    def dimension(self) -> int:
        """The dimension d of the space."""
        return int(self.box.shape[1])

    @property
    def periodic_axes(self) -> list[bool]:
        """One truth value an axis, as GUDHI takes them."""
        return [self.periodic] * self.dimension

    @property
    def shape(self) -> tuple[int, ...]:
        """Of functions on the vertices; axis i is coordinate i."""
        return (self.resolution,) * self.dimension

    @property
    def vertices(self) -> Array:
        """All of them, the last coordinate running fastest, shape (n_vertices, d)."""
        low, high = self.box
        steps = self.resolution if self.periodic else self.resolution - 1
        shares = np.arange(self.resolution) / steps
        axes = [
            a + share * (b - a) for a, b, share in zip(low, high, [shares] * len(low), strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

    @property
    def farthest(self) -> float:
        """On a torus no distance is larger: half of its diagonal."""
        return float(np.linalg.norm(self.box[1] - self.box[0])) / 2 * (1 + 16 * U)

    def error(self, cloud: Array, n_averaged: int) -> float:
        """How far computed values are from exact ones, at any vertex, at most.

        In units of u = 2^-53. The way from a vertex to a point is off by 16 of the largest
        coordinate on a torus, by 8 elsewhere, and 8 more if vertices are defined to be rounded;
        values by no more than these are, in ℓ2. A squared distance is off by
        d + 2, a sum of k of them by k − 1 more and its mean by 1, all of them relative and halved
        by the root; with q = 1 the roots come first, so that d/2 + k + 2 is enough for both.
        """
        coordinate = float(max(np.abs(cloud).max(), np.abs(self.box).max()))
        if self.periodic:
            largest = self.farthest
        else:
            corners = np.vstack([cloud, self.box])
            largest = float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))
        relative = self.dimension / 2 + n_averaged + 4
        placed = 24 * math.sqrt(self.dimension) * coordinate
        return (relative * largest + placed) * U * (1 + 1e-9) + 1e-140

    def power_means(
        self, cloud: Array, windows: list[tuple[int, int]], k: int, q: int
    ) -> list[Array]:
        """Of each window of ranks k^{-1/q} ‖d‖_q over the distances of these ranks, (*shape).

        At ranks that the cloud has not distances are infinite, or on a torus the largest there is.
        """
        vertices, (n, d) = self.vertices, cloud.shape
        most = max(stop for _, stop in windows)
        means = np.empty((len(windows), len(vertices)))
        step = max(1, _MOST_AT_ONCE // (n * d))
        for start in range(0, len(vertices), step):
            ways = cloud[None] - vertices[start : start + step, None]
            if self.periodic:
                periods = self.box[1] - self.box[0]
                ways -= periods * np.rint(ways / periods)
            squares = (ways**2).sum(axis=2)
            if most < n:
                squares = np.partition(squares, most - 1, axis=1)[:, :most]
            squares = np.sort(squares, axis=1)
            beyond = self.farthest**2 if self.periodic else math.inf
            squares = np.pad(squares, [(0, 0), (0, max(0, most - n))], constant_values=beyond)
            for i, (first, stop) in enumerate(windows):
                ranks = squares[:, first:stop]
                mean = (ranks if q == 2 else np.sqrt(ranks)).sum(axis=1) / k
                means[i, start : start + step] = np.sqrt(mean) if q == 2 else mean
        return list(means.reshape(-1, *self.shape))


def read_grid(stage: Stage) -> Grid:
    """The grid of a stage.

    Raises
    ------
    ClaimError
        If it makes no sense.
    """
    box, resolution = np.asarray(stage.fitted["box_"]), stage.parameters["resolution"]
    if not isinstance(resolution, int) or resolution < 2 or box.shape[0] != 2:
        raise ClaimError("stage", "its grid has no two corners, or fewer than two vertices")
    if not (box[0] < box[1]).all() or not np.abs(box).max() < 2.0**300:
        raise ClaimError("stage", "the corners of its grid are in the wrong order, or too far")
    if resolution ** box.shape[1] > _MOST_VERTICES:
        raise NotChecked("stage", f"its grid has more than {_MOST_VERTICES} vertices")
    return Grid(box, resolution, bool(stage.parameters["periodic"]))


def field(grid: Grid, cloud: Array, stage: Stage) -> tuple[Array, float]:
    """The distance to measure at all vertices, and how far it is off at most."""
    k, q, cap = _averages(stage, cloud)
    (values,) = grid.power_means(cloud, [(0, k)], k, q)
    return np.minimum(values, cap), grid.error(cloud, k)


def changed_fields(
    grid: Grid, cloud: Array, stage: Stage, n_changes: int, threat: str
) -> tuple[Array, Array, float]:
    """Between what the field stays when points are changed, and how far both ends are off (D5).

    Notes
    -----
    With r changes of any kind f′^q is at least (1/k)Σ_{i<=k−r} d_i^q, since new points may lie on
    the vertex, and at most (1/k)Σ_{i=r+1..r+k} d_i^q. Points that are only deleted leave it no
    smaller, and of n points no more than n − k can be: f′ is not defined then.
    """
    k, q, cap = _averages(stage, cloud)
    if threat == "points":
        windows = [(0, max(k - n_changes, 0)), (n_changes, n_changes + k)]
    else:
        deleted = min(n_changes, len(cloud) - k)
        windows = [(0, k), (deleted, deleted + k)]
    lower, upper = (np.minimum(f, cap) for f in grid.power_means(cloud, windows, k, q))
    if not np.isfinite(upper).all():
        raise ClaimError("radius", "so few points are left that nothing bounds their field")
    return lower, upper, grid.error(cloud, k)


def _averages(stage: Stage, cloud: Array) -> tuple[int, int, float]:
    k, q, cap = (stage.parameters[name] for name in ("k", "q", "cap"))
    if isinstance(k, bool) or not isinstance(k, int) or k < 1 or q not in (1, 2):
        raise ClaimError("stage", f"k={k!r}, q={q!r} are no parameters of a distance to measure")
    if len(cloud) < k:
        raise ClaimError("cloud", f"it has fewer points than k={k}")
    if cap is not None and not cap > 0:
        raise ClaimError("stage", f"cap={cap!r} is not above 0")
    return k, q, math.inf if cap is None else float(cap)
