"""Radii from averages over noise: never beyond where the average changes sides, and attained."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, special, stats

from stablerank.certify.smoothed_radii import label_radii, score_radii

Radius = Callable[..., NDArray[np.float64]]


def test_label_radii_by_hand() -> None:
    # Φ⁻¹ of Φ(1.5) and Φ(−0.5) are 2 apart, of which σ/2 counts
    p, q = special.ndtr([1.5, -0.5])
    assert label_radii(p, q, sigma=3.0) == pytest.approx(3.0, rel=1e-11)
    assert label_radii(p, q, sigma=3.0) <= 3.0
    assert label_radii([0.5, 0.3, 0.0, np.nan], [0.5, 0.6, 1.0, 0.1], 1.0).tolist() == [0.0] * 4
    assert label_radii([1.0], [0.0], 1.0).tolist() == [0.0]  # no sample says so


def smoothed_labels(
    edges: NDArray[np.float64], labels: NDArray[np.int64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities of three labels, constant between the edges, under noise of deviation 1."""
    ends = special.ndtr(np.concatenate([[-np.inf], edges, [np.inf]]) - x[:, None])
    pieces = np.diff(ends, axis=1)
    return np.stack([pieces[:, labels == c].sum(axis=1) for c in range(3)], axis=1)


def farthest_beyond(radius: Radius, seed: int, trials: int = 60) -> float:
    """How far beyond a change of the smoothed label the radius reaches at worst."""
    rng, worst = np.random.default_rng(seed), -np.inf
    for _ in range(trials):
        edges = np.sort(rng.normal(scale=2.0, size=6))
        labels = rng.integers(3, size=7)
        grid = np.linspace(-6, 6, 2401)
        tops = smoothed_labels(edges, labels, grid).argmax(axis=1)
        at = smoothed_labels(edges, labels, np.zeros(1))[0]
        top = int(at.argmax())
        changed = np.abs(grid[tops != top])
        second = np.delete(at, top).max()
        if changed.size:
            worst = max(worst, float(radius(at[top], second, 1.0)) - changed.min())
    return worst


def test_labels_stay_within_their_radius(seed: int) -> None:
    assert farthest_beyond(label_radii, seed) <= 0


def test_the_law_of_labels_can_fail(seed: int) -> None:
    assert farthest_beyond(lambda p, q, s: 2 * label_radii(p, q, s), seed) > 0


def test_half_spaces_attain_it() -> None:
    distance = np.array([1e-3, 0.1, 1.0, 4.0])
    for sigma in (0.1, 1.0, 10.0):
        p = special.ndtr(distance / sigma)
        inside = p < 1 - 1e-9
        found = label_radii(p, 1 - p, sigma)
        assert (found <= distance).all()
        np.testing.assert_allclose(found[inside], distance[inside], rtol=1e-6)


def average(h: Callable[[float], float], x: float, sigma: float, breaks: list[float]) -> float:
    """Of a function under noise of the line, piece by piece."""
    ends = [x - 12 * sigma, *sorted(b for b in breaks if abs(b - x) < 12 * sigma), x + 12 * sigma]
    return sum(
        integrate.quad(lambda t: h(t) * stats.norm.pdf(t, x, sigma), a, b, epsabs=1e-13)[0]
        for a, b in itertools.pairwise(ends)
    )


@pytest.mark.parametrize("slope", [0.05, 0.7, 20.0])
@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_ramps_attain_the_radius_of_scores(slope: float, sigma: float) -> None:
    """A ramp with ½ at 0, seen from r: its average is known by quadrature."""
    for r in (0.01, 0.3, 1.0):
        ends = [-0.5 / slope, 0.5 / slope]
        p = average(lambda t: float(np.clip(0.5 + slope * t, 0, 1)), r, sigma, ends)
        if p > 1 - 1e-9:
            continue
        found = float(score_radii(p - 1e-12, slope, sigma))
        assert found <= r
        assert found == pytest.approx(r, rel=1e-5)


def farthest_score(radius: Radius, seed: int, trials: int = 40) -> float:
    """The same for random functions of slopes at most 1 and values in [0, 1], noise of 0.4."""
    rng, worst, sigma = np.random.default_rng(seed), -np.inf, 0.4
    grid = np.linspace(-8, 8, 3201)
    step = grid[1] - grid[0]
    weights = stats.norm.pdf(np.arange(-1600, 1601) * step, scale=sigma)
    weights /= weights.sum()
    for _ in range(trials):
        slopes = np.repeat(rng.choice([-1.0, 0.0, 1.0, 1.0], size=80), 41)[: grid.size]
        values, h = np.empty_like(grid), 0.5
        for i, s in enumerate(slopes):
            h = min(max(h + s * step, 0.0), 1.0)
            values[i] = h
        means = np.convolve(values, weights, mode="same")
        centres = np.flatnonzero((np.abs(grid) < 2) & (means > 0.55))
        below = grid[(np.abs(grid) < 4) & (means <= 0.5)]
        if centres.size == 0 or below.size == 0:
            continue
        chosen = rng.choice(centres, size=20)
        reach = radius(means[chosen], 1.0, sigma)
        nearest = np.abs(grid[chosen][:, None] - below).min(axis=1)
        worst = max(worst, float((reach - nearest).max()))
    return worst


def test_scores_stay_above_one_half_within_their_radius(seed: int) -> None:
    assert farthest_score(score_radii, seed) <= 1e-9


BROKEN: dict[str, Radius] = {
    "half the slope": lambda p, slope, sigma: score_radii(p, slope / 2, sigma),
    "twice the noise": lambda p, slope, sigma: score_radii(p, slope, 2 * sigma),
    "twice the lead": lambda p, slope, sigma: score_radii(np.minimum(2 * p - 0.5, 1), slope, sigma),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_law_of_scores_can_fail(broken: Radius) -> None:
    assert max(farthest_score(broken, seed) for seed in range(3)) > 0.01


def test_no_known_radius_is_larger() -> None:
    """Not that of jumps, and not that of the Lipschitz constant of an average (Delattre et al.)."""
    p = np.linspace(0.501, 0.999, 57)[:, None, None]
    slope = np.array([1e-6, 0.1, 1.0, 10.0, 1e6])[:, None]
    sigma = np.array([0.01, 1.0, 30.0])
    found = np.stack([score_radii(p[..., 0], slope[:, 0], s) for s in sigma], axis=-1)
    jumps = sigma * special.ndtri(p)
    constant = slope * special.erf(1 / (2 * np.sqrt(2) * slope * sigma))
    for known in (jumps, (p - 0.5) / constant):
        assert (found >= known * (1 - 1e-5) - 1e-9 * sigma).all()


def test_limits_and_errors() -> None:
    jump = 2.0 * special.ndtri(0.9)
    for slope in (np.inf, 1e15, 1e9):
        assert score_radii(0.9, slope, 2.0) == pytest.approx(jump, rel=1e-6)
    assert 0 < score_radii(0.9, 0.0, 2.0) < np.inf  # it does not depend on its input
    assert score_radii([0.5, 0.4, np.nan], 1.0, 1.0).tolist() == [0, 0, 0]
    assert score_radii([1.0, 1.5], 1.0, 1.0).tolist() == [0, 0]  # no sample says so
    # without noise the lead is 0.2 at slope 1, of which both errors take their part
    assert score_radii(0.7, 1.0, 1e-6, error=0.05) == pytest.approx(0.1, rel=1e-4)
    assert score_radii(0.7, 1.0, 1e-6, error=0.1) == pytest.approx(0.0, abs=1e-6)
    assert score_radii(0.7, 1.0, 1e-6, error=0.11) == 0
