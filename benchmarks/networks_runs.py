"""Runs of ``benchmarks.networks``: one network trained, measured, certified and attacked."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.comparison import cells, orbits
from benchmarks.comparison.task import Cloud
from stablerank import AlphaPersistence, LipschitzClassifier, StableRank, certify
from stablerank.attack import ProjectedGradient
from stablerank.certify.threats import threat_space
from stablerank.diagrams import CloudDiagrams
from stablerank.nn.architecture import IN_L2
from stablerank.stages import chain_of_stages, l2_chain_of_stages

RADII: dict[str, dict[str, tuple[float, ...]]] = {
    "orbit5k": {
        "per_point": (0.00025, 0.0005, 0.001, 0.002),
        "frobenius": (0.0005, 0.001, 0.002, 0.004),
    },
    "cells": {"per_point": (0.05, 0.1, 0.25, 0.5), "frobenius": (0.1, 0.25, 0.5, 1.0)},
}
NETWORK: dict[str, Any] = {"hidden": (64, 64), "max_epochs": 40}
BATCH = {"orbit5k": 256, "cells": 32}
N_RANKS = 100
N_ATTACKED, STEPS = 5, 10


def run(
    task: str, seed: int, layer: str, losses: Mapping[str, dict[str, Any]], quick: bool = False
) -> tuple[str, int, str, dict[str, dict[str, Any]]]:
    """Losses with their settings behind one kind of layer, on one seed of a task; rows by loss.

    Raises
    ------
    RuntimeError
        If an attack breaks a certificate.
    """
    torch.set_num_threads(1)
    data = features(task, seed, quick)
    rows = {}
    for loss, settings in losses.items():
        classifier, pace = fitted(data, task, layer, loss, settings, seed, quick)
        row = measured(data, RADII[task], classifier)
        row["seconds an epoch"] = pace
        row |= attacked(data, RADII[task], classifier, seed, 2 if quick else N_ATTACKED)
        rows[loss] = row
    return task, seed, layer, rows


def validated(layer: str, threat: str, loss: str, settings: dict[str, Any], quick: bool) -> float:
    """The area on the validation part, under one threat."""
    torch.set_num_threads(1)
    data = _validation(quick)
    classifier, _ = fitted(data, "orbit5k", layer, loss, settings, 0, quick)
    return area(measured(data, RADII["orbit5k"], classifier), threat)


def area(row: dict[str, Any], threat: str) -> float:
    """The mean of clean accuracy and of certified accuracy at each radius."""
    certified = [value for key, value in row.items() if key.startswith(f"certified {threat}")]
    return float(np.mean([row["clean"], *certified]))


class Features:
    """Diagrams, vectors and labels of one split, with the stages that made them.

    Parameters
    ----------
    X_train, X_test : list of ndarray
    y_train, y_test : ndarray
    """

    def __init__(
        self, X_train: list[Cloud], y_train: NDArray[Any], X_test: list[Cloud], y_test: NDArray[Any]
    ) -> None:
        self.filtration = AlphaPersistence().fit(X_train)
        diagrams = CloudDiagrams.compute(self.filtration, X_train)
        self.ranks = StableRank(n_ranks=N_RANKS).fit(diagrams)
        self.train, self.y_train = self.ranks.transform(diagrams), y_train
        self.clouds, self.y_test = X_test, y_test
        self.diagrams = CloudDiagrams.compute(self.filtration, X_test)
        self.test = self.ranks.transform(self.diagrams)

    def constants(self, layer: str) -> NDArray[np.float64]:
        """The unit of each coordinate."""
        stages = [self.filtration, self.ranks]
        if layer not in IN_L2:
            return np.asarray(chain_of_stages(stages, threat_space("per_point")[0]).constants)
        blocks = l2_chain_of_stages(stages, threat_space("frobenius")[0]).blocks
        assert blocks is not None
        return np.concatenate([np.full(block.each.size, block.together) for block in blocks])


@functools.lru_cache(maxsize=2)
def features(task: str, seed: int, quick: bool = False) -> Features:
    """Data and split of a seed."""
    cell = task == "cells"
    split = cells.load("cell_line", seed, quick) if cell else orbits.load(seed, quick)
    return Features(split.X_train, split.y_train, split.X_test, split.y_test)


def fitted(
    data: Features,
    task: str,
    layer: str,
    loss: str,
    settings: dict[str, Any],
    seed: int,
    quick: bool,
) -> tuple[LipschitzClassifier, float]:
    """A classifier of the vectors, and the processor seconds of one of its epochs."""
    network = NETWORK | ({"max_epochs": 2} if quick else {})
    started = time.process_time()
    classifier = LipschitzClassifier(
        layer=layer,
        activation="relu" if layer == "free" else "maxmin",
        loss=loss,
        constants=data.constants(layer),
        batch_size=BATCH[task],
        random_state=seed,
        **network,
        **settings,
    ).fit(data.train, data.y_train)
    return classifier, (time.process_time() - started) / network["max_epochs"]


def measured(
    data: Features, radii: dict[str, tuple[float, ...]], classifier: LipschitzClassifier
) -> dict[str, Any]:
    """Clean accuracy, and certified accuracy at each radius of each threat."""
    row: dict[str, Any] = {"clean": classifier.score(data.test, data.y_test)}
    for threat, epsilons in radii.items():
        radius, prediction = certified_radii(data, classifier, data.diagrams, threat)
        right = prediction == data.y_test
        for epsilon in epsilons:
            row[f"certified {threat} {epsilon:g}"] = float((right & (radius > epsilon)).mean())
    return row


def certified_radii(
    data: Features, classifier: LipschitzClassifier, X: Any, threat: str
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The largest radius that constants give, or boxes where a network is trained for these."""
    pipeline = make_pipeline(data.filtration, data.ranks, classifier)
    if classifier.loss == "box" or classifier.layer == "free":
        routes = ["best"]
    else:
        routes = ["global", "l2"] if threat == "frobenius" else ["global"]
    found = [certify(pipeline, X, threat=threat, method=route) for route in routes]
    return np.max([one.radius for one in found], axis=0), found[0].prediction


