"""Layers with parametrized weights: copied, pickled, saved, cast, folded, compiled."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stablerank.nn import (
    AlmostOrthogonalLinear,
    BjorckLinear,
    BlockReflectorLinear,
    CayleyLinear,
    ExponentialLinear,
    GramLinear,
    LinfLinear,
    SpectralLinear,
    UnitRowLinear,
)
from stablerank.stability import L2

KINDS = [
    AlmostOrthogonalLinear,
    BjorckLinear,
    BlockReflectorLinear,
    CayleyLinear,
    ExponentialLinear,
    GramLinear,
    SpectralLinear,
    UnitRowLinear,
]


def folded(layer: nn.Module) -> Any:
    layer = copy.deepcopy(layer).double().eval()
    layer.fold()  # type: ignore[operator]
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_copied_pickled_saved_and_cast(kind: Any, seeded: int, train: Any) -> None:
    layer = train(lambda: kind(6, 4), torch.float32).eval()  # power iteration rests
    x = torch.randn(3, 6)
    loaded = kind(6, 4).eval()
    loaded.load_state_dict(layer.state_dict())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    others = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded]
    for other in [*others, torch.load(file, weights_only=False)]:
        assert torch.equal(other(x), layer(x))
        assert folded(other).stability(L2) == folded(layer).stability(L2)
        other.fold()
        assert isinstance(layer.parametrizations, nn.ModuleDict)  # the original is left alone
    plain = folded(layer)
    assert set(plain.state_dict()) == {"weight", "bias"}
    assert plain.weight.dtype == torch.float64
    torch.testing.assert_close(plain(x.double()), layer(x).double(), rtol=1e-4, atol=1e-5)
    again = folded(kind(6, 4))
    again.load_state_dict(plain.state_dict())
    assert torch.equal(again(x.double()), plain(x.double()))
    with torch.no_grad():
        copied = copy.deepcopy(layer).double()
        torch.testing.assert_close(copied(x.double()), plain(x.double()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind: Any, seeded: int) -> None:
    layer = kind(3, 3).double().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    # not where training begins, which may be at a kink: products of orthogonal columns are 0
    values = [(p + 0.3 * torch.randn_like(p)).detach().requires_grad_() for p in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def outputs(*tensors: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(layer, dict(zip(names, tensors, strict=True)), x)
        return made

    if kind is not BjorckLinear:  # whose scale is taken for a constant
        assert torch.autograd.gradcheck(outputs, tuple(values))
    outputs(*values).square().sum().backward()
    assert all(bool(torch.isfinite(v.grad).all()) for v in values if v.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_compile_whole(kind: Any, seeded: int) -> None:
    # without a compiler of C++: the graph is traced in one piece, and run as it is
    layer, x = kind(6, 4).eval(), torch.randn(3, 6)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("kind", [*KINDS, LinfLinear])
def test_bad_gains(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"gain has shape \(3,\), but the layer has 6 inputs"):
        kind(6, 4, gain=torch.ones(3))
