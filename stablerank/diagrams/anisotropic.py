"""Persistence that sees direction: a filtration of the clouds' images under one linear map.

Balls become ellipses. Lengths along some direction count in full and across it less, the same for
every cloud, so a few such maps side by side tell clouds apart that bare distances confuse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, check_epsilon
from stablerank.diagrams.linear_maps import linear_image, operator_norm
from stablerank.diagrams.mapped import MappedPersistence, bound_of
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    Parallel,
    Space,
    StabilityError,
    multiply_exact_or_up,
    multiply_up,
)

_SMALLEST_ENTRY, _LARGEST_ENTRY = 2.0**-100, 2.0**100


class AnisotropicPersistence(MappedPersistence):
    """Persistence diagrams of the images Ax of all points x, A one matrix for every cloud.

    With alpha persistence the balls that grow around the points are the ellipses
    ``‖A (z - x)‖ <= r``. Diagrams do not change when a cloud is shifted; when it is turned they do,
    unless A is a multiple of a rotation.

    Parameters
    ----------
    filtration : Filtration
        What computes the diagrams of the images: of clouds, such as ``AlphaPersistence()``, the
        distance to measure or Rips. A box is in the coordinates of the images.
    matrix : array-like of shape (m, d)
        A, which takes R^d to R^m; m < d projects. Choose it by looking at training data only. Its
        largest entry is between 2^-100 and 2^100.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    mapped_filtration_ : Filtration
        The clone of `filtration` that was fitted on the images.

    Raises
    ------
    ValueError
        At :meth:`fit`, for matrices that are no such thing or do not fit the clouds.
    TypeError
        If `filtration` is none, or takes images or matrices.

    See Also
    --------
    squeeze : Matrices of the plane.

    Notes
    -----
    No stage in front of a filtration may divide each cloud by a scale of its own: that has no
    constant (D8). One matrix for all clouds has: points move by ε, their images by at most ‖A‖₂ ε
    in every metric here, per point, in Hausdorff distance and in Frobenius norm, so the constants
    are those of `filtration` times ‖A‖₂, the largest singular value.

    Examples
    --------
    Two points 4 apart, seen along the axis between them and across it:

    >>> from stablerank.diagrams import AlphaPersistence, squeeze
    >>> pair = [[[0.0, 0.0], [4.0, 0.0]]]
    >>> along = AnisotropicPersistence(AlphaPersistence((0,)), squeeze(0, 0.5))
    >>> across = AnisotropicPersistence(AlphaPersistence((0,)), squeeze(90, 0.5))
    >>> along.fit_transform(pair).diagram(0, 0), across.fit_transform(pair).diagram(0, 0)
    (array([[0., 2.]]), array([[0., 1.]]))
    >>> along.stability(HAUSDORFF).branches["H0"].constant
    1.0
    """

    def __init__(self, filtration: Any, matrix: ArrayLike) -> None:
        self.filtration = filtration
        self.matrix = matrix

    def stability(self, source: Space | None = None) -> Parallel:
        """Bounds from the points to the diagrams, one branch a homology dimension.

        Parameters
        ----------
        source : Space, optional
            Hausdorff distance, the largest displacement of a point, or the Frobenius norm, as far
            as the filtration knows it. Default: that of the filtration.

        Returns
        -------
        Parallel
            The filtration's constants times ‖A‖₂.

        Raises
        ------
        StabilityError
            For other metrics, and where the filtration raises.
        """
        if source not in (None, HAUSDORFF, PER_POINT, FROBENIUS):
            raise StabilityError(
                f"AnisotropicPersistence knows constants from {HAUSDORFF}, {PER_POINT} and "
                f"{FROBENIUS}, not from {source}."
            )
        inner = self._inner()
        bounds = inner.stability() if source is None else inner.stability(source)
        stretch = operator_norm(self._matrix())
        changed = {}
        for name, bound in bounds.branches.items():
            changed[name] = bound_of(
                type(inner).__name__,
                bound,
                constant=float(multiply_exact_or_up(bound.constant, stretch)),
                theorem=f"‖A‖₂ = {stretch:.4g}, {bound.theorem}",
                stage=f"{bound.stage} of linear images",
            )
        return Parallel(changed)

    def ball(
        self,
        diagrams: DiagramBatch,
        largest_values: NDArray[np.float64],
        epsilon: ArrayLike,
        *,
        source: Space = HAUSDORFF,
    ) -> DiagramBall:
        """As :meth:`bounds`, for clouds whose diagrams are known already.

        Parameters
        ----------
        diagrams : DiagramBatch
            What :meth:`transform` makes of the clouds.
        largest_values : ndarray of shape (n_clouds,), float64
            What :meth:`largest_values` says of them.
        epsilon : float or array-like of shape (n_clouds,)
            How far the adversary may move them, in the metric `source`.
        source : Space, default=HAUSDORFF
            One from which :meth:`stability` knows constants.

        Returns
        -------
        DiagramBall

        Notes
        -----
        Images move by ‖A‖₂ ε, and both, before and after, were computed: a coordinate is d products
        and their sum, off by γ_d Σ |A_ij| |x_j|, so an image by γ_d ‖A‖_F ‖x‖ and all of a cloud in
        Frobenius norm by γ_d ‖A‖_F ‖X‖_F (Cauchy–Schwarz). From there on it is the filtration's
        ball around the diagrams of the computed images.
        """
        sizes = check_epsilon(epsilon, len(diagrams))
        matrix = self._matrix()
        moved = multiply_up(sizes, operator_norm(matrix))
        rounding = _gamma(matrix) * _frobenius(matrix) * 2 * (largest_values + sizes) * (1 + 1e-12)
        reached = np.nextafter(moved + rounding, np.inf)
        ball: DiagramBall = self._fitted().ball(diagrams, largest_values, reached, source=source)
        return ball

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> DiagramBall:
        """All diagrams of the clouds in which some points are changed.

        Those of the filtration: points that are deleted, added or replaced are deleted, added or
        replaced among the computed images, which depend on nothing but the point.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        n_changes, threat
            As in :meth:`Filtration.bounds_points`.

        Returns
        -------
        DiagramBall
        """
        ball: DiagramBall = self._fitted().bounds_points(self.mapped(X), n_changes, threat=threat)
        return ball

    def relative_rounding(self) -> float:
        """A bound on the error of a value, relative to what `largest_values` says.

        Notes
        -----
        Let L be that and ε how far points move. The filtration is off by its own relative rounding
        u times L + ‖A‖₂ ε, and it sees images that are off by γ_d ‖A‖_F (L + ε), which it
        multiplies with its constant c. Sum: (max(1, ‖A‖₂) u + c γ_d ‖A‖_F) (L + ε).
        """
        inner, matrix = self._inner(), self._matrix()
        own = _gamma(matrix) * _frobenius(matrix) * _constant(inner)
        return float((inner.relative_rounding() * max(1.0, operator_norm(matrix)) + own) * 1.0001)

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """An upper bound of births and deaths, and of what coordinates round by.

        The filtration's largest value of the images, and √(n d) times the largest coordinate, which
        is above the Frobenius norm of the cloud.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        clouds = check_clouds(X, dimension=self.dimension_)
        values: NDArray[np.float64] = self._fitted().largest_values(self._map(clouds))
        norms = [float(np.abs(cloud).max()) * math.sqrt(cloud.size) for cloud in clouds]
        return (values + np.array(norms)) * (1 + 1e-15)

    def _matrix(self) -> NDArray[np.float64]:
        return np.asarray(self.matrix, dtype=np.float64)

    def _map(self, clouds: Sequence[Cloud]) -> list[Cloud]:
        matrix = self._matrix()
        d = clouds[0].shape[1]
        if matrix.shape[1] != d:
            raise ValueError(
                f"matrix has {matrix.shape[1]} columns, but X[0] lies in R^{d}: expected shape "
                f"(m, {d})."
            )
        return [linear_image(cloud, list(matrix.T)) for cloud in clouds]

    def _check_map(self) -> None:
        expected = "expected a finite real matrix of shape (m, d), such as squeeze(45, 0.5)."
        try:
            matrix = np.asarray(self.matrix)
            if matrix.dtype.kind not in "iuf":
                raise TypeError
        except (TypeError, ValueError):
            raise ValueError(f"matrix={self.matrix!r}: {expected}") from None
        if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
            raise ValueError(f"matrix={self.matrix!r}: {expected}")
        largest = float(np.abs(matrix.astype(np.float64)).max())
        if not _SMALLEST_ENTRY <= largest <= _LARGEST_ENTRY:
            raise ValueError(
                f"matrix: its largest entry is {largest:g} in absolute value: expected one between "
                f"2^-100 and 2^100. Scale it; the network scales its inputs itself."
            )


def _constant(filtration: Any) -> float:
    """The filtration's largest constant from displacements of points."""
    for source in (PER_POINT, HAUSDORFF):
        try:
            branches = filtration.stability(source).branches
            return float(max(bound.constant for bound in branches.values()))
        except StabilityError:
            continue
    raise StabilityError(f"{type(filtration).__name__} has no constant for points that move.")


def _gamma(matrix: NDArray[np.float64]) -> float:
    return float((matrix.shape[1] + 1) * UNIT_ROUNDOFF)


def _frobenius(matrix: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(matrix)) * (1 + 1e-12)
