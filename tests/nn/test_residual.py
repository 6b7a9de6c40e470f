"""Residual layers: 1-Lipschitz in ℓ2 as their folded bits are, and charged for what they round."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.nn import ConvexPotential, SDPResidual, margin_bounds, rescaled, residual
from stablerank.nn.residual import DominatedRows
from stablerank.stability import HAUSDORFF, L2, LINF, StabilityError

KINDS = [SDPResidual, ConvexPotential]
SIZES = [(6, None), (6, 3), (4, 9), (1, 1)]


def folded(layer: nn.Module) -> Any:
    layer = copy.deepcopy(layer).double().eval()
    layer.fold()  # type: ignore[operator]
    return layer.requires_grad_(False)


def made(kind: Any, weight: Any, bias: Any) -> Any:
    """A folded layer of these numbers."""
    layer = folded(kind(len(weight[0]), len(weight)))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


# Closed form.


def test_a_residual_layer_by_hand() -> None:
    # V = (1, 1): V(1, 2) − 2 = 1, and x − 1·(1, 1) = (0, 1); V(0, 1) − 2 < 0, and x is kept
    layer = made(SDPResidual, [[1.0, 1.0]], [-2.0])
    x = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    assert layer(x).tolist() == [[0.0, 1.0], [0.0, 1.0]]
    # ‖V‖² = 2: a reflection where it is active. Rows of |I − ½VᵀV| + ½|V|ᵀ|V|: ½ + ½ + ½ + ½
    assert 1 <= layer.stability(L2).constant <= 1 + 1e-12
    assert layer.stability(LINF).constant == pytest.approx(2, rel=1e-12)
    # ‖V‖² = 8: 8 − 1 = 7; rows of |I − 2((1, 1), (1, 1))| + 2((1, 1), (1, 1)): 1 + 2 + 2 + 2,
    # which is attained: those of I − 4((1, 1), (1, 1)) are 3 + 4
    double = made(SDPResidual, [[2.0, 2.0]], [0.0])
    assert double.stability(L2).constant == pytest.approx(7, rel=1e-12)
    assert double.stability(LINF).constant == pytest.approx(7, rel=1e-12)


def test_the_scale_of_sll_is_that_of_the_paper(seed: int) -> None:
    # x − 2 Wᵀ T⁻¹ max(Wx + c, 0) with T_ii = Σ_j |WWᵀ|_ij q_j / q_i, and c = √(T/2) b
    rng = np.random.default_rng(seed)
    w, b, q = rng.normal(size=(4, 5)), rng.normal(size=4), np.exp(rng.normal(size=4))
    t = (np.abs(w @ w.T) * q / q[:, None]).sum(axis=1)
    layer = SDPResidual(5, 4).double()
    own: Any = layer.parametrizations
    with torch.no_grad():
        own.weight.original.copy_(torch.from_numpy(w))
        own.weight[0].logarithms.copy_(torch.from_numpy(np.log(q)))
        layer.bias.copy_(torch.from_numpy(b))
    x = rng.normal(size=(7, 5))
    expected = x - 2 * np.maximum(x @ w.T + b * np.sqrt(t / 2), 0) / t @ w
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-12)
    # and T − WWᵀ is positive semidefinite, which is what ‖V‖² <= 2 says
    assert np.linalg.eigvalsh(np.diag(t) - w @ w.T)[0] > -1e-12
    assert layer.stability(L2).constant <= 1 + 1e-12


def test_the_scale_of_cpl_is_that_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(4, 5))
    layer = ConvexPotential(5, 4).double()
    own: Any = layer.parametrizations
    with torch.no_grad():
        own.weight.original.copy_(torch.from_numpy(w))
    x = rng.normal(size=(7, 5))
    expected = x - 2 / np.linalg.norm(w, 2) ** 2 * np.maximum(x @ w.T, 0) @ w
    found = layer(torch.from_numpy(x)).detach().numpy()
    # the Gram norm of 4 rows is at most 4^(1/128) too large
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)
    assert 0.97 * 2 <= float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) ** 2 <= 2 + 1e-12


# The law.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_at_most_the_constant_and_reach_it(
    kind: Any,
    size: tuple[int, int | None],
    dtype: torch.dtype,
    seeded: int,
    train: Callable[..., nn.Module],
    slope: Callable[..., float],
) -> None:
    layer = folded(train(lambda: Sized(kind(*size)), dtype).layer)
    assert 1 <= layer.stability(L2).constant <= 1 + 1e-6
    found = slope(layer, size[0], seeded)
    assert 0.95 < found <= layer.stability(L2).constant
    assert slope(layer, size[0], seeded, LINF) <= layer.stability(LINF).constant


class Sized(nn.Module):
    """A residual layer that says how many inputs it takes."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.in_features = layer, layer.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def broken_double(weight: Tensor, logarithms: Tensor | None = None) -> Tensor:
    return rescaled.almost_orthogonal_scales(weight, logarithms) * 2**0.5


