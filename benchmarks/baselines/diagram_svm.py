"""Support vector machines on distances between diagrams: sliced Wasserstein, Fisher."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines.classifier import Bars, DiagramClassifier, check_numbers
from benchmarks.baselines.kernel_svm import KernelSVM, choose, make_folds, search_rows
from benchmarks.baselines.persistence_fisher import PersistenceFisher
from benchmarks.baselines.sliced_wasserstein import SlicedWasserstein
from benchmarks.baselines.vectorizer import check_count
from stablerank.diagrams.batch import DiagramBatch


class DiagramSVM(DiagramClassifier):
    """A machine with the kernel exp(-gamma distance), distances those of one or more dimensions.

    Cross-validation within the training set (three folds, of at most `n_search` clouds, stratified)
    chooses everything: the settings of the distance, whether it is that of the highest homology
    dimension alone, as in the papers, or the sum over all; gamma and C. The machine is then fitted
    on all clouds.

    Attributes
    ----------
    choice_ : Choice
    metrics_ : tuple of SlicedWasserstein or PersistenceFisher
        One for each homology dimension in use.
    machine_ : KernelSVM
    """

    costs: Sequence[float]
    n_search: int

    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None
    ) -> Tensor:
        """The scores of :meth:`decision_function` in torch, with gradients almost everywhere."""
        return self._logits(points, offsets, shapes)

    @abstractmethod
    def _metrics(self, diagrams: DiagramBatch, dimension: int) -> list[Any]:
        """Distances of one homology dimension, a list over the settings to choose from."""

    @abstractmethod
    def _gammas(self, distances: NDArray[np.float64]) -> list[float]: ...

    def _check_parameters(self) -> None:
        check_numbers(self.costs, "costs")
        check_count(self.n_search, "n_search")

    def _fit_diagrams(self, diagrams: DiagramBatch, codes: NDArray[np.int64]) -> None:
        rows = search_rows(codes, self.n_search, self.random_state)
        folds = make_folds(codes[rows], self.random_state)
        candidates = self._candidates(diagrams[rows])
        self.choice_ = choose(candidates, self.costs, codes[rows], folds)
        self.metrics_ = tuple(metric.fit(diagrams) for metric in self.choice_.candidate)
        distances = np.zeros((len(codes), len(codes)))
        vectors = []
        for metric in self.metrics_:
            vectors.append(metric.vectors(diagrams))
            distances += metric.distances(vectors[-1], vectors[-1])
        self.machine_ = KernelSVM(self.choice_.gamma, self.choice_.cost).fit(distances, codes)
        self._support = [part[self.machine_.support_] for part in vectors]
        self.n_parameters_ = self.machine_.n_parameters_

    def _candidates(
        self, diagrams: DiagramBatch
    ) -> Iterator[tuple[tuple[Any, ...], NDArray[np.float64], list[float]]]:
        dimensions = diagrams.homology_dimensions
        for metrics in zip(*(self._metrics(diagrams, k) for k in dimensions), strict=True):
            parts = []
            for metric in metrics:
                vectors = metric.fit(diagrams).vectors(diagrams)
                parts.append(metric.distances(vectors, vectors))
            yield metrics[-1:], parts[-1], self._gammas(parts[-1])
            if len(parts) > 1:
                total = np.sum(parts, axis=0)
                yield metrics, total, self._gammas(total)

    def _scores(self, diagrams: DiagramBatch) -> NDArray[np.float64]:
        distances = sum(
            metric.distances(metric.vectors(diagrams), support)
            for metric, support in zip(self.metrics_, self._support, strict=True)
        )
        return self.machine_.scores(torch.from_numpy(distances)).numpy()

    def _scores_of_bars(self, bars: Bars) -> Tensor:
        distances = [
            metric.distances_with_gradients(metric.from_bars(*bars[metric.dimension]), support)
            for metric, support in zip(self.metrics_, self._support, strict=True)
        ]
        return self.machine_.scores(torch.stack(distances).sum(dim=0))


class SlicedWassersteinSVM(DiagramSVM):
    """The sliced Wasserstein kernel exp(-SW / (2 σ²)) [1]_.

    Parameters
    ----------
    filtration : Filtration, optional
        From clouds to diagrams; AlphaPersistence() by default.
    n_directions : int, default=10
        As in GUDHI, see :class:`SlicedWasserstein`.
    n_bins : int, default=512
        Of each line, see :class:`SlicedWasserstein`.
    factors : sequence of float, default=(0.01, 0.1, 1, 10, 100)
        σ is the root of the first decile, the median or the last decile of the distances, times one
        of these, as in the paper.
    costs : sequence of float, default=(0.01, 0.1, 1, 10, 100, 1000)
        Values of C.
    n_search : int, default=1000
        Most clouds in the cross-validation.
    random_state : int, optional

    See Also
    --------
    DiagramSVM : How settings are chosen, and the fitted attributes.

    References
    ----------
    .. [1] Carrière, Cuturi, Oudot (2017), "Sliced Wasserstein kernel for persistence diagrams",
       ICML.
    """

    def __init__(
        self,
        filtration: Any = None,
        *,
        n_directions: int = 10,
        n_bins: int = 512,
        factors: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
        costs: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        n_search: int = 1000,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.n_directions = n_directions
        self.n_bins = n_bins
        self.factors = factors
        self.costs = costs
        self.n_search = n_search
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_numbers(self.factors, "factors")
        for name in ("n_directions", "n_bins"):
            check_count(getattr(self, name), name, least=2)

    def _metrics(self, diagrams: DiagramBatch, dimension: int) -> list[Any]:
        return [SlicedWasserstein(dimension, self.n_directions, self.n_bins)]

    def _gammas(self, distances: NDArray[np.float64]) -> list[float]:
        squares = _positive_quantiles(distances, (0.1, 0.5, 0.9))
        return [float(1 / (2 * s * factor**2)) for s in squares for factor in self.factors]


class PersistenceFisherSVM(DiagramSVM):
    """The persistence Fisher kernel exp(-t d) [1]_.

    Parameters
    ----------
    filtration : Filtration, optional
        From clouds to diagrams; AlphaPersistence() by default.
    bandwidths : sequence of float, default=(0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
        Of the Gaussians, times the largest death of the training diagrams. The paper has the powers
        of 10 from 0.001 to 1000 whatever the unit.
    resolution : int, default=32
        See :class:`PersistenceFisher`.
    quantiles : sequence of float, default=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
        1/t is one of these quantiles of the distances, as in the paper.
    costs : sequence of float, default=(0.01, 0.1, 1, 10, 100)
        Values of C, as in the paper.
    n_search : int, default=1000
        Most clouds in the cross-validation.
    random_state : int, optional

    See Also
    --------
    DiagramSVM : How settings are chosen, and the fitted attributes.

    References
    ----------
    .. [1] Le, Yamada (2018), "Persistence Fisher kernel: a Riemannian manifold kernel for
       persistence diagrams", NeurIPS.
    """

    def __init__(
        self,
        filtration: Any = None,
        *,
        bandwidths: Sequence[float] = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08),
        resolution: int = 32,
        quantiles: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        costs: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
        n_search: int = 1000,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.bandwidths = bandwidths
        self.resolution = resolution
        self.quantiles = quantiles
        self.costs = costs
        self.n_search = n_search
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_numbers(self.bandwidths, "bandwidths")
        check_numbers(self.quantiles, "quantiles")
        if max(self.quantiles) > 1:
            raise ValueError(f"quantiles={self.quantiles!r}: expected numbers up to 1.")
        check_count(self.resolution, "resolution", least=2)

    def _metrics(self, diagrams: DiagramBatch, dimension: int) -> list[Any]:
        largest = max(bars.max(initial=0.0) for bars in diagrams.bars.values()) or 1.0
        return [
            PersistenceFisher(dimension, float(share * largest), self.resolution)
            for share in self.bandwidths
        ]

    def _gammas(self, distances: NDArray[np.float64]) -> list[float]:
        return [float(1 / q) for q in _positive_quantiles(distances, self.quantiles)]


def _positive_quantiles(
    distances: NDArray[np.float64], quantiles: Sequence[float]
) -> NDArray[np.float64]:
    """Quantiles of the distances of different diagrams; 1 if there are none."""
    apart = distances[np.triu_indices(len(distances), 1)]
    apart = apart[apart > 0]
    return np.unique(np.quantile(apart, quantiles)) if apart.size else np.ones(1)
