"""Contours against 50 digits: lengths, their constants, and what rounding is charged (R1)."""

from __future__ import annotations

import json
import math
import pickle
import re
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.ranks import Contour, DistanceContour, StandardContour
from stablerank.ranks.contour_files import contour_from_dict
from stablerank.ranks.contours import bar_lengths, check_contour

Array = NDArray[np.float64]

U = 2.0**-53
ONE = DistanceContour([0.3], [0.2], [1.5])
OVERLAPPING = DistanceContour([0.5, 0.55, 0.7], [0.1, 0.3, 0.05], [1.0, 2.0, 0.0], floor=0.25)
FAR = DistanceContour([0.0, 5.0], [0.01, 100.0], [1e-3, 7.0])
CONTOURS: dict[str, Contour] = {
    "standard": StandardContour(),
    "one component": ONE,
    "overlapping": OVERLAPPING,
    "far apart": FAR,
}
DISTANCE = {name: c for name, c in CONTOURS.items() if isinstance(c, DistanceContour)}


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def lengths(contour: Contour, births: Any, deaths: Any) -> Array:
    return contour.lengths(tensor(births), tensor(deaths)).numpy()


def exact_length(contour: Contour, birth: float, death: float) -> mpmath.mpf:
    """F(d) - F(b) to 50 digits, from the definition."""
    b, d = mpmath.mpf(birth), mpmath.mpf(death)
    if not isinstance(contour, DistanceContour):
        return d - b
    total = contour.floor * (d - b)
    for mean, scale, weight in zip(contour.means, contour.scales, contour.weights, strict=True):
        x, y = ((end - mpmath.mpf(mean)) / mpmath.mpf(scale) for end in (b, d))
        total += mpmath.mpf(weight) * (mpmath.ncdf(y) - mpmath.ncdf(x))
    return total


def exact_density(contour: DistanceContour, x: mpmath.mpf) -> mpmath.mpf:
    parts = zip(contour.means, contour.scales, contour.weights, strict=True)
    return contour.floor + mpmath.fsum(
        mpmath.mpf(w) * mpmath.npdf((x - mpmath.mpf(m)) / mpmath.mpf(s)) / mpmath.mpf(s)
        for m, s, w in parts
    )


def random_contour(rng: np.random.Generator) -> DistanceContour:
    n = int(rng.integers(1, 6))
    return DistanceContour(
        rng.uniform(-1, 2, n).tolist(),
        (10 ** rng.uniform(-3, 1, n)).tolist(),
        [float(w) for w in rng.uniform(0.1, 1, n) * (np.arange(n) < 1 + 4 * rng.random())],
        floor=float(rng.choice([0.0, rng.uniform(0, 2)])),
    )


