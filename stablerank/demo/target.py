"""One target of a demonstration: train, certify, attack, and sum up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from stablerank.attack import Search, attack, minimal_radius
from stablerank.certify import Certificates
from stablerank.demo.data import Data
from stablerank.demo.settings import Settings
from stablerank.diagrams import AlphaPersistence
from stablerank.estimators import StableRankClassifier
from stablerank.plotting import nearest_distances
from stablerank.progress import ProgressBar
from stablerank.ranks import StableRank

ATTACKS = ("random", "coordinate", "search")
INSIDE = 0.999  # of its certified radius: how far the attacks on a certificate go
LIFETIMES = 20  # of each homology dimension, for the random forest


@dataclass(frozen=True, eq=False)
class Result:
    """What came out for one target, an entry a test cloud unless said otherwise.

    Parameters
    ----------
    target : str
        Which label was learned.
    y : ndarray
        True labels.
    model : StableRankClassifier
        Fitted.
    certificates : Certificates
        For the threat "per_point".
    forest : ndarray
        Labels predicted by the random forest.
    attacked : ndarray of int
        Which of the test clouds were attacked: indices into them.
    breaking, forest_breaking : ndarray of shape (n_attacked,), float64
        The least displacement that was found to change the model's answer, and the forest's;
        infinite where there was none.
    tried : int
        Displaced clouds that were shown to the model within certified radii.
    broken : ndarray of int
        Test clouds whose certificate an attack has broken.
    """

    target: str
    y: NDArray[Any]
    model: StableRankClassifier
    certificates: Certificates
    forest: NDArray[Any]
    attacked: NDArray[np.intp]
    breaking: NDArray[np.float64]
    forest_breaking: NDArray[np.float64]
    tried: int
    broken: NDArray[np.intp]

    def left(self, prediction: NDArray[Any], breaking: NDArray[np.float64], epsilon: Any) -> Any:
        """The share of attacked clouds that stay right when the attacks may move by epsilon."""
        right = (prediction == self.y)[self.attacked]
        sizes = np.asarray(epsilon, dtype=np.float64)
        return (right & (breaking > sizes[..., None])).mean(axis=-1)


def _one_target(
    data: Data,
    target: str,
    epsilons: Sequence[float],
    settings: Settings,
    random_state: int,
    n_jobs: int | None,
    steps: list[tuple[str, float]],
    log: Console | None,
) -> Result:
    X_train, X_test = data.part(data.train), data.part(data.test)
    y_train, y_test = (data.labels[target][part] for part in (data.train, data.test))
    with _step(f"{target}: train the certified model", steps, log):
        model = StableRankClassifier(
            max_epochs=settings.max_epochs, n_jobs=n_jobs, random_state=random_state
        ).fit(X_train, y_train)
    with _step(f"{target}: train a random forest", steps, log):
        forest = _forest(settings, random_state, n_jobs).fit(X_train, y_train)
    with _step(f"{target}: certify {len(X_test)} predictions", steps, log):
        certificates = model.certify(X_test)
        forest_prediction = forest.predict(X_test)

    rng = np.random.default_rng(random_state)
    n_attacked = min(settings.n_attacked or len(X_test), len(X_test))
    attacked = np.sort(rng.permutation(len(X_test))[:n_attacked])
    X, some = [X_test[i] for i in attacked], certificates[attacked]
    with _step(f"{target}: attack {n_attacked} certificates", steps, log):
        broken, tried = _attack_inside(model, X, some, settings, random_state)
    with _step(f"{target}: search the least displacements", steps, log):
        largest = 2 * epsilons[-1]
        breaking = _least(model, X, some.prediction, largest, settings, random_state)
    with _step(f"{target}: the same for the forest", steps, log):
        forest_breaking = _least(
            forest, X, forest_prediction[attacked], largest, settings, random_state
        )
    broken |= breaking < some.radius
    return Result(
        target,
        y_test,
        model,
        certificates,
        forest_prediction,
        attacked,
        breaking,
        forest_breaking,
        tried,
        attacked[broken],
    )


def _forest(settings: Settings, random_state: int, n_jobs: int | None) -> Pipeline:
    return Pipeline(
        [
            ("persistence", AlphaPersistence(n_jobs=n_jobs)),
            ("lifetimes", StableRank(n_ranks=LIFETIMES)),
            ("forest", RandomForestClassifier(settings.n_trees, random_state=random_state)),
        ]
    )


def _attack_inside(
    model: StableRankClassifier,
    X: Sequence[NDArray[np.float64]],
    certificates: Certificates,
    settings: Settings,
    random_state: int,
) -> tuple[NDArray[np.bool_], int]:
    """Which certificates an attack within the certified radius breaks, and how many were tried."""
    broken = np.zeros(len(X), dtype=bool)
    certified = np.flatnonzero(certificates.radius > 0)
    tried = 0
    if len(certified) == 0:
        return broken, tried
    total = len(certified) * settings.n_queries * len(ATTACKS)
    with ProgressBar("attacks inside the certified radii", total) as progress:
        for method in ATTACKS:
            result = attack(
                _Watched(model, progress),
                [X[int(i)] for i in certified],
                certificates.prediction[certified],
                threat="per_point",
                radius=INSIDE * certificates.radius[certified],
                random_state=random_state,
                method=method,
                n_queries=settings.n_queries,
            )
            broken[certified] |= result.success
            tried += int(result.n_queries.sum())
    return broken, tried


def _least(
    model: Any,
    X: Sequence[NDArray[np.float64]],
    prediction: NDArray[Any],
    largest: float,
    settings: Settings,
    random_state: int,
) -> NDArray[np.float64]:
    """The least displacement found to change each prediction, infinite above `largest`."""
    total = len(X) * settings.n_queries * settings.n_rounds
    with ProgressBar("least displacements", total) as progress:
        result = minimal_radius(
            _Watched(model, progress),
            list(X),
            prediction,
            threat="per_point",
            largest=largest,
            method=Search(n_queries=settings.n_queries),
            n_rounds=settings.n_rounds,
            random_state=random_state,
        )
    return result.breaking_displacement


class _Watched:
    """A model that counts in a progress bar how many clouds it was asked to score."""

    def __init__(self, model: Any, progress: ProgressBar) -> None:
        self._model, self._progress = model, progress

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in ("decision_function", "predict_proba"):
            return found

        def counted(X: Any) -> Any:
            scores = found(X)
            self._progress.advance(len(X))
            return scores

        return counted


def summarize(data: Data, result: Result, epsilons: Sequence[float]) -> dict[str, Any]:
    """The numbers of one target, as plain data."""
    certificates, y, attacked = result.certificates, result.y, result.attacked
    clouds, prediction, sizes = data.part(data.test), certificates.prediction, np.array(epsilons)
    accuracy = float((prediction == y).mean())
    diameters = np.array([pdist(cloud).max(initial=0.0) for cloud in clouds])
    spacings = np.array([np.median(nearest_distances(cloud)) for cloud in clouds])
    network = result.model.pipeline_.named_steps["network"]
    return {
        "classes": [str(name) for name in result.model.classes_],
        "accuracy": accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(y)),
        "forest_accuracy": float((result.forest == y).mean()),
        "largest_class": float(np.unique(y, return_counts=True)[1].max() / len(y)),
        "certified": certificates.certified_accuracy(y, sizes).tolist(),
        "n_attacked": len(attacked),
        "clean_among_attacked": float(result.left(prediction, result.breaking, 0.0)),
        "forest_clean_among_attacked": float((result.forest == y)[attacked].mean()),
        "certified_among_attacked": certificates[attacked]
        .certified_accuracy(y[attacked], sizes)
        .tolist(),
        "attacked": result.left(prediction, result.breaking, sizes).tolist(),
        "forest_attacked": result.left(result.forest, result.forest_breaking, sizes).tolist(),
        "median_radius": float(np.median(certificates.radius)),
        "median_radius_to_diameter": float(np.median(certificates.radius / diameters)),
        "median_radius_to_spacing": float(np.median(certificates.radius / spacings)),
        "share_certified": float((certificates.radius > 0).mean()),
        "constant": certificates.chain.constant,
        "trained_for_epsilon": network.epsilon_,
        "tried": result.tried,
        "broken": len(result.broken),
        "broken_clouds": data.index[data.test[result.broken]].tolist(),
    }
