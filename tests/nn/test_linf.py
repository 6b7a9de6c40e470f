"""Layers into ℓ∞: constants are never exceeded, they are attained, and rounding is charged.

Exact values are those of rational arithmetic (or 60 digits) on the very bits of the weights.
"""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.nn import Abs, GroupSort, LinfDistance, LinfLinear, MaxMin, Standardize
from stablerank.nn.affine import (
    gamma,
    linear_bound,
    linear_rounding,
    pairwise_norms_upper,
    row_norms_upper,
)
from stablerank.nn.linf import RowsInL1Ball
from stablerank.stability import BOTTLENECK, L2, LINF, StabilityError

Layer = Any  # a module with `stability` and `rounding`
N_IN, N_OUT = 12, 8


def project(weight: Tensor) -> Tensor:
    projected: Tensor = RowsInL1Ball()(weight)
    return projected


def exact(row: Any) -> list[Fraction]:
    values = row.detach() if isinstance(row, Tensor) else row
    return [Fraction(float(value)) for value in values]


def exact_norm(row: Any) -> Fraction:
    return sum((abs(value) for value in exact(row)), Fraction(0))


# Projection onto the ball. Closed form.


def test_rows_are_shrunk_by_one_threshold() -> None:
    # (3, 2.5): the nearest point with |x| + |y| = 1 lies along (1, 1): subtract 2.25 from both.
    # (-4, 1, 0): only the first survives, 4 - 3 = 1. (2, 2): symmetric.
    rows = torch.tensor([[3.0, 2.5, 0.0], [-4.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    expected = torch.tensor([[0.75, 0.25, 0.0], [-1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(project(rows), expected, rtol=0, atol=0)


def random_rows(seed: int, dtype: torch.dtype = torch.float64, n: int = N_IN) -> Tensor:
    """Rows of every kind: long, short, on the sphere, sparse, with ties, zero."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, n)) * np.exp(rng.uniform(-6, 6, size=(60, 1)))
    rows[:10] /= np.abs(rows[:10]).sum(axis=1, keepdims=True)
    rows[10:20] *= rng.random(size=(10, n)) < 0.3
    rows[20:30] = rng.choice([-0.5, 0.0, 0.5, 1.0], size=(10, n))
    rows[30] = 0
    return torch.tensor(rows, dtype=dtype)


def rounding_of_projection(rows: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """The threshold comes from n additions of numbers below the norm, then n subtractions of it."""
    norms = np.abs(rows).sum(axis=1, keepdims=True)
    return np.asarray(2 * (rows.shape[1] + 4) * eps * np.maximum(norms, 1))


def slow_projection(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The threshold by bisection: shrunk norms fall continuously from the norm to 0."""
    if math.fsum(np.abs(row)) <= 1:
        return row
    low, high = 0.0, float(np.abs(row).max())
    for _ in range(200):
        middle = (low + high) / 2
        too_long = math.fsum(np.maximum(np.abs(row) - middle, 0)) > 1
        low, high = (middle, high) if too_long else (low, middle)
    return np.asarray(np.sign(row) * np.maximum(np.abs(row) - high, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_projection_is_the_one_that_bisection_finds(seed: int, dtype: torch.dtype) -> None:
    rows = random_rows(seed, dtype)
    given = rows.double().numpy()
    expected = np.array([slow_projection(row) for row in given])
    found = project(rows)
    assert found.dtype == dtype
    allowed = rounding_of_projection(given, torch.finfo(dtype).eps)
    assert (np.abs(found.double().numpy() - expected) <= allowed).all()


def excess_of_nearest_point(
    projection: Callable[[Tensor], Tensor], seed: int, dtype: torch.dtype = torch.float64
) -> float:
    """How far a map is from being the projection onto the ball, beyond rounding.

    z is the nearest point of a convex set to w if and only if ⟨w − z, v − z⟩ <= 0 for all v of
    the set, and here for its corners ±e_i: ‖w − z‖∞ <= ⟨w − z, z⟩; and z lies in it.
    """
    rows = random_rows(seed, dtype)
    w, z = rows.double().numpy(), projection(rows).double().numpy()
    norms = np.maximum(np.abs(w).sum(axis=1), 1)
    obtuse = np.abs(w - z).max(axis=1) - ((w - z) * z).sum(axis=1)
    outside = np.abs(z).sum(axis=1) - 1
    # an entry that is off by e changes ⟨w − z, z⟩ by about e (‖w‖₁ + n)
    allowed = rounding_of_projection(w, torch.finfo(dtype).eps).ravel() * (2 + w.shape[1])
    return float(np.maximum(obtuse / norms - allowed, outside - allowed).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_point_of_the_ball_is_nearer(seed: int, dtype: torch.dtype) -> None:
    assert excess_of_nearest_point(project, seed, dtype) <= 0


NOT_THE_PROJECTION: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled to norm 1": lambda w: w / w.abs().sum(1, keepdim=True).clamp_min(1),
    "left as it is": lambda w: w,
    "one part in 10^9 outside": lambda w: project(w) * (1 + 1e-9),
    "a little too short": lambda w: project(w) * (1 - 1e-6),
    "threshold of the whole row": lambda w: (
        w.sign()
        * (w.abs() - ((w.abs().sum(1, keepdim=True) - 1) / w.shape[1]).clamp_min(0)).clamp_min(0)
    ),
}


@pytest.mark.parametrize("broken", NOT_THE_PROJECTION.values(), ids=list(NOT_THE_PROJECTION))
def test_that_can_fail(broken: Callable[[Tensor], Tensor], seed: int) -> None:
    assert excess_of_nearest_point(broken, seed) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_inside_the_ball_and_zero_rows_are_untouched(seed: int, dtype: torch.dtype) -> None:
    rows = random_rows(seed, dtype)
    rows = rows / (1.01 * rows.abs().sum(1, keepdim=True)).clamp_min(1e-30)
    assert torch.equal(project(rows), rows)
    assert torch.equal(project(torch.zeros(2, 3, dtype=dtype)), torch.zeros(2, 3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projecting_twice_is_projecting_once(seed: int, dtype: torch.dtype) -> None:
    once = project(random_rows(seed, dtype))
    # the second time a row of norm 1 + n u is shrunk to 1
    assert (project(once) - once).abs().max() <= 2 * N_IN * torch.finfo(dtype).eps


def test_the_gradient_of_the_projection(seed: int) -> None:
    # kinks are where an entry becomes zero or the row enters the ball: rows away from them
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, 6)) * np.repeat([0.1, 1.0], 20)[:, None]
    z = project(torch.tensor(rows)).numpy()
    threshold = np.abs(rows - z).max(axis=1, keepdims=True)
    smooth = (np.abs(np.abs(rows) - threshold) > 1e-3).all(axis=1)
    smooth &= np.abs(np.abs(rows).sum(axis=1) - 1) > 1e-3
    assert smooth.sum() > 10
    assert (threshold[smooth] > 0).any()
    assert (threshold[smooth] == 0).any()
    weight = torch.tensor(rows[smooth], requires_grad=True)
    assert torch.autograd.gradcheck(RowsInL1Ball(), weight, eps=1e-6, atol=1e-7)


def test_the_gradient_at_zero_is_finite() -> None:
    weight = torch.zeros(2, 3, requires_grad=True)
    project(weight).sum().backward()
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


# Norms, rounded up.


def awkward_rows(seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    tiny = 2.0**-1074
    rows = [
        np.array([1.0, 2.0**-53, 2.0**-60]),  # rounds to 1, and is more
        np.array([0.5, 0.5]),
        np.full(10, 0.1),  # 10 · 0.1 is a little more than 1 in binary
        np.array([1 - 2.0**-53, 2.0**-54, 2.0**-60]),
        np.array([tiny, -tiny, 3 * tiny]),
        np.array([1.0, tiny]),
        np.array([1e308, -1e-308, 5.0]),
        np.zeros(3),
    ]
    return rows + [
        rng.normal(size=n) * 2.0 ** rng.integers(-40, 1, size=n) for n in rng.integers(1, 40, 60)
    ]


def test_row_norms_are_the_least_floats_not_below_the_exact_ones(seed: int) -> None:
    # Norms below 1 used to be rounded to the nearest float, half of them down.
    for row in awkward_rows(seed):
        (upper,) = row_norms_upper(torch.tensor(row).unsqueeze(0))
        assert Fraction(upper) >= exact_norm(row)
        if upper > 0:
            assert Fraction(math.nextafter(upper, 0)) < exact_norm(row)


def below_the_norm(norms: Callable[[Tensor], NDArray[np.float64]], seed: int) -> bool:
    rows = awkward_rows(seed)
    return any(Fraction(norms(torch.tensor(r).unsqueeze(0))[0]) < exact_norm(r) for r in rows)


def test_a_correctly_rounded_norm_is_not_enough(seed: int) -> None:
    assert not below_the_norm(row_norms_upper, seed)
    assert below_the_norm(lambda w: np.array([math.fsum(row) for row in w.abs().numpy()]), seed)
    assert below_the_norm(lambda w: w.abs().sum(1).numpy(), seed)


def test_norms_that_no_float_holds_are_infinite_and_no_constant() -> None:
    huge = torch.full((1, 3), 1e308, dtype=torch.float64)
    assert row_norms_upper(huge).tolist() == [math.inf]
    for bad in (huge, huge * math.nan, huge * math.inf):
        layer = nn.Linear(3, 1).double()
        layer.weight = nn.Parameter(bad)
        with pytest.raises(StabilityError, match="must be finite"):
            linear_bound(layer, LINF)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_of_differences_are_never_below_the_exact_ones(seed: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(7, N_IN)) * 2.0 ** rng.integers(-40, 2, size=(7, N_IN))
    rows[3], rows[4] = rows[2], np.nextafter(rows[2], 1)  # equal, and next to equal
    weight = torch.tensor(rows, dtype=dtype)
    upper = pairwise_norms_upper(weight)
    for i, a in enumerate(weight):
        for j, b in enumerate(weight):
            distance = sum(
                (abs(s - t) for s, t in zip(exact(a), exact(b), strict=True)), Fraction(0)
            )
            assert distance <= Fraction(upper[i, j]) <= distance * (1 + Fraction(2) ** -49)
    assert (np.diag(upper) == 0).all()


# Layers: closed form.


def test_a_layer_passes_a_coordinate_on_undiminished() -> None:
    layer = LinfLinear(3, 2)
    layer.weight = torch.tensor([[0.0, -1.0, 0.0], [0.5, 0.0, 0.5]])
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.0, 10.0]))
    assert layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[-2.0, 12.0]]
    assert layer.stability().constant == 1.0


def test_distances_by_hand() -> None:
    # (3, -4) is 4 from the origin in ℓ∞, 5 in ℓ2, 7 in ℓ1, and (27 + 64)^(1/3) in ℓ3
    x = torch.tensor([[3.0, -4.0]], dtype=torch.float64)
    for p, distance in ((math.inf, 4.0), (2, 5.0), (1, 7.0), (3, 91 ** (1 / 3))):
        layer = LinfDistance(2, 1, p=p).double()
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(0.5)
        assert layer(x).item() == pytest.approx(distance + 0.5, rel=1e-15)


def test_standardizing_by_hand() -> None:
    layer = Standardize([1.0, -2.0], [2.0, 0.25])
    assert layer(torch.tensor([[5.0, -2.5]])).tolist() == [[2.0, -2.0]]
    assert layer.stability().constants == (0.5, 4.0)
    assert layer.stability().coordinatewise


def test_a_linear_layer_is_charged_its_largest_row() -> None:
    # rows of norm 3 and 2: a constant that were always 1 would certify nonsense
    layer = nn.Linear(2, 2).double()
    layer.weight = nn.Parameter(torch.tensor([[1.0, -2.0], [1.0, 1.0]], dtype=torch.float64))
    assert linear_bound(layer, LINF).constant == 3.0
    magnitude, error = linear_rounding(layer, np.array([2.0]), np.array([0.5]))
    shift = float(layer.bias.detach().abs().max())
    assert magnitude == pytest.approx(3 * 2.0 + shift, rel=1e-10)
    assert error == pytest.approx(3 * 0.5, rel=1e-10)


# The law: no pair of inputs is stretched more than the constant says, and some are stretched so.


def train(layers: Sequence[nn.Module], seed: int) -> nn.Sequential:
    """Some steps of Adam in float32 on random targets: weights leave the ball and are projected."""
    rng = torch.Generator().manual_seed(seed)
    body = nn.Sequential(*layers)
    parameters = list(body.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    x = 3 * torch.randn(64, N_IN, generator=rng)
    y = 5 * torch.randn(64, N_OUT, generator=rng)
    optimizer = torch.optim.Adam(parameters, lr=0.05) if parameters else None
    for _ in range(30 if optimizer else 0):
        assert optimizer is not None
        optimizer.zero_grad()
        nn.functional.mse_loss(body(x), y).backward()
        optimizer.step()
    return body


MAKE: dict[str, Callable[[], Layer]] = {
    "LinfLinear": lambda: LinfLinear(N_IN, N_OUT),
    "LinfDistance": lambda: LinfDistance(N_IN, N_OUT),
    "LinfDistance p=1": lambda: LinfDistance(N_IN, N_OUT, p=1),
    "LinfDistance p=8": lambda: LinfDistance(N_IN, N_OUT, p=8),
    "LinfDistance p=200": lambda: LinfDistance(N_IN, N_OUT, p=200),
    "MaxMin": MaxMin,
    "GroupSort": lambda: GroupSort(4),
    "Abs": Abs,
    "Standardize": lambda: Standardize(np.linspace(-3, 3, N_IN), np.linspace(0.1, 4, N_IN)),
    "Linear": lambda: nn.Linear(N_IN, N_OUT),
}


def made(name: str, seed: int) -> Layer:
    layer = MAKE[name]()
    if list(layer.parameters()):
        train([layer], seed)
    return layer


def as_trained(name: str, seed: int) -> Layer:
    """The layer that the float32 weights describe, evaluated in float64."""
    layer = made(name, seed)
    if isinstance(layer, nn.Linear):  # the float32 projection, not that of the weights in float64
        plain = nn.Linear(N_IN, N_OUT).double()
        plain.load_state_dict({"weight": layer.weight.double(), "bias": layer.bias.double()})
        assert bound_of(plain) == bound_of(layer)
        return plain
    return layer.double()


def as_folded(name: str, seed: int) -> Layer:
    layer = made(name, seed).double()
    if hasattr(layer, "fold"):
        layer.fold()
    return layer


def as_loaded(name: str, seed: int) -> Layer:
    file = io.BytesIO()
    saved = as_folded(name, seed)
    torch.save(saved.state_dict(), file)
    file.seek(0)
    layer = MAKE[name]().double()
    if hasattr(layer, "fold"):
        layer.fold()
    layer.load_state_dict(torch.load(file))
    return layer


STATES = {"trained": as_trained, "folded": as_folded, "loaded": as_loaded}


def bound_of(layer: Layer) -> float:
    own = hasattr(layer, "stability")
    return float(layer.stability().constant if own else linear_bound(layer, LINF).constant)


def rounding_of(
    layer: Layer, magnitude: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if hasattr(layer, "rounding"):
        found: tuple[NDArray[np.float64], NDArray[np.float64]] = layer.rounding(magnitude, error)
        return found
    return linear_rounding(layer, magnitude, error)


def sup(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(x.detach().abs().amax(dim=-1).numpy())


def steepest_pairs(layer: Layer, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of inputs: at random near and far, and along the signs of each output's gradient."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, N_IN)) * np.exp(rng.uniform(-3, 3, size=(40, 1)))
    steps = rng.choice([1e-6, 1e-2, 10.0], size=(40, 1))
    pairs = [(x, x + steps * rng.normal(size=x.shape)), (x, x + steps * np.sign(x + 1e-9))]
    inputs = torch.tensor(x, requires_grad=True)
    outputs = layer(inputs)
    for j in range(outputs.shape[1]):
        (gradient,) = torch.autograd.grad(outputs[:, j].sum(), inputs, retain_graph=True)
        pairs.append((x, x + steps * np.sign(gradient.numpy())))
    # ascend from far away: ℓp distances are steepest along the diagonal through a weight
    if isinstance(layer, LinfDistance):
        weight = layer.weight.detach().numpy()
        ones = rng.choice([-1.0, 1.0], size=weight.shape)
        pairs.append((weight + 1e-3 * ones, weight + 5 * ones))
        one = 100 * np.eye(N_IN)[: len(weight)]
        pairs.append((weight + one, weight + 2 * one))
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return torch.tensor(a), torch.tensor(b)


def excess_and_slope(layer: Layer, constant: float, seed: int) -> tuple[float, float]:
    """How far outputs moved beyond `constant`, and the steepest slope, both less all rounding."""
    a, b = steepest_pairs(layer, seed)
    with torch.no_grad():
        moved, by = sup(layer(a) - layer(b)), sup(a - b)
    zero = np.zeros(len(a))
    rounding = rounding_of(layer, sup(a), zero)[1] + rounding_of(layer, sup(b), zero)[1]
    rounding = rounding + 4 * 2.0**-53 * (moved + constant * by)  # of what is computed here
    clear = by > 1e-3  # slopes over less are those of rounding
    slopes = (moved - rounding)[clear] / by[clear]
    return float((moved - constant * by - rounding).max()), float(slopes.max())


@pytest.mark.parametrize("state", STATES.values(), ids=list(STATES))
@pytest.mark.parametrize("name", MAKE)
def test_no_pair_is_stretched_more_than_the_constant(
    name: str, state: Callable[[str, int], Layer], seed: int
) -> None:
    layer = state(name, seed)
    constant = bound_of(layer)
    excess, slope = excess_and_slope(layer, constant, seed)
    assert excess <= 0
    assert 0.99 * constant < slope <= constant  # the constant is attained


@pytest.mark.parametrize("name", MAKE)
def test_that_a_constant_one_percent_smaller_is_exceeded(name: str, seed: int) -> None:
    layer = as_trained(name, seed)
    assert excess_and_slope(layer, 0.99 * bound_of(layer), seed)[0] > 0


@pytest.mark.parametrize("p", [1, 1.5, 2, 8, 200, 1e6])
def test_a_finite_p_is_charged_the_root_of_the_inputs(p: float) -> None:
    constant = LinfDistance(5, 2, p=p).stability().constant
    with localcontext() as context:
        context.prec = 60
        root = Decimal(5) ** (1 / Decimal(p))
        assert root <= Decimal(constant) <= root * (1 + Decimal("1e-14"))


# Folding.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_rows_have_exact_norm_at_most_1(seed: int, dtype: torch.dtype) -> None:
    # In float32 the upper bound itself used to be rounded, and some rows stayed above 1.
    layer: Any = LinfLinear(40, 300).to(dtype)
    layer.parametrizations.weight.original.data.normal_(
        generator=torch.Generator().manual_seed(seed)
    )
    before = layer.weight.detach().clone()
    assert any(exact_norm(row) > 1 for row in before)  # so there is something to do
    layer.fold()
    assert all(exact_norm(row) <= 1 for row in layer.weight)
    assert layer.stability().constant <= 1
    eps = torch.finfo(dtype).eps
    # what the projection of 40 numbers is off by, and 8 units in the last place
    torch.testing.assert_close(layer.weight.data, before, rtol=100 * eps, atol=0)
    again = layer.weight.detach().clone()
    layer.fold()
    assert torch.equal(layer.weight, again)


# Rounding, against exact arithmetic on the same bits.


def exact_output(layer: Layer, x: Sequence[Fraction]) -> list[Fraction]:
    """What the layer's formula gives without rounding (for p < ∞ to 60 digits)."""
    if isinstance(layer, Standardize):
        center, factor = exact(layer.center), exact(layer.factor)
        return [(a - c) * f for a, c, f in zip(x, center, factor, strict=True)]
    if isinstance(layer, nn.Linear):
        return [
            sum((w * a for w, a in zip(exact(row), x, strict=True)), Fraction(0)) + bias
            for row, bias in zip(layer.weight, exact(layer.bias), strict=True)
        ]
    if isinstance(layer, LinfDistance):
        return [
            exact_distance([a - w for a, w in zip(x, exact(row), strict=True)], layer.p) + bias
            for row, bias in zip(layer.weight, exact(layer.bias), strict=True)
        ]
    if isinstance(layer, GroupSort):
        size = layer.group_size
        groups = [sorted(x[i : i + size], reverse=True) for i in range(0, len(x), size)]
        return [value for group in groups for value in group]
    assert isinstance(layer, Abs)
    return [abs(value) for value in x]


def exact_distance(differences: list[Fraction], p: float) -> Fraction:
    largest = max(abs(d) for d in differences)
    if p == math.inf or largest == 0:
        return largest
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -(10**9), 10**9
        ratios = [abs(d / largest) for d in differences]
        powers = [
            (Decimal(r.numerator) / Decimal(r.denominator)) ** Decimal(p) for r in ratios if r > 0
        ]
        root: Decimal = sum(powers, Decimal(0)) ** (1 / Decimal(p))
    return Fraction(root) * largest


SCALES = [0.0, 1e-320, 1e-300, 1e-150, 1e-9, 1.0, 1e9, 1e150, 1e290]


def scaled_inputs(seed: int, per_scale: int = 2) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(len(SCALES), per_scale, N_IN))
    x *= np.array(SCALES)[:, None, None]
    x[:, 0] *= 2.0 ** rng.integers(-60, 1, size=(len(SCALES), N_IN))  # uneven coordinates
    return np.asarray(x.reshape(-1, N_IN))


def worst_share_of_the_bound(
    layer: Layer, seed: int, *, batch: int = 5, error: float = 0.0, shrink: float = 1.0
) -> float:
    """The largest |computed − exact| in units of the bound times `shrink`, where inputs are off
    by `error` times their size.
    """
    x = scaled_inputs(seed)
    rng = np.random.default_rng(seed)
    given = x + error * rng.choice([-1.0, 1.0], size=x.shape) * np.abs(x).max(1, keepdims=True)
    off = np.abs(given - x).max(axis=1) * (1 + 1e-15)
    with torch.no_grad():
        computed = torch.cat([layer(part) for part in torch.tensor(given).split(batch)]).numpy()
    _, bounds = rounding_of(layer, np.abs(x).max(axis=1), off)
    worst = 0.0
    for row, outputs, bound in zip(x, computed, bounds * shrink, strict=True):
        for a, b in zip(outputs, exact_output(layer, exact(row)), strict=True):
            worst = max(worst, float(abs(Fraction(float(a)) - b) / Fraction(bound)))
    return worst


@pytest.mark.parametrize("name", [n for n in MAKE if n not in ("MaxMin", "GroupSort", "Abs")])
def test_rounding_stays_within_its_bound(name: str, seed: int) -> None:
    layer = as_folded(name, seed)
    for batch in (1, 5, 64):
        assert worst_share_of_the_bound(layer, seed, batch=batch) <= 1
    assert worst_share_of_the_bound(layer, seed, error=1e-7) <= 1
    assert worst_share_of_the_bound(layer, seed, error=30.0) <= 1


@pytest.mark.parametrize("name", [n for n in MAKE if n not in ("MaxMin", "GroupSort", "Abs")])
def test_a_thousandth_of_the_bound_is_not_enough(name: str, seed: int) -> None:
    layer = as_folded(name, seed)
    assert worst_share_of_the_bound(layer, seed, shrink=1e-3) > 1


@pytest.mark.parametrize("name", ["MaxMin", "GroupSort", "Abs"])
def test_activations_do_not_round(name: str, seed: int) -> None:
    layer = MAKE[name]()
    x = scaled_inputs(seed)
    outputs = layer(torch.tensor(x)).numpy()
    for row, found in zip(x, outputs, strict=True):
        assert exact(found) == exact_output(layer, exact(row))
    magnitude, error = np.array([3.0]), np.array([1e-9])
    assert layer.rounding(magnitude, error) == (magnitude, error)


def test_the_rounding_of_a_wide_layer_grows_with_its_fan_in() -> None:
    # All that a layer adds is 2^-53 |x| times its fan-in and a few: γ_n = nu/(1 − nu).
    layer = LinfLinear(1000, 1).double()
    layer.fold()
    _, error = layer.rounding(np.array([1.0]), np.array([0.0]))
    assert error[0] == pytest.approx(1000 * 2.0**-53, rel=0.01, abs=0)
    assert gamma(1000) * (1 - 1000 * 2.0**-53) >= 1000 * 2.0**-53


def test_what_is_off_already_is_rounded_too() -> None:
    # An exact input 0 that was computed as 1: n products of numbers up to 1 are added, so the
    # output may be off by L and by γ_n L. (Wide, for γ_n to stand out from the slack of 10^-12.)
    n = 100_000
    layer = nn.Linear(n, 1).double()
    layer.load_state_dict({"weight": torch.full((1, n), 1e-5), "bias": torch.zeros(1)})
    _, error = linear_rounding(layer, np.zeros(1), np.ones(1))
    constant = linear_bound(layer, LINF).constant
    assert Fraction(error[0]) >= Fraction(constant) * (1 + n * Fraction(2) ** -53)


def test_small_distances_of_high_order_do_not_vanish() -> None:
    # (1e-10)^64 underflows, and the distance used to be 0.
    layer = LinfDistance(4, 1, p=64).double()
    with torch.no_grad():
        layer.weight.zero_()
    x = torch.full((1, 4), 1e-10, dtype=torch.float64, requires_grad=True)
    distance = layer(x)
    assert distance.item() == pytest.approx(4 ** (1 / 64) * 1e-10, rel=1e-14, abs=0)
    (gradient,) = torch.autograd.grad(distance.sum(), x)
    # the gradient of a norm has ℓ1-norm n^(1/p) on the diagonal, and not that of its scale
    assert gradient.sum().item() == pytest.approx(4 ** (1 / 64), rel=1e-12)
    assert torch.autograd.gradcheck(
        layer, torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    )


# The contract.


def test_layers_can_be_copied_pickled_and_cast(seed: int) -> None:
    # Parametrized layers could not be pickled.
    layer, distance = made("LinfLinear", seed), made("LinfDistance", seed)
    generator = torch.get_rng_state()
    folded = copy.deepcopy(layer)
    folded.fold()
    x = torch.randn(4, N_IN, generator=torch.Generator().manual_seed(seed))
    for original in (layer, folded, distance):
        file = io.BytesIO()
        torch.save(original, file)
        file.seek(0)
        copies = [
            copy.deepcopy(original),
            copy.copy(original),
            pickle.loads(pickle.dumps(original)),
            torch.load(file, weights_only=False),
        ]
        for other in copies:
            assert torch.equal(other(x), original(x))
            assert other.stability() == original.stability()
            assert str(other) == str(original)
        with torch.no_grad():
            for parameter in copies[2].parameters():
                parameter.add_(1.0)
        assert not torch.equal(copies[2](x), original(x))  # it is another layer
        assert torch.equal(copies[0](x), original(x))
    assert torch.equal(torch.get_rng_state(), generator)
    unpickled = pickle.loads(pickle.dumps(layer))
    unpickled.fold()
    assert torch.equal(unpickled.weight, folded.weight)


def test_an_unpickled_layer_is_still_projected(seed: int) -> None:
    layer = pickle.loads(pickle.dumps(made("LinfLinear", seed)))
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(100.0)
    assert row_norms_upper(layer.weight).max() <= 1 + 1e-3
    assert {"weight", "bias"} == {
        n.split(".")[-2 if "original" in n else -1] for n, _ in layer.named_parameters()
    }


def test_folding_a_copy_leaves_the_original_alone(seed: int) -> None:
    # Copies shared one class, from which folding deletes the weight: the original had none left.
    layer = made("LinfLinear", seed)
    x = torch.ones(1, N_IN)
    before = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other.fold()
        assert torch.equal(layer(x), before)


def test_weights_that_are_set_are_projected() -> None:
    layer = LinfLinear(2, 1)
    layer.weight = torch.tensor([[3.0, 2.5]])
    torch.testing.assert_close(layer.weight, torch.tensor([[0.75, 0.25]]))


def test_first_weights_follow_the_gain() -> None:
    gain = torch.tensor([1.0, 1e-3, 0.0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weight = LinfLinear(3, 500, gain=gain).weight.detach()
    torch.testing.assert_close(weight.abs().sum(1), torch.ones(500))
    assert (weight[:, 2] == 0).all()
    assert weight[:, 1].abs().mean() < 0.02


def test_standardizing_does_not_share_memory_with_its_arguments() -> None:
    # The arrays used to be taken as they were: changing them changed the network.
    center, scale = np.zeros(2), np.ones(2)
    layer = Standardize(center, scale)
    center += 5.0
    assert layer(torch.ones(1, 2)).tolist() == [[1.0, 1.0]]


def test_standardizing_is_in_float64_whatever_comes_in() -> None:
    # 1 + 1e-12 and 1 are one number in float32
    layer = Standardize([1.0], [1e-12])
    x = torch.tensor([[1 + 1e-12]], dtype=torch.float64)
    assert layer(x).item() == pytest.approx(1.0, rel=1e-3)
    assert layer(x.float()).dtype == torch.float64


def test_reprs_name_sizes() -> None:
    assert "in=3, out=2, p=inf" in repr(LinfDistance(3, 2))
    assert "n_features=2" in repr(Standardize([0.0, 0.0], [1.0, 1.0]))
    assert LinfLinear(3, 2).stability().stage == "LinfLinear"


# Errors.


@pytest.mark.parametrize("name", ["LinfLinear", "LinfDistance", "Standardize", "Linear"])
def test_other_norms_are_refused(name: str) -> None:
    layer = MAKE[name]()
    kind = type(layer).__name__.removeprefix("Parametrized")
    other = L2 if name == "LinfDistance" else BOTTLENECK
    with pytest.raises(StabilityError, match=rf"{kind} knows its constant.* from .*linf.*, not"):
        layer.stability(other) if hasattr(layer, "stability") else linear_bound(layer, other)


@pytest.mark.parametrize("name", ["LinfLinear", "LinfDistance", "Linear"])
def test_the_rounding_of_float32_is_not_known(name: str) -> None:
    # It used to be that of float64, 10^9 times too small.
    layer = MAKE[name]()
    with pytest.raises(StabilityError, match=re.escape("its weights are torch.float32")):
        rounding_of(layer, np.ones(1), np.zeros(1))


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan])
def test_exponents_of_no_norm_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match=f"p={p!r} is not the exponent of a norm"):
        LinfDistance(2, 2, p=p)


def test_a_gain_of_another_length_is_refused() -> None:
    # A gain of length 1 used to be spread over all inputs.
    with pytest.raises(ValueError, match=re.escape("gain has shape (1,), but the layer has 3")):
        LinfLinear(3, 2, gain=torch.ones(1))


@pytest.mark.parametrize(
    ("center", "scale", "message"),
    [
        ([0.0], [1.0, 1.0], "center has shape (1,) and scale (2,)"),
        (0.0, 1.0, "center has shape () and scale ()"),
        ([math.nan], [1.0], "center[0] is nan: expected finite numbers"),
        ([0.0, 0.0], [1.0, 0.0], "scale[1] is 0.0: expected finite numbers above 0"),
        ([0.0, 0.0], [1.0, -1.0], "scale[1] is -1.0"),
        ([0.0], [math.inf], "scale[0] is inf"),
        ([0.0], [1e-320], "above 1e-307"),
        ([0.0], [math.nan], "scale[0] is nan"),
    ],
)
def test_standardizing_needs_finite_numbers(center: Any, scale: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Standardize(center, scale)


def test_vectors_of_another_length_are_refused() -> None:
    # One feature too few used to be an error of torch about tensor sizes; a single one was spread.
    with pytest.raises(ValueError, match="made for vectors of 3 features"):
        Standardize(np.zeros(3), np.ones(3))(torch.zeros(5, 1))
