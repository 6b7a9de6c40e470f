"""Filtrations of linear images: by hand, their law from every metric, files and gradients."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
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
    RipsPersistence,
    squeeze,
)
from stablerank.diagrams.digests import filtration_digest
from stablerank.diagrams.linear_maps import operator_norm
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
from stablerank.stages import LipschitzUnion

Array = NDArray[np.float64]
SHEAR = [[1.0, 0.75], [0.0, 1.0]]  # singular values: (√(4 + 0.75²) ± 0.75) / 2


def dtm(k: int = 3, **settings: Any) -> DistanceToMeasurePersistence:
    return DistanceToMeasurePersistence(
        k, **{"resolution": 8, "box": ((-2, -2), (2, 2)), **settings}
    )


FILTRATIONS = {
    "alpha": (AlphaPersistence(), HAUSDORFF),
    "rips": (RipsPersistence(), HAUSDORFF),
    "distance to measure": (dtm(), PER_POINT),
    "torus": (dtm(2, periodic=True), PER_POINT),
}


@pytest.fixture(params=list(FILTRATIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Closed form.


def test_a_square_seen_across_its_sides() -> None:
    # The unit square becomes 1 × 1/2: sides enter at 1/4 and 1/2, the hole dies at √(1 + 1/4)/2.
    square = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    diagram = AnisotropicPersistence(AlphaPersistence(), squeeze(0, 0.5)).fit_transform([square])
    assert np.sort(diagram.diagram(0, 0)[:, 1]).tolist() == [0.25, 0.25, 0.5]
    assert diagram.diagram(0, 1) == pytest.approx(np.array([[0.5, math.sqrt(1.25) / 2]]))


def test_a_projection_keeps_the_gaps_of_one_coordinate() -> None:
    cloud = [[0.0, 5.0], [1.0, -7.0], [4.0, 0.0]]
    rips = AnisotropicPersistence(RipsPersistence((0,)), [[1, 0]]).fit_transform([cloud])
    assert np.sort(rips.diagram(0, 0)[:, 1]).tolist() == [1, 3]


def test_turning_a_cloud_turns_the_direction(seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(40, 2))
    quarter = cloud @ np.array([[0.0, 1.0], [-1.0, 0.0]])  # exact, and turns by 90 degrees
    one = AnisotropicPersistence(AlphaPersistence(), squeeze(0, 0.3)).fit_transform([quarter])
    other = AnisotropicPersistence(AlphaPersistence(), squeeze(90, 0.3)).fit_transform([cloud])
    assert one == other
    seen = AnisotropicPersistence(AlphaPersistence(), squeeze(0, 0.3)).fit_transform([cloud])
    assert seen != one


def test_shifts_are_not_seen(seed: int) -> None:
    cloud = np.random.default_rng(seed).integers(0, 2**20, (30, 2)) / 2.0**20
    seen = AnisotropicPersistence(AlphaPersistence(), squeeze(45, 0.5))
    shifted = cloud + np.array([2.0, -1.0])  # all of it exact
    assert seen.fit_transform([cloud]) == seen.transform([shifted])


def test_squeeze_is_symmetric_with_its_eigenvalues(seed: int) -> None:
    generator = np.random.default_rng(seed)
    angle, factor = generator.uniform(-720, 720), generator.uniform()
    matrix = squeeze(angle, factor)
    along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    assert matrix @ along == pytest.approx(along)
    assert np.linalg.eigvalsh(matrix) == pytest.approx([factor, 1])
    assert (matrix == matrix.T).all()
    assert np.array_equal(squeeze(90, 0.0), [[0, 0], [0, 1]])


@pytest.mark.parametrize(("angle", "factor"), [(math.nan, 0.5), (0, -0.1), (0, 1.1), (0, math.nan)])
def test_squeeze_refuses(angle: float, factor: float) -> None:
    with pytest.raises(ValueError, match="expected a"):
        squeeze(angle, factor)


# The operator norm.


def test_the_operator_norm_is_never_below_and_tight(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(30):
        shape = generator.integers(1, 6, 2)
        matrix = generator.normal(size=shape) * 2.0 ** generator.integers(-90, 90)
        if generator.uniform() < 0.3:
            matrix = np.outer(matrix[:, 0], matrix[0])  # of rank one
        norm = operator_norm(matrix)
        assert _is_upper_bound(norm, matrix)
        assert not _is_upper_bound(norm * (1 - 1e-14), matrix)


def test_the_operator_norm_in_closed_form() -> None:
    assert operator_norm(np.eye(3)) == 1
    assert operator_norm(np.array([[0.0, -2.0], [2.0, 0.0]])) == 2
    assert operator_norm(np.array(SHEAR)) == pytest.approx((math.sqrt(4.5625) + 0.75) / 2)


def _is_upper_bound(norm: float, matrix: Array) -> bool:
    """By Sylvester's criterion on s² I − AᵀA, in rational arithmetic; minors by permutations."""
    columns = [[Fraction(value) for value in column] for column in matrix.T.tolist()]
    n = len(columns)
    left = [
        [
            (Fraction(norm) ** 2 if i == j else Fraction(0))
            - sum(a * b for a, b in zip(columns[i], columns[j], strict=True))
            for j in range(n)
        ]
        for i in range(n)
    ]
    chosen = [[i for i in range(n) if mask >> i & 1] for mask in range(1, 2**n)]
    return all(_determinant([[left[i][j] for j in rows] for i in rows]) >= 0 for rows in chosen)


