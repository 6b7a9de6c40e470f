"""Step functions with any values: by hand, against sums over a grid, and what is refused."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest

from stablerank.ranks import StableRankFunction, StepFunction


def random_steps(rng: np.random.Generator) -> StepFunction:
    starts = np.append(0, 1 + np.sort(rng.choice(8, rng.integers(0, 7), replace=False)))
    return StepFunction(starts, np.append(rng.integers(-4, 5, starts.size - 1), 0))


def test_values_by_hand() -> None:
    f = StepFunction([0, 1, 4], [0.5, -2, 1])
    assert f([0, 0.999, 1, 3.999, 4, math.inf]).tolist() == [0.5, 0.5, -2, -2, 1, 1]
    assert f(2).shape == ()
    assert f([[1], [5]]).tolist() == [[-2], [1]]


def test_distances_by_hand() -> None:
    # 3 and 1 on [0, 2), 0 and 1 on [2, 5), 0 and 0 after: 2² · 2 + 1² · 3 = 11
    f, g = StepFunction([0, 2], [3, 0]), StepFunction([0, 5], [1, 0])
    assert f.lq_distance(g) == 2 * 2 + 3
    assert f.lq_distance(g, 2) == pytest.approx(math.sqrt(11), rel=1e-15)
    assert f.lq_distance(g, math.inf) == 2
    forever = StepFunction([0, 2], [3, 1])
    assert f.lq_distance(forever) == f.lq_distance(forever, 7) == math.inf
    assert f.lq_distance(forever, math.inf) == 1


@pytest.mark.parametrize("q", [1, 1.5, 2, 5])
def test_distances_are_integrals(q: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = np.arange(0.5, 10)  # whole steps, so a midpoint each
    for _ in range(100):
        f, g = random_steps(rng), random_steps(rng)
        integral = (np.abs(f(t) - g(t)) ** q).sum()
        assert f.lq_distance(g, q) == pytest.approx(integral ** (1 / q), rel=1e-13)
        assert f.lq_distance(g, q) == g.lq_distance(f, q)
        assert (f.lq_distance(g, q) == 0) == (f == g)


def test_stable_ranks_are_step_functions_and_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        jumps = np.sort(rng.integers(0, 6, rng.integers(0, 9)))[::-1] * rng.choice([1, 0.1])
        rank = StableRankFunction(jumps)
        steps = rank.to_steps()
        t = np.concatenate([[0.0], jumps, jumps + 0.01])
        assert steps(t).tolist() == rank(t).tolist()
        assert StableRankFunction.from_steps(steps) == rank
    assert rank.lq_distance(steps) == 0


@pytest.mark.parametrize(
    ("starts", "values"),
    [([0, 1], [1.5, 0]), ([0, 1], [0, 1]), ([0, 1], [3, 2]), ([0], [-1]), ([0, 1], [1e300, 0])],
)
def test_what_is_no_stable_rank_is_not_made_one(starts: Any, values: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("is no stable rank: expected whole numbers")):
        StableRankFunction.from_steps(StepFunction(starts, values))


def test_functions_are_values() -> None:
    starts = np.array([0.0, 1.0, 2.0, 3.0])
    f = StepFunction(starts, [2, 2, 1, -0.0])
    starts[1] = 9
    assert f == StepFunction([0, 2, 3], [2, 1, 0])  # equal neighbours are one piece
    assert hash(f) == hash(StepFunction(np.float32([0, 2, 3]), np.float32([2, 1, 0])))
    assert f == pickle.loads(pickle.dumps(f)) == eval(repr(f))
    assert f != StepFunction([0, 2, 3], [2, 1, 1])
    assert f != "f"
    with pytest.raises(ValueError, match="read-only"):
        f.values[0] = 1


def test_extreme_values_do_not_overflow() -> None:
    f = StepFunction([0, 2], [1e200, 0])
    assert f.lq_distance(StepFunction([0], [0]), 3) == pytest.approx(1e200 * 2 ** (1 / 3))


def test_plot_draws_the_steps() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    f = StepFunction([0, 1, 4], [0.5, -2, 1])
    (line,) = f.plot(label="f").get_lines()
    x, y = (np.asarray(data) for data in line.get_data())
    assert line.get_drawstyle() == "steps-post"
    assert y.tolist() == f(x).tolist()
    assert (x[0], line.get_label()) == (0, "f")
    assert x[-1] > 4
    plt.close()


@pytest.mark.parametrize("starts", [[], [1, 2], [0, 1, 1], [0, math.inf], [0, math.nan], 0, [[0]]])
def test_bad_starts_are_named(starts: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"starts={starts!r}: expected one row of")):
        StepFunction(starts, np.zeros(np.shape(starts)))


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], [1, math.nan], [math.inf, 0], [[1, 2]]])
def test_bad_values_are_named(values: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"values={values!r}: expected a finite number")):
        StepFunction([0, 1], values)


@pytest.mark.parametrize("t", [-1, [0, -1e-300], math.nan])
def test_times_before_zero_are_refused(t: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"t={t!r}: a step function is one of t >= 0")):
        StepFunction([0], [1])(t)


@pytest.mark.parametrize("q", [0.5, math.nan, "2", True])
def test_bad_exponents_are_named(q: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"q={q!r} is not the exponent of a norm")):
        StepFunction([0], [1]).lq_distance(StepFunction([0], [1]), q)
