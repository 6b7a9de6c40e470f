"""Substitute models: gradients for pipelines that only predict (Papernot et al. 2017).

A small unconstrained network on vectors that are differentiable in the points learns what a
pipeline predicts for its training clouds; ``ProjectedGradient(surrogate=...)`` follows its
gradients, and the pipeline judges where they lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from torch import Tensor

from stablerank import AlphaPersistence, Landscapes, LipschitzUnion, StableRank
from stablerank.attack.gradients import bars_with_gradients

_BATCH = 64


class SurrogateClassifier(ClassifierMixin, BaseEstimator):
    """Stable ranks and landscapes of diagrams, standardised, and a network of two hidden layers.

    Parameters
    ----------
    filtration : filtration, optional
        Unfitted; alpha in H0 and H1 by default. One that
        :func:`~stablerank.attack.gradients.bars_with_gradients` knows.
    n_ranks, n_positions, n_levels : int
        Of the stable ranks (p = ∞) and of the landscapes, a homology dimension.
    width : int, default=64
        Of the hidden layers.
    epochs : int, default=60
    learning_rate : float, default=1e-3
        Of Adam, in batches of 64 clouds.
    random_state : int or None, default=None
        Seed of the weights and of the order of clouds.

    Notes
    -----
    Settings were tried on a validation part of the training set of ORBIT5K with ``random_state=0``,
    against a forest on landscapes: 30 to 120 epochs and widths of 64 and 128 differ by chance only,
    in agreement with the forest and in how many attacks transfer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_parameters_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.uniform(size=(20, 2)) * (1 + i % 2) for i in range(20)]
    >>> SurrogateClassifier(random_state=0).fit(X, np.arange(20) % 2).predict(X[:4])
    array([0, 1, 0, 1])
    """

    def __init__(
        self,
        filtration: Any = None,
        n_ranks: int = 100,
        n_positions: int = 32,
        n_levels: int = 8,
        width: int = 64,
        epochs: int = 60,
        learning_rate: float = 1e-3,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.n_ranks = n_ranks
        self.n_positions = n_positions
        self.n_levels = n_levels
        self.width = width
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any, classes: Sequence[Any] | None = None) -> SurrogateClassifier:
        """Learn the labels.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d)
        y : array-like of shape (n_clouds,)
        classes : sequence, optional
            All labels that there are, sorted, if `y` may lack some.
        """
        self.classes_ = np.unique(np.asarray(y) if classes is None else np.asarray(classes))
        columns = torch.from_numpy(np.searchsorted(self.classes_, np.asarray(y)))
        filtration = AlphaPersistence() if self.filtration is None else clone(self.filtration)
        self.filtration_ = filtration.fit(X)
        self.vectorizer_ = LipschitzUnion(
            [
                ("ranks", StableRank(n_ranks=self.n_ranks)),
                ("landscapes", Landscapes(self.n_positions, self.n_levels)),
            ]
        )
        vectors = self.vectorizer_.fit_transform(self.filtration_.transform(X))
        self.mean_, spread = vectors.mean(axis=0), vectors.std(axis=0)
        self.spread_ = np.where(spread > 0, spread, 1.0)  # what is constant becomes 0
        inputs = torch.from_numpy((vectors - self.mean_) / self.spread_)
        seed = int(np.random.SeedSequence(self.random_state).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network_ = _network(inputs.shape[1], self.width, len(self.classes_))
            self._train(inputs, columns)
        self.n_parameters_ = sum(weights.numel() for weights in self.network_.parameters())
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits of shape (n_clouds, n_classes)."""
        vectors = self.vectorizer_.transform(self.filtration_.transform(X))
        with torch.no_grad():
            return np.asarray(self._logits(torch.from_numpy(vectors)).numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels."""
        return np.asarray(self.classes_[self.decision_function(X).argmax(axis=1)])

    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None
    ) -> Tensor:
        """As `decision_function`, in torch."""
        bars = bars_with_gradients(self.filtration_, points, offsets, shapes)
        parts = [branch[0].from_bars(bars) for _, branch in self.vectorizer_.branches()]
        return self._logits(torch.cat(parts, dim=1))

    def _logits(self, vectors: Tensor) -> Tensor:
        mean, spread = torch.from_numpy(self.mean_), torch.from_numpy(self.spread_)
        logits: Tensor = self.network_((vectors - mean) / spread)
        return logits

    def _train(self, inputs: Tensor, columns: Tensor) -> None:
        optimizer = torch.optim.Adam(self.network_.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(inputs)).split(_BATCH):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(self.network_(inputs[rows]), columns[rows])
                loss.backward()
                optimizer.step()
        self.network_.requires_grad_(False)


def _network(n_inputs: int, width: int, n_classes: int) -> torch.nn.Module:
    """With a smooth activation: there is a gradient everywhere."""
    return torch.nn.Sequential(
        torch.nn.Linear(n_inputs, width),
        torch.nn.GELU(),
        torch.nn.Linear(width, width),
        torch.nn.GELU(),
        torch.nn.Linear(width, n_classes),
    ).double()


def fit_surrogate(
    pipeline: Any,
    X: list[NDArray[np.float64]],
    random_state: int | None,
    filtration: Any = None,
) -> SurrogateClassifier:
    """A substitute for a pipeline, fitted to its own predictions.

    Parameters
    ----------
    pipeline : object with ``predict``
        Fitted.
    X : list of ndarray of shape (n_points, d)
        Its training clouds, or any others: their true labels do not matter.
    random_state : int or None
        Seed.
    filtration : filtration, optional
        As in :class:`SurrogateClassifier`.

    Returns
    -------
    SurrogateClassifier
        Which knows all ``classes_`` of the pipeline.
    """
    surrogate = SurrogateClassifier(filtration, random_state=random_state)
    return surrogate.fit(X, pipeline.predict(X), getattr(pipeline, "classes_", None))
