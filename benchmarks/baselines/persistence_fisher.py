"""The persistence Fisher distance (Le, Yamada 2018), with densities on a fixed grid.

Two diagrams D and E become densities: Gaussians at the bars of D and at those of E put on the
diagonal, and Gaussians at the bars of E and at those of D put there, each normalised over a set
Θ; the distance is that of Fisher, arccos Σ √(ρ σ). With f the density of a diagram and g that
of its bars on the diagonal, the two are f_D + g_E and f_E + g_D: on a fixed Θ each diagram is
two vectors, and a pair costs one pass over Θ. The paper's Θ is the plane, where the sum is an
integral, or, as in GUDHI, the bars of the pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from benchmarks.baselines.images import blocks_of_similar_size
from stablerank.diagrams.batch import DiagramBatch

_SMALLEST = 1e-300  # so that no density is 0


class PersistenceFisher(BaseEstimator):
    """Persistence Fisher distances of the diagrams of one homology dimension.

    Parameters
    ----------
    dimension : int, default=1
        Homology dimension.
    bandwidth : float, default=1.0
        Standard deviation of the Gaussians, in the unit of the filtration.
    resolution : int, default=32
        Θ is a grid of resolution × resolution points over (birth + death)/√2 and
        (death - birth)/√2, coordinates in which the plane is turned, not stretched. On each axis
        half of the points are at quantiles of the training bars, half are evenly from three
        bandwidths below the first to three above the last; sums are weighed by the area about each
        point, so they are integrals over the plane in the limit.

    Notes
    -----
    GUDHI's ``PersistenceFisherDistance`` is :func:`fisher_distance` with Θ the bars of the pair and
    their twins on the diagonal: there bars count once for being in Θ and once for their density.

    Examples
    --------
    Far from the diagonal and from each other, two bars at angle arccos(Σ √(ρ σ)) = 90° when each
    density is half at a bar and half at the other's twin on the diagonal.

    >>> diagrams = DiagramBatch.from_diagrams([{1: [[0.0, 90.0]]}, {1: [[50.0, 90.0]]}])
    >>> metric = PersistenceFisher(bandwidth=1.0, resolution=200).fit(diagrams)
    >>> vectors = metric.vectors(diagrams)
    >>> np.round(np.rad2deg(metric.distances(vectors, vectors)), 3)
    array([[ 0., 90.],
           [90.,  0.]])
    """

    def __init__(self, dimension: int = 1, bandwidth: float = 1.0, resolution: int = 32) -> None:
        self.dimension = dimension
        self.bandwidth = bandwidth
        self.resolution = resolution

    def fit(self, diagrams: DiagramBatch) -> PersistenceFisher:
        """Learn the grid: `axes_`, two arrays of shape (resolution,)."""
        bars = diagrams.bars[self.dimension]
        bars = bars[:: max(1, len(bars) // 100_000)]
        if not len(bars):
            bars = np.zeros((1, 2))
        along, across = _turned(bars[:, 0], bars[:, 1])
        self.axes_ = tuple(self._axis(values) for values in (along, np.append(across, 0.0)))
        return self

    def _axis(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        n_quantiles = self.resolution // 2
        ranks = (np.arange(n_quantiles) + 0.5) / n_quantiles
        reach = 3 * self.bandwidth
        even = np.linspace(
            values.min() - reach, values.max() + reach, self.resolution - n_quantiles
        )
        return np.sort(np.concatenate([np.quantile(values, ranks), even]))

    def vectors(self, diagrams: DiagramBatch) -> NDArray[np.float64]:
        """The densities f and g of each diagram, one after the other: (n_clouds, 2 resolution²)."""
        out = np.zeros((len(diagrams), 2 * self.resolution**2))
        counts = diagrams.n_bars(self.dimension)
        for clouds in blocks_of_similar_size(counts, self.resolution):
            bars = diagrams[clouds].to_tensor(self.dimension)
            out[clouds] = self.from_bars(bars[..., 0], bars[..., 1]).numpy()
        return out

    def from_bars(self, births: Tensor, deaths: Tensor) -> Tensor:
        """:meth:`vectors` of padded bars, in torch, differentiable."""
        along, across = _turned(births, deaths)
        present = (deaths > births).to(births.dtype)[..., None]  # the others pad
        weights = [torch.from_numpy(_widths(axis)) for axis in self.axes_]
        near = [
            torch.exp(-(((values[..., None] - torch.from_numpy(axis)) / self.bandwidth) ** 2) / 2)
            for values, axis in ((along, self.axes_[0]), (across, self.axes_[1]))
        ]
        first = near[0] * present * weights[0]
        densities = first.transpose(1, 2) @ (near[1] * weights[1])
        at_diagonal = torch.exp(-((torch.from_numpy(self.axes_[1]) / self.bandwidth) ** 2) / 2)
        twins = first.sum(dim=1)[:, :, None] * (at_diagonal * weights[1])
        return torch.cat([densities.flatten(1), twins.flatten(1)], dim=1)

    def distances(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distances between two sets of vectors, shape (n_a, n_b)."""
        affinities = np.empty((len(a), len(b)))
        _affinities(a, b, a is b, affinities)
        totals, twins = _totals(a)
        totals_b, twins_b = _totals(b)
        masses = (totals[:, None] + twins_b) * (totals_b + twins[:, None])
        cosines = np.where(masses > 0, affinities / np.sqrt(np.maximum(masses, _SMALLEST)), 1.0)
        distances = np.arccos(np.minimum(cosines, 1.0))
        if a is b:
            np.fill_diagonal(distances, 0.0)  # rounding below 1 would be 1e-8 here
        return distances

    def distances_with_gradients(self, a: Tensor, b: NDArray[np.float64]) -> Tensor:
        """:meth:`distances` in torch; without a gradient where the distance is 0."""
        totals, twins = (half.sum(dim=1) for half in a.chunk(2, dim=1))
        totals_b, twins_b = (torch.from_numpy(total) for total in _totals(b))
        masses = (totals[:, None] + twins_b) * (totals_b + twins[:, None])
        cosines = _Affinities.apply(a, b) / torch.sqrt(masses.clamp(min=_SMALLEST))
        cosines = torch.where(masses > 0, cosines, 1.0)
        distances: Tensor = torch.arccos(cosines.clamp(max=1 - 2**-52))
        return torch.where(cosines < 1 - 2**-52, distances, 0.0)


