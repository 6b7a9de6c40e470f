"""Exponential, shift and step contours against 50 digits: constants, rounding, boxes (R1)."""

from __future__ import annotations

import itertools
import json
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
from torch import Tensor

from stablerank.diagrams import DiagramBatch
from stablerank.diagrams.ball import DiagramBall
from stablerank.ranks import (
    Contour,
    DistanceContour,
    ExponentialContour,
    ShiftContour,
    StableRank,
    StepDistanceContour,
    StepShiftContour,
)
from stablerank.ranks.contour_files import contour_from_dict
from stablerank.stability import BOTTLENECK
from stablerank.stage_files import plain_stage, read_stage

Array = NDArray[np.float64]

U = 2.0**-53
CONTOURS: dict[str, Contour] = {
    "exponential": ExponentialContour(0.125, 2.0),
    "exponential, odd numbers": ExponentialContour(0.3, 0.7),
    "shift, one component": ShiftContour([0.3], [0.2], [1.5], 0.5),
    "shift, overlapping": ShiftContour([0.5, 0.55, -0.7], [0.1, 0.3, 0.05], [1.0, 2.0, 0.0], 0.3),
    "shift, steep and far": ShiftContour([1.0, 50.0], [1e-6, 1e-2], [1.0, 20.0], 1e-2),
    # powers of two, so that F and its inverse are exact
    "step distance": StepDistanceContour([0.25, 0.5, 2.0], [0.0, 1.5, 0.25, 0.5]),
    "step shift": StepShiftContour([-0.5, 0.25, 2.0], [1.0, 0.25, 4.0, 2.0]),
}
# where the slope is the constant: just above b0, away from the mixture, in the largest step
STEEPEST = {
    "exponential": 0.125 + 2e-6,
    "exponential, odd numbers": 0.3 + 2e-6,
    "shift, one component": 40.0,
    "shift, overlapping": 40.0,
    "shift, steep and far": 400.0,
    "step distance": 0.4,
    "step shift": 0.0,
}
SOLVED = {name: c for name, c in CONTOURS.items() if isinstance(c, ShiftContour)}


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.array(values), dtype=torch.float64)


def lengths(contour: Contour, births: Any, deaths: Any) -> Array:
    return contour.lengths(tensor(births), tensor(deaths)).numpy()


def step_integral(edges: Any, steps: Any, x: Fraction) -> Fraction:
    """The integral from 0 to x, of the definition: every step times how much of (0, x) it has."""
    low, high, total = min(x, Fraction(0)), max(x, Fraction(0)), Fraction(0)
    ends = [None, *map(Fraction, edges), None]
    for (a, b), step in zip(itertools.pairwise(ends), map(Fraction, steps), strict=True):
        begin = low if a is None else min(max(low, a), high)
        end = high if b is None else max(min(high, b), low)
        total += step * max(end - begin, Fraction(0))
    return total if x >= 0 else -total


def step_inverse(edges: Any, steps: Any, y: Fraction) -> Fraction:
    values = [step_integral(edges, steps, Fraction(edge)) for edge in edges]
    step = Fraction(steps[sum(value <= y for value in values)])
    near = max((v for v in values if v <= y), default=values[0])
    place = Fraction(edges[values.index(near)])
    return place + (y - near) / step


def mixture_inverse(contour: ShiftContour, y: float) -> mpmath.mpf:
    """F⁻¹(y) to 50 digits, by bisection and Newton's method."""
    parts = [
        (mpmath.mpf(m), mpmath.mpf(s), mpmath.mpf(w))
        for m, s, w in zip(contour.means, contour.scales, contour.weights, strict=True)
    ]
    floor = mpmath.mpf(contour.floor)

    def excess(x: mpmath.mpf) -> mpmath.mpf:
        mixture = [w * (mpmath.ncdf((x - m) / s) - mpmath.ncdf(-m / s)) for m, s, w in parts]
        return floor * x + mpmath.fsum(mixture) - y

    def slope(x: mpmath.mpf) -> mpmath.mpf:
        return floor + mpmath.fsum(w * mpmath.npdf((x - m) / s) / s for m, s, w in parts)

    weight = sum(w for _, _, w in parts)
    low, high = (y - weight) / floor, (y + weight) / floor
    x = (low + high) / 2
    for turn in range(400):
        low, high = (x, high) if excess(x) < 0 else (low, x)
        newton = x - excess(x) / slope(x)
        if abs(newton - x) < mpmath.mpf(10) ** -40 * (1 + abs(x)):
            return newton
        x = newton if low < newton < high and turn % 2 else (low + high) / 2
    raise AssertionError("did not converge")