def _determinant(matrix: list[list[Fraction]]) -> Fraction:
    if len(matrix) == 1:
        return matrix[0][0]
    return sum(
        (
            (-1) ** j * value * _determinant([row[:j] + row[j + 1 :] for row in matrix[1:]])
            for j, value in enumerate(matrix[0])
        ),
        start=Fraction(0),
    )


# The law.


def law_holds(seen: AnisotropicPersistence, cloud: Array, moved: Array, source: Any) -> bool:
    """Whether diagrams move no further than the constants say, and stay in the ball."""
    delta = moved - cloud
    size = {
        FROBENIUS: np.linalg.norm(delta),
        HAUSDORFF: np.linalg.norm(delta, axis=1).max(),
        PER_POINT: np.linalg.norm(delta, axis=1).max(),
    }[source]
    size *= 1 + 1e-12
    before, after = seen.transform([cloud, moved])
    ball = seen.bounds([cloud], size, source=source)
    for name, bound in seen.stability(source).branches.items():
        k = int(name[1:])
        distance = gudhi.hera.bottleneck_distance(before[k], after[k], 0.0)
        if distance > bound.constant * size + 1e-12:
            return False
        if bound.target.metric == "bottleneck" and distance > ball.reach[k][0]:
            return False
    return True


@pytest.mark.parametrize("source", [HAUSDORFF, PER_POINT, FROBENIUS], ids=str)
def test_diagrams_move_no_further_than_the_constant(kind: str, source: Any, seed: int) -> None:
    filtration, known = FILTRATIONS[kind]
    if source not in (known, FROBENIUS):
        return
    generator = np.random.default_rng(seed)
    for matrix in (SHEAR, squeeze(30, 0.4), 3 * np.eye(2)):
        cloud = generator.uniform(-1, 1, (20, 2))
        seen = AnisotropicPersistence(filtration, matrix).fit([cloud])
        step = generator.normal(size=cloud.shape) * generator.choice([0.001, 0.05, 0.5])
        assert law_holds(seen, cloud, cloud + step, source)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_constant_is_attained_and_fails_when_halved(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two points on the axis that A stretches most move apart along it: the death grows by ‖A‖₂ ε.
    monkeypatch.setattr(
        "stablerank.diagrams.anisotropic.operator_norm",
        lambda matrix: factor * operator_norm(matrix),
    )
    _, _, rows = np.linalg.svd(np.array(SHEAR))
    pair = np.outer([-1.0, 1.0], rows[0])
    seen = AnisotropicPersistence(AlphaPersistence((0,)), SHEAR).fit([pair])
    deaths = [seen.transform([cloud]).diagram(0, 0)[0, 1] for cloud in (pair, 1.25 * pair)]
    assert deaths[1] - deaths[0] == pytest.approx(0.25 * operator_norm(np.array(SHEAR)))
    ball = seen.bounds([pair], 0.25)
    assert (deaths[1] - deaths[0] <= ball.reach[0][0]) == (factor == 1)


def test_rounding_far_from_the_origin_is_in_the_ball(seed: int) -> None:
    # Images of points at 10^8 are off by about 10^-8, whatever the distances between the points.
    generator = np.random.default_rng(seed)
    exact = AnisotropicPersistence(AlphaPersistence(), squeeze(30, 0.4))
    for _ in range(20):
        cloud = generator.integers(0, 2**20, (12, 2)) / 2.0**20
        far = cloud + generator.integers(1, 2**27, 2)
        near, away = exact.fit_transform([cloud, far])
        ball = exact.bounds([far], 0.0, source=HAUSDORFF)
        for k in (0, 1):
            assert gudhi.hera.bottleneck_distance(near[k], away[k], 0.0) <= ball.reach[k][0]
        relative, largest = exact.relative_rounding(), exact.largest_values([far])[0]
        assert gudhi.hera.bottleneck_distance(near[1], away[1], 0.0) <= 2 * relative * largest
        assert 0 < ball.reach[0][0] < 1e-5


def test_deleted_points_are_deleted_among_the_images(seed: int) -> None:
    cloud = np.random.default_rng(seed).uniform(-1, 1, (15, 2))
    for filtration in (AlphaPersistence(), dtm()):
        seen = AnisotropicPersistence(filtration, SHEAR).fit([cloud])
        ball = seen.bounds_points([cloud], 2, threat="deletion")
        left = seen.transform([cloud[2:], np.delete(cloud, [3, 9], axis=0)])
        for k in (0, 1):
            if ball.metrics[k].metric != "bottleneck":
                continue
            for i in range(2):
                inside = gudhi.hera.bottleneck_distance(
                    ball.diagrams.diagram(0, k), left.diagram(i, k), 0.0
                )
                assert inside <= ball.reach[k][0] + 1e-12


# The contract.


def test_unknown_metrics_are_refused() -> None:
    seen = AnisotropicPersistence(AlphaPersistence(), SHEAR)
    with pytest.raises(StabilityError, match="knows constants from"):
        seen.stability(PER_COORDINATE)
    with pytest.raises(StabilityError, match="not certified"):
        AnisotropicPersistence(AlphaPersistence(precision="safe"), SHEAR).stability(HAUSDORFF)
    with pytest.raises(StabilityError, match="not stable"):
        AnisotropicPersistence(dtm(), SHEAR).stability(HAUSDORFF)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, math.nan], [0, 1]], "finite real matrix"),
        ([1.0, 2.0], "finite real matrix"),
        ([["a", "b"]], "finite real matrix"),
        ([[True, False]], "finite real matrix"),
        ([[1.0, 2.0], [3.0]], "finite real matrix"),
        (np.zeros((0, 2)), "finite real matrix"),
        ([[0.0, 0.0]], "largest entry"),
        ([[1e300, 0.0]], "largest entry"),
        ([[1.0, 2.0, 3.0]], "has 3 columns"),
    ],
)
def test_bad_matrices_are_named(matrix: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"matrix.*{message}"):
        AnisotropicPersistence(AlphaPersistence(), matrix).fit([[[0.0, 0.0]]])


