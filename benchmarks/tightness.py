"""How far certificates are from the smallest displacement that any attack found.

Orbits of 100 points, alpha persistence, stable ranks, and a network: of H0 alone, of H1 alone, and
of both; Lipschitz, and without constraint but trained for boxes. For each test cloud:

- certified: the radius against moving every point, by each method;
- found: the smallest such displacement that changes the prediction, by gradients and search. It is
  an upper bound of the true distance, so certified/found, "tightness", is a lower bound of how
  tight a certificate is, and what is missing to 1 is shared by attack and certificate;
- found in diagrams: the same for an adversary who changes the diagrams in bottleneck distance.
  certified/found in diagrams is what vectors, boxes and network lose, and found in diagrams/found
  what persistence loses: not every diagram in the ball is one of a moved cloud. Against diagrams of
  H0 the births move as well, so there a diagram is changed by half of what points have to move, and
  the first quotient may exceed 1.

Command: ``python -m benchmarks.tightness [--quick]`` (about two minutes), writes
``results/tightness.json``; ``--quick`` (under half a minute) measures little and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from stablerank import StableRankClassifier
from stablerank.attack import minimal_radius
from stablerank.attack.pipeline import Search
from stablerank.datasets import make_orbits

SEED = 0
N_POINTS = 100
DIMENSIONS = {"H0": (0,), "H1": (1,), "H0 and H1": (0, 1)}
NETWORKS: dict[str, dict[str, Any]] = {
    "Lipschitz": {},
    "free": {
        "network__layer": "free",
        "network__activation": "relu",
        "certified_training": "box",
    },
}
SETTINGS = {"epsilon": 0.003, "max_epochs": 30, "network__hidden": (64, 64), "n_ranks": 50}
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

Numbers = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds and queries, no file")
    arguments = parser.parse_args()
    started = time.time()
    sizes = (10, 2, 30, 3) if arguments.quick else (40, 20, 42, 3)
    table: dict[str, Any] = {}
    for kind in NETWORKS:
        for name in DIMENSIONS:
            row = table[f"{name}, {kind}"] = run(name, kind, *sizes, seed=SEED)
            medians = ", ".join(
                f"{key.replace('_', ' ')} {value['0.5']:.2f}"
                for key, value in row.items()
                if isinstance(value, dict)
            )
            print(f"{name + ', ' + kind:22} accuracy {row['accuracy']:.2f}; {medians}", flush=True)
            if arguments.quick:
                continue
            content = {
                "seed": SEED,
                "n_points": N_POINTS,
                "train_test_a_class_queries_rounds": sizes,
                "settings": SETTINGS,
                "table": table,
            }
            # after every model, so that nothing is lost
            record.write("tightness", "benchmarks.tightness", started, content)


def run(
    name: str, kind: str, n_train: int, n_test: int, n_queries: int, n_rounds: int, *, seed: int
) -> dict[str, Any]:
    """One model: quantiles over the test clouds that have a radius and were broken.

    Parameters
    ----------
    n_train, n_test : int
        Clouds a class.
    n_queries, n_rounds : int
        Of the search for the smallest displacement, a cloud.
    """
    X, y = make_orbits(n_train + n_test, N_POINTS, random_state=seed)
    is_test = np.arange(len(X)) % (n_train + n_test) < n_test
    train, test = ([X[i] for i in np.flatnonzero(chosen)] for chosen in (~is_test, is_test))
    model = StableRankClassifier(
        homology_dimensions=DIMENSIONS[name], random_state=seed, **SETTINGS, **NETWORKS[kind]
    ).fit(train, y[~is_test])
    claims = model.certify(test)
    radii = {method: model.certify(test, method=method).radius for method in _METHODS}
    found = smallest(model, test, claims.prediction, n_queries, n_rounds, "per_point", seed)
    diagrams = model.pipeline_[0].transform(test)
    in_diagrams = smallest(
        model, diagrams, claims.prediction, n_queries, n_rounds, "bottleneck", seed
    )
    if (found < claims.radius).any():
        raise RuntimeError(f"{name}, {kind}: an attack broke a certificate.")
    return {
        "accuracy": float((claims.prediction == y[is_test]).mean()),
        "clouds": len(test),
        "certified": int((claims.radius > 0).sum()),
        "broken": int(np.isfinite(found).sum()),
        "median_radius": float(np.median(claims.radius)),
        "median_found": float(np.median(found)),
        "tightness": quantiles(claims.radius, found),
        "certified_to_diagrams": quantiles(claims.radius, in_diagrams),
        "diagrams_to_points": quantiles(in_diagrams, found),
        "linear_to_global": quantiles(radii["linear"], radii["global"]),
        "linear_to_interval": quantiles(radii["linear"], radii["interval"]),
    }


def smallest(
    model: Any, X: Any, labels: Any, n_queries: int, n_rounds: int, threat: str, seed: int
) -> Numbers:
    """The smallest displacement found for each input, infinite where there is none."""
    return minimal_radius(
        model,
        X,
        labels,
        threat=threat,
        method=Search(n_queries=n_queries),
        n_rounds=n_rounds,
        random_state=seed,
    ).breaking_displacement


def quantiles(a: Numbers, b: Numbers) -> dict[str, float]:
    """Of the quotients a/b, where both are positive and finite; NaN if that is nowhere."""
    some = (a > 0) & np.isfinite(a) & (b > 0) & np.isfinite(b)
    if not some.any():
        return {str(q): float("nan") for q in QUANTILES}
    return {str(q): float(np.quantile(a[some] / b[some], q)) for q in QUANTILES}


_METHODS = ("global", "interval", "linear")


if __name__ == "__main__":
    main()
