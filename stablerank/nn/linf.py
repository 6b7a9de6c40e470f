"""Layers that are Lipschitz from ℓ∞ to ℓ∞ (fact N1), with their rounding (N5) and boxes (N4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.affine import (
    UNDERFLOW,
    UNIT_ROUNDOFF,
    gamma,
    require_float64,
    require_linf,
    row_norms_upper,
)
from stablerank.nn.parametrized import ParametrizedLinear
from stablerank.stability import L2, LINF, Bound, Space


class RowsInL1Ball(nn.Module):
    """Parametrization of a matrix whose rows have ℓ1 norm at most 1, by Euclidean projection.

    The nearest point of the ball shrinks all entries of a row by one threshold, and so leaves
    sparse rows: a row of weight 1 on one coordinate passes that coordinate on undiminished.

    References
    ----------
    .. [1] Duchi, Shalev-Shwartz, Singer, Chandra (2008), "Efficient projections onto the ℓ1-ball
       for learning in high dimensions", ICML.
    .. [2] Michelot (1986), "A finite algorithm for finding the projection of a point onto the
       canonical simplex of R^n", Journal of Optimization Theory and Applications 50.

    Examples
    --------
    >>> RowsInL1Ball()(torch.tensor([[3.0, 2.5], [0.25, -0.5]]))
    tensor([[ 0.7500,  0.2500],
            [ 0.2500, -0.5000]])
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Project the rows of `weight`, shape (n_out, n_in)."""
        magnitudes = weight.abs()
        with torch.no_grad():
            kept = _surviving(magnitudes)
        # over the final set of entries the threshold is a formula, and has its gradient
        count = kept.sum(dim=1, keepdim=True).clamp_min(1)
        threshold = (((magnitudes * kept).sum(dim=1, keepdim=True) - 1) / count).clamp_min(0)
        return weight.sign() * (magnitudes - threshold).clamp_min(0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A matrix that is mapped to `weight`: itself, when its rows lie in the ball."""
        return weight


def _surviving(magnitudes: Tensor) -> Tensor:
    """Which entries a projection onto the ball leaves nonzero [2]: some passes, and no sort.

    The threshold that takes a row of the entries left so far to norm 1 only grows as entries fall
    below it, so the sets shrink until they stay, after a handful of passes.
    """
    kept = torch.ones_like(magnitudes, dtype=torch.bool)
    counts = kept.sum(dim=1, keepdim=True)
    while True:
        excess = (magnitudes * kept).sum(dim=1, keepdim=True) - 1
        kept = kept & (magnitudes > excess / counts.clamp_min(1))
        smaller = kept.sum(dim=1, keepdim=True)
        if torch.equal(smaller, counts):
            return kept
        counts = smaller


class LinfLinear(ParametrizedLinear):
    """Affine layer whose rows have ℓ1 norm at most 1: 1-Lipschitz from ℓ∞ to ℓ∞.

    Parameters
    ----------
    in_features, out_features : int
        Sizes.
    bias : bool, default=True
        Whether a constant is added.
    gain : Tensor of shape (in_features,), optional
        How much the inputs vary: initial weights are drawn in proportion, so that a coordinate
        that hardly moves does not use up the row.

    Notes
    -----
    ‖Wx − Wx′‖∞ <= max_i ‖w_i‖₁ ‖x − x′‖∞, with equality for x − x′ = ±sign(w_i). From ℓ2 to ℓ2 its
    constant is the spectral norm, which may be larger than 1.
    """

    def draw(self, gain: Tensor | None) -> None:
        """Rows of ℓ1 norm 1, in proportion to `gain`."""
        draw_in_l1_ball(self, gain)

    def constrain(self) -> None:
        """See :class:`RowsInL1Ball`."""
        parametrize.register_parametrization(self, "weight", RowsInL1Ball())

    def fold(self) -> None:
        """Replace the parametrization by the projected weights, in rows of norm at most 1.

        Rows that rounding left outside of the ball are shrunk by a few units in the last place, so
        that their exact ℓ1 norms, summed without rounding, are at most 1.
        """
        super().fold()
        with torch.no_grad():
            # in float64, since an upper bound rounded to float32 is none
            upper = torch.from_numpy(row_norms_upper(self.weight))
            below_one = 1 - 8 * torch.finfo(self.weight.dtype).eps
            shrink = torch.where(upper > 1, below_one / upper, 1.0)
            self.weight.mul_(shrink.to(self.weight).unsqueeze(1))


