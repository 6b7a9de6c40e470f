"""Baselines, none certified: vectors and kernels of persistence diagrams, and neural networks."""

from benchmarks.baselines.atol import AtolVectors
from benchmarks.baselines.betti import BettiCurves
from benchmarks.baselines.diagram_svm import PersistenceFisherSVM, SlicedWassersteinSVM
from benchmarks.baselines.diagram_transformer import DiagramTransformer
from benchmarks.baselines.flat import FlatClassifier
from benchmarks.baselines.images import PersistenceImages
from benchmarks.baselines.persistence_fisher import PersistenceFisher
from benchmarks.baselines.perslay import PersLay
from benchmarks.baselines.pointnet import PointNet
from benchmarks.baselines.sliced_wasserstein import SlicedWasserstein
from benchmarks.baselines.tents import Landscapes, Silhouettes
from benchmarks.baselines.vector_classifier import VectorClassifier
from benchmarks.baselines.vectorizer import Vectorizer

__all__ = [
    "AtolVectors",
    "BettiCurves",
    "DiagramTransformer",
    "FlatClassifier",
    "Landscapes",
    "PersLay",
    "PersistenceFisher",
    "PersistenceFisherSVM",
    "PersistenceImages",
    "PointNet",
    "Silhouettes",
    "SlicedWasserstein",
    "SlicedWassersteinSVM",
    "VectorClassifier",
    "Vectorizer",
]
