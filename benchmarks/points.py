"""Certificates that count points: any k deleted, or added, deleted and replaced, k = 1, ..., 10.

Data: clouds of 600 points in the unit square with noise of 0.02, of three kinds: one ring, two
rings side by side, a disc; sizes, places and directions are random. 150 clouds to train with, 60
to test, 3 seeds. The settings were chosen on clouds of ``random_state=0``, which is none of the
seeds here; fixed numbers of epochs, no look at the test clouds.

Models:

- "alpha": H1 of alpha, stable ranks. Deletion by Hausdorff distance and boxes (D6); for added
  points there is no certificate, which is asserted.
- "measure": H1 of the distance to measure of the 60 nearest points on a grid of 20 × 20, cut at
  0.2, stable ranks, and the exact bounds of changed points (D5).
- "votes": 60 hashed sub-clouds of about ten points, on which an alpha pipeline (H0 and H1) votes;
  the certificate by votes alone.

Attacked accuracy is what a gradient-free search leaves of some of the test clouds; certified <=
attacked <= clean is asserted cloud by cloud.

Command: ``python -m benchmarks.points [--quick]``, about five minutes of one core; ``--quick``
(a minute, one seed, small data) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.record import mean_and_std, write
from stablerank import (
    AlphaPersistence,
    Certificates,
    LipschitzClassifier,
    StabilityChain,
    StabilityError,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.attack import attack
from stablerank.certify import HashedVotes
from stablerank.diagrams import DistanceToMeasurePersistence
from stablerank.stability import HAUSDORFF, PER_POINT, Space

Cloud = NDArray[np.float64]

COUNTS = tuple(range(1, 11))
ATTACKED_COUNTS = (1, 3, 10)
SEEDS = (1, 2, 3)
N_RANKS = 4
NETWORK: dict[str, Any] = {"hidden": (32, 32), "max_epochs": 40, "temperature": 1.0}
MEASURE: dict[str, Any] = {"k": 60, "resolution": 20, "box": ((0, 0), (1, 1)), "cap": 0.2}
BASE: dict[str, Any] = {"max_epochs": 10, "temperature": 20.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started = time.time()
    sizes = {"n_train": 60, "n_test": 30, "n_attacked": 5} if arguments.quick else {}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        for name, row in run(seed, **sizes).items():
            runs.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    table = {name: mean_and_std(rows) for name, rows in runs.items()}
    for name, row in table.items():
        shares = [100 * row[f"certified {k}"]["mean"] for k in COUNTS]
        print(f"{name:>18}  clean {100 * row['clean']['mean']:5.1f}  certified for 1 to 10 points:")
        print(" " * 20 + " ".join(f"{share:5.1f}" for share in shares))
    if not arguments.quick:
        content = {
            "seeds": SEEDS,
            "counts": COUNTS,
            "settings": {"measure": MEASURE, "network": NETWORK, "votes": BASE},
            "table": table,
        }
        print(write("points", "benchmarks.points", started, {**content, "runs": runs}))


def run(
    seed: int,
    n_train: int = 150,
    n_test: int = 60,
    n_points: int = 600,
    n_parts: int = 60,
    n_attacked: int = 10,
) -> dict[str, dict[str, float]]:
    """One seed: clouds, training, certificates and attacks all follow from it."""
    X, y = make_shapes(n_train + n_test, n_points, seed)
    train, y_train, test, y_test = X[:n_train], y[:n_train], X[n_train:], y[n_train:]
    alpha = AlphaPersistence((1,))
    measure = DistanceToMeasurePersistence(homology_dimensions=(1,), **MEASURE)
    voters = HashedVotes(StableRankClassifier(random_state=seed, **BASE), n_parts=n_parts)
    models = {
        "alpha": fit_pipeline(alpha, HAUSDORFF, 0.05, train, y_train, seed),
        "measure": fit_pipeline(measure, PER_POINT, 0.02, train, y_train, seed),
        "votes": voters.fit(train, y_train),
    }
    try:
        certify(models["alpha"], test, threat="points")
    except StabilityError:
        pass
    else:
        raise RuntimeError("One added point moves an alpha pipeline without bound.")
    rows = {}
    for name, model in models.items():
        for threat in ("deletion",) if name == "alpha" else ("deletion", "points"):
            clock = time.perf_counter()
            claims = certify(model, test, threat=threat)
            seconds = time.perf_counter() - clock
            row = {
                "clean": float((claims.prediction == y_test).mean()),
                **{f"certified {k}": claims.certified_accuracy(y_test, k) for k in COUNTS},
                **attacked(model, test, y_test, claims, n_attacked, seed),
                "median k": float(np.median(claims.radius)),
                "seconds to certify": seconds,
            }
            rows[f"{name}, {threat}"] = row
    return rows


def fit_pipeline(
    filtration: Any, source: Space, epsilon: float, X: list[Cloud], y: Any, seed: int
) -> Pipeline:
    """Persistence, stable ranks and a network whose inputs are divided by their constants."""
    ranks = StableRank(n_ranks=N_RANKS)
    vectors = ranks.fit_transform(filtration.fit_transform(X))
    to_diagrams = filtration.stability(source)
    constants = StabilityChain(to_diagrams, ranks.stability(to_diagrams.target)).constants
    network = LipschitzClassifier(
        epsilon=epsilon, constants=constants, random_state=seed, **NETWORK
    )
    return make_pipeline(filtration, ranks, network.fit(vectors, y))


def attacked(
    model: Any, X: list[Cloud], y: NDArray[np.int64], claims: Certificates, n: int, seed: int
) -> dict[str, float]:
    """What is left of some clouds, and the order of the three accuracies, cloud by cloud."""
    right = claims.prediction[:n] == y[:n]
    row = {"clean, attacked clouds": float(right.mean())}
    for k in ATTACKED_COUNTS:
        result = attack(
            model, X[:n], y[:n], threat=claims.threat, radius=k, n_queries=12, random_state=seed
        )
        survived = ~result.success
        certified = right & (claims.radius[:n] >= k)
        if (certified & ~survived).any() or (survived & ~right).any():
            raise RuntimeError(
                f"seed {seed}, {claims.threat}, k={k}: certified <= attacked <= clean is violated."
            )
        row[f"certified {k}, attacked clouds"] = float(certified.mean())
        row[f"attacked {k}"] = float(survived.mean())
    return row


def make_shapes(n_clouds: int, n_points: int, seed: int) -> tuple[list[Cloud], NDArray[np.int64]]:
    """One ring (0), two rings (1) and discs (2) in turn, with noise."""
    rng = np.random.default_rng(seed)
    X, y = [], np.arange(n_clouds) % 3
    for label in y:
        angles = rng.uniform(0, 2 * np.pi, n_points)
        directions = np.column_stack([np.cos(angles), np.sin(angles)])
        cloud = rng.uniform(0.45, 0.55, size=2) + rng.normal(scale=0.02, size=(n_points, 2))
        if label == 0:
            cloud += rng.uniform(0.2, 0.4) * directions
        elif label == 1:
            radius, turn = rng.uniform(0.12, 0.2), rng.uniform(0, np.pi)
            apart = radius * rng.uniform(1.1, 1.4) * np.array([np.cos(turn), np.sin(turn)])
            cloud += radius * directions + rng.choice([-1, 1], size=(n_points, 1)) * apart
        else:
            lengths = np.sqrt(rng.uniform(size=(n_points, 1)))
            cloud += rng.uniform(0.25, 0.4) * lengths * directions
        X.append(cloud)
    return X, y


if __name__ == "__main__":
    main()
