"""The baselines' vectors: closed forms (doctests), GUDHI's values, the contract, refusals."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import gudhi.representations as representations
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import benchmarks.baselines.images as images
from benchmarks.baselines import (
    BettiCurves,
    Landscapes,
    PersistenceImages,
    Silhouettes,
    Vectorizer,
)
from stablerank.diagrams import DiagramBatch

PAIRS: dict[str, tuple[Vectorizer, Callable[[], Any]]] = {
    "images": (
        PersistenceImages(bandwidth=0.3, resolution=(20, 13)),
        lambda: representations.PersistenceImage(bandwidth=0.3, resolution=[20, 13]),
    ),
    "weighted images of a given range": (
        PersistenceImages(bandwidth=0.07, power=1.5, resolution=(7, 20), im_range=(0, 1, 0.1, 2)),
        lambda: representations.PersistenceImage(
            bandwidth=0.07,
            weight=lambda p: p[1] ** 1.5,
            resolution=[7, 20],
            im_range=[0, 1, 0.1, 2],
        ),
    ),
    "landscapes": (
        Landscapes(num_landscapes=4, resolution=50),
        lambda: representations.Landscape(num_landscapes=4, resolution=50),
    ),
    "landscapes of a given range": (
        Landscapes(resolution=33, sample_range=(0.2, 0.9)),
        lambda: representations.Landscape(resolution=33, sample_range=[0.2, 0.9]),
    ),
    "silhouettes": (
        Silhouettes(resolution=50),
        lambda: representations.Silhouette(resolution=50),
    ),
    "weighted silhouettes of a given range": (
        Silhouettes(power=2, resolution=33, sample_range=(-1, 4)),
        lambda: representations.Silhouette(
            weight=lambda p: (p[1] - p[0]) ** 2, resolution=33, sample_range=[-1, 4]
        ),
    ),
    "Betti curves": (
        BettiCurves(resolution=50),
        lambda: representations.BettiCurve(resolution=50),
    ),
    "Betti curves of a given range": (
        BettiCurves(resolution=9, sample_range=(0, 2)),
        lambda: representations.BettiCurve(resolution=9, sample_range=[0, 2]),
    ),
}


def make_batch(seed: int, n_clouds: int = 40) -> DiagramBatch:
    """Diagrams of 0 to 60 bars, births and deaths on a coarse grid now and then, so ties occur."""
    rng = np.random.default_rng(seed)
    clouds = []
    for _ in range(n_clouds):
        cloud = {}
        for dimension in (0, 1):
            births = rng.random(rng.integers(0, 61)) * dimension
            bars = np.column_stack([births, births + rng.exponential(size=len(births)) + 1e-6])
            if rng.random() < 0.3:
                bars = np.round(bars * 4) / 4 + [0, 0.25]
            cloud[dimension] = bars
        clouds.append(cloud)
    clouds[3] = {0: np.empty((0, 2)), 1: np.empty((0, 2))}
    clouds[5] = {0: np.array([[0.0, 1.0]]), 1: np.array([[0.25, 1.0]])}
    return DiagramBatch.from_diagrams(clouds)


def gudhis(make: Callable[[], Any], batch: DiagramBatch) -> NDArray[np.float64]:
    blocks = [
        make().fit_transform([batch.diagram(i, dimension) for i in range(len(batch))])
        for dimension in batch.homology_dimensions
    ]
    return np.concatenate(blocks, axis=1).astype(float)


def disagreement(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The largest difference, relative to the value; nothing counts below 1e-290."""
    return float((np.abs(ours - theirs) / (np.abs(theirs) + 1e-290)).max())


@pytest.mark.parametrize("name", PAIRS)
def test_values_are_gudhis(name: str, seed: int) -> None:
    model, make = PAIRS[name]
    batch = make_batch(seed)
    assert disagreement(clone(model).fit_transform(batch), gudhis(make, batch)) <= 1e-9


def test_landscapes_and_betti_curves_are_gudhis_to_the_last_bit(seed: int) -> None:
    batch = make_batch(seed)
    for name in ("landscapes", "Betti curves"):
        model, make = PAIRS[name]
        np.testing.assert_array_equal(clone(model).fit_transform(batch), gudhis(make, batch))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("images", PersistenceImages(bandwidth=0.3 * (1 + 1e-8), resolution=(20, 13))),
        ("images", PersistenceImages(bandwidth=0.3, power=1, resolution=(20, 13))),
        ("landscapes", Landscapes(num_landscapes=4, resolution=50, sample_range=(0, 3))),
        ("silhouettes", Silhouettes(power=1e-7, resolution=50)),
        ("Betti curves", BettiCurves(resolution=50, sample_range=(0, 3))),
    ],
)
def test_the_comparison_above_can_fail(name: str, wrong: Vectorizer, seed: int) -> None:
    batch = make_batch(seed)
    assert disagreement(wrong.fit_transform(batch), gudhis(PAIRS[name][1], batch)) > 1e-9


def test_blocks_of_bounded_memory_do_not_change_images(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(seed)
    model = PersistenceImages(0.3).fit(batch)
    whole = model.transform(batch)
    monkeypatch.setattr(images, "_BLOCK", 1)  # so that each cloud is a block
    # Sums of other lengths: a matrix product of n bars is off by n units in the last place.
    np.testing.assert_allclose(model.transform(batch), whole, rtol=60 * 2**-52)


@pytest.mark.parametrize("name", PAIRS)
def test_contract(name: str, seed: int) -> None:
    model, batch = clone(PAIRS[name][0]), make_batch(seed)
    with pytest.raises(NotFittedError):
        model.transform(batch)
    vectors = model.fit(batch).transform(batch)
    assert vectors.dtype == np.float64
    assert (vectors[3] == 0).all()  # the empty diagram
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(batch), vectors)
    alone = np.concatenate([model.transform(batch[[i]]) for i in range(len(batch))])
    np.testing.assert_allclose(alone, vectors, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (PersistenceImages(bandwidth=0), "bandwidth=0: expected a positive number."),
        (PersistenceImages(power=-1), "power=-1: expected a number >= 0"),
        (PersistenceImages(resolution=(0, 2)), "resolution=0: expected an integer >= 1."),
        (PersistenceImages(im_range=(0, 1, 1, 1)), "each minimum < maximum"),
        (Landscapes(num_landscapes=0), "num_landscapes=0: expected an integer >= 1."),
        (Silhouettes(sample_range=(1, 0)), "sample_range=(1, 0): expected 2 numbers"),
        (BettiCurves(resolution=1.5), "resolution=1.5: expected an integer >= 1."),  # type: ignore[arg-type]
    ],
)
def test_bad_parameters(model: Vectorizer, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(make_batch(0))


@pytest.mark.parametrize("model", [PersistenceImages(), BettiCurves()])
def test_nothing_is_learned_from_no_bars(model: Vectorizer) -> None:
    with pytest.raises(ValueError, match="No training diagram has a bar in H1"):
        model.fit([{1: np.empty((0, 2))}])
