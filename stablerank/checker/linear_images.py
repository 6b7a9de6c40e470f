"""Images of clouds under one matrix A: all distances grow by at most its largest singular value."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from stablerank.checker.claims import ClaimError
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U


def matrix_of(stage: Stage) -> Array:
    """The matrix of a stage.

    Raises
    ------
    ClaimError
        If it is none.
    """
    matrix = np.asarray(stage.parameters["matrix"], dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ClaimError("stage", "its matrix is none")
    if matrix.shape[1] != stage.fitted.get("dimension_"):
        raise ClaimError("stage", f"its matrix takes no points of R^{stage.fitted['dimension_']}")
    return matrix


def inner_of(stage: Stage) -> Stage:
    """The filtration of the images.

    Raises
    ------
    ClaimError
        If there is none.
    """
    inner = stage.fitted.get("mapped_filtration_")
    if not isinstance(inner, Stage):
        raise ClaimError("stage", "there is no filtration behind its matrix")
    return inner


def images(matrix: Array, cloud: Array) -> tuple[Array, float]:
    """All Ax, and how far one of them is off at most, in ℓ2: by γ_{d+1} of Σ |A_ij| |x_j|."""
    if cloud.ndim != 2 or cloud.shape[1] != matrix.shape[1]:
        raise ClaimError("cloud", f"it lies not in R^{matrix.shape[1]}, where the model does")
    sizes = np.abs(cloud) @ np.abs(matrix).T
    off = (matrix.shape[1] + 2) * U * float(np.linalg.norm(sizes, axis=1).max(initial=0.0))
    return cloud @ matrix.T, off * (1 + 1e-9) + 1e-140


def norm_up(matrix: Array) -> float:
    """A number not below the largest singular value, by exact arithmetic.

    s is none if s² − AᵀA has a pivot that is not positive in exact elimination; the computed
    singular value, raised until all are, is hardly larger than the true one.
    """
    columns = [[Fraction(value) for value in column] for column in matrix.T.tolist()]
    gram = [[_product(u, v) for v in columns] for u in columns]
    norm, step = float(np.linalg.norm(matrix, 2)), 2.0**-52
    while True:
        norm *= 1 + step
        if norm > 0 and _is_definite(Fraction(norm) ** 2, gram):
            return norm
        step *= 2
        if not norm > 0 or step > 1:
            raise ClaimError("stage", "the norm of its matrix is not a number")


def _is_definite(square: Fraction, gram: list[list[Fraction]]) -> bool:
    left = [
        [square * (i == j) - entry for j, entry in enumerate(row)] for i, row in enumerate(gram)
    ]
    for i, row in enumerate(left):
        if row[i] <= 0:
            return False
        for below in left[i + 1 :]:
            factor = below[i] / row[i]
            below[:] = [a - factor * b for a, b in zip(below, row, strict=True)]
    return True


def _product(u: list[Fraction], v: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(u, v, strict=True)), Fraction(0))
