"""How long bars in intervals are, by each kind of contour (R1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
    """

    constant: float
    between: Callable[[Array, Array], Box]

    def lengths(self, bars: Bars) -> tuple[Array, Array, float]:
        """The least and the largest length of each bar, and the largest of those that may appear.

        The least is 0 where the two ends overlap.
        """
        late, early = bars.births[1], bars.deaths[0]
        least = self.between(late, np.maximum(late, early))[0]
        largest = self.between(bars.births[0], np.maximum(bars.births[0], bars.deaths[1]))[1]
        new = float(times_up(self.constant, bars.longest_new))
        if not bars.births_move:  # they are born at 0
            ends = np.zeros(1), np.array([bars.longest_new])
            new = min(new, float(self.between(*ends)[1][0]))
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


_KINDS: dict[str, Callable[[dict[str, Any]], Contour]] = {
    "standard": _standard,
    "distance": _distance,
}
