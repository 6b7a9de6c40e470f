"""Orthogonal layers: norms of 1, whatever was trained, copied, saved or compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stablerank.nn import (
    BjorckLinear,
    BlockReflectorLinear,
    CayleyLinear,
    ExponentialLinear,
    orthogonal,
)
from stablerank.nn.orthogonal import BjorckOrthonormalization, BlockReflector, reflection
from stablerank.stability import L2, LINF

KINDS = [CayleyLinear, ExponentialLinear, BjorckLinear, BlockReflectorLinear]
SHAPES = [(12, 8), (8, 12), (9, 9), (5, 1), (1, 4)]
DTYPES = [torch.float32, torch.float64]


def folded(layer: nn.Module) -> Any:
    layer = copy.deepcopy(layer).double().eval()
    layer.fold()  # type: ignore[operator]
    return layer


# Closed form.


def test_reflections_by_hand() -> None:
    # V = (3, 4): VᵀV = 25, I − 2VVᵀ/25 = ((7, −24), (−24, −7))/25; twice is the identity
    v = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
    w = reflection(v)
    torch.testing.assert_close(w, torch.tensor([[7.0, -24.0], [-24.0, -7.0]]).double() / 25)
    torch.testing.assert_close(w @ w, torch.eye(2, dtype=torch.float64))
    # of columns that span the plane it is −I; of parallel or no directions it is still no longer
    torch.testing.assert_close(
        reflection(torch.eye(2, dtype=torch.float64)), -torch.eye(2, dtype=torch.float64)
    )
    torch.testing.assert_close(reflection(torch.cat([v, v], dim=1)), w, rtol=0, atol=1e-6)
    assert torch.equal(reflection(torch.zeros(3, 2)), torch.eye(3))


def test_bjorck_finds_the_polar_factor(seed: int) -> None:
    # the nearest orthonormal matrix is UVᵀ of the singular value decomposition
    rng = np.random.default_rng(seed)
    for shape in ((7, 4), (4, 7), (5, 5)):
        matrix = rng.normal(size=shape) * rng.choice([1e-6, 1.0, 1e6])
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        if s[-1] < 1e-2 * s[0]:
            continue
        found = BjorckOrthonormalization()(torch.from_numpy(matrix)).numpy()
        np.testing.assert_allclose(found, u @ vh, rtol=0, atol=1e-10)


def test_bjorck_never_stretches(seed: int) -> None:
    # (3σ − σ³)/2 <= 1 for all σ >= 0: nearly singular matrices are short of 1, and none beyond
    rng = np.random.default_rng(seed)
    for _ in range(20):
        matrix = rng.normal(size=(6, 2)) @ np.diag([1.0, 10.0 ** -rng.integers(0, 9)])
        matrix = matrix @ rng.normal(size=(2, 6))
        found = BjorckOrthonormalization()(torch.from_numpy(matrix))
        assert float(torch.linalg.matrix_norm(found, 2)) <= 1 + 1e-13
    assert torch.equal(BjorckOrthonormalization()(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_initial_weights_are_orthonormal(kind: Any, shape: tuple[int, int], seeded: int) -> None:
    n_in, n_out = shape
    weight = folded(kind(n_in, n_out).double()).weight
    gram = weight @ weight.T if n_out <= n_in else weight.T @ weight
    if kind is BlockReflectorLinear and n_in != n_out:  # a corner of an orthogonal matrix
        assert torch.linalg.matrix_norm(gram, 2) <= 1 + 1e-12
        assert folded(kind(n_in, n_out)).stability(L2).constant <= 1 + 1e-9
    else:
        # torch's parametrizations keep the float32 matrix with which they began
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-6)


def test_rows_lean_towards_inputs_that_vary(seeded: int) -> None:
    gain = torch.tensor([1.0, 1.0, 1e-6, 1e-6])
    for kind in (CayleyLinear, ExponentialLinear, BjorckLinear):
        assert folded(kind(4, 2, gain=gain)).weight[:, 2:].abs().max() < 1e-2
        assert folded(kind(4, 2)).weight[:, 2:].abs().max() > 1e-2


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
    constant = layer.stability(L2).constant
    assert constant <= 1 + 1e-6  # what float32 leaves of the matrix that is exponentiated
    for space in (L2, LINF):
        found = slope(layer, shape[0], seeded, space)
        assert 0.95 * layer.stability(space).constant < found <= layer.stability(space).constant
    if not (kind is BlockReflectorLinear and shape[0] != shape[1]):
        assert constant > 0.95


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "half a reflection": (
        BlockReflectorLinear,
        "reflection",
        lambda v: torch.eye(len(v)).to(v) - v @ torch.linalg.solve(v.T @ v, v.T),
    ),
    "no inverse": (
        BlockReflectorLinear,
        "reflection",
        lambda v: torch.eye(len(v)).to(v) - 2 * v @ v.T,
    ),
    "no scaling before Björck's iteration": (
        BjorckLinear,
        "unchecked_gram_norm",
        lambda w: torch.ones(()).to(w) * 0.3,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_above_can_fail(
    name: str, monkeypatch: pytest.MonkeyPatch, seeded: int, train: Any, slope: Any
) -> None:
    kind, attribute, wrong = BROKEN[name]
    monkeypatch.setattr(orthogonal, attribute, wrong)
    with torch.no_grad():
        layer = folded(kind(9, 9).double())
    gram = layer.weight @ layer.weight.T
    assert not torch.allclose(gram, torch.eye(9, dtype=torch.float64), atol=1e-3)
    if name == "no inverse":
        assert slope(layer, 9, seeded) > 1 + 1e-3
        # and the constant, which rests on the weights alone, says so
        assert slope(layer, 9, seeded) <= layer.stability(L2).constant


def test_reflectors_of_every_rank(seeded: int) -> None:
    for rank in (1, 3, 6):
        layer = folded(BlockReflectorLinear(6, 6, rank=rank).double())
        eigenvalues = torch.linalg.eigvalsh(layer.weight)
        assert int((eigenvalues < 0).sum()) == rank
        torch.testing.assert_close(eigenvalues.abs(), torch.ones(6, dtype=torch.float64))
    assert BlockReflector(3, 5, 2).right_inverse(torch.zeros(3, 5)).shape == (5, 2)
    for rank in (0, 7):
        with pytest.raises(ValueError, match=f"rank={rank}: expected an integer from 1 to 6"):
            BlockReflectorLinear(6, 4, rank=rank)
