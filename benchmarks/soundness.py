"""No certificate may break: every kind of model, threat and method, attacked within its radii.

Small models are trained in seconds on clusters and shells. For each threat that a model supports,
and each method of certification, inputs are attacked at 0.999 of their radii and at the largest
number that is still below them (at the radius itself where it counts points and is attained), by
random search, by search, and along gradients where there are any. Every displacement that a
pipeline is asked about is one pair (cloud, displacement); a pair whose prediction is not the
certified one is a violation, and the command fails.

The radii of "best" are attacked by everything; those of the other methods, which are rarely larger,
by fewer displacements.

Command: ``python -m benchmarks.soundness [--quick]`` (about five minutes), writes
``results/soundness.json``; ``--quick`` (under a minute) asks little and writes nothing.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks import record
from stablerank import (
    AlphaPersistence,
    Certificates,
    DistanceContour,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.attack import attack
from stablerank.certify import HashedVotes
from stablerank.certify.pipeline import METHODS
from stablerank.diagrams import CubicalPersistence, DistanceToMeasurePersistence
from stablerank.ranks import Landscapes
from stablerank.stability import HAUSDORFF, PER_POINT, SUP, Space, StabilityError
from stablerank.stages import LipschitzUnion, chain_of_stages

SEED = 0
LEAST_PAIRS = 100_000
ON_POINTS = [{"threat": name} for name in ("per_point", "hausdorff", "per_coordinate", "frobenius")]
ON_DIAGRAMS: list[dict[str, Any]] = [
    {"threat": "bottleneck"},
    {"threat": "wasserstein", "p": 1.0, "q": 1.0},
    {"threat": "wasserstein", "p": 2.0, "q": 2.0},
    {"threat": "wasserstein", "p": 3.0, "q": math.inf},
]
COUNTS = [{"threat": "deletion"}, {"threat": "points"}]
SUPREMUM = [{"threat": "sup"}]
SHARES = (0.999, 1.0)

Cloud = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A model, how to make its inputs, and which threats it answers.

    Attributes
    ----------
    build : callable
        From training inputs and labels to a fitted pipeline.
    threats : sequence of dict
        As :func:`stablerank.certify` takes them.
    d, n_points : int
        Of the clouds.
    inputs : callable
        From clouds to the inputs of the pipeline.
    """

    build: Callable[[Any, Any], Any]
    threats: Sequence[dict[str, Any]]
    d: int = 2
    n_points: int = 30
    inputs: Callable[[list[Cloud]], list[Any]] = list


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds and queries, no file")
    arguments = parser.parse_args()
    started = time.time()
    sizes = (16, 6, 8) if arguments.quick else (40, 16, 48)
    rows: list[dict[str, Any]] = []
    for name in CASES:
        clock = time.time()
        rows += run(name, *sizes, seed=SEED)
        new = [row for row in rows if row["model"] == name]
        pairs, violations = (sum(row[key] for row in new) for key in ("pairs", "violations"))
        seconds = time.time() - clock
        print(f"{name:34} {pairs:8} pairs, {violations} violations, {seconds:.0f} s", flush=True)
    pairs, violations = (sum(row[key] for row in rows) for key in ("pairs", "violations"))
    print(f"{pairs} pairs, {violations} violations")
    if not arguments.quick:
        content = {"seed": SEED, "pairs": pairs, "violations": violations, "rows": rows}
        print(record.write("soundness", "benchmarks.soundness", started, content))
        if pairs < LEAST_PAIRS:
            raise SystemExit(f"{pairs} pairs are fewer than {LEAST_PAIRS}.")
    if violations:
        raise SystemExit(f"{violations} certificates broke.")


def run(
    name: str, n_train: int, n_clouds: int, n_queries: int, *, seed: int
) -> list[dict[str, Any]]:
    """One model: a row for each threat and method, with counts of pairs and violations."""
    case = CASES[name]
    clouds, y = make_clouds(n_train + n_clouds, case.d, case.n_points, seed)
    X = case.inputs(clouds)
    model = case.build(X[:n_train], y[:n_train])
    X = X[n_train:]
    rows = []
    for threat in case.threats:
        given = diagrams_of(model, X) if threat in ON_DIAGRAMS else X
        for method in METHODS:
            try:
                claims = certify(model, given, method=method, **threat)
            except StabilityError as reason:
                if method == "best":
                    raise RuntimeError(f"{name} does not answer {threat}: {reason}") from reason
                continue
            queries = n_queries if method == "best" else n_queries // 8
            pairs, violations = attacked(model, given, claims, threat, queries, seed)
            rows.append(
                {
                    "model": name,
                    **{key: str(value) for key, value in threat.items()},
                    "method": method,
                    "clouds": len(claims),
                    "certified": int((claims.radius > 0).sum()),
                    "median_radius": float(np.median(claims.radius)),
                    "pairs": pairs,
                    "violations": violations,
                }
            )
    return rows


