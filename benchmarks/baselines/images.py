"""Persistence images (Adams et al. 2017) of many diagrams as products of matrices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines.vectorizer import (
    DifferentiableVectorizer,
    check_count,
    check_not_empty,
    check_power,
    check_range,
)
from stablerank.diagrams.batch import DiagramBatch

_BLOCK = 2**21  # numbers in one factor: 16 MB


class PersistenceImages(DifferentiableVectorizer):
    """Sums of Gaussians at (birth, death − birth), sampled on a grid.

    A Gaussian is a product of one in x and one in y, so the image of a diagram is one product of
    two matrices, ``(height, n_bars) @ (n_bars, width)``, and exponentials are taken
    ``n_bars (height + width)`` times instead of ``n_bars height width`` times.

    Parameters
    ----------
    bandwidth : float, default=1.0
        Standard deviation, in the unit of the filtration.
    power : float, default=0.0
        A bar's weight is its length to this power.
    resolution : tuple of int, default=(20, 20)
        Width (births) and height (lengths) in pixels.
    im_range : tuple of float, optional
        (x_min, x_max, y_min, y_max), for every homology dimension; of the training bars by default.

    Notes
    -----
    Equal to ``gudhi.representations.PersistenceImage(bandwidth, weight=lambda p: p[1]**power)``.

    Examples
    --------
    One bar of weight 1 in the middle of its pixel has the height 1 / (2 pi) of a Gaussian.

    >>> image = PersistenceImages(resolution=(3, 3), im_range=(0, 2, 0, 2))
    >>> image.fit_transform([{1: [[1.0, 2.0]]}])[0, 4] * 2 * np.pi
    np.float64(1.0)
    """

    def __init__(
        self,
        bandwidth: float = 1.0,
        power: float = 0.0,
        resolution: tuple[int, int] = (20, 20),
        im_range: tuple[float, float, float, float] | None = None,
    ) -> None:
        self.bandwidth = bandwidth
        self.power = power
        self.resolution = resolution
        self.im_range = im_range

    def _check_parameters(self) -> None:
        if not 0 < self.bandwidth < np.inf:
            raise ValueError(f"bandwidth={self.bandwidth!r}: expected a positive number.")
        check_power(self.power)
        for count in self.resolution:
            check_count(count, "resolution")
        check_range(self.im_range, "im_range", 4)

    def _fit_bars(
        self, bars: NDArray[np.float64], dimension: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.im_range is not None:
            ends = self.im_range
        else:
            check_not_empty(bars, dimension, "im_range")
            births, lengths = bars[:, 0], bars[:, 1] - bars[:, 0]
            ends = (births.min(), births.max(), lengths.min(), lengths.max())
        width, height = self.resolution
        return np.linspace(*ends[:2], width), np.linspace(*ends[2:], height)

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        xs, ys = self.fitted_[dimension]
        counts = batch.n_bars(dimension)
        images = np.zeros((len(batch), len(ys), len(xs)))
        for clouds in blocks_of_similar_size(counts, max(len(xs), len(ys))):
            # (0, 0) pads, and gets no weight.
            bars = batch[clouds].padded(dimension)
            lengths = bars[..., 1] - bars[..., 0]
            weights = np.where(lengths > 0, lengths**self.power, 0.0)
            in_x = self._gaussians(bars[..., 0], xs)
            in_y = self._gaussians(lengths, ys)
            in_y *= (weights / (2 * np.pi * self.bandwidth**2))[..., None]
            images[clouds] = in_y.transpose(0, 2, 1) @ in_x
        return images.reshape(len(batch), -1)

    def _from_bars(self, births: Tensor, deaths: Tensor, dimension: int) -> Tensor:
        xs, ys = (torch.from_numpy(grid) for grid in self.fitted_[dimension])
        lengths = deaths - births
        present = lengths > 0
        weights = torch.where(present, lengths, 1.0) ** self.power * present
        scale = np.sqrt(2) * self.bandwidth
        in_x = torch.exp(-(((births[..., None] - xs) / scale) ** 2))
        in_y = torch.exp(-(((lengths[..., None] - ys) / scale) ** 2))
        in_y = in_y * (weights / (2 * np.pi * self.bandwidth**2))[..., None]
        return (in_y.transpose(1, 2) @ in_x).flatten(1)

    def _gaussians(
        self, centres: NDArray[np.float64], grid: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        out = (centres[..., None] - grid) / (np.sqrt(2) * self.bandwidth)
        return np.exp(np.negative(np.square(out, out=out), out=out), out=out)


def blocks_of_similar_size(counts: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
    """Clouds of similar numbers of bars, at most `_BLOCK` numbers padded, unless one has more."""
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        size = max(1, _BLOCK // (int(counts[order[start]]) * width))
        yield order[start : start + size]
        start += size
