"""The order of bars against NumPy's own sort by several keys, and what is no bar at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.diagrams.canonical import bars_from_deaths, canonical_bars, first_bad_bar

Bars = NDArray[np.float64]
Offsets = NDArray[np.int64]


def slowly(bars: Bars, offsets: Offsets) -> tuple[Bars, list[int]]:
    parts = []
    for start, stop in itertools.pairwise(offsets):
        part = bars[start:stop]
        part = part[part[:, 1] > part[:, 0]]
        parts.append(part[np.lexsort((part[:, 1], part[:, 0], part[:, 0] - part[:, 1]))])
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)]).tolist()


def random_bars(seed: int) -> tuple[Bars, Offsets]:
    """Diagrams of all sizes, with ties of one, two and three keys, in and out of order."""
    rng = np.random.default_rng(seed)
    parts = [np.empty((0, 2))]
    for n in (1, 2, 3, 24, 25, 60, 300):
        births = rng.normal(size=n)
        parts.append(np.column_stack([births, births + rng.exponential(size=n)]))
        steps = rng.integers(-4, 4, size=n)
        parts.append(np.column_stack([steps, steps + rng.integers(0, 3, size=n)]))
        parts.append(np.column_stack([np.zeros(n), np.sort(rng.exponential(size=n))]))
        parts.append(parts[-1][::-1])
        # Lengths of all sizes; deaths that a rounded length cannot tell apart.
        parts.append(np.column_stack([np.zeros(n), 10.0 ** rng.integers(-300, 300, size=n)]))
        parts.append(np.column_stack([np.full(n, -1.0), rng.integers(0, 9, size=n) * 2.0**-60]))
        ends = rng.choice([-1.7e308, 1.6e308], size=n)
        parts.append(np.column_stack([ends, ends + 1e307]))
        parts.append(np.empty((0, 2)))
    order = rng.permutation(len(parts))
    parts = [parts[i] for i in order]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])


def test_bars_stand_longest_first_then_by_birth_and_death() -> None:
    bars = np.array([[0.0, 1.0], [2.0, 2.0], [-1.0, 0.0], [0.0, 3.0], [5.0, 7.0], [1.0, 3.0]])
    ordered, ends = canonical_bars(bars, np.array([0, 4, 4, 6]))
    assert ordered.tolist() == [[0, 3], [-1, 0], [0, 1], [1, 3], [5, 7]]
    assert ends.tolist() == [0, 3, 3, 5]


def test_the_order_is_that_of_numpy(seed: int) -> None:
    bars, offsets = random_bars(seed)
    ordered, ends = canonical_bars(bars, offsets)
    expected, expected_ends = slowly(bars, offsets)
    assert ends.tolist() == expected_ends
    assert ordered.tolist() == expected.tolist()


def test_the_reference_notices_a_wrong_order(seed: int) -> None:
    bars, offsets = random_bars(seed)
    expected = slowly(bars, offsets)[0].tolist()
    backwards = np.concatenate([bars[a:b][::-1] for a, b in itertools.pairwise(offsets)])
    assert canonical_bars(backwards, offsets)[0].tolist() == expected
    assert backwards[backwards[:, 1] > backwards[:, 0]].tolist() != expected


def test_what_is_in_order_stays_and_is_copied(seed: int) -> None:
    ordered, ends = canonical_bars(*random_bars(seed))
    ordered.flags.writeable = ends.flags.writeable = False
    again, same_ends = canonical_bars(ordered, ends)
    assert again.tolist() == ordered.tolist()
    assert same_ends.tolist() == ends.tolist()
    assert not np.shares_memory(again, ordered)
    strided = np.repeat(ordered, 2, axis=0)[::2]
    assert canonical_bars(strided, ends)[0].tolist() == ordered.tolist()


def test_deaths_become_bars_longest_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 9, size=30)
    deaths = np.concatenate([np.sort(rng.exponential(size=n)) for n in sizes])
    offsets = np.cumsum([0, *sizes])
    bars = bars_from_deaths(deaths, offsets)
    assert canonical_bars(bars, offsets)[0].tolist() == bars.tolist()
    assert np.sort(bars[:, 1]).tolist() == np.sort(deaths).tolist()


@pytest.mark.parametrize(
    "bar",
    [
        [1, 0],
        [np.nan, 1],
        [0, np.nan],
        [0, np.inf],
        [-np.inf, 0],
        [np.inf, np.inf],
        [-1e308, 1e308],
    ],
)
def test_the_first_bad_bar_is_found(bar: list[float]) -> None:
    good = np.array([[0.0, 1.0], [2.0, 2.0], [-1e308, 0.0]])
    assert first_bad_bar(good) is None
    assert first_bad_bar(np.empty((0, 2))) is None
    for i in range(4):
        assert first_bad_bar(np.array([*np.insert(good, i, bar, axis=0), bar])) == i
