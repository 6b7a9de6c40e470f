"""Noise on digits: every noise, filtration and distance against values that are known by hand."""

from __future__ import annotations

import doctest
import math
import re
from importlib import import_module
from typing import Any

import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.base import clone

from benchmarks import image_filtrations as images_of
from benchmarks import noise, noise_report, noises
from benchmarks.block_svm import BlockSVM
from benchmarks.noises import CLEAN, INK, NOISES, noisy
from benchmarks.scale_space import ScaleSpace
from benchmarks.signatures import (
    distance,
    relative_diagram_distances,
    relative_distance,
    vectorizers,
)
from stablerank import Certificates, DiagramBatch

Array = NDArray[np.float64]


def random_images(seed: int, n: int = 20) -> Array:
    """With a margin, and full grey levels inside."""
    inside = np.random.default_rng(seed).integers(0, 17, size=(n, 8, 8)).astype(float)
    return noises.with_margin(inside)


# Noises: closed forms.


def test_translation_moves_pixels_and_loses_none_within_the_margin(seed: int) -> None:
    images = random_images(seed)
    moved = noisy(images, "translation 1 1", seed)
    assert np.array_equal(moved[:, :-1, :-1], images[:, 1:, 1:])
    back = noisy(images, "translation −2 −2", seed)
    assert np.array_equal(back[:, 2:, 2:], images[:, :-2, :-2])
    # half a pixel: the mean of two neighbours
    half = noises.translation(images, (0.5, 0))
    np.testing.assert_allclose(half[:, :-1], (images[:, :-1] + images[:, 1:]) / 2, atol=1e-12)


def test_a_quarter_turn_moves_pixels_and_changes_none(seed: int) -> None:
    images = random_images(seed)
    assert np.array_equal(noisy(images, "rotation −90°", seed), np.rot90(images, axes=(1, 2)))


def test_a_turn_by_45_degrees_interpolates_between_pixels() -> None:
    # 3 × 3: the pixel above the middle takes what lay 1 away under 45°, at (±√½, ±√½) of it
    image = np.zeros((1, 3, 3))
    image[0, 2, 0] = INK
    turned = noises.rotation(image, 45)
    # clockwise, the corner below left goes to the left: weights √½ · √½ there, and nowhere else
    expected = np.zeros((3, 3))
    expected[1, 0] = INK / 2
    middle_row = turned[0].copy()
    middle_row[0], middle_row[2] = 0, 0  # their corners lie outside: nearest pixels
    np.testing.assert_allclose(middle_row, expected, atol=1e-12)


def test_stretch_shear_and_reflection() -> None:
    # Row r shows row c + 2 (r − c): of 5 rows, c = 2, the first and the last show the nearest.
    image = np.arange(5.0)[:, None] * np.ones(5)
    stretched = noises.stretch(image[None], 2.0, 0.0, None)[0]
    assert stretched[:, 0].tolist() == [0, 0, 2, 4, 4]
    columns = image.T[None]
    assert np.array_equal(noises.stretch(columns, 1.0, 0.0, axis=2)[0], image.T[:, ::-1])
    assert np.array_equal(noises.stretch(image[None], 1.0, 0.0, axis=1)[0], image[::-1])
    # sheared by an angle of sine ½: the row in column j is the middle's − (j − 2) / 2
    sheared = noises.stretch(image[None], 1.0, 30.0, None)[0]
    np.testing.assert_allclose(sheared[2], [3, 2.5, 2, 1.5, 1], atol=1e-12)


def test_brightness_and_contrast_clip_at_the_range() -> None:
    image = np.array([[[0.0, 2.0, 8.0, 15.0, 16.0]]])
    assert noises.brightness(image, 3.0).tolist() == [[[3, 5, 11, 16, 16]]]
    assert noises.brightness(image, -3.0).tolist() == [[[0, 0, 5, 12, 13]]]
    assert noises.contrast(image, 2.0).tolist() == [[[0, 4, 16, 16, 16]]]
    assert noises.contrast(image, 0.5).tolist() == [[[0, 1, 4, 7.5, 8]]]
    # the paper's levels are out of 255
    white = np.zeros((1, 1, 1))
    assert noisy(white, "brightness 100", 0).item() == pytest.approx(16 * 100 / 255, rel=1e-14)


