"""Logit annealing, by hand, and against the two losses that it lies between."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from stablerank.nn import LogitAnnealing, TemperatureCrossEntropy


@pytest.mark.parametrize(("gap", "target"), [(1.0, 0), (3.0, 0), (3.0, 1), (0.0, 1)])
@pytest.mark.parametrize("beta", [0.0, 0.5, 5.0])
def test_by_hand(gap: float, target: int, beta: float) -> None:
    # z = (gap, 0), ξ = 2, τ = 1.5: the class is ahead by x = 1.5 (±gap − 2), and p = 1/(1 + e^-x)
    logits = torch.tensor([[gap, 0.0]], dtype=torch.float64)
    x = 1.5 * ((gap if target == 0 else -gap) - 2.0)
    p = 1 / (1 + math.exp(-x))
    expected = (1 - p) ** beta * math.log1p(math.exp(-x)) / 1.5
    value = LogitAnnealing(1.5, 2.0, beta)(logits, torch.tensor([target])).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_defaults_are_the_published_ones() -> None:
    loss = LogitAnnealing()
    assert (1 / loss.temperature, loss.offset, loss.beta) == (0.75, 2.0, 5.0)


def test_without_offset_and_annealing_it_is_cross_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, target = torch.tensor(rng.normal(size=(8, 3))), torch.tensor(rng.integers(3, size=8))
    value = 2.0 * LogitAnnealing(2.0, 0.0, 0.0)(logits, target)
    assert value.item() == pytest.approx(TemperatureCrossEntropy(2.0)(logits, target).item())


def test_it_lets_go_of_what_is_learned() -> None:
    """Beyond the offset the gradient falls much faster than that of cross-entropy."""

    def pull(beta: float, gap: float) -> float:
        logits = torch.tensor([[gap, 0.0]], dtype=torch.float64, requires_grad=True)
        value = LogitAnnealing(1.0, 1.0, beta)(logits, torch.tensor([0]))
        (gradient,) = torch.autograd.grad(value, logits)
        return float(-gradient[0, 0])

    assert pull(5.0, 6.0) / pull(5.0, 0.0) < 1e-6 < 0.005 < pull(0.0, 6.0) / pull(0.0, 0.0)
    assert 0 <= pull(0.5, 1000.0) < 1e-12  # p is 1 in floats: no NaN


@pytest.mark.parametrize("beta", [0.0, 2.0, 5.0])
def test_gradients(beta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(9, 4)), requires_grad=True)
    target = torch.tensor(rng.integers(4, size=9))
    loss = LogitAnnealing(2.0, 0.5, beta)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), (logits,))


def test_errors() -> None:
    for name in ("offset", "beta"):
        with pytest.raises(ValueError, match=re.escape(f"{name}=-1: expected a finite number")):
            LogitAnnealing(**{name: -1})
    with pytest.raises(ValueError, match="temperature=0: expected a positive finite number"):
        LogitAnnealing(temperature=0)
