"""attack(): every threat and method, on pipelines of this package and of others."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from stablerank import AlphaPersistence, DiagramBatch, RipsPersistence, StableRank
from stablerank.attack import CoordinateSearch, RandomSearch, Search, attack
from stablerank.attack.result import AttackResult

Cloud = NDArray[np.float64]
METHODS = ["random", "coordinate", "search"]


class LongestBar:
    """Whether the longest bar of one homology dimension is longer than a threshold."""

    classes_ = np.array([False, True])

    def __init__(self, filtration: Any, dimension: int, threshold: float) -> None:
        self.filtration, self.dimension, self.threshold = filtration, dimension, threshold

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        diagrams = X if self.filtration is None else self.filtration.fit(X).transform(X)
        return diagrams.padded(self.dimension, 1) @ [-1.0, 1.0] @ [1.0] - self.threshold

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return self.decision_function(X) > 0


class OnlyPredicts:
    """The same without scores and classes."""

    def __init__(self, pipeline: Any) -> None:
        self.predict = pipeline.predict


def rectangle(width: float, height: float) -> Cloud:
    return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])


def dissimilarities(clouds: list[Cloud]) -> list[Cloud]:
    return [cdist(cloud, cloud) for cloud in clouds]


# Closed form: problems where the least displacement that changes the prediction is known.
#
# pair: two points 2 apart die at 1 as alpha radius. Both move by ε: at 1 + ε. Threshold 1.1: ε is
#   0.1; with cubes 0.1/√2, along the diagonal. Rips: at edge length 2 and 2 + 2ε; as a matrix at
#   2 + ε.
# ring: n points on a circle of radius R; H1 lives from R sin(π/n) to R. Outwards, by ε: longer by
#   ε (1 - sin(π/n)); threshold 0.1 above.
# bar: (0, 1) gets longer by 2ε in the bottleneck distance, and by √2 ε in W with l2.


def pair(along: float = 0.0) -> Cloud:
    return np.array([[-1.0, 0.0], [1.0, 0.0]]) @ [
        [math.cos(along), math.sin(along)],
        [-math.sin(along), math.cos(along)],
    ]


def ring(n: int) -> Cloud:
    angles = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles), np.sin(angles)])


BAR = DiagramBatch.from_diagrams([{0: [[0.0, 1.0]]}])
_WIDER = 1 - math.sin(math.pi / 12)
KNOWN: dict[str, tuple[Any, Any, dict[str, Any], float]] = {
    "pair, alpha": (LongestBar(AlphaPersistence((0,)), 0, 1.1), [pair()], {}, 0.1),
    "pair, Hausdorff": (
        LongestBar(AlphaPersistence((0,)), 0, 1.1),
        [pair()],
        {"threat": "hausdorff"},
        0.1,
    ),
    "pair, cubes": (
        LongestBar(AlphaPersistence((0,)), 0, 1.1),
        [pair(math.pi / 4)],
        {"threat": "per_coordinate"},
        0.1 / math.sqrt(2),
    ),
    "pair, Rips": (LongestBar(RipsPersistence((0,)), 0, 2.1), [pair()], {}, 0.05),
    "pair, matrix": (
        LongestBar(RipsPersistence((0,), "precomputed"), 0, 2.1),
        dissimilarities([pair()]),
        {"threat": "sup"},
        0.1,
    ),
    "bar, bottleneck": (LongestBar(None, 0, 1.1), BAR, {"threat": "bottleneck"}, 0.05),
    "bar, W": (
        LongestBar(None, 0, 1.1),
        BAR,
        {"threat": "wasserstein", "p": 1.0, "q": 2.0},
        0.1 / math.sqrt(2),
    ),
}
RING = (LongestBar(AlphaPersistence((1,)), 1, _WIDER + 0.1), [ring(12)], {}, 0.1 / _WIDER)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("method", METHODS)
def test_known_problems_are_solved_beyond_their_radius_and_not_within(
    name: str, method: str, seed: int
) -> None:
    pipeline, X, threat, least = KNOWN[name]
    for factor, solved in ((0.999, False), (1.05, True)):
        settings = {"radius": factor * least, "method": method, "random_state": seed, **threat}
        result = attack(pipeline, X, [False], **settings)
        assert result.success.tolist() == [solved]
        assert result.displacement[0] <= factor * least
        assert pipeline.predict(result.inputs).tolist() == [solved]


def test_a_ring_is_widened(seed: int) -> None:
    # Its radius is an upper bound only: other displacements than outwards may be shorter.
    pipeline, X, _, least = RING
    result = attack(pipeline, X, [False], radius=1.05 * least, random_state=seed)
    assert result.success.tolist() == [True]
    # d_B of the ring moves by ε, a length by 2ε at most
    assert not attack(pipeline, X, [False], radius=0.0499, random_state=seed).success[0]


def test_bars_that_are_short_enough_are_removed(seed: int) -> None:
    # Bars of length 0.2 vanish at 0.1, the one of length 1 at 0.5.
    class Bars:
        def predict(self, X: DiagramBatch) -> NDArray[np.int64]:
            return X.n_bars(1)

    X = DiagramBatch.from_diagrams([{1: [[0.0, 0.2]]}, {1: [[0.0, 1.0]]}])
    result = attack(Bars(), X, [1, 1], threat="bottleneck", radius=0.11, random_state=seed)
    assert result.success.tolist() == [True, True]  # the second by a bar that was added
    assert result.inputs.n_bars(1)[1] > 1


# The contract.


def small_problem(n: int = 6) -> tuple[LongestBar, list[Cloud], NDArray[np.bool_]]:
    rng = np.random.default_rng(5)
    X = [rng.uniform(0, 1, size=(12, 2)) for _ in range(n)]
    pipeline = LongestBar(AlphaPersistence((0,)), 0, 0.2)
    return pipeline, X, pipeline.predict(X)


def same(a: AttackResult, b: AttackResult, n: int) -> bool:
    return all(
        np.array_equal(x, y) for x, y in zip(list(a.inputs)[:n], list(b.inputs)[:n], strict=True)
    ) and np.array_equal(a.n_queries[:n], b.n_queries[:n])


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_all_and_the_clouds_beside_nothing(method: str) -> None:
    pipeline, X, y = small_problem()
    settings: dict[str, Any] = {"radius": 0.01, "method": method, "n_queries": 40}
    first = attack(pipeline, X, y, random_state=3, **settings)
    np.random.default_rng().normal()
    assert same(first, attack(pipeline, X, y, random_state=3, **settings), 6)
    assert same(first, attack(pipeline, X[:2], y[:2], random_state=3, **settings), 2)
    assert not same(first, attack(pipeline, X, y, random_state=4, **settings), 6)


def test_radius_zero_leaves_a_cloud_alone() -> None:
    pipeline, X, y = small_problem(3)
    radius = np.array([0.0, 0.05, 0.0])
    result = attack(pipeline, X, y, radius=radius, random_state=0, n_queries=30)
    assert np.array_equal(result.inputs[0], X[0])
    assert not np.array_equal(result.inputs[1], X[1])
    assert result.n_queries[[0, 2]].tolist() == [0, 0]
    assert result.displacement[[0, 2]].tolist() == [0.0, 0.0]
    assert np.array_equal(result.radius, radius)


def test_what_is_misclassified_is_a_success_without_moving() -> None:
    pipeline, X, y = small_problem(3)
    result = attack(pipeline, X, ~y, radius=[0.0, 0.1, 0.2], random_state=0)
    assert result.success.all()
    assert result.displacement.tolist() == [0.0, 0.0, 0.0]
    assert result.accuracy == 0.0


def test_inputs_are_not_overwritten() -> None:
    pipeline, X, y = small_problem(3)
    copies = [cloud.copy() for cloud in X]
    for threat in ("per_point", "per_coordinate", "hausdorff"):
        attack(pipeline, X, y, threat=threat, radius=0.05, random_state=0, n_queries=30)
    assert all(np.array_equal(a, b) for a, b in zip(X, copies, strict=True))


def test_the_global_generator_is_left_alone() -> None:
    pipeline, X, y = small_problem(2)
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.RandomState(0).normal()
    attack(pipeline, X, y, radius=0.05, n_queries=20)
    assert np.random.normal() == expected  # noqa: NPY002


def test_more_radius_breaks_more(seed: int) -> None:
    pipeline, X, y = small_problem(10)
    accuracies = [
        attack(pipeline, X, y, radius=radius, random_state=seed).accuracy
        for radius in (0.0, 0.02, 0.3)
    ]
    assert accuracies[0] == 1.0
    assert accuracies[0] >= accuracies[1] >= accuracies[2]
    assert accuracies[2] == 0.0


def test_the_same_is_found_without_scores(seed: int) -> None:
    pipeline, X, y = small_problem(6)
    for radius, accuracy in ((1e-6, 1.0), (0.3, 0.0)):
        result = attack(OnlyPredicts(pipeline), X, y, radius=radius, random_state=seed)
        assert result.accuracy == accuracy


@pytest.mark.parametrize("points", [1, 2, 3])
def test_tiny_clouds(points: int, seed: int) -> None:
    class FirstCoordinate:
        def predict(self, X: list[Cloud]) -> NDArray[np.bool_]:
            return np.array([cloud.mean() > 0 for cloud in X])

    X = [np.full((points, 2), -0.01)]
    for threat in ("per_point", "per_coordinate", "hausdorff"):
        result = attack(
            FirstCoordinate(), X, [False], threat=threat, radius=0.03, random_state=seed
        )
        assert result.success.tolist() == [True]


def test_pipelines_of_others() -> None:
    # Clouds as one array, flattened into vectors: a forest has predict_proba, and so have
    # neighbours; both flip between the two kinds of clouds when points may move far enough.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 8, 2)) * np.repeat([0.5, 2.0], 10)[:, None, None]
    y = np.repeat(["small", "large"], 10)
    flatten = FunctionTransformer(lambda clouds: np.reshape(clouds, (len(clouds), -1)))
    for last in (RandomForestClassifier(5, random_state=0), KNeighborsClassifier(3)):
        pipeline = make_pipeline(flatten, last).fit(X, y)
        for radius, accuracy in ((1e-9, 1.0), (10.0, 0.0)):
            y_hat = pipeline.predict(X)
            result = attack(pipeline, X, y_hat, radius=radius, n_queries=40, random_state=0)
            assert result.accuracy == accuracy
            assert result.inputs.shape == X.shape


def test_steps_before_the_diagrams_are_left_out_for_diagram_threats() -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(12, 2)) * scale for scale in (1.0, 3.0) * 10]
    y = np.array([0, 1] * 10)
    pipeline = make_pipeline(AlphaPersistence(), StableRank(n_ranks=5), KNeighborsClassifier(1))
    diagrams = pipeline.fit(X, y)[0].transform(X)
    settings: dict[str, Any] = {"threat": "bottleneck", "radius": 0.5, "n_queries": 40}
    settings["random_state"] = 0
    whole = attack(pipeline, diagrams, y, **settings)
    part = attack(pipeline[1:], diagrams, y, **settings)
    assert isinstance(whole.inputs, DiagramBatch)
    assert whole.inputs == part.inputs
    assert whole.success.any()


def test_attacks_are_told_apart_by_their_repr() -> None:
    assert repr(Search()) == "Search(n_queries=200)"
    assert repr(RandomSearch(n_queries=5)) == "RandomSearch(n_queries=5)"
    assert repr(CoordinateSearch()) == "CoordinateSearch(n_queries=200, largest_share=0.5)"


def test_an_attack_can_be_called_itself() -> None:
    pipeline, X, y = small_problem(3)
    settings: dict[str, Any] = {"radius": 0.02, "random_state": 1}
    by_name = attack(pipeline, X, y, method="random", n_queries=25, **settings)
    assert same(by_name, RandomSearch(n_queries=25)(pipeline, X, y, **settings), 3)
    given = attack(pipeline, X, y, method=RandomSearch(n_queries=25), **settings)
    assert same(by_name, given, 3)


# The result.


def example() -> AttackResult:
    return AttackResult(
        inputs=[],
        success=np.array([True, False, True, False] * 3),
        prediction=np.array(["<b>", "b", "a", "b"] * 3),
        displacement=np.linspace(0, 0.011, 12),
        radius=np.full(12, 0.02),
        n_queries=np.arange(12),
        threat="per_point",
        unit="ℓ2 displacement",
    )


def test_what_a_result_says() -> None:
    result = example()
    assert len(result) == 12
    assert result.accuracy == 0.5
    assert result.breaking_displacement[:3].tolist() == [0.0, math.inf, 0.002]
    text = str(result)
    assert "attacked accuracy         0.5" in text
    assert "queries a cloud           5.5" in text
    assert "… and 2 more" in text
    assert len(text.splitlines()) == 5 + 2 + 10 + 1
    page = result._repr_html_()
    assert page.count("<tr>") == 11
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().threat = "sup"  # type: ignore[misc]


# Errors.


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"radius": -1.0}, "radius is -1.0: expected a finite number >= 0."),
        ({"radius": [0.1, math.nan, 0.1]}, "radius[1] is nan: expected a finite number >= 0."),
        ({"radius": math.inf}, "radius is inf"),
        (
            {"radius": [0.1, 0.2]},
            "radius has shape (2,): expected one number, or one for each of 3",
        ),
        ({"y": [True]}, "y has shape (1,), but X has 3 inputs: expected one label an input."),
        ({"method": "gradients"}, "method='gradients': expected one of ['random', 'coordinate',"),
        ({"n_queries": 0}, "n_queries=0: expected an integer >= 1."),
        ({"n_queries": 2.5}, "n_queries=2.5: expected an integer >= 1."),
        ({"threat": "magic"}, "threat='magic': expected one of"),
        ({"threat": "wasserstein"}, "names its exponent p and its ground norm q"),
        ({"p": 2.0}, 'p and q belong to threat="wasserstein"'),
        ({"threat": "bottleneck"}, "X is a list: a threat against diagrams changes a DiagramBatch"),
        ({"method": RandomSearch(), "n_queries": 5}, "has its own number of queries"),
    ],
)
def test_errors(changed: dict[str, Any], message: str) -> None:
    pipeline, X, y = small_problem(3)
    arguments: dict[str, Any] = {"y": y, "radius": 0.1, **changed}
    labels = arguments.pop("y")
    with pytest.raises(ValueError, match=re.escape(message)):
        attack(pipeline, X, labels, **arguments)


def test_clouds_are_no_dissimilarities() -> None:
    pipeline = make_pipeline(RipsPersistence(metric="precomputed"), small_problem(3)[0])
    _, X, y = small_problem(3)
    message = "X[0] has shape (12, 2): a dissimilarity matrix is square."
    with pytest.raises(ValueError, match=re.escape(message)):
        attack(pipeline, X, y, threat="sup", radius=0.1)


def test_bad_clouds_are_named() -> None:
    pipeline, X, y = small_problem(3)
    X[2][4, 1] = np.nan
    with pytest.raises(ValueError, match=re.escape("X[2] has 1 of 12 points with NaN")):
        attack(pipeline, X, y, radius=0.1)


def test_what_cannot_predict_is_refused() -> None:
    with pytest.raises(TypeError, match="AlphaPersistence has no predict"):
        attack(AlphaPersistence(), [pair()], [0], radius=0.1)


def test_shares_are_checked() -> None:
    with pytest.raises(ValueError, match="largest_share=0: expected a number in"):
        CoordinateSearch(largest_share=0)
