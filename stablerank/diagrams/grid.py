"""A fixed grid in a fixed box, flat or wrapped to a torus, and the distances of clouds from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.clouds import LARGEST_COORDINATE, power_of_two_scale
from stablerank.diagrams.nearest import nearest_points, nearest_sums

_MOST_VERTICES = 2**22
_FARTHEST = 2.0**450  # times the box: the squares of what is farther away overflow


@dataclass(frozen=True, eq=False)
class Grid:
    """Equally spaced vertices, the same number along each axis.

    Parameters
    ----------
    box : ndarray of shape (2, d), float64
        The lowest and the highest corner.
    resolution : int
        How many vertices along each axis; the last one lies on the highest corner, unless periodic.
    periodic : bool
        Opposite sides are glued, and points outside the box are wrapped into it.

    Raises
    ------
    ValueError
        If there would be too many vertices.
    """

    box: NDArray[np.float64]
    resolution: int
    periodic: bool

    def __post_init__(self) -> None:
        if self.resolution**self.dimension > _MOST_VERTICES:
            raise ValueError(
                f"resolution={self.resolution} makes a grid of {self.resolution}^{self.dimension} "
                f"vertices in R^{self.dimension}, more than {_MOST_VERTICES}: take fewer, or "
                f"project the clouds first."
            )

    @property
    def dimension(self) -> int:
        """The dimension d of the space."""
        return int(self.box.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a function on the vertices; axis i is coordinate i."""
        return (self.resolution,) * self.dimension

    def check_distances(self, clouds: Sequence[NDArray[np.float64]]) -> None:
        """Refuse points so far away that their distances overflow.

        Raises
        ------
        ValueError
            Naming the cloud.
        """
        if self.periodic:
            return  # points are wrapped
        farthest = _FARTHEST / power_of_two_scale(self.box)
        for i, cloud in enumerate(clouds):
            if np.abs(cloud).max() > farthest:
                raise ValueError(
                    f"X[{i}] has coordinates beyond 2^450 times the box, whose squares overflow: "
                    f"drop these points, or give a larger box."
                )

    def power_means(
        self,
        clouds: Sequence[NDArray[np.float64]],
        windows: NDArray[np.int64],
        k: int | NDArray[np.int64],
        q: int,
    ) -> NDArray[np.float64]:
        """The value k^{-1/q} ‖d‖_q of the distances d at some ranks, for every vertex.

        Parameters
        ----------
        clouds : sequence of ndarray of shape (n_points, d), float64
            Checked.
        windows : ndarray of shape (n_clouds, n_windows, 2), int64
            The ranks, as in :func:`nearest_sums`. At those that a cloud has not, distances are
            infinite; on a torus the largest that there is.
        k : int or ndarray of shape (n_windows, 1)
            What the sum is divided by, for all windows or each.
        q : {1, 2}
            The exponent.

        Returns
        -------
        ndarray of shape (n_clouds, n_windows, *shape), float64
            Monotone in the sorted distances, bit for bit.
        """
        points, axes, periods, scale = self._scaled(clouds)
        beyond = np.inf
        if periods is not None:
            # added up as the kernel does, so that it is no less than what is computed there
            beyond = functools.reduce(lambda total, side: total + (side / 2) ** 2, periods, 0.0)
            beyond = beyond if q == 2 else math.sqrt(beyond)
        vertices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)
        sums = nearest_sums(
            points, vertices, windows, periods=periods, squared=q == 2, beyond=beyond
        )
        means = sums / k
        values = np.sqrt(means) if q == 2 else means
        return (values / scale).reshape(*sums.shape[:2], *self.shape)

    def nearest(
        self,
        clouds: Sequence[NDArray[np.float64]],
        owners: NDArray[np.int64],
        vertices: NDArray[np.int64],
        k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k points that are nearest to some vertices, and the way to each of them.

        Parameters
        ----------
        clouds : sequence of ndarray of shape (n_points, d), float64
            Checked, and each of at least k points.
        owners : ndarray of shape (n,), int64
            The cloud in which to look.
        vertices : ndarray of shape (n,), int64
            The vertex, as an index of a flattened function of :attr:`shape`.
        k : int

        Returns
        -------
        points : ndarray of shape (n, k), int64
            Rows of all clouds' points, one cloud after the other.
        ways : ndarray of shape (n, k, d), float64
            From the vertex to the point, on the torus the shortest way; in a unit in which the box
            has about size 1.
        """
        points, axes, periods, _ = self._scaled(clouds)
        places = np.unravel_index(vertices, self.shape)
        at = np.stack([axis[place] for axis, place in zip(axes, places, strict=True)], axis=-1)
        found = nearest_points(points, owners, at, k, periods=periods)
        ways = np.concatenate(points)[found] - at[:, None]
        if periods is not None:
            ways -= periods * np.rint(ways / periods)
        return found, ways

    def _scaled(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> tuple[
        list[NDArray[np.float64]], list[NDArray[np.float64]], NDArray[np.float64] | None, float
    ]:
        """Points, coordinates of vertices along each axis and periods, all times a power of two."""
        low, high = self.box
        scale = power_of_two_scale(self.box)  # of the box alone: no point changes others' bits
        if not self.periodic:
            axes = [np.linspace(a, b, self.resolution) for a, b in (self.box * scale).T]
            points = [cloud * scale for cloud in clouds] if scale != 1.0 else list(clouds)
            return points, axes, None, scale
        periods = (high - low) * scale
        axes = [side * np.arange(self.resolution) / self.resolution for side in periods]
        points = [np.mod(cloud - low, high - low) * scale for cloud in clouds]
        return points, axes, periods, scale


def check_grid_parameters(resolution: Any, box: Any, periodic: Any) -> None:
    """Refuse what is no number of vertices, and a torus without a period.

    Raises
    ------
    ValueError
        Naming the parameter.
    """
    whole = isinstance(resolution, (int, np.integer)) and not isinstance(resolution, bool)
    if not whole or resolution < 2:
        raise ValueError(f"resolution={resolution!r}: expected an integer, 2 or more.")
    if not isinstance(periodic, (bool, np.bool_)):
        raise ValueError(f"periodic={periodic!r}: expected True or False.")
    if periodic and box is None:
        raise ValueError(
            "periodic=True needs a box: the period is known to you, and no cloud tells it."
        )


def bounding_box(clouds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The lowest and the highest corner of all points of all clouds, shape (2, d).

    Raises
    ------
    ValueError
        If they all have one coordinate in common.
    """
    low = np.min([cloud.min(axis=0) for cloud in clouds], axis=0)
    high = np.max([cloud.max(axis=0) for cloud in clouds], axis=0)
    if not (low < high).all():
        raise ValueError(
            f"All points have the same coordinate {int(np.argmin(low < high))}: their bounding box "
            f"is flat. Give a box."
        )
    return np.stack([low, high])


def check_box(box: Any, dimension: int) -> NDArray[np.float64]:
    """The two corners of a box, as an array of shape (2, d).

    Raises
    ------
    ValueError
        If there are not two corners in R^d, the first below the second in each coordinate.
    """
    try:
        corners = np.array(box, dtype=np.float64)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.ndim != 2 or len(corners) != 2 or not corners.size:
        raise ValueError(
            f"box={box!r}: expected two corners (lowest, highest), such as ((0, 0), (1, 1))."
        )
    if not (np.abs(corners) <= LARGEST_COORDINATE).all() or not (corners[0] < corners[1]).all():
        raise ValueError(
            f"box={box!r}: expected finite corners within 2^1000, each coordinate of the first "
            f"below that of the second."
        )
    if corners.shape[1] != dimension:
        raise ValueError(
            f"box has corners in R^{corners.shape[1]}, but X[0] lies in R^{dimension}: expected "
            f"(lowest, highest), each with {dimension} coordinates."
        )
    return corners
