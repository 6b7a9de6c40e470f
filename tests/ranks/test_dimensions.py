"""Each homology dimension with a contour of its own: vectors, constants, boxes, files (R3)."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from stablerank.diagrams import DiagramBatch
from stablerank.diagrams.ball import DiagramBall
from stablerank.ranks import Contour, DistanceContour, StableRank, StepDistanceContour
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityChain
from stablerank.stage_files import plain_stage, read_stage

CONTOURS: dict[int, Contour | Any] = {
    0: StepDistanceContour([0.5], [3.0, 0.25]),
    1: DistanceContour([1.0], [0.5], [1.0], floor=0.1),
    2: "standard",
}


def batch(seed: int = 0, n: int = 30) -> DiagramBatch:
    rng = np.random.default_rng(seed)
    diagrams = []
    for _ in range(n):
        births = [np.zeros(6), rng.uniform(0, 2, 5), rng.uniform(0, 2, 4)]
        bars = [np.column_stack([b, b + rng.exponential(size=b.size)]) for b in births]
        diagrams.append(dict(enumerate(bars)))
    return DiagramBatch.from_diagrams(diagrams)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_every_dimension_is_as_if_it_were_alone(p: float, seed: int) -> None:
    diagrams = batch(seed)
    together = StableRank(p=p, contour=CONTOURS, n_ranks=4).fit(diagrams)
    bars = {k: torch.from_numpy(diagrams.padded(k)).unbind(-1) for k in CONTOURS}
    metrics = {0: ORDERED_DEATHS, 1: BOTTLENECK, 2: BOTTLENECK}
    source = Space("product", parts=tuple((f"H{k}", metric) for k, metric in metrics.items()))
    ball = DiagramBall(diagrams, dict.fromkeys(metrics, np.full(30, 0.1)), metrics)
    vectors, constants = together.transform(diagrams), together.stability(source)
    lower, upper = together.bounds(ball)
    errors = []
    for k, contour in CONTOURS.items():
        part = slice(4 * k, 4 * k + 4)
        own = DiagramBatch({k: diagrams.bars[k]}, {k: diagrams.offsets[k]})
        alone = StableRank(p=p, contour=contour, n_ranks=4).fit(own)
        assert np.array_equal(vectors[:, part], alone.transform(own))
        assert torch.equal(together.from_bars(bars)[:, part], alone.from_bars(bars))
        expected = StabilityChain(alone.stability(source)).constants
        assert np.array_equal(StabilityChain(constants).constants[part], expected)
        small = DiagramBall(own, {k: ball.reach[k]}, {k: metrics[k]})
        for found, end in zip((lower, upper), alone.bounds(small), strict=True):
            assert torch.equal(found[:, part], end)
        errors.append(alone.rounding(own, 1e-14, np.full(30, 0.1)))
    found = together.rounding(diagrams, 1e-14, np.full(30, 0.1))
    assert found == pytest.approx(np.max(errors, axis=0), rel=1e-12)


def test_files_keep_the_contours_and_what_has_none_is_named() -> None:
    rank = StableRank(contour=CONTOURS, n_ranks=4).fit(batch())
    loaded = read_stage(plain_stage(rank))
    assert loaded.contour == CONTOURS
    assert np.array_equal(loaded.transform(batch(1)), rank.transform(batch(1)))
    assert clone(rank).contour == CONTOURS
    some = {k: CONTOURS[k] for k in (0, 1)}
    with pytest.raises(ValueError, match=re.escape("contour has entries for [0, 1], none for H2")):
        StableRank(contour=some).fit(batch())
    with pytest.raises(ValueError, match=re.escape("contour='length': expected")):
        StableRank(contour={**some, 2: "length"}).fit(batch())
