"""Boxes contain the vectors of every diagram in a ball, and are as small as they say (R5).

All births, deaths and reaches are multiples of 2^-20 below 2^10, so sums of them are exact and
every diagram made here is in its ball, and on its boundary where it is meant to be.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks import (
    DistanceContour,
    HalfLengths,
    Landscapes,
    PersistenceImages,
    PersLaySums,
    StableRank,
    StandardContour,
    Windows,
    boxes,
    order_statistics,
    stable_rank,
    sums,
)
from stablerank.ranks.boxes import BarBoxes, bar_boxes
from stablerank.ranks.templates import Template
from stablerank.stability import (
    BOTTLENECK,
    ORDERED_DEATHS,
    Space,
    StabilityChain,
    StabilityError,
)

Array = NDArray[np.float64]

INF = math.inf
UNIT = 2.0**-20
MIXTURE = DistanceContour([1.0, 1.3], [0.8, 0.3], [2.0, 1.0], floor=0.2)
POSITIONS = [0.0, 0.125, 0.4, 1.0, 1.5, 2.2]
WINDOWS = [[0.0, 0.5, 0.25], [0.0, 1.0, 2.0], [0.5, 1.5, 0.5], [1.0, 1.25, 1.0], [2.0, 2.1, 0.3]]
N_CENTRES, N_EACH = 40, 256

VECTORIZERS: dict[str, Any] = {
    **{f"ranks p={p}": StableRank(p=p, n_ranks=14, max_bars=20) for p in (1, 1.5, 2, 4, INF)},
    "ranks of few bars": StableRank(p=2, n_ranks=6, max_bars=4),
    **{f"mixture p={p}": StableRank(p=p, contour=MIXTURE, n_ranks=9) for p in (1, 3, INF)},
    "half lengths": HalfLengths(n_levels=14),
    "landscapes": Landscapes(positions=POSITIONS, n_levels=9),
    "landscapes on quantiles": Landscapes(n_positions=5, n_levels=3),
    "windows": Windows(windows=WINDOWS, n_levels=9),
    "windows on quantiles": Windows(n_windows=7, n_levels=3),
}
PIXELS = [[0.0, 0.5, 0.3], [0.0, 1.0, 2.0], [0.5, 1.5, 0.5], [1.0, 3.0, 0.05]]
# boxes without constants: finite as long as the reach is at most tau
SUMS: dict[str, Any] = {
    "persistence images": PersistenceImages(tau=0.5, pixels=PIXELS),
    "persistence images, tau=0.02": PersistenceImages(tau=0.02, pixels=PIXELS),
    "persistence images on quantiles": PersistenceImages(n_pixels=5),
    "PersLay triangles": PersLaySums("triangle", tau=0.5, functions=POSITIONS),
    "PersLay gaussians": PersLaySums("gaussian", tau=0.05, functions=PIXELS),
    "PersLay hats": PersLaySums("hat", tau=0.5, functions=PIXELS),
    "PersLay hats, tau=0.02": PersLaySums("hat", tau=0.02, functions=PIXELS),
    "PersLay lines": PersLaySums("line", tau=0.5, functions=[[1, -2, 0.5], [0, 1, -1], [-1, 1, 0]]),
    "PersLay on quantiles": PersLaySums(n_functions=5),
}
ALL = {**VECTORIZERS, **SUMS}
MIXTURES = [vectorizer for name, vectorizer in VECTORIZERS.items() if "mixture" in name]


def rounded(values: Any) -> Array:
    return np.asarray(np.round(np.asarray(values) / UNIT) * UNIT, dtype=np.float64)


# Balls, and diagrams inside of them.


@dataclass(frozen=True)
class Case:
    """A ball around some diagrams, and diagrams inside: row i of `cloud` names the centre."""

    ball: DiagramBall
    inside: DiagramBatch
    cloud: NDArray[np.int64]


def centre(rng: np.random.Generator, lowest: float) -> dict[int, Array]:
    deaths = rounded(rng.exponential(0.7, rng.integers(0, 13)))
    births = rounded(rng.uniform(0 if lowest == 0 else -2, 2, rng.integers(0, 13)))
    if rng.random() < 0.3:
        births[:] = max(lowest, 0)  # at the edge
    bars = np.column_stack([births, births + rounded(rng.exponential(0.5, births.size))])
    return {0: np.column_stack([np.zeros_like(deaths), deaths]), 1: bars}


def moved_bars(rng: np.random.Generator, bars: Array, r: float, lowest: float, kind: int) -> Array:
    """A diagram at bottleneck distance at most r, on the boundary for most kinds."""
    sign = rng.choice([-1.0, 1.0], bars.shape)
    if kind == 0:
        sign[:] = [-1, 1]  # all bars get longer
    elif kind == 1:
        sign[:] = [1, -1]  # all get shorter
    elif kind == 2:
        sign = rng.uniform(-1, 1, bars.shape)
    elif kind == 3:
        sign[:, :] = rng.choice([-1.0, 1.0], (len(bars), 1))  # they slide
    elif kind == 4:
        sign[:] = 0
    moved = np.maximum(bars + rounded(r * sign), lowest)
    short = bars[:, 1] - bars[:, 0] <= 2 * r
    # what can vanish does so now and then; it must where death comes before birth
    kept = ~(short & ((rng.random(len(bars)) < 0.3) | (kind == 1)))
    moved = moved[kept & (moved[:, 1] > moved[:, 0])]
    n_new = int(rng.choice([0, 3, 25])) if kind != 1 else 0
    where = np.array([*POSITIONS, *(w[0] for w in WINDOWS), *bars.flat, lowest, 5.0])
    births = np.maximum(rounded(rng.choice(where, n_new) - r * rng.choice([0, 1], n_new)), lowest)
    births = births[np.isfinite(births)]
    lengths = np.where(rng.random(births.size) < 0.7, 2 * r, rounded(2 * r * 0.3))
    return np.concatenate([moved, np.column_stack([births, births + lengths])])


def moved_deaths(rng: np.random.Generator, bars: Array, r: float, kind: int) -> Array:
    """Ordered deaths that each move by at most r: deaths of 0 come or go."""
    deaths = np.append(bars[:, 1], np.zeros(rng.choice([0, 3, 25])))
    sign = rng.choice([-1.0, 1.0], deaths.size)
    if kind < 2:
        sign[:] = 1 - 2 * kind
    elif kind == 2:
        sign = rng.uniform(-1, 1, deaths.size)
    deaths = np.maximum(deaths + rounded(r * sign), 0.0)
    return np.column_stack([np.zeros_like(deaths), deaths])


@functools.lru_cache(maxsize=12)
def make_case(seed: int, metric: Space, lowest: float) -> Case:
    """More than 10^4 diagrams, in balls from tiny to larger than all bars."""
    rng = np.random.default_rng([seed, lowest == 0])
    centres = [centre(rng, lowest) for _ in range(N_CENTRES)]
    reach = rounded(rng.choice([0.0, 1e-5, 1e-3, 0.05, 0.4, 2.0], N_CENTRES))
    inside, cloud = [], []
    for i, (diagram, r) in enumerate(zip(centres, reach.tolist(), strict=True)):
        for j in range(N_EACH):
            kind = j % 7
            if metric == ORDERED_DEATHS:
                h0 = moved_deaths(rng, diagram[0], r, kind)
            else:
                h0 = moved_bars(rng, diagram[0], r, lowest, kind)
            inside.append({0: h0, 1: moved_bars(rng, diagram[1], r, lowest, kind)})
            cloud.append(i)
    ball = DiagramBall(
        DiagramBatch.from_diagrams(centres),
        {0: reach, 1: reach},
        {0: metric, 1: BOTTLENECK},
        lowest,
    )
    return Case(ball, DiagramBatch.from_diagrams(inside), np.array(cloud))


CASES = {
    "ordered deaths": (ORDERED_DEATHS, 0.0),
    "bottleneck": (BOTTLENECK, 0.0),
    "images": (BOTTLENECK, -INF),
}


def ends(vectorizer: Any, ball: DiagramBall) -> tuple[Array, Array]:
    lower, upper = vectorizer.bounds(ball)
    assert lower.dtype == upper.dtype == torch.float64
    return lower.numpy(), upper.numpy()


def escape(vectorizer: Any, case: Case) -> float:
    """How far the farthest vector of a diagram inside the ball is outside its box."""
    vectorizer.fit(case.ball.diagrams)
    lower, upper = ends(vectorizer, case.ball)
    vectors = vectorizer.transform(case.inside)
    outside = np.maximum(vectors - upper[case.cloud], lower[case.cloud] - vectors)
    return float(outside.max())


# By hand.


def one_ball(bars: Any, reach: float, metric: Space = BOTTLENECK, lowest: float = 0.0) -> Any:
    batch = DiagramBatch.from_diagrams([{1: bars}])
    return DiagramBall(batch, {1: np.array([reach])}, {1: metric}, lowest)


def box(vectorizer: Any, ball: DiagramBall) -> list[list[float]]:
    return [end[0].tolist() for end in ends(vectorizer.fit(ball.diagrams), ball)]


def test_boxes_of_lengths_by_hand() -> None:
    # (1, 3) and (2, 2.5) by 1/2: lengths in [1, 3], and in [0, 1.5]; (0, 1) may appear at any rank
    ball = one_ball([[1, 3], [2, 2.5]], 0.5)
    assert box(StableRank(n_ranks=3), ball) == [[1, 0, 0], [3, 1.5, 1]]
    assert box(HalfLengths(n_levels=3), ball) == [[0.5, 0, 0], [1.5, 0.75, 0.5]]
    # p = 1 with B = 3 places: tails of (1, 0, 0) and of (3, 1.5, 1)
    tails = box(StableRank(p=1, n_ranks=4, max_bars=3), ball)
    assert tails[0] == pytest.approx([1, 0, 0, 0], abs=1e-13)
    assert tails[1] == pytest.approx([5.5, 2.5, 1, 0], abs=1e-13)
    # deaths alone: (0, 3) by 1/2 has a length in [2.5, 3.5], and (0, 1/2) may appear
    ball = one_ball([[0, 3]], 0.5, ORDERED_DEATHS)
    assert box(StableRank(n_ranks=2), ball) == [[2.5, 0], [3.5, 0.5]]
    assert box(HalfLengths(n_levels=2), ball) == [[1.25, 0], [1.75, 0.25]]


def test_births_are_not_moved_below_the_lowest() -> None:
    bars = [[0.25, 3]]
    assert box(StableRank(n_ranks=1), one_ball(bars, 0.5)) == [[1.75], [3.5]]
    assert box(StableRank(n_ranks=1), one_ball(bars, 0.5, lowest=-INF)) == [[1.75], [3.75]]


def test_boxes_of_landscapes_by_hand() -> None:
    # (1, 5) by 1/2 at t = 2: min(2 - b, d - 2), lowest at (1.5, 4.5), highest at (0.5, 5.5);
    # a bar that appears around t has at most 1/2, at t = 1/4 at most 1/4, being born at 0
    ball = one_ball([[1, 5]], 0.5)
    found = box(Landscapes(positions=[2, 0.25], n_levels=2), ball)
    assert found == [[0.5, 0, 0, 0], [1.5, 0.5, 0.25, 0.25]]
    unbounded = replace(ball, lowest=-INF)
    assert box(Landscapes(positions=[0.25], n_levels=2), unbounded) == [[0, 0], [0.5, 0.5]]
    # ordered deaths: (0, 5) at t = 2 is 2 whatever the death; (0, 1/2) may appear: at t = 1/8 1/8
    ball = one_ball([[0, 5]], 0.5, ORDERED_DEATHS)
    found = box(Landscapes(positions=[2, 0.125], n_levels=2), ball)
    assert found == [[2, 0, 0.125, 0], [2, 0, 0.125, 0.125]]


def test_boxes_of_windows_by_hand() -> None:
    # centre (1, 5), size 1: the bar (1, 5) by 1/4 is between 0 and 1/4 away; none of length 1/2 is
    # within 1, the nearest being (2.75, 3.25)
    ball = one_ball([[1, 5]], 0.25)
    assert box(Windows(windows=[[1, 5, 1]], n_levels=2), ball) == [[0.75, 0], [1, 0]]
    # centre (1, 2), size 1: the nearest bar of length 1/2 is (1.25, 1.75), worth min(1/4, 3/4)
    assert box(Windows(windows=[[1, 2, 1]], n_levels=1), ball)[1] == [0.25]
    # and of size 0.375: min(1/4, 1/8)
    found = box(Windows(windows=[[1, 2, 0.375]], n_levels=1), ball)[1]
    assert found == pytest.approx([0.125], rel=1e-14)
    # nothing is born below 0: (0, 1/2) is 1 away from (-1, 0)
    assert box(Windows(windows=[[-1, 0, 1.125]], n_levels=1), ball)[1] == [0.125]


def test_boxes_of_images_by_hand() -> None:
    # at c = (1, 5), very wide, (1, 5) by 1/2 weighs between 3/2 - 1 and 5/2 - 1; reach 1 is still
    # tau, more is not; of ordered deaths (0, 5) weighs 5/2 ± 1/4 - 1, and 2 tau is still allowed
    images = PersistenceImages(tau=1, pixels=[[1, 5, 1e12]])
    found = box(images, one_ball([[1, 5]], 0.5))
    assert found[0] + found[1] == pytest.approx([0.5, 1.5], rel=1e-14)
    assert box(images, one_ball([[1, 5]], 1.0))[1] == pytest.approx([2], rel=1e-14)
    assert box(images, one_ball([[1, 5]], 1.0 + UNIT))[1] == [INF]
    found = box(images, one_ball([[0, 5]], 0.5, ORDERED_DEATHS))
    assert found[0] + found[1] == pytest.approx([1.25, 1.75], rel=1e-14)
    assert box(images, one_ball([[0, 5]], 2.0, ORDERED_DEATHS))[1] < [INF]
    # narrow: between the nearest and the farthest corner, which is 0.5 away in each coordinate
    images = PersistenceImages(tau=0.5, pixels=[[1, 5, 0.5]])
    found = box(images, one_ball([[1, 5]], 0.5))
    assert found[0] + found[1] == pytest.approx([math.exp(-1), 2], rel=1e-14)


# The law.


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("vectorizer", ALL.values(), ids=ALL)
def test_boxes_contain_every_diagram_of_the_ball(
    vectorizer: Any, case: tuple[Space, float], seed: int
) -> None:
    assert len(make_case(seed, *case).inside) > 10_000
    assert escape(vectorizer, make_case(seed, *case)) <= 0


def nothing_appears(self: Template, found: BarBoxes) -> torch.Tensor:
    return torch.zeros((len(found.reach), len(self)), dtype=torch.float64)


def nothing_vanishes(ball: DiagramBall, dimension: int, clouds: slice, *_: Any) -> BarBoxes:
    """Bars that could vanish stay where they are."""
    found = bar_boxes(ball, dimension, clouds)
    still = bar_boxes(
        ball.with_reach({k: np.zeros_like(r) for k, r in ball.reach.items()}), dimension, clouds
    )
    gone = found.deaths_low <= found.births_high
    return replace(
        found,
        births_high=torch.where(gone, still.births_low, found.births_high),
        deaths_low=torch.where(gone, still.deaths_low, found.deaths_low),
    )


def half_the_reach(ball: DiagramBall, dimension: int, clouds: slice, *_: Any) -> BarBoxes:
    return bar_boxes(ball.with_reach({k: r / 2 for k, r in ball.reach.items()}), dimension, clouds)


def ordered_deaths_for_all(ball: DiagramBall, dimension: int, clouds: slice, *_: Any) -> BarBoxes:
    return replace(bar_boxes(ball, dimension, clouds), births_move=False)


def births_above_one(ball: DiagramBall, dimension: int, clouds: slice, *_: Any) -> BarBoxes:
    return bar_boxes(replace(ball, lowest=1.0), dimension, clouds)


BROKEN = [nothing_vanishes, half_the_reach, births_above_one, ordered_deaths_for_all]
SIGNED = ["PersLay hats", "PersLay lines"]
ORDERS = ["ranks p=1", "ranks p=inf", "half lengths", "landscapes", "windows"]


@pytest.mark.parametrize(
    ("vectorizer", "broken"),
    # bars up to 2 tau do not count in a sum, so there it matters less how many may appear
    [
        *itertools.product(ORDERS, BROKEN),
        *itertools.product(["persistence images", "PersLay triangles"], BROKEN[:3]),
        # and of what vanishes, at most its negative part counts
        *itertools.product(["PersLay gaussians", *SIGNED], BROKEN[1:3]),
    ],
)
def test_the_law_can_fail(
    vectorizer: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    case = make_case(seed, BOTTLENECK, 0.0)
    for module in (order_statistics, stable_rank, sums):
        monkeypatch.setattr(module, "bar_boxes", broken)
    assert escape(ALL[vectorizer], case) > 0


@pytest.mark.parametrize("vectorizer", ORDERS)
def test_the_law_fails_if_no_bar_may_appear(
    vectorizer: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    base = type(HalfLengths()._template(0)).__mro__[1]
    monkeypatch.setattr(base, "appearing", nothing_appears)
    monkeypatch.setattr(StandardContour, "longest", lambda self, gap: torch.zeros_like(gap))
    assert escape(VECTORIZERS[vectorizer], make_case(seed, BOTTLENECK, 0.0)) > 0


@pytest.mark.parametrize("p", [1.5, 2, 4])
def test_the_law_fails_if_the_rounding_of_norms_is_forgotten(
    p: float, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(stable_rank, "_norm_rounding", lambda p, bars: 0.0)
    assert escape(VECTORIZERS[f"ranks p={p}"], make_case(seed, BOTTLENECK, 0.0)) > 0


def test_the_law_fails_if_sums_stay_finite_beyond_tau(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    images = ALL["persistence images, tau=0.02"]
    monkeypatch.setattr(torch, "where", lambda condition, infinite, finite: finite)
    assert escape(images, make_case(seed, BOTTLENECK, 0.0)) > 0


# How large the boxes are.


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("vectorizer", VECTORIZERS.values(), ids=VECTORIZERS)
def test_boxes_are_no_wider_than_the_constants(
    vectorizer: Any, case: tuple[Space, float], seed: int
) -> None:
    found = make_case(seed, *case)
    ball = found.ball
    vectorizer.fit(ball.diagrams)
    lower, upper = ends(vectorizer, ball)
    vectors = vectorizer.transform(ball.diagrams)
    spaces = Space.product({f"H{k}": space for k, space in ball.metrics.items()})
    constants = StabilityChain(vectorizer.stability(spaces)).constants
    allowed = np.asarray(constants) * ball.reach[1][:, None]
    # rounding: a few units of the largest value, 20 bars' norms at most 250 of them
    largest = 20 * (np.abs(vectors).max(axis=1, keepdims=True) + allowed)
    granted = 1000 * 2.0**-53 * (largest + 10)
    assert (upper - vectors <= allowed + granted).all()
    assert (vectors - lower <= allowed + granted).all()
    assert (lower <= vectors).all()
    assert (vectors <= upper).all()


@pytest.mark.parametrize("vectorizer", ALL.values(), ids=ALL)
def test_boxes_of_reach_zero_are_points(vectorizer: Any, seed: int) -> None:
    ball = make_case(seed, BOTTLENECK, 0.0).ball
    ball = ball.with_reach({k: np.zeros(len(ball)) for k in ball.reach})
    vectorizer.fit(ball.diagrams)
    lower, upper = ends(vectorizer, ball)
    vectors = vectorizer.transform(ball.diagrams)
    exact = not isinstance(vectorizer, (StableRank, sums.BarSums)) or (
        isinstance(vectorizer, StableRank)
        and vectorizer.p == INF
        and vectorizer.contour == "standard"
    )
    assert np.abs(upper - lower).max() <= (0 if exact else 1e-11)
    assert ((lower <= vectors) & (vectors <= upper)).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("vectorizer", VECTORIZERS.values(), ids=VECTORIZERS)
def test_boxes_grow_with_the_reach(vectorizer: Any, case: tuple[Space, float], seed: int) -> None:
    ball = make_case(seed, *case).ball
    vectorizer.fit(ball.diagrams)
    before: tuple[Array, Array] | None = None
    for reach in (0.0, 1e-9, 1e-4, 0.01, 0.3, 3.0):
        found = ends(vectorizer, ball.with_reach({k: np.full(len(ball), reach) for k in (0, 1)}))
        if before is not None:
            # norms and mixtures are monotone but for rounding
            granted = 1e-12 if isinstance(vectorizer, StableRank) else 0.0
            assert (found[0] <= before[0] + granted).all()
            assert (found[1] >= before[1] - granted).all()
        before = found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("vectorizer", VECTORIZERS.values(), ids=VECTORIZERS)
def test_both_ends_are_attained_somewhere(
    vectorizer: Any, case: tuple[Space, float], seed: int
) -> None:
    found = make_case(seed, *case)
    vectorizer.fit(found.ball.diagrams)
    lower, upper = ends(vectorizer, found.ball)
    vectors = vectorizer.transform(found.inside)
    centres = vectorizer.transform(found.ball.diagrams)
    reach = found.ball.reach[1][:, None]
    shape = (N_CENTRES, N_EACH, -1)
    highest, deepest = (f(vectors.reshape(shape), axis=1) for f in (np.max, np.min))
    # where the adversary has room, and moves the coordinate at all
    for end, reached in ((upper, highest), (lower, deepest)):
        moved = (reach >= 1e-3) & (np.abs(end - centres) > 0.2 * reach)
        assert moved.sum() > 20
        if vectorizer in MIXTURES and end is upper:
            continue  # bars that appear are charged K times their length, most get less
        assert (np.abs(end - reached)[moved] < 1e-11).sum() > 10


# The contract.


@pytest.mark.parametrize("vectorizer", ALL.values(), ids=ALL)
def test_a_box_does_not_depend_on_the_clouds_beside_it(
    vectorizer: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    ball = make_case(seed, ORDERED_DEATHS, 0.0).ball
    vectorizer.fit(ball.diagrams)
    whole = ends(vectorizer, ball)
    monkeypatch.setattr(boxes, "BATCH_BARS", 1)
    for alone, together in zip(ends(vectorizer, ball), whole, strict=True):
        assert (alone == together).all()
    for i in (0, 7, N_CENTRES - 1):
        reach = {k: r[[i]] for k, r in ball.reach.items()}
        one = DiagramBall(ball.diagrams[[i]], reach, ball.metrics, ball.lowest)
        for alone, together in zip(ends(vectorizer, one), whole, strict=True):
            assert (alone[0] == together[i]).all()


def test_boxes_are_those_of_the_ball(seed: int) -> None:
    for metric, lowest in CASES.values():
        ball = make_case(seed, metric, lowest).ball
        for k in (0, 1):
            found = bar_boxes(ball, k, slice(0, len(ball)))
            births, deaths = ball.intervals(k)
            slots = np.arange(births.shape[1]) < ball.diagrams.n_bars(k)[:, None]
            for end, expected in (
                (found.births_low, births[..., 0]),
                (found.births_high, births[..., 1]),
                (found.deaths_low, deaths[..., 0]),
                (found.deaths_high, deaths[..., 1]),
            ):
                assert end.numpy()[slots] == pytest.approx(expected[slots], rel=1e-15, abs=1e-300)
                assert (end.numpy()[~slots] == 0).all()


@pytest.mark.parametrize("vectorizer", VECTORIZERS.values(), ids=VECTORIZERS)
def test_a_ball_without_bars_has_a_box_too(vectorizer: Any) -> None:
    batch = DiagramBatch.from_diagrams([{0: [], 1: []}])
    ball = DiagramBall(batch, {k: np.array([0.5]) for k in (0, 1)}, {0: BOTTLENECK, 1: BOTTLENECK})
    vectorizer.fit(make_case(0, BOTTLENECK, 0.0).ball.diagrams)
    lower, upper = ends(vectorizer, ball)
    assert (lower == 0).all()
    assert upper.max() >= 0.4


# Errors.


@pytest.mark.parametrize("vectorizer", [StableRank(), Landscapes(), Windows(), HalfLengths()])
def test_a_missing_dimension_is_named_and_fit_comes_first(vectorizer: Any) -> None:
    ball = one_ball([[1, 2]], 0.5)
    with pytest.raises(NotFittedError):
        type(vectorizer)().bounds(ball)
    vectorizer.fit([{0: [[0, 1]], 1: [[1, 2]]}])
    with pytest.raises(ValueError, match=re.escape("There is no H0 in this batch")):
        vectorizer.bounds(ball)


def test_a_contour_that_does_not_know_its_short_bars_is_refused() -> None:
    class Unknown(StandardContour):
        longest = StandardContour.__mro__[1].longest  # type: ignore[attr-defined]

    ball = one_ball([[1, 2]], 0.5)
    with pytest.raises(StabilityError, match="Unknown does not say how long short bars can get"):
        StableRank(contour=Unknown()).fit(ball.diagrams).bounds(ball)


def test_a_bad_exponent_is_refused() -> None:
    ball = one_ball([[1, 2]], 0.5)
    rank = StableRank().fit(ball.diagrams).set_params(p=0.5)
    with pytest.raises(ValueError, match=re.escape("p=0.5 is not the exponent of a norm")):
        rank.bounds(ball)


@pytest.mark.parametrize("name", ["stable rank", "half lengths", "landscapes"])
def test_the_bars_that_die_late_are_enough_where_births_stay_at_0(
    name: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # to the last bit, ties, short bars and clouds without bars among them
    rng = np.random.default_rng(seed)
    deaths = [rng.integers(0, 6, size=n) / 3 + rng.choice([0, 1e-16], n) for n in (0, 1, 3, 40)]
    batch = DiagramBatch.from_diagrams(
        [{0: [[0.0, d] for d in each]} if len(each) else {0: np.empty((0, 2))} for each in deaths]
    )
    vectorizer: Any = {
        "stable rank": StableRank(n_ranks=5),
        "half lengths": HalfLengths(n_levels=5),
        "landscapes": Landscapes(positions=[0.0, 0.3, 1.0, 5.0], n_levels=5),
    }[name]
    vectorizer.fit(batch)
    for metric in (ORDERED_DEATHS, BOTTLENECK):
        ball = DiagramBall(batch, {0: np.array([0.1, 0.2, 0.0, 0.34])}, {0: metric})
        few = vectorizer.bounds(ball)
        with monkeypatch.context() as patched:
            for module in (stable_rank, order_statistics):
                patched.setattr(module, "latest_bars", lambda *_: None)
            everything = vectorizer.bounds(ball)
        for some, every in zip(few, everything, strict=True):
            assert torch.equal(some, every)