@pytest.mark.parametrize(
    "filtration", [CubicalPersistence(), RipsPersistence(metric="precomputed"), "alpha", None]
)
def test_filtrations_without_points_are_refused(filtration: Any) -> None:
    with pytest.raises(TypeError, match=r"filtration=.*expected a filtration"):
        AnisotropicPersistence(filtration, SHEAR).fit([[[0.0, 0.0]]])


def test_bad_clouds_are_named_and_nothing_is_left_behind() -> None:
    seen = AnisotropicPersistence(AlphaPersistence(), SHEAR)
    with pytest.raises(ValueError, match=r"X\[1\]"):
        seen.fit([[[0.0, 0.0]], [[math.nan, 0.0]]])
    with pytest.raises(NotFittedError):
        seen.transform([[[0.0, 0.0]]])
    with pytest.raises(ValueError, match=r"X\[0\] lies in R\^1"):  # projected to the line
        AnisotropicPersistence(AlphaPersistence(), [[1.0, 0.0]]).fit([[[0.0, 0.0]]])
    with pytest.raises(ValueError, match="fitted is 2"):
        seen.fit([[[0.0, 0.0]]]).transform([[[0.0, 0.0, 0.0]]])


def test_clone_pickle_and_nested_parameters(seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 2))
    seen = AnisotropicPersistence(AlphaPersistence(), SHEAR).fit([cloud])
    again = pickle.loads(pickle.dumps(seen))
    assert again.transform([cloud]) == seen.transform([cloud])
    fresh = clone(seen).set_params(filtration__homology_dimensions=(0,))
    assert not hasattr(fresh, "mapped_filtration_")
    assert fresh.fit_transform([cloud]).homology_dimensions == (0,)
    frozen = cloud.astype(np.float32)
    frozen.flags.writeable = False
    assert seen.transform([frozen]) == seen.transform([frozen.astype(np.float64)])
    assert seen.transform([[[1.0, 2.0]]]).n_bars(0).tolist() == [0]


