"""Adversaries against clouds: per point, per coordinate, in Frobenius and Hausdorff distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist, pdist

from stablerank.attack.adversary import Adversary, pick_block
from stablerank.attack.balls import Ball, FrobeniusBall, PerCoordinateBall, PerPointBall
from stablerank.attack.displacement import pull_back, row_distances_upper
from stablerank.diagrams.clouds import Cloud, check_clouds, power_of_two_scale
from stablerank.diagrams.planar import planar_alpha

_MOST_NEIGHBOURS = 6
_SPLITS = 12
_HOLE_TRIALS = 256
_HOLES = 4
_BARS = 8
_FEW_PAIRS = 40_000


@dataclass(frozen=True)
class StudiedCloud:
    """A cloud with what moves its persistence, each found when it is first asked for.

    Attributes
    ----------
    cloud : ndarray of shape (n_points, d)
    """

    cloud: Cloud

    @cached_property
    def scaled(self) -> Cloud:
        """The cloud times a power of two, so that squares neither over- nor underflow.

        What follows is in its unit.
        """
        return self.cloud * power_of_two_scale(self.cloud)

    @cached_property
    def neighbours(self) -> NDArray[np.intp]:
        """The k nearest other points of each, nearest first, shape (n_points, k); k may be 0."""
        return _neighbours(self.scaled)

    @cached_property
    def splits(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]]:
        """The last merges of single linkage, which carry the longest bars of H0.

        Members of the two clusters, and the direction from the first to the second where they meet.
        """
        return _splits(self.scaled)

    @cached_property
    def holes(self) -> list[tuple[NDArray[np.float64], float]]:
        """Large empty balls inside the cloud, (centre, radius): long bars of higher homology."""
        # drawn by the cloud alone, so that it does not depend on what else is attacked
        return _holes(self.scaled, np.random.default_rng(len(self.cloud)))

    @cached_property
    def bars(self) -> list[tuple[NDArray[np.int64], NDArray[np.float64], float]]:
        """In the plane the longest bars of H1, elsewhere none.

        The edge that begins the bar, and centre and radius of the circle that ends it.
        """
        return _bars(self.scaled) if self.scaled.shape[1] == 2 else []


class PointAdversary(Adversary):
    """Moves the points of a cloud, each by itself; the clouds keep their numbers of points.

    Parameters
    ----------
    p : float, default=2
        2: every point moves by at most the radius in ℓ2. ∞: every coordinate does.
    """

    def __init__(self, p: float = 2.0) -> None:
        self.p = p
        self.ball: Ball = PerPointBall() if p == 2 else PerCoordinateBall()
        self._as_array = False

    def check(self, X: Any) -> list[Cloud]:
        """The clouds, in float64."""
        self._as_array = isinstance(X, np.ndarray) and X.ndim == 3
        return check_clouds(X)

    def study(self, original: Cloud) -> StudiedCloud:
        """Neighbours, merging clusters and holes, for those who ask."""
        return StudiedCloud(original)

    def original(self, studied: StudiedCloud) -> Cloud:
        """The cloud itself."""
        return studied.cloud

    def propose(self, studied: StudiedCloud, radius: float, turn: int, rng: Generator) -> Cloud:
        """All points moved by one of the fields below, as far as they may."""
        field = _FIELDS[turn % len(_FIELDS)](studied, rng)
        return studied.cloud + self._stretch(field) * radius

    def change(
        self, studied: StudiedCloud, candidate: Cloud, radius: float, share: float, rng: Generator
    ) -> Cloud:
        """A block of points moved elsewhere: neighbours or any, together or each by itself."""
        rows = _block(studied.cloud, share, rng)
        changed = candidate.copy()
        changed[rows] = studied.cloud[rows] + radius * self._stretch(
            _block_field(studied, rows, rng)
        )
        return changed

    def shorten(self, studied: StudiedCloud, candidate: Cloud, radius: float) -> Cloud:
        """Every point, or coordinate, pulled back to where it came from."""
        d = studied.cloud.shape[1]
        rows = (-1, d) if self.p == 2 else (-1, 1)
        pulled = pull_back(studied.cloud.reshape(rows), candidate.reshape(rows), radius, self.p)
        return pulled.reshape(studied.cloud.shape)

    def displacement(self, studied: StudiedCloud, candidate: Cloud) -> float:
        """The largest displacement of a point, or coordinate."""
        return float(row_distances_upper(candidate, studied.cloud, self.p).max())

    def size(self, studied: StudiedCloud) -> float:
        """The diagonal of the box around the cloud."""
        sides = np.ptp(studied.cloud, axis=0)
        return float(sides.max() * math.sqrt(len(sides)))

    def collect(self, candidates: Any) -> Any:
        """A list of clouds, or one 3-D array where such a one was given."""
        same = len({cloud.shape for cloud in candidates}) == 1
        return np.stack(candidates) if self._as_array and same else list(candidates)

    def _stretch(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        # a cube reaches further than its ball: directions are stretched to its faces and corners
        return field if self.p == 2 else np.clip(field * math.sqrt(field.shape[1]), -1.0, 1.0)


class FrobeniusAdversary(PointAdversary):
    """Moves the points of a cloud, the displacements of all of them together of bounded norm."""

    def __init__(self) -> None:
        super().__init__(2.0)
        self.ball = FrobeniusBall()

    def change(
        self, studied: StudiedCloud, candidate: Cloud, radius: float, share: float, rng: Generator
    ) -> Cloud:
        """A block of points moved elsewhere, by a part of what all may move together."""
        rows = _block(studied.cloud, share, rng)
        step = radius * rng.uniform() * self._stretch(_block_field(studied, rows, rng))
        changed = candidate.copy()
        changed[rows] = studied.cloud[rows] + step
        return changed

    def shorten(self, studied: StudiedCloud, candidate: Cloud, radius: float) -> Cloud:
        """All displacements scaled by one factor."""
        pulled = pull_back(studied.cloud.reshape(1, -1), candidate.reshape(1, -1), radius, 2.0)
        return pulled.reshape(studied.cloud.shape)

    def displacement(self, studied: StudiedCloud, candidate: Cloud) -> float:
        """The norm of all displacements together."""
        moved = candidate.reshape(1, -1), studied.cloud.reshape(1, -1)
        return float(row_distances_upper(*moved, 2.0)[0])

    def size(self, studied: StudiedCloud) -> float:
        """Every point by the diagonal of the box around the cloud."""
        return super().size(studied) * math.sqrt(len(studied.cloud))

    def _stretch(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        return _unit(field.reshape(-1)).reshape(field.shape)


class HausdorffAdversary(PointAdversary):
    """Hands in any cloud, of any number of points, within a Hausdorff distance."""

    def __init__(self) -> None:
        super().__init__(2.0)

    def propose(self, studied: StudiedCloud, radius: float, turn: int, rng: Generator) -> Cloud:
        """In turns: points moved, points added, points left out, and all of it at once."""
        kind, turn = turn % 4, turn // 4
        cloud = studied.cloud
        if kind in (0, 3):
            cloud = super().propose(studied, radius, turn, rng)
        if kind in (1, 3):
            cloud = np.concatenate([cloud, _extra_points(studied, radius, rng)])
        if kind in (2, 3):
            cloud = _thinned(cloud, radius * rng.choice([0.5, 1.0, 2.0]), rng)
        return cloud

    def change(
        self, studied: StudiedCloud, candidate: Cloud, radius: float, share: float, rng: Generator
    ) -> Cloud:
        """A block of the candidate's points moved, left out, or doubled and moved."""
        rows = _block(candidate, share, rng)
        action = rng.integers(4)
        if action == 0 and len(rows) < len(candidate):
            return np.delete(candidate, rows, axis=0)
        anchors = _nearest(candidate[rows], studied.cloud)
        steps = radius * _block_field(studied, anchors, rng)
        fresh = studied.cloud[anchors] + steps
        if action == 1:
            return np.concatenate([candidate, fresh])
        changed = candidate.copy()
        changed[rows] = fresh
        return changed

    def shorten(self, studied: StudiedCloud, candidate: Cloud, radius: float) -> Cloud:
        """Points pulled towards the nearest original; originals that are left alone put back."""
        candidate = candidate[np.isfinite(candidate).all(axis=1)]
        if len(candidate) == 0:
            return studied.cloud
        # a little less than the radius: the nearest point is found up to rounding
        target = radius * (1 - 2.0**-40)
        anchors = studied.cloud[_nearest(candidate, studied.cloud)]
        pulled = pull_back(anchors, candidate, target, 2.0)
        nearest = pulled[_nearest(studied.cloud, pulled)]
        alone = row_distances_upper(nearest, studied.cloud, 2.0) > target
        return np.concatenate([pulled, studied.cloud[alone]])

    def displacement(self, studied: StudiedCloud, candidate: Cloud) -> float:
        """The Hausdorff distance, measured both ways; any near point bounds that of the nearest."""
        return max(
            float(row_distances_upper(a, b[_nearest(a, b)], 2.0).max())
            for a, b in ((candidate, studied.cloud), (studied.cloud, candidate))
        )


