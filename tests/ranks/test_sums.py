"""Persistence images: by hand, by a slow reference, and why they have no constant (R5)."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks import PersistenceImages
from stablerank.stability import BOTTLENECK, StabilityError

Array = NDArray[np.float64]

PIXELS = [[0.0, 0.5, 0.3], [0.0, 1.0, 2.0], [0.5, 1.5, 0.5]]


def random_batch(rng: np.random.Generator, n_clouds: int) -> DiagramBatch:
    births = [rng.uniform(0, 2, rng.integers(0, 30)) for _ in range(n_clouds)]
    return DiagramBatch.from_diagrams(
        [{1: np.column_stack([b, b + rng.exponential(size=b.size)])} for b in births]
    )


def test_an_image_by_hand() -> None:
    # (0, 4) weighs 2 - 1/2 and is 1 away in the death: 1.5 exp(-1/2); (1, 2) weighs 0
    images = PersistenceImages(tau=0.5, pixels=[[0, 3, 1]])
    found = images.fit_transform([{1: [[0, 4], [1, 2]]}])
    assert found[0, 0] == pytest.approx(1.5 * math.exp(-0.5), rel=1e-15)


def test_images_are_sums_over_the_bars(seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 20)
    found = PersistenceImages(tau=0.1, pixels=PIXELS).fit_transform(batch)
    for i in range(len(batch)):
        for (b, d, width), value in zip(PIXELS, found[i], strict=True):
            terms = [
                max((death - birth) / 2 - 0.1, 0)
                * math.exp(-(math.hypot(birth - b, death - d) ** 2) / (2 * width**2))
                for birth, death in batch.diagram(i, 1).tolist()
            ]
            assert value == pytest.approx(math.fsum(terms), rel=1e-13, abs=1e-300)


def test_tau_and_pixels_follow_the_training_bars() -> None:
    # lengths 1, 2, 3, 7, 9: tau is 3/2, and pixels follow the bars of lengths 7 and 9, which are
    # cut in two parts of one bar
    images = PersistenceImages(n_pixels=4).fit([{1: [[0, 1], [0, 2], [0, 3], [1, 8], [2, 11]]}])
    assert images.tau_ == {1: 1.5}
    assert images.pixels_[1].tolist() == [[1, 8, 3.5], [1, 8, 3.5], [2, 11, 4.5], [2, 11, 4.5]]
    empty = PersistenceImages(n_pixels=2).fit([{0: [], 1: [[0, 1]]}])
    assert empty.tau_ == {0: 0, 1: 0.5}
    assert (empty.pixels_[0][:, 2] > 0).all()
    assert empty.get_feature_names_out().tolist() == [
        "H0_pixel0",
        "H0_pixel1",
        "H1_pixel0",
        "H1_pixel1",
    ]
    assert empty.transform([{0: [], 1: []}]).tolist() == [[0.0] * 4]


def test_a_constant_is_refused_and_there_is_none() -> None:
    # n bars (0, 2) that all move by 0.1: the bottleneck distance is 0.1 whatever n is
    images = PersistenceImages(tau=0.5, pixels=[[0, 2, 1e9]])
    moved = []
    for n in (1, 10, 1000):
        vectors = images.fit_transform([{1: [[0, 2]] * n}, {1: [[0, 2.1]] * n}])
        moved.append(float(vectors[1, 0] - vectors[0, 0]))
    assert moved == pytest.approx([0.05, 0.5, 50], rel=1e-9)
    with pytest.raises(StabilityError, match=re.escape("PersistenceImages has no constant from ")):
        images.stability(BOTTLENECK)


def test_from_bars_is_transform_with_gradients(seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 9)
    images = PersistenceImages(tau=0.1, pixels=PIXELS).fit(batch)
    births, deaths = batch.to_tensor(1).unbind(-1)
    found = images.from_bars({1: (births, deaths)}).numpy()
    assert found == pytest.approx(images.transform(batch), rel=1e-14)
    births = torch.tensor([[0.3, 1.1, 0.0]], dtype=torch.float64, requires_grad=True)
    deaths = torch.tensor([[1.9, 1.2, 2.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b, d: images.from_bars({1: (b, d)}), (births, deaths))


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_the_checks_of_scikit_learn_that_need_no_arrays(check: str) -> None:
    getattr(estimator_checks, check)("PersistenceImages", PersistenceImages())


def test_copies_and_pickles_give_the_same_bits(seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 9)
    images = PersistenceImages()
    vectors = images.fit_transform(batch)
    assert (pickle.loads(pickle.dumps(images)).transform(batch) == vectors).all()
    assert (clone(images).fit_transform(list(batch)) == vectors).all()


@pytest.mark.parametrize("tau", [-1.0, math.nan, math.inf, "1", True, {0: 1.0}])
def test_bad_taus_are_named(tau: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"tau={tau!r}: expected a finite number >= 0")):
        PersistenceImages(tau=tau).fit([{1: [[0, 1]]}])


def test_bad_pixels_are_named() -> None:
    with pytest.raises(ValueError, match=re.escape("pixels[0] in H1 is [1.0, 2.0, 0.0]: expected")):
        PersistenceImages(pixels=[[1, 2, 0]]).fit([{1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("of shape (n_pixels, 3)")):
        PersistenceImages(pixels=[[1, 2]]).fit([{1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("n_pixels=0: expected integers >= 1.")):
        PersistenceImages(n_pixels=0).fit([{1: [[0, 1]]}])


def test_nothing_works_before_fit() -> None:
    for call in (
        lambda: PersistenceImages().transform([{1: [[0, 1]]}]),
        lambda: PersistenceImages().from_bars({}),
        PersistenceImages().get_feature_names_out,
    ):
        with pytest.raises(NotFittedError, match="PersistenceImages"):
            call()


def test_a_missing_dimension_is_named() -> None:
    images = PersistenceImages().fit([{0: [[0, 1]], 1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
        images.transform([{0: [[0, 1]]}])
