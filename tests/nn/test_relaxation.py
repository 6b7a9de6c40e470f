"""Linear relaxation: every line below its function, every margin below what was computed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.nn import (
    Abs,
    GroupSort,
    LinfDistance,
    LinfLinear,
    MaxMin,
    StableRankNetwork,
    Standardize,
    margin_bounds,
    relaxation,
)
from stablerank.nn.margins import layer_relaxations
from stablerank.nn.network import layer_bounds, leaf_layers
from stablerank.nn.relaxation import Comparators, Rectified, Relaxation, sorting_network
from stablerank.stability import StabilityError

METHODS = ("interval", "linear")
N_IN = 12
Box = tuple[Tensor, Tensor]
Lines = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pulled(step: Relaxation, *coefficients: float) -> tuple[list[float], float]:
    slopes, constant = step.pull_back(tensor([[coefficients]]))
    return slopes.flatten().tolist(), constant.item()


# Closed form.


def test_lines_about_relu_by_hand() -> None:
    # on [−1, 3] the chord of max(u, 0) is 3/4 (u + 1), and max(u, 0) >= u; on [−3, 1] it is 0
    step = Rectified(tensor([[-1.0, -3.0]]), tensor([[3.0, 1.0]]), 0.0, 1.0)
    assert pulled(step, 1.0, 1.0) == ([1.0, 0.0], 0.0)
    assert pulled(step, -1.0, -1.0) == ([-0.75, -0.25], -0.75 - 0.75)
    # where the sign is known: exactly
    step = Rectified(tensor([[1.0, -3.0]]), tensor([[3.0, 0.0]]), 0.0, 1.0)
    assert pulled(step, -2.0, -2.0) == ([-2.0, 0.0], 0.0)


def test_lines_about_the_absolute_value_by_hand() -> None:
    # on [−1, 3]: |u| >= u, and the chord from (−1, 1) to (3, 3) is u/2 + 3/2
    step = Rectified(tensor([[-1.0]]), tensor([[3.0]]), -1.0, 2.0)
    assert pulled(step, 1.0) == ([1.0], 0.0)
    assert pulled(step, -1.0) == ([-0.5], -1.5)


def test_planes_about_a_maximum_by_hand() -> None:
    # a in [0, 3], b in [1, 2]: u = a − b in [−2, 2], max(u, 0) <= u/2 + 1, so
    # max <= (a + b)/2 + 1, min >= (a + b)/2 − 1, and max + min = a + b
    step = Comparators(tensor([[0.0, 1.0]]), tensor([[3.0, 2.0]]), 2)
    assert pulled(step, -1.0, 0.0) == ([-0.5, -0.5], -1.0)
    assert pulled(step, 0.0, 1.0) == ([0.5, 0.5], -1.0)
    assert pulled(step, 1.0, 1.0) == ([1.0, 1.0], 0.0)
    # a is larger for certain
    step = Comparators(tensor([[2.0, 1.0]]), tensor([[3.0, 2.0]]), 2)
    assert pulled(step, -5.0, 7.0) == ([-5.0, 7.0], 0.0)


def test_tangents_about_a_distance_by_hand() -> None:
    # max(|x|, |y − 3|) + 1/2 for x in [−2, 1], y in [0, 2]: at the centre (−1/2, 1) the second is
    # larger, 3 − y; it does not always win, so the largest value 3.5 bounds from above
    layer = LinfDistance(2, 1).double()
    layer.weight.data, layer.bias.data = tensor([[0.0, 3.0]]), tensor([0.5])
    box = tensor([[-2.0, 0.0]]), tensor([[1.0, 2.0]])
    (step,) = layer_relaxations(layer, *box, layer_bounds(layer, *box))
    assert pulled(step, 2.0) == ([0.0, -2.0], 2 * 3.5)
    assert pulled(step, -2.0) == ([0.0, 0.0], -2 * 3.5)
    # with |x| <= 1 it does
    box = tensor([[-1.0, 0.0]]), tensor([[1.0, 2.0]])
    (step,) = layer_relaxations(layer, *box, layer_bounds(layer, *box))
    assert pulled(step, -2.0) == ([0.0, 2.0], -2 * 3.5)


def test_a_margin_that_only_lines_see() -> None:
    # z = (max(x, y) + min(x, y), x + y − 1) differ by 1 everywhere
    first, last = nn.Linear(2, 4).double(), nn.Linear(4, 2).double()
    first.weight.data = tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    first.bias.data = tensor([0.0, 0.0, 0.0, -9.0])
    last.weight.data = tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    last.bias.data = tensor([0.0, -1.0])
    network = nn.Sequential(first, MaxMin(), last)
    box = np.array([[0.0, 0.0]]), np.array([[4.0, 4.0]])
    assert margin_bounds(network, *box, [0], "linear") == pytest.approx(1.0, abs=1e-11)
    # intervals: (0 + 0) − 8 + 1
    assert margin_bounds(network, *box, [0], "interval") == pytest.approx(-7.0, abs=1e-11)


# The law for each layer: on thousands of random boxes the line is below the function.

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(N_IN, 5),
    "LinfLinear": lambda: LinfLinear(N_IN, 5),
    "Linear without bias": lambda: nn.Linear(N_IN, 5, bias=False),
    "Standardize": lambda: Standardize(np.linspace(-3, 3, N_IN), np.linspace(0.1, 4, N_IN)),
    "MaxMin": MaxMin,
    "GroupSort(1)": lambda: GroupSort(1),
    "GroupSort(3)": lambda: GroupSort(3),
    "GroupSort(4)": lambda: GroupSort(4),
    "GroupSort(12)": lambda: GroupSort(12),
    "Abs": Abs,
    "ReLU": nn.ReLU,
    "Identity": nn.Identity,
    "LinfDistance": lambda: LinfDistance(N_IN, 5),
    "LinfDistance p=3": lambda: LinfDistance(N_IN, 5, p=3),
}


def made(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = LAYERS[name]().double()
    return layer.requires_grad_(False)


def random_boxes(rng: np.random.Generator, n: int, width: int) -> Box:
    center = rng.normal(size=(n, width)) * rng.choice([0.1, 1, 10], size=(n, 1))
    radius = rng.exponential(size=(n, width)) * rng.choice([0, 1e-3, 0.3, 3], size=(n, 1))
    return tensor(center - radius), tensor(center + radius)


def points_in(rng: np.random.Generator, lower: Tensor, upper: Tensor, n: int) -> Iterator[Tensor]:
    """Corners, and points between."""
    for i in range(n):
        share = tensor(rng.uniform(size=lower.shape))
        inside = lower + (share.round() if i % 2 else share) * (upper - lower)
        yield torch.minimum(torch.maximum(inside, lower), upper)


def highest_excess(name: str, seed: int, n: int = 500) -> float:
    """How far the line comes above the function, relative to the numbers' size."""
    rng, layer = np.random.default_rng(seed), made(name, seed)
    lower, upper = random_boxes(rng, n, N_IN)
    outputs = layer_bounds(layer, lower, upper)
    coefficients = tensor(rng.normal(size=(n, 3, outputs[0].shape[1])))
    slopes, constant = coefficients, torch.zeros(n, 3, dtype=torch.float64)
    for step in reversed(layer_relaxations(layer, lower, upper, outputs)):
        slopes, added = step.pull_back(slopes)
        constant = constant + added
    assert slopes.shape == (n, 3, N_IN)
    worst = -math.inf
    for x in points_in(rng, lower, upper, 40):
        value = (coefficients @ layer(x).unsqueeze(-1)).squeeze(-1)
        line = (slopes @ x.unsqueeze(-1)).squeeze(-1) + constant
        size = 1 + value.abs() + (slopes.abs() @ x.abs().unsqueeze(-1)).squeeze(-1)
        worst = max(worst, float(((line - value) / size).max()))
    return worst


