"""Vietoris–Rips persistence of clouds and dissimilarity matrices, in edge lengths (D2, D3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from gudhi.sklearn import RipsPersistence as GudhiRips
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.exceptions import NotFittedError

from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.canonical import bars_from_deaths
from stablerank.diagrams.clouds import (
    check_array,
    check_clouds,
    check_list,
    flatten_clouds,
    largest_distances,
    power_of_two_scale,
)
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, Filtration
from stablerank.diagrams.spanning_tree import spanning_trees
from stablerank.diagrams.tree_stability import with_deaths_in_l2
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    ORDERED_DEATHS,
    SUP,
    Bound,
    Parallel,
    Space,
    StabilityError,
    sqrt_up,
)

_EXPECTED = "Expected a list of square (n_points, n_points) arrays."


class RipsPersistence(Filtration):
    """Persistence diagrams of the Vietoris–Rips filtration, with edge lengths as values.

    H0 comes from a minimum spanning tree (of points without any matrix of distances; single linkage
    for dissimilarities), higher dimensions from Ripser inside GUDHI. Two points at distance 4 merge
    at 4.

    Parameters
    ----------
    homology_dimensions : tuple of int, default=(0, 1)
        Dimension 2 and above cost much time and memory on more than some hundred points.
    metric : {"euclidean", "precomputed"}, default="euclidean"
        "precomputed": every input is a symmetric, non-negative (n_points, n_points) matrix with
        zeros on its diagonal; the triangle inequality is not needed.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.
    max_edge_length : float, optional
        T: births and deaths beyond are clipped to T, and bars that are born there are gone. Ripser
        looks at no longer edge, which saves time and memory. Clipping moves no two diagrams
        further apart, so all constants stay; leaving out the bars that die beyond T would make
        them jump (D8).

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

    delayed_by_deletion = True

    def __init__(
        self,
        homology_dimensions: Sequence[int] = (0, 1),
        metric: Literal["euclidean", "precomputed"] = "euclidean",
        n_jobs: int | None = None,
        max_edge_length: float | None = None,
    ) -> None:
        self.homology_dimensions = homology_dimensions
        self.metric = metric
        self.n_jobs = n_jobs
        self.max_edge_length = max_edge_length

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
            ``HAUSDORFF`` for clouds (the default there) or ``FROBENIUS``, ``SUP`` for
            dissimilarities: the largest change of an entry, the points being the same.

        Returns
        -------
        Parallel
            One branch a homology dimension. Clouds: constant 2 (D2; H0 by ordered deaths, D3: the
            union of balls of half the edge length has the same components); in Frobenius norm √2
            (D6), by which two points of total displacement ‖(δ_i, δ_j)‖₂ <= ‖δ‖_F can change their
            distance. Dissimilarities: constant 1.

        Raises
        ------
        StabilityError
            For other metrics.
        """
        expected = SUP if self.metric == "precomputed" else HAUSDORFF
        if source is None:
            source = expected
        known = {
            HAUSDORFF: (2.0, "D2: Chazal, de Silva, Oudot 2014", "D3: components map onto"),
            FROBENIUS: (sqrt_up(2.0), "D6: edges and their maxima", "D6: minimax paths of edges"),
            SUP: (1.0, "D2: ‖D − D′‖∞, same points", "D3: minimax paths move by ε"),
        }
        names = f"{SUP}" if expected == SUP else f"{HAUSDORFF} and {FROBENIUS}"
        if source not in known or (source == SUP) != (expected == SUP):
            raise StabilityError(
                f"RipsPersistence(metric={self.metric!r}) knows constants from {names}, not from "
                f"{source}."
            )
        constant, theorem, deaths = known[source]
        return Parallel(
            {
                f"H{k}": Bound(source, ORDERED_DEATHS, constant, deaths, "Rips")
                if k == 0
                else Bound(source, BOTTLENECK, constant, theorem, "Rips")
                for k in self._sorted_dimensions()
            }
        )

    def l2_stability(self, source: Space = FROBENIUS) -> Parallel:
        """As :meth:`stability`, but the deaths of H0 all together, in ℓ2 (D7).

        They are the edge lengths of a minimum spanning tree, and move by at most 2 ‖δ‖_F on the
        line, √6 ‖δ‖_F in the plane; see `tree_constant`.

        Parameters
        ----------
        source : Space, default=FROBENIUS
            The metric in which points move: the Frobenius norm of their displacements.

        Returns
        -------
        Parallel

        Raises
        ------
        StabilityError
            For other metrics and dissimilarities, without H0, in spaces of more than four
            dimensions, and before `fit`.
        """
        bounds = self.stability(source)
        return with_deaths_in_l2(bounds, source, 1.0, getattr(self, "dimension_", None))

    def relative_rounding(self) -> float:
        """The rounding of a Euclidean distance in R^d; dissimilarities are taken as they are."""
        if self.metric == "precomputed":
            return 0.0
        dimension: int | None = getattr(self, "dimension_", None)
        if dimension is None:  # not fitted, or fitted for the other metric
            raise NotFittedError("RipsPersistence knows no dimension of the space yet: fit it.")
        return (dimension + 8) * UNIT_ROUNDOFF

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The diameter of each cloud, or the largest dissimilarity: the complex is a simplex there.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or (n_points, n_points) if precomputed
            The clouds, or the dissimilarities.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        if self.metric == "precomputed":
            return np.array([matrix.max() for matrix in check_dissimilarities(X)])
        return largest_distances(check_clouds(X))

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        if self.metric == "euclidean":
            return check_clouds(X, dimension=dimension)
        return check_dissimilarities(X)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.metric not in ("euclidean", "precomputed"):
            raise ValueError(f'metric={self.metric!r}: expected "euclidean" or "precomputed".')
        longest = self.max_edge_length
        real = isinstance(longest, (int, float, np.number)) and not isinstance(longest, bool)
        if longest is not None and not (real and 0 < longest < np.inf):  # NaN fails this too
            raise ValueError(
                f"max_edge_length={longest!r}: expected a finite number above 0, or None."
            )

    def _diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        found = self._whole_diagrams(clouds)
        if self.max_edge_length is None:
            return found
        longest = float(self.max_edge_length)
        return [{k: np.minimum(bars, longest) for k, bars in own.items()} for own in found]

    def _whole_diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        """Before they are clipped; deaths beyond the longest edge may be infinite."""
        higher = [int(k) for k in self.homology_dimensions if k > 0]
        if self.metric == "precomputed":
            return [self._of_dissimilarities(matrix) for matrix in clouds]
        diagrams: list[dict[int, Diagram]] = [{} for _ in clouds]
        if 0 in self.homology_dimensions:
            trees = spanning_trees(*flatten_clouds(clouds))
            bars = bars_from_deaths(trees.lengths, trees.offsets)
            components = DiagramBatch({0: bars}, {0: trees.offsets})
            if not higher:
                return components
            diagrams = list(components)
        for diagram, cloud in zip(diagrams, clouds, strict=True):
            scale = power_of_two_scale(cloud)
            distances = squareform(pdist(cloud * scale))
            diagram.update(_ripser(distances, higher, scale, self._threshold(scale)))
        return diagrams

    def _of_dissimilarities(self, matrix: NDArray[np.float64]) -> dict[int, Diagram]:
        # Nothing is squared: the entries themselves are the values.
        diagram: dict[int, Diagram] = {}
        if 0 in self.homology_dimensions:
            diagram[0] = np.empty((0, 2))
            if len(matrix) > 1:
                condensed = squareform(matrix, checks=False)
                deaths = linkage(condensed, method="single")[:, 2]
                diagram[0] = np.column_stack([np.zeros_like(deaths), deaths])
        higher = [int(k) for k in self.homology_dimensions if k > 0]
        return diagram | _ripser(matrix, higher, 1.0, self._threshold(1.0))

    def _threshold(self, scale: float) -> float:
        longest = math.inf if self.max_edge_length is None else float(self.max_edge_length)
        return longest * scale


def _ripser(
    distances: NDArray[np.float64], dimensions: list[int], scale: float, threshold: float
) -> dict[int, Diagram]:
    """The bars of the flag complex in dimensions above 0, divided by `scale`.

    Those that are not over at the threshold die at infinity.
    """
    if not dimensions or len(distances) == 1:
        return {k: np.empty((0, 2)) for k in dimensions}
    ripser = GudhiRips(
        homology_dimensions=dimensions,
        input_type="full distance matrix",
        num_collapses=0,
        threshold=threshold,
    )
    bars = ripser.fit_transform([distances])[0]
    return {k: b.reshape(-1, 2) / scale for k, b in zip(dimensions, bars, strict=True)}


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
        If there is no matrix, or one is not square, not symmetric, not finite, negative or not
        zero on its diagonal; the message names the index of the matrix and the entry.
    TypeError
        If `X` is no sequence, or what it holds is not real numbers.
    """
    items = check_list(X, name=name, expected=_EXPECTED)
    return [_check_dissimilarity(item, f"{name}[{i}]") for i, item in enumerate(items)]