def random_bars(rng: np.random.Generator, contour: Contour, n: int) -> Array:
    """Births and deaths near the means and in tails beyond 30 σ, of either sign, short and long."""
    means, scales = [0.0], [1.0]
    if isinstance(contour, DistanceContour):
        means, scales = list(contour.means), list(contour.scales)
    chosen = rng.integers(0, len(means), (n, 2))
    spread = rng.choice([0.1, 1.0, 8.0, 40.0], (n, 2))
    bars = np.array(means)[chosen] + np.array(scales)[chosen] * spread * rng.normal(size=(n, 2))
    bars[: n // 3, 1] = bars[: n // 3, 0] + 10 ** rng.uniform(-15, 0, n // 3)
    return np.sort(bars, axis=1)


@pytest.fixture(autouse=True)
def _fifty_digits() -> Any:
    with mpmath.workdps(50):
        yield


# Closed form.


def test_standard_lengths() -> None:
    contour = StandardContour()
    assert lengths(contour, [0, 1, -2], [3, 1, 2.5]).tolist() == [3, 0, 4.5]
    assert contour.constant == 1


def test_one_gaussian_by_the_table_of_the_normal_distribution() -> None:
    # Φ(1) - Φ(-1) = 0.6826894921370859, Φ(∞) - Φ(0) = 1/2; peak 1/√(2π) = 0.3989422804014327
    contour = DistanceContour([2.0], [0.5], [3.0])
    found = lengths(contour, [1.5, 2.0], [2.5, 1e6])
    assert found == pytest.approx([3 * 0.6826894921370859, 1.5], rel=1e-15)
    assert contour.constant == pytest.approx(6 * 0.3989422804014327, rel=1e-14)


def test_two_components_and_a_floor_add_up() -> None:
    # weights 1 and 2 lie wholly inside (0, 100); floor 1/4 adds 25: 28. Peaks: (1 + 2/2)/√(2π)
    contour = DistanceContour([30.0, 60.0], [1.0, 2.0], [1.0, 2.0], floor=0.25)
    assert lengths(contour, [0.0], [100.0])[0] == pytest.approx(28, rel=1e-15)
    assert contour.constant == pytest.approx(0.25 + 2 / math.sqrt(2 * math.pi), rel=1e-14)
    # where the density is only the floor, a bar has a quarter of its length
    assert lengths(contour, [-1000.0], [-100.0])[0] == 225


def test_cumulative_is_the_integral_of_the_density() -> None:
    contour = OVERLAPPING
    for x in (0.2, 0.5, 1.1):
        area = mpmath.quad(lambda t: exact_density(contour, t), [0, 0.5, 0.55, x])
        found = contour.cumulative(tensor([x])) - contour.cumulative(tensor([0.0]))
        assert float(found) == pytest.approx(float(area), rel=1e-14)


# The law: 0 on the diagonal, monotone, additive, Lipschitz with K in each end.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_vanish_on_the_diagonal_and_are_never_negative(contour: Contour, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = random_bars(rng, contour, 3000)
    assert (lengths(contour, bars[:, 0], bars[:, 0]) == 0).all()
    assert (lengths(contour, bars[:, 0], bars[:, 1]) >= 0).all()


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_are_additive_and_grow_at_both_ends(contour: Contour, seed: int) -> None:
    rng = np.random.default_rng(seed)
    births, deaths = random_bars(rng, contour, 3000).T
    middles = births + rng.random(3000) * (deaths - births)
    middles = np.clip(middles, births, deaths)
    whole = lengths(contour, births, deaths)
    parts = lengths(contour, births, middles), lengths(contour, middles, deaths)
    # three computed lengths and a sum
    granted = 4 * contour.rounding(np.maximum(np.abs(births), np.abs(deaths)))
    assert (np.abs(whole - parts[0] - parts[1]) <= granted).all()
    assert (np.maximum(*parts) <= whole + granted).all()


def steepest_excess(contour: Contour, constant: float, seed: int) -> float:
    """The largest |change of length| - constant * |move|, moving one end; rounding granted."""
    rng, worst = np.random.default_rng(seed), -math.inf
    births, deaths = random_bars(rng, contour, 3000).T
    for end in (0, 1):
        for size in (1e-3, 1e-1, 10.0):
            # towards and away from the other end, but never past it
            move = size * rng.uniform(-1, 1, 3000)
            b, d = births + (end == 0) * move, deaths + (end == 1) * move
            legal = b <= d
            change = np.abs(lengths(contour, b, d) - lengths(contour, births, deaths))
            step = np.abs(b - births) + np.abs(d - deaths)
            largest = np.abs([births, deaths, b, d]).max(axis=0)
            granted = 2 * contour.rounding(largest) + 4 * U * constant * largest
            worst = max(worst, float((change - constant * step - granted)[legal].max()))
    return worst


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_lengths_move_at_most_k_times_each_end(contour: Contour, seed: int) -> None:
    assert steepest_excess(contour, contour.constant, seed) <= 0


def test_random_mixtures_move_at_most_k_times_each_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for i in range(100):
        contour = random_contour(rng)
        assert steepest_excess(contour, contour.constant, 1000 * seed + i) <= 0


def peak(contour: DistanceContour) -> float:
    """The supremum of the density from below, by 50 digits at the means and on a fine grid."""
    low = min(m - 4 * s for m, s in zip(contour.means, contour.scales, strict=True))
    high = max(m + 4 * s for m, s in zip(contour.means, contour.scales, strict=True))
    grid = np.linspace(low, high, 20001)
    z = (grid[:, None] - contour.means) / np.array(contour.scales)
    weights = np.array(contour.weights) / contour.scales / math.sqrt(2 * math.pi)
    best = grid[(np.exp(-(z**2) / 2) @ weights).argmax()]
    return max(float(exact_density(contour, mpmath.mpf(float(x)))) for x in (*contour.means, best))


def test_k_is_not_below_the_supremum_of_the_density(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for contour in [*DISTANCE.values(), *(random_contour(rng) for _ in range(50))]:
        assert contour.constant >= peak(contour)


def test_k_is_attained_by_one_component_and_by_equal_means(seed: int) -> None:
    # the peaks of components with one mean stand on top of each other, so their sum is attained
    rng = np.random.default_rng(seed)
    for n in (1, 2, 5, 40):
        contour = DistanceContour(
            [0.4] * n, rng.uniform(0.1, 3, n).tolist(), rng.uniform(0, 2, n).tolist(), floor=0.1
        )
        sup = exact_density(contour, mpmath.mpf(0.4))
        assert sup <= mpmath.mpf(contour.constant) <= sup * (1 + 32 * mpmath.mpf(U))


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_the_slope_can_be_seen_in_lengths(contour: Contour) -> None:
    # near the highest point x the length of (x - h, x + h) is 2h times the density there
    centre, h = 0.0, 1e-4
    highest = 1.0
    if isinstance(contour, DistanceContour):
        centre = max(contour.means, key=lambda m: exact_density(contour, mpmath.mpf(m)))
        highest = float(exact_density(contour, mpmath.mpf(centre)))
    slope = lengths(contour, [centre - h], [centre + h])[0] / (2 * h)
    assert slope == pytest.approx(highest, rel=1e-3)


# The test of the test.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_the_law_of_the_slope_can_fail(contour: Contour, seed: int) -> None:
    supremum = peak(contour) if isinstance(contour, DistanceContour) else 1.0
    assert steepest_excess(contour, 0.9 * supremum, seed) > 0


def test_the_largest_peak_is_not_a_bound() -> None:
    parts = zip(OVERLAPPING.weights, OVERLAPPING.scales, strict=True)
    largest = OVERLAPPING.floor + max(w / s for w, s in parts) / math.sqrt(2 * math.pi)
    assert peak(OVERLAPPING) > 1.3 * largest


# Slow reference: rounding, against 50 digits.


def rounding_used(contour: Contour, bars: Array, charged: float = 1.0) -> float:
    """The largest error of a computed length, in units of what is charged for it."""
    found = lengths(contour, bars[:, 0], bars[:, 1])
    used = 0.0
    for (birth, death), length in zip(bars.tolist(), found.tolist(), strict=True):
        error = abs(mpmath.mpf(length) - exact_length(contour, birth, death))
        used = max(used, float(error / contour.rounding(max(abs(birth), abs(death)))) / charged)
    return used


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_rounding_is_never_exceeded(contour: Contour, seed: int) -> None:
    bars = random_bars(np.random.default_rng(seed), contour, 600)
    assert rounding_used(contour, bars) <= 1


def test_rounding_is_never_exceeded_by_random_mixtures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        contour = random_contour(rng)
        assert rounding_used(contour, random_bars(rng, contour, 50)) <= 1


def test_rounding_of_a_subtraction_is_nearly_reached() -> None:
    # 1 - (-(1/2 + u)) = 3/2 + u, a tie between 3/2 and 3/2 + 2u that rounds to 3/2: off by u,
    # where 2u is charged for numbers up to 1
    bars = np.array([[-0.5 - U, 1.0]])
    assert rounding_used(StandardContour(), bars) == 0.5
    assert rounding_used(StandardContour(), bars, charged=0.25) > 1


def test_rounding_of_a_mixture_is_not_idle(seed: int) -> None:
    bars = random_bars(np.random.default_rng(seed), ONE, 600)
    assert rounding_used(ONE, bars, charged=1 / 40) > 1


def test_torch_knows_the_normal_distribution_to_eight_units(seed: int) -> None:
    # the assumption of DistanceContour.rounding; seen on x86 with AVX2: 1.07
    rng = np.random.default_rng(seed)
    x = np.concatenate(
        [rng.uniform(-9, 9, 2000), rng.uniform(-45, 45, 500), np.linspace(-1.5, 1.5, 1000), [0.0]]
    )
    found = torch.special.ndtr(tensor(x)).tolist()
    errors = [
        abs(mpmath.mpf(y) - mpmath.ncdf(mpmath.mpf(z)))
        for y, z in zip(found, x.tolist(), strict=True)
    ]
    assert 0.5 * U < max(errors) <= 8 * U


def test_no_value_depends_on_those_beside_it() -> None:
    bars = random_bars(np.random.default_rng(0), OVERLAPPING, 997)
    together = lengths(OVERLAPPING, bars[:, 0], bars[:, 1])
    alone = [lengths(OVERLAPPING, [b], [d])[0] for b, d in bars.tolist()]
    assert together.tolist() == alone


# The contract.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_contours_survive_json_pickle_and_their_repr(contour: Contour) -> None:
    text = json.dumps(contour.to_dict(), allow_nan=False)
    copies = [
        contour_from_dict(json.loads(text)),
        pickle.loads(pickle.dumps(contour)),
        eval(
            repr(contour), {"DistanceContour": DistanceContour, "StandardContour": StandardContour}
        ),
    ]
    bars = random_bars(np.random.default_rng(0), contour, 100)
    for copy in copies:
        assert copy == contour
        assert hash(copy) == hash(contour)
        assert copy.constant == contour.constant
        assert (lengths(copy, *bars.T) == lengths(contour, *bars.T)).all()


def test_contours_are_equal_when_their_parameters_are() -> None:
    assert StandardContour() == StandardContour()
    assert len(set(CONTOURS.values())) == len(CONTOURS)
    base: dict[str, Any] = {"means": [0.1, 0.2], "scales": [1, 2], "weights": [0.5, 0.6]}
    scales: Any = np.array([1, 2])
    assert DistanceContour(**base) == DistanceContour((0.1, 0.2), scales, [0.5, 0.6], 0)
    others = {"means": [0.1, 0.3], "scales": [1.0, 2.5], "weights": [0.5, 0.0], "floor": 0.1}
    for name, value in others.items():
        assert DistanceContour(**base) != DistanceContour(**{**base, name: value})
    assert ONE != "standard"
    assert StandardContour() != "standard"


def test_equal_contours_have_equal_hashes_even_with_a_negative_zero() -> None:
    # the hash of the text of -0.0 used to differ from that of 0.0
    plus, minus = (DistanceContour([z], [1.0], [z], floor=z) for z in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


def test_lengths_keep_shape_and_dtype_and_change_nothing() -> None:
    for contour in CONTOURS.values():
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
    births = tensor([0.1, 0.45, -3.0]).requires_grad_()
    deaths = tensor([0.4, 0.9, 2.0]).requires_grad_()
    assert torch.autograd.gradcheck(contour.lengths, (births, deaths))
    # far outside the mixture the slope is 0, not NaN
    ends = tensor([-1e300, 1e300]).requires_grad_()
    contour.lengths(ends[:1], ends[1:]).sum().backward()
    assert ends.grad is not None
    assert torch.isfinite(ends.grad).all()


def test_bar_lengths_copies_arrays_that_cannot_be_written() -> None:
    # joblib hands such arrays to workers; torch used to warn of them
    bars = np.array([[0.0, 1.0], [2.0, 5.0]])
    bars.setflags(write=False)
    assert bar_lengths(bars, StandardContour()).tolist() == [1, 3]
    assert bar_lengths(np.zeros((4, 0, 2)), ONE).shape == (4, 0)


def test_extreme_parameters_keep_a_finite_or_honest_constant() -> None:
    # a peak below the smallest float is still no 0: some slope there is
    assert DistanceContour([0.0], [1e200], [1e-200]).constant > 0
    assert DistanceContour([0.0], [1e-200], [1e200]).constant == math.inf
    assert DistanceContour([0.0, 1.0], [0.1, 0.1], [1.7e307] * 2).constant == math.inf
    assert DistanceContour([0.0], [5e-324], [0.0]).constant < 1e-299


def test_check_contour_knows_the_standard_by_name() -> None:
    assert check_contour("standard") == StandardContour()
    assert check_contour(ONE) is ONE


# Errors.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": [0.0]}, "means, scales and weights have lengths 1, 2 and 2"),
        ({"means": [], "scales": [], "weights": []}, "have lengths 0, 0 and 0"),
        ({"means": [0.0, math.nan]}, "means[1] is nan: expected finite means."),
        ({"means": [-math.inf, 0.0]}, "means[0] is -inf: expected finite means."),
        ({"scales": [1.0, 0.0]}, "scales[1] is 0.0: expected finite scales > 0."),
        ({"scales": [-1.0, 1.0]}, "scales[0] is -1.0: expected finite scales > 0."),
        ({"scales": [math.inf, 1.0]}, "scales[0] is inf: expected finite scales > 0."),
        ({"scales": [math.nan, 1.0]}, "scales[0] is nan: expected finite scales > 0."),
        ({"weights": [1.0, -1e-9]}, "weights[1] is -1e-09: expected finite weights >= 0."),
        ({"weights": [1.0, math.inf]}, "weights[1] is inf: expected finite weights >= 0."),
        ({"weights": [1.0, math.nan]}, "weights[1] is nan: expected finite weights >= 0."),
        ({"floor": -0.1}, "floor is -0.1: expected a finite floor >= 0."),
        ({"floor": math.inf}, "floor is inf: expected a finite floor >= 0."),
        ({"floor": math.nan}, "floor is nan: expected a finite floor >= 0."),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, Any], message: str) -> None:
    arguments = {"means": [0.0, 1.0], "scales": [1.0, 2.0], "weights": [1.0, 0.0], **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        DistanceContour(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": 0.5}, "means=0.5: expected a sequence of numbers."),
        ({"means": "12"}, "means='12': expected a sequence of numbers."),
        ({"scales": ["1", 2]}, "scales=['1', 2]: expected a sequence of numbers."),
        ({"weights": [None, 1.0]}, "weights=[None, 1.0]: expected a sequence of numbers."),
        ({"floor": "0"}, "floor='0': expected a number."),
        ({"floor": None}, "floor=None: expected a number."),
    ],
)
def test_other_kinds_are_named(changes: dict[str, Any], message: str) -> None:
    arguments = {"means": [0.0, 1.0], "scales": [1.0, 2.0], "weights": [1.0, 0.0], **changes}
    with pytest.raises(TypeError, match=re.escape(message)):
        DistanceContour(**arguments)


def test_unknown_contours_are_refused() -> None:
    for wrong in ("Standard", None, 1.0, DistanceContour):
        with pytest.raises(ValueError, match=re.escape('expected "standard" or a Contour')):
            check_contour(wrong)  # type: ignore[arg-type]
    for data in ({}, {"contour": "shifted"}):
        with pytest.raises(ValueError, match=re.escape('expected "standard", "distance"')):
            contour_from_dict(data)
    with pytest.raises(ValueError, match=re.escape("scales[0] is -1.0")):
        contour_from_dict({**ONE.to_dict(), "scales": [-1.0]})
