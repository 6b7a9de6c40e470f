"""Persistence images in a form that boxes can bound: sums over the bars (fact R5)."""

from __future__ import annotations

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


class PersistenceImages(TransformerMixin, BaseEstimator):
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
        self.tau_ = {k: self._tau(batch, k) for k in batch.homology_dimensions}
        self.pixels_ = {k: self._pixels(batch, k, counts[k]) for k in batch.homology_dimensions}
        self.homology_dimensions_ = batch.homology_dimensions
        self.n_features_out_ = sum(len(pixels) for pixels in self.pixels_.values())
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the images.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            Diagrams with at least the homology dimensions of the training diagrams.

        Returns
        -------
        ndarray of shape (n_clouds, n_features), float64
            Homology dimensions ascending; in the unit of the filtration.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.
        """
        check_is_fitted(self, "pixels_")
        batch = check_diagrams(X)
        images = []
        for dimension, pixels in self.pixels_.items():
            batch.n_bars(dimension)  # names a dimension that is missing
            image = np.empty((len(batch), len(pixels)))
            for clouds in blocks(batch, dimension, len(pixels)):
                image[clouds] = self._image(dimension, *padded_bars(batch, dimension, clouds))
            images.append(image)
        return np.concatenate(images, axis=1)

    def from_bars(self, bars: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
        """The images of padded diagrams, differentiable in births and deaths.

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
        check_is_fitted(self, "pixels_")
        return torch.cat([self._image(k, *bars[k]) for k in self.pixels_], dim=-1)

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

    def bounds(self, ball: DiagramBall) -> tuple[Tensor, Tensor]:
        """Boxes that contain the computed images of all diagrams in balls.

        Parameters
        ----------
        ball : DiagramBall
            With at least the homology dimensions of the training diagrams.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features), float64
            Where longer bars than 2τ may appear, `upper` is infinite: if the reach is above τ, or
            with ordered deaths above 2τ.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.

        Notes
        -----
        Fact R5. Bars that appear have length at most 2r (with ordered deaths r), r the reach, and
        so weight 0. The weight of a bar that moves in its box is monotone in birth and death, its
        Gaussian lies between those of the box's farthest and nearest points, and both are >= 0. A
        bar that can vanish has l <= 2r <= 2τ, so its interval begins at 0.

        In floating point weights and squared distances keep their order. Exponentials are right
        to 2 units in the last place, and sums of n products, all >= 0, to n + 1 units, in the
        image that is bounded and in the bound: 2n + 16 in all is charged.
        """
        check_is_fitted(self, "pixels_")
        parts = []
        for dimension, pixels in self.pixels_.items():
            counts = ball.diagrams.n_bars(dimension)
            ends = torch.empty((2, len(ball), len(pixels)), dtype=torch.float64)
            for clouds in blocks(ball.diagrams, dimension, len(pixels)):
                boxes = bar_boxes(ball, dimension, clouds)
                lower, upper = self._image_bounds(dimension, boxes)
                error = (2 * torch.from_numpy(counts[clouds])[:, None] + 16) * 2 * UNIT_ROUNDOFF
                longest = 2 * boxes.reach if boxes.births_move else boxes.reach
                unbounded = (longest > 2 * self.tau_[dimension])[:, None]
                ends[0, clouds] = (lower * (1 - error) - 1e-300).clamp_min(0.0)
                ends[1, clouds] = upper * (1 + error) + 1e-300
                ends[1, clouds] = torch.where(unbounded, torch.inf, ends[1, clouds])
            parts.append(ends)
        lower, upper = torch.cat(parts, dim=-1)
        return lower, upper

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_pixel12``."""
        check_is_fitted(self, "pixels_")
        names = [f"H{k}_pixel{j}" for k, pixels in self.pixels_.items() for j in range(len(pixels))]
        return np.array(names, dtype=object)

    def _tau(self, batch: DiagramBatch, dimension: int) -> float:
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
        bad = np.flatnonzero(pixels[:, 2] <= 0)
        if bad.size:
            raise ValueError(
                f"pixels[{bad[0]}] in H{dimension} is {pixels[bad[0]].tolist()}: expected a row "
                f"(birth, death, width) with a width > 0."
            )
        return pixels

    def _image(self, dimension: int, births: Tensor, deaths: Tensor) -> Tensor:
        b, d, scale = self._columns(dimension, births)
        weights = ((deaths - births) / 2 - self.tau_[dimension]).clamp_min(0.0)
        to_birth, to_death = births[..., None, :] - b, deaths[..., None, :] - d
        return _sum(weights[..., None, :] * _gaussian(to_birth, to_death, scale))

    def _image_bounds(self, dimension: int, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        b, d, scale = self._columns(dimension, boxes.births_low)
        tau = self.tau_[dimension]
        least = ((boxes.deaths_low - boxes.births_high) / 2 - tau).clamp_min(0.0)[:, None]
        most = ((boxes.deaths_high - boxes.births_low) / 2 - tau).clamp_min(0.0)[:, None]
        near, far = zip(
            _distances(boxes.births_low, boxes.births_high, b),
            _distances(boxes.deaths_low, boxes.deaths_high, d),
            strict=True,
        )
        return _sum(least * _gaussian(*far, scale)), _sum(most * _gaussian(*near, scale))

    def _columns(self, dimension: int, like: Tensor) -> Tensor:
        """Birth, death and 1/(√2 σ) of each pixel, shape (3, n_pixels, 1)."""
        pixels = self.pixels_[dimension]
        columns = np.column_stack([pixels[:, :2], np.sqrt(0.5) / pixels[:, 2]])
        return torch.from_numpy(columns).to(like).T[..., None]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _gaussian(to_birth: Tensor, to_death: Tensor, scale: Tensor) -> Tensor:
    return torch.exp(-((to_birth * scale) ** 2 + (to_death * scale) ** 2))


def _distances(low: Tensor, high: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """From pixels to the nearest and to the farthest points of intervals."""
    low, high = low[:, None], high[:, None]
    near = torch.maximum(low - centre, centre - high).clamp_min(0.0)
    return near, torch.maximum((low - centre).abs(), (high - centre).abs())


def _sum(terms: Tensor) -> Tensor:
    """One term after the other, so that padding does not change the order."""
    if terms.shape[-1] == 0:
        return terms.sum(-1)
    return terms.cumsum(-1)[..., -1]
