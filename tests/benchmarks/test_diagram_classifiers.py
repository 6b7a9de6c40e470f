"""The baselines as classifiers of clouds: scores, gradients, the contract, refusals."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from gudhi.representations.vector_methods import Atol
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from benchmarks.baselines import (
    AtolVectors,
    BettiCurves,
    Landscapes,
    PersistenceFisherSVM,
    PersistenceImages,
    Silhouettes,
    SlicedWassersteinSVM,
    VectorClassifier,
)
from benchmarks.baselines.kernel_svm import KernelSVM, choose, search_rows
from stablerank import AlphaPersistence
from stablerank.attack.gradients import flatten
from stablerank.diagrams import DiagramBatch

SEARCH: dict[str, Any] = {"costs": (1.0, 10.0), "random_state": 0}
GRID = {"bandwidth": [0.05, 0.2], "power": [0.0, 1.0]}
IMAGES = PersistenceImages(resolution=(8, 8))
SMOOTH: dict[str, Any] = {
    "images": VectorClassifier(vectorizer=IMAGES, grid=GRID, **SEARCH),
    "landscapes": VectorClassifier(**SEARCH),
    "silhouettes": VectorClassifier(vectorizer=Silhouettes(power=1), **SEARCH),
    "ATOL": VectorClassifier(vectorizer=AtolVectors(4), **SEARCH),
    "sliced Wasserstein": SlicedWassersteinSVM(n_bins=32, factors=(0.1, 1.0), **SEARCH),
    "Fisher": PersistenceFisherSVM(bandwidths=(0.03, 0.1), resolution=12, **SEARCH),
}
MODELS = {
    **SMOOTH,
    "Betti curves": VectorClassifier(vectorizer=BettiCurves(), **SEARCH),
    "forest": VectorClassifier(classifier="forest", n_trees=20, random_state=0),
    "forest on images": VectorClassifier(
        vectorizer=IMAGES, classifier="forest", n_trees=20, random_state=0
    ),
}


def make_clouds(n_clouds: int, seed: int) -> tuple[list[NDArray[np.float64]], NDArray[Any]]:
    """One ring, two rings, discs, of 15 to 40 points, in turn."""
    rng = np.random.default_rng(seed)
    X = []
    for i in range(n_clouds):
        n = int(rng.integers(15, 40))
        angles = 2 * np.pi * np.arange(n) / n
        cloud = np.column_stack([np.cos(angles), np.sin(angles)])
        if i % 3 == 1:
            cloud = cloud / 2 + np.where(np.arange(n) % 2, -0.6, 0.6)[:, None]
        elif i % 3 == 2:
            cloud *= np.sqrt(rng.random((n, 1)))
        X.append(cloud + rng.normal(scale=0.02, size=cloud.shape))
    return X, np.array(["one ring", "two rings", "disc"])[np.arange(n_clouds) % 3]


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    X, y = make_clouds(45, seed=0)
    return {name: clone(model).fit(X, y) for name, model in MODELS.items()}


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_scores_are_those_of_scikit_learn(n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, others = rng.normal(size=(60, 2)), rng.normal(size=(20, 2))
    angles = np.arctan2(*points.T) + rng.normal(scale=0.3, size=60)
    codes = np.argsort(np.argsort(angles)) * n_classes // 60  # sectors, with some noise
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    machine = KernelSVM(gamma=0.7, cost=3.0).fit(squares, codes)
    theirs = SVC(C=3.0, kernel="rbf", gamma=0.7, break_ties=True).fit(points, codes)
    to_support = ((others[:, None] - points[machine.support_]) ** 2).sum(axis=2)
    scores = machine.scores(torch.from_numpy(to_support)).numpy()
    np.testing.assert_array_equal(scores.argmax(axis=1), theirs.predict(others))
    if n_classes > 2:  # with two, theirs is one column
        expected = theirs.decision_function(others)
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)  # its stopping rule
    assert len(set(scores.argmax(axis=1))) > 1


def test_a_search_finds_the_distances_that_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.arange(40) % 2
    noise, useful = rng.normal(size=40), codes + 0.2 * rng.normal(size=40)
    squares = {name: (v[:, None] - v) ** 2 for name, v in (("noise", noise), ("useful", useful))}
    candidates = [(name, distances, [1e-6, 1.0]) for name, distances in squares.items()]
    choice = choose(candidates, (0.01, 1.0), codes, StratifiedKFold(3))
    assert (choice.candidate, choice.cost) == ("useful", 1.0)
    assert choice.gamma == 1.0
    assert choice.accuracy > 0.9


def test_a_search_is_on_a_stratified_part() -> None:
    codes = np.arange(300) % 3
    rows = search_rows(codes, 60, random_state=0)
    assert np.bincount(codes[rows]).tolist() == [20, 20, 20]
    assert len(set(rows)) == 60
    np.testing.assert_array_equal(search_rows(codes, 300, random_state=0), np.arange(300))


def test_atol_is_gudhis_in_each_dimension(seed: int) -> None:
    batch = AlphaPersistence().fit_transform(make_clouds(9, seed)[0])
    vectors = AtolVectors(3, random_state=seed).fit_transform(batch)
    expected = []
    for k in (0, 1):
        diagrams = [batch.diagram(i, k) for i in range(9)]
        quantiser = KMeans(3, n_init=1, random_state=seed)
        expected.append(Atol(quantiser=quantiser).fit_transform(diagrams))
    np.testing.assert_allclose(vectors, np.concatenate(expected, axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "vectorizer",
    [IMAGES, PersistenceImages(power=1.5), Landscapes(3, 20), Silhouettes(1.5), AtolVectors(3)],
    ids=repr,
)
def test_vectors_in_torch_are_those_in_numpy(vectorizer: Any, seed: int) -> None:
    X, _ = make_clouds(12, seed)
    X[4] = X[4][:1]  # empty diagrams, in H0 too
    batch: DiagramBatch = AlphaPersistence().fit_transform(X)
    model = clone(vectorizer).fit(batch)
    padded = {k: batch.to_tensor(k) for k in (0, 1)}
    found = model.from_bars({k: (bars[..., 0], bars[..., 1]) for k, bars in padded.items()})
    np.testing.assert_allclose(found.numpy(), model.transform(batch), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_a_toy_problem_is_learned(name: str, fitted: dict[str, Any]) -> None:
    X, y = make_clouds(30, seed=1)
    model = fitted[name]
    assert model.score(X, y) >= 0.9
    scores = model.decision_function(X)
    assert scores.shape == (30, 3)
    np.testing.assert_array_equal(model.classes_[scores.argmax(axis=1)], model.predict(X))
    assert isinstance(model.n_parameters_, int)
    assert model.n_parameters_ > 0


@pytest.mark.parametrize("name", SMOOTH)
def test_logits_have_the_values_of_scores_and_the_slopes_of_differences(
    name: str, fitted: dict[str, Any]
) -> None:
    model = fitted[name]
    X, _ = make_clouds(6, seed=2)
    flat, offsets = flatten(X)
    points = torch.from_numpy(flat).requires_grad_()
    logits = model.differentiable_logits(points, offsets)
    scores = model.decision_function(X)
    np.testing.assert_allclose(logits.detach().numpy(), scores, rtol=1e-6, atol=1e-6)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=scores.shape)
    (logits * torch.from_numpy(weights)).sum().backward()
    assert points.grad is not None
    step, height = rng.normal(size=flat.shape), 1e-6
    ends = [
        (model.decision_function(np.split(flat + sign * height * step, offsets[1:-1])) * weights)
        for sign in (1, -1)
    ]
    difference = float((ends[0] - ends[1]).sum()) / (2 * height)
    slope = float((points.grad.numpy() * step).sum())
    assert abs(slope) > 1e-3
    assert slope == pytest.approx(difference, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_only_smooth_scores_have_gradients(name: str, fitted: dict[str, Any]) -> None:
    assert hasattr(fitted[name], "differentiable_logits") == (name in SMOOTH)
    assert hasattr(MODELS[name], "differentiable_logits") == (name in SMOOTH)


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str, fitted: dict[str, Any]) -> None:
    model = fitted[name]
    X, _ = make_clouds(12, seed=3)
    scores = model.decision_function(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(X), scores)
    assert repr(model.get_params()) == repr(MODELS[name].get_params())  # fit changed nothing
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    X_train, y_train = make_clouds(45, seed=0)
    np.testing.assert_array_equal(clone(model).fit(X_train, y_train).decision_function(X), scores)
    alone = np.concatenate([model.decision_function(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, scores, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_two_classes_and_clouds_without_bars(name: str) -> None:
    X, y = make_clouds(24, seed=4)
    keep = np.flatnonzero(y != "disc")
    X = [X[i] for i in keep] + [np.array([[0.5, 0.5]])] * 2  # one point: no bars at all
    y = [*y[keep], "one ring", "two rings"]
    model = clone(MODELS[name]).fit(X, y)
    assert model.decision_function(X).shape == (len(X), 2)
    assert model.score(X, y) >= 0.9
    assert np.isfinite(model.decision_function([X[-1]])).all()
    if name in SMOOTH:
        flat, offsets = flatten(X)
        points = torch.from_numpy(flat).requires_grad_()
        logits = model.differentiable_logits(points, offsets)
        logits.sum().backward()
        assert points.grad is not None
        assert torch.isfinite(points.grad).all()
        np.testing.assert_allclose(
            logits.detach().numpy(), model.decision_function(X), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (VectorClassifier(classifier="boosting"), "classifier='boosting': expected"),
        (VectorClassifier(costs=()), "costs=(): expected one positive number or more"),
        (VectorClassifier(gammas=(0.0,)), "gammas=(0.0,): expected one positive number or more"),
        (VectorClassifier(n_trees=0), "n_trees=0: expected an integer >= 1."),
        (VectorClassifier(vectorizer=AtolVectors(0)), "n_clusters=0: expected an integer >= 1."),
        (SlicedWassersteinSVM(n_directions=1), "n_directions=1: expected an integer >= 2."),
        (SlicedWassersteinSVM(factors=(-1,)), "factors=(-1,): expected one positive number"),
        (PersistenceFisherSVM(quantiles=(2,)), "quantiles=(2,): expected numbers up to 1."),
        (PersistenceFisherSVM(resolution=1), "resolution=1: expected an integer >= 2."),
        (PersistenceFisherSVM(n_search=0), "n_search=0: expected an integer >= 1."),
    ],
    ids=repr,
)
def test_bad_parameters(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(*make_clouds(12, seed=0))


def test_bad_labels() -> None:
    X, y = make_clouds(6, seed=0)
    with pytest.raises(ValueError, match=r"y has 5 labels for the 6 clouds of X\."):
        VectorClassifier().fit(X, y[:5])
    with pytest.raises(ValueError, match="y has only the class 'ring': expected two or more"):
        VectorClassifier().fit(X, ["ring"] * 6)
    with pytest.raises(ValueError, match="y has the class 'b' only once"):
        VectorClassifier().fit(X, ["a"] * 5 + ["b"])
