"""Persistence diagrams to vectors: stable ranks, order statistics of templates, and their boxes."""

from stablerank.ranks.contours import Contour, DistanceContour, StandardContour
from stablerank.ranks.function import StableRankFunction, stable_rank_function
from stablerank.ranks.order_statistics import (
    HalfLengths,
    Landscapes,
    OrderStatistics,
    Windows,
)
from stablerank.ranks.stable_rank import StableRank, stable_ranks

__all__ = [
    "Contour",
    "DistanceContour",
    "HalfLengths",
    "Landscapes",
    "OrderStatistics",
    "StableRank",
    "StableRankFunction",
    "StandardContour",
    "Windows",
    "stable_rank_function",
    "stable_ranks",
]
