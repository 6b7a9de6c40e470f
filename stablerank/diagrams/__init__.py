"""Clouds, dissimilarities, images and series to persistence diagrams, each with its constant."""

from stablerank.diagrams.alpha import AlphaPersistence
from stablerank.diagrams.anisotropic import AnisotropicPersistence
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.diagrams.cache import CachedPersistence
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.clouds import check_clouds
from stablerank.diagrams.cubical import CubicalPersistence
from stablerank.diagrams.distance_to_measure import DistanceToMeasurePersistence
from stablerank.diagrams.landmarks import LandmarkPersistence
from stablerank.diagrams.linear_maps import squeeze
from stablerank.diagrams.rips import RipsPersistence
from stablerank.diagrams.sharding import transform_to_shards
from stablerank.diagrams.shards import DiagramShards
from stablerank.diagrams.takens import TakensEmbedding

__all__ = [
    "AlphaPersistence",
    "AnisotropicPersistence",
    "CachedPersistence",
    "CloudDiagrams",
    "CubicalPersistence",
    "DiagramBall",
    "DiagramBatch",
    "DiagramShards",
    "DistanceToMeasurePersistence",
    "LandmarkPersistence",
    "RipsPersistence",
    "TakensEmbedding",
    "check_clouds",
    "check_diagrams",
    "squeeze",
    "transform_to_shards",
]
