"""Positive-definite kernels of stable ranks, for support vector machines and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.ranks.rank_distances import lq_distances, over_pairs


def linear_rank_kernel(X: Any, Y: Any = None) -> NDArray[np.float64]:
    """The L2 inner product ``∫ f g dt`` of every stable rank f in X and every g in Y.

    Parameters
    ----------
    X, Y : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them. Without
        `Y`, the Gram matrix of `X`.

    Returns
    -------
    ndarray of shape (n_X, n_Y), float64
        In the unit of the filtration.

    Raises
    ------
    ValueError, TypeError
        If a row is not the jump points of a stable rank; its index is named.

    See Also
    --------
    gaussian_rank_kernel : Which is not linear.

    Notes
    -----
    Positive definite as every inner product is: ``Σ c_i c_j ⟨f_i, f_j⟩ = ‖Σ c_i f_i‖² >= 0``,
    stable ranks being square-integrable. With jump points s and t it is Σ_{k,l} min(s_k, t_l). Sums
    over homology dimensions of such kernels are positive definite too. Computed Gram matrices can
    have eigenvalues that rounding put below zero: by about 10⁻¹⁶ times the largest.

    References
    ----------
    .. [1] Agerberg, Ramanujam, Scolamiero, Chachólski (2021), "Supervised learning using
       homology stable rank kernels", Frontiers in Applied Mathematics and Statistics 7.

    Examples
    --------
    >>> linear_rank_kernel([[5, 3], [1, 0]])  # 4 · 3 + 1 · 2, then 2 · 1, and 1 · 1
    array([[14.,  2.],
           [ 2.,  1.]])

    As the kernel of a support vector machine:

    >>> from sklearn.svm import SVC
    >>> model = SVC(kernel=linear_rank_kernel).fit([[5, 3], [6, 3], [1, 0], [2, 0]], [0, 0, 1, 1])
    >>> model.predict([[5, 4], [1, 1]])
    array([0, 1])
    """
    return over_pairs(X, Y, lambda widths, f, g: np.einsum("ij,ij,ij->i", widths, f, g))


def gaussian_rank_kernel(X: Any, Y: Any = None, *, width: float) -> NDArray[np.float64]:
    """``exp(−‖f − g‖²/(2 width²))``, in L2, for every stable rank f in X and every g in Y.

    Parameters
    ----------
    X, Y : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them. Without
        `Y`, the Gram matrix of `X`.
    width : float
        In the unit of L2 distances, the root of the filtration's: their median over the training
        data is a fair start.

    Returns
    -------
    ndarray of shape (n_X, n_Y), float64
        Between 0 and 1.

    Raises
    ------
    ValueError, TypeError
        If `width` is not a finite number above 0, or a row is not the jump points of a stable rank;
        its index is named.

    Notes
    -----
    Positive definite by Schoenberg's theorem [1]_: L2 is a Hilbert space, there ``‖f − g‖²`` is of
    negative type, and exp(−x/(2 width²)) of such a function is positive definite. L1 is of negative
    type as well, and so is ``exp(−lq_distances(X)/width)``; the interleaving distance, a sup norm,
    is not, and Gaussians of it are kernels of nothing.

    References
    ----------
    .. [1] Schoenberg (1938), "Metric spaces and positive definite functions", Transactions of the
       American Mathematical Society 44.

    Examples
    --------
    >>> gaussian_rank_kernel([[5, 3], [1, 0]], width=np.sqrt(5.5)).round(4)  # of ‖f − g‖² = 11
    array([[1.    , 0.3679],
           [0.3679, 1.    ]])

    As the kernel of a support vector machine, or of anything that takes Gram matrices:

    >>> from functools import partial
    >>> from sklearn.svm import SVC
    >>> kernel = partial(gaussian_rank_kernel, width=2.0)
    >>> X, y = [[5, 3], [6, 3], [1, 0], [2, 0]], [0, 0, 1, 1]
    >>> SVC(kernel=kernel).fit(X, y).predict([[5, 4], [1, 1]])
    array([0, 1])
    >>> SVC(kernel="precomputed").fit(kernel(X), y).predict(kernel([[5, 4], [1, 1]], X))
    array([0, 1])
    """
    if isinstance(width, bool) or not isinstance(width, (int, float, np.integer, np.floating)):
        raise ValueError(f"width={width!r}: expected a finite number > 0.")
    if not 0 < width < np.inf:
        raise ValueError(f"width={width!r}: expected a finite number > 0.")
    distances = lq_distances(X, Y, q=2)
    with np.errstate(over="ignore", under="ignore"):  # the kernel is 0 there
        return np.asarray(np.exp(-((distances / width) ** 2) / 2))