class _Affinities(torch.autograd.Function):
    """Σ √(ρ σ), unnormalised, compiled in both directions."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: NDArray[np.float64]) -> Tensor:
        ctx.save_for_backward(a)
        ctx.b = b
        out = np.empty((len(a), len(b)))
        _affinities(a.detach().numpy(), b, False, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (a,) = ctx.saved_tensors
        out = np.zeros(a.shape)
        given = np.ascontiguousarray(gradients[0].numpy())
        _affinity_gradients(a.detach().numpy(), ctx.b, given, out)
        return torch.from_numpy(out), None


def fisher_distance(
    f: NDArray[np.float64], g: NDArray[np.float64], f2: NDArray[np.float64], g2: NDArray[np.float64]
) -> float:
    """The distance of one pair, from the densities at any set Θ, each of shape (n_points,)."""
    metric = PersistenceFisher()
    a, b = np.concatenate([f, g])[None], np.concatenate([f2, g2])[None]
    return float(metric.distances(a, b)[0, 0])


def _turned(births: Any, deaths: Any) -> tuple[Any, Any]:
    return (births + deaths) / np.sqrt(2), (deaths - births) / np.sqrt(2)


def _widths(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the way to the neighbours on both sides: the trapezoidal rule."""
    gaps = np.diff(axis)
    return (np.append(gaps, 0.0) + np.insert(gaps, 0, 0.0)) / 2


def _totals(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    half = vectors.shape[1] // 2
    return vectors[:, :half].sum(axis=1), vectors[:, half:].sum(axis=1)


@njit(nogil=True, cache=True, fastmath=True)
def _affinities(a: Any, b: Any, symmetric: bool, out: Any) -> None:
    half = a.shape[1] // 2
    for start in range(0, len(b), 16):  # so many vectors stay in the cache
        for i in range(start if symmetric else 0, len(a)):
            for j in range(start, min(start + 16, len(b))):
                total = 0.0
                for k in range(half):
                    total += np.sqrt((a[i, k] + b[j, half + k]) * (b[j, k] + a[i, half + k]))
                out[i, j] = total
                if symmetric:
                    out[j, i] = total


@njit(nogil=True, cache=True)
def _affinity_gradients(a: Any, b: Any, given: Any, out: Any) -> None:
    half = a.shape[1] // 2
    for i in range(len(a)):
        for j in range(len(b)):
            if given[i, j] != 0.0:
                for k in range(half):
                    one = a[i, k] + b[j, half + k]
                    other = b[j, k] + a[i, half + k]
                    if one > 1e-150 and other > 1e-150:
                        root = np.sqrt(one / other)
                        out[i, k] += given[i, j] * 0.5 / root
                        out[i, half + k] += given[i, j] * 0.5 * root
