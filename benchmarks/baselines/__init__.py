"""Baselines without certificates: the usual vectors and kernels of persistence diagrams."""

from benchmarks.baselines.atol import AtolVectors
from benchmarks.baselines.betti import BettiCurves
from benchmarks.baselines.diagram_svm import PersistenceFisherSVM, SlicedWassersteinSVM
from benchmarks.baselines.flat import FlatClassifier
from benchmarks.baselines.images import PersistenceImages
from benchmarks.baselines.persistence_fisher import PersistenceFisher
from benchmarks.baselines.sliced_wasserstein import SlicedWasserstein
from benchmarks.baselines.tents import Landscapes, Silhouettes
from benchmarks.baselines.vector_classifier import VectorClassifier
from benchmarks.baselines.vectorizer import Vectorizer

__all__ = [
    "AtolVectors",
    "BettiCurves",
    "FlatClassifier",
    "Landscapes",
    "PersistenceFisher",
    "PersistenceFisherSVM",
    "PersistenceImages",
    "Silhouettes",
    "SlicedWasserstein",
    "SlicedWassersteinSVM",
    "VectorClassifier",
    "Vectorizer",
]
