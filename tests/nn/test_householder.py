"""The Householder activation: an isometry on each side of a line, and boxes that are tight."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stablerank.nn import Householder, MaxMin, margin_bounds
from stablerank.nn.householder import UnitDirections
from stablerank.stability import HAUSDORFF, L2, LINF, StabilityError


def made(angles: Any) -> Any:
    layer = Householder(2 * len(angles)).double()
    own: Any = layer.parametrizations
    with torch.no_grad():
        own.direction.original.copy_(torch.tensor(angles, dtype=torch.float64))
    layer.fold()
    return layer.eval().requires_grad_(False)


def random_layer(seed: int, pairs: int = 4) -> Any:
    angles = np.random.default_rng(seed).uniform(-math.pi, math.pi, size=pairs)
    return made([*angles[:-1], 0.0])  # the last line lies along an axis


def test_pairs_by_hand() -> None:
    # θ = π: v = (1, 0): |z_1|. θ = 0: v = (0, −1): z_2 becomes −|z_2|. θ = π/2: MaxMin
    x = torch.tensor([[-1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(made([math.pi])(x), torch.tensor([[1.0, 2.0], [3.0, -4.0]]).double())
    torch.testing.assert_close(made([0.0])(x), torch.tensor([[-1.0, -2.0], [3.0, -4.0]]).double())
    torch.testing.assert_close(made([math.pi / 2])(x), MaxMin()(x))
    start = Householder(6)
    y = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(start(y), MaxMin()(y))


def test_it_is_the_reflection_of_the_paper(seed: int) -> None:
    # ((cos θ, sin θ), (sin θ, −cos θ)) z where z_1 sin(θ/2) − z_2 cos(θ/2) <= 0
    rng = np.random.default_rng(seed)
    for theta in rng.uniform(-math.pi, math.pi, size=20):
        z = rng.normal(size=2)
        if z[0] * math.sin(theta / 2) - z[1] * math.cos(theta / 2) > 0:
            expected = z
        else:
            c, s = math.cos(theta), math.sin(theta)
            expected = np.array([[c, s], [s, -c]]) @ z
        found = made([theta])(torch.from_numpy(z)[None]).numpy()[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_slopes_are_at_most_the_constant_and_reach_it(seed: int, slope: Any) -> None:
    layer = random_layer(seed)
    for space, most in ((L2, 1 + 1e-14), (LINF, math.sqrt(2) + 1e-14)):
        constant = layer.stability(space).constant
        assert 1 <= constant <= most
        assert 0.95 * constant < slope(layer, 8, seed, space) <= constant


def test_the_law_above_can_fail(seed: int, slope: Any) -> None:
    layer = random_layer(seed)
    with torch.no_grad():
        layer.direction.mul_(1.01)  # no unit vectors: the constant is theirs
    for space in (L2, LINF):
        found = slope(layer, 8, seed, space)
        assert found <= layer.stability(space).constant
        assert found > random_layer(seed).stability(space).constant
    assert layer.stability(L2).constant == pytest.approx(2 * 1.01**2 - 1, rel=1e-12)


def exact(layer: Any, x: Any) -> list[Fraction]:
    outputs: list[Fraction] = []
    for (a, b), pair in zip(layer.direction.tolist(), np.reshape(x, (-1, 2)), strict=True):
        v, z = (Fraction(a), Fraction(b)), [Fraction(float(one)) for one in pair]
        behind = min(v[0] * z[0] + v[1] * z[1], Fraction(0))
        outputs += [z[0] - 2 * behind * v[0], z[1] - 2 * behind * v[1]]
    return outputs


@pytest.mark.parametrize("length", [1.0, 1e6])  # such directions come from a file alone
def test_rounding_stays_within_its_bound(length: float, seed: int) -> None:
    layer, rng = random_layer(seed), np.random.default_rng(seed)
    layer.direction.mul_(length)
    x = rng.normal(size=(60, 8)) * 10.0 ** rng.integers(-5, 6, size=(60, 1))
    magnitude, error = layer.rounding(np.abs(x).max(axis=1), np.zeros(60))
    computed = layer(torch.from_numpy(x)).detach().numpy()
    shares = []
    for row, found, reach, allowed in zip(x, computed, magnitude, error, strict=True):
        pairs = list(zip(found, exact(layer, row), strict=True))
        off = max(abs(Fraction(float(f)) - e) for f, e in pairs)
        assert off <= Fraction(float(allowed))
        assert max(abs(e) for _, e in pairs) <= Fraction(float(reach))
        shares.append(float(off) / float(allowed))
    assert max(shares) > 0.01


def ends(layer: Any, seed: int, points: int = 400) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes of outputs, and the extremes of outputs over many points of the boxes of inputs."""
    rng = np.random.default_rng(seed)
    center = torch.from_numpy(rng.normal(size=(20, 8)))
    size = torch.from_numpy(rng.choice([0.0, 1e-9, 0.3, 2.0], size=(20, 1)))
    shares = torch.from_numpy(rng.uniform(-1.2, 1.2, size=(points, 20, 8)).clip(-1, 1))
    with torch.no_grad():
        outputs = layer(center + shares * size)
        lower, upper = layer.bounds(center - size, center + size)
    return lower, upper, outputs.amin(dim=0), outputs.amax(dim=0)


