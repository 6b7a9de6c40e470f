"""Fields without persistence: closed forms, constants that are tight, boxes (D5)."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.base import clone

from stablerank import DistanceToMeasurePersistence, StabilityError
from stablerank.fields import CloudVectorizer, DistanceField, SortedNeighbourDistances
from stablerank.fields.vectorizer import sorted_blocks
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    Space,
)
from stablerank.stages import chain_of_stages

Array = NDArray[np.float64]

BOX = ([-1.0, -1.0], [1.0, 1.0])
FIELDS: dict[str, CloudVectorizer] = {
    "nearest": DistanceField(resolution=5, box=BOX),
    "nearest, sorted": DistanceField(resolution=5, box=BOX, values="sorted"),
    "third and fourth, in blocks": DistanceField(
        [3, 4], resolution=5, box=BOX, values="sorted", blocks=7
    ),
    "third, torus": DistanceField(3, resolution=4, box=BOX, periodic=True),
    "measure": DistanceField([1, 4], kind="measure", resolution=5, box=BOX),
    "mean of four, in blocks": DistanceField(
        4, kind="measure", q=1, resolution=5, box=BOX, values="sorted", blocks=3
    ),
    "neighbours": SortedNeighbourDistances(blocks=5),
    "third neighbours": SortedNeighbourDistances([1, 3], blocks=4),
}
ON_GRIDS = {name: f for name, f in FIELDS.items() if isinstance(f, DistanceField)}
FROM_HAUSDORFF = ["nearest", "nearest, sorted"]


def fitted(name: str, clouds: Any) -> CloudVectorizer:
    model: CloudVectorizer = clone(FIELDS[name]).fit(clouds)
    return model


def random_cloud(rng: np.random.Generator, n: int = 12) -> Array:
    cloud = rng.uniform(-1.2, 1.2, (n, 2))
    cloud[: n // 3] = rng.choice([-0.5, 0.0, 0.5], (n // 3, 2))  # on vertices, and twice
    return cloud


# Closed form.


def test_nearest_distances_of_one_point() -> None:
    # vertices of the box at (0,0), (0,4), (3,0), (3,4); the point is the first of them: 3-4-5
    field = DistanceField(resolution=2, box=([0, 0], [3, 4]))
    assert field.fit_transform([[[0, 0]]]).tolist() == [[0, 4, 3, 5]]
    assert field.get_feature_names_out()[1] == "distance_k1_vertex1"
    field.set_params(values="sorted", blocks=2)
    assert field.fit_transform([[[0, 0]]]).tolist() == [[4.5, 1.5]]
    assert list(field.get_feature_names_out()) == ["distance_k1_block0", "distance_k1_block1"]


def test_the_way_around_a_torus() -> None:
    # period 4, vertices at 0, 1, 2, 3; the point at 7 is at 3
    field = DistanceField(resolution=4, box=([0], [4]), periodic=True)
    assert field.fit_transform([[[7]]]).tolist() == [[1, 2, 1, 0]]


@pytest.mark.parametrize(("q", "value"), [(2, math.sqrt(12.5)), (1, 3.5)])
def test_the_measure_is_a_power_mean(q: Any, value: float) -> None:
    # from 0 to 3 and -4: the mean of 9 and 16 is 12.5; that of 3 and 4 is 3.5
    field = DistanceField(2, kind="measure", q=q, resolution=2, box=([0], [1]))
    assert field.fit_transform([[[3], [-4]]])[0, 0] == value


def test_neighbours_of_a_rectangle() -> None:
    # sides 3 and 4, diagonal 5: every corner sees 3, 4, 5; halves
    model = SortedNeighbourDistances([1, 2, 3], blocks=4)
    found = model.fit_transform([[[0, 0], [3, 0], [3, 4], [0, 4]]])
    assert found.tolist() == [[1.5] * 4 + [2.0] * 4 + [2.5] * 4]
    assert model.get_feature_names_out()[4] == "neighbour_k2_block0"


def test_points_in_one_place_are_neighbours() -> None:
    model = SortedNeighbourDistances(blocks=3)
    assert model.fit_transform([[[1, 1], [1, 1], [1, 5]]]).tolist() == [[2, 0, 0]]


def test_blocks_share_ranks_as_evenly_as_they_can() -> None:
    values = np.arange(7.0)
    assert sorted_blocks(values, 7).tolist() == values[::-1].tolist()
    assert sorted_blocks(values, 3).tolist() == [5.5, 3.5, 1.0]
    assert sorted_blocks(values, 1).tolist() == [3.0]


# Slow reference.


@pytest.mark.parametrize("name", ON_GRIDS)
def test_fields_are_those_of_all_distances(name: str, seed: int) -> None:
    rng, model = np.random.default_rng(seed), ON_GRIDS[name]
    clouds = [random_cloud(rng, n) for n in (5, 12, 40)]
    m = model.resolution
    axis = -1 + 2 * np.arange(m) / m if model.periodic else np.linspace(-1, 1, m)
    vertices = np.array([[x, y] for x in axis for y in axis])
    for cloud, vector in zip(clouds, fitted(name, clouds).transform(clouds), strict=True):
        distances = cdist(vertices, cloud)
        if model.periodic:
            ways = np.abs(vertices[:, None] - cloud) % 2
            distances = np.sqrt((np.minimum(ways, 2 - ways) ** 2).sum(axis=2))
        distances.sort(axis=1)
        expected: list[float] = []
        for k in [model.k] if isinstance(model.k, int) else model.k:
            values = distances[:, k - 1]
            if model.kind == "measure":
                values = (distances[:, :k] ** model.q).mean(axis=1) ** (1 / model.q)
            if model.values == "sorted":
                values = np.sort(values)[::-1]
            if model.blocks is not None:
                cuts = [j * m * m // model.blocks for j in range(1, model.blocks)]
                values = np.array([part.mean() for part in np.split(values, cuts)])
            expected.extend(values)
        assert vector == pytest.approx(expected, abs=1e-14)


def test_the_measure_is_the_function_of_the_filtration(seed: int) -> None:
    clouds = [random_cloud(np.random.default_rng(seed))]
    field = DistanceField(4, kind="measure", resolution=6, box=BOX).fit_transform(clouds)
    model = DistanceToMeasurePersistence(4, resolution=6, box=BOX).fit(clouds)
    assert (field[0] == model.field(clouds)[0].ravel()).all()


def test_neighbours_are_those_of_all_distances(seed: int) -> None:
    cloud = random_cloud(np.random.default_rng(seed), 23)
    distances = np.sort(cdist(cloud, cloud), axis=1)[:, [1, 3]]
    ordered = -np.sort(-distances, axis=0) / 2
    expected = [part.mean() for k in (0, 1) for part in np.split(ordered[:, k], [5, 11, 17])]
    found = fitted("third neighbours", [cloud]).transform([cloud])[0]
    assert found == pytest.approx(expected, abs=1e-14)


# The law: constants.


def moved_cloud(rng: np.random.Generator, cloud: Array, source: Space, size: float) -> Array:
    """A cloud within a distance: at random, to or from a place, two that part, one point."""
    (n, d), kind = cloud.shape, int(rng.integers(5))
    directions = rng.normal(size=(n, d))
    if kind in (1, 2):
        directions = (3 - 2 * kind) * (rng.uniform(-1, 1, d) - cloud)
    elif kind == 3:
        i, j = rng.choice(n, 2, replace=False)
        directions[:] = 0
        directions[i], directions[j] = cloud[i] - cloud[j], cloud[j] - cloud[i]
    elif kind == 4:
        directions[1:] = 0
    if source == PER_COORDINATE:
        return np.asarray(cloud + size * np.sign(directions))
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    if source == FROBENIUS:
        norms = np.linalg.norm(directions, keepdims=True)
    moved = cloud + size * directions / np.where(norms > 0, norms, 1.0)
    if source == HAUSDORFF:  # and as many points again
        extra = cloud + size * rng.uniform(-1, 1, (n, d)) / math.sqrt(d)
        moved = np.concatenate([moved, extra])
    return np.asarray(moved)


def excess(name: str, source: Space, share: float, seed: int, trials: int = 200) -> float:
    """How far vectors move beyond `share` of what the constants allow; roundings granted."""
    rng, worst = np.random.default_rng(seed), -math.inf
    model = fitted(name, [random_cloud(rng)])
    constants = chain_of_stages([model], source).constants
    assert constants is not None
    for _ in range(trials):
        size = float(rng.choice([1e-9, 1e-3, 0.1, 3.0]))
        cloud = random_cloud(rng)
        if rng.random() < 0.5:  # a pile, from where all k nearest come
            cloud[: rng.integers(2, 13)] = rng.uniform(-1, 1, 2)
        other = moved_cloud(rng, cloud, source, size)
        before, after = (model.transform([c])[0] for c in (cloud, other))
        error = sum(model.vector_rounding(model.largest_values([c]))[0] for c in (cloud, other))
        # the moved cloud was rounded as well
        granted = error + 16 * 2.0**-53 * (np.abs(other).max() + size)
        beyond = np.abs(after - before) - share * constants * size
        worst = max(worst, float(beyond.max()) - granted)
    return worst


SOURCES = [
    *((name, source) for name in FIELDS for source in (PER_POINT, PER_COORDINATE, FROBENIUS)),
    *((name, HAUSDORFF) for name in FROM_HAUSDORFF),
]
IDS = [f"{name}, {source.metric}" for name, source in SOURCES]


@pytest.mark.parametrize(("name", "source"), SOURCES, ids=IDS)
def test_vectors_move_no_further_than_their_constants(name: str, source: Space, seed: int) -> None:
    assert excess(name, source, 1.0, seed) <= 0


@pytest.mark.parametrize(("name", "source"), SOURCES, ids=IDS)
def test_half_of_a_constant_is_exceeded(name: str, source: Space, seed: int) -> None:
    # of a whole block at once, random clouds move less
    share = 0.2 if "blocks" in name or "third neighbours" in name else 0.5
    assert excess(name, source, share, seed, 600) > 0


TIGHT: dict[str, tuple[CloudVectorizer, Space, Array, Array]] = {
    # all points, in one place, move straight away from the vertex (1, 1)
    "all k nearest": (
        DistanceField(4, resolution=2, box=BOX),
        PER_POINT,
        np.zeros((4, 2)),
        np.full((4, 2), -0.25),
    ),
    "sorted, in one block": (
        DistanceField(2, resolution=2, box=([-1], [1]), values="sorted", blocks=1),
        PER_POINT,
        np.array([[2.0], [2.0]]),
        np.array([[0.25], [0.25]]),
    ),
    "nearest, Hausdorff": (
        DistanceField(resolution=2, box=([-1], [1])),
        HAUSDORFF,
        np.array([[2.0], [2.0]]),
        np.array([[0.25], [0.25]]),
    ),
    "measure, Frobenius": (
        DistanceField(4, kind="measure", resolution=2, box=([-1], [1])),
        FROBENIUS,
        np.full((4, 1), 2.0),
        np.full((4, 1), 0.125),
    ),
    "nearest, Frobenius": (
        DistanceField(1, resolution=2, box=([-1], [1])),
        FROBENIUS,
        np.array([[2.0], [9.0]]),
        np.array([[0.25], [0.0]]),
    ),
    "neighbours": (
        SortedNeighbourDistances(blocks=1),
        PER_POINT,
        np.array([[0.0], [1.0]]),
        np.array([[-0.25], [0.25]]),
    ),
    "neighbours, Frobenius": (
        SortedNeighbourDistances(blocks=1),
        FROBENIUS,
        np.array([[0.0], [1.0]]),
        np.array([[-0.25], [0.25]]),
    ),
}


@pytest.mark.parametrize("case", TIGHT.values(), ids=TIGHT)
def test_constants_are_attained(case: tuple[CloudVectorizer, Space, Array, Array]) -> None:
    model, source, cloud, step = case
    model = clone(model).fit([cloud])
    size = np.linalg.norm(step) if source == FROBENIUS else np.linalg.norm(step, axis=1).max()
    before, after = model.transform([cloud, cloud + step])
    used = np.abs(after - before) / (np.array(chain_of_stages([model], source).constants) * size)
    assert used.max() == pytest.approx(1, abs=1e-12)


def test_a_second_point_in_one_place_moves_the_second_nearest_by_any_amount() -> None:
    # why Hausdorff distance is refused for k > 1, and for neighbours
    field = DistanceField(2, resolution=2, box=([0], [10])).fit([[[0], [10]]])
    assert field.transform([[[0], [10]], [[0], [0], [10]]])[:, 0].tolist() == [10, 0]
    for name in FIELDS:
        model = fitted(name, [random_cloud(np.random.default_rng(0))])
        if name not in FROM_HAUSDORFF:
            with pytest.raises(StabilityError, match="is not stable from"):
                model.stability(HAUSDORFF)
        with pytest.raises(StabilityError, match=re.escape("not from diagram[bottleneck]")):
            model.stability(BOTTLENECK)


def test_constants_of_the_frobenius_norm() -> None:
    clouds = [random_cloud(np.random.default_rng(0))]
    assert fitted("measure", clouds).stability(FROBENIUS).constants == (1.0,) * 25 + (0.5,) * 25
    neighbours = Fraction(fitted("neighbours", clouds).stability(FROBENIUS).constant)
    assert 1 <= 2 * neighbours**2 <= 1 + Fraction(1e-15)
    with pytest.raises(StabilityError):  # the chain goes by way of the per-point metric
        fitted("nearest", clouds).stability(FROBENIUS)


# Rounding and boxes.


def test_rounding_is_never_exceeded_and_not_idle(seed: int) -> None:
    rng, used = np.random.default_rng(seed), 0.0
    vertices = [(x, y) for x in (-1, 1) for y in (-1, 1)]
    for _ in range(20):
        cloud = random_cloud(rng, 6)
        model = DistanceField([1, 3], resolution=2, box=BOX).fit([cloud])
        charged = float(model.vector_rounding(model.largest_values([cloud]))[0])
        points = [(Fraction(x), Fraction(y)) for x, y in cloud.tolist()]
        squares = [sorted((x - v) ** 2 + (y - w) ** 2 for x, y in points) for v, w in vertices]
        exact = [found[k - 1] for k in (1, 3) for found in squares]
        with mpmath.workdps(40):
            for value, square in zip(model.transform([cloud])[0].tolist(), exact, strict=True):
                truth = mpmath.sqrt(mpmath.mpf(square.numerator) / square.denominator)
                used = max(used, float(abs(truth - mpmath.mpf(value))) / charged)
    assert 1 / 400 < used <= 1


def box_excess(
    bounds: Callable[..., tuple[torch.Tensor, torch.Tensor]], model: Any, source: Space, seed: int
) -> float:
    """How far computed vectors of clouds within a distance get out of their boxes."""
    rng, worst = np.random.default_rng(seed), -math.inf
    for size in (0.0, 1e-15, 1e-6, 0.1, 4.0):
        cloud = random_cloud(rng)
        cloud[:4] = cloud[0]
        lower, upper = bounds([cloud], size, source=source)
        others = [cloud[::-1]]
        if size > 1e-14:  # smaller than what the sum is rounded by
            shorter = size * (1 - 1e-6)
            others = [moved_cloud(rng, cloud, source, shorter) for _ in range(80)]
        vectors = model.transform(others)
        beyond = np.maximum(lower.numpy() - vectors, vectors - upper.numpy())
        worst = max(worst, float(beyond.max()))
    return worst


@pytest.mark.parametrize("name", FIELDS)
def test_boxes_contain_every_computed_vector(name: str, seed: int) -> None:
    model = fitted(name, [random_cloud(np.random.default_rng(seed))])
    for source in (PER_POINT, HAUSDORFF, FROBENIUS):
        try:
            model.stability(source)
        except StabilityError:
            with pytest.raises(StabilityError):
                model.bounds([random_cloud(np.random.default_rng(0))], 0.1, source=source)
            continue
        assert box_excess(model.bounds, model, source, seed) <= 0


@pytest.mark.parametrize("name", ["nearest", "third, torus", "measure", "neighbours"])
def test_boxes_of_half_the_size_do_not(name: str, seed: int) -> None:
    model = fitted(name, [random_cloud(np.random.default_rng(seed))])

    def half(X: Any, size: float, source: Space) -> tuple[torch.Tensor, torch.Tensor]:
        return model.bounds(X, size / 2, source=source)

    assert box_excess(half, model, PER_POINT, seed) > 0


# Rigid motions.


def test_who_sees_absolute_position(seed: int) -> None:
    cloud = random_cloud(np.random.default_rng(seed), 20)
    turned, shifted = cloud @ np.array([[0.0, 1.0], [-1.0, 0.0]]), cloud + 0.3
    raw, ordered, neighbours = (
        fitted(name, [cloud]).transform([cloud, turned, shifted])
        for name in ("nearest", "nearest, sorted", "third neighbours")
    )
    assert np.abs(raw[0] - raw[1:]).max(axis=1).min() > 0.05
    # a quarter turn maps the grid to itself, a shift does not
    assert np.abs(ordered[0] - ordered[1]).max() < 1e-14
    assert np.abs(ordered[0] - ordered[2]).max() > 0.01
    assert np.abs(neighbours[0] - neighbours[1:]).max() < 1e-14


# The contract.


@pytest.mark.parametrize("name", FIELDS)
def test_clone_pickle_workers_order_and_dtype(name: str) -> None:
    rng = np.random.default_rng(0)
    clouds = [random_cloud(rng, n) for n in (12, 30, 9)]
    for cloud in clouds:
        cloud.setflags(write=False)
    model = fitted(name, clouds)
    vectors = model.transform(clouds)
    assert vectors.shape == (3, model.n_features_out_)
    names = model.get_feature_names_out()
    assert len(names) == len(set(names)) == model.n_features_out_
    assert (pickle.loads(pickle.dumps(model)).transform(clouds) == vectors).all()
    assert (clone(model).set_params(n_jobs=2).fit(clouds).transform(clouds) == vectors).all()
    assert (model.transform([clouds[1][::-1]])[0] == vectors[1]).all()
    assert (vectors >= 0).all()
    assert model.transform([cloud.astype(np.float32) for cloud in clouds]).dtype == np.float64


@pytest.mark.parametrize("scale", [1e-290, 1e-150, 1e150, 1e290])
def test_sizes_whose_squares_overflow_or_vanish(scale: float) -> None:
    cloud = random_cloud(np.random.default_rng(0))
    for name in ("third, torus", "third and fourth, in blocks", "neighbours"):
        model = clone(FIELDS[name])
        expected = model.fit([cloud]).transform([cloud]) * scale
        if isinstance(model, DistanceField):
            model.set_params(box=np.array(BOX) * scale)
        found = model.fit([cloud * scale]).transform([cloud * scale])
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-14 * scale)


@pytest.mark.parametrize("name", ["nearest", "measure", "neighbours"])
def test_boxes_are_boxes_down_to_nothing_and_up_to_infinity(name: str) -> None:
    cloud = random_cloud(np.random.default_rng(0))
    model = fitted(name, [cloud])
    for epsilon in (0.0, 5e-324, 1e-300, 1e300, 1.7e308):
        lower, upper = model.bounds([cloud], epsilon)
        assert (lower <= upper).all()
        assert (lower >= 0).all()
    # halves of the smallest number are rounded, and nothing relative says so
    assert model.vector_rounding(np.array([5e-324]))[0] > 0


def test_one_point_and_equal_points() -> None:
    assert DistanceField(resolution=3, box=BOX).fit_transform([[[0.0, 0.0]]]).shape == (1, 9)
    assert (SortedNeighbourDistances(blocks=2).fit_transform([np.zeros((5, 2))]) == 0).all()


# Errors.

ERRORS: list[tuple[Any, dict[str, Any], str]] = [
    (DistanceField, {"k": 0}, "k=0: expected a number of points, 1 or more"),
    (DistanceField, {"k": [1, 1]}, "k=[1, 1]: expected a number of points"),
    (DistanceField, {"k": []}, "k=[]: expected a number of points"),
    (DistanceField, {"k": 1.5}, "k=1.5: expected a number of points"),
    (DistanceField, {"k": np.array([1, 2])}, "k=array([1, 2]): expected a number of points"),
    (DistanceField, {"k": range(1, 3)}, "k=range(1, 3): expected a number of points"),
    (DistanceField, {"k": True}, "k=True: expected a number of points"),
    (DistanceField, {"kind": "dtm"}, 'kind=\'dtm\': expected "distance" or "measure"'),
    (DistanceField, {"q": 3}, "q=3: expected 1 or 2"),
    (DistanceField, {"resolution": 1}, "resolution=1: expected an integer, 2 or more"),
    (DistanceField, {"values": "all"}, 'values=\'all\': expected "raw" or "sorted"'),
    (DistanceField, {"blocks": 2}, "blocks=2: only sorted values are averaged"),
    (DistanceField, {"values": "sorted", "blocks": 0}, "blocks=0: expected an integer"),
    (
        DistanceField,
        {"values": "sorted", "blocks": 10, "resolution": 3},
        "blocks=10: the grid has 9 vertices",
    ),
    (DistanceField, {"periodic": True}, "periodic=True needs a box"),
    (DistanceField, {"k": 13}, "X[1] has 12 points, and k=13, blocks=None need at least 13"),
    (DistanceField, {"n_jobs": 0}, "n_jobs=0: expected a number of workers"),
    (SortedNeighbourDistances, {"blocks": None}, "blocks=None: expected an integer"),
    (SortedNeighbourDistances, {"blocks": 13}, "X[1] has 12 points, and k=1, blocks=13 need at"),
    (
        SortedNeighbourDistances,
        {"k": 12, "blocks": 1},
        "X[1] has 12 points, and k=12, blocks=1 need at least 13",
    ),
]


@pytest.mark.parametrize(("kind", "parameters", "message"), ERRORS)
def test_bad_parameters_and_clouds_are_named(
    kind: Any, parameters: dict[str, Any], message: str
) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**parameters).fit([random_cloud(rng, 20), random_cloud(rng, 12)])


def test_lengths_that_changed_since_fit_are_refused() -> None:
    clouds = [random_cloud(np.random.default_rng(0))]
    model = fitted("nearest", clouds).set_params(resolution=6)
    with pytest.raises(ValueError, match="call fit again"):
        model.transform(clouds)
