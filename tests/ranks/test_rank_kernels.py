"""Kernels of stable ranks: by double sums, positive definite, and in support vector machines."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from stablerank.ranks import (
    StableRankFunction,
    gaussian_rank_kernel,
    interleaving_distances,
    linear_rank_kernel,
    lq_distances,
)

Array = NDArray[np.float64]


def random_jumps(rng: np.random.Generator, n: int, width: int = 6) -> Array:
    jumps = rng.exponential(size=(n, width)) * (rng.random((n, width)) < 0.7)
    return np.asarray(-np.sort(-jumps, axis=1))


def lowest_eigenvalue(gram: Array) -> float:
    """Relative to what rounding can do to it."""
    scale = len(gram) * np.finfo(float).eps * np.abs(gram).sum(axis=1).max()
    return float(np.linalg.eigvalsh(gram)[0] / scale)


def test_the_inner_product_is_a_double_sum_of_minima(seed: int) -> None:
    # the rank is Σ_k 1[t < t_k], and the integral of a product of two such is the smaller jump
    rng = np.random.default_rng(seed)
    X, Y = random_jumps(rng, 9), random_jumps(rng, 5, 4)
    expected = [[np.minimum.outer(f, g).sum() for g in Y] for f in X]
    assert linear_rank_kernel(X, Y) == pytest.approx(np.array(expected), rel=1e-13)


def test_the_kernels_are_those_of_one_hilbert_space(seed: int) -> None:
    X = random_jumps(np.random.default_rng(seed), 12)
    gram = linear_rank_kernel(X)
    squares = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram
    assert lq_distances(X, q=2) ** 2 == pytest.approx(squares, abs=1e-12)
    gaussian = gaussian_rank_kernel(X, width=0.7)
    assert gaussian == pytest.approx(np.exp(-squares / (2 * 0.7**2)), abs=1e-12)
    assert (gaussian.diagonal() == 1).all()
    assert (gram == gram.T).all()
    assert (gaussian == gaussian.T).all()


def test_gram_matrices_are_positive_definite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (2, 10, 60):
        X = random_jumps(rng, n)
        assert lowest_eigenvalue(linear_rank_kernel(X)) > -1
        for width in (0.1, 1.0, 10.0):
            assert lowest_eigenvalue(gaussian_rank_kernel(X, width=width)) > -1
        assert lowest_eigenvalue(np.exp(-lq_distances(X) / 2)) > -1


def test_a_gaussian_of_the_interleaving_distance_is_not_positive_definite() -> None:
    # jumps base + a column: sup distances 1 between the two parts and 2 within, those of K_{2,3},
    # of which no exponential with a small rate is positive definite (Schoenberg: not in L2)
    left = np.array([[1.0, 1, 1, 1], [-1.0, -1, 1, 1]])
    corners = np.array([[0.0, 0, 0, 2], [0.0, 0, 2, 0], [0.0, 2, 0, 0], [2.0, 0, 0, 0]])
    X = np.array([40.0, 30, 20, 10]) + np.concatenate([left, corners])
    distances = interleaving_distances(X)
    grams = [np.exp(-((distances / width) ** 2) / 2) for width in (1.0, 2.0, 4.0)]
    assert min(lowest_eigenvalue(gram) for gram in grams) < -1e6
    assert min(lowest_eigenvalue(gaussian_rank_kernel(X, width=w)) for w in (1.0, 2.0, 4.0)) > -1


@pytest.mark.parametrize("kind", ["linear", "gaussian"])
def test_support_vector_machines_take_them(kind: str, seed: int) -> None:
    # classes that differ in their second jump
    rng = np.random.default_rng(seed)
    y = np.arange(60) % 2
    X = np.column_stack([rng.uniform(3, 5, 60), rng.uniform(0, 0.8, 60) + y, np.zeros(60)])
    kernel: Any = linear_rank_kernel
    if kind == "gaussian":
        kernel = partial(gaussian_rank_kernel, width=float(np.median(lq_distances(X, q=2))))
    model = SVC(kernel=kernel, C=100).fit(X[:40], y[:40])
    assert model.score(X[40:], y[40:]) > 0.9
    computed = SVC(kernel="precomputed", C=100).fit(kernel(X[:40]), y[:40])
    assert (computed.predict(kernel(X[40:], X[:40])) == model.predict(X[40:])).all()
    functions = [StableRankFunction(row) for row in X]
    again = SVC(kernel=kernel, C=100).fit(functions[:40], y[:40])
    assert (again.predict(functions[40:]) == model.predict(X[40:])).all()
    assert cross_val_score(SVC(kernel=kernel, C=100), X, y, cv=3).mean() > 0.9


def test_extremes_neither_overflow_nor_warn() -> None:
    far = gaussian_rank_kernel([[1e300], [1e-300], [0.0]], width=1e-200)
    assert far.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert linear_rank_kernel([StableRankFunction([])]).tolist() == [[0]]


@pytest.mark.parametrize("width", [0, -1.0, math.inf, math.nan, "1", True, None])
def test_bad_widths_are_named(width: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"width={width!r}: expected a finite number")):
        gaussian_rank_kernel([[1]], width=width)


def test_bad_ranks_are_named() -> None:
    for kernel in (linear_rank_kernel, partial(gaussian_rank_kernel, width=1.0)):
        with pytest.raises(ValueError, match=re.escape("X[0] is [1.0, 2.0]: expected the jump")):
            kernel([[1, 2]])
