"""Adversaries who count: they delete any k points, or add, delete and replace any k."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stablerank.attack.adversary import Adversary, pick_block
from stablerank.attack.points import PointAdversary, StudiedCloud
from stablerank.diagrams.clouds import Cloud, check_clouds, power_of_two_scale

_FAR = (1.5, 10.0, 1e3)


@dataclass(frozen=True, eq=False)
class ChangedCloud:
    """A cloud without some of its points, and with some new ones.

    Attributes
    ----------
    original : ndarray of shape (n_points, d)
    deleted : ndarray of shape (n_deleted,), int
        Different rows of `original`, those first that count most.
    added : ndarray of shape (n_added, d)
        Likewise.
    """

    original: Cloud
    deleted: NDArray[np.intp]
    added: Cloud

    @property
    def cloud(self) -> Cloud:
        """What is handed in: new points stand behind the others."""
        return np.concatenate([np.delete(self.original, self.deleted, axis=0), self.added])


class CountingAdversary(Adversary):
    """Changes up to k points, k the radius; nothing is asked of how far.

    A replacement is a point that is deleted and one that is added, and counts once. So m deleted
    and n added points count max(m, n); where some are equal less would do, never more.

    Parameters
    ----------
    deletions_only : bool, default=False
        Whether no point may be added.
    fewest : int, default=1
        How many points are left at least.
    """

    def __init__(self, *, deletions_only: bool = False, fewest: int = 1) -> None:
        self.deletions_only = deletions_only
        self.fewest = fewest
        self._points = PointAdversary()

    def check(self, X: Any) -> list[Cloud]:
        """The clouds, in float64."""
        return check_clouds(X)

    def study(self, original: Cloud) -> StudiedCloud:
        """Find neighbours, merging clusters and holes."""
        return self._points.study(original)

    def original(self, studied: StudiedCloud) -> ChangedCloud:
        """Nothing deleted, nothing added."""
        cloud = studied.cloud
        return ChangedCloud(cloud, np.empty(0, dtype=np.intp), np.empty((0, cloud.shape[1])))

    def propose(
        self, studied: StudiedCloud, radius: float, turn: int, rng: Generator
    ) -> ChangedCloud:
        """As many points as allowed, in turns deleted, added and replaced."""
        count = int(min(radius, len(studied.cloud)))
        candidate = self.original(studied)
        kind, turn = (0, turn) if self.deletions_only else (turn % 3, turn // 3)
        if kind in (0, 2):
            candidate = replace(candidate, deleted=_victims(studied, count, turn, rng))
        if kind in (1, 2):
            candidate = replace(candidate, added=_newcomers(studied, count, turn, rng))
        return candidate

    def change(
        self,
        studied: StudiedCloud,
        candidate: ChangedCloud,
        radius: float,
        share: float,
        rng: Generator,
    ) -> ChangedCloud:
        """A share of the changes made anew, the others as they are."""
        count = int(min(radius, len(studied.cloud)))
        fresh, turn = pick_block(count, share, rng) if count else 0, int(rng.integers(16))
        if self.deletions_only or rng.uniform() < 0.5:
            kept = rng.permutation(candidate.deleted)[: count - fresh]
            others = _victims(studied, count, turn, rng)
            others = others[~np.isin(others, kept)][:fresh]
            return replace(candidate, deleted=np.concatenate([others, kept]))
        stays = rng.permutation(len(candidate.added))[: count - fresh]
        added = [_newcomers(studied, fresh, turn, rng), candidate.added[stays]]
        return replace(candidate, added=np.concatenate(added))

    def shorten(
        self, studied: StudiedCloud, candidate: ChangedCloud, radius: float
    ) -> ChangedCloud:
        """The first changes, as many as are allowed."""
        count = int(min(radius, len(studied.cloud)))
        left = len(studied.cloud) - self.fewest
        most = max(left, 0) if self.deletions_only else max(left, 0) + len(candidate.added)
        return replace(
            candidate,
            deleted=candidate.deleted[: min(count, most)],
            added=candidate.added[np.isfinite(candidate.added).all(axis=1)][:count],
        )

    def displacement(self, studied: StudiedCloud, candidate: ChangedCloud) -> float:
        """The number of changes; infinite for what the threat does not allow."""
        deleted, added = len(candidate.deleted), len(candidate.added)
        distinct = len(np.unique(candidate.deleted)) == deleted
        if not distinct or (added and self.deletions_only):
            return np.inf
        if len(studied.cloud) - deleted + added < self.fewest:
            return np.inf
        return float(max(deleted, added))

    def size(self, studied: StudiedCloud) -> float:
        """The number of points."""
        return float(len(studied.cloud))

    def collect(self, candidates: Any) -> list[Cloud]:
        """The clouds themselves."""
        return [candidate.cloud for candidate in candidates]


def _victims(studied: StudiedCloud, count: int, turn: int, rng: Generator) -> NDArray[np.intp]:
    """Rows to delete: any, a neighbourhood, the rim of a hole, a merging edge, the loneliest."""
    cloud, n = studied.scaled, len(studied.scaled)
    order = rng.permutation(n)
    kind = turn % 5
    if kind == 1:  # opens a hole
        order = _by_distance(cloud, cloud[rng.integers(n)])
    elif kind == 2 and studied.bars:  # around the edge that begins a bar
        edge, _, _ = studied.bars[min(int(rng.geometric(0.4)) - 1, len(studied.bars) - 1)]
        order = _by_distance(cloud, cloud[edge[rng.integers(len(edge))]])
    elif kind == 3 and studied.holes:  # widens a hole
        centre, _ = studied.holes[rng.integers(len(studied.holes))]
        order = _by_distance(cloud, centre)
    elif kind == 4 and studied.neighbours.shape[1]:  # those that are hardest to replace
        column = rng.integers(studied.neighbours.shape[1])
        gaps = np.linalg.norm(cloud - cloud[studied.neighbours[:, column]], axis=1)
        order = np.argsort(-gaps * rng.uniform(0.5, 1.0, size=n), kind="stable")
    return np.asarray(order[:count], dtype=np.intp)


def _newcomers(studied: StudiedCloud, count: int, turn: int, rng: Generator) -> Cloud:
    """New points: in holes, in the gap where clusters merge, together, far away, or anywhere."""
    cloud, d = studied.scaled, studied.scaled.shape[1]
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    points = rng.uniform(low, high, size=(count, d))
    kind = turn % 5
    if kind == 1 and studied.holes:
        chosen = rng.integers(len(studied.holes), size=count)
        points = np.array([studied.holes[i][0] for i in chosen]).reshape(count, d)
        radii = np.array([studied.holes[i][1] for i in chosen])[:, None]
        points = points + rng.choice([0.0, 0.3]) * radii * rng.normal(size=(count, d))
    elif kind == 2:  # one place gets all of them
        points = np.repeat(rng.uniform(low, high, size=(1, d)), count, axis=0)
    elif kind == 3:
        sides = np.maximum(high - low, np.finfo(float).tiny)
        points = low + sides * rng.normal(size=(count, d)) * rng.choice(_FAR)
    elif kind == 4 and studied.splits:
        left, right, _ = studied.splits[rng.integers(len(studied.splits))]
        ends = cloud[rng.choice(left, size=count)], cloud[rng.choice(right, size=count)]
        points = ends[0] + rng.uniform(size=(count, 1)) * (ends[1] - ends[0])
    return np.asarray(points / power_of_two_scale(studied.cloud))


def _by_distance(cloud: Cloud, place: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.argsort(np.linalg.norm(cloud - place, axis=1), kind="stable")