def _check_dissimilarity(item: Any, where: str) -> NDArray[np.float64]:
    matrix = check_array(item, where, "expected a square (n_points, n_points) matrix.")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{where} has shape {matrix.shape}: a dissimilarity matrix is square. For points use "
            f'metric="euclidean".'
        )
    not_finite, negative = ~np.isfinite(matrix), matrix < 0
    if not_finite.any():
        raise ValueError(
            f"{where}{_entry(matrix, not_finite)}: dissimilarities are finite. For points that are "
            f"not connected take a number larger than all others."
        )
    if negative.any():
        raise ValueError(f"{where}{_entry(matrix, negative)}: dissimilarities are not negative.")
    on_diagonal = np.diag(np.diagonal(matrix) != 0)
    if on_diagonal.any():
        raise ValueError(f"{where}{_entry(matrix, on_diagonal)}: the diagonal must be zero.")
    asymmetric = matrix != matrix.T
    if asymmetric.any():
        raise ValueError(
            f"{where} is not symmetric: {_entry(matrix, asymmetric)}, "
            f"{_entry(matrix.T, asymmetric, transposed=True)}. Symmetrise it, e.g. by "
            f"np.maximum(D, D.T)."
        )
    return matrix


def _entry(matrix: NDArray[np.float64], mask: NDArray[np.bool_], transposed: bool = False) -> str:
    """Name the first entry where `mask` is true, with its value."""
    row, column = (int(i) for i in np.argwhere(mask)[0])
    value = float(matrix[row, column])
    return f"[{column}, {row}] is {value!r}" if transposed else f"[{row}, {column}] is {value!r}"
