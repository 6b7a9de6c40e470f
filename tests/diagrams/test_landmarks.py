"""Fixed landmarks: by hand, their law, why others are refused, files, gradients, certificates."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import gudhi.hera
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from stablerank.attack import attack
from stablerank.attack.gradients import bars_with_gradients
from stablerank.certify import certify
from stablerank.diagrams import (
    AlphaPersistence,
    AnisotropicPersistence,
    CachedPersistence,
    CubicalPersistence,
    DistanceToMeasurePersistence,
    LandmarkPersistence,
    RipsPersistence,
    squeeze,
)
from stablerank.diagrams.digests import filtration_digest
from stablerank.nn import LipschitzClassifier
from stablerank.ranks import StableRank
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    StabilityError,
)
from stablerank.stage_files import plain_stage, read_stage

Array = NDArray[np.float64]
INDICES = (11, 0, 3, 4, 7, 8, 15, 2, 19, 12)

FILTRATIONS = {
    "alpha": AlphaPersistence(),
    "rips": RipsPersistence(),
    "distance to measure": DistanceToMeasurePersistence(3, resolution=8, box=((-2, -2), (2, 2))),
    "images": AnisotropicPersistence(AlphaPersistence(), squeeze(30, 0.4)),
    "landmarks": LandmarkPersistence(AlphaPersistence(), tuple(range(2, 9))),
}


@pytest.fixture(params=list(FILTRATIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Closed form.


def test_two_of_three_points() -> None:
    # points 0 and 2 are 4 apart, whatever lies between them
    cloud = [[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]
    for indices in ((0, 2), [2, 0]):
        alpha = LandmarkPersistence(AlphaPersistence((0,)), indices).fit_transform([cloud])
        assert alpha.diagram(0, 0).tolist() == [[0, 2]]
    rips = LandmarkPersistence(RipsPersistence((0,)), (0, 2)).fit_transform([cloud])
    assert rips.diagram(0, 0).tolist() == [[0, 4]]


def test_diagrams_are_those_of_the_chosen_points(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform(-1, 1, (n, 2)) for n in (20, 35)]
    chosen = LandmarkPersistence(FILTRATIONS[kind], INDICES)
    inner = clone(FILTRATIONS[kind])
    rows = list(INDICES)
    expected = inner.fit_transform([cloud[rows] for cloud in clouds])
    assert chosen.fit_transform(clouds) == expected
    others = [np.where(np.isin(np.arange(len(c)), rows)[:, None], c, 9 + c) for c in clouds]
    assert chosen.transform(others) == expected  # the other points do not matter


# The law.


def law_holds(chosen: Any, cloud: Array, moved: Array, source: Any, factor: float = 1) -> bool:
    """Whether diagrams move no further than `factor` times the constants, and stay in the ball."""
    lengths = np.linalg.norm(moved - cloud, axis=1)
    size = float(np.linalg.norm(lengths) if source == FROBENIUS else lengths.max()) * (1 + 1e-12)
    before, after = chosen.transform([cloud, moved])
    ball = chosen.bounds([cloud], size, source=source)
    for name, bound in chosen.stability(source).branches.items():
        k = int(name[1:])
        distance = gudhi.hera.bottleneck_distance(before[k], after[k], 0.0)
        in_ball = bound.target.metric != "bottleneck" or distance <= factor * ball.reach[k][0]
        if distance > factor * bound.constant * size + 1e-12 or not in_ball:
            return False
    return True


@pytest.mark.parametrize("source", [PER_POINT, FROBENIUS], ids=str)
def test_diagrams_move_no_further_than_the_constant(kind: str, source: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(8):
        cloud = rng.uniform(-1, 1, (20, 2))
        chosen = LandmarkPersistence(FILTRATIONS[kind], INDICES).fit([cloud])
        step = rng.normal(size=cloud.shape) * rng.choice([0.001, 0.05, 0.5])
        assert law_holds(chosen, cloud, cloud + step, source)


def test_the_constants_are_those_of_the_filtration(kind: str) -> None:
    chosen = LandmarkPersistence(FILTRATIONS[kind], INDICES)
    own = HAUSDORFF if kind in ("alpha", "rips", "images") else PER_POINT
    for source, inner in ((PER_POINT, own), (FROBENIUS, FROBENIUS)):
        for name, bound in FILTRATIONS[kind].stability(inner).branches.items():
            found = chosen.stability(source).branches[name]
            assert (found.constant, found.target) == (bound.constant, bound.target)
            assert found.source == source
    assert chosen.stability() == chosen.stability(PER_POINT)


def test_the_constant_is_attained_and_fails_when_halved() -> None:
    # two landmarks move apart by ε each: alpha's death grows by ε
    pair = np.array([[-1.0, 0.0], [5.0, 5.0], [1.0, 0.0]])
    chosen = LandmarkPersistence(AlphaPersistence((0,)), (0, 2)).fit([pair])
    moved = pair * [1.25, 1]
    moved[1] = pair[1]
    assert law_holds(chosen, pair, moved, PER_POINT)
    assert not law_holds(chosen, pair, moved, PER_POINT, factor=0.5)


class FarthestLandmarks(LandmarkPersistence):
    """What is refused: from point 0 on, each landmark is the farthest from those before."""

    def _map(self, clouds: Any) -> list[Array]:
        chosen = []
        for cloud in clouds:
            rows = [0]
            while len(rows) < len(self.indices):
                distances = np.linalg.norm(cloud[:, None] - cloud[rows], axis=-1)
                rows.append(int(distances.min(axis=1).argmax()))
            chosen.append(cloud[rows])
        return chosen


def test_farthest_landmarks_break_the_law_that_fixed_ones_keep() -> None:
    # which point is farthest turns on the last bit where two are, and the distances with it
    rng, broken = np.random.default_rng(0), 0
    for _ in range(100):
        cloud = rng.uniform(-1, 1, (20, 2))
        moved = cloud + 0.01 * rng.normal(size=cloud.shape)
        fixed = LandmarkPersistence(RipsPersistence((0,)), (0, 1, 2, 3)).fit([cloud])
        sampled = FarthestLandmarks(RipsPersistence((0,)), (0, 1, 2, 3)).fit([cloud])
        assert law_holds(fixed, cloud, moved, PER_POINT)
        broken += not law_holds(sampled, cloud, moved, PER_POINT)
    assert broken


def test_why_other_orders_are_refused() -> None:
    # the same points, at Hausdorff distance 0, with other landmarks
    cloud = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    chosen = LandmarkPersistence(RipsPersistence((0,)), (0, 1)).fit([cloud])
    diagrams = chosen.transform([cloud, cloud[[0, 2, 1]], cloud[1:]])
    assert [diagrams.diagram(i, 0)[0, 1] for i in range(3)] == [1, 4, 3]


# Refusals.


@pytest.mark.parametrize("kind_of_refusal", ["stability", "bounds", "ball"])
def test_hausdorff_is_refused(kind_of_refusal: str) -> None:
    cloud = np.eye(2)
    chosen = LandmarkPersistence(AlphaPersistence(), (0, 1)).fit([cloud])
    calls: dict[str, Any] = {
        "stability": lambda: chosen.stability(HAUSDORFF),
        "bounds": lambda: chosen.bounds([cloud], 0.1, source=HAUSDORFF),
        "ball": lambda: chosen.ball(chosen.transform([cloud]), np.ones(1), 0.1, source=HAUSDORFF),
    }
    with pytest.raises(StabilityError, match=re.escape("in another order are at distance 0")):
        calls[kind_of_refusal]()


def test_other_metrics_and_uncertified_filtrations_are_refused() -> None:
    with pytest.raises(StabilityError, match="knows constants from"):
        LandmarkPersistence(AlphaPersistence(), INDICES).stability(PER_COORDINATE)
    with pytest.raises(StabilityError, match="not certified"):
        LandmarkPersistence(AlphaPersistence(precision="safe"), INDICES).stability(PER_POINT)


@pytest.mark.parametrize("threat", ["points", "deletion"])
def test_changed_points_are_refused(threat: Any) -> None:
    cloud = np.random.default_rng(0).normal(size=(20, 2))
    chosen = LandmarkPersistence(AlphaPersistence(), INDICES).fit([cloud])
    with pytest.raises(StabilityError, match=re.escape(f'no bound for threat="{threat}"')):
        chosen.bounds_points([cloud], 1, threat=threat)


@pytest.mark.parametrize("rule", ["farthest", "random", "maxmin"])
def test_landmarks_that_are_sampled_are_refused(rule: Any) -> None:
    expected = (
        f"indices={rule!r}: landmarks that are sampled in each cloud anew, by farthest points"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        LandmarkPersistence(AlphaPersistence(), rule).fit([np.eye(2)])


@pytest.mark.parametrize(
    "indices", [(), (0, 0), (-1, 2), (0.0, 1.0), (True, 2), np.arange(3), 3, None, (np.int64(1),)]
)
def test_bad_indices_are_named(indices: Any) -> None:
    expected = f"indices={indices!r}: expected a tuple of different integers >= 0"
    with pytest.raises(ValueError, match=re.escape(expected)):
        LandmarkPersistence(AlphaPersistence(), indices).fit([np.eye(2)])


@pytest.mark.parametrize(
    "filtration", [CubicalPersistence(), RipsPersistence(metric="precomputed"), "alpha", None]
)
def test_filtrations_without_points_are_refused(filtration: Any) -> None:
    with pytest.raises(TypeError, match=r"filtration=.*expected a filtration"):
        LandmarkPersistence(filtration, (0,)).fit([np.eye(2)])


def test_bad_clouds_are_named_and_nothing_is_left_behind() -> None:
    chosen = LandmarkPersistence(AlphaPersistence(), (0, 2))
    with pytest.raises(ValueError, match=re.escape("X[1] has 2 points, but the last landmark is")):
        chosen.fit([np.zeros((3, 2)), np.eye(2)])
    with pytest.raises(NotFittedError):
        chosen.transform([np.zeros((3, 2))])
    with pytest.raises(ValueError, match=re.escape("X[0] has 1 of 3 points with NaN")):
        chosen.fit([[[0.0, 0.0], [math.nan, 0.0], [1.0, 1.0]]])  # not a landmark, and still
    with pytest.raises(ValueError, match="fitted is 2"):
        chosen.fit([np.zeros((3, 2))]).transform([np.zeros((3, 3))])


# The contract.


def test_clone_pickle_and_nested_parameters(seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 2))
    chosen = LandmarkPersistence(AlphaPersistence(), INDICES).fit([cloud])
    assert pickle.loads(pickle.dumps(chosen)).transform([cloud]) == chosen.transform([cloud])
    fresh = clone(chosen).set_params(filtration__homology_dimensions=(0,))
    assert not hasattr(fresh, "mapped_filtration_")
    assert fresh.fit_transform([cloud]).homology_dimensions == (0,)
    frozen = cloud.astype(np.float32)
    frozen.flags.writeable = False
    assert chosen.transform([frozen]) == chosen.transform([frozen.astype(np.float64)])
    one = LandmarkPersistence(AlphaPersistence(), (1,)).fit_transform([[[0.0, 0.0], [1.0, 2.0]]])
    assert one.n_bars(0).tolist() == [0]


def test_digests_and_caches_tell_indices_apart(tmp_path: Any, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 2))
    models = [
        LandmarkPersistence(AlphaPersistence(), indices).fit([cloud])
        for indices in (INDICES, tuple(range(10)))
    ]
    assert len({filtration_digest(model) for model in models}) == 2
    for model in models:
        cached = CachedPersistence(model, tmp_path).fit([cloud])
        assert cached.transform([cloud]) == model.transform([cloud]) == cached.transform([cloud])
        with pytest.raises(StabilityError, match="in another order are at distance 0"):
            cached.bounds_points([cloud], 1, threat="deletion")


def test_files_keep_it(kind: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).uniform(-1, 1, (20, 2))
    chosen = LandmarkPersistence(FILTRATIONS[kind], INDICES).fit([cloud])
    plain = plain_stage(chosen)
    again = read_stage(plain)
    assert again.transform([cloud]) == chosen.transform([cloud])
    assert again.indices == INDICES
    assert filtration_digest(again) == filtration_digest(chosen)
    plain["fitted"]["dimension_"] = 3
    with pytest.raises(ValueError, match="its filtration does not fit its clouds"):
        read_stage(plain)


# Gradients and certificates.


def test_gradients_are_those_of_the_landmarks(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform(-1, 1, (n, 2)) for n in (20, 23)]
    chosen = LandmarkPersistence(FILTRATIONS[kind], INDICES).fit(clouds)
    points = torch.from_numpy(np.concatenate(clouds)).requires_grad_()
    bars = bars_with_gradients(chosen, points, np.array([0, 20, 43]))
    padded = chosen.transform(clouds)
    for k, (births, deaths) in bars.items():
        assert np.array_equal(births.detach().numpy(), padded.padded(k)[..., 0])
        assert np.array_equal(deaths.detach().numpy(), padded.padded(k)[..., 1])
    bars[0][1].sum().backward()
    assert points.grad is not None
    gradient = points.grad.numpy()
    step, direction = 1e-6, rng.normal(size=gradient.shape)
    sums = [
        chosen.transform(np.split(points.detach().numpy() + sign * step * direction, [20]))
        .bars[0][:, 1]
        .sum()
        for sign in (1, -1)
    ]
    slope = float((gradient * direction).sum())
    assert (sums[0] - sums[1]) / (2 * step) == pytest.approx(slope, abs=1e-6)
    others = np.setdiff1d(np.arange(43), [*INDICES, *(20 + i for i in INDICES)])
    assert not gradient[others].any()


def test_certified_radii_hold_against_gradients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform(size=(30, 2)) * (0.6 + 0.6 * (i % 2)) for i in range(30)]
    y = np.arange(30) % 2
    pipeline = make_pipeline(
        LandmarkPersistence(AlphaPersistence(), tuple(range(0, 30, 2))),
        StableRank(n_ranks={0: 12, 1: 4}),
        LipschitzClassifier(epsilon=0.01, max_epochs=60, random_state=seed),
    ).fit(clouds, y)
    assert pipeline.score(clouds, y) > 0.8
    for threat in ("per_point", "frobenius", "per_coordinate"):
        certificates = certify(pipeline, clouds, threat=threat)
        assert (certificates.radius > 0).mean() > 0.9
        radius = float(np.median(certificates.radius))
        result = attack(pipeline, clouds, y, threat=threat, radius=radius, random_state=seed)
        certified = (certificates.radius >= radius) & (certificates.prediction == y)
        assert not (result.success & certified).any()
        beyond = attack(pipeline, clouds, y, threat=threat, radius=100 * radius, random_state=seed)
        assert beyond.success.any()
    for threat in ("hausdorff", "deletion", "points"):
        with pytest.raises(StabilityError, match="LandmarkPersistence"):
            certify(pipeline, clouds, threat=threat)
