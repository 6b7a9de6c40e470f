"""Persistence that sees direction: a filtration of the clouds' images under one linear map.

Balls become ellipses. Lengths along some direction count in full and across it less, the same for
every cloud, so a few such maps side by side tell clouds apart that bare distances confuse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.cubical import CubicalPersistence
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, Filtration, check_epsilon
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    Bound,
    Parallel,
    Space,
    StabilityError,
    multiply_exact_or_up,
    multiply_up,
)

_SMALLEST_ENTRY, _LARGEST_ENTRY = 2.0**-100, 2.0**100


class AnisotropicPersistence(Filtration):
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
    image_filtration_ : Filtration
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

    >>> from stablerank.diagrams import AlphaPersistence
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

    @property
    def homology_dimensions(self) -> Sequence[int]:  # type: ignore[override]
        """Those of the filtration."""
        dimensions: Sequence[int] = self._inner().homology_dimensions
        return dimensions

    @property
    def n_jobs(self) -> int | None:  # type: ignore[override]
        """The workers of the filtration."""
        workers: int | None = self._inner().n_jobs
        return workers

    @property
    def lowest_value(self) -> float:  # type: ignore[override]
        """Nothing of the filtration is born before."""
        return float(self._inner().lowest_value)

    @property
    def fewest_points(self) -> int:
        """As of the filtration."""
        return int(self._inner().fewest_points)

    def fit(self, X: Any, y: Any = None) -> AnisotropicPersistence:
        """Check parameters and clouds, and fit a clone of the filtration on the images.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : ignored

        Returns
        -------
        self
        """
        self._check_parameters()
        clouds = check_clouds(X)
        fitted = clone(self.filtration).fit(self._images(clouds))
        self.dimension_, self.image_filtration_ = int(clouds[0].shape[1]), fitted
        return self

    def transform(self, X: Any) -> DiagramBatch:
        """Compute the persistence diagrams of the images.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds, in the dimension that was fitted.

        Returns
        -------
        DiagramBatch
            In the order of the clouds.

        Raises
        ------
        ValueError
            For bad clouds, with their index.
        """
        diagrams: DiagramBatch = self._fitted().transform(self.images(X))
        return diagrams

    def images(self, X: Any) -> list[Cloud]:
        """The clouds that the filtration gets.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds, in the dimension that was fitted.

        Returns
        -------
        list of ndarray of shape (n_points, m), float64
            Each point's image has the same bits whatever points stand beside it.
        """
        check_is_fitted(self, "image_filtration_")
        self._check_parameters()  # set_params may have changed them since fit
        return self._images(check_clouds(X, dimension=self.dimension_))

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
        return Parallel(
            {
                name: _stretched(bound, stretch, type(inner).__name__)
                for name, bound in bounds.branches.items()
            }
        )

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
        ball: DiagramBall = self._fitted().bounds_points(self.images(X), n_changes, threat=threat)
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
        values: NDArray[np.float64] = self._fitted().largest_values(self._images(clouds))
        norms = [float(np.abs(cloud).max()) * math.sqrt(cloud.size) for cloud in clouds]
        return (values + np.array(norms)) * (1 + 1e-15)

    def _inner(self) -> Any:
        return self.__dict__.get("image_filtration_", self.filtration)

    def _fitted(self) -> Any:
        check_is_fitted(self, "image_filtration_")
        return self.image_filtration_

    def _matrix(self) -> NDArray[np.float64]:
        return np.asarray(self.matrix, dtype=np.float64)

    def _images(self, clouds: Sequence[Cloud]) -> list[Cloud]:
        matrix = self._matrix()
        d = clouds[0].shape[1]
        if matrix.shape[1] != d:
            raise ValueError(
                f"matrix has {matrix.shape[1]} columns, but X[0] lies in R^{d}: expected shape "
                f"(m, {d})."
            )
        return [linear_image(cloud, list(matrix.T)) for cloud in clouds]

    def _check_parameters(self) -> None:
        filtration = self.filtration
        if not isinstance(filtration, Filtration):
            raise TypeError(
                f"filtration={filtration!r}: expected a filtration, such as AlphaPersistence()."
            )
        of_matrices = getattr(filtration, "metric", None) == "precomputed"
        if isinstance(filtration, CubicalPersistence) or of_matrices:
            raise TypeError(
                f"filtration={filtration!r} takes images or matrices, which have no points to map: "
                f"expected a filtration of clouds, such as AlphaPersistence()."
            )
        filtration._check_parameters()
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

    def _check(self, X: Any, dimension: int | None) -> list[Cloud]:
        clouds = check_clouds(X, dimension=dimension)
        self._inner()._check(self._images(clouds), None)
        return clouds

    def _diagrams(self, clouds: Sequence[Cloud]) -> DiagramBatch | list[dict[int, Diagram]]:
        diagrams: DiagramBatch | list[dict[int, Diagram]] = self._inner()._diagrams(
            self._images(clouds)
        )
        return diagrams


def squeeze(angle: float, factor: float) -> NDArray[np.float64]:
    """The matrix that leaves one direction of the plane as it is and shrinks across it.

    Parameters
    ----------
    angle : float
        The direction, in degrees from the first axis.
    factor : float
        What lengths across it are multiplied by, from 0 (projection) to 1 (nothing happens).

    Returns
    -------
    ndarray of shape (2, 2), float64
        Symmetric, with eigenvalues 1 and `factor`.

    Raises
    ------
    ValueError
        If the angle is not finite, or the factor is not between 0 and 1.

    Examples
    --------
    >>> squeeze(0, 0.5), squeeze(45, 0.5)
    (array([[1. , 0. ],
           [0. , 0.5]]), array([[0.75, 0.25],
           [0.25, 0.75]]))
    """
    if not math.isfinite(angle):
        raise ValueError(f"angle={angle!r}: expected a finite number of degrees.")
    if not 0 <= factor <= 1:
        raise ValueError(f"factor={factor!r}: expected a number between 0 and 1.")
    # cos² and sin² by the double angle, exact at multiples of 45 degrees
    twice = math.radians((2 * angle) % 360)
    quarter, exact = divmod((2 * angle) % 360, 90)
    cosine, sine = math.cos(twice), math.sin(twice)
    if exact == 0:
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter)]
    mean, half = (1 + factor) / 2, (1 - factor) / 2
    return np.array([[mean + half * cosine, half * sine], [half * sine, mean - half * cosine]])


def linear_image(points: Any, columns: Sequence[Any]) -> Any:
    """Ax for each row x of `points`, A given by its columns; arrays and tensors alike.

    Products and sums are taken in a fixed order, so the bits of an image depend on its point alone,
    which a matrix product does not promise, and are the same in NumPy and torch.

    Parameters
    ----------
    points : ndarray or Tensor of shape (n_points, d)
        Any points.
    columns : sequence of d ndarray or Tensor of shape (m,)
        Of the same kind.

    Returns
    -------
    ndarray or Tensor of shape (n_points, m)
    """
    image = points[:, :1] * columns[0]
    for j in range(1, len(columns)):
        image = image + points[:, j : j + 1] * columns[j]
    return image


def operator_norm(matrix: NDArray[np.float64]) -> float:
    """An upper bound of the largest singular value, tight to a few units of rounding.

    Parameters
    ----------
    matrix : ndarray of shape (m, d), float64
        Finite and small: the proof is exact arithmetic of min(m, d)³ operations.

    Returns
    -------
    float
        The least s that was tried, from the computed value upwards, for which s² I − AᵀA is
        positive semidefinite in rational arithmetic.

    Examples
    --------
    >>> operator_norm(np.array([[3.0, 0.0], [4.0, 0.0]]))
    5.0
    """
    entries = [[Fraction(value) for value in row] for row in matrix.tolist()]
    if len(entries) > len(entries[0]):
        entries = [list(column) for column in zip(*entries, strict=True)]
    gram = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in entries] for u in entries]
    norm, slack = float(np.linalg.norm(matrix, 2)), 2.0**-53
    while not _is_semidefinite(Fraction(norm) ** 2, gram):
        norm, slack = norm * (1 + slack) + 5e-324, 2 * slack
    return norm


def _is_semidefinite(square: Fraction, gram: list[list[Any]]) -> bool:
    """Whether square · I − gram has no negative eigenvalue: elimination with exact pivots."""
    n = len(gram)
    left = [[square * (i == j) - gram[i][j] for j in range(n)] for i in range(n)]
    for i in range(n):
        pivot = left[i][i]
        if pivot < 0 or (pivot == 0 and any(left[i][j] for j in range(i + 1, n))):
            return False
        for j in range(i + 1, n):
            if left[j][i]:
                factor = left[j][i] / pivot
                left[j] = [a - factor * b for a, b in zip(left[j], left[i], strict=True)]
    return True


def _stretched(bound: Any, stretch: float, name: str) -> Bound:
    if not isinstance(bound, Bound):
        raise StabilityError(f"{name} has a chain of bounds where one was expected.")
    return dataclasses.replace(
        bound,
        constant=float(multiply_exact_or_up(bound.constant, stretch)),
        theorem=f"‖A‖₂ = {stretch:.4g}, {bound.theorem}",
        stage=f"{bound.stage} of linear images",
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
