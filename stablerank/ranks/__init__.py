"""Persistence diagrams to vectors: stable ranks, order statistics of templates, and their boxes."""

from stablerank.ranks.contours import Contour, DistanceContour, StandardContour
from stablerank.ranks.exponential_contour import ExponentialContour
from stablerank.ranks.function import StableRankFunction, stable_rank_function
from stablerank.ranks.jumps import rank_jumps
from stablerank.ranks.mean_rank import RankBand, mean_rank, mean_rank_band
from stablerank.ranks.order_statistics import (
    HalfLengths,
    Landscapes,
    OrderStatistics,
    Windows,
)
from stablerank.ranks.perslay import PersLaySums
from stablerank.ranks.rank_distances import interleaving_distances, lq_distances
from stablerank.ranks.rank_kernels import gaussian_rank_kernel, linear_rank_kernel
from stablerank.ranks.shift_contour import ShiftContour
from stablerank.ranks.simplification import simplify_ranks
from stablerank.ranks.stable_rank import StableRank, stable_ranks
from stablerank.ranks.stablebear_functions import from_stablebear, to_stablebear
from stablerank.ranks.step_contours import StepDistanceContour, StepShiftContour
from stablerank.ranks.step_function import StepFunction
from stablerank.ranks.sums import PersistenceImages

__all__ = [
    "Contour",
    "DistanceContour",
    "ExponentialContour",
    "HalfLengths",
    "Landscapes",
    "OrderStatistics",
    "PersLaySums",
    "PersistenceImages",
    "RankBand",
    "ShiftContour",
    "StableRank",
    "StableRankFunction",
    "StandardContour",
    "StepDistanceContour",
    "StepFunction",
    "StepShiftContour",
    "Windows",
    "from_stablebear",
    "gaussian_rank_kernel",
    "interleaving_distances",
    "linear_rank_kernel",
    "lq_distances",
    "mean_rank",
    "mean_rank_band",
    "rank_jumps",
    "simplify_ranks",
    "stable_rank_function",
    "stable_ranks",
    "to_stablebear",
]
