"""Linear maps of points: images whose bits are sure, how far they reach, and maps of the plane."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def squeeze(angle: float, factor: float) -> NDArray[np.float64]:
    """The matrix that leaves one direction of the plane as it is and shrinks across it.

    Parameters
    ----------
    angle : float
        The direction, in degrees from the first axis.
    factor : float
        What lengths across it are multiplied by, from 0 (projection) to 1 (nothing happens).

    Returns
    -------
    ndarray of shape (2, 2), float64
        Symmetric, with eigenvalues 1 and `factor`.

    Raises
    ------
    ValueError
        If the angle is not finite, or the factor is not between 0 and 1.

    Examples
    --------
    >>> squeeze(0, 0.5), squeeze(45, 0.5)
    (array([[1. , 0. ],
           [0. , 0.5]]), array([[0.75, 0.25],
           [0.25, 0.75]]))
    """
    if not math.isfinite(angle):
        raise ValueError(f"angle={angle!r}: expected a finite number of degrees.")
    if not 0 <= factor <= 1:
        raise ValueError(f"factor={factor!r}: expected a number between 0 and 1.")
    # cos² and sin² by the double angle, exact at multiples of 45 degrees
    twice = math.radians((2 * angle) % 360)
    quarter, exact = divmod((2 * angle) % 360, 90)
    cosine, sine = math.cos(twice), math.sin(twice)
    if exact == 0:
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter)]
    mean, half = (1 + factor) / 2, (1 - factor) / 2
    return np.array([[mean + half * cosine, half * sine], [half * sine, mean - half * cosine]])


def linear_image(points: Any, columns: Sequence[Any]) -> Any:
    """Ax for each row x of `points`, A given by its columns; arrays and tensors alike.

    Products and sums are taken in a fixed order, so the bits of an image depend on its point alone,
    which a matrix product does not promise, and are the same in NumPy and torch.

    Parameters
    ----------
    points : ndarray or Tensor of shape (n_points, d)
        Any points.
    columns : sequence of d ndarray or Tensor of shape (m,)
        Of the same kind.

    Returns
    -------
    ndarray or Tensor of shape (n_points, m)
    """
    image = points[:, :1] * columns[0]
    for j in range(1, len(columns)):
        image = image + points[:, j : j + 1] * columns[j]
    return image


def operator_norm(matrix: NDArray[np.float64]) -> float:
    """An upper bound of the largest singular value, tight to a few units of rounding.

    Parameters
    ----------
    matrix : ndarray of shape (m, d), float64
        Finite and small: the proof is exact arithmetic of min(m, d)³ operations.

    Returns
    -------
    float
        The least s that was tried, from the computed value upwards, for which s² I − AᵀA is
        positive semidefinite in rational arithmetic.

    Examples
    --------
    >>> operator_norm(np.array([[3.0, 0.0], [4.0, 0.0]]))
    5.0
    """
    return _norm_of_rows(tuple(map(tuple, matrix.tolist())))


@functools.lru_cache(maxsize=64)
def _norm_of_rows(rows: tuple[tuple[float, ...], ...]) -> float:
    """Asked for at every step of a bisection, and the same each time."""
    entries = [[Fraction(value) for value in row] for row in rows]
    if len(entries) > len(entries[0]):
        entries = [list(column) for column in zip(*entries, strict=True)]
    gram = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in entries] for u in entries]
    norm, slack = float(np.linalg.norm(np.array(rows), 2)), 2.0**-53
    while not _is_semidefinite(Fraction(norm) ** 2, gram):
        norm, slack = norm * (1 + slack) + 5e-324, 2 * slack
    return norm


def _is_semidefinite(square: Fraction, gram: list[list[Any]]) -> bool:
    """Whether square · I − gram has no negative eigenvalue: elimination with exact pivots."""
    n = len(gram)
    left = [[square * (i == j) - gram[i][j] for j in range(n)] for i in range(n)]
    for i in range(n):
        pivot = left[i][i]
        if pivot < 0 or (pivot == 0 and any(left[i][j] for j in range(i + 1, n))):
            return False
        for j in range(i + 1, n):
            if left[j][i]:
                factor = left[j][i] / pivot
                left[j] = [a - factor * b for a, b in zip(left[j], left[i], strict=True)]
    return True
