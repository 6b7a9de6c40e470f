"""Every public name exists, says what it is, and the documented path runs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import stablerank


def modules() -> list[ModuleType]:
    """All modules of the package."""
    found = [stablerank]
    for module in pkgutil.walk_packages(stablerank.__path__, "stablerank."):
        if not module.name.endswith("__main__"):
            found.append(importlib.import_module(module.name))
    return found


MODULES = modules()
WITH_NAMES = [module for module in MODULES if hasattr(module, "__all__")]


@pytest.mark.parametrize("module", WITH_NAMES, ids=lambda module: module.__name__)
def test_every_name_resolves(module: ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names) > 0
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("stablerank.")
            assert inspect.getdoc(value), f"{module.__name__}.{name} has no docstring"


def test_the_packages_that_users_import_from_have_names() -> None:
    assert {module.__name__ for module in WITH_NAMES} >= {
        "stablerank",
        "stablerank.certify",
        "stablerank.datasets",
        "stablerank.diagrams",
        "stablerank.fields",
        "stablerank.nn",
        "stablerank.ranks",
    }


def test_importing_everything() -> None:
    names: dict[str, object] = {}
    exec("from stablerank import *", names)
    assert {*stablerank.__all__} <= {*names}
    assert names["StableRankClassifier"] is stablerank.StableRankClassifier
    assert "np" not in names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_module_says_what_it_is_for(module: ModuleType) -> None:
    assert len((module.__doc__ or "").strip()) > 20


def test_the_documented_path(tmp_path: Path) -> None:
    from stablerank import AlphaPersistence, StableRank, StableRankClassifier, certify
    from stablerank.datasets import make_orbits

    X, y = make_orbits(n_per_class=12, n_points=60, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = StableRankClassifier(epsilon=1e-3, random_state=0, max_epochs=5).fit(X_train, y_train)
    assert model.predict(X_test).shape == (15,)
    assert model.predict_proba(X_test).shape == (15, 5)
    clean = model.score(X_test, y_test)
    assert "end to end" in str(model.stability_)
    certificates = model.certify(X_test)
    assert certificates.radius.shape == (15,)
    assert certificates.radius.dtype == np.float64
    certified = certificates.certified_accuracy(y_test, 1e-3)
    assert 0 <= certified <= clean <= 1
    model.save(tmp_path / "orbits.srn")
    loaded = StableRankClassifier.load(tmp_path / "orbits.srn")
    assert (loaded.predict(X_test) == model.predict(X_test)).all()
    assert (certify(loaded.pipeline_, X_test).radius == certificates.radius).all()
    persistence, ranks = loaded.pipeline_[0], loaded.pipeline_[1]
    assert isinstance(persistence, AlphaPersistence)
    assert isinstance(ranks, StableRank)
