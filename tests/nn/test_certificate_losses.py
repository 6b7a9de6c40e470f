"""Losses that see the certificate, by hand and against the certificate itself."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from stablerank.nn import CertificateRegularization, GloRoCrossEntropy
from stablerank.nn.losses import certified_radii

HEAD = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, -0.5]], dtype=torch.float64)  # 1.5, 1.5 and 1


def some_batch(seed: int, n: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    head = torch.tensor(rng.normal(size=(4, 3)))
    features = torch.tensor(rng.normal(size=(n, 3)))
    return features @ head.T, torch.tensor(rng.integers(4, size=n)), head


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize(("progress", "extra"), [(1.0, 4.0), (0.5, 2.5), (0.0, 1.0)])
def test_gloro_by_hand(target: int, progress: float, extra: float) -> None:
    # z = (3, 0, 1) predicts class 0; at offset 2 the others gain 3: the best of them has 4
    loss = GloRoCrossEntropy(2.0, offset=2.0)
    loss.progress = progress
    z = [3.0, 0.0, 1.0]
    logits = torch.tensor([z], dtype=torch.float64)
    assert loss.extra_logit(logits, HEAD).item() == pytest.approx(extra, rel=1e-14)
    total = math.log(sum(math.exp(2 * a) for a in (*z, extra)))
    value = loss(logits, torch.tensor([target]), HEAD).item()
    assert value == pytest.approx(total - 2 * z[target], rel=1e-12)
    assert loss.rejects(logits, HEAD).item() == (extra >= 3)


def test_the_extra_logit_rejects_what_is_not_certified(seed: int) -> None:
    logits, _, head = some_batch(seed, 300)
    radii = certified_radii(logits, logits.argmax(dim=1), head)
    for offset in (0.01, 0.1, 0.5):
        rejected = GloRoCrossEntropy(offset=offset).rejects(logits, head)
        assert (rejected == (radii <= offset)).all()
        assert 0 < rejected.double().mean() < 1


def test_ties_count_against() -> None:
    # two equal logits, and a margin of exactly 1.5 = offset · distance
    loss = GloRoCrossEntropy(offset=1.0)
    logits = torch.tensor([[2.0, 2.0, 0.0], [1.5, 0.0, -9.0], [1.5001, 0.0, -9.0]]).double()
    assert loss.rejects(logits, HEAD).tolist() == [True, True, False]
    loss = GloRoCrossEntropy(offset=0.0)
    assert loss.rejects(logits, HEAD).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("target", "radius"), [(0, 4 / 3), (1, 0.0), (2, 0.0)], ids=["right", "wrong", "second"]
)
@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_regularization_by_hand(target: int, radius: float, progress: float) -> None:
    # z = (3, 0, 1): class 0 is certified up to min(3, 2)/1.5; of the others nothing is taken off
    loss = CertificateRegularization(2.0, weight=0.3)
    loss.progress = progress
    z = [3.0, 0.0, 1.0]
    entropy = math.log(sum(math.exp(2 * a) for a in z)) - 2 * z[target]
    value = loss(torch.tensor([z]).double(), torch.tensor([target]), HEAD).item()
    assert value == pytest.approx(entropy - progress * 0.3 * radius, rel=1e-12)


def test_heads_in_l2(seed: int) -> None:
    """With `order` 2 distances of rows are Euclidean: what is rejected has a small ℓ2 radius."""
    logits, _, head = some_batch(seed, 100)
    loss = GloRoCrossEntropy(offset=0.3)
    loss.order = 2.0
    radii = certified_radii(logits, logits.argmax(dim=1), head, 2.0)
    assert (loss.rejects(logits, head) == (radii <= 0.3)).all()
    assert (radii >= certified_radii(logits, logits.argmax(dim=1), head)).all()
    assert loss.head_distances(HEAD)[0, 1].item() == pytest.approx(math.sqrt(1.25))


@pytest.mark.parametrize(
    "loss",
    [GloRoCrossEntropy(2.0, 0.3), CertificateRegularization(2.0, 0.4)],
    ids=["gloro", "certified"],
)
def test_gradients_of_logits_and_head(
    loss: GloRoCrossEntropy | CertificateRegularization, seed: int
) -> None:
    logits, target, head = some_batch(seed, 9)
    logits, head = logits.clone().requires_grad_(), head.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z, w: loss(z, target, w), (logits, head))


def test_errors() -> None:
    with pytest.raises(ValueError, match=re.escape("offset=-1: expected a finite number >= 0.")):
        GloRoCrossEntropy(offset=-1)
    with pytest.raises(ValueError, match=re.escape("weight=-1: expected a finite number >= 0.")):
        CertificateRegularization(weight=-1)
    for kind in (GloRoCrossEntropy, CertificateRegularization):
        with pytest.raises(ValueError, match="temperature=0: expected a positive finite number"):
            kind(temperature=0)
