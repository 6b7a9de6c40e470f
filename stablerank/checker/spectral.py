"""Radii in ℓ2 against the Frobenius norm, derived again: facts D7, N2 and N3.

H0 of alpha and Rips is a spanning tree, whose edges move together; so do, in ℓ2, the vectors made
of them. Two ways lead to the features: by spectral norms of all layers, or by rows of the first
layer that take each block of their inputs in ℓ2 or in ℓ∞. A claim needs one of them.
"""

from __future__ import annotations

import math

import numpy as np

from stablerank.checker import vectors
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.contours import read_contour
from stablerank.checker.model_file import Stage
from stablerank.checker.network import Affine, Distances, Network
from stablerank.checker.rounding import TINY, Array, U, down, gamma, root_up, sum_up, times_up, up

_KISSING = {1: 2.0, 2: 6.0, 3: 12.0, 4: 24.0}
_TRIALS = 20


def radius(
    stages: tuple[Stage, ...], network: Network, each: Array, d: int, top: int, gaps: Array
) -> float:
    """Within which Frobenius distance the class `top` stays ahead, by the better of two ways.

    Parameters
    ----------
    stages : tuple of Stage
        Before the network.
    network : Network
        Its layers.
    each : ndarray of shape (n_features,)
        How far each coordinate of the vectors moves alone (D6), rounded up.
    d : int
        Dimension of the space.
    top : int
        The predicted class.
    gaps : ndarray of shape (n_classes,)
        Lower bounds of z_top − z_j.

    Raises
    ------
    ClaimError
        If neither way is open.
    """
    others = np.arange(len(gaps)) != top
    best = 0.0
    blocks = _blocks(stages, network, each, d)
    for features, steepness in (
        (_by_norms(network, blocks), _l2_steepness(network, top)),
        (_by_first_layer(network, blocks), network.steepness(top)),
    ):
        with np.errstate(divide="ignore"):
            found = down(gaps / times_up(steepness, features))
        best = max(best, float(np.where(others, found, np.inf).min()))
    return best


def spectral_norm_up(matrix: Array) -> float:
    """An upper bound of the largest singular value (Rump 2006).

    The Cholesky factor of A = tI − G as computed exists only if A + Δ is positive semidefinite for
    a |Δ| of norm at most γ_{n+16} tr A, and G is off by γ_k ‖W‖_F² at most.
    """
    if not np.isfinite(matrix).all():
        raise ClaimError("network", "its weights are not finite")
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0:
        return 0.0
    exponent = math.frexp(largest)[1]
    own = np.ldexp(matrix, -exponent)
    own = own if own.shape[0] >= own.shape[1] else own.T
    k, n = own.shape
    frobenius = sum_up(up(own.ravel() ** 2)) + TINY
    gram = own.T @ own
    start = float(np.linalg.eigvalsh(gram)[-1])
    square, step = frobenius, 256 * (n + 4) * U
    for _ in range(_TRIALS):
        t = start * (1 + step)
        step *= 4
        shifted = np.diag(np.full(n, t)) - gram
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            continue
        trace = sum_up(np.abs(np.diagonal(shifted)))
        lost = gamma(k + 4) * frobenius + 2 * gamma(n + 16) * trace + k * n * TINY
        square = min(square, float(up((t + lost) * (1 + 16 * U))))
        break
    try:
        return float(up(math.ldexp(float(up(root_up(square))), exponent)))
    except OverflowError:
        return math.inf


def _blocks(
    stages: tuple[Stage, ...], network: Network, each: Array, d: int
) -> list[tuple[float, Array]]:
    """Of each block of standardised inputs how far they move together, and how far each does."""
    found, start = [], 0
    for filtration, vectorizer in vectors.pairs(stages):
        if vectorizer is None or filtration is None:
            raise NotChecked("route", "fields are not known in ℓ2 here")
        for k in vectors.homology_dimensions(vectorizer):
            size = vectors.size(vectorizer, k)
            own, factor = (x[start : start + size] for x in (each, network.factor))
            start += size
            together, tree = math.inf, {"alpha": 0.5, "rips": 1.0}.get(filtration.kind)
            if tree and k == 0 and vectorizer.kind == "stable ranks" and d in _KISSING:
                # lengths are measured by the contour, whose slope a death is multiplied by
                steepest = read_contour(vectorizer.parameters["contour"]).constant
                moved = float(times_up(_tree(d) * tree, steepest))
                p = float(vectorizer.parameters["p"])
                if p == math.inf:
                    together = moved
                else:
                    left = vectorizer.fitted["max_bars_"][k] - np.arange(size)
                    power = max(0.0, 1 / p - 0.5)
                    tails = np.maximum(left, 0).astype(float) ** power * (1 + gamma(64))
                    own = np.minimum(own, times_up(moved, np.where(left > 0, tails, 0.0)))
            own = np.asarray(times_up(own, factor))
            scaled = float(times_up(together, float(np.max(factor, initial=0.0))))
            found.append((min(scaled, _norm_up(own)), own))
    if start != len(each):
        raise ClaimError("network", "the vectors are not of its length")
    return found


def _tree(d: int) -> float:
    """D7: 2 on the line, √6 in the plane, √(Δ + 2√(Δ − 1)) in space and in R^4."""
    kissing = _KISSING[d]
    if d <= 2:
        return 2.0 if d == 1 else root_up(6.0)
    return root_up(float(up(kissing + 2 * root_up(kissing - 1))))


def _by_norms(network: Network, blocks: list[tuple[float, Array]]) -> float:
    product = _norm_up(np.array([together for together, _ in blocks]))
    for layer in network.layers:
        if isinstance(layer, Distances):
            return math.inf
        if isinstance(layer, Affine):
            product = float(times_up(product, spectral_norm_up(layer.weight)))
    return product


def _by_first_layer(network: Network, blocks: list[tuple[float, Array]]) -> float:
    if not network.layers or not isinstance(network.layers[0], Affine):
        return math.inf
    weight = np.abs(network.layers[0].weight)
    totals, start = np.zeros(len(weight)), 0
    for together, each in blocks:
        rows = weight[:, start : start + len(each)]
        start += len(each)
        shared = times_up(np.array([_norm_up(row) for row in rows]), together)
        alone = [sum_up(np.asarray(times_up(row, each))) for row in rows]
        totals = up(totals + np.minimum(shared, alone))
    product = float(totals.max())
    for layer in network.layers[1:]:
        if isinstance(layer, Affine):
            product = float(times_up(product, max(sum_up(np.abs(row)) for row in layer.weight)))
    return product


def _l2_steepness(network: Network, top: int) -> Array:
    rows = network.head.weight
    return np.array([_norm_up(up(np.abs(rows[top] - row))) for row in rows])


def _norm_up(values: Array) -> float:
    """The ℓ2 norm of numbers >= 0, rounded up."""
    largest = float(np.max(values, initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    ratios = up(values / largest)
    return float(times_up(largest, up(root_up(sum_up(up(ratios * ratios))))))
