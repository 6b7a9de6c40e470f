"""Contours that are learned: densities whose parameters have gradients, of a constant held (R1).

Each is a torch module from births and deaths to lengths, trained in float32 in a unit of its own,
and afterwards frozen into one of the float64 contours of :mod:`stablerank.ranks`, which alone is
what predicts, is certified and is saved. Whatever the parameters are, the constant is K.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.ranks.contours import Contour, DistanceContour, inverse_up
from stablerank.ranks.step_contours import StepDistanceContour, StepShiftContour

Array = NDArray[np.float64]

_ROOT = math.sqrt(2 * math.pi)
_GAIN = 10.0  # of logarithms: at the learning rate of a network they would hardly move
_MOST = 60.0  # logarithms of factors: beyond, float32 overflows, and nothing is left to see


class LearnableContour(nn.Module):
    """How the length of a bar is measured, with parameters that are trained.

    Parameters
    ----------
    bars : ndarray of shape (n_bars, 2), float64
        The training bars, on whose quantiles centres and edges lie. There may be none.
    constant : float
        K > 0.
    n_components : int
        How many numbers describe the density, at least 2.

    Attributes
    ----------
    origin, unit : float
        Births and deaths come in as (x − origin)/unit, and lengths go out in units of `unit`, so
        that parameters and gradients are of order 1 whatever the unit of the filtration is.
    """

    def __init__(self, bars: Array, constant: float, n_components: int) -> None:
        super().__init__()
        self.constant, self.n_components = float(constant), int(n_components)
        places = np.unique(bars)
        self.origin = float(places[0]) if places.size else 0.0
        span = float(places[-1]) - self.origin if places.size else 0.0
        self.unit = span if span > 1e-290 and math.isfinite(span) else 1.0
        self._places = (places - self.origin) / self.unit

    @abstractmethod
    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """Lengths of bars, elementwise: births and deaths as in the attributes."""

    @abstractmethod
    def frozen(self) -> Contour:
        """The contour in float64 and in the filtration's unit, of constant at most K."""

    def _quantiles(self, n: int) -> Array:
        """The quantiles (j + 1/2)/n of all different births and deaths; spread if there are few."""
        levels = (np.arange(n) + 0.5) / n
        return np.quantile(self._places, levels) if len(self._places) > 1 else levels


class LearnableDistance(LearnableContour):
    """A mixture of Gaussians on a floor, F(d) − F(b): becomes a :class:`DistanceContour`.

    Floor and peaks are K times shares that add up to 1, so that the sum of them, which is never
    below the supremum of the density, is K. It begins as the standard contour but for the half.

    Examples
    --------
    >>> learnable = LearnableDistance(np.array([[0.0, 1.0], [0.0, 2.0]]), 3.0, n_components=4)
    >>> 3 * (1 - 1e-12) < learnable.frozen().constant <= 3
    True
    """

    start: Tensor
    width: Tensor

    def __init__(self, bars: Array, constant: float, n_components: int) -> None:
        super().__init__(bars, constant, n_components)
        means = self._quantiles(n_components)
        ends = np.concatenate([[2 * means[0] - means[1]], means, [2 * means[-1] - means[-2]]])
        widths = np.maximum((ends[2:] - ends[:-2]) / 2, 1e-3)
        self.register_buffer("start", torch.tensor(means, dtype=torch.float32))
        self.register_buffer("width", torch.tensor(widths, dtype=torch.float32))
        self.shifts = nn.Parameter(torch.zeros(n_components))  # in units of the width
        self.stretches = nn.Parameter(torch.zeros(n_components))  # their logarithms
        shares = torch.zeros(n_components + 1)
        shares[0] = math.log(n_components) / _GAIN  # half of the constant for the floor
        self.shares = nn.Parameter(shares)

    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``F(deaths) − F(births)``."""
        means, scales, floor, weights = self._density()
        total = floor * (deaths - births)
        for mean, scale, weight in zip(means, scales, weights, strict=True):
            rise = torch.special.ndtr((deaths - mean) / scale)
            total = total + weight * (rise - torch.special.ndtr((births - mean) / scale))
        return total.clamp_min(0.0)

    def frozen(self) -> DistanceContour:
        """Scaled so that the bound as computed, which is rounded up, does not exceed K."""
        with torch.no_grad():
            density = [part.numpy() for part in _in_float64(self)._density()]
        means, scales, floor, weights = density
        # some 40 u: what `DistanceContour.constant` adds for rounding
        below = 1 - 2.0**-47
        return DistanceContour(
            means=(self.origin + self.unit * means).tolist(),
            scales=(self.unit * scales).tolist(),
            weights=(self.unit * below * weights).tolist(),
            floor=float(floor) * below,
        )

    def _density(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scales = self.width * self.stretches.exp()
        peaks = self.constant * torch.softmax(_GAIN * self.shares, dim=0)
        return self.start + self.width * self.shifts, scales, peaks[0], peaks[1:] * scales * _ROOT


class LearnableStepDistance(LearnableContour):
    """A step function: becomes a :class:`StepDistanceContour`.

    Edges lie on quantiles and stay. The steps are K times factors of which the largest is 1. It
    begins as the standard contour, times K.

    Examples
    --------
    >>> learnable = LearnableStepDistance(np.array([[0.0, 1.0], [0.0, 3.0]]), 2.0, n_components=2)
    >>> learnable.frozen()
    StepDistanceContour(edges=[1.0], steps=[2.0, 2.0])
    """

    edges: Tensor

    def __init__(self, bars: Array, constant: float, n_components: int) -> None:
        super().__init__(bars, constant, n_components)
        levels = np.arange(1, n_components) / n_components
        places = np.quantile(self._places, levels) if len(self._places) > 1 else levels
        self._edges = _increasing(places)
        self.register_buffer("edges", torch.tensor(self._edges, dtype=torch.float32))
        self.heights = nn.Parameter(torch.zeros(n_components))

    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """The sum over all steps of the slope times the part of (b, d) that lies in it."""
        return _steps_between(births, deaths, self.edges, self._slopes())

    def frozen(self) -> Contour:
        """Steps of which the largest is K, exactly."""
        with torch.no_grad():
            slopes = _in_float64(self)._slopes().numpy()
        return StepDistanceContour(self._own_edges().tolist(), slopes.tolist())

    def _slopes(self) -> Tensor:
        lower = (_GAIN * (self.heights - self.heights.amax())).clamp_min(-_MOST)
        return self.constant * lower.exp()

    def _own_edges(self) -> Array:
        """The edges in the filtration's unit."""
        return _increasing(self.origin + self.unit * self._edges)


