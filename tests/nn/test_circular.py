"""Circular convolutions: circulant, orthogonal, and what they do to shifted vectors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stablerank.nn import CircularLinear, circular
from stablerank.stability import L2, LINF

KINDS: dict[str, dict[str, int]] = {
    "several channels": {"length": 6, "in_channels": 4, "out_channels": 4},
    "from one channel": {"length": 7, "in_channels": 1, "out_channels": 4},
    "to one channel": {"length": 5, "in_channels": 3, "out_channels": 1, "kernel": 5},
    "of rank 1": {"length": 4, "in_channels": 2, "out_channels": 2, "rank": 1, "kernel": 2},
}


def folded(layer: nn.Module) -> Any:
    layer = copy.deepcopy(layer).double().eval()
    layer.fold()  # type: ignore[operator]
    return layer.requires_grad_(False)


def slow_matrix(kernels: Any, length: int, n_out: int, n_in: int) -> Any:
    """The unitary matrix in Fourier space, entry by entry, and back by the transform's matrix."""
    channels, rank, size = kernels.shape
    points = np.exp(-2j * np.pi * np.outer(np.arange(length), np.arange(length)) / length)
    blocks = np.zeros((n_out, n_in, length), dtype=complex)
    for w in range(length):
        v = np.zeros((channels, rank), dtype=complex)
        for s in range(size):
            v += kernels[:, :, s] * points[w, s]
        reflected = np.eye(channels) - 2 * v @ np.linalg.inv(v.conj().T @ v) @ v.conj().T
        blocks[:, :, w] = reflected[:n_out, :n_in]
    matrix = np.zeros((n_out * length, n_in * length), dtype=complex)
    for o in range(n_out):
        for i in range(n_in):
            own = points.conj().T @ np.diag(blocks[o, i]) @ points / length
            matrix[o * length : (o + 1) * length, i * length : (i + 1) * length] = own
    return matrix


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_is_that_of_the_paper(kind: str, seeded: int) -> None:
    layer = CircularLinear(**KINDS[kind]).double()
    own: Any = layer.parametrizations
    kernels = own.weight.original.detach().numpy()
    settings = KINDS[kind]
    shape = settings["length"], settings["out_channels"], settings["in_channels"]
    expected = slow_matrix(kernels, *shape)
    assert np.abs(expected.imag).max() < 1e-10  # V is real, and so is the convolution
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected.real, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_shifted_vectors_give_shifted_outputs(kind: str, seeded: int) -> None:
    settings = KINDS[kind]
    layer = folded(CircularLinear(**settings).double())
    x = torch.randn(3, settings["in_channels"], settings["length"], dtype=torch.float64)
    y = layer(x.flatten(1)).unflatten(1, (settings["out_channels"], -1))
    shifted = layer(x.roll(2, dims=-1).flatten(1)).unflatten(1, (settings["out_channels"], -1))
    torch.testing.assert_close(shifted, y.roll(2, dims=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_at_most_the_constant_and_reach_it(
    kind: str,
    dtype: torch.dtype,
    seeded: int,
    train: Callable[..., nn.Module],
    slope: Callable[..., float],
) -> None:
    layer = folded(train(lambda: CircularLinear(**KINDS[kind]), dtype))
    assert layer.stability(L2).constant <= 1 + 1e-9
    for space in (L2, LINF):
        found = slope(layer, layer.in_features, seeded, space)
        assert 0.95 * layer.stability(space).constant < found <= layer.stability(space).constant
    if KINDS[kind]["in_channels"] <= KINDS[kind]["out_channels"]:  # an isometry
        gram = layer.weight.T @ layer.weight
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-6)


def test_the_law_above_can_fail(monkeypatch: pytest.MonkeyPatch, seeded: int, slope: Any) -> None:
    right = circular.reflection
    monkeypatch.setattr(circular, "reflection", lambda v: 3 * right(v) - 2 * right(0 * v))
    layer = folded(CircularLinear(**KINDS["several channels"]).double())
    found = slope(layer, layer.in_features, seeded)
    assert 1 + 1e-3 < found <= layer.stability(L2).constant


def test_layers_are_copied_saved_and_compiled(seeded: int) -> None:
    layer, x = CircularLinear(5, 2, 4), torch.randn(3, 10)
    loaded = CircularLinear(5, 2, 4)
    loaded.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(other(x), layer(x))
    layer(x).square().sum().backward()
    assert set(folded(layer).state_dict()) == {"weight", "bias"}
    double = layer.double()
    torch.testing.assert_close(double(x.double()), folded(layer)(x.double()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 1, "out_channels": 1}, "expected integers >= 1, one of them >= 2"),
        ({"in_channels": 0, "out_channels": 2}, "expected integers >= 1, one of them >= 2"),
        ({"in_channels": 2, "out_channels": 2, "kernel": 6}, "kernel=6: expected an integer from"),
        ({"in_channels": 2, "out_channels": 2, "rank": 3}, "rank=3: expected an integer from 1 to"),
    ],
)
def test_settings_out_of_range(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CircularLinear(length=5, **settings)
