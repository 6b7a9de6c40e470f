"""Contours: how the length of a bar is measured (fact R1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stablerank.stability import StabilityError

UNIT_ROUNDOFF = 2.0**-53


class Contour(ABC):
    """How the length of a bar (b, d) is measured: Lipschitz in each of b and d, 0 on the diagonal.

    A contour is non-decreasing in d and non-increasing in b, so the order of deaths from one birth
    is the order of lengths.
    """

    @property
    @abstractmethod
    def constant(self) -> float:
        """K, a proven upper bound of the slope in b and in d."""

    @abstractmethod
    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """Lengths of bars, elementwise; non-negative, in the unit of the filtration times K.

        Parameters
        ----------
        births, deaths : Tensor of one shape, floating point
            With births <= deaths.

        Returns
        -------
        Tensor of the same shape
        """

    @abstractmethod
    def rounding(self, largest_death: Any) -> Any:
        """A bound on how far lengths computed in float64 are from exact ones.

        Parameters
        ----------
        largest_death : float or ndarray
            The largest death, and the largest absolute value of a birth or death if some are
            negative.

        Returns
        -------
        float or ndarray
            In the unit of the lengths.
        """

    def bounds(
        self, births_low: Tensor, births_high: Tensor, deaths_low: Tensor, deaths_high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the computed lengths of bars in boxes lie between, elementwise.

        Parameters
        ----------
        births_low, births_high, deaths_low, deaths_high : Tensor of one shape, float64
            The ends of the intervals in which births and deaths lie.

        Returns
        -------
        lower, upper : Tensor of the same shape
            The lower end is 0 where death and birth can be equal.

        Notes
        -----
        The exact length is monotone in both, and a computed one is off by :meth:`rounding`: once
        in the length that is bounded, and once in the bound.
        """
        lower = self.lengths(births_high, torch.maximum(deaths_low, births_high))
        upper = self.lengths(births_low, deaths_high)
        size = torch.maximum(
            torch.maximum(births_low.abs(), births_high.abs()),
            torch.maximum(deaths_low.abs(), deaths_high.abs()),
        )
        with np.errstate(over="ignore"):  # infinity is a bound
            error = 2 * (1 + 8 * UNIT_ROUNDOFF) * torch.as_tensor(self.rounding(size.numpy()))
        # where lengths overflow nothing is known, which NaN would not say
        shortest = (lower - error).nan_to_num(nan=0.0, posinf=math.inf).clamp_min(0.0)
        return shortest, (upper + error).nan_to_num(nan=math.inf, posinf=math.inf)

    def longest(self, gap: Tensor) -> Tensor:
        """What no computed length of a bar with d − b <= gap exceeds, wherever the bar is.

        Parameters
        ----------
        gap : Tensor, float64
            In the unit of the filtration.

        Returns
        -------
        Tensor of the same shape

        Raises
        ------
        StabilityError
            If that is not known of this contour.
        """
        raise StabilityError(
            f"{type(self).__name__} does not say how long short bars can get that appear in a "
            f"diagram, with rounding: give it a method longest(gap)."
        )

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The parameters by name, and the kind, for JSON; ``contour_from_dict`` is the inverse."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contour) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(str(self.to_dict()))


class StandardContour(Contour):
    """The ordinary length d − b; K = 1."""

    @property
    def constant(self) -> float:
        """1: the length moves as fast as the death."""
        return 1.0

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``deaths - births``."""
        return deaths - births

    def rounding(self, largest_death: Any) -> Any:
        """One subtraction, of numbers of either sign."""
        return 2 * UNIT_ROUNDOFF * largest_death

    def bounds(
        self, births_low: Tensor, births_high: Tensor, deaths_low: Tensor, deaths_high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Differences of the ends: rounding to nearest keeps the order of differences."""
        return (deaths_low - births_high).clamp_min(0.0), deaths_high - births_low

    def longest(self, gap: Tensor) -> Tensor:
        """The gap: no difference up to it is rounded beyond it."""
        return gap

    def to_dict(self) -> dict[str, Any]:
        """Its name."""
        return {"contour": "standard"}

    def __repr__(self) -> str:
        return "StandardContour()"


