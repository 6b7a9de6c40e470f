"""Baselines, none certified: the usual vectors of persistence diagrams, and neural networks."""

from benchmarks.baselines.betti import BettiCurves
from benchmarks.baselines.diagram_transformer import DiagramTransformer
from benchmarks.baselines.images import PersistenceImages
from benchmarks.baselines.perslay import PersLay
from benchmarks.baselines.pointnet import PointNet
from benchmarks.baselines.tents import Landscapes, Silhouettes
from benchmarks.baselines.vectorizer import Vectorizer

__all__ = [
    "BettiCurves",
    "DiagramTransformer",
    "Landscapes",
    "PersLay",
    "PersistenceImages",
    "PointNet",
    "Silhouettes",
    "Vectorizer",
]
