"""Networks made for ℓ2: what they certify in ℓ∞ behind a conversion, and in ℓ2 without."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from stablerank import StableRankClassifier, certify
from stablerank.attack import attack
from stablerank.checker import check
from stablerank.nn import chain_of_layers
from stablerank.stability import L2, LINF, StabilityChain

Cloud = NDArray[np.float64]
LAYERS = ["cayley", "exponential", "bjorck", "bro", "aol", "gram", "spectral", "sll", "cpl"]


@cache
def trained(layer: str, activation: str = "maxmin") -> tuple[StableRankClassifier, list[Cloud]]:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(16, 2)) * (1 + i % 2) for i in range(24)]
    model = StableRankClassifier(
        homology_dimensions=(0,),
        network__layer=layer,
        network__activation=activation,
        network__hidden=(8, 8),
        temperature=5.0,
        max_epochs=15,
        random_state=0,
    )
    return model.fit(X, [i % 2 for i in range(24)]), X


def by_hand(model: Any, X: list[Cloud], steepness: float, norm: int) -> NDArray[np.float64]:
    """Margins over a constant, and the ℓ2 or ℓ1 distance of the two rows of the head."""
    network = model.pipeline_[-1].network_
    logits = model.pipeline_[-1].logits(model.pipeline_[:-1].transform(X))
    rows = network.head.weight.numpy()
    return np.asarray(
        np.abs(logits[:, 0] - logits[:, 1])
        / (steepness * np.linalg.norm(rows[0] - rows[1], ord=norm))
    )


def largest_singular_values(model: Any) -> float:
    """The product over the body's affine layers, as NumPy has them."""
    product = 1.0
    for layer in model.pipeline_[-1].network_.body:
        if hasattr(layer, "in_features"):
            product *= np.linalg.norm(layer.weight.numpy(), 2)
        elif hasattr(layer, "weight"):  # residual
            product *= max(1.0, np.linalg.norm(layer.weight.numpy(), 2) ** 2 - 1)
    return product


@pytest.mark.parametrize("layer", LAYERS)
def test_radii_by_hand(layer: str) -> None:
    model, X = trained(layer)
    network = model.pipeline_[-1].network_
    factor = float(network.standardize.factor.max())
    own = largest_singular_values(model)
    # in ℓ∞, deaths of H0 move by 1 each, and √k in ℓ2: paid once, in front of the first layer
    claims = certify(model, X, method="global")
    expected = by_hand(model, X, factor * math.sqrt(network.n_features) * own, 2)
    assert (claims.radius <= expected).all()
    np.testing.assert_allclose(claims.radius, expected, rtol=1e-6)
    assert "ℓ2 ≤ √k ℓ∞" in str(claims.chain)
    assert claims.chain is not None
    assert claims.chain.target == L2
    # in ℓ2 (D7), √6/2 in the plane for alpha, and nothing to convert
    together = certify(model, X, threat="frobenius", method="l2")
    expected = by_hand(model, X, math.sqrt(6) / 2 * factor * own, 2)
    assert (together.radius >= expected * (1 - 1e-6)).all()  # or the block's way, which is sound
    assert "√k" not in str(together.chain)
    best = certify(model, X, threat="frobenius")
    assert (best.radius >= together.radius).all()


def test_without_the_conversion_more_would_be_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = trained("bro")
    honest = certify(model, X, method="global").radius
    network = model.pipeline_[-1].network_
    # an ℓ2 chain that is taken for one in ℓ∞
    monkeypatch.setattr(type(network), "feature_stability", _unconverted)
    silent = certify(model, X, method="global")
    factor = float(network.standardize.factor.max())
    expected = by_hand(model, X, factor * largest_singular_values(model), 1)
    np.testing.assert_allclose(silent.radius, expected, rtol=1e-6)
    assert (silent.radius > 1.5 * honest).all()
    assert "√k" not in str(silent.chain)


def _unconverted(self: Any, source: Any = LINF) -> Any:
    chain = chain_of_layers(nn.Sequential(self.standardize, *self.body), L2)
    links = [replace(link, source=LINF, target=LINF) for link in chain]
    return StabilityChain(*links)


@pytest.mark.parametrize(
    ("layer", "activation"),
    [*((layer, "maxmin") for layer in LAYERS), ("bro", "householder"), ("sortnet", "maxmin")],
)
def test_attacks_never_win_inside(layer: str, activation: str, seed: int) -> None:
    model, X = trained(layer, activation)
    X = X[:4]
    for threat in ("per_point", "frobenius"):
        claims = certify(model, X, threat=threat)
        assert (claims.radius > 0).any()
        how: dict[str, Any] = {"threat": threat, "random_state": seed, "n_queries": 24}
        inside = np.nextafter(claims.radius, 0.0)
        tried = attack(model, X, claims.prediction, radius=inside, method="gradient", **how)
        assert not tried.success.any()


@pytest.mark.parametrize(
    ("layer", "activation"), [("bro", "maxmin"), ("sll", "maxmin"), ("linf", "householder")]
)
def test_saved_bits_certify_alike_and_the_checker_says_what_it_does_not_know(
    layer: str, activation: str, tmp_path: Path
) -> None:
    model, X = trained(layer, activation)
    model.save(tmp_path / "model.srn")
    loaded = StableRankClassifier.load(tmp_path / "model.srn")
    np.savez(tmp_path / "clouds.npz", *X)
    for method in ("global", "best", "linear"):
        claims = certify(model, X, method=method)
        assert (certify(loaded, X, method=method).radius == claims.radius).all()
        claims.save(tmp_path / "claims.json")
        verdict = check.check_files(
            tmp_path / "claims.json", tmp_path / "model.srn", tmp_path / "clouds.npz"
        )
        assert (verdict.accepted, verdict.checked, verdict.claim) == (False, False, "network")
