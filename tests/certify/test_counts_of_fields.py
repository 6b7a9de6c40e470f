"""Radii that count points, of fields: no diagrams, boxes of vectors; and of fields in unions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from stablerank import (
    DistanceToMeasurePersistence,
    HalfLengths,
    LipschitzClassifier,
    LipschitzUnion,
    StabilityError,
    certify,
)
from stablerank.attack import attack, minimal_radius
from stablerank.fields import CloudVectorizer, DistanceField, SortedNeighbourDistances

Cloud = NDArray[np.float64]
MakeThreshold = Callable[..., LipschitzClassifier]
Patch = pytest.MonkeyPatch

METHODS = ["best", "interval", "linear"]


def field_on_a_line(k: Any = 4, **settings: Any) -> DistanceField:
    """With vertices at -1, 0 and 1; the second coordinate is what is seen from 0."""
    return DistanceField(k, resolution=3, box=([-1], [1]), **settings).fit([np.zeros((9, 1))])


def pipeline_of(threshold: MakeThreshold, stage: Any, feature: int, value: float) -> Pipeline:
    """Is this coordinate above a value?"""
    return make_pipeline(stage, threshold(stage.n_features_out_, feature, value))


def two_ends(n: int) -> Cloud:
    """n points at -1 and n at 1, on a line."""
    return np.repeat([[-1.0], [1.0]], n, axis=0)


# Closed form.


@pytest.mark.parametrize("method", METHODS)
def test_the_nearest_by_hand(method: str, threshold: MakeThreshold) -> None:
    # Ten points at either end, all at distance 1 from 0. The fourth nearest is at 1 until there are
    # four points at 0; deletions change nothing as long as four are left.
    pipeline, cloud = pipeline_of(threshold, field_on_a_line(), 1, 0.5), two_ends(10)
    for threat, expected in (("points", 3.0), ("deletion", 16.0)):
        claims = certify(pipeline, [cloud, two_ends(2)], threat=threat, method=method)
        assert claims.radius.tolist() == [expected, 0.0]  # four points of two ends are all
        assert claims.prediction.tolist() == [1, 1]
        assert claims.closed
        assert claims.chain is None
        assert set(claims.route) == {"interval" if method == "interval" else "linear"}
    planted = [np.concatenate([cloud, np.zeros((k, 1))]) for k in (3, 4)]
    assert pipeline.predict(planted).tolist() == [1, 0]


def test_the_measure_by_hand(threshold: MakeThreshold) -> None:
    # r points at 0 make it sqrt(1 - r/4): 0.866, 0.707, 0.5, 0. As diagrams, tests/certify/
    # test_counts.py, less is certified: 0.799, 0.561, 0.25.
    cloud = two_ends(10)
    for value, expected in ((0.87, 0), (0.86, 1), (0.71, 1), (0.70, 2), (0.49, 3), (1e-9, 3)):
        pipeline = pipeline_of(threshold, field_on_a_line(kind="measure"), 1, value)
        claims = certify(pipeline, [cloud], threat="points")
        assert claims.radius.tolist() == [expected]
        planted = np.concatenate([cloud, np.zeros((expected + 1, 1))])
        assert pipeline.predict([planted]).tolist() == [0]


def test_sorted_values_by_hand(threshold: MakeThreshold) -> None:
    # Seen from -1, 0, 1: 0, 1, 0, sorted 1, 0, 0. When seven of the ten at -1 are gone, the fourth
    # nearest to it is one from the other end, at 2; until then the largest value is 1.
    stage = field_on_a_line(values="sorted")
    claims = certify(pipeline_of(threshold, stage, 0, 1.5), [two_ends(10)], threat="points")
    assert claims.radius.tolist() == [6.0]
    gone = two_ends(10)[7:]
    pipeline = pipeline_of(threshold, stage, 0, 1.5)
    assert pipeline.predict([two_ends(10), gone[1:], gone]).tolist() == [0, 1, 1]
    assert pipeline.predict([two_ends(10)[6:]]).tolist() == [0]


def test_hausdorff_distance_is_tried_as_well(threshold: MakeThreshold) -> None:
    # The nearest to -1 of 0, 1, 3, 6, 10 is at 1. Deletion moves it to 2, 4, 7, 11; h = 4, 7, 9, 10
    # is more, but that radius is known.
    cloud = np.array([[x] for x in (0.0, 1.0, 3.0, 6.0, 10.0)])
    for value, expected, by_distance in ((3.0, 1, 0), (6.0, 2, 1), (9.0, 3, 2), (99.0, 4, 4)):
        pipeline = pipeline_of(threshold, field_on_a_line(1), 0, value)
        claims = certify(pipeline, [cloud], threat="deletion")
        assert claims.radius.tolist() == [expected]
        near = certify(pipeline, [cloud], threat="deletion", method="global")
        assert near.radius.tolist() == [by_distance]


# The law: all deletions of small clouds, and attacks.


STAGES: dict[str, Callable[[], CloudVectorizer]] = {
    "second nearest": lambda: DistanceField([2, 1], resolution=3, box=([-1, -1], [4, 1])),
    "measure": lambda: DistanceField(3, kind="measure", resolution=3, box=([-1, -1], [4, 1])),
    "sorted": lambda: DistanceField(
        2, resolution=4, box=([-1, -1], [4, 1]), values="sorted", blocks=5
    ),
    "torus": lambda: DistanceField(
        2, kind="measure", q=1, resolution=3, box=([-1, -1], [4, 1]), periodic=True
    ),
}


def small_clouds(seed: int) -> list[Cloud]:
    """Heaps with some noise, so that few changes move fields little, and then much."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 5, size=6)
    heaps = [np.repeat([[0.0, 0.0], [rng.uniform(1, 4), 0.0]], n, axis=0) for n in sizes]
    return [cloud + rng.normal(scale=0.05, size=cloud.shape) for cloud in heaps]


