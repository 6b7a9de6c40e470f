"""Residual layers x ↦ x − Vᵀ max(Vx + b, 0), 1-Lipschitz in ℓ2 as long as ‖V‖₂² <= 2 (N1).

Between any two inputs such a layer acts as I − VᵀΛV, Λ diagonal with entries between 0 and 1: the
slopes of max(·, 0) along the segment. VᵀΛV is positive semidefinite and at most VᵀV, so that

    −(‖V‖₂² − 1) I <= I − VᵀΛV <= I,

and the constant is max(1, ‖V‖₂² − 1), which is 1 if and only if ‖V‖₂² <= 2. The layers of the
literature differ in how V is scaled. They are written x − 2 Wᵀ T⁻¹ max(Wx + c, 0), T diagonal
and positive; since max(·, 0) is homogeneous, that is the above with V = √2 T^(−½) W and another
bias, and ‖V‖₂² <= 2 is T >= WWᵀ. Here V is what folds, predicts and is certified: no T is trusted.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.affine import (
    UNDERFLOW,
    UNIT_ROUNDOFF,
    affine_bounds,
    affine_rounding,
    gamma,
    require_float64,
    row_norms_upper,
)
from stablerank.nn.parametrized import Parametrized, draw_orthonormal
from stablerank.nn.relaxation import Relaxation, residual
from stablerank.nn.rescaled import almost_orthogonal_scales
from stablerank.nn.spectral import spectral_norm_upper, unchecked_gram_norm
from stablerank.stability import L2, LINF, Bound, Space, StabilityError


class Residual(Parametrized):
    """x ↦ x − Vᵀ max(Vx + b, 0); subclasses say how V is scaled.

    Parameters
    ----------
    features : int
        Length of the vectors.
    inner : int, optional
        Rows of V; by default as many as features.

    Raises
    ------
    ValueError
        If a size is not a positive integer.
    """

    def __init__(self, features: int, inner: int | None = None) -> None:
        super().__init__()
        inner = features if inner is None else inner
        for name, size in (("features", features), ("inner", inner)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}={size!r}: expected an integer >= 1.")
        self.weight = nn.Parameter(torch.empty(inner, features))
        self.bias = nn.Parameter(torch.zeros(inner))
        draw_orthonormal(self.weight)
        self.constrain()

    def constrain(self) -> None:
        """Register the parametrization of V."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, (n, features)."""
        weight = self.weight
        return x - nn.functional.linear(x, weight, self.bias).relu() @ weight

    def stability(self, source: Space = LINF) -> Bound:
        """In ℓ2 max(1, ‖V‖₂² − 1), from the proven norm of V; in ℓ∞ by rows.

        In ℓ∞ a row of I − VᵀΛV = (I − ½VᵀV) + Vᵀ(½I − Λ)V has at most the ℓ1 norm of that of
        |I − ½VᵀV| + ½|V|ᵀ|V|.
        """
        name = type(self).__name__.removeprefix("Parametrized")
        if source == L2:
            norm = spectral_norm_upper(self.weight)
            square = math.nextafter(norm * norm, math.inf)
            constant = max(1.0, math.nextafter(square - 1, math.inf))
            return Bound(L2, L2, constant, "N1: residual, ‖V‖² − 1, verified", name)
        if source == LINF:
            constant = self._constant_in_linf()
            return Bound(LINF, LINF, constant, "N1: residual, rows of |I − VᵀΛV|", name)
        raise StabilityError(f"{name} knows its constant in ℓ∞ and ℓ2, not from {source}.")

    def _constant_in_linf(self) -> float:
        weight = self.weight.detach().double().cpu().numpy()
        m, n = weight.shape
        # |V|ᵀ|V| 1, a sum of m products of numbers that are rounded up already
        both = (np.abs(weight).T @ row_norms_upper(self.weight)) * (1 + gamma(m + 4)) + m * 1e-300
        middle = np.abs(np.eye(n) - 0.5 * (weight.T @ weight)).sum(axis=1)
        # entries of VᵀV are off by γ_m |V|ᵀ|V|; the sum over a row and the difference round too
        rows = (middle + (0.5 + gamma(m + 4)) * both) * (1 + gamma(2 * n + 16)) + n * 1e-300
        return max(1.0, float(rows.max()))

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of both maps, and of the difference; errors of the input grow by the constant in ℓ∞."""
        require_float64(self, self.weight)
        none = np.zeros_like(error)
        computed = (magnitude + error) * (1 + 1e-12)  # inputs as computed
        hidden, hidden_error = affine_rounding(self.weight, self.bias, computed, none)
        change, change_error = affine_rounding(self.weight.T, None, hidden, hidden_error)
        reach = (magnitude + change) * (1 + 1e-12)
        own = change_error + 2 * UNIT_ROUNDOFF * (computed + change + change_error) + UNDERFLOW
        return reach, (self._constant_in_linf() * error + own) * (1 + 1e-12)

    def bounds(self, lower: Tensor, upper: Tensor, rounding: bool = True) -> tuple[Tensor, Tensor]:
        """Intervals of both maps and of the difference, which forgets that both see the same x."""
        if rounding:
            require_float64(self, self.weight)
        weight = self.weight
        hidden = affine_bounds(weight, self.bias, lower, upper, rounding)
        ends = hidden[0].clamp_min(0), hidden[1].clamp_min(0)
        change = affine_bounds(-weight.T, None, *ends, rounding)
        # a sum of floats within these ends is rounded to one within the rounded ends
        return lower + change[0], upper + change[1]

    def relaxations(self, lower: Tensor, upper: Tensor) -> list[Relaxation]:
        """See :func:`~stablerank.nn.relaxation.residual`."""
        return residual(lower, upper, self.weight, self.bias, -self.weight.T)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"features={self.weight.shape[1]}, inner={self.weight.shape[0]}"


class DominatedRows(nn.Module):
    """Parametrization V = √2 T^(−½) W with T_ii = Σ_j |WWᵀ|_ij q_j/q_i and learned q > 0.

    T − WWᵀ is diagonally dominant after scaling by q, and so positive semidefinite.

    Parameters
    ----------
    inner : int
        Rows of W.

    Attributes
    ----------
    logarithms : Parameter of shape (inner,)
        Of q; 0 to begin with.
    """

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.logarithms = nn.Parameter(torch.zeros(inner))

    def forward(self, weight: Tensor) -> Tensor:
        """Rescale the rows of `weight`, shape (inner, features)."""
        scales = almost_orthogonal_scales(weight, self.logarithms)
        return math.sqrt(2) * weight * scales.unsqueeze(1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Where training begins: orthonormal rows are mapped to √2 times themselves."""
        return weight


