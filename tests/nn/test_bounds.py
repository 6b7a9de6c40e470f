"""Boxes through layers and networks: nothing leaks, not by a bit, and nothing is given away."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stablerank.nn import (
    Abs,
    GroupSort,
    LinfDistance,
    LinfLinear,
    MaxMin,
    StableRankNetwork,
    Standardize,
)
from stablerank.nn.affine import center_and_radius
from stablerank.nn.margins import margin_bounds
from stablerank.nn.network import chain_of_layers, layer_bounds
from stablerank.stability import StabilityError

N_IN, N_OUT = 12, 8
Box = tuple[Tensor, Tensor]


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def box_of(layer: nn.Module, lower: Any, upper: Any) -> tuple[list[list[float]], ...]:
    return tuple(end.tolist() for end in layer_bounds(layer, tensor(lower), tensor(upper)))


# Closed form.


def test_sorted_ends_by_hand() -> None:
    # max of [0, 3] and [1, 2] is in [1, 3], their min in [0, 2]
    assert box_of(MaxMin(), [[0.0, 1.0]], [[3.0, 2.0]]) == ([[1.0, 0.0]], [[3.0, 2.0]])
    lower, upper = [[0.0, 5.0, -1.0, 2.0]], [[1.0, 6.0, 9.0, 2.0]]
    assert box_of(GroupSort(4), lower, upper) == ([[5.0, 2.0, 0.0, -1.0]], [[9.0, 6.0, 2.0, 1.0]])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # of [−2, 1], [1, 3], [−3, −1]
        (Abs(), ([[0.0, 1.0, 1.0]], [[2.0, 3.0, 3.0]])),
        (nn.ReLU(), ([[0.0, 1.0, 0.0]], [[1.0, 3.0, 0.0]])),
        (nn.Identity(), ([[-2.0, 1.0, -3.0]], [[1.0, 3.0, -1.0]])),
        (Standardize([1.0, 1.0, 1.0], [2.0, 1.0, 0.5]), ([[-1.5, 0, -8]], [[0, 2, -4]])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_single_coordinates_by_hand(layer: nn.Module, expected: Any) -> None:
    assert box_of(layer, [[-2.0, 1.0, -3.0]], [[1.0, 3.0, -1.0]]) == expected


def test_an_affine_map_by_hand() -> None:
    # 2x − y + 1 over [0, 1] × [2, 4] is in [−3, 1], and x + y in [2, 5]
    layer = nn.Linear(2, 2).double()
    layer.weight.data = tensor([[2.0, -1.0], [1.0, 1.0]])
    layer.bias.data = tensor([1.0, 0.0])
    lower, upper = layer_bounds(layer, tensor([[0.0, 2.0]]), tensor([[1.0, 4.0]]))
    torch.testing.assert_close(lower, tensor([[-3.0, 2.0]]), rtol=1e-14, atol=0)
    torch.testing.assert_close(upper, tensor([[1.0, 5.0]]), rtol=1e-13, atol=0)
    assert (lower < tensor([[-3.0, 2.0]])).all()  # outward
    assert (upper > tensor([[1.0, 5.0]])).all()


@pytest.mark.parametrize(
    ("p", "nearest", "farthest"),
    # |x − 0| in [1, 2] and |y − 3| in [0, 2]: the point (1, 3) is nearest, (±2, 1 or 5) farthest
    [(math.inf, 1.0, 2.0), (1.0, 1.0, 4.0), (2.0, 1.0, math.sqrt(8))],
)
def test_distances_by_hand(p: float, nearest: float, farthest: float) -> None:
    layer = LinfDistance(2, 1, p).double()
    layer.weight.data = tensor([[0.0, 3.0]])
    layer.bias.data = tensor([0.5])
    ((lower,),), ((upper,),) = box_of(layer, [[1.0, 1.0]], [[2.0, 5.0]])
    assert lower == pytest.approx(nearest + 0.5, rel=1e-13)
    assert upper == pytest.approx(farthest + 0.5, rel=1e-13)
    if p == math.inf:
        assert (lower, upper) == (1.5, 2.5)  # exactly


# The law: what a layer computes anywhere in a box is in the box of its outputs.


def linear(*settings: Any, **more: Any) -> nn.Module:
    return nn.Linear(N_IN, N_OUT, *settings, **more)


MAKE: dict[str, Callable[[], nn.Module]] = {
    "LinfLinear": lambda: LinfLinear(N_IN, N_OUT),
    "Linear": linear,
    "Linear without bias": lambda: linear(bias=False),
    "LinfDistance": lambda: LinfDistance(N_IN, N_OUT),
    "LinfDistance p=1": lambda: LinfDistance(N_IN, N_OUT, p=1),
    "LinfDistance p=8": lambda: LinfDistance(N_IN, N_OUT, p=8),
    "Standardize": lambda: Standardize(np.linspace(-3, 3, N_IN), np.linspace(0.1, 4, N_IN)),
    "MaxMin": MaxMin,
    "GroupSort(3)": lambda: GroupSort(3),
    "GroupSort(12)": lambda: GroupSort(12),
    "Abs": Abs,
    "ReLU": nn.ReLU,
    "Identity": nn.Identity,
}


def made(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = MAKE[name]().double()
    return layer.requires_grad_(False)


def random_boxes(seed: int, n: int = 40, width: int = N_IN) -> Box:
    """Boxes of every size, from single points on, near 0 and far away from it."""
    rng = np.random.default_rng(seed)
    center = rng.normal(size=(n, width)) * 10.0 ** rng.integers(-8, 7, size=(n, 1))
    radius = rng.exponential(size=(n, width)) * rng.choice([0, 1e-16, 1e-8, 1, 100], size=(n, 1))
    return tensor(center - radius * np.abs(center)), tensor(center + radius * np.abs(center))


def points_in(lower: Tensor, upper: Tensor, seed: int, n: int = 60) -> Tensor:
    """Corners and points between them, shape (n, n_boxes, width)."""
    rng = np.random.default_rng(seed)
    share = tensor(rng.uniform(size=(n, *lower.shape)))
    share[: n // 2] = share[: n // 2].round()
    inside = lower + share * (upper - lower)
    return torch.minimum(torch.maximum(inside, lower), upper)


def leaks(layer: Callable[[Tensor], Tensor], inputs: Box, outputs: Box, seed: int) -> int:
    """How many outputs are outside, computed in two orders of summing."""
    return sum(
        int(((z < outputs[0]) | (z > outputs[1]) | z.isnan()).sum())
        for x in points_in(*inputs, seed)
        for z in (layer(x), torch.cat([layer(row.unsqueeze(0)) for row in x]))
    )


@pytest.mark.parametrize("name", MAKE)
def test_nothing_leaks(name: str, seed: int) -> None:
    layer, inputs = made(name, seed), random_boxes(seed)
    assert leaks(layer, inputs, layer_bounds(layer, *inputs), seed) == 0


@pytest.mark.parametrize("name", ["Linear", "LinfLinear", "LinfDistance", "MaxMin", "Abs"])
def test_the_law_above_can_fail(name: str, seed: int) -> None:
    # the box of inputs a hundredth smaller at each side
    layer, inputs = made(name, seed), random_boxes(seed)
    lower, upper = inputs
    smaller = layer_bounds(layer, lower + (upper - lower) / 100, upper - (upper - lower) / 100)
    assert leaks(layer, inputs, smaller, seed) > 0


def exact_output(weight: Tensor, bias: Tensor, x: Tensor) -> list[Fraction]:
    return [
        sum((Fraction(w) * Fraction(v) for w, v in zip(row, x.tolist(), strict=True)), Fraction(b))
        for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


def exact_leaks(bounds: Callable[..., Box], seed: int) -> int:
    """How many exact ranges of a row, at its own two corners, are not within."""
    layer: Any = made("Linear", seed)
    lower, upper = random_boxes(seed)
    ends = bounds(layer, lower, upper)
    count = 0
    for i in range(len(lower)):
        for j, row in enumerate(layer.weight):
            top = torch.where(row > 0, upper[i], lower[i])
            bottom = torch.where(row > 0, lower[i], upper[i])
            count += exact_output(layer.weight, layer.bias, top)[j] > Fraction(ends[1][i, j].item())
            count += exact_output(layer.weight, layer.bias, bottom)[j] < Fraction(
                ends[0][i, j].item()
            )
    return count


def test_exact_outputs_do_not_leak_either(seed: int) -> None:
    assert exact_leaks(layer_bounds, seed) == 0


def test_without_its_rounding_an_affine_box_leaks(seed: int) -> None:
    def uncharged(layer: nn.Module, lower: Tensor, upper: Tensor) -> Box:
        return layer_bounds(layer, lower, upper, rounding=False)

    assert exact_leaks(uncharged, seed) > 0


def test_centre_and_radius_hold_the_interval(seed: int) -> None:
    lower, upper = random_boxes(seed, 200)
    center, radius = center_and_radius(lower, upper)
    numbers = (x.flatten().tolist() for x in (lower, upper, center, radius))
    for low, high, c, r in zip(*numbers, strict=True):
        assert Fraction(c) - Fraction(r) <= Fraction(low) <= Fraction(high)
        assert Fraction(c) + Fraction(r) >= Fraction(high)


@pytest.mark.parametrize("name", MAKE)
def test_boxes_are_no_larger_than_they_must_be(name: str, seed: int) -> None:
    # every end of a layer's box is reached, but for rounding, by the corners of the input
    layer: Any = made(name, seed)
    rng = np.random.default_rng(seed)
    lower = tensor(rng.normal(size=(1, 12 if "LinfDistance" not in name else N_IN)))
    upper = lower + tensor(rng.exponential(size=lower.shape))
    ends = layer_bounds(layer, lower, upper)
    if isinstance(layer, nn.Linear):
        for row, low, high in zip(layer.weight, *(end[0] for end in ends), strict=True):
            top = layer(torch.where(row > 0, upper, lower))
            bottom = layer(torch.where(row > 0, lower, upper))
            assert float((top - high).abs().min()) < 1e-12
            assert float((bottom - low).abs().min()) < 1e-12
        return
    weight = layer.weight if isinstance(layer, LinfDistance) else torch.zeros(1, lower.shape[1])
    found = []
    for w in weight.to(lower):
        nearest = torch.minimum(torch.maximum(w, lower), upper)
        farthest = torch.where((w - lower).abs() > (w - upper).abs(), lower, upper)
        found += [layer(x) for x in (lower, upper, nearest, farthest)]
    torch.testing.assert_close(torch.cat(found).amin(0), ends[0][0], rtol=1e-12, atol=1e-290)
    torch.testing.assert_close(torch.cat(found).amax(0), ends[1][0], rtol=1e-12, atol=1e-290)


# Networks.

KINDS: dict[str, dict[str, Any]] = {
    "maxmin": {"hidden": (12, 8)},
    "groupsort": {"hidden": (12, 8), "activation": "groupsort"},
    "abs": {"hidden": (7, 5), "activation": "abs"},
    "relu": {"hidden": (7, 5), "activation": "relu"},
    "linf-distance": {"hidden": (7, 5), "layer": "linf-distance"},
    "free relu": {"hidden": (7, 5), "layer": "free", "activation": "relu"},
    "free maxmin": {"hidden": (8, 6), "layer": "free"},
    "no hidden layer": {"hidden": ()},
}


def network_of(kind: str, seed: int, n_features: int = 6) -> StableRankNetwork:
    """Random weights, shifts and scales, folded."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 4, size=n_features)
    settings = {"center": rng.normal(size=n_features), "scale": scales, **KINDS[kind]}
    network = StableRankNetwork(n_features, 3, **settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape)))
    return network.folded()