def draw_in_l1_ball(layer: nn.Linear, gain: Tensor | None = None) -> None:
    """Draw the weights, in proportion to `gain`, in rows of ℓ1 norm 1, and set the bias to 0."""
    with torch.no_grad():
        nn.init.normal_(layer.weight)
        if gain is not None:
            layer.weight.mul_(gain.to(layer.weight))
        layer.weight.div_(layer.weight.abs().sum(1, keepdim=True).clamp_min(1e-30))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class LinfDistance(nn.Module):
    """ℓ∞-distance neurons: z_j = ‖x − w_j‖∞ + b_j, 1-Lipschitz in ℓ∞ by the triangle inequality.

    Parameters
    ----------
    in_features, out_features : int
        Sizes.
    p : float, default=inf
        Norm in place of ℓ∞ while training, for denser gradients; its constant is
        in_features^{1/p}, and it is charged.

    References
    ----------
    .. [1] Zhang, Cai, Lu, He, Wang (2021), "Towards certifying ℓ∞ robustness using neural
       networks with ℓ∞-dist neurons", ICML.

    Examples
    --------
    >>> layer = LinfDistance(2, 1)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> layer(torch.tensor([[3.0, -4.0]]))
    tensor([[4.]], grad_fn=<AddBackward0>)
    """

    def __init__(self, in_features: int, out_features: int, p: float = math.inf) -> None:
        super().__init__()
        if not p >= 1:  # NaN fails this too
            raise ValueError(f"p={p!r} is not the exponent of a norm: expected 1 <= p <= inf.")
        self.p = float(p)
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Distances of x, shape (n, in_features), to the weights; shape (n, out_features)."""
        return self._norm(x.unsqueeze(1) - self.weight) + self.bias

    def _norm(self, differences: Tensor) -> Tensor:
        if self.p != math.inf:
            # powers of numbers <= 1 do not overflow, and those of small ones are not all lost
            largest = differences.detach().abs().amax(dim=-1, keepdim=True)
            scale = torch.where(largest > 0, largest, 1.0)
            norms = torch.linalg.vector_norm(differences / scale, ord=self.p, dim=-1)
            return scale.squeeze(-1) * norms
        distances: Tensor = torch.linalg.vector_norm(differences, ord=math.inf, dim=-1)
        return distances

    def stability(self, source: Space = LINF) -> Bound:
        """1 for p = ∞, in_features^{1/p} else."""
        require_linf(self, source)
        if self.p == math.inf:
            return Bound(LINF, LINF, 1.0, "N1: triangle inequality", "LinfDistance")
        constant = self.weight.shape[1] ** (1 / self.p) * (1 + 16 * UNIT_ROUNDOFF)
        return Bound(LINF, LINF, constant, "N1: ℓp ≤ n^(1/p) ℓ∞", "LinfDistance")

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One subtraction and one addition for p = ∞; for other p a power sum besides."""
        require_float64(self, self.weight)
        constant = self.stability().constant
        largest = float(self.weight.detach().abs().max())
        shift = float(self.bias.detach().abs().max())
        roundings = 4 if self.p == math.inf else self._roundings()
        reach = (constant * (magnitude + largest) + shift) * (1 + 1e-12)
        # inputs as computed are larger than the exact ones by `error` at most
        computed = reach + constant * error
        rounded = constant * error + gamma(roundings) * computed + UNDERFLOW
        return reach, rounded * (1 + 1e-12)

    def _roundings(self) -> float:
        """How many relative errors of one rounding the norm for a finite p may have."""
        return self.weight.shape[1] + 4 * self.p + 16

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """The distances of the box's nearest and farthest point; shape (n, out_features) each.

        With all coordinates of x between the ends, |x_i − w_i| is between the distances of w_i
        to the nearest and to the farthest point of its interval, and norms are monotone in them.
        For p = ∞ so is every operation in floating point, and the ends are computed by the very
        operations of :meth:`forward`: they hold what it computes, and no rounding is charged. For
        other p both norms carry the relative error of :meth:`rounding`.
        """
        if rounding:
            require_float64(self, self.weight)
        above_lower = lower.unsqueeze(1) - self.weight
        above_upper = upper.unsqueeze(1) - self.weight
        nearest = self._norm(torch.maximum(above_lower, -above_upper).clamp_min(0))
        farthest = self._norm(torch.maximum(-above_lower, above_upper))
        if rounding and self.p != math.inf:
            share = 3 * gamma(self._roundings())
            nearest = nearest * (1 - share) - UNDERFLOW
            farthest = farthest * (1 + share) + UNDERFLOW
        return nearest + self.bias, farthest + self.bias

    def fold(self) -> None:
        """Nothing to fold: the weights are free."""

    def extra_repr(self) -> str:
        """Sizes and norm."""
        return f"in={self.weight.shape[1]}, out={self.weight.shape[0]}, p={self.p:g}"


