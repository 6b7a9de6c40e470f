"""Motions under a watch: 80 series of 100 times and 6 channels, 4 motions, 40 to train and to test.

BasicMotions (``load_motions``), split at random into halves, stratified, as the archive's
literature resamples. Every value of a series may change by ε, in the watch's unit (D6). Ours, all
from alpha:

- "clouds": acceleration and rotation as clouds of 100 points in space, stable ranks of H0 and H1;
- "delays": for each channel the plane of its values and those three steps later, likewise;
- "sorted values", certified, without persistence: of every channel, averaged in 20 blocks.

Fixed numbers of epochs: settings were chosen by cross-validation within the training part of the
archive's own split. Diagrams of the others are those of the acceleration's cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.baselines import FlatClassifier
from benchmarks.comparison.certified import CertifiedPipeline
from benchmarks.comparison.task import Model, Split, Task
from benchmarks.series import SeriesPersistence, SortedValues
from stablerank import LipschitzUnion, StableRank
from stablerank.datasets import load_motions

CHANNELS = {"acceleration": (0, 1, 2), "rotation": (3, 4, 5)}
ACCELERATION = SeriesPersistence(CHANNELS["acceleration"])
UNCONSTRAINED = ("persistence images, SVM", "PointNet, no persistence")  # alpha in space is slow
N_RANKS = {0: 60, 1: 15}
DELAY = 3
ACCURATE: dict[str, Any] = {"epsilon": 0.1, "temperature": 1.0}
ROBUST: dict[str, Any] = {
    "epsilon": 0.2,
    "loss": "margin",
    "temperature": 3.0,
    "offset": (0.25, 0.5, 1.0, 2.0),
}
CERTIFIED: dict[str, tuple[str, dict[str, Any]]] = {
    f"{kind}, {name}": (kind, network)
    for kind in ("clouds", "delays", "sorted values")
    for name, network in (("accurate", ACCURATE), ("robust", ROBUST))
}


def load(seed: int, quick: bool) -> Split:
    """Split of a seed; it is little anyway."""
    motions = load_motions()
    X, y = motions.data, motions.target
    train, test = train_test_split(np.arange(80), test_size=40, stratify=y, random_state=seed)
    return Split.of(X, y, train, test)


def vectorizer(kind: str) -> Any:
    """From series to vectors."""
    if kind == "sorted values":
        return SortedValues()
    parts = (
        {name: SeriesPersistence(channels) for name, channels in CHANNELS.items()}
        if kind == "clouds"
        else {f"channel{i}": SeriesPersistence((i,), 2, DELAY) for i in range(6)}
    )
    return LipschitzUnion(
        [
            (name, make_pipeline(filtration, StableRank(n_ranks=N_RANKS)))
            for name, filtration in parts.items()
        ]
    )


def certified(name: str, seed: int, quick: bool) -> CertifiedPipeline:
    """One of our models."""
    kind, network = CERTIFIED[name]
    network = {"hidden": (32, 32), "max_epochs": 15 if quick else 60, **network}
    return CertifiedPipeline(vectorizer(kind), network, threat="per_coordinate", random_state=seed)


def flat(classifier: str, seed: int, quick: bool) -> FlatClassifier:
    """The values as they are, unconstrained."""
    trees = {"n_trees": 50} if quick else {}
    return FlatClassifier(classifier, random_state=seed, **trees)


def task(unconstrained: Mapping[str, Model]) -> Task:
    """The motions, with these models beside ours."""
    values = {
        "values, forest": partial(flat, "forest"),
        "values, SVM": partial(flat, "svm"),
    }
    ours = {name: partial(certified, name) for name in CERTIFIED}
    return Task(
        name="motions",
        title="Motions",
        unit="units of the watch",
        load=load,
        epsilons=(0.05, 0.1, 0.2, 0.4),
        models={
            **values,
            **unconstrained,
            **ours,
        },
        n_attacked=6,
        threat="per_coordinate",
        filtration=ACCELERATION,
    )
