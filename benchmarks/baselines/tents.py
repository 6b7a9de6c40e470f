"""Landscapes (Bubenik 2015) and silhouettes (Chazal et al. 2014), sampled on a grid.

Both are made of a bar's tent, ``min(t - birth, death - t)`` where that is positive. Compiled loops
visit, for each bar, only the samples under its tent; there is nothing in memory but the result.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines.vectorizer import (
    DifferentiableVectorizer,
    check_count,
    check_power,
    check_range,
    sample_grid,
)
from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks.templates import k_largest


class Landscapes(DifferentiableVectorizer):
    """The k-th largest tents at each sample, k = 1, 2, …, one after the other.

    Parameters
    ----------
    num_landscapes : int, default=5
    resolution : int, default=100
        Samples of each.
    sample_range : tuple of float, optional
        First and last sample, for every homology dimension. By default the samples divide the
        range of the training bars evenly, its ends left out.

    Notes
    -----
    The same bits as ``gudhi.representations.Landscape``, which multiplies by the square root of 2.

    Examples
    --------
    >>> landscapes = Landscapes(num_landscapes=2, resolution=3)
    >>> landscapes.fit_transform([{0: [[0.0, 4.0], [1.0, 3.0]]}]) / np.sqrt(2)
    array([[1., 2., 1., 0., 1., 0.]])
    """

    def __init__(
        self,
        num_landscapes: int = 5,
        resolution: int = 100,
        sample_range: tuple[float, float] | None = None,
    ) -> None:
        self.num_landscapes = num_landscapes
        self.resolution = resolution
        self.sample_range = sample_range

    def _check_parameters(self) -> None:
        check_count(self.num_landscapes, "num_landscapes")
        check_count(self.resolution, "resolution")
        check_range(self.sample_range, "sample_range", 2)

    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
        return sample_grid(bars, self.resolution, self.sample_range, dimension)

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        grid = self.fitted_[dimension]
        largest = np.zeros((len(batch), len(grid), self.num_landscapes))
        bars = batch.bars[dimension]
        _keep_largest(bars, batch.offsets[dimension], grid, *_under(bars, grid), largest)
        largest *= np.sqrt(2)
        return largest.transpose(0, 2, 1).reshape(len(batch), -1)

    def _from_bars(self, births: Tensor, deaths: Tensor, dimension: int) -> Tensor:
        tents = _tents(births, deaths, self.fitted_[dimension])
        return (k_largest(tents, self.num_landscapes) * np.sqrt(2)).transpose(1, 2).flatten(1)


class Silhouettes(DifferentiableVectorizer):
    """Weighted means of the tents.

    Parameters
    ----------
    power : float, default=0.0
        A bar's weight is its length to this power.
    resolution : int, default=100
    sample_range : tuple of float, optional
        As for :class:`Landscapes`.

    Notes
    -----
    Equal to ``gudhi.representations.Silhouette(weight=lambda p: (p[1] - p[0])**power)``, which
    multiplies by the square root of 2.

    Examples
    --------
    >>> silhouettes = Silhouettes(resolution=3)
    >>> silhouettes.fit_transform([{0: [[0.0, 4.0], [1.0, 3.0]]}]) / np.sqrt(2)
    array([[0.5, 1.5, 0.5]])
    """

    def __init__(
        self,
        power: float = 0.0,
        resolution: int = 100,
        sample_range: tuple[float, float] | None = None,
    ) -> None:
        self.power = power
        self.resolution = resolution
        self.sample_range = sample_range

    def _check_parameters(self) -> None:
        check_power(self.power)
        check_count(self.resolution, "resolution")
        check_range(self.sample_range, "sample_range", 2)

    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
        return sample_grid(bars, self.resolution, self.sample_range, dimension)

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        grid, bars = self.fitted_[dimension], batch.bars[dimension]
        clouds = np.repeat(np.arange(len(batch)), batch.n_bars(dimension))
        weights = (bars[:, 1] - bars[:, 0]) ** self.power
        totals = np.bincount(clouds, weights=weights, minlength=len(batch))
        sums = np.zeros((len(batch), len(grid)))
        _add_up(
            bars,
            weights / totals[clouds],
            batch.offsets[dimension],
            grid,
            *_under(bars, grid),
            sums,
        )
        return sums * np.sqrt(2)

    def _from_bars(self, births: Tensor, deaths: Tensor, dimension: int) -> Tensor:
        lengths = deaths - births
        present = lengths > 0
        weights = torch.where(present, lengths, 1.0) ** self.power * present
        totals = weights.sum(dim=1, keepdim=True)
        shares = weights / torch.where(totals > 0, totals, 1.0)
        tents = _tents(births, deaths, self.fitted_[dimension])
        return (tents * shares[:, None]).sum(dim=2) * np.sqrt(2)


def _tents(births: Tensor, deaths: Tensor, grid: NDArray[np.float64]) -> Tensor:
    """Each bar's tent at each sample, shape (n_clouds, n_samples, n_bars)."""
    samples = torch.from_numpy(grid)[:, None]
    middles, heights = (births + deaths) / 2, (deaths - births) / 2
    return torch.clamp(heights[:, None] - (samples - middles[:, None]).abs(), min=0)


def _under(
    bars: NDArray[np.float64], grid: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each bar's samples, and one more at both ends, where rounding may leave something."""
    first = np.searchsorted(grid, bars[:, 0], side="left") - 1
    last = np.searchsorted(grid, bars[:, 1], side="right") + 1
    return np.maximum(first, 0), np.minimum(last, len(grid))


@njit(nogil=True, cache=True)
def _keep_largest(bars, offsets, grid, first, last, largest):  # type: ignore[no-untyped-def]
    n_kept = largest.shape[2]
    for i in range(len(offsets) - 1):
        for bar in range(offsets[i], offsets[i + 1]):
            middle = (bars[bar, 0] + bars[bar, 1]) / 2.0
            height = (bars[bar, 1] - bars[bar, 0]) / 2.0
            for t in range(first[bar], last[bar]):
                tent = height - abs(grid[t] - middle)
                k = n_kept
                while k > 0 and largest[i, t, k - 1] < tent:
                    if k < n_kept:
                        largest[i, t, k] = largest[i, t, k - 1]
                    k -= 1
                if k < n_kept and tent > 0.0:
                    largest[i, t, k] = tent


@njit(nogil=True, cache=True)
def _add_up(bars, weights, offsets, grid, first, last, sums):  # type: ignore[no-untyped-def]
    for i in range(len(offsets) - 1):
        for bar in range(offsets[i], offsets[i + 1]):
            middle = (bars[bar, 0] + bars[bar, 1]) / 2.0
            height = (bars[bar, 1] - bars[bar, 0]) / 2.0
            for t in range(first[bar], last[bar]):
                sums[i, t] += weights[bar] * max(height - abs(grid[t] - middle), 0.0)