def broken_products(weight: Tensor, logarithms: Tensor | None = None) -> Tensor:
    return 1 / torch.linalg.vector_norm(weight, dim=1)


def broken_power(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1).amax()


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "a factor 2 too much": (SDPResidual, "almost_orthogonal_scales", broken_double),
    "T without the products": (SDPResidual, "almost_orthogonal_scales", broken_products),
    "the largest row for the norm": (ConvexPotential, "unchecked_gram_norm", broken_power),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_above_can_fail(
    name: str, monkeypatch: pytest.MonkeyPatch, seeded: int, slope: Any
) -> None:
    kind, attribute, wrong = BROKEN[name]
    monkeypatch.setattr(residual, attribute, wrong)
    layer = kind(6).double()
    layer.weight = torch.randn(6, 6, dtype=torch.float64)
    layer = folded(layer)
    found = slope(layer, 6, seeded)
    assert found > 1 + 1e-3
    assert found <= layer.stability(L2).constant  # no constant rests on the scale
    assert slope(layer, 6, seeded, LINF) <= layer.stability(LINF).constant


def test_a_constant_of_one_that_is_assumed_is_too_small(seeded: int) -> None:
    # float32 bits of √2 times a rotation: ‖V‖² − 1 is above 1, and the slope is
    layer = SDPResidual(8)
    bits = folded(layer.fold() or layer)  # folded in float32
    assert bits.stability(L2).constant > 1
    worst = torch.linalg.eigvalsh(torch.eye(8) - (bits.weight.T @ bits.weight).detach()).abs().max()
    assert 1 < float(worst) <= bits.stability(L2).constant


# Rounding and boxes.