def test_salt_and_pepper_in_their_shares(seed: int) -> None:
    grey = np.full((100, 12, 12), 7.0)
    changed = noisy(grey, "salt and pepper 10 %", seed)
    assert set(np.unique(changed)) == {0.0, 7.0, INK}
    for value, share in ((0.0, 0.05), (INK, 0.05), (7.0, 0.9)):
        low, high = binom.interval(1 - 1e-9, grey.size, share)
        assert low <= (changed == value).sum() <= high


def test_gaussian_and_shot_have_their_deviations(seed: int) -> None:
    # at 8, between the ends, clipping at 8 deviations or more is never seen
    grey = np.full((50, 12, 12), 8.0)
    rng = np.random.default_rng(seed)
    n = grey.size
    for moved, deviation in (
        (noises.gaussian(grey, 1.0, rng), 1.0),
        (noises.shot(grey, 0.125, rng), 1.0),  # the root of 8 · 0.125
    ):
        assert abs(moved.mean() - 8.0) <= 6 * deviation / math.sqrt(n)
        # the variance of n normal numbers has a relative deviation of √(2 / n)
        assert abs(moved.var() - deviation**2) <= 6 * deviation**2 * math.sqrt(2.1 / n)
    steps = noises.shot(grey, 0.125, rng) / 0.125
    assert np.array_equal(steps, np.round(steps))
    assert (noises.shot(np.zeros((1, 9, 9)), 1.0, rng) == 0).all()  # there is no light


