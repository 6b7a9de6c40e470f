"""Losses, by hand: what they cost, what they pull at, and what they leave alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stablerank.nn import (
    BoxCrossEntropy,
    CertifiedMarginLoss,
    OffsetCrossEntropy,
    TemperatureCrossEntropy,
)
from stablerank.nn.losses import certified_radii

HEAD = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])  # distances 1.5, 1.5 and 1


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def loss_with(
    progress: float, temperature: float = 2.0, offset: float = 0.5
) -> CertifiedMarginLoss:
    loss = CertifiedMarginLoss(temperature, offset)
    loss.progress = progress
    return loss


# Closed form.


def test_cross_entropy_by_hand() -> None:
    # logits (1, 0), class 0, τ = 2: log(e² + 1) − 2 = log(1 + e^-2); class 1: log(1 + e²)
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    loss = TemperatureCrossEntropy(2.0)
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(softplus(-2), rel=1e-14)
    assert loss(logits, torch.tensor([1])).item() == pytest.approx(softplus(2), rel=1e-14)
    # the mean over samples
    both = loss(logits.repeat(2, 1), torch.tensor([0, 1])).item()
    assert both == pytest.approx((softplus(-2) + softplus(2)) / 2, rel=1e-14)


def test_radii_by_hand() -> None:
    # z = (3, 0, 1), class 0: gaps 3 and 2, over 1.5 each: 2 and 4/3. Class 2: (1 − 3)/1.5 = −4/3
    # and (1 − 0)/1 = 1. Class 1: (0 − 3)/1.5 = −2 and (0 − 1)/1 = −1.
    logits = torch.tensor([[3.0, 0.0, 1.0]]).repeat(3, 1)
    radii = certified_radii(logits, torch.tensor([0, 1, 2]), HEAD)
    torch.testing.assert_close(radii, torch.tensor([4 / 3, -2.0, -4 / 3]))


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        # r = 4/3, τ = 2, offset 1/2
        (0.0, softplus(-8 / 3)),
        (0.5, 0.5 * sigmoid(-2 * (4 / 3 - 0.25)) + 0.5 * softplus(-8 / 3)),
        (1.0, sigmoid(-2 * (4 / 3 - 0.5))),
    ],
)
def test_margin_losses_by_hand(progress: float, expected: float) -> None:
    logits = torch.tensor([[3.0, 0.0, 1.0]], dtype=torch.float64)
    loss = loss_with(progress)(logits, torch.tensor([0]), HEAD.double())
    assert loss.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("progress", "target", "gains"),
    [
        # class 0 is 1.5 from both others: at offset 2 and half way they gain 1.5; class 1 is 1.5
        # from class 0 and 1 from class 2
        (0.5, 0, [0.0, 1.5, 1.5]),
        (1.0, 0, [0.0, 3.0, 3.0]),
        (0.5, 1, [1.5, 0.0, 1.0]),
        (1.0, 2, [3.0, 2.0, 0.0]),
        (0.0, 2, [0.0, 0.0, 0.0]),
    ],
)
def test_offset_losses_by_hand(progress: float, target: int, gains: list[float]) -> None:
    # τ = 3: log Σ_j exp(3(z_j + gain_j)) − 3 z_y
    loss = OffsetCrossEntropy(3.0, 2.0)
    loss.progress = progress
    z = [0.3, -0.1, 0.2]
    expected = math.log(sum(math.exp(3 * (a + g)) for a, g in zip(z, gains, strict=True)))
    value = loss(torch.tensor([z]), torch.tensor([target]), HEAD).item()
    assert value == pytest.approx(expected - 3 * z[target], rel=1e-6)


def test_the_offset_is_what_an_adversary_gains(seed: int) -> None:
    # class y against class j at the worst features within the offset: x − offset·sign(w_y − w_j)
    rng = np.random.default_rng(seed)
    head = torch.tensor(rng.normal(size=(2, 4)))
    x = torch.tensor(rng.normal(size=(1, 4)))
    loss, entropy = OffsetCrossEntropy(2.0, 0.3), TemperatureCrossEntropy(2.0)
    for y in range(2):
        worst = x - 0.3 * torch.sign(head[y] - head[1 - y])
        attacked = entropy(worst @ head.T, torch.tensor([y]))
        found = loss(x @ head.T, torch.tensor([y]), head)
        assert found.item() == pytest.approx(attacked.item(), rel=1e-12)
        assert found > entropy(x @ head.T, torch.tensor([y]))


@pytest.mark.parametrize("kappa", [0.0, 0.25, 1.0])
def test_box_losses_by_hand(kappa: float) -> None:
    # τ = 2, z = (1, 0), class 0, and over the box z_0 − z_1 >= −0.5: softplus(1) and softplus(−2)
    loss = BoxCrossEntropy(2.0, kappa)
    value = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([[0.0, -0.5]]))
    expected = (1 - kappa) * softplus(1) + kappa * softplus(-2)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_box_losses_are_the_mean_over_samples_and_sum_over_rivals() -> None:
    # class 1 with margins (0.2, 0, −0.3), class 0 with (0, 0, 0): log 3
    margins = torch.tensor([[0.2, 0.0, -0.3], [0.0, 0.0, 0.0]])
    value = BoxCrossEntropy()(torch.zeros(2, 3), torch.tensor([1, 0]), margins).item()
    first = math.log(math.exp(-0.2) + 1 + math.exp(0.3))
    assert value == pytest.approx((first + math.log(3)) / 2, rel=1e-6)


def test_ties_have_radius_0() -> None:
    # r = 0: half a sample lost at offset 0, whichever class; log 2 at the start of training
    logits = torch.ones(1, 3, dtype=torch.float64)
    for target in range(3):
        y = torch.tensor([target])
        assert certified_radii(logits, y, HEAD.double()).item() == 0
        assert loss_with(1.0, offset=0.0)(logits, y, HEAD.double()).item() == 0.5
        at_start = loss_with(0.0)(logits, y, HEAD.double()).item()
        assert at_start == pytest.approx(math.log(2), rel=1e-15)


def test_full_progress_is_where_a_loss_stands_that_nobody_ramps() -> None:
    assert CertifiedMarginLoss().progress == 1.0
    assert (CertifiedMarginLoss().temperature, CertifiedMarginLoss().offsets) == (3.0, (0.25,))
    assert TemperatureCrossEntropy().temperature == 1.0


# The law: with a steep sigmoid the loss counts those that are not certified.


def random_batch(seed: int, n_classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    head = torch.tensor(rng.normal(size=(n_classes, 6)))
    features = torch.tensor(rng.normal(size=(50, 6)) * 3)
    return features @ head.T, torch.tensor(rng.integers(n_classes, size=50)), head


def slow_radii(logits: Tensor, target: Tensor, head: Tensor) -> list[float]:
    radii = []
    for z, y in zip(logits.tolist(), target.tolist(), strict=True):
        others = [j for j in range(len(z)) if j != y]
        distance = {j: float((head[y] - head[j]).abs().sum()) for j in others}
        radii.append(min((z[y] - z[j]) / distance[j] for j in others))
    return radii


def test_radii_are_those_of_a_plain_loop(seed: int) -> None:
    batch = random_batch(seed)
    np.testing.assert_allclose(certified_radii(*batch).numpy(), slow_radii(*batch), rtol=1e-12)


def test_a_steep_loss_counts(seed: int) -> None:
    logits, target, head = random_batch(seed)
    radii = np.array(slow_radii(logits, target, head))
    missed = float((radii < 0.3).mean())
    loss = CertifiedMarginLoss(temperature=1e6, offset=0.3)(logits, target, head)
    assert 0 < missed < 1
    assert loss.item() == pytest.approx(missed, abs=1e-6)


def test_within_the_radius_no_feature_changes_the_class(seed: int) -> None:
    # N3: features that move by less than r in ℓ∞ move z_y − z_j by less than r ‖w_y − w_j‖₁
    rng = np.random.default_rng(seed)
    head = torch.tensor(rng.normal(size=(4, 6)))
    features = torch.tensor(rng.normal(size=(50, 6)) * 3)
    logits = features @ head.T
    target = logits.argmax(1)
    radii = certified_radii(logits, target, head)
    for share, kept in ((0.999, True), (1.001, False)):
        nearest = torch.stack(
            [
                features + share * radii[:, None] * -torch.sign(head[target] - head[j])
                for j in range(4)
            ]
        )
        moved = (nearest @ head.T).argmax(-1)
        assert bool((moved == target).all(0).all()) == kept
        assert bool((moved != target).any(0).all()) != kept


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_a_change_of_units_changes_nothing(progress: float, temperature: float, seed: int) -> None:
    # radii in another unit: logits · c, temperature / c, offset · c
    logits, target, head = random_batch(seed)
    loss = loss_with(progress, temperature, 0.2)(logits, target, head)
    scaled = loss_with(progress, temperature / 8, 1.6)(8 * logits, target, head)
    assert scaled.item() == pytest.approx(loss.item(), rel=1e-12)
    # and a head that is twice as long has logits twice as large: the same radii
    doubled = loss_with(progress, temperature, 0.2)(2 * logits, target, 2 * head)
    assert doubled.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_larger_margins_never_cost_more(progress: float, seed: int) -> None:
    logits, target, head = random_batch(seed)
    own = torch.nn.functional.one_hot(target, logits.shape[1])
    losses = [loss_with(progress)(logits + t * own, target, head).item() for t in range(-5, 6)]
    assert (np.diff(losses) < 0).all()
    entropies = [TemperatureCrossEntropy(2.0)(logits + t * own, target).item() for t in range(5)]
    assert (np.diff(entropies) < 0).all()


# Gradients.

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "cross-entropy": lambda z, y, w: TemperatureCrossEntropy(20.0)(z, y),
    "margin": loss_with(1.0),
    "margin at the start": loss_with(0.0),
    "margin on the way": loss_with(0.5),
    "offset": OffsetCrossEntropy(2.0, 0.5),
    "box": lambda z, y, w: BoxCrossEntropy(2.0, 0.3)(z, y, z[torch.arange(len(y)), y, None] - z),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_gradients_agree_with_differences(loss: Loss, seed: int) -> None:
    logits, target, head = random_batch(seed)
    logits, head = logits.requires_grad_(), head.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, w: loss(z, target, w), (logits, head), eps=1e-7)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e4, 1e15])
def test_losses_and_gradients_are_finite(loss: Loss, dtype: torch.dtype, scale: float) -> None:
    # ties, hopeless samples, samples far beyond the offset, and two classes with one row
    logits = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 2.0]], dtype=dtype)
    logits = (scale * logits).requires_grad_()
    head = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.5]], dtype=dtype, requires_grad=True)
    for y in range(3):
        value = loss(logits, torch.tensor([y, y, y]), head)
        assert torch.isfinite(value)
        for gradient in torch.autograd.grad(value, (logits, head), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


def test_the_margin_loss_gives_up_and_is_content() -> None:
    # the gradient at r = offset is τ/4; far below and far above it vanishes
    head = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    pulls = []
    for gap in (-20.0, 0.5, 20.0):
        logits = torch.tensor([[gap, 0.0]], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss_with(1.0)(logits, torch.tensor([0]), head), logits)
        pulls.append(-gradient[0, 0].item())
    assert pulls[1] == pytest.approx(2.0 / 4, rel=1e-14)
    assert max(pulls[0], pulls[2]) < 1e-15


def test_the_start_does_not_give_up() -> None:
    # at progress 0 the gradient of a hopeless sample is τ, as with the logistic loss
    head = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    logits = torch.tensor([[-20.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_with(0.0)(logits, torch.tensor([0]), head), logits)
    assert -gradient[0, 0].item() == pytest.approx(2.0, rel=1e-14)


# Errors.


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_out_of_range(temperature: float) -> None:
    for loss in (TemperatureCrossEntropy, CertifiedMarginLoss, OffsetCrossEntropy, BoxCrossEntropy):
        with pytest.raises(ValueError, match=f"temperature={temperature!r}: expected a positive"):
            loss(temperature)


@pytest.mark.parametrize("offset", [-0.1, math.nan, math.inf])
def test_offsets_out_of_range(offset: float) -> None:
    for loss in (CertifiedMarginLoss, OffsetCrossEntropy):
        with pytest.raises(ValueError, match=f"offset={offset!r}: expected a finite number >= 0"):
            loss(3.0, offset)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weights_out_of_range(weight: float) -> None:
    with pytest.raises(ValueError, match=f"clean_weight={weight!r}: expected a number from 0 to 1"):
        BoxCrossEntropy(1.0, weight)


def test_several_offsets_are_averaged() -> None:
    head = torch.tensor([[0.5], [-0.5]])
    logits, target = torch.tensor([[2.0, 0.5], [0.0, 1.0]]), torch.tensor([0, 0])
    one = [CertifiedMarginLoss(2.0, offset)(logits, target, head) for offset in (0.5, 1.0, 2.0)]
    several = CertifiedMarginLoss(2.0, (0.5, 1.0, 2.0))(logits, target, head)
    torch.testing.assert_close(several, torch.stack(one).mean())
    # by hand: radii 1.5 and -1, sigmoid(2 (1 - r)) for the offset 1
    by_hand = (1 / (1 + math.exp(1.0)) + 1 / (1 + math.exp(-4.0))) / 2
    assert one[1].item() == pytest.approx(by_hand, rel=1e-6)
    for offset in ((), (0.5, -1.0), (math.nan,)):
        with pytest.raises(ValueError, match="offset"):
            CertifiedMarginLoss(2.0, offset)
