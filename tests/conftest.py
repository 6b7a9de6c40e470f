"""One `seed` for every law, and the clouds on which several files test theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

Cloud: TypeAlias = NDArray[np.float64]

hypothesis.settings.register_profile("default", deadline=None, derandomize=True, database=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-seeds", action="store_true", help="run laws for the seeds 0, ..., 99")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("default")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `seed` to whoever asks; it is part of the test's name, so a failure tells it."""
    marks = metafunc.definition.iter_markers("parametrize")
    names = [mark.args[0] for mark in marks]
    chosen = any("seed" in (n.split(",") if isinstance(n, str) else n) for n in names)
    if "seed" in metafunc.fixturenames and not chosen:
        seeds = range(100) if metafunc.config.getoption("--all-seeds") else range(1)
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


@pytest.fixture
def make_clouds() -> Callable[[int, int], dict[str, Cloud]]:
    """A function from a seed and a dimension d to small clouds of every kind in R^d, by name."""
    return _make_clouds


def _make_clouds(seed: int, d: int) -> dict[str, Cloud]:
    rng = np.random.default_rng([seed, d])
    line = np.outer(rng.normal(size=8), rng.normal(size=d)) + rng.normal(size=d)
    flat = rng.normal(size=(12, d))
    flat[:, -1] = 0.5
    centres = rng.uniform(-1, 1, size=(4, d))
    angles = 2 * np.pi * np.arange(7) / 7 + rng.uniform(0, 1)
    ring = np.zeros((7, d))
    ring[:, 0], ring[:, 1] = np.cos(angles), np.sin(angles)
    return {
        "random": rng.uniform(-1, 1, size=(25, d)),
        "clustered": np.repeat(centres, 6, axis=0) + rng.normal(scale=1e-3, size=(24, d)),
        "tightly clustered": np.repeat(centres, 5, axis=0) + rng.normal(scale=1e-9, size=(20, d)),
        "gridded": rng.integers(0, 4, size=(24, d)) / 4,  # with repeated points
        "collinear": line,
        "flat": flat,
        "ring": ring,
        "far away": 1e6 + 1e-3 * rng.normal(size=(15, d)),
        "a pair": rng.normal(size=(2, d)),
        "one point, five times": np.repeat(rng.normal(size=(1, d)), 5, axis=0),
        "one point": rng.normal(size=(1, d)),
    }
