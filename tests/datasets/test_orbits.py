"""make_orbits against orbits computed by hand, a scalar reference, and its contract."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stablerank.datasets import make_orbits
from stablerank.datasets.orbits import _iterate

BENCHMARK = (2.5, 3.5, 4.0, 4.1, 4.3)


def same(a: list[NDArray[np.float64]], b: list[NDArray[np.float64]]) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def order_in_time(cloud: NDArray[np.float64], trajectory: NDArray[np.float64]) -> list[int]:
    """For each point of the trajectory its row in the cloud; fails if there is none."""
    rows = {point: row for row, point in enumerate(map(tuple, cloud.tolist()))}
    return [rows[point] for point in map(tuple, trajectory.tolist())]


# Closed form. Every number below is dyadic, so the floats are exact.


def test_first_iterates_by_hand() -> None:
    # r = 5/2 from (0, 1/2): x = 5/2 * 1/4 = 5/8; y = 1/2 + 5/2 * 5/8 * 3/8 = 139/128 -> 11/128;
    # x = 5/8 + 5/2 * 11/128 * 117/128 = 5/8 + 6435/32768 = 26915/32768.
    orbit = _iterate(np.array([[0.0, 0.5]]), np.array([2.5]), 2)[0]
    assert orbit[0].tolist() == [5 / 8, 11 / 128]
    assert orbit[1, 0] == 26915 / 32768


def test_a_coordinate_that_reaches_one_becomes_zero() -> None:
    # r = 4 from (1/4, 1/2): (1/4 + 1, 1/2 + 3/4) = (1/4, 1/4); x = 1/4 + 3/4 = 1 -> 0, y = 1/4;
    # x = 0 + 3/4, y = 1/4 + 3/4 = 1 -> 0; then (3/4, 3/4).
    orbit = _iterate(np.array([[0.25, 0.5]]), np.array([4.0]), 4)[0]
    assert orbit.tolist() == [[0.25, 0.25], [0.0, 0.25], [0.75, 0.0], [0.75, 0.75]]


def test_the_centre_is_fixed_by_r_equal_to_four() -> None:
    # 1/2 + 4 * 1/2 * 1/2 = 3/2 -> 1/2 in both coordinates.
    orbit = _iterate(np.array([[0.5, 0.5]]), np.array([4.0]), 50)[0]
    assert (orbit == 0.5).all()


# The law: all coordinates are in [0, 1), and never 1.


@pytest.mark.parametrize("r", [5e-324, 1e-300, 1e-17, 0.3, 4.0, 1e6, 1e300])
def test_orbits_stay_below_one(r: float) -> None:
    edges = [0.0, 5e-324, 1e-17, 0.5, np.nextafter(1.0, 0.0)]
    starts = np.array([(x, y) for x in edges for y in edges])
    orbits = _iterate(starts, np.full(len(starts), r), 300)
    assert np.isfinite(orbits).all()
    assert orbits.min() >= 0
    assert orbits.max() < 1


def test_the_law_above_would_fail_for_a_negative_parameter() -> None:
    # Why r <= 0 is refused: -1e-17 mod 1 rounds to 1.
    start = np.array([[0.0, 1e-17]])
    assert _iterate(start, np.array([-1.0]), 1).max() == 1.0


# Slow reference: one orbit, one point at a time, as the literature writes it.


def reference_orbit(x: float, y: float, r: float, n_points: int) -> list[tuple[float, float]]:
    points = []
    for _ in range(n_points):
        x = (x + r * y * (1 - y)) % 1
        y = (y + r * x * (1 - x)) % 1
        points.append((x, y))
    return points


def test_iterates_are_those_of_the_scalar_reference_bit_for_bit() -> None:
    starts = np.random.default_rng(1).random((10, 2))
    r = np.repeat(BENCHMARK, 2)
    orbits = _iterate(starts, r, 1000)
    for (x, y), parameter, orbit in zip(starts.tolist(), r.tolist(), orbits, strict=True):
        assert orbit.tolist() == [list(p) for p in reference_orbit(x, y, parameter, 1000)]


def test_the_reference_can_tell_a_wrong_map() -> None:
    # The same map with the old x in the second line, which some implementations have.
    (x, y), r = (0.3, 0.6), 4.1
    wrong = ((x + r * y * (1 - y)) % 1, (y + r * x * (1 - x)) % 1)
    assert reference_orbit(x, y, r, 1) != [wrong]


def test_each_cloud_holds_the_iterates_of_its_start_shuffled_and_not_the_start() -> None:
    # The starts are the first numbers that the generator gives.
    X, y = make_orbits(4, 50, random_state=3)
    starts = np.random.default_rng(3).random((20, 2))
    orders = []
    for cloud, label, start in zip(X, y, starts.tolist(), strict=True):
        trajectory = np.array(reference_orbit(start[0], start[1], BENCHMARK[label], 50))
        orders.append(tuple(order_in_time(cloud, trajectory)))
        assert sorted(orders[-1]) == list(range(50))
        assert start not in cloud.tolist()
    # Shuffled: each cloud in its own order, and consecutive iterates as far apart as in a random
    # permutation, where rows i and j of 50 are 17 apart on average; in order they would be 1.
    assert len(set(orders)) == 20
    assert np.abs(np.diff(orders, axis=1)).mean() == pytest.approx(51 / 3, rel=0.1)


# The contract.


def test_shapes_types_and_blocks_of_classes() -> None:
    X, y = make_orbits(3, 7, random_state=0, parameters=(1.0, 4.0))
    assert isinstance(X, list)
    assert [cloud.shape for cloud in X] == [(7, 2)] * 6
    assert all(cloud.dtype == np.float64 for cloud in X)
    assert all(cloud.flags.owndata and cloud.flags.c_contiguous for cloud in X)
    assert y.dtype == np.int64
    assert y.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_default_is_the_benchmark_of_five_thousand_orbits() -> None:
    X, y = make_orbits(random_state=0)
    assert len(X) == 5000
    assert {cloud.shape for cloud in X} == {(1000, 2)}
    assert np.bincount(y).tolist() == [1000] * 5


def test_an_int_gives_the_same_bits_and_another_int_others() -> None:
    int64: Any = np.int64(5)
    X, _ = make_orbits(2, 20, random_state=5)
    assert same(X, make_orbits(2, 20, random_state=5)[0])
    assert same(X, make_orbits(2, 20, random_state=int64)[0])
    assert same(X, make_orbits(2, 20, random_state=np.random.default_rng(5))[0])
    assert not same(X, make_orbits(2, 20, random_state=6)[0])


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_a_generator_is_reproducible_and_moves_on(kind: Any) -> None:
    generator = kind(0)
    first, _ = make_orbits(2, 20, random_state=generator)
    second, _ = make_orbits(2, 20, random_state=generator)
    assert same(first, make_orbits(2, 20, random_state=kind(0))[0])
    assert not same(first, second)


def test_none_draws_anew_and_leaves_the_global_generator_alone() -> None:
    before = str(np.random.get_state(legacy=False))  # noqa: NPY002 (key, and position in it)
    first, _ = make_orbits(1, 20)
    second, _ = make_orbits(1, 20)
    assert not same(first, second)
    assert str(np.random.get_state(legacy=False)) == before  # noqa: NPY002


def test_parameters_are_not_overwritten_and_may_be_an_array_of_integers() -> None:
    values: Any = np.array([3, 4])
    X, y = make_orbits(1, 5, random_state=0, parameters=values)
    assert same(X, make_orbits(1, 5, random_state=0, parameters=[3.0, 4.0])[0])
    assert values.tolist() == [3, 4]
    assert y.tolist() == [0, 1]


def test_one_point() -> None:
    X, y = make_orbits(1, 1, random_state=0, parameters=[4.0])
    assert X[0].shape == (1, 2)
    assert y.tolist() == [0]


def test_classes_differ_in_the_spacing_of_their_points() -> None:
    # Medians, because a few orbits in a hundred stay in an island where points crowd. The median
    # of n values scatters by about 1.25 standard deviations / sqrt(n), here that of r = 3.5.
    X, y = make_orbits(60, random_state=0)
    spacing = np.array([cKDTree(cloud).query(cloud, k=2)[0][:, 1].mean() for cloud in X])
    scatter = 1.25 * spacing[y == 1].std() / np.sqrt(60)
    assert np.median(spacing[y == 1]) - np.median(spacing[y == 3]) > 5 * scatter


def test_classes_differ_in_where_their_points_are() -> None:
    # The nearest class by the share of points in each of 10 x 10 squares; guessing is right in
    # 1 of 5 cases, so by luck in 40 of 100 or more with a probability below 1e-5.
    X, y = make_orbits(40, random_state=0)
    cells = [(10 * cloud).astype(int) @ np.array([10, 1]) for cloud in X]
    share = np.array([np.bincount(cell, minlength=100) / 1000 for cell in cells])
    train = np.tile(np.arange(40) < 20, 5)

    def accuracy(labels: NDArray[np.int64]) -> float:
        centre = np.array([np.median(share[train & (labels == k)], axis=0) for k in range(5)])
        distance = np.square(share[~train][:, None] - centre).sum(axis=2)
        return float((distance.argmin(axis=1) == labels[~train]).mean())

    assert accuracy(y) > 0.4
    assert accuracy(np.random.default_rng(0).permutation(y)) < 0.4  # ... and it can fail


# Errors.


@pytest.mark.parametrize("name", ["n_per_class", "n_points"])
def test_counts_are_refused_by_name(name: str) -> None:
    argument: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=re.escape(f"{name}=0 is no count to generate")):
        make_orbits(**argument)
    for wrong in (2.0, True, "3", None):
        argument = {name: wrong}
        with pytest.raises(TypeError, match=re.escape(f"{name}={wrong!r} is not an integer")):
            make_orbits(**argument)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((), "parameters has shape (0,): expected a sequence of at least one value"),
        (4.0, "parameters has shape (): expected a sequence"),
        ([[4.0, 4.1]], "parameters has shape (1, 2): expected a sequence"),
        ((4.0, -1.0), "parameters[1]=-1.0 is not a parameter of the linked twist map"),
        ((0.0, 4.0), "parameters[0]=0.0 is not a parameter"),
        ((np.nan,), "parameters[0]=nan is not a parameter"),
        ((4.0, np.inf), "parameters[1]=inf is not a parameter"),
    ],
)
def test_parameters_are_refused_by_place(parameters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_orbits(1, 1, parameters=parameters)


@pytest.mark.parametrize("parameters", [("2.5", "4.1"), (1j,), (True, False), (None,)])
def test_parameters_must_be_real_numbers(parameters: Any) -> None:
    with pytest.raises(TypeError, match=re.escape("does not hold real numbers")):
        make_orbits(1, 1, parameters=parameters)


@pytest.mark.parametrize("wrong", ["0", 1.5, True, np.random])
def test_random_state_of_another_kind_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="cannot seed a generator: expected None, an int"):
        make_orbits(1, 1, random_state=wrong)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("random_state=-1 is negative")):
        make_orbits(1, 1, random_state=-1)
