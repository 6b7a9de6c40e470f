"""The other side of the comparison: pipelines without constants, each in its own best settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.baselines import (
    AtolVectors,
    BettiCurves,
    DiagramTransformer,
    Landscapes,
    PersistenceFisherSVM,
    PersistenceImages,
    PersLay,
    PointNet,
    Silhouettes,
    SlicedWassersteinSVM,
    VectorClassifier,
)
from benchmarks.comparison.task import Model
from stablerank import StableRank

_VECTORS: Mapping[str, tuple[Callable[[], Any], str]] = {
    "longest lifetimes, forest": (partial(StableRank, n_ranks=20), "forest"),
    "Betti curves, forest": (BettiCurves, "forest"),
    "landscapes, SVM": (Landscapes, "svm"),
    "silhouettes, SVM": (Silhouettes, "svm"),
    "persistence images, SVM": (PersistenceImages, "svm"),
    "ATOL, SVM": (AtolVectors, "svm"),
}
_KERNELS = {
    "sliced Wasserstein kernel": SlicedWassersteinSVM,
    "persistence Fisher kernel": PersistenceFisherSVM,
}

_NETWORKS = {"PersLay": PersLay, "transformer of bars": DiagramTransformer}

ON_DIAGRAMS = (*_VECTORS, *_KERNELS, *_NETWORKS)
"""Those that see diagrams only, and so take whatever has a filtration."""


def unconstrained(filtration: Any = None, only: Sequence[str] | None = None) -> dict[str, Model]:
    """Names in the order of the table; each from a seed, and whether little is enough.

    Parameters
    ----------
    filtration : Filtration, optional
        Where diagrams come from; alpha by default.
    only : sequence of str, optional
        Which ones; all by default.
    """
    vectors = {
        name: partial(_vectors, make, classifier, filtration)
        for name, (make, classifier) in _VECTORS.items()
    }
    kernels = {name: partial(_kernel, kind, filtration) for name, kind in _KERNELS.items()}
    networks = {name: partial(_network, kind, filtration) for name, kind in _NETWORKS.items()}
    models = {**vectors, **kernels, **networks, "PointNet, no persistence": _point_net}
    return models if only is None else {name: models[name] for name in only}


def _vectors(
    make: Callable[[], Any], classifier: str, filtration: Any, seed: int, quick: bool
) -> VectorClassifier:
    trees = {"n_trees": 50} if quick else {}
    return VectorClassifier(filtration, make(), classifier, random_state=seed, **trees)


def _kernel(kind: Any, filtration: Any, seed: int, quick: bool) -> Any:
    few = {"costs": (10.0,)} if quick else {}
    return kind(filtration, random_state=seed, **few)


def _network(kind: Any, filtration: Any, seed: int, quick: bool) -> Any:
    few = {"max_epochs": 2} if quick else {}
    return kind(filtration, random_state=seed, **few)


def _point_net(seed: int, quick: bool) -> PointNet:
    few = {"max_epochs": 2} if quick else {}
    return PointNet(random_state=seed, **few)
