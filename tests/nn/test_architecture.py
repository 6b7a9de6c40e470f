"""Networks by name: what they are made of, the shapes of their states, and what is refused."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from stablerank.nn import (
    CayleyLinear,
    ConvexPotential,
    Householder,
    LinfLinear,
    LipschitzClassifier,
    MaxMin,
    SDPResidual,
    SortNet,
    StableRankNetwork,
    UnitRowLinear,
)
from stablerank.nn.architecture import AFFINE, IN_L2, LAYERS, check_architecture, state_shapes
from stablerank.stability import L2, LINF, StabilityError

ACTIVATIONS = ("maxmin", "groupsort", "abs", "relu", "householder")


def kinds(network: StableRankNetwork) -> list[str]:
    return [type(layer).__name__.removeprefix("Parametrized") for layer in network.body]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_shapes_are_those_of_folded_networks(layer: str, activation: str, seeded: int) -> None:
    # a change of width, none, and no hidden layer at all
    for hidden in ((8, 8), (4, 12), ()):
        network = StableRankNetwork(8, 3, hidden, layer, activation).folded()
        found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert found == state_shapes(8, hidden, 3, layer, activation)


def test_what_stands_where(seeded: int) -> None:
    bro = StableRankNetwork(6, 2, (4, 8), "bro", "householder")
    reflector = "BlockReflectorLinear"
    assert kinds(bro) == [reflector, "Householder", reflector, "Householder"]
    # the width changes once; where it does not, no affine layer stands before
    sll = StableRankNetwork(6, 2, (4, 4), "sll")
    assert kinds(sll) == ["CayleyLinear", "SDPResidual", "SDPResidual"]
    assert kinds(StableRankNetwork(4, 2, (4,), "cpl")) == ["ConvexPotential"]
    assert kinds(StableRankNetwork(4, 2, (3, 5), "sortnet")) == ["SortNet", "SortNet"]
    for layer in LAYERS:
        head = StableRankNetwork(4, 2, (4,), layer).head
        assert isinstance(head, UnitRowLinear) == (layer in IN_L2)
        assert isinstance(head, LinfLinear) == (layer in ("linf", "linf-distance", "sortnet"))


def test_sets_of_names() -> None:
    assert set(LAYERS) >= IN_L2
    assert {CayleyLinear, LinfLinear, UnitRowLinear, torch.nn.Linear} <= AFFINE
    assert not {SDPResidual, ConvexPotential, SortNet, MaxMin, Householder} & AFFINE


def test_widths_without_activation_need_no_groups() -> None:
    for layer in ("linf-distance", "sortnet", "sll", "cpl"):
        check_architecture((7, 3), layer, "groupsort")
    message = "hidden=(7,): expected positive integers, multiples of 2 for activation='householder'"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_architecture((7,), "bro", "householder")


def test_the_chain_pays_for_what_it_converts(seeded: int) -> None:
    network = StableRankNetwork(9, 2, (6,), "cayley", scale=np.full(9, 0.5)).folded()
    chain = network.stability()
    stages = [getattr(element, "stage", "") for element in chain]
    assert stages == ["standardize", "conversion", "CayleyLinear", "MaxMin", "UnitRowLinear"]
    assert (chain.source, chain.target) == (LINF, L2)
    assert network.feature_stability().constant == pytest.approx(2 * 3 * 1, rel=1e-6)
    # from ℓ2 there is nothing to convert
    direct = network.feature_stability(L2)
    assert direct.constant == pytest.approx(2, rel=1e-6)
    assert len(direct) == 3
    # without a hidden layer the head alone is left, and ℓ∞ is as good as any
    alone = StableRankNetwork(9, 2, (), "cayley").folded()
    assert (alone.feature_stability().target, alone.feature_stability().constant) == (LINF, 1.0)
    assert "√k" in str(chain)


def test_the_root_is_not_too_much(seeded: int) -> None:
    # all coordinates move by 1, along a row of the first layer: features move by √9 in ℓ2
    network = StableRankNetwork(9, 2, (2,), "cayley", "abs").folded()
    first: Any = network.body[0]
    with torch.no_grad():
        first.weight[0] = 1 / 3
        first.weight[1] = 0.0
        features = network.body(torch.stack([torch.ones(9), 2 * torch.ones(9)]).double())
    moved = float((features[1] - features[0]).norm())
    assert moved == pytest.approx(3, rel=1e-12)
    assert moved <= network.feature_stability().constant <= moved * (1 + 1e-9)


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "free"])
def test_classifiers_learn_and_know_their_constants(layer: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 4)) * 0.2 + y[:, None] * np.array([1.0, 1.0, 0.0, 0.0])
    classifier = LipschitzClassifier(
        layer=layer, hidden=(8,), max_epochs=30, temperature=10.0, random_state=0
    ).fit(X, y)
    assert classifier.score(X, y) > 0.9
    unit = 1 / classifier.epsilon_
    root = 2 if layer in IN_L2 else 1
    loose = 1.01 if layer == "spectral" else 1 + 1e-5
    assert classifier.feature_stability().constant <= unit * root * loose
    # logits of samples, in pairs, move no more than the features and the head's rows say
    logits = classifier.logits(X)
    features = classifier.feature_stability(L2 if layer in IN_L2 else LINF)
    pairs = classifier.pairwise_constants(features.target)
    order = 2 if layer in IN_L2 else np.inf
    moved = np.abs(np.diff(logits[:, 1] - logits[:, 0]))
    by = np.linalg.norm(np.diff(X, axis=0), ord=order, axis=1)
    assert (moved <= features.constant * pairs[0, 1] * by * (1 + 1e-9)).all()
    assert (moved / by).max() > 0.02 * features.constant * pairs[0, 1]


def test_layers_of_one_norm_have_no_constant_in_the_other() -> None:
    with pytest.raises(StabilityError, match="SortNet knows its constant from"):
        StableRankNetwork(4, 2, (3,), "sortnet").stability(L2)


def test_every_pair_of_layer_and_activation_has_boxes(seeded: int) -> None:
    x = torch.randn(5, 8, dtype=torch.float64)
    for layer, activation in itertools.product(LAYERS, ACTIVATIONS):
        network = StableRankNetwork(8, 3, (8, 4), layer, activation).folded()
        lower, upper = network.bounds(x - 0.1, x + 0.1)
        assert bool((lower <= network(x)).all())
        assert bool((network(x) <= upper).all())
        for _ in range(10):
            y = network(x + 0.1 * torch.empty_like(x).uniform_(-1.5, 1.5).clamp(-1, 1))
            assert bool(((lower <= y) & (y <= upper)).all())