def exact_length(contour: Contour, birth: float, death: float) -> mpmath.mpf:
    if isinstance(contour, ExponentialContour):
        start = mpmath.mpf(contour.start)
        ratio = max(mpmath.mpf(death), start) / max(mpmath.mpf(birth), start)
        return mpmath.log(ratio) / mpmath.mpf(contour.rate)
    if isinstance(contour, ShiftContour):
        return mixture_inverse(contour, death) - mixture_inverse(contour, birth)
    assert isinstance(contour, (StepDistanceContour, StepShiftContour))
    measure = step_integral if isinstance(contour, StepDistanceContour) else step_inverse
    b, d = (measure(contour.edges, contour.steps, Fraction(x)) for x in (birth, death))
    return mpmath.mpf((d - b).numerator) / (d - b).denominator


def random_bars(rng: np.random.Generator, n: int) -> Array:
    """Of all sizes, of either sign, some of them short, some nearly on the places that matter."""
    bars = rng.choice([0.1, 1.0, 10.0, 1e4], (n, 1)) * rng.normal(size=(n, 2))
    places = rng.choice([0.125, 0.25, 0.3, 0.5, 1.0, 2.0, 50.0], n)
    near = rng.random(n) < 0.5
    bars[near] = places[near, None] + 10 ** rng.uniform(-8, 0, (n, 1))[near] * bars[near]
    short = rng.random(n) < 0.3
    bars[short, 1] = bars[short, 0] + 10 ** rng.uniform(-15, 0, n)[short]
    return np.sort(bars, axis=1)


@pytest.fixture(autouse=True)
def _fifty_digits() -> Any:
    with mpmath.workdps(50):
        yield


# Closed form.


def test_exponential_lengths_are_those_of_the_definition() -> None:
    # log(2/0.5)/2 = log 2; below b0 = 0.5 births count as 0.5, and deaths do too
    contour = ExponentialContour(0.5, 2.0)
    found = lengths(contour, [0.5, 0.0, 0.1, -3.0], [2.0, 2.0, 0.4, 0.5])
    assert found == pytest.approx([math.log(2), math.log(2), 0.0, 0.0], abs=1e-15)
    assert contour.constant == 1
    assert Fraction(ExponentialContour(0.3, 0.7).constant) * Fraction(0.3) * Fraction(0.7) >= 1


def test_exponential_lengths_do_not_see_the_scale() -> None:
    contour = ExponentialContour(0.125, 1.0)
    assert lengths(contour, [0.25], [0.75])[0] == lengths(contour, [0.5], [1.5])[0]


def test_exponential_lengths_of_huge_quotients_are_finite() -> None:
    # d / b0 is beyond float64; its logarithm is not
    contour = ExponentialContour(1e-250, 1.0)
    found = contour.lengths(tensor([0.0]), tensor([1e250]))
    assert float(found) == pytest.approx(500 * math.log(10), rel=1e-15)


def test_shift_lengths_cross_the_whole_mixture() -> None:
    # F(x) = x/4 + Φ((x - 8)/0.1) - Φ(-80); F(0) = 0, F(16) = 4 + 1: the bar (0, 5) is 16 long.
    # Half of the mixture lies below its mean: F(8) = 2 + 1/2.
    contour = ShiftContour([8.0], [0.1], [1.0], 0.25)
    assert lengths(contour, [0.0, 0.0], [5.0, 2.5]) == pytest.approx([16, 8], rel=1e-14)
    assert contour.constant == 4
    assert contour.inverse(tensor([2.5])).tolist() == pytest.approx([8.0], rel=1e-14)


