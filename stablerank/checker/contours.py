"""How long bars in intervals are, by each kind of contour (R1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.special import ndtr

from stablerank.checker.claims import NotChecked
from stablerank.checker.diagrams import Bars
from stablerank.checker.rounding import TINY, Array, U, down, times_up, up

Box = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Contour:
    """A way to measure bars that falls with the birth, rises with the death, and is 0 without bar.

    Attributes
    ----------
    constant : float
        K, not below its slope in birth or death.
    between : callable
        From arrays b <= d to what the exact length of (b, d) lies between.
    longest : callable, optional
        From a gap to a length that no bar with d − b up to the gap exceeds; by default K times it.
    """

    constant: float
    between: Callable[[Array, Array], Box]
    longest: Callable[[float], float] | None = None

    def lengths(self, bars: Bars) -> tuple[Array, Array, float]:
        """The least and the largest length of each bar, and the largest of those that may appear.

        The least is 0 where the two ends overlap.
        """
        late, early = bars.births[1], bars.deaths[0]
        least = self.between(late, np.maximum(late, early))[0]
        largest = self.between(bars.births[0], np.maximum(bars.births[0], bars.deaths[1]))[1]
        gap = bars.longest_new
        new = float(times_up(self.constant, gap)) if self.longest is None else self.longest(gap)
        if not bars.births_move:  # they are born at 0
            new = min(new, float(self.between(np.zeros(1), np.array([gap]))[1][0]))
        return np.maximum(0.0, least), np.maximum(0.0, largest), new


def read_contour(parameter: Any) -> Contour:
    """The contour of a model's file.

    Raises
    ------
    NotChecked
        If it is of a kind that is not known here.
    """
    data = {"contour": parameter} if isinstance(parameter, str) else parameter["contour"]
    if data["contour"] not in _KINDS:
        raise NotChecked("stage", f"the contour {data['contour']!r} is not known here")
    return _KINDS[data["contour"]](data)


def _standard(data: dict[str, Any]) -> Contour:
    return Contour(1.0, lambda births, deaths: (down(deaths - births), up(deaths - births)))


def _distance(data: dict[str, Any]) -> Contour:
    """∫_b^d of a Gaussian mixture and a floor: no steeper than all peaks and the floor together.

    The normal distribution function is right to 8 u, and its argument, off by 2 u relatively, adds
    less than 1 u, since |x| φ(x) < 1/4. Weights and sum add n + 1.
    """
    components = _mixture(data)
    floor = float(data["floor"])
    peaks = sum(float(up(w / s)) for _, s, w in components) * (1 + (len(components) + 1) * U)
    steepest = float(up(floor + up(peaks / math.sqrt(2 * math.pi)) * (1 + 8 * U))) + TINY
    off = 2 * (len(components) + 12) * U * sum(w for _, _, w in components) * (1 + 64 * U)

    def between(births: Array, deaths: Array) -> Box:
        grown = sum(w * (ndtr((deaths - m) / s) - ndtr((births - m) / s)) for m, s, w in components)
        even = floor * (deaths - births)
        error = off + 4 * U * even + TINY
        return down(even + grown - error), up(even + grown + error)

    return Contour(steepest, between)


def _exponential(data: dict[str, Any]) -> Contour:
    """log(max(d, b₀)/max(b, b₀))/k: the slope 1/(kx) is largest at b₀, and so are short bars.

    By way of the quotient's excess over 1, right to 3 u, whose logarithm and a division add 4 more.
    """
    start, rate = float(data["start"]), float(data["rate"])
    if not (0 < start < math.inf and 0 < rate < math.inf and 0 < start * rate < math.inf):
        raise ValueError("an exponential contour without start, or without rate")

    def between(births: Array, deaths: Array) -> Box:
        low, high = np.maximum(births, start), np.maximum(deaths, start)
        grown = np.log1p((high - low) / low)
        far = np.log(high) - np.log(low)  # where the quotient is beyond all numbers
        length = np.where(np.isinf(grown), far, grown) / rate
        return length * (1 - 32 * U) - TINY, length * (1 + 32 * U) + TINY

    def longest(gap: float) -> float:
        ends = np.array([start]), np.array([float(up(start + gap))])
        return float(between(*ends)[1][0])

    return Contour(float(up(up(1 / start) / rate)) * (1 + 4 * U) + TINY, between, longest)


def _step_distance(data: dict[str, Any]) -> Contour:
    """∫_b^d of a step function: no steeper than its largest step."""
    edges, steps = _edges_and_steps(data, least=0.0)
    return Contour(max(steps), _parts(edges, steps))


def _step_shift(data: dict[str, Any]) -> Contour:
    """F⁻¹(d) − F⁻¹(b), F the integral of a step function from 0: its slopes are 1/step.

    They change at F(edge), rounded to nearest once, which belongs to the definition.
    """
    edges, steps = _edges_and_steps(data, least=1e-300)
    places = [float(_integral(edges, steps, edge)) for edge in edges]
    steepest = float(up(1 / min(steps)))
    return Contour(steepest, _parts(places, [1 / step for step in steps]))


def _shift(data: dict[str, Any]) -> Contour:
    """F⁻¹(d) − F⁻¹(b), F the integral from 0 of a Gaussian mixture on a floor c: 1/c at most.

    F⁻¹ is enclosed by bisection, in floats whose F, rounded outward, is below and above.
    """
    components, floor = _mixture(data), float(data["floor"])
    weight = sum(w for _, _, w in components) * (1 + 64 * U)
    if not floor > 0 or not math.isfinite(1 / floor):
        raise ValueError("a shift contour without floor")
    at_0 = sum(w * ndtr(-m / s) for m, s, w in components)
    off = 2 * (len(components) + 12) * U * weight
    narrow = off / floor + TINY  # nothing is gained by bisecting further

    def excess(places: Array, values: Array) -> tuple[Array, Array]:
        """F(x) − y, up to what it is off."""
        even = floor * places
        risen = sum(w * ndtr((places - m) / s) for m, s, w in components) - at_0
        error = off + 4 * U * (np.abs(even) + np.abs(values) + weight) + TINY
        return even + risen - values, error

    def inverse(values: Array) -> Box:
        """Below and above F⁻¹: it is within Σ w of y/c, whose distance from it the floor walks."""
        slack = 8 * U * (np.abs(values) + weight) / floor + TINY
        low, high = (values - weight) / floor - slack, (values + weight) / floor + slack
        ends = []
        for side in (-1, 1):
            inner, outer = (high, low) if side < 0 else (low, high)
            inner, outer = inner.copy(), outer.copy()
            while (np.abs(outer - inner) > narrow + 4 * U * np.abs(outer)).any():
                middle = inner / 2 + outer / 2
                value, error = excess(middle, values)
                # proven to be on this side of the root, so that it may be the end
                proven = side * value >= error
                outer, inner = np.where(proven, middle, outer), np.where(proven, inner, middle)
            ends.append(outer)
        return ends[0], ends[1]

    def between(births: Array, deaths: Array) -> Box:
        low, high = inverse(np.stack([births, deaths]))
        early, late = (low[0], high[0]), (low[1], high[1])
        even = up(up(deaths - births) / floor)  # the slope is 1/c at most
        return down(late[0] - early[1]), np.minimum(up(late[1] - early[0]), up(even))

    return Contour(float(up(1 / floor)), between)


def _mixture(data: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Means, scales and weights of its components."""
    columns = [[float(x) for x in data[name]] for name in ("means", "scales", "weights")]
    components = list(zip(*columns, strict=True))
    good = all(
        math.isfinite(m) and 0 < s < math.inf and 0 <= w < math.inf for m, s, w in components
    )
    if not components or not good or not 0 <= float(data["floor"]) < math.inf:
        raise ValueError("a density is not of finite numbers, or is negative")
    return [(m, s, w) for m, s, w in components]


