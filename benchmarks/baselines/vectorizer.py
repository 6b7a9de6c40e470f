"""What the vectorizers share: one block of features a homology dimension, fitted on its bars."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.batch import DiagramBatch, check_diagrams


class Vectorizer(TransformerMixin, BaseEstimator):
    """Diagrams to vectors, each homology dimension by itself, ascending.

    A subclass says what it remembers of the training bars of one dimension (`_fit_bars`) and what
    it makes of them (`_vectors`).

    Attributes
    ----------
    homology_dimensions_ : tuple of int
    fitted_ : dict of int to object
        For each homology dimension, what the subclass remembers.
    """

    def fit(self, X: Any, y: Any = None) -> Vectorizer:
        """Learn the ranges that were not given from the diagrams of training.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
        y : ignored

        Raises
        ------
        ValueError
            For bad parameters, or where a range must be learned and there is no bar.
        """
        self._check_parameters()
        batch = check_diagrams(X)
        self.homology_dimensions_ = batch.homology_dimensions
        self.fitted_ = {k: self._fit_bars(batch.bars[k], k) for k in self.homology_dimensions_}
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the vectors.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)

        Returns
        -------
        ndarray of shape (n_clouds, n_features), float64
        """
        check_is_fitted(self, "fitted_")
        batch = check_diagrams(X)
        return np.concatenate([self._vectors(batch, k) for k in self.homology_dimensions_], axis=1)

    @abstractmethod
    def _check_parameters(self) -> None: ...

    @abstractmethod
    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> Any: ...

    @abstractmethod
    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]: ...


class DifferentiableVectorizer(Vectorizer):
    """A vectorizer whose vectors have gradients, almost everywhere, in torch (`_from_bars`)."""

    def from_bars(self, bars: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
        """Compute the vectors of padded bars, in torch.

        Parameters
        ----------
        bars : dict of int to (Tensor, Tensor)
            Births and deaths of every homology dimension, shape (n_clouds, n_bars) each, float64;
            bars of length 0 pad.

        Returns
        -------
        Tensor of shape (n_clouds, n_features), float64
            Those of :meth:`transform` up to rounding, differentiable.
        """
        check_is_fitted(self, "fitted_")
        return torch.cat([self._from_bars(*bars[k], k) for k in self.homology_dimensions_], dim=1)

    @abstractmethod
    def _from_bars(self, births: Tensor, deaths: Tensor, dimension: int) -> Tensor: ...


def sample_grid(
    bars: NDArray[np.float64],
    resolution: int,
    sample_range: tuple[float, float] | None,
    dimension: int,
) -> NDArray[np.float64]:
    """Where functions are sampled; of a learned range without its ends, where tents are zero."""
    if sample_range is not None:
        return np.linspace(*sample_range, resolution)
    check_not_empty(bars, dimension, "sample_range")
    return np.linspace(bars[:, 0].min(), bars[:, 1].max(), resolution + 2)[1:-1]


def check_not_empty(bars: NDArray[np.float64], dimension: int, name: str) -> None:
    if not len(bars):
        raise ValueError(
            f"No training diagram has a bar in H{dimension}, so there is no range to learn: give "
            f"{name}, or leave this homology dimension out."
        )


def check_count(value: Any, name: str, least: int = 1) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")


def check_range(value: tuple[float, ...] | None, name: str, length: int) -> None:
    if value is None:
        return
    ends = np.asarray(value, dtype=float)
    if ends.shape != (length,) or not np.isfinite(ends).all() or (ends[::2] >= ends[1::2]).any():
        raise ValueError(f"{name}={value!r}: expected {length} numbers, each minimum < maximum.")


def check_power(value: Any) -> None:
    if not np.isfinite(value) or value < 0:
        raise ValueError(
            f"power={value!r}: expected a number >= 0, the exponent of a bar's length."
        )