def test_shift_is_the_inverse_of_the_distance_type() -> None:
    contour = CONTOURS["shift, overlapping"]
    assert isinstance(contour, ShiftContour)
    x = torch.linspace(-3, 4, 300, dtype=torch.float64)
    y = contour._density.cumulative(x) - contour._density.cumulative(torch.zeros(1).double())
    assert contour.inverse(y).numpy() == pytest.approx(x.numpy(), abs=1e-13)


def test_step_lengths_add_up_step_by_step() -> None:
    # below 1: 2, between 1 and 3: 0, above: 1/2
    edges, steps = [1.0, 3.0], [2.0, 0.0, 0.5]
    found = lengths(StepDistanceContour(edges, steps), [0.0, 1.5, -1.0], [2.0, 2.5, 7.0])
    assert found.tolist() == [2.0, 0.0, 4.0 + 0.0 + 2.0]
    # shift type: F(-1) = -2, F(1) = 1/2: F⁻¹ walks at 1/2 to -2, at 4 to 1/2, and at 1 from there
    contour = StepShiftContour([-1.0, 1.0], [2.0, 0.25, 1.0])
    assert contour.edges == (-1.0, 1.0)
    # F(-1) = -1/4, F(1) = 1/4
    found = lengths(contour, [-0.25, -1.25, 0.0], [0.25, -0.25, 1.25])
    assert found.tolist() == [2.0, 0.5, 1.0 + 1.0]
    assert contour.constant == 4


