"""Contours from plain data: the inverse of ``Contour.to_dict``."""

from __future__ import annotations

from typing import Any

from stablerank.ranks.contours import Contour, DistanceContour, StandardContour
from stablerank.ranks.exponential_contour import ExponentialContour
from stablerank.ranks.shift_contour import ShiftContour
from stablerank.ranks.step_contours import StepDistanceContour, StepShiftContour

CONTOURS: dict[str, type[Contour]] = {
    "standard": StandardContour,
    "distance": DistanceContour,
    "exponential": ExponentialContour,
    "shift": ShiftContour,
    "step distance": StepDistanceContour,
    "step shift": StepShiftContour,
}
"""What can be written and read, by the kind that ``to_dict`` says."""


def contour_from_dict(data: dict[str, Any]) -> Contour:
    """The inverse of :meth:`Contour.to_dict`.

    Raises
    ------
    ValueError, TypeError
        If it is the data of no contour.

    Examples
    --------
    >>> contour_from_dict({"contour": "exponential", "start": 0.1, "rate": 2.0})
    ExponentialContour(start=0.1, rate=2.0)
    """
    parameters = dict(data)
    kind = parameters.pop("contour", None)
    if kind not in CONTOURS:
        expected = ", ".join(f'"{name}"' for name in CONTOURS)
        raise ValueError(f"contour={kind!r} is not one that can be read: expected {expected}.")
    return CONTOURS[kind](**parameters)
