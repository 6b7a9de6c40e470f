"""What every filtration shares: check the clouds, compute diagrams by workers, collect them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.workers import run_chunks
from stablerank.stability import Parallel, Space

UNIT_ROUNDOFF = 2.0**-53


class Filtration(TransformerMixin, BaseEstimator, ABC):
    """A scikit-learn transformer from inputs to a :class:`DiagramBatch`.

    A new filtration defines ``_check`` (the door), ``_diagrams`` (from a chunk of checked inputs
    to diagrams), ``stability`` and ``relative_rounding``; parameters are checked in ``fit``.
    """

    homology_dimensions: Sequence[int]
    n_jobs: int | None
    dimension_: int | None

    def fit(self, X: Any, y: Any = None) -> Any:
        """Check parameters and inputs, and remember the dimension of the space.

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
        self.dimension_ = int(clouds[0].shape[1])
        return self

    def transform(self, X: Any) -> DiagramBatch:
        """Compute the persistence diagrams.

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
            If a cloud is empty, not finite or of another dimension; its index is named.
        """
        check_is_fitted(self, "dimension_")
        self._check_parameters()  # set_params may have changed them since fit
        clouds = self._check(X, self.dimension_)
        parts = run_chunks(
            self._diagrams,
            clouds,
            n_jobs=self.n_jobs,
            prefer="threads",
            description="persistence diagrams",
        )
        batches = [part for part in parts if isinstance(part, DiagramBatch)]
        if len(batches) == len(parts):
            return DiagramBatch.concatenate(batches)
        return DiagramBatch.from_diagrams(
            list(itertools.chain.from_iterable(parts)), self._sorted_dimensions()
        )

    @abstractmethod
    def stability(self, source: Space) -> Parallel:
        """The Lipschitz bounds from `source`, one branch a homology dimension."""

    @abstractmethod
    def relative_rounding(self) -> float:
        """A bound on the relative error with which births and deaths are computed.

        It holds for values above 1e-140 times the largest coordinate of the cloud, and above the
        subnormal numbers; smaller values are off by less than that (squares underflow).
        """

    @abstractmethod
    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """An upper bound of all births and deaths that the filtration of each input can have.

        Certificates charge the rounding of values up to this one, since an adversary's input may
        have bars where the given one has none.
        """

    @abstractmethod
    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]: ...

    @abstractmethod
    def _diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        """The diagrams of a chunk of checked inputs, run by a worker.

        A batch where compiled code works on all of them at once, which costs the other workers
        nothing when it is gathered; a dict for each cloud where that is no matter.
        """

    def _check_parameters(self) -> None:
        dimensions = self.homology_dimensions
        if (
            not isinstance(dimensions, (tuple, list))
            or not dimensions
            or not all(_is_integer(k) and k >= 0 for k in dimensions)
            or len(set(dimensions)) < len(dimensions)
        ):
            raise ValueError(
                f"homology_dimensions={dimensions!r}: expected a tuple of different integers >= 0, "
                f"such as (0, 1)."
            )
        if self.n_jobs is not None and not (_is_integer(self.n_jobs) and self.n_jobs != 0):
            raise ValueError(
                f"n_jobs={self.n_jobs!r}: expected a number of workers, -1 for all cores, or None."
            )

    def _sorted_dimensions(self) -> list[int]:
        return sorted(int(k) for k in self.homology_dimensions)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.requires_fit = True
        return tags


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
