"""PersLay with sums, in the form that boxes and W_1 can bound (fact R5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.ranks.boxes import BarBoxes
from stablerank.ranks.contours import UNIT_ROUNDOFF
from stablerank.ranks.quantiles import midpoint_quantiles, numbers_of, quantile_windows
from stablerank.ranks.stable_rank import check_counts, largest_values, part_of
from stablerank.ranks.sums import BarSums, check_sizes, distances_to, gaussian
from stablerank.ranks.templates import Tent
from stablerank.stability import Bound, Parallel, Space, StabilityError

Kind = Literal["triangle", "gaussian", "line", "hat"]


class PersLaySums(BarSums):
    """PersLay's point transformations φ_j, summed over the bars: Σ w(d − b) φ_j(b, d).

    The weight w(l) is l/(2τ) − 1, clipped to [0, 1]: bars of length l <= 2τ do not count, and from
    4τ on they count in full.

    Parameters
    ----------
    transformation : {"triangle", "gaussian", "line", "hat"}, default="gaussian"
        What a bar (b, d) adds to function j; c = (birth, death) and s are rows of `functions`:

        - "triangle": min(t − b, d − t)₊ at t, in the unit of the filtration;
        - "gaussian": exp(−‖(b, d) − c‖₂²/(2s²));
        - "hat", the rational hat: 1/(1 + x) − 1/(1 + |1 − x|) with x = ‖(b, d) − c‖₁/s, from ½ at c
          to −½ on the ball of radius s, and towards 0 beyond;
        - "line": e_b b + e_d d + e.
    n_functions : int or dict of int to int, default=32
        How many functions in each homology dimension, if none are given; of no matter for lines.
    tau : float or dict of int to float, optional
        The τ > 0, in the unit of the filtration; by default half the median length of the training
        bars in each homology dimension.
    functions : array-like or dict of int to array-like, optional
        Triangles: positions t, of shape (n_functions,). Gaussians and hats: a row (birth, death,
        s) each, s > 0. Lines: a row (e_b, e_d, e) each. By default positions lie on quantiles of
        the midpoints of training bars longer than 2τ, and rows (c, s) follow these bars as the
        windows of :class:`~stablerank.ranks.Windows`; the lines are b, d and 1, as sums of others
        are combinations of theirs.

    Attributes
    ----------
    functions_ : dict of int to ndarray of shape (n_functions,) or (n_functions, 3)
        For each homology dimension.
    tau_ : dict of int to float
        For each homology dimension.
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_features_out_ : int
        Length of the vectors.

    See Also
    --------
    PersistenceImages : Gaussians whose weight keeps growing with the length.

    References
    ----------
    .. [1] Carrière, Chazal, Ike, Lacombe, Royer, Umeda (2020), "PersLay: a neural network layer for
       persistence diagrams and new graph topological signatures", AISTATS; arXiv:1904.09378.
    .. [2] Hofer, Kwitt, Niethammer (2019), "Learning representations of persistence barcodes",
       Journal of Machine Learning Research 20: rational hats.

    Examples
    --------
    With τ = 1 the bar (0, 4) counts in full, (1, 4) half, and (7, 9) not at all; at t = 2 the
    triangles of the first two are 2 and 1 high.

    >>> sums = PersLaySums("triangle", tau=1.0, functions=[2.0])
    >>> sums.fit_transform([{1: [[0, 4], [1, 4], [7, 9]]}])
    array([[2.5]])
    """

    def __init__(
        self,
        transformation: Kind = "gaussian",
        n_functions: int | Mapping[int, int] = 32,
        tau: float | Mapping[int, float] | None = None,
        functions: ArrayLike | Mapping[int, ArrayLike] | None = None,
    ) -> None:
        self.transformation = transformation
        self.n_functions = n_functions
        self.tau = tau
        self.functions = functions

    def fit(self, X: Any, y: Any = None) -> PersLaySums:
        """Check the parameters, and fix τ and the functions on the training diagrams.

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
        known = isinstance(self.transformation, str) and self.transformation in _TRANSFORMATIONS
        if not known:
            raise ValueError(
                f"transformation={self.transformation!r}: expected one of {list(_TRANSFORMATIONS)}."
            )
        batch = check_diagrams(X)
        counts = check_counts("n_functions", self.n_functions, batch.homology_dimensions)
        self.tau_ = {k: self._positive_tau(batch, k) for k in batch.homology_dimensions}
        self.functions_ = {k: self._rows(batch, k, counts[k]) for k in batch.homology_dimensions}
        self.homology_dimensions_ = batch.homology_dimensions
        self.n_features_out_ = sum(len(rows) for rows in self.functions_.values())
        return self

    def stability(self, source: Space) -> Parallel:
        """Bounds from W_1 to the vector, with a constant for each coordinate.

        Parameters
        ----------
        source : Space
            W_1 with ground norm ℓ_q; or a product of such, by homology dimension ("H0", "H1", …).

        Returns
        -------
        Parallel
            Joined into one ℓ∞ vector.

        Raises
        ------
        StabilityError
            For any other metric: bars can stand many times in a diagram, and moving all of them by
            ε, which bottleneck distance and W_p with p > 1 forgive, moves a sum by as many times as
            much. And for lines, which grow with the birth: as steep as w φ is where the weight
            rises, there is no bound.

        Notes
        -----
        g = w φ is 0 on the diagonal. If it is L-Lipschitz for ℓ_q, each bar that is matched moves
        the sum by at most L times how far it moves, and each that is not by L times its distance to
        the diagonal: L W_1 in all. By the product rule L is the sum of sup φ · sup |∇w| where w
        rises, 2τ <= l <= 4τ, and of sup |∇φ|, in the dual norm. |∇w| = 2^{−1/q}/τ, and

        - triangle: there φ <= l/2 <= 2τ, and |∇φ| <= 1: L = 1 + 2^{1−1/q};
        - gaussian: φ <= 1, ‖∇φ‖₂ <= e^{−1/2}/s: L = 2^{−1/q}/τ + 2^{max(0, 1/2 − 1/q)} e^{−1/2}/s;
        - hat: |φ| <= 1/2, and as a function of x it is at most as steep as 5/4, at 0 and at 1:
          L = 2^{−1/q}/(2τ) + (5/4) 2^{1−1/q}/s.
        """
        check_is_fitted(self, "tau_")
        branches = {}
        for dimension in self.homology_dimensions_:
            space = part_of(source, dimension, self)
            q = space.q
            if space.kind != "diagram" or space.p != 1 or q is None:
                raise StabilityError(
                    f"PersLaySums has no constant from {space}: a sum over the bars moves as often "
                    f"as there are bars, and their number is not bounded. From W_1 it has one "
                    f"(R5); else certify it by its boxes, or take Landscapes or Windows."
                )
            own = self._function(dimension)
            # a few operations, of which each is right to some units in the last place
            constants = own.constants(q, self.tau_[dimension]) * (1 + 64 * UNIT_ROUNDOFF)
            branches[f"H{dimension}"] = Bound.by_coordinate(
                space,
                constants,
                "sums of Lipschitz functions that are 0 on the diagonal, from W_1",
                stage=f"PersLay {self.transformation}",
            )
        return Parallel(branches, joined=True)

    def rounding(self, X: Any, relative: float, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far computed vectors can be from exact ones, for all diagrams within W_1 distance.

        Parameters
        ----------
        X : DiagramBatch or list of dict
            The diagrams.
        relative : float
            0: births and deaths are given, not computed.
        reach : ndarray of shape (n_clouds,)
            In W_1 with any ground norm.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
            A bound on the error of every coordinate.

        Raises
        ------
        StabilityError
            If births and deaths are off: so may be any number of bars.

        Notes
        -----
        A bar that counts is longer than 2τ; it is matched with one of those given, or costs W_1
        half its length, more than τ: no more than n = n_bars + reach/τ count. Differences of
        births, deaths, positions and τ, of size M in all, are off by less than 4 u M, u = 2^-53,
        which moves a term by its Lipschitz constant times as much; what follows by 16 u of the
        largest term; and the sum by n u times n such terms. Twice that is charged, for the terms of
        second order.
        """
        check_is_fitted(self, "tau_")
        if relative != 0:
            raise StabilityError(
                "PersLaySums does not say how it rounds where births and deaths are computed: any "
                "number of bars may be off. Certify it by its boxes."
            )
        batch = check_diagrams(X)
        worst = np.zeros(len(batch))
        for dimension in self.homology_dimensions_:
            tau, own = self.tau_[dimension], self._function(dimension)
            bars = batch.n_bars(dimension) + reach / tau + 1
            largest = largest_values(batch, dimension) + reach
            size = largest + own.farthest + tau
            steepest = float(own.constants(np.inf, tau).max())
            terms = 4 * steepest * size + (16 + bars) * own.largest(largest)
            worst = np.maximum(worst, 2 * bars * terms * UNIT_ROUNDOFF)
        return worst * (1 + 64 * UNIT_ROUNDOFF) + 1e-300

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_gaussian12``."""
        check_is_fitted(self, "tau_")
        names = [
            f"H{k}_{self.transformation}{j}"
            for k, rows in self.functions_.items()
            for j in range(len(rows))
        ]
        return np.array(names, dtype=object)

    @property
    def _signed(self) -> bool:
        return self.transformation in ("line", "hat")

    def _n_sums(self, dimension: int) -> int:
        return len(self.functions_[dimension])

    def _terms(self, dimension: int, births: Tensor, deaths: Tensor) -> Tensor:
        weights = self._weights(dimension, deaths - births)[..., None, :]
        return weights * self._function(dimension).values(births, deaths)

    def _term_bounds(self, dimension: int, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        least = self._weights(dimension, boxes.deaths_low - boxes.births_high)[:, None]
        most = self._weights(dimension, boxes.deaths_high - boxes.births_low)[:, None]
        low, high = self._function(dimension).bounds(boxes)
        return torch.minimum(least * low, most * low), torch.maximum(least * high, most * high)

    def _weights(self, dimension: int, lengths: Tensor) -> Tensor:
        tau = self.tau_[dimension]
        return ((lengths / 2 - tau) / tau).clamp(0.0, 1.0)

    def _function(self, dimension: int) -> _Transformation:
        return _TRANSFORMATIONS[self.transformation](self.functions_[dimension])

    def _positive_tau(self, batch: DiagramBatch, dimension: int) -> float:
        tau = self._fitted_tau(batch, dimension)
        if tau == 0 and self.tau is None:
            return 1.0  # without bars any τ will do
        if tau <= 0:
            raise ValueError(f"tau={self.tau!r}: expected a finite number > 0, or None.")
        return tau

    def _rows(self, batch: DiagramBatch, dimension: int, count: int) -> NDArray[np.float64]:
        triangle, sized = self.transformation == "triangle", self.transformation != "line"
        if self.functions is None:
            bars = batch.bars[dimension]
            bars = bars[bars[:, 1] - bars[:, 0] > 2 * self.tau_[dimension]]
            if triangle:
                return midpoint_quantiles(bars, count)
            if not sized:
                return np.eye(3)
            rows = quantile_windows(bars, count)
            # without such bars any size will do: there is nothing to see
            rows[:, 2] = np.where(rows[:, 2] > 0, rows[:, 2], 1.0)
            return rows
        shape = ("n_functions",) if triangle else ("n_functions", "3")
        rows = numbers_of("functions", self.functions, dimension, shape)
        if not triangle and sized:
            check_sizes("functions", rows, dimension)
        return rows

    def _check_fitted(self) -> None:
        if min(self.tau_.values()) <= 0:
            raise ValueError(f"tau_={self.tau_!r}: expected numbers > 0.")
        if self.transformation in ("gaussian", "hat"):
            for dimension, rows in self.functions_.items():
                check_sizes("functions_", rows, dimension)


class _Transformation(ABC):
    """Functions φ_1, …, φ_m of a bar."""

    def __init__(self, rows: NDArray[np.float64]) -> None:
        self.rows = rows

    @property
    def farthest(self) -> float:
        """The largest absolute value of a number from which births and deaths are subtracted."""
        return float(np.abs(self.rows).max())

    @abstractmethod
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """Every function of every bar, shapes (..., n_bars) to (..., m, n_bars)."""

    @abstractmethod
    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """What computed values lie between, up to 8 units in the last place."""

    @abstractmethod
    def constants(self, q: float, tau: float) -> NDArray[np.float64]:
        """How steep w φ is for the ground norm ℓ_q, shape (m,)."""

    @abstractmethod
    def largest(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """What no |w φ| of bars with |b|, |d| up to `value` exceeds."""

    def _columns(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.rows).to(like).T[..., None]


class _Triangle(_Transformation):
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        return Tent(self.rows).values(births, deaths)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        return Tent(self.rows).bounds(boxes)

    def constants(self, q: float, tau: float) -> NDArray[np.float64]:
        return np.full(len(self.rows), 1 + 2 ** (1 - 1 / q))

    def largest(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value


class _Gaussian(_Transformation):
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        b, d, scale = self._scaled(births)
        return gaussian(births[..., None, :] - b, deaths[..., None, :] - d, scale)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        b, d, scale = self._scaled(boxes.births_low)
        near, far = zip(
            distances_to(b, boxes.births_low, boxes.births_high),
            distances_to(d, boxes.deaths_low, boxes.deaths_high),
            strict=True,
        )
        return gaussian(*far, scale), gaussian(*near, scale)

    def constants(self, q: float, tau: float) -> NDArray[np.float64]:
        slope = 2 ** max(0.0, 0.5 - 1 / q) * np.exp(-0.5)
        return np.asarray(2 ** (-1 / q) / tau + slope / self.rows[:, 2])

    def largest(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ones_like(value)

    def _scaled(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, d, size = self._columns(like)
        return b, d, np.sqrt(0.5) / size


class _Hat(_Transformation):
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        b, d, size = self._columns(births)
        to_birth, to_death = (births[..., None, :] - b).abs(), (deaths[..., None, :] - d).abs()
        return _hat((to_birth + to_death) / size)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """Falls up to x = 1 and rises from there; 16 units of rounding, of terms up to 1."""
        b, d, size = self._columns(boxes.births_low)
        to_births = distances_to(b, boxes.births_low, boxes.births_high)
        to_deaths = distances_to(d, boxes.deaths_low, boxes.deaths_high)
        near, far = (
            (to_birth + to_death) / size
            for to_birth, to_death in zip(to_births, to_deaths, strict=True)
        )
        one = torch.ones_like(near)
        lowest = torch.minimum(torch.maximum(one, near), far)
        error = 16 * UNIT_ROUNDOFF
        return _hat(lowest) - error, torch.maximum(_hat(near), _hat(far)) + error

    def constants(self, q: float, tau: float) -> NDArray[np.float64]:
        return np.asarray(2 ** (-1 / q) / (2 * tau) + 1.25 * 2 ** (1 - 1 / q) / self.rows[:, 2])

    def largest(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ones_like(value)  # of the two terms, which are rounded before their difference


class _Line(_Transformation):
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        slope_b, slope_d, offset = self._columns(births)
        return slope_b * births[..., None, :] + slope_d * deaths[..., None, :] + offset

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """Sums of products keep their order, taken in the same way."""
        slope_b, slope_d, offset = self._columns(boxes.births_low)
        births = [slope_b * end[:, None] for end in (boxes.births_low, boxes.births_high)]
        deaths = [slope_d * end[:, None] for end in (boxes.deaths_low, boxes.deaths_high)]
        low = torch.minimum(*births) + torch.minimum(*deaths) + offset
        return low, torch.maximum(*births) + torch.maximum(*deaths) + offset

    def constants(self, q: float, tau: float) -> NDArray[np.float64]:
        raise StabilityError(
            "PersLaySums of lines has no constant: a line grows with the birth, and so does the "
            'effect of a length that changes. Certify it by its boxes, or take "gaussian".'
        )

    def largest(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        slopes, offsets = np.abs(self.rows[:, :2]).sum(axis=1).max(), np.abs(self.rows[:, 2]).max()
        return np.asarray(slopes * value + offsets)


def _hat(x: Tensor) -> Tensor:
    return 1 / (1 + x) - 1 / (1 + (1 - x).abs())


_TRANSFORMATIONS: dict[str, type[_Transformation]] = {
    "triangle": _Triangle,
    "gaussian": _Gaussian,
    "line": _Line,
    "hat": _Hat,
}
