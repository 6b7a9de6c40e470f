"""Rescaled layers: the norm is at most 1 but for power iteration's, and the constant always it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stablerank.nn import (
    AlmostOrthogonalLinear,
    GramLinear,
    SpectralLinear,
    UnitRowLinear,
    rescaled,
)
from stablerank.nn.rescaled import AlmostOrthogonal, OverGramNorm, almost_orthogonal_scales
from stablerank.stability import L2, LINF

KINDS = [AlmostOrthogonalLinear, GramLinear, SpectralLinear, UnitRowLinear]
SHAPES = [(12, 8), (8, 12), (9, 9), (5, 1), (1, 4)]
DTYPES = [torch.float32, torch.float64]


def folded(layer: nn.Module) -> Any:
    layer = copy.deepcopy(layer).double().eval()
    layer.fold()  # type: ignore[operator]
    return layer


# Closed form.


def test_scales_by_hand() -> None:
    # rows (1, 0), (1, 1): products (1, 1), (1, 2); sums 2 and 3. With q = (1, 2): 1 + 2, ½ + 2
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    plain = almost_orthogonal_scales(rows)
    np.testing.assert_allclose(plain.numpy(), [2**-0.5, 3**-0.5], rtol=1e-15)
    weighted = almost_orthogonal_scales(
        rows, torch.tensor([0.0, math.log(2.0)], dtype=torch.float64)
    )
    np.testing.assert_allclose(weighted.numpy(), [3**-0.5, 2.5**-0.5], rtol=1e-14)


def test_wide_weights_are_rescaled_by_rows() -> None:
    wide = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    torch.testing.assert_close(AlmostOrthogonal()(wide), wide.sign())


def test_zero_and_huge_and_tiny_weights() -> None:
    for scale in (0.0, 1e-30, 1e-12, 1e15):
        weight = torch.full((3, 4), scale)
        for one in (AlmostOrthogonal(), OverGramNorm()):
            assert float(torch.linalg.matrix_norm(one(weight), 2)) <= 1 + 1e-5
            assert bool(torch.isfinite(one(weight)).all())


def test_almost_orthogonal_norms_are_at_most_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    largest = 0.0
    for _ in range(100):
        matrix = rng.normal(size=rng.integers(1, 9, size=2)) * 10.0 ** rng.integers(-3, 4)
        matrix[:, 0] = matrix[:, -1]  # dependent columns
        logarithms = torch.from_numpy(rng.normal(size=len(matrix)))
        rows = torch.from_numpy(matrix)
        scaled = rows * almost_orthogonal_scales(rows, logarithms).unsqueeze(1)
        for weight in (AlmostOrthogonal()(rows), scaled):
            norm = float(torch.linalg.matrix_norm(weight, 2))
            assert norm <= 1 + 1e-12
            largest = max(largest, norm)
    assert largest > 0.99


# The law.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_at_most_the_constant_and_reach_it(
    kind: Any,
    shape: tuple[int, int],
    dtype: torch.dtype,
    seeded: int,
    train: Callable[..., nn.Module],
    slope: Callable[..., float],
) -> None:
    layer = folded(train(lambda: kind(*shape), dtype))
    for space in (L2, LINF):
        found = slope(layer, shape[0], seeded, space)
        assert 0.95 * layer.stability(space).constant < found <= layer.stability(space).constant
    if kind is GramLinear:
        assert 0.95 < layer.stability(L2).constant <= 1 + 1e-12
    if kind is AlmostOrthogonalLinear:
        assert layer.stability(L2).constant <= 1 + 1e-12
    if kind is UnitRowLinear:
        rows = torch.linalg.vector_norm(layer.weight, dim=1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "the scale, not its root": (
        AlmostOrthogonalLinear,
        "almost_orthogonal_scales",
        lambda rows: 1 / (rows @ rows.T).abs().sum(dim=1).pow(0.25),
    ),
    "products without their sizes": (
        AlmostOrthogonalLinear,
        "almost_orthogonal_scales",
        lambda rows: (rows @ rows.T).sum(dim=1).clamp_min(1e-12).rsqrt(),
    ),
    "the largest row": (
        GramLinear,
        "unchecked_gram_norm",
        lambda w: torch.linalg.vector_norm(w, dim=1).amax(),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_above_can_fail(
    name: str, monkeypatch: pytest.MonkeyPatch, seeded: int, train: Any, slope: Any
) -> None:
    kind, attribute, wrong = BROKEN[name]
    monkeypatch.setattr(rescaled, attribute, wrong)
    layer = kind(9, 9).double()
    layer.weight = torch.randn(9, 9, dtype=torch.float64)
    layer = folded(layer)
    found = slope(layer, 9, seeded)
    assert found > 1 + 1e-3
    assert found <= layer.stability(L2).constant  # which is that of the weights alone


def test_power_iteration_is_below_the_norm_and_no_constant(seeded: int, slope: Any) -> None:
    # two directions that are stretched nearly alike: the iteration has not told them apart
    layer = SpectralLinear(40, 40).double()
    with torch.no_grad():
        for _ in range(5):
            layer.parametrizations.weight.original.copy_(torch.randn(40, 40).double())
            layer.weight  # noqa: B018 (reading it makes the iteration go one step)
    layer = folded(layer)
    assert layer.stability(L2).constant > 1 + 1e-3
    assert 1 + 1e-3 < slope(layer, 40, seeded) <= layer.stability(L2).constant
