"""The checker's constants are attained, and its boxes hold what attains them.

Vectors come from the package, whose constants the checker does not know. Each case is an adversary
who moves some input by ε and one coordinate by exactly what the constant says, so that a constant
that was any smaller would be false; and each of the factors is dropped once to see that it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import (
    AlphaPersistence,
    AnisotropicPersistence,
    CubicalPersistence,
    DistanceContour,
    DistanceField,
    ExponentialContour,
    HalfLengths,
    Landscapes,
    RipsPersistence,
    ShiftContour,
    SortedNeighbourDistances,
    StableRank,
    StepDistanceContour,
    StepShiftContour,
    Windows,
)
from stablerank.checker import contours, fields, links, vectors
from stablerank.checker.chain import by_coordinate
from stablerank.checker.file_format import diagram_rows
from stablerank.checker.inputs import Input

from .conftest import on_a_line, space_of, stages_of

Array = NDArray[np.float64]

EPSILON = 2.0**-12


@dataclasses.dataclass
class Case:
    """Stages, an input before and after, and by how much the adversary has moved it."""

    stages: Sequence[Any]
    before: Any
    after: Any
    space: Any
    moved: float


def pair(distance: float, ways: Sequence[float] = (1.0, 0.0)) -> Array:
    return distance / 2 * np.array([-np.asarray(ways), ways])


def bars(*rows: Sequence[float]) -> dict[int, Any]:
    return {1: np.array(rows, dtype=float)}


def two_ranks(**parameters: Any) -> StableRank:
    return StableRank(**{"n_ranks": 2, **parameters})


_W1 = ("wasserstein", 1.0, 1.0)
E, SQUARE = EPSILON, (math.sqrt(0.5), math.sqrt(0.5))
# A component is born at -1, of a point 0.2 away, or of several there, and one at 1; 0 joins them.
# If the points near 1 move away from 0 its birth is earlier and its death, in their middle, later.
HEAPS, AWAY = [[-0.8], [-0.8], [0.7], [0.7]], [[-0.8], [-0.8], [0.7 + E], [0.7 + E]]
_PEAK = DistanceContour(means=[1.0], scales=[0.5], weights=[0.7], floor=0.1)
CASES: dict[str, Callable[[], Case]] = {
    # D1 and D3: half of the edge between two points
    "alpha": lambda: Case(
        (AlphaPersistence((0,)), two_ranks()), pair(2), pair(2 + 2 * E), space_of("per_point"), E
    ),
    # D2: an edge has two ends
    "Rips": lambda: Case(
        (RipsPersistence((0,)), two_ranks()), pair(2), pair(2 + 2 * E), space_of("hausdorff"), E
    ),
    # D6: along the diagonal every coordinate moves by less
    "alpha, coordinates": lambda: Case(
        (AlphaPersistence((0,)), two_ranks()),
        pair(2, SQUARE),
        pair(2 + 2 * math.sqrt(2) * E, SQUARE),
        space_of("per_coordinate"),
        E,
    ),
    # D6: both ends share ε
    "alpha, Frobenius": lambda: Case(
        (AlphaPersistence((0,)), two_ranks()),
        pair(2),
        pair(2 + math.sqrt(2) * E),
        space_of("frobenius"),
        E,
    ),
    "Rips, Frobenius": lambda: Case(
        (RipsPersistence((0,)), two_ranks()),
        pair(2),
        pair(2 + math.sqrt(2) * E),
        space_of("frobenius"),
        E,
    ),
    "dissimilarities": lambda: Case(
        (RipsPersistence((0,), metric="precomputed"), two_ranks()),
        2 * (1 - np.eye(2)),
        (2 + E) * (1 - np.eye(2)),
        space_of("sup"),
        E,
    ),
    # D5, and R3: both ends of the bar move
    "measure": lambda: Case(
        (on_a_line(1), two_ranks()), HEAPS[1:3], AWAY[1:3], space_of("per_point"), E
    ),
    # D6: k points share ε
    "measure, Frobenius": lambda: Case(
        (on_a_line(2), two_ranks()), HEAPS, AWAY, space_of("frobenius"), math.sqrt(2) * E
    ),
    "measure, mean": lambda: Case(
        (on_a_line(2, q=1), HalfLengths(1)), HEAPS, AWAY, space_of("per_coordinate"), E
    ),
    # D4
    "cubical": lambda: Case(
        (CubicalPersistence((0,)), two_ranks()),
        np.array([[0.0, 3.0, 1.0], [5.0, 5.0, 5.0]]),
        np.array([[0.0, 3.0 + E, 1.0 - E], [5.0, 5.0, 5.0]]),
        space_of("sup"),
        E,
    ),
    # R3 and R4
    "ranks": lambda: Case(
        (two_ranks(),), bars([1, 3]), bars([1 - E, 3 + E]), space_of("bottleneck"), E
    ),
    "half lengths": lambda: Case(
        (HalfLengths(1),), bars([1, 3]), bars([1 - E, 3 + E]), space_of("bottleneck"), E
    ),
    "half lengths of components": lambda: Case(
        (AlphaPersistence((0,)), HalfLengths(1)),
        pair(2),
        pair(2 + 2 * E),
        space_of("per_point"),
        E,
    ),
    "landscapes": lambda: Case(
        (Landscapes(positions=[1.9], n_levels=1),),
        bars([1, 3]),
        bars([1 - E, 3]),
        space_of("bottleneck"),
        E,
    ),
    "landscapes of components": lambda: Case(
        (AlphaPersistence((0,)), Landscapes(positions=[0.6], n_levels=1)),
        pair(2),
        pair(2 + 2 * E),
        space_of("per_point"),
        E,
    ),
    "windows": lambda: Case(
        (Windows(windows=[[1, 4, 1.5]], n_levels=1),),
        bars([0, 4]),
        bars([E, 4]),
        space_of("bottleneck"),
        E,
    ),
    # R3: all three bars of a tail
    "p=2": lambda: Case(
        (two_ranks(p=2.0),),
        bars(*[[1, 3]] * 3),
        bars(*[[1 - E, 3 + E]] * 3),
        space_of("bottleneck"),
        E,
    ),
    # R2: a bar whose ends move apart by δ is 2^{1/q} δ away in ground norm q
    "W2, q=2": lambda: Case(
        (two_ranks(),),
        bars([1, 3]),
        bars([1 - E, 3 + E]),
        space_of("wasserstein", 2.0, 2.0),
        math.sqrt(2) * E,
    ),
    "W1, q=1": lambda: Case(
        (HalfLengths(1),),
        bars([1, 3]),
        bars([1 - E, 3 + E]),
        space_of("wasserstein", 1.0, 1.0),
        2 * E,
    ),
    # R2: three bars of a rank with p=1 share W_3
    "W3, p=1": lambda: Case(
        (two_ranks(p=1.0),),
        bars(*[[1, 3]] * 3),
        bars(*[[1 - E, 3 + E]] * 3),
        space_of("wasserstein", 3.0, math.inf),
        3 ** (1 / 3) * E,
    ),
    # D5 without persistence: a vertex from which the nearest point, or two of them, move away
    "field": lambda: Case(
        (DistanceField([1, 2], resolution=2, box=([0], [1])),),
        np.array([[-1.0], [-2.0], [9.0]]),
        np.array([[-1.0 - E], [-2.0 - E], [9.0]]),
        space_of("per_point"),
        E,
    ),
    "field, Hausdorff": lambda: Case(
        (DistanceField(1, resolution=2, box=([0], [1])),),
        np.array([[-1.0]]),
        np.array([[-1.0 - E]] * 2),
        space_of("hausdorff"),
        E,
    ),
    "field, Frobenius": lambda: Case(
        (DistanceField(2, kind="measure", resolution=2, box=([0], [1])),),
        np.array([[-1.0], [-1.0], [9.0]]),
        np.array([[-1.0 - E], [-1.0 - E], [9.0]]),
        space_of("frobenius"),
        math.sqrt(2) * E,
    ),
    "neighbours": lambda: Case(
        (SortedNeighbourDistances(blocks=2),),
        pair(2),
        pair(2 + 2 * E),
        space_of("per_point"),
        E,
    ),
    "neighbours, Frobenius": lambda: Case(
        (SortedNeighbourDistances(blocks=2),),
        pair(2),
        pair(2 + math.sqrt(2) * E),
        space_of("frobenius"),
        E,
    ),
    # along the singular vector of the largest singular value, 3
    "linear images": lambda: Case(
        (AnisotropicPersistence(RipsPersistence((0,)), [[3.0, 0.0], [0.0, 1.0]]), two_ranks()),
        pair(2),
        pair(2 + 2 * E),
        space_of("per_point"),
        E,
    ),
    # R1: where the density is largest; its slope changes with the square of ε only
    "contour": lambda: Case(
        (two_ranks(contour=_PEAK),),
        bars([-9, 1 - E / 2]),
        bars([-9, 1 + E / 2]),
        space_of("wasserstein", 1.0, 1.0),
        E,
    ),
}


def transformed(case: Case) -> tuple[Array, Array]:
    """The vectors before and after, by stages that were fitted before."""
    found = []
    for i, item in enumerate((case.before, case.after)):
        X: Any = [item]
        for stage in case.stages:
            if i == 0:
                stage.fit(X)
            X = stage.transform(X)
        found.append(np.asarray(X)[0])
    return found[0], found[1]


def ratio(case: Case) -> float:
    """The largest move of a coordinate, in units of what its constant allows."""
    before, after = transformed(case)
    constants = by_coordinate(links.links_to_vectors(stages_of(*case.stages), case.space))
    moves = np.abs(after - before)
    allowed = constants * case.moved
    return float((moves[moves > 0] / allowed[moves > 0]).max())


@pytest.mark.parametrize("name", CASES)
def test_constants_are_attained_and_not_exceeded(name: str) -> None:
    assert 1 - 1e-6 <= ratio(CASES[name]()) <= 1 + 1e-9


def outside(case: Case, share: float = 1.0) -> float:
    """How far the vector after leaves the box for a share of the move; 0 or less if it does not."""
    _, after = transformed(case)
    stages = stages_of(*case.stages)
    given = isinstance(case.before, dict)
    item = np.asarray(diagram_rows(case.before) if given else case.before, dtype=float)
    own = Input(item, {1})
    moved = case.moved * (1 + 1e-12) * share
    lower, upper = vectors.box(
        stages,
        lambda filtration: own.within(filtration, case.space, moved),
        lambda stage: own.field(stage, case.space, moved),
    )
    return float(max((lower - after).max(), (after - upper).max()))


@pytest.mark.parametrize("name", CASES)
def test_boxes_hold_what_attains_the_constants(name: str) -> None:
    assert outside(CASES[name]()) <= 0


def dropped(module: Any, name: str, factor: float) -> tuple[Any, str, Any]:
    original = getattr(module, name)
    if name == "_direct":
        return module, name, lambda s: {k: factor * v for k, v in original(s).items()}
    return module, name, lambda *a: original(*a) * factor


BROKEN: dict[str, tuple[str, tuple[Any, str, Any]]] = {
    "D1 halved": ("alpha", dropped(links, "_direct", 0.5)),
    "the 2 of D2": ("Rips", dropped(links, "_direct", 0.5)),
    "the root of d, D6": ("alpha, coordinates", (links, "root_up", lambda x: 1.0)),
    "the root of D6": ("Rips, Frobenius", (links, "root_up", lambda x: math.sqrt(x) * 0.9)),
    "D4 halved": ("cubical", dropped(links, "_direct", 0.5)),
    "D5 halved": ("measure", dropped(links, "_direct", 0.5)),
    "D6 with k for its root": ("measure, Frobenius", dropped(links, "_direct", math.sqrt(0.5))),
    "the 2 of R3": ("ranks", dropped(links, "slopes", 0.5)),
    "the root of R3": ("p=2", (vectors, "power_up", lambda x, e: x**0)),
    "the 2^{1-1/q} of R2": ("W2, q=2", (vectors, "power_up", lambda x, e: x**0)),
    "what W_3 pays": ("W3, p=1", (vectors, "power_up", lambda x, e: x**0 + (x == 2))),
    "the landscapes' constant": ("landscapes", dropped(links, "slopes", 0.5)),
    "the landscapes' constant in H0": ("landscapes of components", dropped(links, "slopes", 0.5)),
    "the windows' constant": ("windows", dropped(links, "slopes", 0.5)),
    "the norm of the matrix": ("linear images", (links, "norm_up", lambda matrix: 1.0)),
    "the root of k in fields": ("field, Frobenius", dropped(fields, "inverse_root_up", 0.5)),
    "the root of 2 of neighbours": (
        "neighbours, Frobenius",
        dropped(fields, "inverse_root_up", 0.5),
    ),
    "the half lengths' constant": ("half lengths", dropped(links, "slopes", 0.5)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_dropped_factor_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, patch = BROKEN[name]
    monkeypatch.setattr(*patch)
    assert ratio(CASES[case]()) > 1 + 1e-3


# where mass moves by W_p, or a contour is not even, boxes are of all that is as near in d_B
TIGHT = [name for name in CASES if name != "contour" and not name.startswith("W")]


@pytest.mark.parametrize("name", TIGHT)
def test_smaller_boxes_would_not_hold_it(name: str) -> None:
    assert outside(CASES[name](), 0.99) > 0


FLAT: dict[str, tuple[Any, list[float]]] = {
    # a bar whose birth moves by E where the contour is steepest
    "exponential": (ExponentialContour(start=1.0, rate=2.0), [1.0, 4.0]),
    "shift": (ShiftContour([0.0], [0.1], [1.0], floor=0.2), [50.0, 90.0]),
    "step distance": (StepDistanceContour([1.0, 2.0], [0.5, 3.0, 0.1]), [1.5, 9.0]),
    "step shift": (StepShiftContour([0.0, 2.0], [3.0, 0.2, 1.0]), [0.2, 9.0]),
}


@pytest.mark.parametrize("name", FLAT)
def test_constants_of_contours_are_attained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    contour, bar = FLAT[name]
    after = [bar[0] + E, bar[1]]
    case = Case((two_ranks(contour=contour),), bars(bar), bars(after), space_of(*_W1), E)
    assert 1 - 1e-3 <= ratio(case) <= 1 + 1e-9
    assert outside(case) <= 0
    original = contours._KINDS[name]
    monkeypatch.setitem(
        contours._KINDS,
        name,
        lambda data: dataclasses.replace(original(data), constant=original(data).constant * 0.99),
    )
    assert ratio(case) > 1 + 1e-3


def test_a_contour_that_is_too_flat_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contours._KINDS["distance"]
    monkeypatch.setitem(
        contours._KINDS,
        "distance",
        lambda data: dataclasses.replace(original(data), constant=original(data).constant * 0.99),
    )
    assert ratio(CASES["contour"]()) > 1 + 1e-3