class SDPResidual(Residual):
    """SDP-based Lipschitz layer (SLL): x − 2 Wᵀ T⁻¹ max(Wx + c, 0) [1]_, see the module.

    T is diagonal, T_ii = Σ_j |WWᵀ|_ij q_j/q_i, with q > 0 learned: see :class:`DominatedRows`.

    References
    ----------
    .. [1] Araujo, Havens, Delattre, Allauzen, Hu (2023), "A unified algebraic perspective on
       Lipschitz neural networks", ICLR.

    Examples
    --------
    >>> layer = SDPResidual(3)
    >>> abs(layer.stability(L2).constant - 1) < 1e-5
    True
    """

    def constrain(self) -> None:
        """See :class:`DominatedRows`."""
        rows = DominatedRows(len(self.weight))
        parametrize.register_parametrization(self, "weight", rows)


class OverRootHalfGramNorm(nn.Module):
    """Parametrization V = √2 W/‖W‖, the norm from above by Gram iteration."""

    def forward(self, weight: Tensor) -> Tensor:
        """Rescale `weight`, shape (inner, features)."""
        norm = unchecked_gram_norm(weight).clamp_min(torch.finfo(weight.dtype).tiny)
        return math.sqrt(2) * weight / norm

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Where training begins: a multiple of it is what it is mapped to."""
        return weight


class ConvexPotential(Residual):
    """Convex potential layer (CPL): x − (2/‖W‖₂²) Wᵀ max(Wx + c, 0) [1]_, see the module.

    A step along the gradient of the convex function Σ max(Wx + c, 0)²/2, of the largest size that
    does not expand. The norm is that of Gram iteration, not of power iteration.

    References
    ----------
    .. [1] Meunier, Delattre, Araujo, Allauzen (2022), "A dynamical system perspective for Lipschitz
       neural networks", ICML.

    Examples
    --------
    >>> layer = ConvexPotential(3)
    >>> abs(layer.stability(L2).constant - 1) < 1e-5
    True
    """

    def constrain(self) -> None:
        """See :class:`OverRootHalfGramNorm`."""
        parametrize.register_parametrization(self, "weight", OverRootHalfGramNorm())