def _nearest(points: Cloud, cloud: Cloud) -> NDArray[np.intp]:
    """The index of the nearest point of `cloud` for each of `points`, up to rounding."""
    scale = power_of_two_scale(np.concatenate([points, cloud]))
    if len(points) * len(cloud) <= _FEW_PAIRS:  # faster than building a tree
        distances = cdist(points * scale, cloud * scale, "sqeuclidean")
        return np.asarray(distances.argmin(axis=1), dtype=np.intp)
    _, index = cKDTree(cloud * scale).query(points * scale)
    return np.asarray(index, dtype=np.intp)


def _neighbours(cloud: Cloud) -> NDArray[np.intp]:
    k = min(_MOST_NEIGHBOURS, len(cloud) - 1)
    if k == 0:
        return np.empty((len(cloud), 0), dtype=np.intp)
    _, index = cKDTree(cloud).query(cloud, k=k + 1)
    # of equal points the first found may be another one than the point itself
    own = index == np.arange(len(cloud))[:, None]
    own[~own.any(axis=1), -1] = True
    return np.asarray(index[~own].reshape(len(cloud), k), dtype=np.intp)


def _splits(
    cloud: Cloud,
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]]:
    if len(cloud) < 2:
        return []
    _, nodes = to_tree(linkage(pdist(cloud), method="single"), rd=True)
    splits = []
    for node in nodes[: -_SPLITS - 1 : -1]:
        if node.is_leaf():
            break
        left, right = (np.array(child.pre_order()) for child in (node.left, node.right))
        distances = cdist(cloud[left], cloud[right])
        i, j = divmod(int(distances.argmin()), len(right))
        splits.append((left, right, _unit(cloud[right[j]] - cloud[left[i]])))
    return splits


