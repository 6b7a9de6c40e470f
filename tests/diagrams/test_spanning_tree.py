"""Minimum spanning trees against exact arithmetic, single linkage and GUDHI, on every family."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

import stablerank.diagrams.rips as rips_module
from stablerank.diagrams import AlphaPersistence, RipsPersistence
from stablerank.diagrams.filtration import UNIT_ROUNDOFF
from stablerank.diagrams.planar.compiling import digest_of_sources
from stablerank.diagrams.spanning_tree import SpanningTrees, _kernel, spanning_trees

Cloud = NDArray[np.float64]
Clouds = Callable[[int, int], dict[str, Cloud]]

RECTANGLE = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])


def tree(cloud: Any) -> SpanningTrees:
    points = np.asarray(cloud, dtype=np.float64)
    return spanning_trees(points, np.array([0, len(points)]))


def rounding(d: int) -> float:
    """The relative error of a sorted edge, as the docstring derives it, with its higher orders."""
    return (d / 2 + 2) * UNIT_ROUNDOFF * (1 + 1e-9)


def components(n: int, edges: NDArray[np.int64]) -> list[int]:
    label = list(range(n))
    for u, v in edges.tolist():
        label = [label[u] if each == label[v] else each for each in label]
    return label


# Closed form.


def test_a_rectangle_is_joined_by_three_sides() -> None:
    answer = tree(RECTANGLE)
    assert answer.lengths.tolist() == [3, 3, 4]
    assert answer.offsets.tolist() == [0, 3]
    assert sorted(answer.edges[:2].tolist()) == [[0, 1], [2, 3]]
    assert answer.edges[2].tolist() in ([0, 3], [1, 2])


@pytest.mark.parametrize("d", [1, 2, 3, 8, 40])
def test_a_cube_is_joined_by_its_edges(d: int) -> None:
    corners = 1.0 * ((np.arange(2 ** min(d, 8))[:, None] >> np.arange(d) % 8) & 1)
    # Of 2^k corners all neighbours differ in one bit, which d/8 columns repeat.
    columns = [np.count_nonzero(np.arange(d) % 8 == bit) for bit in range(min(d, 8))]
    lengths = tree(corners).lengths
    expected = np.repeat(np.sqrt(np.sort(columns)), 2 ** np.arange(min(d, 8))[::-1])
    assert lengths.tolist() == expected.tolist()


def test_points_on_a_line_are_joined_in_order() -> None:
    line = np.array([7.0, 0.0, 1.0, 5.0])  # gaps 1, 4, 2
    for direction in ([1.0], [0.0, -1.0], [3.0, 4.0], [1.0, 2.0, 2.0]):
        answer = tree(np.outer(line, direction))
        assert answer.lengths.tolist() == (np.array([1, 2, 4]) * np.linalg.norm(direction)).tolist()
        assert answer.edges.tolist() == [[1, 2], [0, 3], [2, 3]]


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_one_point_however_often_has_no_edges(n: int) -> None:
    for coordinates in (np.zeros(3), np.full(3, 1 / 3), np.full(3, -1e300)):
        answer = tree(np.tile(coordinates, (n, 1)))
        assert answer.lengths.shape == (0,)
        assert answer.edges.shape == (0, 2)


# The law: each sorted edge is within the rounding that is stated, and is the edge it says it is.


def exact_squares(cloud: Cloud) -> tuple[list[Fraction], Callable[[int, int], Fraction]]:
    """The squared edges of an exact tree, ascending: Prim in fractions; and squared distances."""
    points = [[Fraction(x) for x in point] for point in cloud.tolist()]

    def square(i: int, j: int) -> Fraction:
        return sum(((a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)), Fraction(0))

    nearest = {i: square(0, i) for i in range(1, len(points))}
    squares = []
    while nearest:
        new = min(nearest, key=lambda i: nearest[i])
        squares.append(nearest.pop(new))
        nearest = {i: min(before, square(new, i)) for i, before in nearest.items()}
    return sorted(squares), square


def excess(answer: Callable[[Cloud], SpanningTrees], d: int, clouds: dict[str, Cloud]) -> float:
    """How far, relatively, a sorted edge is off at worst, beyond the rounding that is stated."""
    worst = -np.inf
    for cloud in clouds.values():
        squares, square = exact_squares(cloud)
        trees = answer(cloud)
        expected = [each for each in squares if each > 0]
        if len(expected) != len(trees.lengths):
            return np.inf
        pairs = list(zip(trees.lengths.tolist(), expected, strict=True))
        pairs += [
            (length, square(u, v))
            for length, (u, v) in zip(trees.lengths.tolist(), trees.edges.tolist(), strict=True)
        ]
        for length, exact in pairs:
            # |x - 1| <= |x² - 1| / (2 - |x² - 1|), x the quotient of the lengths
            off = abs(Fraction(length) ** 2 / exact - 1)
            worst = max(worst, float(off / (2 - off)) - rounding(d) if off < 1 else np.inf)
    return worst


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_edges_are_as_long_as_in_exact_arithmetic(d: int, make_clouds: Clouds, seed: int) -> None:
    clouds = {name: cloud[:, :d] for name, cloud in make_clouds(seed, max(d, 2)).items()}
    assert excess(tree, d, clouds) <= 0


def distorted(cloud: Cloud, lengths: Any) -> SpanningTrees:
    answer = tree(cloud)
    return SpanningTrees(lengths(answer.lengths, cloud), answer.offsets, answer.edges)


BROKEN: dict[str, Callable[[Cloud], SpanningTrees]] = {
    "a last bit too long": lambda c: distorted(c, lambda x, _: x * (1 + 16 * UNIT_ROUNDOFF)),
    "single precision": lambda c: distorted(c, lambda x, _: x.astype(np.float32).astype(float)),
    "no edge for the last point": lambda c: tree(c[:-1]),
    "edges of a path": lambda c: distorted(
        c, lambda x, c: np.sort(np.linalg.norm(np.diff(c, axis=0), axis=1))[: len(x)]
    ),
    # The form with which many save a factor of two: it cancels far from the origin.
    "a product of matrices": lambda c: distorted(c, lambda x, c: by_products(c)[: len(x)]),
    "edges of another order": lambda c: SpanningTrees(
        tree(c).lengths, tree(c).offsets, tree(c).edges[::-1]
    ),
}


def by_products(cloud: Cloud) -> Cloud:
    norms = (cloud**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * cloud @ cloud.T, 0)
    condensed = np.sqrt(squares[np.triu_indices(len(cloud), 1)])
    return linkage(condensed, method="single")[:, 2] if len(cloud) > 1 else np.empty(0)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_above_can_fail(
    broken: Callable[[Cloud], SpanningTrees], make_clouds: Clouds, seed: int
) -> None:
    assert excess(broken, 3, make_clouds(seed, 3)) > 0


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_edges_are_a_tree(d: int, make_clouds: Clouds, seed: int) -> None:
    for cloud in make_clouds(seed, max(d, 2)).values():
        cloud = cloud[:, :d]
        different = {tuple(point) for point in cloud.tolist()}
        answer = tree(cloud)
        assert (answer.edges[:, 0] < answer.edges[:, 1]).all()
        assert len(answer.edges) == len(different) - 1
        label = components(len(cloud), answer.edges)
        touched = [i for i in range(len(cloud)) if i in answer.edges] or [0]
        assert len({label[i] for i in touched}) == 1


# Slow references, on clouds larger than a block.


def large_clouds(seed: int, d: int) -> dict[str, Cloud]:
    rng = np.random.default_rng([seed, d])
    centres = rng.normal(size=(7, d))
    return {
        "random": rng.normal(size=(700, d)),
        "clustered": np.repeat(centres, 80, axis=0) + rng.normal(scale=1e-6, size=(560, d)),
        "gridded": rng.integers(0, 6, size=(600, d)) / 8,
        "duplicates": np.repeat(rng.normal(size=(150, d)), 4, axis=0),
        "collinear": np.outer(rng.normal(size=600), rng.normal(size=d)),
        "far away": 1e8 + rng.normal(size=(520, d)),
        "one block": rng.normal(size=(257, d)),
    }


@pytest.mark.parametrize("d", [2, 3, 10])
def test_single_linkage_has_the_same_lengths(d: int, seed: int) -> None:
    for cloud in large_clouds(seed, d).values():
        lengths = np.sort(linkage(pdist(cloud), method="single")[:, 2])
        ours = tree(cloud).lengths
        theirs = lengths[lengths > 0]
        assert len(ours) == len(theirs)
        assert (np.abs(ours - theirs) <= 2 * rounding(d) * theirs).all()


@pytest.mark.parametrize("d", [2, 3])
def test_alpha_of_gudhi_has_the_same_deaths(d: int, seed: int) -> None:
    allowed = 2 * AlphaPersistence().relative_rounding()
    for cloud in large_clouds(seed, d).values():
        ours = tree(cloud).lengths[::-1] / 2
        gudhi = AlphaPersistence((0,), engine="gudhi").fit_transform([cloud])
        theirs = gudhi.diagram(0, 0)[:, 1]
        assert len(ours) == len(theirs)
        assert (np.abs(ours - theirs) <= allowed * theirs).all()


# The contract.


@pytest.mark.parametrize("exponent", [-1040, -500, 500, 990])
@pytest.mark.parametrize("d", [1, 3])
def test_powers_of_two_scale_every_bit(exponent: int, d: int, seed: int) -> None:
    # 2^-1040 is subnormal: 2^-30 are the steps that it leaves.
    cloud = np.random.default_rng(seed).integers(0, 2**8, size=(50, d)) / 2**8
    plain, scaled = tree(cloud), tree(np.ldexp(cloud, exponent))
    np.testing.assert_array_equal(scaled.edges, plain.edges)
    expected = np.ldexp(plain.lengths, exponent)
    assert scaled.lengths.tolist() == expected.tolist()


def test_a_cloud_has_the_same_tree_in_any_batch_and_thread(make_clouds: Clouds, seed: int) -> None:
    clouds = [*make_clouds(seed, 3).values(), np.empty((0, 3)), *large_clouds(seed, 3).values()]
    points = np.concatenate(clouds)
    offsets = np.cumsum([0, *map(len, clouds)])
    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(lambda _: spanning_trees(points, offsets), range(4)))
    for batch in batches:
        for i, cloud in enumerate(clouds):
            alone, rows = tree(cloud), slice(batch.offsets[i], batch.offsets[i + 1])
            np.testing.assert_array_equal(batch.lengths[rows], alone.lengths)
            np.testing.assert_array_equal(batch.edges[rows], alone.edges)


def test_inputs_are_not_overwritten_and_need_not_be_contiguous() -> None:
    points = np.asfortranarray(np.random.default_rng(0).normal(size=(30, 3)))
    points.flags.writeable = False
    before, offsets = points.copy(), np.array([0, 10, 30], dtype=np.int32)
    offsets.flags.writeable = False
    answer = spanning_trees(points, offsets)
    np.testing.assert_array_equal(points, before)
    assert answer.lengths[:9].tolist() == tree(before[:10]).lengths.tolist()


def test_filtrations_use_it(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(40, 3))
    lengths = tree(cloud).lengths[::-1]

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a matrix of distances for H0 alone")

    monkeypatch.setattr(rips_module, "pdist", refuse)
    rips = RipsPersistence((0,)).fit_transform([cloud]).diagram(0, 0)
    alpha = AlphaPersistence((0,)).fit_transform([cloud]).diagram(0, 0)
    assert rips[:, 1].tolist() == lengths.tolist()
    assert alpha[:, 1].tolist() == (lengths / 2).tolist()
    assert not rips[:, 0].any()


def test_an_edited_file_is_compiled_again() -> None:
    # numba sees changes of the file itself, not of those that are compiled into it.
    assert digest_of_sources() in [cell.cell_contents for cell in _kernel.py_func.__closure__]


# Errors.


@pytest.mark.parametrize(
    ("points", "offsets", "message"),
    [
        (np.zeros(4), [0, 4], "points has shape (4,): expected (n_points, d), d at least 1"),
        (np.zeros((4, 0)), [0, 4], "points has shape (4, 0): expected (n_points, d)"),
        (np.zeros((4, 3)), [0, 3], "offsets runs from 0 to 3 and must not decrease: expected fro"),
        (np.zeros((4, 3)), [0, 5, 4], "must not decrease"),
        (np.zeros((4, 3)), [0.0, 4.0], "offsets has shape (2,) and dtype float64: expected one di"),
        (
            [[0, 0], [0, np.nan]],
            [0, 1, 2],
            "1 of 2 points have NaN or infinite coordinates (first:",
        ),
        ([[0, 0], [0, np.inf]], [0, 1, 2], "point 0 of cloud 1"),
    ],
)
def test_what_has_no_tree_is_refused(points: Any, offsets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        spanning_trees(np.asarray(points, dtype=float), np.array(offsets))
