"""minimal_radius: never below the true distance to the boundary, and near it where it is known."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import AlphaPersistence, DiagramBatch
from stablerank.attack import RandomSearch, Search, minimal_radius

Cloud = NDArray[np.float64]


class Death:
    """Whether the largest H0 death is above a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def predict(self, X: Any) -> NDArray[np.bool_]:
        diagrams = X if isinstance(X, DiagramBatch) else AlphaPersistence((0,)).fit_transform(X)
        return diagrams.padded(0, 1)[:, 0, 1] > self.threshold


PAIRS = [np.array([[0.0, 0.0], [2.0 * death, 0.0]]) for death in (0.9, 1.3, 1.0001, 0.2)]


def test_pairs_of_points(seed: int) -> None:
    # Both points move by ε along their line: the death, half their distance, moves by ε.
    true = np.array([0.1, 0.3, 0.0001, 0.8])
    y = np.array([False, True, True, False])
    found = minimal_radius(Death(1.0), PAIRS, y, random_state=seed)
    ratio = found.breaking_displacement / true
    assert (ratio >= 1).all()
    assert (ratio <= 1.05).all()
    # the pipeline says so itself, on the very inputs that are returned
    assert np.array_equal(Death(1.0).predict(found.inputs), ~y)
    assert (found.displacement <= found.radius).all()


def test_one_bar(seed: int) -> None:
    # (0, 0.9): the death reaches 1 after 0.1, as the bar moves or gets longer; so does a new bar
    # between the diagonal and death 1 that is shorter than 0.2 and so costs no more.
    X = DiagramBatch.from_diagrams([{0: [[0.0, 0.9]]}])
    found = minimal_radius(
        Death(1.0), X, [False], threat="wasserstein", p=1, q=2, random_state=seed, n_rounds=4
    )
    assert 0 < found.breaking_displacement[0] <= 0.1 * 1.01


def test_misclassified_inputs_are_at_distance_zero() -> None:
    found = minimal_radius(Death(1.0), PAIRS[:1], [True], random_state=0)
    assert found.breaking_displacement.tolist() == [0.0]
    assert np.array_equal(found.inputs[0], PAIRS[0])


def test_what_cannot_be_broken_is_infinitely_far() -> None:
    class Constant:
        def predict(self, X: list[Cloud]) -> NDArray[np.int64]:
            return np.zeros(len(X), dtype=np.int64)

    method = RandomSearch(n_queries=10)
    found = minimal_radius(Constant(), PAIRS, [0] * 4, method=method, random_state=0)
    assert np.isinf(found.breaking_displacement).all()
    assert found.accuracy == 1.0
    assert (found.n_queries == 40).all()  # four failures in a row are enough


def test_where_to_give_up(seed: int) -> None:
    largest = np.array([0.05, 0.31, 0.05, 0.05])
    y = [False, True, True, False]
    found = minimal_radius(Death(1.0), PAIRS, y, largest=largest, random_state=seed)
    assert found.success.tolist() == [False, True, True, False]
    assert np.array_equal(found.radius, largest)
    assert (found.displacement <= largest).all()


def test_the_seed_decides_all() -> None:
    y = [False, True, True, False]
    settings: dict[str, Any] = {"method": Search(n_queries=30), "n_rounds": 4}
    first, again, other = (
        minimal_radius(Death(1.0), PAIRS, y, random_state=seed, **settings) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.displacement, again.displacement)
    assert not np.array_equal(first.displacement, other.displacement)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tolerance": 0}, "tolerance=0: expected a number between 0 and 1."),
        ({"n_rounds": 0}, "n_rounds=0: expected an integer >= 1."),
        ({"largest": -1.0}, "radius is -1.0: expected a finite number >= 0."),
    ],
)
def test_errors(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        minimal_radius(Death(1.0), PAIRS, [False] * 4, **setting)
