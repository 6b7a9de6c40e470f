"""Activations: 1-Lipschitz in ℓ∞ and ℓ2, without any rounding, and no gradient norm is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stablerank.nn import Abs, GroupSort, MaxMin
from stablerank.nn.activations import _OneLipschitz
from stablerank.stability import HAUSDORFF, L2, LINF, StabilityError

ACTIVATIONS: dict[str, _OneLipschitz] = {
    "MaxMin": MaxMin(),
    "GroupSort(1)": GroupSort(1),
    "GroupSort(3)": GroupSort(3),
    "GroupSort(4)": GroupSort(4),
    "GroupSort(12)": GroupSort(12),
    "Abs": Abs(),
}


# Closed form.


def test_pairs_and_groups_by_hand() -> None:
    x = torch.tensor([1.0, 3.0, 5.0, 4.0])
    assert MaxMin()(x).tolist() == [3, 1, 5, 4]
    assert GroupSort(4)(x).tolist() == [5, 4, 3, 1]
    assert GroupSort(1)(x).tolist() == [1, 3, 5, 4]
    assert Abs()(torch.tensor([-2.0, 0.0, 1.5])).tolist() == [2, 0, 1.5]


# The law.

Activation = Callable[[Tensor], Tensor]


def is_stretched(activation: Activation, ord_: float, seed: int, dtype: torch.dtype) -> bool:
    """Whether some pair of inputs is moved apart, in rational arithmetic on the bits."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(200, 12)) * np.exp(rng.uniform(-20, 20, size=(200, 1)))
    near = rng.choice([1e-7, 1.0], size=(200, 1)) * np.abs(a).max(axis=1, keepdims=True)
    b = a + near * rng.normal(size=a.shape)
    b[:50] = a[:50] + near[:50]  # all coordinates alike: nothing changes places
    x, y = torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)
    fx, fy = activation(x), activation(y)

    def size(u: Tensor, v: Tensor) -> Fraction:
        both = zip(u.tolist(), v.tolist(), strict=True)
        moves = [abs(Fraction(s) - Fraction(t)) for s, t in both]
        return max(moves) if ord_ == np.inf else sum((m * m for m in moves), Fraction(0))

    return any(size(fx[i], fy[i]) > size(x[i], y[i]) for i in range(len(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ord_", [2, np.inf])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_nothing_is_moved_apart(
    activation: nn.Module, ord_: float, dtype: torch.dtype, seed: int
) -> None:
    assert not is_stretched(activation, ord_, seed, dtype)


BROKEN: dict[str, Activation] = {
    "a millionth too steep": lambda x: MaxMin()(x) * (1 + 1e-6),
    "max and sum": lambda x: torch.stack(
        [x[..., ::2].maximum(x[..., 1::2]), x[..., ::2] + x[..., 1::2]], -1
    ).flatten(-2),
    "sorted by size, not value": lambda x: x.gather(-1, x.abs().sort(dim=-1).indices),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("ord_", [2, np.inf])
def test_the_law_above_can_fail(broken: Activation, ord_: float, seed: int) -> None:
    assert is_stretched(broken, ord_, seed, torch.float64)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_jacobians_are_signed_permutations(activation: nn.Module, seed: int) -> None:
    # so gradients keep every norm on their way back
    x = torch.tensor(np.random.default_rng(seed).normal(size=12))
    jacobian = torch.autograd.functional.jacobian(activation, x)
    assert torch.equal(jacobian.abs().sum(0), torch.ones(12, dtype=torch.float64))
    assert torch.equal(jacobian.abs().sum(1), torch.ones(12, dtype=torch.float64))
    assert set(jacobian.unique().tolist()) <= {-1.0, 0.0, 1.0}


# A slow reference.


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_groups_are_sorted_as_python_sorts(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(5, 7, 12)).astype(float)  # with ties
    found = GroupSort(size)(torch.tensor(x))
    assert found.shape == x.shape
    for row, outputs in zip(x.reshape(-1, 12), found.reshape(-1, 12).tolist(), strict=True):
        groups = [sorted(row[i : i + size], reverse=True) for i in range(0, 12, size)]
        assert outputs == [value for group in groups for value in group]


# The contract.


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_what_activations_say_of_themselves(activation: Any) -> None:
    for space in (LINF, L2):
        bound = activation.stability(space)
        assert (bound.source, bound.target, bound.constant) == (space, space, 1.0)
        assert bound.stage == type(activation).__name__
    assert activation.stability() == activation.stability(LINF)
    magnitude, error = np.array([3.0]), np.array([1e-9])
    assert activation.rounding(magnitude, error) == (magnitude, error)
    activation.fold()
    assert list(activation.parameters()) == []


def test_inputs_are_not_overwritten_and_ties_have_gradients() -> None:
    x = torch.ones(2, 4, requires_grad=True)
    for activation in (MaxMin(), GroupSort(4), Abs()):
        outputs = activation(x)
        (gradient,) = torch.autograd.grad(outputs.sum(), x)
        assert torch.equal(gradient, torch.ones(2, 4))
        assert torch.equal(x, torch.ones(2, 4))


def test_nan_is_passed_on() -> None:
    x = torch.tensor([float("nan"), 1.0])
    assert MaxMin()(x).isnan().all()
    assert GroupSort(1)(x).isnan().any()
    assert Abs()(x).isnan().any()


# Errors.


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_activations_know_no_constant_between_points(activation: Any) -> None:
    with pytest.raises(StabilityError, match="1-Lipschitz in ℓ∞ and ℓ2, not points"):
        activation.stability(HAUSDORFF)


def test_odd_widths_are_refused() -> None:
    message = "GroupSort(group_size=2) got 3 coordinates: their number has to be a multiple"
    with pytest.raises(ValueError, match=re.escape(message)):
        MaxMin()(torch.zeros(1, 3))


@pytest.mark.parametrize("size", [0, -2, 2.0, True, "2"])
def test_group_sizes_that_are_none(size: Any) -> None:
    # 2.5 used to pass here, and to fail later inside of torch.
    with pytest.raises(ValueError, match="expected an integer >= 1"):
        GroupSort(size)


def test_reprs() -> None:
    assert repr(GroupSort(4)) == "GroupSort(group_size=4)"
