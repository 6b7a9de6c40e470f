"""Betti curves: how many bars are alive at each sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.vectorizer import Vectorizer, check_count, check_range, sample_grid
from stablerank.diagrams.batch import DiagramBatch


class BettiCurves(Vectorizer):
    """Numbers of bars with ``birth <= t < death``: a count of events a sample, summed up.

    Parameters
    ----------
    resolution : int, default=100
    sample_range : tuple of float, optional
        First and last sample, for every homology dimension. By default the samples divide the
        range of the training bars evenly, its ends left out.

    Notes
    -----
    Equal to ``gudhi.representations.BettiCurve``.

    Examples
    --------
    >>> BettiCurves(resolution=3).fit_transform([{0: [[0.0, 4.0], [1.0, 3.0]]}])
    array([[2., 2., 1.]])
    """

    def __init__(
        self, resolution: int = 100, sample_range: tuple[float, float] | None = None
    ) -> None:
        self.resolution = resolution
        self.sample_range = sample_range

    def _check_parameters(self) -> None:
        check_count(self.resolution, "resolution")
        check_range(self.sample_range, "sample_range", 2)

    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
        return sample_grid(bars, self.resolution, self.sample_range, dimension)

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        grid, bars = self.fitted_[dimension], batch.bars[dimension]
        width = len(grid) + 1  # the last slot: what happens after the last sample
        rows = width * np.repeat(np.arange(len(batch)), batch.n_bars(dimension))
        size = width * len(batch)
        births, deaths = (
            np.bincount(rows + np.searchsorted(grid, bars[:, end]), minlength=size)
            for end in (0, 1)
        )
        changes = (births - deaths).reshape(len(batch), width)
        return np.cumsum(changes, axis=1)[:, :-1].astype(np.float64)
