"""Signatures of diagrams, and how far those of noisy images are from those of clean ones.

A signature is a vector: of the diagram itself, by a kernel (:mod:`benchmarks.scale_space`), of its
landscape, persistence image, or stable rank. Diagrams have distances of their own too.
"""

from __future__ import annotations

from typing import Any

import gudhi.hera
import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Landscapes, PersistenceImages
from benchmarks.scale_space import ScaleSpace
from stablerank import DiagramBatch, StableRank

Diagram = NDArray[np.float64]

WIDTH = 0.1  # standard deviation of Gaussians, as a part of the filtration's range
N_RANKS = 64  # pixels that can be bright: the rest is cut
_ERROR = 0.01  # relative, of Wasserstein distances


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


def relative_distance(
    clean: NDArray[np.float64], noisy: NDArray[np.float64], n_blocks: int = 2
) -> float:
    """How far noise moves vectors, in mean distances between vectors of different images.

    Parameters
    ----------
    clean, noisy : ndarray of shape (n_images, n_features), float64
        Row by row of the same image, and neighbouring rows of different ones.
    n_blocks : int, default=2
        Of equal size; each is measured by itself, in ℓ2, and the mean is taken over those that are
        not the same for all images.

    Returns
    -------
    float
        0 where nothing moves, 1 where noise does as much as another image would.

    Examples
    --------
    >>> clean = np.array([[0.0, 0.0], [4.0, 0.0]])
    >>> relative_distance(clean, clean + [1.0, 0.0])
    0.25
    """
    pairs = [np.split(vectors, n_blocks, axis=1) for vectors in (clean, noisy)]
    moved = [
        np.linalg.norm(a - b, axis=1).mean() for a, b in zip(pairs[0], pairs[1], strict=True)
    ]
    apart = [np.linalg.norm(a - np.roll(a, 1, axis=0), axis=1).mean() for a in pairs[0]]
    return _mean_ratio(moved, apart)


def relative_diagram_distance(clean: DiagramBatch, noisy: DiagramBatch, metric: str) -> float:
    """As :func:`relative_distance`, for diagrams; the metric is "bottleneck" or "Wasserstein".

    "Wasserstein" is W₁ with ground norm ℓ∞, to one percent.
    """
    n = len(clean)
    moved, apart = [], []
    for k in clean.homology_dimensions:
        first = [clean.diagram(i, k) for i in range(n)]
        second = [noisy.diagram(i, k) for i in range(n)]
        moved.append(np.mean([distance(first[i], second[i], metric) for i in range(n)]))
        apart.append(np.mean([distance(first[i], first[i - 1], metric) for i in range(n)]))
    return _mean_ratio(moved, apart)


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
        return float(
            gudhi.hera.wasserstein_distance(
                first, second, order=1.0, internal_p=np.inf, delta=_ERROR
            )
        )
    raise ValueError(f"metric={metric!r}: expected 'bottleneck' or 'Wasserstein'.")


def _mean_ratio(moved: list[Any], apart: list[Any]) -> float:
    ratios = [float(a / b) for a, b in zip(moved, apart, strict=True) if b > 0]
    if not ratios:
        raise ValueError("All clean images have the same signature: there is nothing to compare.")
    return float(np.mean(ratios))
