"""Spectral norms from above: one bound for training, and one that rounding cannot break (N2).

Power iteration approaches the norm from below and is never a bound. Gram iteration stands above
the norm in exact arithmetic, and within rounding of it, on either side, in floating point. So
training uses that one, and a certificate the other, which proves its number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIT_ROUNDOFF = 2.0**-53
_SMALLEST_NORMAL = 2.0**-1022
_MOST_TRIALS = 24


def gram_norm(weight: Tensor, iterations: int = 6) -> Tensor:
    """The spectral norm of a matrix, from above but for rounding; differentiable, for training.

    With σ the singular values and k iterations it is ``(Σ σ_i^(2^(k+1)))^(1/2^(k+1))``: the norm
    times at most rank^(1/2^(k+1)), 1.05 for rank 512 and 6 iterations [1]_.

    Parameters
    ----------
    weight : Tensor of shape (n_out, n_in), floating point
        The matrix.
    iterations : int, default=6
        How often it is replaced by its Gram matrix; 0 gives the Frobenius norm.

    Returns
    -------
    Tensor of shape ()
        Of the dtype and on the device of `weight`. 0, with gradient 0, for zero and empty matrices.

    Raises
    ------
    ValueError
        For a tensor that is no matrix, or not finite, and for a negative number of iterations.

    Notes
    -----
    Every Gram matrix is divided by its norm before the next, which the logarithms of the norms undo
    at the end: without that its entries overflow, or vanish, after a few squarings. The result is
    the same whatever one divides by, so the divisors carry no gradient.

    In floating point it can fall below the norm by rounding: a certificate uses
    :func:`spectral_norm_upper`.

    References
    ----------
    .. [1] Delattre, Barthélemy, Araujo, Allauzen (2023), "Efficient bound of Lipschitz constant for
       convolutional layers by Gram iteration", ICML.

    Examples
    --------
    >>> gram_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), iterations=0)
    tensor(5.)
    >>> gram_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(4.)
    """
    whole = isinstance(iterations, (int, np.integer)) and not isinstance(iterations, bool)
    if not whole or iterations < 0:
        raise ValueError(f"iterations={iterations!r}: expected an integer >= 0.")
    _check_matrix(tuple(weight.shape), bool(torch.isfinite(weight).all()))
    return unchecked_gram_norm(weight, iterations)


def unchecked_gram_norm(weight: Tensor, iterations: int = 6) -> Tensor:
    """:func:`gram_norm` of a finite matrix; no branch depends on its numbers, so it compiles."""
    if not weight.numel():
        return weight.sum()
    tiny = torch.finfo(weight.dtype).tiny
    largest = weight.detach().abs().amax()
    # two quotients: 1 / largest would overflow for subnormal matrices
    gram = weight / torch.where(largest > 0, largest, 1.0)
    if gram.shape[0] < gram.shape[1]:
        gram = gram.T
    logarithm = largest.new_zeros(())
    for _ in range(iterations):
        size = torch.linalg.matrix_norm(gram.detach()).clamp_min(tiny)  # is 0 for zero matrices
        gram = gram / size
        logarithm = 2 * (logarithm + size.log())
        gram = gram.T @ gram
    last = torch.linalg.matrix_norm(gram).clamp_min(tiny)
    logarithm = (logarithm + last.log()) / 2.0**iterations
    norm: Tensor = largest * logarithm.exp()
    return norm


def spectral_norm_upper(weight: Any) -> float:
    """A number that is not below the largest singular value, whatever was rounded.

    Parameters
    ----------
    weight : Tensor or array-like of shape (n_out, n_in)
        The matrix, of any floating dtype; its float64 values are meant.

    Returns
    -------
    float
        The spectral norm or more, by less than a relative 1e-9 for up to 1024 rows or columns,
        and less than 1e-12 for up to 16; exactly 0 for zero and empty matrices. ``inf`` if the
        norm is beyond float64.

    Raises
    ------
    ValueError
        If it is no matrix, or an entry is NaN or infinite.

    Notes
    -----
    The test is Rump's [1]_: ‖A‖² <= t if tI − AᵀA has a Cholesky factor up to an error that can be
    bounded. Let G be AᵀA as computed, t a little above its largest eigenvalue as computed, C the
    Cholesky factor of tI − G as computed, and D = (tI − G) − CCᵀ as computed. With

        E = (tI − AᵀA) − CCᵀ,   xᵀ(tI − AᵀA)x = |Cᵀx|² + xᵀEx >= −‖E‖₂ |x|²,

    ‖A‖₂² is at most t + ‖E‖₂, and ‖E‖₂ at most

        ‖D‖_F + γ_k ‖A‖_F² + γ_n ‖C‖_F² + u (max_i |t − g_ii| + ‖D‖_F)

    for A of shape (k, n), u = 2^-53 and γ_j = ju/(1 − ju): the rounding of the product AᵀA, of the
    product CCᵀ (the matrices of absolute values of a product of norms have no larger norms), and
    of the two subtractions, and what underflows. So nothing is assumed of how the factor was
    found, only that the products are sums of k and of n products, in any order. If there is no
    factor, t grows; if that does not help, the Frobenius norm is the answer.

    The matrix is first multiplied by a power of two that takes its largest entry to [½, 1), and
    transposed if it is wide: neither rounds, but for entries 10^-308 times the largest.

    References
    ----------
    .. [1] Rump (2006), "Verification of positive definiteness", BIT Numerical Mathematics 46.

    Examples
    --------
    >>> norm = spectral_norm_upper([[3.0, 4.0], [3.0, 4.0]])  # of rank one: √2 · 5
    >>> 0 <= norm / (5 * math.sqrt(2)) - 1 < 1e-13
    True
    """
    if isinstance(weight, Tensor):
        weight = weight.detach().double().cpu().numpy()
    matrix = np.asarray(weight, dtype=np.float64)
    _check_matrix(matrix.shape, bool(np.isfinite(matrix).all()))
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(matrix, -exponent)
    square = _squared_norm_upper(scaled if matrix.shape[0] >= matrix.shape[1] else scaled.T)
    # one step for the root; one for entries that became subnormal, far below it
    root = math.nextafter(math.nextafter(math.sqrt(square), math.inf), math.inf)
    try:
        norm = math.ldexp(root, exponent)
    except OverflowError:
        return math.inf
    return norm if norm >= _SMALLEST_NORMAL else math.nextafter(norm, math.inf)


def _check_matrix(shape: tuple[int, ...], finite: bool) -> None:
    if len(shape) != 2:
        raise ValueError(
            f"weight has shape {shape}: expected a matrix (n_out, n_in). Convolutions have another "
            f"norm than their kernels."
        )
    if not finite:
        raise ValueError("weight has entries that are NaN or infinite, and no norm bounds these.")


def _squared_norm_upper(matrix: NDArray[np.float64]) -> float:
    """A bound of ‖A‖₂² for entries of at most 1, the largest of them at least ½."""
    k, n = matrix.shape
    # sums of squares, of fewer than 10^9 numbers: rounding is far below a millionth
    frobenius = float(np.square(matrix).sum()) * (1 + 1e-6)
    gram = matrix.T @ matrix
    start = float(np.linalg.eigvalsh(gram)[-1])
    best = frobenius
    step = 64 * (n + 4) * UNIT_ROUNDOFF
    for _ in range(_MOST_TRIALS):
        shift = start * (1 + step)
        shifted = -gram
        shifted[np.diag_indices(n)] += shift
        step *= 8
        try:
            factor = np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:  # not positive definite, as far as rounding can tell
            continue
        missing = _frobenius_upper(shifted - factor @ factor.T)
        error = (
            missing * (1 + 2 * UNIT_ROUNDOFF)
            + _gamma(k + 2) * frobenius
            + _gamma(n + 2) * _frobenius_upper(factor) ** 2
            + 2 * UNIT_ROUNDOFF * float(np.abs(np.diagonal(shifted)).max())
            + k * n * 1e-300
        )
        best = min(best, (shift + error * (1 + 1e-6)) * (1 + 4 * UNIT_ROUNDOFF))
        break
    return best


def _frobenius_upper(matrix: NDArray[np.floating[Any]]) -> float:
    """The Frobenius norm, or more by a millionth; squares that underflow are charged."""
    return float(np.linalg.norm(matrix)) * (1 + 1e-6) + matrix.size * 1e-150


def _gamma(n: int) -> float:
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF) * (1 + 8 * UNIT_ROUNDOFF)
