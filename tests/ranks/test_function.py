"""Stable ranks as step functions: by hand, by brute force, and their distances by definition."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.ranks import (
    DistanceContour,
    StableRank,
    StableRankFunction,
    StandardContour,
    stable_rank_function,
)
from stablerank.ranks.contours import bar_lengths

Array = NDArray[np.float64]

CONTOUR = DistanceContour([1.0, 1.5], [0.7, 0.3], [2.0, 1.0], floor=0.1)


def random_function(rng: np.random.Generator) -> StableRankFunction:
    """Integer jumps, so that jumps coincide within a function and between two."""
    jumps = rng.integers(0, 9, rng.integers(0, 8)) * rng.choice([1.0, 0.1])
    return StableRankFunction(np.sort(jumps)[::-1])


# Closed form.


def test_the_function_of_two_bars_by_hand() -> None:
    # lengths 3 and 4, p = 2: within t < 3 of the diagram both bars are needed; dropping the bar of
    # length 3 costs 3, dropping both costs 5
    rank = stable_rank_function([[0, 3], [1, 5]], p=2)
    assert rank.jumps.tolist() == [5, 3]
    assert rank([0, 2.999, 3, 4.999, 5, 100]).tolist() == [2, 2, 1, 1, 0, 0]
    assert stable_rank_function([[0, 3], [1, 5]]).jumps.tolist() == [4, 3]
    assert stable_rank_function([[0, 3], [1, 5]], p=1).jumps.tolist() == [7, 3]


def test_distances_by_hand() -> None:
    # jumps (5, 3) and (4, 1, 1): differences 1, 2, 1, so the interleaving distance is 2. The values
    # are 2, 1 on [0, 3), [3, 5) and 3, 1 on [0, 1), [1, 4): they differ by 1 on [0, 3) and on
    # [4, 5), so the integral of |f-g|^q is 4.
    f, g = StableRankFunction([5, 3]), StableRankFunction([4, 1, 1])
    assert f.interleaving_distance(g) == 2
    assert f.lq_distance(g) == 4
    assert f.lq_distance(g, q=2) == 2
    assert f.lq_distance(g, q=math.inf) == 1
    nothing = StableRankFunction([])
    assert f.interleaving_distance(nothing) == 5
    assert f.lq_distance(nothing) == 8  # the sum of its jumps
    assert f.lq_distance(nothing, q=2) == pytest.approx(math.sqrt(3 * 4 + 2 * 1), rel=1e-15)


def test_the_function_of_no_bars_is_zero() -> None:
    for empty in ([], np.empty((0, 2)), [[1, 1], [2, 2]]):
        rank = stable_rank_function(empty)
        assert rank.jumps.size == 0
        assert rank([0, 1]).tolist() == [0, 0]
        assert rank.lq_distance(rank) == rank.interleaving_distance(rank) == 0


# Slow references.


@pytest.mark.parametrize("contour", [StandardContour(), CONTOUR], ids=["standard", "mixture"])
@pytest.mark.parametrize("p", [1, 1.5, 2, 4, math.inf])
def test_the_value_is_the_least_number_of_bars_within_t(p: float, contour: Any, seed: int) -> None:
    # by definition: over all ways of keeping bars, with at most t left in p-norm
    rng = np.random.default_rng(seed)
    for _ in range(10):
        births = rng.uniform(0, 2, 6)
        diagram = np.column_stack([births, births + rng.exponential(size=6)])
        lengths = bar_lengths(diagram, contour).numpy()
        rank = stable_rank_function(diagram, p, contour)
        costs = {
            dropped: float(np.linalg.norm(lengths[list(dropped)], ord=p)) if dropped else 0.0
            for r in range(7)
            for dropped in itertools.combinations(range(6), r)
        }
        for t in [*rng.uniform(0, 1.2 * max(costs.values()), 20), 0.0]:
            least = min(6 - len(dropped) for dropped, cost in costs.items() if cost <= t)
            assert rank(t) == least


def test_values_count_the_jumps_above(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        f = random_function(rng)
        t = np.concatenate([f.jumps, np.nextafter(f.jumps, 0), rng.uniform(0, 9, 10), [0.0]])
        assert f(t).tolist() == [sum(jump > x for jump in f.jumps.tolist()) for x in t.tolist()]
        assert f(t.reshape(-1, 1)).shape == (t.size, 1)
        assert f(0) == len(f.jumps)


def is_interleaved(f: StableRankFunction, g: StableRankFunction, epsilon: float) -> bool:
    """Whether f(t+ε) <= g(t) and g(t+ε) <= f(t) for all t, step functions being seen at jumps.

    Both sides are right-continuous and constant between jumps, and jumps moved by ε.
    """
    ends = np.concatenate([f.jumps, g.jumps])
    t = np.unique(np.concatenate([[0.0], ends, ends - epsilon]))
    t = t[t >= 0]
    t = np.concatenate([t, (t[1:] + t[:-1]) / 2, t[-1:] + 1])
    return bool((f(t + epsilon) <= g(t)).all() and (g(t + epsilon) <= f(t)).all())


def test_the_interleaving_distance_is_the_least_epsilon_of_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = set()
    for _ in range(300):
        # integer jumps, so that t + ε is exact
        f, g = (StableRankFunction(np.sort(rng.integers(0, 9, n))[::-1]) for n in (5, 7))
        # the least ε is 0 or a difference of jumps, or of a jump and 0
        f_ends, g_ends = (np.append(h.jumps, 0.0) for h in (f, g))
        candidates = np.unique(np.abs(f_ends[:, None] - g_ends[None, :]))
        least = next(e for e in [0.0, *candidates.tolist()] if is_interleaved(f, g, e))
        assert f.interleaving_distance(g) == g.interleaving_distance(f) == least
        if least:
            assert not is_interleaved(f, g, least - 0.5)
        seen.add(least)
    assert len(seen) > 3


@pytest.mark.parametrize("q", [1, 1.5, 2, 5])
def test_the_lq_distance_is_the_integral(q: float, seed: int) -> None:
    # midpoints of a grid whose cells no jump divides: jumps are multiples of 1/10
    rng = np.random.default_rng(seed)
    t = (np.arange(1000) + 0.5) / 100
    for _ in range(100):
        f, g = random_function(rng), random_function(rng)
        integral = (np.abs(f(t) - g(t)).astype(float) ** q).sum() / 100
        assert f.lq_distance(g, q) == pytest.approx(integral ** (1 / q), rel=1e-12)
        assert f.lq_distance(g, math.inf) == np.abs(f(t) - g(t)).max()


# The law: metrics, and the interleaving distance is the sup norm on the vectors.


def test_distances_are_metrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        f, g, h = (random_function(rng) for _ in range(3))
        for distance in (
            StableRankFunction.interleaving_distance,
            StableRankFunction.lq_distance,
            lambda a, b: a.lq_distance(b, 3),
            lambda a, b: a.lq_distance(b, math.inf),
        ):
            assert distance(f, g) == pytest.approx(distance(g, f), rel=1e-14)
            assert (distance(f, g) == 0) == (f == g)
            assert distance(f, h) <= (distance(f, g) + distance(g, h)) * (1 + 1e-13)


@pytest.mark.parametrize("p", [1, 1.5, 2, 4, math.inf])
def test_the_sup_norm_of_vectors_is_the_interleaving_distance(p: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    diagrams = [np.sort(rng.random((n, 2)), axis=1) for n in (0, 3, 8)]
    vectors = StableRank(p=p, n_ranks=8).fit_transform([{0: diagram} for diagram in diagrams])
    functions = [stable_rank_function(diagram, p) for diagram in diagrams]
    for i, j in itertools.product(range(3), repeat=2):
        distance = functions[i].interleaving_distance(functions[j])
        assert distance == pytest.approx(np.abs(vectors[i] - vectors[j]).max(), rel=1e-13)


# The test of the test.


def test_the_references_can_tell_a_shifted_function() -> None:
    f, g = StableRankFunction([5, 3]), StableRankFunction([4, 1, 1])
    assert is_interleaved(f, g, 2.0)
    assert not is_interleaved(f, g, 1.9)
    assert f(3) == 1 != sum(jump >= 3 for jump in f.jumps)  # closed where it must be open


# The contract.


def test_functions_are_values() -> None:
    jumps = np.array([3.0, 2.0, 0.0])
    f = StableRankFunction(jumps)
    jumps[0] = 9
    assert f.jumps.tolist() == [3, 2]  # zeros are no jumps, and the array is the function's own
    with pytest.raises(ValueError, match="read-only"):
        f.jumps[0] = 1
    same = [StableRankFunction([3, 2]), pickle.loads(pickle.dumps(f)), eval(repr(f))]
    for g in same:
        assert g == f
        assert hash(g) == hash(f)
    assert f != StableRankFunction([3])
    assert f != "f"
    assert repr(f) == "StableRankFunction([3.0, 2.0])"


def test_diagrams_of_any_order_and_kind_give_one_function() -> None:
    diagram = np.array([[0.0, 1.0], [0.5, 4.0], [2.0, 2.0], [-1.0, 1.0]])
    before = diagram.copy()
    expected = StableRankFunction([3.5, 2.0, 1.0])
    assert stable_rank_function(diagram) == expected
    assert stable_rank_function(diagram[::-1].tolist()) == expected
    assert stable_rank_function(np.asfortranarray(diagram.astype(np.float32))) == expected
    assert (diagram == before).all()
    assert stable_rank_function(np.array([[0, 2]]), 1, "standard").jumps.tolist() == [2]


def test_rounding_never_makes_jumps_increase() -> None:
    # bars too short to change a tail: powers and roots of equal tails used to differ in their last
    # bit, by the place in the array, and the function was refused
    rng = np.random.default_rng(0)
    for p in (1.1, 1.5, 3, 7, 50):
        lengths = np.concatenate(
            [rng.random(50), np.full(450, 1e-18), 0.3 + 1e-16 * rng.random(99)]
        )
        rank = stable_rank_function(np.column_stack([np.zeros_like(lengths), lengths]), p)
        assert (np.diff(rank.jumps) <= 0).all()


def test_distances_of_extreme_functions_do_not_overflow() -> None:
    f, g = StableRankFunction([1e200] * 300), StableRankFunction([1e-200])
    assert f.lq_distance(g, 100) == pytest.approx(300 * 1e2, rel=1e-12)
    assert f.interleaving_distance(g) == 1e200


def test_plot_draws_the_steps() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    ax = StableRankFunction([5, 3]).plot(label="two bars", color="black")
    (line,) = ax.get_lines()
    x, y = (np.asarray(data) for data in line.get_data())
    assert line.get_label() == "two bars"
    assert line.get_drawstyle() == "steps-post"
    # the line's own heights are the function's, right of each of its points
    assert y.tolist() == StableRankFunction([5, 3])(x).tolist()
    assert x[0] == 0
    assert x[-1] > 5
    assert StableRankFunction([]).plot(ax=ax) is ax
    plt.close()


# Errors.


@pytest.mark.parametrize(
    ("diagram", "message"),
    [
        ([[0, 1], [0, math.inf]], "diagram[1] is the bar [0.0, inf]: expected finite numbers"),
        ([[math.nan, 1]], "diagram[0] is the bar [nan, 1.0]: expected finite numbers"),
        ([[0, 1], [3, 2]], "diagram[1] is the bar [3.0, 2.0]: expected finite numbers, birth <="),
        ([[-math.inf, 1]], "diagram[0] is the bar [-inf, 1.0]"),
        ([1, 2], "diagram has shape (2,): expected (n_bars, 2)"),
        ([[1, 2, 3]], "diagram has shape (1, 3): expected (n_bars, 2)"),
    ],
)
def test_bad_diagrams_are_named(diagram: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        stable_rank_function(diagram)


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan, "2", True, None, 2j])
def test_bad_exponents_are_named(p: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"p={p!r} is not the exponent of a norm")):
        stable_rank_function([[0, 1]], p)
    f = StableRankFunction([1])
    with pytest.raises(ValueError, match=re.escape(f"q={p!r} is not the exponent of a norm")):
        f.lq_distance(f, p)


def test_a_bad_contour_is_named() -> None:
    wrong: Any = "shift"
    with pytest.raises(ValueError, match=re.escape("contour='shift': expected")):
        stable_rank_function([[0, 1]], contour=wrong)


@pytest.mark.parametrize("jumps", [[1, 2], [1, -1], [math.nan], [math.inf, 1], [[2, 1]], 3.0])
def test_bad_jumps_are_named(jumps: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"jumps={jumps!r}: expected one row of finite")):
        StableRankFunction(jumps)


@pytest.mark.parametrize("t", [-1, [0, -1e-300], math.nan, [math.nan, 1]])
def test_times_before_zero_are_refused(t: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"t={t!r}: a stable rank is a function of")):
        StableRankFunction([1])(t)
