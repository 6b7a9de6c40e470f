"""Vectors of diagrams with a support vector machine or a random forest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import ParameterGrid, cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from benchmarks.baselines.classifier import Bars, DiagramClassifier, check_numbers
from benchmarks.baselines.images import PersistenceImages
from benchmarks.baselines.kernel_svm import KernelSVM, choose, make_folds, search_rows
from benchmarks.baselines.tents import Landscapes
from benchmarks.baselines.vectorizer import DifferentiableVectorizer, check_count
from stablerank.diagrams.batch import DiagramBatch


def _has_gradients(model: VectorClassifier) -> bool:
    vectorizer = Landscapes() if model.vectorizer is None else model.vectorizer
    return model.classifier == "svm" and isinstance(vectorizer, DifferentiableVectorizer)


class VectorClassifier(DiagramClassifier):
    """A vectorizer, each feature standardised, and a classifier of vectors.

    Settings are chosen by cross-validation within the training set, three folds of at most
    `n_search` of its clouds, stratified; then everything is fitted on all clouds.

    Parameters
    ----------
    filtration : Filtration, optional
        From clouds to diagrams; AlphaPersistence() by default.
    vectorizer : Vectorizer, optional
        From diagrams to vectors; Landscapes() by default.
    classifier : {"svm", "forest"}, default="svm"
        Support vector machine with a Gaussian kernel, or random forest with scikit-learn's settings
        but for the number of trees.
    grid : dict of str to sequence, optional
        Settings of the vectorizer to choose from. By default those of :class:`PersistenceImages`
        are chosen: a bandwidth of 0.01, 0.03, 0.1 or 0.3 times the largest death of the training
        diagrams, a weight of the power 0, 1 or 2 of the length. Others are used as given.
    gammas : sequence of float, default=(0.01, 0.1, 1, 10)
        Of the Gaussian kernel, times scikit-learn's "scale".
    costs : sequence of float, default=(1, 10, 100, 1000)
        Values of C.
    n_trees : int, default=500
        Of the forest; a fifth of them in the search, if there is one.
    n_search : int, default=1000
        Most clouds in the cross-validation.
    random_state : int, optional

    Attributes
    ----------
    vectorizer_ : Vectorizer
    scaler_ : StandardScaler
    machine_ : KernelSVM
    forest_ : RandomForestClassifier
        One of the two.

    Notes
    -----
    `differentiable_logits` is there for machines on vectors that have gradients: not for Betti
    curves, which are piecewise constant, and not for forests.
    """

    def __init__(
        self,
        filtration: Any = None,
        vectorizer: Any = None,
        classifier: str = "svm",
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        gammas: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
        costs: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
        n_trees: int = 500,
        n_search: int = 1000,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.vectorizer = vectorizer
        self.classifier = classifier
        self.grid = grid
        self.gammas = gammas
        self.costs = costs
        self.n_trees = n_trees
        self.n_search = n_search
        self.random_state = random_state

    @available_if(_has_gradients)
    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None
    ) -> Tensor:
        """The scores of :meth:`decision_function` in torch, with gradients almost everywhere."""
        return self._logits(points, offsets, shapes)

    def _check_parameters(self) -> None:
        if self.classifier not in ("svm", "forest"):
            raise ValueError(f'classifier={self.classifier!r}: expected "svm" or "forest".')
        check_numbers(self.gammas, "gammas")
        check_numbers(self.costs, "costs")
        check_count(self.n_trees, "n_trees")
        check_count(self.n_search, "n_search")

    def _fit_diagrams(self, diagrams: DiagramBatch, codes: NDArray[np.int64]) -> None:
        rows = search_rows(codes, self.n_search, self.random_state)
        if self.classifier == "svm":
            self._fit_machine(diagrams, codes, rows)
        else:
            self._fit_forest(diagrams, codes, rows)

    def _fit_machine(
        self, diagrams: DiagramBatch, codes: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        folds = make_folds(codes[rows], self.random_state)
        candidates = (
            (vectorizer, _squares(vectors, vectors), self._scaled_gammas(vectors))
            for vectorizer, vectors in self._candidates(diagrams[rows])
        )
        choice = choose(candidates, self.costs, codes[rows], folds)
        vectors = self._fit_vectors(choice.candidate, diagrams)
        self.machine_ = KernelSVM(choice.gamma, choice.cost)
        self.machine_.fit(_squares(vectors, vectors), codes)
        self._support = vectors[self.machine_.support_]
        self.n_parameters_ = self.machine_.n_parameters_

    def _fit_forest(
        self, diagrams: DiagramBatch, codes: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        settings = self._settings(diagrams)
        best = self._with(settings[0])
        if len(settings) > 1:
            folds = make_folds(codes[rows], self.random_state)
            small = self._forest(max(1, self.n_trees // 5))
            scores = [
                (cross_val_score(small, vectors, codes[rows], cv=folds).mean(), vectorizer)
                for vectorizer, vectors in self._candidates(diagrams[rows])
            ]
            best = max(scores, key=lambda score: score[0])[1]
        vectors = self._fit_vectors(best, diagrams)
        self.forest_ = self._forest(self.n_trees).fit(vectors, codes)
        self.n_parameters_ = sum(
            # a split has a feature and a threshold, a leaf the shares of the classes
            int((tree.tree_.feature >= 0).sum()) * 2
            + int((tree.tree_.feature < 0).sum()) * len(self.classes_)
            for tree in self.forest_.estimators_
        )

    def _candidates(self, diagrams: DiagramBatch) -> Iterator[tuple[Any, NDArray[np.float64]]]:
        for settings in self._settings(diagrams):
            vectorizer = self._with(settings)
            yield vectorizer, StandardScaler().fit_transform(vectorizer.fit_transform(diagrams))

    def _settings(self, diagrams: DiagramBatch) -> list[dict[str, Any]]:
        grid = self.grid
        if grid is None and isinstance(self.vectorizer, PersistenceImages):
            largest = max(bars.max(initial=0.0) for bars in diagrams.bars.values()) or 1.0
            bandwidths = [float(share * largest) for share in (0.01, 0.03, 0.1, 0.3)]
            grid = {"bandwidth": bandwidths, "power": [0.0, 1.0, 2.0]}
        return list(ParameterGrid(dict(grid or {})))

    def _with(self, settings: dict[str, Any]) -> Any:
        vectorizer = Landscapes() if self.vectorizer is None else clone(self.vectorizer)
        if vectorizer.get_params().get("random_state", 0) is None:
            vectorizer.set_params(random_state=self.random_state)
        return vectorizer.set_params(**settings)

    def _fit_vectors(self, vectorizer: Any, diagrams: DiagramBatch) -> NDArray[np.float64]:
        self.vectorizer_, self.scaler_ = clone(vectorizer), StandardScaler()
        vectors: NDArray[np.float64] = self.scaler_.fit_transform(
            self.vectorizer_.fit_transform(diagrams)
        )
        return vectors

    def _scaled_gammas(self, vectors: NDArray[np.float64]) -> list[float]:
        scale = vectors.shape[1] * vectors.var() or 1.0
        return [factor / float(scale) for factor in self.gammas]

    def _forest(self, n_trees: int) -> RandomForestClassifier:
        return RandomForestClassifier(n_trees, random_state=self.random_state)

    def _scores(self, diagrams: DiagramBatch) -> NDArray[np.float64]:
        vectors = self.scaler_.transform(self.vectorizer_.transform(diagrams))
        if self.classifier == "forest":
            probabilities: NDArray[np.float64] = self.forest_.predict_proba(vectors)
            return probabilities
        return self.machine_.scores(torch.from_numpy(_squares(vectors, self._support))).numpy()

    def _scores_of_bars(self, bars: Bars) -> Tensor:
        mean, scale = (torch.from_numpy(a) for a in (self.scaler_.mean_, self.scaler_.scale_))
        vectors = (self.vectorizer_.from_bars(bars) - mean) / scale
        support = torch.from_numpy(self._support)
        squares = (vectors**2).sum(1, keepdim=True) + (support**2).sum(1) - 2 * vectors @ support.T
        return self.machine_.scores(squares.clamp(min=0))


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = pairwise_distances(a, b, metric="sqeuclidean")
    return squares
