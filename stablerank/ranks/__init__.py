"""Persistence diagrams to vectors: stable ranks and what measures the length of a bar."""

from stablerank.ranks.contours import Contour, DistanceContour, StandardContour
from stablerank.ranks.function import StableRankFunction, stable_rank_function
from stablerank.ranks.stable_rank import StableRank, stable_ranks

__all__ = [
    "Contour",
    "DistanceContour",
    "StableRank",
    "StableRankFunction",
    "StandardContour",
    "stable_rank_function",
    "stable_ranks",
]
