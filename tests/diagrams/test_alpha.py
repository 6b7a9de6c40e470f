"""Alpha diagrams, by hand and against the nerve of balls: two points 4 apart merge at 2."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.diagrams import AlphaPersistence, DiagramBatch
from stablerank.stability import StabilityError

Cloud = NDArray[np.float64]
Engine = Literal["planar", "gudhi"]
Clouds = Callable[[int, int], dict[str, Cloud]]

RECTANGLE = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
CUBE = np.array(list(itertools.product([0.0, 1.0], repeat=3)))


@pytest.fixture(params=["planar", "gudhi"])
def engine(request: pytest.FixtureRequest) -> Engine:
    value: Engine = request.param
    return value


def alpha(cloud: Any, engine: Engine | Literal["auto"] = "auto") -> dict[int, Cloud]:
    """The diagrams of one cloud, in all dimensions below that of its space."""
    dimensions = tuple(range(np.shape(cloud)[1]))
    diagrams = AlphaPersistence(dimensions, engine=engine).fit_transform([cloud])
    return {k: diagrams.diagram(0, k) for k in dimensions}


def in_space(cloud: Cloud) -> Cloud:
    """A planar cloud on a plane in space, of normal (1, 2, 2), without rounding."""
    # The columns (2, -2, 1)/3 and (2, 1, -2)/3 are orthonormal; 3 times them are integers.
    return cloud @ np.array([[2.0, -2.0, 1.0], [2.0, 1.0, -2.0]])


def bottleneck(a: Cloud, b: Cloud) -> float:
    return float(gudhi.hera.bottleneck_distance(a, b, 0.0))


# Closed form.


def test_two_points_at_distance_4_merge_at_2(engine: Engine) -> None:
    diagrams = alpha([[1.0, 2.0], [1.0, 6.0]], engine)
    assert diagrams[0].tolist() == [[0, 2]]
    assert diagrams[1].tolist() == []
    assert alpha([[0, 0, 1], [0, 0, 5]])[0].tolist() == [[0, 2]]


def test_a_rectangle_is_two_3_4_5_triangles(engine: Engine) -> None:
    # Sides enter at 3/2 and 4/2. The fourth closes a cycle at 2, which the two right triangles
    # fill at half of their hypotenuse.
    diagrams = alpha(RECTANGLE, engine)
    assert diagrams[0].tolist() == [[0, 2], [0, 1.5], [0, 1.5]]
    assert diagrams[1].tolist() == [[2, 2.5]]


def test_a_flat_rectangle_in_space() -> None:
    diagrams = alpha(in_space(RECTANGLE))  # three times as large
    assert diagrams[0].tolist() == [[0, 6], [0, 4.5], [0, 4.5]]
    assert diagrams[1].tolist() == [[6, 7.5]]
    assert diagrams[2].tolist() == []


def test_an_acute_triangle(engine: Engine) -> None:
    # Sides 6, √90, √90, area 27: circumradius 6·90/(4·27) = 5. Edges enter at half their length.
    diagrams = alpha([[-3, 0], [3, 0], [0, 9]], engine)
    np.testing.assert_allclose(diagrams[0], [[0, 90**0.5 / 2], [0, 3]], rtol=1e-15)
    np.testing.assert_allclose(diagrams[1], [[90**0.5 / 2, 5]], rtol=1e-15)


def test_right_and_obtuse_triangles_have_no_hole(engine: Engine) -> None:
    # The longest edge enters together with the triangle, whose smallest ball it spans.
    assert alpha([[0, 0], [3, 0], [0, 4]], engine)[1].tolist() == []
    obtuse = alpha([[0, 0], [6, 0], [3, 1]], engine)
    assert obtuse[1].tolist() == []
    np.testing.assert_allclose(obtuse[0], [[0, 10**0.5 / 2]] * 2, rtol=1e-15)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 12, 100])
@pytest.mark.parametrize("radius", [1.0, 1e-3, 1e5])
def test_a_regular_polygon(n: int, radius: float, engine: Engine) -> None:
    # Neighbours are 2 R sin(π/n) apart; every triangle has the circumradius R.
    angles = 2 * np.pi * np.arange(n) / n
    diagrams = alpha(radius * np.column_stack([np.cos(angles), np.sin(angles)]), engine)
    half_side = radius * np.sin(np.pi / n)
    assert len(diagrams[0]) == n - 1
    # cos and sin round to 1e-16 R, and a circumradius magnifies that by R / half_side at most.
    tolerance = 1e-15 * radius * n
    np.testing.assert_allclose(diagrams[0][:, 1], half_side, atol=tolerance)
    long = diagrams[1][np.ptp(diagrams[1], axis=1) > 10 * tolerance]
    np.testing.assert_allclose(long, [[half_side, radius]], atol=tolerance)


def test_a_cube() -> None:
    # 12 edges of length 1 join 8 corners and leave 12 - 8 + 1 = 5 cycles, which the six squares
    # fill at half their diagonal; the void they enclose is filled at half the diagonal of space.
    diagrams = alpha(CUBE)
    assert diagrams[0].tolist() == [[0, 0.5]] * 7
    np.testing.assert_allclose(diagrams[1], [[0.5, 2**0.5 / 2]] * 5, rtol=1e-15)
    np.testing.assert_allclose(diagrams[2], [[2**0.5 / 2, 3**0.5 / 2]], rtol=1e-15)


def test_a_regular_tetrahedron() -> None:
    # Four corners of a cube of side 2: edges a = √8, faces of circumradius a/√3, circumradius of
    # the whole a √6/4 = √3; 6 - 4 + 1 = 3 cycles.
    diagrams = alpha([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    a = 8**0.5
    np.testing.assert_allclose(diagrams[0], [[0, a / 2]] * 3, rtol=1e-15)
    np.testing.assert_allclose(diagrams[1], [[a / 2, a / 3**0.5]] * 3, rtol=1e-15)
    np.testing.assert_allclose(diagrams[2], [[a / 3**0.5, 3**0.5]], rtol=1e-15)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (5, 7), (20, 20)])
def test_a_grid(rows: int, columns: int, engine: Engine) -> None:
    # Every square is a hole from 1/2 to half its diagonal.
    grid = np.array(list(itertools.product(range(rows), range(columns))))
    diagrams = alpha(grid, engine)
    assert diagrams[0].tolist() == [[0, 0.5]] * (rows * columns - 1)
    assert len(diagrams[1]) == (rows - 1) * (columns - 1)
    np.testing.assert_allclose(diagrams[1], [[0.5, 0.5**0.5]] * len(diagrams[1]), rtol=1e-15)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_one_point_however_often_has_no_bars(n: int, d: int) -> None:
    for coordinates in (np.zeros(d), np.full(d, 1 / 3), np.full(d, -1e300)):
        for bars in alpha(np.tile(coordinates, (n, 1))).values():
            assert bars.shape == (0, 2)


def test_repeated_points_count_once(engine: Engine) -> None:
    expected = alpha(RECTANGLE, engine)
    repeated = alpha(np.repeat(RECTANGLE, [1, 2, 5, 3], axis=0), engine)
    for k in (0, 1):
        assert repeated[k].tolist() == expected[k].tolist()


def test_points_on_a_line(engine: Engine) -> None:
    # The gaps 1, 4, 2, halved.
    line = np.array([[7.0], [0.0], [1.0], [5.0]])
    for direction in ([1, 0], [0, -1], [1, 1], [3, 4]):
        diagrams = alpha(line * direction, engine)
        expected = np.array([2, 1, 0.5]) * np.linalg.norm(direction)
        np.testing.assert_allclose(diagrams[0][:, 1], expected, rtol=1e-15)
        assert diagrams[1].tolist() == []
    in_three = alpha(line * [1, 2, 2])  # of length 3
    assert in_three[0].tolist() == [[0, 6], [0, 3], [0, 1.5]]
    assert [len(in_three[k]) for k in (1, 2)] == [0, 0]


def test_integers_are_numbers(engine: Engine) -> None:
    for dtype in (np.int8, np.uint16, np.int64, np.float32):
        diagrams = alpha(RECTANGLE.astype(dtype), engine)
        assert diagrams[1].tolist() == [[2, 2.5]]


# The law: similar clouds have similar diagrams, and exactly so where arithmetic is exact.


@pytest.mark.parametrize("exponent", [-996, -500, -61, 61, 500, 975])
def test_powers_of_two_scale_every_bit(
    exponent: int, engine: Engine, make_clouds: Clouds, seed: int
) -> None:
    # 2^-996 is 10^-300, and 2^975 brings the far cloud to 10^300: unscaled squares would be zero
    # or infinite.
    for cloud in make_clouds(seed, 2).values():
        plain, scaled = alpha(cloud, engine), alpha(np.ldexp(cloud, exponent), engine)
        for k in (0, 1):
            assert scaled[k].tolist() == np.ldexp(plain[k], exponent).tolist()


@pytest.mark.parametrize("exponent", [-996, 975])
def test_powers_of_two_scale_every_bit_in_space(
    exponent: int, make_clouds: Clouds, seed: int
) -> None:
    for cloud in make_clouds(seed, 3).values():
        plain, scaled = alpha(cloud), alpha(np.ldexp(cloud, exponent))
        for k in (0, 1, 2):
            assert scaled[k].tolist() == np.ldexp(plain[k], exponent).tolist()


def test_subnormal_coordinates(engine: Engine) -> None:
    diagrams = alpha(np.ldexp(RECTANGLE, -1072), engine)
    unit = 2.0**-1072
    assert diagrams[0].tolist() == [[0, 2 * unit], [0, 1.5 * unit], [0, 1.5 * unit]]
    assert diagrams[1].tolist() == [[2 * unit, 2.5 * unit]]


@pytest.mark.parametrize("offset", [2.0**30, -(2.0**44)])
def test_a_tiny_cloud_far_away(offset: float, engine: Engine, seed: int) -> None:
    # Multiples of 2^-8, which stay exact at either offset: the differences are the same numbers.
    cloud = np.random.default_rng(seed).integers(0, 256, size=(40, 2)) / 256
    near, far = alpha(cloud, engine), alpha(cloud + offset, engine)
    for k in (0, 1):
        assert len(near[k]) == len(far[k])
        np.testing.assert_allclose(far[k], near[k], rtol=1e-15)


def test_rigid_motions_and_orders_change_nothing(
    engine: Engine, make_clouds: Clouds, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    for cloud in make_clouds(seed, 2).values():
        moved = alpha(rng.permutation(cloud) @ quarter_turn, engine)
        for k, bars in alpha(cloud, engine).items():
            assert bottleneck(moved[k], bars) <= 1e-14 * np.abs(cloud).max()


def test_both_engines_agree(make_clouds: Clouds, seed: int) -> None:
    rounding = AlphaPersistence().fit([RECTANGLE]).relative_rounding()
    for cloud in make_clouds(seed, 2).values():
        ours, theirs = alpha(cloud, "planar"), alpha(cloud, "gudhi")
        for k in (0, 1):
            allowed = 2 * rounding * max(ours[k].max(initial=0), theirs[k].max(initial=0))
            assert bottleneck(ours[k], theirs[k]) <= allowed


def squared_circumradius(triangle: Cloud) -> Fraction:
    """a²b²c² / (4 |u × v|²), in exact arithmetic."""
    points = [[Fraction(x) for x in point] for point in triangle.tolist()]
    a2, b2, c2 = (squared_length(p, q) for p, q in itertools.combinations(points, 2))
    # |u × v|² = |u|²|v|² - (u·v)², and 2 u·v = |u|² + |v|² - |u - v|².
    cross2 = a2 * b2 - (a2 + b2 - c2) ** 2 / 4
    return a2 * b2 * c2 / (4 * cross2)


def squared_length(p: Any, q: Any) -> Fraction:
    return sum(((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(p, q, strict=True)), Fraction(0))


def worst_relative_error(engine: Any, d: int, seed: int) -> float:
    """On triangles, whose values are known exactly: of any size, near and far away."""
    rng = np.random.default_rng([seed, d])
    worst = Fraction(0)
    for _ in range(200):
        scale, offset = 10.0 ** rng.integers(-9, 9), rng.choice([0, 1, 1e3])
        triangle = scale * (rng.normal(size=(3, d)) + offset * rng.normal(size=d))
        diagrams = alpha(triangle, engine)
        points = triangle.tolist()
        edges = sorted(squared_length(p, q) / 4 for p, q in itertools.combinations(points, 2))
        pairs = list(zip(diagrams[0][:, 1].tolist(), [edges[1], edges[0]], strict=True))
        if edges[2] < edges[0] + edges[1]:  # acute
            squares = [edges[2], squared_circumradius(triangle)]
            pairs += zip(diagrams[1].ravel().tolist(), squares, strict=True)
        else:
            assert len(diagrams[1]) == 0
        # |value / root - 1| <= |value² / square - 1|, twice as large for small errors
        worst = max(worst, *(abs(Fraction(value) ** 2 / square - 1) / 2 for value, square in pairs))
    return float(worst)


@pytest.mark.parametrize(("engine", "d"), [("planar", 2), ("gudhi", 2), ("gudhi", 3)])
def test_rounding_is_as_small_as_stated(engine: Engine, d: int, seed: int) -> None:
    stated = AlphaPersistence(engine=engine).fit([np.eye(d)]).relative_rounding()
    # Rounding there is, so the test sees it; half of an error's square is far below a bit.
    assert 2.0**-54 < worst_relative_error(engine, d, seed) * (1 + 1e-9) <= stated


# Slow references.


def spanning_tree_lengths(cloud: Cloud) -> Cloud:
    """Prim: grow a tree by the nearest point, n - 1 times; longest edge first."""
    distances = np.linalg.norm(cloud[:, None] - cloud, axis=-1)
    lengths, nearest = [], distances[0].copy()
    outside = np.arange(len(cloud)) > 0
    for _ in range(len(cloud) - 1):
        new = np.flatnonzero(outside)[nearest[outside].argmin()]
        lengths.append(nearest[new])
        outside[new] = False
        nearest = np.minimum(nearest, distances[new])
    return np.sort(lengths)[::-1] if lengths else np.empty(0)


@pytest.mark.parametrize("d", [2, 3])
def test_deaths_in_h0_are_half_the_spanning_tree(d: int, make_clouds: Clouds, seed: int) -> None:
    for cloud in make_clouds(seed, d).values():
        tree = spanning_tree_lengths(cloud) / 2
        for engine in ("planar", "gudhi") if d == 2 else ("auto",):
            deaths = alpha(cloud, engine)[0][:, 1]
            np.testing.assert_allclose(deaths, tree[tree > 0], rtol=4e-15)


def smallest_ball(points: Cloud) -> float:
    """Radius of the smallest ball around the points, by trying all possible boundaries."""
    radii = []
    for size in range(1, min(len(points), points.shape[1] + 1) + 1):
        for boundary in itertools.combinations(points, size):
            edges = np.array(boundary)[1:] - boundary[0]
            gram = edges @ edges.T
            shift = np.linalg.lstsq(gram, np.diagonal(gram) / 2, rcond=1e-10)[0] @ edges
            distances = np.linalg.norm(np.array(boundary) - boundary[0] - shift, axis=1)
            reach = np.linalg.norm(points - boundary[0] - shift, axis=1).max()
            if max(reach, distances.max()) <= distances.min() * (1 + 1e-9):
                radii.append(float(reach))
    return min(radii)


def cech_diagrams(points: Cloud) -> dict[int, Cloud]:
    """Persistence of the nerve of balls: all simplices, and the boundary matrix over Z/2."""
    d = points.shape[1]
    sizes = range(1, min(len(points), d + 1) + 1)
    value = dict.fromkeys(itertools.combinations(range(len(points)), 1), 0.0)
    for size in sizes[1:]:
        for s in itertools.combinations(range(len(points)), size):
            faces = max(value[f] for f in itertools.combinations(s, size - 1))
            value[s] = max(smallest_ball(points[list(s)]), faces)
    order = sorted(value, key=lambda s: (value[s], len(s), s))
    place = {s: i for i, s in enumerate(order)}
    columns: dict[int, set[int]] = {}  # by their lowest entry
    bars: dict[int, list[list[float]]] = {k: [] for k in range(d)}
    for s in order:
        faces_of_s = itertools.combinations(s, len(s) - 1) if len(s) > 1 else ()
        column = {place[f] for f in faces_of_s}
        while column and max(column) in columns:
            column ^= columns[max(column)]
        if column:
            columns[max(column)] = column
            born = order[max(column)]
            bars[len(born) - 1].append([value[born], value[s]])
    return {k: np.reshape(bars[k], (-1, 2)) for k in bars}


@pytest.mark.parametrize(("n", "d"), [(4, 2), (6, 2), (4, 3), (6, 3)])
def test_the_nerve_of_balls_has_the_same_diagrams(n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng([seed, n, d])
    clouds = [
        rng.normal(size=(n, d)),
        rng.integers(0, 3, size=(n, d)).astype(float),  # repeated, collinear, on one circle
        rng.integers(0, 2, size=(n, d)).astype(float),
        np.column_stack([rng.normal(size=(n, d - 1)), np.zeros(n)]),
        rng.normal(size=(n, d)) * ([1e-3] * (d - 1) + [1.0]),
    ]
    for cloud in clouds:
        reference = cech_diagrams(cloud)
        for engine in ("planar", "gudhi") if d == 2 else ("auto",):
            for k, bars in alpha(cloud, engine).items():
                # The reference's circumcentres are off by up to its 1e-9 in flat simplices.
                assert bottleneck(bars, reference[k]) <= 1e-8


# The contract that is alpha's own; the rest is in test_filtration.py.


def test_what_the_kernel_gives_up_gudhi_answers() -> None:
    # Coordinates over more orders of magnitude than exact signs of the kernel can.
    cloud = np.array([[0, 0], [1e-200, 0], [0, 1e-200], [1, 0], [0, 1], [1, 1]])
    for k in (0, 1):
        ours, theirs = alpha(cloud, "planar")[k], alpha(cloud, "gudhi")[k]
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)
    # Squares of 1e-200 are zero: these bars are lost, by less than is stated.
    assert len(alpha(cloud)[0]) == 3
    model = AlphaPersistence((0,)).fit([cloud])
    mixed = model.transform([cloud, RECTANGLE, cloud])
    assert mixed == DiagramBatch.concatenate(
        [model.transform([c]) for c in (cloud, RECTANGLE, cloud)]
    )


def test_homology_dimensions_are_independent() -> None:
    for cloud in (RECTANGLE, CUBE):
        everything = alpha(cloud)
        for k, bars in everything.items():
            alone = AlphaPersistence((k,)).fit_transform([cloud])
            assert alone.homology_dimensions == (k,)
            assert alone.diagram(0, k).tolist() == bars.tolist()


def test_safe_arithmetic_has_no_certificate() -> None:
    model = AlphaPersistence(precision="safe", homology_dimensions=(0,))
    assert model.fit_transform([RECTANGLE]).diagram(0, 0).tolist() == [[0, 2], [0, 1.5], [0, 1.5]]
    with pytest.raises(StabilityError, match=re.escape('Use precision="exact".')):
        model.stability()
    # What set_params smuggled in after fit used to be certified, too.
    with pytest.raises(StabilityError, match="is not certified"):
        AlphaPersistence().fit([RECTANGLE]).set_params(precision="fast").stability()


# Errors.


@pytest.mark.parametrize(
    ("cloud", "parameters", "message"),
    [
        (
            [[0.0], [1.0]],
            {},
            "X[0] lies in R^1: the alpha complex is computed in R^2 and R^3",
        ),
        ([[0.0], [1.0]], {}, "append a column of zeros"),
        (np.zeros((3, 4)), {}, "X[0] lies in R^4"),
        (np.zeros((3, 4)), {}, "use RipsPersistence, or project first"),
        (
            RECTANGLE,
            {"homology_dimensions": (0, 2)},
            "homology_dimensions=(0, 2): points in R^2 have no homology in dimension 2; ask for "
            "dimensions below 2.",
        ),
        (CUBE, {"homology_dimensions": (3,)}, "points in R^3 have no homology in dimension 3"),
        (RECTANGLE, {"precision": "fast"}, 'precision=\'fast\': expected "exact" or "safe".'),
        (RECTANGLE, {"engine": "cgal"}, "engine='cgal': expected"),
        (CUBE, {"engine": "planar"}, 'engine="planar" is for points in R^2, but X[0] lies in R^3'),
    ],
)
def test_what_has_no_alpha_complex_is_refused(
    cloud: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        AlphaPersistence(**parameters).fit([cloud])
