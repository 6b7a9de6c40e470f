"""No certificate breaks: every kind of model against every threat, attacked within its radii.

Small models of every filtration, vectorizer and layer are trained on rings and blobs, and every
cloud is certified against each threat that its stages know, by constants, intervals and linear
relaxation. Then random search, block by block search and gradients try to change its prediction
within 0.999 and within 1 − 10⁻⁹ of the largest radius that any method certified. A pair is one
(cloud, displacement) that the pipeline was asked about. One changed prediction is a failure: it is
printed, written, and the command ends with 1.

Command: ``python -m benchmarks.soundness [--quick] [--seeds 0 1 …]``, some minutes of one core,
writes ``results/soundness.json``; ``--quick`` (under a minute) writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from benchmarks.record import write
from stablerank import (
    AlphaPersistence,
    CubicalPersistence,
    DistanceContour,
    DistanceToMeasurePersistence,
    HalfLengths,
    Landscapes,
    LipschitzClassifier,
    LipschitzUnion,
    RipsPersistence,
    StabilityError,
    StableRank,
    Windows,
    certify,
)
from stablerank.attack import attack
from stablerank.certify import threat_space
from stablerank.stages import chain_of_stages

Inputs = list[NDArray[np.float64]]

POINTS = ("per_point", "hausdorff", "per_coordinate", "frobenius", "deletion")
DIAGRAMS = ("bottleneck", "wasserstein 1 1", "wasserstein 2 2", "wasserstein 3 inf")
METHODS = ("global", "interval", "linear", "best")
SHARES = (0.999, 1 - 1e-9)


def rings(rng: np.random.Generator, n: int, d: int = 2) -> tuple[Inputs, NDArray[np.int64]]:
    """Half of them noisy circles, half of them blobs, of 12 to 24 points."""
    X, y = [], np.arange(n) % 2
    for label in y:
        size = int(rng.integers(12, 25))
        cloud = 0.1 * rng.normal(size=(size, d))
        if label:
            angles = rng.uniform(0, 2 * np.pi, size=size)
            cloud[:, :2] += np.column_stack([np.cos(angles), np.sin(angles)])
        else:
            cloud *= rng.uniform(2, 6)
        X.append(cloud)
    return X, y


def spatial(rng: np.random.Generator, n: int) -> tuple[Inputs, NDArray[np.int64]]:
    return rings(rng, n, 3)


def images(rng: np.random.Generator, n: int) -> tuple[Inputs, NDArray[np.int64]]:
    """Distance fields of rings and blobs, noisy."""
    X, y = rings(rng, n)
    axis = np.linspace(-1.5, 1.5, 10)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    fields = [np.linalg.norm(grid - cloud, axis=2).min(axis=1).reshape(10, 10) for cloud in X]
    return [field + 0.01 * rng.normal(size=field.shape) for field in fields], y


def matrices(rng: np.random.Generator, n: int) -> tuple[Inputs, NDArray[np.int64]]:
    """Distances of the points, made dissimilarities by noise."""
    X, y = rings(rng, n)
    found = []
    for cloud in X:
        noise = np.triu(rng.uniform(0, 0.02, size=(len(cloud),) * 2), 1)
        distances = np.linalg.norm(cloud[:, None] - cloud, axis=2)
        found.append(np.maximum(distances, distances.T) + noise + noise.T)
    for matrix in found:
        np.fill_diagonal(matrix, 0.0)
    return found, y


def grid(k: int = 4) -> DistanceToMeasurePersistence:
    return DistanceToMeasurePersistence(k, resolution=8, box=((-2, -2), (2, 2)))


Case = tuple[Callable[..., Any], list[Any], dict[str, Any], tuple[str, ...]]
CONTOUR = DistanceContour([0.3], [0.2], [0.4], floor=0.2)
CASES: dict[str, Case] = {
    "alpha, p=inf": (rings, [AlphaPersistence(), StableRank(n_ranks=12)], {}, POINTS + DIAGRAMS),
    "alpha, p=2": (rings, [AlphaPersistence(), StableRank(p=2, n_ranks=8)], {}, POINTS + DIAGRAMS),
    "alpha, contour": (
        rings,
        [AlphaPersistence(), StableRank(contour=CONTOUR, n_ranks=8)],
        {},
        ("per_point", "bottleneck"),
    ),
    "alpha, landscapes and windows": (
        rings,
        [AlphaPersistence(), LipschitzUnion([("l", Landscapes(6, 4)), ("w", Windows(4, 3))])],
        {},
        POINTS + DIAGRAMS,
    ),
    "alpha in space": (
        spatial,
        [AlphaPersistence((0, 1, 2)), StableRank(n_ranks=8)],
        {},
        POINTS[:4],
    ),
    "Rips, p=1": (rings, [RipsPersistence(), StableRank(p=1, n_ranks=6)], {}, POINTS[:5]),
    "dissimilarities": (
        matrices,
        [RipsPersistence(metric="precomputed"), StableRank(n_ranks=8)],
        {},
        ("sup",),
    ),
    "images": (images, [CubicalPersistence(), Landscapes(6, 4)], {}, ("sup", "bottleneck")),
    "distance to measure": (
        rings,
        [grid(), LipschitzUnion([("h", HalfLengths(6)), ("l", Landscapes(6, 4))])],
        {},
        ("per_point", "per_coordinate", "frobenius", "deletion", "points"),
    ),
    "alpha and distance to measure": (
        rings,
        [
            LipschitzUnion(
                [
                    ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=8))),
                    ("grid", make_pipeline(grid(), HalfLengths(6))),
                ]
            )
        ],
        {},
        ("per_point", "per_coordinate", "frobenius"),
    ),
    "distance neurons": (
        rings,
        [AlphaPersistence(), StableRank(n_ranks=8)],
        {"layer": "linf-distance"},
        ("per_point", "bottleneck"),
    ),
    "free network": (
        rings,
        [AlphaPersistence(), StableRank(n_ranks=8)],
        {"layer": "free", "activation": "relu", "loss": "box", "epsilon": 0.02},
        ("per_point", "hausdorff", "frobenius", "bottleneck"),
    ),
    "free network, not trained for it": (
        rings,
        [AlphaPersistence(), Landscapes(6, 4)],
        {"layer": "free", "activation": "maxmin", "temperature": 10.0},
        ("per_point", "bottleneck"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds and queries, no file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    n_clouds, n_queries = (8, 6) if arguments.quick else (30, 25)
    rows = []
    for seed in arguments.seeds[:1] if arguments.quick else arguments.seeds:
        for name in CASES:
            for row in run(name, seed, n_clouds, n_queries):
                rows.append(row)
                print(
                    f"{name:>34}  {row['threat']:<16} certified {row['certified']:.2f}  "
                    f"pairs {row['pairs']:>6}  broken {row['broken']}",
                    flush=True,
                )
    pairs, broken = (sum(row[key] for row in rows) for key in ("pairs", "broken"))
    print(f"{pairs} pairs, {broken} certificates broken, {time.time() - started:.0f} s")
    if not arguments.quick:
        content = {"seeds": arguments.seeds, "pairs": pairs, "broken": broken, "rows": rows}
        print(write("soundness", "benchmarks.soundness", started, content))
    if broken:
        sys.exit(1)


def run(name: str, seed: int, n_clouds: int, n_queries: int) -> list[dict[str, Any]]:
    """Train one model, and attack its certificates against each threat."""
    make, stages, network, threats = CASES[name]
    rng = np.random.default_rng([seed, sorted(CASES).index(name)])
    X_train, y_train = make(rng, 60)
    X, _ = make(rng, n_clouds)
    settings = {"hidden": (16, 16), "max_epochs": 15, "random_state": seed, **network}
    pipeline = make_pipeline(*stages, LipschitzClassifier(**settings))
    space, _ = threat_space("sup" if threats[0] == "sup" else "per_point")
    vectors = pipeline[:-1].fit(X_train).transform(X_train)
    constants = chain_of_stages([step for _, step in pipeline[:-1].steps], space).constants
    pipeline[-1].set_params(constants=constants).fit(vectors, y_train)
    rows = []
    for label in threats:
        threat, *exponents = label.split()
        inputs: Any = pipeline[0].transform(X) if label in DIAGRAMS else X
        options = dict(zip(("p", "q"), map(float, exponents), strict=False))
        rows.append(
            {"model": name, "seed": seed, "threat": label}
            | attacked(pipeline, inputs, threat, options, seed, n_queries)
        )
    return rows


def attacked(
    pipeline: Any, X: Any, threat: str, options: dict[str, float], seed: int, n_queries: int
) -> dict[str, Any]:
    """Certify by every method that knows the threat, and attack within the largest radius."""
    found, shares = [], {}
    for method in METHODS:
        try:
            claims = certify(pipeline, X, threat=threat, method=method, **options)
        except StabilityError:
            continue
        found.append(claims)
        shares[f"median radius, {method}"] = float(np.median(claims.radius))
    if not found:
        raise RuntimeError(f"threat={threat!r}: no method certifies this model.")
    radius = np.max([claims.radius for claims in found], axis=0)
    prediction, counting = found[0].prediction, threat in ("deletion", "points")
    pairs, broken = 0, 0
    for share in (1.0,) if counting else SHARES:
        for attempt in ("random", "search", "gradient"):
            try:
                result = attack(
                    pipeline,
                    X,
                    prediction,
                    threat=threat,
                    radius=radius * share,
                    method=attempt,
                    n_queries=n_queries,
                    random_state=seed,
                    **options,
                )
            except (TypeError, StabilityError, ValueError):
                if attempt != "gradient":
                    raise
                continue  # this pipeline or threat has no gradients
            pairs += int(result.n_queries.sum())
            broken += int(result.success.sum())
    return {
        "certified": float((radius > 0).mean()),
        "pairs": pairs,
        "broken": broken,
        **shares,
    }


if __name__ == "__main__":
    main()
