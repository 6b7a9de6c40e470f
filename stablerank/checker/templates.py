"""Functions of single bars: their k-th largest values (R4), and sums over all bars (R5)."""

from __future__ import annotations

import math

import numpy as np

from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.diagrams import Bars
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import TINY, Array, U, down, gamma, power_up, up
from stablerank.checker.threats import Space

KINDS = ("half lengths", "landscapes", "windows", "persistence images")


def slopes(vectorizer: Stage, k: int, space: Space) -> Array:
    """How far each coordinate of H_k moves when its diagram moves by 1, rounded up.

    The k-th largest value of a template is 1-Lipschitz in bottleneck distance, and in any W_p,
    which is not smaller (R4). A half length moves by half of what a death does (D3), and by
    2^{−1/q} in ground norm ℓ_q, by Hölder.

    Raises
    ------
    NotChecked
        For sums over the bars, which have no constant.
    """
    if vectorizer.kind == "persistence images":
        raise NotChecked("stage", "a sum over the bars has no constant, only boxes")
    n_levels = int(vectorizer.fitted["n_levels_"][k])
    if vectorizer.kind != "half lengths":
        name = "positions_" if vectorizer.kind == "landscapes" else "windows_"
        return np.ones(len(vectorizer.fitted[name][k]) * n_levels)
    if space["metric"] == "wasserstein":
        half = float(power_up(np.array(2.0), 1 - 1 / float(space["q"]))) / 2
        return np.full(n_levels, half)
    return np.full(n_levels, 0.5 if space["metric"] == "ordered deaths" else 1.0)


def box(vectorizer: Stage, k: int, bars: Bars) -> tuple[Array, Array]:
    """What the values of H_k lie between, a row a function and a column a level."""
    if vectorizer.kind == "persistence images":
        return _image(vectorizer, k, bars)
    if vectorizer.kind == "half lengths":
        least, most, new = _half_lengths(bars)
    elif vectorizer.kind == "landscapes":
        least, most, new = _tents(vectorizer.fitted["positions_"][k][:, None], bars)
    else:
        least, most, new = _windows(vectorizer.fitted["windows_"][k], bars)
    n_levels = int(vectorizer.fitted["n_levels_"][k])
    least, most = np.maximum(0.0, least), np.maximum(0.0, most)
    return largest(least, n_levels), np.maximum(largest(most, n_levels), np.maximum(0.0, new))


def largest(values: Array, kept: int) -> Array:
    """The largest along the last axis, padded with zeros."""
    ordered = -np.sort(-values, axis=-1)[..., :kept]
    missing = kept - ordered.shape[-1]
    return np.pad(ordered, [(0, 0)] * (ordered.ndim - 1) + [(0, missing)])


def _half_lengths(bars: Bars) -> tuple[Array, Array, Array]:
    """(d − b)/2."""
    least = down(bars.deaths[0] - bars.births[1]) / 2
    most = up(bars.deaths[1] - bars.births[0]) / 2
    return least[None], most[None], np.array([[bars.longest_new / 2]])


def _tents(t: Array, bars: Bars) -> tuple[Array, Array, Array]:
    """min(t − b, d − t), which falls in b and rises in d."""
    least = down(np.minimum(t - bars.births[1], bars.deaths[0] - t))
    most = up(np.minimum(t - bars.births[0], bars.deaths[1] - t))
    if bars.births_move:
        return least, most, np.minimum(bars.longest_new / 2, up(t - bars.lowest))
    return least, most, np.minimum(t, up(bars.longest_new - t))


def _windows(windows: Array, bars: Bars) -> tuple[Array, Array, Array]:
    """min((d − b)/2, s − ‖(b, d) − c‖_∞): the distance to c is that of the two intervals."""
    b, d, size = (windows[:, i, None] for i in range(3))
    near, far = _to_intervals(b, d, bars)
    least = np.minimum(down(bars.deaths[0] - bars.births[1]) / 2, down(size - far))
    most = np.minimum(up(bars.deaths[1] - bars.births[0]) / 2, up(size - near))
    if bars.births_move:
        # a bar no longer than this is at least so far from c, half of it at either end
        away = np.maximum(down(down(d - b) - bars.longest_new) / 2, down(bars.lowest - b))
    else:
        away = np.maximum(np.abs(b), np.maximum(down(d - bars.longest_new), -d))
    new = np.minimum(bars.longest_new / 2, up(size - np.maximum(0.0, away)))
    return least, most, new


def _image(vectorizer: Stage, k: int, bars: Bars) -> tuple[Array, Array]:
    """Σ (l/2 − τ)₊ exp(−‖(b, d) − c‖²/(2σ²)) over the bars.

    Bars that may appear have weight 0 if none of them is longer than 2τ, and otherwise there may be
    any number of them: no upper end.
    """
    tau, pixels = float(vectorizer.fitted["tau_"][k]), vectorizer.fitted["pixels_"][k]
    b, d, sigma = (pixels[:, i, None] for i in range(3))
    if not 0 <= tau < math.inf or not (sigma > 0).all():
        raise ClaimError("stage", "its pixels have no width, or its weights no threshold >= 0")
    least = np.maximum(0.0, down(down(bars.deaths[0] - bars.births[1]) / 2 - tau))
    most = np.maximum(0.0, up(up(bars.deaths[1] - bars.births[0]) / 2 - tau))
    sums = []
    for weights, distances, outward in (
        (least, _squares(b, d, bars)[1], 1),
        (most, _squares(b, d, bars)[0], -1),
    ):
        # four roundings of the exponent, which grows, and then of the product and of the sum
        exponents = distances / (2 * sigma**2) * (1 + outward * 8 * U) + outward * TINY
        share = gamma(weights.size + 16)
        sums.append((weights * np.exp(-exponents)).sum(axis=1) * (1 - outward * share))
    lower, upper = np.maximum(0.0, sums[0] - TINY), sums[1] + TINY
    unbounded = bars.longest_new > 2 * tau
    return lower, np.full_like(upper, np.inf) if unbounded else upper


def _to_intervals(b: Array, d: Array, bars: Bars) -> tuple[Array, Array]:
    """Of each centre and bar the least and the largest ℓ∞ distance, rounded outward."""
    near, far = zip(_apart(b, bars.births), _apart(d, bars.deaths), strict=True)
    return np.maximum(*near), np.maximum(*far)


def _squares(b: Array, d: Array, bars: Bars) -> tuple[Array, Array]:
    """Of each centre and bar the least and the largest squared ℓ2 distance, up to rounding."""
    near, far = zip(_apart(b, bars.births), _apart(d, bars.deaths), strict=True)
    return near[0] ** 2 + near[1] ** 2, far[0] ** 2 + far[1] ** 2


def _apart(centre: Array, ends: Array) -> tuple[Array, Array]:
    """Of each centre and interval the least and the largest distance, rounded outward."""
    low, high = ends
    near = np.maximum(0.0, down(np.maximum(low - centre, centre - high)))
    return near, up(np.maximum(np.abs(low - centre), np.abs(high - centre)))
