"""What all filtrations promise scikit-learn and their users, tested on each of them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from stablerank.diagrams import (
    AlphaPersistence,
    CubicalPersistence,
    DiagramBatch,
    DistanceToMeasurePersistence,
    RipsPersistence,
)
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    SUP,
    StabilityError,
)

Clouds = list[NDArray[np.float64]]

CASES: dict[str, tuple[Filtration, Callable[[Clouds], Clouds]]] = {
    "alpha": (AlphaPersistence(engine="gudhi"), lambda X: X),
    "planar alpha": (AlphaPersistence(engine="planar"), lambda X: X),
    "Rips": (RipsPersistence(), lambda X: X),
    "dissimilarities": (
        RipsPersistence(metric="precomputed"),
        lambda X: [np.linalg.norm(c[:, None] - c, axis=-1) for c in X],
    ),
    "images": (CubicalPersistence(), lambda X: X),
    "periodic images": (CubicalPersistence(periodic=(True, False)), lambda X: X),
    "distance to measure": (
        DistanceToMeasurePersistence(1, resolution=8, box=((-2, -2), (2, 2))),
        lambda X: X,
    ),
    "distance to measure on a torus": (
        DistanceToMeasurePersistence(1, q=1, resolution=8, box=((-2, -2), (2, 2)), periodic=True),
        lambda X: X,
    ),
}


@pytest.fixture
def X() -> Clouds:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 2)) for n in (20, 1, 2, 9, 30, 3)]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, X: Clouds) -> tuple[Filtration, Clouds]:
    """A filtration, not fitted, and inputs for it."""
    model, prepare = CASES[request.param]
    return clone(model), prepare(X)


def test_fit_returns_self_and_changes_no_parameter(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    before = dict(model.get_params())
    assert model.fit(X) is model
    assert model.get_params() == before
    assert all(model.get_params()[name] is value for name, value in before.items())


def test_constructors_only_store() -> None:
    dimensions, wrong = [0], "nonsense"
    alpha = AlphaPersistence(dimensions, 0, precision=wrong, engine=wrong)  # type: ignore[arg-type]
    rips = RipsPersistence(dimensions, wrong, 0, wrong)  # type: ignore[arg-type]
    for model in (alpha, rips):
        assert model.homology_dimensions is dimensions
        assert set(map(str, model.get_params().values())) == {"[0]", "0", wrong}


def test_clones_and_pickles_give_the_same_diagrams(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    diagrams = model.set_params(homology_dimensions=(1,)).fit_transform(X)
    assert diagrams.homology_dimensions == (1,)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "dimension_")
    assert copy.fit_transform(X) == diagrams
    assert pickle.loads(pickle.dumps(model)).transform(X) == diagrams


def test_fit_transform_is_fit_then_transform(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    diagrams = model.fit_transform(X)
    assert isinstance(diagrams, DiagramBatch)
    assert model.transform(X) == diagrams
    assert make_pipeline(clone(model)).fit_transform(X) == diagrams
    assert model.transform(X[3:4]) == diagrams[3:4]


def test_transform_needs_fit(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    with pytest.raises(NotFittedError):
        model.transform(X)


def test_inputs_are_not_overwritten(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    before = [cloud.copy() for cloud in X]
    model.fit_transform(X)
    assert all(np.array_equal(a, b) for a, b in zip(X, before, strict=True))
    for cloud in X:
        cloud.flags.writeable = False
    assert len(model.fit_transform(X)) == len(X)


def many(X: Clouds) -> Clouds:
    return [X[i] for i in np.random.default_rng(1).integers(len(X), size=40)]


def test_threads_change_nothing(case: tuple[Filtration, Clouds]) -> None:
    model, X = case
    X = many(X)
    alone = model.fit_transform(X)
    with joblib.parallel_config(backend="threading"):
        assert model.set_params(n_jobs=2).transform(X) == alone
    assert alone == DiagramBatch.concatenate([model.transform([cloud]) for cloud in X])


def test_processes_change_nothing(X: Clouds) -> None:
    X = many(X)
    for model in (AlphaPersistence(engine="gudhi"), RipsPersistence()):
        alone = model.fit_transform(X)
        with joblib.parallel_config(backend="loky"):
            assert model.set_params(n_jobs=2).transform(X) == alone


def test_a_second_fit_forgets_the_first(X: Clouds) -> None:
    model = RipsPersistence().fit(X)
    assert model.dimension_ == 2
    assert model.fit([np.zeros((3, 5))]).dimension_ == 5


def test_tags(case: tuple[Filtration, Clouds]) -> None:
    tags = get_tags(case[0])
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert tags.requires_fit
    assert tags.transformer_tags is not None  # None when BaseEstimator stands left of the mixin


def test_the_branches_of_stability_are_the_homology_dimensions(
    case: tuple[Filtration, Clouds],
) -> None:
    model, X = case
    for dimensions in ((0, 1), (1, 0), (1,)):
        model.set_params(homology_dimensions=dimensions)
        names = [f"H{k}" for k in model.fit_transform(X).homology_dimensions]
        assert list(model.stability().branches) == names  # type: ignore[call-arg]


# Errors.


@pytest.mark.parametrize("where", ["fit", "transform"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"homology_dimensions": ()}, "homology_dimensions=(): expected a tuple of different"),
        ({"homology_dimensions": 1}, "homology_dimensions=1: expected a tuple"),
        ({"homology_dimensions": (0, 0)}, "homology_dimensions=(0, 0): expected"),
        ({"homology_dimensions": (-1,)}, "homology_dimensions=(-1,): expected"),
        ({"homology_dimensions": (0.5,)}, "homology_dimensions=(0.5,): expected"),
        ({"homology_dimensions": ([0],)}, "homology_dimensions=([0],): expected"),
        ({"homology_dimensions": (True,)}, "homology_dimensions=(True,): expected"),
        ({"n_jobs": 0}, "n_jobs=0: expected a number of workers, -1 for all cores, or None"),
        ({"n_jobs": 1.5}, "n_jobs=1.5: expected a number of workers"),
    ],
)
def test_parameters_are_checked_at_work(
    case: tuple[Filtration, Clouds], parameters: dict[str, Any], message: str, where: str
) -> None:
    # What set_params changed after fit used to reach GUDHI unchecked.
    model, X = case
    model = model.fit(X).set_params(**parameters)
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(model, where)(X)


@pytest.mark.parametrize("space", [PER_POINT, PER_COORDINATE, SUP], ids=str)
def test_other_metrics_are_not_certified_silently(space: Any) -> None:
    for model in (AlphaPersistence(), RipsPersistence()):
        expected = f"knows constants from {HAUSDORFF} and {FROBENIUS}, not from {space}."
        with pytest.raises(StabilityError, match=re.escape(expected)):
            model.stability(space)
