"""No persistence at all: the numbers of an input, one after the other, as a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from benchmarks.baselines.classifier import check_numbers
from benchmarks.baselines.kernel_svm import KernelSVM, choose, make_folds


class FlatClassifier(ClassifierMixin, BaseEstimator):
    """Inputs of one shape (images, series) as vectors, standardised, and a classifier of these.

    Parameters
    ----------
    classifier : {"svm", "forest"}, default="svm"
        Support vector machine with a Gaussian kernel, its settings found by cross-validation within
        the training set (three folds), or random forest with scikit-learn's settings but for the
        number of trees.
    gammas, costs : sequence of float
        Of the Gaussian kernel, times scikit-learn's "scale"; and values of C.
    n_trees : int, default=500
    random_state : int, optional

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_parameters_ : int

    Examples
    --------
    >>> images = [np.full((2, 2), float(i % 2)) for i in range(8)]
    >>> FlatClassifier(random_state=0).fit(images, np.arange(8) % 2).predict(images[:3])
    array([0, 1, 0])
    """

    def __init__(
        self,
        classifier: str = "svm",
        *,
        gammas: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
        costs: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
        n_trees: int = 500,
        random_state: int | None = None,
    ) -> None:
        self.classifier = classifier
        self.gammas = gammas
        self.costs = costs
        self.n_trees = n_trees
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> FlatClassifier:
        """Learn from inputs and their labels.

        Parameters
        ----------
        X : sequence of ndarray, all of one shape
        y : array-like of shape (n_inputs,)

        Raises
        ------
        ValueError
            For bad parameters, and inputs of different shapes.
        """
        if self.classifier not in ("svm", "forest"):
            raise ValueError(f'classifier={self.classifier!r}: expected "svm" or "forest".')
        check_numbers(self.gammas, "gammas")
        check_numbers(self.costs, "costs")
        self.shape_ = np.shape(X[0])
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        self.scaler_ = StandardScaler()
        vectors = self.scaler_.fit_transform(self._flat(X))
        if self.classifier == "forest":
            self.forest_ = RandomForestClassifier(self.n_trees, random_state=self.random_state)
            self.forest_.fit(vectors, codes)
            self.n_parameters_ = sum(2 * tree.tree_.node_count for tree in self.forest_.estimators_)
            return self
        distances = pairwise_distances(vectors, metric="sqeuclidean")
        scale = vectors.shape[1] * float(vectors.var()) or 1.0
        candidates = [(None, distances, [gamma / scale for gamma in self.gammas])]
        choice = choose(candidates, self.costs, codes, make_folds(codes, self.random_state))
        self.machine_ = KernelSVM(choice.gamma, choice.cost).fit(distances, codes)
        self._support = torch.from_numpy(vectors[self.machine_.support_])
        self.n_parameters_ = self.machine_.n_parameters_
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Scores of shape (n_inputs, n_classes); the largest is the prediction."""
        check_is_fitted(self, "n_parameters_")
        flat = self._flat(X)
        if self.classifier == "forest":
            shares: NDArray[np.float64] = self.forest_.predict_proba(self.scaler_.transform(flat))
            return shares
        return self._scores(torch.from_numpy(flat)).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of shape (n_inputs,)."""
        return np.asarray(self.classes_[self.decision_function(X).argmax(axis=1)])

    @available_if(lambda self: self.classifier == "svm")
    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None
    ) -> Tensor:
        """The scores of :meth:`decision_function` in torch."""
        return self._scores(points.reshape(len(offsets) - 1, -1))

    def _scores(self, flat: Tensor) -> Tensor:
        mean, scale = (torch.from_numpy(a) for a in (self.scaler_.mean_, self.scaler_.scale_))
        vectors = (flat - mean) / scale
        support = self._support
        squares = (vectors**2).sum(1, keepdim=True) + (support**2).sum(1) - 2 * vectors @ support.T
        return self.machine_.scores(squares.clamp(min=0))

    def _flat(self, X: Any) -> NDArray[np.float64]:
        for i, item in enumerate(X):
            if np.shape(item) != self.shape_:
                raise ValueError(
                    f"X[{i}] has shape {np.shape(item)}, X[0] in training had {self.shape_}: "
                    f"expected inputs of one shape."
                )
        return np.stack([np.asarray(item, dtype=np.float64).reshape(-1) for item in X])
