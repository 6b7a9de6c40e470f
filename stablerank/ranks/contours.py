"""Contours: how the length of a bar is measured (fact R1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

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
        """A bound on how far computed lengths are from exact ones, for deaths up to this one."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``contour_from_dict`` is the inverse."""

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
        """One subtraction."""
        return UNIT_ROUNDOFF * largest_death

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
        self.means = tuple(float(value) for value in means)
        self.scales = tuple(float(value) for value in scales)
        self.weights = tuple(float(value) for value in weights)
        self.floor = float(floor)
        if not len(self.means) == len(self.scales) == len(self.weights) > 0:
            raise ValueError(
                f"means, scales and weights have lengths {len(self.means)}, {len(self.scales)} and "
                f"{len(self.weights)}: expected one of each a component, and at least one."
            )
        for name, values, low in (
            ("means", self.means, -math.inf),
            ("scales", self.scales, math.nextafter(0, 1)),
            ("weights", self.weights, 0.0),
            ("floor", (self.floor,), 0.0),
        ):
            for i, value in enumerate(values):
                if not (math.isfinite(value) and value >= low):
                    raise ValueError(
                        f"{name}[{i}] is {value!r}: expected finite means, scales > 0, weights "
                        f">= 0 and a floor >= 0."
                    )

    @property
    def constant(self) -> float:
        """The floor plus the sum of the peaks, rounded up."""
        peaks = [w / s for w, s in zip(self.weights, self.scales, strict=True)]
        # n + 3 roundings: the quotients, the sum, the root, the product
        upper = 1 + (len(peaks) + 6) * 2 * UNIT_ROUNDOFF
        return (self.floor + math.fsum(peaks) / math.sqrt(2 * math.pi)) * upper

    def cumulative(self, values: Tensor) -> Tensor:
        """F at the given values, elementwise: non-decreasing, F(0) = 0 for the floor's part."""
        means, scales, weights = (
            torch.tensor(part, dtype=values.dtype, device=values.device)
            for part in (self.means, self.scales, self.weights)
        )
        gaussian = torch.special.ndtr((values.unsqueeze(-1) - means) / scales)
        integral: Tensor = (gaussian * weights).sum(-1) + self.floor * values
        return integral

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``F(deaths) - F(births)``, not below 0 by rounding."""
        return (self.cumulative(deaths) - self.cumulative(births)).clamp_min(0.0)

    def rounding(self, largest_death: Any) -> Any:
        """Both integrals, at a few units in the last place of the normal distribution function.

        The argument of the distribution function is off by 2 u relative, and x φ(x) < 1/4; the
        function itself is taken to be right to 8 u absolute; weights, sum and floor add n + 3 u.
        """
        each = math.fsum(self.weights) * (len(self.weights) + 12) * UNIT_ROUNDOFF
        return 2 * each + 8 * UNIT_ROUNDOFF * self.floor * largest_death

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


def contour_from_dict(data: dict[str, Any]) -> Contour:
    """The inverse of :meth:`Contour.to_dict`."""
    if data.get("contour") == "standard":
        return StandardContour()
    if data.get("contour") == "distance":
        return DistanceContour(data["means"], data["scales"], data["weights"], data["floor"])
    raise ValueError(f"Unknown contour {data.get('contour')!r}.")


def bar_lengths(diagram: np.ndarray[Any, np.dtype[np.float64]], contour: Contour) -> Tensor:
    """Lengths of the bars of diagrams, shape (..., n_bars, 2) to (..., n_bars), in float64."""
    bars = torch.from_numpy(np.ascontiguousarray(diagram, dtype=np.float64))
    return contour.lengths(bars[..., 0], bars[..., 1])