class DistanceContour(Contour):
    """Length measured by a density: F(d) − F(b), F the integral of a Gaussian mixture.

    The density is f(x) = Σ w_i φ((x − μ_i)/σ_i)/σ_i with φ the standard normal density, so bars
    where f is large count for more. With `floor` c > 0 the density is f + c, and no part of the
    axis is invisible.

    Parameters
    ----------
    means : sequence of float
        μ_i, in the unit of the filtration.
    scales : sequence of float
        σ_i > 0, in the unit of the filtration.
    weights : sequence of float
        w_i >= 0, in the unit of the filtration too when lengths shall keep that unit.
    floor : float, default=0.0
        c >= 0, without unit.

    Raises
    ------
    TypeError
        If the three are not sequences of numbers, or the floor is not a number.
    ValueError
        If the three have different lengths, or values out of range.

    Notes
    -----
    K = c + Σ w_i/(σ_i √(2π)), rounded up: the sum of the components' peaks is never below the
    supremum of the mixture (a grid would be).

    References
    ----------
    .. [1] Chachólski, Riihimäki (2020), "Metrics and stabilization in one parameter persistence",
       SIAM Journal on Applied Algebra and Geometry 4.

    Examples
    --------
    >>> contour = DistanceContour(means=[0.0], scales=[1.0], weights=[2.0])
    >>> contour.lengths(torch.tensor([0.0]), torch.tensor([1e9]))
    tensor([1.])
    >>> round(contour.constant, 6)  # 2/√(2π)
    0.797885
    """

    def __init__(
        self,
        means: Sequence[float],
        scales: Sequence[float],
        weights: Sequence[float],
        floor: float = 0.0,
    ) -> None:
        self.means = float_sequence("means", means)
        self.scales = float_sequence("scales", scales)
        self.weights = float_sequence("weights", weights)
        self.floor = float_number("floor", floor)
        if not len(self.means) == len(self.scales) == len(self.weights) > 0:
            raise ValueError(
                f"means, scales and weights have lengths {len(self.means)}, {len(self.scales)} and "
                f"{len(self.weights)}: expected one of each a component, and at least one."
            )
        for name, values, low, expected in (
            ("means", self.means, -math.inf, "finite means"),
            ("scales", self.scales, math.nextafter(0, 1), "finite scales > 0"),
            ("weights", self.weights, 0.0, "finite weights >= 0"),
            ("floor", (self.floor,), 0.0, "a finite floor >= 0"),
        ):
            for i, value in enumerate(values):
                if not (math.isfinite(value) and value >= low):
                    which = name if name == "floor" else f"{name}[{i}]"
                    raise ValueError(f"{which} is {value!r}: expected {expected}.")
        if math.isinf(_sum(self.weights)):
            raise ValueError(
                f"weights={list(self.weights)}: their sum is beyond float64. Take smaller ones."
            )

    @property
    def constant(self) -> float:
        """The floor plus the sum of the peaks, rounded up."""
        peaks = [w / s for w, s in zip(self.weights, self.scales, strict=True)]
        # roundings: a quotient, the exact sum, π, the root, the quotient, floor, this product
        upper = 1 + 16 * UNIT_ROUNDOFF
        bound = (self.floor + _sum(peaks) / math.sqrt(2 * math.pi)) * upper
        # quotients and products below the normal numbers may have vanished
        return bound if bound >= 1e-290 else bound + 1e-300

    def cumulative(self, values: Tensor) -> Tensor:
        """F at the given values, elementwise: non-decreasing, F(0) = 0 for the floor's part."""
        return self.floor * values + self.mixture(values)

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``F(deaths) - F(births)``, not below 0 by rounding."""
        # the floor times the length, and not the difference of two products: a diagram that an
        # adversary changes may have short bars of any birth, and these must not round to long ones
        mixture = self.mixture(deaths) - self.mixture(births)
        return (self.floor * (deaths - births) + mixture).clamp_min(0.0)

    def mixture(self, values: Tensor) -> Tensor:
        """Σ w_i Φ((x − μ_i)/σ_i) at the given values x, elementwise: F without the floor's part."""
        integral = torch.zeros_like(values)
        # a component at a time: no value's bits depend on how many stand beside it
        for mean, scale, weight in zip(self.means, self.scales, self.weights, strict=True):
            integral = integral + weight * torch.special.ndtr((values - mean) / scale)
        return integral

    def rounding(self, largest_death: Any) -> Any:
        """Both integrals, at a few units in the last place of the normal distribution function.

        With u = 2^-53: the argument x of the distribution function is off by 2 u |x|, and
        |x| φ(x) < 1/4; the function itself is right to 8 u absolute (seen: 1.1 u); weights and sum
        add n + 1 u, the floor 3 u of its part, and then there is the subtraction.
        """
        each = math.fsum(self.weights) * (len(self.weights) + 12) * UNIT_ROUNDOFF
        return 2 * each + 8 * UNIT_ROUNDOFF * self.floor * largest_death

    def longest(self, gap: Tensor) -> Tensor:
        """K times the gap, and the rounding.

        That of the mixture is the same everywhere, and that of the floor's part relative to the
        difference d − b, which is computed first.
        """
        error = torch.as_tensor(self.rounding(gap.numpy()))
        return (self.constant * gap + error) * (1 + 8 * UNIT_ROUNDOFF)

    def to_dict(self) -> dict[str, Any]:
        """Its parameters; floats round-trip exactly through JSON."""
        return {
            "contour": "distance",
            "means": list(self.means),
            "scales": list(self.scales),
            "weights": list(self.weights),
            "floor": self.floor,
        }

    def __repr__(self) -> str:
        return (
            f"DistanceContour(means={list(self.means)}, scales={list(self.scales)}, "
            f"weights={list(self.weights)}, floor={self.floor})"
        )


