"""Unions of stages: their constants, boxes and certificates, and estimators that use them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    DistanceToMeasurePersistence,
    HalfLengths,
    Landscapes,
    LipschitzUnion,
    RipsPersistence,
    StabilityError,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.attack import attack
from stablerank.certify.inputs import study
from stablerank.stability import FROBENIUS, HAUSDORFF, PER_POINT
from stablerank.stages import chain_of_stages

N = 40


def clouds(seed: int = 0) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(N):
        angles = rng.uniform(0, 2 * np.pi, size=30)
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        found.append(0.1 * rng.normal(size=(30, 2)) + (ring if i % 2 else rng.uniform(-1, 1, 2)))
    return found


X, Y = clouds(), np.arange(N) % 2
VECTORIZERS = LipschitzUnion(
    [("ranks", StableRank(p=2, n_ranks=10)), ("landscapes", Landscapes(4, 3))]
)
FILTRATIONS = LipschitzUnion(
    [
        ("alpha", make_pipeline(AlphaPersistence(), VECTORIZERS)),
        ("rips", make_pipeline(RipsPersistence(homology_dimensions=(0,)), StableRank(n_ranks=5))),
        (
            "grid",
            make_pipeline(
                DistanceToMeasurePersistence(5, resolution=8, box=((-2, -2), (2, 2))),
                HalfLengths(n_levels=4),
            ),
        ),
    ]
)
MODELS: dict[str, dict[str, Any]] = {
    "vectorizers": {"ranks": VECTORIZERS},
    "filtrations": {"persistence": FILTRATIONS},
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> StableRankClassifier:
    settings = MODELS[request.param]
    return StableRankClassifier(
        random_state=0, max_epochs=20, network__hidden=(16, 16), **settings
    ).fit(X, Y)


def test_a_union_joins_what_its_branches_say() -> None:
    union = clone(FILTRATIONS)
    vectors = union.fit_transform(X)
    names, chains = [], []
    for name, stages in union.branches():
        one = X
        for stage in stages:
            one = stage.transform(one)
        names.append((name, one.shape[1]))
        chains.append(chain_of_stages(stages, PER_POINT).constants)
        start = sum(width for _, width in names[:-1])
        assert (vectors[:, start : start + one.shape[1]] == one).all()
    together = chain_of_stages([union], PER_POINT)
    np.testing.assert_array_equal(together.constants, np.concatenate(chains))
    assert together.constant == max(c.max() for c in chains)
    features = union.get_feature_names_out()
    assert len(set(features)) == vectors.shape[1]
    assert features[0] == "alpha__ranks__H0_rank0"


def moved(rng: np.random.Generator, cloud: NDArray[np.float64], epsilon: float) -> Any:
    steps = rng.normal(size=cloud.shape)
    return cloud + epsilon * (1 - 1e-12) * steps / np.linalg.norm(steps, axis=1, keepdims=True)


@pytest.mark.parametrize("name", MODELS)
def test_moved_clouds_stay_in_the_box(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stages: list[Any] = [clone(FILTRATIONS)]
    if name == "vectorizers":
        stages = [AlphaPersistence(), clone(VECTORIZERS)]
    values: Any = X
    for stage in stages:
        values = stage.fit_transform(values)
    chain = chain_of_stages(stages, PER_POINT)
    studied = study(stages, X, PER_POINT)
    np.testing.assert_array_equal(studied.vectors, values)
    rows = np.arange(0, N, 3)
    for epsilon in (1e-9, 1e-3, 0.1):
        lower, upper = (e.numpy() for e in studied.box(np.full(len(rows), epsilon), rows))
        worst = 0.0
        for _ in range(5):
            shifted: Any = [moved(rng, X[i], epsilon) for i in rows]
            for stage in stages:
                shifted = stage.transform(shifted)
            assert (lower <= shifted).all()
            assert (shifted <= upper).all()
            share = np.abs(shifted - values[rows]) / (chain.constants * epsilon)
            worst = max(worst, float(share.max()))
        assert worst > 0.2  # a box of a fifth of the size would not hold them
        # and no box is wider than the constants, but for rounding
        assert (upper - values[rows] <= chain.constants * epsilon * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("threat", ["per_point", "frobenius", "per_coordinate"])
def test_certificates_of_unions_hold(model: StableRankClassifier, threat: str, seed: int) -> None:
    certificates = certify(model, X, threat=threat)
    assert (certificates.radius > 0).mean() > 0.5
    result = attack(
        model,
        X,
        certificates.prediction,
        threat=threat,
        radius=certificates.radius * 0.999,
        n_queries=20,
        random_state=seed,
    )
    assert not result.success.any()


def test_the_best_certificate_is_the_larger_one(model: StableRankClassifier) -> None:
    radii = {name: certify(model, X, method=name) for name in ("global", "interval", "linear")}
    best = certify(model, X)
    assert (best.radius >= radii["global"].radius).all()
    assert (best.radius >= radii["linear"].radius * (1 - 1e-3)).all()  # other steps of bisection
    assert (radii["linear"].radius >= radii["interval"].radius * (1 - 1e-3)).all()
    for name in ("global", "linear"):
        chosen = best.route == name
        assert (best.radius[chosen] >= radii[name].radius[chosen] * (1 - 1e-3)).all()
    assert set(best.route) <= {"global", "linear"}
    assert "best" in str(best)


def test_box_training_certifies_more_by_boxes() -> None:
    epsilon = 0.05
    settings: dict[str, Any] = {
        "epsilon": epsilon,
        "random_state": 0,
        "network__layer": "free",
        "network__activation": "relu",
        "network__hidden": (16,),
        "max_epochs": 30,
    }
    trained = StableRankClassifier(certified_training="box", **settings).fit(X, Y)
    plain = StableRankClassifier(temperature=10.0, **settings).fit(X, Y)
    shares = [m.certify(X).certified_accuracy(Y, epsilon) for m in (trained, plain)]
    assert trained.pipeline_[-1].loss == "box"
    assert shares[0] > shares[1] + 0.2


def test_margin_training_sets_the_loss() -> None:
    model = StableRankClassifier(
        certified_training="margin", epsilon=0.01, max_epochs=2, random_state=0
    )
    assert model.fit(X, Y).pipeline_[-1].loss == "margin"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"certified_training": "pgd"}, "certified_training='pgd': expected"),
        ({"certified_training": "box"}, "epsilon=None: training on boxes needs the size"),
        ({"ranks": "landscapes"}, "ranks='landscapes': expected \"stable-rank\""),
        ({"ranks": Landscapes}, 'expected "stable-rank", a vectorizer such as'),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        StableRankClassifier(max_epochs=1, **settings).fit(X, Y)


def test_refusals() -> None:
    union = clone(FILTRATIONS).fit(X)
    with pytest.raises(StabilityError, match="is not stable from points"):
        union.stability(HAUSDORFF)  # the distance to measure has none
    assert union.stability(FROBENIUS).constant > 0
    weighted = clone(FILTRATIONS).set_params(transformer_weights={"alpha": 2.0}).fit(X)
    # boxes used to forget the weights, and so certified another function
    for refused in (weighted.stability, lambda space: study([weighted], X, space)):
        with pytest.raises(StabilityError, match="transformer_weights"):
            refused(PER_POINT)
    deep = LipschitzUnion([("a", make_pipeline(StableRank(), StableRank()))])
    with pytest.raises(StabilityError, match="is one vectorizer, got StableRank, StableRank"):
        deep.rounding(None, 0.0, np.zeros(1))
