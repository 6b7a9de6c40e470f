"""The second route of the Frobenius threat: deaths of H0 together, in ℓ2 (D7, N2, N3)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    Certificates,
    DiagramBatch,
    Landscapes,
    LipschitzClassifier,
    LipschitzUnion,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    StableRankNetwork,
    certify,
)
from stablerank.attack import attack
from stablerank.diagrams import CloudDiagrams, tree_stability
from stablerank.diagrams.tree_stability import tree_constant
from stablerank.nn import affine, network
from stablerank.stability import FROBENIUS, L2, StabilityError
from stablerank.stages import l2_chain_of_stages

Cloud = NDArray[np.float64]
MakeClouds = Callable[..., tuple[list[Cloud], NDArray[np.int64]]]
Around = Callable[[StableRankNetwork], LipschitzClassifier]
FROBENIUS_THREAT = {"threat": "frobenius"}
N_POINTS = 60


def path(gap: float, d: int = 2) -> list[Cloud]:
    """Points on a line, `gap` apart in turn with 1: every second edge is as long as that."""
    steps = np.where(np.arange(N_POINTS - 1) % 2, 1.0, gap)
    cloud = np.zeros((1, N_POINTS, d))
    cloud[0, 1:, 0] = np.cumsum(steps)
    return list(cloud - cloud.mean(axis=1, keepdims=True))


def sum_of_gaps(d: int, filtration: Any, around: Around) -> Any:
    """Is the sum of the 30 longest deaths above its value for gaps of 1.5? A linear network.

    Rows of norm √30 in ℓ2, and 30 in ℓ∞: the sum moves by √30 c, or by 30 times what one can move.
    """
    X = path(1.4, d)
    steps = [filtration.fit(X), StableRank(n_ranks=N_POINTS - 1).fit(filtration.transform(X))]
    n_longest = N_POINTS // 2
    half = 0.5 if isinstance(filtration, AlphaPersistence) else 1.0
    weight = torch.zeros(1, N_POINTS - 1, dtype=torch.float64)
    weight[0, :n_longest] = 1.0
    net = StableRankNetwork(N_POINTS - 1, 2, hidden=(1,), layer="free", activation="relu").double()
    net.body[0].weight.data = weight
    net.body[0].bias.data.fill_(100.0)
    net.head.weight.data = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    middle = 100.0 + half * 1.5 * n_longest
    net.head.bias.data = torch.tensor([middle, -middle], dtype=torch.float64)
    return make_pipeline(*steps, around(net))


def nearest_flip(X: list[Cloud]) -> tuple[list[Cloud], float]:
    """Every pair of points at the ends of a long gap moves apart, up to a sum of gaps of 1.5."""
    edges = np.diff(X[0][:, 0]) > 1.2
    moved = X[0].copy()
    part = 0.05 * (1 + 1e-9)
    moved[:-1, 0] -= part * edges
    moved[1:, 0] += part * edges
    return [moved], float(np.linalg.norm(moved - X[0]))


SPACES: list[tuple[Any, int]] = [
    (RipsPersistence((0,)), 1),
    (RipsPersistence((0,)), 2),
    (AlphaPersistence((0,)), 2),
    (AlphaPersistence((0,)), 3),
    (RipsPersistence((0,)), 4),
]


@pytest.mark.parametrize(("filtration", "d"), SPACES, ids=lambda value: str(value))
def test_radii_by_hand(filtration: Any, d: int, around: Around) -> None:
    # The sum is 30 · 0.1 away from the threshold, times ½ for alpha, and the margin twice that; it
    # moves by √30 · c, c halved for alpha as well. By D6 it moves by 30 √2: √(60) and c differ.
    pipeline = sum_of_gaps(d, filtration, around)
    X = path(1.4, d)
    found = {m: certify(pipeline, X, method=m, **FROBENIUS_THREAT) for m in ("global", "l2")}
    by_hand = {"global": 0.1 / math.sqrt(2), "l2": 3.0 / (math.sqrt(30) * tree_constant(d))}
    for method, radius in by_hand.items():
        assert found[method].radius[0] == pytest.approx(radius, rel=1e-9)
        assert found[method].radius[0] <= radius
        assert found[method].route.tolist() == [method]
    assert by_hand["l2"] > by_hand["global"]
    best = certify(pipeline, X, **FROBENIUS_THREAT)
    assert best.radius[0] >= found["l2"].radius[0]
    # the planted flip: 60 points by 0.05 each
    twin, distance = nearest_flip(X)
    assert pipeline.predict(X) != pipeline.predict(twin)
    assert distance == pytest.approx(0.05 * math.sqrt(60))
    assert best.radius[0] < distance
    if d == 1:  # √2 below it: the path moves by √2, and 2 is for longer waves
        assert best.radius[0] > 0.7 * distance


def test_the_law_fails_with_a_smaller_constant(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = sum_of_gaps(2, AlphaPersistence((0,)), around)
    X = path(1.4)
    _, distance = nearest_flip(X)

    def share(method: str) -> float:
        return float(certify(pipeline, X, method=method, **FROBENIUS_THREAT).radius[0] / distance)

    for method in ("l2", "best"):
        assert share(method) < 1
    with monkeypatch.context() as patch:
        patch.setattr(tree_stability, "tree_constant", lambda d: 1.0)
        for method in ("l2", "best"):
            assert share(method) > 1
    with monkeypatch.context() as patch:  # the half of it
        patch.setattr(tree_stability, "tree_constant", lambda d: tree_constant(d) / 2)
        for method in ("l2", "best"):
            assert share(method) > 1
    with monkeypatch.context() as patch:  # the largest entry in place of the norm, both ways
        patch.setattr(affine, "spectral_norm_upper", lambda w: float(w.abs().max()))
        assert share("l2") > 1
    with monkeypatch.context() as patch:
        patch.setattr(network, "row_constants", lambda w, b, s: np.abs(w).max(axis=1))
        assert share("l2") > 1
    assert share("best") < 1


# Trained models.

MODELS: dict[str, dict[str, Any]] = {
    "H0": {"homology_dimensions": (0,)},
    "H0 and H1": {},
    "H0 and H1, free": {
        "network__layer": "free",
        "network__activation": "relu",
        "certified_training": "box",
        "epsilon": 0.02,
    },
    "p=2": {"p": 2, "n_ranks": 12},
    "p=1, Rips": {"p": 1, "n_ranks": 8, "persistence": "rips", "homology_dimensions": (0,)},
    "two ranks": {"ranks": LipschitzUnion([("a", StableRank(n_ranks=6)), ("b", StableRank(2.0))])},
    "two filtrations": {
        "persistence": LipschitzUnion(
            [
                ("a", make_pipeline(AlphaPersistence((0,)), StableRank(n_ranks=9))),
                ("r", make_pipeline(RipsPersistence((0,)), StableRank(n_ranks=9))),
            ]
        ),
        "ranks": "passthrough",
    },
}


@pytest.fixture(scope="module")
def trained(some_clouds: MakeClouds) -> Callable[[str], tuple[StableRankClassifier, list[Cloud]]]:
    """A function from a name in MODELS to a model and clouds; every model is fitted once."""
    models: dict[str, StableRankClassifier] = {}
    X, y = some_clouds(24)

    def get(name: str) -> tuple[StableRankClassifier, list[Cloud]]:
        if name not in models:
            settings = {"network__hidden": (8, 8), "max_epochs": 8, "random_state": 0}
            models[name] = StableRankClassifier(**{**settings, **MODELS[name]}).fit(X, y)
        return models[name], X

    return get


@pytest.mark.parametrize("name", MODELS)
def test_best_takes_the_largest_and_says_which(name: str, trained: Any) -> None:
    model, X = trained(name)
    found = {m: certify(model, X, method=m, **FROBENIUS_THREAT) for m in ("global", "l2", "linear")}
    best = certify(model, X, **FROBENIUS_THREAT)
    assert (found["l2"].radius > 0).any()
    for method in ("global", "l2"):
        assert (best.radius >= found[method].radius).all()
        chosen = np.asarray(best.route) == method
        assert (best.radius[chosen] == found[method].radius[chosen]).all()
    # blocks of the first layer are in ℓ∞ where that says more: nothing is lost but rounding
    assert (found["l2"].radius >= found["global"].radius * (1 - 1e-9)).all()
    assert set(np.asarray(best.route).tolist()) <= {"global", "l2", "linear"}


@pytest.mark.parametrize("name", ["H0", "H0 and H1, free", "p=2", "two ranks"])
def test_attacks_never_win_inside(name: str, trained: Any, seed: int) -> None:
    model, X = trained(name)
    X = X[:5]
    how: dict[str, Any] = {"threat": "frobenius", "method": "gradient", "n_queries": 16}
    for method in ("l2", "best"):
        claims = certify(model, X, method=method, **FROBENIUS_THREAT)
        inside = np.nextafter(claims.radius, 0.0)
        tried = attack(model, X, claims.prediction, radius=inside, random_state=seed, **how)
        assert not tried.success.any()
    # and outside they do
    result = attack(
        model, X, claims.prediction, radius=1000 * claims.radius, random_state=seed, **how
    )
    assert result.success.any()


def test_vectors_and_logits_move_as_the_chain_says(trained: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in MODELS:
        model, X = trained(name)
        stages = [step for _, step in model.pipeline_.steps if step != "passthrough"]
        chain = l2_chain_of_stages(stages, FROBENIUS)
        assert chain.target == L2
        to_vectors = l2_chain_of_stages(stages[:-1], FROBENIUS)
        blocks, each = to_vectors.blocks, to_vectors.constants
        assert blocks is not None
        assert each is not None
        for cloud in X[:6]:
            moved = cloud + rng.choice([1e-4, 0.1]) * rng.normal(size=cloud.shape)
            distance = float(np.linalg.norm(moved - cloud))
            vectors = np.asarray(_vectors(stages[:-1], [cloud, moved]))
            change = np.abs(vectors[0] - vectors[1])
            assert np.linalg.norm(change) <= to_vectors.constant * distance + 1e-12
            assert (change <= each * distance + 1e-12).all()
            ends = np.cumsum([block.each.size for block in blocks])[:-1]
            for block, part in zip(blocks, np.split(change, ends), strict=True):
                assert np.linalg.norm(part) <= block.together * distance + 1e-12
            logits = stages[-1].logits(vectors)
            assert np.linalg.norm(logits[0] - logits[1]) <= chain.constant * distance + 1e-9


def _vectors(stages: list[Any], X: list[Cloud]) -> Any:
    for stage in stages:
        X = stage.transform(X)
    return X


def test_diagrams_without_their_clouds_and_files(trained: Any, tmp_path: Any) -> None:
    model, X = trained("H0")
    claims = certify(model, X, **FROBENIUS_THREAT)
    diagrams = CloudDiagrams.compute(model.pipeline_[0], X)
    again = certify(model.pipeline_, diagrams, **FROBENIUS_THREAT)
    assert (again.radius == claims.radius).all()
    only = certify(model, X, method="l2", **FROBENIUS_THREAT)
    only.save(tmp_path / "l2.cert.json")
    loaded = Certificates.load(tmp_path / "l2.cert.json")
    assert set(np.asarray(loaded.route).tolist()) == {"l2"}
    assert (loaded.radius == only.radius).all()
    assert loaded.chain == only.chain
    assert only.chain is not None
    for fact in ("D7", "N2", "ordered deaths l2"):
        assert fact in str(only.chain)


# Refusals.


def test_other_threats_have_no_such_way(trained: Any) -> None:
    model, X = trained("H0")
    for threat in ("per_point", "hausdorff", "per_coordinate", "deletion"):
        message = 'method="l2" is for threat="frobenius", where points share one budget, not for '
        with pytest.raises(StabilityError, match=re.escape(message)):
            certify(model, X, threat=threat, method="l2")
        assert "l2" not in np.asarray(certify(model, X, threat=threat).route).tolist()


def test_where_the_way_is_closed_the_other_is_taken(around: Around) -> None:
    X = [np.random.default_rng(i).normal(size=(9, 5)) for i in range(3)]
    diagrams = DiagramBatch.from_diagrams([{0: [[0, 1], [0, 2]]}])
    net = StableRankNetwork(2, 2, hidden=(2,))
    five = make_pipeline(
        RipsPersistence((0,)).fit(X), StableRank(n_ranks=2).fit(diagrams), around(net)
    )
    plane = [cloud[:, :2] for cloud in X]
    landscapes = Landscapes(positions=[0.5, 1.0], n_levels=1).fit(diagrams)
    tents = make_pipeline(AlphaPersistence((0,)).fit(plane), landscapes, around(net))
    distances = StableRankNetwork(2, 2, hidden=(2,), layer="linf-distance")
    neurons = make_pipeline(
        AlphaPersistence((0,)).fit(plane), StableRank(n_ranks=2).fit(diagrams), around(distances)
    )
    for pipeline, inputs, reason in (
        (five, X, "known in R^1 to R^4, not in R^5"),
        (tents, plane, "ordered deaths l2"),
        (neurons, plane, "LinfDistance knows its constant from vector[linf], not from vector[l2]"),
    ):
        assert set(certify(pipeline, inputs, **FROBENIUS_THREAT).route) <= {"global", "linear"}
        with pytest.raises(StabilityError, match=re.escape(reason)):
            certify(pipeline, inputs, method="l2", **FROBENIUS_THREAT)
