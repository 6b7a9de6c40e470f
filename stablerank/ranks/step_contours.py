"""Contours of densities that are step functions, of distance and of shift type (fact R1)."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from stablerank.ranks.contours import UNIT_ROUNDOFF, Contour, float_sequence, inverse_up


class _StepContour(Contour):
    """The integral from b to d of the slope that a step function has there."""

    def __init__(self, edges: Sequence[float], steps: Sequence[float]) -> None:
        self.edges = float_sequence("edges", edges)
        self.steps = float_sequence("steps", steps)
        if len(self.steps) != len(self.edges) + 1 or not self.edges:
            raise ValueError(
                f"edges and steps have lengths {len(self.edges)} and {len(self.steps)}: expected "
                f"at least one edge, and one step more, below, between and above them."
            )
        for i, edge in enumerate(self.edges):
            if not math.isfinite(edge) or (i and not self.edges[i - 1] < edge):
                raise ValueError(f"edges[{i}] is {edge!r}: expected finite edges that increase.")

    @property
    @abstractmethod
    def _ends(self) -> tuple[float, ...]:
        """Where the slope changes, on the axis of births and deaths."""

    @property
    @abstractmethod
    def _slopes(self) -> tuple[float, ...]:
        """The slopes below, between and above."""

    def lengths(self, births: Tensor, deaths: Tensor) -> Tensor:
        """The sum over all steps of the slope times the part of (b, d) that lies in it."""
        total = torch.zeros_like(deaths)
        # parts, not integrals up to b and d: short bars at any height stay right relative to
        # themselves, and every operation keeps the order, so that lengths are monotone to the bit
        ends = itertools.pairwise((-math.inf, *self._ends, math.inf))
        for (low, high), slope in zip(ends, self._slopes, strict=True):
            if slope == 0:  # zero times a part that overflows would be NaN
                continue
            total = total + slope * (deaths.clamp(low, high) - births.clamp(low, high))
        return total

    def rounding(self, largest_death: Any) -> Any:
        """Relative to the longest length: a difference, a product, and the sum of the steps."""
        return 2 * (len(self.steps) + 4) * UNIT_ROUNDOFF * self.constant * largest_death + 1e-300

    def bounds(
        self, births_low: Tensor, births_high: Tensor, deaths_low: Tensor, deaths_high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Lengths at the ends: computed ones are monotone in both."""
        lower = self.lengths(births_high, torch.maximum(deaths_low, births_high))
        return lower, self.lengths(births_low, deaths_high)

    def longest(self, gap: Tensor) -> Tensor:
        """K times the gap, and the rounding relative to it."""
        relative = (len(self.steps) + 16) * UNIT_ROUNDOFF
        return self.constant * gap * (1 + relative) + 1e-300

    def __repr__(self) -> str:
        return f"{type(self).__name__}(edges={list(self.edges)}, steps={list(self.steps)})"


class StepDistanceContour(_StepContour):
    """Length measured by a step function: the integral of the density from b to d.

    Parameters
    ----------
    edges : sequence of float
        Where the density changes, increasing, in the unit of the filtration.
    steps : sequence of float
        Its values >= 0, without unit: below the first edge, between edges, above the last.

    Raises
    ------
    TypeError
        If they are not sequences of numbers.
    ValueError
        If there is not one step more than there are edges, edges do not increase, or values are
        out of range.

    Notes
    -----
    K is the largest step, exactly, and attained by bars inside of it.

    Examples
    --------
    Only what lies between 1 and 3 counts, twice:

    >>> contour = StepDistanceContour(edges=[1.0, 3.0], steps=[0.0, 2.0, 0.0])
    >>> contour.lengths(torch.tensor([0.0, 2.0]), torch.tensor([2.0, 2.5]))
    tensor([2., 1.])
    >>> contour.constant
    2.0
    """

    def __init__(self, edges: Sequence[float], steps: Sequence[float]) -> None:
        super().__init__(edges, steps)
        for i, step in enumerate(self.steps):
            if not 0 <= step < math.inf:  # NaN fails this too
                raise ValueError(f"steps[{i}] is {step!r}: expected finite steps >= 0.")
        if not any(self.steps):
            raise ValueError("steps are all 0: every bar would have length 0. Make one larger.")

    @property
    def constant(self) -> float:
        """The largest step."""
        return max(self.steps)

    @property
    def _ends(self) -> tuple[float, ...]:
        return self.edges

    @property
    def _slopes(self) -> tuple[float, ...]:
        return self.steps

    def to_dict(self) -> dict[str, Any]:
        """Its parameters; floats round-trip exactly through JSON."""
        return {
            "contour": "step distance",
            "edges": list(self.edges),
            "steps": list(self.steps),
        }


class StepShiftContour(_StepContour):
    """Length measured against a step function: F⁻¹(d) − F⁻¹(b), F the density's integral from 0.

    Parameters
    ----------
    edges : sequence of float
        Where the density changes, increasing, on the axis of the lengths.
    steps : sequence of float
        Its values > 0, without unit: below the first edge, between edges, above the last.

    Raises
    ------
    TypeError
        If they are not sequences of numbers.
    ValueError
        If there is not one step more than there are edges, edges do not increase, or values are
        out of range.

    Notes
    -----
    F⁻¹ has the slope 1/step between F(edge) and F(edge), both rounded to float64, which belongs to
    the definition. K is the largest 1/step, rounded up.

    Examples
    --------
    From 0 to 2 the density is 1/2 and adds up to 1; from there on it is 4:

    >>> contour = StepShiftContour(edges=[2.0], steps=[0.5, 4.0])
    >>> contour.lengths(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 5.0]))
    tensor([2., 1.])
    >>> contour.constant
    2.0
    """

    def __init__(self, edges: Sequence[float], steps: Sequence[float]) -> None:
        super().__init__(edges, steps)
        for i, step in enumerate(self.steps):
            if not (1e-300 <= step < math.inf):  # NaN fails this too
                raise ValueError(f"steps[{i}] is {step!r}: expected finite steps >= 1e-300.")
        self._integrals = tuple(_integral(self.edges, self.steps, edge) for edge in self.edges)

    @property
    def constant(self) -> float:
        """The inverse of the smallest step, rounded up."""
        return inverse_up(min(self.steps))

    @property
    def _ends(self) -> tuple[float, ...]:
        return self._integrals

    @property
    def _slopes(self) -> tuple[float, ...]:
        return tuple(1 / step for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Its parameters; floats round-trip exactly through JSON."""
        return {"contour": "step shift", "edges": list(self.edges), "steps": list(self.steps)}


def _integral(edges: Sequence[float], steps: Sequence[float], end: float) -> float:
    """The integral of the step function from 0 to an edge, rounded to nearest once."""
    total = Fraction(0)
    low, high = sorted((0.0, end))
    places = [low, *(edge for edge in edges if low < edge < high), high]
    for a, b in itertools.pairwise(places):
        step = steps[sum(edge <= a for edge in edges)]
        total += Fraction(step) * (Fraction(b) - Fraction(a))
    try:
        return float(total if end > 0 else -total)
    except OverflowError:
        raise ValueError(
            f"edges: the integral of the density from 0 to {end!r} is beyond float64."
        ) from None
