"""The contour of shift type for a density that is a Gaussian mixture on a floor (fact R1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stablerank.ranks.contours import UNIT_ROUNDOFF, Contour, DistanceContour, inverse_up

_MOST_TURNS = 160  # of two turns one halves an interval of at most 2^53 times the tolerance


class ShiftContour(Contour):
    """Length measured against a density: F⁻¹(d) − F⁻¹(b), F the integral of mixture and floor.

    The density is f(x) = c + Σ w_i φ((x − μ_i)/σ_i)/σ_i, φ the standard normal density, and F(x)
    its integral from 0 to x, on the whole axis. A bar gets as long as one has to walk from F⁻¹(b)
    for the density to add up to d − b: where f is large lengths are small. The distance type,
    :class:`DistanceContour`, does the opposite.

    Parameters
    ----------
    means, scales, weights
        μ_i, σ_i > 0 and w_i >= 0, as of :class:`DistanceContour`; μ_i lies on the axis of the
        lengths, and F(μ_i) on that of births and deaths.
    floor : float
        c > 0, without unit. It is part of the density: without it F⁻¹ would have no constant.

    Raises
    ------
    TypeError
        If the first three are not sequences of numbers, or the floor is not a number.
    ValueError
        If the three have different lengths, or values out of range.

    Notes
    -----
    K = 1/c, rounded up, the slope of F⁻¹ far from all means. F⁻¹ has no closed form. With M the
    mixture's part of F, between two numbers that are Σ w_i apart, m = M(F⁻¹(y)) is the only root of
    g(m) = M((y − m)/c) − m, and F⁻¹(y) = (y − m)/c. Since g falls by at least as much as m grows,
    no m is farther from the root than g(m) is from 0, whatever the density: the error is as small
    as that of M, everywhere on the axis.

    References
    ----------
    .. [1] Chachólski, Riihimäki (2020), "Metrics and stabilization in one parameter persistence",
       SIAM Journal on Applied Algebra and Geometry 4.

    Examples
    --------
    All of the mixture lies between the two ends, and 9 of the 10 are needed to cross it:

    >>> contour = ShiftContour(means=[5.0], scales=[0.1], weights=[9.0], floor=0.1)
    >>> contour.lengths(torch.tensor([0.0]), torch.tensor([10.0]))
    tensor([10.])
    >>> contour.constant
    10.0
    """

    def __init__(
        self,
        means: Sequence[float],
        scales: Sequence[float],
        weights: Sequence[float],
        floor: float,
    ) -> None:
        self._density = DistanceContour(means, scales, weights, floor)
        self.means, self.scales = self._density.means, self._density.scales
        self.weights, self.floor = self._density.weights, self._density.floor
        if not self.floor > 0 or not math.isfinite(1 / self.floor):
            raise ValueError(
                f"floor is {self.floor!r}: the shift type needs a floor > 0, whose inverse is its "
                f"constant."
            )
        self._weight = math.fsum(self.weights)
        if not math.isfinite(self._tolerance(UNIT_ROUNDOFF)):
            raise ValueError(
                f"means={list(self.means)}, scales={list(self.scales)}, "
                f"weights={list(self.weights)}: the rounding of F, about weight * |mean| / scale, "
                f"is beyond float64. Take larger scales, or smaller weights."
            )
        self._at_0 = float(self._density.mixture(torch.zeros(1, dtype=torch.float64)))

    @property
    def constant(self) -> float:
        """1/c, rounded up."""
        return inverse_up(self.floor)

    def inverse(self, values: Tensor) -> Tensor:
        """F⁻¹ at the given values, elementwise; its derivative is 1/f there."""
        return (values - self._rise(values)) / self.floor

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``F⁻¹(deaths) - F⁻¹(births)``, not below 0 by rounding."""
        # first the difference of the values: short bars at any height must not get long ones
        rises = self._rise(deaths) - self._rise(births)
        return (((deaths - births) - rises) / self.floor).clamp_min(0.0)

    def rounding(self, largest_death: Any) -> Any:
        """Two roots, each within twice the tolerance; three differences and a quotient."""
        steps = 8 * UNIT_ROUNDOFF * (largest_death + self._weight)
        return (4 * self._tolerance(UNIT_ROUNDOFF) + steps) / self.floor + 1e-300

    def longest(self, gap: Tensor) -> Tensor:
        """K times the gap, and the rounding, which is that of the gap wherever the bar is."""
        bound: Tensor = (gap / self.floor + self.rounding(gap)) * (1 + 8 * UNIT_ROUNDOFF)
        return bound

    def to_dict(self) -> dict[str, Any]:
        """Its parameters; floats round-trip exactly through JSON."""
        return {**self._density.to_dict(), "contour": "shift"}

    def __repr__(self) -> str:
        return repr(self._density).replace("DistanceContour", "ShiftContour", 1)

    def _rise(self, values: Tensor) -> Tensor:
        """What the mixture adds between 0 and F⁻¹ of the values: m of the notes."""
        given = values.detach()
        with torch.no_grad():
            risen = self._root(given)
        if not (values.requires_grad and torch.is_grad_enabled()):
            return risen
        with torch.no_grad():
            share = 1 / (1 + self.floor / self._mixture_density((given - risen) / self.floor))
        # the derivative of the root; the value added is 0
        return risen + share * (values - given)

    def _root(self, values: Tensor) -> Tensor:
        """The root m for each value, within twice the tolerance, by Newton's method and bisection.

        Each by itself: what converged is not touched again, whatever stands beside it.
        """
        tolerance = self._tolerance(torch.finfo(values.dtype).eps / 2)
        low = torch.full_like(values, -self._at_0 - tolerance)
        high = torch.full_like(values, self._weight - self._at_0 + tolerance)
        root = low + (high - low) / 2
        done = torch.zeros_like(values, dtype=torch.bool)
        for turn in range(_MOST_TURNS):
            place = (values - root) / self.floor
            excess = self._density.mixture(place) - self._at_0 - root
            low = torch.where(excess > 0, root, low)
            high = torch.where(excess < 0, root, high)
            done = done | (excess.abs() <= tolerance) | (high - low <= tolerance)
            if done.all():
                break
            newton = root + excess / (1 + self._mixture_density(place) / self.floor)
            inside = (newton > low) & (newton < high) & (turn % 2 == 0)
            root = torch.where(done, root, torch.where(inside, newton, low + (high - low) / 2))
        return root

    def _mixture_density(self, values: Tensor) -> Tensor:
        density = torch.zeros_like(values)
        for mean, scale, weight in zip(self.means, self.scales, self.weights, strict=True):
            peak = weight / (scale * math.sqrt(2 * math.pi))
            density = density + peak * torch.exp(-(((values - mean) / scale) ** 2) / 2)
        return density

    def _tolerance(self, unit: float) -> float:
        """No less than the error of a computed g(m), in arithmetic of this unit roundoff u.

        M and M(0) are each off by (n + 12) u Σ w_i (see :meth:`DistanceContour.rounding`), two
        subtractions by 3 u Σ w_i. The place x = (y − m)/c is off by 2 u |x|, and M there by
        2 u Σ w_i φ(z_i) |x|/σ_i, z_i = (x − μ_i)/σ_i, which is at most 2 u Σ w_i (|z_i| φ(z_i) +
        φ(0) |μ_i|/σ_i), the first below 1/4, φ(0) below 0.4.
        """
        pairs = zip(self.means, self.scales, self.weights, strict=True)
        places = math.fsum(w * (0.25 + 0.4 * abs(m) / s) for m, s, w in pairs)
        return unit * ((2 * len(self.means) + 28) * self._weight + 3 * places)
