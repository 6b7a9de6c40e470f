"""Persistence of the distance to measure on a fixed grid: a filtration for outliers (facts D5, D6).

One point that appears in a hole of the cloud ends the hole in alpha and Rips. Here it is one of the
k whose distances are averaged at every vertex.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.clouds import check_clouds, largest_distances
from stablerank.diagrams.cubical import check_homology_dimensions, sublevel_diagrams
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, Filtration, is_integer
from stablerank.diagrams.grid import Grid, bounding_box, check_box, check_grid_parameters
from stablerank.diagrams.workers import map_chunks
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    Bound,
    Parallel,
    Space,
    StabilityError,
    inverse_root_up,
)


class DistanceToMeasurePersistence(Filtration):
    """Persistence diagrams of the distance to measure, by its sublevel sets on a fixed grid.

    At a vertex v the value is ::

        f(v) = ((d(1)^q + ... + d(k)^q) / k)^(1/q)

    with d(1) <= d(2) <= ... the Euclidean distances from v to the points of the cloud: the mean of
    the k smallest for q = 1, their root mean square for q = 2 [1]_. The unit is that of the points.

    Parameters
    ----------
    k : int
        How many of the nearest points count, from 1 to the number of points of the smallest cloud.
        An absolute number: a share of the points would change when one is added.
    q : {2, 1}, default=2
        The exponent.
    resolution : int, default=24
        How many vertices the grid has along each axis, at least 2.
    box : array-like of shape (2, d), optional
        The lowest and the highest corner of the grid. It must not depend on the cloud at hand, or
        nothing would be stable; by default `fit` takes the bounding box of all clouds it is given,
        which stays. Points may lie outside.
    periodic : bool, default=False
        Opposite sides of the box, which must be given, are glued: the grid and the distances are
        those of a flat torus, and points outside are wrapped into it.
    cap : float, optional
        Values above are cut: f is min(f, cap). Where f is large it moves most when points are
        changed, so with a cap a little above the deaths that matter more changes are certified.
    homology_dimensions : tuple of int, default=(0, 1)
        Each below the dimension d of the space.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    box_ : ndarray of shape (2, d), float64
        The corners of the grid.

    Raises
    ------
    ValueError
        For every bad cloud, with its index; one with fewer than k points is bad.

    Notes
    -----
    Between its vertices f is taken as in :class:`CubicalPersistence`. Classes that never die are
    dropped in every dimension, on the torus too: how many there are does not depend on the cloud.

    References
    ----------
    .. [1] Chazal, Cohen-Steiner, Mérigot (2011), "Geometric inference for probability measures",
       Foundations of Computational Mathematics 11.
    .. [2] Anai, Chazal, Glisse, Ike, Inakoshi, Tinarrage, Umeda (2020), "DTM-based filtrations",
       Topological Data Analysis, Abel Symposia 15.

    Examples
    --------
    Two points, 2 apart, with vertices at -1, 0, 1. A component is born at each, at 0, and the
    vertex between them joins them at 1:

    >>> model = DistanceToMeasurePersistence(
    ...     1, resolution=3, box=([-1], [1]), homology_dimensions=(0,)
    ... )
    >>> model.fit_transform([[[-1], [1]]]).diagram(0, 0)
    array([[0., 1.]])
    >>> model.field([[[-1], [1]]])
    array([[0., 1., 0.]])
    """

    def __init__(
        self,
        k: int,
        *,
        q: Literal[2, 1] = 2,
        resolution: int = 24,
        box: Any = None,
        periodic: bool = False,
        cap: float | None = None,
        homology_dimensions: Sequence[int] = (0, 1),
        n_jobs: int | None = None,
    ) -> None:
        self.k = k
        self.q = q
        self.resolution = resolution
        self.box = box
        self.periodic = periodic
        self.cap = cap
        self.homology_dimensions = homology_dimensions
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> DistanceToMeasurePersistence:
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
        clouds = self._check_clouds(X, None)
        d = clouds[0].shape[1]
        box = bounding_box(clouds) if self.box is None else check_box(self.box, d)
        self._grid(box).check_distances(clouds)
        self.dimension_ = d
        self.box_ = box
        return self

    def field(self, X: Any) -> NDArray[np.float64]:
        """The distance to measure at the vertices of the grid.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds, resolution, ..., resolution), float64
            Entry ``[i, j1, ..., jd]`` is f of cloud i at the vertex whose coordinate along axis a
            is ``low + j (high - low) / m`` with j = ja, low and high the ends of `box_` along that
            axis, and m = resolution - 1, or m = resolution if periodic; rounding of this
            coordinate belongs to the definition. In the unit of the points. The same bits whatever
            the order of the points.
        """
        return self._over_clouds(self._fields, self._checked(X), "distance to measure")

    def field_bounds(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between which values `field` stays, at each vertex, when some points are changed.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        n_changes : int
            How many points the adversary may change, r.
        threat : {"points", "deletion"}, default="points"
            "points": any mix of additions, deletions and replacements, r in all; new points may
            lie anywhere. "deletion": up to r points are deleted. At least k points remain, for
            clouds with fewer have no f.

        Returns
        -------
        lower, upper : ndarray of shape (n_clouds, resolution, ..., resolution), float64
            No value outside is possible for f as computed by `field`, and both ends are attained
            (on the torus up to rounding). Without periodicity `upper` is infinite for clouds of
            fewer than k + r points under "points".

        Notes
        -----
        D5. A change shifts the sorted distances by at most r ranks: for every i

            d(i - r) <= d'(i) <= d(i + r),

        where d is 0 at ranks below 1 (new points on the vertex), and above n it is infinite, or
        the largest distance of the torus (new points as far as can be). Deletion has d(i) on the
        left, and at most n - k ranks on the right. So f'^q is between the means of k such values.
        Sums of sorted numbers are monotone in floating point too, which makes the interval exact.
        """
        lower, _, upper = self._field_and_bounds(self._checked(X), n_changes, threat)
        return lower, upper

    def stability(self, source: Space = PER_POINT) -> Parallel:
        """Bounds from the points to the diagrams, one branch a homology dimension.

        Parameters
        ----------
        source : Space, default=PER_POINT
            The metric in which points move: ``PER_POINT`` or ``FROBENIUS``.

        Returns
        -------
        Parallel
            Bottleneck distance in every dimension, births of H0 move too. Per point: constant 1.
            Frobenius: 1/√k. Both on the torus as well, and for q = 1 and 2.

        Raises
        ------
        StabilityError
            For other metrics, Hausdorff distance among them.

        Notes
        -----
        D5, D6. Let point i move by δ_i, so that its distance d_i from v changes by at most |δ_i|,
        on the torus too. With S the k points nearest to v before,

            f'(v) <= k^{-1/q} ‖(d'_i)_{i in S}‖_q <= f(v) + k^{-1/q} ‖(δ_i)_{i in S}‖_q

        by Minkowski, and as well with f and f' exchanged. If every |δ_i| <= ε the last term is at
        most ε. If ‖δ‖_F <= ρ it is at most k^{-1/q} k^{1/q - 1/2} ρ = ρ/√k for q = 1 and 2, by
        Hölder. Diagrams follow f in sup norm (D4). Points that all move straight away from a
        vertex they share attain both. In Hausdorff distance nothing holds: {0, 10} and {0, 0, 10}
        are at distance 0, but f(0) with k = 2 is √50 for one and 0 for the other.
        """
        constants = {
            PER_POINT: (1.0, "D5: every distance moves by at most ε"),
            FROBENIUS: (inverse_root_up(self.k), "D6: k distances are averaged"),
        }
        if source == HAUSDORFF:
            raise StabilityError(
                f"DistanceToMeasurePersistence is not stable from {HAUSDORFF}: {{0, 10}} and "
                f"{{0, 0, 10}} are the same set, but how many points lie at 0 decides how far the "
                f"nearest k = 2 are. Use a threat that moves each point, or counts the points."
            )
        if source not in constants:
            raise StabilityError(
                f"DistanceToMeasurePersistence knows constants from {PER_POINT} and {FROBENIUS}, "
                f"not from {source}."
            )
        constant, theorem = constants[source]
        return Parallel(
            {
                f"H{k}": Bound(source, BOTTLENECK, constant, theorem, "distance to measure")
                for k in self._sorted_dimensions()
            }
        )

    @property
    def fewest_points(self) -> int:
        """k: clouds of fewer points have no distance to measure."""
        return self.k

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> DiagramBall:
        """All diagrams, as computed, of the clouds in which some points are changed.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        n_changes, threat
            As in :meth:`field_bounds`.

        Returns
        -------
        DiagramBall
            Around the diagram of the field halfway between the two of :meth:`field_bounds`. Its
            reach is the largest distance from there at any vertex (D4), the same in every
            dimension: half of it around the cloud's own diagram would not do, since f moves more to
            one side than to the other.

        Raises
        ------
        StabilityError
            If a cloud is so small that nothing bounds its f; the message names it.
        """
        clouds = self._checked(X)
        lower, _, upper = self._field_and_bounds(clouds, n_changes, threat)
        small = np.flatnonzero(np.isinf(upper.reshape(len(clouds), -1)).any(axis=1))
        if small.size:
            raise StabilityError(
                f"X[{small[0]}] has {len(clouds[small[0]])} points: when {n_changes} of them are "
                f"replaced fewer than k={self.k} are left, and the others may be anywhere. It "
                f"takes at least k + n_changes = {self.k + n_changes} points."
            )
        fields = lower + (upper - lower) / 2
        moves = np.maximum(upper - fields, fields - lower).reshape(len(clouds), -1).max(axis=1)
        reach = np.where(moves > 0, np.nextafter(moves, np.inf), 0.0)
        bars: list[dict[int, Diagram]] = map_chunks(
            self._diagrams_of_fields,
            list(fields),
            n_jobs=self.n_jobs,
            prefer="threads",
            description="persistence diagrams",
        )
        diagrams = DiagramBatch.from_diagrams(bars, self._sorted_dimensions())
        return DiagramBall(
            diagrams,
            {k: reach.copy() for k in diagrams.homology_dimensions},
            dict.fromkeys(diagrams.homology_dimensions, BOTTLENECK),
            self.lowest_value,
        )

    def relative_rounding(self) -> float:
        """A bound on the error of a value, relative to what `largest_values` says.

        Notes
        -----
        In units of u = 2^-53, to first order: squares of distances are off by d + 2, their sum by
        k - 1 more and its mean by 1, which a root halves; with q = 1 the roots come first, so that
        d / 2 + k + 2 is enough for both. On the torus the coordinates are off, instead of the
        squares: by 1 of the distance to the lowest corner, and 3 of the period for the remainder
        and the difference, together by 4 of the largest value. Twice the sum is charged, for the
        terms of higher order. GUDHI's births and deaths are values of f.
        """
        check_is_fitted(self, "box_")
        return (2 * (self.box_.shape[1] + self.k) + 16) * UNIT_ROUNDOFF

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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not is_integer(self.k) or self.k < 1:
            raise ValueError(f"k={self.k!r}: expected a number of points, 1 or more.")
        if not is_integer(self.q) or self.q not in (1, 2):
            raise ValueError(f"q={self.q!r}: expected 1 or 2.")
        if self.cap is not None and not 0 < self.cap < np.inf:  # NaN fails this too
            raise ValueError(f"cap={self.cap!r}: expected a finite number above 0, or None.")
        check_grid_parameters(self.resolution, self.box, self.periodic)

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        clouds = self._check_clouds(X, dimension)
        self._grid(self.box_).check_distances(clouds)
        return clouds

    def _check_clouds(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        clouds = check_clouds(X, dimension=dimension)
        for i, cloud in enumerate(clouds):
            if len(cloud) < self.k:
                raise ValueError(
                    f"X[{i}] has {len(cloud)} points, fewer than k={self.k} that are to be "
                    f"averaged: drop it, or take a smaller k."
                )
        check_homology_dimensions(self.homology_dimensions, clouds[0].shape[1], "grids with")
        return clouds

    def _checked(self, X: Any) -> list[NDArray[np.float64]]:
        check_is_fitted(self, "box_")
        self._check_parameters()  # set_params may have changed them since fit
        return self._check(X, self.dimension_)

    def _grid(self, box: NDArray[np.float64]) -> Grid:
        return Grid(box, int(self.resolution), bool(self.periodic))

    def _field_and_bounds(
        self, clouds: Sequence[NDArray[np.float64]], n_changes: int, threat: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if not is_integer(n_changes) or n_changes < 0:
            raise ValueError(f"n_changes={n_changes!r}: expected a number of points, 0 or more.")
        if threat not in ("points", "deletion"):
            raise ValueError(f'threat={threat!r}: expected "points" or "deletion".')
        chunk = functools.partial(self._changed_fields, n_changes=int(n_changes), threat=threat)
        fields = self._over_clouds(chunk, clouds, "bounds of the distance to measure")
        return fields[:, 0], fields[:, 1], fields[:, 2]

    def _over_clouds(
        self, chunk: Any, clouds: Sequence[NDArray[np.float64]], description: str
    ) -> NDArray[np.float64]:
        parts: list[NDArray[np.float64]] = map_chunks(
            chunk, clouds, n_jobs=self.n_jobs, prefer="threads", description=description
        )
        return np.stack(parts)

    def _diagrams(self, clouds: Sequence[NDArray[np.float64]]) -> list[dict[int, Diagram]]:
        return self._diagrams_of_fields(self._fields(clouds))

    def _diagrams_of_fields(
        self, fields: Sequence[NDArray[np.float64]]
    ) -> list[dict[int, Diagram]]:
        periodic = (bool(self.periodic),) * self.box_.shape[1]
        return [sublevel_diagrams(field, periodic, self.homology_dimensions) for field in fields]

    def _fields(self, clouds: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        windows = np.tile([[[0, self.k]]], (len(clouds), 1, 1))
        return list(self._means(clouds, windows)[:, 0])

    def _changed_fields(
        self, clouds: Sequence[NDArray[np.float64]], n_changes: int, threat: str
    ) -> list[NDArray[np.float64]]:
        """Of each cloud the lowest field, its own and the highest, (3, *grid)."""
        windows = np.empty((len(clouds), 3, 2), dtype=np.int64)
        for i, cloud in enumerate(clouds):
            if threat == "points":
                fewest, most = max(self.k - n_changes, 0), n_changes
            else:
                fewest, most = self.k, min(n_changes, len(cloud) - self.k)
            windows[i] = (0, fewest), (0, self.k), (most, most + self.k)
        return list(self._means(clouds, windows))

    def _means(
        self, clouds: Sequence[NDArray[np.float64]], windows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Of each window of ranks the field, cut at the cap: 1-Lipschitz, monotone and exact."""
        means = self._grid(self.box_).power_means(clouds, windows, self.k, self.q)
        return means if self.cap is None else np.minimum(means, self.cap)
