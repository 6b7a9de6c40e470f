"""Clouds, dissimilarities, images and series to persistence diagrams, each with its constant."""

from stablerank.diagrams.alpha import AlphaPersistence
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.diagrams.clouds import check_clouds
from stablerank.diagrams.cubical import CubicalPersistence
from stablerank.diagrams.distance_to_measure import DistanceToMeasurePersistence
from stablerank.diagrams.rips import RipsPersistence
from stablerank.diagrams.takens import TakensEmbedding

__all__ = [
    "AlphaPersistence",
    "CubicalPersistence",
    "DiagramBall",
    "DiagramBatch",
    "DistanceToMeasurePersistence",
    "RipsPersistence",
    "TakensEmbedding",
    "check_clouds",
    "check_diagrams",
]
