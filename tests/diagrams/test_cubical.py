"""Sublevel sets of images: by hand, the law of D4, and the whole complex as a slow reference."""

from __future__ import annotations

import functools
import itertools
import pickle
import re
from collections.abc import Callable
from typing import Any

import gudhi.hera
import joblib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from stablerank.diagrams import CubicalPersistence, DiagramBatch
from stablerank.diagrams.cubical import check_images
from stablerank.stability import BOTTLENECK, HAUSDORFF, SUP, Bound, StabilityError

Array = NDArray[np.float64]
RING = [[1, 4, 4], [4, 9, 4], [4, 4, 2]]


def cubical(image: Any, dimensions: tuple[int, ...] = (0, 1), **settings: Any) -> dict[int, Any]:
    diagrams = CubicalPersistence(dimensions, **settings).fit_transform([image])
    return {k: diagrams.diagram(0, k).tolist() for k in dimensions}


# Closed form.


def test_a_ring() -> None:
    # Components are born at 1 and 2 and meet at 4, where the ring closes; 9 fills it.
    assert cubical(RING) == {0: [[2, 4]], 1: [[4, 9]]}


def test_negative_values_and_constant_images() -> None:
    assert cubical(np.array(RING) - 10) == {0: [[-8, -6]], 1: [[-6, -1]]}
    assert cubical(np.full((4, 5), 3.0)) == {0: [], 1: []}
    assert cubical([[5.0]]) == {0: [], 1: []}


def test_pixels_are_vertices() -> None:
    # Two zeros that touch at a corner wait for the lower one of the other two pixels; were pixels
    # squares, they would be connected from the start.
    assert cubical([[0, 7], [5, 0]]) == {0: [[0, 5]], 1: []}


def test_periodic_axes() -> None:
    # On a circle of columns the zeros at the two ends are neighbours.
    image = [[0, 5, 0], [0, 5, 0]]
    assert cubical(image)[0] == [[0, 5]]
    assert cubical(image, periodic=(False, True))[0] == []
    # A column of 9s: the strip between is all there is until it closes at 9, an endless loop.
    assert cubical([[0, 1, 9], [0, 1, 9]], periodic=(False, True)) == {0: [], 1: []}


def test_a_shell_in_space() -> None:
    # The border of the 3 x 3 x 3 cube is a sphere, which its centre fills.
    image = np.zeros((3, 3, 3))
    image[1, 1, 1] = 2
    assert cubical(image, (0, 1, 2)) == {0: [], 1: [], 2: [[0, 2]]}


# The law.

MODELS: dict[str, tuple[CubicalPersistence, tuple[int, ...]]] = {
    "plane": (CubicalPersistence(), (6, 7)),
    "cylinder": (CubicalPersistence(periodic=(True, False)), (6, 7)),
    "torus": (CubicalPersistence(periodic=(True, True)), (6, 7)),
    "space": (CubicalPersistence((0, 1, 2)), (4, 5, 4)),
    "3-torus": (CubicalPersistence((0, 1, 2), periodic=(True,) * 3), (4, 5, 4)),
}
BRANCHES = [(name, k) for name, (model, _) in MODELS.items() for k in model.homology_dimensions]


def constant(name: str, k: int) -> float:
    bound = MODELS[name][0].stability().branches[f"H{k}"]
    assert isinstance(bound, Bound)
    assert (bound.source, bound.target) == (SUP, BOTTLENECK)
    return bound.constant


def bottleneck(a: Array, b: Array) -> float:
    return float(gudhi.hera.bottleneck_distance(a, b, 0.0))


def sphere(shape: tuple[int, ...], j: int, fill: float) -> Array:
    """1 but for a sphere S^j of zeros around a pixel of value `fill`: one bar [0, fill] in H_j."""
    image = np.ones(shape)
    centre = (1,) * len(shape)
    for p in itertools.product((-1, 0, 1), repeat=j + 1):
        pixel = (*(1 + x for x in p), *centre[j + 1 :])
        image[pixel] = float(not any(p))
    image[centre] = fill
    return image


BROKEN: dict[str, Callable[[DiagramBatch], DiagramBatch]] = {
    "squared values": lambda batch: DiagramBatch(
        {k: np.sign(bars) * (2 * bars) ** 2 for k, bars in batch.bars.items()}, batch.offsets
    ),
    "float32": lambda batch: DiagramBatch(
        {k: bars.astype(np.float32).astype(float) for k, bars in batch.bars.items()}, batch.offsets
    ),
}