@pytest.mark.parametrize("name", LAYERS)
def test_lines_are_below(name: str, seed: int) -> None:
    assert highest_excess(name, seed) <= 1e-13


def without_gap(lower: Tensor, upper: Tensor, lines: Lines = relaxation._lines) -> Any:
    tangent, chord, gap = lines(lower, upper)
    return tangent, chord, 0 * gap


def shallow_gap(lower: Tensor, upper: Tensor, lines: Lines = relaxation._lines) -> Any:
    tangent, chord, gap = lines(lower, upper)
    return tangent, chord, 0.99 * gap


def steep_tangent(lower: Tensor, upper: Tensor, lines: Lines = relaxation._lines) -> Any:
    tangent, chord, gap = lines(lower, upper)
    return 1.01 * tangent, chord, gap


def chord_below(lower: Tensor, upper: Tensor, lines: Lines = relaxation._lines) -> Any:
    tangent, chord, gap = lines(lower, upper)
    return torch.where(lower > -0.1, 1.0, tangent), torch.where(upper < 0.1, 0.0, chord), gap


BROKEN: dict[str, Lines] = {
    "no gap": without_gap,
    "a gap one percent too small": shallow_gap,
    "a tangent one percent too steep": steep_tangent,
    "signs decided too early": chord_below,
}


