"""SortNet neurons: weighted order statistics of distances, 1-Lipschitz in ℓ∞ (fact N1)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.nn.affine import UNDERFLOW, gamma, require_float64, require_linf, row_norms_upper
from stablerank.stability import LINF, Bound, Space, StabilityError

_TAIL = 1e-6


class SortNet(nn.Module):
    """z_j = Σ_i λ_i |x − w_j|_(i) + b_j, the distances sorted, the largest first [1]_.

    λ_i = (1 − ρ) ρ^(i−1) >= 0 falls geometrically and sums to 1: with ρ = 0 it is the largest
    distance alone, and the layer :class:`~stablerank.nn.LinfDistance`. Weights below the first
    10⁻⁶ of the sum are left out, and what is left of it goes to the last.

    Parameters
    ----------
    in_features, out_features : int
        Sizes.
    rho : float, default=0.3
        ρ, from 0 to below 1; 0.3 as in [1]_.

    Raises
    ------
    ValueError
        If ρ is out of range.

    Notes
    -----
    Sorting does not increase ℓ∞ distances, so neither does a sum with weights Σ|λ_i| <= 1. Unlike
    rows in the ℓ1 ball, such neurons represent any Boolean function, and so any 1-Lipschitz one in
    ℓ∞, in few layers [1]_. There, training estimates the sum by dropout and ℓp norms; here it is
    computed as it is.

    References
    ----------
    .. [1] Zhang, Jiang, He, Wang (2022), "Rethinking Lipschitz neural networks and certified
       robustness: a Boolean function perspective", NeurIPS.

    Examples
    --------
    Distances 4 and 3, the larger with weight ½, the other with what is left.

    >>> layer = SortNet(2, 1, rho=0.5)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> layer(torch.tensor([[3.0, -4.0]]))
    tensor([[3.5000]], grad_fn=<AddBackward0>)
    """

    RHO = 0.3
    order: Tensor

    def __init__(self, in_features: int, out_features: int, rho: float = RHO) -> None:
        super().__init__()
        if not 0 <= rho < 1:  # NaN fails this too
            raise ValueError(f"rho={rho!r}: expected a number from 0 to below 1.")
        self.rho = float(rho)
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.register_buffer("order", order_weights(in_features, self.rho).to(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, in_features) to (n, out_features)."""
        return self._sum((x.unsqueeze(1) - self.weight).abs()) + self.bias

    def _sum(self, distances: Tensor) -> Tensor:
        largest = distances.topk(len(self.order), dim=-1).values
        total: Tensor = (largest * self.order).sum(dim=-1)
        return total

    def stability(self, source: Space = LINF) -> Bound:
        """Σ|λ_i| of the weights as they are, rounded up."""
        require_linf(self, source)
        constant = float(row_norms_upper(self.order.unsqueeze(0))[0])
        return Bound(LINF, LINF, constant, "N1: sorting, and weights that sum to 1", "SortNet")

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A subtraction, a sum of products, and an addition."""
        require_float64(self, self.weight)
        constant = self.stability().constant
        largest = float(self.weight.detach().abs().max())
        shift = float(self.bias.detach().abs().max())
        reach = (constant * (magnitude + largest) + shift) * (1 + 1e-12)
        computed = reach + constant * error
        rounded = constant * error + gamma(len(self.order) + 8) * computed + UNDERFLOW
        return reach, rounded * (1 + 1e-12)

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """At the box's nearest and farthest point of each neuron; shape (n, out_features) each.

        Order statistics are monotone in each distance, and the weights are not negative.
        """
        if rounding:
            require_float64(self, self.weight)
            if bool((self.order < 0).any()):
                raise StabilityError("SortNet has negative weights, and its sums are not monotone.")
        above_lower = lower.unsqueeze(1) - self.weight
        above_upper = upper.unsqueeze(1) - self.weight
        nearest = self._sum(torch.maximum(above_lower, -above_upper).clamp_min(0))
        farthest = self._sum(torch.maximum(-above_lower, above_upper))
        if rounding:  # the order of the sum may be another one than in forward
            share = 3 * gamma(len(self.order) + 8)
            nearest = nearest * (1 - share) - UNDERFLOW
            farthest = farthest * (1 + share) + UNDERFLOW
        return nearest + self.bias, farthest + self.bias

    def fold(self) -> None:
        """The weights are free, and those of the order take the precision at hand."""
        self.order = order_weights(self.weight.shape[1], self.rho).to(self.weight)

    def extra_repr(self) -> str:
        """Sizes and ρ."""
        return f"in={self.weight.shape[1]}, out={self.weight.shape[0]}, rho={self.rho:g}"


def order_weights(n: int, rho: float) -> Tensor:
    """The λ of :class:`SortNet` for n distances, in float64; the last takes what is left of 1.

    Examples
    --------
    >>> order_weights(3, 0.5).tolist()
    [0.5, 0.25, 0.25]
    >>> order_weights(10**6, 0.1).numel()
    6
    """
    count = 1 if rho == 0 else math.ceil(math.log(_TAIL) / math.log(rho))
    weights = (1 - rho) * rho ** torch.arange(max(1, min(n, count)), dtype=torch.float64)
    weights[-1] = rho ** (len(weights) - 1)  # what is left of 1
    return weights
