"""How layers are trained a little, and how steep they are found to be: the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stablerank.stability import L2, Space

Train: TypeAlias = Callable[..., nn.Module]
Slope: TypeAlias = Callable[..., float]


@pytest.fixture
def train() -> Train:
    """A layer of a class after some steps of Adam at a large rate: no longer as it began."""
    return _train


@pytest.fixture
def slope() -> Slope:
    """The steepest change of a layer that is found in float64, less what rounding may do."""
    return _slope


@pytest.fixture
def seeded(seed: int) -> Iterator[int]:
    """The seed, while torch's generator follows it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield seed


def _train(make: Callable[[], Any], dtype: torch.dtype, steps: int = 8) -> nn.Module:
    layer: nn.Module = make().to(dtype)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    n_in = layer.in_features if hasattr(layer, "in_features") else 6
    x = torch.randn(32, int(n_in), dtype=dtype)  # type: ignore[arg-type]
    with torch.no_grad():
        target = torch.randn_like(layer(x))
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
    return layer


def _slope(layer: Any, n_in: int, seed: int, space: Space = L2) -> float:
    order = 2.0 if space == L2 else float("inf")
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randn(24, n_in, dtype=torch.float64, generator=generator)
    steps = torch.randn(24, n_in, dtype=torch.float64, generator=generator)
    worst = _ratio(layer, starts, starts + steps, order)
    for x in starts[:6]:
        steepest = _steepest(layer, x, order)
        for size in (1e-4, 1.0):
            worst = max(worst, _ratio(layer, x[None], x[None] + size * steepest, order))
    ends = [starts.clone().requires_grad_(), (starts + 0.1 * steps).requires_grad_()]
    for _ in range(20):  # both ends of each pair climb
        change = torch.linalg.vector_norm(layer(ends[1]) - layer(ends[0]), order, dim=1)
        size = torch.linalg.vector_norm(ends[1] - ends[0], order, dim=1)
        gradients = torch.autograd.grad((change / size).clamp_min(1e-9).log().sum(), ends)
        moves = [g / g.norm(dim=1, keepdim=True).clamp_min(1e-12) for g in gradients]
        distance = size.detach().unsqueeze(1)
        ends = [
            (end + 0.2 * distance * move).detach().requires_grad_()
            for end, move in zip(ends, moves, strict=True)
        ]
        worst = max(worst, _ratio(layer, ends[0], ends[1], order))
    return worst


def _ratio(layer: Any, a: Tensor, b: Tensor, order: float) -> float:
    """Of changes as computed, each output being off by its rounding at both ends."""
    with torch.no_grad():
        change, moved = layer(b) - layer(a), b - a
    magnitude = torch.maximum(a.detach().abs(), b.detach().abs()).amax(dim=1).numpy()
    _, error = layer.rounding(magnitude, np.zeros(len(magnitude)))
    root = change.shape[1] ** 0.5 if order == 2 else 1.0
    allowed = torch.from_numpy(2 * error * root)
    ratios = (torch.linalg.vector_norm(change, order, dim=1) - allowed) / torch.linalg.vector_norm(
        moved.detach(), order, dim=1
    )
    return float(ratios.nan_to_num(0.0).max()) * (1 - 1e-14)  # the norms themselves are rounded


def _steepest(layer: Any, x: Tensor, order: float) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0], x)
    if order == 2:
        return torch.linalg.svd(jacobian).Vh[0]
    return jacobian[jacobian.abs().sum(dim=1).argmax()].sign()
