"""Point clouds in, predictions out, each with a certified radius in the units of the points."""

from stablerank.certify import Certificates, certify
from stablerank.diagrams import (
    AlphaPersistence,
    CachedPersistence,
    CubicalPersistence,
    DiagramBatch,
    DistanceToMeasurePersistence,
    RipsPersistence,
    TakensEmbedding,
)
from stablerank.estimators import StableRankClassifier
from stablerank.nn import LipschitzClassifier, StableRankNetwork
from stablerank.ranks import (
    DistanceContour,
    HalfLengths,
    Landscapes,
    StableRank,
    Windows,
    stable_rank_function,
)
from stablerank.stability import Bound, Space, StabilityChain, StabilityError
from stablerank.stages import LipschitzUnion

__all__ = [
    "AlphaPersistence",
    "Bound",
    "CachedPersistence",
    "Certificates",
    "CubicalPersistence",
    "DiagramBatch",
    "DistanceContour",
    "DistanceToMeasurePersistence",
    "HalfLengths",
    "Landscapes",
    "LipschitzClassifier",
    "LipschitzUnion",
    "RipsPersistence",
    "Space",
    "StabilityChain",
    "StabilityError",
    "StableRank",
    "StableRankClassifier",
    "StableRankNetwork",
    "TakensEmbedding",
    "Windows",
    "certify",
    "stable_rank_function",
]
__version__ = "0.1.0"
