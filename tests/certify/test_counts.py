"""Radii that count points: by hand, all deletions of small clouds, attacks, and rules spoilt."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import Tensor

from stablerank import (
    AlphaPersistence,
    Certificates,
    DiagramBatch,
    LipschitzClassifier,
    StabilityError,
    StableRank,
    certify,
)
from stablerank.attack import attack
from stablerank.certify import counts
from stablerank.diagrams import DistanceToMeasurePersistence
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.deletion import deletion_distances
from stablerank.stages import LipschitzUnion

Cloud = NDArray[np.float64]
MakeThreshold = Callable[..., LipschitzClassifier]


def ranks(n_ranks: int = 1) -> StableRank:
    return StableRank(n_ranks=n_ranks).fit([{0: [[0, 1]]}])


def alpha_pipeline(threshold: MakeThreshold, value: float) -> Pipeline:
    """Is the longest bar of H0 above a value?"""
    return make_pipeline(
        AlphaPersistence((0,)).fit([np.zeros((2, 2))]), ranks(), threshold(1, 0, value)
    )


def measure(k: int = 4) -> DistanceToMeasurePersistence:
    """On a line, with vertices at -1, 0 and 1."""
    filtration = DistanceToMeasurePersistence(
        k, resolution=3, box=([-1], [1]), homology_dimensions=(0,)
    )
    return filtration.fit([np.zeros((k, 1))])


def measure_pipeline(threshold: MakeThreshold, value: float, k: int = 4) -> Pipeline:
    return make_pipeline(measure(k), ranks(), threshold(1, 0, value))


def two_heaps(n: int, distance: float) -> Cloud:
    """n points at 0 and n at a distance, in the plane."""
    return np.repeat([[0.0, 0.0], [distance, 0.0]], n, axis=0)


def two_ends(n: int) -> Cloud:
    """n points at -1 and n at 1, on a line."""
    return np.repeat([[-1.0], [1.0]], n, axis=0)


# Closed form.


def test_a_heap_has_to_be_deleted_whole(threshold: MakeThreshold) -> None:
    # Two heaps of 5 at distance 3 merge at 1.5, and nothing changes as long as there are two: h_k
    # is 0 for k <= 4. The fifth deletion may be the last point of a heap, and then no bar is left.
    pipeline = alpha_pipeline(threshold, 1.0)
    cloud = two_heaps(5, 3.0)
    claims = certify(pipeline, [cloud], threat="deletion")
    assert claims.radius.tolist() == [4.0]
    assert pipeline.predict([cloud, cloud[4:], cloud[5:]]).tolist() == [1, 1, 0]


def test_deletions_are_those_within_the_hausdorff_radius(threshold: MakeThreshold) -> None:
    # Points at 0, 1, 3, 6, 10 on a line: h = 4, 7, 9, 10. The longest bar dies at 2. A threshold of
    # 2 + r certifies every cloud within r.
    cloud = np.array([[x, 0.0] for x in (0.0, 1.0, 3.0, 6.0, 10.0)])
    for r, expected in ((3.9, 0), (4.1, 1), (6.9, 1), (7.1, 2), (9.5, 3), (11.0, 4), (99.0, 4)):
        claims = certify(alpha_pipeline(threshold, 2 + r), [cloud], threat="deletion")
        assert claims.radius.tolist() == [expected]
        assert claims.closed
        assert claims.chain is not None
        assert set(claims.route) <= {"global", "linear"}


def test_changed_points_by_hand(threshold: MakeThreshold) -> None:
    # Ten points at either end, k = 4. f is 0 at both ends, whichever six are changed, and 1 between
    # them; r points added there make it s = sqrt(1 - r/4). The ball is around the bar
    # (0, (1 + s)/2), with a reach of (1 - s)/2: a length of at least (3 s - 1)/2, for all that d_B
    # alone says, which is 0.799, 0.561, 0.25 for r = 1, 2, 3. Truly it is 0.866, 0.707, 0.5.
    cloud = two_ends(10)
    for value, expected in ((0.81, 0), (0.79, 1), (0.57, 1), (0.55, 2)):
        pipeline = measure_pipeline(threshold, value)
        claims = certify(pipeline, [cloud], threat="points", method="global")
        assert claims.radius.tolist() == [expected]
        assert claims.closed
        assert claims.route == ["global"]
    planted = np.concatenate([cloud[3:], np.zeros((3, 1))])
    assert measure_pipeline(threshold, 0.51).predict([planted]).tolist() == [0]
    assert measure_pipeline(threshold, 0.49).predict([planted]).tolist() == [1]


def test_deleted_points_by_hand(threshold: MakeThreshold) -> None:
    # Deletion changes nothing before the seventh: then f(-1)² may be 4/4, with a point from the
    # other end. With r more that is min(r, 4).
    cloud = two_ends(10)
    pipeline = measure_pipeline(threshold, 0.4)
    claims = certify(pipeline, [cloud], threat="deletion", method="global")
    assert claims.radius.tolist() == [6.0]
    assert certify(pipeline, [cloud], threat="points", method="global").radius < 6


def test_enough_points_are_left(threshold: MakeThreshold) -> None:
    # A threshold of 9 is never reached: what ends the claim are the k = 4 points that are needed.
    pipeline = measure_pipeline(threshold, 9.0)
    clouds = [two_ends(2), two_ends(5), two_ends(50)]
    claims = certify(pipeline, clouds, threat="deletion", method="global")
    assert claims.radius.tolist() == [0.0, 6.0, 96.0]
    claims = certify(pipeline, clouds, threat="points", method="global")
    assert claims.radius.tolist() == [0.0, 6.0, 96.0]


# The law: all deletions of small clouds, for thresholds in between all that can come out.


def breaks(pipeline: Any, clouds: list[Cloud], claims: Certificates) -> bool:
    """Whether deleting any points, as many as certified or fewer, changes a prediction."""
    for cloud, label, radius in zip(clouds, claims.prediction, claims.radius, strict=True):
        n = len(cloud)
        thinned = [
            np.delete(cloud, deleted, axis=0)
            for k in range(1, int(radius) + 1)
            for deleted in itertools.combinations(range(n), k)
        ]
        if thinned and (pipeline.predict(thinned) != label).any():
            return True
    return False


def small_clouds(seed: int) -> list[Cloud]:
    """Heaps with some noise, so that few deletions move them little, and then much."""
    rng = np.random.default_rng(seed)
    heaps = [two_heaps(int(rng.integers(3, 5)), rng.uniform(1, 4)) for _ in range(6)]
    return [cloud + rng.normal(scale=0.05, size=cloud.shape) for cloud in heaps]


def alpha_at(quantile: float, clouds: list[Cloud], threshold: MakeThreshold) -> Pipeline:
    deaths = AlphaPersistence((0,)).fit_transform(clouds).padded(0, 1)[:, 0, 1]
    return alpha_pipeline(threshold, float(np.quantile(deaths, quantile)))


def measure_at(quantile: float, clouds: list[Cloud], threshold: MakeThreshold) -> Pipeline:
    filtration = DistanceToMeasurePersistence(
        2, resolution=6, box=([-1, -1], [5, 1]), homology_dimensions=(0,)
    ).fit(clouds)
    vectors = ranks().transform(filtration.transform(clouds))
    value = float(np.quantile(vectors, quantile))
    return make_pipeline(filtration, ranks(), threshold(1, 0, value))


@pytest.mark.parametrize("make", [alpha_at, measure_at])
def test_no_deletion_breaks_a_certificate(make: Any, threshold: MakeThreshold, seed: int) -> None:
    clouds, found = small_clouds(seed), 0
    for quantile in (0.0, 0.3, 0.7):
        pipeline = make(quantile, clouds, threshold)
        claims = certify(pipeline, clouds, threat="deletion", method="global")
        found += int((claims.radius > 0).sum())
        assert not breaks(pipeline, clouds, claims)
    assert found >= 3


def test_one_neighbour_too_few_breaks(
    threshold: MakeThreshold, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    clouds = small_clouds(seed)

    def careless(cloud: Cloud, most: int) -> NDArray[np.float64]:  # h_{k-1}
        return np.append(0.0, deletion_distances(cloud, most))[:most]

    monkeypatch.setattr(counts, "deletion_distances", careless)
    pipelines = [alpha_at(quantile, clouds, threshold) for quantile in (0.0, 0.3, 0.7)]
    broken = [
        breaks(pipeline, clouds, certify(pipeline, clouds, threat="deletion", method="global"))
        for pipeline in pipelines
    ]
    assert any(broken)


def test_bounds_of_fewer_changes_break(
    threshold: MakeThreshold, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # One change too few: two_ends(10) at 0.75 is then certified for 2, and 2 added at 0 flip it.
    original = DistanceToMeasurePersistence.bounds_points
    pipeline, cloud = measure_pipeline(threshold, 0.75), two_ends(10)
    honest = certify(pipeline, [cloud], threat="points", method="global")
    monkeypatch.setattr(
        DistanceToMeasurePersistence,
        "bounds_points",
        lambda self, X, n_changes, *, threat="points": original(
            self, X, n_changes - 1, threat=threat
        ),
    )
    spoilt = certify(pipeline, [cloud], threat="points", method="global")
    assert honest.radius.tolist() == [1.0]
    assert spoilt.radius.tolist() == [2.0]
    for claims, flips in ((honest, False), (spoilt, True)):
        planted = np.concatenate([cloud, np.zeros((int(claims.radius[0]), 1))])
        assert (pipeline.predict([planted]) != claims.prediction).tolist() == [flips]


def test_attacks_do_not_break_certificates(threshold: MakeThreshold, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [two_ends(10) + rng.normal(scale=0.03, size=(20, 1)) for _ in range(5)]
    pipeline = measure_pipeline(threshold, 0.55)
    for threat in ("deletion", "points"):
        claims = certify(pipeline, clouds, threat=threat, method="global")
        assert (claims.radius > 0).all()
        settings: dict[str, Any] = {"threat": threat, "random_state": seed, "n_queries": 60}
        within = attack(pipeline, clouds, claims.prediction, radius=claims.radius, **settings)
        assert not within.success.any()
        beyond = attack(pipeline, clouds, claims.prediction, radius=12, **settings)
        assert beyond.success.any()


# Boxes.


class LongestBar(FunctionTransformer):
    """The longest bar of H0, and where it is in a ball of diagrams."""

    def transform(self, X: DiagramBatch) -> NDArray[np.float64]:
        bars = X.padded(0, 1 + int(X.n_bars(0).max(initial=0)))
        return np.ptp(bars, axis=2).max(axis=1, keepdims=True)

    def bounds(self, ball: DiagramBall) -> tuple[Tensor, Tensor]:
        lengths, reach = self.transform(ball.diagrams), 2 * ball.reach[0][:, None]
        longest = np.maximum(lengths + reach, reach) * (1 + 1e-12)
        return (
            torch.from_numpy(np.maximum(lengths - reach, 0.0) * (1 - 1e-12)),
            torch.from_numpy(longest),
        )


def union_of_measures(value: float, threshold: MakeThreshold) -> Pipeline:
    union = LipschitzUnion([(f"k={k}", make_pipeline(measure(k), LongestBar())) for k in (4, 2)])
    return make_pipeline(union, threshold(2, 0, value))


def test_unions_are_certified_by_boxes(threshold: MakeThreshold) -> None:
    # By the box of the branch with k = 4, as above; the other one asks for two points only.
    cloud = two_ends(10)
    for value, expected in ((0.81, 0), (0.79, 1), (0.57, 1), (0.55, 2)):
        claims = certify(union_of_measures(value, threshold), [cloud, two_ends(2)], threat="points")
        assert claims.radius.tolist() == [expected, 0.0]
        assert claims.chain is None
    with pytest.raises(StabilityError, match="joins several filtrations, whose diagrams move diff"):
        certify(union_of_measures(0.5, threshold), [cloud], threat="points", method="global")


def test_unions_of_different_filtrations(threshold: MakeThreshold) -> None:
    grid = DistanceToMeasurePersistence(
        3, resolution=3, box=([-1, -1], [5, 1]), homology_dimensions=(0,)
    )
    clouds = [two_heaps(5, 3.0)]
    union = LipschitzUnion(
        [
            ("alpha", make_pipeline(AlphaPersistence((0,)).fit(clouds), LongestBar())),
            ("measure", make_pipeline(grid.fit(clouds), LongestBar())),
        ]
    )
    # that of alpha has to lose a heap, but from the third deletion on the grid asks a far one
    pipeline = make_pipeline(union, threshold(2, 0, 1.0))
    assert certify(pipeline, clouds, threat="deletion").radius.tolist() == [4.0]
    with pytest.raises(StabilityError, match="AlphaPersistence knows no bound for points that are"):
        certify(pipeline, clouds, threat="points")


def test_the_larger_way_is_taken_and_named(threshold: MakeThreshold) -> None:
    pipeline = make_pipeline(measure(), LongestBar(), threshold(1, 0, 0.55))
    claims = certify(pipeline, [two_ends(10)], threat="points")  # no constant: by boxes alone
    assert claims.radius.tolist() == [2.0]
    assert claims.route == ["linear"]
    both = certify(measure_pipeline(threshold, 0.55), [two_ends(10)], threat="points")
    assert both.radius[0] >= 2


# The contract.


def test_counts_are_closed_and_distances_open(threshold: MakeThreshold) -> None:
    cloud = two_heaps(5, 3.0)
    pipeline = alpha_pipeline(threshold, 1.0)
    claims = certify(pipeline, [cloud, cloud], threat="deletion")
    assert claims.certified_accuracy([1, 0], [0, 1, 4, 5]).tolist() == [0.5, 0.5, 0.5, 0.0]
    assert claims[:1].closed
    assert claims.to_dict()["closed"] is True
    near = certify(pipeline, [cloud], threat="hausdorff")
    assert not near.closed
    assert near.certified_accuracy([1], near.radius[0]) == 0.0


def test_drawn_in_whole_steps(threshold: MakeThreshold) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    clouds = [two_heaps(5, 3.0), two_heaps(1, 3.0)]
    claims = certify(alpha_pipeline(threshold, 1.0), clouds, threat="deletion")
    assert claims.radius.tolist() == [4.0, 0.0]
    ax = claims.plot([1, 1])
    line = max(ax.get_lines(), key=lambda line: len(line.get_xdata()))
    shares = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert [shares[float(k)] for k in range(5)] == [1.0, 0.5, 0.5, 0.5, 0.5]
    plt.close(ax.figure)


def test_ties_and_single_points(threshold: MakeThreshold) -> None:
    pipeline = alpha_pipeline(threshold, 1.5)
    claims = certify(pipeline, [two_heaps(5, 3.0), np.zeros((1, 2))], threat="deletion")
    assert claims.radius.tolist() == [0.0, 0.0]


def test_largest_counts() -> None:
    limits, asked = np.array([0, 1, 6, 7, 30]), []

    def keeps(count: int, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        asked.append(count)
        return count <= limits[rows]

    most = np.array([40, 40, 40, 5, 30])
    assert counts.largest_counts(keeps, most).tolist() == [0, 1, 6, 5, 30]
    assert max(asked) <= 40
    assert counts.largest_counts(keeps, np.zeros(5, dtype=np.intp)).tolist() == [0] * 5


# Errors.


def test_alpha_refuses_added_points(threshold: MakeThreshold) -> None:
    message = (
        "AlphaPersistence knows no bound for points that are added: a single one far away moves "
        "the cloud by any Hausdorff distance. Use DistanceToMeasurePersistence in its place, "
        'HashedVotes around the pipeline, or threat="deletion".'
    )
    for method in ("best", "linear"):
        with pytest.raises(StabilityError, match=re.escape(message)):
            certify(
                make_pipeline(
                    AlphaPersistence((0,)).fit([two_heaps(1, 1.0)]),
                    LongestBar(),
                    threshold(1, 0, 1.0),
                ),
                [two_heaps(5, 3.0)],
                threat="points",
                method=method,
            )
    with pytest.raises(StabilityError, match="knows no bound for points that are added"):
        certify(alpha_pipeline(threshold, 1.0), [two_heaps(5, 3.0)], threat="points")


def test_strangers_are_refused(threshold: MakeThreshold) -> None:
    cloud = two_ends(10)
    scaled = make_pipeline(
        measure(), ranks(), StandardScaler().fit([[0.0], [1.0]]), threshold(1, 0, 1.0)
    )
    with pytest.raises(StabilityError, match="points are counted through a filtration and one vec"):
        certify(scaled, [cloud], threat="points")
    resampled = make_pipeline(FunctionTransformer(), measure(), ranks(), threshold(1, 0, 1.0))
    with pytest.raises(StabilityError, match="FunctionTransformer stands before the persistence"):
        certify(resampled, [cloud], threat="points")
    other = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(StabilityError, match=re.escape("LogisticRegression is the last step, but")):
        certify(make_pipeline(measure(), ranks(), other), [cloud], threat="points")


def test_exponents_are_for_diagrams(threshold: MakeThreshold) -> None:
    with pytest.raises(ValueError, match='p and q belong to threat="wasserstein"'):
        certify(alpha_pipeline(threshold, 1.0), [two_ends(2)], threat="deletion", p=math.inf)
