"""Affine layers with orthonormal rows or columns: 1-Lipschitz in ℓ2, and no gradient is lost (N1).

How the weights are made is up to rounding; the constant is the spectral norm of those that come of
it, proven (N2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from stablerank.nn.parametrized import ParametrizedLinear
from stablerank.nn.spectral import unchecked_gram_norm


class CayleyLinear(ParametrizedLinear):
    """Orthogonal weights by the Cayley map W = B (I + A/2)(I − A/2)⁻¹ of skew-symmetric A [1]_.

    B is the weight with which training begins; for rectangular weights, columns of the square
    matrix are left out. Parameters as of :class:`~stablerank.nn.parametrized.ParametrizedLinear`.

    References
    ----------
    .. [1] Trockman, Kolter (2021), "Orthogonalizing convolutional layers with the Cayley
       transform", ICLR.

    Examples
    --------
    >>> layer = CayleyLinear(3, 2)
    >>> torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(2))
    """

    def constrain(self) -> None:
        """By torch's own parametrization."""
        parametrizations.orthogonal(self, "weight", orthogonal_map="cayley")


class ExponentialLinear(ParametrizedLinear):
    """Orthogonal weights by the matrix exponential W = B exp(A) of skew-symmetric A [1]_.

    B is the weight with which training begins; for rectangular weights, columns of the square
    matrix are left out. Parameters as of :class:`~stablerank.nn.parametrized.ParametrizedLinear`.

    References
    ----------
    .. [1] Lezcano-Casado, Martínez-Rubio (2019), "Cheap orthogonal constraints in neural networks:
       a simple parametrization of the orthogonal and unitary group", ICML.

    Examples
    --------
    >>> layer = ExponentialLinear(2, 3)
    >>> torch.testing.assert_close(layer.weight.T @ layer.weight, torch.eye(2))
    """

    def constrain(self) -> None:
        """By torch's own parametrization."""
        parametrizations.orthogonal(self, "weight", orthogonal_map="matrix_exp")


class BjorckOrthonormalization(nn.Module):
    """Parametrization by the nearest matrix with orthonormal rows or columns, nearly [1]_.

    ``W ← W (3I − WᵀW)/2`` takes every singular value σ to (3σ − σ³)/2, which is at most 1 for
    all σ >= 0, and tends to 1 from all between 0 and √3. The matrix is first divided by its Gram
    norm, which is no less than its spectral norm up to rounding, so that they all are. Small ones
    grow by half a step, and 18 steps bring those above a thousandth of the largest to 1.

    Parameters
    ----------
    iterations : int, default=18
        Steps.

    References
    ----------
    .. [1] Björck, Bowie (1971), "An iterative algorithm for computing the best estimate of an
       orthogonal matrix", SIAM Journal on Numerical Analysis 8.
    .. [2] Anil, Lucas, Grosse (2019), "Sorting out Lipschitz function approximation", ICML.

    Examples
    --------
    >>> torch.testing.assert_close(
    ...     BjorckOrthonormalization()(torch.tensor([[3.0, 0.0], [0.0, -0.5]])),
    ...     torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
    ... )
    """

    def __init__(self, iterations: int = 18) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, weight: Tensor) -> Tensor:
        """Orthonormalise `weight`, shape (n_out, n_in)."""
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        # the result does not depend on the scale, so that it carries no gradient
        norm = unchecked_gram_norm(weight.detach()).clamp_min(torch.finfo(weight.dtype).tiny)
        tall = tall / norm
        for _ in range(self.iterations):
            tall = 1.5 * tall - 0.5 * tall @ (tall.T @ tall)
        return tall if weight.shape[0] >= weight.shape[1] else tall.T

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A matrix that is mapped to `weight`: itself, when it is orthonormal."""
        return weight


class BjorckLinear(ParametrizedLinear):
    """Orthogonal weights by Björck's iteration; see :class:`BjorckOrthonormalization`.

    Parameters as of :class:`~stablerank.nn.parametrized.ParametrizedLinear`.
    """

    def constrain(self) -> None:
        """See :class:`BjorckOrthonormalization`."""
        parametrize.register_parametrization(self, "weight", BjorckOrthonormalization())


class BlockReflector(nn.Module):
    """Parametrization by a reflection in a subspace: W = I − 2V(VᵀV)⁻¹Vᵀ, V of few columns [1]_.

    W is symmetric and orthogonal, and exact without iterations. A rectangular W is its upper left
    corner, with a norm of at most 1. To VᵀV a little of I is added, so that it can always be
    inverted: eigenvalues 1 − 2σ²/(σ² + δ) stay between −1 and 1.

    Parameters
    ----------
    n_out, n_in : int
        The shape of the weight.
    rank : int
        Columns of V: the dimension of the subspace.

    References
    ----------
    .. [1] Lai, Huang, Kung, Chen (2025), "Enhancing certified robustness via block reflector
       orthogonal layers and logit annealing loss", ICML.

    Examples
    --------
    Reflection in the direction (1, 1).

    >>> torch.testing.assert_close(
    ...     BlockReflector(2, 2, rank=1)(torch.tensor([[1.0], [1.0]])),
    ...     torch.tensor([[0.0, -1.0], [-1.0, 0.0]]),
    ... )
    """

    def __init__(self, n_out: int, n_in: int, rank: int) -> None:
        super().__init__()
        self.n_out, self.n_in, self.rank = n_out, n_in, rank

    def forward(self, directions: Tensor) -> Tensor:
        """The weight, shape (n_out, n_in), of V of shape (max(n_out, n_in), rank)."""
        return reflection(directions)[: self.n_out, : self.n_in]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A random subspace to begin with: hardly any weight is a reflection."""
        return torch.randn(max(weight.shape), self.rank, dtype=weight.dtype, device=weight.device)


