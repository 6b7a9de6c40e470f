"""Certificates from diagrams that know their clouds are those of the clouds, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from stablerank import (
    AlphaPersistence,
    Certificates,
    DiagramBatch,
    LipschitzClassifier,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.diagrams import CloudDiagrams, DiagramShards, transform_to_shards

Cloud = NDArray[np.float64]
Fitted = tuple[StableRankClassifier, list[Cloud], NDArray[np.int64]]
THREATS: list[dict[str, Any]] = [
    {"threat": "per_point"},
    {"threat": "hausdorff"},
    {"threat": "per_coordinate"},
    {"threat": "bottleneck"},
    {"threat": "wasserstein", "p": 1.0, "q": 2.0},
]


@pytest.fixture
def shards(fitted: Fitted, tmp_path: Path) -> DiagramShards:
    model, X, y = fitted
    persistence = model.pipeline_[0]
    return transform_to_shards(persistence, iter(X), tmp_path / "s", labels=y, shard_size=7)


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat["threat"])
def test_certificates_from_shards_are_those_of_the_clouds(
    fitted: Fitted, shards: DiagramShards, threat: dict[str, Any]
) -> None:
    model, X, _ = fitted
    inputs: Any = X
    if threat["threat"] in ("bottleneck", "wasserstein"):
        inputs = model.pipeline_[0].transform(X)
    expected = [certify(model, inputs[i : i + 7], **threat) for i in range(0, len(X), 7)]
    for found in (certify(model, shards, **threat), Certificates.concatenate(expected)):
        for name in ("radius", "prediction", "margin"):
            parts = [getattr(part, name) for part in expected]
            assert np.array_equal(getattr(found, name), np.concatenate(parts))
        assert found.chain == expected[0].chain
        assert (found.threat, found.unit) == (threat["threat"], expected[0].unit)
    assert (np.concatenate([part.radius for part in expected]) > 0).any()
    part = certify(model, shards[7:21], **threat)
    assert np.array_equal(part.radius, certify(model, shards, **threat).radius[7:21])
    known = certify(model, CloudDiagrams.compute(model.pipeline_[0], X), **threat)
    assert np.array_equal(known.radius, certify(model, inputs, **threat).radius)


def test_the_largest_values_are_charged(
    threshold: Callable[..., LipschitzClassifier],
) -> None:
    # A pair at distance 2 has one bar, [0, 1], and the threshold is at 2: the radius is 1, less
    # rounding. A far point that its bar in H0 does not show, since one rank is kept, is charged.
    persistence = AlphaPersistence((0,)).fit([np.zeros((2, 2))])
    ranks = StableRank(n_ranks=1).fit([{0: [[0, 1]]}])
    pipeline = Pipeline([("a", persistence), ("b", ranks), ("c", threshold(1, 0, 2.0))])
    X = [np.array([[0.0, 0.0], [2.0, 0.0]])]
    known = CloudDiagrams.compute(persistence, X)
    radius = certify(pipeline, X).radius[0]
    assert 1 - 1e-9 < radius < 1
    assert certify(pipeline, known).radius[0] == radius
    # the test of the test: with other values the radius is another, in the expected direction
    larger = CloudDiagrams(known.bars, known.offsets, 1e6 * known.largest_values, known.filtration)
    assert certify(pipeline, larger).radius[0] < radius
    none = CloudDiagrams(known.bars, known.offsets, 0 * known.largest_values, known.filtration)
    assert certify(pipeline, none).radius[0] > radius


def test_diagrams_of_other_filtrations_are_refused(fitted: Fitted, tmp_path: Path) -> None:
    model, X, _ = fitted
    for other in (AlphaPersistence(engine="gudhi"), AlphaPersistence((1, 0), precision="safe")):
        known = CloudDiagrams.compute(other.fit(X), X)
        with pytest.raises(ValueError, match="were not computed by this AlphaPersistence"):
            certify(model, known)
    space = [np.c_[x, np.zeros(len(x))] for x in X]
    known = CloudDiagrams.compute(AlphaPersistence().fit(space), space)
    with pytest.raises(ValueError, match="in another dimension"):
        certify(model, known)
    made = transform_to_shards(AlphaPersistence(engine="gudhi"), X, tmp_path)
    with pytest.raises(ValueError, match="Compute them again with this one"):
        certify(model, made)


def test_diagrams_that_do_not_know_their_clouds_are_refused(fitted: Fitted) -> None:
    model, X, _ = fitted
    known = CloudDiagrams.compute(model.pipeline_[0], X)
    unknown = DiagramBatch(known.bars, known.offsets)
    with pytest.raises(ValueError, match=re.escape("CloudDiagrams.compute(pipeline[0], clouds)")):
        certify(model, unknown)
    with pytest.raises(ValueError, match="behind the persistence: certify the whole"):
        certify(model.pipeline_[1:], known)  # without the filtration there is no constant


def test_only_equal_claims_are_concatenated(fitted: Fitted) -> None:
    model, X, _ = fitted
    parts = [certify(model, X[:2], threat=threat) for threat in ("per_point", "hausdorff")]
    with pytest.raises(ValueError, match="2 certificates of 2 different claims"):
        Certificates.concatenate(parts)
    with pytest.raises(ValueError, match="0 certificates of 0 different claims"):
        Certificates.concatenate([])
