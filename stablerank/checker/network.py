"""The network of a model file: boxes, differences of logits, and constants, in float64 outward.

Facts N1, N3 and N4. All is about the exact function that the file's weights describe: what the
evaluation here rounds is charged, so that ends are below and above exact numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.model_file import Model
from stablerank.checker.rounding import TINY, Array, U, down, gamma, sum_up, times_up, up

_GROUPS = {"maxmin": 2, "groupsort": 4, "abs": 1, "relu": 1}


@dataclass(frozen=True, eq=False)
class Affine:
    """x ↦ Wx + b."""

    weight: Array
    bias: Array

    def box(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """W c + b ± |W| r, c the centre of the box and r its radius, and what was rounded."""
        center, radius = middle(lower, upper)
        absolute, share = np.abs(self.weight), gamma(len(center) + 8)
        value = self.weight @ center + self.bias
        spread = absolute @ (radius + share * np.abs(center)) + share * np.abs(self.bias)
        spread = spread * (1 + gamma(2 * len(center) + 16)) + TINY
        return down(value - spread), up(value + spread)


@dataclass(frozen=True, eq=False)
class Kinks:
    """An activation: sorts groups, or takes absolute values or positive parts."""

    name: str

    def box(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Exact: comparisons do not round, and order statistics are monotone."""
        if self.name == "relu":
            return np.maximum(lower, 0), np.maximum(upper, 0)
        if self.name == "abs":
            return np.maximum(0, np.maximum(lower, -upper)), np.maximum(-lower, upper)
        size = _GROUPS[self.name]
        ends = [-np.sort(-end.reshape(-1, size), axis=1).ravel() for end in (lower, upper)]
        return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class Distances:
    """x ↦ ‖x − w_j‖∞ + b_j."""

    weight: Array
    bias: Array

    def box(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """The distances of the nearest and of the farthest point."""
        above = down(lower - self.weight), up(upper - self.weight)
        nearest = np.maximum(0, np.maximum(above[0], -above[1])).max(axis=1)
        farthest = np.maximum(-above[0], above[1]).max(axis=1)
        return down(nearest + self.bias), up(farthest + self.bias)


@dataclass(frozen=True, eq=False)
class Network:
    """Standardisation, layers, and an affine head.

    Attributes
    ----------
    center, factor : ndarray of shape (n_features,)
        The input is (x − center)·factor.
    layers : tuple
        Up to the features.
    head : Affine
        From features to logits.
    """

    center: Array
    factor: Array
    layers: tuple[Affine | Kinks | Distances, ...]
    head: Affine

    def standardized(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """The ends of the standardised vectors."""
        return (
            down(down(lower - self.center) * self.factor) - TINY,
            up(up(upper - self.center) * self.factor) + TINY,
        )

    def boxes(self, lower: Array, upper: Array) -> list[tuple[Array, Array]]:
        """The box of the vectors to those before each layer, and of the features at the end."""
        found = [self.standardized(lower, upper)]
        for layer in self.layers:
            found.append(layer.box(*found[-1]))
        return found

    def gaps(self, features: tuple[Array, Array], top: int) -> tuple[Array, Array]:
        """The least and the largest z_top − z_j over a box of features; 0 for `top` itself."""
        rows = self.head.weight[top] - self.head.weight
        shifts = self.head.bias[top] - self.head.bias
        lower, upper = Affine(rows, shifts).box(*features)
        # each difference of weights and biases is off by a rounding of its own
        reach = np.maximum(-features[0], features[1])
        lost = (np.abs(rows) @ reach + np.abs(shifts)) * (2 * U) * (1 + gamma(len(reach) + 8))
        lower, upper = down(lower - lost), up(upper + lost)
        lower[top] = upper[top] = 0.0
        return lower, upper

    def constant(self, coordinates: Array) -> float:
        """How far the features move in ℓ∞, when coordinate i of the vector moves by its own number.

        Products of the largest ℓ1 norms of rows, summed exactly and rounded up (N1).
        """
        product = float(np.max(times_up(coordinates, self.factor)))
        for layer in self.layers:
            if isinstance(layer, Affine):
                norm = max(sum_up(np.abs(row)) for row in layer.weight)
                product = float(times_up(product, norm))
        return product

    def steepness(self, top: int) -> Array:
        """‖w_top − w_j‖₁ for every j, rounded up (N3)."""
        rows = self.head.weight
        return np.array([sum_up(up(np.abs(rows[top] - row))) for row in rows])


def read_network(model: Model) -> Network:
    """The network of a model file.

    Raises
    ------
    ClaimError
        For layers that are not known here, and for tensors that do not fit together.
    """
    kinds = ("linf", "free", "linf-distance")
    if model.layer not in kinds or model.activation not in _GROUPS:
        raise NotChecked("network", f"{model.layer!r}, {model.activation!r} is not known here")
    tensors, layers = dict(model.tensors), list[Affine | Kinks | Distances]()
    try:
        center, factor = tensors.pop("standardize.center"), tensors.pop("standardize.factor")
        step = 1 if model.layer == "linf-distance" else 2
        for i in range(model.hidden):
            own = tensors.pop(f"body.{step * i}.weight"), tensors.pop(f"body.{step * i}.bias")
            if step == 1:
                layers.append(Distances(*own))
            else:
                layers += [Affine(*own), Kinks(model.activation)]
        head = Affine(tensors.pop("head.weight"), tensors.pop("head.bias"))
    except KeyError as missing:
        raise ClaimError("network", f"the tensor {missing} is missing") from missing
    affine = [layer for layer in [*layers, head] if not isinstance(layer, Kinks)]
    widths = [len(center), *(len(layer.weight) for layer in affine)]
    for (n_in, n_out), layer in zip(itertools.pairwise(widths), affine, strict=True):
        groups = _GROUPS[model.activation] if layer is not head and step == 2 else 1
        if layer.weight.shape != (n_out, n_in) or layer.bias.shape != (n_out,) or n_out % groups:
            raise ClaimError("network", "its tensors do not fit together")
    if tensors or factor.shape != center.shape or (factor < 0).any():
        raise ClaimError("network", "its tensors are not those of a network")
    if len(head.weight) != len(model.classes):
        raise ClaimError("network", "it has not one logit a class")
    return Network(center, factor, tuple(layers), head)


def middle(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Centre and radius of boxes that hold those given, whatever was rounded."""
    center = lower / 2 + upper / 2
    return center, up(np.maximum(center - lower, upper - center))