@pytest.mark.parametrize("name", ["MaxMin", "GroupSort(4)", "Abs", "ReLU"])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_broken_lines_are_found(
    name: str, broken: Lines, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaxation, "_lines", broken)
    assert highest_excess(name, seed) > 1e-6


def test_a_tangent_of_the_wrong_sign_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start = relaxation.Distance.__init__

    def broken(self: Any, *arguments: Any) -> None:
        start(self, *arguments)
        self.known = torch.ones_like(self.known)

    monkeypatch.setattr(relaxation.Distance, "__init__", broken)
    assert highest_excess("LinfDistance", seed) > 1e-6


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
def test_comparators_sort(size: int, seed: int) -> None:
    x = tensor(np.random.default_rng(seed).integers(-5, 5, size=(50, 60)).astype(float))
    steps = sorting_network(x, x + 1, size)
    lower, upper = (x, x + 1) if not steps else steps[-1].outputs()  # type: ignore[attr-defined]
    assert torch.equal(lower, GroupSort(size)(x))
    assert torch.equal(upper, GroupSort(size)(x + 1))


@pytest.mark.parametrize("name", ["MaxMin", "GroupSort(4)", "Abs", "ReLU", "LinfDistance"])
def test_lines_are_exact_where_everything_is_decided(name: str, seed: int) -> None:
    rng, layer = np.random.default_rng(seed), made(name, seed)
    x = tensor(rng.permutation(np.arange(-5.75, 6.0))[None])
    box = x - 1e-6, x + 1e-6
    outputs = layer_bounds(layer, *box)
    coefficients = tensor(rng.normal(size=(1, 1, outputs[0].shape[1])))
    slopes, constant = coefficients, torch.zeros(1, 1, dtype=torch.float64)
    for step in reversed(layer_relaxations(layer, *box, outputs)):
        slopes, added = step.pull_back(slopes)
        constant = constant + added
    for moved in points_in(rng, *box, 20):
        value = (coefficients @ layer(moved).unsqueeze(-1)).squeeze()
        line = (slopes @ moved.unsqueeze(-1)).squeeze() + constant.squeeze()
        assert line.item() == pytest.approx(value.item(), abs=1e-13)


# The law for networks: no computed margin is below the bound.

NETWORKS: dict[str, dict[str, Any]] = {
    "maxmin": {"hidden": (12, 8)},
    "groupsort": {"hidden": (12, 8), "activation": "groupsort"},
    "abs": {"hidden": (7, 5), "activation": "abs"},
    "linf-distance": {"hidden": (7, 5), "layer": "linf-distance"},
    "free relu": {"hidden": (7, 5), "layer": "free", "activation": "relu"},
    "free maxmin": {"hidden": (8, 6, 4), "layer": "free"},
    "no hidden layer": {"hidden": ()},
}
N_FEATURES = 6


