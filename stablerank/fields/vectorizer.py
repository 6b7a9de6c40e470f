"""What every stage from clouds straight to vectors shares: the door, workers, boxes, blocks."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.filtration import check_epsilon, is_integer
from stablerank.diagrams.workers import check_workers, map_chunks
from stablerank.stability import PER_POINT, Bound, Space, multiply_up

_SMALLEST = 2.0**-1074
_SUMS_OVERFLOW = 2.0**900  # of more values than there can be, and not before


class CloudVectorizer(TransformerMixin, BaseEstimator, ABC):
    """A scikit-learn transformer from clouds straight to vectors of distances.

    A new one defines ``_check_parameters``, ``fewest_points``, ``_vectors`` (from a chunk of
    checked clouds to vectors), ``_count_features``, ``stability``, ``largest_values`` and
    ``_relative_rounding``. One that knows what some points more or less do also defines
    ``bounds_points``, from clouds, a number and a threat to boxes.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    n_features_out_ : int
        The length of the vectors.
    """

    k: int | Sequence[int]
    blocks: int | None
    n_jobs: int | None
    dimension_: int
    n_features_out_: int

    def fit(self, X: Any, y: Any = None) -> Any:
        """Check parameters and clouds, and fix the length of the vectors.

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
        clouds = self._check(X, None)
        dimension = int(clouds[0].shape[1])
        self.n_features_out_ = self._count_features(dimension)
        self.dimension_ = dimension
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the vectors.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds, in the dimension that was fitted.

        Returns
        -------
        ndarray of shape (n_clouds, n_features_out_), float64
            In the unit of the points, none negative. The same bits whatever the order of the
            points and the other clouds.

        Raises
        ------
        ValueError
            If a cloud is empty, not finite, of another dimension or too small; its index is named.
        """
        parts: list[NDArray[np.float64]] = map_chunks(
            self._vectors,
            self._checked(X),
            n_jobs=self.n_jobs,
            prefer="threads",
            description="distances",
        )
        return np.stack(parts)

    @abstractmethod
    def stability(self, source: Space = PER_POINT) -> Bound:
        """The constant of each coordinate from `source`; into ℓ∞."""

    def bounds(
        self, X: Any, epsilon: ArrayLike, *, source: Space = PER_POINT
    ) -> tuple[Tensor, Tensor]:
        """Boxes that contain the computed vectors of all clouds that an adversary can hand in.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        epsilon : float or array-like of shape (n_clouds,)
            How far the adversary may move them, for all or each, in the metric `source`.
        source : Space, default=PER_POINT
            One from which :meth:`stability` knows constants.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features_out_), float64

        Raises
        ------
        StabilityError
            For other metrics.
        ValueError
            For bad clouds, and for epsilons that are negative, infinite or NaN.
        """
        return self.vector_box(self.transform(X), self.largest_values(X), epsilon, source=source)

    def vector_box(
        self,
        vectors: NDArray[np.float64],
        largest_values: NDArray[np.float64],
        epsilon: ArrayLike,
        *,
        source: Space = PER_POINT,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`bounds`, for clouds whose vectors are known already.

        Parameters
        ----------
        vectors : ndarray of shape (n_clouds, n_features_out_), float64
            What :meth:`transform` makes of the clouds.
        largest_values : ndarray of shape (n_clouds,), float64
            What :meth:`largest_values` says of them.
        epsilon, source
            As in :meth:`bounds`.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features_out_), float64

        Notes
        -----
        Every coordinate moves by at most its constant times ε, and no distance is negative. The
        computed vector of the cloud and that of the changed one are each off by
        :meth:`vector_rounding`.
        """
        bound = self.stability(source)
        sizes = check_epsilon(epsilon, len(vectors))
        with np.errstate(over="ignore"):  # infinity is a bound
            # whatever the constant, no point moves by more than epsilon in any of these metrics
            possible = (largest_values + max(bound.constant, 1.0) * sizes) * (1 + 1e-12)
            moved = multiply_up(sizes[:, None], np.array(bound.constants))
            reach = (moved + 2 * self.vector_rounding(possible)[:, None]) * (1 + 1e-15)
        lower = np.maximum(np.nextafter(vectors - reach, -np.inf), 0.0)
        upper = np.nextafter(vectors + reach, np.inf)
        return torch.from_numpy(lower), torch.from_numpy(upper)

    def vector_rounding(self, largest_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far computed vectors can be from exact ones.

        Parameters
        ----------
        largest_values : ndarray of shape (n_clouds,), float64
            Upper bounds of all distances.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
            A bound on the error of every coordinate.
        """
        check_is_fitted(self, "n_features_out_")
        # a distance below the normal numbers is rounded to a multiple of the smallest
        return np.asarray(self._relative_rounding() * largest_values + 4 * _SMALLEST)

    @property
    @abstractmethod
    def fewest_points(self) -> int:
        """Clouds of fewer points are bad: an adversary who leaves fewer hands in none."""

    @abstractmethod
    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """An upper bound of all distances that are measured in each cloud, shape (n_clouds,)."""

    @abstractmethod
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """A name for each coordinate."""

    @abstractmethod
    def _count_features(self, dimension: int) -> int: ...

    @abstractmethod
    def _vectors(self, clouds: Sequence[Cloud]) -> list[NDArray[np.float64]]:
        """The vector of each cloud of a chunk, run by a worker."""

    @abstractmethod
    def _relative_rounding(self) -> float:
        """A bound on the errors of a vector, relative to the largest distance of its cloud."""

    def _check_parameters(self) -> None:
        # arrays and ranges would not come back from a model's file as what they were
        ks = self._ks if is_integer(self.k) or isinstance(self.k, (list, tuple)) else ()
        if not ks or not all(is_integer(k) and k >= 1 for k in ks) or len(set(ks)) < len(ks):
            raise ValueError(
                f"k={self.k!r}: expected a number of points, 1 or more, or a list of several that "
                f"differ."
            )
        if self.blocks is not None and not (is_integer(self.blocks) and self.blocks >= 1):
            raise ValueError(f"blocks={self.blocks!r}: expected an integer, 1 or more.")
        check_workers(self.n_jobs)

    @property
    def _ks(self) -> tuple[int, ...]:
        return (self.k,) if is_integer(self.k) else tuple(self.k)  # type: ignore[return-value,arg-type]

    def _check(self, X: Any, dimension: int | None) -> list[Cloud]:
        clouds = check_clouds(X, dimension=dimension)
        for i, cloud in enumerate(clouds):
            if len(cloud) < self.fewest_points:
                raise ValueError(
                    f"X[{i}] has {len(cloud)} points, and k={self.k!r}, blocks={self.blocks!r} "
                    f"need at least {self.fewest_points}: drop it, or take smaller numbers."
                )
        return clouds

    def _checked(self, X: Any) -> list[Cloud]:
        check_is_fitted(self, "n_features_out_")
        self._check_parameters()  # set_params may have changed them since fit
        clouds = self._check(X, self.dimension_)
        if self._count_features(self.dimension_) != self.n_features_out_:
            raise ValueError("k, blocks or resolution changed since fit: call fit again.")
        return clouds

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.requires_fit = True
        return tags


def sorted_blocks(values: NDArray[np.float64], blocks: int | None) -> NDArray[np.float64]:
    """Values from the largest to the smallest, averaged over blocks of ranks of about equal size.

    Parameters
    ----------
    values : ndarray of shape (..., n), float64
        Not negative.
    blocks : int or None
        How many, at most n; None averages nothing.

    Returns
    -------
    ndarray of shape (..., blocks), float64
        Block j has the ranks from jn/blocks to (j+1)n/blocks, both rounded down.

    Notes
    -----
    1-Lipschitz in sup norm: the k-th largest of n values moves by no more than one of them does,
    and a mean by no more than one of its terms. Sums are rounded once, so that a mean is right to
    two units in the last place however long its block is, and monotone in the values bit for bit.

    Examples
    --------
    >>> sorted_blocks(np.array([1.0, 5.0, 2.0, 4.0, 0.0]), 2)
    array([4.5, 1. ])
    """
    ordered = np.sort(values, axis=-1)[..., ::-1]
    if blocks is None:
        return ordered
    n = values.shape[-1]
    ends = list(itertools.pairwise(j * n // blocks for j in range(blocks + 1)))
    rows = ordered.reshape(-1, n).tolist()
    means = [[_mean_of_ordered(row[start:stop]) for start, stop in ends] for row in rows]
    return np.array(means).reshape(*values.shape[:-1], blocks)


def _mean_of_ordered(values: list[float]) -> float:
    """Of values from the largest to the smallest, none negative."""
    if values[0] < _SUMS_OVERFLOW:
        return math.fsum(values) / len(values)
    # a power of two: where it rounds the smallest of the values, the sum does not see them
    return math.fsum(value * 2.0**-64 for value in values) / len(values) * 2.0**64
