"""Learned stable ranks: what is frozen keeps every law, and learns what there is to be learned."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from stablerank import LipschitzClassifier, StableRankClassifier, certify
from stablerank.attack import attack
from stablerank.checker import check_files
from stablerank.diagrams import DiagramBatch
from stablerank.diagrams.ball import DiagramBall
from stablerank.learned import LearnedStableRank, LearnedTemplates
from stablerank.ranks import Landscapes, StableRank
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityChain
from stablerank.stage_files import plain_stage, read_stage
from stablerank.stages import LipschitzUnion

Array = NDArray[np.float64]
Diagrams = list[dict[int, Array]]

INF = math.inf
KINDS = ("step", "distance", "shift")
QUICK: dict[str, Any] = {"hidden": (8,), "max_epochs": 4, "random_state": 0}


def bars_in_an_interval(n: int, seed: int) -> tuple[Diagrams, NDArray[np.int64]]:
    """Only bars born between 1 and 2 tell the classes apart; longer ones are born elsewhere."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    diagrams = []
    for label in y:
        births = rng.choice([0.0, 2.5], 10) + rng.uniform(0, 0.3, 10)
        noise = np.column_stack([births, births + rng.uniform(0.0, 0.6, 10)])
        births = rng.uniform(1, 1.2, 3)
        signal = np.column_stack([births, births + 0.2 + 0.1 * label + rng.uniform(0, 0.05, 3)])
        deaths = rng.uniform(0, 1, 6)
        h0 = np.column_stack([np.zeros(6), deaths])
        diagrams.append({0: h0, 1: np.concatenate([noise, signal])})
    return diagrams, y


TRAIN, LABELS = bars_in_an_interval(60, 0)


def fitted(**settings: Any) -> LearnedStableRank:
    return LearnedStableRank(**{"n_ranks": 6, **QUICK, **settings}).fit(TRAIN, LABELS)


@pytest.fixture(scope="module")
def ranks() -> dict[tuple[str, float], LearnedStableRank]:
    """Trained hard enough that densities are far from where they began; never changed."""
    pairs = itertools.product(KINDS, (1, 2, INF))
    return {
        (kind, p): fitted(contour=kind, p=p, constant=1.5, max_epochs=12, lr=0.05)
        for kind, p in pairs
    }


ALL = [(kind, p) for kind in KINDS for p in (1, 2, INF)]

# The constant, and what follows from it.


@pytest.mark.parametrize("name", ALL, ids=str)
def test_training_does_not_change_the_constant(name: Any, ranks: Any) -> None:
    for k, contour in ranks[name].contours_.items():
        assert 1.5 * (1 - 1e-12) < contour.constant <= 1.5
        start = fitted(contour=name[0], p=name[1], constant=1.5, max_epochs=1, lr=1e-9).contours_
        assert contour != start[k]  # it was trained


@pytest.mark.parametrize("name", ALL, ids=str)
def test_it_is_the_stable_rank_of_its_frozen_contours(name: Any, ranks: Any) -> None:
    rank = ranks[name]
    same = StableRank(p=name[1], contour=rank.contours_, n_ranks=6).fit(TRAIN)
    assert np.array_equal(rank.transform(TRAIN), same.transform(TRAIN))
    assert (rank.get_feature_names_out() == same.get_feature_names_out()).all()
    for space in (BOTTLENECK, ORDERED_DEATHS, Space("diagram", "wasserstein", p=2.0, q=1.0)):
        assert rank.stability(space) == same.stability(space)
    batch = DiagramBatch.from_diagrams(TRAIN)
    reach = dict.fromkeys((0, 1), np.full(60, 0.01))
    ball = DiagramBall(batch, reach, {0: ORDERED_DEATHS, 1: BOTTLENECK})
    for found, expected in zip(rank.bounds(ball), same.bounds(ball), strict=True):
        assert torch.equal(found, expected)
    errors = [own.rounding(batch, 1e-12, np.full(60, 0.1)) for own in (rank, same)]
    assert np.array_equal(*errors)


def perturbed(rng: np.random.Generator, bars: Array, r: float, kind: int, n_new: int) -> Array:
    """A diagram within bottleneck distance r; kinds 0 and 1 lengthen and shorten all bars."""
    sign = rng.choice([-1.0, 1.0], bars.shape) if kind > 2 else rng.uniform(-1, 1, bars.shape)
    if kind < 2:
        sign[:] = [1, -1] if kind else [-1, 1]
    births, deaths = np.maximum(bars + r * sign, 0).T
    lived = deaths > births
    new = rng.uniform(0, 3, n_new)
    births, deaths = np.append(births[lived], new), np.append(deaths[lived], new + 2 * r)
    return np.column_stack([births, deaths])