def attacked(
    data: Features,
    radii: dict[str, tuple[float, ...]],
    classifier: LipschitzClassifier,
    seed: int,
    n_attacked: int,
) -> dict[str, Any]:
    """What gradients leave of some test clouds under each threat, cloud by cloud.

    Raises
    ------
    RuntimeError
        Unless certified <= attacked <= clean holds for each of them.
    """
    pipeline = make_pipeline(data.filtration, data.ranks, classifier)
    chosen = np.random.default_rng(seed).permutation(len(data.clouds))[:n_attacked]
    X, y = [data.clouds[i] for i in chosen], data.y_test[chosen]
    right = pipeline.predict(X) == y
    row: dict[str, Any] = {}
    for threat, epsilons in radii.items():
        radius, _ = certified_radii(data, classifier, X, threat)
        standing = right.copy()
        for epsilon in epsilons:
            left = np.flatnonzero(standing)
            if left.size:
                result = ProjectedGradient(steps=STEPS)(
                    pipeline,
                    [X[i] for i in left],
                    y[left],
                    threat=threat,
                    radius=epsilon,
                    random_state=seed,
                )
                standing[left] = ~result.success
            row[f"attacked {threat} {epsilon:g}"] = standing.tolist()
            broken = right & (radius > epsilon) & ~standing
            if broken.any():
                raise RuntimeError(
                    f"{classifier}: test clouds {chosen[broken].tolist()} of seed {seed} were "
                    f"broken within their certificate, {threat} {epsilon:g}."
                )
    return row


@functools.lru_cache(maxsize=1)
def _validation(quick: bool) -> Features:
    """A part of the training set of seed 0, and what is left of it."""
    split = orbits.load(0, quick)
    X, y = split.X_train, split.y_train
    train, held = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=0)
    return Features([X[i] for i in train], y[train], [X[i] for i in held], y[held])
