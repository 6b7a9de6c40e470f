"""The adversary against images: every pixel changes by at most the radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from stablerank.attack.adversary import Adversary, pick_block
from stablerank.attack.balls import PerCoordinateBall
from stablerank.attack.displacement import differences_upper, pull_back
from stablerank.diagrams.cubical import check_images

Image = NDArray[np.float64]


@dataclass(frozen=True)
class StudiedImage:
    """An image, and its local extrema: where sublevel sets are born, and where they merge."""

    image: Image
    minima: NDArray[np.bool_]
    maxima: NDArray[np.bool_]


class ImageAdversary(Adversary):
    """Changes every pixel by at most the radius.

    For gradients pixels are rows of one coordinate.

    Examples
    --------
    >>> adversary = ImageAdversary()
    >>> studied = adversary.study(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> adversary.shorten(studied, np.full((2, 2), 9.0), 0.5).round(9).tolist()
    [[0.5, 1.5], [2.5, 3.5]]
    """

    ball = PerCoordinateBall()

    def check(self, X: Any) -> list[Image]:
        """The images, in float64."""
        return check_images(X)

    def study(self, original: Image) -> StudiedImage:
        """Find local extrema among neighbouring pixels."""
        return StudiedImage(
            original,
            original == minimum_filter(original, size=3, mode="nearest"),
            original == maximum_filter(original, size=3, mode="nearest"),
        )

    def original(self, studied: StudiedImage) -> Image:
        """The image itself."""
        return studied.image

    def rows(self, studied: StudiedImage) -> Image:
        """The pixels, shape (n_pixels, 1)."""
        return studied.image.reshape(-1, 1)

    def from_rows(self, studied: StudiedImage, rows: Image) -> Image:
        """The image of these pixels."""
        return rows.reshape(studied.image.shape)

    def propose(self, studied: StudiedImage, radius: float, turn: int, rng: Generator) -> Image:
        """In turns: extrema levelled or raised, contrast at a level, smooth signs, any signs."""
        image, sign = studied.image, rng.choice([-1.0, 1.0])
        kind = turn % 5
        if kind == 0:
            signs = sign * (studied.minima * 1.0 - studied.maxima * 1.0)
        elif kind == 1:
            signs = sign * np.sign(image - np.quantile(image, rng.uniform()))
        elif kind == 2:
            noise = rng.normal(size=image.shape)
            signs = np.sign(uniform_filter(noise, size=int(rng.choice([2, 3, 5]))))
        elif kind == 3:
            signs = np.where(studied.minima | studied.maxima, rng.choice([-1.0, 1.0]), sign)
        else:
            signs = rng.choice([-1.0, 0.0, 1.0], size=image.shape)
        return np.asarray(image + radius * signs)

    def change(
        self, studied: StudiedImage, candidate: Image, radius: float, share: float, rng: Generator
    ) -> Image:
        """A rectangle, extrema, or any pixels, set to an end of what is allowed."""
        image = studied.image
        chosen = np.zeros(image.shape, dtype=bool)
        kind = rng.integers(3)
        if kind == 0:
            sides = [pick_block(n, share ** (1 / image.ndim), rng) for n in image.shape]
            starts = [
                rng.integers(n - side + 1) for n, side in zip(image.shape, sides, strict=True)
            ]
            chosen[tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))] = True
        else:
            pool = (
                np.flatnonzero(studied.minima | studied.maxima)
                if kind == 1
                else np.arange(image.size)
            )
            chosen.reshape(-1)[rng.permutation(pool)[: pick_block(len(pool), share, rng)]] = True
        alike = rng.uniform() < 0.5
        signs = rng.choice([-1.0, 0.0, 1.0], size=None if alike else int(chosen.sum()))
        changed = candidate.copy()
        changed[chosen] = image[chosen] + radius * signs
        return changed

    def shorten(self, studied: StudiedImage, candidate: Image, radius: float) -> Image:
        """Every pixel pulled back to what it was."""
        image = studied.image
        pulled = pull_back(image.reshape(-1, 1), candidate.reshape(-1, 1), radius, np.inf)
        return np.asarray(pulled).reshape(image.shape)

    def displacement(self, studied: StudiedImage, candidate: Image) -> float:
        """The largest change of a pixel."""
        return float(differences_upper(candidate, studied.image).max())

    def size(self, studied: StudiedImage) -> float:
        """The range of the image's values."""
        return float(np.ptp(studied.image))