def excess(rank: Any, shrink: float, rng: np.random.Generator) -> float:
    """How far vectors go beyond shrink times their constants, over random and worst changes."""
    batch = DiagramBatch.from_diagrams(TRAIN)
    source = Space("product", parts=(("H0", ORDERED_DEATHS), ("H1", BOTTLENECK)))
    constants = StabilityChain(rank.stability(source)).constants
    before, worst = rank.transform(batch), -INF
    room = rank.max_bars_[1] - batch.n_bars(1).max()
    for kind, r in itertools.product(range(4), (1e-4, 0.03, 0.5)):
        moved = []
        for diagram in TRAIN:
            sign = [1.0, -1.0, 0.0, rng.uniform(-1, 1, 6)][kind]
            deaths = np.maximum(diagram[0][:, 1] + r * np.asarray(sign), 0)
            h0 = np.column_stack([np.zeros(6), deaths])
            moved.append({0: h0, 1: perturbed(rng, diagram[1], r, kind, int(room))})
        gap = np.abs(rank.transform(moved) - before)
        rounding = rank.rounding(batch, 1e-15, np.full(len(batch), r))[:, None]
        worst = max(worst, float((gap - shrink * constants * r - 2 * rounding).max()))
    return worst


@pytest.mark.parametrize("name", ALL, ids=str)
def test_vectors_follow_diagrams_and_half_the_constant_is_too_little(
    name: Any, ranks: Any, seed: int
) -> None:
    rank = ranks[name]
    assert excess(rank, 1.0, np.random.default_rng(seed)) <= 0
    assert rank.stability(BOTTLENECK) != rank.stability(ORDERED_DEATHS)
    # the peaks of a mixture are apart, and long tails do not all move at once: there is slack
    if name in (("step", INF), ("shift", INF)):
        assert excess(rank, 0.4, np.random.default_rng(seed)) > 0


