"""Layers that are Lipschitz from ℓ∞ to ℓ∞ (fact N1), and the rounding of affine maps (N5)."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.stability import LINF, Bound, Space, StabilityError

UNIT_ROUNDOFF = 2.0**-53
_UNDERFLOW = 1e-300


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


class LinfLinear(nn.Linear):
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
    ‖Wx − Wx′‖∞ <= max_i ‖w_i‖₁ ‖x − x′‖∞, with equality for x − x′ = ±sign(w_i).
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
        with torch.no_grad():
            nn.init.normal_(self.weight)
            if gain is not None:
                self.weight.mul_(gain.to(self.weight))
            self.weight.div_(self.weight.abs().sum(1, keepdim=True).clamp_min(1e-30))
            if self.bias is not None:
                nn.init.zeros_(self.bias)
        parametrize.register_parametrization(self, "weight", RowsInL1Ball())

    def stability(self, source: Space = LINF) -> Bound:
        """The largest ℓ1 norm of a row, computed from the weights and rounded up."""
        return linear_bound(self, source)

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :func:`linear_rounding`."""
        return linear_rounding(self, magnitude, error)

    def fold(self) -> None:
        """Replace the parametrization by the projected weights, in rows of norm at most 1.

        Rows that rounding left outside of the ball are shrunk by a few units in the last place, so
        that their exact ℓ1 norms, summed without rounding, are at most 1.
        """
        if parametrize.is_parametrized(self, "weight"):
            parametrize.remove_parametrizations(self, "weight", leave_parametrized=True)
        with torch.no_grad():
            # in float64, since an upper bound rounded to float32 is none
            upper = torch.from_numpy(row_norms_upper(self.weight))
            below_one = 1 - 8 * torch.finfo(self.weight.dtype).eps
            shrink = torch.where(upper > 1, below_one / upper, 1.0)
            self.weight.mul_(shrink.to(self.weight).unsqueeze(1))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by its attributes: torch refuses to pickle parametrized layers."""
        kind = parametrize.type_before_parametrizations(self)
        return _unpickled, (kind, self.__dict__.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> LinfLinear:
        """As pickled. Copies by torch share one class, and folding one takes it from the others."""
        rebuild, arguments = self.__reduce_ex__(4)
        layer: LinfLinear = rebuild(*copy.deepcopy(arguments, memo))
        return layer


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
        differences = x.unsqueeze(1) - self.weight
        if self.p != math.inf:
            # powers of numbers <= 1 do not overflow, and those of small ones are not all lost
            largest = differences.detach().abs().amax(dim=-1, keepdim=True)
            scale = torch.where(largest > 0, largest, 1.0)
            norms = torch.linalg.vector_norm(differences / scale, ord=self.p, dim=-1)
            return scale.squeeze(-1) * norms + self.bias
        distances: Tensor = torch.linalg.vector_norm(differences, ord=math.inf, dim=-1)
        return distances + self.bias

    def stability(self, source: Space = LINF) -> Bound:
        """1 for p = ∞, in_features^{1/p} else."""
        _require_linf(self, source)
        if self.p == math.inf:
            return Bound(LINF, LINF, 1.0, "N1: triangle inequality", "LinfDistance")
        constant = self.weight.shape[1] ** (1 / self.p) * (1 + 16 * UNIT_ROUNDOFF)
        return Bound(LINF, LINF, constant, "N1: ℓp ≤ n^(1/p) ℓ∞", "LinfDistance")

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One subtraction and one addition for p = ∞; for other p a power sum besides."""
        _require_float64(self, self.weight)
        constant, n = self.stability().constant, self.weight.shape[1]
        largest = float(self.weight.detach().abs().max())
        shift = float(self.bias.detach().abs().max())
        roundings = 4 if self.p == math.inf else n + 4 * self.p + 16
        reach = (constant * (magnitude + largest) + shift) * (1 + 1e-12)
        # inputs as computed are larger than the exact ones by `error` at most
        computed = reach + constant * error
        rounded = constant * error + gamma(roundings) * computed + _UNDERFLOW
        return reach, rounded * (1 + 1e-12)

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
        """The factor of each coordinate."""
        _require_linf(self, source)
        factors = self.factor.detach().double().cpu().numpy()
        return Bound.by_coordinate(
            LINF, factors, "diagonal map", stage="standardize", coordinatewise=True
        )

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two roundings a coordinate."""
        factor = float(self.factor.max())
        reach = (magnitude + float(self.center.abs().max())) * factor * (1 + 1e-12)
        # inputs as computed are larger than the exact ones by `error` at most
        computed = reach + factor * error
        return reach, (factor * error + gamma(3) * computed) * (1 + 1e-12) + _UNDERFLOW

    def fold(self) -> None:
        """Nothing to fold."""

    def extra_repr(self) -> str:
        """Size."""
        return f"n_features={self.center.numel()}"


def row_norms_upper(weight: Tensor) -> NDArray[np.float64]:
    """The ℓ1 norms of the rows, rounded up: the least float64 not below the exact norm."""
    rows = weight.detach().double().cpu().abs().numpy()
    return np.array([_sum_up(row) for row in rows])


def pairwise_norms_upper(weight: Tensor) -> NDArray[np.float64]:
    """Upper bounds of ‖w_i − w_j‖₁ for all pairs of rows, shape (n_rows, n_rows)."""
    rows = weight.detach().double().cpu().numpy()
    norms = np.array([[_sum_up(np.abs(a - b)) for b in rows] for a in rows])
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
    """The ℓ∞ bound of an affine layer, from the weights that it applies."""
    _require_linf(layer, source)
    constant = float(row_norms_upper(layer.weight).max(initial=0.0))
    name = parametrize.type_before_parametrizations(layer).__name__
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
    _require_float64(layer, layer.weight)
    constant = float(row_norms_upper(layer.weight).max(initial=0.0)) * (1 + 1e-12)
    shift = 0.0 if layer.bias is None else float(layer.bias.detach().abs().max())
    reach = (constant * magnitude + shift) * (1 + 1e-12)
    # inputs as computed are larger than the exact ones by `error` at most
    computed = reach + constant * error
    rounded = constant * error + gamma(layer.in_features + 4) * computed + _UNDERFLOW
    return reach, rounded * (1 + 1e-12)


def gamma(n: float) -> float:
    """γ_n = nu/(1 − nu), the relative error of n roundings in float64."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF) * (1 + 1e-12)


def _unpickled(kind: type[LinfLinear], attributes: dict[str, Any]) -> LinfLinear:
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    if "parametrizations" in attributes["_modules"]:
        layer.weight = nn.Parameter(torch.zeros(1, 1))  # in its place come the attributes
        parametrize.register_parametrization(layer, "weight", RowsInL1Ball())
    layer.__dict__.update(attributes)
    return layer


def _require_float64(layer: nn.Module, weight: Tensor) -> None:
    if weight.dtype != torch.float64:
        raise StabilityError(
            f"The rounding of {type(layer).__name__} is known in float64, and its weights are "
            f"{weight.dtype}: use StableRankNetwork.folded(), or layer.double()."
        )


def _require_linf(layer: nn.Module, source: Space) -> None:
    if source != LINF:
        raise StabilityError(
            f"{type(layer).__name__} knows its constant from {LINF}, not from {source}. Insert an "
            f"explicit conversion."
        )
