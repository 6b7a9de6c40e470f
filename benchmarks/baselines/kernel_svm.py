"""Support vector machines on distances: settings by cross-validation, scores in torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    StratifiedShuffleSplit,
    train_test_split,
)
from sklearn.svm import SVC
from torch import Tensor


class KernelSVM:
    """One-vs-one support vector machine with the kernel exp(-gamma distance).

    Parameters
    ----------
    gamma : float
        In one over the unit of the distances.
    cost : float
        The machine's C.

    Attributes
    ----------
    support_ : ndarray of shape (n_support,), int64
        The rows of the training set that predictions need.
    n_parameters_ : int
        Coefficients and thresholds; support vectors are data.

    Notes
    -----
    Fitted by scikit-learn's SVC, whose scores (``decision_function_shape="ovr"``) are those of
    :meth:`scores`: a class has a vote for each other class that it wins against, and s/(3(|s| + 1))
    on top, s the sum of its decision values.

    Examples
    --------
    >>> distances = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 3.0], [4.0, 3.0, 0.0]])
    >>> machine = KernelSVM(gamma=1.0, cost=10.0).fit(distances, np.array([0, 0, 1]))
    >>> to_support = torch.from_numpy(distances[:, machine.support_])
    >>> machine.scores(to_support).argmax(1).tolist()
    [0, 0, 1]
    """

    def __init__(self, gamma: float, cost: float) -> None:
        self.gamma = gamma
        self.cost = cost

    def fit(self, distances: NDArray[np.float64], codes: NDArray[np.int64]) -> KernelSVM:
        """Learn from the distances between all training clouds, and codes 0, 1, …."""
        machine = _machine(self.cost).fit(_kernel(distances, self.gamma), codes)
        self.support_ = machine.support_.astype(np.int64)
        self.n_parameters_ = machine.dual_coef_.size + machine.intercept_.size
        n = len(machine.classes_)
        winners, losers = np.triu_indices(n, 1)  # the pairs in the order of libsvm
        self._weights = _pair_weights(machine)
        # scikit-learn turns signs where there are two classes
        self._intercepts = -machine.intercept_ if n == 2 else machine.intercept_
        self._winners, self._losers = np.eye(n)[winners], np.eye(n)[losers]
        return self

    def scores(self, distances: Tensor) -> Tensor:
        """Scores of shape (n_clouds, n_classes) from the distances to `support_`, in torch."""
        weights, intercepts, winners, losers = (
            torch.from_numpy(array)
            for array in (self._weights, self._intercepts, self._winners, self._losers)
        )
        decisions = torch.exp(-self.gamma * distances) @ weights + intercepts
        won = (decisions >= 0).to(decisions.dtype)
        votes = won @ winners + (1 - won) @ losers
        sums = decisions @ (winners - losers)
        return votes + sums / (3 * (sums.abs() + 1))


@dataclass(frozen=True)
class Choice:
    """The best of a search: which candidate, with which gamma and cost, and its accuracy."""

    candidate: Any
    gamma: float
    cost: float
    accuracy: float


def choose(
    candidates: Iterable[tuple[Any, NDArray[np.float64], Sequence[float]]],
    costs: Sequence[float],
    codes: NDArray[np.int64],
    folds: StratifiedKFold | StratifiedShuffleSplit,
) -> Choice:
    """Cross-validate candidates, each with its distances and its gammas; the first best wins.

    Parameters
    ----------
    candidates : iterable of (object, ndarray of shape (n, n), sequence of float)
    costs : sequence of float
        Values of C.
    codes : ndarray of shape (n,), int64
    folds : StratifiedKFold or StratifiedShuffleSplit
    """
    best: Choice | None = None
    for candidate, distances, gammas in candidates:
        for gamma in gammas:
            search = GridSearchCV(_machine(1.0), {"C": list(costs)}, cv=folds, refit=False)
            search.fit(_kernel(distances, gamma), codes)
            results = search.cv_results_
            i = int(np.argmax(results["mean_test_score"]))
            accuracy = float(results["mean_test_score"][i])
            if best is None or accuracy > best.accuracy:
                best = Choice(candidate, float(gamma), float(results["params"][i]["C"]), accuracy)
    assert best is not None
    return best


def search_rows(
    codes: NDArray[np.int64], n_most: int, random_state: int | None
) -> NDArray[np.int64]:
    """Some rows for a search, stratified; all of them if they are not more than `n_most`."""
    rows = np.arange(len(codes))
    if len(codes) <= n_most:
        return rows
    chosen, _ = train_test_split(rows, train_size=n_most, stratify=codes, random_state=random_state)
    return np.sort(chosen)


def make_folds(codes: NDArray[np.int64], random_state: int | None) -> StratifiedKFold:
    """Three folds, or two where the smallest class has two clouds."""
    smallest = int(np.unique(codes, return_counts=True)[1].min())
    return StratifiedKFold(min(3, max(smallest, 2)), shuffle=True, random_state=random_state)


def _machine(cost: float) -> SVC:
    return SVC(C=cost, kernel="precomputed", break_ties=True, cache_size=500)


def _kernel(distances: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    return np.exp(-gamma * distances)


def _pair_weights(machine: SVC) -> NDArray[np.float64]:
    """The weight of each support vector in the decision value of each pair of classes."""
    ends = np.cumsum([0, *machine.n_support_])
    coefficients = -machine.dual_coef_ if len(machine.classes_) == 2 else machine.dual_coef_
    n_pairs = len(machine.intercept_)
    weights = np.zeros((len(machine.support_), n_pairs))
    for pair, (i, j) in enumerate(zip(*np.triu_indices(len(machine.classes_), 1), strict=True)):
        first, second = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
        weights[first, pair] = coefficients[j - 1, first]
        weights[second, pair] = coefficients[i, second]
    return weights
