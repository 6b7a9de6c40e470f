"""What each part adds on ORBIT5K: vectorizer, exponent, contour, number of ranks, filtration.

Data: 300 orbits a class of 1000 points, 70/30 stratified, three seeds of data, split and training.
One network for all rows (two hidden layers of 64, margin loss with the offset of ε = 0.001, 60
epochs, fixed beforehand), so that only the vectors differ; all test clouds are certified per point,
by the global constant, and sums over bars, which have none, by boxes. The learned contour is
trained on the same training clouds with the same loss. Nothing was chosen by these numbers.

The default of every group is repeated in it: stable ranks with p = ∞ of alpha, 100 of H0 and of H1.

Command: ``python -m benchmarks.ablation [--quick]``, about twenty minutes on two cores. ``--quick``
(two minutes, smaller data, one seed) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.record import mean_and_std, write
from stablerank import (
    AlphaPersistence,
    AnisotropicPersistence,
    CachedPersistence,
    DistanceToMeasurePersistence,
    ExponentialContour,
    HalfLengths,
    Landscapes,
    LearnedStableRank,
    LipschitzClassifier,
    LipschitzUnion,
    RipsPersistence,
    StableRank,
    Windows,
    certify,
)
from stablerank.datasets import make_orbits
from stablerank.diagrams import squeeze
from stablerank.ranks import PersistenceImages
from stablerank.stability import PER_POINT, StabilityError
from stablerank.stages import chain_of_stages

EPSILONS = (0.00025, 0.0005, 0.001, 0.002)
SEEDS = (1, 2, 3)
NETWORK: dict[str, Any] = {
    "loss": "margin",
    "temperature": 3.0,
    "offset": 0.5,
    "max_epochs": 60,
    "hidden": (64, 64),
    "epsilon": 0.001,
}
Group = dict[str, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes = {"n_per_class": 20, "n_points": 200, "max_epochs": 5} if arguments.quick else {}
    runs = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        runs[str(seed)] = run(seed, **sizes)
    first = next(iter(runs.values()))
    table = {
        group: {name: mean_and_std([rows[group][name] for rows in runs.values()]) for name in rows}
        for group, rows in first.items()
    }
    if not arguments.quick:
        content = {"seeds": SEEDS, "network": NETWORK, "epsilons": EPSILONS, "table": table}
        print(write("ablation", "benchmarks.ablation", started, {**content, "runs": runs}))


def run(
    seed: int, n_per_class: int = 300, n_points: int = 1000, max_epochs: int | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """One seed: every group's rows."""
    X, y = make_orbits(n_per_class, n_points, random_state=seed)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    X_train, X_test = [X[i] for i in train], [X[i] for i in test]
    network = {**NETWORK, "max_epochs": max_epochs or NETWORK["max_epochs"]}
    table: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group, rows in groups(folder, n_points, seed, network).items():
            for name, make in rows.items():
                row = _row(make(), X_train, y[train], X_test, y[test], network, seed)
                table.setdefault(group, {})[name] = row
                numbers = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
                print(f"{seed}  {group}: {name:<40}  {numbers}", flush=True)
    return table


