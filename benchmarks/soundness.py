"""No certificate may break: every kind of model, threat and method, attacked within its radii.

Small models are trained in seconds on clusters and shells, afresh on each of several data sets. For
each threat that a model supports, and each method of certification, inputs are attacked at 0.999 of
their radii and at the largest number that is still below them (at the radius itself where it counts
points and is attained), by random search, by search, and along gradients where there are any. Every
displacement that a pipeline is asked about is one pair (cloud, displacement), at or inside the
radius; a pair whose prediction is not the certified one is a violation, and the command fails. An
input of radius 0 has no pairs; how many have more is counted, and no case may be without.

Counted points: clouds in which every point has a few others close by, and the distance to a measure
of many points, since otherwise one point would already be too many. The radii of "best" are
attacked by everything; those of the other methods, which are rarely larger, by fewer displacements.

Command: ``python -m benchmarks.soundness [--quick]`` (about a quarter of an hour), writes
``results/soundness.json``; ``--quick`` (one data set, a minute) asks little and writes nothing.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
from stablerank.diagrams import (
    AnisotropicPersistence,
    CubicalPersistence,
    DistanceToMeasurePersistence,
    squeeze,
)
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.ranks import (
    ExponentialContour,
    HalfLengths,
    Landscapes,
    ShiftContour,
    StepDistanceContour,
    StepShiftContour,
)
from stablerank.stability import HAUSDORFF, PER_POINT, SUP, Space, StabilityError
from stablerank.stages import LipschitzUnion, chain_of_stages

SEED, SEEDS = 0, (0, 1, 2)
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
LEAST_FOR_GRADIENTS = 12

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
    parser.add_argument("--quick", action="store_true", help="one seed, few queries, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes, seeds = ((16, 6, 8), SEEDS[:1]) if arguments.quick else ((40, 10, 32), SEEDS)
    rows: list[dict[str, Any]] = []
    for name in CASES:
        clock = time.time()
        new = [row for seed in seeds for row in run(name, *sizes, seed=seed)]
        seconds = time.time() - clock
        print(f"{name:34} {_in_words(new)}, {seconds:.0f} s", flush=True)
        rows += new
    print(_in_words(rows))
    totals = summary(rows)
    if not arguments.quick:
        cases = {
            name: summary([row for row in rows if row["model"] == name], by_threat=True)
            for name in CASES
        }
        content = {"seeds": SEEDS, **totals, "cases": cases, "rows": rows}
        print(record.write("soundness", "benchmarks.soundness", started, content))
        if totals["pairs"] < LEAST_PAIRS:
            raise SystemExit(f"{totals['pairs']} pairs are fewer than {LEAST_PAIRS}.")
        idle = [name for name, case in cases.items() if not all(case["by_threat"].values())]
        if idle:
            raise SystemExit(f"No radius above 0 under some threat, so nothing was asked: {idle}.")
    if totals["violations"]:
        raise SystemExit(f"{totals['violations']} certificates broke.")


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
            rows.append(
                {
                    "model": name,
                    "seed": seed,
                    **{key: str(value) for key, value in threat.items()},
                    "method": method,
                    "certificates": len(claims),
                    "above_0": int((claims.radius > 0).sum()),
                    "median_radius": float(np.median(claims.radius)),
                    **attacked(model, given, claims, threat, queries, seed),
                }
            )
    return rows


def attacked(
    model: Any, X: Any, claims: Certificates, threat: dict[str, Any], n_queries: int, seed: int
) -> dict[str, int]:
    """How many displacements were tried within the radii, and how many broke a certificate."""
    counts = {"pairs": 0, "pairs_by_gradients": 0, "violations": 0}
    radii = [share * claims.radius for share in SHARES]
    radii[-1] = claims.radius if claims.closed else np.nextafter(claims.radius, 0.0)
    radii = radii[-1:] if claims.closed else radii
    for number, radius in enumerate(radii):
        for method in ("random", "search", "gradient"):
            if method == "gradient" and n_queries < LEAST_FOR_GRADIENTS:
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
            except TypeError:
                if method != "gradient":  # of which not every pipeline and threat knows any
                    raise
                continue
            if not (result.displacement <= claims.radius).all():
                raise RuntimeError(f"{method} left the radius under {threat}: nothing is counted.")
            pairs = int(result.n_queries[claims.radius > 0].sum())
            counts["pairs"] += pairs
            counts["pairs_by_gradients"] += pairs if method == "gradient" else 0
            counts["violations"] += int(result.success.sum())
    return counts


def summary(rows: Sequence[dict[str, Any]], *, by_threat: bool = False) -> dict[str, Any]:
    """Sums over rows: pairs, violations, and how many certificates of "best" are above 0."""
    best = [row for row in rows if row["method"] == "best"]
    sums: dict[str, Any] = {
        key: sum(row[key] for row in rows) for key in ("pairs", "pairs_by_gradients", "violations")
    }
    sums |= {key: sum(row[key] for row in best) for key in ("certificates", "above_0")}
    if by_threat:
        sums["by_threat"] = {
            threat: sum(row["above_0"] for row in best if row["threat"] == threat)
            for threat in dict.fromkeys(row["threat"] for row in best)
        }
    return sums


def _in_words(rows: Sequence[dict[str, Any]]) -> str:
    sums = summary(rows, by_threat=True)
    idle = [threat for threat, above in sums["by_threat"].items() if not above]
    return (
        f"{sums['pairs']:7} pairs ({sums['pairs_by_gradients']:6} by gradients), "
        f"{sums['violations']} violations, {sums['above_0']} of {sums['certificates']} radii above "
        f"0" + (f" (none: {', '.join(idle)})" if idle else "")
    )


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


def _crowded(X: list[Cloud]) -> list[Cloud]:
    """Five points near each: any four may go, and none is far from one that is left."""
    rng = np.random.default_rng(SEED)
    clouds = [np.repeat(cloud, 5, axis=0) for cloud in X]
    return [cloud + rng.normal(scale=5e-4, size=cloud.shape) for cloud in clouds]


def _in_unit_square(X: list[Cloud]) -> list[Cloud]:
    return [np.mod(0.5 + 0.35 * cloud, 1.0) for cloud in X]


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


def _measure(k: int = 4, **settings: Any) -> DistanceToMeasurePersistence:
    box = ([-1.5, -1.5], [1.5, 1.5])
    return DistanceToMeasurePersistence(k, resolution=12, box=box, **settings)


def _alpha_and_measure(**settings: Any) -> tuple[LipschitzUnion]:
    alpha = make_pipeline(AlphaPersistence(), StableRank(n_ranks=12))
    measure = make_pipeline(_measure(**settings), Landscapes(8, 4))
    return (LipschitzUnion([("alpha", alpha), ("measure", measure)]),)


def _of_orbit5k() -> tuple[LipschitzUnion]:
    """The stages of ``benchmarks/orbit5k.py``, smaller."""
    lengths = LipschitzUnion(
        [("ranks", StableRank(n_ranks=12)), ("landscapes", Landscapes(8, {0: 1, 1: 8}))]
    )
    branches: list[tuple[str, Any]] = [("alpha", make_pipeline(AlphaPersistence(), lengths))]
    for k in (2, 5, 12):
        measure = DistanceToMeasurePersistence(
            k, resolution=12, box=([0.0, 0.0], [1.0, 1.0]), periodic=True
        )
        values = LipschitzUnion([("halves", HalfLengths(8)), ("landscapes", Landscapes(6, 4))])
        branches.append((f"measure{k}", make_pipeline(measure, values)))
    return (LipschitzUnion(branches),)


def _ranks_and_landscapes() -> LipschitzUnion:
    return LipschitzUnion([("ranks", StableRank(n_ranks=12)), ("landscapes", Landscapes(8, 4))])


def _with_images(make_filtration: Callable[[], Any]) -> tuple[LipschitzUnion]:
    """A filtration of the clouds, beside those of images that are squeezed, turned and larger."""
    turned = np.array([[1.2, 0.9], [-0.9, 1.2]])
    kinds = {
        "plain": make_filtration(),
        "squeezed": AnisotropicPersistence(make_filtration(), squeeze(30, 0.4)),
        "turned": AnisotropicPersistence(make_filtration(), turned @ squeeze(100, 0.5)),
    }
    branches = [(name, make_pipeline(kind, StableRank(n_ranks=8))) for name, kind in kinds.items()]
    return (LipschitzUnion(branches),)


def _measure_of_images() -> tuple[Any, Any]:
    return AnisotropicPersistence(_measure(), squeeze(30, 0.4)), _ranks_and_landscapes()


def _field(**settings: Any) -> tuple[DistanceField]:
    box = ([-1.5, -1.5], [1.5, 1.5])
    return (DistanceField(**{"resolution": 8, "box": box, **settings}),)


FREE = {"layer": "free", "activation": "relu", "loss": "box"}
MIXTURE = ([0.3], [0.3], [0.3])
EDGES = [0.15, 0.5]
CONTOURS = {
    "distance": (3.0, DistanceContour(*MIXTURE, floor=0.2)),
    "exponential": (math.inf, ExponentialContour(start=0.2, rate=2.0)),
    "shift": (math.inf, ShiftContour([0.3], [0.3], [0.4], floor=0.4)),
    "step distance": (2.0, StepDistanceContour(EDGES, steps=[0.5, 1.5, 0.7])),
    "step shift": (1.0, StepShiftContour(EDGES, steps=[2.0, 0.8, 1.2])),
}
MOVED_POINTS = [ON_POINTS[0], *ON_POINTS[2:]]  # without Hausdorff distance

CASES = {
    "alpha, p=inf": Case(_estimator(), ON_POINTS + ON_DIAGRAMS),
    "alpha, p=2": Case(_estimator(p=2.0, n_ranks=8), ON_POINTS + ON_DIAGRAMS),
    **{
        f"alpha, {name} contour": Case(
            _estimator(p=p, contour=contour, n_ranks=8, ranks__max_bars=12),
            ON_POINTS[::3] + ON_DIAGRAMS[::2],
        )
        for name, (p, contour) in CONTOURS.items()
    },
    "alpha in space": Case(
        _estimator(homology_dimensions=(0, 1, 2)), ON_POINTS + ON_DIAGRAMS, d=3, n_points=14
    ),
    "alpha, ranks and landscapes": Case(
        _pipeline(lambda: (AlphaPersistence(), _ranks_and_landscapes()), HAUSDORFF),
        ON_POINTS + ON_DIAGRAMS,
    ),
    "alpha, deleted points": Case(_estimator(), COUNTS[:1], n_points=14, inputs=_crowded),
    "Rips, p=1": Case(
        _estimator(persistence="rips", p=1.0, n_ranks=10, ranks__max_bars=10),
        ON_POINTS + ON_DIAGRAMS,
        n_points=18,
    ),
    "Rips, deleted points": Case(
        _estimator(persistence="rips"), COUNTS[:1], n_points=10, inputs=_crowded
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
        [*MOVED_POINTS, *ON_DIAGRAMS[:2]],
    ),
    "measure, changed points": Case(
        _pipeline(lambda: (_measure(k=40, cap=1.0), Landscapes(8, 4)), PER_POINT),
        COUNTS,
        n_points=120,
    ),
    "alpha beside measure": Case(_pipeline(_alpha_and_measure, PER_POINT), MOVED_POINTS),
    "alpha beside measure, deleted points": Case(
        _pipeline(lambda: _alpha_and_measure(k=30, cap=1.0), PER_POINT),
        COUNTS[:1],
        n_points=16,
        inputs=_crowded,
    ),
    "union of ORBIT5K": Case(
        _pipeline(_of_orbit5k, PER_POINT), MOVED_POINTS, inputs=_in_unit_square
    ),
    "alpha beside linear images": Case(
        _pipeline(lambda: _with_images(AlphaPersistence), HAUSDORFF), ON_POINTS
    ),
    "Rips beside linear images": Case(
        _pipeline(lambda: _with_images(RipsPersistence), HAUSDORFF), ON_POINTS, n_points=18
    ),
    "images, deleted points": Case(
        _pipeline(lambda: _with_images(AlphaPersistence), HAUSDORFF),
        COUNTS[:1],
        n_points=14,
        inputs=_crowded,
    ),
    "measure of linear images": Case(
        _pipeline(_measure_of_images, PER_POINT), [*MOVED_POINTS, *ON_DIAGRAMS[:2]]
    ),
    "distances, raw": Case(_pipeline(_field, PER_POINT), ON_POINTS),
    "distances, sorted": Case(
        _pipeline(lambda: _field(k=[1, 3], values="sorted", blocks=16), PER_POINT), MOVED_POINTS
    ),
    "measure without persistence": Case(
        _pipeline(lambda: _field(k=[2, 6], kind="measure"), PER_POINT), MOVED_POINTS
    ),
    "neighbours": Case(
        _pipeline(lambda: (SortedNeighbourDistances([1, 3]),), PER_POINT), MOVED_POINTS
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
