"""What certificates cost, beside what GUDHI needs for the diagrams that they start from.

Orbits of 1000 points, in rounds. In each round GUDHI computes the diagrams of some of them (alpha
complex in its default precision, and persistence), and each model certifies the same ones by the
global constant, by intervals and by linear relaxation, from our diagrams on: vectors, logits and
radii are part of it, diagrams are not. Competitors come in the opposite order in every second
round, so that whatever else the machine does slows all of them. A quotient is the median over the
rounds; the numbers of seconds are sums, scaled to 1,500 orbits.

Two models: stable ranks of H0 and H1, and these beside landscapes. Both have three hidden layers of
128 neurons, as the defaults have it, and are trained briefly: what a certificate costs depends on
sizes, and on how many sizes of boxes the search asks about.

Command: ``python -m benchmarks.cost [--quick]`` (about three minutes), writes
``results/cost.json``; ``--quick`` (under half a minute) measures little and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gudhi
import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks import record
from stablerank import AlphaPersistence, LipschitzClassifier, StableRank, certify
from stablerank.datasets import make_orbits
from stablerank.diagrams import CloudDiagrams
from stablerank.ranks import Landscapes
from stablerank.stability import HAUSDORFF, StabilityChain
from stablerank.stages import LipschitzUnion

SEED = 0
N_ORBITS = 1500
"""What seconds are scaled to."""

PROMISED = {"global": 0.05, "interval": 0.5, "linear": 2.0}
EPSILON = 0.001

Cloud = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few orbits, two rounds, no file")
    arguments = parser.parse_args()
    started = time.time()
    n_rounds, n_clouds, n_train = (2, 40, 50) if arguments.quick else (5, 300, 200)
    table = run(n_rounds, n_clouds, n_train)
    for name, row in table["models"].items():
        for method, cost in row["methods"].items():
            print(
                f"{name:32} {method:9} {cost['seconds']:7.2f} s, of GUDHI's {cost['quotient']:6.3f}"
                f" (promised {PROMISED[method]}), median radius {cost['median_radius']:.3g}",
                flush=True,
            )
    print(f"GUDHI: {table['gudhi_seconds']:.2f} s")
    if not arguments.quick:
        content = {"seed": SEED, "promised": PROMISED, "scaled_to_orbits": N_ORBITS, **table}
        print(record.write("cost", "benchmarks.cost", started, content))


def run(n_rounds: int, n_clouds: int, n_train: int) -> dict[str, Any]:
    """Train, and time all competitors round by round, after one round that does not count."""
    X, y = make_orbits((n_train + (n_rounds + 1) * n_clouds) // 5, 1000, random_state=SEED)
    order = np.random.default_rng(SEED).permutation(len(X))
    train, rest = order[:n_train], order[n_train:]
    filtration = AlphaPersistence().fit([X[i] for i in train])
    models = {
        name: fit(vectorizer, filtration, [X[i] for i in train], y[train])
        for name, vectorizer in VECTORIZERS.items()
    }
    spent: dict[str, list[float]] = {}
    radii: dict[str, list[NDArray[np.float64]]] = {}
    for i in range(n_rounds + 1):
        clouds = [X[j] for j in rest[i * n_clouds : (i + 1) * n_clouds]]
        diagrams = CloudDiagrams.compute(filtration, clouds)
        tasks: dict[str, Callable[[], Any]] = {"gudhi": lambda clouds=clouds: by_gudhi(clouds)}
        for name, model in models.items():
            for method in PROMISED:
                tasks[f"{name}/{method}"] = lambda diagrams=diagrams, model=model, method=method: (
                    certify(model, diagrams, method=method).radius
                )
        for task in list(tasks)[:: -1 if i % 2 else 1]:
            clock = time.perf_counter()
            found = tasks[task]()
            seconds = time.perf_counter() - clock
            if i > 0:
                spent.setdefault(task, []).append(seconds)
                radii.setdefault(task, []).append(found)
    scale = N_ORBITS / (n_rounds * n_clouds)
    rows = {
        name: {
            "n_features": int(model[-1].n_features_in_),
            "methods": {
                method: {
                    "seconds": scale * sum(spent[f"{name}/{method}"]),
                    "quotient": _quotient(spent, f"{name}/{method}"),
                    "kept": _quotient(spent, f"{name}/{method}") < PROMISED[method],
                    "median_radius": float(np.median(np.concatenate(radii[f"{name}/{method}"]))),
                }
                for method in PROMISED
            },
        }
        for name, model in models.items()
    }
    return {
        "n_rounds": n_rounds,
        "orbits_a_round": n_clouds,
        "points_an_orbit": 1000,
        "gudhi_seconds": scale * sum(spent["gudhi"]),
        "models": rows,
    }


def by_gudhi(clouds: list[Cloud]) -> list[Any]:
    """Alpha persistence in GUDHI's default precision."""
    diagrams = []
    for cloud in clouds:
        tree = gudhi.AlphaComplex(points=cloud).create_simplex_tree()
        diagrams.append(tree.persistence())
    return diagrams


def fit(vectorizer: Any, filtration: AlphaPersistence, X: list[Cloud], y: Any) -> Pipeline:
    """A network whose inputs are divided by their constants, trained briefly."""
    vectors = vectorizer.fit_transform(filtration.transform(X))
    to_diagrams = filtration.stability(HAUSDORFF)
    constants = StabilityChain(to_diagrams, vectorizer.stability(to_diagrams.target)).constants
    network = LipschitzClassifier(
        epsilon=EPSILON, constants=constants, max_epochs=15, random_state=SEED
    )
    return make_pipeline(filtration, vectorizer, network.fit(vectors, y))


def _quotient(spent: dict[str, list[float]], task: str) -> float:
    return float(np.median(np.array(spent[task]) / np.array(spent["gudhi"])))


VECTORIZERS = {
    "stable ranks": StableRank(n_ranks=100),
    "stable ranks and landscapes": LipschitzUnion(
        [("ranks", StableRank(n_ranks=100)), ("landscapes", Landscapes(16, 16))]
    ),
}


if __name__ == "__main__":
    main()
