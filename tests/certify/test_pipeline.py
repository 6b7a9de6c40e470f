"""certify(): on estimators, on pipelines by hand, on diagrams; and what it charges and refuses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from stablerank import (
    AlphaPersistence,
    Bound,
    Certificates,
    DiagramBatch,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.certify import stability_chain
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import LINF, Parallel, Space, StabilityError

Cloud = NDArray[np.float64]
Fitted = tuple[StableRankClassifier, list[Cloud], NDArray[np.int64]]
MakeThreshold = Callable[..., LipschitzClassifier]
POINT_THREATS = ["per_point", "hausdorff", "per_coordinate"]
DIAGRAM_THREATS: list[dict[str, Any]] = [
    {"threat": "bottleneck"},
    {"threat": "wasserstein", "p": 1.0, "q": 2.0},
    {"threat": "wasserstein", "p": math.inf, "q": 1.0},
]


def bar_pipeline(
    threshold: MakeThreshold,
    value: float,
    dimension: int = 0,
    filtration: Any = None,
    **scale: float,
) -> Pipeline:
    """Is the longest bar longer than a value?"""
    filtration = AlphaPersistence((dimension,)) if filtration is None else filtration
    ranks = StableRank(n_ranks=1).fit([{dimension: [[0, 1]]}])
    persistence = filtration.fit([np.zeros((2, 2))])
    return make_pipeline(persistence, ranks, threshold(1, 0, value, **scale))


def pair(death: float) -> Cloud:
    return np.array([[0.0, 0.0], [2 * death, 0.0]])


# Closed form.


def test_two_points_by_hand(threshold: MakeThreshold) -> None:
    # They die at 0.7; the threshold is 1, and the death moves as far as the points do.
    pipeline = bar_pipeline(threshold, 1.0)
    claims = pipeline_claims = certify(pipeline, [pair(0.7), pair(1.2)])
    np.testing.assert_allclose(claims.radius, [0.3, 0.2], rtol=1e-11)
    assert (claims.radius < [0.3, 0.2]).all()
    assert claims.prediction.tolist() == [0, 1]
    np.testing.assert_allclose(claims.margin, [0.6, 0.4], rtol=1e-12)
    assert (claims.threat, claims.method) == ("per_point", "best")
    assert set(claims.route) == {"global"}  # this classifier has no boxes
    assert claims.unit == "ℓ2 displacement of every point, in the units of the points"
    # in Hausdorff distance the same; per coordinate less by √2
    assert certify(pipeline, [pair(0.7)], threat="hausdorff").radius[0] == pipeline_claims.radius[0]
    cubes = certify(pipeline, [pair(0.7)], threat="per_coordinate")
    assert cubes.radius[0] == pytest.approx(0.3 / math.sqrt(2), rel=1e-11)


def test_edge_lengths_by_hand(threshold: MakeThreshold) -> None:
    # Rips: 1.4, threshold 2, twice as fast. As a matrix: as fast as its entries.
    rips = bar_pipeline(threshold, 2.0, filtration=RipsPersistence((0,)))
    assert certify(rips, [pair(0.7)]).radius[0] == pytest.approx(0.3, rel=1e-11)
    table = RipsPersistence((0,), "precomputed").fit([np.zeros((2, 2))])
    ranks, network = rips[1], rips[2]
    matrix = make_pipeline(table, ranks, network)
    claims = certify(matrix, [cdist(pair(0.7), pair(0.7))], threat="sup")
    assert claims.radius[0] == pytest.approx(0.6, rel=1e-11)
    assert claims.unit == "change of every entry of the dissimilarity matrix"


def test_diagrams_by_hand(threshold: MakeThreshold) -> None:
    # A length of 0.7, threshold 1, moves by twice the bottleneck distance; from W_1 with l2 by √2.
    X = DiagramBatch.from_diagrams([{0: [[0.0, 0.7]]}])
    pipeline = bar_pipeline(threshold, 1.0)
    for model in (pipeline, pipeline[1:]):
        assert certify(model, X, threat="bottleneck").radius[0] == pytest.approx(0.15, rel=1e-11)
        claims = certify(model, X, threat="wasserstein", p=1, q=2)
        assert claims.radius[0] == pytest.approx(0.3 / math.sqrt(2), rel=1e-11)
        assert claims.unit.startswith("W_1 with ground norm ℓ2 between diagrams")


def test_labels_of_any_kind(threshold: MakeThreshold) -> None:
    pipeline = bar_pipeline(threshold, 1.0, labels=("near", "far"))
    assert certify(pipeline, [pair(0.7), pair(3.0)]).prediction.tolist() == ["near", "far"]


# The contract.


@pytest.mark.parametrize("threat", POINT_THREATS)
def test_an_estimator_its_pipeline_and_the_function_agree(fitted: Fitted, threat: str) -> None:
    model, X, _ = fitted
    by_method, by_function = model.certify(X, threat), certify(model, X, threat=threat)
    by_pipeline = certify(model.pipeline_, X, threat=threat)
    for claims in (by_function, by_pipeline):
        assert isinstance(claims, Certificates)
        assert np.array_equal(claims.radius, by_method.radius)
    assert (by_method.radius > 0).mean() > 0.9
    assert str(by_method.chain) == str(stability_chain(model, threat=threat))
    if threat == "per_point":
        assert model.stability_ == by_method.chain


@pytest.mark.parametrize("threat", DIAGRAM_THREATS, ids=str)
def test_diagrams_of_the_first_step(fitted: Fitted, threat: dict[str, Any]) -> None:
    model, X, _ = fitted
    diagrams = model.pipeline_[0].transform(X)
    claims = model.certify(diagrams, **threat)
    assert np.array_equal(claims.radius, certify(model.pipeline_[1:], diagrams, **threat).radius)
    assert np.array_equal(claims.prediction, model.predict(X))
    assert (claims.radius > 0).mean() > 0.9


def test_predictions_are_those_of_the_pipeline(fitted: Fitted) -> None:
    model, X, _ = fitted
    claims = model.certify(X)
    assert np.array_equal(claims.prediction, model.predict(X))
    assert np.array_equal(claims.prediction, model.pipeline_.predict(X))
    margins = np.abs(model.decision_function(X))
    np.testing.assert_allclose(claims.margin, margins, rtol=1e-12)


def test_larger_balls_have_smaller_radii(fitted: Fitted) -> None:
    # A cube of half side ε lies in the ball of radius √2 ε, and holds that of radius ε.
    model, X, _ = fitted
    radii = {threat: model.certify(X, threat).radius for threat in POINT_THREATS}
    assert np.array_equal(radii["per_point"], radii["hausdorff"])
    np.testing.assert_allclose(
        radii["per_coordinate"], radii["per_point"] / math.sqrt(2), rtol=1e-9
    )


def test_neither_the_order_nor_the_size_of_the_batch_matters(fitted: Fitted, seed: int) -> None:
    model, X, _ = fitted
    radius = model.certify(X).radius
    order = np.random.default_rng(seed).permutation(len(X))
    shuffled = model.certify([X[i] for i in order]).radius
    np.testing.assert_allclose(shuffled, radius[order], rtol=2.0**-40)
    alone = np.concatenate([model.certify([cloud]).radius for cloud in X[:10]])
    np.testing.assert_allclose(alone, radius[:10], rtol=2.0**-40)


def test_moved_clouds_keep_their_radii(fitted: Fitted) -> None:
    # Diagrams do not change, so radii change by rounding only: the coordinates', 1e-16 of 10.
    model, X, _ = fitted
    radius, moved = model.certify(X).radius, model.certify([cloud + 10.0 for cloud in X]).radius
    np.testing.assert_allclose(moved, radius, rtol=1e-9)


def test_inputs_of_other_types(fitted: Fitted) -> None:
    model, X, _ = fitted
    radius = model.certify(X[:3]).radius
    assert np.array_equal(model.certify([cloud.tolist() for cloud in X[:3]]).radius, radius)
    equal = np.stack([cloud[:20] for cloud in X[:3]])
    assert np.array_equal(model.certify(equal).radius, model.certify(list(equal)).radius)
    single = [cloud.astype(np.float32) for cloud in X[:3]]
    exact = [cloud.astype(np.float64) for cloud in single]
    assert np.array_equal(model.certify(single).radius, model.certify(exact).radius)


def test_tiny_clouds_have_certificates(fitted: Fitted) -> None:
    model, _, _ = fitted
    X = [np.zeros((1, 2)), np.zeros((5, 2)), np.array([[0.0, 0.0], [1.0, 0.0]])]
    claims = model.certify(X)
    assert np.array_equal(claims.prediction, model.predict(X))
    assert np.isfinite(claims.radius).all()


# Rounding.


@pytest.mark.parametrize(
    ("kind", "name"), [(StableRank, "rounding"), (LipschitzClassifier, "rounding")]
)
def test_the_rounding_of_every_stage_is_charged(
    kind: type, name: str, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X, _ = fitted
    # boxes charge theirs in `bounds`
    before = certify(model, X, method="global").radius
    original = getattr(kind, name)
    median = float(np.median(model.certify(X).margin))
    # in the unit of the vectors the whole margin is worth less than this
    extra = 0.05 * median * (1.0 if kind is LipschitzClassifier else model.pipeline_[2].epsilon_)

    def coarser(*arguments: Any) -> NDArray[np.float64]:
        return np.asarray(original(*arguments) + extra)

    monkeypatch.setattr(kind, name, coarser)
    after = certify(model, X, method="global").radius
    assert (after[before > 0] < before[before > 0]).all()
    assert after.sum() < 0.99 * before.sum()


def test_the_rounding_of_the_filtration_is_charged(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X, _ = fitted
    before = model.certify(X).radius
    monkeypatch.setattr(AlphaPersistence, "relative_rounding", lambda self: 1e-4)
    after = model.certify(X).radius
    assert (after[before > 0] < before[before > 0]).all()


def test_rounding_is_small_beside_the_margins(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X, _ = fitted
    before = model.certify(X).radius
    none = {"rounding": lambda self, magnitude, error: np.zeros(len(magnitude))}
    monkeypatch.setattr(LipschitzClassifier, "rounding", none["rounding"])
    np.testing.assert_allclose(before, model.certify(X).radius, rtol=1e-6)


def right_triangle(height: float) -> Cloud:
    return np.array([[0.0, 0.0], [2.0**21, 0.0], [2.0**20, height]])


@pytest.mark.parametrize("engine", ["planar", "gudhi"])
def test_short_bars_at_great_heights_are_charged_with_their_height(
    engine: Any, threshold: MakeThreshold
) -> None:
    # A right triangle has no bar of H1, one that is a little higher a short one, born at 2^20 and
    # computed with the rounding of numbers of that size. It used to be taken for that of numbers of
    # the size of the bars that are there, none: a radius of 4.6e-10 was certified, and 2.3e-10
    # changed the prediction.
    filtration = AlphaPersistence((1,), engine=engine).fit([np.zeros((3, 2))])

    def length(height: float) -> float:
        return float(np.ptp(filtration.transform([right_triangle(height)]).padded(1, 1)))

    low, high = 2.0**20, 2.0**20 + 0.1
    while np.nextafter(low, high) < high:  # two neighbouring heights, only one with a bar
        middle = (low + high) / 2
        low, high = (low, middle) if length(middle) else (middle, high)
    pipeline = bar_pipeline(threshold, 0.99 * length(high), 1, filtration, scale=1e-10)
    assert pipeline.predict([right_triangle(low), right_triangle(high)]).tolist() == [0, 1]
    assert certify(pipeline, [right_triangle(low)]).radius[0] < high - low


def test_lengths_whose_squares_underflow_are_charged(threshold: MakeThreshold) -> None:
    # Beside a coordinate of 1 the square of a distance of 4e-162 is lost. The relative error of
    # computed deaths does not tell of that, and a radius of 2e-162 was certified where the next
    # float had the other prediction.
    filtration = AlphaPersistence((0,)).fit([np.zeros((2, 2))])

    def cloud(height: float) -> Cloud:
        return np.array([[1.0, 0.0], [1.0, height]])

    def death(height: float) -> float:
        return float(filtration.transform([cloud(height)]).padded(0, 1)[0, 0, 1])

    low, high = 1e-165, 1e-150
    while low < (middle := math.sqrt(low) * math.sqrt(high)) < high:
        low, high = (low, middle) if death(middle) else (middle, high)
    pipeline = bar_pipeline(threshold, 0.9 * death(high), 0, filtration, scale=1e-162)
    assert pipeline.predict([cloud(low), cloud(high)]).tolist() == [0, 1]
    assert certify(pipeline, [cloud(low)]).radius[0] < high - low


# Refusals.


def test_what_is_not_fitted() -> None:
    with pytest.raises(NotFittedError, match="StableRankClassifier is not fitted yet"):
        certify(StableRankClassifier(), [pair(1.0)])
    with pytest.raises(NotFittedError):
        StableRankClassifier().certify([pair(1.0)])
    with pytest.raises(NotFittedError):
        certify(make_pipeline(AlphaPersistence(), StableRank(), LipschitzClassifier()), [pair(1.0)])


def test_a_network_alone_starts_from_vectors(fitted: Fitted) -> None:
    model, X, _ = fitted
    message = "this pipeline starts from LipschitzClassifier, behind the persistence"
    with pytest.raises(ValueError, match=re.escape(message)):
        certify(model.pipeline_[2], X)
    diagrams = model.pipeline_[0].transform(X)
    with pytest.raises(StabilityError, match="takes vectors, and no threat changes these"):
        certify(model.pipeline_[2], diagrams, threat="bottleneck")


def test_inputs_that_do_not_fit_the_threat(fitted: Fitted) -> None:
    model, X, _ = fitted
    diagrams = model.pipeline_[0].transform(X)
    with pytest.raises(ValueError, match=re.escape('threat="bottleneck" changes diagrams, but X')):
        certify(model, X, threat="bottleneck")
    with pytest.raises(ValueError, match=re.escape('threat="per_point" moves points, but X holds')):
        certify(model, diagrams)
    with pytest.raises(ValueError, match="behind the persistence: certify the whole pipeline"):
        certify(model.pipeline_[1:], X)
    with pytest.raises(ValueError, match=re.escape("X[1] has 1 of 2 points with NaN")):
        certify(model, [X[0], np.array([[0.0, np.nan], [1.0, 1.0]])])
    with pytest.raises(ValueError, match=re.escape("X[0] lies in R^3")):
        certify(model, [np.zeros((4, 3))])


def test_safe_arithmetic(fitted: Fitted) -> None:
    model, X, _ = fitted
    safe = AlphaPersistence(precision="safe").fit(X)
    with pytest.raises(StabilityError, match=re.escape('Use precision="exact".')):
        certify(make_pipeline(safe, *model.pipeline_[1:]), X)


class ClaimsToBeHarmless(FunctionTransformer):
    """The identity, with a constant but without a word on its rounding."""

    def stability(self, source: Space) -> Bound:
        return Bound(source, source, 1.0, "by hand", "identity")


def test_strangers_among_the_steps(fitted: Fitted, threshold: MakeThreshold) -> None:
    model, X, y = fitted
    persistence, ranks, network = model.pipeline_
    scaler = StandardScaler().fit(ranks.transform(persistence.transform(X)))
    with pytest.raises(StabilityError, match=re.escape("StandardScaler has no stability(source)")):
        certify(make_pipeline(persistence, ranks, scaler, network), X)
    between = ClaimsToBeHarmless().fit(X)
    with pytest.raises(StabilityError, match="between the vectorizer and the classifier: its roun"):
        certify(make_pipeline(persistence, ranks, between, network), X)
    with pytest.raises(StabilityError, match="FunctionTransformer stands before the persistence"):
        certify(make_pipeline(FunctionTransformer(), *model.pipeline_), X)
    other = LogisticRegression().fit(ranks.transform(persistence.transform(X)), y)
    with pytest.raises(StabilityError, match=re.escape("LogisticRegression is the last step, but")):
        certify(make_pipeline(persistence, ranks, other), X)


def test_steps_that_do_nothing_are_skipped(fitted: Fitted) -> None:
    model, X, _ = fitted
    steps = [*model.pipeline_.steps]
    steps.insert(1, ("nothing", "passthrough"))
    assert np.array_equal(certify(Pipeline(steps), X).radius, model.certify(X).radius)


def test_a_vectorizer_that_does_not_say_how_it_rounds(
    fitted: Fitted, threshold: MakeThreshold
) -> None:
    class Longest(FunctionTransformer):
        def transform(self, X: DiagramBatch) -> NDArray[np.float64]:
            return X.padded(0, 1)[:, :, 1]

        def stability(self, source: Space) -> Any:
            ranks = StableRank(n_ranks=1).fit([{0: [[0, 1]]}])
            bound: Any = ranks.stability(source)
            return bound

    pipeline = make_pipeline(AlphaPersistence((0,)).fit(fitted[1]), Longest(), threshold(1, 0, 1.0))
    with pytest.raises(StabilityError, match="Longest does not say how it rounds"):
        certify(pipeline, [pair(0.7)])


def test_a_filtration_whose_values_have_no_known_size(
    fitted: Fitted, threshold: MakeThreshold
) -> None:
    class Stranger:
        homology_dimensions = (0,)

        def __init__(self) -> None:
            self.inner = AlphaPersistence((0,)).fit([pair(1.0)])
            self.stability = self.inner.stability
            self.transform = self.inner.transform
            self.relative_rounding = self.inner.relative_rounding

        def fit(self, X: Any, y: Any = None) -> Stranger:
            return self

    steps = [("a", Stranger()), *bar_pipeline(threshold, 1.0).steps[1:]]
    with pytest.raises(StabilityError, match="Stranger: how large its births and deaths can be"):
        certify(Pipeline(steps), [pair(0.7)])


def test_a_filtration_of_ones_own_is_certified_without_being_named_here(
    threshold: MakeThreshold,
) -> None:
    class Own(Filtration):  # alpha by another name: nothing in certify knows this class
        def __init__(self) -> None:
            self.homology_dimensions, self.n_jobs = (0,), None

        def stability(self, source: Space) -> Parallel:
            return AlphaPersistence((0,)).stability(source)

        def relative_rounding(self) -> float:
            return AlphaPersistence((0,)).relative_rounding()

        def largest_values(self, X: Any) -> NDArray[np.float64]:
            return AlphaPersistence((0,)).largest_values(X)

        def _check(self, X: Any, dimension: int | None) -> Any:
            return AlphaPersistence((0,))._check(X, dimension)

        def _diagrams(self, clouds: Any) -> Any:
            return AlphaPersistence((0,))._diagrams(clouds)

    known = bar_pipeline(threshold, 1.0)
    own = Pipeline([("own", Own().fit([pair(1.0)])), *known.steps[1:]])
    radius = certify(own, [pair(0.7)]).radius
    assert radius == certify(known, [pair(0.7)]).radius
    assert radius > 0


def test_a_stage_that_only_ends_in_the_right_space_is_not_enough() -> None:
    class Wrong:
        def stability(self, source: Space) -> Bound:
            return Bound(source, LINF, 1.0, "by hand")

    with pytest.raises(ValueError, match="this pipeline starts from Wrong"):
        certify(Wrong(), [pair(0.7)])