def test_digests_and_caches_tell_matrices_apart(tmp_path: Any, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(20, 2))
    models = [
        AnisotropicPersistence(AlphaPersistence(), matrix).fit([cloud])
        for matrix in (SHEAR, squeeze(0, 0.5))
    ]
    digests = {filtration_digest(model) for model in (*models, AlphaPersistence().fit([cloud]))}
    assert len(digests) == 3
    for model in models:
        cached = CachedPersistence(model, tmp_path).fit([cloud])
        assert cached.transform([cloud]) == model.transform([cloud]) == cached.transform([cloud])


def test_files_keep_it(kind: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).uniform(-1, 1, (20, 2))
    seen = AnisotropicPersistence(FILTRATIONS[kind][0], SHEAR).fit([cloud])
    plain = plain_stage(seen)
    again = read_stage(plain)
    assert again.transform([cloud]) == seen.transform([cloud])
    plain["fitted"]["dimension_"] = 3
    with pytest.raises(ValueError, match="does not fit its matrix"):
        read_stage(plain)


# Gradients and certificates.


def test_gradients_are_those_of_the_images(kind: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).uniform(-1, 1, (12, 2))
    seen = AnisotropicPersistence(FILTRATIONS[kind][0], squeeze(30, 0.6)).fit([cloud])
    points = torch.from_numpy(cloud.copy()).requires_grad_()
    bars = bars_with_gradients(seen, points, np.array([0, len(cloud)]))
    padded = seen.transform([cloud])
    for k, (births, deaths) in bars.items():
        assert np.array_equal(births.detach().numpy(), padded.padded(k)[..., 0])
        assert np.array_equal(deaths.detach().numpy(), padded.padded(k)[..., 1])
    bars[0][1].sum().backward()
    step, direction = 1e-6, np.random.default_rng(seed + 1).normal(size=cloud.shape)
    sums = [
        seen.transform([cloud + sign * step * direction]).diagram(0, 0)[:, 1].sum()
        for sign in (1, -1)
    ]
    assert points.grad is not None
    slope = float((points.grad.numpy() * direction).sum())
    assert (sums[0] - sums[1]) / (2 * step) == pytest.approx(slope, abs=1e-6)


def test_certified_radii_hold_against_gradients(seed: int) -> None:
    generator = np.random.default_rng(seed)
    clouds = [
        generator.uniform(size=(30, 2)) * ([1, 0.6] if i % 2 else [0.6, 1]) for i in range(30)
    ]
    y = np.arange(30) % 2
    union = LipschitzUnion(
        [
            (
                f"{angle}",
                make_pipeline(
                    AnisotropicPersistence(AlphaPersistence(), squeeze(angle, 0.3)),
                    StableRank(n_ranks={0: 20, 1: 5}),
                ),
            )
            for angle in (0, 90)
        ]
    )
    pipeline = make_pipeline(
        union, LipschitzClassifier(epsilon=0.01, max_epochs=60, random_state=seed)
    ).fit(clouds, y)
    assert pipeline.score(clouds, y) > 0.8
    for threat in ("per_point", "hausdorff", "frobenius", "per_coordinate"):
        certificates = certify(pipeline, clouds, threat=threat)
        assert (certificates.radius > 0).mean() > 0.9
        if threat == "hausdorff":
            continue
        radius = float(np.median(certificates.radius))
        result = attack(pipeline, clouds, y, threat=threat, radius=radius, random_state=seed)
        certified = (certificates.radius >= radius) & (certificates.prediction == y)
        assert not (result.success & certified).any()