@functools.cache
def movements(name: str, seed: int, broken: str | None = None) -> dict[int, list[Any]]:
    """For each dimension and pair of images: how far diagrams moved, and pixels."""
    model, shape = MODELS[name]
    rng = np.random.default_rng(seed)
    starts = [rng.normal(size=shape) for _ in range(8)]
    starts += [1.0 * rng.integers(-3, 4, size=shape) for _ in range(8)]
    pairs = [
        (image, image + epsilon * rng.uniform(-1, 1, size=shape))
        for image in starts
        for epsilon in (1e-9, 1e-2, 0.5, 3.0)
    ]
    for k in model.homology_dimensions:
        pairs += [(sphere(shape, k, 1 + t), sphere(shape, k, 1 + t) + e) for t, e in EXTREMES]
        pairs += [(sphere(shape, k, 0.9), sphere(shape, k, 0.9 + t)) for t in (0.01, 0.05)]
    batch = clone(model).fit_transform([image for pair in pairs for image in pair])
    if broken is not None:
        batch = BROKEN[broken](batch)
    apart = [float(np.abs(a - b).max()) for a, b in pairs]
    return {
        k: [
            (bottleneck(batch.diagram(2 * i, k), batch.diagram(2 * i + 1, k)), apart[i])
            for i in range(len(pairs))
        ]
        for k in batch.homology_dimensions
    }


EXTREMES = [(0.0, 0.01), (0.5, -0.1)]


def excess(factor: float, name: str, k: int, seed: int, broken: str | None = None) -> float:
    """How far diagrams moved beyond what the constant allows; only differences round here."""
    allowed = factor * constant(name, k)
    return max(
        moved - allowed * apart - 2.0**-52 * (moved + apart)
        for moved, apart in movements(name, seed, broken)[k]
    )


@pytest.mark.parametrize(("name", "k"), BRANCHES)
def test_diagrams_never_move_further_than_pixels(name: str, k: int, seed: int) -> None:
    assert excess(1.0, name, k, seed) <= 0


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize(("name", "k"), BRANCHES)
def test_the_law_fails_for_smaller_constants(name: str, k: int, share: float, seed: int) -> None:
    assert excess(share, name, k, seed) > 0


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["plane", "torus"])
def test_the_law_fails_for_wrong_diagrams(name: str, broken: str, seed: int) -> None:
    assert excess(1.0, name, 0, seed, broken) > 0


@pytest.mark.parametrize(("name", "k"), BRANCHES)
def test_the_constant_is_attained(name: str, k: int) -> None:
    # The pixel that fills a sphere moves alone, and the death with it.
    model, shape = MODELS[name]
    batch = clone(model).fit_transform([sphere(shape, k, 0.5), sphere(shape, k, 0.625)])
    assert bottleneck(batch.diagram(0, k), batch.diagram(1, k)) == 0.125


@pytest.mark.parametrize("name", MODELS)
def test_values_are_pixels(name: str, seed: int) -> None:
    model, shape = MODELS[name]
    image = np.random.default_rng(seed).normal(size=shape)
    batch = clone(model).fit_transform([image])
    assert model.relative_rounding() == 0
    assert all(set(bars.ravel()) <= set(image.ravel()) for bars in batch.bars.values())
    assert model.largest_values([image]).tolist() == [np.abs(image).max()]


# A slow reference.


def whole_complex(image: Array, periodic: tuple[bool, ...]) -> dict[int, list[list[float]]]:
    """Columns of the boundary matrix over Z/2, reduced in the order of values."""
    shape = image.shape
    cells = {}
    for corner in itertools.product(*map(range, shape)):
        for along in itertools.product((0, 1), repeat=image.ndim):
            ends = [(x, x + a) for x, a in zip(corner, along, strict=True)]
            if any(e[1] >= n and not p for e, n, p in zip(ends, shape, periodic, strict=True)):
                continue
            pixels = itertools.product(*ends)
            cells[corner, along] = max(float(image[tuple(np.mod(p, shape))]) for p in pixels)
    order = sorted(cells, key=lambda cell: (cells[cell], sum(cell[1])))
    index = {cell: i for i, cell in enumerate(order)}
    reduced: dict[int, set[int]] = {}
    bars: dict[int, list[list[float]]] = {k: [] for k in range(image.ndim + 1)}
    for corner, along in order:
        column: set[int] = set()
        for axis in np.flatnonzero(along):
            face = (*along[:axis], 0, *along[axis + 1 :])
            beyond = (*corner[:axis], (corner[axis] + 1) % shape[axis], *corner[axis + 1 :])
            column ^= {index[corner, face]}
            column ^= {index[beyond, face]}
        while column and max(column) in reduced:
            column ^= reduced[max(column)]
        if column:
            reduced[max(column)] = column
            born = order[max(column)]
            bar = [cells[born], cells[corner, along]]
            if bar[0] < bar[1]:
                bars[sum(born[1])].append(bar)
    return {k: sorted(found) for k, found in bars.items()}


@pytest.mark.parametrize("n_axes", [2, 3])
def test_the_whole_complex_has_the_same_diagrams(n_axes: int, seed: int) -> None:
    # Axes of 1 and 2 pixels too, periodic or not.
    rng = np.random.default_rng([seed, n_axes])
    dimensions = tuple(range(n_axes))
    for trial in range(60 if n_axes == 2 else 20):
        shape = tuple(rng.integers(1, 7 if n_axes == 2 else 4, size=n_axes))
        periodic = tuple(bool(p) for p in rng.integers(0, 2, size=n_axes))
        image = 1.0 * rng.integers(0, 9, size=shape) if trial % 2 else rng.normal(size=shape)
        found = cubical(image, dimensions, periodic=periodic)
        expected = whole_complex(image, periodic)
        assert {k: sorted(found[k]) for k in dimensions} == {k: expected[k] for k in dimensions}


