"""What classifiers of diagrams share: clouds to diagrams, labels to codes, scores to labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor

from stablerank import AlphaPersistence
from stablerank.attack.gradients import bars_with_gradients
from stablerank.diagrams.batch import DiagramBatch

Bars = dict[int, tuple[Tensor, Tensor]]
"""Padded births and deaths, shape (n_clouds, n_bars) each, of every homology dimension."""


class DiagramClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of clouds by their persistence diagrams, without any certificate.

    A subclass learns from diagrams and codes 0, 1, … (`_fit_diagrams`), scores diagrams
    (`_scores`), and, where its scores have gradients, scores padded bars in torch
    (`_scores_of_bars`).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    filtration_ : Filtration
    n_parameters_ : int
        Learned numbers.
    """

    filtration: Any
    random_state: int | None
    n_parameters_: int

    def fit(self, X: Any, y: ArrayLike) -> DiagramClassifier:
        """Learn from clouds and their labels.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d)
            Or whatever else the filtration takes.
        y : array-like of shape (n_clouds,)
            Labels of any kind.

        Raises
        ------
        ValueError
            For bad parameters or clouds; if there is not one label a cloud, fewer than two classes,
            or a class of a single cloud, with which nothing can be cross-validated.
        """
        self._check_parameters()
        labels = column_or_1d(y)
        if len(labels) != len(X):
            raise ValueError(f"y has {len(labels)} labels for the {len(X)} clouds of X.")
        self.classes_, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has only the class {self.classes_.tolist()[0]!r}: expected two or more."
            )
        if counts.min() < 2:
            raise ValueError(
                f"y has the class {self.classes_.tolist()[counts.argmin()]!r} only once: settings "
                f"are found by cross-validation, which needs two clouds of each class or more."
            )
        filtration = self._default_filtration() if self.filtration is None else self.filtration
        self.filtration_ = clone(filtration)
        self._fit_diagrams(self.filtration_.fit_transform(X), codes)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Scores of shape (n_clouds, n_classes); the largest is the prediction."""
        check_is_fitted(self, "n_parameters_")
        return self._scores(self.filtration_.transform(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of shape (n_clouds,)."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1)]

    def _logits(self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None) -> Tensor:
        check_is_fitted(self, "n_parameters_")
        return self._scores_of_bars(bars_with_gradients(self.filtration_, points, offsets, shapes))

    def _default_filtration(self) -> Any:
        return AlphaPersistence()

    @abstractmethod
    def _check_parameters(self) -> None: ...

    @abstractmethod
    def _fit_diagrams(self, diagrams: DiagramBatch, codes: NDArray[np.int64]) -> None: ...

    @abstractmethod
    def _scores(self, diagrams: DiagramBatch) -> NDArray[np.float64]: ...

    def _scores_of_bars(self, bars: Bars) -> Tensor:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def check_numbers(values: Sequence[float], name: str) -> None:
    """Raise unless there is at least one number, and all are positive."""
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not numbers.size or not ((numbers > 0) & (numbers < np.inf)).all():
        raise ValueError(f"{name}={values!r}: expected one positive number or more, in a tuple.")
