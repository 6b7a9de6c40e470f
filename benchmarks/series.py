"""Series to persistence: delay vectors of some channels, and a filtration of their clouds (D6).

A series is a cloud whose points are its times, and its sup norm is the threat "per_coordinate".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from stablerank import AlphaPersistence, DiagramBatch, TakensEmbedding
from stablerank.attack.gradients import bars_of_inputs
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import (
    PER_COORDINATE,
    Bound,
    Parallel,
    Space,
    StabilityError,
    multiply_up,
    sqrt_up,
)


class SeriesPersistence(Filtration):
    """Alpha persistence of the delay vectors of some channels of a series.

    Parameters
    ----------
    channels : sequence of int
        Which channels, c of them.
    delays : int, default=1
        How many times a delay vector has, m; its points lie in R^(m c), and m c is 2 or 3.
    delay : int, default=1
        Steps between them.
    homology_dimensions, n_jobs
        As in :class:`~stablerank.AlphaPersistence`.

    Examples
    --------
    >>> series = np.array([[0.0, 5.0], [3.0, 9.0], [0.0, 7.0]])
    >>> SeriesPersistence([0], 2, homology_dimensions=(0,)).fit_transform([series]).diagram(0, 0)
    array([[0.       , 2.1213...]])
    """

    def __init__(
        self,
        channels: Sequence[int],
        delays: int = 1,
        delay: int = 1,
        homology_dimensions: Sequence[int] = (0, 1),
        n_jobs: int | None = None,
    ) -> None:
        self.channels = channels
        self.delays = delays
        self.delay = delay
        self.homology_dimensions = homology_dimensions
        self.n_jobs = n_jobs

    def transform(self, X: Any) -> DiagramBatch:
        """The diagrams of the clouds of delay vectors."""
        clouds = self._clouds(X)
        return self._alpha().fit(clouds).transform(clouds)

    def stability(self, source: Space = PER_COORDINATE) -> Parallel:
        """√(m c) times the constants of alpha: a point has m c entries, all of which may move."""
        if source != PER_COORDINATE:
            raise StabilityError(f"Series know constants from {PER_COORDINATE}, not {source}.")
        factor = sqrt_up(self.delays * len(self.channels))
        branches = {}
        for name, bound in self._alpha().stability().branches.items():
            assert isinstance(bound, Bound)
            constant = float(multiply_up(np.float64(factor), bound.constant))
            theorem = f"D6: ℓ2 ≤ √{self.delays * len(self.channels)} ℓ∞; {bound.theorem}"
            branches[name] = Bound(source, bound.target, constant, theorem, "series, alpha")
        return Parallel(branches)

    def relative_rounding(self) -> float:
        """That of alpha."""
        return self._alpha().relative_rounding()

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """Those of alpha."""
        clouds = self._clouds(X)
        return self._alpha().fit(clouds).largest_values(clouds)

    def differentiable_bars(self, series: list[Tensor]) -> Any:
        """Births and deaths as tensors."""
        starts = range(0, self.delays * self.delay, self.delay)
        clouds = []
        for item in series:
            chosen = item[:, list(self.channels)]
            n_points = len(chosen) - (self.delays - 1) * self.delay
            clouds.append(torch.cat([chosen[start : start + n_points] for start in starts], dim=1))
        return bars_of_inputs(self._alpha().fit([clouds[0].detach().numpy()]), clouds)

    def _alpha(self) -> AlphaPersistence:
        return AlphaPersistence(self.homology_dimensions, n_jobs=self.n_jobs)

    def _clouds(self, X: Any) -> list[Cloud]:
        series = [item[:, list(self.channels)] for item in self._check(X, self.dimension_)]
        return TakensEmbedding(self.delays, self.delay).fit_transform(series)

    def _check(self, X: Any, dimension: int | None) -> list[Cloud]:
        return check_clouds(X, dimension=dimension)

    def _diagrams(self, clouds: Sequence[Cloud]) -> DiagramBatch:
        return self._alpha().fit_transform(list(clouds))


class SortedValues(TransformerMixin, BaseEstimator):
    """The values of every channel, sorted and averaged in blocks: no persistence, no time.

    Constant 1 from the sup norm: sorting and means are 1-Lipschitz there.

    Parameters
    ----------
    blocks : int, default=20
        How many, at most as many as the series has times.
    """

    def __init__(self, blocks: int = 20) -> None:
        self.blocks = blocks

    def fit(self, X: Any, y: Any = None) -> SortedValues:
        """Remember the number of channels."""
        self.n_channels_ = check_clouds(X)[0].shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """The vectors, shape (n_series, n_channels · blocks)."""
        series = check_clouds(X, dimension=self.n_channels_)
        return np.stack([self._vector(torch.from_numpy(item)).numpy() for item in series])

    def differentiable_vectors(self, series: list[Tensor]) -> Tensor:
        """As `transform`, in torch."""
        return torch.stack([self._vector(item) for item in series])

    def stability(self, source: Space = PER_COORDINATE) -> Bound:
        """1 for each value."""
        if source != PER_COORDINATE:
            raise StabilityError(
                f"SortedValues know constants from {PER_COORDINATE}, not {source}."
            )
        constants = np.ones(self.n_channels_ * self.blocks)
        return Bound.by_coordinate(source, constants, "sorting, means", stage="sorted values")

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The largest absolute value of each series."""
        return np.array([np.abs(item).max() for item in check_clouds(X)])

    def vector_rounding(self, largest_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """A mean of n values is off by n + 1 units at most; a series has fewer than 2^20 times."""
        return largest_values * 2.0**-32

    def _vector(self, series: Tensor) -> Tensor:
        ordered = series.sort(dim=0, descending=True).values
        parts = torch.tensor_split(ordered, self.blocks, dim=0)
        return torch.stack([part.mean(dim=0) for part in parts], dim=1).reshape(-1)
