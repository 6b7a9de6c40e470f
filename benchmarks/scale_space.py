"""The persistence scale space kernel (Reininghaus et al. 2015) of many diagrams, by quadrature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.vectorizer import Vectorizer
from stablerank.diagrams.batch import DiagramBatch

_STEP = 0.75  # of the grid, in standard deviations
_REACH = 4.0  # beyond the range of the bars, in standard deviations


class ScaleSpace(Vectorizer):
    """Vectors whose inner products are the scale space kernel.

    It is, with q̄ the mirror image of q in the diagonal [1]_, ::

        k(F, G) = 1 / (8 π σ) Σ_{p in F, q in G} exp(−|p − q|² / 8σ) − exp(−|p − q̄|² / 8σ)

    the inner product of functions: of sums of Gaussians of variance 2σ at the points, less those at
    their mirror images. Sampled at 0.75 standard deviations, and times the step, these are vectors,
    and the integral is a sum that is right to 10⁻⁶ of Σ 1 / (8 π σ), Gaussians having no high
    frequencies. So Gram matrices are products of matrices, and a distance between vectors is that
    of the kernel.

    Parameters
    ----------
    sigma : float
        σ, in the unit of the filtration squared.
    top : float
        Births and deaths are from 0 to there.

    References
    ----------
    .. [1] Reininghaus, Huber, Bauer, Kwitt (2015), "A stable multi-scale kernel for topological
       machine learning", CVPR.

    Examples
    --------
    One bar with itself: (1 − exp(−|p − p̄|² / 8σ)) / (8 π σ), with |p − p̄|² = 2 · 2².

    >>> vector = ScaleSpace(sigma=0.5, top=4.0).fit_transform([{1: [[1.0, 3.0]]}])[0]
    >>> round(vector @ vector, 6), round((1 - np.exp(-2)) / (4 * np.pi), 6)
    (np.float64(0.068808), np.float64(0.068808))
    """

    def __init__(self, sigma: float, top: float) -> None:
        self.sigma = sigma
        self.top = top

    def _check_parameters(self) -> None:
        for name in ("sigma", "top"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a positive number.")

    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
        deviation = np.sqrt(2 * self.sigma)
        ends = np.array([-_REACH * deviation, self.top + _REACH * deviation])
        return np.arange(ends[0], ends[1] + _STEP * deviation, _STEP * deviation)

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        grid = self.fitted_[dimension]
        bars = batch.padded(dimension)  # the pads (0, 0) are their own mirror images, and cancel
        births, deaths = (self._gaussians(bars[..., k], grid) for k in (0, 1))
        sums = births.transpose(0, 2, 1) @ deaths
        odd = sums - sums.transpose(0, 2, 1)
        # half of the plane is enough: beyond the diagonal is the same with a minus
        rows, columns = np.triu_indices(len(grid), 1)
        return odd[:, rows, columns]

    def _gaussians(
        self, centres: NDArray[np.float64], grid: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """One factor of each Gaussian, times the root of the step."""
        step = grid[1] - grid[0]
        squares = (centres[..., None] - grid) ** 2
        out: NDArray[np.float64] = np.exp(-squares / (4 * self.sigma))
        return out * np.sqrt(step / (4 * np.pi * self.sigma))
