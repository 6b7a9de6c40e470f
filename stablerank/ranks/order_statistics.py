"""Order statistics: the k-th largest value of a template over the bars (facts R4 and R5)."""

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
from stablerank.ranks.boxes import bar_boxes, blocks, latest_bars, padded_bars
from stablerank.ranks.contours import UNIT_ROUNDOFF
from stablerank.ranks.quantiles import midpoint_quantiles, numbers_of, quantile_windows
from stablerank.ranks.stable_rank import check_counts, largest_values, part_of
from stablerank.ranks.templates import HalfLength, Template, Tent, Window
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Bound, Parallel, Space, StabilityError


class OrderStatistics(TransformerMixin, BaseEstimator, ABC):
    """Vectors of the k-th largest values, k = 1, 2, …, that templates take on a diagram's bars.

    The base of :class:`HalfLengths`, :class:`Landscapes` and :class:`Windows`, which say by
    `_fit_template` and `_template` which functions of a bar these are. Features come homology
    dimension by dimension, function by function, and level by level.
    """

    n_levels: int | Mapping[int, int]
    n_levels_: dict[int, int]
    homology_dimensions_: tuple[int, ...]
    _feature: str

    def fit(self, X: Any, y: Any = None) -> Any:
        """Check the parameters, and fix the templates on the training diagrams.

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
        dimensions = batch.homology_dimensions
        levels = check_counts("n_levels", self.n_levels, dimensions)
        self._fit_template(batch)
        self.homology_dimensions_, self.n_levels_ = dimensions, levels
        self.n_features_out_ = sum(
            len(self._template(k)) * n_levels for k, n_levels in levels.items()
        )
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the vectors.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            Diagrams with at least the homology dimensions of the training diagrams.

        Returns
        -------
        ndarray of shape (n_clouds, n_features), float64
            In the unit of the filtration; non-increasing in the level. The vector of a cloud does
            not depend, to the last bit, on the clouds beside it.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.
        """
        check_is_fitted(self, "n_levels_")
        batch = check_diagrams(X)
        vectors = []
        for dimension, n_levels in self.n_levels_.items():
            batch.n_bars(dimension)  # names a dimension that is missing
            template = self._template(dimension)
            out = np.empty((len(batch), len(template), n_levels))
            for clouds in blocks(batch, dimension, len(template)):
                bars = padded_bars(batch, dimension, clouds)
                out[clouds] = template.largest(*bars, n_levels).numpy()
            vectors.append(out.reshape(len(batch), -1))
        return np.concatenate(vectors, axis=1)

    def from_bars(self, bars: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
        """The vectors of padded diagrams, differentiable in births and deaths.

        Parameters
        ----------
        bars : dict of int to (Tensor, Tensor)
            For each homology dimension births and deaths, shape (n_clouds, n_bars) each, padded
            with bars (0, 0) of length zero.

        Returns
        -------
        Tensor of shape (n_clouds, n_features)
            What :meth:`transform` returns for the same diagrams.
        """
        check_is_fitted(self, "n_levels_")
        vectors = [
            self._template(dimension).largest(*bars[dimension], n_levels).flatten(-2)
            for dimension, n_levels in self.n_levels_.items()
        ]
        return torch.cat(vectors, dim=-1)

    def stability(self, source: Space) -> Parallel:
        """Bounds from the diagrams to the vector, the same constant for every level.

        Parameters
        ----------
        source : Space
            A product, by homology dimension ("H0", "H1", …), of diagram metrics: ordered deaths,
            bottleneck, or Wasserstein W_p with ground norm ℓ_q; or one diagram metric for all.

        Returns
        -------
        Parallel
            Joined into one ℓ∞ vector.

        Raises
        ------
        StabilityError
            For other metrics, or a product without one of the homology dimensions.

        Notes
        -----
        Let φ >= 0 be a function of a bar u with φ(u) <= l(u)/2 and slope at most L. Write the
        values of φ over the bars of two diagrams side by side, matched bars beside each other and
        0 beside a bar without partner. The k-th largest of two such rows, which zeros do not
        change, differ by no more than the largest difference in a column: of the k entries that
        are largest in one row, each is at most that much smaller in the other. The columns:

        - bottleneck, L = 1 for ‖·‖_∞: matched bars differ by at most d_B in φ; a bar without
          partner has l/2 <= d_B, and φ is at most that. The constant is 1 (R4).
        - ordered deaths ε: births are 0, and bars are matched in the order of deaths, short of
          partners by bars (0, 0), on which φ is 0. So a column differs by at most L′ε, where L′ is
          the slope of φ(0, d) in d alone: 1/2 for half lengths, 1 for tents and windows.
        - W_p with ground norm ℓ_q: its matching, whose largest cost is at most W_p. With L_q the
          slope of φ in ℓ_q, matched bars differ by at most L_q W_p. A bar without partner costs
          its ℓ_q-distance to the diagonal, 2^{1/q} l/2, and φ <= l/2 <= L_q 2^{1/q} l/2, since
          L_q is 2^{−1/q} for half lengths and 1 for tents and windows.

        Each of these is attained: by one bar whose birth and death, or death alone, moves.
        """
        check_is_fitted(self, "n_levels_")
        branches = {}
        for dimension, n_levels in self.n_levels_.items():
            space, template = part_of(source, dimension, self), self._template(dimension)
            if space == ORDERED_DEATHS:
                constant, theorem = template.slope_in_death, "R4 along ordered deaths"
            elif space == BOTTLENECK:
                constant, theorem = 1.0, "R4: order statistics of 1-Lipschitz templates"
            elif space.kind == "diagram" and space.q is not None:
                constant, theorem = template.slope(space.q), "R4, and d_B <= W_p"
            else:
                raise StabilityError(
                    f"{type(self).__name__} knows constants from ordered deaths, bottleneck and "
                    f"Wasserstein distances between diagrams, not from {space}."
                )
            constants = np.full(len(template) * n_levels, constant)
            branches[f"H{dimension}"] = Bound.by_coordinate(
                space, constants, theorem, stage=f"{self._feature}s"
            )
        return Parallel(branches, joined=True)

    def bounds(self, ball: DiagramBall) -> tuple[Tensor, Tensor]:
        """Boxes that contain the computed vectors of all diagrams in balls.

        Parameters
        ----------
        ball : DiagramBall
            With at least the homology dimensions of the training diagrams.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features), float64
            Never wider than :meth:`stability` says, up to the rounding of one birth or death.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.

        Notes
        -----
        Fact R5. A bar of another diagram in the ball is one of the given, moved within its box,
        or one that appeared. So the k-th largest value is at least the k-th largest of the boxes'
        lower ends, which are 0 for bars that can vanish; and at most the k-th largest of their
        upper ends, or the supremum over bars that can appear if that is larger.
        """
        check_is_fitted(self, "n_levels_")
        batch = ball.diagrams
        parts = []
        for dimension, n_levels in self.n_levels_.items():
            batch.n_bars(dimension)
            template = self._template(dimension)
            ends = torch.empty((2, len(batch), len(template), n_levels), dtype=torch.float64)
            late = latest_bars(ball, dimension, n_levels) if template.grows_with_death else None
            for clouds in blocks(batch, dimension, len(template), late):
                boxes = bar_boxes(ball, dimension, clouds, late)
                lower, upper = template.largest_bounds(boxes, n_levels)
                floor = template.appearing(boxes)[..., None]
                ends[0, clouds], ends[1, clouds] = lower, torch.maximum(upper, floor)
            parts.append(ends.flatten(-2))
        lower, upper = torch.cat(parts, dim=-1)
        return lower, upper

    def rounding(self, X: Any, relative: float, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far computed vectors can be from exact ones, for all diagrams near those given.

        Parameters
        ----------
        X : DiagramBatch or list of dict
            The diagrams.
        relative : float
            Births and deaths are right up to this relative error, at most 0.1.
        reach : ndarray of shape (n_clouds,)
            How far births and deaths may have moved from those given.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
            A bound on the error of every coordinate.

        Raises
        ------
        ValueError
            If `relative` is out of range.

        Notes
        -----
        Births and deaths are off by at most `relative` times the largest of them, which is a
        bottleneck distance, and every coordinate is off by as much; besides, by the rounding of
        the template. Which value is k-th largest is decided without rounding.
        """
        check_is_fitted(self, "n_levels_")
        if not 0 <= relative <= 0.1:
            raise ValueError(f"relative={relative!r}: expected an error between 0 and 0.1.")
        batch = check_diagrams(X)
        worst = np.zeros(len(batch))
        for dimension in self.n_levels_:
            batch.n_bars(dimension)
            # what is computed for nearby diagrams is off by `relative`, and so is what is given
            largest = (largest_values(batch, dimension) + reach) * (1 + 4 * relative)
            each = relative * largest + self._template(dimension).rounding(largest)
            worst = np.maximum(worst, each)
        # the error bounds were computed in floating point themselves
        return worst * (1 + 64 * UNIT_ROUNDOFF) + 1e-300

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_landscape3_level0``: dimension, function, and level from 0."""
        check_is_fitted(self, "n_levels_")
        names = [
            f"H{dimension}_{self._feature}{j}_level{k}"
            for dimension, n_levels in self.n_levels_.items()
            for j in range(len(self._template(dimension)))
            for k in range(n_levels)
        ]
        return np.array(names, dtype=object)

    @abstractmethod
    def _fit_template(self, batch: DiagramBatch) -> None:
        """Check the parameters of the template, and fix what is left to the training diagrams."""

    @abstractmethod
    def _template(self, dimension: int) -> Template:
        """The functions of one homology dimension, once fitted."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


class HalfLengths(OrderStatistics):
    """The sorted half lengths of bars: how far each is from the diagonal.

    Parameters
    ----------
    n_levels : int or dict of int to int, default=100
        How many, for each homology dimension.

    Attributes
    ----------
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_levels_ : dict of int to int
        For each homology dimension.
    n_features_out_ : int
        Length of the vectors.

    Examples
    --------
    >>> HalfLengths(n_levels=3).fit_transform([{1: [[0, 3], [1, 5]]}])
    array([[2. , 1.5, 0. ]])
    """

    _feature = "half_length"

    def __init__(self, n_levels: int | Mapping[int, int] = 100) -> None:
        self.n_levels = n_levels

    def _fit_template(self, batch: DiagramBatch) -> None:
        pass

    def _template(self, dimension: int) -> Template:
        return HalfLength()


class Landscapes(OrderStatistics):
    """Persistence landscapes at fixed positions: the k-th largest min(t − b, d − t)₊.

    Parameters
    ----------
    n_positions : int, default=32
        How many positions t in each homology dimension, if none are given.
    n_levels : int or dict of int to int, default=32
        How many levels k, for each homology dimension.
    positions : array-like of shape (n_positions,), or dict of int to array-like, optional
        The positions, in the unit of the filtration, for all homology dimensions or each. By
        default they are the quantiles (j + 1/2)/n_positions of the midpoints (b + d)/2 of all
        training bars, and 0 in a dimension without any bar.

    Attributes
    ----------
    positions_ : dict of int to ndarray
        For each homology dimension.
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_levels_ : dict of int to int
        For each homology dimension.
    n_features_out_ : int
        Length of the vectors.

    References
    ----------
    .. [1] Bubenik (2015), "Statistical topological data analysis using persistence landscapes",
       Journal of Machine Learning Research 16.

    Examples
    --------
    At t = 2 the bar (0, 3) has min(2 − 0, 3 − 2) = 1, and (1, 6) has min(2 − 1, 6 − 2) = 1.

    >>> Landscapes(positions=[2, 3], n_levels=2).fit_transform([{1: [[0, 3], [1, 6]]}])
    array([[1., 1., 2., 0.]])
    """

    _feature = "landscape"

    def __init__(
        self,
        n_positions: int = 32,
        n_levels: int | Mapping[int, int] = 32,
        positions: ArrayLike | Mapping[int, ArrayLike] | None = None,
    ) -> None:
        self.n_positions = n_positions
        self.n_levels = n_levels
        self.positions = positions

    def _fit_template(self, batch: DiagramBatch) -> None:
        dimensions = batch.homology_dimensions
        counts = check_counts("n_positions", self.n_positions, dimensions)
        self.positions_ = {
            k: midpoint_quantiles(batch.bars[k], counts[k])
            if self.positions is None
            else numbers_of("positions", self.positions, k, ("n_positions",))
            for k in dimensions
        }

    def _template(self, dimension: int) -> Template:
        return Tent(self.positions_[dimension])


class Windows(OrderStatistics):
    """Windows on the diagram: the k-th largest min((d − b)/2, s − ‖(b, d) − c‖_∞)₊.

    Level k is s less the distance from the centre c to the k-th nearest bar, as far as bars are
    away from the diagonal: it sees where bars lie, however many shorter or longer ones there are.

    Parameters
    ----------
    n_windows : int, default=32
        How many windows in each homology dimension, if none are given.
    n_levels : int or dict of int to int, default=8
        How many levels k, for each homology dimension.
    windows : array-like of shape (n_windows, 3), or dict of int to array-like, optional
        A row (birth, death, size) a window, in the unit of the filtration: the centre c, and
        s > 0. By default the training bars are cut by their births into as many equal parts as
        the root of `n_windows` says, centres have the middle birth of a part and quantiles of its
        lengths, and sizes are half the lengths of the centres, up to the diagonal.

    Attributes
    ----------
    windows_ : dict of int to ndarray of shape (n_windows, 3)
        For each homology dimension.
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_levels_ : dict of int to int
        For each homology dimension.
    n_features_out_ : int
        Length of the vectors.

    Examples
    --------
    The bar (0, 4) is 1 away from the centre (1, 4) of a window of size 1.5, and 2 from the
    diagonal.

    >>> Windows(windows=[[1, 4, 1.5]], n_levels=2).fit_transform([{1: [[0, 4], [5, 6]]}])
    array([[0.5, 0. ]])
    """

    _feature = "window"

    def __init__(
        self,
        n_windows: int = 32,
        n_levels: int | Mapping[int, int] = 8,
        windows: ArrayLike | Mapping[int, ArrayLike] | None = None,
    ) -> None:
        self.n_windows = n_windows
        self.n_levels = n_levels
        self.windows = windows

    def _fit_template(self, batch: DiagramBatch) -> None:
        dimensions = batch.homology_dimensions
        counts = check_counts("n_windows", self.n_windows, dimensions)
        fitted = {}
        for k in dimensions:
            if self.windows is None:
                fitted[k] = quantile_windows(batch.bars[k], counts[k])
                continue
            fitted[k] = numbers_of("windows", self.windows, k, ("n_windows", "3"))
            bad = np.flatnonzero(fitted[k][:, 2] <= 0)
            if bad.size:
                raise ValueError(
                    f"windows[{bad[0]}] in H{k} is {fitted[k][bad[0]].tolist()}: expected a row "
                    f"(birth, death, size) with a size > 0."
                )
        self.windows_ = fitted

    def _template(self, dimension: int) -> Template:
        return Window(self.windows_[dimension])
