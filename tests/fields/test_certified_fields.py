"""Classifiers on fields: certificates that no search breaks, in unions and in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    DiagramBatch,
    LipschitzUnion,
    StabilityError,
    StableRank,
    StableRankClassifier,
)
from stablerank.attack import attack
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.stability import PER_POINT, Bound, Space
from stablerank.stage_files import check_dimensions, plain_stage, read_stage

Array = NDArray[np.float64]

BOX = ([-1.0, -1.0], [1.0, 1.0])
MODELS: dict[str, Callable[[], Any]] = {
    "raw": lambda: DistanceField([1, 2], resolution=4, box=BOX),
    "sorted": lambda: DistanceField(
        3, kind="measure", resolution=5, box=BOX, values="sorted", blocks=6
    ),
    "neighbours": lambda: SortedNeighbourDistances([1, 4], blocks=5),
    "union": lambda: LipschitzUnion(
        [
            ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=5))),
            ("field", DistanceField(2, resolution=4, box=BOX)),
            ("neighbours", SortedNeighbourDistances(blocks=4)),
        ]
    ),
}


def rings(seed: int, n: int) -> tuple[list[Array], NDArray[np.int64]]:
    rng, labels = np.random.default_rng(seed), np.arange(n) % 2
    clouds = []
    for label in labels:
        angles = rng.uniform(0, 2 * np.pi, 15)
        ring = (0.8 - 0.4 * label) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        clouds.append(ring + 0.05 * rng.normal(size=ring.shape))
    return clouds, labels


def search(model: Any, X: Any, claims: Any, radius: Any, **settings: Any) -> NDArray[np.bool_]:
    settings = {"n_queries": 45, "random_state": 0, "method": "search", **settings}
    threat = claims.threat
    return attack(model, X, claims.prediction, threat=threat, radius=radius, **settings).success


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest) -> Any:
    X, y = rings(1, 40)
    model = StableRankClassifier(
        persistence=MODELS[request.param](), max_epochs=25, random_state=0, network__hidden=(8,)
    )
    return request.param, model.fit(X, y)


def test_the_estimator_has_two_steps_and_learns(trained: Any) -> None:
    _, model = trained
    assert [name for name, _ in model.pipeline_.steps] == ["persistence", "network"]
    assert model.score(*rings(2, 40)) > 0.9
    assert "points[per-point]" in str(model.stability_)


@pytest.mark.parametrize("threat", ["per_point", "per_coordinate", "frobenius"])
def test_certificates_hold_against_search(trained: Any, threat: str) -> None:
    _, model = trained
    X, _ = rings(3, 12)
    claims = model.certify(X, threat=threat)
    assert (claims.radius > 0).mean() > 0.5
    assert not search(model, X, claims, np.nextafter(claims.radius, 0)).any()
    # and the search is no idle one: much further out it succeeds
    assert search(model, X, claims, 10 * claims.radius + 0.5).any()


@pytest.mark.parametrize("threat", ["points", "deletion"])
def test_numbers_of_points_hold_against_search(trained: Any, threat: str) -> None:
    name, model = trained
    if name in ("neighbours", "union"):
        return  # refused, see below
    X, _ = rings(3, 12)
    claims = model.certify(X, threat=threat)
    # a single new point is nearer to its vertex than all others, and the raw model looks there
    assert (claims.radius > 0).any() == ((name, threat) != ("raw", "points"))
    assert not search(model, X, claims, claims.radius).any()
    assert search(model, X, claims, 12).any()


def test_every_method_gives_certificates(trained: Any) -> None:
    _, model = trained
    X, _ = rings(3, 10)
    radii = {m: model.certify(X, method=m).radius for m in ("global", "interval", "linear", "best")}
    assert all((radius > 0).any() for radius in radii.values())
    assert (radii["best"] >= radii["global"]).all()
    # bisections that begin elsewhere end nearby
    assert radii["best"] == pytest.approx(np.maximum(radii["global"], radii["linear"]), rel=1e-2)


def test_hausdorff_radii_of_nearest_distances() -> None:
    model = StableRankClassifier(
        persistence=DistanceField(resolution=4, box=BOX), max_epochs=15, random_state=0
    ).fit(*rings(1, 40))
    X, _ = rings(3, 8)
    claims = model.certify(X, threat="hausdorff")
    assert (claims.radius == model.certify(X).radius).all()
    assert not search(model, X, claims, np.nextafter(claims.radius, 0)).any()
    deletions = model.certify(X, threat="deletion")
    assert not search(model, X, deletions, deletions.radius).any()


def test_threats_without_a_constant_are_refused(trained: Any) -> None:
    name, model = trained
    X, _ = rings(3, 2)
    for threat in ("hausdorff", "sup"):
        with pytest.raises(StabilityError):
            model.certify(X, threat=threat)
    for threat in ("deletion", "points"):
        if name in ("neighbours", "union"):
            with pytest.raises(StabilityError, match="knows no bound for points that are added"):
                model.certify(X, threat=threat)
    diagrams = DiagramBatch.from_diagrams([{1: np.array([[0.0, 1.0]])}])
    if name != "union":
        with pytest.raises(StabilityError, match="not from diagram"):
            model.certify(diagrams, threat="bottleneck")


def test_training_on_boxes(seed: int) -> None:
    X, y = rings(seed, 40)
    model = StableRankClassifier(
        persistence=SortedNeighbourDistances(blocks=5),
        epsilon=0.01,
        certified_training="box",
        max_epochs=20,
        random_state=seed,
    ).fit(X, y)
    assert model.certify(X).certified_accuracy(y, 0.005) > 0.5


def test_models_survive_their_file(trained: Any, tmp_path: Path) -> None:
    _, model = trained
    X, _ = rings(3, 6)
    model.save(tmp_path / "field.srn")
    loaded = StableRankClassifier.load(tmp_path / "field.srn")
    assert (loaded.decision_function(X) == model.decision_function(X)).all()
    assert (loaded.certify(X).radius == model.certify(X).radius).all()


def test_files_of_fields_that_do_not_fit_are_refused(trained: Any) -> None:
    name, model = trained
    if name == "union":
        return  # its branches are read one by one, like those below
    plain = plain_stage(model.pipeline_[0])
    assert read_stage(plain).n_features_out_ == model.pipeline_[0].n_features_out_
    for attribute, value, message in (
        ("n_features_out_", 99, "it claims 99 features"),
        ("dimension_", 0, "its clouds have the dimension 0"),
        ("dimension_", "2", "its clouds have the dimension '2'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_stage({**plain, "fitted": {**plain["fitted"], attribute: value}})
    with pytest.raises(ValueError, match="a field has"):
        read_stage({**plain, "fitted": {"dimension_": 2}})
    with pytest.raises(ValueError, match="was not fitted"):
        check_dimensions([read_stage({**plain, "fitted": {}})])


class HalvedField(DistanceField):
    """With constants that are too small, on purpose."""

    def stability(self, source: Space = PER_POINT) -> Bound:
        bound = super().stability(source)
        return Bound.by_coordinate(source, [c / 2 for c in bound.constants or ()], "wrong")


def test_constants_that_are_too_small_break_certificates() -> None:
    X, y = rings(1, 40)
    broken = []
    for kind in (DistanceField, HalvedField):
        # far outside, and averaged: a push of all points counts in full
        stage = kind(resolution=2, box=([0, 0], [9, 9]), values="sorted", blocks=1)
        model = StableRankClassifier(
            persistence=stage, network__hidden=(2,), max_epochs=30, random_state=0
        ).fit(X, y)
        claims = model.certify(X, method="global")
        radius = np.nextafter(claims.radius, 0)
        broken.append(search(model, X, claims, radius, n_queries=100).sum())
    assert broken[0] == 0
    assert broken[1] > 0
