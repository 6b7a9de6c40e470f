"""Vietoris–Rips persistence of clouds and dissimilarity matrices, in edge lengths (D2, D3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from gudhi.sklearn import RipsPersistence as GudhiRips
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from stablerank.diagrams.batch import Diagram
from stablerank.diagrams.clouds import check_clouds, power_of_two_scale
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, Filtration
from stablerank.stability import (
    BOTTLENECK,
    HAUSDORFF,
    ORDERED_DEATHS,
    SUP,
    Bound,
    Parallel,
    Space,
    StabilityError,
)


class RipsPersistence(Filtration):
    """Persistence diagrams of the Vietoris–Rips filtration, with edge lengths as values.

    H0 comes from single linkage, higher dimensions from Ripser inside GUDHI. Two points at
    distance 4 merge at 4.

    Parameters
    ----------
    homology_dimensions : tuple of int, default=(0, 1)
        Dimension 2 and above cost much time and memory on more than some hundred points.
    metric : {"euclidean", "precomputed"}, default="euclidean"
        "precomputed": every input is a symmetric, non-negative (n_points, n_points) matrix with
        zeros on its diagonal; the triangle inequality is not needed.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.

    Attributes
    ----------
    dimension_ : int or None
        The dimension d of the space that was fitted; None for dissimilarities.

    References
    ----------
    .. [1] Chazal, de Silva, Oudot (2014), "Persistence stability for geometric complexes",
       Geometriae Dedicata 173.
    .. [2] Bauer (2021), "Ripser: efficient computation of Vietoris–Rips persistence barcodes",
       Journal of Applied and Computational Topology 5.

    Examples
    --------
    >>> rectangle = [[0, 0], [3, 0], [3, 4], [0, 4]]
    >>> diagrams = RipsPersistence().fit_transform([rectangle])
    >>> diagrams.diagram(0, 0)[:, 1], diagrams.diagram(0, 1)
    (array([4., 3., 3.]), array([[4., 5.]]))
    """

    def __init__(
        self,
        homology_dimensions: Sequence[int] = (0, 1),
        metric: Literal["euclidean", "precomputed"] = "euclidean",
        n_jobs: int | None = None,
    ) -> None:
        self.homology_dimensions = homology_dimensions
        self.metric = metric
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> RipsPersistence:
        """Check parameters and inputs, and remember the dimension of the space.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or (n_points, n_points) if precomputed
            The clouds, or the dissimilarities.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or inputs; the message names the index of the cloud.
        """
        super().fit(X)
        if self.metric == "precomputed":
            self.dimension_ = None
        return self

    def stability(self, source: Space | None = None) -> Parallel:
        """Bounds from the points, or the dissimilarities, to the diagrams.

        Parameters
        ----------
        source : Space, optional
            ``HAUSDORFF`` for clouds (the default there), ``SUP`` for dissimilarities: the largest
            change of an entry, the points being the same.

        Returns
        -------
        Parallel
            One branch a homology dimension. Clouds: constant 2 (D2; H0 by ordered deaths, D3: the
            union of balls of half the edge length has the same components). Dissimilarities:
            constant 1.

        Raises
        ------
        StabilityError
            For other metrics.
        """
        expected = SUP if self.metric == "precomputed" else HAUSDORFF
        if source is None:
            source = expected
        if source != expected:
            raise StabilityError(
                f"RipsPersistence(metric={self.metric!r}) knows constants from {expected}, not from "
                f"{source}."
            )
        constant = 2.0 if source == HAUSDORFF else 1.0
        theorem = (
            "D2: Chazal, de Silva, Oudot 2014"
            if source == HAUSDORFF
            else "D2: ‖D − D′‖∞, same points"
        )
        deaths = "D3: components map onto" if source == HAUSDORFF else "D3: minimax paths move by ε"
        return Parallel(
            {
                f"H{k}": Bound(source, ORDERED_DEATHS, constant, deaths, "Rips")
                if k == 0
                else Bound(source, BOTTLENECK, constant, theorem, "Rips")
                for k in self._sorted_dimensions()
            }
        )

    def relative_rounding(self) -> float:
        """The rounding of a Euclidean distance in R^d; dissimilarities are taken as they are."""
        return (self.dimension_ + 8) * UNIT_ROUNDOFF if self.dimension_ is not None else 0.0

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        if self.metric == "euclidean":
            return check_clouds(X, dimension=dimension)
        return check_dissimilarities(X)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.metric not in ("euclidean", "precomputed"):
            raise ValueError(f'metric={self.metric!r}: expected "euclidean" or "precomputed".')

    def _diagrams(self, clouds: Sequence[NDArray[np.float64]]) -> list[dict[int, Diagram]]:
        return [self._diagram(cloud) for cloud in clouds]

    def _diagram(self, cloud: NDArray[np.float64]) -> dict[int, Diagram]:
        scale = power_of_two_scale(cloud)
        if self.metric == "euclidean":
            condensed = pdist(cloud * scale)
        else:
            condensed = squareform(cloud * scale, checks=False)
        diagrams = {k: np.empty((0, 2)) for k in self.homology_dimensions}
        if len(cloud) == 1:
            return diagrams
        if 0 in diagrams:
            deaths = linkage(condensed, method="single")[:, 2] / scale
            diagrams[0] = np.column_stack([np.zeros_like(deaths), deaths])
        higher = [k for k in diagrams if k > 0]
        if higher:
            ripser = GudhiRips(
                homology_dimensions=higher, input_type="full distance matrix", num_collapses=0
            )
            bars = ripser.fit_transform([squareform(condensed)])[0]
            diagrams.update(
                {k: b.reshape(-1, 2) / scale for k, b in zip(higher, bars, strict=True)}
            )
        return diagrams


def check_dissimilarities(X: Any, *, name: str = "X") -> list[NDArray[np.float64]]:
    """Validate symmetric, non-negative matrices with a zero diagonal; sizes may differ.

    Parameters
    ----------
    X : sequence of array-like of shape (n_points, n_points)
        Symmetric to the last bit: what is not makes Ripser answer nonsense silently.
    name : str, default="X"
        The argument's name, for messages.

    Returns
    -------
    list of ndarray of shape (n_points, n_points), float64

    Raises
    ------
    ValueError
        For anything else, naming the index of the matrix and the entry.
    """
    matrices = []
    if hasattr(X, "__len__") and len(X) == 0:
        raise ValueError(f"{name} is empty: there is no matrix in it.")
    for i, matrix in enumerate(X):
        where = f"{name}[{i}]"
        (array,) = _rename(matrix, where)
        if array.shape[0] != array.shape[1]:
            raise ValueError(
                f"{where} has shape {array.shape}: a dissimilarity matrix is square. For points "
                f'use metric="euclidean".'
            )
        if np.diagonal(array).any():
            k = int(np.flatnonzero(np.diagonal(array))[0])
            raise ValueError(f"{where}[{k}, {k}] is {array[k, k]!r}: the diagonal must be zero.")
        if (array < 0).any():
            k, j = np.argwhere(array < 0)[0]
            raise ValueError(
                f"{where}[{k}, {j}] is {array[k, j]!r}: dissimilarities are not negative."
            )
        if not np.array_equal(array, array.T):
            k, j = np.argwhere(array != array.T)[0]
            raise ValueError(
                f"{where} is not symmetric: [{k}, {j}] is {array[k, j]!r}, [{j}, {k}] is "
                f"{array[j, k]!r}. Symmetrise it, e.g. by np.maximum(D, D.T)."
            )
        matrices.append(array)
    return matrices


def _rename(matrix: Any, where: str) -> list[NDArray[np.float64]]:
    try:
        return check_clouds([matrix], name="X")
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("X[0]", where)) from None
