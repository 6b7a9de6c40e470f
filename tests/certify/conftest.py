"""Models that several files certify: one that was trained, and networks set by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import LipschitzClassifier, StableRankClassifier, StableRankNetwork, certify

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


@dataclass
class Twins:
    """An input and its twin at a known distance, which a pipeline tells apart.

    Attributes
    ----------
    pipeline : sklearn Pipeline
        Fitted.
    X, twin : list of one input, or DiagramBatch of one
        The two of them.
    distance : float
        From X to the twin in the metric of the threat.
    threat : dict
        As :func:`stablerank.certify` takes it.
    """

    pipeline: Any
    X: Any
    twin: Any
    distance: float
    threat: dict[str, Any]

    def share(self, method: str = "best") -> float:
        """The certified radius in units of the distance to the twin: below 1, that is the law."""
        assert self.pipeline.predict(self.X) != self.pipeline.predict(self.twin)
        claims = certify(self.pipeline, self.X, method=method, **self.threat)
        assert claims.prediction == self.pipeline.predict(self.X)
        return float(claims.radius[0] / self.distance)


@pytest.fixture(scope="session")
def make_twins() -> Callable[..., Twins]:
    """A function that puts a threshold just before the twin, see :func:`_make_twins`."""
    return _make_twins


def _make_twins(
    steps: Sequence[Any],
    X: Any,
    twin: Any,
    distance: float,
    threat: dict[str, Any],
    *,
    weights: Sequence[float] = (1.0,),
    scale: Sequence[float] | None = None,
) -> Twins:
    """A hand-made network behind fitted steps: is Σ weights·features/scale above a threshold?

    The threshold is a millionth before the value of the twin. A ReLU that is always on stands
    between the inputs and the logits x and −x, so that nothing is lost: the margin is 2|x|.
    """
    n_features = steps[-1].n_features_out_ if scale is None else len(scale)
    row = torch.zeros(1, n_features, dtype=torch.float64)
    row[0, : len(weights)] = torch.tensor(weights, dtype=torch.float64)
    scales = np.ones(n_features) if scale is None else np.asarray(scale, dtype=np.float64)

    def value(inputs: Any) -> float:
        for step in steps:
            inputs = step.transform(inputs)
        return float(((inputs / scales) @ row[0].numpy())[0])

    at = value(X) + (1 - 1e-6) * (value(twin) - value(X))
    network = StableRankNetwork(
        n_features, 2, hidden=(1,), layer="free", activation="relu", scale=scales
    ).double()
    network.body[0].weight.data = row
    network.body[0].bias.data.fill_(64.0 - at)
    network.head.weight.data = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    network.head.bias.data = torch.tensor([64.0, -64.0], dtype=torch.float64)
    return Twins(make_pipeline(*steps, classifier_of(network)), X, twin, distance, threat)


def classifier_of(network: StableRankNetwork) -> LipschitzClassifier:
    """A fitted classifier with the labels 0, 1, … around a network."""
    classifier = LipschitzClassifier(hidden=())
    classifier.network_ = network.folded()
    classifier.classes_ = np.arange(network.n_classes)
    classifier.n_features_in_ = network.n_features
    return classifier


@pytest.fixture(scope="session")
def around() -> Callable[[StableRankNetwork], LipschitzClassifier]:
    """:func:`classifier_of`."""
    return classifier_of
