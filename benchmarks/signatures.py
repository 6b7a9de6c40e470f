"""Signatures of diagrams, and how far those of noisy images are from those of clean ones.

A signature is a vector: of the diagram itself, by a kernel (:mod:`benchmarks.scale_space`), of its
landscape, persistence image, or stable rank. Diagrams have distances of their own too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gudhi.hera
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from benchmarks.baselines import Landscapes, PersistenceImages
from benchmarks.scale_space import ScaleSpace
from stablerank import DiagramBatch, StableRank

Diagram = NDArray[np.float64]

WIDTH = 0.1  # standard deviation of Gaussians, as a part of the filtration's range
N_RANKS = 64  # pixels that can be bright: the rest is cut


def vectorizers(top: float) -> dict[str, Any]:
    """The signatures, for births and deaths from 0 to `top`; none learns from data.

    Each gives H0 and H1 as many numbers, one after the other.
    """
    width = WIDTH * top
    return {
        "diagram": ScaleSpace(sigma=width**2 / 2, top=top),
        "landscape": Landscapes(num_landscapes=5, resolution=50, sample_range=(0.0, top)),
        "image": PersistenceImages(
            bandwidth=width, power=1.0, resolution=(20, 20), im_range=(0.0, top, 0.0, top)
        ),
        "stable rank": StableRank(n_ranks=N_RANKS),
    }


def relative_distance(clean: NDArray[np.float64], noisy: NDArray[np.float64]) -> float:
    """How far noise moves vectors, in mean distances between vectors of different images.

    Parameters
    ----------
    clean, noisy : ndarray of shape (n_images, n_features), float64
        Row by row of the same image, and neighbouring rows of different ones.

    Returns
    -------
    float
        In ℓ2: 0 where nothing moves, 1 where noise does as much as another image would.

    Examples
    --------
    >>> clean = np.array([[0.0, 0.0], [4.0, 0.0]])
    >>> relative_distance(clean, clean + [1.0, 0.0])
    0.25
    """
    moved = np.linalg.norm(clean - noisy, axis=1).sum()
    return _ratio(moved, np.linalg.norm(clean - np.roll(clean, 1, axis=0), axis=1).sum())


def relative_diagram_distances(
    clean: DiagramBatch, noisy: Mapping[str, DiagramBatch], metric: str
) -> dict[str, float]:
    """As :func:`relative_distance`, for diagrams under each noise.

    The metric is "bottleneck", the largest of the homology dimensions, or "Wasserstein", which is
    W₁ with ground norm ℓ∞, added over them.
    """
    join = max if metric == "bottleneck" else sum

    def total(first: list[dict[int, Diagram]], second: list[dict[int, Diagram]]) -> float:
        return sum(
            float(join([distance(a[k], b[k], metric) for k in a]))
            for a, b in zip(first, second, strict=True)
        )

    images = list(clean)
    apart = total(images, images[-1:] + images[:-1])
    return {name: _ratio(total(images, list(batch)), apart) for name, batch in noisy.items()}


def distance(first: Diagram, second: Diagram, metric: str) -> float:
    """Between two diagrams; one of them may be empty.

    Examples
    --------
    >>> distance(np.array([[0.0, 4.0]]), np.array([[1.0, 4.0], [2.0, 3.0]]), "bottleneck")
    1.0
    """
    if metric == "bottleneck":
        return float(gudhi.hera.bottleneck_distance(first, second, 0.0))
    if metric == "Wasserstein":
        return _wasserstein(first, second)
    raise ValueError(f"metric={metric!r}: expected 'bottleneck' or 'Wasserstein'.")


def _wasserstein(first: Diagram, second: Diagram) -> float:
    """Exactly: hera's auction does not come to an end where diagrams are equal or nearly so.

    All bars to the diagonal cost the sum of their half lengths; matching two of them saves what
    they are less far apart than that.
    """
    halves = [(bars[:, 1] - bars[:, 0]) / 2 for bars in (first, second)]
    saved = halves[0][:, None] + halves[1] - cdist(first, second, metric="chebyshev")
    np.maximum(saved, 0.0, out=saved)
    total = halves[0].sum() + halves[1].sum() - saved[linear_sum_assignment(saved, True)].sum()
    return max(0.0, float(total))


def _ratio(moved: float, apart: float) -> float:
    if apart == 0:
        raise ValueError("All clean images have the same signature: there is nothing to compare.")
    return float(moved / apart)
