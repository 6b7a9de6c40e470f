"""Networks on persistence diagrams: bars as rows of padded tensors, the same with gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from benchmarks.baselines.cloud_network import CloudNetwork
from benchmarks.baselines.vectorizer import check_count
from stablerank.attack.gradients import bars_with_gradients
from stablerank.diagrams import AlphaPersistence


class DiagramNetwork(CloudNetwork):
    """A network whose input is the longest bars of each homology dimension.

    A bar is a row (birth, death, 1), with both ends shifted and divided as a subclass learns from
    the kept bars of training (`_shift_and_scale`), in each dimension by itself. Where a cloud has
    fewer bars than are kept, rows are 0. The dimensions stand one after the other, `n_bars` rows
    each.

    Attributes
    ----------
    filtration_ : Filtration
        The fitted clone of `filtration`.
    homology_dimensions_ : tuple of int
        Ascending.
    shift_, scale_ : dict of int to ndarray of shape (2,)
        Of births and deaths, in the unit of the filtration, for each homology dimension.
    """

    filtration: Any
    n_bars: int

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count(self.n_bars, "n_bars")

    def _fit_inputs(self, X: Any) -> Tensor:
        filtration = AlphaPersistence() if self.filtration is None else clone(self.filtration)
        self.filtration_ = filtration.fit(X)
        diagrams = self.filtration_.transform(X)
        self.homology_dimensions_ = diagrams.homology_dimensions
        self.shift_, self.scale_ = {}, {}
        for k in self.homology_dimensions_:
            bars = diagrams.padded(k, self.n_bars)
            bars = bars[bars[..., 0] < bars[..., 1]]
            shift, scale = (np.zeros(2), np.ones(2))
            if len(bars):
                shift, scale = self._shift_and_scale(bars)
            self.shift_[k], self.scale_[k] = shift, np.where(scale > 0, scale, 1.0)
        return self._rows_of(diagrams)

    def _inputs(self, X: Any) -> Tensor:
        return self._rows_of(self.filtration_.transform(X))

    def _inputs_with_gradients(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Sequence[Any] | None
    ) -> Tensor:
        return self._rows(bars_with_gradients(self.filtration_, points, offsets, shapes))

    def _rows_of(self, diagrams: Any) -> Tensor:
        padded = {k: diagrams.to_tensor(k, self.n_bars) for k in self.homology_dimensions_}
        return self._rows({k: bars.unbind(-1) for k, bars in padded.items()}).float()

    def _rows(self, bars: Mapping[int, tuple[Tensor, ...]]) -> Tensor:
        """Rows of all dimensions, shape (n_clouds, n_dimensions n_bars, 3), float64."""
        blocks = []
        for k in self.homology_dimensions_:
            ends = torch.stack(bars[k], dim=-1)[:, : self.n_bars]
            there = ends[..., :1] < ends[..., 1:]  # padding has length 0, and no bar has
            scaled = (ends - torch.from_numpy(self.shift_[k])) / torch.from_numpy(self.scale_[k])
            rows = torch.cat([torch.where(there, scaled, 0.0), there.double()], dim=-1)
            missing = self.n_bars - rows.shape[1]
            blocks.append(torch.nn.functional.pad(rows, (0, 0, 0, missing)))
        return torch.cat(blocks, dim=1)

    @abstractmethod
    def _shift_and_scale(
        self, bars: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of births and deaths, shape (2,) each, from bars of shape (n_bars, 2)."""


def used_columns(rows: Tensor) -> Tensor:
    """Which columns hold a bar of any cloud; the first in any case, so that there is one.

    Parameters
    ----------
    rows : Tensor of shape (n_clouds, n_columns, 3)

    Returns
    -------
    Tensor of shape (n_columns,), bool
    """
    used = (rows[..., 2] > 0).any(dim=0)
    used[0] = True
    return used
