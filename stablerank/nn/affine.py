"""Affine maps: their constants in ℓ∞ and ℓ2 (N1, N2), their rounding (N5), and boxes (N4)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.spectral import spectral_norm_upper
from stablerank.stability import L2, LINF, Bound, Space, StabilityError, root_sum_squares_up

UNIT_ROUNDOFF = 2.0**-53
UNDERFLOW = 1e-300


def row_norms_upper(weight: Tensor) -> NDArray[np.float64]:
    """The ℓ1 norms of the rows, rounded up: the least float64 not below the exact norm."""
    rows = weight.detach().double().cpu().abs().numpy()
    return np.array([_sum_up(row) for row in rows])


def pairwise_norms_upper(weight: Tensor, space: Space = LINF) -> NDArray[np.float64]:
    """Upper bounds of ‖w_i − w_j‖₁ for all pairs of rows, shape (n_rows, n_rows).

    That is for features in ℓ∞; for features in ℓ2 it is ‖w_i − w_j‖₂ (N3).
    """
    norm = _sum_up if space == LINF else root_sum_squares_up
    rows = weight.detach().double().cpu().numpy()
    norms = np.array([[norm(np.abs(a - b)) for b in rows] for a in rows])
    return norms * (1 + 8 * UNIT_ROUNDOFF)  # the differences are rounded


def _sum_up(values: NDArray[np.float64]) -> float:
    """The least float64 that is not below the exact sum of non-negative numbers."""
    numbers = values.tolist()
    try:
        total = math.fsum(numbers)
    except OverflowError:
        return math.inf
    if not math.isfinite(total):
        return total
    # fsum rounds once, to the nearest; what it then finds missing has the right sign
    missing = math.fsum([*numbers, -total])
    return math.nextafter(total, math.inf) if missing > 0 else total


def linear_bound(layer: nn.Linear, source: Space) -> Bound:
    """The bound of an affine layer in ℓ∞ or in ℓ2, from the weights that it applies."""
    name = parametrize.type_before_parametrizations(layer).__name__
    if source == L2:
        constant = spectral_norm_upper(layer.weight)
        return Bound(L2, L2, constant, "N2: spectral norm, verified", name)
    require_linf(layer, source)
    constant = float(row_norms_upper(layer.weight).max(initial=0.0))
    return Bound(LINF, LINF, constant, "N1: largest ℓ1 norm of a row", name)


def linear_rounding(
    layer: nn.Linear, magnitude: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How rounding grows in an affine layer that is evaluated in float64, in any order of sums.

    Parameters
    ----------
    layer : nn.Linear
        The layer.
    magnitude : ndarray of shape (n,)
        A bound on the ℓ∞ norm of the inputs, over all that the adversary can reach.
    error : ndarray of shape (n,)
        A bound on the ℓ∞ distance between computed and exact inputs.

    Returns
    -------
    magnitude, error : ndarray of shape (n,)
        The same for the outputs: L·error + γ_{n+1}(|W||x| + |b|), with γ_k = ku/(1−ku), and n the
        fan-in (N5).

    Raises
    ------
    StabilityError
        If the weights are not float64.
    """
    require_float64(layer, layer.weight)
    return affine_rounding(layer.weight, layer.bias, magnitude, error)


