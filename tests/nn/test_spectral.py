"""Spectral norms from above, against 50 digits; and what falls below them by rounding."""

from __future__ import annotations

import math
import re
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stablerank.nn import gram_norm, spectral, spectral_norm_upper

Matrix = NDArray[np.float64]


def exact_norm(matrix: Matrix) -> Any:
    """The largest singular value to 50 digits."""
    with mpmath.workdps(50):
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        rows = mpmath.matrix([[mpmath.mpf(float(x)) for x in row] for row in tall])
        return max(mpmath.svd_r(rows, compute_uv=False))


def excess(matrix: Matrix, bound: float) -> float:
    """bound / norm − 1, where the norm has 50 digits; 0 for two zeros."""
    with mpmath.workdps(50):
        norm = exact_norm(matrix)
        return float(mpmath.mpf(bound) / norm - 1) if norm else bound


def small_matrices(seed: int) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(6, 6))
    nearly = np.outer(rng.normal(size=5), rng.normal(size=5)) + 1e-14 * rng.normal(size=(5, 5))
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    tall, wide = rng.normal(size=(12, 3)), rng.normal(size=(2, 13))
    found = {
        "one number": np.array([[-0.7]]),
        "row": rng.normal(size=(1, 9)),
        "column": rng.normal(size=(9, 1)),
        "square": square,
        "tall": tall,
        "wide": wide,
        "rank one": np.outer(rng.normal(size=8), rng.normal(size=5)),
        "nearly of rank one": nearly,
        "orthogonal": rotation,
        "nearly orthogonal": rotation + 1e-10 * rng.normal(size=(7, 7)),
        "two equal largest": np.diag([3.0, 3.0, 1.0]) @ rotation[:3],
        "ones": np.ones((8, 8)),
        "zero": np.zeros((3, 4)),
        "graded": np.diag(10.0 ** -np.arange(0, 18, 2)) @ rng.normal(size=(9, 9)),
        "Hilbert": 1.0 / (1 + np.arange(8)[:, None] + np.arange(8)),
        "mixed magnitudes": square * 10.0 ** rng.integers(-200, 1, size=(6, 6)),
        "of float32": square.astype(np.float32).astype(np.float64),
    }
    for scale in (1e-300, 1e-160, 1e160, 1e300):
        found[f"square times {scale:g}"] = square * scale
        found[f"rotation times {scale:g}"] = rotation * scale
    found["subnormal"] = rng.integers(-9, 10, size=(4, 4)) * 5e-324
    return found


# Closed form.


def test_norms_that_are_known() -> None:
    for value in (0.0, 1.0, -3.0, 1e-300, 1e300, 5e-324):
        bound = spectral_norm_upper([[value]])
        assert abs(value) <= bound <= abs(value) * (1 + 1e-12) + 5e-324
    # all ones of n by m: √(nm); a permutation: 1
    assert 0 <= spectral_norm_upper(np.ones((4, 9))) / 6 - 1 < 1e-12
    assert 0 <= spectral_norm_upper(np.eye(50)[::-1]) - 1 < 1e-12


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 2)])
def test_nothing_and_zero(shape: tuple[int, int]) -> None:
    assert spectral_norm_upper(np.zeros(shape)) == 0.0
    weight = torch.zeros(shape, requires_grad=True)
    norm = gram_norm(weight)
    norm.backward()
    assert norm == 0
    assert weight.grad is not None
    assert (weight.grad == 0).all()


# The law: never below, and hardly above.


def test_the_bound_is_above_the_norm_to_fifty_digits(seed: int) -> None:
    for name, matrix in small_matrices(seed).items():
        room = excess(matrix, spectral_norm_upper(matrix))
        assert room >= 0, name
        # subnormal norms are whole multiples of 5e-324
        assert room < (1e-12 if name != "subnormal" else 0.5), name


def from_below(matrix: Matrix) -> Any:
    """|Wv|/|v| in exact arithmetic, v the singular vector as computed: the norm to 25 digits."""
    v = np.linalg.svd(matrix)[2][0]
    with mpmath.workdps(50):
        vector = [mpmath.mpf(float(x)) for x in v]
        image = [mpmath.fdot(zip(map(float, row), vector, strict=True)) for row in matrix]
        return mpmath.norm(image) / mpmath.norm(vector)


@pytest.mark.parametrize(("n_out", "n_in"), [(64, 64), (128, 40), (16, 256), (256, 256)])
def test_larger_matrices(n_out: int, n_in: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(n_out, n_in))
    room = float(mpmath.mpf(spectral_norm_upper(matrix)) / from_below(matrix) - 1)
    assert 0 <= room < 1e-10


def test_a_thousand_rows_and_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=1024), rng.normal(size=1024)
    signs = np.ones((1, 1))
    while len(signs) < 1024:  # Hadamard: orthogonal times 32, exactly
        signs = np.block([[signs, signs], [signs, -signs]])
    assert 0 <= spectral_norm_upper(signs) / 32 - 1 < 1e-9
    # entries of few bits: the outer product is exact, and its norm |u| |v|
    u, v = np.round(u * 64), np.round(v * 64)
    room = spectral_norm_upper(np.outer(u, v)) / math.sqrt(float(u @ u) * float(v @ v)) - 1
    assert -4e-16 <= room < 1e-9