def attacked(
    model: Any, X: Any, claims: Certificates, threat: dict[str, Any], n_queries: int, seed: int
) -> tuple[int, int]:
    """How many displacements were tried within the radii, and how many broke a certificate."""
    pairs = violations = 0
    radii = [share * claims.radius for share in SHARES]
    radii[-1] = claims.radius if claims.closed else np.nextafter(claims.radius, 0.0)
    radii = radii[-1:] if claims.closed else radii
    for number, radius in enumerate(radii):
        if threat in SUPREMUM and np.ndim(X[0]) == 2 and not _is_dissimilarity(X[0]):
            found = _attack_images(model, X, claims.prediction, radius, n_queries, seed + number)
            pairs, violations = pairs + found[0], violations + found[1]
            continue
        for method in ("random", "search", "gradient"):
            if method == "gradient" and n_queries < 12:
                continue
            try:
                result = attack(
                    model,
                    X,
                    claims.prediction,
                    radius=radius,
                    method=method,
                    n_queries=max(1, n_queries // 2),
                    random_state=seed + number,
                    **threat,
                )
            except (TypeError, ValueError):
                if method != "gradient":  # of which not every pipeline and threat knows any
                    raise
                continue
            pairs += int(result.n_queries.sum())
            violations += int(result.success.sum())
    return pairs, violations


def _attack_images(
    model: Any,
    X: Sequence[NDArray[np.float64]],
    labels: NDArray[Any],
    radius: NDArray[np.float64],
    n_queries: int,
    seed: int,
) -> tuple[int, int]:
    """Move pixels by at most the radius, all or blocks of them, from the best found so far on."""
    rng = np.random.default_rng(seed)
    best = [image.copy() for image in X]
    least = np.full(len(X), np.inf)
    some = np.flatnonzero(radius > 0)
    pairs = violations = 0
    for turn in range(n_queries if some.size else 0):
        tried = []
        for i in some:
            image, signs = X[i], rng.choice([-1.0, 0.0, 1.0], size=X[i].shape)
            if turn % 4 == 0:
                signs = rng.choice([-1.0, 1.0]) * np.sign(image - np.quantile(image, rng.uniform()))
            candidate = image + radius[i] * signs
            if turn % 4 > 1:
                block = rng.uniform(size=image.shape) < 0.2
                candidate = np.where(block, candidate, best[i])
            # rounded to nearest, a sum may be farther away than the radius
            far = np.abs(candidate - image) >= radius[i]
            tried.append(np.where(far, candidate + (image - candidate) * 2.0**-40, candidate))
        scores = model.predict_proba(tried)
        columns = np.searchsorted(model.classes_, labels[some])
        margins = scores[np.arange(len(some)), columns]
        violations += int((model.predict(tried) != labels[some]).sum())
        pairs += len(some)
        for i, candidate, margin in zip(some, tried, margins, strict=True):
            if margin < least[i]:
                best[i], least[i] = candidate, margin
    return pairs, violations


def _is_dissimilarity(matrix: NDArray[np.float64]) -> bool:
    return bool(matrix.shape[0] == matrix.shape[1] and not np.diag(matrix).any())


def diagrams_of(model: Any, X: Any) -> Any:
    """What the first step of a model makes of inputs."""
    return getattr(model, "pipeline_", model)[0].transform(X)


def make_clouds(n_clouds: int, d: int, n_points: int, seed: int) -> tuple[list[Cloud], Any]:
    """Clusters (class 0) and noisy shells (class 1), of different numbers of points."""
    rng = np.random.default_rng([seed, d])
    X, y = [], np.arange(n_clouds) % 2
    for label in y:
        n = n_points + int(rng.integers(-4, 5))
        if label:
            shell = rng.normal(size=(n, d))
            shell /= np.linalg.norm(shell, axis=1, keepdims=True)
            X.append(shell + rng.normal(scale=0.07, size=(n, d)))
        else:
            centres = rng.uniform(-1, 1, size=(4, d))
            X.append(centres[rng.integers(4, size=n)] + rng.normal(scale=0.1, size=(n, d)))
    return X, y


def _dissimilarities(X: list[Cloud]) -> list[Cloud]:
    matrices = [cdist(cloud, cloud) for cloud in X]
    return [np.maximum(matrix, matrix.T) for matrix in matrices]


def _images(X: list[Cloud]) -> list[NDArray[np.float64]]:
    """How far the pixels of a grid are from the nearest point."""
    axis = np.linspace(-1.2, 1.2, 14)
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return [cdist(pixels, cloud).min(axis=1).reshape(14, 14) for cloud in X]


def _estimator(**settings: Any) -> Callable[[Any, Any], Any]:
    chosen = {"max_epochs": 15, "network__hidden": (16, 16), "random_state": SEED, **settings}
    return lambda X, y: StableRankClassifier(**chosen).fit(X, y)


def _pipeline(make_stages: Callable[[], Any], source: Space, **settings: Any) -> Callable[..., Any]:
    """Stages, and a network whose inputs are divided by their constants from `source`."""

    def build(X: Any, y: Any) -> Pipeline:
        stages = make_stages()
        vectors = X
        for stage in stages:
            vectors = stage.fit_transform(vectors)
        constants = chain_of_stages(stages, source).constants
        chosen = {"max_epochs": 15, "hidden": (16, 16), "epsilon": 0.02, **settings}
        network = LipschitzClassifier(constants=constants, random_state=SEED, **chosen)
        return make_pipeline(*stages, network.fit(vectors, y))

    return build


def _measure(**settings: Any) -> DistanceToMeasurePersistence:
    box = ([-1.5, -1.5], [1.5, 1.5])
    return DistanceToMeasurePersistence(4, resolution=12, box=box, **settings)


def _alpha_and_measure() -> tuple[LipschitzUnion]:
    alpha = make_pipeline(AlphaPersistence(), StableRank(n_ranks=12))
    measure = make_pipeline(_measure(), Landscapes(8, 4))
    return (LipschitzUnion([("alpha", alpha), ("measure", measure)]),)


def _ranks_and_landscapes() -> LipschitzUnion:
    return LipschitzUnion([("ranks", StableRank(n_ranks=12)), ("landscapes", Landscapes(8, 4))])


CONTOUR = DistanceContour([0.3], [0.3], [0.3], floor=0.2)
FREE = {"layer": "free", "activation": "relu", "loss": "box"}

CASES = {
    "alpha, p=inf": Case(_estimator(), ON_POINTS + COUNTS[:1] + ON_DIAGRAMS),
    "alpha, p=2": Case(_estimator(p=2.0, n_ranks=8), ON_POINTS + ON_DIAGRAMS),
    "alpha, p=3, distance contour": Case(
        _estimator(p=3.0, contour=CONTOUR, n_ranks=8), ON_POINTS + ON_DIAGRAMS
    ),
    "alpha in space": Case(
        _estimator(homology_dimensions=(0, 1, 2)), ON_POINTS + ON_DIAGRAMS, d=3, n_points=14
    ),
    "alpha, ranks and landscapes": Case(
        _pipeline(lambda: (AlphaPersistence(), _ranks_and_landscapes()), HAUSDORFF),
        ON_POINTS + ON_DIAGRAMS,
    ),
    "Rips, p=1": Case(
        _estimator(persistence="rips", p=1.0, n_ranks=10, ranks__max_bars=10),
        ON_POINTS + COUNTS[:1] + ON_DIAGRAMS,
        n_points=18,
    ),
    "Rips, dissimilarities": Case(
        _estimator(persistence=RipsPersistence(metric="precomputed")),
        SUPREMUM + ON_DIAGRAMS[:2],
        n_points=18,
        inputs=_dissimilarities,
    ),
    "images": Case(
        _pipeline(lambda: (CubicalPersistence(), _ranks_and_landscapes()), SUP),
        SUPREMUM + ON_DIAGRAMS[:2],
        inputs=_images,
    ),
    "measure, landscapes": Case(
        _pipeline(lambda: (_measure(), Landscapes(8, 4)), PER_POINT),
        [ON_POINTS[0], *ON_POINTS[2:], *COUNTS, *ON_DIAGRAMS[:2]],
    ),
    "alpha beside measure": Case(
        _pipeline(_alpha_and_measure, PER_POINT), [ON_POINTS[0], *ON_POINTS[2:], COUNTS[0]]
    ),
    "alpha, free network": Case(
        _pipeline(lambda: (AlphaPersistence(), StableRank(n_ranks=12)), HAUSDORFF, **FREE),
        ON_POINTS + ON_DIAGRAMS,
    ),
    "alpha, l-inf distance network": Case(
        _pipeline(
            lambda: (AlphaPersistence(), StableRank(n_ranks=12)), HAUSDORFF, layer="linf-distance"
        ),
        ON_POINTS + ON_DIAGRAMS[:2],
    ),
    "votes over alpha": Case(
        lambda X, y: HashedVotes(_estimator(max_epochs=6)(X, y), n_parts=7).fit(X, y),
        COUNTS,
        n_points=60,
    ),
}


if __name__ == "__main__":
    main()
