"""The adversary against images: it stays within the radius, and finds the flips that are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline

from stablerank import CubicalPersistence, HalfLengths
from stablerank.attack import attack
from stablerank.attack.images import ImageAdversary


class Threshold(ClassifierMixin, BaseEstimator):
    """Whether the longest half length is above 1."""

    classes_ = np.array([False, True])

    def fit(self, X: Any, y: Any = None) -> Threshold:
        self.fitted_ = True
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        return np.asarray(X[:, 0] - 1.0)

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return np.asarray(self.decision_function(X) > 0)


def wells(depth: float) -> NDArray[np.float64]:
    """Two wells of depths 9 and `depth` below a wall at 0: H0 has one bar, of that length."""
    image = np.zeros((5, 7))
    image[2, 1], image[2, 5] = -9.0, -depth
    return image


def pipeline() -> Any:
    return make_pipeline(CubicalPersistence((0,)), HalfLengths(1), Threshold()).fit([wells(3.0)])


def test_the_least_change_of_a_well_is_found() -> None:
    # Length 3 is 1.5 halves: the well rises by r and the wall sinks by r, so 2 r = 1 flips it.
    images = [wells(3.0), wells(3.0)]
    result = attack(
        pipeline(), images, [True, True], threat="sup", radius=[0.499, 0.501], random_state=0
    )
    assert result.success.tolist() == [False, True]
    assert (result.displacement <= [0.499, 0.501]).all()


@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 2), (1, 1)])
def test_candidates_are_pulled_back(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    adversary = ImageAdversary()
    image = rng.normal(size=shape) * 10.0 ** rng.integers(-200, 200)
    studied = adversary.study(image)
    radius = float(np.abs(image).max()) * 0.1
    candidate = image
    for turn in range(20):
        proposed = adversary.propose(studied, 3 * radius, turn, rng)
        candidate = adversary.change(studied, proposed, 2 * radius, 0.3, rng)
        short = adversary.shorten(studied, candidate, radius)
        assert short.shape == image.shape
        assert adversary.displacement(studied, short) <= radius
    assert adversary.displacement(studied, candidate) > radius
    assert (adversary.original(studied) == image).all()


class Bright:
    """Somebody else's pipeline: whether the mean grey level is above a threshold."""

    classes_ = np.array([False, True])

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return np.array([image.mean() > 0.5 for image in X])


def test_images_of_a_pipeline_of_others_are_images() -> None:
    image = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])  # no square
    found = attack(Bright(), [image], [False], threat="sup", radius=0.2, random_state=0)
    assert found.success.tolist() == [True]
    assert found.inputs[0].shape == (2, 3)
    square = np.array([[0.5, 0.4], [0.4, 0.5]])  # symmetric, and not 0 on the diagonal
    assert attack(Bright(), [square], [False], threat="sup", radius=0.2, random_state=0).success[0]
    assert attack(Bright(), [square], [False], threat="sup", radius=0.04).success.tolist() == [
        False
    ]


def test_what_can_be_dissimilarities_stays_so() -> None:
    matrix = np.array([[0.0, 0.4], [0.4, 0.0]])
    found = attack(Bright(), [matrix], [False], threat="sup", radius=0.2, random_state=0)
    assert (np.diagonal(found.inputs[0]) == 0).all()
    assert (found.inputs[0] == found.inputs[0].T).all()
