"""What networks are made of, by name: layers, activations, heads, and the shapes of their state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from stablerank.nn.activations import Abs, GroupSort, MaxMin
from stablerank.nn.circular import CircularLinear
from stablerank.nn.householder import Householder
from stablerank.nn.linf import LinfDistance, LinfLinear, draw_in_l1_ball
from stablerank.nn.orthogonal import (
    BjorckLinear,
    BlockReflectorLinear,
    CayleyLinear,
    ExponentialLinear,
)
from stablerank.nn.rescaled import (
    AlmostOrthogonalLinear,
    GramLinear,
    SpectralLinear,
    UnitRowLinear,
)
from stablerank.nn.residual import ConvexPotential, SDPResidual
from stablerank.nn.sortnet import SortNet, order_weights

_GROUPS = {"maxmin": 2, "groupsort": 4, "abs": 1, "relu": 1, "householder": 2}
_AFFINE_IN_L2 = {
    "cayley": CayleyLinear,
    "exponential": ExponentialLinear,
    "bjorck": BjorckLinear,
    "bro": BlockReflectorLinear,
    "aol": AlmostOrthogonalLinear,
    "gram": GramLinear,
    "spectral": SpectralLinear,
}
_RESIDUAL = {"sll": SDPResidual, "cpl": ConvexPotential}
_NEURONS = {"linf-distance": LinfDistance, "sortnet": SortNet}

LAYERS = ("linf", *_NEURONS, *_AFFINE_IN_L2, *_RESIDUAL, "free")
IN_L2 = frozenset({*_AFFINE_IN_L2, *_RESIDUAL})
AFFINE = frozenset({nn.Linear, LinfLinear, UnitRowLinear, CircularLinear, *_AFFINE_IN_L2.values()})


def check_architecture(hidden: Any, layer: Any, activation: Any) -> None:
    """Raise unless these are widths, a kind of layer and an activation that fit together.

    Raises
    ------
    ValueError
        For unknown names, and for widths that are not multiples of the activation's group.
    """
    if not isinstance(activation, str) or activation not in _GROUPS:
        raise ValueError(f"activation={activation!r}: expected one of {sorted(_GROUPS)}.")
    if layer not in LAYERS:
        raise ValueError(f"layer={layer!r}: expected one of {list(LAYERS)}.")
    if isinstance(hidden, (str, bytes)) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden={hidden!r}: expected a tuple of widths, such as (128, 128).")
    group = 1 if layer in _NEURONS or layer in _RESIDUAL else _GROUPS[activation]
    if not all(is_integer(width) and width > 0 and width % group == 0 for width in hidden):
        raise ValueError(
            f"hidden={tuple(hidden)!r}: expected positive integers, multiples of {group} for "
            f"activation={activation!r}."
        )


def is_integer(value: Any) -> bool:
    """Whether it is an integer, of Python or NumPy, and no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def body_layers(
    n_features: int, hidden: Sequence[int], layer: str, activation: str, gain: Tensor | None
) -> list[nn.Module]:
    """From standardised vectors to features.

    Parameters
    ----------
    n_features, hidden, layer, activation
        Of :class:`~stablerank.nn.StableRankNetwork`, checked.
    gain : Tensor of shape (n_features,), optional
        How much the vectors vary, for initial weights.
    """
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise([n_features, *hidden])):
        own = gain if i == 0 else None
        if layer in _NEURONS:
            layers.append(_NEURONS[layer](n_in, n_out))
        elif layer in _RESIDUAL:
            if n_in != n_out:
                layers.append(CayleyLinear(n_in, n_out, gain=own))
            layers.append(_RESIDUAL[layer](n_out))
        else:
            layers += [_affine(layer, n_in, n_out, own), _activation(activation, n_out)]
    return layers


def head_layer(layer: str, n_in: int, n_classes: int, gain: Tensor | None) -> nn.Linear:
    """From features to logits: rows of ℓ1 norm at most 1, of ℓ2 norm 1 in ℓ2, or free."""
    if layer in IN_L2:
        return UnitRowLinear(n_in, n_classes, gain=gain)
    return _affine("free" if layer == "free" else "linf", n_in, n_classes, gain)


def state_shapes(
    n_features: int, hidden: Sequence[int], n_classes: int, layer: str, activation: str
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a folded network's state; nothing of that size is made."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("standardize.center", "standardize.factor"), (n_features,)
    )
    place, n_in = 0, n_features

    def put(**own: tuple[int, ...]) -> None:
        nonlocal place
        shapes.update({f"body.{place}.{name}": shape for name, shape in own.items()})
        place += 1

    for n_out in hidden:
        if layer == "sortnet":
            count = len(order_weights(n_in, SortNet.RHO))
            put(weight=(n_out, n_in), bias=(n_out,), order=(count,))
        elif layer in _RESIDUAL:
            if n_in != n_out:
                put(weight=(n_out, n_in), bias=(n_out,))
            put(weight=(n_out, n_out), bias=(n_out,))
        else:
            put(weight=(n_out, n_in), bias=(n_out,))
            if layer not in _NEURONS:
                put(**({"direction": (n_out // 2, 2)} if activation == "householder" else {}))
        n_in = n_out
    return {**shapes, "head.weight": (n_classes, n_in), "head.bias": (n_classes,)}


def _affine(kind: str, n_in: int, n_out: int, gain: Tensor | None) -> nn.Linear:
    if kind in _AFFINE_IN_L2:
        return _AFFINE_IN_L2[kind](n_in, n_out, gain=gain)
    if kind == "linf":
        return LinfLinear(n_in, n_out, gain=gain)
    if gain is not None and gain.shape != (n_in,):
        raise ValueError(
            f"gain has shape {tuple(gain.shape)}, but the layer has {n_in} inputs: expected one "
            f"number an input."
        )
    layer = nn.Linear(n_in, n_out)
    draw_in_l1_ball(layer, gain)  # boxes as wide as the input's, where training for boxes starts
    return layer


def _activation(name: str, width: int) -> nn.Module:
    if name == "householder":
        return Householder(width)
    return {"maxmin": MaxMin(), "groupsort": GroupSort(4), "abs": Abs(), "relu": nn.ReLU()}[name]