def test_boxes_hold_all_outputs_and_hardly_more(seed: int) -> None:
    lower, upper, least, largest = ends(random_layer(seed), seed)
    assert bool((lower <= least).all())
    assert bool((upper >= largest).all())
    assert float((least - lower).max()) < 0.3  # boxes are up to 4 wide
    assert float((upper - lower).max()) > 3


def test_boxes_without_the_kinks_leak(seed: int) -> None:
    # at the corners alone |z_1| over [−1, 1] is 1
    layer = made([math.pi])
    box = torch.tensor([[-1.0, 0.0]]).double(), torch.tensor([[1.0, 0.0]]).double()
    lower, upper = layer.bounds(*box)
    assert lower[0, 0] <= 0 < 1 <= upper[0, 0] < 1 + 1e-12
    trained = layer.bounds(*box, rounding=False)
    assert (float(trained[0][0, 0]), float(trained[1][0, 0])) == pytest.approx((0, 1))


def test_relaxations_are_below_what_is_computed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        ends_ = nn.Linear(3, 8).double(), nn.Linear(8, 3).double()
    network = nn.Sequential(ends_[0], random_layer(seed), ends_[1]).eval()
    centers = rng.normal(size=(30, 3))
    logits = network(torch.from_numpy(centers)).detach().numpy()
    predicted = logits.argmax(axis=1)
    box = centers - 0.2, centers + 0.2, predicted
    linear, interval = (margin_bounds(network, *box, method=m) for m in ("linear", "interval"))
    assert (linear >= interval).all()
    assert (linear > interval + 1e-3).any()
    for _ in range(50):
        points = centers + 0.2 * rng.uniform(-1.5, 1.5, size=centers.shape).clip(-1, 1)
        z = network(torch.from_numpy(points)).detach().numpy()
        others = z.copy()
        others[np.arange(30), predicted] = -np.inf
        assert (z[np.arange(30), predicted] - others.max(axis=1) >= linear).all()


def test_it_is_copied_saved_cast_and_compiled(seed: int) -> None:
    layer = Householder(4)
    own: Any = layer.parametrizations
    with torch.no_grad():
        own.direction.original.copy_(torch.tensor([0.3, -2.0]))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    loaded = Householder(4)
    loaded.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(other(x), layer(x))
    assert set(made([0.3]).state_dict()) == {"direction"}
    assert own.direction.original.shape == (2,)  # copies that fold leave the original alone
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    layer(x).square().sum().backward()
    inverse = UnitDirections().right_inverse(layer.direction.detach())
    torch.testing.assert_close(inverse, torch.tensor([0.3, -2.0]))


def test_what_is_refused() -> None:
    for size in (3, 0, 2.0, True):
        with pytest.raises(ValueError, match="expected an even integer >= 2"):
            Householder(size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has 2 pairs: expected 4 coordinates"):
        Householder(4)(torch.zeros(1, 2))
    with pytest.raises(StabilityError, match="in ℓ∞ and ℓ2, not from"):
        Householder(2).stability(HAUSDORFF)
    with pytest.raises(StabilityError, match="is known in float64"):
        Householder(2).rounding(np.ones(1), np.zeros(1))
