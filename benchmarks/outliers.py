"""Outliers in the test clouds: alpha against the distance to measure, five seeds.

Data: the rings, pairs of rings and discs of ``benchmarks.points``, 600 points each; 150 clouds to
train with, without any outlier, and 60 to test. To the test clouds 0, 0.5, 1, 2 and 5 % of their
number of points are added, uniform in the unit square, the same ones for all models. Settings are
those of ``benchmarks.points``; they were chosen on clouds of ``random_state=0``, without outliers.

Models, before the same network:

- "alpha": H1 of alpha, stable ranks; one point in a hole ends it. What is certified is a cloud's
  neighbourhood: every point, outliers too, may move by ε. Against points that are added there is no
  certificate.
- "distance to measure": H1 for the 60 nearest points on a grid of 20 × 20, cut at 0.2, stable
  ranks; besides ε it is certified against any k points being added, deleted or replaced (D5).

"certified" is the best of constants and boxes, of correct predictions. Attacked accuracy is what
gradients and a random search leave of some test clouds when all points move by ε, and a search when
k points change; certified <= attacked <= clean is asserted cloud by cloud. "kept" says whether the
certificate of the cloud without outliers, for as many added points as there are, covers them; if it
does, the prediction must be the same, which is asserted.

Command: ``python -m benchmarks.outliers [--quick]``, about six minutes of one core; ``--quick``
(small data, one seed) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gradients import attacked_accuracy
from benchmarks.points import MEASURE, NETWORK, Cloud, attacked, fit_pipeline, make_shapes
from benchmarks.record import mean_and_std, print_table, write
from stablerank import AlphaPersistence, Certificates, certify
from stablerank.diagrams import DistanceToMeasurePersistence
from stablerank.stability import HAUSDORFF, PER_POINT

PERCENT = (0.0, 0.5, 1.0, 2.0, 5.0)
EPSILONS = (0.002, 0.005, 0.01, 0.02)
ATTACKED_EPSILON = 0.01
COUNTS = (1, 3, 5, 10)
SEEDS = (1, 2, 3, 4, 5)
N_POINTS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes = {"n_train": 60, "n_test": 12, "n_attacked": 2} if arguments.quick else {}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        for name, row in run(seed, **sizes).items():
            runs.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    table = {name: mean_and_std(rows) for name, rows in runs.items()}
    print_table(table)
    if not arguments.quick:
        content = {
            "seeds": SEEDS,
            "percent": PERCENT,
            "epsilons": EPSILONS,
            "counts": COUNTS,
            "settings": {"measure": MEASURE, "network": NETWORK},
            "table": table,
        }
        print(write("outliers", "benchmarks.outliers", started, {**content, "runs": runs}))


def run(
    seed: int, n_train: int = 150, n_test: int = 60, n_attacked: int = 6
) -> dict[str, dict[str, float]]:
    """One seed: clouds, outliers, training, certificates and attacks all follow from it."""
    X, y = make_shapes(n_train + n_test, N_POINTS, seed)
    train, y_train, test, y_test = X[:n_train], y[:n_train], X[n_train:], y[n_train:]
    outliers = np.random.default_rng([seed, 1]).uniform(size=(n_test, N_POINTS, 2))
    measure = DistanceToMeasurePersistence(homology_dimensions=(1,), **MEASURE)
    models = {
        "alpha": fit_pipeline(AlphaPersistence((1,)), HAUSDORFF, 0.05, train, y_train, seed),
        "distance to measure": fit_pipeline(measure, PER_POINT, 0.02, train, y_train, seed),
    }
    rows = {}
    for name, model in models.items():
        whole: Certificates | None = None
        for percent in PERCENT:
            n = round(N_POINTS * percent / 100)
            clouds = [
                np.vstack([cloud, more[:n]]) for cloud, more in zip(test, outliers, strict=True)
            ]
            near = certify(model, clouds, threat="per_point")
            row = {"clean": float((near.prediction == y_test).mean())}
            for epsilon in EPSILONS:
                row[f"certified {epsilon:g}"] = near.certified_accuracy(y_test, epsilon)
            row |= moved(model, clouds[:n_attacked], y_test[:n_attacked], near, seed)
            if name != "alpha":
                claims = certify(model, clouds, threat="points")
                whole = claims if whole is None else whole
                row |= changed(model, clouds, y_test, claims, n_attacked, seed)
                row["kept"] = kept(whole, claims, n)
            rows[f"{name}, {percent:g} %"] = row
    return rows


def moved(
    model: Any, X: list[Cloud], y: NDArray[np.int64], claims: Certificates, seed: int
) -> dict[str, float]:
    """Clean, certified and attacked accuracy of some clouds all of whose points move."""
    some, epsilon = claims[: len(X)], ATTACKED_EPSILON
    return {
        "clean, attacked clouds": float((some.prediction == y).mean()),
        f"certified {epsilon:g}, attacked clouds": some.certified_accuracy(y, epsilon),
        f"attacked {epsilon:g}": attacked_accuracy(model, X, y, some, epsilon, seed, 15, 5),
    }


def changed(
    model: Any,
    X: list[Cloud],
    y: NDArray[np.int64],
    claims: Certificates,
    n_attacked: int,
    seed: int,
) -> dict[str, float]:
    """Accuracy that is certified, and on some clouds attacked, when k points change."""
    row = {f"certified k={k}": claims.certified_accuracy(y, k) for k in COUNTS}
    for key, value in attacked(model, X, y, claims, n_attacked, seed).items():
        if key != "clean, attacked clouds":
            kind, count = key.split(" ", 1)
            row[f"{kind} k={count}"] = value
    return row


def kept(whole: Certificates, claims: Certificates, n: int) -> float:
    """The share of clouds that are certified against n added points.

    Raises
    ------
    RuntimeError
        If n points change the prediction of one of them.
    """
    covered = whole.radius >= n
    if (covered & (claims.prediction != whole.prediction)).any():
        raise RuntimeError(f"{n} outliers change a prediction that is certified against them.")
    return float(covered.mean())


if __name__ == "__main__":
    main()