def network_of(kind: str, seed: int) -> nn.Module:
    """Random weights, shifts and scales, folded; or layers of torch alone."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "torch":
            return nn.Sequential(
                nn.Sequential(nn.Linear(N_FEATURES, 9), nn.ReLU()),
                nn.Identity(),
                nn.Linear(9, 3, bias=False),
                nn.ReLU(),
            ).double()
        network = StableRankNetwork(
            N_FEATURES,
            3,
            center=rng.normal(size=N_FEATURES),
            scale=rng.uniform(0.1, 4, size=N_FEATURES),
            **NETWORKS[kind],
        )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape)))
    return network.folded()


def margins(network: nn.Module, x: Tensor, predicted: Tensor) -> Tensor:
    logits = network(x)
    own = logits.gather(1, predicted.unsqueeze(1))
    rivals = nn.functional.one_hot(predicted, logits.shape[1]) == 0
    return torch.where(rivals, own - logits, math.inf).amin(1)


def descended(network: nn.Module, lower: Tensor, upper: Tensor, predicted: Tensor) -> Tensor:
    """The margins at corners that signed gradients lead to."""
    x = (lower + upper) / 2
    worst = margins(network, x, predicted)
    for _ in range(10):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(margins(network, x, predicted).sum(), x)
        x = torch.where(gradient > 0, lower, torch.where(gradient < 0, upper, x)).detach()
        worst = torch.minimum(worst, margins(network, x, predicted).detach())
    return worst


def smallest_margins(network: nn.Module, box: Box, predicted: Tensor, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    points = points_in(rng, *box, 50)
    found = torch.stack([margins(network, x, predicted) for x in points]).amin(0)
    return torch.minimum(found, descended(network, *box, predicted)).detach()


def boxes_about(network: nn.Module, seed: int, n: int = 200) -> tuple[Box, Tensor]:
    rng = np.random.default_rng(seed)
    lower, upper = random_boxes(rng, n, N_FEATURES)
    return (lower, upper), network((lower + upper) / 2).argmax(1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [*NETWORKS, "torch"])
def test_no_margin_is_below_its_bound(kind: str, method: Any, seed: int) -> None:
    network = network_of(kind, seed)
    box, predicted = boxes_about(network, seed)
    bounds = margin_bounds(network, *box, predicted, method)
    assert (smallest_margins(network, box, predicted, seed).numpy() >= bounds).all()
    assert np.isfinite(bounds).all()


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, "linear") for kind in ("maxmin", "free relu", "linf-distance", "torch")]
    + [("no hidden layer", "interval")],
)
def test_the_law_above_can_fail(kind: str, method: Any, seed: int) -> None:
    # with the boxes a tenth too small
    network = network_of(kind, seed)
    (lower, upper), predicted = boxes_about(network, seed)
    short = (upper - lower) / 20
    bounds = margin_bounds(network, lower + short, upper - short, predicted, method)
    assert (smallest_margins(network, (lower, upper), predicted, seed).numpy() < bounds).any()


@pytest.mark.parametrize("broken", [without_gap, shallow_gap], ids=["no gap", "gap too small"])
def test_broken_lines_certify_nonsense(
    broken: Lines, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one unit, so that the gap is all there is: 1 − |x| over [−1, 1], least at both ends
    network = nn.Sequential(nn.Linear(1, 1), Abs(), nn.Linear(1, 2)).double()
    network.load_state_dict(
        {
            "0.weight": tensor([[1.0]]),
            "0.bias": tensor([0.0]),
            "2.weight": tensor([[-1.0], [0.0]]),
            "2.bias": tensor([1.0, 0.0]),
        }
    )
    assert -1e-12 < margin_bounds(network, [[-1.0]], [[1.0]], [0], "linear").item() <= 0
    monkeypatch.setattr(relaxation, "_lines", broken)
    assert margin_bounds(network, [[-1.0]], [[1.0]], [0], "linear").item() > 1e-3


@pytest.mark.parametrize("kind", [*NETWORKS, "torch"])
def test_lines_are_never_worse_than_intervals(kind: str, seed: int) -> None:
    network = network_of(kind, seed)
    box, predicted = boxes_about(network, seed)
    interval, linear = (margin_bounds(network, *box, predicted, m) for m in METHODS)
    assert (linear >= interval).all()
    if NETWORKS.get(kind, {}).get("hidden", True):
        assert (linear > interval + 1e-3).any()


@pytest.mark.parametrize("kind", ["maxmin", "groupsort", "linf-distance", "free relu"])
def test_margins_are_no_smaller_than_the_constant_says(kind: str, seed: int) -> None:
    network: Any = network_of(kind, seed)
    rng = np.random.default_rng(seed)
    x, radius = tensor(rng.normal(size=(50, N_FEATURES))), tensor(rng.exponential(size=(50, 1)))
    predicted = network(x).argmax(1)
    constant = network.feature_stability().constant * network.pairwise_constants().max()
    least = margins(network, x, predicted) - constant * radius.squeeze(1)
    bounds = margin_bounds(network, x - radius, x + radius, predicted, "interval")
    assert (bounds >= least.numpy() - 1e-10 * (1 + constant)).all()


def test_one_row_or_many_boxes_at_a_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("linf-distance", seed)
    box, predicted = boxes_about(network, seed)
    together = margin_bounds(network, *box, predicted)
    monkeypatch.setattr("stablerank.nn.margins._NUMBERS_AT_ONCE", 1)
    apart = margin_bounds(network, *box, predicted)
    np.testing.assert_allclose(apart, together, rtol=1e-12, atol=1e-12)


# Rounding: against exact arithmetic, on boxes that are single points.


def exact_logits(network: nn.Module, x: NDArray[np.float64]) -> list[Fraction]:
    values = [Fraction(v) for v in x.tolist()]
    for layer in leaf_layers(network):
        own: Any = layer
        if isinstance(layer, Standardize):
            pairs = zip(values, own.center.tolist(), own.factor.tolist(), strict=True)
            values = [(v - Fraction(c)) * Fraction(f) for v, c, f in pairs]
        elif isinstance(layer, nn.Linear):
            rows = zip(own.weight.tolist(), own.bias.tolist(), strict=True)
            values = [
                sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b))
                for row, b in rows
            ]
        elif isinstance(layer, GroupSort):
            starts = range(0, len(values), own.group_size)
            groups = [values[i : i + own.group_size] for i in starts]
            values = [v for group in groups for v in sorted(group, reverse=True)]
        elif isinstance(layer, Abs):
            values = [abs(v) for v in values]
        elif isinstance(layer, nn.ReLU):
            values = [max(v, Fraction(0)) for v in values]
        elif isinstance(layer, LinfDistance):
            rows = zip(own.weight.tolist(), own.bias.tolist(), strict=True)
            values = [
                max(abs(v - Fraction(w)) for w, v in zip(row, values, strict=True)) + Fraction(b)
                for row, b in rows
            ]
    return values


def points_above(kind: str, method: Any, seed: int, n: int = 25) -> tuple[int, float]:
    """How many bounds at single points exceed the exact margin, and the most that one is below."""
    rng, network = np.random.default_rng(seed), network_of(kind, seed)
    x = rng.normal(size=(n, N_FEATURES)) * 10.0 ** rng.integers(-3, 5, size=(n, 1))
    predicted = network(tensor(x)).argmax(1)
    bounds = margin_bounds(network, x, x, predicted, method)
    above, most = 0, 0.0
    for row, t, bound in zip(x, predicted.tolist(), bounds.tolist(), strict=True):
        logits = exact_logits(network, row)
        margin = min(logits[t] - z for j, z in enumerate(logits) if j != t)
        above += margin < Fraction(bound)
        most = max(most, float(margin - Fraction(bound)) / (1 + np.abs(row).max()))
    return above, most


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_no_exact_margin_is_below_its_bound(kind: str, method: Any, seed: int) -> None:
    above, most = points_above(kind, method, seed)
    assert above == 0
    assert most < 1e-10


@pytest.mark.parametrize("kind", ["maxmin", "abs", "free relu"])
def test_that_uncharged_rounding_leaks(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stablerank.nn.affine.gamma", lambda n: 0.0)
    monkeypatch.setattr(relaxation, "gamma", lambda n: 0.0)
    monkeypatch.setattr(relaxation, "UNDERFLOW", 0.0)
    monkeypatch.setattr("stablerank.nn.affine.UNDERFLOW", 0.0)
    assert points_above(kind, "linear", seed)[0] > 0


# Planted counterexamples.


def planted(signs: NDArray[np.float64], slack: float, kind: str) -> nn.Sequential:
    """Class 1 wins in one corner of the unit box about 0, and loses everywhere else in it.

    With s the corner and n coordinates, z_1 − z_0 = f(s·x − n + 2 slack) − slack, f the positive
    part: positive only where s·x > n − slack.
    """
    n = len(signs)
    activation: nn.Module = {"relu": nn.ReLU(), "maxmin": MaxMin(), "sort": GroupSort(4)}[kind]
    width = 4 if kind == "sort" else 2
    first, last = nn.Linear(n, width).double(), nn.Linear(width, 2).double()
    first.weight.data.zero_()
    first.weight.data[0] = tensor(signs)
    first.bias.data.zero_()
    first.bias.data[0] = 2 * slack - n
    if kind == "sort":
        first.bias.data[2:] = -10.0 * n  # so that the largest is the positive part
    last.weight.data.zero_()
    last.weight.data[1, 0] = 1.0
    last.bias.data = tensor([slack, 0.0])
    return nn.Sequential(first, activation, last)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["relu", "maxmin", "sort"])
@pytest.mark.parametrize("slack", [0.1, 1e-9])
def test_nobody_certifies_beyond_the_twin(kind: str, slack: float, method: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=10)
    network = planted(signs, slack, kind)
    assert network(tensor(signs)).argmax() == 1
    inside = tensor(rng.uniform(-1, 1, size=(2000, 10)))  # who looks at random sees nothing
    assert (network(inside).argmax(1) == 0).all()
    ones = np.ones((1, 10))
    assert margin_bounds(network, -ones, ones, [0], method) <= 0
    # the twin is at (n − slack)/n, or (1 − slack/10); below that it is certified
    near = 1 - slack / 10
    assert margin_bounds(network, -near * ones, near * ones, [0], method) <= slack * 1e-6
    smaller = 0.9 * near * ones
    assert margin_bounds(network, -smaller, smaller, [0], method) > 0


def test_a_tie_is_not_certified() -> None:
    network = nn.Sequential(nn.Linear(2, 2)).double()
    network.load_state_dict({"0.weight": torch.zeros(2, 2), "0.bias": torch.zeros(2)})
    for method in METHODS:
        assert margin_bounds(network, [[0.0, 0.0]], [[0.0, 0.0]], [1], method) <= 0


# What is not finite, and errors.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [*NETWORKS, "torch"])
@pytest.mark.parametrize(
    "ends", [(-math.inf, math.inf), (0.0, math.inf), (math.nan, 1.0), (-1e308, 1e308)]
)
def test_what_is_not_finite_is_not_certified(
    kind: str, method: Any, ends: tuple[float, float], seed: int
) -> None:
    lower, upper = np.zeros((3, N_FEATURES)), np.ones((3, N_FEATURES))
    lower[1, 2], upper[1, 2] = ends
    bounds = margin_bounds(network_of(kind, seed), lower, upper, [0, 0, 0], method)
    assert not bounds[1] > 0
    assert not np.isnan(bounds).any()
    assert np.isfinite(bounds[[0, 2]]).all()


def test_a_layer_that_only_knows_its_box_is_bounded_by_constants() -> None:
    class Cosine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cos()

        def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> Box:
            return torch.full_like(lower, -1.0), torch.full_like(upper, 1.0)

    network = nn.Sequential(Cosine(), nn.Linear(1, 2)).double()
    network.load_state_dict({"1.weight": tensor([[1.0], [0.0]]), "1.bias": tensor([3.0, 0.0])})
    for method in METHODS:
        found = margin_bounds(network, [[0.0]], [[1.0]], [0], method)
        assert found == pytest.approx(2.0, rel=1e-12)


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    # its own box is used, not the lines of a ReLU
    class Negative(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

        def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> Box:
            return -upper.clamp_min(0), -lower.clamp_min(0)

    network = nn.Sequential(Negative(), nn.Linear(1, 2)).double()
    network.load_state_dict({"1.weight": tensor([[1.0], [0.0]]), "1.bias": tensor([3.0, 0.0])})
    found = margin_bounds(network, [[0.0]], [[1.0]], [0], "linear")
    assert found == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(
    ("lower", "upper", "predicted", "message"),
    [
        ([0.0], [1.0], [0], "lower has shape (1,) and upper (1,): expected (n, n_features)"),
        (np.zeros((1, 6)), np.zeros((2, 6)), [0], "lower has shape (1, 6) and upper (2, 6)"),
        (np.ones((1, 6)), np.zeros((1, 6)), [0], "lower[0, 0] is 1.0, above upper[0, 0] = 0.0"),
        (np.zeros((1, 6)), np.ones((1, 6)), [0, 1], "predicted has shape (2,), but there are 1"),
        (np.zeros((1, 6)), np.ones((1, 6)), [3], "predicted has the class index 3"),
        (np.zeros((1, 6)), np.ones((1, 6)), [-1], "or -1, but there are 3 logits"),
        (np.zeros((1, 5)), np.ones((1, 5)), [0], "the network was made for vectors of 6"),
    ],
)
def test_boxes_that_are_none(lower: Any, upper: Any, predicted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        margin_bounds(network_of("maxmin", 0), lower, upper, predicted)


def test_methods_and_networks_that_are_not_known() -> None:
    box = np.zeros((1, 6)), np.ones((1, 6))
    with pytest.raises(ValueError, match=re.escape("method='crown': expected \"interval\" or")):
        margin_bounds(network_of("maxmin", 0), *box, [0], "crown")  # type: ignore[arg-type]
    with pytest.raises(StabilityError, match="Tanh has no known box"):
        margin_bounds(nn.Sequential(nn.Tanh(), nn.Linear(6, 2)).double(), *box, [0])
    with pytest.raises(StabilityError, match=re.escape("torch.float32: use StableRankNetwork")):
        margin_bounds(StableRankNetwork(6, 3), *box, [0])


def test_no_boxes_have_no_margins() -> None:
    empty = np.empty((0, N_FEATURES))
    assert margin_bounds(network_of("maxmin", 0), empty, empty, []).shape == (0,)
