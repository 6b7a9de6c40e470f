"""Randomized smoothing against the deterministic certificate, in Frobenius norm, five seeds.

Data: orbits of 300 points in the unit square, five classes of 100, 70/30 stratified. The adversary
moves the points by ε in all, the root of the sum of their squared displacements. Stages of all
models: alpha H0 and H1, stable ranks, the same network.

Models:

- "constants": the margin loss for small radii; certified by the best of constants, of ℓ2 and of
  boxes, for certain, at the price of one prediction and its boxes;
- "labels, σ": cross-entropy at a high temperature, trained on three copies of each cloud with noise
  of σ in every coordinate; labels of 1000 noisy copies are counted, 100 more choose the label, and
  each certificate fails with probability 0.001 (Cohen et al. 2019);
- "scores, σ": the margin loss, trained on such copies; softmax at temperature 4 is averaged, and
  its slopes are bounded by the constants (after Delattre et al. 2024).

What is certified of the last two is the smoothed classifier. "clean" is the share of labels that
are right, "sure" that of those which the classifier does not abstain from by its test. On some test
clouds a random search within ε tries to change what is predicted; "broken" is the share of these
clouds that are certified at ε and got another label, which for constants must be none, and for the
others as rare as is said. Seconds are processor seconds of one thread, a cloud.

Command: ``python -m benchmarks.smoothing [--quick]``; ``--quick`` (small data, one seed, few draws)
prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.comparison.certified import CertifiedPipeline
from benchmarks.comparison.task import Cloud, Split
from benchmarks.record import mean_and_std, print_table, write
from stablerank import AlphaPersistence, Certificates, StableRank, certify
from stablerank.attack import RandomSearch
from stablerank.certify import SmoothedClassifier
from stablerank.datasets import make_orbits

EPSILONS = (0.001, 0.002, 0.005, 0.01, 0.02)
SIGMAS = (0.002, 0.005, 0.01)
SEEDS = (1, 2, 3, 4, 5)
ALPHA = 0.001
N_COPIES = 3
SCORE_TEMPERATURE = 4.0
NETWORK: dict[str, Any] = {"hidden": (64, 64), "max_epochs": 60}
ROBUST: dict[str, Any] = NETWORK | {"loss": "margin", "temperature": 3.0, "offset": 0.25}
ACCURATE: dict[str, Any] = NETWORK | {"temperature": 20.0, "lr": 0.003}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    small: dict[str, Any] = {}
    if arguments.quick:
        small = {"n_per_class": 8, "n_samples": 200, "n_attacked": 2, "sigmas": SIGMAS[1:2]}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        for name, row in run(seed, **small).items():
            runs.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    table = {name: mean_and_std(rows) for name, rows in runs.items()}
    print_table(table)
    if not arguments.quick:
        content = {
            "seeds": SEEDS,
            "epsilons": EPSILONS,
            "sigmas": SIGMAS,
            "alpha": ALPHA,
            "settings": {
                "constants and scores": ROBUST,
                "labels": ACCURATE,
                "temperature of scores": SCORE_TEMPERATURE,
                "noisy copies for training": N_COPIES,
            },
            "table": table,
        }
        print(write("smoothing", "benchmarks.smoothing", started, {**content, "runs": runs}))


def run(
    seed: int,
    n_per_class: int = 100,
    n_points: int = 300,
    n_samples: int = 1000,
    n_attacked: int = 10,
    sigmas: tuple[float, ...] = SIGMAS,
) -> dict[str, dict[str, float]]:
    """One seed: orbits, noise, training, draws and attacks all follow from it."""
    X, y = make_orbits(n_per_class, n_points, random_state=seed)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    split = Split.of(X, y, train, test)
    rows = {}
    base, seconds = fitted(split, ROBUST, 0.0, seed)
    rows["constants"] = measured(base, None, split, seconds, n_attacked, seed)
    for sigma in sigmas:
        for name, network, temperature in (
            ("labels", ACCURATE, None),
            ("scores", ROBUST, SCORE_TEMPERATURE),
        ):
            base, seconds = fitted(split, network, sigma, seed)
            smoothed = SmoothedClassifier(
                base.pipeline_,
                sigma,
                n_samples=n_samples,
                alpha=ALPHA,
                temperature=temperature,
                random_state=seed,
            )
            row = measured(base, smoothed, split, seconds, n_attacked, seed)
            rows[f"{name}, {sigma:g}"] = row
    return rows


def fitted(
    split: Split, network: dict[str, Any], sigma: float, seed: int
) -> tuple[CertifiedPipeline, float]:
    """A pipeline trained on noisy copies, or on the clouds themselves; and its seconds a cloud."""
    started = time.process_time()
    X, y = split.X_train, split.y_train
    if sigma > 0:
        rng = np.random.default_rng([seed, 1])
        X = [cloud + sigma * rng.normal(size=cloud.shape) for _ in range(N_COPIES) for cloud in X]
        y = np.tile(y, N_COPIES)
    stages = make_pipeline(AlphaPersistence(), StableRank(n_ranks=100))
    model = CertifiedPipeline(stages, network, threat="frobenius", random_state=seed).fit(X, y)
    return model, (time.process_time() - started) / len(split.y_train)


def measured(
    base: CertifiedPipeline,
    smoothed: SmoothedClassifier | None,
    split: Split,
    seconds_fit: float,
    n_attacked: int,
    seed: int,
) -> dict[str, float]:
    """Shares of test clouds, seconds, and what a search within ε finds.

    Raises
    ------
    RuntimeError
        If a certificate by constants is broken.
    """
    model: Any = base.pipeline_ if smoothed is None else smoothed
    started = time.process_time()
    sure = model.predict(split.X_test) == split.y_test
    predicted, started = time.process_time() - started, time.process_time()
    claims = (
        certify(model, split.X_test, threat="frobenius")
        if smoothed is None
        else smoothed.certify(split.X_test)
    )
    certified = time.process_time() - started
    clean = (claims.prediction == split.y_test).mean()
    row = {"clean": float(clean), "sure": float(sure.mean())}
    for epsilon in EPSILONS:
        row[f"certified {epsilon:g}"] = claims.certified_accuracy(split.y_test, epsilon)
    row["certified at all"] = float((claims.radius > 0).mean())
    row |= attacked(model, split.X_test, split.y_test, claims, n_attacked, seed)
    if smoothed is None and any(row[key] for key in row if key.startswith("broken")):
        raise RuntimeError(f"Seed {seed}: a certificate by constants was broken: {row}.")
    n = len(split.y_test)
    row["seconds fit"] = seconds_fit
    row["seconds predict"], row["seconds certify"] = predicted / n, certified / n
    return row


def attacked(
    model: Any,
    X: list[Cloud],
    y: NDArray[Any],
    claims: Certificates,
    n_attacked: int,
    seed: int,
) -> dict[str, float]:
    """What a few random moves leave of some clouds, and of certificates."""
    chosen = np.random.default_rng(seed).permutation(len(X))[:n_attacked]
    some, labels, own = [X[i] for i in chosen], y[chosen], claims[chosen]
    row = {}
    for epsilon in EPSILONS[1::2]:
        result = RandomSearch(n_queries=5)(
            model, some, own.prediction, threat="frobenius", radius=epsilon, random_state=seed
        )
        row[f"attacked {epsilon:g}"] = float((result.prediction == labels).mean())
        # to abstain is no other label
        other = np.array(
            [
                found is not None and found != kept
                for found, kept in zip(result.prediction, own.prediction, strict=True)
            ]
        )
        row[f"broken {epsilon:g}"] = float((other & (own.radius > epsilon)).mean())
    return row


if __name__ == "__main__":
    main()