def affine_rounding(
    weight: Tensor,
    bias: Tensor | None,
    magnitude: NDArray[np.float64],
    error: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """:func:`linear_rounding` of the map of a weight, shape (n_out, n_in), and a bias."""
    constant = float(row_norms_upper(weight).max(initial=0.0)) * (1 + 1e-12)
    shift = 0.0 if bias is None else float(bias.detach().abs().max())
    reach = (constant * magnitude + shift) * (1 + 1e-12)
    # inputs as computed are larger than the exact ones by `error` at most
    computed = reach + constant * error
    rounded = constant * error + gamma(weight.shape[1] + 4) * computed + UNDERFLOW
    return reach, rounded * (1 + 1e-12)


def linear_bounds(
    layer: nn.Linear, lower: Tensor, upper: Tensor, rounding: bool = True
) -> tuple[Tensor, Tensor]:
    """The box of an affine layer's outputs, by interval arithmetic (N4).

    Parameters
    ----------
    layer : nn.Linear
        The layer.
    lower, upper : Tensor of shape (n, in_features)
        The ends of the input boxes.
    rounding : bool, default=True
        Whether the box holds what the layer computes in float64, in any order of sums. Without,
        in any dtype, it holds the exact outputs up to its own rounding: for training.

    Returns
    -------
    lower, upper : Tensor of shape (n, out_features)

    Raises
    ------
    StabilityError
        If rounding is asked for and the weights are not float64.

    Notes
    -----
    A box of centre c and radius r is mapped into Wc + b ± |W|r, and with equality in each
    coordinate. The centre's image as computed is off by γ_{n+1}(|W||c| + |b|), and the layer's own
    output by γ_{n+1}(|W|(|c| + r) + |b|) (N5), n the fan-in. Twice the second covers both:

        Wc + b ± (|W|(r + 2γ_{n+4}(|c| + r)) + 2γ_{n+4}|b|),

    increased by the relative error of its own 2n + 16 operations on non-negative numbers, and both
    ends are moved outward to the next number.
    """
    if rounding:
        require_float64(layer, layer.weight)
    return affine_bounds(layer.weight, layer.bias, lower, upper, rounding)


def affine_bounds(
    weight: Tensor, bias: Tensor | None, lower: Tensor, upper: Tensor, rounding: bool = True
) -> tuple[Tensor, Tensor]:
    """:func:`linear_bounds` of the map of a weight, shape (n_out, n_in), and a bias."""
    if not rounding:
        middle = nn.functional.linear((lower + upper) / 2, weight, bias)
        spread = nn.functional.linear((upper - lower) / 2, weight.abs())
        return middle - spread, middle + spread
    center, radius = center_and_radius(lower, upper)
    middle = nn.functional.linear(center, weight, bias)
    share, n_in = 2 * gamma(weight.shape[1] + 4), weight.shape[1]
    reach = radius + share * (center.abs() + radius)
    spread = nn.functional.linear(reach, weight.abs(), None if bias is None else share * bias.abs())
    spread = spread * (1 + gamma(2 * n_in + 16)) + UNDERFLOW
    return round_down(middle - spread), round_up(middle + spread)


def center_and_radius(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Floats c, r with [c − r, c + r] around [lower, upper], whatever the rounding of c was."""
    center = lower / 2 + upper / 2
    return center, torch.maximum(center - lower, upper - center) * (1 + 4 * UNIT_ROUNDOFF)


def round_down(x: Tensor) -> Tensor:
    """The next smaller numbers."""
    return torch.nextafter(x, torch.full_like(x, -math.inf))


def round_up(x: Tensor) -> Tensor:
    """The next larger numbers."""
    return torch.nextafter(x, torch.full_like(x, math.inf))


def gamma(n: float) -> float:
    """γ_n = nu/(1 − nu), the relative error of n roundings in float64."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF) * (1 + 1e-12)


def require_float64(layer: nn.Module, weight: Tensor) -> None:
    """Raise a StabilityError unless the layer's weights are float64, the dtype of N5."""
    if weight.dtype != torch.float64:
        raise StabilityError(
            f"The rounding of {type(layer).__name__} is known in float64, and its weights are "
            f"{weight.dtype}: use StableRankNetwork.folded(), or layer.double()."
        )


def require_linf(layer: nn.Module, source: Space) -> None:
    """Raise a StabilityError unless the source is ℓ∞."""
    if source != LINF:
        raise StabilityError(
            f"{type(layer).__name__} knows its constant from {LINF}, not from {source}. Insert an "
            f"explicit conversion."
        )
