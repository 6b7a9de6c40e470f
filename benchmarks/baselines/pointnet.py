"""PointNet (Qi et al. 2017), plain: on the points themselves, without persistence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.baselines.cloud_network import CloudNetwork
from benchmarks.baselines.vectorizer import check_count
from stablerank.diagrams.clouds import check_clouds


class PointNet(CloudNetwork):
    """A network of each point alone, the largest value of each feature, and dense layers.

    As the paper's [1]_, with batch normalisation and ReLU behind each layer and dropout before the
    last, but without its input transformations ("T-nets"), and narrower (1024 features of a point
    there), so that it trains in minutes on one core. In training each pass sees `n_sampled` random
    points of each cloud; predictions see all. Epochs and learning rate are what time allows, and
    not tuned.

    Parameters
    ----------
    filtration : ignored
        There is none; so that every baseline is made in the same way.
    point_widths : tuple of int, default=(64, 64, 128, 256)
        Features of the layers that each point passes through alone.
    hidden : tuple of int, default=(128, 64)
        Widths of the layers behind the maximum.
    dropout : float, default=0.3
        Share of features dropped before the last layer.
    n_sampled : int, default=128
        Points of each cloud in a pass of training; clouds with fewer are seen whole.
    max_epochs : int, default=20
        Passes over the training clouds.
    lr : float, default=0.003
        Largest learning rate.
    batch_size : int, optional
        Clouds a step; by default 32, and fewer where that would give less than 25 steps a pass.
    weight_decay : float, default=1e-4
        Of AdamW.
    random_state : int or None, default=None
        Seed of initial weights, of the order of batches, of the points sampled and dropout.

    Attributes
    ----------
    center_ : ndarray of shape (d,)
        Mean of all points of training.
    scale_ : float
        Their standard deviation over all coordinates, so that shapes keep their proportions.

    References
    ----------
    .. [1] Qi, Su, Mo, Guibas (2017), "PointNet: deep learning on point sets for 3D classification
       and segmentation", CVPR; arXiv:1612.00593.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.uniform(size=(20, 2)) * size for size in [1.0, 3.0] * 20]
    >>> model = PointNet(max_epochs=10, random_state=0).fit(X, ["small", "large"] * 20)
    >>> model.predict(X[:2])
    array(['small', 'large'], dtype='<U5')
    """

    largest_batch: ClassVar[int] = 32

    def __init__(
        self,
        filtration: Any = None,
        point_widths: Sequence[int] = (64, 64, 128, 256),
        hidden: Sequence[int] = (128, 64),
        dropout: float = 0.3,
        n_sampled: int = 128,
        max_epochs: int = 20,
        lr: float = 0.003,
        batch_size: int | None = None,
        weight_decay: float = 1e-4,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.point_widths = point_widths
        self.hidden = hidden
        self.dropout = dropout
        self.n_sampled = n_sampled
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count(self.n_sampled, "n_sampled")
        for name in ("point_widths", "hidden"):
            for width in getattr(self, name):
                check_count(width, name)
        if not self.point_widths:
            raise ValueError("point_widths=(): expected a layer at least.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r}: expected a number from 0 to below 1.")

    def _fit_inputs(self, X: Any) -> Tensor:
        clouds = check_clouds(X)
        points = np.concatenate(clouds)
        self.center_ = points.mean(axis=0)
        self.scale_ = float(points.std(axis=0).max()) or 1.0
        return self._padded(clouds)

    def _inputs(self, X: Any) -> Tensor:
        return self._padded(check_clouds(X, dimension=len(self.center_)))

    def _padded(self, clouds: Sequence[NDArray[np.float64]]) -> Tensor:
        points = torch.from_numpy(np.concatenate(clouds))
        return self._rows(points, np.cumsum([0, *map(len, clouds)])).float()

    def _inputs_with_gradients(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Sequence[Any] | None
    ) -> Tensor:
        return self._rows(points, offsets)

    def _rows(self, points: Tensor, offsets: NDArray[np.int64]) -> Tensor:
        """Points of each cloud, scaled, behind them a 1, and rows of 0 where there is none."""
        counts = np.diff(offsets)
        scaled = (points - torch.from_numpy(self.center_)) / self.scale_
        rows = torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)
        there = torch.from_numpy(np.arange(counts.max()) < counts[:, None])
        padded = rows.new_zeros((*there.shape, rows.shape[1]))
        return padded.masked_scatter(there[..., None], rows)

    def _module(self, n_classes: int) -> nn.Module:
        return _PointNet(
            len(self.center_),
            self.point_widths,
            self.hidden,
            n_classes,
            self.dropout,
            self.n_sampled,
        )


class _PointNet(nn.Module):
    def __init__(
        self,
        d: int,
        point_widths: Sequence[int],
        hidden: Sequence[int],
        n_classes: int,
        dropout: float,
        n_sampled: int,
    ) -> None:
        super().__init__()
        self.n_sampled = n_sampled
        self.of_points = nn.Sequential(*_layers([d, *point_widths]))
        widths = [point_widths[-1], *hidden]
        self.of_clouds = nn.Sequential(
            *_layers(widths), nn.Dropout(dropout), nn.Linear(widths[-1], n_classes)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of points of shape (n_clouds, n_points, d + 1), the last column 0 for padding."""
        if self.training:
            rows = _sampled(rows, self.n_sampled)
        there = rows[..., -1] > 0
        features = self.of_points(rows[there][:, :-1])  # without padding, for the batch norms
        largest = torch.segment_reduce(features, "max", lengths=there.sum(dim=1))
        logits: Tensor = self.of_clouds(largest)
        return logits


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return layers


def _sampled(rows: Tensor, n: int) -> Tensor:
    """Random rows of each cloud, those that are padding last."""
    if rows.shape[1] <= n:
        return rows
    order = torch.rand(rows.shape[:2]) + rows[..., -1]  # from 1 on for points, below for padding
    chosen = order.topk(n, dim=1).indices
    return rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[2]))
