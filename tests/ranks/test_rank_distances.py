"""Distances of all pairs are those of each pair, whatever the blocks, and metrics."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.ranks import (
    StableRankFunction,
    interleaving_distances,
    lq_distances,
    rank_distances,
)

Array = NDArray[np.float64]
EXPONENTS = [1, 1.5, 2, 5, math.inf]


def random_ranks(rng: np.random.Generator, n: int) -> list[StableRankFunction]:
    """Whole jumps or any, with repetitions, and functions without a jump."""
    ranks = []
    for _ in range(n):
        size = rng.integers(0, 9)
        jumps = rng.integers(0, 9, size) if rng.random() < 0.5 else rng.exponential(3, size)
        ranks.append(StableRankFunction(np.sort(jumps)[::-1]))
    return ranks


@pytest.mark.parametrize("block", [1, 37, 200_000])
def test_each_distance_is_that_of_the_pair(
    block: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_distances, "BATCH_BARS", block)
    rng = np.random.default_rng(seed)
    X, Y = random_ranks(rng, 13), random_ranks(rng, 8)
    assert (
        interleaving_distances(X, Y) == [[f.interleaving_distance(g) for g in Y] for f in X]
    ).all()
    for q in EXPONENTS:
        expected = np.array([[f.lq_distance(g, q) for g in Y] for f in X])
        assert lq_distances(X, Y, q) == pytest.approx(expected, rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("q", EXPONENTS)
def test_within_one_set_they_are_symmetric_to_the_bit(q: float, seed: int) -> None:
    X = random_ranks(np.random.default_rng(seed), 20)
    for square, rectangle in (
        (lq_distances(X, q=q), lq_distances(X, X, q)),
        (interleaving_distances(X), interleaving_distances(X, X)),
    ):
        assert (square == square.T).all()
        assert (square == rectangle).all()
        assert not square.diagonal().any()
        sums = square[:, :, None] + square[None, :, :]
        assert (square[:, None, :] <= sums * (1 + 1e-13)).all()


def test_the_area_between_graphs_is_measured_across(seed: int) -> None:
    # Σ |s_k − t_k| is what q = 1 gives, and the limit of the integral that other q take
    X = random_ranks(np.random.default_rng(seed), 15)
    assert lq_distances(X, q=1) == pytest.approx(lq_distances(X, q=1 + 1e-12), rel=1e-9, abs=1e-12)


def test_the_comparison_can_tell_a_wrong_width() -> None:
    f, g = StableRankFunction([5, 3]), StableRankFunction([4, 1, 1])
    reference = rank_distances.over_pairs([f], [g], lambda w, a, b: (w * np.abs(a - b)).sum(axis=1))
    shifted = rank_distances.over_pairs(
        [f], [g], lambda w, a, b: (np.roll(w, 1, axis=1) * np.abs(a - b)).sum(axis=1)
    )
    assert reference[0, 0] == f.lq_distance(g) == 4 != shifted[0, 0]


def test_ranks_that_nearly_agree_do_not_cancel() -> None:
    # ‖f‖² + ‖g‖² − 2⟨f, g⟩ would be 0 or worse: the difference is 1 on an interval of 2^-52
    f, g = StableRankFunction([1 + 2.0**-52]), StableRankFunction([1])
    assert lq_distances([f], [g], 2)[0, 0] == 2.0**-26


def test_no_jumps_and_one_rank() -> None:
    nothing = StableRankFunction([])
    for distances in (interleaving_distances, lq_distances, lambda X: lq_distances(X, q=3)):
        assert distances([nothing]).tolist() == [[0]]
        assert distances([nothing, nothing]).tolist() == [[0, 0], [0, 0]]
    assert lq_distances([nothing], [StableRankFunction([4])], 2).tolist() == [[2]]
    assert lq_distances([StableRankFunction([1e200] * 300)], [nothing], 100) == pytest.approx(
        300 * 1e2, rel=1e-12
    )


def test_arrays_of_different_widths_and_precisions_are_taken() -> None:
    wide, narrow = np.array([[5.0, 3.0, 0.0]]), np.array([[4]], dtype=np.float32)
    wide.setflags(write=False)
    assert interleaving_distances(wide, narrow).tolist() == [[3]]
    assert lq_distances(wide, narrow).tolist() == [[4]]


@pytest.mark.parametrize("q", [0.5, math.nan, "2", True, None])
def test_bad_exponents_are_named(q: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"q={q!r} is not the exponent of a norm")):
        lq_distances([[1]], q=q)


def test_bad_ranks_are_named() -> None:
    for distances in (interleaving_distances, lq_distances):
        with pytest.raises(ValueError, match=re.escape("X[1] is [1.0, 2.0]: expected the jump")):
            distances([[2, 1], [1, 2]])
        with pytest.raises(ValueError, match=re.escape("Y[0] is [1.0, 2.0]: expected the jump")):
            distances([[2, 1]], [[1, 2]])
