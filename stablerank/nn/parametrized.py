"""Layers whose weights are constrained while they are trained, and plain once they are folded.

The constraint is a parametrization of torch: what is trained are free numbers, and the layer's
tensor is computed from them. Constraints hold up to rounding, and some of them only nearly; so no
constant rests on them. A layer is folded into the plain float64 tensor that predicts, and its
constant is that of those very bits (N5).
"""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.affine import linear_bound, linear_bounds, linear_rounding
from stablerank.stability import LINF, Bound, Space


class Parametrized(nn.Module):
    """Shared by layers with parametrized tensors: they fold, and are pickled and copied."""

    def fold(self) -> None:
        """Replace every parametrization by the tensor that it makes."""
        if parametrize.is_parametrized(self):
            parametrizations = cast(nn.ModuleDict, self.parametrizations)
            for name in list(parametrizations):
                parametrize.remove_parametrizations(self, name, leave_parametrized=True)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by its attributes: torch refuses to pickle parametrized layers."""
        kind = parametrize.type_before_parametrizations(self)
        return _unpickled, (kind, self.__dict__.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """As pickled. Copies by torch share one class, and folding one takes it from the others."""
        rebuild, arguments = self.__reduce_ex__(4)
        return rebuild(*copy.deepcopy(arguments, memo))


class ParametrizedLinear(Parametrized, nn.Linear):
    """An affine layer with a constraint on its weight; subclasses say which.

    Parameters
    ----------
    in_features, out_features : int
        Sizes.
    bias : bool, default=True
        Whether a constant is added.
    gain : Tensor of shape (in_features,), optional
        How much the inputs vary: where initial weights can be, they are drawn in proportion.

    Raises
    ------
    ValueError
        If there is not one gain an input.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, gain: Tensor | None = None
    ) -> None:
        super().__init__(in_features, out_features, bias)
        if gain is not None and gain.shape != (in_features,):
            raise ValueError(
                f"gain has shape {tuple(gain.shape)}, but the layer has {in_features} inputs: "
                f"expected one number an input."
            )
        self.draw(gain)
        self.constrain()

    def draw(self, gain: Tensor | None) -> None:
        """Draw the initial weight, and set the bias to 0: orthonormal rows, or columns if fewer."""
        draw_orthonormal(self.weight, gain)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def constrain(self) -> None:
        """Register the parametrization."""
        raise NotImplementedError

    def stability(self, source: Space = LINF) -> Bound:
        """The constant of the weight at hand, in ℓ∞ or ℓ2; see :func:`linear_bound`."""
        return linear_bound(self, source)

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :func:`linear_rounding`."""
        return linear_rounding(self, magnitude, error)

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """See :func:`~stablerank.nn.affine.linear_bounds`."""
        return linear_bounds(self, lower, upper, rounding)


def draw_orthonormal(weight: Tensor, gain: Tensor | None = None) -> None:
    """Draw orthonormal rows that lean towards inputs of large `gain`, or orthonormal columns.

    Parameters
    ----------
    weight : Tensor of shape (n_out, n_in)
        Overwritten.
    gain : Tensor of shape (n_in,), optional
        Used for rows, if there are at most as many as inputs.
    """
    with torch.no_grad():
        drawn = torch.randn_like(weight)
        wide = weight.shape[0] <= weight.shape[1]
        if gain is not None and wide:
            drawn = drawn * gain.to(drawn)
        rows = torch.linalg.qr(drawn.T if wide else drawn).Q
        weight.copy_(rows.T if wide else rows)


def _unpickled(kind: type[nn.Module], attributes: dict[str, Any]) -> nn.Module:
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    for name in attributes["_modules"].get("parametrizations", ()):
        # of the class that reads the tensor from parametrizations; in place of these come those
        layer.register_parameter(name, nn.Parameter(torch.zeros(1, 1)))
        parametrize.register_parametrization(layer, name, nn.Identity())
    layer.__dict__.update(attributes)
    return layer
