"""Benchmarks on data: their own stages keep the laws that they claim, and the protocol is kept."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import gudhi.hera
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from benchmarks import invariance, outliers
from benchmarks.directions import MaskedPersistence, Pixels, boxes, half_planes
from benchmarks.gradients import attacked_accuracy
from benchmarks.record import markdown_table
from benchmarks.series import SeriesPersistence, SortedValues
from stablerank import (
    AlphaPersistence,
    Certificates,
    Landscapes,
    LipschitzClassifier,
    LipschitzUnion,
    StableRank,
    certify,
)
from stablerank.attack.gradients import DifferentiablePipeline
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.stability import SUP

Array = NDArray[np.float64]


# Laws of the benchmarks' own stages.


def excess_of_masks(filtration: MaskedPersistence, constant: float, seed: int) -> float:
    """How far diagrams move beyond constant · ε, at worst over random images."""
    rng, worst = np.random.default_rng(seed), -np.inf
    for _ in range(40):
        image = rng.integers(0, 17, size=(8, 8)).astype(float)
        epsilon = rng.choice([0.25, 1.0, 4.0])
        changed = image + epsilon * rng.choice([-1.0, 1.0], size=image.shape)
        diagrams = filtration.fit_transform([image, changed])
        for k in (0, 1):
            distance = gudhi.hera.bottleneck_distance(
                diagrams.diagram(0, k), diagrams.diagram(1, k), 0.0
            )
            worst = max(worst, distance - constant * epsilon)  # dyadic: nothing is rounded
    return worst


MASKS = {
    "none": MaskedPersistence(),
    "dark first": MaskedPersistence(bright=False),
    "half": MaskedPersistence(half_planes((8, 8), 8, (0.1,))[3]),
    "box": MaskedPersistence(boxes((8, 8), (3.5,), 1.6)[0]),
}


@pytest.mark.parametrize("name", MASKS)
def test_masked_images_move_diagrams_no_further_than_their_pixels(name: str, seed: int) -> None:
    (constant,) = {bound.constant for bound in MASKS[name].stability(SUP).branches.values()}
    assert excess_of_masks(MASKS[name], constant, seed) <= 0
    assert excess_of_masks(MASKS[name], constant / 2, seed) > 0  # the law can fail


def test_masks_tell_directions_apart_where_images_alone_do_not() -> None:
    six = np.zeros((8, 8))
    six[1:7, 2:6] = [[0, 9, 0, 0], [9, 0, 0, 0], [9, 9, 9, 0], [9, 0, 9, 0], [9, 9, 9, 0], [0] * 4]
    nine = six[::-1, ::-1].copy()
    whole = MaskedPersistence().fit_transform([six, nine])
    upper = MaskedPersistence(half_planes((8, 8), 4, (0.6,))[1]).fit_transform([six, nine])
    for k in (0, 1):
        np.testing.assert_array_equal(whole.diagram(0, k), whole.diagram(1, k))
    assert (len(upper.diagram(0, 1)), len(upper.diagram(1, 1))) == (0, 1)


def excess_of_series(filtration: SeriesPersistence, factor: float, seed: int) -> float:
    """How far ordered deaths in H0, and H1, move beyond `factor` times what is claimed."""
    rng, worst = np.random.default_rng(seed), -np.inf
    for _ in range(20):
        series = rng.normal(size=(30, 4))
        epsilon = rng.choice([1e-3, 0.1])
        # two kinds of displacement: of any sign, and away from the middle, which is tight in H0
        away = np.sign(series - np.median(series, axis=0))
        signs = away if rng.random() < 0.5 else rng.choice([-1.0, 1.0], size=series.shape)
        diagrams = filtration.fit_transform([series, series + epsilon * signs])
        branches = filtration.stability().branches
        deaths = [np.sort(diagrams.diagram(i, 0)[:, 1]) for i in (0, 1)]
        moves = {
            "H0": np.abs(deaths[0] - deaths[1]).max(),
            "H1": gudhi.hera.bottleneck_distance(
                diagrams.diagram(0, 1), diagrams.diagram(1, 1), 0.0
            ),
        }
        for name, move in moves.items():
            # alpha's values are right to 1e-12 of the largest coordinate
            worst = max(worst, move - factor * branches[name].constant * epsilon - 1e-11)
    return worst


@pytest.mark.parametrize(
    "filtration", [SeriesPersistence((0, 2, 3)), SeriesPersistence((1,), 2, 3)]
)
def test_series_move_diagrams_no_further_than_claimed(
    filtration: SeriesPersistence, seed: int
) -> None:
    assert excess_of_series(filtration, 1.0, seed) <= 0


def test_the_constant_of_series_is_attained() -> None:
    # Two points in space, moved apart along the diagonal: each by √3 ε, so half their distance too.
    series = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    epsilon = 0.125
    moved = series + epsilon * np.array([[-1.0], [1.0]])
    filtration = SeriesPersistence((0, 1, 2), homology_dimensions=(0,))
    first, second = filtration.fit_transform([series, moved]).bars[0][:, 1]
    constant = filtration.stability().branches["H0"].constant
    assert second - first == pytest.approx(constant * epsilon, rel=1e-12)
    assert second - first > 0.5 * constant * epsilon


def test_sorted_values_move_no_further_than_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stage = SortedValues(7)
    for _ in range(50):
        series = rng.normal(size=(23, 3))
        change = rng.uniform(-0.1, 0.1, size=series.shape)
        before, after = stage.fit_transform([series, series + change])
        assert np.abs(before - after).max() <= np.abs(change).max() + 1e-13
    # and means of blocks, not of other ranks: 23 values are 2 · 4 + 5 · 3
    ranks = np.arange(23.0)[::-1, None]
    assert SortedValues(7).fit_transform([ranks])[0, :3].tolist() == [20.5, 16.5, 13.0]


# Gradients: the logits that are descended are those of the pipeline.

STAGES: dict[str, tuple[Any, str, Callable[[np.random.Generator], Array]]] = {
    "masks": (
        LipschitzUnion(
            [
                ("a", make_pipeline(MASKS["half"], Landscapes(positions=[-8.0, -2.0], n_levels=2))),
                ("b", make_pipeline(MASKS["none"], Landscapes(positions=[-8.0, -2.0], n_levels=2))),
            ]
        ),
        "sup",
        lambda rng: rng.integers(0, 17, size=(8, 8)) + rng.uniform(0, 0.1, size=(8, 8)),
    ),
    "pixels": (Pixels(), "per_coordinate", lambda rng: rng.normal(size=(16, 1))),
    "series": (
        LipschitzUnion(
            [("a", make_pipeline(SeriesPersistence((1,), 2, 3), StableRank(n_ranks=5)))]
        ),
        "per_coordinate",
        lambda rng: rng.normal(size=(20, 2)),
    ),
    "sorted values": (SortedValues(4), "per_coordinate", lambda rng: rng.normal(size=(20, 2))),
    "raw field": (
        DistanceField((1, 3), resolution=4, box=((0, 0), (1, 1)), periodic=True),
        "per_point",
        lambda rng: rng.random((20, 2)),
    ),
    "sorted field": (
        DistanceField((2,), resolution=5, box=((0, 0), (1, 2)), values="sorted", blocks=6),
        "per_point",
        lambda rng: rng.random((20, 2)),
    ),
    "neighbours": (
        SortedNeighbourDistances((1, 4), blocks=6),
        "per_point",
        lambda rng: rng.random((20, 2)),
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_logits_in_torch_are_those_of_the_pipeline(name: str, seed: int) -> None:
    stage, threat, make = STAGES[name]
    rng = np.random.default_rng(seed)
    X, y = [make(rng) for _ in range(12)], np.arange(12) % 2
    vectors = stage.fit_transform(X)
    network = LipschitzClassifier(hidden=(4,), max_epochs=2, random_state=0).fit(vectors, y)
    pipeline = make_pipeline(stage, network)
    points = torch.from_numpy(
        np.concatenate([x if threat != "sup" else x.reshape(-1, 1) for x in X])
    )
    offsets = np.cumsum([0, *(x.size if threat == "sup" else len(x) for x in X)])
    points.requires_grad_()
    logits = DifferentiablePipeline(pipeline).logits(points, offsets, [x.shape for x in X])
    np.testing.assert_allclose(
        logits.detach().numpy(), network.logits(stage.transform(X)), rtol=0, atol=1e-9
    )
    # the derivative along a direction is the difference quotient
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), points)
    direction = torch.from_numpy(rng.normal(size=tuple(points.shape)))
    h = 1e-7
    ahead, behind = (
        DifferentiablePipeline(pipeline)
        .logits(points.detach() + s * h * direction, offsets, [x.shape for x in X])[:, 0]
        .sum()
        for s in (1, -1)
    )
    quotient = float((ahead - behind) / (2 * h))
    assert float((gradient * direction).sum()) == pytest.approx(quotient, rel=1e-3, abs=1e-5)
    assert gradient.abs().max() > 0


def test_certified_below_attacked_below_clean_is_asserted() -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(20, 1)) + 2 * (i % 2) for i in range(12)]
    y = np.arange(12) % 2
    stage = Pixels()
    network = LipschitzClassifier(hidden=(4,), max_epochs=20, random_state=0)
    pipeline = make_pipeline(stage, network.fit(stage.fit_transform(X), y))
    claims = certify(pipeline, X, threat="per_coordinate", method="global")
    share = attacked_accuracy(pipeline, X, y, claims, 8.0, seed=0)
    assert claims.certified_accuracy(y, 8.0) <= share < (claims.prediction == y).mean()
    lies = replace(claims, radius=np.full(len(y), 9.0))
    with pytest.raises(RuntimeError, match="certified <= attacked <= clean is violated"):
        attacked_accuracy(pipeline, X, y, lies, 8.0, seed=0)


# Motions of clouds: what does not change by theory does not.


@pytest.mark.parametrize("motion", invariance.MOTIONS)
def test_motions_leave_the_torus_grid_as_it_is(motion: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).random((60, 2))
    moved = invariance.MOTIONS[motion](cloud)
    field = DistanceField((1, 5), values="sorted", **invariance.TORUS)
    np.testing.assert_allclose(*field.fit_transform([cloud, moved]), rtol=0, atol=1e-14)
    raw = DistanceField((1, 5), **invariance.TORUS)
    before, after = raw.fit_transform([cloud, moved])
    assert (np.abs(before - after).max() > 1e-3) == (motion != "as it is")
    if motion != "shift by a quarter":  # rigid in the plane too
        ranks = StableRank().fit_transform(AlphaPersistence().fit_transform([cloud, moved]))
        np.testing.assert_allclose(ranks[0], ranks[1], rtol=0, atol=1e-12)


# Outliers, outlines.


def test_a_certificate_that_outliers_break_is_reported() -> None:
    def claims(radius: float, prediction: int) -> Certificates:
        return Certificates(
            radius=np.array([radius]),
            prediction=np.array([prediction]),
            margin=np.array([1.0]),
            threat="points",
            unit="points",
            chain=None,
            method="best",
            route=np.array(["linear"]),
            closed=True,
        )

    assert outliers.kept(claims(3, 0), claims(0, 0), 3) == 1.0
    assert outliers.kept(claims(3, 0), claims(0, 1), 4) == 0.0
    with pytest.raises(RuntimeError, match="3 outliers change a prediction"):
        outliers.kept(claims(3, 0), claims(0, 1), 3)


# The whole, on data so small that it takes seconds.

TINY: dict[str, Callable[[], dict[str, dict[str, float]]]] = {
    "invariance": lambda: invariance.run(1, 4, 60, n_attacked=1, most_epochs=2),
    "outliers": lambda: outliers.run(1, n_train=9, n_test=3, n_attacked=1),
}


@pytest.mark.parametrize("name", TINY)
def test_rows_are_in_order(name: str) -> None:
    rows = TINY[name]()
    assert len(rows) >= 4
    attacks = 0
    for row in rows.values():
        assert all(0 <= value <= 1 or "median" in key for key, value in row.items())
        for key, share in row.items():
            if key.startswith("attacked") and "k=" not in key:
                (certified,) = (
                    row[other]
                    for other in row
                    if other.startswith(f"certified {key[9:]}, attacked")
                )
                (clean,) = (row[other] for other in row if other.startswith("clean, attacked"))
                assert certified <= share <= clean
                attacks += 1
    assert attacks > 0


@pytest.mark.parametrize("name", ["directions", "series", "record"])
def test_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(import_module(f"benchmarks.{name}"), optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0


def test_markdown_has_a_dash_where_there_is_no_number() -> None:
    table = {"a": {"clean": {"mean": 1.0, "std": 0.0}}, "b": {"seen": {"mean": 0.0, "std": 0.0}}}
    assert markdown_table(table, ["clean", "seen"]).splitlines()[2:] == [
        "| a | 100.0 ± 0.0 | – |",
        "| b | – | 0.0 ± 0.0 |",
    ]