def check_contour(contour: Contour | Literal["standard"]) -> Contour:
    """The contour of that name, or the contour itself.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(contour, Contour):
        return contour
    if isinstance(contour, str) and contour == "standard":
        return StandardContour()
    raise ValueError(
        f'contour={contour!r}: expected "standard" or a Contour, such as '
        f"DistanceContour(means=[0.1], scales=[0.05], weights=[0.1])."
    )


def bar_lengths(diagram: np.ndarray[Any, np.dtype[np.float64]], contour: Contour) -> Tensor:
    """Lengths of the bars of diagrams, shape (..., n_bars, 2) to (..., n_bars), in float64."""
    # copies, since workers are given arrays that torch warns of: they cannot be written
    births, deaths = (np.array(diagram[..., i], dtype=np.float64, order="C") for i in (0, 1))
    return contour.lengths(torch.from_numpy(births), torch.from_numpy(deaths))


def _sum(values: Sequence[float]) -> float:
    """The exact sum of numbers >= 0, rounded once; infinite where it is beyond float64."""
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def float_sequence(name: str, values: Any) -> tuple[float, ...]:
    """A parameter that is a sequence of numbers.

    Raises
    ------
    TypeError
        For anything else; it is named.
    """
    try:
        items = [values] if isinstance(values, (str, bytes)) else list(values)
        return tuple(float_number(name, item) for item in items)
    except TypeError:
        raise TypeError(f"{name}={values!r}: expected a sequence of numbers.") from None


def float_number(name: str, value: Any) -> float:
    """A parameter that is a number.

    Raises
    ------
    TypeError
        For anything else; it is named.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        # -0.0 + 0.0 is 0.0, so equal contours have equal hashes
        return float(value) + 0.0
    except TypeError:
        raise TypeError(f"{name}={value!r}: expected a number.") from None


def inverse_up(*factors: float) -> float:
    """The smallest float64 number that is at least 1 / (the product of positive numbers)."""
    product = math.prod(map(Fraction, factors))
    inverse = float(1 / product)
    return inverse if Fraction(inverse) >= 1 / product else math.nextafter(inverse, math.inf)
