"""No certificate breaks: attacks within certified radii, planted flips, and certificates spoilt.

The attacks are gradient-free and judged by the pipeline itself. That they could find what is there
is shown on networks set by hand, whose nearest change of class is known, and on certificates that
are too large on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.pipeline import Pipeline, make_pipeline

from stablerank import (
    AlphaPersistence,
    DiagramBatch,
    DistanceContour,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.attack import CoordinateSearch, RandomSearch, Search, attack, minimal_radius
from stablerank.diagrams import (
    AnisotropicPersistence,
    DistanceToMeasurePersistence,
    squeeze,
)
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.ranks import (
    ExponentialContour,
    Landscapes,
    ShiftContour,
    StepDistanceContour,
    StepShiftContour,
)
from stablerank.stability import BOTTLENECK, HAUSDORFF, ORDERED_DEATHS, Bound, Parallel, Space
from stablerank.stages import LipschitzUnion

Cloud = NDArray[np.float64]
MakeThreshold = Callable[..., LipschitzClassifier]
MakeClouds = Callable[..., tuple[list[Cloud], NDArray[np.int64]]]

# Trained models: nothing that the attacks find within 0.999 of the radii changes a prediction.

N_CLOUDS, N_QUERIES = 40, 16
BOX: Any = ([-1.5, -1.5], [1.5, 1.5])
MEASURE = DistanceToMeasurePersistence(4, resolution=10, box=BOX)
CONTOURS = {
    "exponential": ExponentialContour(start=0.2, rate=2.0),
    "shift": ShiftContour([0.3], [0.3], [0.4], floor=0.4),
    "step distance": StepDistanceContour([0.15, 0.5], steps=[0.5, 1.5, 0.7]),
    "step shift": StepShiftContour([0.15, 0.5], steps=[2.0, 0.8, 1.2]),
}
MODELS: dict[str, dict[str, Any]] = {
    "alpha, p=inf": {},
    "alpha, p=2, distance contour": {
        "p": 2.0,
        "contour": DistanceContour([0.3], [0.3], [0.3], floor=0.2),
        "n_ranks": 8,
    },
    "alpha in space": {"homology_dimensions": (0, 1, 2)},
    "Rips, p=1": {"persistence": "rips", "p": 1.0, "n_ranks": 10, "ranks__max_bars": 10},
    "Rips, dissimilarities": {"persistence": RipsPersistence(metric="precomputed")},
    "alpha, landscapes": {"ranks": Landscapes(8, 4)},
    "alpha beside the distance to measure": {
        "persistence": LipschitzUnion(
            [
                ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=12))),
                ("measure", make_pipeline(MEASURE, Landscapes(8, 4))),
            ]
        )
    },
    "alpha beside linear images": {
        "persistence": LipschitzUnion(
            [
                ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=12))),
                (
                    "squeezed",
                    make_pipeline(
                        AnisotropicPersistence(AlphaPersistence(), 1.5 * squeeze(30, 0.4)),
                        StableRank(n_ranks=8),
                    ),
                ),
                (
                    "measure",
                    make_pipeline(
                        AnisotropicPersistence(MEASURE, squeeze(100, 0.5)), Landscapes(6, 3)
                    ),
                ),
            ]
        )
    },
    "Rips of linear images": {
        "persistence": AnisotropicPersistence(RipsPersistence(), 1.5 * squeeze(30, 0.4))
    },
    **{
        f"alpha, {name} contour": {"contour": contour, "n_ranks": 8}
        for name, contour in CONTOURS.items()
    },
    "distances": {"persistence": DistanceField(resolution=8, box=BOX)},
    "distances, sorted": {
        "persistence": DistanceField([1, 3], resolution=8, box=BOX, values="sorted", blocks=16)
    },
    "measure without persistence": {
        "persistence": DistanceField([2, 6], kind="measure", resolution=8, box=BOX)
    },
    "neighbours": {"persistence": SortedNeighbourDistances([1, 3])},
    "alpha, l-inf distances": {"network__layer": "linf-distance"},
    "alpha, free": {
        "network__layer": "free",
        "network__activation": "relu",
        "certified_training": "box",
        "epsilon": 0.02,
    },
}
ON_POINTS: list[dict[str, Any]] = [
    {"threat": "per_point"},
    {"threat": "hausdorff"},
    {"threat": "per_coordinate"},
    {"threat": "frobenius"},
]
ON_DIAGRAMS: list[dict[str, Any]] = [
    {"threat": "bottleneck"},
    {"threat": "wasserstein", "p": 1.0, "q": 1.0},
    {"threat": "wasserstein", "p": 2.0, "q": 2.0},
    {"threat": "wasserstein", "p": 3.0, "q": math.inf},
]
CASES = [
    *(("alpha, p=inf", threat) for threat in ON_POINTS + ON_DIAGRAMS),
    *(("alpha, p=2, distance contour", threat) for threat in ON_POINTS + ON_DIAGRAMS),
    *(("alpha in space", threat) for threat in ON_POINTS[:2]),
    *(("Rips, p=1", threat) for threat in ON_POINTS[:2] + ON_DIAGRAMS[:3]),
    ("Rips, dissimilarities", {"threat": "sup"}),
    *(("alpha, landscapes", threat) for threat in [ON_POINTS[1], *ON_DIAGRAMS[:2]]),
    *(("alpha beside the distance to measure", threat) for threat in ON_POINTS[::3]),
    *(("alpha beside linear images", threat) for threat in ON_POINTS[::3]),
    *(("Rips of linear images", threat) for threat in (ON_POINTS[1], ON_DIAGRAMS[0])),
    *(
        (f"alpha, {name} contour", threat)
        for name in CONTOURS
        for threat in (ON_POINTS[0], ON_DIAGRAMS[0])
    ),
    *(("distances", threat) for threat in ON_POINTS[1:3]),
    ("distances, sorted", ON_POINTS[0]),
    *(("measure without persistence", threat) for threat in ON_POINTS[::3]),
    *(("neighbours", threat) for threat in ON_POINTS[::3]),
    ("alpha, l-inf distances", ON_POINTS[1]),
    *(("alpha, free", threat) for threat in [*ON_POINTS[1:2], ON_DIAGRAMS[0]]),
]


@dataclass
class Trained:
    """A model, the inputs of its first step, and the diagrams that come out, unless of several."""

    model: StableRankClassifier
    X: list[Cloud]
    diagrams: DiagramBatch | None


@pytest.fixture(scope="module")
def trained(some_clouds: MakeClouds) -> Callable[[str], Trained]:
    """A function from a name in MODELS; every model is fitted once."""
    found: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in found:
            space, rips = name == "alpha in space", name.startswith("Rips")
            n_points = 12 if space else 20 if rips else 40
            X, y = some_clouds(N_CLOUDS, d=3 if space else 2, n_points=n_points)
            if name == "Rips, dissimilarities":
                X = [cdist(cloud, cloud) for cloud in X]
                X = [np.maximum(matrix, matrix.T) for matrix in X]
            settings = {"max_epochs": 12, "network__hidden": (16, 16), **MODELS[name]}
            model = StableRankClassifier(random_state=0, **settings).fit(X, y)
            first = model.pipeline_[0].transform(X)
            diagrams = first if isinstance(first, DiagramBatch) else None
            found[name] = Trained(model, X, diagrams)
        return found[name]

    return get


@pytest.mark.parametrize(("name", "threat"), CASES, ids=str)
def test_no_certificate_breaks(
    name: str, threat: dict[str, Any], trained: Callable[[str], Trained], seed: int
) -> None:
    known = trained(name)
    X = known.diagrams if threat in ON_DIAGRAMS else known.X
    claims = known.model.certify(X, **threat)
    assert (claims.radius > 0).mean() > 0.7
    result = attack(
        known.model,
        X,
        claims.prediction,
        radius=0.999 * claims.radius,
        n_queries=N_QUERIES,
        random_state=seed,
        **threat,
    )
    assert result.accuracy == 1.0
    assert (result.n_queries == np.where(claims.radius > 0, N_QUERIES, 0)).all()
    assert np.median(result.displacement / np.maximum(claims.radius, 1e-300)) > 0.99


METHOD_CASES = [
    ("alpha, p=inf", {"threat": "per_point"}),
    ("alpha, p=2, distance contour", {"threat": "hausdorff"}),
    ("alpha, landscapes", {"threat": "frobenius"}),
    ("alpha, l-inf distances", {"threat": "bottleneck"}),
    ("alpha, free", {"threat": "per_point"}),
]


@pytest.mark.parametrize("method", ["global", "interval", "linear"])
@pytest.mark.parametrize(("name", "threat"), METHOD_CASES, ids=str)
def test_none_of_one_method_breaks_right_below_its_radius(
    name: str, threat: dict[str, Any], method: str, trained: Callable[[str], Trained], seed: int
) -> None:
    known = trained(name)
    X = known.diagrams if threat in ON_DIAGRAMS else known.X
    claims = known.model.certify(X, method=method, **threat)
    assert (claims.radius > 0).mean() > 0.7
    result = attack(
        known.model,
        X,
        claims.prediction,
        radius=np.nextafter(claims.radius, 0.0),
        n_queries=N_QUERIES,
        random_state=seed,
        **threat,
    )
    assert result.accuracy == 1.0


@pytest.mark.parametrize("persistence", ["alpha", "rips"])
def test_a_count_of_deleted_points_is_attained_and_does_not_break(
    persistence: Any, some_clouds: MakeClouds, seed: int
) -> None:
    # Five points near each: without any four of them the cloud is about where it was.
    clouds, y = some_clouds(N_CLOUDS, n_points=12)
    rng = np.random.default_rng(seed)
    X = [np.repeat(cloud, 5, axis=0) for cloud in clouds]
    X = [cloud + rng.normal(scale=5e-4, size=cloud.shape) for cloud in X]
    model = StableRankClassifier(
        persistence=persistence, random_state=0, max_epochs=12, network__hidden=(16, 16)
    ).fit(X, y)
    claims = model.certify(X, threat="deletion")
    assert claims.closed
    assert (claims.radius > 0).mean() > 0.7
    result = attack(
        model,
        X,
        claims.prediction,
        threat="deletion",
        radius=claims.radius,
        n_queries=N_QUERIES,
        random_state=seed,
    )
    assert result.accuracy == 1.0
    assert (result.displacement == claims.radius).mean() > 0.7


def test_that_is_more_than_five_thousand_displacements() -> None:
    # 0.7 of the clouds, at least, have a radius and so N_QUERIES displacements.
    assert 0.7 * len(CASES) * N_CLOUDS * N_QUERIES > 5000


@pytest.mark.parametrize("method", [RandomSearch, CoordinateSearch])
def test_neither_method_breaks_one_alone(
    method: Any, trained: Callable[[str], Trained], seed: int
) -> None:
    known = trained("alpha, p=inf")
    claims = known.model.certify(known.X)
    result = method(n_queries=20)(
        known.model, known.X, claims.prediction, radius=0.999 * claims.radius, random_state=seed
    )
    assert result.accuracy == 1.0


@pytest.mark.parametrize("threat", [*ON_POINTS[:3], ON_DIAGRAMS[0]], ids=str)
def test_beyond_the_radii_attacks_succeed(
    threat: dict[str, Any], trained: Callable[[str], Trained], seed: int
) -> None:
    # Not a law, but without it the tests above would say little.
    known = trained("alpha, p=inf")
    X = known.diagrams if threat in ON_DIAGRAMS else known.X
    claims = known.model.certify(X, **threat)
    settings: dict[str, Any] = {"random_state": seed, "n_queries": 30, **threat}
    result = attack(known.model, X, claims.prediction, radius=12 * claims.radius, **settings)
    assert result.accuracy < 0.7


# Planted flips: the nearest change of class is known, and no certificate reaches beyond it.


def bars(*lengths: float) -> DiagramBatch:
    """One diagram in H0."""
    return DiagramBatch.from_diagrams([{0: [[0.0, length] for length in lengths]}])


def pair(death: float, angle: float = 0.3) -> Cloud:
    """Two points that die at this alpha radius."""
    half = death * np.array([math.cos(angle), math.sin(angle)])
    return np.array([1.0 + half, 1.0 - half])


def keyhole() -> Cloud:
    """A circle of radius 1 that is open to the right, where two lips are 0.6 apart.

    H1 is born when the lips meet at 0.3, and dies at 1. Moved by ε, all points of the circle
    outwards and the lips towards each other, it lives from 0.3 − ε to 1 + ε.
    """
    angles = np.linspace(0.36, 2 * np.pi - 0.36, 16)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.concatenate([circle, [[1.2, 0.33], [1.2, -0.33], [1.5, 0.3], [1.5, -0.3]]])


def open_keyhole(epsilon: float) -> Cloud:
    """The keyhole, moved as above."""
    moved = keyhole()
    moved[:16] *= 1 + epsilon
    moved[18, 1], moved[19, 1] = 0.3 - epsilon, -0.3 + epsilon
    return moved


@dataclass
class Planted:
    """Is feature `feature` of the ranks above a threshold?

    Attributes
    ----------
    steps : tuple
        Those before the network.
    X : list
        One input.
    at : float
        The threshold.
    distance : float
        To the nearest input on the other side, or to one such input that is known.
    threat : dict
        In which metric.
    flipped : callable
        From ε to the input that is moved by ε towards the threshold.
    """

    steps: tuple[Any, ...]
    X: Any
    at: float
    distance: float
    threat: dict[str, Any]
    flipped: Callable[[float], Any]
    feature: int = 0

    def pipeline(self, threshold: MakeThreshold) -> Pipeline:
        n_features = self.steps[-1].n_features_out_
        return make_pipeline(*self.steps, threshold(n_features, self.feature, self.at))


def fitted_ranks(p: float, dimension: int = 0, **settings: Any) -> StableRank:
    return StableRank(p=p, n_ranks=1, **settings).fit([{dimension: [[0, 1]] * 4}])


def alpha(dimension: int) -> AlphaPersistence:
    return AlphaPersistence((dimension,)).fit([np.zeros((2, 2))])


def rips(metric: Any = "euclidean") -> RipsPersistence:
    return RipsPersistence((0,), metric).fit([np.zeros((2, 2))])


def matrix(entry: float) -> list[Cloud]:
    return [np.array([[0.0, entry], [entry, 0.0]])]


PLANTED = {
    # D3: the two points part, each by ε, and die at 0.8 + ε.
    **{
        f"two points, {threat}": Planted(
            (alpha(0), fitted_ranks(math.inf)),
            [pair(0.8)],
            1.0,
            0.2,
            {"threat": threat},
            lambda epsilon: [pair(0.8 + epsilon)],
        )
        for threat in ("per_point", "hausdorff")
    },
    # D6: along the diagonal of the plane each moves by √2 ε.
    "two points, per coordinate": Planted(
        (alpha(0), fitted_ranks(math.inf)),
        [pair(0.8, math.pi / 4)],
        1.0,
        0.2 / math.sqrt(2),
        {"threat": "per_coordinate"},
        lambda epsilon: [pair(0.8 + math.sqrt(2) * epsilon, math.pi / 4)],
    ),
    # D2 and D3: the edge of length 1.6 gets longer by 2 ε; as an entry by ε.
    "two points, Rips": Planted(
        (rips(), fitted_ranks(math.inf)),
        [pair(0.8)],
        2.0,
        0.2,
        {"threat": "per_point"},
        lambda epsilon: [pair(0.8 + epsilon)],
    ),
    "two points, dissimilarities": Planted(
        (rips("precomputed"), fitted_ranks(math.inf)),
        matrix(1.6),
        2.0,
        0.4,
        {"threat": "sup"},
        lambda epsilon: matrix(1.6 + epsilon),
    ),
    # D1 and R3: both ends of the bar of length 0.7 move by ε.
    "a keyhole, H1": Planted(
        (alpha(1), fitted_ranks(math.inf, 1)),
        [keyhole()],
        0.8,
        0.05,
        {"threat": "per_point"},
        lambda epsilon: [open_keyhole(epsilon)],
    ),
    # R3: four equal bars, longer by 2 ε each: their 2-norm by 4^(1/2) 2 ε.
    "four bars, bottleneck": Planted(
        (fitted_ranks(2.0),),
        bars(1, 1, 1, 1),
        2.4,
        0.1,
        {"threat": "bottleneck"},
        lambda epsilon: DiagramBatch.from_diagrams([{0: [[-epsilon, 1 + epsilon]] * 4}]),
    ),
    # R2: one bar, longer by 2^(1 − 1/q) ε when both ends move by ε/2^(1/q).
    **{
        f"one bar, W_{r:g} with l{q:g}, p={p:g}": Planted(
            (fitted_ranks(p),),
            bars(1),
            1.3,
            0.3 / 2 ** (1 - 1 / q),
            {"threat": "wasserstein", "p": r, "q": q},
            lambda epsilon, q=q: DiagramBatch.from_diagrams(
                [{0: [[-epsilon / 2 ** (1 / q), 1 + epsilon / 2 ** (1 / q)]]}]
            ),
        )
        for p, r, q in [
            (1.0, 1.0, 1.0),
            (2.0, 2.0, 2.0),
            (2.0, 1.0, math.inf),
            (math.inf, 2.0, 1.5),
        ]
    },
    # R2 with p < r: four equal bars and a shift of ε/4^(1/2) each, worth 4 √2 ε/2 in l1.
    "four bars, W_2, p=1": Planted(
        (fitted_ranks(1.0),),
        bars(1, 1, 1, 1),
        4.4,
        0.4 / (2 * math.sqrt(2)),
        {"threat": "wasserstein", "p": 2.0, "q": 2.0},
        lambda epsilon: DiagramBatch.from_diagrams(
            [{0: [[-epsilon / math.sqrt(8), 1 + epsilon / math.sqrt(8)]] * 4}]
        ),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_no_certificate_reaches_beyond_a_planted_flip(name: str, threshold: MakeThreshold) -> None:
    planted = PLANTED[name]
    pipeline = planted.pipeline(threshold)
    radius = certify(pipeline, planted.X, **planted.threat).radius[0]
    # the theorem is tight there, and so is the certificate, up to its margins for rounding
    assert (1 - 1e-9) * planted.distance < radius < planted.distance
    assert pipeline.predict(planted.X).tolist() == [0]
    # the flip is where it is said to be
    assert pipeline.predict(planted.flipped(planted.distance * (1 - 1e-9))).tolist() == [0]
    assert pipeline.predict(planted.flipped(planted.distance * (1 + 1e-9))).tolist() == [1]


@pytest.mark.parametrize("name", PLANTED)
def test_attacks_find_planted_flips(name: str, threshold: MakeThreshold, seed: int) -> None:
    planted = PLANTED[name]
    found = minimal_radius(
        planted.pipeline(threshold),
        planted.X,
        [0],
        largest=2 * planted.distance,
        random_state=seed,
        n_rounds=4,
        **planted.threat,
    )
    ratio = found.breaking_displacement[0] / planted.distance
    assert 1 - 1e-12 <= ratio < 1.4


def test_the_other_side_is_certified_as_well(threshold: MakeThreshold) -> None:
    # From 1.2 down to 1.
    pipeline = PLANTED["two points, per_point"].pipeline(threshold)
    claims = certify(pipeline, [pair(1.2)])
    assert claims.prediction.tolist() == [1]
    assert 0.2 * (1 - 1e-9) < claims.radius[0] < 0.2


# The tests of the test: certificates that are too large are broken by the attacks.


def broken_within_the_radius(
    pipeline: Any, planted: Planted, seed: int, factor: float = 1.0
) -> bool:
    claims = certify(pipeline, planted.X, **planted.threat)
    result = attack(
        pipeline,
        planted.X,
        claims.prediction,
        radius=0.999 * factor * claims.radius,
        random_state=seed,
        **planted.threat,
    )
    return bool(result.success[0])


@pytest.mark.parametrize("name", PLANTED)
def test_twice_the_radius_breaks(name: str, threshold: MakeThreshold, seed: int) -> None:
    planted = PLANTED[name]
    pipeline = planted.pipeline(threshold)
    assert not broken_within_the_radius(pipeline, planted, seed)
    assert broken_within_the_radius(pipeline, planted, seed, factor=2.0)


def scaled(bounds: Parallel, factor: float) -> Parallel:
    """The same bounds with other constants."""
    changed: dict[str, Any] = {}
    for name, bound in bounds.branches.items():
        assert isinstance(bound, Bound)
        constants = tuple(factor * value for value in bound.constants or ())
        changed[name] = Bound(
            bound.source,
            bound.target,
            factor * bound.constant,
            bound.theorem,
            bound.stage,
            constants or None,
        )
    return Parallel(changed, bounds.joined)


MUTATIONS: dict[str, tuple[Any, str, float, str]] = {
    "half the constant of H1": (AlphaPersistence, "stability", 0.5, "a keyhole, H1"),
    "H0 of alpha as half lengths": (AlphaPersistence, "stability", 0.5, "two points, per_point"),
    "Rips without its factor 2": (RipsPersistence, "stability", 0.5, "two points, Rips"),
    "dissimilarities as half lengths": (
        RipsPersistence,
        "stability",
        0.5,
        "two points, dissimilarities",
    ),
    "R3 without its factor 2": (StableRank, "stability", 0.5, "a keyhole, H1"),
    "tails as if they were one bar": (StableRank, "stability", 0.5, "four bars, bottleneck"),
    "R2 without 2^(1 - 1/q)": (
        StableRank,
        "stability",
        2**-0.5,
        "one bar, W_2 with l2, p=2",
    ),
    "smaller exponents for nothing": (StableRank, "stability", 0.5, "four bars, W_2, p=1"),
    "ranks three percent too flat": (StableRank, "stability", 0.97, "one bar, W_1 with l1, p=1"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_constants_that_are_too_small_break(
    mutation: str, threshold: MakeThreshold, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    stage, method, factor, name = MUTATIONS[mutation]
    planted = PLANTED[name]
    pipeline = planted.pipeline(threshold)
    assert not broken_within_the_radius(pipeline, planted, seed)
    original = getattr(stage, method)
    monkeypatch.setattr(stage, method, lambda self, source: scaled(original(self, source), factor))
    assert broken_within_the_radius(pipeline, planted, seed)


def test_lengths_of_h0_do_not_follow_from_the_bottleneck_distance_alone(
    threshold: MakeThreshold, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # D3 is about ordered deaths: under a threat against diagrams births move too, and a constant
    # of 1 in place of 2 is wrong.
    original = StableRank.stability

    def careless(self: StableRank, source: Space) -> Parallel:
        claimed = original(self, ORDERED_DEATHS if source == BOTTLENECK else source)
        return Parallel(
            {
                name: Bound.by_coordinate(source, bound.constants or (), "D3, misread")
                for name, bound in claimed.branches.items()
                if isinstance(bound, Bound)
            },
            joined=True,
        )

    planted = PLANTED["four bars, bottleneck"]
    monkeypatch.setattr(StableRank, "stability", careless)
    assert broken_within_the_radius(planted.pipeline(threshold), planted, seed)


class SquaredAlpha(AlphaPersistence):
    """What GUDHI returns by default, under the constant of radii (D8: it has none)."""

    def transform(self, X: Any) -> DiagramBatch:
        diagrams = super().transform(X)
        return DiagramBatch(
            {k: bars**2 for k, bars in diagrams.bars.items()},
            diagrams.offsets,
        )


class DroppedBars(AlphaPersistence):
    """Bars that are shorter than a threshold are dropped (D8: they jump)."""

    def transform(self, X: Any) -> DiagramBatch:
        kept = [
            {k: bars[bars[:, 1] - bars[:, 0] >= 0.5] for k, bars in diagrams.items()}
            for diagrams in super().transform(X)
        ]
        return DiagramBatch.from_diagrams(kept)


@pytest.mark.parametrize(
    ("kind", "death", "at"),
    # 2² = 4, and 2.3² = 5.29 > 5: a claim of 1 for what is 0.24. A bar of length 0.45 counts as
    # none, and as one above 0.2 from 0.5 on: a claim of 0.2 for what is 0.05.
    [(SquaredAlpha, 2.0, 5.0), (DroppedBars, 0.45, 0.2)],
)
def test_filtrations_that_are_not_stable_break(
    kind: type[AlphaPersistence],
    death: float,
    at: float,
    threshold: MakeThreshold,
    seed: int,
) -> None:
    honest = PLANTED["two points, per_point"]
    steps = (kind((0,)).fit([pair(1.0)]), honest.steps[1])
    planted = Planted(steps, [pair(death)], at, math.nan, {"threat": "per_point"}, honest.flipped)
    assert broken_within_the_radius(planted.pipeline(threshold), planted, seed)


def test_short_bars_that_are_born_late_are_measured_by_their_length(
    threshold: MakeThreshold,
) -> None:
    # From 2^45 on the next float is 2^-7 away. The length of that bar is 0.51 of it, K times twice
    # its distance to the diagonal, and was computed as 0.51 d - 0.51 b = 2^-7, twice as much.
    birth = 45729546764946.63
    bar = [birth, np.nextafter(birth, np.inf)]
    contour = DistanceContour([0.0], [1.0], [0.0], floor=0.51)
    ranks = fitted_ranks(math.inf, contour=contour)
    pipeline = make_pipeline(ranks, threshold(1, 0, 0.9 * (bar[1] - bar[0])))
    empty, late = (DiagramBatch.from_diagrams([{0: each}]) for each in (np.empty((0, 2)), [bar]))
    radius = certify(pipeline, empty, threat="bottleneck").radius[0]
    assert radius > (bar[1] - bar[0]) / 2
    assert pipeline.predict(empty).tolist() == pipeline.predict(late).tolist()


def test_the_metric_matters(threshold: MakeThreshold, seed: int) -> None:
    # A radius against moving points in l2 does not hold against moving coordinates.
    planted = PLANTED["two points, per coordinate"]
    pipeline = planted.pipeline(threshold)
    claims = certify(pipeline, planted.X, threat="per_point")
    settings: dict[str, Any] = {"radius": 0.999 * claims.radius, "random_state": seed}
    for threat, breaks in (("per_point", False), ("per_coordinate", True)):
        result = attack(pipeline, planted.X, [0], threat=threat, **settings)
        assert result.success.tolist() == [breaks]


def test_a_search_may_take_longer_but_finds_no_more_within_the_radius(
    threshold: MakeThreshold, seed: int
) -> None:
    planted = PLANTED["a keyhole, H1"]
    pipeline = planted.pipeline(threshold)
    radius = certify(pipeline, planted.X).radius
    for factor, breaks in ((0.999, False), (1.99, True)):
        settings: dict[str, Any] = {"radius": factor * radius, "random_state": seed}
        result = attack(pipeline, planted.X, [0], method=Search(n_queries=600), **settings)
        assert result.success.tolist() == [breaks]


def test_the_bounds_that_are_spoilt_above_are_those_of_the_stages() -> None:
    # ... so the mutations change what certify asks for.
    for filtration in (alpha(0), rips()):
        bounds = filtration.stability(HAUSDORFF)
        assert scaled(bounds, 1.0) == bounds
        assert scaled(bounds, 0.5) != bounds