@pytest.mark.parametrize("name", ALL, ids=str)
def test_boxes_contain_ten_thousand_diagrams(name: Any, ranks: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank, n_each = ranks[name], 170
    batch = DiagramBatch.from_diagrams(TRAIN)
    reach = rng.choice([1e-4, 0.02, 0.3], len(batch))
    # births + r, rounded, may be a last place beyond
    ball = DiagramBall(
        batch,
        dict.fromkeys((0, 1), reach * (1 + 1e-12)),
        {0: ORDERED_DEATHS, 1: BOTTLENECK},
    )
    lower, upper = (end.numpy() for end in rank.bounds(ball))
    outside_of_half = 0
    for j in range(n_each):
        moved = []
        for diagram, r in zip(TRAIN, reach, strict=True):
            deaths = np.maximum(diagram[0][:, 1] + r * rng.choice([-1.0, 1.0], 6), 0)
            h1 = perturbed(rng, diagram[1], r * (1 - 1e-9), j % 5, int(rng.choice([0, 20])))
            moved.append({0: np.column_stack([np.zeros(6), deaths]), 1: h1})
        vectors = rank.transform(moved)
        assert (lower <= vectors).all()
        assert (vectors <= upper).all()
        center, half = (lower + upper) / 2, (upper - lower) / 4
        outside_of_half += int((np.abs(vectors - center) > half).sum())
    assert outside_of_half > 0  # boxes half as large would not do


# What is learned.


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {
        "hidden": (16,),
        "temperature": 5.0,
        "max_epochs": 80,
        "batch_size": 40,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def fixed_score(settings: Any) -> float:
    return score_behind(StableRank(n_ranks=6), settings)


def score_behind(ranks: Any, settings: dict[str, Any]) -> float:
    """Of a network on other diagrams than those that it and the ranks were fitted on."""
    (train, labels), (test, y) = bars_in_an_interval(200, 2), bars_in_an_interval(200, 1)
    vectors = ranks.fit(train, labels).transform(train)
    head = LipschitzClassifier(**settings).fit(vectors, labels)
    return float(head.score(ranks.transform(test), y))


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_the_bars_that_matter(kind: str, settings: Any, fixed_score: float) -> None:
    # noise is longer than what is born between 1 and 2, so the longest bars say little
    learned = LearnedStableRank(n_ranks=6, contour=kind, n_components=16, **settings)
    assert score_behind(learned, settings) > fixed_score + 0.05
    contour: Any = learned.contours_[1]
    ends = torch.tensor([[1.0, 1.6], [0.0, 0.6], [2.5, 3.1]], dtype=torch.float64).T
    signal, *noise = contour.lengths(*ends).tolist()
    assert signal > 1.2 * float(np.mean(noise))


# In a pipeline, certified and attacked.


def clouds(n: int = 24) -> tuple[list[Array], NDArray[np.int64]]:
    """Circles, and clusters."""
    rng, y = np.random.default_rng(3), np.arange(n) % 2
    X = []
    for label in y:
        angles = rng.uniform(0, 2 * np.pi, 25)
        circle = np.column_stack([np.cos(angles), np.sin(angles)])
        disk = rng.choice([-1.0, 1.0], (25, 2)) * 0.5
        X.append((circle if label else disk) + rng.normal(scale=0.15, size=(25, 2)))
    return X, y


VECTORIZERS: dict[str, Any] = {
    "step": LearnedStableRank(n_ranks=10, **QUICK),
    "distance, p=2": LearnedStableRank(p=2, n_ranks=10, contour="distance", **QUICK),
    "shift, p=1, margin": LearnedStableRank(
        p=1, n_ranks=10, contour="shift", loss="margin", temperature=3.0, **QUICK
    ),
    "templates": LearnedTemplates(4, 4, width=4, **QUICK),
    "union": LipschitzUnion(
        [("learned", LearnedStableRank(n_ranks=6, **QUICK)), ("fixed", Landscapes(4, 3))]
    ),
}


@pytest.fixture(scope="module")
def models() -> dict[str, StableRankClassifier]:
    X, y = clouds()
    settings: dict[str, Any] = {"max_epochs": 12, "network__hidden": (16,), "random_state": 0}
    return {
        name: StableRankClassifier(ranks=ranks, **settings).fit(X, y)
        for name, ranks in VECTORIZERS.items()
    }


@pytest.mark.parametrize("name", VECTORIZERS)
@pytest.mark.parametrize("method", ["global", "linear"])
def test_gradients_do_not_win_within_a_certified_radius(
    name: str, method: str, models: Any, seed: int
) -> None:
    (X, _), model = clouds(), models[name]
    labels = model.predict(X)
    radii = certify(model, X, method=method).radius
    assert (radii > 0).sum() > 10
    within = attack(model, X, labels, radius=0.999 * radii, method="gradient", random_state=seed)
    assert not within.success.any()
    beyond = attack(model, X, labels, radius=20 * radii, method="gradient", random_state=seed)
    assert beyond.success.any()


@pytest.mark.parametrize("name", VECTORIZERS)
def test_a_loaded_model_has_the_same_bits(name: str, models: Any, tmp_path: Path) -> None:
    (X, _), model = clouds(), models[name]
    model.save(tmp_path / "model.srn")
    loaded = StableRankClassifier.load(tmp_path / "model.srn")
    assert np.array_equal(loaded.decision_function(X), model.decision_function(X))
    for method in ("global", "linear"):
        found, expected = (own.certify(X, method=method) for own in (loaded, model))
        assert np.array_equal(found.radius, expected.radius)
    loaded.save(tmp_path / "again.srn")
    assert (tmp_path / "again.srn").read_bytes() == (tmp_path / "model.srn").read_bytes()


@pytest.mark.parametrize("name", ["step", "templates"])
def test_the_checker_derives_ranks_and_says_that_it_does_not_know_templates(
    name: str, models: Any, tmp_path: Path
) -> None:
    (X, _), model = clouds(), models[name]
    model.save(tmp_path / "model.srn")
    np.savez(tmp_path / "clouds.npz", *X)
    model.certify(X, method="global").save(tmp_path / "file.cert.json")
    verdict = check_files(*(tmp_path / n for n in ("file.cert.json", "model.srn", "clouds.npz")))
    if name == "step":
        assert verdict.accepted
        return
    assert (verdict.accepted, verdict.checked, verdict.claim) == (False, False, "stage")
    assert "'learned templates' is not known here" in str(verdict.reason)


def test_the_classifiers_seed_is_that_of_its_steps(models: Any) -> None:
    X, y = clouds()
    rank = LearnedStableRank(n_ranks=6, hidden=(8,), max_epochs=2)
    settings: dict[str, Any] = {"ranks": rank, "max_epochs": 2, "network__hidden": (8,)}
    first, again, other = (
        StableRankClassifier(random_state=s, **settings).fit(X, y).pipeline_[1].contours_
        for s in (5, 5, 6)
    )
    assert first == again != other
    assert rank.random_state is None
    own = StableRankClassifier(ranks=clone(rank).set_params(random_state=7), max_epochs=1).fit(X, y)
    assert own.pipeline_[1].random_state == 7


def test_parameters_of_the_training_are_set_through_the_classifier() -> None:
    model = StableRankClassifier(ranks=LearnedStableRank(), ranks__loss="margin", ranks__lr=0.5)
    assert model._ranks(1).get_params()["loss"] == "margin"


# The contract.


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_are_reproducible_and_the_global_generator_stays(kind: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again = (fitted(contour=kind) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.contours_ == again.contours_
    assert first.contours_ != fitted(contour=kind, random_state=1).contours_
    assert first.contours_ == fitted(contour=kind, random_state=0).contours_


def test_clone_and_pickle() -> None:
    rank = fitted(contour="shift", p=2)
    assert clone(rank).get_params() == rank.get_params()
    assert not hasattr(clone(rank), "contours_")
    loaded = pickle.loads(pickle.dumps(rank))
    assert np.array_equal(loaded.transform(TRAIN), rank.transform(TRAIN))
    batch = DiagramBatch.from_diagrams(TRAIN)
    before = {k: bars.copy() for k, bars in batch.bars.items()}
    fitted().fit(batch, LABELS)
    assert all(np.array_equal(batch.bars[k], bars) for k, bars in before.items())


@pytest.mark.parametrize("kind", KINDS)
def test_diagrams_without_bars(kind: str) -> None:
    nothing = [{0: np.empty((0, 2)), 1: np.empty((0, 2))}] * 4
    untrained = LearnedStableRank(n_ranks=3, contour=kind, **QUICK).fit(nothing)
    assert untrained.transform(nothing).tolist() == [[0.0] * 6] * 4
    some = [dict(diagram) for diagram in TRAIN]
    for diagram in some:
        diagram[0] = np.empty((0, 2))
    some[0][1] = some[1][1] = np.empty((0, 2))
    vectors = LearnedStableRank(n_ranks=3, contour=kind, **QUICK).fit_transform(some, LABELS)
    assert not vectors[:2].any()
    assert vectors[2:, 3:].all()
    assert np.isfinite(vectors).all()


def test_labels_of_any_kind() -> None:
    names = np.array(["a", "b"])[LABELS]
    by_name = LearnedStableRank(n_ranks=6, **QUICK).fit(TRAIN, names)
    assert by_name.contours_ == fitted().contours_


# Errors.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contour": "standard"}, 'contour=\'standard\': expected one of "distance", "step"'),
        ({"n_components": 1}, "n_components=1: expected an integer >= 2"),
        ({"constant": 0.0}, "constant=0.0: expected a number from 1e-100 to 1e100"),
        ({"constant": math.nan}, "constant=nan: expected a number"),
        ({"constant": True}, "constant=True: expected a number"),
        ({"loss": "box"}, "loss='box': expected one of \"cross-entropy\""),
        ({"p": 0.5}, "p=0.5 is not the exponent of a norm"),
        ({"lr": -1.0}, "lr=-1.0: expected a positive finite number"),
        ({"random_state": "x"}, "random_state='x': expected an integer"),
    ],
)
def test_bad_parameters_are_named(settings: dict[str, Any], message: str) -> None:
    rank = LearnedStableRank(**{"n_ranks": 3, **QUICK, **settings})
    with pytest.raises(ValueError, match=re.escape(message)):
        rank.fit(TRAIN, LABELS)
    assert not hasattr(rank, "n_ranks_")
    earlier = fitted()
    contours = earlier.contours_
    with pytest.raises(ValueError, match=re.escape(message)):
        earlier.set_params(**settings).fit(TRAIN, LABELS)
    assert earlier.contours_ is contours


@pytest.mark.parametrize("stage", [LearnedStableRank(**QUICK), LearnedTemplates(**QUICK)])
def test_labels_are_needed(stage: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("learns from labels: give fit(X, y)")):
        clone(stage).fit(TRAIN)
    with pytest.raises(ValueError, match=re.escape("y has shape (3,), but there are 60 diagrams")):
        clone(stage).fit(TRAIN, [0, 1, 0])
    with pytest.raises(ValueError, match="y has only one class"):
        clone(stage).fit(TRAIN, np.zeros(60, dtype=int))
    with pytest.raises(NotFittedError):
        clone(stage).transform(TRAIN)


def test_a_file_with_contours_of_another_kind_is_refused(models: Any) -> None:
    plain = plain_stage(models["step"].pipeline_[1])
    for _, contour in plain["fitted"]["contours_"]["items"]:
        contour["contour"] = {"contour": "standard"}
    with pytest.raises(ValueError, match=re.escape("contours_[0]=StandardContour() is no such")):
        read_stage(plain)


def test_a_generator_is_no_part_of_a_file() -> None:
    rank = fitted(random_state=np.random.default_rng(0))
    loaded = read_stage(plain_stage(rank))
    assert loaded.random_state is None
    assert np.array_equal(loaded.transform(TRAIN), rank.transform(TRAIN))