def test_a_step_density_of_shift_type_is_the_inverse_of_its_distance_type(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        edges = np.sort(rng.normal(size=rng.integers(1, 6))).tolist()
        steps = rng.uniform(0.1, 3, len(edges) + 1).tolist()
        distance, shift = StepDistanceContour(edges, steps), StepShiftContour(edges, steps)
        bars = np.sort(rng.normal(size=(40, 2)), axis=1)
        for birth, death in bars.tolist():
            b, d = (float(step_integral(edges, steps, Fraction(x))) for x in (birth, death))
            assert lengths(shift, [b], [d])[0] == pytest.approx(death - birth, abs=1e-13)
            assert lengths(distance, [birth], [death])[0] == pytest.approx(d - b, abs=1e-13)


# The law: 0 on the diagonal, monotone, additive, Lipschitz with K in each end.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_vanish_on_the_diagonal_and_are_never_negative(contour: Contour, seed: int) -> None:
    bars = random_bars(np.random.default_rng(seed), 3000)
    assert (lengths(contour, bars[:, 0], bars[:, 0]) == 0).all()
    assert (lengths(contour, bars[:, 0], bars[:, 1]) >= 0).all()


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_are_additive_and_grow_at_both_ends(contour: Contour, seed: int) -> None:
    rng = np.random.default_rng(seed)
    births, deaths = random_bars(rng, 3000).T
    middles = np.clip(births + rng.random(3000) * (deaths - births), births, deaths)
    whole = lengths(contour, births, deaths)
    parts = lengths(contour, births, middles), lengths(contour, middles, deaths)
    granted = 4 * contour.rounding(np.maximum(np.abs(births), np.abs(deaths)))
    assert (np.abs(whole - parts[0] - parts[1]) <= granted).all()
    assert (np.maximum(*parts) <= whole + granted).all()


def steepest_excess(contour: Contour, constant: float, place: float, seed: int) -> float:
    """The largest |change of length| - constant * |move|, moving one end; rounding granted."""
    rng, worst = np.random.default_rng(seed), -math.inf
    births, deaths = random_bars(rng, 3000).T
    births[:500], deaths[:500] = place, place + 1e-7 * rng.random(500)
    for end in (0, 1):
        for size in (1e-7, 1e-3, 1e-1, 10.0):
            move = size * rng.uniform(-1, 1, 3000)
            b, d = births + (end == 0) * move, deaths + (end == 1) * move
            legal = b <= d
            change = np.abs(lengths(contour, b, d) - lengths(contour, births, deaths))
            step = np.abs(b - births) + np.abs(d - deaths)
            largest = np.abs([births, deaths, b, d]).max(axis=0)
            granted = 2 * contour.rounding(largest) + 4 * U * constant * largest
            worst = max(worst, float((change - constant * step - granted)[legal].max()))
    return worst


@pytest.mark.parametrize("name", CONTOURS)
def test_lengths_move_at_most_k_times_each_end(name: str, seed: int) -> None:
    contour = CONTOURS[name]
    assert steepest_excess(contour, contour.constant, STEEPEST[name], seed) <= 0


@pytest.mark.parametrize("name", CONTOURS)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_the_law_of_the_slope_fails_with_less(name: str, share: float, seed: int) -> None:
    contour = CONTOURS[name]
    assert steepest_excess(contour, share * contour.constant, STEEPEST[name], seed) > 0


@pytest.mark.parametrize("name", CONTOURS)
def test_k_is_attained(name: str) -> None:
    contour, at, h = CONTOURS[name], STEEPEST[name], 2.0**-20
    slope = lengths(contour, [at], [at + h])[0] / h
    assert slope == pytest.approx(contour.constant, rel=1e-4)
    assert contour.constant >= max(exact_length(contour, at, at + h) / h, 0)


# Slow reference: rounding, against 50 digits.


def rounding_used(contour: Contour, bars: Array, charged: float = 1.0) -> float:
    """The largest error of a computed length, in units of what is charged for it."""
    found = lengths(contour, bars[:, 0], bars[:, 1])
    used = 0.0
    for (birth, death), length in zip(bars.tolist(), found.tolist(), strict=True):
        error = abs(mpmath.mpf(length) - exact_length(contour, birth, death))
        used = max(used, float(error / contour.rounding(max(abs(birth), abs(death)))) / charged)
    return used


@pytest.mark.parametrize("name", CONTOURS)
def test_rounding_is_never_exceeded(name: str, seed: int) -> None:
    n = 12 if name in SOLVED else 400
    bars = random_bars(np.random.default_rng(seed), n)
    assert rounding_used(CONTOURS[name], bars) <= 1


@pytest.mark.parametrize("name", CONTOURS)
def test_rounding_is_not_idle(name: str, seed: int) -> None:
    if name.startswith("step"):  # exact on short bars: take odd numbers
        rng = np.random.default_rng(seed)
        bars = np.sort(rng.normal(size=(400, 2)), axis=1)
    else:
        bars = random_bars(np.random.default_rng(seed), 8 if name in SOLVED else 400)
    assert rounding_used(CONTOURS[name], bars, charged=1 / 400) > 1


def test_roots_are_right_where_newton_alone_would_cycle() -> None:
    # so steep that the tangent at most places leads out of the interval, either way in turns
    contour = ShiftContour([1.0], [1e-9], [1.0], 1.0)
    y = tensor([0.0, 0.999, 1.0, 1.0 + 1e-9, 1.5, 1.999999999, 2.0, 2.1])
    for value, found in zip(y.tolist(), contour.inverse(y).tolist(), strict=True):
        assert abs(found - float(mixture_inverse(contour, value))) <= contour.rounding(abs(value))


def test_torch_knows_the_logarithm_to_four_units(seed: int) -> None:
    # the assumption of ExponentialContour.rounding
    x = 10 ** np.random.default_rng(seed).uniform(-300, 300, 2000)
    for found, exact in ((torch.log1p, mpmath.log1p), (torch.log, mpmath.log)):
        for value, y in zip(x.tolist(), found(tensor(x)).tolist(), strict=True):
            truth = exact(mpmath.mpf(value))
            assert abs(y - truth) <= 4 * U * abs(truth)


# Boxes, and bars that appear.


def box_excess(bounds: Callable[..., tuple[Tensor, Tensor]], contour: Contour, seed: int) -> float:
    """How far lengths of bars in boxes get out of what is said to contain them."""
    rng, worst = np.random.default_rng(seed), -math.inf
    bars = random_bars(rng, 500)
    low = bars - rng.choice([0.0, 1e-12, 1e-3, 1.0], (500, 2)) * rng.random((500, 2))
    high = bars + rng.choice([0.0, 1e-12, 1e-3, 1.0], (500, 2)) * rng.random((500, 2))
    lower, upper = bounds(*(tensor(ends[:, i]) for i in (0, 1) for ends in (low, high)))
    for turn in range(30):
        share = rng.random((500, 2)) if turn > 3 else np.array([turn % 2, turn // 2])
        inside = np.clip(low + share * (high - low), low, high)
        good = inside[:, 0] <= inside[:, 1]
        found = lengths(contour, inside[:, 0], inside[:, 1])
        beyond = np.maximum(lower.numpy() - found, found - upper.numpy())
        worst = max(worst, float(beyond[good].max()))
    return worst


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_boxes_contain_every_computed_length(contour: Contour, seed: int) -> None:
    assert box_excess(contour.bounds, contour, seed) <= 0


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_boxes_that_are_a_little_too_small_are_found(contour: Contour, seed: int) -> None:
    def narrow(*ends: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = contour.bounds(*ends)
        return lower, 0.99 * upper

    assert box_excess(narrow, contour, seed) > 0


EXTREME: dict[str, Contour] = {
    **CONTOURS,
    "distance": DistanceContour([0.3], [0.2], [1.5], 0.5),
    "exponential, lengths overflow": ExponentialContour(1e308, 1e-310),
    "shift, lengths overflow": ShiftContour([0.3], [0.2], [1.5], 1e-300),
    "shift, far": ShiftContour([1e16, -1e308], [1.0, 1.0], [1.0, 1.0], 1.0),
    "step distance, huge": StepDistanceContour([0.0], [1e308, 0.0]),
    "step distance, tiny": StepDistanceContour([0.0], [5e-324, 1e-310]),
    "step shift, lengths overflow": StepShiftContour([-0.5, 0.25], [1.0, 1e-300, 1e308]),
}


@pytest.mark.parametrize("contour", EXTREME.values(), ids=EXTREME)
def test_boxes_of_huge_and_tiny_numbers_are_boxes(contour: Contour) -> None:
    # NaN came of infinity minus infinity, and of zero times infinity, where lengths overflow
    sizes = [5e-324, 1e-310, 1e-160, 0.3, 1e16, 1e300, 1.7e308]
    ends = [-math.inf, *(-x for x in reversed(sizes)), 0.0, *sizes, math.inf]
    boxes = np.array(
        [
            (*births, *deaths)
            for births in itertools.combinations_with_replacement(ends[1:-1], 2)
            for deaths in itertools.combinations_with_replacement(ends[1:], 2)
            if births[0] <= deaths[0] < math.inf and births[1] <= deaths[1]
        ]
    )
    births_low, births_high, deaths_low, deaths_high = boxes.T
    lower, upper = (x.numpy() for x in contour.bounds(*(tensor(x) for x in boxes.T)))
    assert (lower <= upper).all()  # False for NaN
    assert (lower >= 0).all()
    for births, deaths in itertools.product((births_low, births_high), (deaths_low, deaths_high)):
        legal = (births <= deaths) & np.isfinite(deaths)
        found = lengths(contour, births, deaths)
        # infinity minus infinity, where both ends are beyond the largest number
        legal &= ~np.isnan(found)
        assert (lower[legal] <= found[legal]).all()
        assert (found[legal] <= upper[legal]).all()


def appearing_excess(longest: Callable[[Tensor], Tensor], name: str, seed: int) -> float:
    """How much longer short bars get than is said, those at great heights among them."""
    rng = np.random.default_rng(seed)
    gaps = 10 ** rng.uniform(-12, 2, 2000)
    births = rng.choice([0.0, 1.0, 1e3, 1e9, 1e15], 2000) * rng.random(2000)
    births[:600] = STEEPEST[name] * (1 + 1e-14)
    if name.startswith("exponential"):
        births[:600] = CONTOURS[name].start  # type: ignore[attr-defined]
    deaths = births + gaps
    apart = np.maximum(gaps, np.nextafter(deaths - births, np.inf))  # the sum was rounded
    found = lengths(CONTOURS[name], births, deaths)
    return float((found - longest(tensor(apart)).numpy()).max())


@pytest.mark.parametrize("name", CONTOURS)
def test_no_bar_is_longer_than_the_longest_of_its_gap(name: str, seed: int) -> None:
    assert appearing_excess(CONTOURS[name].longest, name, seed) <= 0
    assert appearing_excess(lambda gap: CONTOURS[name].longest(gap) / 2, name, seed) > 0


def rank_excess(contour: Contour, seed: int) -> float:
    """How far vectors get beyond their constants, and out of their boxes."""
    rng, worst = np.random.default_rng(seed), -math.inf
    for size in (1e-6, 1e-2, 0.3):
        bars = np.sort(np.abs(random_bars(rng, 12)), axis=1)
        bars[:4] = [[0.37, 0.43], [0.126, 0.127], [40, 41], [0.0, 0.1]]
        moved = np.sort(np.abs(bars + size * rng.choice([-1.0, 1.0], (200, *bars.shape))), axis=2)
        moved[:100, :, 0] = np.maximum(bars[:, 0] - size, 0)
        moved[:100, :, 1] = bars[:, 1] + size
        centre = DiagramBatch.from_diagrams([{1: bars}])
        others = DiagramBatch.from_diagrams([{1: each} for each in moved])
        model = StableRank(contour=contour, n_ranks=12, p=1.0).fit(others)
        bound = model.stability(BOTTLENECK)
        constants = np.array(bound.branches["H1"].constants)  # type: ignore[union-attr]
        reach = np.nextafter(np.array([size]), np.inf)
        error = model.rounding(centre, 4 * U, reach)
        near, far = model.transform(centre), model.transform(others)
        beyond = np.abs(far - near) - constants * reach - 2 * error
        # the ends of bars were rounded once
        ball = DiagramBall(centre, {1: reach + 4 * U * bars.max()}, {1: BOTTLENECK})
        lower, upper = (ends.numpy() for ends in model.bounds(ball))
        worst = max(worst, *(float(part.max()) for part in (beyond, lower - far, far - upper)))
    return worst


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_stable_ranks_keep_their_constants_and_boxes(contour: Contour, seed: int) -> None:
    assert rank_excess(contour, seed) <= 0


# The contract.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_contours_survive_json_pickle_their_repr_and_models(contour: Contour) -> None:
    text = json.dumps(contour.to_dict(), allow_nan=False)
    ranks = StableRank(contour=contour).fit([{1: np.array([[0.0, 1.0]])}])
    stored = json.loads(json.dumps(plain_stage(ranks), allow_nan=False))
    copies = [
        contour_from_dict(json.loads(text)),
        pickle.loads(pickle.dumps(contour)),
        eval(repr(contour), {kind.__name__: kind for kind in map(type, CONTOURS.values())}),
        read_stage(stored).contour,
    ]
    bars = random_bars(np.random.default_rng(0), 100)
    for copy in copies:
        assert copy == contour
        assert hash(copy) == hash(contour)
        assert copy.constant == contour.constant
        assert (lengths(copy, *bars.T) == lengths(contour, *bars.T)).all()


def test_contours_differ_when_their_parameters_do() -> None:
    assert len(set(CONTOURS.values())) == len(CONTOURS)
    edges, steps = [1.0], [1.0, 2.0]
    assert StepDistanceContour(edges, steps) != StepShiftContour(edges, steps)
    assert ExponentialContour(0.1, 2.0) != ExponentialContour(0.1, 2.5)


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_keep_shape_and_dtype_and_change_nothing(contour: Contour) -> None:
    for dtype in (torch.float32, torch.float64):
        births = torch.rand((2, 3, 5), dtype=dtype, generator=torch.Generator().manual_seed(0))
        deaths = births + 1
        before = births.clone(), deaths.clone()
        found = contour.lengths(births, deaths)
        assert found.shape == (2, 3, 5)
        assert found.dtype == dtype
        assert torch.equal(births, before[0])
        assert torch.equal(deaths, before[1])
        assert contour.lengths(births[:0], deaths[:0]).shape == (0, 3, 5)


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_are_differentiable(contour: Contour) -> None:
    births = tensor([0.13, 0.4, -3.0]).requires_grad_()
    deaths = tensor([0.45, 0.9, 2.3]).requires_grad_()
    # differences of roots over a step of 1e-6 are right to about 1e-3 K, if steep
    granted = 1e-3 * contour.constant
    assert torch.autograd.gradcheck(contour.lengths, (births, deaths), atol=granted)
    ends = tensor([-1e300, 1e300]).requires_grad_()
    contour.lengths(ends[:1], ends[1:]).sum().backward()
    assert ends.grad is not None
    assert torch.isfinite(ends.grad).all()


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_no_value_depends_on_those_beside_it(contour: Contour) -> None:
    bars = random_bars(np.random.default_rng(0), 67)
    together = lengths(contour, bars[:, 0], bars[:, 1])
    assert together.tolist() == [lengths(contour, [b], [d])[0] for b, d in bars.tolist()]


# Errors.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialContour(0.0, 1.0), "start is 0.0: expected a finite number > 0."),
        (lambda: ExponentialContour(math.nan, 1.0), "start is nan: expected a finite number > 0."),
        (lambda: ExponentialContour(1.0, -1.0), "rate is -1.0: expected a finite number > 0."),
        (lambda: ExponentialContour(1e-200, 1e-200), "start * rate is 0.0: expected a product"),
        (lambda: ShiftContour([0.0], [1.0], [1.0], 0.0), "floor is 0.0: the shift type needs"),
        (lambda: ShiftContour([0.0], [1.0], [1.0], 5e-324), "floor is 5e-324: the shift type"),
        (lambda: ShiftContour([0.0], [0.0], [1.0], 1.0), "scales[0] is 0.0: expected finite"),
        (lambda: ShiftContour([1e300], [1e-300], [1.0], 1.0), "the rounding of F"),
        (lambda: ShiftContour([0.0], [1.0], [1.7e308], 1.0), "the rounding of F"),
        (lambda: DistanceContour([0, 1], [1, 1], [1.7e308] * 2), "their sum is beyond float64"),
        (lambda: StepDistanceContour([1.0], [0.0, 0.0]), "steps are all 0: every bar would"),
        (lambda: StepDistanceContour([], [1.0]), "edges and steps have lengths 0 and 1: expected"),
        (lambda: StepDistanceContour([1.0], [1.0]), "edges and steps have lengths 1 and 1"),
        (lambda: StepDistanceContour([2.0, 2.0], [1.0] * 3), "edges[1] is 2.0: expected finite"),
        (lambda: StepDistanceContour([math.nan], [1.0] * 2), "edges[0] is nan: expected finite"),
        (lambda: StepDistanceContour([1.0], [-1.0, 1.0]), "steps[0] is -1.0: expected finite"),
        (lambda: StepShiftContour([1.0], [1.0, 0.0]), "steps[1] is 0.0: expected finite steps"),
        (lambda: StepShiftContour([1e300], [1e300, 1]), "edges: the integral of the density"),
    ],
)
def test_values_out_of_range_are_named(make: Callable[[], Contour], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_other_kinds_are_named() -> None:
    with pytest.raises(TypeError, match=re.escape("start='1': expected a number.")):
        ExponentialContour("1", 2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape("edges=0.5: expected a sequence of numbers.")):
        StepDistanceContour(0.5, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        contour_from_dict({"contour": "exponential", "begin": 1.0})
