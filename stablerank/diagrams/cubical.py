"""Persistence of functions on a grid by their sublevel sets: 2-D and 3-D images (fact D4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gudhi
import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import Diagram
from stablerank.diagrams.clouds import LARGEST_COORDINATE, check_array, check_list
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import BOTTLENECK, SUP, Bound, Parallel, Space, StabilityError

_EXPECTED = (
    "Expected a list of 2-D images, or of 3-D ones, or one array of shape (n_images, height, width)"
    " or (n_images, depth, height, width)."
)


class CubicalPersistence(Filtration):
    """Persistence diagrams of the sublevel sets of images, with the pixels as vertices.

    Neighbouring pixels are joined by edges, four (or eight) around a common place by a square (a
    cube), and each of these has the largest value of its pixels: so two dark pixels that touch only
    at a corner are not connected at their own value. The unit is that of the pixels. Negate images
    to see their bright parts.

    Parameters
    ----------
    homology_dimensions : tuple of int, default=(0, 1)
        Each below the number of axes.
    periodic : tuple of bool, optional
        For each axis whether its last pixel is a neighbour of its first; by default none is.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.

    Attributes
    ----------
    dimension_ : int
        The number of axes of the images that were fitted, 2 or 3.

    Raises
    ------
    ValueError
        For every bad image, with its index.

    Notes
    -----
    Classes that never die are dropped in all dimensions: the last component, and with periodic
    axes the loops around. How many there are depends on `periodic` alone, and no matching at a
    finite distance joins them with bars that die, so the bound below holds without them.

    References
    ----------
    .. [1] Cohen-Steiner, Edelsbrunner, Harer (2007), "Stability of persistence diagrams",
       Discrete & Computational Geometry 37.
    .. [2] Wagner, Chen, Vuçini (2012), "Efficient computation of persistent homology for cubical
       data", Topological Methods in Data Analysis and Visualization II.

    Examples
    --------
    A dark ring whose darkest pixels, 1 and 2, meet at 4, around a centre of 9:

    >>> image = [[1, 4, 4], [4, 9, 4], [4, 4, 2]]
    >>> diagrams = CubicalPersistence().fit_transform([image])
    >>> diagrams.diagram(0, 0), diagrams.diagram(0, 1)
    (array([[2., 4.]]), array([[4., 9.]]))
    """

    lowest_value = -np.inf

    def __init__(
        self,
        homology_dimensions: Sequence[int] = (0, 1),
        periodic: Sequence[bool] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.homology_dimensions = homology_dimensions
        self.periodic = periodic
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> CubicalPersistence:
        """Check parameters and images, and remember their number of axes.

        Parameters
        ----------
        X : list of ndarray of shape (height, width) or (depth, height, width)
            The images, all with 2 axes or all with 3; sizes may differ.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or images; the message names the index of the image.
        """
        self._check_parameters()
        self.dimension_ = self._check(X, None)[0].ndim
        return self

    def stability(self, source: Space = SUP) -> Parallel:
        """Bounds from the images to the diagrams, one branch a homology dimension.

        Parameters
        ----------
        source : Space, default=SUP
            The metric in which images move: the largest change of a pixel, the size being the same.

        Returns
        -------
        Parallel
            Bottleneck distance in every dimension, constant 1 (D4).

        Raises
        ------
        StabilityError
            For other metrics.
        """
        if source != SUP:
            raise StabilityError(
                f"CubicalPersistence knows constants from {SUP}, not from {source}."
            )
        theorem = "D4: Cohen-Steiner, Edelsbrunner, Harer 2007"
        return Parallel(
            {
                f"H{k}": Bound(SUP, BOTTLENECK, 1.0, theorem, "cubical")
                for k in self._sorted_dimensions()
            }
        )

    def relative_rounding(self) -> float:
        """Zero: births and deaths are pixels."""
        return 0.0

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The largest absolute value of each image.

        Parameters
        ----------
        X : list of ndarray of shape (height, width) or (depth, height, width)
            The images.

        Returns
        -------
        ndarray of shape (n_images,), float64
        """
        return np.array([np.abs(image).max() for image in check_images(X)])

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        images = check_images(X, dimension=dimension)
        n_axes = images[0].ndim
        if self.periodic is not None and len(self.periodic) != n_axes:
            raise ValueError(
                f"periodic={self.periodic!r} speaks of {len(self.periodic)} axes, but X[0] has "
                f"{n_axes}: give one bool an axis."
            )
        check_homology_dimensions(self.homology_dimensions, n_axes, "images with")
        return images

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.periodic is not None and not (
            isinstance(self.periodic, (tuple, list))
            and all(isinstance(axis, (bool, np.bool_)) for axis in self.periodic)
        ):
            raise ValueError(
                f"periodic={self.periodic!r}: expected None, or a tuple of one bool an axis."
            )

    def _diagrams(self, images: Sequence[NDArray[np.float64]]) -> list[dict[int, Diagram]]:
        periodic = self.periodic or (False,) * images[0].ndim
        return [sublevel_diagrams(image, periodic, self.homology_dimensions) for image in images]


