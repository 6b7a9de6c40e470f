"""Persistence diagrams to vectors: stable ranks, order statistics of templates, and their boxes."""

from stablerank.ranks.contours import Contour, DistanceContour, StandardContour
from stablerank.ranks.exponential_contour import ExponentialContour
from stablerank.ranks.function import StableRankFunction, stable_rank_function
from stablerank.ranks.order_statistics import (
    HalfLengths,
    Landscapes,
    OrderStatistics,
    Windows,
)
from stablerank.ranks.shift_contour import ShiftContour
from stablerank.ranks.stable_rank import StableRank, stable_ranks
from stablerank.ranks.step_contours import StepDistanceContour, StepShiftContour
from stablerank.ranks.sums import PersistenceImages

__all__ = [
    "Contour",
    "DistanceContour",
    "ExponentialContour",
    "HalfLengths",
    "Landscapes",
    "OrderStatistics",
    "PersistenceImages",
    "ShiftContour",
    "StableRank",
    "StableRankFunction",
    "StandardContour",
    "StepDistanceContour",
    "StepShiftContour",
    "Windows",
    "stable_rank_function",
    "stable_ranks",
]