def _holes(cloud: Cloud, rng: Generator) -> list[tuple[NDArray[np.float64], float]]:
    """Large empty balls with centres in the convex hull, by a hill climb from random places."""
    weights = rng.dirichlet(np.ones(min(len(cloud), 4)), size=_HOLE_TRIALS)
    corners = rng.integers(len(cloud), size=weights.shape)
    centres = (weights[:, :, None] * cloud[corners]).sum(axis=1)
    tree = cKDTree(cloud)
    radii, nearest = tree.query(centres)
    lowest, highest = cloud.min(axis=0), cloud.max(axis=0)
    for _ in range(12):  # away from the nearest point, and back when it did not help
        steps = 0.3 * radii[:, None] * _unit(centres - cloud[nearest])
        tried = np.clip(centres + steps * rng.uniform(size=(len(steps), 1)), lowest, highest)
        tried_radii, tried_nearest = tree.query(tried)
        better = tried_radii > radii
        centres[better], radii[better] = tried[better], tried_radii[better]
        nearest[better] = tried_nearest[better]
    holes: list[tuple[NDArray[np.float64], float]] = []
    for i in np.argsort(-radii):
        apart = all(np.linalg.norm(centres[i] - c) > 0.5 * r for c, r in holes)
        if apart and radii[i] > 0:
            holes.append((centres[i], float(radii[i])))
        if len(holes) == _HOLES:
            break
    return holes