def sublevel_diagrams(
    values: NDArray[np.float64], periodic: Sequence[bool], homology_dimensions: Sequence[int]
) -> dict[int, Diagram]:
    """Diagrams of the sublevel sets of one finite function on the vertices of a grid.

    Parameters
    ----------
    values : ndarray of one or more axes, float64
        Finite.
    periodic : sequence of bool
        One for each axis.
    homology_dimensions : sequence of int

    Returns
    -------
    dict of int to ndarray of shape (n_bars, 2), float64
        Bars of positive and finite length.
    """
    grid = _reduced_complex(values, periodic)
    diagrams = {}
    for k in homology_dimensions:
        bars = grid.persistence_intervals_in_dimension(k).reshape(-1, 2)
        diagrams[k] = bars[np.isfinite(bars[:, 1])]
    return diagrams


def sublevel_vertices(
    values: NDArray[np.float64], periodic: Sequence[bool], homology_dimensions: Sequence[int]
) -> dict[int, NDArray[np.int64]]:
    """Where the bars of :func:`sublevel_diagrams` begin and end.

    Parameters
    ----------
    values, periodic, homology_dimensions
        As there.

    Returns
    -------
    dict of int to ndarray of shape (n_bars, 2), int64
        The two vertices whose values are birth and death, as indices of ``values.reshape(-1)``; in
        no particular order, bars of length zero among them. Of vertices that have the same value
        and share a cell one is taken.

    Examples
    --------
    >>> image = np.array([[1.0, 4.0, 4.5], [4.1, 9.0, 4.4], [4.2, 4.3, 2.0]])
    >>> vertices = sublevel_vertices(image, (False, False), (1,))[1]
    >>> vertices, image.reshape(-1)[vertices]
    (array([[2, 4]]), array([[4.5, 9. ]]))
    """
    finite, _ = _reduced_complex(values, periodic).vertices_of_persistence_pairs()
    vertices = {}
    for k in homology_dimensions:
        pairs = np.asarray(finite[k] if k < len(finite) else [], dtype=np.int64).reshape(-1, 2)
        # GUDHI numbers vertices with the first axis running fastest
        places = np.unravel_index(pairs, values.shape, order="F")
        vertices[k] = np.asarray(np.ravel_multi_index(places, values.shape), dtype=np.int64)
    return vertices


def _reduced_complex(values: NDArray[np.float64], periodic: Sequence[bool]) -> Any:
    if any(periodic):
        grid = gudhi.PeriodicCubicalComplex(
            vertices=values, periodic_dimensions=[bool(axis) for axis in periodic]
        )
    else:
        grid = gudhi.CubicalComplex(vertices=values)
    grid.compute_persistence()
    return grid


def check_homology_dimensions(homology_dimensions: Sequence[int], n_axes: int, what: str) -> None:
    """Refuse homology in which a grid of that many axes can have no bars of finite length.

    Raises
    ------
    ValueError
        If one is not below the number of axes.
    """
    if max(homology_dimensions) >= n_axes:
        raise ValueError(
            f"homology_dimensions={homology_dimensions!r}: {what} {n_axes} axes have no bars in "
            f"dimension {max(homology_dimensions)}; ask for dimensions below {n_axes}."
        )


def check_images(
    X: Any, *, name: str = "X", dimension: int | None = None
) -> list[NDArray[np.float64]]:
    """Validate images and return them as C-contiguous float64 arrays.

    Parameters
    ----------
    X : sequence of array-like of 2 or 3 axes, or array of 3 or 4 axes
        Real numbers or integers. A 3-D array is a stack of 2-D images, never one 3-D image. Sizes
        may differ from image to image, the number of axes may not.
    name : str, default="X"
        The argument's name, for messages.
    dimension : int, optional
        The number of axes that is expected, when an earlier step has fixed it.

    Returns
    -------
    list of ndarray, float64

    Raises
    ------
    ValueError
        If there is no image, or one is empty, ragged, not finite, beyond 2^1000, or has another
        number of axes; the message names the index of the image.
    TypeError
        If `X` is no sequence, or what it holds is not real numbers.
    """
    images: list[NDArray[np.float64]] = []
    for i, item in enumerate(check_list(X, name=name, expected=_EXPECTED, ndim=(3, 4))):
        where = f"{name}[{i}]"
        image = check_array(item, where, "expected an image of 2 or 3 axes.", ndim=(2, 3))
        expected, why = (
            (dimension, "the images that were fitted have")
            if dimension is not None
            else (images[0].ndim if images else image.ndim, f"{name}[0] has")
        )
        if image.ndim != expected:
            raise ValueError(
                f"{where} has {image.ndim} axes, shape {image.shape}, but {why} {expected}. All "
                f"images of a model have the same number of axes."
            )
        bad = ~(np.abs(image) <= LARGEST_COORDINATE)  # true for NaN
        if bad.any():
            pixel = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(
                f"{where} has {int(bad.sum())} of {image.size} pixels that are NaN, infinite or "
                f"beyond 2^1000 (first: {pixel} is {image[pixel].item()!r}). Persistence needs "
                f"finite values: repair them before transform."
            )
        images.append(image)
    return images