IDENTITIES = {
    "rotation": lambda f, rng: noises.rotation(f, 0),
    "full turn": lambda f, rng: noises.rotation(f, 360),
    "translation": lambda f, rng: noises.translation(f, (0, 0)),
    "stretch": lambda f, rng: noises.stretch(f, 1.0, 0.0, None),
    "brightness": lambda f, rng: noises.brightness(f, 0),
    "contrast": lambda f, rng: noises.contrast(f, 1),
    "gaussian": lambda f, rng: noises.gaussian(f, 0, rng),
    "salt and pepper": lambda f, rng: noises.salt_and_pepper(f, 0, rng),
    "shot": lambda f, rng: noises.shot(f, 0, rng),
    CLEAN: NOISES[CLEAN],
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_no_noise_at_level_zero(name: str, seed: int) -> None:
    images = random_images(seed)
    assert np.array_equal(IDENTITIES[name](images, np.random.default_rng(seed)), images)


@pytest.mark.parametrize("name", NOISES)
def test_noise_stays_in_range_and_follows_from_the_seed(name: str, seed: int) -> None:
    images = random_images(seed)
    images.flags.writeable = False
    moved = noisy(images, name, seed)
    assert moved.shape == images.shape
    assert moved.min() >= 0
    assert moved.max() <= INK
    assert np.array_equal(moved, noisy(images, name, seed))
    assert np.array_equal(moved, images) == (name == CLEAN)
    random = name.startswith(("Gaussian", "salt", "shot"))
    assert np.array_equal(moved, noisy(images, name, seed + 1)) != random


def test_there_are_eight_kinds_at_two_levels() -> None:
    assert len(NOISES) == 17
    for kind in noises.KINDS:
        assert len(noises.noises_of([kind])) == 2
    assert noises.noises_of(["shot", "contrast"]) == [
        "contrast 2",
        "contrast 0.5",
        "shot 50",
        "shot 100",
    ]


# Filtrations: by hand. A ring of 16, with a gap of 4 at its right, around a pixel of 2.

RING = np.array([[16.0, 16.0, 16.0], [16.0, 2.0, 4.0], [16.0, 16.0, 16.0]])
AROUND = np.pad(RING, 1)


def bars(filtration: str, image: Array) -> dict[int, list[list[float]]]:
    batch = images_of.filtrations(image.shape)[filtration].transform(image[None])
    return {k: np.round(batch.diagram(0, k), 12).tolist() for k in (0, 1)}


def test_values_on_pixels() -> None:
    bright = np.ones((3, 3), dtype=int)
    bright[1, 1:] = 0
    assert np.array_equal(images_of.binary_values(RING), 1 - bright)
    assert np.array_equal(images_of.greyscale_values(RING), 16 - RING)
    # not bright of the five within 1, those outside included: 3 at the corner are the two outside
    assert images_of.density_values(RING).tolist() == [[2, 2, 3], [2, 2, 3], [2, 2, 3]]
    s = math.sqrt
    expected = [[0, 1, 2], [1, s(8), s(8)], [2, s(5), s(8)]]
    np.testing.assert_allclose(images_of.radial_values(RING), expected, rtol=1e-15)


def test_exactly_half_is_bright_and_a_blank_image_is_all_bright() -> None:
    assert images_of.bright(np.array([[16.0, 8.0, 7.999]])).tolist() == [[True, True, False]]
    assert images_of.bright(np.zeros((2, 2))).all()  # so no cloud is ever empty


def test_grey_filtrations_by_hand() -> None:
    # The gap is open: the ring is one component for ever, and no loop, pixels being cells whose
    # corners touch: the two ends of the ring are two apart.
    assert bars("binary", AROUND) == {0: [[0, 1]], 1: []}
    # Its loop closes when the 4 comes, at 12, and is filled by the 2 in the middle, at 14.
    assert bars("greyscale", AROUND) == {0: [[0, 16]], 1: [[12, 14]]}
    # Two pixels that touch at a corner are one component; two apart are two, until all is there.
    two = np.zeros((4, 5))
    two[1, 1], two[2, 2], two[1, 4] = 16, 16, 16
    assert bars("binary", two) == {0: [[0, 1], [0, 1]], 1: []}
    # ... and by their distances from the corner, until the farthest, 5 = √(3² + 4²).
    s = math.sqrt
    assert bars("radial", two) == {
        0: np.round([[s(2), 5], [s(17), 5]], 12).tolist(),
        1: [],
    }


def test_density_by_hand() -> None:
    # A bright square of 4 in 6 × 6: inside it 3 of 5 are bright, so 2; next to it 1, so 4.
    square = np.zeros((6, 6))
    square[2:4, 2:4] = 16
    assert bars("density", square) == {0: [[2, 5]], 1: []}


def test_point_filtrations_by_hand() -> None:
    # Three pixels: (0, 0), (0, 3), (4, 3) are 3, 4, 5 apart.
    corners = np.zeros((5, 4))
    corners[0, 0] = corners[0, 3] = corners[4, 3] = 16
    assert bars("Rips", corners) == {0: [[0, 8], [0, 4], [0, 3]], 1: []}
    # n = 3: one neighbour, oneself, so the distance to measure is 0, and all is as in Rips
    assert bars("distance to measure", corners) == bars("Rips", corners)
    # The corners of a square of side 2: a loop from 2 to √8
    square = np.zeros((4, 4))
    square[0, 0] = square[0, 2] = square[2, 0] = square[2, 2] = 16
    expected = {0: [[0, 8], [0, 2], [0, 2], [0, 2]], 1: np.round([[[2, 8**0.5]]], 12)[0].tolist()}
    assert bars("Rips", square) == bars("distance to measure", square) == expected
    # 9 apart is cut at 8
    far = np.zeros((1, 10))
    far[0, 0] = far[0, 9] = 16
    assert bars("Rips", far) == bars("distance to measure", far) == {0: [[0, 8], [0, 8]], 1: []}


def test_distance_to_measure_delays_what_is_alone() -> None:
    # 10 points in a row: k = 2, f = √((0² + 1²) / 2) = √½ for all, who are born at √2, and joined
    # at 2 √½ + 1. The eleventh, 3 further on: f = √(9 / 2), born at √18, where it is not yet
    # joined: that is at √½ + √(9/2) + 3 = √8 + 3.
    row = np.zeros((1, 14))
    row[0, :10] = row[0, 12] = 16
    s = math.sqrt
    expected = [[s(2), 8]] + [[s(2), s(2) + 1]] * 9 + [[s(18), s(8) + 3]]
    found = bars("distance to measure", row)
    assert found[1] == []
    np.testing.assert_allclose(sorted(found[0]), sorted(np.round(expected, 12).tolist()))


def test_moves_by_whole_pixels_change_radial_alone(seed: int) -> None:
    images = random_images(seed, 5)
    for noise_name in ("translation 1 1", "rotation −90°"):
        moved = noisy(images, noise_name, 0)
        for name, filtration in images_of.filtrations((12, 12)).items():
            before, after = filtration.transform(images), filtration.transform(moved)
            moves = relative_diagram_distances(before, {"moved": after}, "Wasserstein")
            assert (moves["moved"] < 1e-9) == (name != "radial")


# Signatures and distances.


def test_scale_space_is_the_kernel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    diagrams = []
    for n in (0, 1, 3, 6):
        births = rng.uniform(0, 5, size=n)
        diagrams.append({1: np.column_stack([births, rng.uniform(births, 10.0)])})
    sigma = 0.4
    gram = (lambda v: v @ v.T)(ScaleSpace(sigma, 10.0).fit_transform(diagrams))

    def kernel(first: Array, second: Array) -> float:  # the formula of the paper, term by term
        total = 0.0
        for p in first:
            for q in second:
                total += math.exp(-((p - q) ** 2).sum() / (8 * sigma))
                total -= math.exp(-((p - q[::-1]) ** 2).sum() / (8 * sigma))
        return total / (8 * math.pi * sigma)

    for i, first in enumerate(diagrams):
        for j, second in enumerate(diagrams):
            rounding = 1e-6 * len(first[1]) * len(second[1]) / (8 * math.pi * sigma)
            assert abs(gram[i, j] - kernel(first[1], second[1])) <= rounding


@pytest.mark.parametrize("name", ["sigma", "top"])
def test_scale_space_refuses(name: str) -> None:
    settings = {"sigma": 1.0, "top": 1.0, name: 0.0}
    with pytest.raises(ValueError, match=re.escape(f"{name}=0.0: expected a positive number")):
        ScaleSpace(**settings).fit([{0: [[0.0, 1.0]]}])


def test_every_signature_has_two_blocks_of_one_size_and_knows_nothing_of_data(seed: int) -> None:
    filtration = images_of.filtrations((12, 12))["greyscale"]
    batch = filtration.transform(random_images(seed, 6))
    dimensions = DiagramBatch.from_diagrams([{0: d[0], 1: np.empty((0, 2))} for d in batch])
    for vectorizer in vectorizers(filtration.top).values():
        vectors = vectorizer.fit_transform(batch)
        half = vectors.shape[1] // 2
        assert vectors.shape[1] % 2 == 0
        without = clone(vectorizer).fit(batch[:1]).transform(dimensions)
        np.testing.assert_array_equal(without[:, :half], vectors[:, :half])  # H0 comes first
        assert not without[:, half:].any()
        assert vectors[:, half:].any()


def test_wasserstein_is_that_of_hera_where_hera_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        first, second = (
            np.sort(rng.uniform(0, 10, size=(rng.integers(1, 8), 2)), axis=1) for _ in range(2)
        )
        reference = gudhi.hera.wasserstein_distance(
            first, second, order=1.0, internal_p=np.inf, delta=1e-4
        )
        assert distance(first, second, "Wasserstein") == pytest.approx(reference, rel=2e-4)
        assert distance(first, first[::-1], "Wasserstein") == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("metric", "expected"), [("bottleneck", 2.0), ("Wasserstein", 3.0)])
