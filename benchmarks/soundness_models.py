"""The models that ``benchmarks/soundness.py`` attacks, and the inputs that they are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.pipeline import Pipeline, make_pipeline

from stablerank import (
    AlphaPersistence,
    DistanceContour,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
)
from stablerank.certify import HashedVotes
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
from stablerank.stability import HAUSDORFF, PER_POINT, SUP, Space
from stablerank.stages import LipschitzUnion, chain_of_stages

_SEED = 0  # of networks; the data have others
ON_POINTS = [{"threat": name} for name in ("per_point", "hausdorff", "per_coordinate", "frobenius")]
ON_DIAGRAMS: list[dict[str, Any]] = [
    {"threat": "bottleneck"},
    {"threat": "wasserstein", "p": 1.0, "q": 1.0},
    {"threat": "wasserstein", "p": 2.0, "q": 2.0},
    {"threat": "wasserstein", "p": 3.0, "q": math.inf},
]
COUNTS = [{"threat": "deletion"}, {"threat": "points"}]
SUPREMUM = [{"threat": "sup"}]

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
    rng = np.random.default_rng(_SEED)
    clouds = [np.repeat(cloud, 5, axis=0) for cloud in X]
    return [cloud + rng.normal(scale=5e-4, size=cloud.shape) for cloud in clouds]


def _in_unit_square(X: list[Cloud]) -> list[Cloud]:
    return [np.mod(0.5 + 0.35 * cloud, 1.0) for cloud in X]


def _estimator(**settings: Any) -> Callable[[Any, Any], Any]:
    chosen = {"max_epochs": 15, "network__hidden": (16, 16), "random_state": _SEED, **settings}
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
        network = LipschitzClassifier(constants=constants, random_state=_SEED, **chosen)
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
    """The stages of ``benchmarks/comparison/orbits.py``, smaller."""
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
    "measure without persistence, changed points": Case(
        _pipeline(lambda: _field(k=40, kind="measure", values="sorted", blocks=8), PER_POINT),
        COUNTS,
        n_points=120,
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
