"""Rips diagrams, by hand and against the whole complex: two points 4 apart merge at 4."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import gudhi
import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from sklearn.exceptions import NotFittedError

from stablerank.diagrams import AlphaPersistence, DiagramBatch, RipsPersistence
from stablerank.diagrams.rips import check_dissimilarities
from stablerank.stability import BOTTLENECK, HAUSDORFF, ORDERED_DEATHS, SUP, StabilityError

Cloud = NDArray[np.float64]
Clouds = Callable[[int, int], dict[str, Cloud]]

RECTANGLE = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])


def rips(
    cloud: Any, dimensions: tuple[int, ...] = (0, 1), metric: Any = "euclidean"
) -> dict[int, Cloud]:
    diagrams = RipsPersistence(dimensions, metric=metric).fit_transform([cloud])
    return {k: diagrams.diagram(0, k) for k in dimensions}


def bottleneck(a: Cloud, b: Cloud) -> float:
    return float(gudhi.hera.bottleneck_distance(a, b, 0.0))


def random_dissimilarity(n: int, rng: np.random.Generator) -> Cloud:
    """No metric: the triangle inequality fails, entries tie, some are zero."""
    return squareform(rng.integers(0, 12, size=n * (n - 1) // 2) / rng.choice([1, 7]))


# Closed form.


@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_two_points_at_distance_4_merge_at_4(d: int) -> None:
    diagrams = rips(np.vstack([np.zeros(d), 4 * np.eye(d)[0]]))
    assert diagrams[0].tolist() == [[0, 4]]
    assert diagrams[1].tolist() == []
    assert rips([[0, 4], [4, 0]], metric="precomputed")[0].tolist() == [[0, 4]]


def test_a_rectangle_is_two_3_4_5_triangles() -> None:
    # The fourth side closes a cycle at 4, which the diagonals fill at 5.
    diagrams = rips(RECTANGLE)
    assert diagrams[0].tolist() == [[0, 4], [0, 3], [0, 3]]
    assert diagrams[1].tolist() == [[4, 5]]
    distances = squareform(pdist(RECTANGLE))
    precomputed = rips(distances, metric="precomputed")
    assert [precomputed[k].tolist() for k in (0, 1)] == [diagrams[k].tolist() for k in (0, 1)]


@pytest.mark.parametrize("n", [4, 5, 6, 9, 12, 30])
def test_a_regular_polygon(n: int) -> None:
    # The cycle of sides 2 sin(π/n) is filled by the first triangle that holds the centre: of its
    # three arcs, n sides in all, the largest has at least ceil(n/3).
    angles = 2 * np.pi * np.arange(n) / n
    diagrams = rips(np.column_stack([np.cos(angles), np.sin(angles)]))
    side, fill = 2 * np.sin(np.pi / n), 2 * np.sin(np.pi * -(-n // 3) / n)
    np.testing.assert_allclose(diagrams[0][:, 1], [side] * (n - 1), rtol=1e-14)
    long = diagrams[1][np.ptp(diagrams[1], axis=1) > 1e-12]
    np.testing.assert_allclose(long, [[side, fill]], rtol=1e-14)


def test_a_triangle_has_no_hole() -> None:
    # A flag complex fills three edges at once, alpha does not.
    for cloud in ([[-3, 0], [3, 0], [0, 9]], [[0, 0], [6, 0], [3, 1]]):
        assert rips(cloud)[1].tolist() == []


def test_an_octahedron_is_a_sphere() -> None:
    # ±e_i: neighbours √2 apart, opposite points 2; 12 - 6 + 1 = 7 cycles die with the triangles,
    # at their birth, and the sphere lives until the first diagonal fills it.
    cloud = np.vstack([np.eye(3), -np.eye(3)])
    diagrams = rips(cloud, (0, 1, 2))
    np.testing.assert_allclose(diagrams[0], [[0, 2**0.5]] * 5, rtol=1e-15)
    assert diagrams[1].tolist() == []
    np.testing.assert_allclose(diagrams[2], [[2**0.5, 2]], rtol=1e-15)


def test_a_cycle_that_no_metric_has() -> None:
    # Four sides 1 and diagonals 100 and 50: dead when the shorter diagonal comes.
    D = [[0, 1, 100, 1], [1, 0, 1, 50], [100, 1, 0, 1], [1, 50, 1, 0]]
    diagrams = rips(D, metric="precomputed")
    assert diagrams[0].tolist() == [[0, 1]] * 3
    assert diagrams[1].tolist() == [[1, 50]]


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 6)])
def test_a_grid(rows: int, columns: int) -> None:
    diagrams = rips(np.array(list(itertools.product(range(rows), range(columns)))))
    assert diagrams[0].tolist() == [[0, 1]] * (rows * columns - 1)
    squares = (rows - 1) * (columns - 1)
    np.testing.assert_allclose(diagrams[1], [[1, 2**0.5]] * squares, rtol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_one_point_however_often_has_no_bars(n: int) -> None:
    for bars in rips(np.full((n, 3), 1 / 3), (0, 1, 2)).values():
        assert bars.shape == (0, 2)
    for bars in rips(np.zeros((n, n)), metric="precomputed").values():
        assert bars.shape == (0, 2)


def test_repeated_points_count_once() -> None:
    repeated = rips(np.repeat(RECTANGLE, [1, 2, 5, 3], axis=0))
    assert repeated[0].tolist() == [[0, 4], [0, 3], [0, 3]]
    assert repeated[1].tolist() == [[4, 5]]


@pytest.mark.parametrize("direction", [[1], [3, 4], [1, 2, 2]])
def test_points_on_a_line(direction: list[int]) -> None:
    # Gaps 1, 4, 2.
    diagrams = rips(np.array([[7.0], [0.0], [1.0], [5.0]]) * direction)
    length = np.linalg.norm(direction)
    assert diagrams[0].tolist() == [[0, 4 * length], [0, 2 * length], [0, length]]
    assert diagrams[1].tolist() == []


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_high_dimensions_of_few_points_are_empty(n: int, seed: int) -> None:
    # H_k needs 2k + 2 points, the corners of a cross-polytope.
    diagrams = rips(np.random.default_rng(seed).normal(size=(n, 2)), (1, 2, 5))
    assert [len(diagrams[k]) for k in (2, 5)] == [0, 0]
    assert n >= 4 or len(diagrams[1]) == 0


# The law.


@pytest.mark.parametrize("exponent", [-996, -500, -61, 61, 500, 975])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_powers_of_two_scale_every_bit(
    exponent: int, d: int, make_clouds: Clouds, seed: int
) -> None:
    for cloud in make_clouds(seed, max(d, 2)).values():
        cloud = cloud[:, :d]
        plain, scaled = rips(cloud), rips(np.ldexp(cloud, exponent))
        for k in (0, 1):
            assert scaled[k].tolist() == np.ldexp(plain[k], exponent).tolist()


@pytest.mark.parametrize("exponent", [-1040, 0, 1000])
def test_dissimilarities_are_the_values_themselves(exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (2, 5, 15):
        D = np.ldexp(random_dissimilarity(n, rng).round(), exponent)
        values = {0.0, *D.ravel().tolist()}
        for bars in rips(D, metric="precomputed").values():
            assert set(bars.ravel().tolist()) <= values
    assert RipsPersistence(metric="precomputed").relative_rounding() == 0


@pytest.mark.parametrize("offset", [2.0**30, -(2.0**44)])
def test_a_tiny_cloud_far_away(offset: float, seed: int) -> None:
    cloud = np.random.default_rng(seed).integers(0, 256, size=(30, 2)) / 256
    near, far = rips(cloud), rips(cloud + offset)
    for k in (0, 1):
        assert near[k].tolist() == far[k].tolist()


@pytest.mark.parametrize("d", [2, 3])
def test_h0_is_twice_that_of_alpha(d: int, make_clouds: Clouds, seed: int) -> None:
    # Two balls of radius r meet when their centres are 2r apart.
    for cloud in make_clouds(seed, d).values():
        deaths = AlphaPersistence((0,)).fit_transform([cloud]).diagram(0, 0)[:, 1]
        np.testing.assert_allclose(rips(cloud)[0][:, 1], 2 * deaths, rtol=4e-15)


def worst_relative_error(d: int, seed: int) -> float:
    """Of the distance of two points against exact arithmetic: of any size, near and far away."""
    rng = np.random.default_rng([seed, d])
    worst = Fraction(0)
    for _ in range(200):
        scale, offset = 10.0 ** rng.integers(-9, 9), rng.choice([0, 1, 1e3])
        pair = scale * (rng.normal(size=(2, d)) + offset * rng.normal(size=d))
        value = float(rips(pair, (0,))[0][0, 1])
        square = sum(((Fraction(a) - Fraction(b)) ** 2 for a, b in pair.T.tolist()), Fraction(0))
        worst = max(worst, abs(Fraction(value) ** 2 / square - 1) / 2)
    return float(worst)


@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_rounding_is_as_small_as_stated(d: int, seed: int) -> None:
    stated = RipsPersistence().fit([np.eye(d)]).relative_rounding()
    worst = worst_relative_error(d, seed)
    assert worst * (1 + 1e-9) <= stated
    assert worst > 2.0**-54  # rounding there is, so the test sees it


# Slow references.


@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_the_whole_complex_has_the_same_diagrams(
    metric: str, make_clouds: Clouds, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if metric == "euclidean":
        inputs = [c[:14] for d in (2, 3, 4) for c in make_clouds(seed, d).values()]
    else:
        inputs = [random_dissimilarity(n, rng) for n in (2, 3, 4, 6, 9, 13)]
    for X in inputs:
        D = squareform(pdist(X)) if metric == "euclidean" else X
        tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(max_dimension=3)
        tree.compute_persistence(persistence_dim_max=False)
        diagrams = rips(X, (0, 1, 2), metric)
        for k in (0, 1, 2):
            expected = tree.persistence_intervals_in_dimension(k).reshape(-1, 2)
            expected = expected[np.isfinite(expected[:, 1])]
            assert sorted(diagrams[k].tolist()) == sorted(expected.tolist())


def minimax_deaths(D: Cloud) -> Cloud:
    """Kruskal: components merge along the edges in order of their length; longest first."""
    component = list(range(len(D)))
    deaths = []
    for i, j in sorted(itertools.combinations(range(len(D)), 2), key=lambda edge: D[edge]):
        if component[i] != component[j]:
            deaths.append(D[i, j])
            component = [component[i] if c == component[j] else c for c in component]
    return np.array(deaths[::-1])


def test_h0_is_a_minimum_spanning_tree(make_clouds: Clouds, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrices = [random_dissimilarity(n, rng) for n in (2, 3, 9, 20)]
    matrices += [squareform(pdist(cloud)) for cloud in make_clouds(seed, 2).values()]
    for D in matrices:
        deaths = minimax_deaths(D)
        got = rips(D, (0,), "precomputed")[0][:, 1]
        assert got.tolist() == deaths[deaths > 0].tolist()


# The contract that is Rips' own; the rest is in test_filtration.py.


def test_stability_knows_where_it_starts() -> None:
    clouds, matrices = RipsPersistence(), RipsPersistence(metric="precomputed")
    for model, space in ((clouds, HAUSDORFF), (matrices, SUP)):
        bounds = model.stability()
        assert bounds == model.stability(space)
        assert bounds.source == space
        targets = {name: branch.target for name, branch in bounds.branches.items()}
        assert targets == {"H0": ORDERED_DEATHS, "H1": BOTTLENECK}
    with pytest.raises(StabilityError, match=re.escape("from matrix[sup], not from points[hausd")):
        matrices.stability(HAUSDORFF)
    with pytest.raises(StabilityError, match=re.escape("points[frobenius], not from matrix")):
        clouds.stability(SUP)


def test_rounding_needs_the_dimension_of_the_space() -> None:
    with pytest.raises(NotFittedError, match="knows no dimension of the space yet: fit it"):
        RipsPersistence().relative_rounding()
    # A model that was fitted to dissimilarities used to claim that distances do not round.
    model = RipsPersistence(metric="precomputed").fit([np.zeros((2, 2))])
    with pytest.raises(NotFittedError):
        model.set_params(metric="euclidean").relative_rounding()


def test_dissimilarities_may_differ_in_size() -> None:
    D = squareform(pdist(RECTANGLE))
    model = RipsPersistence(metric="precomputed").fit([D])
    assert model.dimension_ is None
    assert model.transform([D[:2, :2], D, D[:3, :3]]).n_bars(0).tolist() == [1, 3, 2]


# Errors.

GOOD = squareform(pdist(RECTANGLE))


def changed(row: int, column: int, value: float) -> Cloud:
    D = GOOD.copy()
    D[row, column] = value
    return D


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([GOOD, changed(1, 2, 7)], ValueError, "X[1] is not symmetric: [1, 2] is 7.0, [2, 1] is 4"),
        ([GOOD, changed(3, 0, np.nextafter(4, 5))], ValueError, "[3, 0] is 4.000000000000001"),
        ([GOOD, changed(1, 2, -1)], ValueError, "X[1][1, 2] is -1.0: dissimilarities are not neg"),
        ([GOOD, changed(2, 2, 1)], ValueError, "X[1][2, 2] is 1.0: the diagonal must be zero"),
        ([GOOD, changed(1, 2, np.nan)], ValueError, "X[1][1, 2] is nan: dissimilarities are fini"),
        ([GOOD, changed(1, 2, np.inf)], ValueError, "X[1][1, 2] is inf: dissimilarities are fini"),
        ([GOOD, np.full((3, 3), np.nan)], ValueError, "X[1][0, 0] is nan: dissimilarities are"),
        ([GOOD, GOOD[:3]], ValueError, "X[1] has shape (3, 4): a dissimilarity matrix is square"),
        (
            [GOOD, GOOD[0]],
            ValueError,
            "X[1] has shape (4,): expected a square (n_points, n_points)",
        ),
        ([GOOD, []], ValueError, "X[1] is empty"),
        ([GOOD, [[0, 1], [1]]], ValueError, "X[1] has rows of different lengths"),
        ([GOOD, GOOD > 0], TypeError, "X[1] has dtype bool"),
        ([GOOD, None], TypeError, "X[1] is a NoneType"),
        (GOOD, ValueError, "X is one 2-D array of shape (4, 4): a single input, or a table? Wrap"),
        (
            [],
            ValueError,
            "X is empty: there is nothing in it. Expected a list of square",
        ),
        (
            None,
            TypeError,
            "X is a NoneType. Expected a list of square (n_points, n_points) arrays.",
        ),
        ("D", TypeError, "X is a str"),
        ({0: GOOD}, TypeError, "X is a dict"),
        (3, TypeError, "X is a int"),
    ],
)
def test_bad_dissimilarities_are_refused(X: Any, kind: type[Exception], message: str) -> None:
    # A single matrix used to be taken for a list of clouds, and None to be iterated.
    fitted = RipsPersistence(metric="precomputed").fit([GOOD])
    for door in (check_dissimilarities, fitted.fit, fitted.transform):
        with pytest.raises(kind, match=re.escape(message)):
            door(X)


def test_other_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("metric='cosine': expected \"euclidean\" or")):
        RipsPersistence(metric="cosine").fit([RECTANGLE])  # type: ignore[arg-type]


# Clipping.


@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_a_largest_edge_clips_bars_and_leaves_none_out(metric: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.normal(size=(n, 2)) for n in (1, 12, 30)]
    inputs: Any = clouds
    if metric == "precomputed":
        inputs = [
            squareform(pdist(cloud)) if len(cloud) > 1 else np.zeros((1, 1)) for cloud in clouds
        ]
    whole = RipsPersistence(metric=metric).fit_transform(inputs)
    for longest in (0.3, 0.8, 100.0):
        clipped = RipsPersistence(metric=metric, max_edge_length=longest).fit_transform(inputs)
        expected = DiagramBatch.from_diagrams(
            [{k: np.minimum(bars, longest) for k, bars in own.items()} for own in whole]
        )
        assert clipped == expected
    assert (expected.n_bars(1) == whole.n_bars(1)).all()


def test_clipped_bars_keep_the_constants_and_balls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(15, 2))
    rips = RipsPersistence(max_edge_length=0.7).fit([cloud])
    for size in (0.01, 0.1):
        step = rng.normal(size=cloud.shape)
        step *= size / np.linalg.norm(step, axis=1).max()
        before, after = rips.transform([cloud, cloud + step])
        ball = rips.bounds([cloud], size * (1 + 1e-12))
        assert gudhi.hera.bottleneck_distance(before[1], after[1], 0.0) <= ball.reach[1][0]
        assert gudhi.hera.bottleneck_distance(before[0], after[0], 0.0) <= ball.reach[0][0]


def test_deleted_points_leave_clipped_bars_in_their_balls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cloud = np.repeat(rng.normal(size=(12, 2)), 2, axis=0) + rng.normal(scale=0.01, size=(24, 2))
    for longest in (0.5, 1.0):
        rips = RipsPersistence(max_edge_length=longest).fit([cloud])
        ball = rips.bounds_points([cloud], 1, threat="deletion")
        for i in range(len(cloud)):
            left = rips.transform([np.delete(cloud, i, axis=0)])[0]
            distance = gudhi.hera.bottleneck_distance(ball.diagrams.diagram(0, 1), left[1], 0.0)
            assert distance <= ball.reach[1][0] + 1e-12


@pytest.mark.parametrize("longest", [0, -1.0, np.nan, np.inf, "long", True])
def test_a_bad_largest_edge_is_named(longest: Any) -> None:
    with pytest.raises(ValueError, match=r"max_edge_length=.*finite number above 0"):
        RipsPersistence(max_edge_length=longest).fit([[[0.0, 0.0]]])
