"""Frobenius norm on the points (fact D6): the law, where it is tight, and that it can fail."""

from __future__ import annotations

import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.diagrams import AlphaPersistence, RipsPersistence
from stablerank.stability import FROBENIUS

FILTRATIONS = {
    "alpha in the plane": (AlphaPersistence(), 2),
    "alpha in space": (AlphaPersistence(homology_dimensions=(0, 1, 2)), 3),
    "Rips": (RipsPersistence(), 2),
}


def pairs(d: int, seed: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Clouds and moved ones; in the last pair two points move straight apart, where D6 is tight."""
    rng = np.random.default_rng(seed)
    found = []
    for n in (2, 3, 4, 8, 20):
        cloud = rng.normal(size=(n, d))
        for size in (1e-3, 0.1):
            field = rng.normal(size=(n, d)) * (rng.uniform(size=(n, 1)) < rng.choice([0.3, 1.0]))
            found.append((cloud, cloud + size * field))
    two = np.zeros((2, d))
    two[1, 0] = 1.0
    apart = two.copy()
    apart[:, 0] += [-0.1, 0.1]
    return [*found, (two, apart)]


def excess(name: str, seed: int, factor: float = 1.0) -> tuple[float, float]:
    """How far diagrams moved beyond factor times the constant, and the largest share of it."""
    filtration, d = FILTRATIONS[name]
    worst, share = -np.inf, 0.0
    for cloud, moved in pairs(d, seed):
        before, after = filtration.fit([cloud]).transform([cloud, moved])
        norm = float(np.linalg.norm(moved - cloud))
        for label, bound in filtration.stability(FROBENIUS).branches.items():
            k = int(label[1:])
            allowed = factor * bound.constant * norm
            if k == 0:
                gap = float(np.abs(np.sort(before[0][:, 1]) - np.sort(after[0][:, 1])).max())
            else:
                gap = gudhi.hera.bottleneck_distance(before[k], after[k], 0.0)
            worst = max(worst, gap - allowed - 1e-12)
            share = max(share, gap / allowed) if allowed else share
    return worst, share


@pytest.mark.parametrize("name", FILTRATIONS)
def test_diagrams_follow_the_frobenius_norm(name: str, seed: int) -> None:
    worst, share = excess(name, seed)
    assert worst <= 0
    assert share > 0.999999  # two points that move straight apart


@pytest.mark.parametrize("name", FILTRATIONS)
def test_the_law_above_can_fail(name: str, seed: int) -> None:
    assert excess(name, seed, factor=0.99)[0] > 0
