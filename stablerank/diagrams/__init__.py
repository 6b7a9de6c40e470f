"""Point clouds and dissimilarities to persistence diagrams, each filtration with its constant."""

from stablerank.diagrams.alpha import AlphaPersistence
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.diagrams.clouds import check_clouds
from stablerank.diagrams.cubical import CubicalPersistence
from stablerank.diagrams.distance_to_measure import DistanceToMeasurePersistence
from stablerank.diagrams.rips import RipsPersistence

__all__ = [
    "AlphaPersistence",
    "CubicalPersistence",
    "DiagramBall",
    "DiagramBatch",
    "DistanceToMeasurePersistence",
    "RipsPersistence",
    "check_clouds",
    "check_diagrams",
]
