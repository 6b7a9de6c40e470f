"""Real cells: accuracy on cell line and on treatment against a random forest, five seeds.

650 outlines (20 to 1759 points), split 70/30 stratified, stable ranks with p=∞ of alpha H0 and H1,
the estimator's own defaults; beside it a random forest (500 trees) on the 20 longest lifetimes of
H0 and of H1. The two pairs of equal cells stay on one side of a split. Radii are in pixels.
Attacked accuracy is what a gradient-free search leaves of every third test cell; certified <=
attacked <= clean is asserted cloud by cloud.

Command: ``python -m benchmarks.cells``, about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from benchmarks.record import mean_and_std, write
from stablerank import AlphaPersistence, StableRank, StableRankClassifier
from stablerank.attack import attack
from stablerank.datasets import load_cells

EPSILONS = (0.05, 0.1, 0.25, 0.5)
SEEDS = (0, 1, 2, 3, 4)
TEMPERATURES = {"accurate": 20.0, "default": 1.0, "robust": 0.3}
TWINS = ((363, 396), (513, 519))


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    started = time.time()
    tables, all_runs = {}, {}
    for target in ("cell_line", "treatment"):
        runs: dict[str, list[dict[str, float]]] = {}
        for seed in SEEDS:
            for name, row in run(target, seed).items():
                runs.setdefault(name, []).append(row)
        tables[target] = {name: mean_and_std(rows) for name, rows in runs.items()}
        all_runs[target] = runs
        for name, row in tables[target].items():
            cells = (f"{k} {100 * v['mean']:.1f} ± {100 * v['std']:.1f}" for k, v in row.items())
            print(f"{target:>10} {name:>14}  " + "  ".join(cells), flush=True)
    content = {
        "seeds": SEEDS,
        "temperatures": TEMPERATURES,
        "epsilons": EPSILONS,
        "table": tables,
        "runs": all_runs,
    }
    print(write("cells", "benchmarks.cells", started, content))


def run(target: str, seed: int) -> dict[str, dict[str, float]]:
    """One seed: split, forest and training follow from it."""
    X, y = load_cells(target=target, return_X_y=True)  # type: ignore[call-overload]
    train, test = split(y, seed)
    X_train, X_test = [X[i] for i in train], [X[i] for i in test]
    diagrams = AlphaPersistence().fit_transform(X)
    lifetimes = StableRank(n_ranks=20).fit_transform(diagrams)
    forest = RandomForestClassifier(500, random_state=seed).fit(lifetimes[train], y[train])
    rows = {"random forest": {"clean": float(forest.score(lifetimes[test], y[test]))}}
    for name, temperature in TEMPERATURES.items():
        model = StableRankClassifier(temperature=temperature, random_state=seed)
        certificates = model.fit(X_train, y[train]).certify(X_test)
        right = certificates.prediction == y[test]
        some = np.arange(0, len(test), 3)  # sorted by label, so a fair sample
        row = {
            "clean": float(right.mean()),
            "clean, attacked clouds": float(right[some].mean()),
        }
        for epsilon in EPSILONS:
            row[f"certified {epsilon:g}"] = certificates.certified_accuracy(y[test], epsilon)
            result = attack(
                model,
                [X_test[i] for i in some],
                y[test][some],
                radius=epsilon,
                random_state=seed,
                n_queries=20,
            )
            survived = ~result.success
            certified = right[some] & (certificates.radius[some] > epsilon)
            if (certified & ~survived).any() or (survived & ~right[some]).any():
                raise RuntimeError(f"{target}, seed {seed}: certified <= attacked <= clean fails.")
            row[f"attacked {epsilon:g}"] = float(survived.mean())
        rows[name] = row
    return rows


def split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """70/30, stratified; of equal cells the second goes where the first went."""
    _, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    sides = np.zeros(len(y), dtype=bool)
    sides[test] = True
    for first, second in TWINS:
        sides[second] = sides[first]
    return np.flatnonzero(~sides), np.flatnonzero(sides)


if __name__ == "__main__":
    main()
