"""Noise on grey images: eight kinds, each at two levels, after Turkeš et al. 2021 [1]_.

Images are digits of 8 × 8 pixels from 0 (paper) to 16 (ink), in a margin of 2 pixels of paper: as
in MNIST, which has 20 of 28 pixels for a digit, nothing is lost when they are turned or shifted.
Levels are the paper's. Grey levels, there out of 255, are rescaled to 16; angles, factors, shares
and whole pixels stay (a pixel is 1/8 of a digit here, and 1/20 there: two are much more). Affine
maps interpolate linearly. Everything is clipped to the range of grey levels.

References
----------
.. [1] Turkeš, Nys, Verdonck, Latré (2021), "Noise robustness of persistent homology on greyscale
   images, across filtrations and signatures", PLOS ONE 16(9). The levels are those of the authors'
   notebook, github.com/renata-turkes/turkevs2021noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import affine_transform

Images = NDArray[np.float64]

INK = 16.0
MARGIN = 2
_STEP = INK / 255  # one of the paper's grey levels

CLEAN = "none"
NOISES: dict[str, Callable[[Images, Generator], Images]] = {
    CLEAN: lambda images, rng: images,
    "rotation 45°": lambda images, rng: rotation(images, 45),
    "rotation −90°": lambda images, rng: rotation(images, -90),
    "translation 1 1": lambda images, rng: translation(images, (1, 1)),
    "translation −2 −2": lambda images, rng: translation(images, (-2, -2)),
    "stretch-shear-reflection 1.5 10° h": lambda images, rng: stretch(images, 1.5, 10, axis=2),
    "stretch-shear-reflection 0.75 −20° v": lambda images, rng: stretch(images, 0.75, -20, axis=1),
    "brightness −50": lambda images, rng: brightness(images, -50 * _STEP),
    "brightness 100": lambda images, rng: brightness(images, 100 * _STEP),
    "contrast 2": lambda images, rng: contrast(images, 2.0),
    "contrast 0.5": lambda images, rng: contrast(images, 0.5),
    "Gaussian 10": lambda images, rng: gaussian(images, 10 * _STEP, rng),
    "Gaussian 20": lambda images, rng: gaussian(images, 20 * _STEP, rng),
    "salt and pepper 5 %": lambda images, rng: salt_and_pepper(images, 0.05, rng),
    "salt and pepper 10 %": lambda images, rng: salt_and_pepper(images, 0.10, rng),
    "shot 50": lambda images, rng: shot(images, 50 * _STEP, rng),
    "shot 100": lambda images, rng: shot(images, 100 * _STEP, rng),
}
"""From a name (kind, and level in the paper's unit) to the noise."""

KINDS = (
    "rotation",
    "translation",
    "stretch-shear-reflection",
    "brightness",
    "contrast",
    "Gaussian",
    "salt and pepper",
    "shot",
)
GREY = ("brightness", "contrast", "Gaussian", "shot")
"""The kinds that change grey levels by a bounded or an expected amount: a sup norm can be small."""


def noises_of(kinds: Sequence[str]) -> list[str]:
    """The names in :data:`NOISES` of these kinds."""
    return [name for name in NOISES if name.startswith(tuple(f"{kind} " for kind in kinds))]


def with_margin(images: Images) -> Images:
    """The images, shape (n, height, width), in a margin of paper."""
    return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))


def noisy(images: Images, name: str, seed: int) -> Images:
    """Images under one of the :data:`NOISES`; each noise has random numbers of its own.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width), float64
        From 0 to 16.
    name : str
        In :data:`NOISES`.
    seed : int
    """
    return NOISES[name](images, np.random.default_rng([seed, list(NOISES).index(name)]))


def rotation(images: Images, degrees: float) -> Images:
    """Turned clockwise around the middle.

    Examples
    --------
    >>> rotation(np.array([[[1.0, 2.0], [3.0, 4.0]]]), 90)
    array([[[3., 1.],
            [4., 2.]]])
    """
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return affine(images, matrix.round(15))  # a quarter turn moves pixels, and changes none


def translation(images: Images, shift: tuple[float, float]) -> Images:
    """Shifted up by the first and left by the second number of pixels."""
    return affine(images, np.eye(2), shift)


def stretch(images: Images, factor: float, degrees: float, axis: int | None) -> Images:
    """Heights divided by a factor, then sheared, and reflected along an axis of the array."""
    angle = np.deg2rad(degrees)
    shear = np.array([[1.0, -np.sin(angle)], [0.0, np.cos(angle)]])
    moved = affine(images, shear @ np.diag([factor, 1.0]))
    return moved if axis is None else np.flip(moved, axis=axis)


def affine(images: Images, matrix: ArrayLike, shift: tuple[float, float] = (0.0, 0.0)) -> Images:
    """At pixel p what was at ``c + matrix (p − c) + shift``, c the middle, interpolated linearly.

    Outside lies what is nearest, as in the paper's code.
    """
    matrix = np.asarray(matrix, dtype=float)
    middle = (np.array(images.shape[1:]) - 1) / 2
    offset = middle - matrix @ middle + np.asarray(shift)
    moved = [affine_transform(f, matrix, offset, order=1, mode="nearest") for f in images]
    return _clipped(np.stack(moved))


def brightness(images: Images, change: float) -> Images:
    """All grey levels plus a number."""
    return _clipped(images + change)


def contrast(images: Images, factor: float) -> Images:
    """All grey levels times a number."""
    return _clipped(images * factor)


def gaussian(images: Images, deviation: float, rng: Generator) -> Images:
    """Plus a normal number for each pixel."""
    return _clipped(images + deviation * rng.normal(size=images.shape))


def salt_and_pepper(images: Images, share: float, rng: Generator) -> Images:
    """Each pixel, with a probability, is made ink or paper, as a coin says."""
    changed = rng.random(images.shape) < share
    return np.where(changed, np.where(rng.random(images.shape) < 0.5, INK, 0.0), images)


def shot(images: Images, step: float, rng: Generator) -> Images:
    """Each grey level f becomes a Poisson number of mean f / step, times the step."""
    if step == 0:  # the limit
        return images.copy()
    return _clipped(rng.poisson(images / step) * step)


def _clipped(images: Images) -> Images:
    return np.clip(images, 0.0, INK)
