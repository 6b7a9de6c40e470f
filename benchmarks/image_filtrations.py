"""The six filtrations of images in Turkeš et al. 2021: of grey levels, and of bright pixels.

Pixels are cells, so two that touch at a corner are neighbours, and what is ink comes first. Bright
pixels have at least half the grey level of the image's brightest, and are points in the plane for
the last two filtrations. The component that never dies is given the death `top`, the largest value
that a filtration takes: when it was born is a part of what radial, density and distance to measure
see. Nothing here claims a constant: what thresholds is not stable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gudhi
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.spatial.distance import cdist

from benchmarks.noises import INK
from stablerank import DiagramBatch, RipsPersistence

Image = NDArray[np.float64]
Diagram = NDArray[np.float64]

THRESHOLD = 0.5
CORNER = (0, 0)  # of the radial filtration, as in the paper's first figure
LONGEST_EDGE = 8.0  # births and deaths of Rips are clipped there
MASS = 0.1  # share of the points that the distance to measure averages over
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])  # the pixels within distance 1


@dataclass(frozen=True)
class ImageFiltration:
    """Diagrams of images in H0 and H1.

    Parameters
    ----------
    top : float
        The largest value: where what never dies ends.
    diagrams : callable
        From images, shape (n, height, width), to their diagrams in H0 and H1, each a list of
        {k: (n_bars, 2)}; deaths may be infinite, or beyond `top`.
    """

    top: float
    diagrams: Callable[[Image], list[dict[int, Diagram]]]

    def transform(self, images: Image) -> DiagramBatch:
        """The diagrams, cut at `top`."""
        cut = [
            {k: np.minimum(bars, self.top) for k, bars in diagram.items()}
            for diagram in self.diagrams(images)
        ]
        return DiagramBatch.from_diagrams(cut, (0, 1))


def filtrations(shape: tuple[int, int]) -> dict[str, ImageFiltration]:
    """The six, for images of one shape."""
    farthest = float(radial_values(np.zeros(shape)).max())
    return {
        "binary": ImageFiltration(1.0, _of_cells(binary_values)),
        "greyscale": ImageFiltration(INK, _of_cells(greyscale_values)),
        "density": ImageFiltration(float(_CROSS.sum()), _of_cells(density_values)),
        "radial": ImageFiltration(farthest, _of_cells(radial_values)),
        "Rips": ImageFiltration(LONGEST_EDGE, rips_diagrams),
        "distance to measure": ImageFiltration(LONGEST_EDGE, dtm_diagrams),
    }


def bright(image: Image) -> NDArray[np.bool_]:
    """Which pixels have at least half of the largest grey level."""
    return image >= THRESHOLD * image.max()


def binary_values(image: Image) -> Image:
    """0 where the image is bright, 1 elsewhere."""
    return np.where(bright(image), 0.0, 1.0)


def greyscale_values(image: Image) -> Image:
    """How far below the brightest pixel."""
    return image.max() - image


def density_values(image: Image) -> Image:
    """How many of the five pixels within distance 1 are not bright; those outside are not."""
    return _CROSS.sum() - convolve(bright(image).astype(float), _CROSS, mode="constant")


def radial_values(image: Image) -> Image:
    """How far from the corner, in pixels, and the largest such distance where it is not bright."""
    rows, columns = np.indices(image.shape)
    distances = np.hypot(rows - CORNER[0], columns - CORNER[1])
    return np.where(bright(image), distances, distances.max())


def bright_points(image: Image) -> NDArray[np.float64]:
    """The places (row, column) of the bright pixels, shape (n_points, 2)."""
    return np.argwhere(bright(image)).astype(float)


def rips_diagrams(images: Image) -> list[dict[int, Diagram]]:
    """Of the bright pixels, by lengths of edges."""
    stage = RipsPersistence(max_edge_length=LONGEST_EDGE)
    finite = stage.fit_transform([bright_points(image) for image in images])
    essential = np.array([[0.0, np.inf]])
    return [{0: np.vstack([bars[0], essential]), 1: bars[1]} for bars in finite]


def dtm_diagrams(images: Image) -> list[dict[int, Diagram]]:
    """Of the bright pixels, by the filtration of Anai et al. 2019 with exponent 1, doubled.

    A point is there from 2 f on, f its distance to measure, and an edge of length l from
    max(2 f, 2 g, f + g + l) on: for f = 0 that is Rips.
    """
    trees = [weighted_rips(bright_points(image)) for image in images]
    # without this flag GUDHI leaves out H0 where there is no edge, and H1 where no triangle is
    return [_intervals(tree, persistence_dim_max=True) for tree in trees]


def weighted_rips(points: NDArray[np.float64]) -> gudhi.SimplexTree:
    """Vertices and edges as :func:`dtm_diagrams` says, and the triangles between them."""
    distances = cdist(points, points)
    twice = 2 * distance_to_measure(distances)
    edges = distances + (twice[:, None] + twice) / 2
    values = np.maximum(edges, np.maximum(twice[:, None], twice))
    np.fill_diagonal(values, twice)
    tree = gudhi.SimplexTree.create_from_array(values, max_filtration=LONGEST_EDGE)
    tree.expansion(2)
    return tree


def distance_to_measure(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The root mean square of the ⌊m n⌋ + 1 smallest of each row; oneself is among them."""
    k = int(MASS * len(distances)) + 1
    nearest = np.sort(distances, axis=1)[:, :k]
    return np.sqrt((nearest**2).mean(axis=1))


def _of_cells(
    values: Callable[[Image], Image],
) -> Callable[[Image], list[dict[int, Diagram]]]:
    def diagrams(images: Image) -> list[dict[int, Diagram]]:
        return [
            _intervals(gudhi.CubicalComplex(top_dimensional_cells=values(image)))
            for image in images
        ]

    return diagrams


def _intervals(complex_: Any, **settings: bool) -> dict[int, Diagram]:
    complex_.compute_persistence(**settings)
    return {
        k: np.asarray(complex_.persistence_intervals_in_dimension(k)).reshape(-1, 2) for k in (0, 1)
    }