def test_distance_to_nothing(metric: str, expected: float) -> None:
    some, nothing = np.array([[0.0, 4.0], [1.0, 3.0]]), np.empty((0, 2))
    assert distance(some, nothing, metric) == distance(nothing, some, metric) == expected
    assert distance(nothing, nothing, metric) == 0
    with pytest.raises(ValueError, match=re.escape("metric='W2': expected 'bottleneck'")):
        distance(some, some, "W2")


def test_relative_distances_do_not_know_the_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean, moved = rng.normal(size=(2, 10, 4))
    value = relative_distance(clean, moved)
    assert value == pytest.approx(relative_distance(7 * clean, 7 * moved))
    assert relative_distance(clean, clean) == 0
    assert relative_distance(clean, np.roll(clean, 1, axis=0)) == 1
    with pytest.raises(ValueError, match="have the same signature"):
        relative_distance(np.ones((3, 2)), np.zeros((3, 2)))
    # H0 of two images differs by 1, H1 by 3: 4 in all, or 3 at most; noise moves H0 by 1
    first = {0: np.array([[0.0, 2.0]]), 1: np.array([[0.0, 6.0]])}
    second = {0: np.empty((0, 2)), 1: np.empty((0, 2))}
    batch = DiagramBatch.from_diagrams([first, second])
    other = DiagramBatch.from_diagrams([{**first, 0: second[0]}, second])
    # (two images are one pair, seen twice)
    noisy_ = {"none": batch, "other": other}
    wasserstein = relative_diagram_distances(batch, noisy_, "Wasserstein")
    assert wasserstein == {"none": 0.0, "other": 1 / 8}
    bottleneck = relative_diagram_distances(batch, noisy_, "bottleneck")
    assert bottleneck == {"none": 0.0, "other": 1 / 6}


# The support vector machine.


