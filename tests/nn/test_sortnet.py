"""SortNet neurons: 1-Lipschitz in ℓ∞ and no less, with boxes that are attained."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stablerank.nn import LinfDistance, SortNet
from stablerank.nn.sortnet import order_weights
from stablerank.stability import L2, LINF, StabilityError


def made(seed: int, n_in: int = 6, n_out: int = 5, rho: float = 0.3) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layer = SortNet(n_in, n_out, rho).double().requires_grad_(False)
        nn.init.normal_(layer.bias)
    layer.fold()
    return layer


def test_neurons_by_hand() -> None:
    # distances of (1, 5, 3) to (0, 1, 5): 1, 4, 2; sorted 4, 2, 1 with weights ½, ¼, ¼, and 10
    layer = made(0, 3, 1, 0.5)
    layer.weight.copy_(torch.tensor([[0.0, 1.0, 5.0]]))
    layer.bias.fill_(10.0)
    x = torch.tensor([[1.0, 5.0, 3.0]], dtype=torch.float64)
    assert layer(x).tolist() == [[2 + 0.5 + 0.25 + 10]]


def test_without_weights_behind_the_first_it_is_the_distance(seed: int) -> None:
    layer, distance = made(seed, rho=0.0), LinfDistance(6, 5).double().requires_grad_(False)
    distance.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(seed)).double()
    assert torch.equal(layer(x), distance(x))


def test_weights_sum_to_one_and_fall() -> None:
    for rho in (0.0, 0.1, 0.3, 0.7, 0.99):
        for n in (1, 2, 5, 5000):
            weights = order_weights(n, rho).numpy()
            assert len(weights) <= n
            assert math.fsum(weights) == pytest.approx(1, rel=1e-14)
            assert (weights >= 0).all()
            assert (np.diff(weights[:-1]) < 0).all()
            # 10⁻⁶ of the sum at most is where it does not belong
            exact = (1 - rho) * rho ** np.arange(n, dtype=float)
            if len(weights) < n:
                assert exact[len(weights) :].sum() <= 1e-6 * (1 + 1e-9)


def test_the_sum_is_the_mean_of_maxima_over_random_subsets(seed: int) -> None:
    # each distance left out with probability ρ: the i-th largest is the largest of those left with
    # probability (1 − ρ)ρ^(i−1). With all n left out, which has probability ρ^n, the smallest.
    rng = np.random.default_rng(seed)
    layer = made(seed, 3, 1, 0.4)
    x = rng.normal(size=3)
    distances = np.abs(x - layer.weight.numpy()[0])
    expected = 0.0
    for mask in np.ndindex(2, 2, 2):
        kept = np.array(mask, bool)
        chance = np.prod(np.where(kept, 0.6, 0.4))
        expected += chance * (distances[kept].max() if kept.any() else distances.min())
    found = layer(torch.from_numpy(x)[None])[0, 0] - layer.bias[0]
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_slopes_are_at_most_the_constant_and_reach_it(
    rho: float,
    dtype: torch.dtype,
    seeded: int,
    train: Callable[..., nn.Module],
    slope: Callable[..., float],
) -> None:
    class Sized(SortNet):
        in_features = 6

    layer: Any = train(lambda: Sized(6, 5, rho), dtype).double()
    layer.fold()
    assert 1 - 1e-12 <= layer.stability().constant <= 1 + 1e-12
    assert 0.95 < slope(layer, 6, seeded, LINF) <= layer.stability().constant


def test_the_law_above_can_fail(seed: int, slope: Any) -> None:
    layer = made(seed)
    layer.order[-1] += 0.05  # weights that sum to more: the constant is theirs
    assert slope(layer, 6, seed, LINF) > 1.01
    assert slope(layer, 6, seed, LINF) <= layer.stability().constant
    assert layer.stability().constant == pytest.approx(1.05, rel=1e-12)


def test_rounding_stays_within_its_bound(seed: int) -> None:
    layer, rng = made(seed), np.random.default_rng(seed)
    x = rng.normal(size=(40, 6)) * 10.0 ** rng.integers(-5, 6, size=(40, 1))
    magnitude, error = layer.rounding(np.abs(x).max(axis=1), np.zeros(40))
    computed = layer(torch.from_numpy(x)).numpy()
    order = [Fraction(one) for one in layer.order.tolist()]
    shares = []
    for row, found, reach, allowed in zip(x, computed, magnitude, error, strict=True):
        for j, value in enumerate(found):
            gaps = [
                abs(Fraction(float(a)) - Fraction(b))
                for a, b in zip(row, layer.weight[j].tolist(), strict=True)
            ]
            total = sum(
                (w * g for w, g in zip(order, sorted(gaps, reverse=True), strict=False)),
                Fraction(float(layer.bias[j])),
            )
            assert abs(total) <= Fraction(float(reach))
            assert abs(total - Fraction(float(value))) <= Fraction(float(allowed))
            shares.append(abs(float(total - Fraction(float(value)))) / float(allowed))
    assert max(shares) > 0.01


def test_boxes_hold_all_outputs_and_are_attained(seed: int) -> None:
    layer, rng = made(seed), np.random.default_rng(seed)
    for size in (0.0, 1e-12, 0.1, 1.0):
        center = torch.from_numpy(rng.normal(size=(20, 6)))
        lower, upper = layer.bounds(center - size, center + size)
        shares = torch.from_numpy(rng.uniform(-1.5, 1.5, size=(200, 20, 6)).clip(-1, 1))
        for share in shares:
            outputs = layer(center + size * share)
            assert bool(((lower <= outputs) & (outputs <= upper)).all())
        # the farthest point of the box from the first neuron
        away = torch.where(center >= layer.weight[0], 1.0, -1.0)
        gap = upper[:, 0] - layer(center + size * away)[:, 0]
        assert float(gap.max()) <= 1e-12
        trained = layer.bounds(center - size, center + size, rounding=False)
        torch.testing.assert_close(trained[0], lower, rtol=1e-12, atol=1e-12)


def test_it_is_copied_saved_cast_and_compiled(seed: int) -> None:
    layer = made(seed)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed)).double()
    loaded = SortNet(6, 5).double()
    loaded.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(other(x), layer(x))
        assert other.stability() == layer.stability()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    weight = layer.weight.clone().requires_grad_()
    arguments = {"weight": weight, "bias": layer.bias, "order": layer.order}
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(layer, {**arguments, "weight": w}, (x,)), (weight,)
    )


def test_what_is_refused() -> None:
    for rho in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="expected a number from 0 to below 1"):
            SortNet(2, 2, rho)
    with pytest.raises(StabilityError, match="SortNet knows its constant from vector"):
        SortNet(2, 2).stability(L2)
    box = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(StabilityError, match="is known in float64"):
        SortNet(2, 2).bounds(box, box)
    layer = made(0, 2, 2)
    layer.order[0] = -1.0
    with pytest.raises(StabilityError, match="negative weights, and its sums are not monotone"):
        layer.bounds(box, box)
    assert layer.stability().constant > 1  # of absolute values