class Standardize(nn.Module):
    """(x − center) / scale, coordinate by coordinate: puts the inputs in the unit of the adversary.

    Dividing every coordinate by its own constant and by ε makes one unit of the network's ℓ∞
    input one ε of the adversary (R6).

    Parameters
    ----------
    center, scale : array-like of shape (n_features,)
        Finite, the scale positive. Fixed, not learned.
    """

    center: Tensor
    factor: Tensor

    def __init__(self, center: Any, scale: Any) -> None:
        super().__init__()
        # clones: nobody changes a network through the arrays that it was made of
        center = torch.as_tensor(center, dtype=torch.float64).detach().clone()
        scale = torch.as_tensor(scale, dtype=torch.float64).detach().clone()
        if center.ndim != 1 or center.shape != scale.shape:
            raise ValueError(
                f"center has shape {tuple(center.shape)} and scale {tuple(scale.shape)}: expected "
                f"(n_features,) for both."
            )
        for name, values, good, expected in (
            ("center", center, torch.isfinite(center), "finite numbers"),
            # a scale below the normal numbers has no finite inverse
            (
                "scale",
                scale,
                torch.isfinite(scale) & (scale > 0) & torch.isfinite(1 / scale),
                "finite numbers above 0, and above 1e-307",
            ),
        ):
            if not good.all():
                bad = int(torch.nonzero(~good)[0])
                raise ValueError(f"{name}[{bad}] is {float(values[bad])!r}: expected {expected}.")
        self.register_buffer("center", center)
        self.register_buffer("factor", 1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised inputs of the same shape, (..., n_features)."""
        if x.shape[-1:] != self.center.shape:
            raise ValueError(
                f"The input has shape {tuple(x.shape)}, but the network was made for vectors of "
                f"{self.center.numel()} features: expected (n, {self.center.numel()})."
            )
        return (x - self.center) * self.factor

    def stability(self, source: Space = LINF) -> Bound:
        """The factor of each coordinate, in ℓ∞ and in ℓ2."""
        if source != L2:
            require_linf(self, source)
        factors = self.factor.detach().double().cpu().numpy()
        return Bound.by_coordinate(
            source, factors, "diagonal map", stage="standardize", coordinatewise=True
        )

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two roundings a coordinate."""
        factor = float(self.factor.max())
        reach = (magnitude + float(self.center.abs().max())) * factor * (1 + 1e-12)
        # inputs as computed are larger than the exact ones by `error` at most
        computed = reach + factor * error
        return reach, (factor * error + gamma(3) * computed) * (1 + 1e-12) + UNDERFLOW

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """The standardised ends: in floating point too, both operations are monotone."""
        return self(lower), self(upper)

    def fold(self) -> None:
        """Nothing to fold."""

    def extra_repr(self) -> str:
        """Size."""
        return f"n_features={self.center.numel()}"
