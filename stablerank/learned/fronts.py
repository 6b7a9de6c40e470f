"""From padded bars to vectors in torch, with parameters that are trained: what is before a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.diagrams.batch import DiagramBatch
from stablerank.learned.contours import LearnableContour
from stablerank.ranks.stable_rank import stable_ranks


class Front(nn.Module):
    """Vectors of padded diagrams in float32, homology dimension by homology dimension.

    Parameters
    ----------
    parts : dict of int to nn.Module
        For each homology dimension a module from births and deaths, shape (n, n_bars) each, to
        vectors of shape (n, n_own_features). It has an `origin` and a `unit` in which it takes
        them.
    """

    def __init__(self, parts: Mapping[int, Any]) -> None:
        super().__init__()
        self.dimensions = tuple(parts)
        self.parts = nn.ModuleList(parts.values())
        self.widths: Sequence[int] = ()

    def inputs(self, batch: DiagramBatch) -> Tensor:
        """The diagrams as rows of float32 numbers, in the origin and unit of each part.

        Parameters
        ----------
        batch : DiagramBatch
            Of n clouds.

        Returns
        -------
        Tensor of shape (n, 2 * n_bars), float32
            Births, then deaths, of each homology dimension; with bars of length zero as padding.
        """
        columns: list[NDArray[np.float32]] = []
        widths = []
        parts: Any = self.parts
        for dimension, part in zip(self.dimensions, parts, strict=True):
            bars = (batch.padded(dimension) - part.origin) / part.unit
            padding = np.arange(bars.shape[1]) >= batch.n_bars(dimension)[:, None]
            bars[padding] = 0.0  # an origin far away would be infinite in float32
            columns += [bars[..., 0].astype(np.float32), bars[..., 1].astype(np.float32)]
            widths += [bars.shape[1], bars.shape[1]]
        self.widths = widths
        return torch.from_numpy(np.concatenate(columns, axis=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Vectors of rows of :meth:`inputs`, shape (n, n_features)."""
        columns = iter(inputs.split(list(self.widths), dim=1))
        return torch.cat([part(next(columns), next(columns)) for part in self.parts], dim=1)


class LearnableRanks(nn.Module):
    """The stable ranks of one homology dimension, by a contour that is learned.

    Parameters
    ----------
    contour : LearnableContour
    p, n_ranks, max_bars
        As of :func:`~stablerank.ranks.stable_ranks`.
    """

    def __init__(
        self, contour: LearnableContour, p: float, n_ranks: int, max_bars: int | None
    ) -> None:
        super().__init__()
        self.contour, self.p, self.n_ranks, self.max_bars = contour, p, n_ranks, max_bars
        self.origin, self.unit = contour.origin, contour.unit

    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """The jump points, in the unit of the filtration."""
        lengths = self.contour(births, deaths)
        ranks = stable_ranks(lengths, self.p, self.n_ranks, self.max_bars)
        return self.unit * ranks.double()  # a unit may be too small for float32
