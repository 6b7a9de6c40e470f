"""Affine layers whose weights are divided by a bound of their norm (N1, N2).

What divides them is right in exact arithmetic or only nearly, by power iteration; the constant is
the spectral norm of the weights that come of it, proven.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from stablerank.nn.parametrized import ParametrizedLinear
from stablerank.nn.spectral import unchecked_gram_norm


class AlmostOrthogonal(nn.Module):
    """Parametrization that divides columns: W = V diag(Σ_j |VᵀV|_ij)^(−1/2) [1]_.

    ‖W‖₂ <= 1, since diag(Σ_j |VᵀV|_ij) − VᵀV is diagonally dominant, and so positive
    semidefinite. With equality for orthogonal columns; others lose norm. A matrix with more
    columns than rows is treated as its transpose, whose columns can be orthogonal.

    References
    ----------
    .. [1] Prach, Lampert (2022), "Almost-orthogonal layers for efficient general-purpose Lipschitz
       networks", ECCV.

    Examples
    --------
    Orthogonal columns are normalised; of two that are equal, both are shrunk by √2 more.

    >>> AlmostOrthogonal()(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    >>> AlmostOrthogonal()(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    tensor([[0.7071, 0.7071],
            [0.0000, 0.0000]])
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Rescale `weight`, shape (n_out, n_in)."""
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        rescaled = tall * almost_orthogonal_scales(tall.T).unsqueeze(0)
        return rescaled if weight.shape[0] >= weight.shape[1] else rescaled.T

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A matrix that is mapped to `weight`: itself, when its rows or columns are orthonormal."""
        return weight


def almost_orthogonal_scales(rows: Tensor, logarithms: Tensor | None = None) -> Tensor:
    """(Σ_j |⟨v_i, v_j⟩| q_j/q_i)^(−1/2) of each row v_i, q = exp(logarithms) or 1; shape (n,).

    Rows that are multiplied by these make a matrix of spectral norm at most 1, for any q > 0.
    """
    products = (rows @ rows.T).abs()
    if logarithms is not None:
        products = products * torch.exp(logarithms.unsqueeze(0) - logarithms.unsqueeze(1))
    return products.sum(dim=1).clamp_min(torch.finfo(rows.dtype).tiny).rsqrt()


class AlmostOrthogonalLinear(ParametrizedLinear):
    """Almost orthogonal weights, by rescaled columns; see :class:`AlmostOrthogonal`.

    Parameters as of :class:`~stablerank.nn.parametrized.ParametrizedLinear`.
    """

    def constrain(self) -> None:
        """See :class:`AlmostOrthogonal`."""
        parametrize.register_parametrization(self, "weight", AlmostOrthogonal())


class OverGramNorm(nn.Module):
    """Parametrization that divides a matrix by its Gram norm: W = V/‖V‖, from above [1]_.

    The spectral norm of W is at most 1, and at least 0.95 for up to 512 rows or columns.

    References
    ----------
    .. [1] Delattre, Barthélemy, Araujo, Allauzen (2023), "Efficient bound of Lipschitz constant for
       convolutional layers by Gram iteration", ICML.

    Examples
    --------
    >>> OverGramNorm()(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    tensor([[1.0000, 0.0000],
            [0.0000, 0.2500]])
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Rescale `weight`, shape (n_out, n_in)."""
        return weight / unchecked_gram_norm(weight).clamp_min(torch.finfo(weight.dtype).tiny)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A matrix that is mapped to `weight`, up to the looseness of the Gram norm: itself."""
        return weight


class GramLinear(ParametrizedLinear):
    """Weights over their Gram norm; see :class:`OverGramNorm`.

    Parameters as of :class:`~stablerank.nn.parametrized.ParametrizedLinear`.
    """

    def constrain(self) -> None:
        """See :class:`OverGramNorm`."""
        parametrize.register_parametrization(self, "weight", OverGramNorm())


class SpectralLinear(ParametrizedLinear):
    """Weights over what power iteration takes for their norm, by torch's own parametrization [1]_.

    Power iteration is below the norm (N2), so that the weights have norm 1 or more. It is no part
    of the constant, which is proven from the weights. In training mode the weights change a little
    whenever they are read. Parameters as of
    :class:`~stablerank.nn.parametrized.ParametrizedLinear`.

    References
    ----------
    .. [1] Miyato, Kataoka, Koyama, Yoshida (2018), "Spectral normalization for generative
       adversarial networks", ICLR.
    """

    def constrain(self) -> None:
        """By torch's own parametrization."""
        parametrizations.spectral_norm(self, "weight")


class UnitRows(nn.Module):
    """Parametrization that divides each row by its ℓ2 norm.

    Examples
    --------
    >>> UnitRows()(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Rescale the rows of `weight`, shape (n_out, n_in)."""
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return weight / norms.clamp_min(torch.finfo(weight.dtype).tiny)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A matrix that is mapped to `weight`: itself, when its rows have norm 1."""
        return weight


class UnitRowLinear(ParametrizedLinear):
    """A last layer with rows of ℓ2 norm 1: each logit is 1-Lipschitz in ℓ2 by itself [1]_.

    Margins are divided by ‖w_i − w_j‖₂ (N3), at most 2 here: whole matrices of norm 1 keep the
    rows of many classes needlessly close together. Parameters as of
    :class:`~stablerank.nn.parametrized.ParametrizedLinear`.

    References
    ----------
    .. [1] Singla, Singla, Feizi (2022), "Improved deterministic l2 robustness on CIFAR-10 and
       CIFAR-100", ICLR.
    """

    def constrain(self) -> None:
        """See :class:`UnitRows`."""
        parametrize.register_parametrization(self, "weight", UnitRows())
