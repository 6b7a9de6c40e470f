"""ATOL (Royer et al. 2021): soft counts of bars around the centres of a codebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gudhi.representations.vector_methods import Atol
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from benchmarks.baselines.vectorizer import (
    DifferentiableVectorizer,
    check_count,
    check_not_empty,
)
from stablerank.diagrams.batch import DiagramBatch


class AtolVectors(DifferentiableVectorizer):
    """GUDHI's ``Atol``, with a codebook of its own for each homology dimension.

    Parameters
    ----------
    n_clusters : int, default=32
        Centres for each homology dimension; fewer if there are fewer different bars.
    n_sampled : int, default=100000
        How many training bars, drawn at random, k-means sees; all if there are not more.
    random_state : int, optional
        Of the draw and of k-means.

    Notes
    -----
    Entry c of a diagram is the sum over its bars x of exp(-‖x - c‖² / s_c²), s_c half the distance
    to the nearest other centre.

    Examples
    --------
    Two centres, at the two bars, 2 apart, so s = 1.

    >>> vectors = AtolVectors(n_clusters=2).fit_transform([{1: [[0.0, 1.0], [0.0, 3.0]]}])
    >>> vectors - np.exp(-4)
    array([[1., 1.]])
    """

    def __init__(
        self, n_clusters: int = 32, n_sampled: int = 100_000, random_state: int | None = None
    ) -> None:
        self.n_clusters = n_clusters
        self.n_sampled = n_sampled
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_count(self.n_clusters, "n_clusters")
        check_count(self.n_sampled, "n_sampled")

    def _fit_bars(self, bars: NDArray[np.float64], dimension: int) -> Any:
        check_not_empty(bars, dimension, "n_clusters")
        if len(bars) > self.n_sampled:
            rng = np.random.default_rng(self.random_state)
            bars = bars[rng.choice(len(bars), self.n_sampled, replace=False)]
        # with more centres than bars GUDHI adds some at infinity, and prints that it does
        n_clusters = min(self.n_clusters, len(np.unique(bars, axis=0)))
        quantiser = KMeans(n_clusters, n_init=1, random_state=self.random_state)
        return Atol(quantiser=quantiser).fit([bars])

    def _vectors(self, batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
        diagrams = np.split(batch.bars[dimension], batch.offsets[dimension][1:-1])
        vectors: NDArray[np.float64] = self.fitted_[dimension].transform(diagrams)
        return vectors

    def _from_bars(self, births: Tensor, deaths: Tensor, dimension: int) -> Tensor:
        atol = self.fitted_[dimension]
        centres, scales = torch.from_numpy(atol.centers), torch.from_numpy(atol.inertias)
        squares = (births[..., None] - centres[:, 0]) ** 2 + (
            deaths[..., None] - centres[:, 1]
        ) ** 2
        present = (deaths > births)[..., None]  # the others pad
        return (torch.exp(-squares / scales**2) * present).sum(dim=1)
