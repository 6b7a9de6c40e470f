"""Series: motions under a watch, certified against every value's change, ten splits.

BasicMotions, 80 series of 100 times and 6 channels, 4 motions (``load_motions``). Every value of a
series may change by ε, in the watch's unit (D6). Vectors, all from alpha:

- "clouds": acceleration and rotation as clouds of 100 points in space, stable ranks of H0 and H1;
- "delays": for each channel the plane of its values and those three steps later, likewise;
- "sorted values", the rival: of every channel, averaged in 20 blocks; no persistence.

Splits: the archive's own, 40 to train and 40 to test, trained with five seeds; and five random ones
of the same sizes, stratified, as the archive's literature resamples. Certificates are by the global
constant. Fixed numbers of epochs, no look at the test series: settings were chosen by
cross-validation within the training part of the archive's own split.

Attacked accuracy is what gradients and a random search leave of six test series of the archive's
split; certified <= attacked <= clean is asserted series by series. Classifiers of the
literature, without certificates, reach 100 % on the archive's split.

Command: ``python -m benchmarks.motions [--quick]``, about four minutes of one core; ``--quick``
(one seed, few epochs) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.gradients import attacked_accuracy
from benchmarks.record import mean_and_std, print_table, write
from benchmarks.series import SeriesPersistence, SortedValues
from stablerank import LipschitzClassifier, LipschitzUnion, StableRank, certify
from stablerank.datasets import load_motions
from stablerank.stability import PER_COORDINATE

EPSILONS = (0.02, 0.05, 0.1, 0.2, 0.4)
ATTACKED_EPSILONS = (0.1, 0.4)
SEEDS = (1, 2, 3, 4, 5)
CHANNELS = {"acceleration": (0, 1, 2), "rotation": (3, 4, 5)}
N_RANKS = {0: 60, 1: 15}
DELAY = 3
VECTORS = ("clouds", "delays", "sorted values")
NETWORKS: dict[str, dict[str, Any]] = {
    "accurate": {"epsilon": 0.1, "temperature": 1.0},
    "robust": {
        "epsilon": 0.2,
        "loss": "margin",
        "temperature": 3.0,
        "offset": (0.25, 0.5, 1.0, 2.0),
    },
}
EPOCHS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes = {"n_attacked": 6, "epochs": 15} if arguments.quick else {}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        for split in ("archive", "random"):
            for name, row in run(seed, split, **sizes).items():
                runs.setdefault(f"{name}, {split} split", []).append(row)
                rounded = {key: round(value, 3) for key, value in row.items()}
                print(seed, split, name, rounded, flush=True)
    table = {name: mean_and_std(rows) for name, rows in sorted(runs.items())}
    print_table(table)
    if not arguments.quick:
        content = {
            "seeds": SEEDS,
            "epsilons": EPSILONS,
            "settings": {"networks": NETWORKS, "max_epochs": EPOCHS, "delay": DELAY},
            "table": table,
        }
        print(write("motions", "benchmarks.motions", started, {**content, "runs": runs}))


def vectorizer(kind: str) -> Any:
    """From series to vectors."""
    if kind == "sorted values":
        return SortedValues()
    parts = (
        {name: SeriesPersistence(channels) for name, channels in CHANNELS.items()}
        if kind == "clouds"
        else {f"channel{i}": SeriesPersistence((i,), 2, DELAY) for i in range(6)}
    )
    return LipschitzUnion(
        [
            (name, make_pipeline(filtration, StableRank(n_ranks=N_RANKS)))
            for name, filtration in parts.items()
        ]
    )


def run(
    seed: int, split: str, n_attacked: int = 6, epochs: int = EPOCHS
) -> dict[str, dict[str, float]]:
    """One seed: training and attacks, and of random splits the split, follow from it."""
    motions = load_motions()
    X, y = motions.data, motions.target
    train, test = np.flatnonzero(~motions.test), np.flatnonzero(motions.test)
    if split == "random":
        train, test = train_test_split(np.arange(80), test_size=40, stratify=y, random_state=seed)
    test = np.random.default_rng(seed).permutation(test)  # so that the first are a fair sample
    X_train, X_test, y_test = [X[i] for i in train], [X[i] for i in test], y[test]
    rows = {}
    for kind in VECTORS:
        stage = vectorizer(kind)
        vectors = stage.fit_transform(X_train)
        for name, settings in NETWORKS.items():
            classifier = LipschitzClassifier(
                hidden=(32, 32),
                max_epochs=epochs,
                constants=np.asarray(stage.stability(PER_COORDINATE).constants),
                random_state=seed,
                **settings,
            ).fit(vectors, y[train])
            pipeline = make_pipeline(stage, classifier)
            claims = certify(pipeline, X_test, threat="per_coordinate", method="global")
            right = claims.prediction == y_test
            row = {"clean": float(right.mean())}
            for epsilon in EPSILONS:
                row[f"certified {epsilon:g}"] = claims.certified_accuracy(y_test, epsilon)
            if split == "archive":
                some, labels = claims[:n_attacked], y_test[:n_attacked]
                row["clean, attacked series"] = float(right[:n_attacked].mean())
                for epsilon in ATTACKED_EPSILONS:
                    row[f"certified {epsilon:g}, attacked series"] = some.certified_accuracy(
                        labels, epsilon
                    )
                    row[f"attacked {epsilon:g}"] = attacked_accuracy(
                        pipeline, X_test[:n_attacked], labels, some, epsilon, seed, 15, 5
                    )
            rows[f"{kind}, {name}"] = row
    return rows


if __name__ == "__main__":
    main()
