"""Activations that are 1-Lipschitz in every ℓp norm and lose no gradient norm (fact N1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.stability import L2, LINF, Bound, Space, StabilityError


class _OneLipschitz(nn.Module):
    """Shared by the activations: constant 1, exact in floating point, ℓ∞ norm not increased."""

    def stability(self, source: Space = LINF) -> Bound:
        """1, from ℓ∞ to ℓ∞ and from ℓ2 to ℓ2."""
        if source not in (LINF, L2):
            raise StabilityError(
                f"{type(self).__name__} is 1-Lipschitz in ℓ∞ and ℓ2, not {source}."
            )
        return Bound(source, source, 1.0, "N1: 1-Lipschitz activation", type(self).__name__)

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Comparisons and changes of sign do not round."""
        return magnitude, error

    def fold(self) -> None:
        """Nothing to fold."""


class GroupSort(_OneLipschitz):
    """Sorts within groups of neighbouring coordinates, largest first.

    Parameters
    ----------
    group_size : int, default=2
        Has to divide the number of coordinates. 2 is MaxMin.

    References
    ----------
    .. [1] Anil, Lucas, Grosse (2019), "Sorting out Lipschitz function approximation", ICML.

    Examples
    --------
    >>> GroupSort(2)(torch.tensor([1.0, 3.0, 5.0, 4.0]))
    tensor([3., 1., 5., 4.])
    """

    def __init__(self, group_size: int = 2) -> None:
        super().__init__()
        if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 1:
            raise ValueError(f"group_size={group_size!r}: expected an integer >= 1.")
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """Sorted within groups along the last axis; the same shape."""
        if x.shape[-1] % self.group_size:
            raise ValueError(
                f"GroupSort(group_size={self.group_size}) got {x.shape[-1]} coordinates: their "
                f"number has to be a multiple of the group size."
            )
        groups: Tensor = x.unflatten(-1, (-1, self.group_size))
        if self.group_size == 2:  # several times faster than a sort
            first, second = groups.unbind(-1)
            return torch.stack(
                [torch.maximum(first, second), torch.minimum(first, second)], -1
            ).flatten(-2)
        in_order: Tensor = groups.sort(dim=-1, descending=True).values
        return in_order.flatten(-2)

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """The sorted lower and the sorted upper ends: each order statistic is monotone."""
        return self(lower), self(upper)

    def extra_repr(self) -> str:
        """The group size."""
        return f"group_size={self.group_size}"


class MaxMin(GroupSort):
    """GroupSort in pairs: (a, b) ↦ (max(a, b), min(a, b))."""

    def __init__(self) -> None:
        super().__init__(2)


class Abs(_OneLipschitz):
    """The absolute value of each coordinate.

    Examples
    --------
    >>> Abs()(torch.tensor([-2.0, 1.0]))
    tensor([2., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Absolute values, of the same shape."""
        return x.abs()

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """The distances of 0 to the nearest and to the farthest point of each interval."""
        return torch.maximum(lower, -upper).clamp_min(0), torch.maximum(-lower, upper)
