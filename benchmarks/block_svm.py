"""Support vector machine on vectors made of blocks, such as one for each homology dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils.validation import check_is_fitted

from benchmarks.baselines.kernel_svm import KernelSVM, choose


class BlockSVM(ClassifierMixin, BaseEstimator):
    """Gaussian kernel ``exp(−γ Σ_b |x_b − y_b|² / v_b)`` over the blocks b of the vectors.

    v_b is the sum of the variances of the training vectors' coordinates in block b, so that no unit
    and no block outweighs another; a block that does not vary is left out. γ and the cost C are
    those with the best accuracy on a quarter of the training vectors that is held out, before all
    of them are fitted.

    Parameters
    ----------
    n_blocks : int, default=2
        Of equal size, one after the other.
    gammas, costs : sequence of float
        The grid: γ times the number of blocks, and C.
    random_state : int, optional
        Of the part that is held out.

    Examples
    --------
    >>> X = np.array([[0.0, 5.0], [1.0, 5.0], [10.0, 5.0], [11.0, 5.0]] * 4)
    >>> BlockSVM(random_state=0).fit(X, [0, 0, 1, 1] * 4).predict([[2.0, 5.0], [9.0, 5.0]])
    array([0, 1])
    """

    def __init__(
        self,
        n_blocks: int = 2,
        gammas: Sequence[float] = (0.1, 0.3, 1.0, 3.0),
        costs: Sequence[float] = (1.0, 10.0, 100.0),
        random_state: int | None = None,
    ) -> None:
        self.n_blocks = n_blocks
        self.gammas = gammas
        self.costs = costs
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> BlockSVM:
        """Scale the blocks, choose γ and C, and fit all of X, shape (n_samples, n_features)."""
        blocks = np.split(np.asarray(X, dtype=float), self.n_blocks, axis=1)
        variances = [float(block.var(axis=0).sum()) for block in blocks]
        self.factors_ = np.concatenate(
            [
                np.full(block.shape[1], 1 / np.sqrt(variance) if variance > 0 else 0.0)
                for block, variance in zip(blocks, variances, strict=True)
            ]
        )
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        self.vectors_ = np.asarray(X, dtype=float) * self.factors_
        squares = euclidean_distances(self.vectors_, squared=True)
        held_out = StratifiedShuffleSplit(1, test_size=0.25, random_state=self.random_state)
        gammas = [gamma / self.n_blocks for gamma in self.gammas]
        self.choice_ = choose([(None, squares, gammas)], self.costs, codes, held_out)
        self.machine_ = KernelSVM(self.choice_.gamma, self.choice_.cost).fit(squares, codes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The classes, shape (n_samples,)."""
        check_is_fitted(self, "machine_")
        vectors = np.asarray(X, dtype=float) * self.factors_
        support = self.vectors_[self.machine_.support_]
        squares = torch.from_numpy(euclidean_distances(vectors, support, squared=True))
        labels: NDArray[Any] = self.classes_[self.machine_.scores(squares).argmax(dim=1).numpy()]
        return labels
