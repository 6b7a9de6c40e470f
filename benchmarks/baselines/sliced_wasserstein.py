"""The sliced Wasserstein distance (Carrière, Cuturi, Oudot 2017) as an l1 distance of vectors.

On a line two diagrams D and E are compared by W_1 between the projections of D and of the bars of
E put on the diagonal, and those of E and of D put there. W_1 on a line is the integral of the
difference of counting functions; sorting the terms by diagram, it is ∫ |h_D - h_E| with
h_D(t) = #{projections of D up to t} - #{those of D put on the diagonal up to t}: each diagram has a
step function of its own, and the distance is that of L1. Here h is integrated exactly over each bin
of a line, and the vectors of these integrals are compared in l1. That is never more than the
distance, equal to it if h_D - h_E changes its sign in no bin, and costs no merging of projections.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from stablerank.diagrams.batch import DiagramBatch


class SlicedWasserstein(BaseEstimator):
    """Sliced Wasserstein distances of the diagrams of one homology dimension.

    Parameters
    ----------
    dimension : int, default=1
        Homology dimension.
    n_directions : int, default=10
        As GUDHI's ``num_directions``, which takes all but the last of that many directions that
        divide half a turn.
    n_bins : int, default=512
        Bins of each line: half of the edges at quantiles of the training projections, half evenly
        from the first to the last; the outer bins are infinite.

    Notes
    -----
    Distances of the H1 of ORBIT5K are at worst 0.955 times (at the median 0.98 times) those of
    ``gudhi.representations.SlicedWassersteinDistance``, never more, and correlate with them by
    0.99999. A pair costs a microsecond; GUDHI's sorting, or merging in compiled code, hundreds.

    Examples
    --------
    A single bar against nothing: the mean over the lines at angle θ of the distance from the bar to
    the diagonal, projected; 2 directions leave the line at -90°, with distance 1.

    >>> diagrams = DiagramBatch.from_diagrams([{1: [[0.0, 2.0]]}, {1: []}])
    >>> metric = SlicedWasserstein(n_directions=2).fit(diagrams)
    >>> vectors = metric.vectors(diagrams)
    >>> metric.distances(vectors, vectors)
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(self, dimension: int = 1, n_directions: int = 10, n_bins: int = 512) -> None:
        self.dimension = dimension
        self.n_directions = n_directions
        self.n_bins = n_bins

    def fit(self, diagrams: DiagramBatch) -> SlicedWasserstein:
        """Learn the edges of the bins: `edges_`, shape (n_lines, n_bins - 1)."""
        angles = np.linspace(-np.pi / 2, np.pi / 2, self.n_directions, endpoint=False)[:-1]
        # of a bar, and of the bar put on the diagonal
        self._lines = np.stack([np.cos(angles), np.sin(angles)])
        self._diagonals = np.tile(self._lines.mean(axis=0), (2, 1))
        bars = diagrams.bars[self.dimension]
        bars = bars[:: max(1, len(bars) // 100_000)]
        if not len(bars):
            bars = np.zeros((1, 2))  # one bin would do: all vectors of training are 0
        places = np.concatenate([bars @ self._lines, bars @ self._diagonals])
        n_even = self.n_bins // 2
        n_quantiles = self.n_bins - 1 - n_even
        even = np.linspace(places.min(axis=0), places.max(axis=0), n_even)
        ranks = np.arange(1, n_quantiles + 1) / (n_quantiles + 1)
        quantiles = np.quantile(places, ranks, axis=0)
        edges = np.concatenate([even, quantiles]).T
        self.edges_ = np.sort(np.ascontiguousarray(edges), axis=1)
        return self

    def vectors(self, diagrams: DiagramBatch) -> NDArray[np.float64]:
        """Integrals over the bins, divided by the number of lines: (n_clouds, n_lines n_bins)."""
        bars, offsets = diagrams.bars[self.dimension], diagrams.offsets[self.dimension]
        n_lines, n_edges = self.edges_.shape
        out = np.zeros((len(diagrams), n_lines, n_edges + 1))
        _integrate(bars @ self._lines, bars @ self._diagonals, offsets, self.edges_, out)
        return out.reshape(len(out), -1) / n_lines

    def from_bars(self, births: Tensor, deaths: Tensor) -> Tensor:
        """:meth:`vectors` of padded bars, in torch, differentiable."""
        bars = torch.stack([births, deaths], dim=2)
        projected, diagonal = (
            bars @ torch.from_numpy(matrix) for matrix in (self._lines, self._diagonals)
        )
        integrals = self._left_of(diagonal) - self._left_of(projected)
        return integrals.flatten(1) / len(self.edges_)

    def _left_of(self, places: Tensor) -> Tensor:
        """Integrals of minus the counting functions, seen from each bin's left edge.

        A place right of a bin counts the bin's width, one inside it its distance to the left edge;
        the first bin is seen from its right edge instead. The same is counted for bars that pad and
        for their twins on the diagonal, which are equal.
        """
        edges = torch.from_numpy(self.edges_)
        n_edges = edges.shape[1]
        lines = places.permute(2, 0, 1).contiguous()  # (n_lines, n_clouds, n_bars)
        flat = lines.detach().flatten(1)
        bins = torch.searchsorted(edges, flat, right=True).view(lines.shape)
        anchors = edges[:, :1].expand(-1, 1)
        anchors = torch.cat([anchors, edges], dim=1)
        inside = lines - torch.gather(anchors, 1, bins.flatten(1)).view(lines.shape)
        shape = (*lines.shape[:2], n_edges + 1)
        sums = torch.zeros(shape, dtype=lines.dtype).scatter_add(2, bins, inside)
        counts = torch.zeros(shape, dtype=lines.dtype)
        counts.scatter_add_(2, bins, torch.ones_like(inside))
        right = counts.flip(2).cumsum(2).flip(2) - counts
        widths = torch.zeros(len(edges), n_edges + 1, dtype=lines.dtype)
        widths[:, 1:-1] = edges[:, 1:] - edges[:, :-1]
        return (sums + right * widths[:, None]).transpose(0, 1)

    def distances(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """The l1 distances between two sets of vectors, shape (n_a, n_b)."""
        out = np.empty((len(a), len(b)))
        _l1(a, b, a is b, out)
        return out

    def distances_with_gradients(self, a: Tensor, b: NDArray[np.float64]) -> Tensor:
        """:meth:`distances` in torch."""
        return torch.cdist(a, torch.from_numpy(b), p=1)


@njit(nogil=True, cache=True)
def _integrate(projected: Any, diagonal: Any, offsets: Any, edges: Any, out: Any) -> None:
    """Between a bar's projection and its twin on the diagonal the step function is 1 or -1."""
    n_edges = edges.shape[1]
    for i in range(len(offsets) - 1):
        for bar in range(offsets[i], offsets[i + 1]):
            for line in range(len(edges)):
                start = min(projected[bar, line], diagonal[bar, line])
                stop = max(projected[bar, line], diagonal[bar, line])
                sign = 1.0 if projected[bar, line] < diagonal[bar, line] else -1.0
                place = np.searchsorted(edges[line], start, side="right")
                while place < n_edges and edges[line, place] < stop:
                    out[i, line, place] += sign * (edges[line, place] - start)
                    start = edges[line, place]
                    place += 1
                out[i, line, place] += sign * (stop - start)


@njit(nogil=True, cache=True, fastmath=True)
def _l1(a: Any, b: Any, symmetric: bool, out: Any) -> None:
    for start in range(0, len(b), 16):  # so many vectors stay in the cache
        for i in range(start if symmetric else 0, len(a)):
            for j in range(start, min(start + 16, len(b))):
                total = 0.0
                for k in range(a.shape[1]):
                    total += abs(a[i, k] - b[j, k])
                out[i, j] = total
                if symmetric:
                    out[j, i] = total
