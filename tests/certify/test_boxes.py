"""The bisection behind local certificates: at any scale, and whatever the boxes say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import AlphaPersistence, DiagramBatch, LipschitzClassifier, StableRank, certify
from stablerank.certify.boxes import largest_sizes

MakeThreshold = Callable[..., LipschitzClassifier]
Sizes = NDArray[np.float64]

WITHIN = 4 ** (2.0**-12) * (1 + 1e-6)
"""Twelve bisections of a factor of 4 leave this one."""


def pair(apart: float) -> list[Sizes]:
    """Two points: their only bar dies at half their distance."""
    return [np.array([[0.0, 0.0], [apart, 0.0]])]


def found(limits: Sizes, start: float = 0.0, scale: float = 1.0) -> Sizes:
    """What is found of boxes that keep the class up to `limits`."""
    n = len(limits)

    def keeps(sizes: Sizes, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        assert np.isfinite(sizes).all()
        assert (sizes >= 0).all()
        return np.asarray(sizes <= limits[rows])

    return largest_sizes(keeps, np.full(n, start), np.full(n, scale))


def test_limits_are_found_from_below_to_0_04_percent(seed: int) -> None:
    limits = 10.0 ** np.random.default_rng(seed).uniform(-11, 11, size=200)
    sizes = found(limits)
    assert (sizes <= limits).all()
    assert (limits <= sizes * WITHIN).all()


def test_a_start_that_is_certified_is_not_lost() -> None:
    assert found(np.array([3.0]), start=3.0)[0] == pytest.approx(3.0, rel=1e-9)
    assert found(np.array([0.0]), start=3.0)[0] == 0.0


@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1e-160, 1e160, 1e200, 1e297])
def test_no_scale_is_too_large_or_too_small(scale: float) -> None:
    # 1e200 squared is infinite, and was asked about; 1e-200 squared is 0, and was as well
    limits = np.array([1e-3, 0.4, 900.0]) * scale
    sizes = found(limits, scale=scale)
    assert (sizes <= limits).all()
    assert (limits <= sizes * WITHIN).all()


def test_a_scale_far_off_is_left_behind() -> None:
    # coinciding points have the scale of their rounding, 1e-123, and were certified up to 1e-99
    sizes = found(np.array([0.25]), scale=1e-123)
    assert sizes[0] <= 0.25 <= sizes[0] * WITHIN


def test_what_never_changes_has_a_finite_size_and_what_never_holds_has_none() -> None:
    for scale in (1e-200, 1.0, 1e299):
        always, never = found(np.array([math.inf, -1.0]), scale=scale)
        assert 0 < always < math.inf
        assert never == 0


@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1.0, 1e200, 1e299])
@pytest.mark.parametrize("method", ["best", "interval", "linear"])
def test_clouds_of_any_scale_are_certified_alike(
    scale: float, method: str, threshold: MakeThreshold
) -> None:
    # the bar of two points a apart dies at a/2 = 0.5, 0.1 above the threshold
    X = pair(scale)
    stages = AlphaPersistence((0,)).fit(X), StableRank(n_ranks=1).fit([{0: [[0, 1]]}])
    model = make_pipeline(*stages, threshold(1, 0, 0.4 * scale, scale=scale))
    radius = certify(model, X, method=method).radius[0] / scale
    assert 0.1 / WITHIN <= radius < 0.1


@pytest.mark.parametrize("scale", [1e200, 1e300])
def test_diagrams_of_any_scale_are_certified_alike(scale: float, threshold: MakeThreshold) -> None:
    diagrams = DiagramBatch.from_diagrams([{1: [[0.0, scale]]}])
    ranks = StableRank(n_ranks=1).fit(diagrams)
    model = make_pipeline(ranks, threshold(1, 0, 0.4 * scale, scale=scale))
    claims = certify(model, diagrams, threat="bottleneck", method="linear")
    assert 0.3 / WITHIN <= claims.radius[0] / scale < 0.3


@pytest.mark.parametrize("cloud", [[[3.0, 4.0]], [[7.0, 7.0]] * 5, [[0.0, 0.0]]], ids=str)
def test_points_that_coincide_are_certified_as_far_as_others(
    cloud: list[list[float]], threshold: MakeThreshold
) -> None:
    # no bar, and none dies later than ε: the threshold 1 is 1 away
    stages = AlphaPersistence((0,)).fit([cloud]), StableRank(n_ranks=1).fit([{0: [[0, 1]]}])
    model = make_pipeline(*stages, threshold(1, 0, 1.0))
    assert 1 / WITHIN <= certify(model, [cloud], method="interval").radius[0] < 1