def _edges_and_steps(data: dict[str, Any], least: float) -> tuple[list[float], list[float]]:
    edges, steps = ([float(x) for x in data[name]] for name in ("edges", "steps"))
    good = all(least <= step < math.inf for step in steps) and len(steps) == len(edges) + 1
    if not edges or not good or not all(a < b for a, b in itertools.pairwise(edges)):
        raise ValueError("a density that is no step function, or is negative")
    if not all(map(math.isfinite, edges)):
        raise ValueError("a density that changes nowhere")
    return edges, steps


def _parts(places: list[float], slopes: list[float]) -> Callable[[Array, Array], Box]:
    """The sum of slopes times the parts of (b, d) that lie between the places where they change.

    Each part is right to 1 u, its slope to 1 more, and the product and the sum of all to n + 1.
    """
    intervals = list(itertools.pairwise((-math.inf, *places, math.inf)))
    share = (len(slopes) + 8) * U

    def between(births: Array, deaths: Array) -> Box:
        length = np.zeros_like(deaths)
        for (low, high), slope in zip(intervals, slopes, strict=True):
            if slope > 0:
                part = np.minimum(deaths, high) - np.maximum(births, low)
                length = length + slope * np.maximum(0.0, part)
        return length * (1 - share) - TINY, length * (1 + share) + TINY

    return between


def _integral(edges: list[float], steps: list[float], end: float) -> Fraction:
    """The exact integral of a step function from 0."""
    low, high = min(0.0, end), max(0.0, end)
    total = Fraction(0)
    for (a, b), step in zip(itertools.pairwise((-math.inf, *edges, math.inf)), steps, strict=True):
        a, b = max(a, low), min(b, high)
        if a < b:
            total += Fraction(step) * (Fraction(b) - Fraction(a))
    return total if end > 0 else -total


_KINDS: dict[str, Callable[[dict[str, Any]], Contour]] = {
    "standard": _standard,
    "distance": _distance,
    "exponential": _exponential,
    "shift": _shift,
    "step distance": _step_distance,
    "step shift": _step_shift,
}