def _bars(cloud: Cloud) -> list[tuple[NDArray[np.int64], NDArray[np.float64], float]]:
    diagrams = planar_alpha(cloud, np.array([0, len(cloud)]))
    longest = np.argsort(diagrams.h1_births - diagrams.h1_deaths, kind="stable")[:_BARS]
    bars = []
    for i in longest:
        a, b, c = cloud[diagrams.h1_triangles[i]]
        # the centre of the circle through three points, seen from the first of them
        u, v = b - a, c - a
        turn = 2 * (u[0] * v[1] - u[1] * v[0])
        if turn == 0:
            continue
        x = (v[1] * (u @ u) - u[1] * (v @ v)) / turn
        y = (u[0] * (v @ v) - v[0] * (u @ u)) / turn
        bars.append((diagrams.h1_edges[i], a + np.array([x, y]), float(diagrams.h1_deaths[i])))
    return bars


def _unit(vectors: Any) -> NDArray[np.float64]:
    """Vectors of length 1; those of length 0 stay."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0.0)
    vectors = vectors / np.where(largest > 0, largest, 1.0)  # squares do not underflow
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def _sign(rng: Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _noise(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Every point in its own direction, without what only shifts the cloud."""
    field = rng.normal(size=studied.scaled.shape)
    return _unit(field - field.mean(axis=0) if len(field) > 1 else field)


