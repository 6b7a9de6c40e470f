"""Means of stable ranks and their bands: by hand, by the definition, and how often they hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.ranks import (
    RankBand,
    StableRankFunction,
    StepFunction,
    lq_distances,
    mean_rank,
    mean_rank_band,
)

Array = NDArray[np.float64]


def random_jumps(rng: np.random.Generator, n: int, width: int = 6) -> Array:
    jumps = rng.integers(0, 9, (n, width)) if rng.random() < 0.5 else rng.exponential(size=(n, 6))
    return np.asarray(-np.sort(-jumps, axis=1), dtype=np.float64)


def excess_over(mean: StepFunction, other: StepFunction, epsilon: float) -> float:
    """The largest mean(t + ε) − other(t): both are constant between jumps, and jumps less ε."""
    t = np.unique(np.concatenate([[0.0], mean.starts - epsilon, other.starts, mean.starts]))
    t = t[t >= 0]
    t = np.concatenate([(t[1:] + t[:-1]) / 2, t[-1:] + 1, t])
    return float((mean(t + epsilon) - other(t)).max())


# The mean.


def test_the_mean_of_two_by_hand() -> None:
    # 2, 1 on [0, 3), [3, 5) and 1 on [0, 4)
    mean = mean_rank([StableRankFunction([5, 3]), StableRankFunction([4])])
    assert mean == StepFunction([0, 3, 4, 5], [1.5, 1, 0.5, 0])


def test_the_mean_is_pointwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        jumps = random_jumps(rng, int(rng.integers(1, 9)))
        mean = mean_rank(jumps)
        t = np.concatenate([[0.0], jumps.ravel(), rng.uniform(0, 9, 20)])
        values = np.mean([StableRankFunction(row)(t) for row in jumps], axis=0)
        assert mean(t) == pytest.approx(values, rel=1e-15)
        assert (np.diff(mean.values) < 0).all()
        assert mean.values[-1] == 0


def test_the_mean_of_one_is_itself() -> None:
    rank = StableRankFunction([5, 3, 3])
    assert mean_rank([rank] * 7) == mean_rank([rank]) == rank.to_steps()
    assert mean_rank([StableRankFunction([])]) == StepFunction([0], [0])


def moved_too_far(epsilon: float, allowed: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    worst = -math.inf
    for _ in range(50):
        # whole numbers, so that t + ε is exact
        jumps = -np.sort(-rng.integers(4, 30, (5, 6)), axis=1)
        moved = -np.sort(-(jumps + rng.choice([-epsilon, 0, epsilon], jumps.shape)), axis=1)
        mean, other = mean_rank(jumps), mean_rank(moved)
        worst = max(worst, excess_over(mean, other, allowed), excess_over(other, mean, allowed))
    return worst


def test_the_mean_moves_no_further_than_the_ranks(seed: int) -> None:
    assert moved_too_far(3.0, 3.0, seed) <= 1e-15
    assert moved_too_far(3.0, 2.0, seed) > 0.1  # the law can fail
    rng = np.random.default_rng(seed)
    for q in (1, 2, math.inf):
        f, g = random_jumps(rng, 8), random_jumps(rng, 8)
        allowed = lq_distances(f, g, q).diagonal().mean()
        assert mean_rank(f).lq_distance(mean_rank(g), q) <= allowed * (1 + 1e-13)


# The band.


def slow_half_width(jumps: Array, level: float, n_bootstrap: int, seed: int) -> float:
    """From the definition: a mean of functions for each draw, at all jumps."""
    rng, n = np.random.default_rng(seed), len(jumps)
    mean, t = mean_rank(jumps), np.append(0.0, jumps.ravel())
    suprema = []
    for times in rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap):
        drawn = mean_rank(np.repeat(jumps, times, axis=0))
        suprema.append(np.abs(drawn(t) - mean(t)).max())
    return float(np.sort(suprema)[math.ceil(level * (n_bootstrap + 1)) - 1])


def test_the_half_width_is_the_quantile_of_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (2, 10, 31):
        jumps = random_jumps(rng, n)
        band = mean_rank_band(jumps, 0.9, n_bootstrap=199, random_state=seed)
        expected = slow_half_width(jumps, 0.9, 199, seed)
        assert band.half_width == pytest.approx(expected, rel=1e-13)
        t = np.concatenate([[0.0], jumps.ravel(), [100.0]])
        assert band.mean == mean_rank(jumps)
        assert band.upper(t) == pytest.approx(band.mean(t) + band.half_width, rel=1e-15)
        assert band.lower(t) == pytest.approx(np.maximum(band.mean(t) - band.half_width, 0))


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    import sys

    jumps = random_jumps(np.random.default_rng(seed), 20)
    whole = mean_rank_band(jumps, random_state=seed)
    monkeypatch.setattr(sys.modules["stablerank.ranks.mean_rank"], "BATCH_BARS", 500)
    assert mean_rank_band(jumps, random_state=seed) == whole


def coverage(band: Callable[[Array, int], RankBand], level: float, seed: int) -> float:
    """How often of 400 a band holds the known mean, less what chance allows, in its deviations.

    Two bars, uniform on [0, 1] and on [0, 2], of which the second is there half the time: the mean
    is 1 − t up to 1 and (1 − t/2)/2 up to 2. Both sides of the band are monotone steps, so between
    steps the mean is farthest at the ends.
    """
    rng, held, n_trials = np.random.default_rng(seed), 0, 400
    for trial in range(n_trials):
        bars = rng.uniform(0, [1, 2], (60, 2)) * (rng.random((60, 2)) < [1, 0.5])
        found = band(np.asarray(-np.sort(-bars, axis=1)), trial)
        starts, ends = found.mean.starts, np.append(found.mean.starts[1:], 9.0)
        expected = [np.maximum(1 - t, 0) + np.maximum(1 - t / 2, 0) / 2 for t in (starts, ends)]
        within = (found.lower.values.min() >= 0) and (found.lower(starts) <= expected[1]).all()
        held += bool(within and (expected[0] <= found.upper(starts)).all())
    return (held - level * n_trials) / math.sqrt(n_trials * level * (1 - level))


def test_the_band_holds_the_mean_as_often_as_it_says(seed: int) -> None:
    def band(jumps: Array, trial: int) -> RankBand:
        return mean_rank_band(jumps, 0.9, n_bootstrap=199, random_state=trial)

    # 60 clouds are not infinitely many: three deviations are granted to that, and four to chance
    assert coverage(band, 0.9, seed) > -7


def test_a_band_of_half_the_width_does_not(seed: int) -> None:
    def half(jumps: Array, trial: int) -> RankBand:
        full = mean_rank_band(jumps, 0.9, n_bootstrap=199, random_state=trial)
        c, mean = full.half_width / 2, full.mean
        lower = StepFunction(mean.starts, np.maximum(mean.values - c, 0))
        return RankBand(mean, lower, StepFunction(mean.starts, mean.values + c), c, 0.9)

    assert coverage(half, 0.9, seed) < -7


def test_equal_ranks_have_a_band_of_no_width() -> None:
    for rank in (StableRankFunction([5, 3]), StableRankFunction([])):
        band = mean_rank_band([rank] * 5, random_state=0)
        assert band.half_width == 0
        assert band.lower == band.upper == band.mean == rank.to_steps()


def test_seeds_tell_draws_apart_and_generators_are_taken() -> None:
    jumps = random_jumps(np.random.default_rng(0), 30)
    bands = [mean_rank_band(jumps, n_bootstrap=19, random_state=s) for s in (1, 1, 2)]
    assert bands[0] == bands[1] != bands[2]
    assert mean_rank_band(jumps, n_bootstrap=19, random_state=np.random.default_rng(1)) == bands[0]
    state = np.random.get_state()[1].tolist()  # noqa: NPY002  (which nobody may move)
    mean_rank_band(jumps, n_bootstrap=19)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_plot_draws_mean_and_band() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    band = mean_rank_band([[5, 3], [4, 0], [2, 2]], 0.5, n_bootstrap=9, random_state=0)
    ax = band.plot(color="red")
    (line,), (area,) = ax.get_lines(), ax.collections
    t, heights = (np.asarray(data) for data in line.get_data())
    assert heights.tolist() == band.mean(t).tolist()
    corners = np.asarray(area.get_paths()[0].vertices)
    assert corners[:, 1].max() == band.upper(0)
    assert ax.get_ylabel() == "mean stable rank"
    plt.close()


@pytest.mark.parametrize("level", [0, 1, -0.1, math.nan, "0.9", True, None])
def test_bad_levels_are_named(level: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"level={level!r}: expected a probability")):
        mean_rank_band([[1], [2]], level)


def test_bad_numbers_of_draws_and_ranks_are_named() -> None:
    for n in (0, 1.5, True, None):
        with pytest.raises(ValueError, match=re.escape(f"n_bootstrap={n!r}: expected an integer")):
            mean_rank_band([[1], [2]], n_bootstrap=n)
    with pytest.raises(ValueError, match=re.escape("n_bootstrap=18 is too small for level=0.95")):
        mean_rank_band([[1], [2]], 0.95, n_bootstrap=18)
    assert mean_rank_band([[1], [2]], 0.95, n_bootstrap=19, random_state=0).half_width == 0.5
    with pytest.raises(ValueError, match=re.escape("X holds one stable rank: expected two")):
        mean_rank_band([[1]])
    with pytest.raises(ValueError, match=re.escape("X[0] is [1.0, 2.0]: expected the jump")):
        mean_rank([[1, 2]])
