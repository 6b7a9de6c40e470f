"""Hinge losses, by hand: what they ask for, and that they are content with it."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from stablerank.nn import HingeLoss, HingeMixture
from stablerank.nn.hinge import least_gaps


def some_logits(seed: int, n: int = 9, n_classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(n, n_classes)), requires_grad=True)
    return logits, torch.tensor(rng.integers(n_classes, size=n))


def test_the_hinge_by_hand() -> None:
    # z = (1, 0.5, −1), margin 2: class 0 lacks 1.5 and 0; class 1 2.5 and 0.5; class 2 4 and 3.5
    logits = torch.tensor([[1.0, 0.5, -1.0]], dtype=torch.float64)
    for target, lacking in enumerate([1.5, 3.0, 7.5]):
        value = HingeLoss(2.0)(logits, torch.tensor([target]))
        assert value.item() == pytest.approx(lacking / 3, rel=1e-14)
    both = HingeLoss(2.0)(logits.repeat(2, 1), torch.tensor([0, 1]))
    assert both.item() == pytest.approx((1.5 + 3.0) / 6, rel=1e-14)


def test_the_hinge_of_a_loop(seed: int) -> None:
    logits, target = some_logits(seed)
    total = 0.0
    for z, y in zip(logits.tolist(), target.tolist(), strict=True):
        total += sum(max(0.0, 0.7 - z[y] + z[j]) for j in range(4) if j != y) / 4
    assert HingeLoss(0.7)(logits, target).item() == pytest.approx(total / 9, rel=1e-12)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 0.4), (0.5, 0.2), (1.0, 0.1)], ids=["start", "middle", "end"]
)
@pytest.mark.parametrize(
    ("gap", "hinge"), [(3.0, 0.0), (2.0, 0.0), (0.5, 0.75), (0.0, 1.0), (-5.0, 1.0)]
)
def test_the_mixture_by_hand(gap: float, hinge: float, progress: float, weight: float) -> None:
    # θ = 2, τ = 3; λ falls from 0.4 to 0.1, and half way to their geometric mean
    loss = HingeMixture(3.0, 2.0, first_weight=0.4, last_weight=0.1)
    loss.progress = progress
    logits = torch.tensor([[gap, 0.0, -100.0]], dtype=torch.float64)
    expected = hinge + weight * math.log1p(math.exp(-3 * gap))
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-12)


def test_gaps_of_a_loop(seed: int) -> None:
    logits, target = some_logits(seed)
    for i, gap in enumerate(least_gaps(logits, target).tolist()):
        z, y = logits[i].tolist(), int(target[i])
        assert gap == min(z[y] - z[j] for j in range(4) if j != y)


def test_the_clipped_hinge_gives_up_and_the_cross_entropy_does_not() -> None:
    logits = torch.tensor([[-9.0, 0.0]], dtype=torch.float64, requires_grad=True)
    for last, pulls in ((1e-12, False), (1.0, True)):
        loss = HingeMixture(margin=1.0, first_weight=1.0, last_weight=last)
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
        assert bool(gradient.abs().max() > 0.1) == pulls


@pytest.mark.parametrize("loss", [HingeLoss(0.8), HingeMixture(2.0, 3.0)], ids=["hinge", "mix"])
def test_gradients(loss: torch.nn.Module, seed: int) -> None:
    logits, target = some_logits(seed)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), (logits,))


def test_errors() -> None:
    for bad in (0.0, -1.0, math.inf, math.nan):
        message = re.escape(f"margin={bad!r}: expected a positive finite number.")
        for kind in (HingeLoss, HingeMixture):
            with pytest.raises(ValueError, match=message):
                kind(margin=bad)
    with pytest.raises(ValueError, match="last_weight=0: expected a positive number"):
        HingeMixture(last_weight=0)
    with pytest.raises(ValueError, match=re.escape("first_weight=-1: expected a finite number")):
        HingeMixture(first_weight=-1)
    with pytest.raises(ValueError, match="temperature=0: expected a positive finite number"):
        HingeMixture(temperature=0)