def _few(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """A few points only."""
    n = len(studied.scaled)
    field = np.zeros(studied.scaled.shape)
    rows = rng.permutation(n)[: 2 ** int(rng.integers(0, 5))]
    field[rows] = _unit(rng.normal(size=(len(rows), studied.scaled.shape[1])))
    return field


def _waves(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """A smooth field, that moves neighbours alike."""
    cloud = studied.scaled
    span = max(float(np.ptp(cloud, axis=0).max()), np.finfo(float).tiny)
    waves = rng.normal(size=(3, cloud.shape[1])) * rng.choice([2.0, 5.0, 12.0])
    phases = (cloud - cloud[0]) / span @ waves.T + rng.uniform(0, 2 * math.pi, size=3)
    return _unit(np.sin(phases) @ rng.normal(size=(3, cloud.shape[1])))


def _radial(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Away from the centroid or towards it, every point equally far."""
    return _sign(rng) * _unit(studied.scaled - studied.scaled.mean(axis=0))


def _dilation(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """The cloud enlarged or reduced."""
    field = studied.scaled - studied.scaled.mean(axis=0)
    reach = float(np.linalg.norm(field, axis=1).max())
    return _sign(rng) * field / (reach if reach > 0 else 1.0)


def _neighbourly(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Every point, or every second one, towards its nearest neighbour or away from it."""
    if studied.neighbours.shape[1] == 0:
        return _noise(studied, rng)
    field = _sign(rng) * _unit(studied.scaled[studied.neighbours[:, 0]] - studied.scaled)
    if rng.uniform() < 0.5:
        field[rng.uniform(size=len(field)) < 0.5] = 0.0
    return field


def _pairs(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Pairs of neighbours snapped together or apart."""
    field = np.zeros(studied.scaled.shape)
    free = np.ones(len(field), dtype=bool)
    width = studied.neighbours.shape[1]
    most = int(rng.choice([1, 4, len(field)]))
    sign = _sign(rng)
    for i in rng.permutation(len(field)) if width else ():
        j = studied.neighbours[i, rng.integers(width)]
        if free[i] and free[j]:
            step = sign * _unit(studied.scaled[j] - studied.scaled[i])
            field[i], field[j] = step, -step
            free[i] = free[j] = False
            most -= 1
        if most == 0:
            break
    return field


def _split(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Two clusters moved apart or together: a death of H0 moves at full speed."""
    field = np.zeros(studied.scaled.shape)
    if studied.splits:
        rank = min(int(rng.geometric(0.4)) - 1, len(studied.splits) - 1)
        left, right, direction = studied.splits[rank]
        sign = _sign(rng)
        field[left], field[right] = -sign * direction, sign * direction
    return field


def _hole(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Points around an empty ball pushed outwards or inwards, those beyond it perhaps not."""
    field = np.zeros(studied.scaled.shape)
    if studied.holes:
        centre, radius = studied.holes[rng.integers(len(studied.holes))]
        away = studied.scaled - centre
        near = np.linalg.norm(away, axis=1) <= radius * rng.choice([1.1, 1.5, 3.0, np.inf])
        field[near] = _sign(rng) * _unit(away[near])
    return field


def _hole_and_gap(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """A hole widened while a gap in its rim closes, or the reverse: both ends of a bar move."""
    field = _hole(studied, rng)
    gaps = _pairs(studied, rng)
    moved = gaps.any(axis=1)
    field[moved] = gaps[moved]
    return field


def _bar(studied: StudiedCloud, rng: Generator) -> NDArray[np.float64]:
    """Bars of H1 made longer or shorter at both ends: their circle, and the edge before it."""
    if not studied.bars:
        return _hole_and_gap(studied, rng)
    field = np.zeros(studied.scaled.shape)
    sign, reach = _sign(rng), rng.choice([1.05, 1.5, np.inf])
    first = min(int(rng.geometric(0.4)) - 1, len(studied.bars) - 1)
    chosen = studied.bars[first : first + rng.choice([1, 1, len(studied.bars)])]
    for _, centre, radius in chosen[::-1]:  # the longest has the last word
        away = studied.scaled - centre
        near = np.linalg.norm(away, axis=1) <= radius * reach
        field[near] = sign * _unit(away[near])
    for (i, j), _, _ in chosen[::-1]:
        step = sign * _unit(studied.scaled[j] - studied.scaled[i])
        field[i], field[j] = step, -step
    return field


_FIELDS: list[Callable[[StudiedCloud, Generator], NDArray[np.float64]]] = [
    _noise,
    _bar,
    _hole,
    _split,
    _radial,
    _neighbourly,
    _dilation,
    _pairs,
    _waves,
    _hole_and_gap,
    _few,
]


def _block(cloud: Cloud, share: float, rng: Generator) -> NDArray[np.intp]:
    """Some rows: those nearest to one of them, or any."""
    size = pick_block(len(cloud), share, rng)
    if rng.uniform() < 0.5:
        return np.asarray(rng.permutation(len(cloud))[:size], dtype=np.intp)
    centre = cloud[rng.integers(len(cloud))]
    return np.argsort(np.abs(cloud - centre).max(axis=1), kind="stable")[:size]


def _block_field(
    studied: StudiedCloud, rows: NDArray[np.intp], rng: Generator
) -> NDArray[np.float64]:
    """Directions of at most length 1 for a block of points."""
    cloud, d = studied.scaled, studied.scaled.shape[1]
    action = rng.integers(6)
    if action == 0:  # all of them alike
        return np.broadcast_to(_unit(rng.normal(size=d)), (len(rows), d))
    if action == 1 and studied.holes:
        centre, _ = studied.holes[rng.integers(len(studied.holes))]
        return _sign(rng) * _unit(cloud[rows] - centre)
    if action == 2 and studied.neighbours.shape[1]:
        column = rng.integers(studied.neighbours.shape[1])
        return _sign(rng) * _unit(cloud[studied.neighbours[rows, column]] - cloud[rows])
    if action == 3:  # as they were
        return np.zeros((len(rows), d))
    if action == 4 and len(rows) > 1:
        return _sign(rng) * _unit(cloud[rows] - cloud[rows].mean(axis=0))
    return _unit(rng.normal(size=(len(rows), d)))


def _extra_points(studied: StudiedCloud, radius: float, rng: Generator) -> Cloud:
    """New points on spheres around the old ones: in any direction, or towards neighbours."""
    cloud = studied.cloud
    n = int(rng.choice([1, 4, len(cloud)]))
    rows = rng.integers(len(cloud), size=n)
    steps = _unit(rng.normal(size=(n, cloud.shape[1])))
    width = studied.neighbours.shape[1]
    if width and rng.uniform() < 0.5:
        others = studied.neighbours[rows, rng.integers(width, size=n)]
        steps = _unit(cloud[others] - cloud[rows])
    return cloud[rows] + radius * steps


def _thinned(cloud: Cloud, radius: float, rng: Generator) -> Cloud:
    """Points left out that lie within `radius` of one that stays."""
    scale = power_of_two_scale(cloud)
    tree = cKDTree(cloud * scale)
    stays = np.ones(len(cloud), dtype=bool)
    kept = np.zeros(len(cloud), dtype=bool)
    for i in rng.permutation(len(cloud)):
        if stays[i]:
            near = tree.query_ball_point(cloud[i] * scale, radius * scale)
            stays[near] = False
            kept[i] = True
    return cloud[kept]
