"""Point clouds in, predictions out, each with a certified radius in the units of the points."""

from stablerank.certify import Certificates, certify
from stablerank.diagrams import AlphaPersistence, DiagramBatch, RipsPersistence
from stablerank.estimators import StableRankClassifier
from stablerank.nn import LipschitzClassifier, StableRankNetwork
from stablerank.ranks import DistanceContour, StableRank, stable_rank_function
from stablerank.stability import Bound, Space, StabilityChain, StabilityError

__all__ = [
    "AlphaPersistence",
    "Bound",
    "Certificates",
    "DiagramBatch",
    "DistanceContour",
    "LipschitzClassifier",
    "RipsPersistence",
    "Space",
    "StabilityChain",
    "StabilityError",
    "StableRank",
    "StableRankClassifier",
    "StableRankNetwork",
    "certify",
    "stable_rank_function",
]
__version__ = "0.1.0"
