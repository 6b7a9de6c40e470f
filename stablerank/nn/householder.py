"""The Householder activation: pairs are reflected into a learned half-plane (fact N1)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.affine import UNDERFLOW, gamma, require_float64
from stablerank.nn.parametrized import Parametrized
from stablerank.nn.relaxation import Relaxation, residual
from stablerank.stability import L2, LINF, Bound, Space, StabilityError


class UnitDirections(nn.Module):
    """Parametrization of unit vectors of the plane by angles θ: (sin θ/2, −cos θ/2)."""

    def forward(self, angles: Tensor) -> Tensor:
        """Directions of shape (n, 2) for angles of shape (n,)."""
        return torch.stack([torch.sin(angles / 2), -torch.cos(angles / 2)], dim=-1)

    def right_inverse(self, directions: Tensor) -> Tensor:
        """The angles, between −2π and 2π."""
        return 2 * torch.atan2(directions[:, 0], -directions[:, 1])


class Householder(Parametrized):
    """Reflects neighbouring pairs z into half-planes: z if v·z > 0, else z − 2(v·z)v [1]_.

    Continuous, and an isometry on each side of the line v·z = 0; v = (sin θ/2, −cos θ/2) with a
    learned θ for each pair. It begins as MaxMin, with θ = π/2: v = (1, −1)/√2.

    Parameters
    ----------
    n_features : int
        Length of the vectors, even.

    Raises
    ------
    ValueError
        If it is not a positive even integer.

    Notes
    -----
    For the floats v of a folded layer, whose length is not quite 1, the pieces are I and
    I − 2vvᵀ: the constant in ℓ2 is max(1, 2‖v‖² − 1), and in ℓ∞ that of their rows, up to √2.

    References
    ----------
    .. [1] Singla, Singla, Feizi (2022), "Improved deterministic l2 robustness on CIFAR-10 and
       CIFAR-100", ICLR.

    Examples
    --------
    >>> Householder(4)(torch.tensor([[1.0, 3.0, 5.0, 4.0]])).round(decimals=4)
    tensor([[3., 1., 5., 4.]], grad_fn=<RoundBackward1>)
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        whole = isinstance(n_features, int) and not isinstance(n_features, bool)
        if not whole or n_features < 2 or n_features % 2:
            raise ValueError(f"n_features={n_features!r}: expected an even integer >= 2.")
        directions = torch.tensor([[1.0, -1.0]]).repeat(n_features // 2, 1) / math.sqrt(2)
        self.direction = nn.Parameter(directions)
        parametrize.register_parametrization(self, "direction", UnitDirections(), unsafe=True)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, (..., n_features)."""
        if x.shape[-1] != 2 * len(self.direction):
            raise ValueError(
                f"The input has shape {tuple(x.shape)}, but Householder has {len(self.direction)} "
                f"pairs: expected {2 * len(self.direction)} coordinates."
            )
        return self._reflect(x.unflatten(-1, (-1, 2))).flatten(-2)

    def _reflect(self, pairs: Tensor) -> Tensor:
        direction = self.direction
        behind = (pairs * direction).sum(dim=-1, keepdim=True).clamp_max(0)
        reflected: Tensor = pairs - 2 * behind * direction
        return reflected

    def stability(self, source: Space = LINF) -> Bound:
        """The largest over the pairs, from the directions as they are, rounded up."""
        v = self.direction.detach().double().cpu().numpy()
        squares = (v * v).sum(axis=1) * (1 + gamma(8))
        if source == L2:
            constant, theorem = 2 * squares - 1, "N1: reflections, 2‖v‖² − 1"
        elif source == LINF:
            rows = np.abs(1 - 2 * v * v) + 2 * np.abs(v[:, :1] * v[:, 1:])
            constant, theorem = rows.max(axis=1) + gamma(8) * 8, "N1: rows of reflections"
        else:
            raise StabilityError(f"Householder knows its constant in ℓ∞ and ℓ2, not from {source}.")
        largest = max(1.0, float(np.nextafter(constant.max(), np.inf)))
        return Bound(source, source, largest, theorem, "Householder")

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of v·z, of twice it times v, and of the difference; see :meth:`_share`."""
        require_float64(self, self.direction)
        constant = self.stability(LINF).constant
        computed = (magnitude + error) * (1 + 1e-12)
        own = self._share() * computed + UNDERFLOW
        return constant * magnitude * (1 + 1e-12), (constant * error + own) * (1 + 1e-12)

    def _share(self) -> float:
        """The rounding of an output, relative to the largest input A of its pair.

        With a = |v_1| + |v_2| and c the larger of the two, |v·z| <= aA is off by γ_4 aA, twice it
        times v_i by γ_4 4acA, and the difference of numbers below A and 2acA by u (1 + 2ac) A.
        """
        v = self.direction.detach().abs()
        product = float((v.sum(dim=1) * v.amax(dim=1)).max())
        return gamma(8) * (1 + 6 * product)

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """The extremes over the corners of each pair's rectangle, and where a line crosses edges.

        An output is linear on each side of the line v·z = 0, so that it is least and largest at
        one of these. Crossings that are rounded are off by 4u A, A the largest input of the pair,
        and outputs there by 1 + 2ac times that, and their own rounding; see :meth:`_share`.
        """
        low, high = lower.unflatten(-1, (-1, 2)), upper.unflatten(-1, (-1, 2))
        v = self.direction
        safe = torch.where(v == 0, 1.0, v)  # a line along an edge does not cross it
        points = [
            torch.stack([first[..., 0], second[..., 1]], dim=-1)
            for first in (low, high)
            for second in (low, high)
        ]
        for end in (low, high):
            # on the edge z_i = end_i the line is at z_j = −v_i end_i / v_j
            across = -(v * end) / safe.flip(-1)
            for i in (0, 1):
                j = 1 - i
                other = across[..., i].nan_to_num().maximum(low[..., j]).minimum(high[..., j])
                pair = [end[..., 0], other] if i == 0 else [other, end[..., 1]]
                points.append(torch.stack(pair, dim=-1))
        values = torch.stack([self._reflect(point) for point in points])
        least, largest = values.amin(dim=0), values.amax(dim=0)
        if rounding:
            require_float64(self, self.direction)
            reach = torch.maximum(low.abs(), high.abs()).amax(dim=-1, keepdim=True)
            allowed = 3 * self._share() * reach + UNDERFLOW
            least, largest = least - allowed, largest + allowed
        return least.flatten(-2), largest.flatten(-2)

    def relaxations(self, lower: Tensor, upper: Tensor) -> list[Relaxation]:
        """Z + 2 max(−v·z, 0) v; see :func:`~stablerank.nn.relaxation.residual`."""
        pairs, n = len(self.direction), 2 * len(self.direction)
        rows = self.direction.new_zeros(pairs, n)
        rows[:, 0::2] = torch.diag(self.direction[:, 0])
        rows[:, 1::2] = torch.diag(self.direction[:, 1])
        return residual(lower, upper, -rows, None, 2 * rows.T)

    def extra_repr(self) -> str:
        """Size."""
        return f"n_features={2 * len(self.direction)}"
