"""Networks in ℓ2: spectral norms, pairs of rows, and first layers that see blocks (N1 to N3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from stablerank.nn import LinfDistance, StableRankNetwork, affine, chain_of_layers
from stablerank.nn.blocks import row_constants
from stablerank.stability import FROBENIUS, HAUSDORFF, L2, LINF, Block, StabilityError

Vectors = NDArray[np.float64]
KINDS: dict[str, dict[str, Any]] = {
    "linf": {},
    "linf, groups": {"activation": "groupsort"},
    "free": {"layer": "free", "activation": "relu"},
    "free, abs": {"layer": "free", "activation": "abs"},
    "only a head": {"hidden": ()},
}


def random_network(kind: str, seed: int) -> StableRankNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        scale = torch.rand(6, dtype=torch.float64) + 0.2
        return StableRankNetwork(6, 3, **{"hidden": (8, 8), "scale": scale, **KINDS[kind]}).folded()


def steepest(network: StableRankNetwork, x: Vectors) -> Vectors:
    """The direction in which the logits change most, to first order."""
    start = torch.from_numpy(x)
    jacobian = torch.autograd.functional.jacobian(lambda v: network(v[None])[0], start).numpy()
    return np.asarray(np.linalg.svd(jacobian)[2][0])


def shares(kind: str, seed: int) -> tuple[float, float]:
    """The largest ratios of both sides: of all logits in ℓ2, and of pairs of them."""
    network = random_network(kind, seed)
    constant = network.stability(L2).constant
    pairs = network.feature_stability(L2).constant * network.pairwise_constants(L2)
    np.fill_diagonal(pairs, np.inf)
    rng = np.random.default_rng(seed)
    worst = worst_pair = 0.0
    for _ in range(30):
        x = rng.normal(size=6)
        for step in (1e-7 * steepest(network, x), rng.normal(size=6)):
            with torch.no_grad():
                before, after = network(torch.from_numpy(np.stack([x, x + step]))).numpy()
            change, size = after - before, float(np.linalg.norm(step))
            worst = max(worst, float(np.linalg.norm(change)) / (constant * size))
            gaps = np.abs(change[:, None] - change[None])
            worst_pair = max(worst_pair, float((gaps / pairs).max()) / size)
    return worst, worst_pair


@pytest.mark.parametrize("kind", KINDS)
def test_logits_move_at_most_as_the_spectral_norms_say(kind: str, seed: int) -> None:
    worst, worst_pair = shares(kind, seed)
    assert 0.05 < worst <= 1 + 1e-7
    assert 0.05 < worst_pair <= 1 + 1e-7


def test_the_law_above_can_fail(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    with monkeypatch.context() as patch:  # the largest norm of a row
        patch.setattr(affine, "spectral_norm_upper", lambda w: float(w.norm(dim=1).max()) * 0.7)
        assert max(shares(kind, seed)[0] for kind in ("only a head", "free")) > 1


def test_chains_by_hand() -> None:
    # diag(2, 1/2) after (x − c)/s; a rotation; max and min; the head's rows are √8 and 4 apart
    network = StableRankNetwork(2, 2, hidden=(2,), layer="free", scale=[0.5, 2.0]).double()
    network.body[0].weight.data = torch.tensor([[0.6, 0.8], [-0.8, 0.6]]).double()
    network.head.weight.data = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double()
    chain = network.stability(L2)
    assert (chain.source, chain.target) == (L2, L2)
    assert chain.constant == pytest.approx(2 * 1 * 2, rel=1e-7)
    assert network.feature_stability(L2).constant == pytest.approx(2.0, rel=1e-7)
    assert network.pairwise_constants(L2)[0, 1] == pytest.approx(math.sqrt(8), rel=1e-14)
    assert network.pairwise_constants()[0, 1] == 4 * (1 + 8 * 2.0**-53)
    assert chain_of_layers(nn.Sequential(nn.ReLU(), nn.Identity()), L2).constant == 1


def test_distance_neurons_have_none() -> None:
    with pytest.raises(StabilityError, match="LinfDistance knows its constant from vector"):
        LinfDistance(2, 2).stability(L2)


# Blocks.


def random_blocks(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Block]:
    return [
        Block(float(rng.exponential()) * math.sqrt(size), rng.exponential(size=size))
        for size in sizes
    ]


def farthest(v: Vectors, block: Block) -> float:
    """Σ v_i Δ_i for the best of some Δ that the block allows."""
    best = 0.0
    for share in (0.0, 0.5, 0.9, 1.0):
        change = np.clip((1 - share) * np.abs(v) / max(np.abs(v).max(), 1e-9) + share, 0, 1)
        change = change * block.each
        change *= min(1.0, block.together / max(float(np.linalg.norm(change)), 1e-300))
        best = max(best, float(np.abs(v) @ change))
    along = np.abs(v) / np.linalg.norm(v) * block.together
    return max(best, float(np.abs(v) @ np.minimum(along, block.each)))


def test_rows_move_at_most_as_their_blocks_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attained = 0.0
    for _ in range(50):
        sizes = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        blocks = random_blocks(rng, sizes)
        weight, scales = rng.normal(size=(4, sum(sizes))), rng.exponential(size=sum(sizes))
        found = row_constants(weight, blocks, scales)
        alone = np.abs(weight * scales) @ np.concatenate([block.each for block in blocks])
        assert (found <= alone * (1 + 1e-12)).all()
        for row, bound in zip(weight * scales, found, strict=True):
            parts = np.split(row, [sizes[0]])
            moved = sum(farthest(v, block) for v, block in zip(parts, blocks, strict=True))
            assert moved <= bound * (1 + 1e-12)
            attained = max(attained, moved / bound)
    assert attained > 0.99


def test_blocks_of_whole_networks(seed: int) -> None:
    network = random_network("free", seed)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        blocks = random_blocks(rng, (4, 2))
        chain = network.block_stability(FROBENIUS, blocks)
        assert (chain.source, chain.target) == (FROBENIUS, LINF)
        x, features = rng.normal(size=6), nn.Sequential(network.standardize, network.body)
        for size in (1e-6, 1.0):
            change = rng.normal(size=6)
            for rows, block in zip((slice(0, 4), slice(4, 6)), blocks, strict=True):
                part = np.clip(change[rows], -block.each, block.each)
                change[rows] = part * min(1.0, block.together / np.linalg.norm(part))
            ends = np.stack([x, x + size * change])
            with torch.no_grad():
                before, after = features(torch.from_numpy(ends)).numpy()
            assert np.abs(after - before).max() <= chain.constant * size * (1 + 1e-6)


def test_what_has_no_blocks() -> None:
    block = [Block(1.0, np.ones(6))]
    with pytest.raises(StabilityError, match="Blocks of coordinates need a first layer"):
        random_network("only a head", 0).block_stability(FROBENIUS, block)
    distances = StableRankNetwork(6, 2, (4,), layer="linf-distance")
    with pytest.raises(StabilityError, match="Blocks of coordinates need a first layer"):
        distances.block_stability(FROBENIUS, block)
    message = "takes 6 coordinates, but the stages before it give 5"
    with pytest.raises(StabilityError, match=message):
        random_network("free", 0).block_stability(HAUSDORFF, [Block(1.0, np.ones(5))])