def test_blocks_weigh_the_same_whatever_their_units(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.arange(80) % 2
    X = rng.normal(size=(80, 4))
    X[:, 3] += 6 * y
    scaled = X * [1e-3, 1e-3, 1e3, 1e3]
    machine, other = BlockSVM(random_state=0).fit(X, y), BlockSVM(random_state=0).fit(scaled, y)
    assert np.array_equal(machine.predict(X), other.predict(scaled))
    assert machine.score(X, y) > 0.95
    # a block that does not vary is left out: it may do anything later
    X[:, :2] = 1.0
    machine = BlockSVM(random_state=0).fit(X, y)
    moved = X.copy()
    moved[:, :2] = 1e6
    assert np.array_equal(machine.predict(moved), machine.predict(X))
    assert 2 * machine.choice_.gamma in machine.gammas
    assert machine.choice_.cost in machine.costs


# Certificates.


def claims_of(radius: list[float], prediction: list[int]) -> Certificates:
    return Certificates(
        radius=np.array(radius),
        prediction=np.array(prediction),
        margin=np.ones(len(radius)),
        threat="sup",
        unit="pixels",
        chain=None,
        method="global",
        route=np.array(["global"] * len(radius)),
        closed=True,
    )


def test_a_violated_certificate_ends_the_run() -> None:
    clean = np.full((4, 2, 2), 5.0)
    moved = clean.copy()
    moved[0, 0, 0] += 1.0  # inside
    moved[1, 0, 0] -= 1.0  # at the radius, which is not inside
    moved[2, 0, 0] += 2.0  # outside
    claims = claims_of([1.5, 1.0, 1.5, 1.5], [3, 3, 3, 3])
    assert noise.pairs_kept(claims, clean, moved, np.array([3, 8, 8, 3])) == 1
    with pytest.raises(RuntimeError, match=re.escape("image 0 was certified up to 1.5")):
        noise.pairs_kept(claims, clean, moved, np.array([8, 3, 3, 3]))


def test_shrunk_images_are_just_inside(seed: int) -> None:
    test = {name: noisy(random_images(seed, 12), name, seed) for name in NOISES}
    radius = np.array([0.0, 0.1, 1.0, 100.0] * 3)
    near = noise.shrunk(test, radius)
    changes = np.abs(near - test[CLEAN]).max(axis=(1, 2))
    assert (changes <= radius).all()
    assert (
        changes[(radius > 0) & (radius < 2)] > 0.998 * radius[(radius > 0) & (radius < 2)]
    ).all()
    assert near.min() >= 0
    assert near.max() <= INK
    # far from their radius they are as they were: image 3 has the fourth kind
    np.testing.assert_allclose(near[3], test["shot 100"][3], rtol=0, atol=1e-14)


# The whole, on data so small that it takes seconds.


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    part = noise.run(1, n_images=80, most_epochs=1)
    return noise.summary([part])


def test_the_whole(content: dict[str, Any]) -> None:
    filtrations = list(images_of.filtrations((12, 12)))
    signatures = list(vectorizers(1.0))
    expected = ["pixels", *(f"{f}, {s}" for f in filtrations for s in signatures)]
    persistence = [row for row in content["accuracy"] if not row.startswith("network")]
    assert persistence == expected
    assert set(content["distance"]) == {
        *expected,
        *(f"{f}, {metric}" for f in filtrations for metric in noise.METRICS),
    }
    for row in content["accuracy"].values():
        assert list(row) == list(NOISES)
        assert all(0 <= cell["mean"] <= 1 for cell in row.values())
    for row in content["distance"].values():
        assert row[CLEAN]["mean"] == pytest.approx(0, abs=1e-12)
    assert (
        content["accuracy"]["greyscale, image"]["translation 1 1"]
        == (content["accuracy"]["greyscale, image"][CLEAN])
    )
    for name, shares in content["certified"].items():
        values = [share["mean"] for share in shares.values()]
        assert values == sorted(values, reverse=True)
        assert values[0] <= content["accuracy"][name][CLEAN]["mean"]
        assert content["pairs"][name] > 0


def test_tables_and_figure(content: dict[str, Any]) -> None:
    text = noise_report.markdown(content)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [2 + 17, 2 + 7, 2 + 7, 2 + 5]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert "0 predictions changed" in text
    drawing = noise_report.figure(content)
    (image,) = drawing.axes[0].images
    shown = image.get_array()
    assert shown.shape == (len(content["accuracy"]), 16)
    row = content["accuracy"]["pixels"]
    assert shown[0, 0] == pytest.approx(100 * (row[CLEAN]["mean"] - row["rotation 45°"]["mean"]))


@pytest.mark.parametrize("name", ["noises", "scale_space", "signatures", "block_svm"])
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(f"benchmarks.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
