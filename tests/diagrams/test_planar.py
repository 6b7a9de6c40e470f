"""The planar alpha kernel against GUDHI's exact alpha complex, its predicates against Fractions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import gudhi
import gudhi.hera
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from stablerank.datasets import make_orbits
from stablerank.diagrams.planar import PlanarAlphaBatch, planar_alpha
from stablerank.diagrams.planar.batch import _kernel
from stablerank.diagrams.planar.compiling import digest_of_sources
from stablerank.diagrams.planar.predicates import (
    _in_circle_double_double,
    _in_circle_exact,
    _orientation_exact,
    in_circle,
    orientation,
)
from stablerank.diagrams.planar.sorting import sort_pairs

Cloud = NDArray[np.float64]
Bars = NDArray[np.float64]

EPS = float(np.finfo(float).eps)


def alpha(cloud: object) -> PlanarAlphaBatch:
    points = np.asarray(cloud, dtype=float).reshape(-1, 2)
    return planar_alpha(points, np.array([0, len(points)]))


def bars_of(answer: PlanarAlphaBatch, i: int = 0) -> tuple[Bars, Bars]:
    """Diagrams (birth, death) of H0 and H1 of cloud i."""
    h0 = answer.h0_deaths[answer.h0_offsets[i] : answer.h0_offsets[i + 1]]
    own = slice(answer.h1_offsets[i], answer.h1_offsets[i + 1])
    return (
        np.column_stack([np.zeros_like(h0), h0]),
        np.column_stack([answer.h1_births[own], answer.h1_deaths[own]]),
    )


def ulps(rng: np.random.Generator, cloud: Cloud) -> Cloud:
    """Move coordinates that are not zero by one unit in the last place, or not at all."""
    way = rng.integers(-1, 2, size=cloud.shape)
    moved = np.nextafter(cloud, np.where(way > 0, np.inf, -np.inf))
    return np.where((way != 0) & (cloud != 0), moved, cloud)


def polygon(n: int, radius: float = 1.0) -> Cloud:
    angles = 2 * np.pi * np.arange(n) / n
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def grid(n: int) -> Cloud:
    side = int(np.ceil(np.sqrt(n)))
    return np.argwhere(np.ones((side, side)))[:n].astype(float)


def orbit(rng: np.random.Generator, n: int, rate: float = 4.1) -> Cloud:
    cloud, (x, y) = np.empty((n, 2)), rng.random(2)
    for i in range(n):
        x = (x + rate * y * (1 - y)) % 1
        y = (y + rate * x * (1 - x)) % 1
        cloud[i] = x, y
    return cloud


def curve(rng: np.random.Generator, n: int, power: int) -> Cloud:
    x = rng.normal(size=n)
    return np.column_stack([x, x**power])


HEXAGONAL = np.array([[1.0, 0.5], [0.0, np.sqrt(0.75)]])
FAMILIES: dict[str, Callable[[np.random.Generator, int], Cloud]] = {
    "random": lambda rng, n: rng.random((n, 2)),
    "clusters": lambda rng, n: rng.integers(0, 3, (n, 2)) + 1e-6 * rng.normal(size=(n, 2)),
    "tight clusters": lambda rng, n: rng.integers(0, 3, (n, 2)) + 1e-12 * rng.normal(size=(n, 2)),
    "orbit": orbit,
    "grid": lambda rng, n: grid(n),
    "grid of thirds": lambda rng, n: grid(n) / 3,
    "grid of thirds to an ulp": lambda rng, n: ulps(rng, 1 + grid(n) / 3),
    "hexagonal": lambda rng, n: grid(n) @ HEXAGONAL.T,
    "hexagonal to an ulp": lambda rng, n: ulps(rng, grid(n) @ HEXAGONAL.T),
    "circle": lambda rng, n: polygon(n, 7.0),
    "circle to an ulp": lambda rng, n: ulps(rng, polygon(n)),
    "circles around a point": lambda rng, n: np.concatenate(
        [polygon(n), polygon(n, 0.5), np.zeros((1, 2))]
    ),
    "collinear": lambda rng, n: np.outer(rng.random(n), [3, -1]) + np.array([0, 2]),
    "collinear to an ulp": lambda rng, n: ulps(
        rng, np.outer(rng.random(n), [3, 1]) + np.array([1, 2])
    ),
    "duplicates": lambda rng, n: rng.permutation(np.repeat(rng.random((n, 2)), 3, axis=0)),
    "float32": lambda rng, n: rng.random((n, 2)).astype(np.float32).astype(float),
    "offset 1e8": lambda rng, n: 1e8 + rng.random((n, 2)),
    "last bits of one": lambda rng, n: 1 + EPS * rng.integers(0, 8, (n, 2)).astype(float),
    "scale 1e-100": lambda rng, n: 1e-100 * rng.random((n, 2)),
    "scale 1e100": lambda rng, n: 1e100 * rng.normal(size=(n, 2)),
    "parabola": lambda rng, n: curve(rng, n, 2),
    "mirrored": lambda rng, n: (lambda a: np.concatenate([a, -a, a[:, ::-1]]))(rng.random((n, 2))),
    "flat": lambda rng, n: rng.random((n, 2)) * [1, 1e-15],
    "many scales": lambda rng, n: rng.normal(size=(n, 2)) * 10.0 ** rng.integers(-15, 3, (n, 1)),
}


def gudhi_exact(cloud: Cloud) -> tuple[Bars, Bars]:
    tree = gudhi.AlphaComplex(points=cloud, precision="exact").create_simplex_tree(
        output_squared_values=False
    )
    tree.compute_persistence()
    h0 = np.reshape(tree.persistence_intervals_in_dimension(0), (-1, 2))
    return h0[np.isfinite(h0[:, 1])], np.reshape(
        tree.persistence_intervals_in_dimension(1), (-1, 2)
    )


def covered(bars: Bars, others: Bars, tolerance: float = 1e-12) -> bool:
    """Whether each bar of relative length above 1e-9 has its own partner among the others."""
    bars = bars[bars[:, 1] - bars[:, 0] > 1e-9 * bars[:, 1]]
    near = (np.abs(bars[:, None] - others) <= tolerance * bars[:, None]).all(axis=2)
    partners = maximum_bipartite_matching(csr_array(near), perm_type="column")
    return bool((partners >= 0).all())


def agree(ours: tuple[Bars, Bars], theirs: tuple[Bars, Bars]) -> bool:
    return all(covered(a, b) and covered(b, a) for a, b in zip(ours, theirs, strict=True))


# Closed forms


def test_a_rectangle_is_two_right_triangles() -> None:
    # Sides 3 and 4, diagonal 5, halved. The two triangles on the diagonal have their circumcentre
    # on it, so which of them ends the bar is a tie; both contain a diagonal of the rectangle.
    answer = alpha([[0, 0], [3, 0], [3, 4], [0, 4]])
    assert answer.h0_deaths.tolist() == [1.5, 1.5, 2.0]
    assert answer.h1_births.tolist() == [2.0]
    assert answer.h1_deaths.tolist() == [2.5]
    assert set(map(tuple, answer.h0_edges[:2].tolist())) == {(0, 1), (2, 3)}
    assert answer.h1_edges.tolist()[0] in ([0, 3], [1, 2])
    assert len(set(answer.h1_triangles[0].tolist())) == 3


@pytest.mark.parametrize("n", [3, 4, 5, 6, 17, 100])
def test_a_regular_polygon_has_one_hole(n: int) -> None:
    # Half a side is sin(pi / n); all n points are on the circle of radius 1, whatever triangulates.
    h0, h1 = bars_of(alpha(polygon(n)))
    assert h0[:, 1] == pytest.approx(np.full(n - 1, np.sin(np.pi / n)), rel=1e-13)
    assert h1 == pytest.approx(np.array([[np.sin(np.pi / n), 1.0]]), rel=1e-13)


def test_an_acute_triangle_dies_at_its_circumradius_an_obtuse_one_gives_no_bar() -> None:
    acute = alpha([[0, 0], [4, 0], [2, 3]])  # sides 4, sqrt 13, sqrt 13: R = 4 * 13 / (4 * 6)
    assert acute.h1_births[0] == 2.0
    assert acute.h1_deaths[0] == pytest.approx(52 / 24, rel=1e-15)
    assert acute.h1_triangles.tolist() == [[0, 1, 2]]
    assert not alpha([[0, 0], [4, 0], [2, 1]]).h1_births.size


def test_points_of_a_line_and_points_that_coincide() -> None:
    answer = alpha([[6, 6], [0, 0], [3, 3], [0, 0], [1, 1]])  # gaps of 1, 2, 3 times sqrt 2
    assert answer.h0_deaths == pytest.approx(np.sqrt(2) / 2 * np.array([1, 2, 3]), rel=1e-15)
    assert answer.h0_edges.tolist() == [[1, 4], [2, 4], [0, 2]]  # the first of equal points
    for cloud in ([[1, 2]], [[1, 2]] * 7, [[0.0, -0.0], [-0.0, 0.0]]):
        answer = alpha(cloud)
        assert not answer.h0_deaths.size
        assert not answer.h1_deaths.size
        assert not answer.gave_up.any()
    assert alpha([[0, 0], [0, 3]]).h0_deaths.tolist() == [1.5]


# Laws


def excess(broken: Callable[[Bars], Bars], seed: int) -> float:
    """How much further than epsilon diagrams moved when each point moved by at most epsilon.

    Relative to the rounding of both diagrams, a few eps of the largest value (facts D1 and D3).
    """
    rng, worst = np.random.default_rng(seed), -np.inf
    for _ in range(10):
        cloud = rng.random((25, 2))
        epsilon = 10.0 ** rng.uniform(-6, -1)
        steps = rng.normal(size=cloud.shape)
        moved = cloud + epsilon * steps / np.linalg.norm(steps, axis=1).max()
        (h0, h1), (moved_h0, moved_h1) = bars_of(alpha(cloud)), bars_of(alpha(moved))
        h0, h1 = broken(h0), broken(h1)
        distances = [
            gudhi.hera.bottleneck_distance(h1, moved_h1, 0.0),
            np.abs(h0[:, 1] - moved_h0[:, 1]).max() if len(h0) == len(moved_h0) else np.inf,
        ]
        worst = max(worst, max(distances) - epsilon - 16 * EPS * np.sqrt(2))
    return float(worst)


def test_bars_move_no_further_than_the_points(seed: int) -> None:
    assert excess(lambda bars: bars, seed) <= 0


BROKEN: dict[str, Callable[[Bars], Bars]] = {
    "squared": lambda bars: bars**2,
    "lengths in place of radii": lambda bars: 2 * bars,
    "one bar lost": lambda bars: np.delete(bars, np.argmax(bars[:, 1] - bars[:, 0]), axis=0),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_above_can_fail(broken: Callable[[Bars], Bars], seed: int) -> None:
    assert excess(broken, seed) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bar_is_the_value_of_its_generators(family: str, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    cloud = FAMILIES[family](rng, 30)
    answer = alpha(cloud)
    assert not answer.gave_up[0]
    unit = 2.0 ** -np.frexp(np.abs(cloud).max())[1]  # squares of 1e-100 would be lost
    cloud = cloud * unit

    def half(edges: NDArray[np.int64]) -> NDArray[np.float64]:
        return 0.5 * np.linalg.norm(cloud[edges[:, 0]] - cloud[edges[:, 1]], axis=1)

    # R = (product of sides) / (4 area), the area from the corner that faces the longest side.
    corners = cloud[answer.h1_triangles]
    sides = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)
    lengths = np.linalg.norm(sides, axis=2)
    row, longest = np.arange(len(sides)), lengths.argmax(axis=1)
    left, right = sides[row, (longest + 1) % 3], sides[row, (longest + 2) % 3]
    area = 0.5 * np.abs(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])
    # Side lengths are good to 3 eps, the area to 4, their quotient to 16.
    assert answer.h0_deaths * unit == pytest.approx(half(answer.h0_edges), rel=16 * EPS, abs=0)
    assert answer.h1_births * unit == pytest.approx(half(answer.h1_edges), rel=16 * EPS, abs=0)
    assert answer.h1_deaths * unit == pytest.approx(
        lengths.prod(axis=1) / (4 * area), rel=16 * EPS, abs=0
    )
    assert (answer.h1_births < answer.h1_deaths).all()
    assert (np.diff(answer.h0_deaths) >= 0).all()
    assert (np.diff(answer.h1_births) <= 0).all()
    for rows in (answer.h0_edges, answer.h1_edges, answer.h1_triangles):
        assert (np.diff(rows, axis=1) > 0).all()


@pytest.mark.parametrize("exponent", [-900, -400, -3, 5, 700])
def test_a_power_of_two_scales_every_bit(exponent: int, seed: int) -> None:
    cloud = 1.5 - np.random.default_rng(seed).random((40, 2))
    plain, scaled = alpha(cloud), alpha(np.ldexp(cloud, exponent))
    assert np.array_equal(np.ldexp(plain.h0_deaths, exponent), scaled.h0_deaths)
    assert np.array_equal(np.ldexp(plain.h1_deaths, exponent), scaled.h1_deaths)
    assert np.array_equal(plain.h1_triangles, scaled.h1_triangles)


# Slow references


@pytest.mark.parametrize("n", [3, 8, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_bars_are_those_of_gudhi(family: str, n: int, seed: int) -> None:
    rng = np.random.default_rng([seed, n])
    cloud = rng.permutation(FAMILIES[family](rng, n))
    answer = alpha(cloud)
    assert not answer.gave_up[0]
    assert agree(bars_of(answer), gudhi_exact(cloud))


def test_the_comparison_with_gudhi_can_fail(seed: int) -> None:
    cloud = np.random.default_rng(seed).random((30, 2))
    h0, h1 = bars_of(alpha(cloud))
    truth = gudhi_exact(cloud)
    assert agree((h0, h1), truth)
    assert not agree((h0, h1 * (1 + 1e-11)), truth)
    assert not agree((h0[1:], h1), truth)
    assert not agree((h0, h1[1:]), truth)
    assert not agree((h0, np.concatenate([h1, [[1.0, 1.0 + 1e-8]]])), truth)


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25)


@given(points, st.sampled_from([1.0, 1 / 3, 0.1]))
def test_small_grids_with_all_their_ties(cloud: list[tuple[int, int]], step: float) -> None:
    coordinates = step * np.array(cloud, dtype=float)
    assert agree(bars_of(alpha(coordinates)), gudhi_exact(coordinates))


# Either zero or not tiny: GUDHI squares radii, and 1e-170 squared is not a float any more.
number = st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-60)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=12))
def test_any_floats(cloud: list[tuple[float, float]]) -> None:
    coordinates = np.array(cloud)
    answer = alpha(coordinates)
    assert answer.gave_up[0] or agree(bars_of(answer), gudhi_exact(coordinates))


@pytest.mark.parametrize("n", [300, 1000])
def test_h0_is_the_minimum_spanning_tree(n: int, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(n, 2))
    tree = minimum_spanning_tree(squareform(pdist(cloud)))
    assert alpha(cloud).h0_deaths == pytest.approx(np.sort(tree.data) / 2, rel=1e-14)


def turn(*numbers: float) -> int:
    ax, ay, bx, by, cx, cy = map(Fraction, numbers)
    det = (ax - cx) * (by - cy) - (ay - cy) * (bx - cx)
    return (det > 0) - (det < 0)


def inside(*numbers: float) -> int:
    ax, ay, bx, by, cx, cy, dx, dy = map(Fraction, numbers)
    rows = [(x - dx, y - dy) for x, y in ((ax, ay), (bx, by), (cx, cy))]
    det = Fraction(0)
    for k in range(3):
        (x, y), (ux, uy), (vx, vy) = rows[k], rows[k - 2], rows[k - 1]
        det += (x * x + y * y) * (ux * vy - uy * vx)
    return (det > 0) - (det < 0)


def near_line(rng: np.random.Generator) -> list[float]:
    start, direction = rng.random(2) * 10.0 ** rng.integers(-9, 9), rng.normal(size=2)
    on_line = start + np.outer(rng.choice([1.0, 0.1, 3.0], 3) * rng.normal(size=3), direction)
    return ulps(rng, on_line).ravel().tolist()


def near_circle(rng: np.random.Generator) -> list[float]:
    # Twelve whole points lie on the circle of radius 5 around the origin.
    whole = [(x, y) for x in range(-5, 6) for y in range(-5, 6) if x * x + y * y == 25]
    chosen = np.array(whole, dtype=float)[rng.choice(len(whole), 4, replace=False)]
    centre = rng.choice([0.0, 1.0, 1e3]) * rng.integers(-5, 6, 2)
    cloud = (chosen + centre) * rng.choice([1.0, 1 / 3, 1e-7, 2.0**60, 2.0**-40])
    return (ulps(rng, cloud) if rng.random() < 0.6 else cloud).ravel().tolist()


def test_orientation_is_exact(seed: int) -> None:
    rng, naive_errors = np.random.default_rng(seed), 0
    for _ in range(1000):
        numbers = near_line(rng)
        truth = turn(*numbers)
        assert orientation(*numbers) == truth
        assert _orientation_exact(*numbers) == truth
        ax, ay, bx, by, cx, cy = numbers
        naive_errors += np.sign((ax - cx) * (by - cy) - (ay - cy) * (bx - cx)) != truth
    assert naive_errors > 100  # these inputs do tell an exact predicate from a plain one


def test_in_circle_is_exact(seed: int) -> None:
    rng, truths = np.random.default_rng(seed), []
    for _ in range(1000):
        numbers = near_circle(rng)
        truth = inside(*numbers)
        assert in_circle(*numbers) == truth
        assert _in_circle_exact(*numbers) == truth
        truths.append(truth)
    assert min(truths.count(-1), truths.count(0), truths.count(1)) > 100


def test_double_double_errs_by_less_than_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(300):
        numbers = near_circle(rng) if rng.random() < 0.5 else rng.normal(size=8).tolist()
        ax, ay, bx, by, cx, cy, dx, dy = map(Fraction, numbers)
        rows = [(x - dx, y - dy) for x, y in ((ax, ay), (bx, by), (cx, cy))]
        det, permanent = Fraction(0), Fraction(0)
        for k in range(3):
            (x, y), (ux, uy), (vx, vy) = rows[k], rows[k - 2], rows[k - 1]
            det += (x * x + y * y) * (ux * vy - uy * vx)
            permanent += (x * x + y * y) * (abs(ux * vy) + abs(uy * vx))
        # The high half alone is read: half an ulp of the result, and 64 u^2 of the permanent.
        allowed = abs(det) * Fraction(EPS) / 2 + permanent * 64 * Fraction(2) ** -106
        assert abs(Fraction(_in_circle_double_double(*numbers)) - det) <= allowed


@pytest.mark.parametrize("geometric", [False, True])
@pytest.mark.parametrize(
    "kind", ["spread", "ties", "equal", "one far away", "clusters", "orders of magnitude"]
)
@pytest.mark.parametrize("n", [0, 1, 2, 24, 25, 1000])
def test_sorting_is_that_of_numpy(kind: str, n: int, geometric: bool) -> None:
    rng = np.random.default_rng(n)
    keys = {
        "spread": rng.random(n) + 1e-9,
        "ties": rng.integers(1, 5, n).astype(float),
        "equal": np.ones(n),
        "one far away": np.append(np.ones(n), 1e300)[1:] * rng.random(n) + 1e-300,
        "clusters": rng.integers(1, 3, n) + 1e-9 * rng.random(n),  # the merge sort's turn
        "orders of magnitude": 10.0 ** rng.uniform(-300, 300, n),
    }[kind]
    order = np.argsort(keys, kind="stable")
    room = [np.empty(n, dtype=np.uint32) for _ in range(3)]
    result, tags = np.empty(n), np.arange(n, dtype=np.uint32)
    counts = np.empty(2 * n, dtype=np.uint32)
    sort_pairs(keys.copy(), tags, n, result, room[0], room[1], counts, geometric)
    assert np.array_equal(result, keys[order])
    assert np.array_equal(room[0], order)


# The contract


def many_clouds(seed: int) -> list[Cloud]:
    rng = np.random.default_rng(seed)
    made = [family(rng, int(rng.integers(3, 60))) for family in FAMILIES.values()]
    return [np.empty((0, 2)), *made, np.ones((1, 2)), np.empty((0, 2))]


def flatten(clouds: list[Cloud]) -> tuple[Cloud, NDArray[np.int64]]:
    return np.concatenate(clouds), np.cumsum([0, *map(len, clouds)])


def same_bits(one: PlanarAlphaBatch, other: PlanarAlphaBatch) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(PlanarAlphaBatch)
    )


def test_the_same_bits_alone_in_a_batch_and_in_threads(seed: int) -> None:
    clouds = many_clouds(seed)
    points, offsets = flatten(clouds)
    before = points.copy(), offsets.copy()
    batch = planar_alpha(points, offsets)
    assert np.array_equal(points, before[0])
    assert np.array_equal(offsets, before[1])
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(alpha, clouds))
        again = list(pool.map(lambda _: planar_alpha(points, offsets), range(8)))
    assert all(same_bits(batch, answer) for answer in again)
    for i, answer in enumerate(alone):
        assert bars_of(answer)[0].tobytes() == bars_of(batch, i)[0].tobytes()
        assert bars_of(answer)[1].tobytes() == bars_of(batch, i)[1].tobytes()
        h0 = slice(batch.h0_offsets[i], batch.h0_offsets[i + 1])
        h1 = slice(batch.h1_offsets[i], batch.h1_offsets[i + 1])
        assert np.array_equal(answer.h0_edges, batch.h0_edges[h0])
        assert np.array_equal(answer.h1_edges, batch.h1_edges[h1])
        assert np.array_equal(answer.h1_triangles, batch.h1_triangles[h1])


def test_dtypes_shapes_and_no_clouds_at_all() -> None:
    for answer in (planar_alpha(np.empty((0, 2)), np.array([0])), alpha(polygon(5))):
        for field in dataclasses.fields(PlanarAlphaBatch):
            values = getattr(answer, field.name)
            assert values.flags.c_contiguous
            assert values.dtype == (
                np.bool_
                if field.name == "gave_up"
                else np.float64
                if field.name in ("h0_deaths", "h1_births", "h1_deaths")
                else np.int64
            )
        assert answer.h0_edges.shape == (len(answer.h0_deaths), 2)
        assert answer.h1_edges.shape == (len(answer.h1_births), 2)
        assert answer.h1_triangles.shape == (len(answer.h1_deaths), 3)


def test_float32_points_are_taken_for_the_numbers_they_are() -> None:
    cloud = polygon(9).astype(np.float32)
    offsets = np.array([0, 9])
    assert same_bits(
        planar_alpha(cloud, offsets),  # type: ignore[arg-type]
        planar_alpha(cloud.astype(float), offsets),
    )


def test_it_gives_up_on_a_slow_sweep_and_on_too_many_orders_of_magnitude() -> None:
    rng = np.random.default_rng(0)
    steep = curve(rng, 4000, 3)  # quadratic along both axes
    spread = np.array([[0, 0], [1, 0], [1e-200, 1.0]])
    overflowing = 1e308 * np.array([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])  # lengths above 1.8e308
    answer = planar_alpha(*flatten([polygon(4), steep, polygon(6), spread, overflowing]))
    assert answer.gave_up.tolist() == [False, True, False, True, True]
    assert np.diff(answer.h0_offsets).tolist() == [3, 0, 5, 0, 0]
    assert np.diff(answer.h1_offsets).tolist() == [1, 0, 1, 0, 0]


def test_orbits_are_not_given_up() -> None:
    # Eight of these, of long thin triangles, ran out of a budget of 60 tests a point, and GUDHI
    # took as long for them as the kernel for hundreds.
    clouds, _ = make_orbits(200, 1000, random_state=0)
    chosen = [clouds[i] for i in (30, 620, 724, 740, 760, 852, 866, 868)]
    answer = planar_alpha(*flatten(chosen))
    assert not answer.gave_up.any()
    assert np.diff(answer.h0_offsets).tolist() == [999] * 8


def test_a_parabola_is_swept_along_its_other_axis() -> None:
    x = np.arange(-1500.0, 1500.0)
    answer = alpha(np.column_stack([x, x**2]))
    assert not answer.gave_up[0]
    # Neighbours on the curve are the nearest points of each other: gaps of (1, 2|x| + 1) at x, x+1.
    gaps = np.hypot(1, 2 * np.minimum(np.abs(x[:-1]), np.abs(x[1:])) + 1)
    assert answer.h0_deaths == pytest.approx(np.sort(gaps) / 2, rel=1e-14)


def test_subnormal_distances_end_in_finite_bars_or_none() -> None:
    cloud = 5e-324 * np.random.default_rng(0).integers(-9, 10, (60, 2))
    answer = alpha(cloud)
    assert not answer.gave_up[0]
    assert (answer.h0_deaths > 0).all()
    assert (answer.h1_deaths > answer.h1_births).all()


def test_the_cache_knows_of_every_source_file() -> None:
    cells = [cell.cell_contents for cell in _kernel.py_func.__closure__]
    assert digest_of_sources() in cells


# Errors and regressions


def test_points_that_are_not_finite_are_refused() -> None:
    cloud = np.zeros((5, 2))
    cloud[3, 1], cloud[4, 0] = np.nan, np.inf
    message = "2 of 5 points have NaN or infinite coordinates (first: point 1 of cloud 1)"
    with pytest.raises(ValueError, match=re.escape(message)):
        planar_alpha(cloud, np.array([0, 2, 5]))


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 2, 2)])
def test_points_of_another_dimension_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"points has shape {shape}: expected")):
        planar_alpha(np.zeros(shape), np.array([0, 4]))


@pytest.mark.parametrize(
    "offsets", [[0, 3], [1, 4], [0, 5], [0, 3, 2, 4], [0, 4, 4, 2, 4], [-1, 4]]
)
def test_offsets_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match=re.escape("expected from 0 to 4, the number of points.")):
        planar_alpha(np.zeros((4, 2)), np.array(offsets))


@pytest.mark.parametrize("offsets", [[], [[0, 4]], [0.0, 4.0]])
def test_offsets_of_another_kind_are_refused(offsets: list[object]) -> None:
    with pytest.raises(ValueError, match=re.escape("expected one dimension of whole numbers")):
        planar_alpha(np.zeros((4, 2)), np.array(offsets))


def test_the_obtuse_angle_of_a_needle_is_not_missed() -> None:
    # The long sides round to the same length, but the angle at the second point is 120 degrees.
    # Taking either for the longest side made the triangle acute, with a bar of (0.5, 0.577).
    h = 2.0**-56
    needle = np.array([[0.0, 0.0], [h, -np.sqrt(3) * h], [0.0, 1.0]])
    assert not alpha(needle).h1_births.size
    assert not alpha(needle[:, ::-1]).h1_births.size
    assert not alpha(-needle).h1_births.size