@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_leaks(kind: str, seed: int) -> None:
    network, inputs = network_of(kind, seed), random_boxes(seed, width=6)
    assert leaks(network, inputs, network.bounds(*inputs), seed) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_within_the_constant(kind: str, seed: int) -> None:
    # so a certificate by boxes is no smaller than the global one
    network = network_of(kind, seed)
    rng = np.random.default_rng(seed)
    x, radius = tensor(rng.normal(size=(30, 6))), tensor(rng.exponential(size=(30, 1)))
    lower, upper = network.bounds(x - radius, x + radius)
    reach = network.stability().constant * radius * (1 + 1e-12) + 1e-12
    assert (lower >= network(x) - reach).all()
    assert (upper <= network(x) + reach).all()


def test_boxes_lie_in_larger_boxes(seed: int) -> None:
    network = network_of("maxmin", seed)
    lower, upper = random_boxes(seed, width=6)
    inner, outer = network.bounds(lower, upper), network.bounds(lower - 1, upper + 1)
    assert (outer[0] <= inner[0]).all()
    assert (outer[1] >= inner[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_margins_for_training_are_those_of_the_folded_boxes(kind: str, seed: int) -> None:
    network = network_of(kind, seed)
    rng = np.random.default_rng(seed)
    lower = tensor(rng.normal(size=(20, 6)))
    upper = lower + tensor(rng.exponential(size=(20, 6)))
    y = torch.tensor(rng.integers(3, size=20))
    margins = network.box_margins(lower, upper, y)
    assert (margins[torch.arange(20), y] == 0).all()
    points = points_in(lower, upper, seed)
    logits = network(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    assert (logits.gather(2, y.expand(60, 20).unsqueeze(2)) - logits >= margins - 1e-12).all()
    # differences of rows are never worse than differences of the logits' ends
    ends = network.bounds(lower, upper)
    apart = ends[0].gather(1, y.unsqueeze(1)) - ends[1]
    others = nn.functional.one_hot(y, 3) == 0
    assert (margins >= apart - 1e-12)[others].all()


def test_boxes_have_gradients(seed: int) -> None:
    network = network_of("maxmin", seed)
    for parameter in network.parameters():
        parameter.requires_grad_()
    rng = np.random.default_rng(seed)
    lower = tensor(rng.normal(size=(4, 6))).requires_grad_()
    upper = (lower.detach() + tensor(rng.uniform(0.5, 1, size=(4, 6)))).requires_grad_()
    y = torch.tensor([0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda a, b: network.box_margins(a, b, y), (lower, upper))
    network.box_margins(lower, upper, y).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.body.parameters())


# What is not known, and errors.


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("ends", [(-math.inf, math.inf), (math.nan, 1.0), (1e308, 1.7e308)])
def test_what_is_not_finite_is_not_bounded(name: str, ends: tuple[float, float], seed: int) -> None:
    inputs = tuple(torch.full((1, N_IN), end, dtype=torch.float64) for end in ends)
    lower, upper = layer_bounds(made(name, seed), *inputs)
    assert not lower.isnan().any()
    assert not upper.isnan().any()
    if not np.isfinite(ends).all():
        assert (lower == -math.inf).any() or (upper == math.inf).any()


class Doubling(nn.ReLU):
    """Not what its parent computes."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Dropout(0.5), Doubling()], ids=repr)
def test_unknown_layers_have_no_box(layer: nn.Module) -> None:
    with pytest.raises(StabilityError, match=f"{type(layer).__name__} has no known box"):
        layer_bounds(layer, *random_boxes(0))


def test_a_layer_of_your_own_says_its_box() -> None:
    class Negated(nn.Module):
        def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> Box:
            return -upper, -lower

    assert box_of(Negated(), [[1.0]], [[2.0]]) == ([[-2.0]], [[-1.0]])


@pytest.mark.parametrize("name", ["Linear", "LinfLinear", "LinfDistance"])
def test_only_float64_is_certified(name: str, seed: int) -> None:
    lower, upper = (end.float() for end in random_boxes(seed))
    with pytest.raises(StabilityError, match=re.escape("are float64, not torch.float32")):
        layer_bounds(made(name, seed), lower, upper)
    with pytest.raises(StabilityError, match=re.escape("its weights are torch.float32")):
        layer_bounds(made(name, seed).float(), lower.double(), upper.double())
    assert layer_bounds(made(name, seed).float(), lower, upper, rounding=False)[0].dtype == (
        torch.float32
    )


# Layers that compute something else than their class says.


def _centred(layer: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
    return outputs - outputs.mean(dim=0)


def _hooked(kind: str) -> nn.Sequential:
    """Logits (x, −x), and something that changes them behind the back of the layers' classes."""
    layer = nn.Linear(1, 2).double()
    layer.weight.data.copy_(tensor([[1.0], [-1.0]]))
    layer.bias.data.zero_()
    network = nn.Sequential(layer, nn.Identity())
    if kind == "live batch statistic":
        layer.register_forward_hook(_centred)
    elif kind == "shifted input":
        network.register_forward_pre_hook(lambda module, inputs: (inputs[0] - 5,))
    elif kind == "weight from a hook":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's old way, still in use
            nn.utils.weight_norm(layer)
        layer.weight_g.data.mul_(-1.0)  # layer.weight is the old one until the next forward
    elif kind == "replaced forward":
        layer.forward = lambda x: -nn.functional.linear(x, layer.weight)  # type: ignore
    elif kind == "weights that move when they are read":
        nn.utils.parametrizations.spectral_norm(layer)
    return network


CHANGES = (
    "live batch statistic",
    "shifted input",
    "weight from a hook",
    "replaced forward",
    "weights that move when they are read",
)


@pytest.mark.parametrize("kind", CHANGES)
def test_what_changes_layers_from_outside_is_refused(kind: str) -> None:
    # for all but the last, margins of 1 were certified where the other class is predicted
    network = _hooked(kind)
    with pytest.raises(StabilityError, match=r"not what its class says|call eval"):
        margin_bounds(network, [[0.5]], [[1.0]], [0])
    with pytest.raises(StabilityError, match=r"not what its class says|call eval"):
        chain_of_layers(network)


@pytest.mark.parametrize("kind", CHANGES[:-1])
def test_it_is_refused_with_reason(kind: str) -> None:
    with torch.no_grad():
        logits = _hooked(kind)(tensor([[0.5], [1.0]]))
    assert (logits[:, 0] - logits[:, 1]).min() < 1  # the margin of the layers alone


def test_weights_that_have_come_to_rest_are_certified() -> None:
    network = _hooked("weights that move when they are read").eval()
    logits = network(tensor([[0.5]]))[0].tolist()
    bound = margin_bounds(network, [[0.5]], [[0.5]], [0])
    assert bound[0] == pytest.approx(logits[0] - logits[1], rel=1e-9)


@pytest.mark.parametrize("part", ["head", "body", "standardize", "whole"])
def test_a_hook_anywhere_in_a_network_is_refused(part: str) -> None:
    network = StableRankNetwork(4, 2, hidden=(8,)).folded()
    module = network if part == "whole" else getattr(network, part)
    handle = module.register_forward_hook(_centred)
    box = torch.zeros(1, 4, dtype=torch.float64)
    for ask in (
        network.stability,
        network.feature_stability,
        lambda: network.rounding(np.ones(1), np.zeros(1)),
        lambda: network.bounds(box, box),
        lambda: margin_bounds(network, box, box, [0]),
    ):
        with pytest.raises(StabilityError, match="hook"):
            ask()
    handle.remove()
    assert network.stability().constant <= 1


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook"])
def test_a_hook_of_all_modules_is_refused(kind: str) -> None:
    """Such a hook is in no module: the margin of the layers alone was certified."""
    network = StableRankNetwork(4, 2, hidden=(8,)).folded()
    box = torch.zeros(1, 4, dtype=torch.float64)
    before = network(box)
    register = getattr(torch.nn.modules.module, f"register_module_{kind}")
    hook = _shifted if kind == "forward_hook" else lambda layer, inputs: (inputs[0] - 5,)
    handle = register(hook)
    try:
        assert (network(box) != before).any()  # it does change what is predicted
        for ask in (
            network.stability,
            lambda: network.rounding(np.ones(1), np.zeros(1)),
            lambda: network.bounds(box, box),
            lambda: margin_bounds(network, box, box, [0]),
        ):
            with pytest.raises(StabilityError, match="global forward hook"):
                ask()
    finally:
        handle.remove()
    assert network.stability().constant <= 1


def _shifted(layer: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
    return outputs - 5
