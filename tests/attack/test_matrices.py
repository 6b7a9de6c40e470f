"""The adversary against dissimilarities: legal matrices, within the radius entry by entry."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.attack.matrices import MatrixAdversary
from stablerank.diagrams.rips import check_dissimilarities

Matrix = NDArray[np.float64]


def random_matrix(n: int, seed: int) -> Matrix:
    upper = np.triu(np.random.default_rng(seed).exponential(size=(n, n)), 1)
    return upper + upper.T


def candidates(matrix: Matrix, radius: float, seed: int, n: int = 20) -> list[tuple[Any, Matrix]]:
    adversary, rng = MatrixAdversary(), np.random.default_rng(seed)
    studied = adversary.study(matrix)
    current, found = adversary.original(studied), []
    for turn in range(n):
        proposed = adversary.propose(studied, radius, turn, rng)
        current = adversary.change(studied, current, radius, 0.5 * 0.01 ** (turn / n), rng)
        current = adversary.shorten(studied, current, radius)
        found += [(studied, adversary.shorten(studied, proposed, radius)), (studied, current)]
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_candidates_are_legal_and_within_the_radius(n: int, seed: int) -> None:
    matrix = random_matrix(n, seed)
    for radius in (0.3, 1e-12):
        for studied, moved in candidates(matrix, radius, seed):
            check_dissimilarities([moved])  # symmetric, not negative, 0 on the diagonal
            pairs = zip(matrix.ravel().tolist(), moved.ravel().tolist(), strict=True)
            exact = max(abs(Fraction(a) - Fraction(b)) for a, b in pairs)
            assert exact <= Fraction(radius)
            assert exact <= Fraction(MatrixAdversary().displacement(studied, moved))


def test_entries_move_as_far_as_they_may(seed: int) -> None:
    matrix = random_matrix(8, seed) + 1 - np.eye(8)
    steps = [moved - matrix for _, moved in candidates(matrix, 0.25, seed)]
    assert max(step.max() for step in steps) > 0.25 * (1 - 1e-9)
    assert min(step.min() for step in steps) < -0.25 * (1 - 1e-9)
    # all of them alike, and in patterns
    assert any((np.abs(step[np.triu_indices(8, 1)]) > 0.2499).all() for step in steps)
    assert any(len(np.unique(np.sign(step[np.triu_indices(8, 1)]))) > 1 for step in steps)


def test_entries_stay_where_they_belong() -> None:
    # The entries of a pattern by points are those of the points: (0, 1), (0, 2), (1, 2) in order.
    matrix = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    studied = MatrixAdversary().study(matrix)
    assert studied.entries.tolist() == [1.0, 2.0, 4.0]
    assert np.array_equal(MatrixAdversary().shorten(studied, matrix, 1.0), matrix)
    assert MatrixAdversary().size(studied) == 4.0


def test_nothing_falls_below_zero(seed: int) -> None:
    matrix = np.array([[0.0, 0.1], [0.1, 0.0]])
    moved = [m for _, m in candidates(matrix, 5.0, seed)]
    assert min(m.min() for m in moved) == 0.0
    assert max(m.max() for m in moved) > 5.0