def problems(name: str, threshold: MakeThreshold, seed: int) -> tuple[list[Cloud], list[Pipeline]]:
    """Clouds, and thresholds among the values of some coordinates."""
    clouds, stage = small_clouds(seed), STAGES[name]()
    vectors = stage.fit(clouds).transform(clouds)
    chosen = [(j, q) for j in (0, vectors.shape[1] // 2) for q in (0.1, 0.5)]
    return clouds, [
        pipeline_of(threshold, stage, j, float(np.quantile(vectors[:, j], q))) for j, q in chosen
    ]


def broken_by_deletion(pipeline: Pipeline, clouds: list[Cloud]) -> int:
    found = 0
    claims = certify(pipeline, clouds, threat="deletion")
    for cloud, label, radius in zip(clouds, claims.prediction, claims.radius, strict=True):
        thinned = [
            np.delete(cloud, deleted, axis=0)
            for k in range(1, int(radius) + 1)
            for deleted in itertools.combinations(range(len(cloud)), k)
        ]
        found += bool(thinned) and bool((pipeline.predict(thinned) != label).any())
    return found


@pytest.mark.parametrize("name", STAGES)
def test_no_deletion_breaks_a_certificate(name: str, threshold: MakeThreshold, seed: int) -> None:
    clouds, pipelines = problems(name, threshold, seed)
    certified = [certify(pipeline, clouds, threat="deletion").radius for pipeline in pipelines]
    assert (np.concatenate(certified) > 0).any()
    assert not any(broken_by_deletion(pipeline, clouds) for pipeline in pipelines)


@pytest.mark.parametrize("threat", ["points", "deletion"])
@pytest.mark.parametrize("name", STAGES)
def test_attacks_win_beyond_certificates_and_never_inside(
    name: str, threat: str, threshold: MakeThreshold, seed: int
) -> None:
    clouds, pipelines = problems(name, threshold, seed)
    certified, won = 0, 0
    for pipeline in pipelines:
        claims = certify(pipeline, clouds, threat=threat)
        settings: dict[str, Any] = {"threat": threat, "random_state": seed, "n_queries": 60}
        within = attack(pipeline, clouds, claims.prediction, radius=claims.radius, **settings)
        assert not within.success.any()
        # as many as there are points: clouds that are too small are not handed in
        beyond = attack(pipeline, clouds, claims.prediction, radius=99, **settings)
        certified += int((claims.radius > 0).sum())
        won += int(beyond.success.sum())
    assert certified > 0
    assert won > 0


def test_minimal_numbers_of_points(threshold: MakeThreshold) -> None:
    # four points at 0, as above; it used to hand in clouds of too few points
    pipeline = pipeline_of(threshold, field_on_a_line(), 1, 0.5)
    settings: dict[str, Any] = {"random_state": 0}
    found = minimal_radius(pipeline, [two_ends(10)], [1], threat="points", **settings)
    assert 4 <= found.breaking_displacement[0] <= 20
    kept = minimal_radius(pipeline, [two_ends(10)], [1], threat="deletion", **settings)
    assert np.isinf(kept.breaking_displacement).all()


# The test of the test: unsound bounds are found out.


def one_change_less(patch: Patch) -> None:
    original = DistanceField.bounds_points

    def broken(self: DistanceField, X: Any, n_changes: int, *, threat: Any = "points") -> Any:
        return original(self, X, n_changes - 1, threat=threat)

    patch.setattr(DistanceField, "bounds_points", broken)


def sorted_before_the_shift(patch: Patch) -> None:
    # the cloud's own ranks of distances at every vertex: as if no point could be missed
    original = DistanceField._fields

    def broken(self: DistanceField, clouds: Any, shifts: Any) -> Any:
        return original(self, clouds, np.minimum(shifts, 0))

    patch.setattr(DistanceField, "_fields", broken)


def test_one_change_less_is_found_out(threshold: MakeThreshold, monkeypatch: Patch) -> None:
    pipeline, cloud = pipeline_of(threshold, field_on_a_line(), 1, 0.5), two_ends(10)
    for expected, flips in ((3.0, False), (4.0, True)):
        claims = certify(pipeline, [cloud], threat="points")
        assert claims.radius.tolist() == [expected]
        planted = np.concatenate([cloud, np.zeros((int(expected), 1))])
        assert (pipeline.predict([planted]) != claims.prediction).tolist() == [flips]
        one_change_less(monkeypatch)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("mutation", [one_change_less, sorted_before_the_shift])
def test_unsound_bounds_are_broken_by_deletion(
    name: str,
    mutation: Callable[[Patch], None],
    threshold: MakeThreshold,
    monkeypatch: Patch,
    seed: int,
) -> None:
    clouds, pipelines = problems(name, threshold, seed)
    mutation(monkeypatch)
    assert any(broken_by_deletion(pipeline, clouds) for pipeline in pipelines)


# Unions.


def union_of(k: int) -> LipschitzUnion:
    clouds = [two_ends(5)]
    settings: dict[str, Any] = {"resolution": 3, "box": ([-1], [1])}
    measure = DistanceToMeasurePersistence(2, homology_dimensions=(0,), **settings)
    return LipschitzUnion(
        [
            ("field", DistanceField(k, **settings).fit(clouds)),
            ("measure", make_pipeline(measure.fit(clouds), HalfLengths(1).fit([{0: [[0, 1]]}]))),
        ]
    )


def test_unions_beside_filtrations(threshold: MakeThreshold) -> None:
    # by the field alone three points at 0, as above; the largest k counts what must be left
    pipeline = make_pipeline(union_of(4), threshold(4, 1, 0.5))
    claims = certify(pipeline, [two_ends(10), two_ends(2)], threat="points")
    assert claims.radius.tolist() == [3.0, 0.0]
    # by the other branch: half the length, which is 1/2 until points come to 0
    beside = make_pipeline(union_of(1), threshold(4, 3, 0.1))
    assert certify(beside, [two_ends(10)], threat="points").radius.tolist() == [1.0]
    with pytest.raises(StabilityError, match="joins several filtrations"):
        certify(pipeline, [two_ends(10)], threat="points", method="global")


# Errors.


def test_what_is_not_known_is_refused(threshold: MakeThreshold) -> None:
    cloud = two_ends(10)
    neighbours = SortedNeighbourDistances(blocks=3).fit([cloud])
    pipeline = pipeline_of(threshold, neighbours, 0, 0.5)
    for threat in ("points", "deletion"):
        for method in METHODS:
            with pytest.raises(StabilityError, match="one far away puts any distance at the head"):
                certify(pipeline, [cloud], threat=threat, method=method)
    pipeline = pipeline_of(threshold, field_on_a_line(), 1, 0.5)
    with pytest.raises(StabilityError, match="has a box of vectors for points that are changed"):
        certify(pipeline, [cloud], threat="points", method="global")
    scaled = make_pipeline(field_on_a_line(), StandardScaler().fit(np.eye(3)), threshold(3, 1, 0.5))
    with pytest.raises(StabilityError, match="a DistanceField alone, or a union of such"):
        certify(scaled, [cloud], threat="points")
    branch = LipschitzUnion(
        [("field", make_pipeline(field_on_a_line(), StandardScaler().fit(np.eye(3))))]
    )
    with pytest.raises(StabilityError, match="or a DistanceField alone"):
        certify(make_pipeline(branch, threshold(3, 1, 0.5)), [cloud], threat="points")


def test_stages_that_do_not_count_are_told_so(threshold: MakeThreshold) -> None:
    class Strange:
        """Makes vectors of clouds, and says nothing of changed points."""

        def transform(self, X: Any) -> NDArray[np.float64]:
            return np.ones((len(X), 1))

        def vector_rounding(self, largest: NDArray[np.float64]) -> NDArray[np.float64]:
            return 0 * largest

        def largest_values(self, X: Any) -> NDArray[np.float64]:
            return np.ones(len(X))

    message = "what it makes of a cloud is not known. Use DistanceToMeasurePersistence, or a Dist"
    with pytest.raises(StabilityError, match=message):
        certify(make_pipeline(Strange(), threshold(1, 0, 0.5)), [two_ends(2)], threat="points")