def test_it_follows_powers_of_two_to_the_last_bit(seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(5, 7))
    bound = spectral_norm_upper(matrix)
    for exponent in (-900, -3, 4, 900):
        assert spectral_norm_upper(np.ldexp(matrix, exponent)) == math.ldexp(bound, exponent)
    assert spectral_norm_upper(matrix.T) == pytest.approx(bound, rel=1e-12)


def test_beyond_all_numbers() -> None:
    assert spectral_norm_upper(np.full((4, 4), 1e308)) == math.inf


# What is not a bound.


def power_iteration(matrix: Matrix, steps: int) -> float:
    v = np.random.default_rng(1).normal(size=matrix.shape[1])
    for _ in range(steps):
        v = matrix.T @ (matrix @ v)
        v /= np.linalg.norm(v)
    return float(np.linalg.norm(matrix @ v))


def test_power_and_gram_iteration_fall_below_the_norm_in_floats() -> None:
    rng = np.random.default_rng(0)  # how many fall below is a matter of luck
    below = {"power": 0, "gram": 0, "gram, float32": 0}
    for _ in range(8):
        matrix = rng.normal(size=(6, 6)).astype(np.float32).astype(np.float64)
        weight = torch.from_numpy(matrix)
        below["power"] += excess(matrix, power_iteration(matrix, 5)) < 0
        below["gram"] += excess(matrix, float(gram_norm(weight, 40))) < 0
        below["gram, float32"] += excess(matrix, float(gram_norm(weight.float(), 30))) < 0
        assert excess(matrix, spectral_norm_upper(matrix)) >= 0
    assert min(below.values()) > 0, below
    assert below["power"] == 8  # before it converges always


def test_the_law_above_can_fail(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    # A factor is found for t a little below the largest eigenvalue: without its error t is no bound
    matrix = np.ones((64, 64))
    largest = np.linalg.eigvalsh

    def too_small(gram: Matrix) -> Matrix:
        return np.asarray(largest(gram) * (1 - 1e-11))

    monkeypatch.setattr(np.linalg, "eigvalsh", too_small)
    assert spectral_norm_upper(matrix) >= 64  # t grows until it is verified
    monkeypatch.setattr(spectral, "_frobenius_upper", lambda matrix: 0.0)
    monkeypatch.setattr(spectral, "_gamma", lambda n: 0.0)
    # whoever takes any square matrix for its factor is told so by what is missing
    monkeypatch.setattr(np.linalg, "cholesky", lambda matrix: np.zeros_like(matrix))
    assert spectral_norm_upper(matrix) < 64


def test_a_wrong_factor_is_charged(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(6, 6))
    cholesky = np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda a: 0.9 * cholesky(a))
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda a: np.array([0.1]))
    assert spectral_norm_upper(matrix) >= np.linalg.norm(matrix, 2)


# Gram iteration, for training.


@pytest.mark.parametrize("iterations", [0, 1, 3, 6, 12])
def test_gram_iteration_is_a_norm_of_the_singular_values(iterations: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape in ((5, 5), (9, 4), (4, 9)):
        matrix = rng.normal(size=shape)
        values = np.linalg.svd(matrix, compute_uv=False)
        expected = np.linalg.norm(values / values[0], 2.0 ** (iterations + 1)) * values[0]
        for scale in (1.0, 1e-200, 1e200, 1e300):
            found = float(gram_norm(torch.from_numpy(matrix * scale), iterations))
            assert found == pytest.approx(expected * scale, rel=1e-12)
            if iterations < 6:
                assert found > values[0] * scale


def test_gram_iteration_has_gradients(seed: int) -> None:
    torch.manual_seed(seed)
    for shape in ((4, 4), (2, 5), (6, 3)):
        weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(gram_norm, (weight, 4))
    # towards u vᵀ of the largest singular value
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    gram_norm(weight, 12).backward()
    u, _, v = torch.linalg.svd(weight.detach())
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.outer(u[:, 0], v[0]), atol=1e-6, rtol=0)


def test_dtypes_and_inputs(seed: int) -> None:
    single = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    assert gram_norm(single).dtype == torch.float32
    exact = single.double().numpy()
    assert spectral_norm_upper(single.requires_grad_()) == spectral_norm_upper(exact)
    exact.flags.writeable = False
    before = exact.copy()
    spectral_norm_upper(exact)
    assert (exact == before).all()


# Refusals.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_norm(bad: float) -> None:
    matrix = np.ones((3, 3))
    matrix[1, 2] = bad
    for norm in (spectral_norm_upper, gram_norm):
        with pytest.raises(ValueError, match="weight has entries that are NaN or infinite"):
            norm(torch.from_numpy(matrix))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 3, 3)])
def test_only_matrices(shape: tuple[int, ...]) -> None:
    for norm in (spectral_norm_upper, gram_norm):
        message = re.escape(f"weight has shape {shape}: expected a matrix (n_out, n_in)")
        with pytest.raises(ValueError, match=message):
            norm(torch.ones(shape))


@pytest.mark.parametrize("iterations", [-1, 1.5, True, None])
def test_iterations_are_counted(iterations: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"iterations={iterations!r}: expected an int")):
        gram_norm(torch.ones(2, 2), iterations)
