"""The exponential contour: lengths on a logarithmic scale (fact R1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stablerank.ranks.contours import UNIT_ROUNDOFF, Contour, float_number, inverse_up


class ExponentialContour(Contour):
    """Length on a logarithmic scale: log(max(d, b₀) / max(b, b₀)) / k.

    Bars count for how many times larger their death is than their birth, so that the same shape,
    larger, has the same lengths; below b₀ there is nothing.

    Parameters
    ----------
    start : float
        b₀ > 0, in the unit of the filtration.
    rate : float
        k > 0. Lengths are in the unit of 1/k.

    Raises
    ------
    TypeError
        If one is not a number.
    ValueError
        If one is not finite and above 0, or their product is outside 1e-300 … 1e300.

    Notes
    -----
    K = 1/(k b₀), rounded up: x ↦ log(max(x, b₀))/k has the slope 1/(k x) above b₀, the largest
    where it begins, and 0 below. Without b₀ there would be no constant.

    Examples
    --------
    A bar that dies at three times b₀; it is born below, which does not count.

    >>> contour = ExponentialContour(start=0.1, rate=2.0)
    >>> contour.lengths(torch.tensor([0.05]), torch.tensor([0.3]))  # log(3) / 2
    tensor([0.5493])
    >>> contour.constant
    5.0
    """

    def __init__(self, start: float, rate: float) -> None:
        self.start = float_number("start", start)
        self.rate = float_number("rate", rate)
        for name, value in (("start", self.start), ("rate", self.rate)):
            if not 0 < value < math.inf:  # NaN fails this too
                raise ValueError(f"{name} is {value!r}: expected a finite number > 0.")
        if not 1e-300 <= self.start * self.rate <= 1e300:
            raise ValueError(
                f"start * rate is {self.start * self.rate!r}: expected a product between 1e-300 "
                f"and 1e300, whose inverse, the constant, is finite."
            )

    @property
    def constant(self) -> float:
        """1/(k b₀), rounded up."""
        return inverse_up(self.start, self.rate)

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """``log(max(d, b₀) / max(b, b₀)) / k``, by way of how much d is larger."""
        low, high = births.clamp_min(self.start), deaths.clamp_min(self.start)
        # right relative to itself for short bars too, and monotone in both ends
        far = torch.isinf((high - low).detach() / low.detach())
        near = torch.log1p((torch.where(far, low, high) - low) / low)
        return torch.where(far, high.log() - low.log(), near) / self.rate

    def rounding(self, largest_death: Any) -> Any:
        """Relative to the longest length up to that death.

        With u = 2^-53: the quotient is off by 2 u, which the logarithm does not enlarge; this is
        right to 4 u (seen: 2 u), and there is one division. Where the quotient overflows, the two
        logarithms are at most 745 each, and their difference at least 709.
        """
        longest = self._longest(np.asarray(largest_death) - self.start)
        return 16 * UNIT_ROUNDOFF * longest + 1e-300

    def longest(self, gap: Tensor) -> Tensor:
        """That of a bar which is born at b₀, and the rounding."""
        return torch.from_numpy(self._longest(gap.numpy()) * (1 + 32 * UNIT_ROUNDOFF) + 1e-300)

    def to_dict(self) -> dict[str, Any]:
        """Its parameters; floats round-trip exactly through JSON."""
        return {"contour": "exponential", "start": self.start, "rate": self.rate}

    def __repr__(self) -> str:
        return f"ExponentialContour(start={self.start}, rate={self.rate})"

    def _longest(self, gap: Any) -> Any:
        """Of bars of d - b <= gap the longest length, up to rounding."""
        with np.errstate(over="ignore"):  # infinity is a bound
            return np.log1p(np.maximum(gap, 0.0) / self.start) / self.rate
