"""The adversary against dissimilarity matrices: every entry changes by at most the radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from stablerank.attack.adversary import Adversary, pick_block
from stablerank.attack.displacement import differences_upper, pull_back
from stablerank.diagrams.rips import check_dissimilarities

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class StudiedMatrix:
    """A symmetric matrix by its entries above the diagonal, shape (n_pairs,), row by row."""

    matrix: Matrix
    entries: NDArray[np.float64]


class MatrixAdversary(Adversary):
    """Changes the entries of a symmetric matrix; it stays symmetric, non-negative, 0 inside."""

    def check(self, X: Any) -> list[Matrix]:
        """The matrices, in float64."""
        return check_dissimilarities(X)

    def study(self, original: Matrix) -> StudiedMatrix:
        """Take the entries above the diagonal."""
        return StudiedMatrix(original, squareform(original, checks=False))

    def original(self, studied: StudiedMatrix) -> Matrix:
        """The matrix itself."""
        return studied.matrix

    def propose(self, studied: StudiedMatrix, radius: float, turn: int, rng: Generator) -> Matrix:
        """In turns: all entries larger or smaller, by their size, by clusters, by points, any."""
        entries, n = studied.entries, len(studied.matrix)
        sign = rng.choice([-1.0, 1.0])
        kind = turn % 5
        if kind == 0:
            signs = np.full(len(entries), sign)
        elif kind == 1 and len(entries):
            signs = sign * np.sign(entries - np.quantile(entries, rng.uniform()))
        elif kind == 2 and n > 2:
            levels = linkage(entries, method="single")[:, 2]
            labels = fcluster(linkage(entries, method="single"), rng.choice(levels), "distance")
            signs = sign * _pairwise(np.not_equal.outer(labels, labels) * 2.0 - 1.0)
        elif kind == 3:
            points = rng.choice([-1.0, 1.0], size=n)
            signs = _pairwise(np.outer(points, points))
        else:
            signs = rng.choice([-1.0, 0.0, 1.0], size=len(entries))
        return _symmetric(entries + radius * signs)

    def change(
        self, studied: StudiedMatrix, candidate: Matrix, radius: float, share: float, rng: Generator
    ) -> Matrix:
        """A block of entries, any or those of some points, set to an end of what is allowed."""
        n = len(studied.matrix)
        entries = squareform(candidate, checks=False)
        if rng.uniform() < 0.5:
            rows = rng.permutation(len(entries))[: pick_block(len(entries), share, rng)]
        else:
            chosen = np.zeros(n)
            chosen[rng.permutation(n)[: pick_block(n, share, rng)]] = 1.0
            rows = np.flatnonzero(_pairwise(np.maximum.outer(chosen, chosen)))
        alike = rng.uniform() < 0.5
        signs = rng.choice([-1.0, 0.0, 1.0], size=None if alike else len(rows))
        entries[rows] = studied.entries[rows] + radius * signs
        return _symmetric(entries)

    def shorten(self, studied: StudiedMatrix, candidate: Matrix, radius: float) -> Matrix:
        """Every entry pulled back to what it was, and none below 0."""
        moved = squareform(candidate, checks=False)[:, None]
        origin = studied.entries[:, None]
        pulled = pull_back(origin, moved, radius, np.inf, lambda rows: np.maximum(rows, 0.0))
        return _symmetric(pulled[:, 0])

    def displacement(self, studied: StudiedMatrix, candidate: Matrix) -> float:
        """The largest change of an entry."""
        return float(differences_upper(candidate, studied.matrix).max())

    def size(self, studied: StudiedMatrix) -> float:
        """The largest entry."""
        return float(studied.matrix.max())


def _symmetric(entries: NDArray[np.float64]) -> Matrix:
    # squareform takes no entries for 2 × 2
    return np.zeros((1, 1)) if len(entries) == 0 else np.asarray(squareform(entries, checks=False))


def _pairwise(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The entries above the diagonal, as `squareform` orders them."""
    return np.asarray(table[np.triu_indices(len(table), 1)])
