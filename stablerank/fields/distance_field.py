"""Distances from the vertices of a fixed grid to the nearest points of a cloud (fact D5)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.clouds import Cloud, largest_distances
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, is_integer
from stablerank.diagrams.grid import Grid, bounding_box, check_box, check_grid_parameters
from stablerank.diagrams.workers import map_chunks
from stablerank.fields.vectorizer import CloudVectorizer, sorted_blocks
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    Bound,
    Space,
    StabilityError,
    inverse_root_up,
)


class DistanceField(CloudVectorizer):
    """Distances to the nearest points at the vertices of a grid, as vectors: no persistence.

    At a vertex v, with d(1) <= d(2) <= ... the Euclidean distances from v to the points of the
    cloud, the value is d(k), or the distance to measure ((d(1)^q + ... + d(k)^q)/k)^(1/q).

    Raw values see absolute position: who shifts or turns all clouds gets other vectors. Sorted ones
    forget which vertex they belong to; they do not change where a rigid motion maps the grid to
    itself. Keep results with a field apart from those with persistence, whose rival it is.

    Parameters
    ----------
    k : int or sequence of int, default=1
        Which of the nearest points counts, or how many of them; several numbers give several
        fields, one after the other. Clouds have at least so many points.
    kind : {"distance", "measure"}, default="distance"
        Whether the value is d(k) or the distance to measure.
    q : {2, 1}, default=2
        The exponent of the distance to measure.
    resolution : int, default=16
        How many vertices the grid has along each axis, at least 2.
    box : array-like of shape (2, d), optional
        The lowest and the highest corner of the grid; by default `fit` takes the bounding box of
        all clouds it is given, which stays. Points may lie outside.
    periodic : bool, default=False
        Opposite sides of the box, which must be given, are glued, and points outside are wrapped.
    values : {"raw", "sorted"}, default="raw"
        "raw": vertex by vertex. "sorted": from the largest to the smallest of each field.
    blocks : int, optional
        Sorted values are averaged over so many blocks of ranks of about equal size, at most one a
        vertex; by default not at all. For raw ones None.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    box_ : ndarray of shape (2, d), float64
        The corners of the grid.
    n_features_out_ : int
        The length of the vectors.

    Raises
    ------
    ValueError
        For every bad cloud, with its index; one with fewer than k points is bad.

    See Also
    --------
    stablerank.DistanceToMeasurePersistence : Diagrams of the sublevel sets of the same function.

    Examples
    --------
    Two points, 2 apart, with vertices at -1, 0, 1:

    >>> field = DistanceField(k=[1, 2], resolution=3, box=([-1], [1]))
    >>> field.fit_transform([[[-1], [1]]])
    array([[0., 1., 0., 2., 1., 2.]])
    >>> field.stability(PER_POINT).constant
    1.0
    """

    def __init__(
        self,
        k: int | Sequence[int] = 1,
        *,
        kind: Literal["distance", "measure"] = "distance",
        q: Literal[2, 1] = 2,
        resolution: int = 16,
        box: Any = None,
        periodic: bool = False,
        values: Literal["raw", "sorted"] = "raw",
        blocks: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.k = k
        self.kind = kind
        self.q = q
        self.resolution = resolution
        self.box = box
        self.periodic = periodic
        self.values = values
        self.blocks = blocks
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> DistanceField:
        """Check parameters and clouds, and fix the grid.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or clouds; the message names the index of the cloud.
        """
        self._check_parameters()
        clouds = super()._check(X, None)
        d = clouds[0].shape[1]
        box = bounding_box(clouds) if self.box is None else check_box(self.box, d)
        self._grid(box).check_distances(clouds)
        self.n_features_out_ = self._count_features(d)
        self.dimension_ = d
        self.box_ = box
        return self

    def field(self, X: Any) -> NDArray[np.float64]:
        """The values at the vertices of the grid, neither sorted nor averaged.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds, n_k, resolution, ..., resolution), float64
            Of each number in `k` a field; vertices are those of
            :meth:`DistanceToMeasurePersistence.field`. In the unit of the points.
        """
        fields = self._over_clouds(self._raw, self._checked(X))
        return fields.reshape(*fields.shape[:2], *[int(self.resolution)] * self.dimension_)

    def stability(self, source: Space = PER_POINT) -> Bound:
        """The constant of each coordinate.

        Parameters
        ----------
        source : Space, default=PER_POINT
            The metric in which points move: ``PER_POINT``; ``FROBENIUS`` for the distance to
            measure (for d(k) it is no better than per point); ``HAUSDORFF`` if every k is 1.

        Returns
        -------
        Bound
            Into ℓ∞, 1 from per-point and Hausdorff; 1/√k from the Frobenius norm.

        Raises
        ------
        StabilityError
            For other metrics.

        Notes
        -----
        Per point ε: every distance from v moves by at most ε, on the torus too, and so do the k-th
        smallest of them and their power means (D5). Frobenius: D6, see
        :meth:`DistanceToMeasurePersistence.stability`. Hausdorff ε, k = 1: the nearest point of X
        has one of X′ within ε, so that the distance to X′ is at most ε larger, and the other way
        round. For k > 1 nothing holds: {0, 10} and {0, 0, 10} are at distance 0, but d(2) at 0 is
        10 for one and 0 for the other. All of this is about every vertex at once, in sup norm, in
        which sorting and averaging are 1-Lipschitz.
        """
        check_is_fitted(self, "n_features_out_")
        stage = "distance field" if self.kind == "distance" else "distance to measure"
        stage = f"{stage}, {self.values}"
        ks = np.repeat(self._ks, self.n_features_out_ // len(self._ks))
        if source == PER_POINT:
            theorem = "D5: every distance moves by at most ε"
            return Bound.by_coordinate(source, np.ones(len(ks)), theorem, stage=stage)
        if source == FROBENIUS and self.kind == "measure":
            constants = [inverse_root_up(int(k)) for k in ks]
            theorem = "D6: k distances are averaged"
            return Bound.by_coordinate(source, constants, theorem, stage=stage)
        if source == HAUSDORFF and max(self._ks) == 1:
            theorem = "d_H is the sup norm between distance functions"
            return Bound.by_coordinate(source, np.ones(len(ks)), theorem, stage=stage)
        if source == HAUSDORFF:
            raise StabilityError(
                f"DistanceField with k={self.k!r} is not stable from {HAUSDORFF}: {{0, 10}} and "
                f"{{0, 0, 10}} are the same set, but how many points lie at 0 decides how far the "
                f"second nearest is. Take k=1, or a threat that moves each point."
            )
        raise StabilityError(
            f"DistanceField knows constants from {PER_POINT}, {FROBENIUS} (of the distance to "
            f"measure) and {HAUSDORFF} (for k=1), not from {source}."
        )

    @property
    def fewest_points(self) -> int:
        """The largest k."""
        return max(self._ks)

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> tuple[Tensor, Tensor]:
        """Boxes that contain the vectors of all clouds in which some points are changed.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        n_changes : int
            How many points the adversary may change, r.
        threat : {"points", "deletion"}, default="points"
            "points": any mix of additions, deletions and replacements, r in all; new points may
            lie anywhere. "deletion": up to r points are deleted. As many points remain as the
            largest k, for clouds with fewer have no vector.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features_out_), float64
            No value outside is possible for vectors as computed; every end of raw values is
            attained, on the torus up to rounding.

        Raises
        ------
        StabilityError
            If a cloud is so small that nothing bounds its vector; the message names it.
        ValueError
            For bad clouds, numbers and threats.

        Notes
        -----
        D5. A change shifts the sorted distances by at most r ranks: for every i

            d(i - r) <= d'(i) <= d(i + r),

        where d is 0 at ranks below 1 (new points on the vertex), and above n it is infinite, or
        the largest distance of the torus (new points as far as can be). Deletion has d(i) on the
        left, and at most n - k ranks on the right, k the largest. Sums of sorted numbers, sorting,
        and means over blocks that are rounded once are monotone in floating point too, so nothing
        is charged for rounding.
        """
        clouds = self._checked(X)
        if not is_integer(n_changes) or n_changes < 0:
            raise ValueError(f"n_changes={n_changes!r}: expected a number of points, 0 or more.")
        if threat not in ("points", "deletion"):
            raise ValueError(f'threat={threat!r}: expected "points" or "deletion".')
        chunk = functools.partial(self._changed_vectors, n_changes=int(n_changes), threat=threat)
        ends = self._over_clouds(chunk, clouds)
        small = np.flatnonzero(np.isinf(ends).any(axis=(1, 2)))
        if small.size:
            raise StabilityError(
                f"X[{small[0]}] has {len(clouds[small[0]])} points: when {n_changes} of them are "
                f"replaced fewer than k={self.fewest_points} are left, and the others may be "
                f"anywhere. It takes at least {self.fewest_points + n_changes} points."
            )
        return torch.from_numpy(ends[:, 0].copy()), torch.from_numpy(ends[:, 1].copy())

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The diagonal of a cube that holds the cloud and the grid: no distance is larger.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        return largest_distances([np.vstack([cloud, self.box_]) for cloud in self._checked(X)])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``distance_k1_vertex7``, ``measure_k4_rank0`` and ``distance_k1_block3``.

        Vertices are counted in C order: the last coordinate moves fastest.
        """
        check_is_fitted(self, "n_features_out_")
        part = "vertex" if self.values == "raw" else "rank" if self.blocks is None else "block"
        n = self.n_features_out_ // len(self._ks)
        return np.array(
            [f"{self.kind}_k{k}_{part}{i}" for k in self._ks for i in range(n)], dtype=object
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.kind not in ("distance", "measure"):
            raise ValueError(f'kind={self.kind!r}: expected "distance" or "measure".')
        if not is_integer(self.q) or self.q not in (1, 2):
            raise ValueError(f"q={self.q!r}: expected 1 or 2.")
        if self.values not in ("raw", "sorted"):
            raise ValueError(f'values={self.values!r}: expected "raw" or "sorted".')
        if self.values == "raw" and self.blocks is not None:
            raise ValueError(
                f'blocks={self.blocks!r}: only sorted values are averaged. Set values="sorted", or '
                f"blocks=None."
            )
        check_grid_parameters(self.resolution, self.box, self.periodic)

    def _check(self, X: Any, dimension: int | None) -> list[Cloud]:
        clouds = super()._check(X, dimension)
        self._grid(self.box_).check_distances(clouds)
        return clouds

    def _count_features(self, dimension: int) -> int:
        n_vertices = int(self.resolution) ** dimension
        if self.blocks is not None and self.blocks > n_vertices:
            raise ValueError(
                f"blocks={self.blocks!r}: the grid has {n_vertices} vertices, expected at most one "
                f"block each."
            )
        return len(self._ks) * (n_vertices if self.blocks is None else int(self.blocks))

    def _grid(self, box: NDArray[np.float64]) -> Grid:
        return Grid(box, int(self.resolution), bool(self.periodic))

    def _vectors(self, clouds: Sequence[Cloud]) -> list[NDArray[np.float64]]:
        return list(self._arranged(np.stack(self._raw(clouds))))

    def _raw(self, clouds: Sequence[Cloud]) -> list[NDArray[np.float64]]:
        return list(self._fields(clouds, np.zeros((len(clouds), 1), dtype=np.int64))[:, 0])

    def _changed_vectors(
        self, clouds: Sequence[Cloud], n_changes: int, threat: str
    ) -> list[NDArray[np.float64]]:
        """Of each cloud the lowest vector and the highest, (2, n_features)."""
        shifts = np.empty((len(clouds), 2), dtype=np.int64)
        for i, cloud in enumerate(clouds):
            fewer = min(n_changes, len(cloud) - self.fewest_points)
            shifts[i] = (-n_changes, n_changes) if threat == "points" else (0, fewer)
        return list(self._arranged(self._fields(clouds, shifts)))

    def _fields(self, clouds: Sequence[Cloud], shifts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values of distances some ranks further, those at ranks below 1 being 0.

        Parameters
        ----------
        clouds : sequence of ndarray of shape (n_points, d), float64
            Checked.
        shifts : ndarray of shape (n_clouds, n_shifts), int64
            How many ranks.

        Returns
        -------
        ndarray of shape (n_clouds, n_shifts, n_k, n_vertices), float64
            Monotone in the shift and the sorted distances, bit for bit.
        """
        ks = np.array(self._ks, dtype=np.int64)
        first, divisors, q = (
            (ks - 1, 1 + 0 * ks, 2) if self.kind == "distance" else (0 * ks, ks, self.q)
        )
        windows = np.stack([first, ks], axis=1) + shifts[:, :, None, None]
        windows = np.maximum(windows, 0).reshape(len(clouds), -1, 2)
        divisors = np.tile(divisors, shifts.shape[1])[:, None]
        fields = self._grid(self.box_).power_means(clouds, windows, divisors, int(q))
        return fields.reshape(*shifts.shape, len(ks), -1)

    def _arranged(self, fields: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors of shape (..., n_features) from fields of shape (..., n_k, n_vertices)."""
        if self.values == "sorted":
            fields = sorted_blocks(fields, self.blocks)
        return fields.reshape(*fields.shape[:-2], -1)

    def _over_clouds(self, chunk: Any, clouds: Sequence[Cloud]) -> NDArray[np.float64]:
        parts: list[NDArray[np.float64]] = map_chunks(
            chunk, clouds, n_jobs=self.n_jobs, prefer="threads", description="distances"
        )
        return np.stack(parts)

    def _relative_rounding(self) -> float:
        """As that of :class:`DistanceToMeasurePersistence`; means of blocks add 2 units."""
        averaged = max(self._ks) if self.kind == "measure" else 1
        return (2 * (self.dimension_ + averaged) + 20) * UNIT_ROUNDOFF
