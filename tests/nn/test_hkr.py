"""HKR: the transport of samples is known on the line, and no 1-Lipschitz score goes beyond it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from stablerank import LipschitzClassifier
from stablerank.nn import HKRLoss
from stablerank.nn.hkr import transport


def test_two_classes_by_hand() -> None:
    # f = (z₁ − z₀)/2 is 0.25 and −1 in class 0, 0.5 in class 1; y f is −0.25, 1 and 0.5, and with
    # m = 3 they lack 1.75, 0.5 and 1.0. The means are −0.375 and 0.5.
    logits = torch.tensor([[0.0, 0.5], [1.0, -1.0], [0.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([0, 0, 1])
    hinge, apart = 3.25 / 3, 0.875
    for alpha in (0.0, 0.25, 1.0):
        value = HKRLoss(alpha, margin=3.0)(logits, target).item()
        assert value == pytest.approx(alpha * hinge - (1 - alpha) * apart, rel=1e-14)


def slow(
    logits: NDArray[np.float64], target: NDArray[np.int64], alpha: float, margin: float
) -> float:
    """Of more than two classes, one after the other."""
    n_classes, total = logits.shape[1], 0.0
    for k in range(n_classes):
        z, own = logits[:, k], target == k
        lacking = [
            (n_classes - 1) * max(0.0, margin / 2 - value) if mine else max(0.0, margin / 2 + value)
            for value, mine in zip(z, own, strict=True)
        ]
        apart = z[own].mean() - z[~own].mean() if own.any() and not own.all() else 0.0
        total += alpha * float(np.mean(lacking)) - (1 - alpha) * float(apart)
    return total / n_classes


@pytest.mark.parametrize("n_classes", [3, 5])
def test_many_classes_of_a_loop(n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(11, n_classes))
    for target in (rng.integers(n_classes, size=11), np.full(11, 1), rng.integers(2, size=11)):
        value = HKRLoss(0.7, 1.5)(torch.tensor(logits), torch.tensor(target)).item()
        assert value == pytest.approx(slow(logits, target, 0.7, 1.5), rel=1e-12)


def excess(slope: float, seed: int, trials: int = 50) -> float:
    """How far a score of this slope separates two samples of the line beyond their distance."""
    rng, worst = np.random.default_rng(seed), -np.inf
    for _ in range(trials):
        x, member = rng.normal(size=40), rng.integers(2, size=40)
        member[:2] = [0, 1]
        if rng.integers(2):
            x += member
        kinks = rng.normal(size=3)
        score = slope * np.abs(np.abs(x - kinks[0]) - abs(kinks[1])) * np.sign(kinks[2])
        apart = transport(torch.tensor(score[:, None]), torch.tensor(member[:, None]))
        most = stats.wasserstein_distance(x[member == 1], x[member == 0])
        worst = max(worst, float(apart) - most)
    return worst


def test_no_score_of_slope_one_goes_beyond_the_transport(seed: int) -> None:
    assert excess(1.0, seed) <= 1e-12
    # a shift to the right is attained by the identity
    x = torch.linspace(0, 1, 7, dtype=torch.float64).repeat(2)[:, None]
    member = torch.arange(14)[:, None] >= 7
    apart = transport(x + 0.3 * member.double(), member.double())
    assert apart.item() == pytest.approx(0.3, rel=1e-12)


def test_the_law_above_can_fail(seed: int) -> None:
    assert excess(3.0, seed) > 0


def test_a_trained_network_estimates_the_distance() -> None:
    # Class 0 is within 0.1 of 0, class 1 within 0.1 of ±1: the best score is |x|, up to a constant.
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.uniform(-0.1, 0.1, size=80) + y * rng.choice([-1.0, 1.0], size=80)
    classifier = LipschitzClassifier(
        loss="hkr",
        loss_options={"alpha": 0.0},
        hidden=(8, 8),
        epsilon=1.0,
        batch_size=80,
        max_epochs=150,
        random_state=0,
    ).fit(x[:, None], y)
    logits = torch.tensor(classifier.logits(x[:, None]))
    apart = -HKRLoss(alpha=0.0)(logits, torch.tensor(y)).item()
    exact = stats.wasserstein_distance(x[y == 1], x[y == 0])
    assert 0.9 < exact < 1.0
    assert 0.95 * exact < apart <= exact * (1 + 1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_gradients(n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(9, n_classes)), requires_grad=True)
    target = torch.tensor(rng.integers(n_classes, size=9))
    assert torch.autograd.gradcheck(lambda z: HKRLoss(0.6, 0.9)(z, target), (logits,))


def test_errors() -> None:
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=re.escape(f"alpha={bad!r}: expected a number from 0")):
            HKRLoss(alpha=bad)
    with pytest.raises(ValueError, match="margin=0: expected a positive finite number"):
        HKRLoss(margin=0)
