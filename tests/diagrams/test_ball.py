"""The ball of diagrams: what it holds, how it rounds, what it refuses, and that clouds stay in."""

from __future__ import annotations

import re

import gudhi.hera
import numpy as np
import pytest

from stablerank.diagrams import (
    AlphaPersistence,
    DiagramBall,
    DiagramBatch,
    DistanceToMeasurePersistence,
    RipsPersistence,
)
from stablerank.stability import BOTTLENECK, FROBENIUS, LINF, ORDERED_DEATHS, StabilityError

BATCH = DiagramBatch.from_diagrams(
    [{0: [[0, 2], [0, 1]], 1: [[1, 3]]}, {0: [[0, 4]], 1: np.empty((0, 2))}]
)
METRICS = {0: ORDERED_DEATHS, 1: BOTTLENECK}


def ball(*reach: float, lowest: float = 0.0) -> DiagramBall:
    return DiagramBall(BATCH, {0: np.array(reach), 1: np.array(reach)}, METRICS, lowest)


def test_intervals_by_hand() -> None:
    births, deaths = ball(0.5, 5.0).intervals(0)
    assert (births == 0).all()
    np.testing.assert_allclose(deaths[0], [[1.5, 2.5], [0.5, 1.5]], rtol=1e-15)
    np.testing.assert_allclose(deaths[1], [[0, 9], [0, 5]], rtol=1e-15)  # the second is padding
    births, deaths = ball(1.5, 0.25).intervals(1)
    np.testing.assert_allclose(births[0], [[0, 2.5]], rtol=1e-15)  # clipped at 0
    np.testing.assert_allclose(deaths[0], [[1.5, 4.5]], rtol=1e-15)
    births, _ = ball(1.5, 0.25, lowest=-np.inf).intervals(1)
    np.testing.assert_allclose(births[0], [[-0.5, 2.5]], rtol=1e-15)


def test_ends_round_outward_and_a_reach_of_zero_moves_nothing() -> None:
    births, deaths = ball(0.1, 0.0).intervals(1)
    assert births[0, 0, 0] < 1 - 0.1
    assert deaths[0, 0, 1] > 3 + 0.1
    births, deaths = ball(0.0, 0.0).intervals(0)
    assert (deaths[..., 0] == deaths[..., 1]).all()
    assert deaths[0, 0, 0] == 2


@pytest.mark.parametrize(
    ("reach", "metrics", "error", "message"),
    [
        ({0: np.zeros(2)}, METRICS, ValueError, "reach has [0]"),
        ({0: np.zeros(3), 1: np.zeros(2)}, METRICS, ValueError, "reach[0] has shape (3,)"),
        ({0: np.zeros(2), 1: np.array([0, -1.0])}, METRICS, ValueError, "reach[1][1] is"),
        ({0: np.zeros(2), 1: np.array([np.nan, 0])}, METRICS, ValueError, "reach[1][0] is"),
        (
            {0: np.zeros(2), 1: np.zeros(2)},
            {0: ORDERED_DEATHS, 1: ORDERED_DEATHS},
            StabilityError,
            "births are all 0",
        ),
        (
            {0: np.zeros(2), 1: np.zeros(2)},
            {0: LINF, 1: BOTTLENECK},
            StabilityError,
            "not in vector[linf]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(reach, metrics, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=re.escape(message)):
        DiagramBall(BATCH, reach, metrics)


@pytest.mark.parametrize("filtration", [AlphaPersistence(), RipsPersistence()])
def test_moved_clouds_stay_in_the_ball(filtration, seed: int) -> None:  # type: ignore[no-untyped-def]
    """And would not stay in one of half the reach: the test can fail."""
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform(size=(n, 2)) for n in (2, 5, 20, 40)]
    # the two points of the first cloud move straight apart: D3 is attained
    shifts = [rng.normal(size=cloud.shape) for cloud in clouds]
    shifts[0] = np.array([-1.0, 1.0])[:, None] * (clouds[0][1] - clouds[0][0])
    epsilon = np.array([0.01, 0.02, 0.03, 0.001])
    moved = [
        cloud + e * shift / np.linalg.norm(shift, axis=1, keepdims=True)
        for cloud, shift, e in zip(clouds, shifts, epsilon * (1 - 1e-12), strict=True)
    ]
    around = filtration.fit(clouds).bounds(clouds, epsilon)
    diagrams = filtration.transform(moved)
    assert around.lowest == 0.0
    worst = 0.0
    for i in range(len(clouds)):
        deaths = [b.diagram(i, 0)[:, 1] for b in (around.diagrams, diagrams)]
        gap = float(np.abs(deaths[0] - deaths[1]).max())
        assert gap <= around.reach[0][i]
        worst = max(worst, gap / around.reach[0][i])
        distance = gudhi.hera.bottleneck_distance(
            around.diagrams.diagram(i, 1), diagrams.diagram(i, 1), 0.0
        )
        assert distance <= around.reach[1][i] * (1 + 1e-12)
    assert worst > 0.99


def test_epsilon_is_checked() -> None:
    cloud = [np.eye(2)]
    filtration = AlphaPersistence().fit(cloud)
    for epsilon in (-1.0, np.nan, np.inf, [0.1, 0.2]):
        with pytest.raises(ValueError, match="epsilon"):
            filtration.bounds(cloud, epsilon)


def test_rounding_follows_the_points_where_values_move_less() -> None:
    """On a torus coordinates are wrapped: points that go far round more than values that do not.

    The ball used to charge the rounding of values up to M + ρ/√k, for points that move by ρ.
    """
    cloud = [np.random.default_rng(0).uniform(size=(30, 2))]
    box = ((0.0, 0.0), (1.0, 1.0))
    filtration = DistanceToMeasurePersistence(16, resolution=4, box=box, periodic=True).fit(cloud)
    rho = 1e6
    ball = filtration.bounds(cloud, rho, source=FROBENIUS)
    charged = ball.reach[0][0] - rho / 4
    assert charged >= filtration.relative_rounding() * rho