# The contract.


def images(seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in [(5, 8), (1, 1), (9, 3), (1, 20)] * 5]


def test_stability_starts_from_pixels_only() -> None:
    model = CubicalPersistence((1, 0))
    assert list(model.stability(SUP).branches) == ["H0", "H1"]
    with pytest.raises(StabilityError, match=re.escape("from matrix[sup], not from points[haus")):
        model.stability(HAUSDORFF)


def test_balls_reach_as_far_as_pixels_move() -> None:
    ball = CubicalPersistence().fit([RING]).bounds([RING], 0.5, source=SUP)
    assert ball.lowest == -np.inf
    assert ball.metrics == {0: BOTTLENECK, 1: BOTTLENECK}
    assert 0.5 <= ball.reach[0][0] <= np.nextafter(0.5, 1)
    births, _ = ball.intervals(0)
    assert births[0, 0, 0] == pytest.approx(1.5)
    # Images have no lowest value: births may fall below 0.
    births, _ = CubicalPersistence().fit([RING]).bounds([RING], 3.0, source=SUP).intervals(0)
    assert births[0, 0, 0] == pytest.approx(-1)


def test_what_is_accepted_as_images() -> None:
    stack = np.arange(24.0).reshape(2, 3, 4) % 7
    expected = CubicalPersistence().fit_transform(list(stack))
    for X in (stack, stack.tolist(), stack.astype(np.float32), stack.astype(np.uint8)):
        assert CubicalPersistence().fit_transform(X) == expected
    assert CubicalPersistence().fit_transform(torch.from_numpy(stack)) == expected
    model = CubicalPersistence()
    assert model.fit(stack).dimension_ == 2
    assert model.fit(stack[None]).dimension_ == 3
    stack.flags.writeable = False
    assert model.fit_transform(stack) == expected


def test_clones_pickles_and_threads_change_nothing() -> None:
    X = images()
    model = CubicalPersistence()
    diagrams = model.fit_transform(X)
    assert diagrams == DiagramBatch.concatenate([model.transform([image]) for image in X])
    assert clone(model).fit_transform(X) == diagrams
    assert pickle.loads(pickle.dumps(model)).transform(X) == diagrams
    with joblib.parallel_config(backend="threading"):
        assert model.set_params(n_jobs=2).transform(X) == diagrams


def test_fit_comes_first() -> None:
    with pytest.raises(NotFittedError):
        CubicalPersistence().transform([RING])


# Errors.

GOOD = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([GOOD, GOOD + np.nan], ValueError, "X[1] has 9 of 9 pixels that are NaN, infinite or bey"),
        ([GOOD, [[0, 1], [np.inf, 0]]], ValueError, "(first: (1, 0) is inf)"),
        ([GOOD, GOOD - 1e305], ValueError, "X[1] has 9 of 9 pixels that are NaN, infinite or bey"),
        ([GOOD, np.zeros((3, 3, 3))], ValueError, "X[1] has 3 axes, shape (3, 3, 3), but"),
        ([GOOD, GOOD[0]], ValueError, "X[1] has shape (3,): expected an image of 2 or 3 axes"),
        ([GOOD, np.zeros((0, 3))], ValueError, "X[1] is empty"),
        ([GOOD, np.zeros((3, 0))], ValueError, "X[1] has rows without entries"),
        ([GOOD, [[1, 2], [3]]], ValueError, "X[1] has rows of different lengths"),
        ([GOOD, GOOD > 0], TypeError, "X[1] has dtype bool"),
        ([GOOD, GOOD + 1j], TypeError, "X[1] has dtype complex128"),
        (GOOD, ValueError, "X is one 2-D array of shape (3, 3): a single input, or a table? Wrap"),
        ([], ValueError, "X is empty: there is nothing in it. Expected a list of 2-D images"),
        (None, TypeError, "X is a NoneType. Expected a list of 2-D images"),
    ],
)
def test_bad_images_are_refused(X: Any, kind: type[Exception], message: str) -> None:
    fitted = CubicalPersistence().fit([GOOD])
    for door in (check_images, fitted.fit, fitted.transform):
        with pytest.raises(kind, match=re.escape(message)):
            door(X)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"periodic": (True,)}, "periodic=(True,) speaks of 1 axes, but X[0] has 2"),
        ({"periodic": True}, "periodic=True: expected None, or a tuple of one bool an axis"),
        ({"periodic": (1, 0)}, "periodic=(1, 0): expected None, or a tuple"),
        ({"homology_dimensions": (0, 2)}, "images with 2 axes have no bars in dimension 2"),
        ({"homology_dimensions": ()}, "homology_dimensions=(): expected a tuple"),
        ({"n_jobs": 0}, "n_jobs=0: expected a number of workers"),
    ],
)
def test_bad_parameters_are_refused(settings: dict[str, Any], message: str) -> None:
    model = CubicalPersistence().fit([GOOD]).set_params(**settings)
    for method in (model.fit, model.transform):
        with pytest.raises(ValueError, match=re.escape(message)):
            method([GOOD])
