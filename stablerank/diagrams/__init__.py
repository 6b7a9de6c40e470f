"""Point clouds and dissimilarities to persistence diagrams, each filtration with its constant."""

from stablerank.diagrams.alpha import AlphaPersistence
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.diagrams.cache import CachedPersistence
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.clouds import check_clouds
from stablerank.diagrams.rips import RipsPersistence
from stablerank.diagrams.sharding import transform_to_shards
from stablerank.diagrams.shards import DiagramShards

__all__ = [
    "AlphaPersistence",
    "CachedPersistence",
    "CloudDiagrams",
    "DiagramBall",
    "DiagramBatch",
    "DiagramShards",
    "RipsPersistence",
    "check_clouds",
    "check_diagrams",
    "transform_to_shards",
]
