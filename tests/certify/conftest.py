"""Models that several files certify: one that was trained, and networks set by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stablerank import LipschitzClassifier, StableRankClassifier, StableRankNetwork

Cloud = NDArray[np.float64]
MakeThreshold = Callable[..., LipschitzClassifier]


def _make_clouds(
    n_clouds: int, d: int = 2, n_points: int = 30
) -> tuple[list[Cloud], NDArray[np.int64]]:
    """Clusters (class 0) and noisy shells (class 1), of different numbers of points."""
    rng = np.random.default_rng(d)
    X, y = [], np.arange(n_clouds) % 2
    for label in y:
        n = n_points + int(rng.integers(-4, 5))
        if label:
            shell = rng.normal(size=(n, d))
            shell /= np.linalg.norm(shell, axis=1, keepdims=True)
            X.append(shell + rng.normal(scale=0.07, size=(n, d)))
        else:
            centres = rng.uniform(-1, 1, size=(4, d))
            X.append(centres[rng.integers(4, size=n)] + rng.normal(scale=0.1, size=(n, d)))
    return X, y


@pytest.fixture(scope="session")
def some_clouds() -> Callable[..., tuple[list[Cloud], NDArray[np.int64]]]:
    """A function from a number of clouds, and a dimension, to clouds and labels."""
    return _make_clouds


@pytest.fixture(scope="session")
def fitted() -> tuple[StableRankClassifier, list[Cloud], NDArray[np.int64]]:
    """A small model of planar clouds with its training data; never changed."""
    X, y = _make_clouds(40)
    model = StableRankClassifier(random_state=0, max_epochs=15, network__hidden=(16, 16))
    return model.fit(X, y), X, y


@pytest.fixture(scope="session")
def threshold() -> MakeThreshold:
    """A function that makes a classifier: is one feature above a threshold?"""
    return _threshold


def _threshold(
    n_features: int,
    feature: int,
    value: float,
    *,
    scale: float = 1.0,
    labels: Sequence[Any] = (0, 1),
) -> LipschitzClassifier:
    """Logits −x and x of x = (feature − value)/scale; the margin is 2|x| and moves by 2/scale.

    So a certificate is |feature − value| by the constant of that feature, less rounding.
    """
    center = np.zeros(n_features)
    center[feature] = value
    network = StableRankNetwork(
        n_features, 2, hidden=(), center=center, scale=np.full(n_features, scale)
    )
    weight = torch.zeros(2, n_features)
    weight[0, feature], weight[1, feature] = -1.0, 1.0
    network.head.weight = weight
    classifier = LipschitzClassifier(hidden=())
    classifier.network_ = network.folded()
    classifier.classes_ = np.array(labels)
    classifier.n_features_in_ = n_features
    return classifier