class LearnableStepShift(LearnableContour):
    """A step function of which the inverse integral measures: becomes a :class:`StepShiftContour`.

    The steps are c = 1/K times factors of which the smallest is 1. Edges lie on the axis of the
    lengths, where quantiles lie when it begins, as the standard contour times K. As steps are
    learned, the places of the edges on the axis of births and deaths move, all but the first.

    Examples
    --------
    >>> learnable = LearnableStepShift(np.array([[0.0, 1.0], [0.0, 3.0]]), 2.0, n_components=2)
    >>> learnable.frozen()  # F(2) = 1
    StepShiftContour(edges=[2.0], steps=[0.5, 0.5])
    """

    gaps: Tensor

    def __init__(self, bars: Array, constant: float, n_components: int) -> None:
        super().__init__(bars, constant, n_components)
        levels = np.arange(1, n_components) / n_components
        places = np.quantile(self._places, levels) if len(self._places) > 1 else levels
        places = _increasing(places)
        self._first, self._gaps = float(places[0]), self.constant * np.diff(places)
        self.register_buffer("gaps", torch.tensor(self._gaps, dtype=torch.float32))
        self.heights = nn.Parameter(torch.zeros(n_components))

    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``F⁻¹(deaths) − F⁻¹(births)``."""
        steps = self._steps()
        moved = torch.cumsum(steps[1:-1] * self.gaps, dim=0)
        edges = torch.cat([moved.new_zeros(1), moved]) + self._first
        return _steps_between(births, deaths, edges, 1 / steps)

    def frozen(self) -> StepShiftContour:
        """Steps of which the inverse of the smallest, rounded up, is at most K."""
        with torch.no_grad():
            steps = _in_float64(self)._steps().numpy()
        least = 1 / self.constant
        while inverse_up(least) > self.constant:
            least = math.nextafter(least, math.inf)
        steps = np.maximum(steps, least)
        steps[np.argmin(steps)] = least
        moved = np.cumsum(steps[1:-1] * self._gaps)
        ends = self.origin + self.unit * (self._first + np.concatenate([[0.0], moved]))
        return StepShiftContour(_increasing(_walked(ends, 1 / steps)).tolist(), steps.tolist())

    def _steps(self) -> Tensor:
        higher = (_GAIN * (self.heights - self.heights.amin())).clamp_max(_MOST)
        return higher.exp() / self.constant


KINDS: dict[str, Any] = {
    "distance": LearnableDistance,
    "step": LearnableStepDistance,
    "shift": LearnableStepShift,
}
"""The learnable contours by the names that a user gives."""


def _in_float64(module: Any) -> Any:
    """A copy in float64, which holds the parameters exactly."""
    return copy.deepcopy(module).double().cpu()


def _increasing(values: Array) -> Array:
    """The nearest numbers that increase strictly."""
    out = np.array(values, dtype=np.float64)
    for i in range(1, len(out)):
        out[i] = max(out[i], math.nextafter(out[i - 1], math.inf))
    return out


def _steps_between(births: Tensor, deaths: Tensor, edges: Tensor, slopes: Tensor) -> Tensor:
    """The integral from b to d of the step function of these edges and slopes, elementwise."""
    low = torch.cat([edges.new_full((1,), -math.inf), edges])
    high = torch.cat([edges, edges.new_full((1,), math.inf)])
    total = torch.zeros_like(deaths)
    for i in range(len(slopes)):
        part = _clamped(deaths, low[i], high[i]) - _clamped(births, low[i], high[i])
        total = total + slopes[i] * part
    return total


def _clamped(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, low), high)


def _walked(ends: Array, slopes: Array) -> Array:
    """For each end the integral from 0 to it of the step function with these ends and slopes."""
    low, high = np.minimum(ends, 0.0), np.maximum(ends, 0.0)
    bounds = np.concatenate([[-math.inf], ends, [math.inf]])
    total = np.zeros_like(ends)
    for left, right, slope in zip(bounds[:-1], bounds[1:], slopes, strict=True):
        total += slope * (np.clip(high, left, right) - np.clip(low, left, right))
    return np.where(ends < 0, -total, total)
