"""The usual vectors of persistence diagrams, for baselines: not certified, GUDHI's values."""

from benchmarks.baselines.betti import BettiCurves
from benchmarks.baselines.images import PersistenceImages
from benchmarks.baselines.tents import Landscapes, Silhouettes
from benchmarks.baselines.vectorizer import Vectorizer

__all__ = ["BettiCurves", "Landscapes", "PersistenceImages", "Silhouettes", "Vectorizer"]