def groups(folder: str, n_points: int, seed: int, network: dict[str, Any]) -> dict[str, Group]:
    """Every row of every group, as a function that makes its stage from clouds to vectors."""

    def cached(filtration: Any) -> Any:
        return CachedPersistence(filtration, folder)

    def alpha(vectorizer: Any) -> Any:
        return make_pipeline(cached(AlphaPersistence(n_jobs=2)), vectorizer)

    def measure(k: int, vectorizer: Any) -> Any:
        settings = {"resolution": 32, "box": ((0, 0), (1, 1)), "periodic": True, "n_jobs": 2}
        return make_pipeline(cached(DistanceToMeasurePersistence(k, **settings)), vectorizer)

    def direction(angle: float, factor: float, vectorizer: Any) -> Any:
        filtration = AnisotropicPersistence(AlphaPersistence(n_jobs=2), squeeze(angle, factor))
        return make_pipeline(cached(filtration), vectorizer)

    def ranks(number: int = 100, p: float = math.inf, **settings: Any) -> StableRank:
        return StableRank(p=p, n_ranks=min(number, n_points - 1), **settings)

    def learned(contour: str) -> LearnedStableRank:
        shared = {name: network[name] for name in NETWORK}
        return LearnedStableRank(
            n_ranks=min(100, n_points - 1), contour=contour, random_state=seed, **shared
        )

    def both() -> LipschitzUnion:
        return LipschitzUnion([("ranks", ranks()), ("landscapes", Landscapes(16, {0: 1, 1: 24}))])

    def on_a_grid() -> LipschitzUnion:
        return LipschitzUnion([("halves", HalfLengths(60)), ("landscapes", Landscapes(16, 16))])

    def three_measures() -> list[tuple[str, Any]]:
        return [(f"measure{k}", measure(k, on_a_grid())) for k in (5, 20, 80)]

    def directions(factor: float) -> list[tuple[str, Any]]:
        return [(f"direction{a}", direction(a, factor, both())) for a in (0, 45, 90, 135)]

    few, wide = {0: (0,), 1: (1,)}, {"n_jobs": 2}
    return {
        "vectorizer": {
            "stable ranks": lambda: alpha(ranks()),
            "half lengths": lambda: alpha(HalfLengths(min(100, n_points - 1))),
            "landscapes at 16 positions, 24 levels": lambda: alpha(Landscapes(16, 24)),
            "32 windows, 8 levels": lambda: alpha(Windows(32, 8)),
            "persistence images (boxes)": lambda: alpha(PersistenceImages(64)),
            "stable ranks and landscapes": lambda: alpha(both()),
        },
        "exponent": {
            "p = ∞": lambda: alpha(ranks()),
            "p = 2": lambda: alpha(ranks(p=2)),
            "p = 1": lambda: alpha(ranks(p=1)),
        },
        "contour": {
            "standard": lambda: alpha(ranks()),
            "exponential, b₀ = 0.01": lambda: alpha(ranks(contour=ExponentialContour(1.0, 0.01))),
            "learned, steps": lambda: alpha(learned("step")),
            "learned, Gaussians": lambda: alpha(learned("distance")),
            "learned, shift": lambda: alpha(learned("shift")),
        },
        "number of ranks": {
            f"{n}": lambda n=n: alpha(ranks(n))  # type: ignore[misc]
            for n in (10, 30, 100, 300)
        },
        "homology": {
            f"H{k} alone": lambda k=k: make_pipeline(  # type: ignore[misc]
                cached(AlphaPersistence(few[k], **wide)), ranks()
            )
            for k in (0, 1)
        }
        | {"H0 and H1": lambda: alpha(ranks())},
        "filtration": {
            "alpha": lambda: alpha(both()),
            "Rips, H0": lambda: make_pipeline(cached(RipsPersistence((0,), n_jobs=2)), ranks()),
            "distance to measure, k = 5": lambda: measure(5, on_a_grid()),
            "distance to measure, k = 20": lambda: measure(20, on_a_grid()),
            "distance to measure, k = 80": lambda: measure(80, on_a_grid()),
            "distance to measure, all three": lambda: LipschitzUnion(three_measures()),
            "four directions halved": lambda: LipschitzUnion(directions(0.5)),
            "alpha, distance to measure": lambda: LipschitzUnion(
                [("alpha", alpha(both())), *three_measures()]
            ),
            "alpha, directions": lambda: LipschitzUnion(
                [("alpha", alpha(both())), *directions(0.5)]
            ),
            "alpha, distance to measure, directions": lambda: LipschitzUnion(
                [("alpha", alpha(both())), *three_measures(), *directions(0.5)]
            ),
            "the same, directions by 0.2": lambda: LipschitzUnion(
                [("alpha", alpha(both())), *three_measures(), *directions(0.2)]
            ),
            "the same, directions by 0.8": lambda: LipschitzUnion(
                [("alpha", alpha(both())), *three_measures(), *directions(0.8)]
            ),
        },
    }


def _row(
    stage: Any, X_train: Any, y_train: Any, X_test: Any, y_test: Any, network: Any, seed: int
) -> dict[str, float]:
    vectors = stage.fit_transform(X_train, y_train)
    stages = [step for _, step in stage.steps] if hasattr(stage, "steps") else [stage]
    try:
        constants = chain_of_stages(stages, PER_POINT).constants
        method = "global"
    except StabilityError:
        constants, method = None, "interval"
    classifier = LipschitzClassifier(constants=constants, random_state=seed, **network)
    clock = time.perf_counter()
    classifier.fit(vectors, y_train)
    seconds = time.perf_counter() - clock
    pipeline = make_pipeline(*stages, classifier)
    certificates = certify(pipeline, X_test, threat="per_point", method=method)
    row = {"clean": float((certificates.prediction == y_test).mean())}
    for epsilon in EPSILONS:
        row[f"certified {epsilon:g}"] = certificates.certified_accuracy(y_test, epsilon)
    return {**row, "features": float(vectors.shape[1]), "seconds to train": seconds}


if __name__ == "__main__":
    main()
