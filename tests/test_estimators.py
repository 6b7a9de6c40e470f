"""StableRankClassifier: one scikit-learn estimator from clouds to certified predictions."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from stablerank import (
    AlphaPersistence,
    DistanceContour,
    LipschitzClassifier,
    RipsPersistence,
    StabilityChain,
    StableRank,
    StableRankClassifier,
)
from stablerank.stability import HAUSDORFF, LINF, PER_POINT, SUP

Clouds = list[NDArray[np.float64]]
QUICK: dict[str, Any] = {
    "max_epochs": 4,
    "random_state": 0,
    "network__hidden": (8,),
    "network__lr": 0.05,
    "network__batch_size": 15,
}


def make_clouds(n: int = 45, seed: int = 0) -> tuple[Clouds, NDArray[Any]]:
    """Rings, heaps and pairs of heaps, of 30 to 40 points each."""
    rng = np.random.default_rng(seed)
    X = []
    for i in range(n):
        size = int(rng.integers(30, 41))
        noise = 0.05 * rng.normal(size=(size, 2))
        angles = rng.uniform(0, 2 * np.pi, size)
        ring = np.column_stack([np.cos(angles), np.sin(angles)]) + noise
        pair = 2 * noise + np.column_stack([rng.choice([-1.0, 1.0], size), np.zeros(size)])
        X.append([ring, 4 * noise, pair][i % 3])
    return X, np.array(["ring", "heap", "pair"])[np.arange(n) % 3]


X, Y = make_clouds()


def model_with(**settings: Any) -> StableRankClassifier:
    return StableRankClassifier(**{**QUICK, **settings})


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, even where the shell started the tests in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def model() -> StableRankClassifier:
    """Fitted once, and changed by nobody."""
    return model_with(max_epochs=40).fit(X, Y)


# Closed form.


def test_two_points_by_hand() -> None:
    # Two points at distance 2r have one H0 death, r. The adversary moves it by as much as the
    # points, so the one coordinate has constant 1; deviations 1/2: ε = 1/40.
    clouds = [np.array([[0.0, 0.0], [2.0 * (1 + i % 2), 0.0]]) for i in range(20)]
    y = [i % 2 for i in range(20)]
    model = model_with(homology_dimensions=(0,), max_epochs=20).fit(clouds, y)
    persistence, ranks, network = (step for _, step in model.pipeline_.steps)
    assert ranks.transform(persistence.transform(clouds[:2])).tolist() == [[1.0], [2.0]]
    assert ranks.n_ranks_ == {0: 1}
    assert network.epsilon_ == 0.05 * 0.5
    assert network.constants.tolist() == [1.0]
    assert model.predict(clouds).tolist() == y
    # a cloud on one side cannot be certified beyond the middle between the classes
    radii = model.certify(clouds).radius
    assert 0 < radii.max() < 1


def test_the_chain_names_every_stage(model: StableRankClassifier) -> None:
    chain = model.stability_
    assert isinstance(chain, StabilityChain)
    assert (chain.source, chain.target) == (PER_POINT, LINF)
    shown = str(chain)
    for stage in ("H0 · alpha", "H1 · alpha", "stable rank p=inf", "standardize", "LinfLinear"):
        assert stage in shown
    # each coordinate is divided by its own constant and by ε: from there on all are alike
    epsilon = model.pipeline_.named_steps["network"].epsilon_
    assert chain.constant <= 1 / epsilon * (1 + 1e-12)
    assert model.pipeline_.named_steps["network"].constants.tolist() == [1.0] * 39 + [2.0] * (
        len(model.pipeline_.named_steps["ranks"].get_feature_names_out()) - 39
    )


# The law.


def test_no_cloud_within_its_radius_gets_another_class(
    model: StableRankClassifier, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    certificates = model.certify(X)
    assert (certificates.radius > 0).mean() > 0.5
    assert (certificates.prediction == model.predict(X)).all()
    moved = []
    for cloud, radius in zip(X, certificates.radius, strict=True):
        angles = rng.uniform(0, 2 * np.pi, len(cloud))
        steps = np.column_stack([np.cos(angles), np.sin(angles)])
        moved.append(cloud + radius * (1 - 1e-9) * steps)
    certified = certificates.radius > 0
    assert (model.predict(moved) == certificates.prediction)[certified].all()


@pytest.mark.parametrize("exponent", [-200, 3, 200])
def test_a_change_of_units_changes_radii_and_nothing_else(
    model: StableRankClassifier, exponent: int
) -> None:
    scaled = [np.ldexp(cloud, exponent) for cloud in X]
    other = clone(model).fit(scaled, Y)
    assert (other.decision_function(scaled) == model.decision_function(X)).all()
    radii = np.ldexp(model.certify(X).radius, exponent)
    np.testing.assert_allclose(other.certify(scaled).radius, radii, rtol=1e-6)


# A slow reference: the three steps by hand.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"p": 2.0, "n_ranks": {0: 5, 1: 3}},
        {"persistence": "rips", "homology_dimensions": (0,)},
        {"contour": DistanceContour([0.2], [0.1], [0.3], floor=0.5)},
        {"epsilon": 0.01, "loss": "margin", "temperature": 3.0},
    ],
    ids=str,
)
def test_the_estimator_is_its_three_steps(settings: dict[str, Any]) -> None:
    estimator = model_with(**settings).fit(X, Y)
    filtration = {"alpha": AlphaPersistence, "rips": RipsPersistence}[estimator.persistence]
    persistence = filtration(homology_dimensions=estimator.homology_dimensions)
    diagrams = persistence.fit_transform(X)
    n_ranks = estimator.n_ranks or {
        k: int(diagrams.n_bars(k).max()) for k in estimator.homology_dimensions
    }
    ranks = StableRank(p=estimator.p, contour=estimator.contour, n_ranks=n_ranks).fit(diagrams)
    to_diagrams = persistence.stability(HAUSDORFF)
    constants = StabilityChain(to_diagrams, ranks.stability(to_diagrams.target)).constants
    network = LipschitzClassifier(
        epsilon=estimator.epsilon,
        loss=estimator.loss,
        temperature=estimator.temperature,
        hidden=(8,),
        lr=0.05,
        batch_size=15,
        constants=constants,
        max_epochs=4,
        random_state=0,
    ).fit(ranks.transform(diagrams), Y)
    vectors = ranks.transform(diagrams)
    assert (estimator.decision_function(X) == network.decision_function(vectors)).all()
    assert (estimator.predict_proba(X) == network.predict_proba(vectors)).all()
    assert (estimator.predict(X) == network.predict(vectors)).all()


def test_long_diagrams_give_at_most_200_ranks() -> None:
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(260, 2)) * (1 + i % 2) for i in range(6)]
    estimator = model_with(max_epochs=1, homology_dimensions=(0,)).fit(clouds, [0, 1] * 3)
    assert estimator.pipeline_.named_steps["ranks"].n_ranks_ == {0: 200}


# The contract: predictions.


def test_what_is_predicted_fits_together(model: StableRankClassifier) -> None:
    assert model.classes_.tolist() == ["heap", "pair", "ring"]
    probabilities, logits = model.predict_proba(X), model.decision_function(X)
    predicted = model.predict(X)
    assert probabilities.shape == logits.shape == (45, 3)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    assert (model.classes_[probabilities.argmax(axis=1)] == predicted).all()
    assert (model.classes_[logits.argmax(axis=1)] == predicted).all()
    assert model.score(X, Y) > 0.9


def test_accuracy_is_weighted_by_samples(model: StableRankClassifier) -> None:
    right = model.predict(X) == Y
    wrong = np.where(Y == "ring", "heap", Y)  # so some are predicted wrongly
    weights = np.arange(45.0)
    agrees = model.predict(X) == wrong
    assert model.score(X, Y) == right.mean()
    expected = weights[agrees].sum() / weights.sum()
    assert 0 < expected < 1
    assert model.score(X, wrong, sample_weight=weights) == pytest.approx(expected, rel=1e-14)


def test_two_classes_have_one_decision_value() -> None:
    two = [i for i in range(45) if i % 3 < 2]
    clouds, y = [X[i] for i in two], Y[two]
    estimator = model_with().fit(clouds, y)
    values = estimator.decision_function(clouds)
    assert values.shape == (30,)
    assert (estimator.predict(clouds) == np.where(values > 0, "ring", "heap")).all()


def test_a_cloud_is_predicted_alike_in_any_company(model: StableRankClassifier) -> None:
    alone = np.concatenate([model.decision_function([cloud]) for cloud in X[:6]])
    np.testing.assert_allclose(alone, model.decision_function(X)[:6], rtol=1e-12, atol=1e-12)
    shuffled = [cloud[::-1] for cloud in X[:6]]
    np.testing.assert_allclose(model.decision_function(shuffled), alone, rtol=1e-9, atol=1e-9)


def test_arrays_of_three_dimensions_and_other_sequences() -> None:
    clouds = [cloud[:30] for cloud in X]
    expected = model_with().fit(clouds, Y).decision_function(clouds)
    for variant in (
        np.array(clouds),
        torch.tensor(np.array(clouds)),
        tuple(cloud.tolist() for cloud in clouds),
        [np.asfortranarray(cloud) for cloud in clouds],
    ):
        estimator = model_with().fit(variant, Y.tolist())
        assert (estimator.decision_function(variant) == expected).all()


def test_points_in_space() -> None:
    clouds = [np.column_stack([cloud[:15], 0.1 * cloud[:15, 0]]) for cloud in X]
    estimator = model_with(homology_dimensions=(0,)).fit(clouds, Y)
    assert estimator.pipeline_.named_steps["persistence"].dimension_ == 3
    assert estimator.predict(clouds).shape == (45,)


@pytest.mark.parametrize(
    "labels", [[3, 1, 2], [-1, 0, 1], [2.0, 1.0, 3.0], ["b", "ä", "c"], np.array([0, 1, 7], "u1")]
)
def test_labels_of_any_kind(labels: Any) -> None:
    names = np.asarray(labels)
    y = names[np.arange(45) % 3]
    for given in (y, y.tolist(), y.astype(object)):
        estimator = model_with().fit(X, given)
        assert estimator.classes_.tolist() == sorted(names.tolist())
        assert set(estimator.predict(X).tolist()) <= set(names.tolist())
        assert 0 <= estimator.score(X, given) <= 1


def test_booleans_and_single_clouds_of_a_class() -> None:
    y = Y == "ring"
    assert model_with().fit(X, y.tolist()).predict(X).dtype == bool
    assert model_with().fit(X[:3], ["a", "b", "c"]).predict(X[:3]).shape == (3,)


def test_one_seed_one_model() -> None:
    def fit(random_state: Any, n_jobs: int | None = None) -> bytes:
        estimator = model_with(random_state=random_state, n_jobs=n_jobs).fit(X, Y)
        radii = estimator.certify(X[:5]).radius
        return estimator.decision_function(X).tobytes() + radii.tobytes()

    before = torch.get_rng_state()
    first = fit(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert fit(0) == fit(0, n_jobs=2) == first
    assert fit(1) != first


# The contract: parameters.


def test_parameters_come_back_as_they_were_set() -> None:
    estimator = StableRankClassifier(network__lr=0.1, ranks__max_bars=7, p=2)
    parameters = estimator.get_params()
    assert parameters["network__lr"] == 0.1
    assert parameters["ranks__max_bars"] == 7
    assert parameters["p"] == 2
    assert parameters["epsilon"] is None
    estimator.set_params(network__lr=0.2, network__hidden=(4,), temperature=20.0)
    assert estimator.get_params() == {
        **parameters,
        "network__lr": 0.2,
        "network__hidden": (4,),
        "temperature": 20.0,
    }
    assert estimator.set_params() is estimator
    shown = repr(estimator)
    assert "network__lr=0.2" in shown
    assert "temperature=20.0" in shown
    assert "epsilon" not in shown  # the default
    assert "StableRankClassifier" in estimator._repr_html_()


def test_clones_are_equal_and_independent(model: StableRankClassifier) -> None:
    contour = DistanceContour([0.2], [0.1], [0.3], floor=0.5)
    estimator = model_with(contour=contour, persistence=AlphaPersistence(), n_ranks={0: 3, 1: 3})
    other = clone(estimator)
    assert other.get_params(deep=False).keys() == estimator.get_params(deep=False).keys()
    assert other.contour == contour
    assert other.persistence is not estimator.persistence
    other.set_params(network__lr=0.5)
    assert estimator.get_params()["network__lr"] == 0.05
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_parameters_reach_their_steps() -> None:
    estimator = model_with(
        persistence="rips",
        persistence__homology_dimensions=(0,),
        ranks__p=2,
        ranks__n_ranks=4,
        ranks__max_bars=9,
        network__activation="abs",
        network__temperature=7.0,
        n_jobs=1,
    ).fit(X, Y)
    persistence, ranks, network = (step for _, step in estimator.pipeline_.steps)
    assert isinstance(persistence, RipsPersistence)
    assert (persistence.homology_dimensions, persistence.n_jobs) == ((0,), 1)
    assert (ranks.p, ranks.n_ranks_, ranks.max_bars_) == (2, {0: 4}, {0: 9})
    assert (network.activation, network.temperature_, network.random_state) == ("abs", 7.0, 0)


def test_fit_changes_no_parameter() -> None:
    filtration = AlphaPersistence(homology_dimensions=(1,))
    estimator = model_with(persistence=filtration, n_ranks={1: 5})
    before = estimator.get_params(deep=False)
    copies = [cloud.copy() for cloud in X]
    y = Y.copy()
    estimator.fit(X, y)
    after = estimator.get_params(deep=False)
    assert all(after[name] is before[name] for name in {*before, *after})
    assert not hasattr(filtration, "dimension_")
    assert estimator.pipeline_.named_steps["ranks"].n_ranks_ == {1: 5}
    assert all((a == b).all() for a, b in zip(X, copies, strict=True))
    assert (y == Y).all()


def test_a_filtration_object_with_step_parameters() -> None:
    estimator = model_with(persistence=AlphaPersistence(), persistence__homology_dimensions=(0,))
    assert estimator.get_params()["persistence__homology_dimensions"] == (0,)
    estimator.fit(X, Y)
    assert estimator.pipeline_.named_steps["persistence"].homology_dimensions == (0,)


MISSPELT = {
    "epsilonn": "'epsilonn' is no parameter of StableRankClassifier. Did you mean 'epsilon'?",
    "network__lrr": "'network__lrr' is no parameter of StableRankClassifier. Did you mean "
    "'network__lr'?",
    "rank__p": "Did you mean 'ranks__p'?",
    "network_lr": "Did you mean 'network__lr'?",
    "zzz": "Its parameters are certified_training, contour, epsilon, ",
    "zzz__zzz": "ranks__max_bars, ranks__n_ranks, ranks__p.",
    "network__fit": "'network__fit' is no parameter",
}


@pytest.mark.parametrize(("name", "message"), MISSPELT.items(), ids=list(MISSPELT))
def test_misspelt_parameters(name: str, message: str) -> None:
    setting: dict[str, Any] = {name: 1}
    with pytest.raises(ValueError, match=re.escape(message)):
        StableRankClassifier(**setting)
    estimator = StableRankClassifier(network__lr=0.1)
    before = estimator.get_params()
    with pytest.raises(ValueError, match=re.escape(message)):
        estimator.set_params(**{"temperature": 2.0, "network__lr": 0.2, name: 1})
    assert estimator.get_params() == before  # the others used to be set before the error


# The contract: scikit-learn's tools.


def test_cross_validation_of_lists_of_clouds() -> None:
    scores = cross_val_score(model_with(max_epochs=40), X, Y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.8


def test_a_grid_search_over_every_step() -> None:
    grid = [
        {"network__lr": [1e-9, 0.05]},
        {"ranks__p": [2.0, math.inf]},
        {"n_ranks": [3, {0: 4, 1: 2}]},
        {"temperature": [0.5, 10.0]},
    ]
    search = GridSearchCV(model_with(max_epochs=10), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 8
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[0] < search.best_score_  # nothing is learned at a rate of 1e-9
    assert search.predict(X).shape == (45,)
    assert isinstance(search.best_estimator_.stability_, StabilityChain)


def test_splitting_fitting_again_and_pickling(model: StableRankClassifier) -> None:
    X_train, X_test, y_train, y_test = train_test_split(X, Y, random_state=0, stratify=Y)
    estimator = model_with(max_epochs=20).fit(X_train, y_train)
    assert estimator.score(X_test, y_test) > 0.8
    logits = estimator.decision_function(X_test)
    estimator.fit(X, Y)
    estimator.fit(X_train, y_train)
    assert (estimator.decision_function(X_test) == logits).all()
    # The trained net could not be pickled, and so no model could.
    other = pickle.loads(pickle.dumps(model))
    assert (other.decision_function(X) == model.decision_function(X)).all()
    assert (other.certify(X).radius == model.certify(X).radius).all()
    assert other.stability_ == model.stability_


def test_tags_and_fittedness(model: StableRankClassifier) -> None:
    check_is_fitted(model)
    tags = model.__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert (tags.input_tags.two_d_array, tags.input_tags.three_d_array) == (False, True)


def test_nothing_is_answered_before_fit(tmp_path: Any) -> None:
    estimator = StableRankClassifier()
    path = tmp_path / "model.srn"
    for ask in (
        lambda: estimator.predict(X),
        lambda: estimator.predict_proba(X),
        lambda: estimator.decision_function(X),
        lambda: estimator.score(X, Y),
        lambda: estimator.certify(X),
        lambda: estimator.save(path),
        lambda: estimator.stability_,
    ):
        with pytest.raises(NotFittedError, match=re.escape("call fit(X, y), or load a model")):
            ask()
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    assert not path.exists()
    assert not hasattr(estimator, "stability_")


# Dissimilarities.


def test_dissimilarities() -> None:
    matrices = [squareform(pdist(cloud[:20])) for cloud in X]
    settings = {"persistence": "rips", "homology_dimensions": (0,)}
    estimator = model_with(persistence__metric="precomputed", max_epochs=40, **settings)
    estimator.fit(matrices, Y)
    assert estimator.stability_.source == SUP
    certificates = estimator.certify(matrices, threat="sup")
    assert (certificates.radius > 0).any()
    # a change of every entry by ε moves deaths by ε, not 2ε: constants 1
    assert set(estimator.pipeline_.named_steps["network"].constants) == {1.0}
    of_points = model_with(max_epochs=40, **settings).fit([cloud[:20] for cloud in X], Y)
    assert set(of_points.pipeline_.named_steps["network"].constants) == {2.0}
    with pytest.raises(ValueError, match=re.escape("X[1] is not symmetric")):
        model_with(persistence__metric="precomputed", **settings).fit(
            [matrices[0], np.triu(matrices[1]), *matrices[2:]], Y
        )


# Errors.


def replaced(i: int, cloud: Any) -> list[Any]:
    return [*X[:i], cloud, *X[i + 1 :]]


BAD_CLOUDS: dict[str, tuple[Any, type[Exception], str]] = {
    "NaN": (replaced(3, np.full((5, 2), np.nan)), ValueError, "X[3] has 5 of 5 points with NaN"),
    "infinity": (replaced(7, np.array([[0, 0], [0, np.inf]])), ValueError, "X[7] has 1 of 2"),
    "no points": (replaced(2, np.empty((0, 2))), ValueError, "X[2]"),
    "another dimension": (replaced(4, np.zeros((5, 3))), ValueError, "X[4] lies in R^3, but"),
    "one axis": (replaced(1, np.zeros(5)), ValueError, "X[1]"),
    "strings": (replaced(5, [["a", "b"]]), TypeError, "X[5]"),
    "ragged": (replaced(6, [[0.0, 1.0], [2.0]]), ValueError, "X[6]"),
    "one cloud": (X[0], ValueError, "X is one 2-D array"),
    "no clouds": ([], ValueError, "X is empty"),
    "nothing": (None, TypeError, "X is a NoneType"),
    "a line": ([np.zeros((4, 1))] * 45, ValueError, "X[0] lies in R^1"),
    "an iterator": (iter(X), TypeError, "without a length"),
}


@pytest.mark.parametrize(("clouds", "error", "message"), BAD_CLOUDS.values(), ids=list(BAD_CLOUDS))
def test_bad_clouds_are_named(clouds: Any, error: type[Exception], message: str) -> None:
    estimator = model_with()
    with pytest.raises(error, match=re.escape(message)):
        estimator.fit(clouds, Y)
    assert not hasattr(estimator, "pipeline_")


def test_bad_clouds_to_predict_are_named(model: StableRankClassifier) -> None:
    for ask in (model.predict, model.predict_proba, model.decision_function, model.certify):
        with pytest.raises(ValueError, match=re.escape("X[3] has 5 of 5 points with NaN")):
            ask(replaced(3, np.full((5, 2), np.nan)))
        with pytest.raises(
            ValueError, match="lies in R\\^3, but the dimension that was fitted is 2"
        ):
            ask([np.zeros((5, 3))])


NAN = float("nan")
BAD_LABELS: dict[str, tuple[Any, str]] = {
    "too few": (Y[:-1], "y has shape (44,), but X has 45 clouds: expected one label a cloud"),
    "one class": (["a"] * 45, "y has only one class, 'a': a classifier needs at least two"),
    "NaN": ([0.0, NAN, 1.0] * 15, "y[1] is nan: labels are neither NaN nor infinite"),
    "infinity": ([0.0, 1.0, math.inf] * 15, "y[2] is inf"),
    # NumPy makes strings, or numbers, of all of these
    "strings and numbers": (["a", 1, 2] * 15, "y mixes labels of kinds ['number', 'str']"),
    "strings and NaN": (["a", "b", NAN] * 15, "y mixes labels of kinds ['number', 'str']"),
    "booleans and numbers": ([True, 2, 3] * 15, "y mixes labels of kinds ['bool', 'number']"),
    "strings and None": (["a", "b", None] * 15, "y mixes labels of kinds ['NoneType', 'str']"),
    "objects": (np.array(["a", 1, 2] * 15, dtype=object), "y mixes labels of kinds"),
    "nothing but None": ([None] * 45, "y has dtype object"),
    "a column": (Y[:, None], "y has shape (45, 1), but X has 45 clouds"),
    "a table": (np.zeros((45, 2)), "y has shape (45, 2)"),
    "ragged": ([[1], [1, 2], [3]] * 15, "y is ragged"),
    "None": (None, "y has shape ()"),
    "one label": ("a", "y has shape ()"),
    "fractions": (np.linspace(0, 1, 45), "Unknown label type: continuous"),
    "complex numbers": (np.arange(45) * 1j, "y has dtype complex128"),
    "bytes": (np.array([b"a", b"b", b"c"] * 15), "y has dtype |S1"),
    "dates": (np.array(["2020-01-01"] * 45, dtype="M8[D]"), "y has dtype datetime64[D]"),
}


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS.values(), ids=list(BAD_LABELS))
def test_bad_labels(labels: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # before any diagram is computed
    monkeypatch.setattr(AlphaPersistence, "transform", lambda *_: pytest.fail("long work"))
    with pytest.raises(ValueError, match=re.escape(message)):
        model_with().fit(X, labels)


def test_bad_labels_to_score(model: StableRankClassifier) -> None:
    with pytest.raises(ValueError, match=re.escape("y has shape (44,), but X has 45 clouds")):
        model.score(X, Y[:-1])
    mixed: Any = ["a", 1]
    with pytest.raises(ValueError, match="y mixes labels"):
        model.score(X[:2], mixed)


BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"epsilon": 0}, "epsilon=0: expected a positive finite number"),
    ({"epsilon": -0.1}, "epsilon=-0.1: expected"),
    ({"epsilon": NAN}, "epsilon=nan: expected"),
    ({"epsilon": math.inf}, "epsilon=inf: expected"),
    ({"epsilon": "a"}, "epsilon='a': expected"),
    ({"temperature": 0}, "temperature=0: expected a positive finite number"),
    ({"loss": "hinges"}, "loss='hinges': expected"),
    ({"max_epochs": 0}, "max_epochs=0: expected an integer >= 1"),
    ({"network__lr": -1}, "lr=-1: expected"),
    ({"network__hidden": (3,)}, "hidden=(3,): expected positive integers, multiples of 2"),
    ({"p": 0.5}, "p=0.5 is not the exponent of a norm"),
    ({"p": NAN}, "p=nan is not the exponent"),
    ({"n_ranks": 0}, "n_ranks=0: expected integers >= 1"),
    ({"n_ranks": {0: 3}}, "n_ranks={0: 3} has no entry for H1"),
    ({"contour": "short"}, "contour='short': expected"),
    ({"homology_dimensions": (2,)}, "points in R^2 have no homology in dimension 2"),
    ({"homology_dimensions": ()}, "homology_dimensions=(): expected"),
    (
        {"persistence": "cech"},
        "persistence='cech': expected one of ['alpha', 'rips'], a filtration",
    ),
    ({"persistence": None}, "persistence=None: expected one of"),
    ({"persistence": AlphaPersistence}, "expected one of ['alpha', 'rips'], a filtration such"),
    ({"persistence__metric": "euclidean"}, "Invalid parameter 'metric'"),
    ({"n_jobs": 0}, "n_jobs=0: expected a number of workers"),
    ({"ranks__max_bars": 0}, "max_bars=0: expected"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_PARAMETERS, ids=str)
def test_bad_parameters(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network's used to be found only after all diagrams were computed.
    monkeypatch.setattr(AlphaPersistence, "transform", lambda *_: pytest.fail("long work"))
    estimator = model_with(**settings)  # the constructor only stores
    with pytest.raises(ValueError, match=re.escape(message)):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "pipeline_")


class Interrupting(Callback):  # type: ignore[misc, unused-ignore]
    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Failing(Callback):  # type: ignore[misc, unused-ignore]
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        raise RuntimeError("the disk is full")


BAD_REFITS: dict[str, Callable[[StableRankClassifier], Any]] = {
    "clouds": lambda m: m.fit(replaced(3, np.full((5, 2), np.nan)), Y),
    "labels": lambda m: m.fit(X, Y[:-1]),
    "parameters": lambda m: m.set_params(network__lr=-1).fit(X, Y),
    "an error in training": lambda m: m.set_params(network__callbacks=[Failing()]).fit(X, Y),
    "Ctrl-C": lambda m: m.set_params(network__callbacks=[Interrupting()]).fit(X, Y),
}


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C by a signal")
@pytest.mark.parametrize("refit", BAD_REFITS.values(), ids=list(BAD_REFITS))
def test_a_failed_fit_leaves_what_was_fitted_before(
    refit: Callable[[StableRankClassifier], Any], model: StableRankClassifier
) -> None:
    before = model.decision_function(X)
    other = pickle.loads(pickle.dumps(model))
    with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
        refit(other)
    assert (other.decision_function(X) == before).all()
    assert (other.certify(X[:5]).radius == model.certify(X[:5]).radius).all()
    never = model_with()
    with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
        refit(never)
    with pytest.raises(NotFittedError):
        never.predict(X)


def test_every_pair_of_settings_that_matter_runs() -> None:
    clouds = [cloud[:12] for cloud in X[:9]]
    choices: dict[str, list[Any]] = {
        "persistence": ["alpha", "rips"],
        "p": [1.0, 3.5, math.inf],
        "loss": ["margin", "cross-entropy"],
        "network__layer": ["linf", "linf-distance"],
    }
    for values in itertools.product(*choices.values()):
        settings = dict(zip(choices, values, strict=True))
        estimator = model_with(**{**settings, "max_epochs": 1}).fit(clouds, Y[:9])
        assert estimator.certify(clouds).radius.shape == (9,)
