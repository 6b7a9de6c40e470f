"""Persistence of images seen through masks, which tell directions apart; pixels, its rival.

Persistence does not change when an image is turned, so it cannot tell 6 from 9. But for a fixed
function g on the grid, f → max(±f, g) is 1-Lipschitz in sup norm, and so is its persistence (D4):
with g low on one half of the grid and high on the other it is that of half the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from torch import Tensor

from stablerank import CubicalPersistence, Landscapes, LipschitzUnion
from stablerank.attack.gradients import bars_of_inputs
from stablerank.diagrams.batch import Diagram
from stablerank.diagrams.clouds import check_clouds
from stablerank.stability import PER_COORDINATE, Bound, Space, StabilityError

Image = NDArray[np.float64]

WHITE = 16.0
WALL, OUTSIDE = 2 * WHITE, -4 * WHITE


class MaskedPersistence(CubicalPersistence):
    """Sublevel persistence of max(−f, g), or of max(f, g), for a fixed mask g.

    A wall and, beyond it, a strip below everything are put beside the image, so that its first
    component dies at the wall, and tells when it was born, where it would never die. Both are
    constant, and negation and maximum are exact: the bound of :class:`CubicalPersistence` and its
    rounding, none, stay.

    Parameters
    ----------
    mask : ndarray of shape (height, width), optional
        g, for images of this shape; by default there is none.
    bright : bool, default=True
        Whether what is bright comes first: −f instead of f.
    homology_dimensions, n_jobs
        As in :class:`CubicalPersistence`.

    Examples
    --------
    A bright stroke, whole and cut in two by what the mask hides:

    >>> stroke = np.array([[9.0, 8.0, 9.0]])
    >>> MaskedPersistence().fit_transform([stroke]).diagram(0, 0)
    array([[-9., 32.],
           [-9., -8.]])
    >>> MaskedPersistence(np.array([[-16.0, 0.0, 0.0]])).fit_transform([stroke]).diagram(0, 0)
    array([[-9., 32.]])
    """

    def __init__(
        self,
        mask: Image | None = None,
        bright: bool = True,
        homology_dimensions: Sequence[int] = (0, 1),
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(homology_dimensions=homology_dimensions, n_jobs=n_jobs)
        self.mask = mask
        self.bright = bright

    def functions(self, image: Tensor) -> Tensor:
        """The function whose sublevel sets are taken, shape (height, width + 2)."""
        values = -image if self.bright else image
        if self.mask is not None:
            values = torch.maximum(values, torch.from_numpy(self.mask))
        beside = torch.tensor([WALL, OUTSIDE], dtype=values.dtype).expand(len(values), 2)
        return torch.cat([values, beside], dim=1)

    def differentiable_bars(self, images: list[Tensor]) -> Any:
        """Births and deaths as tensors."""
        plain = CubicalPersistence(self.homology_dimensions)
        return bars_of_inputs(plain, [self.functions(image) for image in images])

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The largest absolute value of each function."""
        mask = 0.0 if self.mask is None else float(np.abs(self.mask).max())
        return np.maximum(super().largest_values(X), max(mask, WALL, -OUTSIDE))

    def _diagrams(self, images: Sequence[Image]) -> list[dict[int, Diagram]]:
        return super()._diagrams([self.functions(torch.from_numpy(f)).numpy() for f in images])


def half_planes(shape: tuple[int, int], n_directions: int, offsets: Sequence[float]) -> list[Image]:
    """Masks that are low on one side of a line, in pixels from the centre, and high beyond it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows, columns = rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2
    masks = []
    for angle in 2 * np.pi * np.arange(n_directions) / n_directions:
        heights = rows * np.sin(angle) + columns * np.cos(angle)
        masks += [np.where(heights <= offset, -WHITE, 0.0) for offset in offsets]
    return masks


def boxes(shape: tuple[int, int], centres: Sequence[float], reach: float) -> list[Image]:
    """Masks that are low in a square around each pair of centres, and high elsewhere."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return [
        np.where(np.maximum(abs(rows - a), abs(columns - b)) <= reach, -WHITE, 0.0)
        for a in centres
        for b in centres
    ]


def landscapes_of(filtrations: Sequence[MaskedPersistence], vectorizer: Landscapes) -> Any:
    """All of them side by side, each with landscapes of its own."""
    return LipschitzUnion(
        [
            (f"part{i}", make_pipeline(filtration, Landscapes(**vectorizer.get_params())))
            for i, filtration in enumerate(filtrations)
        ]
    )


class Pixels(TransformerMixin, BaseEstimator):
    """Images as vectors of their pixels: no persistence at all.

    Images are handed in as clouds of their grey levels, (n_pixels, 1), and the sup norm is the
    threat "per_coordinate": in "sup" other stages than filtrations of images take dissimilarities.
    """

    def fit(self, X: Any, y: Any = None) -> Pixels:
        """Remember the number of pixels."""
        self.n_pixels_ = check_clouds(X)[0].size
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """The pixels, shape (n_images, n_pixels)."""
        return np.stack([image.reshape(-1) for image in check_clouds(X)])

    def differentiable_vectors(self, images: list[Tensor]) -> Tensor:
        """As `transform`, in torch."""
        return torch.stack([image.reshape(-1) for image in images])

    def stability(self, source: Space = PER_COORDINATE) -> Bound:
        """1 for each pixel."""
        if source != PER_COORDINATE:
            raise StabilityError(f"Pixels knows constants from {PER_COORDINATE}, not {source}.")
        return Bound.by_coordinate(source, np.ones(self.n_pixels_), "identity", stage="pixels")

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The largest absolute value of each image."""
        return np.abs(self.transform(X)).max(axis=1)

    def vector_rounding(self, largest_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """None."""
        return np.zeros_like(largest_values)
