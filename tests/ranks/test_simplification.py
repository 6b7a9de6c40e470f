"""Simplified stable ranks: by hand, and the nearest of all by brute force."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.ranks import (
    StableRankFunction,
    interleaving_distances,
    simplification,
    simplify_ranks,
)

Array = NDArray[np.float64]


def random_jumps(rng: np.random.Generator, width: int) -> Array:
    jumps = rng.integers(0, 12, width) if rng.random() < 0.5 else rng.exponential(size=width)
    return np.asarray(-np.sort(-jumps), dtype=np.float64)


def least_error(jumps: Array, n_steps: int) -> float:
    """Over all ways to cut jumps in runs, each of which gets its middle, but the last 0."""
    best, n = math.inf, len(jumps)
    for kept in range(n + 1):
        for inner in itertools.combinations(range(1, kept), min(n_steps, kept) - 1 if kept else 0):
            ends = [0, *inner, kept]
            runs = [jumps[a:b] for a, b in itertools.pairwise(ends) if b > a]
            error = max([(run[0] - run[-1]) / 2 for run in runs] + [*jumps[kept : kept + 1]])
            best = min(best, float(error))
    return best


def test_simplifications_by_hand() -> None:
    # one step for 6, 5, 1: all to 3.5 costs 2.5, and 6, 5 to 5.5 with 1 dropped costs 1
    jumps, errors = simplify_ranks([StableRankFunction([6, 5, 1])], 1)
    assert jumps.tolist() == [[5.5, 5.5, 0]]
    assert errors.tolist() == [1]
    # dropping costs the whole length, a middle only half: one bar of length 4 is kept
    assert simplify_ranks([[4, 2]], 1)[0].tolist() == [[3, 3]]
    jumps, errors = simplify_ranks([[6, 5, 1], [6, 6, 0], [0, 0, 0]], 3)
    assert jumps.tolist() == [[6, 5, 1], [6, 6, 0], [0, 0, 0]]
    assert errors.tolist() == [0, 0, 0]


def is_nearest(simplify: Any, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        width, n_steps = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        X = np.array([random_jumps(rng, width) for _ in range(4)])
        simple, errors = simplify(X, n_steps)
        for given, row, error in zip(X, simple, errors, strict=True):
            if len(set(row[row > 0].tolist())) > n_steps:
                return False
            far = StableRankFunction(given).interleaving_distance(StableRankFunction(row))
            rounding = 2.0**-52 * given[0]  # of a middle, and of a difference
            if far != error or error > least_error(given, n_steps) + rounding:
                return False
    return True


def test_no_rank_of_as_few_steps_is_nearer(seed: int) -> None:
    assert is_nearest(simplify_ranks, seed)


def cut_longest(X: Array, n_steps: int) -> tuple[Array, Array]:
    """Keep what comes first, drop the rest: a simplification, and not the nearest."""
    simple = np.where(np.arange(X.shape[1]) < n_steps, X, 0.0)
    return simple, np.abs(X - simple).max(axis=1)


def one_step_more(X: Array, n_steps: int) -> tuple[Array, Array]:
    return simplify_ranks(X, n_steps + 1)


def error_halved(X: Array, n_steps: int) -> tuple[Array, Array]:
    simple, errors = simplify_ranks(X, n_steps)
    return simple, errors / 2


@pytest.mark.parametrize("broken", [cut_longest, one_step_more, error_halved])
def test_the_law_above_can_fail(broken: Any, seed: int) -> None:
    assert not is_nearest(broken, seed)


def test_the_greedy_choice_is_tight(seed: int) -> None:
    # nothing below the error suffices
    X = np.array([random_jumps(np.random.default_rng([seed, i]), 30) for i in range(20)])
    for n_steps in (1, 3, 8):
        _, errors = simplify_ranks(X, n_steps)
        some = errors > 0
        padded = np.pad(X[some], ((0, 0), (0, 1)))
        below = errors[some] * (1 - 1e-14)
        assert (simplification._greedy(padded, below, n_steps)[0] > below).all()


def test_more_steps_are_no_worse_and_ranks_stay_near(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.array([random_jumps(rng, 40) for _ in range(10)])
    before = np.full(10, math.inf)
    for n_steps in range(1, 41):
        simple, errors = simplify_ranks(X, n_steps)
        assert (errors <= before).all()
        allowed = interleaving_distances(X) + errors[:, None] + errors
        assert (interleaving_distances(simple) <= allowed * (1 + 1e-15)).all()
        before = errors
    assert (simple == X).all()


def test_rows_do_not_depend_on_each_other_and_are_not_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.array([random_jumps(rng, 20) for _ in range(10)])
    X.setflags(write=False)
    simple, errors = simplify_ranks(X, 4)
    for i in range(10):
        own, error = simplify_ranks(X[i : i + 1], 4)
        assert (own[0] == simple[i]).all()
        assert error[0] == errors[i]
    assert (simplify_ranks(X.astype(np.float32), 4)[1] <= errors + 1e-5).all()


def test_extremes() -> None:
    simple, errors = simplify_ranks([[1.7e308, 1.6e308, 5e-324]], 2)
    assert errors[0] == 5e-324
    assert simple.tolist() == [[1.7e308, 1.6e308, 0]]
    assert simplify_ranks([StableRankFunction([])], 2)[1].tolist() == [0]
    assert simplify_ranks([[2.0] * 5], 10**9)[1].tolist() == [0]


@pytest.mark.parametrize("n_steps", [0, -1, 1.0, True, None])
def test_bad_numbers_of_steps_are_named(n_steps: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"n_steps={n_steps!r}: expected an integer")):
        simplify_ranks([[1]], n_steps)


def test_bad_ranks_are_named() -> None:
    with pytest.raises(ValueError, match=re.escape("X[0] is [1.0, 2.0]: expected the jump")):
        simplify_ranks([[1, 2]], 1)
