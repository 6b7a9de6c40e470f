"""Persistence of fixed landmarks: a filtration of the same few points of every cloud.

Fixed means fixed by their place in the cloud, before any cloud is seen. Landmarks that are chosen
in each cloud anew, by farthest points or at random, are others after the slightest move (D8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.clouds import Cloud
from stablerank.diagrams.mapped import MappedPersistence, bound_of
from stablerank.stability import FROBENIUS, HAUSDORFF, PER_POINT, Parallel, Space, StabilityError


class LandmarkPersistence(MappedPersistence):
    """Persistence diagrams of the points with the given indices, the same in every cloud.

    For clouds whose points have an identity, such as the markers of a body or the nodes of a mesh,
    and for those that were drawn in a random order: their first points are a sample.

    Parameters
    ----------
    filtration : Filtration
        What computes the diagrams of the landmarks: of clouds, such as ``AlphaPersistence()`` or
        ``RipsPersistence()``.
    indices : tuple or list of int
        Which rows of each cloud are kept, different integers >= 0.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    mapped_filtration_ : Filtration
        The clone of `filtration` that was fitted on the landmarks.

    Raises
    ------
    ValueError
        At :meth:`fit`, for indices that are no such thing, and for ``"farthest"``, ``"random"`` or
        any other rule that samples each cloud anew: fact D8. For clouds with too few points, with
        their index.
    TypeError
        If `filtration` is none, or takes images or matrices.

    Notes
    -----
    If every point moves by at most ε, so does every landmark; and the displacements of the
    landmarks are some of all, so their Frobenius norm is not larger. From both metrics the
    constants are those of `filtration`, the factor being 1. Nothing is known where points lose
    their identity: the same points in another order are at Hausdorff distance 0 and have other
    landmarks, and so has a cloud in which one point before a landmark is deleted.

    Examples
    --------
    The corners of a square, without its centre:

    >>> from stablerank.diagrams import AlphaPersistence
    >>> cloud = [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [1.0, 1.0]]
    >>> corners = LandmarkPersistence(AlphaPersistence((1,)), indices=(0, 1, 2, 3))
    >>> corners.fit_transform([cloud]).diagram(0, 1).round(3)
    array([[1.   , 1.414]])
    >>> corners.stability().branches["H1"].constant
    1.0
    """

    def __init__(self, filtration: Any, indices: Sequence[int]) -> None:
        self.filtration = filtration
        self.indices = indices

    @property
    def fewest_points(self) -> int:
        """So many that the last landmark is among them."""
        return max(self.indices) + 1

    def stability(self, source: Space = PER_POINT) -> Parallel:
        """Bounds from the points to the diagrams, one branch a homology dimension.

        Parameters
        ----------
        source : Space, default=PER_POINT
            The metric in which points move: ``PER_POINT``, or ``FROBENIUS`` as far as the
            filtration knows it.

        Returns
        -------
        Parallel
            The filtration's constants.

        Raises
        ------
        StabilityError
            For the Hausdorff distance (D8) and other metrics, and where the filtration raises.
        """
        if source == HAUSDORFF:
            raise StabilityError(
                f"LandmarkPersistence is not stable from {HAUSDORFF}: the same points in another "
                f"order are at distance 0, and the landmarks are others (D8). Use a threat that "
                f'keeps the identity of the points, such as "per_point", or all points.'
            )
        if source not in (PER_POINT, FROBENIUS):
            raise StabilityError(
                f"LandmarkPersistence knows constants from {PER_POINT} and {FROBENIUS}, not from "
                f"{source}."
            )
        inner = self._inner()
        bounds = inner.stability(self._inner_source(source))
        changed = {}
        for name, bound in bounds.branches.items():
            stage = f"{bound.stage} of fixed landmarks"
            changed[name] = bound_of(type(inner).__name__, bound, source=source, stage=stage)
        return Parallel(changed)

    def ball(
        self,
        diagrams: DiagramBatch,
        largest_values: NDArray[np.float64],
        epsilon: ArrayLike,
        *,
        source: Space = PER_POINT,
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
        source : Space, default=PER_POINT
            One from which :meth:`stability` knows constants.

        Returns
        -------
        DiagramBall
            The filtration's, of the landmarks, which are not computed but taken.
        """
        self.stability(source)
        ball: DiagramBall = self._fitted().ball(
            diagrams, largest_values, epsilon, source=self._inner_source(source)
        )
        return ball

    def bounds(self, X: Any, epsilon: ArrayLike, *, source: Space = PER_POINT) -> DiagramBall:
        """As that of every filtration, with `source` the per-point metric by default."""
        return super().bounds(X, epsilon, source=source)

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> DiagramBall:
        """Refused: landmarks behind a point that is deleted or added are others.

        Raises
        ------
        StabilityError
            Always.
        """
        raise StabilityError(
            f'LandmarkPersistence knows no bound for threat="{threat}": behind a point that is '
            f"deleted or added every index names another point (D8). Use all points."
        )

    def relative_rounding(self) -> float:
        """That of the filtration: landmarks are the points themselves."""
        return float(self._inner().relative_rounding())

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The filtration's upper bound of births and deaths, of the landmarks.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        values: NDArray[np.float64] = self._fitted().largest_values(self.mapped(X))
        return values

    def _inner_source(self, source: Space) -> Space:
        """The metric in which the filtration is asked: per-point ε is Hausdorff ε of landmarks."""
        if source != PER_POINT:
            return source
        try:
            self._inner().stability(PER_POINT)
        except StabilityError:
            return HAUSDORFF
        return PER_POINT

    def _map(self, clouds: Sequence[Cloud]) -> list[Cloud]:
        needed, rows = self.fewest_points, np.array(self.indices)
        for i, cloud in enumerate(clouds):
            if len(cloud) < needed:
                raise ValueError(
                    f"X[{i}] has {len(cloud)} points, but the last landmark is point {needed - 1}: "
                    f"expected at least {needed} points. Drop the cloud, or take earlier indices."
                )
        return [cloud[rows] for cloud in clouds]

    def _check_map(self) -> None:
        indices: Any = self.indices
        if isinstance(indices, str):
            raise ValueError(
                f"indices={indices!r}: landmarks that are sampled in each cloud anew, by farthest "
                f"points or at random, jump to other points at the slightest move, so nothing "
                f"behind them could be certified (D8). Give fixed indices, such as "
                f"tuple(range(100))."
            )
        # no integers of NumPy: a model that was read from a file has those of Python
        legal = isinstance(indices, (tuple, list)) and all(type(i) is int for i in indices)
        if not legal or not indices or min(indices) < 0 or len(set(indices)) < len(indices):
            raise ValueError(
                f"indices={indices!r}: expected a tuple of different integers >= 0, such as "
                f"tuple(range(100)), or tuple(array.tolist()) of an array."
            )
