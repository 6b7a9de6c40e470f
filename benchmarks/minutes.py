"""How long the 91 % model of ORBIT5K takes, from nothing to certificates, on this machine.

Data, diagrams of 3,500 training orbits by four filtrations, vectors, training, and the certificates
of 1,500 test orbits (global constant): "alpha and distance to measure, accurate" of
``benchmarks.comparison.orbits``, one seed, two workers. The promise is three minutes on two cores.

Command: ``python -m benchmarks.minutes``, writes ``results/minutes.json``.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.comparison.orbits import CERTIFIED, vectorizer
from benchmarks.record import write
from stablerank import LipschitzClassifier, certify
from stablerank.datasets import make_orbits
from stablerank.stability import PER_POINT
from stablerank.stages import chain_of_stages

SEED = 1
NAME = "alpha and distance to measure, accurate"
EPSILONS = (0.00025, 0.0005, 0.001, 0.002)


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    started, clock, seconds = time.time(), time.perf_counter(), {}

    def lap(name: str) -> None:
        seconds[name] = round(time.perf_counter() - clock - sum(seconds.values()), 2)

    X, y = make_orbits(1000, 1000, random_state=SEED)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=SEED)
    lap("data")
    kind, settings = CERTIFIED[NAME]
    stage = vectorizer(kind, n_jobs=2)
    vectors = stage.fit_transform([X[i] for i in train])
    lap("diagrams and vectors of 3,500 training orbits")
    constants = chain_of_stages([stage], PER_POINT).constants
    network = LipschitzClassifier(
        epsilon=0.001, constants=constants, random_state=SEED, **settings
    ).fit(vectors, y[train])
    lap("training")
    certificates = certify(make_pipeline(stage, network), [X[i] for i in test], method="global")
    lap("diagrams, vectors and certificates of 1,500 test orbits")
    content = {
        "seed": SEED,
        "cores": os.cpu_count(),
        "seconds": seconds,
        "seconds in all": round(time.perf_counter() - clock, 2),
        "promised": 180,
        "clean": float((certificates.prediction == y[test]).mean()),
        "certified": dict(
            zip(
                map(str, EPSILONS),
                certificates.certified_accuracy(y[test], EPSILONS).tolist(),
                strict=True,
            )
        ),
    }
    print(content)
    print(write("minutes", "benchmarks.minutes", started, content))


if __name__ == "__main__":
    main()
