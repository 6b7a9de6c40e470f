"""Sums over the bars in a form that boxes can bound (fact R5): persistence images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.ranks.boxes import BarBoxes, bar_boxes, blocks, padded_bars
from stablerank.ranks.contours import UNIT_ROUNDOFF
from stablerank.ranks.quantiles import numbers_of, quantile_windows
from stablerank.ranks.stable_rank import check_counts
from stablerank.stability import Space, StabilityError


class BarSums(TransformerMixin, BaseEstimator, ABC):
    """Vectors of sums over the bars, with weights that vanish for lengths up to 2τ.

    An adversary who cannot make longer bars cannot make any number of them count: up to a reach of
    τ the sums have boxes, and beyond it none. A vectorizer of this kind fits ``tau_``,
    ``homology_dimensions_`` and ``n_features_out_``, and says what one bar adds to each sum.
    """

    tau: Any
    tau_: dict[int, float]
    homology_dimensions_: tuple[int, ...]
    n_features_out_: int

    @abstractmethod
    def _n_sums(self, dimension: int) -> int: ...

    @abstractmethod
    def _terms(self, dimension: int, births: Tensor, deaths: Tensor) -> Tensor:
        """What each bar adds, shapes (..., n_bars) to (..., n_sums, n_bars)."""

    @abstractmethod
    def _term_bounds(self, dimension: int, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """What computed terms of bars in boxes lie between, up to 8 units in the last place."""

    @abstractmethod
    def _check_fitted(self) -> None:
        """Raise if what was read from a file is nothing that :meth:`fit` finds."""

    @property
    @abstractmethod
    def _signed(self) -> bool:
        """Whether a bar may add less than 0."""

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the sums.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            Diagrams with at least the homology dimensions of the training diagrams.

        Returns
        -------
        ndarray of shape (n_clouds, n_features), float64
            Homology dimensions ascending.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.
        """
        check_is_fitted(self, "tau_")
        batch = check_diagrams(X)
        vectors = []
        for dimension in self.homology_dimensions_:
            batch.n_bars(dimension)  # names a dimension that is missing
            n_sums = self._n_sums(dimension)
            sums = np.empty((len(batch), n_sums))
            for clouds in blocks(batch, dimension, n_sums):
                bars = padded_bars(batch, dimension, clouds)
                sums[clouds] = _sum(self._terms(dimension, *bars))
            vectors.append(sums)
        return np.concatenate(vectors, axis=1)

    def from_bars(self, bars: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
        """The sums of padded diagrams, differentiable in births and deaths.

        Parameters
        ----------
        bars : dict of int to (Tensor, Tensor)
            For each homology dimension births and deaths, shape (n_clouds, n_bars) each, padded
            with bars (0, 0) of length zero.

        Returns
        -------
        Tensor of shape (n_clouds, n_features)
            What :meth:`transform` returns for the same diagrams, up to rounding.
        """
        check_is_fitted(self, "tau_")
        return torch.cat(
            [_sum(self._terms(k, *bars[k])) for k in self.homology_dimensions_], dim=-1
        )

    def bounds(self, ball: DiagramBall) -> tuple[Tensor, Tensor]:
        """Boxes that contain the computed sums of all diagrams in balls.

        Parameters
        ----------
        ball : DiagramBall
            With at least the homology dimensions of the training diagrams.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features), float64
            Where longer bars than 2τ may appear, `upper` is infinite, and `lower` too if a bar may
            add less than 0: if the reach is above τ, or with ordered deaths above 2τ.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.

        Notes
        -----
        Fact R5. Bars that appear have length at most 2r (with ordered deaths r), r the reach, and
        so weight 0. The weight of a bar that moves in its box is monotone in birth and death, and
        what it weighs lies between bounds over the box. A bar that can vanish has l <= 2r <= 2τ, so
        its interval contains 0.

        In floating point weights and distances keep their order; what a bar adds is within 8 units
        in the last place, and sums of n terms are off by n times their absolute values, in the
        vector that is bounded and in the bound: 2n + 16 in all, twice, is charged.
        """
        check_is_fitted(self, "tau_")
        parts = []
        for dimension in self.homology_dimensions_:
            counts, n_sums = ball.diagrams.n_bars(dimension), self._n_sums(dimension)
            ends = torch.empty((2, len(ball), n_sums), dtype=torch.float64)
            for clouds in blocks(ball.diagrams, dimension, n_sums):
                boxes = bar_boxes(ball, dimension, clouds)
                lower, upper = self._term_bounds(dimension, boxes)
                each = (2 * torch.from_numpy(counts[clouds])[:, None] + 16) * 2 * UNIT_ROUNDOFF
                error = each * _sum(torch.maximum(lower.abs(), upper.abs())) + 1e-300
                # not below what bars of negative terms add, which is 0 if there is none
                least = _sum(lower.clamp_max(0.0)) * (1 + each)
                longest = 2 * boxes.reach if boxes.births_move else boxes.reach
                unbounded = (longest > 2 * self.tau_[dimension])[:, None]
                low, high = torch.maximum(_sum(lower) - error, least), _sum(upper) + error
                if self._signed:
                    low = torch.where(unbounded, -torch.inf, low)
                ends[0, clouds], ends[1, clouds] = low, torch.where(unbounded, torch.inf, high)
            parts.append(ends)
        lower, upper = torch.cat(parts, dim=-1)
        return lower, upper

    def _fitted_tau(self, batch: DiagramBatch, dimension: int) -> float:
        """The τ that is given, or half the median length of the bars."""
        tau: Any = self.tau
        if tau is None:
            lengths = np.diff(batch.bars[dimension], axis=1)
            return float(np.median(lengths) / 2) if lengths.size else 0.0
        if isinstance(tau, Mapping):
            tau = tau.get(dimension)
        real = isinstance(tau, (int, float, np.integer, np.floating)) and not isinstance(tau, bool)
        if not real or not 0 <= tau < np.inf:
            raise ValueError(
                f"tau={self.tau!r}: expected a finite number >= 0 for every homology dimension, "
                f"or None."
            )
        return float(tau)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


class PersistenceImages(BarSums):
    """Persistence images: at each pixel c the sum of (l/2 − τ)₊ exp(−‖(b, d) − c‖²/(2σ²)).

    Bars of length l <= 2τ have weight 0, so an adversary who cannot make longer ones cannot make
    any number of them count: up to a reach of τ the image has a box, and beyond it none.

    Parameters
    ----------
    n_pixels : int, default=32
        How many pixels in each homology dimension, if none are given.
    tau : float or dict of int to float, optional
        The τ >= 0, in the unit of the filtration; by default half the median length of the
        training bars in each homology dimension.
    pixels : array-like of shape (n_pixels, 3), or dict of int to array-like, optional
        A row (birth, death, σ) a pixel, σ > 0, in the unit of the filtration. By default pixels
        lie on quantiles of the training bars longer than 2τ, as the centres of
        :class:`~stablerank.ranks.Windows`, and σ is half the length there.

    Attributes
    ----------
    pixels_ : dict of int to ndarray of shape (n_pixels, 3)
        For each homology dimension.
    tau_ : dict of int to float
        For each homology dimension.
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_features_out_ : int
        Length of the vectors.

    References
    ----------
    .. [1] Adams et al. (2017), "Persistence images: a stable vector representation of persistent
       homology", Journal of Machine Learning Research 18.

    Examples
    --------
    At c = (0, 4) the bar (0, 4) counts 4/2 − 1 = 1, and (7, 9) counts nothing: it is short.

    >>> images = PersistenceImages(tau=1.0, pixels=[[0, 4, 0.5]])
    >>> images.fit_transform([{1: [[0, 4], [7, 9]]}])
    array([[1.]])
    """

    def __init__(
        self,
        n_pixels: int = 32,
        tau: float | Mapping[int, float] | None = None,
        pixels: ArrayLike | Mapping[int, ArrayLike] | None = None,
    ) -> None:
        self.n_pixels = n_pixels
        self.tau = tau
        self.pixels = pixels

    def fit(self, X: Any, y: Any = None) -> PersistenceImages:
        """Check the parameters, and fix τ and the pixels on the training diagrams.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            The training diagrams.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters.
        """
        batch = check_diagrams(X)
        counts = check_counts("n_pixels", self.n_pixels, batch.homology_dimensions)
        self.tau_ = {k: self._fitted_tau(batch, k) for k in batch.homology_dimensions}
        self.pixels_ = {k: self._pixels(batch, k, counts[k]) for k in batch.homology_dimensions}
        self.homology_dimensions_ = batch.homology_dimensions
        self.n_features_out_ = sum(len(pixels) for pixels in self.pixels_.values())
        return self

    def stability(self, source: Space) -> Any:
        """Refused: there is no constant.

        Raises
        ------
        StabilityError
            Always. A bar of length l + 2ε > 2τ can stand many times in a diagram; moving all of
            them by ε moves the sum by as many times as much.
        """
        raise StabilityError(
            f"PersistenceImages has no constant from {source}: a sum over the bars moves as often "
            f"as there are bars, and their number is not bounded. Certify it by its boxes, or take "
            f"Landscapes or Windows."
        )

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_pixel12``."""
        check_is_fitted(self, "pixels_")
        names = [f"H{k}_pixel{j}" for k, pixels in self.pixels_.items() for j in range(len(pixels))]
        return np.array(names, dtype=object)

    @property
    def _signed(self) -> bool:
        return False

    def _n_sums(self, dimension: int) -> int:
        return len(self.pixels_[dimension])

    def _pixels(self, batch: DiagramBatch, dimension: int, n_pixels: int) -> NDArray[np.float64]:
        if self.pixels is None:
            bars = batch.bars[dimension]
            pixels = quantile_windows(
                bars[bars[:, 1] - bars[:, 0] > 2 * self.tau_[dimension]], n_pixels
            )
            # without such bars any width will do: there is nothing to see
            pixels[:, 2] = np.where(pixels[:, 2] > 0, pixels[:, 2], 1.0)
            return pixels
        pixels = numbers_of("pixels", self.pixels, dimension, ("n_pixels", "3"))
        check_sizes("pixels", pixels, dimension)
        return pixels

    def _check_fitted(self) -> None:
        for dimension, pixels in self.pixels_.items():
            check_sizes("pixels_", pixels, dimension)

    def _terms(self, dimension: int, births: Tensor, deaths: Tensor) -> Tensor:
        b, d, scale = self._columns(dimension, births)
        weights = ((deaths - births) / 2 - self.tau_[dimension]).clamp_min(0.0)
        to_birth, to_death = births[..., None, :] - b, deaths[..., None, :] - d
        return weights[..., None, :] * gaussian(to_birth, to_death, scale)

    def _term_bounds(self, dimension: int, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        b, d, scale = self._columns(dimension, boxes.births_low)
        tau = self.tau_[dimension]
        least = ((boxes.deaths_low - boxes.births_high) / 2 - tau).clamp_min(0.0)[:, None]
        most = ((boxes.deaths_high - boxes.births_low) / 2 - tau).clamp_min(0.0)[:, None]
        near, far = zip(
            distances_to(b, boxes.births_low, boxes.births_high),
            distances_to(d, boxes.deaths_low, boxes.deaths_high),
            strict=True,
        )
        return least * gaussian(*far, scale), most * gaussian(*near, scale)

    def _columns(self, dimension: int, like: Tensor) -> Tensor:
        """Birth, death and 1/(√2 σ) of each pixel, shape (3, n_pixels, 1)."""
        pixels = self.pixels_[dimension]
        columns = np.column_stack([pixels[:, :2], np.sqrt(0.5) / pixels[:, 2]])
        return torch.from_numpy(columns).to(like).T[..., None]


def check_sizes(name: str, rows: NDArray[np.float64], dimension: int) -> None:
    """Raise unless the size in each row (birth, death, size) is above 0."""
    bad = np.flatnonzero(rows[:, 2] <= 0)
    if bad.size:
        raise ValueError(
            f"{name}[{bad[0]}] in H{dimension} is {rows[bad[0]].tolist()}: expected a row (birth, "
            f"death, size) with a size > 0."
        )


def gaussian(to_birth: Tensor, to_death: Tensor, scale: Tensor) -> Tensor:
    """``exp(-(x² + y²))`` of scaled distances."""
    return torch.exp(-((to_birth * scale) ** 2 + (to_death * scale) ** 2))


def distances_to(centre: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """From centres to the nearest and to the farthest points of intervals."""
    low, high = low[:, None], high[:, None]
    near = torch.maximum(low - centre, centre - high).clamp_min(0.0)
    return near, torch.maximum((low - centre).abs(), (high - centre).abs())


def _sum(terms: Tensor) -> Tensor:
    """One term after the other, so that padding does not change the order."""
    if terms.shape[-1] == 0:
        return terms.sum(-1)
    return terms.cumsum(-1)[..., -1]
