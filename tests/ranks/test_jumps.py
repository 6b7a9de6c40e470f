"""Jump points of many stable ranks: one by one, and what is no such thing."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from stablerank.diagrams import DiagramBatch
from stablerank.ranks import (
    DistanceContour,
    StableRank,
    StableRankFunction,
    rank_jumps,
    stable_rank_function,
)
from stablerank.ranks.boxes import BATCH_BARS
from stablerank.ranks.jumps import check_jumps

MIXTURE = DistanceContour([1.0, 1.5], [0.7, 0.3], [2.0, 1.0], floor=0.1)


def random_batch(rng: np.random.Generator, n: int, bars: int = 12) -> DiagramBatch:
    return DiagramBatch.from_diagrams(
        [{1: np.sort(rng.random((rng.integers(0, bars), 2)), axis=1)} for _ in range(n)]
    )


@pytest.mark.parametrize("contour", ["standard", MIXTURE], ids=["standard", "mixture"])
@pytest.mark.parametrize("p", [1, 2, 3.5, math.inf])
def test_rows_are_the_functions_of_the_diagrams(p: float, contour: Any, seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 30)
    jumps = rank_jumps(batch, 1, p, contour)
    assert jumps.shape == (30, batch.n_bars(1).max())
    for i, row in enumerate(jumps):
        expected = stable_rank_function(batch.diagram(i, 1), p, contour).jumps
        assert StableRankFunction(row).jumps == pytest.approx(expected, rel=1e-14)
    vectors = StableRank(p, contour, n_ranks=5).fit_transform(batch)
    assert jumps[:, :5] == pytest.approx(vectors, rel=1e-14)


def test_many_diagrams_are_cut_in_blocks(seed: int) -> None:
    # one large diagram makes the padded block wide, and the others go in several blocks
    rng = np.random.default_rng(seed)
    many = [{1: np.sort(rng.random((n, 2)), axis=1)} for n in [5000, *[2] * 100]]
    assert 2 * BATCH_BARS < 5000 * 101
    jumps = rank_jumps(many, 1)
    for i in (0, 1, 50, 100):
        expected = -np.sort(many[i][1][:, 0] - many[i][1][:, 1])
        assert (jumps[i, : len(expected)] == expected).all()
        assert not jumps[i, len(expected) :].any()


def test_no_bars_have_no_jumps() -> None:
    assert rank_jumps([{0: []}, {0: []}], 0).shape == (2, 0)
    assert check_jumps([StableRankFunction([])]).shape == (1, 0)


def test_arrays_and_functions_are_taken() -> None:
    given = np.array([[3, 1], [2, 0]], dtype=np.float32)
    given.setflags(write=False)
    jumps = check_jumps(given)
    assert jumps.dtype == np.float64
    assert jumps.tolist() == check_jumps([StableRankFunction(row) for row in given]).tolist()
    assert check_jumps([[3, 1], [2, 0]]).tolist() == given.tolist()


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([], ValueError, "X is empty"),
        ([[1, 2]], ValueError, "X[0] is [1.0, 2.0]: expected the jump points"),
        ([[2, 1], [1, -1]], ValueError, "X[1] is [1.0, -1.0]: expected the jump points"),
        ([[2, math.nan]], ValueError, "X[0] is [2.0, nan]: expected"),
        ([[math.inf, math.inf]], ValueError, "X[0] is [inf, inf]: expected"),
        ([[2, 1], [1]], TypeError, "X is neither a sequence of StableRankFunction nor"),
        ([1.0, 2.0], TypeError, "X is neither a sequence of StableRankFunction nor"),
        ([["a"]], TypeError, "X is neither a sequence of StableRankFunction nor"),
        ([StableRankFunction([1]), [1]], TypeError, "X is neither a sequence"),
        (DiagramBatch.from_diagrams([{0: []}]), TypeError, "by rank_jumps(X, dimension)"),
    ],
)
def test_what_is_no_jump_is_named(X: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        check_jumps(X)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
        rank_jumps([{0: []}], 1)
    with pytest.raises(ValueError, match=re.escape("p=0 is not the exponent of a norm")):
        rank_jumps([{0: []}], 0, p=0)
    with pytest.raises(TypeError, match=re.escape("diagrams is a int")):
        rank_jumps(3, 0)
