"""Margins over boxes: how far the predicted class stays ahead, for any network of known layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.activations import Abs, GroupSort, MaxMin
from stablerank.nn.architecture import AFFINE
from stablerank.nn.householder import Householder
from stablerank.nn.linf import LinfDistance, Standardize
from stablerank.nn.network import certified_layers, layer_bounds
from stablerank.nn.relaxation import (
    Affine,
    Between,
    Diagonal,
    Distance,
    Rectified,
    Relaxation,
    margins_from_below,
    sorting_network,
)
from stablerank.nn.residual import ConvexPotential, SDPResidual
from stablerank.nn.sortnet import SortNet

_NUMBERS_AT_ONCE = 2**20  # 8 MB stay in the cache: twice as fast as one batch


def margin_bounds(
    network: nn.Module,
    lower: Any,
    upper: Any,
    predicted: Any,
    method: Literal["interval", "linear"] = "linear",
) -> NDArray[np.float64]:
    """Lower bounds of min_{j≠t} (z_t − z_j) over boxes, of the logits as computed in float64.

    Parameters
    ----------
    network : nn.Module
        A folded :class:`~stablerank.nn.StableRankNetwork`, or an ``nn.Sequential`` of known layers
        (nested ones too) in float64: those of stablerank.nn, ``nn.Linear``, ``nn.ReLU``,
        ``nn.Identity``, and any with a method ``bounds(lower, upper, rounding=True)``.
    lower, upper : array-like of shape (n, n_features)
        The ends of the boxes.
    predicted : array-like of shape (n,)
        Class indices t.
    method : {"interval", "linear"}, default="linear"
        Interval propagation, or linear relaxation (N4), which is never below it; the last layer
        is taken as differences of logits in both.

    Returns
    -------
    ndarray of shape (n,), float64
        Never NaN; −∞ where a box is NaN, infinite, or so large that numbers overflow. A class that
        is certified has a bound above 0.

    Raises
    ------
    ValueError
        If shapes do not fit, an end is on the wrong side, or a class is out of range.
    StabilityError
        If a layer is unknown or has hooks, or the weights are not float64.

    Examples
    --------
    Two logits that rise together, max(x + 3, 0) and max(x + 2, 0), are 1 apart for x in [0, 2].
    Intervals take the least of one and the largest of the other, 3 − 4.

    >>> network = nn.Sequential(nn.Linear(1, 2), nn.ReLU()).double()
    >>> _ = network[0].weight.data.fill_(1.0)
    >>> _ = network[0].bias.data.copy_(torch.tensor([3.0, 2.0]))
    >>> margin_bounds(network, [[0.0]], [[2.0]], [0], method="interval").round(6)
    array([-1.])
    >>> margin_bounds(network, [[0.0]], [[2.0]], [0], method="linear").round(6)
    array([1.])
    """
    if method not in ("interval", "linear"):
        raise ValueError(f'method={method!r}: expected "interval" or "linear".')
    lower, upper = check_boxes(lower, upper)
    classes = torch.from_numpy(np.asarray(predicted, dtype=np.int64).copy())
    if classes.shape != lower.shape[:1]:
        raise ValueError(
            f"predicted has shape {tuple(classes.shape)}, but there are {len(lower)} boxes: "
            f"expected one class index a box."
        )
    layers = certified_layers(network)
    with torch.no_grad():
        rows = max(1, _NUMBERS_AT_ONCE // _numbers_a_row(layers, lower.shape[1]))
        boxes = zip(lower.split(rows), upper.split(rows), classes.split(rows), strict=True)
        found = [_margins(layers, *box, method) for box in boxes]
    return np.asarray(torch.cat(found).numpy(), dtype=np.float64)


def layer_relaxations(
    layer: nn.Module, lower: Tensor, upper: Tensor, outputs: tuple[Tensor, Tensor]
) -> list[Relaxation]:
    """The linear relaxations of a layer, one after the other.

    Parameters
    ----------
    layer : nn.Module
        The layer. One that is only known by its `bounds` is bounded by constants.
    lower, upper : Tensor of shape (n, n_in), float64
        The box of its inputs.
    outputs : tuple of two Tensors of shape (n, n_out)
        The box of its outputs, from :func:`~stablerank.nn.network.layer_bounds`.

    Returns
    -------
    list of Relaxation
    """
    own: Any = layer
    kind = parametrize.type_before_parametrizations(layer)  # subclasses may compute anything
    if kind in AFFINE:
        return [Affine(lower, upper, own.weight, own.bias)]
    if kind is Standardize:
        return [Diagonal(lower, upper, own.center, own.factor)]
    if kind in (MaxMin, GroupSort):
        return sorting_network(lower, upper, own.group_size)
    if kind is nn.ReLU:
        return [Rectified(lower, upper, 0.0, 1.0)]
    if kind is Abs:
        return [Rectified(lower, upper, -1.0, 2.0)]
    if kind is LinfDistance and own.p == math.inf:
        return [Distance(lower, upper, own.weight, own.bias, outputs[1])]
    if kind in (SDPResidual, ConvexPotential, Householder):
        return list(own.relaxations(lower, upper))
    if kind is nn.Identity:
        return []
    return [Between(lower, upper, outputs)]


def check_boxes(lower: Any, upper: Any) -> tuple[Tensor, Tensor]:
    """The ends of boxes as float64 tensors of shape (n, n_features).

    Raises
    ------
    ValueError
        If shapes do not fit, or a lower end is above the upper one.
    """
    # copies, since torch takes no read-only arrays and none that run backwards
    ends = [torch.from_numpy(np.asarray(end, np.float64).copy()) for end in (lower, upper)]
    if ends[0].ndim != 2 or ends[0].shape != ends[1].shape:
        raise ValueError(
            f"lower has shape {tuple(ends[0].shape)} and upper {tuple(ends[1].shape)}: expected "
            f"(n, n_features) for both."
        )
    wrong = (ends[0] > ends[1]).nonzero()
    if len(wrong):
        i, j = wrong[0].tolist()
        raise ValueError(
            f"lower[{i}, {j}] is {ends[0][i, j].item()!r}, above upper[{i}, {j}] = "
            f"{ends[1][i, j].item()!r}: expected lower <= upper."
        )
    return ends[0], ends[1]


def _numbers_a_row(layers: Sequence[nn.Module], n_features: int) -> int:
    """Of the largest array that is held for each box."""
    own: list[Any] = [layer for layer in layers if hasattr(layer, "weight")]
    widths = [n_features, *(layer.weight.shape[0] for layer in own)]
    neurons = (LinfDistance, SortNet)
    distances = [layer.weight.numel() for layer in own if isinstance(layer, neurons)]
    return int(max(max(widths) * widths[-1], *distances, 1))


def _margins(
    layers: Sequence[nn.Module], lower: Tensor, upper: Tensor, predicted: Tensor, method: str
) -> Tensor:
    while layers and type(layers[0]) is Standardize:  # intervals are exact here
        lower, upper = layer_bounds(layers[0], lower, upper)
        layers = layers[1:]
    steps: list[Relaxation] = []
    for layer in layers:
        inputs = lower, upper
        lower, upper = layer_bounds(layer, lower, upper)
        steps += layer_relaxations(layer, *inputs, (lower, upper))
    if predicted.numel() and not bool(((predicted >= 0) & (predicted < lower.shape[1])).all()):
        raise ValueError(
            f"predicted has the class index {int(predicted.max())} or {int(predicted.min())}, but "
            f"there are {lower.shape[1]} logits: expected indices from 0."
        )
    last_is_affine = bool(steps) and isinstance(steps[-1], Affine)
    steps_back = len(steps) if method == "linear" else int(last_is_affine)
    return margins_from_below(steps, (lower, upper), predicted, steps_back)