def reflection(directions: Tensor) -> Tensor:
    """I − 2V(V*V + δI)⁻¹V* of V, shape (..., n, rank), real or complex; shape (..., n, n).

    δ is 5·10⁻⁷ in float32 and 10⁻¹⁵ in float64 of the trace of V*V, which is nothing to
    directions unless they are nearly dependent.
    """
    eps, tiny = torch.finfo(directions.dtype).eps, torch.finfo(directions.dtype).tiny
    adjoint = directions.mH
    gram = adjoint @ directions
    trace = gram.diagonal(dim1=-2, dim2=-1).real.sum(-1)[..., None, None]
    ridge = (4 * eps * trace).clamp_min(tiny) * torch.eye(gram.shape[-1], device=gram.device)
    identity = torch.eye(directions.shape[-2], dtype=directions.dtype, device=directions.device)
    return identity - 2 * directions @ torch.linalg.solve(gram + ridge.to(gram.dtype), adjoint)


class BlockReflectorLinear(ParametrizedLinear):
    """Orthogonal weights by a reflection of low rank; see :class:`BlockReflector`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes.
    bias : bool, default=True
        Whether a constant is added.
    gain : Tensor of shape (in_features,), optional
        Not used here.
    rank : int, optional
        Dimension of the subspace, by default a quarter of the larger size.

    Raises
    ------
    ValueError
        If the rank is not between 1 and the larger size.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        gain: Tensor | None = None,
        rank: int | None = None,
    ) -> None:
        size = max(in_features, out_features)
        self.rank = max(1, size // 4) if rank is None else rank
        if not 1 <= self.rank <= size:
            raise ValueError(f"rank={rank!r}: expected an integer from 1 to {size}.")
        super().__init__(in_features, out_features, bias, gain)

    def draw(self, gain: Tensor | None) -> None:
        """Only the bias: the subspace is drawn where it is trained."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def constrain(self) -> None:
        """See :class:`BlockReflector`."""
        reflector = BlockReflector(self.out_features, self.in_features, self.rank)
        parametrize.register_parametrization(self, "weight", reflector, unsafe=True)