def exact_outputs(layer: Any, x: NDArray[np.float64]) -> list[Fraction]:
    v = [[Fraction(float(e)) for e in row] for row in layer.weight]
    b = [Fraction(float(e)) for e in layer.bias]
    point = [Fraction(float(e)) for e in x]
    hidden = [
        max(sum((e * p for e, p in zip(row, point, strict=True)), shift), Fraction(0))
        for row, shift in zip(v, b, strict=True)
    ]
    return [
        p - sum((h * row[i] for h, row in zip(hidden, v, strict=True)), Fraction(0))
        for i, p in enumerate(point)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_stays_within_its_bound(kind: Any, seeded: int) -> None:
    rng = np.random.default_rng(seeded)
    shares = []
    for scale in (1e-3, 1.0, 1e6):
        layer = folded(kind(6, 4).double())
        with torch.no_grad():
            layer.bias.copy_(torch.from_numpy(rng.normal(size=4) * scale))
        x = rng.normal(size=(20, 6)) * scale
        magnitude, error = layer.rounding(np.abs(x).max(axis=1), np.zeros(20))
        with torch.no_grad():
            computed = layer(torch.from_numpy(x)).numpy()
        for row, found, reach, allowed in zip(x, computed, magnitude, error, strict=True):
            exact = exact_outputs(layer, row)
            off = max(abs(Fraction(float(f)) - e) for f, e in zip(found, exact, strict=True))
            assert off <= Fraction(float(allowed))
            assert max(map(abs, exact)) <= Fraction(float(reach))
            shares.append(float(off) / float(allowed))
    assert max(shares) > 1e-3  # and is not beyond all measure


def test_errors_of_the_input_grow_as_the_constant_says(seeded: int) -> None:
    layer = folded(SDPResidual(6, 4).double())
    _, without = layer.rounding(np.ones(1), np.zeros(1))
    _, error = layer.rounding(np.ones(1), np.full(1, 1e-3))
    constant = layer.stability(LINF).constant
    assert constant * 1e-3 <= error[0] <= constant * 1e-3 + 2 * without[0]


def outside(layer: Any, widen: float, seed: int) -> float:
    """How far computed outputs of points of boxes are outside of the boxes of outputs."""
    rng = np.random.default_rng(seed)
    worst = -np.inf
    for size in (0.0, 1e-12, 0.1, 1.0):
        center = torch.from_numpy(rng.normal(size=(30, layer.weight.shape[1])))
        lower, upper = layer.bounds(center - size, center + size)
        middle, reach = (lower + upper) / 2, (upper - lower) / 2 * widen
        for _ in range(20):
            share = torch.from_numpy(rng.choice([-1.0, 1.0, rng.uniform(-1, 1)], center.shape))
            with torch.no_grad():
                y = layer(center + share * size)
            worst = max(worst, float(((y - middle).abs() - reach).max()))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaks_from_boxes(kind: Any, seeded: int) -> None:
    layer = folded(kind(3, 3).double())
    with torch.no_grad():
        layer.bias.normal_()
    assert outside(layer, 1 + 1e-15, seeded) <= 0
    assert outside(layer, 0.3, seeded) > 0


def test_boxes_for_training_are_those_without_rounding(seeded: int) -> None:
    layer = folded(ConvexPotential(4).double())
    x = torch.randn(5, 4, dtype=torch.float64)
    for own, trained in zip(
        layer.bounds(x - 0.1, x + 0.1), layer.bounds(x - 0.1, x + 0.1, rounding=False), strict=True
    ):
        torch.testing.assert_close(own, trained, rtol=1e-12, atol=1e-12)
    with pytest.raises(StabilityError, match=r"The rounding of .*ConvexPotential is known"):
        ConvexPotential(4).bounds(x, x)


@pytest.mark.parametrize("kind", KINDS)
def test_relaxations_are_below_what_is_computed_and_above_intervals(kind: Any, seeded: int) -> None:
    head = nn.Linear(4, 3).double()
    network = nn.Sequential(folded(kind(4).double()), folded(kind(4, 6).double()), head).eval()
    rng = np.random.default_rng(seeded)
    centers = rng.normal(size=(40, 4))
    better = 0
    for size in (1e-3, 0.05, 0.3):
        with torch.no_grad():
            logits = network(torch.from_numpy(centers)).numpy()
        predicted = logits.argmax(axis=1)
        box = centers - size, centers + size, predicted
        linear, interval = (margin_bounds(network, *box, method=m) for m in ("linear", "interval"))
        assert (linear >= interval).all()
        better += int((linear > interval + 1e-3).sum())
        for _ in range(30):
            points = centers + size * rng.choice([-1.0, 1.0], size=centers.shape)
            with torch.no_grad():
                z = network(torch.from_numpy(points)).numpy()
            rivals = z.copy()
            rivals[np.arange(40), predicted] = -np.inf
            assert (z[np.arange(40), predicted] - rivals.max(axis=1) >= linear).all()
    assert better > 20


# The contract.


@pytest.mark.parametrize("kind", KINDS)
def test_layers_compile_whole_and_have_gradients(kind: Any, seeded: int) -> None:
    layer, x = kind(4, 3), torch.randn(5, 4)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    layer(x).square().sum().backward()
    assert all(
        p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in layer.parameters()
    )
    zero = DominatedRows(2)(torch.zeros(2, 3))
    assert torch.equal(zero, torch.zeros(2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_copied_and_saved(kind: Any, seeded: int, train: Any) -> None:
    layer = train(lambda: Sized(kind(6, 4)), torch.float32).layer
    x = torch.randn(3, 6)
    loaded = kind(6, 4)
    loaded.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), loaded):
        assert torch.equal(other(x), layer(x))
        other.fold()
        assert set(other.state_dict()) == {"weight", "bias"}
    again = folded(kind(6, 4))
    again.load_state_dict(folded(layer).state_dict())
    assert again.stability(L2) == folded(layer).stability(L2)
    assert torch.equal(again(x.double()), folded(layer)(x.double()))


def test_what_is_refused() -> None:
    with pytest.raises(StabilityError, match="knows its constant in ℓ∞ and ℓ2, not from"):
        SDPResidual(3).stability(HAUSDORFF)
    for arguments, message in (((0,), "features=0"), ((3, 0), "inner=0"), ((True,), "features=")):
        with pytest.raises(ValueError, match=f"{message}.*: expected an integer >= 1"):
            SDPResidual(*arguments)
